"""Where every listener hands in what came from Slack. Nothing is done here: it is written down and queued, so that
Slack gets its 200 only for what will survive us, and within its three seconds."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

from pydantic import BaseModel, Field

from bot.journal import Entry, Journal
from bot.redacting import redact
from bot.source_words import holds_secret
from bot.vocabulary import Asked, Frozen
from bot.worker import Queue
from handlers.mrkdwn import to_plain

_ADDRESS = re.compile(r"(\s*sources\s+add\s+<?)([^\s|>]+)", re.IGNORECASE)
_WITHHELD = "⟨address⟩"


class Judged(Frozen):
    """A thumb: by a button, which names the question, or by a reaction, which names the message."""

    user_id: str
    is_helpful: bool
    is_taken_back: bool = False
    at_s: float
    """When it was given, by Slack's clock."""
    question_id: str | None = None
    channel_id: str
    message_ts: str
    response_url: str | None = None


class Commanded(Frozen):
    """A slash command."""

    user_id: str
    user_team_id: str
    channel_id: str
    text: str
    response_url: str
    trigger_id: str
    """What is decided by a command is decided once under this id."""
    at_s: float = Field(default_factory=time.time)
    """When it was given."""


class Opened(Frozen):
    """Somebody opened the bot's Home tab."""

    user_id: str


class Told(Frozen):
    """Something to tell the person who pressed a button."""

    user_id: str
    text: str
    response_url: str | None = None


class Inbox:
    """Accepts durably. Raises TryAgain when that is not possible; Slack then delivers again."""

    def __init__(self, journal: Journal, queue: Queue) -> None:
        self._journal = journal
        self._queue = queue

    async def ask(self, asked: Asked, client_msg_id: str | None = None) -> None:
        """Accepts a question; the same one twice is one question."""
        if client_msg_id and not await self._journal.same_gesture(client_msg_id, asked.id):
            return
        await self._queue_unsettled(await self._journal.accept(asked))

    async def revise(self, question_id: str, text: str, edited_ts: str) -> bool:
        """Accepts new words for a question; says whether it is known."""
        entry = await self._journal.entry(question_id)
        if entry is None:
            return False
        asked = entry.asked.model_copy(update={"text": redact(to_plain(text)), "edited_ts": edited_ts})
        await self._queue_unsettled(await self._journal.accept(asked))
        return True

    async def withdraw(self, question_id: str) -> None:
        """Accepts that a message was deleted, also one that has not reached us yet or that is long forgotten."""
        entry = await self._journal.entry(question_id)
        if entry is None:
            await self._journal.withdraw(question_id)
        elif entry.state != "withdrawn":
            await self._queue.add("withdraw", question_id, key=f"{question_id}#withdraw", thread=thread_of(entry.asked))

    async def is_in_thread(self, channel_id: str, thread_ts: str) -> bool:
        """Whether the bot takes part in that thread."""
        return await self._journal.is_in_thread(channel_id, thread_ts)

    async def judge(self, judged: Judged, key: str) -> None:
        """Accepts a thumb. It waits in the line of its question, so that neither edit nor deletion overtakes it."""
        question_id = judged.question_id or await self._journal.question_of_reply(judged.channel_id, judged.message_ts)
        await self.learn("judge", judged, question_id, key)

    async def learn(self, kind: str, said: BaseModel, question_id: str | None, key: str) -> None:
        """Accepts what somebody says of the answer to a question, in the line of that question."""
        entry = await self._journal.entry(question_id) if question_id else None
        await self._add(kind, said, key, thread_of(entry.asked) if entry else f"{question_id}:{key}")

    async def review(self, kind: str, decided: BaseModel, example_id: str, key: str) -> None:
        """Accepts what an admin decides on an example. Those who decide on the same one wait for each other."""
        await self._add(kind, decided, key, f"example:{example_id}")

    async def shelve(self, ordered: BaseModel, line: str, key: str) -> None:
        """Accepts what an admin wants done with a source, in the line of that source."""
        await self._queue.add("source", ordered.model_dump_json(), key=key, thread=line)

    async def tell(self, told: Told, key: str) -> None:
        """Accepts that somebody is to be told something."""
        await self._add("tell", told, key, f"{told.user_id}:tell")

    async def command(self, commanded: Commanded) -> None:
        """Accepts a slash command, its words redacted: the queue keeps them."""
        commanded = commanded.model_copy(update={"text": _redacted(commanded.text)})
        await self._add("command", commanded, commanded.trigger_id, f"{commanded.user_id}:command")

    async def open_home(self, opened: Opened, key: str) -> None:
        """Accepts that somebody wants to see the Home tab."""
        await self._add("home", opened, key, f"{opened.user_id}:home")

    async def _queue_unsettled(self, entry: Entry) -> None:
        if not entry.is_settled:
            key = f"{entry.asked.id}#{entry.asked.kind}#{entry.asked.edited_ts}"
            await self._queue.add("answer", entry.asked.id, key=key, thread=thread_of(entry.asked))

    async def _add(self, kind: str, payload: BaseModel, key: str, thread: str) -> None:
        await self._queue.add(kind, payload.model_dump_json(), key=f"{kind}:{key}", thread=thread)


def _redacted(text: str) -> str:
    """Redacts a command. The address of a source stays whole unless it holds a secret: owners and containers look like
    logins in there."""
    found = _ADDRESS.match(text)
    if found is None or holds_secret(found[2]):
        return redact(text) if found is None else f"{found[1]}{_WITHHELD}{redact(text[found.end() :])}"
    return text[: found.end()] + redact(text[found.end() :])


def clock_of(slack_ts: object) -> float:
    """Reads the time in seconds of one of Slack's timestamps; now, when it is none."""
    try:
        return float(str(slack_ts))
    except ValueError:
        return time.time()


def edited_ts_of(message: dict[str, Any]) -> str:
    """Reads when a message was last edited; empty when never."""
    edited = message.get("edited")
    return str(edited.get("ts") or "") if isinstance(edited, dict) else ""


def thread_of(asked: Asked) -> str:
    """Names the line in which questions of one thread wait for each other."""
    return f"{asked.channel_id}:{asked.thread_ts}"


def asked_in(
    event: dict[str, Any],
    kind: str,
    team_id: str,
    *,
    channel_id: str | None = None,
    user_team_id: str | None = None,
    edited_ts: str = "",
    response_url: str | None = None,
) -> Asked:
    """Reads a question from a message event (https://docs.slack.dev/reference/events/message)."""
    channel = channel_id or event["channel"]
    return Asked.model_validate(
        {
            "id": f"{team_id}:{channel}:{event['ts']}",
            "kind": kind,
            "team_id": team_id,
            "channel_id": channel,
            "ts": event["ts"],
            "thread_ts": event.get("thread_ts") or event["ts"],
            "user_id": event["user"],
            "user_team_id": user_team_id or event.get("user_team") or event.get("team") or team_id,
            "text": redact(to_plain(event.get("text") or "")),
            "edited_ts": edited_ts or edited_ts_of(event),
            "response_url": response_url,
        }
    )


def asked_by(commanded: Commanded, team_id: str, text: str) -> Asked:
    """Reads a question from a slash command: it has no message, so its id is made of the command's."""
    ts = hashlib.sha256(commanded.trigger_id.encode()).hexdigest()[:16]
    return Asked(
        id=f"{team_id}:{commanded.channel_id}:{ts}",
        kind="command",
        team_id=team_id,
        channel_id=commanded.channel_id,
        ts=ts,
        thread_ts=ts,
        user_id=commanded.user_id,
        user_team_id=commanded.user_team_id,
        text=redact(to_plain(text)),
        response_url=commanded.response_url,
    )
