"""The local Slack is as impatient as Slack: three seconds for an acknowledgement, then it comes again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp import web
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from tests.local_slack import ROOT, LocalSlack, Refused

JSON = dict[str, Any]


@asynccontextmanager
async def connection(slack: LocalSlack) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A bare Socket Mode connection, past its hello."""
    given = slack.environment
    client = AsyncWebClient(base_url=given["SLACK_API_URL"])
    url = (await client.apps_connections_open(app_token=given["SLACK_APP_TOKEN"]))["url"]
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        assert (await socket.receive_json(timeout=5))["type"] == "hello"
        yield socket


async def acknowledge(socket: aiohttp.ClientWebSocketResponse, envelope: JSON) -> None:
    await socket.send_json({"envelope_id": envelope["envelope_id"]})


async def logged(slack: LocalSlack, count: int, timeout_s: float = 10) -> list[JSON]:
    """The delivery log, once it holds `count` entries."""
    deadline = time.monotonic() + timeout_s
    while len(entries := (await slack.log())["deliveries"]) < count:
        assert time.monotonic() < deadline, entries
        await asyncio.sleep(0.02)
    return list(entries)


class Receiver:
    """An HTTP endpoint that records what is posted to it; `answer` decides each response."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], str]] = []
        self.answer: Callable[[int], web.Response] = lambda number: web.Response()
        self.url = ""

    async def wait(self, count: int, timeout_s: float = 10) -> list[tuple[dict[str, str], str]]:
        deadline = time.monotonic() + timeout_s
        while len(self.posts) < count:
            assert time.monotonic() < deadline, self.posts
            await asyncio.sleep(0.02)
        return self.posts

    async def _handle(self, request: web.Request) -> web.Response:
        self.posts.append(({k.lower(): v for k, v in request.headers.items()}, await request.text()))
        return self.answer(len(self.posts))


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    app = web.Application()
    app.router.add_post("/slack/events", one._handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    try:
        yield one
    finally:
        await runner.cleanup()


# -- Socket Mode


async def test_what_is_not_acknowledged_in_three_seconds_comes_again_with_its_reason() -> None:
    async with LocalSlack(retry_delays=(0,)) as slack, connection(slack) as socket:
        await slack.message("U0MAYA", "D0MAYA", "hello")
        first = await socket.receive_json(timeout=5)
        started = time.monotonic()
        second = await socket.receive_json(timeout=10)
        assert 2.5 < time.monotonic() - started < 6
        await acknowledge(socket, second)
        assert (first["retry_attempt"], second["retry_attempt"]) == (0, 1)
        assert second["retry_reason"] == "timeout"
        assert first["payload"]["event_id"] == second["payload"]["event_id"]
        assert first["envelope_id"] != second["envelope_id"]
        assert [e["outcome"] for e in await logged(slack, 2)] == ["timeout", "acknowledged"]


async def test_events_wait_while_nobody_is_connected() -> None:
    async with LocalSlack() as slack:
        stamps = [await slack.message("U0MAYA", "D0MAYA", str(n)) for n in range(3)]
        async with connection(slack) as socket:
            arrived = []
            for _ in stamps:
                envelope = await socket.receive_json(timeout=5)
                await acknowledge(socket, envelope)
                arrived.append(envelope["payload"]["event"]["ts"])
        assert arrived == stamps


async def test_each_payload_goes_to_one_of_several_connections() -> None:
    async with LocalSlack() as slack, connection(slack) as one, connection(slack) as other:
        heard: dict[str, list[str]] = {"one": [], "other": []}

        async def listen(name: str, socket: aiohttp.ClientWebSocketResponse) -> None:
            async for message in socket:
                envelope = json.loads(message.data)
                await acknowledge(socket, envelope)
                heard[name].append(envelope["payload"]["event"]["ts"])

        listening = [asyncio.ensure_future(listen("one", one)), asyncio.ensure_future(listen("other", other))]
        stamps = [await slack.message("U0MAYA", "D0MAYA", str(n)) for n in range(10)]
        await logged(slack, 10)
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
        assert sorted(heard["one"] + heard["other"]) == stamps
        assert heard["one"] and heard["other"]


async def test_a_connection_that_breaks_before_its_acknowledgement_costs_no_event() -> None:
    """As when a process is killed: the event goes to the next connection, as a retry."""
    async with LocalSlack(retry_delays=(0, 0)) as slack:
        async with connection(slack) as socket:
            await slack.message("U0MAYA", "D0MAYA", "hello")
            lost = await socket.receive_json(timeout=5)
        async with connection(slack) as socket:
            again = await socket.receive_json(timeout=5)
            await acknowledge(socket, again)
        assert again["payload"]["event_id"] == lost["payload"]["event_id"] and again["retry_attempt"] == 1
        assert again["retry_reason"] == "connection_failed"


async def test_a_disconnect_on_demand_is_announced() -> None:
    async with LocalSlack() as slack, connection(slack) as socket:
        assert await slack.disconnect("warning") == 1
        message = await socket.receive_json(timeout=5)
        assert (message["type"], message["reason"]) == ("disconnect", "warning")


async def test_a_link_opens_one_connection() -> None:
    async with LocalSlack() as slack:
        client = AsyncWebClient(base_url=slack.environment["SLACK_API_URL"])
        url = (await client.apps_connections_open(app_token=slack.environment["SLACK_APP_TOKEN"]))["url"]
        link = url.replace("ws:", "http:")
        async with aiohttp.ClientSession() as http, http.ws_connect(url), http.get(link) as again:
            assert again.status == 403


async def test_at_most_ten_connections_are_served() -> None:
    async with LocalSlack() as slack:
        given = slack.environment
        client = AsyncWebClient(base_url=given["SLACK_API_URL"])
        async with aiohttp.ClientSession() as http:
            sockets = []
            for _ in range(11):
                url = (await client.apps_connections_open(app_token=given["SLACK_APP_TOKEN"]))["url"]
                sockets.append(await http.ws_connect(url))
            greetings = [await socket.receive_json(timeout=5) for socket in sockets]
            assert [greeting["type"] for greeting in greetings] == ["hello"] * 10 + ["disconnect"]
            assert greetings[10]["reason"] == "too_many_websockets"


async def test_garbage_from_an_app_is_ignored() -> None:
    async with LocalSlack() as slack, connection(slack) as socket:
        for garbage in ("", "no json", "[1]", '{"envelope_id": {}}', '{"envelope_id": "none"}', "[" * 100_000):
            await socket.send_str(garbage)
        await slack.message("U0MAYA", "D0MAYA", "hello")
        await acknowledge(socket, await socket.receive_json(timeout=5))
        assert (await logged(slack, 1))[0]["outcome"] == "acknowledged"


# -- signed HTTP


async def test_a_post_is_signed_and_an_event_is_json() -> None:
    async with receiver() as one, LocalSlack(events_url=one.url) as slack:
        assert "SLACK_APP_TOKEN" not in slack.environment
        await slack.message("U0MAYA", "D0MAYA", "hellö \U0001f511")
        ((headers, body),) = await one.wait(1)
        verifier = SignatureVerifier(slack.environment["SLACK_SIGNING_SECRET"])
        assert verifier.is_valid_request(body, headers)
        assert not verifier.is_valid_request(body + " ", headers)
        assert headers["content-type"] == "application/json" and "x-slack-retry-num" not in headers
        assert json.loads(body)["event"]["text"] == "hellö \U0001f511"


async def test_commands_and_interactions_are_forms() -> None:
    async with receiver() as one, LocalSlack(events_url=one.url) as slack:
        ts = await slack.message("U0MAYA", "C0HELP", "hello")
        await slack.command("U0MAYA", "C0HELP", "/support", "ask is a & b = c?")
        await slack.shortcut("U0MAYA", "C0HELP", ts, "answer")
        (_, command), (_, shortcut) = (await one.wait(3))[1:]
        assert parse_qs(command)["text"] == ["ask is a & b = c?"]
        assert json.loads(parse_qs(shortcut)["payload"][0])["type"] == "message_action"


async def test_a_failing_endpoint_gets_three_retries_numbered_and_reasoned() -> None:
    async with receiver() as one, LocalSlack(events_url=one.url, retry_delays=(0, 0.1, 0.2)) as slack:
        one.answer = lambda number: web.Response(status=500)
        await slack.message("U0MAYA", "D0MAYA", "hello")
        entries = await logged(slack, 4)
        posts = await one.wait(4)
        assert [headers.get("x-slack-retry-num") for headers, _ in posts] == [None, "1", "2", "3"]
        assert [headers.get("x-slack-retry-reason") for headers, _ in posts] == [None, *["http_error"] * 3]
        assert [entry["attempt"] for entry in entries] == [0, 1, 2, 3]
        assert len({json.loads(body)["event_id"] for _, body in posts}) == 1


async def test_a_retry_that_is_acknowledged_is_the_last() -> None:
    async with receiver() as one, LocalSlack(events_url=one.url, retry_delays=(0, 0, 0)) as slack:
        one.answer = lambda number: web.Response(status=503 if number == 1 else 200)
        await slack.message("U0MAYA", "D0MAYA", "first")
        await logged(slack, 2)
        await slack.message("U0MAYA", "D0MAYA", "second")
        await logged(slack, 3)
        texts = [json.loads(body)["event"]["text"] for _, body in one.posts]
        assert texts == ["first", "first", "second"]


async def test_an_app_may_refuse_retries() -> None:
    async with receiver() as one, LocalSlack(events_url=one.url, retry_delays=(0, 0, 0)) as slack:
        one.answer = lambda number: web.Response(status=500, headers={"x-slack-no-retry": "1"})
        await slack.message("U0MAYA", "D0MAYA", "first")
        await logged(slack, 1)
        await slack.message("U0MAYA", "D0MAYA", "second")
        await logged(slack, 2)
        assert len(one.posts) == 2


async def test_an_endpoint_that_is_not_there_is_tried_again() -> None:
    async with receiver() as gone:
        url = gone.url
    async with LocalSlack(events_url=url, retry_delays=(0, 0)) as slack:
        await slack.message("U0MAYA", "D0MAYA", "hello")
        entries = await logged(slack, 3)
        assert [entry["outcome"] for entry in entries] == ["connection_failed"] * 3
        assert [entry["retry_reason"] for entry in entries] == [None, "connection_failed", "connection_failed"]


async def test_slacks_own_client_comes_again_after_a_disconnect() -> None:
    async with LocalSlack() as slack:
        given = slack.environment
        web_client = AsyncWebClient(base_url=given["SLACK_API_URL"])
        client = SocketModeClient(app_token=given["SLACK_APP_TOKEN"], web_client=web_client)

        async def heard(_: Any, request: SocketModeRequest) -> None:
            await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))

        client.socket_mode_request_listeners.append(heard)
        try:
            await client.connect()
            for number in range(1, 4):
                await slack.message("U0MAYA", "D0MAYA", f"before disconnect {number}")
                assert (await logged(slack, number))[-1]["outcome"] == "acknowledged"
                assert await slack.disconnect() == 1
            await slack.message("U0MAYA", "D0MAYA", "after the last")
            assert (await logged(slack, 4))[-1]["outcome"] == "acknowledged"
        finally:
            await client.close()
        assert len(await slack.calls("apps.connections.open")) == 4


# -- what the manifest declares


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    manifest = tmp_path / "manifest.json"
    features = {
        "slash_commands": [{"command": "/lunch", "description": "What is for lunch"}],
        "shortcuts": [{"type": "message", "callback_id": "answer", "name": "Answer"}],
    }
    scopes = {"scopes": {"bot": ["chat:write", "channels:history", "im:read"]}}
    subscriptions = {"event_subscriptions": {"bot_events": ["message.im", "app_mention"]}}
    manifest.write_text(json.dumps({"features": features, "oauth_config": scopes, "settings": subscriptions}))
    return manifest


async def test_an_app_may_do_what_its_manifest_asks_for_and_no_more(declared: Path) -> None:
    async with LocalSlack(manifest=declared) as slack:
        given = slack.environment
        client = AsyncWebClient(token=given["SLACK_BOT_TOKEN"], base_url=given["SLACK_API_URL"])
        scopes = (await client.auth_test()).headers["x-oauth-scopes"]
        assert scopes == "channels:history,chat:write,im:read"
        await client.conversations_history(channel="C0HELP")
        await client.conversations_info(channel="D0MAYA")
        await client.chat_postMessage(channel="C0HELP", text="hello")
        for call, needed in (
            (client.conversations_history(channel="C0INCIDENTS"), "groups:history"),
            (client.conversations_info(channel="C0HELP"), "channels:read"),
            (client.users_info(user="U0MAYA"), "users:read"),
            (client.usergroups_list(), "usergroups:read"),
            (client.users_conversations(user="U0MAYA", types="im,mpim,private_channel"), "groups:read,mpim:read"),
            (client.reactions_add(channel="C0HELP", timestamp="1.0", name="eyes"), "reactions:write"),
        ):
            with pytest.raises(SlackApiError) as refusal:
                await call
            assert refusal.value.response["error"] == "missing_scope"
            assert refusal.value.response["needed"] == needed


async def test_an_app_hears_what_its_manifest_subscribes_to_and_no_more(declared: Path) -> None:
    async with LocalSlack(manifest=declared) as slack, connection(slack) as socket:
        await slack.message("U0MAYA", "C0HELP", "<@U0FOOTNOTE> a mention, and a message that nobody asked for")
        await slack.message("U0MAYA", "D0MAYA", "a direct message")
        await slack.open_home("U0MAYA")
        heard = []
        for _ in range(2):
            envelope = await socket.receive_json(timeout=5)
            await acknowledge(socket, envelope)
            heard.append((envelope["payload"]["event"]["type"], envelope["payload"]["event"]["channel"]))
        assert heard == [("app_mention", "C0HELP"), ("message", "D0MAYA")]
        assert len(await logged(slack, 2)) == 2


async def test_commands_and_shortcuts_come_from_the_manifest(declared: Path) -> None:
    async with LocalSlack(manifest=declared) as slack:
        known = await slack.get("commands")
        assert known["commands"] == [{"command": "/lunch", "description": "What is for lunch", "usage_hint": ""}]
        assert [shortcut["callback_id"] for shortcut in known["shortcuts"]] == ["answer"]
        with pytest.raises(Refused, match="no command"):
            await slack.command("U0MAYA", "C0HELP", "/support")


async def test_this_projects_own_manifest_is_understood() -> None:
    async with LocalSlack(manifest=ROOT / "manifest.json") as slack:
        assert "/support" in [command["command"] for command in (await slack.get("commands"))["commands"]]
