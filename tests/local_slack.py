"""The local Slack as a helper of tests: the real child process, driven over its control API.

`async with LocalSlack() as slack:` starts it on a free port and kills it surely at the end. `slack.environment`
holds the `SLACK_*` values for the app under test.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any, Self

import aiohttp

JSON = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent


class Refused(AssertionError):
    """The control API answered `ok: false`."""


class LocalSlack:
    """A running local Slack. `retry_delays` are the seconds before each redelivery, `stream_life_s` of a stream."""

    def __init__(
        self,
        events_url: str | None = None,
        stream_life_s: float | None = None,
        retry_delays: tuple[float, ...] | None = None,
        manifest: Path | None = None,
    ) -> None:
        self._arguments = ["--port", "0", "--exit-with-parent"]
        if events_url is not None:
            self._arguments += ["--events-url", events_url]
        if stream_life_s is not None:
            self._arguments += ["--stream-life-s", str(stream_life_s)]
        if retry_delays is not None:
            self._arguments += ["--retry-delays", ",".join(str(delay) for delay in retry_delays)]
        if manifest is not None:
            self._arguments += ["--manifest", str(manifest)]
        self.url = ""
        self.environment: dict[str, str] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        try:
            await asyncio.wait_for(self._start(), 20)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self) -> None:
        command = [sys.executable, "-m", "bot.local.slack", *self._arguments]
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, stdout=pipe, cwd=ROOT)
        assert self._process.stdout
        async for line in self._process.stdout:
            name, _, value = line.decode().strip().partition("=")
            if name == "LOCAL_SLACK_URL":
                self.url = value
                break
            self.environment[name] = value
        assert self.url, "the local Slack did not start; its reason is on stderr"
        self._http = aiohttp.ClientSession(self.url)

    async def __aexit__(self, *_: object) -> None:
        if self._http:
            await self._http.close()
        if self._process and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._process:
            self._process._transport.close()  # type: ignore[attr-defined]  # else its pipes are closed after the loop

    # -- acting

    async def message(
        self, user: str, channel: str, text: str, thread_ts: str | None = None, deliveries: int = 1
    ) -> str:
        """Post as somebody; gives the ts."""
        body = {"user": user, "channel": channel, "text": text, "thread_ts": thread_ts, "deliveries": deliveries}
        return str((await self.post("message", **body))["ts"])

    async def edit(self, user: str, channel: str, ts: str, text: str) -> None:
        await self.post("edit", user=user, channel=channel, ts=ts, text=text)

    async def delete(self, user: str, channel: str, ts: str) -> None:
        await self.post("delete", user=user, channel=channel, ts=ts)

    async def react(self, user: str, channel: str, ts: str, name: str, remove: bool = False) -> None:
        await self.post("react", user=user, channel=channel, ts=ts, name=name, remove=remove)

    async def press(self, user: str, channel: str, ts: str, action_id: str, value: str | None = None) -> JSON:
        """Press a button of the app's message; `value` may be the end of a feedback button's value."""
        return await self.post("press", user=user, channel=channel, ts=ts, action_id=action_id, value=value)

    async def submit(self, user: str, view_id: str, values: JSON) -> JSON:
        """Submit a modal; gives `response_action` and `errors` of the app's answer."""
        return await self.post("submit", user=user, view_id=view_id, values=values)

    async def command(self, user: str, channel: str, command: str, text: str = "") -> JSON:
        """Use a slash command; `outcome` is `acknowledged` when the app answered in time."""
        return await self.post("command", user=user, channel=channel, command=command, text=text)

    async def shortcut(self, user: str, channel: str, ts: str, callback_id: str) -> JSON:
        return await self.post("shortcut", user=user, channel=channel, ts=ts, callback_id=callback_id)

    async def open_dm(self, user: str) -> str:
        return str((await self.post("open_dm", user=user))["channel"])

    async def open_home(self, user: str, tab: str = "home") -> None:
        await self.post("open_home", user=user, tab=tab)

    async def join(self, user: str, channel: str) -> None:
        await self.post("join", user=user, channel=channel)

    async def leave(self, user: str, channel: str) -> None:
        await self.post("leave", user=user, channel=channel)

    async def fault(self, method: str, *, times: int = 1, **how: Any) -> None:
        """The next `times` calls of a Web API method fail: `error`, `status`, `delay_s`, `retry_after_s`, `after`."""
        await self.post("fault", method=method, times=times, **how)

    async def disconnect(self, reason: str = "refresh_requested") -> int:
        """Ask every Socket Mode connection to come again; gives how many were asked."""
        return int((await self.post("disconnect", reason=reason))["asked"])

    # -- seeing

    async def state(self) -> JSON:
        return await self.get("state")

    async def thread(self, channel: str, ts: str) -> list[JSON]:
        """Parent and replies, each with `streaming` and `stream`."""
        return list((await self.get("thread", channel=channel, ts=ts))["messages"])

    async def history(self, channel: str) -> list[JSON]:
        return list((await self.get("history", channel=channel))["messages"])

    async def seen(self, user: str) -> JSON:
        """`{ephemerals, modals}` before this person."""
        return await self.get("seen", user=user)

    async def status(self, channel: str, thread_ts: str) -> str:
        return str((await self.get("status", channel=channel, thread_ts=thread_ts))["text"])

    async def home(self, user: str) -> JSON | None:
        view: JSON | None = (await self.get("home", user=user))["view"]
        return view

    async def log(self) -> JSON:
        """`{calls, deliveries}`."""
        return await self.get("log")

    async def calls(self, method: str) -> list[JSON]:
        return [call for call in (await self.log())["calls"] if call["method"] == method]

    async def wait_for_reply(self, channel: str, ts: str, *, count: int = 1, timeout_s: float = 20) -> list[JSON]:
        """The app's finished replies in a thread, once there are `count`; fails with what is there instead."""
        deadline = time.monotonic() + timeout_s
        while True:
            thread = await self.thread(channel, ts)
            replies = [m for m in thread[1:] if "bot_id" in m and m["stream"] in (None, "stopped")]
            if len(replies) >= count:
                return replies
            assert time.monotonic() < deadline, f"{len(replies)} of {count} replies after {timeout_s} s: {thread}"
            await asyncio.sleep(0.05)

    async def wait_for_ephemeral(self, user: str, *, count: int = 1, timeout_s: float = 20) -> list[JSON]:
        """What only this person sees, once there are `count` of them."""
        deadline = time.monotonic() + timeout_s
        while len(ephemerals := (await self.seen(user))["ephemerals"]) < count:
            assert time.monotonic() < deadline, f"{len(ephemerals)} of {count} ephemerals: {ephemerals}"
            await asyncio.sleep(0.05)
        return list(ephemerals)

    # -- the wire

    async def post(self, path: str, **body: Any) -> JSON:
        """A POST of the control API; raises `Refused` when it says no."""
        assert self._http, "start it first: async with LocalSlack() as slack"
        async with self._http.post(f"/control/{path}", json=body) as response:
            return _granted(path, await response.json())

    async def get(self, path: str, **query: str) -> JSON:
        """A GET of the control API; raises `Refused` when it says no."""
        assert self._http, "start it first: async with LocalSlack() as slack"
        async with self._http.get(f"/control/{path}", params=query) as response:
            return _granted(path, await response.json())


def _granted(path: str, answer: JSON) -> JSON:
    if not answer["ok"]:
        raise Refused(f"{path}: {answer['error']}")
    return answer
