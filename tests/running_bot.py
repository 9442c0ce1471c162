"""The real bot for stories: `web` and `worker` as the processes that production runs, on a local Slack, with
everything embedded in a folder of the test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.local_slack import LocalSlack

ROOT = Path(__file__).resolve().parent.parent
COMPANY = ROOT / "bot" / "local" / "company" / "pages"
MANIFEST = ROOT / "manifest.json"
START_S = 40


class RunningBot:
    """A bot on its own local Slack. `slack` drives it as people do; `cli` runs its commands on the same data."""

    def __init__(self, slack: LocalSlack, data_dir: Path, environment: dict[str, str], port: int) -> None:
        self.slack = slack
        self.data_dir = data_dir
        self.environment = environment
        self.port = port
        self.workers: list[asyncio.subprocess.Process] = []
        self.web: asyncio.subprocess.Process | None = None

    async def cli(self, *arguments: str, status: int | None = 0, timeout_s: float = 60) -> str:
        """Runs `python -m bot …` and gives its stdout; `status` None takes any exit status."""
        process = await self._spawn(*arguments, stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(process.communicate(), timeout_s)
        assert status is None or process.returncode == status, f"{arguments}: status {process.returncode}: {out!r}"
        return out.decode()

    async def ingest(self, *arguments: str) -> dict[str, Any]:
        return dict(json.loads(await self.cli("ingest", *arguments, "--json")))

    async def exported(self, status: str = "candidate") -> list[dict[str, Any]]:
        """Gives the lines of `train export`."""
        file = self.data_dir / f"export-{status}.jsonl"
        await self.cli("train", "export", str(file), "--status", status)
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    async def start_worker(self) -> asyncio.subprocess.Process:
        worker = await self._spawn("worker")
        self.workers.append(worker)
        return worker

    async def kill_worker(self) -> None:
        """SIGKILL, as a platform does it to what does not stop."""
        worker = self.workers.pop()
        worker.kill()
        await worker.wait()

    async def reply(self, channel: str, ts: str, *, timeout_s: float = 30) -> dict[str, Any]:
        """Waits for the one reply to a question."""
        return (await self.slack.wait_for_reply(channel, ts, timeout_s=timeout_s))[0]

    async def ask(self, user: str, channel: str, text: str, thread_ts: str | None = None) -> dict[str, Any]:
        """Asks and gives the reply."""
        ts = await self.slack.message(user, channel, text, thread_ts)
        return await self.reply(channel, ts)

    async def command(self, user: str, channel: str, text: str, *, timeout_s: float = 20) -> str:
        """Gives a `/support` command and waits for its private answer, as text with its blocks."""
        before = len((await self.slack.seen(user))["ephemerals"])
        await self.slack.command(user, channel, "/support", text)
        async with asyncio.timeout(timeout_s):
            while True:
                seen = (await self.slack.seen(user))["ephemerals"][before:]
                answers = [one for one in seen if one["text"] != "Looking in the documents…"]
                if answers:
                    return json.dumps(answers[-1], ensure_ascii=False)
                await asyncio.sleep(0.05)

    async def _spawn(self, *arguments: str, stdout: int | None = None) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", *arguments, cwd=ROOT, env=self.environment, stdout=stdout
        )

    async def start(self) -> None:
        self.web = await self._spawn("web")
        await self.start_worker()
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while True:
                assert self.web.returncode is None, "web ended; its reason is on stderr"
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/healthz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        processes = [one for one in (self.web, *self.workers) if one and one.returncode is None]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                await asyncio.wait_for(process.wait(), 25)
            except TimeoutError:
                process.kill()
                await process.wait()


@asynccontextmanager
async def running_bot(
    data_dir: Path,
    *,
    over_http: bool = False,
    slack: dict[str, Any] | None = None,
    reads: Path | None = None,
    **settings: str,
) -> AsyncIterator[RunningBot]:
    """Starts Slack and bot, which ingests the folder `reads` meanwhile; `slack` are arguments of LocalSlack, `settings`
    environment variables."""
    port = free_port()
    events_url = f"http://127.0.0.1:{port}/slack/events" if over_http else None
    async with LocalSlack(events_url=events_url, manifest=MANIFEST, **(slack or {})) as local:
        environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
        environment |= local.environment | {"DATA_DIR": str(data_dir), "PORT": str(port), "REDELIVERY_TIMEOUT_S": "2"}
        bot = RunningBot(local, data_dir, environment | settings, port)
        try:
            await asyncio.gather(bot.start(), *([bot.ingest(str(reads))] if reads else []))
            yield bot
        finally:
            await bot.stop()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def words_of(message: dict[str, Any]) -> str:
    """Everything that a message shows, blocks included."""
    return json.dumps(message.get("blocks", []), ensure_ascii=False) + (message.get("text") or "")
