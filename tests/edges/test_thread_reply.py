"""The reply in Slack at its edges, on a real local Slack: whatever call fails, is slow, or is carried out without our
hearing of it, there is one answer and it is whole."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from slack_sdk.web.async_client import AsyncWebClient

from bot.errors import SlackUnavailable
from bot.journal import Journal
from bot.memory import open_redis
from bot.settings import Settings
from bot.vocabulary import Answer, Asked
from handlers import thread
from handlers.slack import SlackRefused, open_client
from handlers.thread import PrivateReply, ThreadReply
from tests.local_slack import JSON, LocalSlack
from tests.nouns import answered, asked
from tests.running_bot import MANIFEST, words_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEAM = "T0LOCAL"
BOT = "U0FOOTNOTE"
PIECES = ["Open Settings [1].", " Choose API keys [1].", " Select Regenerate [1].", " Confirm the reset [1]."]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack(manifest=MANIFEST, retry_delays=()) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(slack: LocalSlack) -> AsyncIterator[AsyncWebClient]:
    token, url = slack.environment["SLACK_BOT_TOKEN"], slack.environment["SLACK_API_URL"]
    async with open_client(Settings.model_validate({"slack_bot_token": token, "slack_api_url": url})) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def journal(memory_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Journal]:
    async with open_redis(memory_url, tmp_path_factory.mktemp("memory")) as memory:
        yield Journal(memory.redis, TEAM)


class Conversation:
    """One question in a thread of its own, and our attempts to reply to it."""

    def __init__(self, slack: LocalSlack, client: AsyncWebClient, journal: Journal, question: Asked) -> None:
        self.slack, self.client, self.journal, self.question = slack, client, journal, question

    async def reply(self) -> ThreadReply:
        """A fresh attempt, which knows what the journal knows."""
        entry = await self.journal.entry(self.question.id)
        assert entry
        reply = ThreadReply(self.client, self.journal, entry, bot_user_id=BOT)
        await reply.adopt()
        return reply

    async def attempt(self, pieces: Sequence[str] = PIECES) -> None:
        """Answers with these pieces, as the worker would."""
        reply = await self.reply()
        await reply.status("is looking in the documents…")
        for piece in pieces:
            await reply.say(piece, ())
        await reply.finish(self.answer(pieces))

    def answer(self, pieces: Sequence[str]) -> Answer:
        return answered(self.question.id, "".join(pieces))

    async def own(self) -> list[JSON]:
        """The bot's messages in the thread."""
        return [one for one in await self.slack.thread("C0HELP", self.question.ts) if one["user"] == BOT]

    async def the_one(self, pieces: Sequence[str] = PIECES) -> JSON:
        """The bot's only message: whole, finished, with sources and buttons, and noted."""
        (message,) = await self.own()
        assert message["text"] == "".join(pieces) and message["stream"] in (None, "stopped")
        assert "*Sources*" in words_of(message) and f"{self.question.id}:up" in words_of(message)
        entry = await self.journal.entry(self.question.id)
        assert entry and (entry.state, entry.reply_ts) == ("done", message["ts"])
        return message


@pytest_asyncio.fixture(loop_scope="module")
async def conversation(slack: LocalSlack, client: AsyncWebClient, journal: Journal) -> Conversation:
    ts = await slack.message("U0MAYA", "C0HELP", f"<@{BOT}> How do I reset an API key?")
    question = asked(ts, id=f"{TEAM}:C0HELP:{ts}", team_id=TEAM, user_team_id=TEAM)
    await journal.accept(question)
    return Conversation(slack, client, journal, question)


@pytest.fixture
def appends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sentence is sent as it comes, not 0.7 s after the one before."""
    monkeypatch.setattr(thread, "APPEND_EVERY_S", 0)


# What is going on


@pytest.mark.parametrize(
    "fault", [{"delay_s": 8}, {"status": 500}, {"error": "missing_scope"}], ids=["slow", "broken", "refused"]
)
async def test_an_answer_does_not_wait_for_its_ornament(conversation: Conversation, fault: dict[str, Any]) -> None:
    """A status that does not come is no reason to keep anybody waiting."""
    await conversation.slack.fault("assistant.threads.setStatus", **fault)
    began = time.monotonic()
    await conversation.attempt()
    assert time.monotonic() - began < 3
    await conversation.the_one()


# Posts


@pytest.mark.parametrize("in_between", [0, 250])
async def test_a_post_whose_receipt_was_lost_is_found_again(conversation: Conversation, in_between: int) -> None:
    """Also where people went on talking for pages: what we posted is completed, not posted again."""
    for number in range(in_between):
        await conversation.slack.message("U0NOAH", "C0HELP", f"me too {number}", conversation.question.ts)
    await conversation.slack.fault("chat.postMessage", status=500, after=True)
    with pytest.raises(SlackUnavailable):
        await conversation.attempt(PIECES[:2])
    assert len(await conversation.own()) == 1
    await conversation.attempt(PIECES[:2])
    await conversation.the_one(PIECES[:2])


async def test_an_answer_that_somebody_deleted_is_posted_anew_once(
    conversation: Conversation, client: AsyncWebClient
) -> None:
    """An edit finds the old answer gone, and the receipt of the new one is lost: still there is one."""
    await conversation.attempt()
    await client.chat_delete(channel="C0HELP", ts=(await conversation.the_one())["ts"])
    await conversation.slack.fault("chat.postMessage", status=500, after=True)
    with pytest.raises(SlackUnavailable):
        await conversation.attempt()
    await conversation.attempt()
    await conversation.the_one()


async def test_plain_buttons_where_slacks_own_are_refused(conversation: Conversation) -> None:
    """A workspace that knows no feedback buttons gets ordinary ones."""
    await conversation.slack.fault("chat.postMessage", error="invalid_blocks")
    await conversation.attempt(PIECES[:2])
    assert "feedback_buttons" not in words_of(await conversation.the_one(PIECES[:2]))


# Streams


async def test_a_short_answer_is_posted_whole(conversation: Conversation) -> None:
    """A stream of two sentences costs two slow calls and helps nobody."""
    await conversation.attempt(PIECES[:2])
    assert (await conversation.the_one(PIECES[:2]))["stream"] is None


async def test_a_long_answer_is_streamed(conversation: Conversation, appends_at_once: None) -> None:
    """Its beginning can be read before its end is there."""
    reply = await conversation.reply()
    for piece in PIECES[:3]:
        await reply.say(piece, ())
    (begun,) = await conversation.own()
    assert (begun["text"], begun["stream"]) == ("".join(PIECES[:3]), "live")
    await reply.say(PIECES[3], ())
    await reply.finish(conversation.answer(PIECES))
    assert (await conversation.the_one())["ts"] == begun["ts"]


@pytest.mark.parametrize(
    "fault",
    [{"status": 429, "retry_after_s": 30}, {"error": "ratelimited", "retry_after_s": 30}, {"error": "feature_missing"}],
    ids=["rate", "rate in words", "older plan"],
)
async def test_where_no_stream_can_be_had_the_answer_is_posted_at_once(
    conversation: Conversation, fault: dict[str, Any]
) -> None:
    """Nobody waits until Slack allows streams again, or asks a second time."""
    await conversation.slack.fault("chat.startStream", **fault)
    began = time.monotonic()
    await conversation.attempt()
    assert time.monotonic() - began < 3
    assert (await conversation.the_one())["stream"] is None


@pytest.mark.parametrize("failing", [1, 2], ids=["the next", "the stop"])
async def test_what_slack_had_no_time_for_comes_with(
    conversation: Conversation, appends_at_once: None, failing: int
) -> None:
    """Text that was not taken for its rate arrives with the next piece, or with the last call."""
    await conversation.slack.fault("chat.appendStream", status=429, retry_after_s=30, times=failing)
    began = time.monotonic()
    await conversation.attempt()
    assert time.monotonic() - began < 3
    assert (await conversation.the_one())["stream"] == "stopped"


@pytest.mark.parametrize("after", [False, True], ids=["not carried out", "carried out"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"error": "message_not_in_streaming_state"}], ids=["500", "over"])
async def test_a_stream_that_breaks_is_completed_by_an_update(
    conversation: Conversation, appends_at_once: None, fault: dict[str, Any], after: bool
) -> None:
    """Nobody knows whether the piece arrived, so the whole text replaces what is there."""
    await conversation.slack.fault("chat.appendStream", **fault, after=after)
    await conversation.attempt()
    await conversation.the_one()


@pytest.mark.parametrize("after", [False, True], ids=["not carried out", "carried out"])
@pytest.mark.parametrize("method", ["chat.startStream", "chat.stopStream"])
async def test_a_stream_whose_end_is_unknown_is_taken_over(
    conversation: Conversation, method: str, after: bool
) -> None:
    """The next attempt finds it, stops it if need be, and makes it the one answer."""
    await conversation.slack.fault(method, status=500, after=after)
    with pytest.raises(SlackUnavailable):
        await conversation.attempt()
    await conversation.attempt()
    await conversation.the_one()


async def test_a_stream_that_was_noted_is_the_one_taken_over(
    conversation: Conversation, client: AsyncWebClient, appends_at_once: None
) -> None:
    """Another message of ours in the thread that names no question is left as it is."""
    thread_ts = conversation.question.ts
    other = await client.chat_postMessage(channel="C0HELP", thread_ts=thread_ts, text="Maintenance at six.")
    killed = await conversation.reply()
    for piece in PIECES[:3]:
        await killed.say(piece, ())
    await conversation.attempt()
    first, second = await conversation.own()
    assert (first["ts"], first["text"]) == (other["ts"], "Maintenance at six.")
    assert (second["text"], second["stream"]) == ("".join(PIECES), "stopped")


async def test_a_taken_over_answer_does_not_stream_a_second_time(
    conversation: Conversation, appends_at_once: None
) -> None:
    """What people read already stays as it is until the whole is there."""
    killed = await conversation.reply()
    for piece in PIECES[:3]:
        await killed.say(piece, ())
    reply = await conversation.reply()
    for piece in PIECES:
        await reply.say(piece, ())
        assert [one["text"] for one in await conversation.own()] == ["".join(PIECES[:3])]
    await reply.finish(conversation.answer(PIECES))
    await conversation.the_one()


# Private replies


class Whispers:
    """A response_url that refuses some blocks, and keeps what it took."""

    def __init__(self, status: int, reason: str, refused: str) -> None:
        self.status, self.reason, self.refused = status, reason, refused
        self.url = ""
        self.taken: list[str] = []

    async def __aenter__(self) -> Whispers:
        app = web.Application()
        app.router.add_post("/", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = json.dumps(await request.json())
        if self.refused in body:
            return web.Response(status=self.status, text=self.reason)
        self.taken.append(body)
        return web.Response(text="ok")


async def private(journal: Journal, url: str) -> tuple[Asked, PrivateReply]:
    question = asked(url[-10:], kind="command", response_url=url)
    await journal.accept(question)
    return question, PrivateReply(AsyncWebClient(), journal, question)


async def test_a_private_reply_falls_back_to_plain_buttons(journal: Journal) -> None:
    """A workspace that refuses Slack's feedback buttons still gets its answer, once, with buttons to press."""
    async with Whispers(400, "invalid_blocks", "feedback_buttons") as whispers:
        question, reply = await private(journal, whispers.url)
        await reply.finish(answered(question.id))
    (body,) = whispers.taken
    assert "open Settings [1]" in body and f"{question.id}:down" in body
    entry = await journal.entry(question.id)
    assert entry and entry.state == "done" and entry.asked.response_url is None


@pytest.mark.parametrize(("status", "error"), [(500, SlackUnavailable), (429, SlackUnavailable), (404, SlackRefused)])
async def test_a_private_reply_that_is_not_taken_is_not_noted(
    journal: Journal, status: int, error: type[Exception]
) -> None:
    """It is tried again when that may help, and given up when not; nobody believes that it was seen."""
    async with Whispers(status, "no", "") as whispers:
        question, reply = await private(journal, whispers.url)
        with pytest.raises(error):
            await reply.finish(answered(question.id))
    entry = await journal.entry(question.id)
    assert entry and entry.state == "accepted"
