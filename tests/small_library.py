"""A bot that knows a handful of pages which a test wrote, and a model that answers with sentences of those pages."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from bot.journal import Journal
from bot.memory import Memory, open_redis
from bot.worker import open_queue
from tests.embedded_memory import all_gone_from, end_all_on
from tests.local_slack import LocalSlack
from tests.running_bot import RunningBot, running_bot
from tests.scripted_model import Reply, text

_NUMBERED = re.compile(r"^\[(\d+)\] ", re.MULTILINE)


def write_pages(folder: Path, pages: Mapping[str, str]) -> Path:
    """Writes Markdown pages, by name without suffix, and gives the folder; what was there before is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    for name, words in pages.items():
        (folder / f"{name}.md").write_text(words, encoding="utf-8")
    return folder


def page(title: str, words: str, *, url: str | None = None, audience: str | None = None) -> str:
    """A page with its front matter."""
    front = {"title": title, "url": url, "audience": audience}
    lines = "\n".join(f"{name}: {value}" for name, value in front.items() if value)
    return f"---\n{lines}\n---\n\n# {title}\n\n{words}\n"


@asynccontextmanager
async def bot_that_knows(folder: Path, pages: Mapping[str, str], **how: Any) -> AsyncIterator[RunningBot]:
    """A running bot that has read these pages; `how` are arguments of `running_bot`. Fails when it leaves a server."""
    data_dir = folder / "data"
    try:
        async with running_bot(data_dir, reads=write_pages(folder / "pages", pages), **how) as bot:
            yield bot
        if "REDIS_URL" not in how:
            all_gone_from(data_dir)
    finally:
        end_all_on(data_dir)


@asynccontextmanager
async def shell_that_knows(folder: Path, pages: Mapping[str, str]) -> AsyncIterator[RunningBot]:
    """The commands alone, on a library of these pages, with no process of a bot beside them. Fails when one stays."""
    data_dir = folder / "data"
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    shell = RunningBot(LocalSlack(), data_dir, environment | {"DATA_DIR": str(data_dir)}, 0)
    try:
        async with open_redis(None, data_dir):  # held, so that no command has to start its own
            await shell.ingest(str(write_pages(folder / "pages", pages)))
            yield shell
        all_gone_from(data_dir)
    finally:
        end_all_on(data_dir)


@asynccontextmanager
async def memory_of(bot: RunningBot) -> AsyncIterator[Memory]:
    """The bot's own memory, to look into."""
    async with open_redis(bot.environment.get("REDIS_URL"), bot.data_dir) as memory:
        yield memory


async def until_idle(bot: RunningBot, team: str = "T0LOCAL", within_s: float = 30) -> None:
    """Returns when nothing waits in the bot's queue and nothing is being done."""

    async def is_idle() -> bool:
        try:
            backlog = await queue.backlog()
        except ValueError:  # of docket's own: a job waits for its line, by a task that only workers know
            return False
        return not backlog.waiting and not backlog.running

    async with memory_of(bot) as memory, open_queue(memory.docket_url, Journal(memory.redis, team)) as queue:
        await eventually(is_idle, within_s)


async def eventually(look: Callable[[], Awaitable[Any]], within_s: float = 15) -> Any:
    """Gives what `look` gives once that is something; fails the test when it is nothing for too long."""
    async with asyncio.timeout(within_s):
        while not (seen := await look()):  # noqa: ASYNC110 (what changes is in other processes)
            await asyncio.sleep(0.05)
    return seen


def looking_up(*sentences: str, pause_s: float = 0) -> Reply:
    """Answers with these sentences, each with the mark of the passage that it stands in, and a pause after each. A
    sentence that no passage holds gets no mark, as a model's own inventions would."""

    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        _, *parts = _NUMBERED.split(body["messages"][-1]["content"])
        passages = list(zip(parts[::2], parts[1::2], strict=True))
        marked = []
        for sentence in sentences:
            number = next((number for number, passage in passages if sentence in passage), None)
            marked.append(f"{sentence[:-1]} [{number}]. " if number else f"{sentence} ")
        if not pause_s:
            return await text("".join(marked).strip())(request, body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionError):  # whoever asked was killed
            for words in marked:
                choice = {"index": 0, "delta": {"content": words}, "finish_reason": None}
                await _send(response, body, choice)
                await asyncio.sleep(pause_s)
            await _send(response, body, {"index": 0, "delta": {}, "finish_reason": "stop"})
            await response.write(b"data: [DONE]\n\n")
        return response

    return reply


async def _send(response: web.StreamResponse, body: dict[str, Any], choice: dict[str, Any]) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": body["model"], "choices": [choice]}
    await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
