"""The reply in a Slack thread, and the private one. Each is a `Reply`: it is given checked sentences one by one and,
once, the whole answer.

The thread reply keeps the promise of one visible answer: it tells the journal before and after each step that people
see, and one that takes over after a crash looks in the thread for what its predecessor left there and completes that.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from bot.errors import SlackUnavailable
from bot.journal import Entry, Journal, now
from bot.vocabulary import Answer, Asked, Citation
from handlers import blocks
from handlers.private import respond
from handlers.slack import RateLimited, SlackRefused, answers_of, call, impatient, refusal

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient
    from slack_sdk.web.async_slack_response import AsyncSlackResponse

LAST_MESSAGES = 50
"""How much of a long thread is read before a question."""
SHORT = 2
"""Answers of up to so many sentences are posted whole: a stream of them costs two slow calls and helps nobody."""
APPEND_EVERY_S = 0.7
"""chat.appendStream takes about 100 calls a minute for a whole workspace."""
STATUS_S = 1
"""Longest wait for showing what is going on, in seconds."""
EVENT_TYPE = "footnote_answer"

log = structlog.get_logger()


class ThreadReply:
    """Shows an answer in the thread of its question, streamed where the workspace streams."""

    def __init__(self, client: AsyncWebClient, journal: Journal, entry: Entry, *, bot_user_id: str) -> None:
        self._client = client
        self._impatient = impatient(client)
        self._journal = journal
        self._entry = entry
        self._asked = entry.asked
        self._bot_user_id = bot_user_id
        self._ts = entry.reply_ts
        self._can_stream = True
        self._is_streaming = False
        self._sentences = 0
        self._unsent = ""
        self._appended_at = 0.0
        self._ornament: asyncio.Task[None] | None = None

    async def adopt(self) -> None:
        """Finds what an earlier attempt left in the thread, so that it is completed instead of answered twice."""
        if self._entry.state not in ("posting", "streaming"):
            return
        if self._ts is None:
            left = await own_replies(self._client, self._entry, self._bot_user_id)
            self._ts = next((message["ts"] for message in left), None)
        if self._ts is not None and self._entry.state == "streaming":
            async with refusal("message_not_in_streaming_state", "message_not_found"):
                await call(self._client.chat_stopStream(channel=self._asked.channel_id, ts=self._ts))

    async def status(self, text: str) -> None:
        """Shows at once what is going on, where the workspace can show it; Slack takes it away with the reply."""
        if self._ts is None:
            self._ornament = asyncio.create_task(self._show_status(text))  # the answer does not wait for it

    async def _show_status(self, text: str) -> None:
        try:
            async with asyncio.timeout(STATUS_S):
                await call(
                    self._impatient.assistant_threads_setStatus(
                        channel_id=self._asked.channel_id, thread_ts=self._asked.thread_ts, status=text
                    )
                )
        except (SlackRefused, SlackUnavailable, TimeoutError) as error:
            log.debug("status_not_shown", cause=str(error))

    async def say(self, sentence: str, citations: Sequence[Citation]) -> None:
        """Shows a checked sentence; the first few are kept back until it is clear that the answer is not short."""
        self._sentences += 1
        self._unsent += sentence
        if self._ts is None and self._can_stream and self._sentences > SHORT:
            await self._start_stream()
        if self._is_streaming and time.monotonic() - self._appended_at >= APPEND_EVERY_S:
            await self._append()

    async def finish(self, answer: Answer) -> None:
        """Completes the answer with its sources and buttons, and notes it."""
        if self._ornament:
            await self._ornament  # else it could appear below the answer
        if not (self._is_streaming and await self._stop_stream(answer)):
            if self._ts is None:
                await self._post(answer)
            else:
                await self._update(answer)
        await self._journal.settle(self._asked, answer, self._ts)

    async def _start_stream(self) -> None:
        await self._journal.begin(self._asked.id, "streaming")
        try:
            stream = await call(
                self._impatient.chat_startStream(
                    channel=self._asked.channel_id,
                    thread_ts=self._asked.thread_ts,
                    recipient_user_id=self._asked.user_id,
                    recipient_team_id=self._asked.user_team_id,
                )
            )
        except (SlackRefused, RateLimited) as error:
            log.info("no_stream", cause=str(error))  # an older plan, or the rate is used up: post when it is whole
            self._can_stream = False
            return
        self._ts, self._is_streaming = stream["ts"], True
        await self._journal.begin(self._asked.id, "streaming", self._ts)

    async def _append(self) -> None:
        text, self._unsent = self._unsent, ""
        self._appended_at = time.monotonic()
        try:
            await call(
                self._impatient.chat_appendStream(
                    channel=self._asked.channel_id, ts=self._required_ts, markdown_text=text
                )
            )
        except RateLimited:
            self._unsent = text + self._unsent
        except (SlackRefused, SlackUnavailable) as error:
            # Streams die of age after minutes, their reader stops them, or nobody knows whether this piece arrived: the
            # end is an update of the whole message.
            log.info("stream_ended", cause=str(error))
            self._is_streaming = False

    async def _stop_stream(self, answer: Answer) -> bool:
        try:
            await _with_buttons(
                lambda buttons: self._client.chat_stopStream(
                    channel=self._asked.channel_id,
                    ts=self._required_ts,
                    blocks=blocks.closing(answer, now(), feedback_buttons=buttons),
                    metadata=_metadata(self._asked),
                    markdown_text=self._unsent or None,
                )
            )
        except SlackRefused as error:
            log.info("stream_not_stopped", cause=error.code)
            return False
        return True

    async def _post(self, answer: Answer) -> None:
        await self._journal.begin(self._asked.id, "posting")
        message = await self._send(
            answer,
            self._client.chat_postMessage,
            thread_ts=self._asked.thread_ts,
            unfurl_links=False,
            unfurl_media=False,
        )
        self._ts = message["ts"]

    async def _update(self, answer: Answer) -> None:
        try:
            await self._send(answer, self._client.chat_update, ts=self._required_ts)
        except SlackRefused as error:
            if error.code == "streaming_state_conflict":
                async with refusal("message_not_in_streaming_state"):
                    await call(self._client.chat_stopStream(channel=self._asked.channel_id, ts=self._required_ts))
                await self._send(answer, self._client.chat_update, ts=self._required_ts)
            elif error.code in ("message_not_found", "cant_update_message"):
                await self._post(answer)  # somebody deleted it meanwhile
            else:
                raise

    async def _send(self, answer: Answer, method: Any, **arguments: Any) -> Any:
        arguments |= {
            "channel": self._asked.channel_id,
            "text": blocks.answer_text(answer),
            "metadata": _metadata(self._asked),
        }
        return await _with_buttons(
            lambda buttons: method(blocks=blocks.whole(answer, now(), feedback_buttons=buttons), **arguments)
        )

    @property
    def _required_ts(self) -> str:
        assert self._ts is not None, "a reply is changed only once it is there"
        return self._ts


class PrivateReply:
    """Shows an answer to its asker alone, through the address that came with the command."""

    def __init__(self, client: AsyncWebClient, journal: Journal, asked: Asked) -> None:
        self._client = client
        self._journal = journal
        self._asked = asked

    async def status(self, text: str) -> None:
        """Says nothing: the command itself was answered at once."""

    async def say(self, sentence: str, citations: Sequence[Citation]) -> None:
        """Says nothing yet: a private reply comes whole."""

    async def finish(self, answer: Answer) -> None:
        """Posts the answer where only its asker sees it. Nobody can look there: after a crash in between it comes a
        second time, which is better than not at all."""
        text = blocks.answer_text(answer)
        try:
            await respond(self._asked.response_url, text, blocks.whole(answer, now()))
        except SlackRefused:
            await respond(self._asked.response_url, text, blocks.whole(answer, now(), feedback_buttons=False))
        await self._journal.settle(self._asked, answer, None)


async def thread_messages(client: AsyncWebClient, asked: Asked) -> list[dict[str, Any]]:
    """Reads the thread of a question up to the question, oldest first: its parent, and the last messages."""
    parent: list[dict[str, Any]] = []
    last: deque[dict[str, Any]] = deque(maxlen=LAST_MESSAGES)
    async for message in _replies(client, asked, latest=asked.ts, inclusive=True):
        (last if parent else parent).append(message)
    return [*parent, *last]


async def own_replies(client: AsyncWebClient, entry: Entry, bot_user_id: str) -> list[dict[str, Any]]:
    """Finds the bot's messages that answer a question: those that name it, then an unfinished stream, which names
    nothing before it is stopped; there is one answer at a time in a thread."""
    asked = entry.asked
    async with refusal("thread_not_found", "message_not_found", "channel_not_found"):
        after = [one async for one in _replies(client, asked, oldest=asked.ts) if one["ts"] > asked.ts]
        own = [one for one in after if one.get("user") == bot_user_id]
        orphans = [one for one in own if _question_id(one) is None] if entry.state in ("posting", "streaming") else []
        return [one for one in own if _question_id(one) == asked.id] + orphans
    return []


async def _replies(client: AsyncWebClient, asked: Asked, **bounds: Any) -> AsyncIterator[dict[str, Any]]:
    thread = {"channel": asked.channel_id, "ts": asked.thread_ts, "limit": 200, "include_all_metadata": True}
    async for page in answers_of(client.conversations_replies, **thread, **bounds):
        for message in page["messages"]:
            yield message


async def _with_buttons(make: Callable[[bool], Awaitable[AsyncSlackResponse]]) -> AsyncSlackResponse:
    """Makes a call with Slack's feedback buttons, or with plain ones where the workspace refuses those."""
    try:
        return await call(make(True))
    except SlackRefused as error:
        if error.code != "invalid_blocks":
            raise
        return await call(make(False))


def _metadata(asked: Asked) -> dict[str, Any]:
    return {"event_type": EVENT_TYPE, "event_payload": {"question_id": asked.id}}


def _question_id(message: dict[str, Any]) -> str | None:
    metadata = message.get("metadata") or {}
    return metadata.get("event_payload", {}).get("question_id") if metadata.get("event_type") == EVENT_TYPE else None
