"""The local Slack at its edges: hostile input, strangers at the door, wrong use."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.local.slack.arguments import parse_json
from bot.local.slack.control import Control
from bot.local.slack.messages import as_typed
from tests.local_slack import ROOT, LocalSlack, Refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

# fmt: off
METHODS = [
    "chat.postMessage", "chat.update", "chat.delete", "chat.postEphemeral", "chat.getPermalink",
    "chat.startStream", "chat.appendStream", "chat.stopStream", "conversations.info", "conversations.members",
    "conversations.history", "conversations.replies", "conversations.open", "conversations.list",
    "conversations.join", "users.info", "users.list", "users.conversations", "usergroups.list",
    "usergroups.users.list", "team.info", "bots.info", "reactions.add", "reactions.remove", "reactions.get",
    "views.open", "views.update", "views.publish", "views.push", "assistant.threads.setStatus",
    "assistant.threads.setTitle", "api.test", "auth.test", "assistant.threads.setSuggestedPrompts",
    "agents.sessions.setStatus", "apps.connections.open", "nonsense",
]
ACTS = [
    "message", "edit", "delete", "react", "press", "submit", "close_view", "command", "shortcut", "open_dm",
    "open_home", "join", "leave", "fault",
]
LOOKS = [
    "state", "history", "thread", "seen", "status", "home", "commands",
]
NAMES = [
    "channel", "user", "ts", "thread_ts", "text", "blocks", "metadata", "chunks", "view", "trigger_id", "view_id",
    "values", "users", "limit", "cursor", "oldest", "name", "timestamp", "action_id", "value", "command",
    "callback_id", "markdown_text", "recipient_user_id", "recipient_team_id", "attachments", "types",
    "channel_id", "prompts", "status", "times", "delay_s", "method", "deliveries", "tab", "title", "user_id",
    "hash", "external_id", "usergroup",
]
# fmt: on
KNOWN = st.sampled_from(
    ["C0HELP", "D0MAYA", "U0MAYA", "U0FOOTNOTE", "C0RANDOM", "1.0", "modal", "/support", "home", "-1"]
)
JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | KNOWN
    | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "text", "elements", "blocks", "value", "block_id", "title"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(NAMES), JSONS, max_size=7)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack(retry_delays=()) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def victim() -> AsyncIterator[LocalSlack]:
    """Another one, for input that may change who is where."""
    async with LocalSlack(retry_delays=()) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(victim: LocalSlack) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {victim.environment['SLACK_BOT_TOKEN']}"}
    async with aiohttp.ClientSession(victim.url, headers=headers) as session:
        yield session


fuzz = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _no_crash(status: int, answer: Any) -> None:
    assert status < 500 and answer.get("error") != "internal_error", answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def right(victim: LocalSlack) -> dict[str, Any]:
    """Arguments that are right, of which each example spoils some, so that it gets past the first check."""
    ts = await victim.message("U0MAYA", "D0MAYA", "hello")
    place = {"channel": "D0MAYA", "channel_id": "D0MAYA", "ts": ts, "timestamp": ts, "message_ts": ts, "thread_ts": ts}
    return {**place, "user": "U0MAYA", "user_id": "U0MAYA", "text": "a", "name": "eyes", "usergroup": "S0ONCALL"}


@fuzz
@given(method=st.sampled_from(METHODS), body=BODIES)
async def test_no_json_makes_the_web_api_stumble(
    http: aiohttp.ClientSession, right: dict[str, Any], method: str, body: Any
) -> None:
    body = {**right, **body}
    async with http.post(f"/api/{method}", json=body) as response:
        answer = await response.json()
        _no_crash(response.status, answer)
        assert isinstance(answer["ok"], bool)


@fuzz
@given(method=st.sampled_from(METHODS), body=BODIES)
async def test_no_form_makes_the_web_api_stumble(
    http: aiohttp.ClientSession, right: dict[str, Any], method: str, body: Any
) -> None:
    form = {k: v if isinstance(v, str) else json.dumps(v) for k, v in {**right, **body}.items()}
    async with http.post(f"/api/{method}", data=form) as response:
        _no_crash(response.status, await response.json())


@fuzz
@given(
    body=JSONS,
    kind=st.sampled_from(["section", "actions", "context_actions", "context", "input", "header", "rich_text"]),
)
async def test_no_block_makes_the_web_api_stumble(http: aiohttp.ClientSession, body: Any, kind: str) -> None:
    block = {"text": body, "elements": body, "accessory": body, "element": body, "label": body, "type": kind}
    for blocks in ([block], [body], [{"type": "actions", "elements": [body]}]):
        async with http.post("/api/chat.postMessage", json={"channel": "D0NOAH", "blocks": blocks}) as response:
            _no_crash(response.status, await response.json())


@fuzz
@given(act=st.sampled_from(ACTS), body=BODIES)
async def test_nothing_makes_the_control_api_stumble(
    http: aiohttp.ClientSession, right: dict[str, Any], act: str, body: Any
) -> None:
    body = {**right, **body, "method": "nothing.real"}  # an ordered fault shall hit no other test
    async with http.post(f"/control/{act}", json=body) as response:
        answer = await response.json()
        _no_crash(response.status, answer)
        assert (response.status == 200) is answer["ok"]


@fuzz
@given(view=st.dictionaries(st.sampled_from(["title", "submit", "blocks", "callback_id", "private_metadata"]), JSONS))
async def test_no_view_makes_the_web_api_stumble(http: aiohttp.ClientSession, view: Any) -> None:
    for kind in ("home", "modal"):
        body = {"user_id": "U0MAYA", "view": {"blocks": [], **view, "type": kind}}
        async with http.post("/api/views.publish", json=body) as response:
            _no_crash(response.status, await response.json())


@fuzz
@given(
    look=st.sampled_from(LOOKS), query=st.dictionaries(st.sampled_from(NAMES), KNOWN | st.text(max_size=20), max_size=4)
)
async def test_no_query_makes_the_control_api_stumble(http: aiohttp.ClientSession, look: str, query: Any) -> None:
    async with http.get(f"/control/{look}", params=query) as response:
        _no_crash(response.status, await response.json())


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b'{"text": "\\ud800"}', b"1" * 5000],
)
@pytest.mark.parametrize("path", ["/api/chat.postMessage", "/control/message", "/response/none"])
async def test_bytes_that_are_no_json_are_told_so(http: aiohttp.ClientSession, path: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    async with http.post(path, data=body, headers=headers) as response:
        answer = await response.json()
        _no_crash(response.status, answer)
        assert answer["ok"] is False


async def test_a_body_of_megabytes_is_refused(http: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/api/chat.postMessage", "/control/message", "/response/none"):
        async with http.post(path, data=io.BytesIO(b"x" * 3_000_000), headers=headers) as response:
            assert response.status == 413


async def test_half_a_character_in_a_text_hurts_nobody(slack: LocalSlack) -> None:
    ts = await slack.message("U0MAYA", "D0MAYA", "half \ud83d of it")
    assert (await slack.thread("D0MAYA", ts))[0]["text"].startswith("half ")
    answer = await slack.command("U0MAYA", "D0MAYA", "/support", "half \ud83d of it")
    assert answer["outcome"] == "no_connection"


async def test_another_host_name_is_refused(slack: LocalSlack) -> None:
    """A page that resolves its own name to 127.0.0.1 shall not steer this Slack."""
    async with aiohttp.ClientSession() as http:
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""):
            async with http.get(f"{slack.url}/control/state", headers={"Host": host}) as response:
                assert response.status in (400, 403), host
        for host in ("localhost:1234", "127.0.0.1", "[::1]:8"):
            async with http.get(f"{slack.url}/control/state", headers={"Host": host}) as response:
                assert response.status == 200, host


async def test_a_page_of_another_origin_cannot_act(slack: LocalSlack) -> None:
    body = {"user": "U0MAYA", "channel": "D0MAYA", "text": "from a page"}
    async with aiohttp.ClientSession() as http:
        for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://[", ""):
            headers = {"Origin": origin}
            async with http.post(f"{slack.url}/control/message", json=body, headers=headers) as response:
                assert response.status == 403, origin
        async with http.post(f"{slack.url}/control/message", json=body, headers={"Origin": slack.url}) as response:
            assert response.status == 200


async def test_a_path_leads_to_the_page_and_nowhere_else(http: aiohttp.ClientSession) -> None:
    for path in ("/page/../people.py", "/page/%2e%2e/people.py", "/page/nothing.js", "/etc/passwd", "/control/nothing"):
        async with http.get(path) as response:
            assert response.status == 404, path
    async with http.get("/favicon.ico") as icon:
        assert icon.content_type == "image/svg+xml"


@pytest.mark.parametrize(
    ("call", "body", "why"),
    [
        ("message", {"user": "U0NOBODY", "channel": "C0HELP", "text": "a"}, "nobody of that id"),
        ("message", {"user": "U0FOOTNOTE", "channel": "C0HELP", "text": "a"}, "nobody of that id"),
        ("message", {"user": "U0MAYA", "channel": "C0HELP", "text": ""}, "text: a text is needed"),
        ("message", {"user": "U0MAYA", "channel": "C0HELP", "text": "a", "deliveries": 99}, "deliveries"),
        ("message", {"user": "U0MAYA", "channel": "C0HELP", "text": "a", "thread_ts": "1.0"}, "thread_not_found"),
        ("edit", {"user": "U0MAYA", "channel": "C0HELP", "ts": "1.0", "text": "a"}, "message_not_found"),
        ("command", {"user": "U0MAYA", "channel": "C0HELP", "command": "/other"}, "no command"),
        ("submit", {"user": "U0MAYA", "view_id": "V0", "values": {}}, "no such view"),
        ("open_home", {"user": "U0MAYA", "tab": "other"}, "home or messages"),
        ("fault", {"method": "a.b", "status": 42}, "200 to 599"),
        ("fault", {"method": "a.b", "times": "three"}, "times"),
        ("react", {"user": "U0MAYA", "channel": "C0HELP", "ts": "1.0", "name": "eyes"}, "message_not_found"),
        ("leave", {"user": "U0MAYA", "channel": "D0MAYA"}, "method_not_supported_for_channel_type"),
        ("join", {"user": "U0MAYA", "channel": "D0NOAH"}, "method_not_supported_for_channel_type"),
    ],
)
async def test_wrong_use_is_told_in_words(slack: LocalSlack, call: str, body: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        await slack.post(call, **body)


async def test_changes_are_streamed_as_they_happen(slack: LocalSlack) -> None:
    async with aiohttp.ClientSession(slack.url) as http, http.get("/control/changes") as stream:
        assert stream.content_type == "text/event-stream"
        assert (await stream.content.readline()).startswith(b":")
        ts = await slack.message("U0MAYA", "D0MAYA", "hello")
        await slack.react("U0MAYA", "D0MAYA", ts, "eyes")
        changes = []
        async with asyncio.timeout(5):
            while len(changes) < 2:
                line = await stream.content.readline()
                if line.startswith(b"data: "):
                    changes.append(json.loads(line[6:]))
        assert changes == [{"channel": "D0MAYA", "ts": ts, "thread_ts": None}] * 2


async def test_the_state_names_everybody_and_every_place(slack: LocalSlack) -> None:
    state = await slack.state()
    assert state["team"]["id"] == "T0LOCAL" and state["bot"]["id"] == "U0FOOTNOTE"
    assert {user["role"] for user in state["users"]} == {"admin", "member", "guest", "external"}
    assert {channel["kind"] for channel in state["channels"]} == {"public", "private", "shared", "mpim", "im"}
    members = {channel["id"]: channel["members"] for channel in state["channels"]}
    assert "U0FOOTNOTE" not in members["C0RANDOM"] and "U0GUEST" not in members["C0HELP"]
    for user in state["users"]:
        assert await slack.open_dm(user["id"]) == user["id"].replace("U0", "D0")


async def _run(*arguments: str) -> tuple[int | None, str]:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "bot.local.slack", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, cwd=ROOT)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, errors.decode()


async def test_a_port_that_is_taken_is_told_without_a_traceback(slack: LocalSlack) -> None:
    status, errors = await _run("--port", slack.url.rpartition(":")[2])
    assert status == 1 and "cannot listen" in errors and "Traceback" not in errors


async def test_wrong_options_are_wrong_use(tmp_path: Path) -> None:
    nothing, port = str(tmp_path / "none.json"), "70000"
    for arguments in (["--manifest", nothing], ["--retry-delays", "soon"], ["--host", "0.0.0.0"], ["--port", port]):
        status, errors = await _run(*arguments)
        assert status == 2 and errors and "Traceback" not in errors, arguments


@pytest.mark.parametrize("content", ["", "[]", '{"features": []}', '{"features": {"slash_commands": ["/a"]}}', "\xff"])
async def test_a_manifest_that_is_none_is_wrong_use(tmp_path: Path, content: str) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(content.encode("latin-1"))
    status, errors = await _run("--manifest", str(manifest))
    assert status == 2 and "cannot read the manifest" in errors and "Traceback" not in errors


async def test_it_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    """Nobody's server is left behind by a test run that was killed."""
    script = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'bot.local.slack', '--exit-with-parent']\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE)\n"
        "print(*[line.decode().strip() for line in [child.stdout.readline() for _ in range(5)]][-1:], flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout
    url = (await parent.stdout.readline()).decode().strip().partition("=")[2]
    parent.kill()
    await parent.wait()
    async with aiohttp.ClientSession() as http, asyncio.timeout(10):
        while True:
            try:
                async with http.get(f"{url}/control/state"):
                    await asyncio.sleep(0.1)
            except aiohttp.ClientConnectorError:
                break


@given(st.text(max_size=200))
async def test_what_is_typed_leaves_no_bare_angle_brackets(text: str) -> None:
    """Markup of Slack's own form aside, nothing typed can be taken for markup."""
    plain = as_typed(text.replace("<", "<<")).replace("&lt;", "").replace("&gt;", "").replace("&amp;", "")
    assert "<<" not in plain


@given(st.text(max_size=200).filter(lambda text: not set(text) & set("<>&@:")))
async def test_plain_words_stay_as_they_were_typed(text: str) -> None:
    assert as_typed(text) == text


async def test_json_is_read_strictly() -> None:
    for text in ("NaN", "Infinity", "-Infinity", "[" * 100_000):
        with pytest.raises(ValueError):
            parse_json(text)


async def test_the_documentation_lists_every_call_of_the_control_api() -> None:
    """And none that there is not; each in the table of those that act or those that look."""
    text = (ROOT / "docs" / "local-slack.md").read_text(encoding="utf-8")
    acting, _, looking = text.partition("### To look")
    told = {(method, path) for method, part in (("POST", acting), ("GET", looking)) for path in rows(part)}
    routes = Control(*[None] * 6).routes()  # type: ignore[arg-type]
    assert told == {(route.method, route.path) for route in routes}


def rows(text: str) -> list[str]:
    """The calls that the tables of a page name in their first columns."""
    return [
        path for cell in re.findall(r"^\| (`/control[^|]*)\|", text, re.M) for path in re.findall(r"/\w+/\w+", cell)
    ]
