"""The door: what is not a fresh, signed, well-formed request from Slack gets its status and goes no further, and
nothing that comes in makes a 5xx but a queue that does not take it."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.errors import TryAgain
from bot.settings import Settings
from handlers.app import listening, make_app
from handlers.gate import BODY_LIMIT, Refused, admit, check_shape
from handlers.inbox import Commanded, Judged, Opened
from handlers.slack import open_client
from tests.local_slack import LocalSlack

SECRET = "a-secret-of-the-test"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def headers(body: bytes, content_type: str = JSON, *, secret: str = SECRET, at: float | None = None) -> dict[str, str]:
    timestamp = str(int(time.time() if at is None else at))
    signature = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": content_type,
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": f"v0={signature}",
    }


def event(**fields: Any) -> dict[str, Any]:
    inner = {"type": "app_mention", "user": "U1", "channel": "C1", "ts": "1.2", "text": "<@U0FOOTNOTE> hello?"} | fields
    return {"type": "event_callback", "team_id": "T0LOCAL", "event_id": "Ev1", "event": inner}


class FakeInbox:
    """Remembers what it was handed; fails when told to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.fails = False

    async def ask(self, asked: Any, client_msg_id: str | None = None) -> None:
        if self.fails:
            raise TryAgain("Redis is down")
        self.asked.append(asked)

    async def revise(self, question_id: str, text: str) -> None: ...
    async def withdraw(self, question_id: str) -> None: ...
    async def judge(self, judged: Judged, key: str) -> None: ...
    async def command(self, commanded: Commanded) -> None: ...
    async def open_home(self, opened: Opened, key: str) -> None: ...
    async def is_in_thread(self, channel_id: str, thread_ts: str) -> bool:
        return False


class Door:
    """The running web server, and a client in front of it."""

    def __init__(self, session: aiohttp.ClientSession, inbox: FakeInbox) -> None:
        self.session = session
        self.inbox = inbox

    async def knock(self, body: bytes, sent: dict[str, str]) -> int:
        async with self.session.post("/slack/events", data=io.BytesIO(body), headers=sent) as response:
            await response.read()
            return response.status


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def the_door() -> AsyncIterator[Door]:
    inbox = FakeInbox()
    async with LocalSlack(events_url="http://127.0.0.1:9/nowhere") as slack:
        values = {name.lower(): value for name, value in slack.environment.items()}
        chosen = Settings.model_validate(values | {"slack_signing_secret": SECRET, "slack_app_token": None, "port": 0})

        async def is_healthy() -> dict[str, bool]:
            return {"memory": not inbox.fails}

        async with open_client(chosen) as client:
            app = make_app(chosen, client, inbox)  # type: ignore[arg-type]
            async with (
                listening(chosen, app, is_healthy, host="127.0.0.1") as port,
                aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
            ):
                yield Door(session, inbox)


@pytest.fixture
def door(the_door: Door) -> Door:
    the_door.inbox.asked.clear()
    the_door.inbox.fails = False
    return the_door


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_signed_event_is_taken(door: Door) -> None:
    """The other tests would pass in front of a closed door."""
    body = json.dumps(event()).encode()
    assert await door.knock(body, headers(body)) == 200
    assert [one.text for one in door.inbox.asked] == ["hello?"]


async def test_what_could_not_be_queued_is_not_acknowledged(door: Door) -> None:
    """Slack delivers again what it got a 5xx for."""
    door.inbox.fails = True
    body = json.dumps(event()).encode()
    assert await door.knock(body, headers(body)) == 500


async def test_health_says_what_is_wrong(door: Door) -> None:
    """An orchestrator reads the status, an operator the body."""
    door.inbox.fails = True
    async with door.session.get("/healthz") as response:
        assert response.status == 503
        assert (await response.json()) == {"ok": False, "memory": False}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"X-Slack-Signature": ""},
        {"X-Slack-Signature": "v0="},
        {"X-Slack-Signature": "v0=" + "0" * 64},
        {"X-Slack-Signature": "sch\u00f6n"},
        {"X-Slack-Request-Timestamp": ""},
        {"X-Slack-Request-Timestamp": "now"},
        {"X-Slack-Request-Timestamp": "9" * 40},
        {"X-Slack-Request-Timestamp": "\u0661" * 10},
        {"X-Slack-Request-Timestamp": str(int(time.time()) - 1_000)},
        {"X-Slack-Request-Timestamp": str(int(time.time()) + 1_000)},
    ],
)
async def test_an_unsigned_request_is_refused(door: Door, wrong: dict[str, str]) -> None:
    """401, and nothing is queued."""
    body = json.dumps(event()).encode()
    sent = headers(body) | wrong if wrong else {"Content-Type": JSON}
    assert await door.knock(body, sent) == 401
    assert not door.inbox.asked


async def test_a_signature_holds_for_its_bytes_and_secret_only(door: Door) -> None:
    """One byte more, or another secret, is another request."""
    body = json.dumps(event()).encode()
    assert await door.knock(body + b" ", headers(body)) == 401
    assert await door.knock(body, headers(body, secret="another")) == 401
    assert await door.knock(body, headers(body, at=time.time() - 301)) == 401


async def test_an_unsigned_ssl_check_runs_nothing(door: Door) -> None:
    """Bolt alone would answer it with 200."""
    assert await door.knock(b"ssl_check=1&token=x", {"Content-Type": FORM}) == 401


async def test_a_large_body_is_refused_before_it_is_read(door: Door) -> None:
    """Slack's events are far below the limit."""
    body = b'{"text": "' + b"x" * BODY_LIMIT + b'"}'
    assert await door.knock(body, headers(body)) == 413


async def test_the_longest_message_passes_in_any_script(door: Door) -> None:
    """40,000 characters, escaped as Slack escapes them and a second time in its blocks, are asked to be shortened, not
    lost."""
    words = "長" * 40_000
    body = json.dumps(event(text=f"<@U0FOOTNOTE> {words}", blocks=[{"type": "rich_text", "text": words}])).encode()
    assert len(body) > 400_000
    assert await door.knock(body, headers(body)) == 200
    assert len(door.inbox.asked) == 1


VIEW = {"id": "V1", "callback_id": "correction", "private_metadata": "{}"}
INPUTS = {"values": {"reason": {"reason": "wrong"}}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"3",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"type": "event_callback", "event": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
        b'{"type": 3}',
        b"{}",
        *(
            json.dumps({"type": "event_callback", "team_id": "T1", "event": inner}).encode()
            for inner in (None, "hello", [], {}, {"type": 3}, {"type": "message", "channel": {}, "ts": "1.2"})
        ),
        json.dumps(event(user=["U1"])).encode(),
        json.dumps(event(ts=None)).encode(),
        json.dumps(event(text={"a": 1})).encode(),
        json.dumps(event(type="message", subtype="message_changed", message="x")).encode(),
        json.dumps(event(type="reaction_added", item=[])).encode(),
        json.dumps({"type": "block_actions", "user": None}).encode(),
        json.dumps({"type": "block_actions", "user": {"id": "U1"}, "actions": [{}], "container": "C1"}).encode(),
        json.dumps({"type": "view_submission", "user": {"id": "U1"}}).encode(),
        json.dumps({"type": "view_submission", "user": {"id": "U1"}, "view": VIEW | {"state": "none"}}).encode(),
        json.dumps({"type": "view_submission", "user": {"id": "U1"}, "view": VIEW | {"state": INPUTS}}).encode(),
    ],
)
async def test_what_is_no_event_is_a_bad_request(door: Door, body: bytes) -> None:
    """Even when it is signed: 400, and nothing is queued."""
    assert await door.knock(body, headers(body)) == 400
    assert not door.inbox.asked


async def test_a_command_with_a_field_missing_is_a_bad_request(door: Door) -> None:
    """Forms are checked like events."""
    body = urlencode({"command": "/support", "text": "help", "user_id": "U1"}).encode()
    assert await door.knock(body, headers(body, FORM)) == 400


async def test_an_event_that_nobody_listens_to_is_acknowledged(door: Door) -> None:
    """Slack would deliver it three times more otherwise, and switch deliveries off if there are many."""
    body = json.dumps(event(type="channel_rename")).encode()
    assert await door.knock(body, headers(body)) == 200


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.sampled_from(["message", "im", "1.2", "C1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = """type subtype user channel ts thread_ts text channel_type client_msg_id message previous_message deleted_ts
item reaction event_ts tab bot_id team edited"""
names = st.sampled_from(FIELDS.split())
kinds = st.sampled_from(["app_mention", "message", "reaction_added", "reaction_removed", "app_home_opened"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=kinds, fields=st.dictionaries(names, values, max_size=6))
async def test_no_signed_event_makes_a_server_error(door: Door, kind: str, fields: dict[str, Any]) -> None:
    """Mutated events end as 200 or 400."""
    body = json.dumps(event(**({"type": kind} | fields))).encode()
    assert await door.knock(body, headers(body)) in (200, 400)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=300) | st.text(max_size=300).map(str.encode), content_type=st.sampled_from([JSON, FORM]))
async def test_no_bytes_make_the_gate_fall(body: bytes, content_type: str) -> None:
    """Whatever is signed, the gate says yes or refuses with a client's error."""
    try:
        admit(body, headers(body, content_type), SECRET, time.time())
    except Refused as refused:
        assert 400 <= refused.status < 500


async def test_the_shape_of_slacks_own_payloads_is_let_through() -> None:
    """The gate must not be stricter than Slack."""
    check_shape(event(type="message", subtype="message_deleted", deleted_ts="1.2", user=None, text=None))
    check_shape(event(type="message", channel_type="im", thread_ts="1.1", files=[{"id": "F1"}]))
    check_shape({"type": "block_actions", "user": {"id": "U1"}, "actions": [{"action_id": "feedback"}]})
    check_shape({"type": "view_submission", "user": {"id": "U1"}, "view": VIEW | {"state": {"values": {}}}})
    check_shape({"type": "view_closed", "user": {"id": "U1"}, "view": {"id": "V1"}})
    check_shape({"type": "url_verification", "challenge": "x"})
