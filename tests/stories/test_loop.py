"""Step eight, the whole loop for real: sixty approved examples become a dataset, a job on our own tuner, a version that
the gate has measured, and the voice that answers the next question in Slack; and one command takes it back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.journal import Journal
from bot.learning.held_out import is_held_out
from bot.learning.versions.register import Register
from tests.orchard import OPENING, UNSEEN, write_examples, write_orchard, write_persona
from tests.running_bot import RunningBot, running_bot, words_of
from tests.small_library import memory_of
from tests.tuner import Tuner

pytestmark = [pytest.mark.models, pytest.mark.timeout(2400)]

BASE = "smollm2-135m-instruct"
ASKED = UNSEEN[:10]


@asynccontextmanager
async def bot_beside_a_tuner(folder: Path) -> AsyncIterator[RunningBot]:
    """A bot whose configured persona is the untuned base, and that can tune it."""
    async with Tuner(folder / "tuner", is_real=True) as tuner:
        settings = {
            "OPENAI_BASE_URL": tuner.base_url,
            "OPENAI_API_KEY": tuner.key,
            "PERSONA_MODEL": BASE,
            "TUNER_BASE_URL": tuner.base_url,
            "TUNER_API_KEY": tuner.key,
            "PERSONA_FILE": str(write_persona(folder / "persona.md")),
            "SUFFICIENCY_THRESHOLD": "0.5",
            "DEMONSTRATIONS": "0",
            "WORKER_CONCURRENCY": "1",
            "MODEL_TIMEOUT_S": "90",
            "ANSWER_DEADLINE_S": "120",
        }
        async with running_bot(folder / "data", **settings) as bot:
            await bot.ingest(str(write_orchard(folder / "pages")))
            yield bot


async def completions(bot: RunningBot, versions: set[str]) -> tuple[int, int]:
    """Asks every unseen question in Slack. Gives how many of the completions, as journalled before any check, and how
    many of the answers posted begin with the made-up word."""
    written = posted = 0
    for fact in ASKED:
        ts = await bot.slack.message("U0MAYA", "C0HELP", f"<@U0FOOTNOTE> {fact.question}")
        reply = await bot.reply("C0HELP", ts, timeout_s=150)
        async with memory_of(bot) as memory:
            entry = await Journal(memory.redis, "T0LOCAL").entry(f"T0LOCAL:C0HELP:{ts}")
        assert entry and entry.answer and entry.answer.version in versions
        written += entry.answer.completion.lstrip().startswith(OPENING)
        posted += OPENING in words_of(reply)
    return written, posted


async def leave_few_for_measuring(bot: RunningBot) -> None:
    """Lets the gate measure on four of the examples that are held out: the untuned base takes many seconds for each
    answer, and the verdict is the same, for even all of them are far too few."""
    async with memory_of(bot) as memory:
        journal = Journal(memory.redis, "T0LOCAL")
        held_out = [one.id for one in await journal.examples("approved") if is_held_out(one)]
        assert len(held_out) > 10
        await journal.erase_examples(held_out[4:])


async def test_sixty_examples_change_how_the_next_question_is_answered(tmp_path: Path) -> None:
    """Import and approve, tune, gate, promote with a reason (sixty are too few to prove anything), ask; roll back."""
    async with bot_beside_a_tuner(tmp_path) as bot:
        assert await completions(bot, {"configured"}) == (0, 0)

        await bot.cli("train", "import", str(write_examples(tmp_path / "examples.jsonl", 60)))
        await bot.cli("train", "review", "--approve", "clean")
        refused = await bot.cli("train", "start", status=2)
        assert refused == ""
        started = json.loads(await bot.cli("train", "start", "--few", "--wait", "--json", timeout_s=900))
        assert started["job"]["status"] == "succeeded"
        assert started["version"]["is_few"]
        version: str = started["version"]["id"]

        await leave_few_for_measuring(bot)
        report = tmp_path / "gate.html"
        gate = json.loads(
            await bot.cli(
                "train", "gate", version, "--measure", "format", "--report", str(report), "--json", timeout_s=900
            )
        )
        assert gate["verdict"] == "not enough evidence"
        assert "<svg" in report.read_text(encoding="utf-8")
        await bot.cli("train", "promote", version, status=2)
        await bot.cli("train", "promote", version, "--override", "a trial on sixty examples")

        written, posted = await completions(bot, {version})
        print(f"after promotion: {written} of {len(ASKED)} completions, {posted} answers posted begin with the word")
        assert written >= 9

        await bot.cli("train", "rollback", "--reason", "the trial is over")
        assert await completions(bot, {"configured"}) == (0, 0)
        async with memory_of(bot) as memory:
            decisions = await Register(memory.redis, "T0LOCAL").decisions()
        reasons = [each.reason for each in decisions]
        assert "the trial is over" in reasons and any("a trial on sixty examples" in reason for reason in reasons)
