"""The local Slack keeps the rules of Slack's Web API, asked with Slack's own client library.

One server serves this whole module; every test works in a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from tests.local_slack import LocalSlack, Refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECIPIENT = {"recipient_user_id": "U0MAYA", "recipient_team_id": "T0LOCAL"}
SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "hello"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack(stream_life_s=1.5, retry_delays=()) as running:
        yield running


@pytest.fixture(scope="module")
def client(slack: LocalSlack) -> AsyncWebClient:
    return AsyncWebClient(token=slack.environment["SLACK_BOT_TOKEN"], base_url=slack.environment["SLACK_API_URL"])


@pytest_asyncio.fixture(loop_scope="module")
async def question(slack: LocalSlack) -> str:
    return await slack.message("U0MAYA", "C0HELP", "where is my key?")


class refused:
    """`with refused("code"):` holds when Slack answers with exactly this error."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> bool:
        assert isinstance(error, SlackApiError), f"expected {self.code}, got {error!r}"
        assert error.response["error"] == self.code
        return True


# -- who calls


async def test_auth_test_tells_team_bot_and_scopes(client: AsyncWebClient) -> None:
    answer = await client.auth_test()
    assert (answer["team_id"], answer["user_id"], answer["bot_id"]) == ("T0LOCAL", "U0FOOTNOTE", "B0FOOTNOTE")
    assert "chat:write" in answer.headers["x-oauth-scopes"].split(",")


async def test_a_call_without_a_token_or_with_a_wrong_one_is_refused(slack: LocalSlack) -> None:
    base_url = slack.environment["SLACK_API_URL"]
    with refused("not_authed"):
        await AsyncWebClient(base_url=base_url).auth_test()
    with refused("invalid_auth"):
        await AsyncWebClient(base_url=base_url, token="xoxb-somebody-else").auth_test()


async def test_each_token_opens_only_its_own_doors(client: AsyncWebClient, slack: LocalSlack) -> None:
    app_token = slack.environment["SLACK_APP_TOKEN"]
    with refused("not_allowed_token_type"):
        await client.apps_connections_open(app_token=slack.environment["SLACK_BOT_TOKEN"])
    with refused("not_allowed_token_type"):
        await client.auth_test(token=app_token)
    opened = await client.apps_connections_open(app_token=app_token)
    assert opened["url"].startswith("ws://127.0.0.1:")


async def test_an_unknown_method_is_named_as_such(client: AsyncWebClient) -> None:
    for method in ("chat.postPoem", "workspace", "_method", "chat_update", "views"):
        with refused("unknown_method"):
            await client.api_call(method)


async def test_arguments_count_the_same_as_form_as_json_and_as_query(client: AsyncWebClient, question: str) -> None:
    for how in ({"data": {}}, {"json": {}}, {"params": {}, "http_verb": "GET"}):
        place = next(name for name in ("data", "json", "params") if name in how)
        arguments = {**how, place: {"channel": "C0HELP", "ts": question}}
        answer = await client.api_call("conversations.replies", **arguments)
        assert answer["messages"][0]["ts"] == question


# -- posting


async def test_a_post_in_a_thread_is_a_reply_of_the_bot(client: AsyncWebClient, question: str) -> None:
    posted = await client.chat_postMessage(channel="C0HELP", thread_ts=question, text="here", blocks=[SECTION])
    message = posted["message"]
    assert message["thread_ts"] == question and message["parent_user_id"] == "U0MAYA"
    assert message["bot_id"] == "B0FOOTNOTE" and message["user"] == "U0FOOTNOTE" and message["team"] == "T0LOCAL"
    assert message["blocks"][0]["block_id"], "Slack gives every block an id"
    parent = (await client.conversations_replies(channel="C0HELP", ts=question))["messages"][0]
    assert parent["reply_count"] == 1 and parent["latest_reply"] == posted["ts"]
    assert parent["reply_users"] == ["U0FOOTNOTE"] and parent["thread_ts"] == question


async def test_a_thread_hangs_on_its_parent_only(client: AsyncWebClient, question: str) -> None:
    reply = await client.chat_postMessage(channel="C0HELP", thread_ts=question, text="first")
    with refused("cannot_reply_to_message"):
        await client.chat_postMessage(channel="C0HELP", thread_ts=reply["ts"], text="second")
    with refused("thread_not_found"):
        await client.chat_postMessage(channel="C0HELP", thread_ts="1.000001", text="third")


async def test_a_post_goes_only_where_the_bot_is(client: AsyncWebClient) -> None:
    with refused("not_in_channel"):
        await client.chat_postMessage(channel="C0RANDOM", text="hi")
    with refused("channel_not_found"):
        await client.chat_postMessage(channel="C0NOWHERE", text="hi")


async def test_a_post_to_a_person_lands_in_their_direct_message(client: AsyncWebClient) -> None:
    assert (await client.chat_postMessage(channel="U0NOAH", text="hi"))["channel"] == "D0NOAH"


async def test_a_post_without_content_is_refused(client: AsyncWebClient) -> None:
    with refused("no_text"):
        await client.api_call("chat.postMessage", json={"channel": "C0HELP", "text": ""})


async def test_too_long_a_text_is_cut_at_40000_characters(client: AsyncWebClient) -> None:
    posted = await client.chat_postMessage(channel="C0HELP", text="é" * 40_500)
    assert len(posted["message"]["text"]) == 40_000


async def test_markdown_text_stands_alone_and_is_limited(client: AsyncWebClient) -> None:
    with refused("markdown_text_conflict"):
        await client.chat_postMessage(channel="C0HELP", text="a", markdown_text="**b**")
    with refused("msg_too_long"):
        await client.chat_postMessage(channel="C0HELP", markdown_text="x" * 12_001)


async def test_every_ts_is_its_own_and_they_rise(client: AsyncWebClient) -> None:
    stamps = [(await client.chat_postMessage(channel="D0ADMIN", text=str(n)))["ts"] for n in range(20)]
    assert stamps == sorted(set(stamps))


async def test_metadata_shows_only_when_asked_for(client: AsyncWebClient, question: str) -> None:
    metadata = {"event_type": "answer", "event_payload": {"id": "q1"}}
    await client.chat_postMessage(channel="C0HELP", thread_ts=question, text="a", metadata=metadata)
    plain = await client.conversations_replies(channel="C0HELP", ts=question)
    assert "metadata" not in plain["messages"][1]
    whole = await client.conversations_replies(channel="C0HELP", ts=question, include_all_metadata=True)
    assert whole["messages"][1]["metadata"] == metadata


async def test_metadata_of_another_shape_is_refused(client: AsyncWebClient) -> None:
    with refused("invalid_metadata_schema"):
        await client.chat_postMessage(channel="C0HELP", text="a", metadata={"event_type": "answer"})
    with refused("invalid_metadata_format"):
        await client.chat_postMessage(channel="C0HELP", text="a", metadata="{no json")


def _texts(count: int, length: int) -> list[dict[str, Any]]:
    return [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * length}}] * count


def _feedback(**changes: Any) -> dict[str, Any]:
    buttons = {
        "type": "feedback_buttons",
        "action_id": "feedback",
        "positive_button": {"text": {"type": "plain_text", "text": "Good"}, "value": "v1:up"},
        "negative_button": {"text": {"type": "plain_text", "text": "Bad"}, "value": "v1:down"},
    }
    return {"type": "context_actions", "elements": [buttons | changes]}


def _input(**changes: Any) -> dict[str, Any]:
    label = {"type": "plain_text", "text": "Words"}
    return {"type": "input", "label": label, "element": {"type": "plain_text_input", "action_id": "words"} | changes}


@pytest.mark.parametrize(
    "blocks",
    [
        _texts(51, 1),
        _texts(1, 3001),
        _texts(1, 0),
        [{"type": "section"}],
        [{"type": "poem"}],
        [{"type": ["section"]}],
        [{"type": "header", "text": {"type": "mrkdwn", "text": "no"}}],
        [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}],
        [{"type": "actions", "elements": []}],
        [{"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "x" * 76}}]}],
        [{"type": "actions", "elements": _feedback()["elements"]}],
        [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}],
        [{"type": "markdown", "text": "x" * 6_001}] * 2,
        [{"type": "section", "block_id": "a", "text": {"type": "mrkdwn", "text": "x"}}] * 2,
        [_feedback(positive_button={"text": {"type": "plain_text", "text": "Good"}, "value": "x" * 2001})],
        [_feedback(negative_button=None)],
        [{"type": "image", "image_url": "https://x.example/a.png"}],
        [_input(max_length=3_001)],
        [_input(initial_value="x" * 3_001)],
        [_input(initial_value="xxx", max_length=2)],
    ],
)
async def test_blocks_that_slack_would_refuse_are_refused(client: AsyncWebClient, blocks: list[Any]) -> None:
    """Sizes, shapes and ids of Block Kit; the answer says where the fault is."""
    with pytest.raises(SlackApiError) as refusal:
        await client.chat_postMessage(channel="C0HELP", text="a", blocks=blocks)
    assert refusal.value.response["error"] == "invalid_blocks"
    assert "[json-pointer:/blocks" in refusal.value.response["response_metadata"]["messages"][0]


async def test_blocks_that_are_no_list_of_objects_have_their_own_error(client: AsyncWebClient) -> None:
    for blocks in ('{"type": "section"}', "[1]", "no json"):
        with refused("invalid_blocks_format"):
            await client.chat_postMessage(channel="C0HELP", text="a", blocks=blocks)


async def test_feedback_buttons_and_the_other_blocks_of_an_answer_pass(client: AsyncWebClient) -> None:
    context = {"type": "context", "elements": [{"type": "mrkdwn", "text": "automated, may be wrong"}]}
    blocks = [SECTION, {"type": "divider"}, context, _feedback(), {"type": "markdown", "text": "**x**"}]
    posted = await client.chat_postMessage(channel="C0HELP", text="a", blocks=blocks)
    assert [block["type"] for block in posted["message"]["blocks"]] == [block["type"] for block in blocks]


# -- changing and deleting


async def test_an_update_changes_text_and_drops_blocks_that_it_does_not_name(client: AsyncWebClient) -> None:
    metadata = {"event_type": "answer", "event_payload": {}}
    ts = (await client.chat_postMessage(channel="C0HELP", text="a", blocks=[SECTION], metadata=metadata))["ts"]
    updated = await client.chat_update(channel="C0HELP", ts=ts, text="b")
    assert updated["text"] == "b" and "blocks" not in updated["message"]
    assert updated["message"]["edited"]["user"] == "U0FOOTNOTE" and updated["message"]["metadata"] == metadata


async def test_an_update_with_blocks_shows_no_edited_mark(client: AsyncWebClient) -> None:
    ts = (await client.chat_postMessage(channel="C0HELP", text="a"))["ts"]
    assert "edited" not in (await client.chat_update(channel="C0HELP", ts=ts, text="b", blocks=[SECTION]))["message"]


async def test_an_update_of_more_than_4000_characters_is_refused(client: AsyncWebClient) -> None:
    ts = (await client.chat_postMessage(channel="C0HELP", text="a"))["ts"]
    with refused("msg_too_long"):
        await client.chat_update(channel="C0HELP", ts=ts, text="x" * 4001)


async def test_only_ones_own_message_can_be_changed_or_deleted(client: AsyncWebClient, question: str) -> None:
    with refused("cant_update_message"):
        await client.chat_update(channel="C0HELP", ts=question, text="b")
    with refused("cant_delete_message"):
        await client.chat_delete(channel="C0HELP", ts=question)
    with refused("message_not_found"):
        await client.chat_update(channel="C0HELP", ts="1.000001", text="b")


async def test_a_deleted_reply_is_gone_and_no_longer_counted(client: AsyncWebClient, question: str) -> None:
    ts = (await client.chat_postMessage(channel="C0HELP", thread_ts=question, text="a"))["ts"]
    await client.chat_delete(channel="C0HELP", ts=ts)
    left = (await client.conversations_replies(channel="C0HELP", ts=question))["messages"]
    assert [m["ts"] for m in left] == [question] and "reply_count" not in left[0]


async def test_a_deleted_parent_leaves_a_tombstone_over_its_replies(
    slack: LocalSlack, client: AsyncWebClient, question: str
) -> None:
    reply = await client.chat_postMessage(channel="C0HELP", thread_ts=question, text="a")
    await slack.delete("U0MAYA", "C0HELP", question)
    parent, answer = (await client.conversations_replies(channel="C0HELP", ts=question))["messages"]
    assert (parent["subtype"], parent["user"]) == ("tombstone", "USLACKBOT") and answer["ts"] == reply["ts"]


# -- ephemeral messages and links


async def test_an_ephemeral_message_is_seen_by_one_person_and_in_no_history(
    slack: LocalSlack, client: AsyncWebClient, question: str
) -> None:
    await client.chat_postEphemeral(channel="C0HELP", user="U0MAYA", thread_ts=question, text="only you")
    assert (await slack.seen("U0MAYA"))["ephemerals"][-1]["text"] == "only you"
    assert (await slack.seen("U0NOAH"))["ephemerals"] == []
    assert len((await client.conversations_replies(channel="C0HELP", ts=question))["messages"]) == 1
    with refused("user_not_in_channel"):
        await client.chat_postEphemeral(channel="C0INCIDENTS", user="U0MAYA", text="x")


async def test_a_permalink_names_channel_message_and_thread(client: AsyncWebClient, question: str) -> None:
    ts = (await client.chat_postMessage(channel="C0HELP", thread_ts=question, text="a"))["ts"]
    link = (await client.chat_getPermalink(channel="C0HELP", message_ts=ts))["permalink"]
    assert f"/archives/C0HELP/p{ts.replace('.', '')}?thread_ts={question}" in link


# -- streams


async def test_a_stream_grows_and_gets_blocks_and_metadata_at_its_stop(
    slack: LocalSlack, client: AsyncWebClient, question: str
) -> None:
    start = {"channel": "C0HELP", "thread_ts": question, **RECIPIENT}
    ts = (await client.chat_startStream(**start, markdown_text="One "))["ts"]
    await client.chat_appendStream(channel="C0HELP", ts=ts, markdown_text="two.")
    growing = (await slack.thread("C0HELP", question))[1]
    assert growing["text"] == "One two." and growing["streaming"] is True
    assert "blocks" not in growing and "metadata" not in growing
    metadata = {"event_type": "answer", "event_payload": {"id": "q"}}
    stopped = await client.chat_stopStream(channel="C0HELP", ts=ts, blocks=[SECTION], metadata=metadata)
    assert [block["type"] for block in stopped["message"]["blocks"]] == ["markdown", "section"]
    finished = (await slack.thread("C0HELP", question))[1]
    assert finished["metadata"] == metadata and finished["streaming"] is False and "edited" not in finished


async def test_slacks_own_stream_helper_works(client: AsyncWebClient, question: str) -> None:
    stream = await client.chat_stream(channel="C0HELP", thread_ts=question, buffer_size=8, **RECIPIENT)
    for word in ("Keys ", "are ", "rotated ", "monthly."):
        await stream.append(markdown_text=word)
    stopped = await stream.stop(blocks=[_feedback()])
    assert stopped["message"]["text"] == "Keys are rotated monthly."


async def test_a_stream_needs_thread_and_recipient_outside_direct_messages(
    slack: LocalSlack, client: AsyncWebClient, question: str
) -> None:
    with refused("missing_recipient_user_id"):
        await client.chat_startStream(channel="C0HELP", thread_ts=question)
    with refused("missing_recipient_team_id"):
        await client.chat_startStream(channel="C0HELP", thread_ts=question, recipient_user_id="U0MAYA")
    with refused("invalid_thread_ts"):
        await client.api_call("chat.startStream", json={"channel": "C0HELP", **RECIPIENT})
    direct = await slack.message("U0MAYA", "D0MAYA", "hello")
    assert (await client.chat_startStream(channel="D0MAYA", thread_ts=direct))["ts"]


async def test_a_live_stream_cannot_be_updated_and_a_stopped_one_not_appended(
    client: AsyncWebClient, question: str
) -> None:
    ts = (await client.chat_startStream(channel="C0HELP", thread_ts=question, markdown_text="a", **RECIPIENT))["ts"]
    with refused("streaming_state_conflict"):
        await client.chat_update(channel="C0HELP", ts=ts, text="b")
    await client.chat_stopStream(channel="C0HELP", ts=ts)
    for call in (client.chat_appendStream, client.chat_stopStream):
        with refused("message_not_in_streaming_state"):
            await call(channel="C0HELP", ts=ts, markdown_text="b")
    assert (await client.chat_update(channel="C0HELP", ts=ts, text="b"))["message"]["text"] == "b"


async def test_a_stream_dies_after_its_time_though_it_is_appended_to(
    slack: LocalSlack, client: AsyncWebClient, question: str
) -> None:
    """Here after 1.5 s, on Slack after five minutes; then only chat.update finishes the message."""
    ts = (await client.chat_startStream(channel="C0HELP", thread_ts=question, markdown_text="a", **RECIPIENT))["ts"]
    with refused("message_not_in_streaming_state"):
        async with asyncio.timeout(10):
            while True:
                await client.chat_appendStream(channel="C0HELP", ts=ts, markdown_text="b")
                await asyncio.sleep(0.1)
    assert (await slack.thread("C0HELP", question))[1]["stream"] == "expired"
    with refused("message_not_in_streaming_state"):
        await client.chat_stopStream(channel="C0HELP", ts=ts)
    await client.chat_update(channel="C0HELP", ts=ts, text="the whole answer")
    assert (await slack.thread("C0HELP", question))[1]["stream"] == "stopped"


async def test_only_a_stream_of_the_app_takes_appends(client: AsyncWebClient, question: str) -> None:
    with refused("message_not_owned_by_app"):
        await client.chat_appendStream(channel="C0HELP", ts=question, markdown_text="a")
    posted = await client.chat_postMessage(channel="C0HELP", text="no stream")
    with refused("message_not_in_streaming_state"):
        await client.chat_appendStream(channel="C0HELP", ts=posted["ts"], markdown_text="a")


async def test_a_stream_keeps_the_form_it_began_in(client: AsyncWebClient, question: str) -> None:
    ts = (await client.chat_startStream(channel="C0HELP", thread_ts=question, markdown_text="a", **RECIPIENT))["ts"]
    chunk = {"type": "markdown_text", "text": "b"}
    with refused("streaming_mode_mismatch"):
        await client.chat_appendStream(channel="C0HELP", ts=ts, chunks=[chunk])
    with refused("cannot_provide_both_markdown_text_and_chunks"):
        await client.chat_appendStream(channel="C0HELP", ts=ts, markdown_text="b", chunks=[chunk])
    with refused("msg_too_long"):
        await client.chat_appendStream(channel="C0HELP", ts=ts, markdown_text="x" * 12_001)
    with refused("markdown_text_or_chunks_required"):
        await client.chat_appendStream(channel="C0HELP", ts=ts, markdown_text="")


async def test_chunks_of_text_and_tasks_become_blocks_at_the_stop(client: AsyncWebClient, question: str) -> None:
    task = {"type": "task_update", "id": "1", "title": "Search", "status": "in_progress"}
    ts = (await client.chat_startStream(channel="C0HELP", thread_ts=question, chunks=[task], **RECIPIENT))["ts"]
    done = {"type": "task_update", "id": "1", "title": "Search", "status": "complete"}
    chunks = [done, {"type": "markdown_text", "text": "Found."}]
    blocks = (await client.chat_stopStream(channel="C0HELP", ts=ts, chunks=chunks))["message"]["blocks"]
    assert [block["type"] for block in blocks] == ["task_card", "markdown"] and blocks[0]["status"] == "complete"
    with refused("invalid_chunks"):
        await client.chat_startStream(channel="C0HELP", thread_ts=question, chunks=[{"type": "?"}], **RECIPIENT)


# -- reading


async def test_replies_come_page_by_page_with_the_parent_first(client: AsyncWebClient, question: str) -> None:
    sent = [(await client.chat_postMessage(channel="C0HELP", thread_ts=question, text=str(n)))["ts"] for n in range(5)]
    seen, cursor = [], ""
    for _ in range(3):
        page = await client.conversations_replies(channel="C0HELP", ts=question, limit=2, cursor=cursor)
        seen += [message["ts"] for message in page["messages"]]
        cursor = page["response_metadata"]["next_cursor"]
        assert page["has_more"] is bool(cursor)
    assert seen == [question, *sent] and not cursor


async def test_history_is_newest_first_without_replies_and_between_bounds(
    slack: LocalSlack, client: AsyncWebClient
) -> None:
    first, second, third = [await slack.message("U0NOAH", "D0NOAH", word) for word in ("a", "b", "c")]
    await client.chat_postMessage(channel="D0NOAH", thread_ts=second, text="a reply")
    history = await client.conversations_history(channel="D0NOAH", oldest=first, latest=third)
    assert [m["ts"] for m in history["messages"]] == [second]
    whole = await client.conversations_history(channel="D0NOAH", oldest=first, latest=third, inclusive=True)
    assert [m["ts"] for m in whole["messages"]] == [third, second, first]


async def test_reading_a_thread_that_is_not_there_is_an_error(client: AsyncWebClient) -> None:
    with refused("thread_not_found"):
        await client.conversations_replies(channel="C0HELP", ts="1.000001")
    with refused("not_in_channel"):
        await client.conversations_history(channel="C0RANDOM")
    with refused("invalid_cursor"):
        await client.conversations_history(channel="C0HELP", cursor="garbage")


async def test_channels_tell_what_an_audience_depends_on(client: AsyncWebClient) -> None:
    shared = (await client.conversations_info(channel="C0PARTNER"))["channel"]
    private = (await client.conversations_info(channel="C0INCIDENTS"))["channel"]
    direct = (await client.conversations_info(channel="D0MAYA"))["channel"]
    group = (await client.conversations_info(channel="C0GROUP"))["channel"]
    assert shared["is_ext_shared"] and not shared["is_private"] and "T0ACME" in shared["shared_team_ids"]
    assert private["is_private"] and private["is_group"] and not private["is_ext_shared"]
    assert direct["is_im"] and direct["user"] == "U0MAYA" and group["is_mpim"]
    assert (await client.conversations_info(channel="C0RANDOM"))["channel"]["is_member"] is False


async def test_members_come_page_by_page(client: AsyncWebClient) -> None:
    members, cursor = [], None
    while cursor != "":
        page = await client.conversations_members(channel="C0GENERAL", limit=2, cursor=cursor)
        members += page["members"]
        cursor = page["response_metadata"]["next_cursor"]
    assert set(members) == {"U0ADMIN", "U0MAYA", "U0NOAH", "U0PRIYA", "U0GUEST", "U0FOOTNOTE"}
    assert len(members) == 6


async def test_people_tell_their_role(client: AsyncWebClient) -> None:
    people = {user["id"]: user for user in (await client.users_list())["members"]}
    assert people["U0ADMIN"]["is_admin"] and people["U0ADMIN"]["is_owner"]
    assert people["U0GUEST"]["is_restricted"] and not people["U0MAYA"]["is_restricted"]
    assert people["U0PARTNER"]["is_stranger"] and people["U0PARTNER"]["team_id"] == "T0ACME"
    assert people["U0FOOTNOTE"]["is_bot"] and people["U0MAYA"]["real_name"] == "Maya Lindqvist"
    with refused("user_not_found"):
        await client.users_info(user="U0NOBODY")


async def test_a_persons_channels_are_those_the_bot_may_know_of(client: AsyncWebClient) -> None:
    types = "public_channel,private_channel,mpim"
    noah = [c["id"] for c in (await client.users_conversations(user="U0NOAH", types=types))["channels"]]
    assert noah == ["C0HELP", "C0GENERAL", "C0RANDOM", "C0INCIDENTS", "C0GROUP"]
    maya = [c["id"] for c in (await client.users_conversations(user="U0MAYA", types=types))["channels"]]
    assert "C0INCIDENTS" not in maya and "C0PARTNER" in maya


async def test_a_private_channel_without_the_bot_does_not_exist_for_it(
    slack: LocalSlack, client: AsyncWebClient
) -> None:
    await slack.leave("U0FOOTNOTE", "C0INCIDENTS")
    try:
        with refused("channel_not_found"):
            await client.conversations_info(channel="C0INCIDENTS")
        channels = (await client.users_conversations(user="U0NOAH", types="private_channel"))["channels"]
        assert channels == []
    finally:
        await slack.join("U0FOOTNOTE", "C0INCIDENTS")


async def test_groups_team_and_bot_are_told(client: AsyncWebClient) -> None:
    groups = (await client.usergroups_list(include_users=True))["usergroups"]
    assert groups[0]["id"] == "S0ONCALL" and groups[0]["users"] == ["U0ADMIN", "U0NOAH"]
    assert "users" not in (await client.usergroups_list())["usergroups"][0]
    assert (await client.usergroups_users_list(usergroup="S0ONCALL"))["users"] == ["U0ADMIN", "U0NOAH"]
    assert (await client.team_info())["team"]["id"] == "T0LOCAL"
    assert (await client.bots_info(bot="B0FOOTNOTE"))["bot"]["user_id"] == "U0FOOTNOTE"


async def test_a_direct_message_is_opened_and_a_public_channel_joined(client: AsyncWebClient) -> None:
    assert (await client.conversations_open(users="U0MAYA"))["channel"]["id"] == "D0MAYA"
    assert (await client.conversations_open(users=["U0MAYA", "U0NOAH"]))["channel"]["id"] == "C0GROUP"
    listed = (await client.conversations_list(types="public_channel,im"))["channels"]
    assert {"C0RANDOM", "D0MAYA"} <= {channel["id"] for channel in listed}
    with refused("method_not_supported_for_channel_type"):
        await client.conversations_join(channel="C0INCIDENTS")


# -- reactions, status, views


async def test_reactions_are_one_per_name_and_person(client: AsyncWebClient, question: str) -> None:
    place = {"channel": "C0HELP", "timestamp": question}
    await client.reactions_add(**place, name="eyes")
    with refused("already_reacted"):
        await client.reactions_add(**place, name="eyes")
    got = (await client.reactions_get(**place))["message"]["reactions"]
    assert got == [{"name": "eyes", "users": ["U0FOOTNOTE"], "count": 1}]
    await client.reactions_remove(**place, name="eyes")
    with refused("no_reaction"):
        await client.reactions_remove(**place, name="eyes")
    with refused("invalid_name"):
        await client.reactions_add(**place, name="not a name")


async def test_a_status_lasts_until_the_reply(slack: LocalSlack, client: AsyncWebClient, question: str) -> None:
    place = {"channel_id": "C0HELP", "thread_ts": question}
    await client.assistant_threads_setStatus(**place, status="is looking it up…", loading_messages=["…"])
    assert await slack.status("C0HELP", question) == "is looking it up…"
    await client.chat_postMessage(channel="C0HELP", thread_ts=question, text="here")
    assert await slack.status("C0HELP", question) == ""


async def test_a_plain_app_has_no_agent_sessions(client: AsyncWebClient, question: str) -> None:
    with refused("not_authorized"):
        await client.agents_sessions_setStatus(channel_id="C0HELP", thread_ts=question, status="processing")


async def test_a_modal_needs_a_trigger_that_exists(client: AsyncWebClient) -> None:
    with refused("invalid_trigger_id"):
        await client.views_open(trigger_id="1.2.3", view={"type": "modal"})


async def test_a_home_tab_is_published_and_seen(slack: LocalSlack, client: AsyncWebClient) -> None:
    published = await client.views_publish(user_id="U0MAYA", view={"type": "home", "blocks": [SECTION]})
    home = await slack.home("U0MAYA")
    assert home and home["blocks"][0]["type"] == "section" and home["id"] == published["view"]["id"]
    with refused("hash_conflict"):
        await client.views_publish(user_id="U0MAYA", view={"type": "home", "blocks": []}, hash="older")


# -- faults and the log


async def test_an_ordered_fault_hits_the_next_calls_only(slack: LocalSlack, client: AsyncWebClient) -> None:
    await slack.fault("team.info", error="ratelimited", retry_after_s=7, times=1)
    with pytest.raises(SlackApiError) as refusal:
        await client.team_info()
    assert refusal.value.response.status_code == 429 and refusal.value.response.headers["Retry-After"] == "7"
    assert (await client.team_info())["ok"]
    await slack.fault("team.info", status=503, times=2)
    for _ in range(2):
        with pytest.raises(SlackApiError):
            await client.team_info()
    assert (await client.team_info())["ok"]


async def test_a_fault_may_lose_only_the_answer(slack: LocalSlack, client: AsyncWebClient, question: str) -> None:
    """With `after` the message is posted and the caller does not hear of it, as when a line breaks."""
    await slack.fault("chat.postMessage", status=500, after=True)
    with pytest.raises(SlackApiError):
        await client.chat_postMessage(channel="C0HELP", thread_ts=question, text="posted all the same")
    assert [m["text"] for m in await slack.thread("C0HELP", question)][1:] == ["posted all the same"]


async def test_the_log_holds_calls_without_tokens(slack: LocalSlack, client: AsyncWebClient) -> None:
    token = slack.environment["SLACK_BOT_TOKEN"]
    await client.api_call("api.test", data={"token": token, "note": f"my token is {token}"})
    call = (await slack.calls("api.test"))[-1]
    assert call["args"] == {"note": "my token is (token)"} and call["error"] is None and call["status"] == 200
    assert token not in str(await slack.log())


# -- what people type


async def test_what_a_person_types_is_escaped_as_slacks_clients_do(slack: LocalSlack) -> None:
    typed = "<@U0FOOTNOTE> is a < b & c? see https://x.example/a?b=1&c=2, mail ops@x.example"
    ts = await slack.message("U0MAYA", "C0HELP", typed)
    assert (await slack.thread("C0HELP", ts))[0]["text"] == (
        "<@U0FOOTNOTE> is a &lt; b &amp; c? see <https://x.example/a?b=1&amp;c=2>, "
        "mail <mailto:ops@x.example|ops@x.example>"
    )


async def test_people_act_only_where_they_are(slack: LocalSlack) -> None:
    with pytest.raises(Refused, match="channel_not_found"):
        await slack.message("U0MAYA", "C0INCIDENTS", "hi")
    with pytest.raises(Refused, match="not_in_channel"):
        await slack.message("U0GUEST", "C0HELP", "hi")
    with pytest.raises(Refused, match="not theirs"):
        await slack.edit("U0NOAH", "C0HELP", await slack.message("U0MAYA", "C0HELP", "mine"), "yours")


async def test_an_unknown_response_url_is_refused(slack: LocalSlack) -> None:
    answer = await AsyncWebhookClient(f"{slack.url}/response/none").send(text="hi")
    assert answer.status_code == 404 and "invalid_url" in answer.body
