"""One visible answer per question, whatever is killed meanwhile. The real processes on a local Slack, with a model that
writes slowly enough to be killed in the middle of a word."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.journal import Journal
from bot.worker import KILLS
from handlers.desk import SORRY
from tests.local_slack import JSON
from tests.running_bot import RunningBot, words_of
from tests.scripted_model import ScriptedModel
from tests.small_library import bot_that_knows, eventually, looking_up, memory_of, page, until_idle

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOT = "U0FOOTNOTE"
LINK = "https://docs.example/keys"
STEPS = [
    "To reset an API key, open Settings and choose API keys.",
    "Select Regenerate next to the key.",
    "Confirm the reset with your password.",
    "The old key works for 24 more hours.",
    "The new key is shown once.",
]
PAGES = {"keys": page("API keys", f"## Reset an API key\n\n{' '.join(STEPS)}", url=LINK, audience="public")}
RESET = "How do I reset an API key?"
PLACES = [("U0MAYA", "C0HELP"), ("U0NOAH", "C0HELP"), ("U0PRIYA", "D0PRIYA"), ("U0ADMIN", "C0GENERAL")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as running:
        running.always(looking_up(*STEPS, pause_s=0.4))
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bot(model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBot]:
    folder = tmp_path_factory.mktemp("chaos")
    asks_model = {"PERSONA_MODEL": model.name, "OPENAI_BASE_URL": model.base_url}
    slack = {"retry_delays": (0.5, 1, 2)}
    async with bot_that_knows(folder, {**PAGES}, slack=slack, WORKER_CONCURRENCY="12", **asks_model) as running:
        yield running


async def replies_to(bot: RunningBot, channel: str, ts: str) -> list[JSON]:
    return [one for one in (await bot.slack.thread(channel, ts))[1:] if one["user"] == BOT]


def assert_whole(reply: JSON) -> None:
    """The answer with every sentence once, its source and its buttons, and no longer a stream."""
    text = reply["text"]
    assert [text.count(step[:-1]) for step in STEPS] == [1] * len(STEPS), text
    assert reply["stream"] in (None, "stopped")
    kinds = [block["type"] for block in reply["blocks"]]
    assert kinds == ["markdown", "section", "context", "context_actions"], kinds
    assert f"<{LINK}|API keys>" in words_of(reply)


async def streams_in(bot: RunningBot, questions: list[tuple[str, str]]) -> int:
    """How many answers are being streamed just now."""
    threads = [await bot.slack.thread(channel, ts) for channel, ts in questions]
    return sum(message["streaming"] for thread in threads for message in thread)


@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.nightly)])
async def test_questions_delivered_three_times_while_the_worker_is_killed_again_and_again(
    bot: RunningBot, kills: int
) -> None:
    """Five questions to a kill, fifty and ten in the nightly run. One answer to each, no double, complete with its
    sources; some of the kills hit an answer that people were reading as it grew, and once web is killed, too, and the
    embedded memory stops with them."""
    draw = random.Random(20)
    questions: list[tuple[str, str]] = []
    for kill in range(kills):
        for _ in range(5):
            user, channel = PLACES[len(questions) % len(PLACES)]
            mention = "" if channel.startswith("D") else f"<@{BOT}> "
            words = f"{mention}How do I reset API key {len(questions)}?"
            questions.append((channel, await bot.slack.message(user, channel, words, deliveries=3)))
        if kill % 2:
            await eventually(lambda: streams_in(bot, questions[-5:]))
        else:
            await asyncio.sleep(draw.uniform(0, 1.5))  # at any moment of their way
        await bot.kill_worker()
        if kill == kills // 2:
            await kill_web(bot)
            await bot.start()
        else:
            await bot.start_worker()
    deadline = time.monotonic() + 80
    for channel, ts in questions:
        await bot.slack.wait_for_reply(channel, ts, timeout_s=deadline - time.monotonic())
    await until_idle(bot, within_s=60)
    for channel, ts in questions:
        replies = await replies_to(bot, channel, ts)
        assert len(replies) == 1, (channel, ts, replies)
        assert_whole(replies[0])
    completed = {call["args"]["ts"] for call in await bot.slack.calls("chat.update")}
    assert len(completed) >= kills // 3, "the kills are to hit answers that people read as they grow"
    introductions = [one for one in await bot.slack.history("D0PRIYA") if one["user"] == BOT]
    assert len(introductions) == 1
    async with memory_of(bot) as memory:
        assert await memory.redis.llen("footnote:T0LOCAL:failures") == 0


async def kill_web(bot: RunningBot) -> None:
    assert bot.web
    bot.web.kill()
    await bot.web.wait()


async def test_a_worker_that_is_asked_to_stop_ends_its_answer_first(bot: RunningBot, model: ScriptedModel) -> None:
    """A deployment sends SIGTERM in the middle of an answer: it is completed, once, and the worker is gone in time."""
    model.enqueue(looking_up(*STEPS, pause_s=1))
    ts = await bot.slack.message("U0MAYA", "C0HELP", f"<@{BOT}> {RESET}")
    await eventually(lambda: streams_in(bot, [("C0HELP", ts)]))
    asked_before = len(model.requests)
    worker = bot.workers.pop()
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(worker.wait(), 25) == 0
    assert time.monotonic() - began > 1, "it was in the middle of it"
    (reply,) = await replies_to(bot, "C0HELP", ts)
    assert_whole(reply)
    await bot.start_worker()
    await bot.ask("U0MAYA", "C0HELP", f"<@{BOT}> {RESET}")
    await until_idle(bot)
    assert len(await replies_to(bot, "C0HELP", ts)) == 1
    assert len(model.requests) == asked_before + 1, "nobody answered it a second time"


async def test_a_question_that_kills_every_worker_is_given_up_and_the_others_are_answered(
    bot: RunningBot, model: ScriptedModel
) -> None:
    """The asker is told, and the job waits among the dead letters for somebody who looks into it. The first kills are
    only counted here, the last ones are real."""
    model.always(looking_up(*STEPS, pause_s=1))
    ts = await bot.slack.message("U0MAYA", "C0HELP", f"<@{BOT}> How do I reset the API key that kills?")
    id = f"T0LOCAL:C0HELP:{ts}"

    async def times_begun(more: int = 0) -> int:
        async with memory_of(bot) as memory:
            counts = [key async for key in memory.redis.scan_iter(f"footnote:T0LOCAL:attempts:{id}*", count=1000)]
            return sum([int(await memory.redis.incrby(key, more)) for key in counts])

    await eventually(times_begun)
    await times_begun(KILLS - 1)
    begun = await times_begun()
    await bot.kill_worker()
    await bot.start_worker()

    async def is_begun_again() -> bool:
        return await times_begun() > begun

    await eventually(is_begun_again)
    await bot.kill_worker()
    await bot.start_worker()
    model.always(looking_up(*STEPS))
    assert_whole(await bot.ask("U0NOAH", "C0HELP", f"<@{BOT}> {RESET}"))

    async def apology() -> bool:
        return [one["text"] for one in await replies_to(bot, "C0HELP", ts)] == [SORRY]

    await eventually(apology)
    async with memory_of(bot) as memory:
        (failure,) = await Journal(memory.redis, "T0LOCAL").failures()
    assert failure.payload == id and "never ended" in failure.cause
