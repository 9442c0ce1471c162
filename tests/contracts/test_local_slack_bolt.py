"""A real Bolt app cannot tell the local Slack from Slack: each promise over Socket Mode and over signed HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from tests.local_slack import LocalSlack, Refused

JSON = dict[str, Any]


class Bolt:
    """A Bolt app connected to a local Slack, and what it heard."""

    def __init__(self) -> None:
        self.slack: LocalSlack
        self.app: AsyncApp
        self.heard: list[JSON] = []

    @property
    def client(self) -> AsyncWebClient:
        return self.app.client

    def events(self, kind: str, subtype: str | None = None) -> list[JSON]:
        found = [body["event"] for body in self.heard if body.get("type") == "event_callback"]
        return [event for event in found if event["type"] == kind and event.get("subtype") == subtype]

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until something is there; fails with what was heard instead."""
        for _ in range(400):
            if found := holds():
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"it never came; heard: {self.heard}")

    async def settled(self) -> None:
        """Every event posted so far has arrived: a message sent now comes after them."""
        ts = await self.slack.message("U0ADMIN", "D0ADMIN", "ping")
        await self.until(lambda: [e for e in self.events("message") if e["ts"] == ts])


@pytest.fixture(params=["socket", "http"])
async def bolt(request: pytest.FixtureRequest) -> AsyncIterator[Bolt]:
    bolt = Bolt()

    async def receive(request: web.Request) -> web.Response:
        return await to_aiohttp_response(await bolt.app.async_dispatch(await to_bolt_request(request)))

    async with AsyncExitStack() as stack:
        events_url = None
        if request.param == "http":
            server = web.Application()
            server.add_routes([web.post("/slack/events", receive)])
            runner = web.AppRunner(server, shutdown_timeout=1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            events_url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
        bolt.slack = await stack.enter_async_context(LocalSlack(events_url=events_url, retry_delays=(0,)))
        given = bolt.slack.environment
        assert ("SLACK_APP_TOKEN" in given) == (request.param == "socket")
        session = await stack.enter_async_context(aiohttp.ClientSession())
        client = AsyncWebClient(
            token=given["SLACK_BOT_TOKEN"], base_url=given["SLACK_API_URL"], session=session, timeout=10
        )
        bolt.app = AsyncApp(client=client, signing_secret=given["SLACK_SIGNING_SECRET"])

        @bolt.app.use
        async def listen(body: JSON, next: Callable[[], Any]) -> None:
            bolt.heard.append(body)
            await next()

        @bolt.app.event({"type": "message"})
        async def message() -> None: ...

        @bolt.app.event("reaction_added")
        @bolt.app.event("reaction_removed")
        @bolt.app.event("member_joined_channel")
        async def noticed() -> None: ...

        if request.param == "socket":
            handler = AsyncSocketModeHandler(bolt.app, given["SLACK_APP_TOKEN"])
            stack.push_async_callback(handler.close_async)
            await handler.connect_async()
        yield bolt


def _buttons(*elements: JSON) -> list[JSON]:
    return [{"type": "actions", "block_id": "row", "elements": list(elements)}]


def _button(value: str, action_id: str = "go") -> JSON:
    return {
        "type": "button",
        "action_id": action_id,
        "value": value,
        "text": {"type": "plain_text", "text": value},
    }


FEEDBACK: JSON = {
    "type": "context_actions",
    "block_id": "verdict",
    "elements": [
        {
            "type": "feedback_buttons",
            "action_id": "feedback",
            "positive_button": {"text": {"type": "plain_text", "text": "Good"}, "value": "q1:up"},
            "negative_button": {"text": {"type": "plain_text", "text": "Bad"}, "value": "q1:down"},
        }
    ],
}


def _modal(**changes: Any) -> JSON:
    field = {"type": "plain_text_input", "action_id": "words", "multiline": True}
    label = {"type": "plain_text", "text": "Words"}
    return {
        "type": "modal",
        "callback_id": "correction",
        "private_metadata": "q1",
        "title": {"type": "plain_text", "text": "Correct"},
        "submit": {"type": "plain_text", "text": "Send"},
        "blocks": [{"type": "input", "block_id": "words", "label": label, "element": field}],
        **changes,
    }


# -- events


async def test_a_mention_comes_as_two_events_and_is_answered_in_its_thread(bolt: Bolt) -> None:
    """app_mention and message share ts and client_msg_id and differ in event_id."""

    @bolt.app.event("app_mention")
    async def mentioned(event: JSON, say_stream: Any, set_status: Any) -> None:
        await set_status("is thinking…")
        stream = await say_stream()
        await stream.append(markdown_text="Rotate it under **Settings**.")
        await stream.stop(blocks=[FEEDBACK])

    ts = await bolt.slack.message("U0MAYA", "C0HELP", "<@U0FOOTNOTE> how do I rotate my key?")
    (reply,) = await bolt.slack.wait_for_reply("C0HELP", ts)
    assert reply["text"] == "Rotate it under **Settings**." and reply["thread_ts"] == ts
    twins = await bolt.until(
        lambda: [b for b in bolt.heard if b.get("event", {}).get("ts") == ts][:2] * (len(bolt.heard) > 1)
    )
    mention, message = sorted((body["event"] for body in twins), key=lambda event: event["type"])
    assert (mention["type"], message["type"]) == ("app_mention", "message")
    assert mention["client_msg_id"] == message["client_msg_id"] and mention["text"] == message["text"]
    assert message["channel_type"] == "channel" and "channel_type" not in mention
    assert len({body["event_id"] for body in twins}) == 2
    assert twins[0]["authorizations"][0]["user_id"] == "U0FOOTNOTE" and twins[0]["team_id"] == "T0LOCAL"


async def test_messages_tell_the_kind_of_place(bolt: Bolt) -> None:
    places = {"C0HELP": "channel", "C0INCIDENTS": "group", "C0GROUP": "mpim", "D0NOAH": "im", "C0GENERAL": "channel"}
    for channel in places:
        await bolt.slack.message("U0NOAH", channel, "hello")
    heard = await bolt.until(lambda: bolt.events("message")[4:] and bolt.events("message"))
    assert {event["channel"]: event["channel_type"] for event in heard} == places


async def test_a_direct_message_that_names_the_bot_is_no_mention(bolt: Bolt) -> None:
    await bolt.slack.message("U0MAYA", "D0MAYA", "<@U0FOOTNOTE> hello")
    await bolt.settled()
    assert bolt.events("app_mention") == []


async def test_the_bot_hears_nothing_from_where_it_is_not(bolt: Bolt) -> None:
    await bolt.slack.message("U0MAYA", "C0RANDOM", "<@U0FOOTNOTE> psst")
    await bolt.settled()
    assert [body["event"]["channel"] for body in bolt.heard] == ["D0ADMIN"]


async def test_someone_of_another_organisation_carries_their_own_team(bolt: Bolt) -> None:
    @bolt.app.event("app_mention")
    async def mentioned(context: Any, say: Any, event: JSON) -> None:
        await say(text=f"{context.actor_team_id} {context.team_id}", thread_ts=event["ts"])

    ts = await bolt.slack.message("U0PARTNER", "C0PARTNER", "<@U0FOOTNOTE> hi")
    (reply,) = await bolt.slack.wait_for_reply("C0PARTNER", ts)
    assert reply["text"] == "T0ACME T0LOCAL"
    body = next(body for body in bolt.heard if body["event"]["ts"] == ts)
    assert body["is_ext_shared_channel"] is True and body["event"]["user_team"] == "T0ACME"


async def test_an_edit_and_a_deletion_tell_before_and_after(bolt: Bolt) -> None:
    ts = await bolt.slack.message("U0MAYA", "C0HELP", "old")
    await bolt.slack.edit("U0MAYA", "C0HELP", ts, "new")
    (changed,) = await bolt.until(lambda: bolt.events("message", "message_changed"))
    assert changed["message"]["text"] == "new" and changed["previous_message"]["text"] == "old"
    assert changed["message"]["ts"] == ts and changed["message"]["edited"]["user"] == "U0MAYA"
    await bolt.slack.delete("U0MAYA", "C0HELP", ts)
    (deleted,) = await bolt.until(lambda: bolt.events("message", "message_deleted"))
    assert deleted["deleted_ts"] == ts and deleted["previous_message"]["text"] == "new"


async def test_deleting_a_question_that_was_answered_is_a_change_to_a_tombstone(bolt: Bolt) -> None:
    """Slack sends no message_deleted for the parent of a thread."""
    ts = await bolt.slack.message("U0MAYA", "C0HELP", "a question")
    answer = await bolt.client.chat_postMessage(channel="C0HELP", thread_ts=ts, text="an answer")
    await bolt.slack.delete("U0MAYA", "C0HELP", ts)
    (changed,) = await bolt.until(lambda: bolt.events("message", "message_changed"))
    assert changed["message"]["subtype"] == "tombstone" and changed["message"]["ts"] == ts
    assert changed["previous_message"]["user"] == "U0MAYA"
    await bolt.settled()
    assert bolt.events("message", "message_deleted") == []
    await bolt.client.chat_delete(channel="C0HELP", ts=answer["ts"])
    (last,) = await bolt.until(lambda: bolt.events("message", "message_deleted"))
    assert last["deleted_ts"] == ts and last["previous_message"]["subtype"] == "tombstone"
    assert await bolt.slack.history("C0HELP") == []


async def test_a_reaction_tells_whose_message_it_is_on(bolt: Bolt) -> None:
    posted = await bolt.client.chat_postMessage(channel="C0HELP", text="an answer")
    await bolt.slack.react("U0MAYA", "C0HELP", posted["ts"], "+1")
    await bolt.slack.react("U0MAYA", "C0HELP", posted["ts"], "+1", remove=True)
    (removed,) = await bolt.until(lambda: bolt.events("reaction_removed"))
    (added,) = bolt.events("reaction_added")
    assert added["item"] == {"type": "message", "channel": "C0HELP", "ts": posted["ts"]}
    assert added["item_user"] == "U0FOOTNOTE" and added["reaction"] == "+1" and removed["user"] == "U0MAYA"


async def test_three_deliveries_are_one_event_three_times(bolt: Bolt) -> None:
    ts = await bolt.slack.message("U0MAYA", "D0MAYA", "once", deliveries=3)
    bodies = await bolt.until(lambda: (b := [b for b in bolt.heard if b["event"]["ts"] == ts])[2:] and b)
    assert len({body["event_id"] for body in bodies}) == 1 and len(bodies) == 3


async def test_joining_is_told(bolt: Bolt) -> None:
    await bolt.client.conversations_join(channel="C0RANDOM")
    (joined,) = await bolt.until(lambda: bolt.events("member_joined_channel"))
    assert joined["user"] == "U0FOOTNOTE" and joined["channel"] == "C0RANDOM"


async def test_the_home_tab_is_drawn_when_it_is_opened(bolt: Bolt) -> None:
    @bolt.app.event("app_home_opened")
    async def opened(event: JSON, client: AsyncWebClient) -> None:
        if event["tab"] == "home":
            blocks = [{"type": "header", "text": {"type": "plain_text", "text": "Hello"}}]
            await client.views_publish(user_id=event["user"], view={"type": "home", "blocks": blocks})

    await bolt.slack.open_home("U0MAYA")
    await bolt.until(lambda: bolt.events("app_home_opened"))
    for _ in range(200):
        if home := await bolt.slack.home("U0MAYA"):
            break
        await asyncio.sleep(0.02)
    assert home and home["blocks"][0]["text"]["text"] == "Hello"


# -- interactivity


async def test_a_feedback_button_is_pressed_by_the_end_of_its_value(bolt: Bolt) -> None:
    posted = await bolt.client.chat_postMessage(channel="C0HELP", text="an answer", blocks=[FEEDBACK])

    @bolt.app.action("feedback")
    async def judged(ack: Any, body: JSON, respond: Any) -> None:
        await ack()
        await respond(f"thank you for {body['actions'][0]['value']}")

    assert await bolt.slack.press("U0MAYA", "C0HELP", posted["ts"], "feedback", ":up") == {
        "ok": True,
        "outcome": "acknowledged",
    }
    (thanks,) = await bolt.slack.wait_for_ephemeral("U0MAYA")
    assert thanks["text"] == "thank you for q1:up"
    (body,) = [body for body in bolt.heard if body["type"] == "block_actions"]
    assert body["actions"][0]["type"] == "feedback_buttons" and body["actions"][0]["block_id"] == "verdict"
    assert body["message"]["ts"] == posted["ts"] and body["container"]["channel_id"] == "C0HELP"
    assert body["user"]["id"] == "U0MAYA" and body["trigger_id"] and body["response_url"]


async def test_buttons_that_share_an_action_id_are_told_apart_by_value(bolt: Bolt) -> None:
    menu = {
        "type": "overflow",
        "action_id": "more",
        "options": [{"text": {"type": "plain_text", "text": "Forget"}, "value": "forget"}],
    }
    rows = [*_buttons(_button("yes")), {**_buttons(_button("no"), menu)[0], "block_id": "second"}]
    posted = await bolt.client.chat_postMessage(channel="C0HELP", text="sure?", blocks=rows)

    @bolt.app.action("go")
    @bolt.app.action("more")
    async def pressed(ack: Any) -> None:
        await ack()

    await bolt.slack.press("U0MAYA", "C0HELP", posted["ts"], "go", "no")
    await bolt.slack.press("U0MAYA", "C0HELP", posted["ts"], "more", "forget")
    first, second = (body["actions"][0] for body in bolt.heard if body["type"] == "block_actions")
    assert (first["value"], first["block_id"]) == ("no", "second")
    assert second["selected_option"]["value"] == "forget"
    with pytest.raises(Refused, match="no element"):
        await bolt.slack.press("U0MAYA", "C0HELP", posted["ts"], "go", "maybe")


async def test_a_button_opens_a_modal_whose_values_come_back(bolt: Bolt) -> None:
    """Errors keep it open, a good answer closes it; what is left empty or is too long never leaves the client."""
    posted = await bolt.client.chat_postMessage(channel="C0HELP", text="a", blocks=_buttons(_button("correct")))
    submitted: list[JSON] = []

    @bolt.app.action("go")
    async def pressed(ack: Any, body: JSON, client: AsyncWebClient) -> None:
        await client.views_open(trigger_id=body["trigger_id"], view=_modal())
        await ack()

    @bolt.app.view("correction")
    async def sent(ack: Any, view: JSON) -> None:
        submitted.append(view)
        words = view["state"]["values"]["words"]["words"]["value"]
        if len(words) < 5:
            await ack(response_action="errors", errors={"words": "a little longer, please"})
        else:
            await ack()

    await bolt.slack.press("U0MAYA", "C0HELP", posted["ts"], "go")
    (modal,) = (await bolt.slack.seen("U0MAYA"))["modals"]
    with pytest.raises(Refused, match="required"):
        await bolt.slack.submit("U0MAYA", modal["view_id"], {})
    with pytest.raises(Refused, match="at most 3000 characters"):
        await bolt.slack.submit("U0MAYA", modal["view_id"], {"words": "x" * 3_001})
    answer = await bolt.slack.submit("U0MAYA", modal["view_id"], {"words": "no"})
    assert answer["response_action"] == "errors" and answer["errors"] == {"words": "a little longer, please"}
    assert (await bolt.slack.seen("U0MAYA"))["modals"]
    await bolt.slack.submit("U0MAYA", modal["view_id"], {"words": "rotate it"})
    assert (await bolt.slack.seen("U0MAYA"))["modals"] == []
    assert submitted[-1]["private_metadata"] == "q1"


async def test_an_answer_to_a_submission_may_update_push_or_clear(bolt: Bolt) -> None:
    posted = await bolt.client.chat_postMessage(channel="C0HELP", text="a", blocks=_buttons(_button("correct")))
    plain = _modal(blocks=[], callback_id="second", title={"type": "plain_text", "text": "Second"})

    @bolt.app.action("go")
    async def pressed(ack: Any, body: JSON, client: AsyncWebClient) -> None:
        await client.views_open(trigger_id=body["trigger_id"], view=_modal())
        await ack()

    @bolt.app.view("correction")
    async def first(ack: Any) -> None:
        await ack(response_action="push", view=plain)

    @bolt.app.view("second")
    async def second(ack: Any, view: JSON) -> None:
        if view["title"]["text"] == "Third":
            await ack(response_action="clear")
        else:
            await ack(response_action="update", view={**plain, "title": {"type": "plain_text", "text": "Third"}})

    await bolt.slack.press("U0MAYA", "C0HELP", posted["ts"], "go")
    (below,) = (await bolt.slack.seen("U0MAYA"))["modals"]
    await bolt.slack.submit("U0MAYA", below["view_id"], {"words": "enough"})
    below, above = (await bolt.slack.seen("U0MAYA"))["modals"]
    assert above["view"]["previous_view_id"] == below["view_id"]
    await bolt.slack.submit("U0MAYA", above["view_id"], {})
    assert (await bolt.slack.seen("U0MAYA"))["modals"][1]["view"]["title"]["text"] == "Third"
    await bolt.slack.submit("U0MAYA", above["view_id"], {})
    assert (await bolt.slack.seen("U0MAYA"))["modals"] == []


async def test_a_trigger_opens_one_modal_and_only_within_three_seconds(bolt: Bolt) -> None:
    posted = await bolt.client.chat_postMessage(channel="C0HELP", text="a", blocks=_buttons(_button("correct")))

    @bolt.app.action("go")
    async def pressed(ack: Any) -> None:
        await ack()

    await bolt.slack.press("U0MAYA", "C0HELP", posted["ts"], "go")
    await bolt.slack.press("U0MAYA", "C0HELP", posted["ts"], "go")
    used, late = (body["trigger_id"] for body in bolt.heard if body["type"] == "block_actions")
    await bolt.client.views_open(trigger_id=used, view=_modal())
    with pytest.raises(SlackApiError, match="exchanged_trigger_id"):
        await bolt.client.views_open(trigger_id=used, view=_modal())
    await asyncio.sleep(3.1)
    with pytest.raises(SlackApiError, match="expired_trigger_id"):
        await bolt.client.views_open(trigger_id=late, view=_modal())


async def test_closing_a_modal_is_told_only_if_the_view_asks(bolt: Bolt) -> None:
    posted = await bolt.client.chat_postMessage(channel="C0HELP", text="a", blocks=_buttons(_button("x")))

    @bolt.app.action("go")
    async def pressed(ack: Any, body: JSON, client: AsyncWebClient) -> None:
        await client.views_open(trigger_id=body["trigger_id"], view=_modal(notify_on_close=True))
        await ack()

    @bolt.app.view_closed("correction")
    async def closed(ack: Any) -> None:
        await ack()

    await bolt.slack.press("U0MAYA", "C0HELP", posted["ts"], "go")
    (modal,) = (await bolt.slack.seen("U0MAYA"))["modals"]
    await bolt.slack.post("close_view", user="U0MAYA", view_id=modal["view_id"])
    assert bolt.heard[-1]["type"] == "view_closed" and (await bolt.slack.seen("U0MAYA"))["modals"] == []


async def test_a_slash_command_is_answered_privately_in_the_acknowledgement(bolt: Bolt) -> None:
    @bolt.app.command("/support")
    async def support(ack: Any, command: JSON) -> None:
        await ack(f"{command['user_name']} asks {command['text']} in {command['channel_name']}")

    await bolt.slack.command("U0MAYA", "C0HELP", "/support", "help & more")
    (answer,) = await bolt.slack.wait_for_ephemeral("U0MAYA")
    assert answer["text"] == "maya asks help & more in help" and answer["channel"] == "C0HELP"
    assert (await bolt.slack.history("C0HELP")) == []


async def test_a_slash_command_may_answer_later_and_to_everybody(bolt: Bolt) -> None:
    @bolt.app.command("/support")
    async def support(ack: Any, respond: Any) -> None:
        await ack()
        await respond(text="for all", response_type="in_channel")

    await bolt.slack.command("U0MAYA", "C0RANDOM", "/support", "status")
    for _ in range(200):
        if posted := await bolt.slack.history("C0RANDOM"):
            break
        await asyncio.sleep(0.02)
    assert posted[0]["text"] == "for all" and posted[0]["bot_id"] == "B0FOOTNOTE"


async def test_a_command_that_nobody_acknowledges_fails_before_the_eyes_of_the_user(bolt: Bolt) -> None:
    @bolt.app.command("/support")
    async def support(ack: Any) -> None:
        await asyncio.sleep(4)
        await ack()

    answer = await bolt.slack.command("U0MAYA", "C0HELP", "/support", "help")
    assert "timeout" in answer["outcome"]
    (notice,) = await bolt.slack.wait_for_ephemeral("U0MAYA")
    assert notice["text"] == '/support failed with the error "operation_timeout"'


async def test_a_response_url_serves_five_times(bolt: Bolt) -> None:
    url: list[str] = []

    @bolt.app.command("/support")
    async def support(ack: Any, command: JSON) -> None:
        url.append(command["response_url"])
        await ack()

    await bolt.slack.command("U0MAYA", "C0HELP", "/support", "")
    async with aiohttp.ClientSession() as http:
        statuses = [(await http.post(url[0], json={"text": str(n)})).status for n in range(6)]
    assert statuses == [200, 200, 200, 200, 200, 404]
    assert [e["text"] for e in (await bolt.slack.seen("U0MAYA"))["ephemerals"]] == ["0", "1", "2", "3", "4"]


async def test_a_response_url_replaces_or_deletes_what_was_pressed(bolt: Bolt) -> None:
    posted = await bolt.client.chat_postMessage(channel="C0HELP", text="a", blocks=_buttons(_button("x")))

    @bolt.app.action("go")
    async def pressed(ack: Any, body: JSON, respond: Any) -> None:
        await ack()
        if body["container"]["is_ephemeral"]:
            await respond(delete_original=True)
        else:
            await respond(text="done", replace_original=True)

    await bolt.slack.press("U0MAYA", "C0HELP", posted["ts"], "go")
    for _ in range(200):
        (message,) = await bolt.slack.thread("C0HELP", posted["ts"])
        if message["text"] == "done":
            break
        await asyncio.sleep(0.02)
    assert message["text"] == "done" and "blocks" not in message
    await bolt.client.chat_postEphemeral(channel="C0HELP", user="U0MAYA", text="p", blocks=_buttons(_button("x")))
    (private,) = await bolt.slack.wait_for_ephemeral("U0MAYA")
    await bolt.slack.press("U0MAYA", "C0HELP", private["ts"], "go")
    for _ in range(200):
        if not (left := (await bolt.slack.seen("U0MAYA"))["ephemerals"]):
            break
        await asyncio.sleep(0.02)
    assert left == []


async def test_a_message_shortcut_carries_its_message(bolt: Bolt) -> None:
    ts = await bolt.slack.message("U0MAYA", "C0HELP", "answer this")

    @bolt.app.shortcut("answer")
    async def answer(ack: Any, shortcut: JSON, say: Any) -> None:
        await ack()
        await say(text=f"about: {shortcut['message']['text']}", thread_ts=shortcut["message_ts"])

    await bolt.slack.shortcut("U0NOAH", "C0HELP", ts, "answer")
    (reply,) = await bolt.slack.wait_for_reply("C0HELP", ts)
    assert reply["text"] == "about: answer this"


async def test_the_bot_hears_its_own_posts_too_and_bolt_drops_them(bolt: Bolt) -> None:
    """Slack echoes an app's messages with its bot_id; it is the app's business to keep out of a loop."""
    listened: list[JSON] = []

    @bolt.app.message("echo me")
    async def heard(event: JSON) -> None:
        listened.append(event)

    await bolt.client.chat_postMessage(channel="C0HELP", text="echo me")
    await bolt.settled()
    deliveries = (await bolt.slack.log())["deliveries"]
    assert [d["type"] for d in deliveries].count("message") == 2 and listened == []
