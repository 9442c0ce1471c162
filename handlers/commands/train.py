"""`/support train`: how far it is to a model of one's own, and tuning on what was approved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import islice

from bot.errors import TellUser
from bot.journal import Journal
from bot.learning import examples
from bot.learning.judging import kept_back
from bot.learning.tuning.jobs import RISK
from bot.learning.versions.register import Register
from bot.vocabulary import Dataset, Example, TuningJob
from handlers import blocks
from handlers.cards import counted
from handlers.commands.words import in_slack
from handlers.inbox import Commanded
from handlers.mrkdwn import escape
from handlers.reviewing import Shown

USE = "Use `/support train`, `/support train start` or `/support train start few`."
LAST = 5

Trainable = Callable[[], Awaitable[tuple[Sequence[Example], Sequence[tuple[Example, str]]]]]
"""Gives the examples that may be trained on, and the others with the reasons."""
Start = Callable[[str, bool], Awaitable[TuningJob]]
"""Starts tuning: at whose word, and whether few examples are enough. Raises TellUser."""


class Train:
    """Carries out `/support train`."""

    def __init__(self, journal: Journal, register: Register, trainable: Trainable, start: Start) -> None:
        self._journal, self._register, self._trainable, self._start = journal, register, trainable, start

    async def carry_out(self, commanded: Commanded, arguments: list[str]) -> Shown:
        """Does what stands behind the word. Raises TellUser."""
        match arguments:
            case []:
                return blocks.listed([line async for line in self._status()])
            case ["start"] | ["start", "few"]:
                return await self._started(commanded.user_id, few=arguments[1:] == ["few"])
        raise TellUser(USE)

    async def _started(self, by: str, *, few: bool) -> Shown:
        job = await self._start(by, few)
        if job.has_ended:
            return f"That very dataset was tuned on before. {line_of(job)}", None
        told = "I tell you when it has ended." if job.started_by == by else "It was running already."
        risk = f"\n⚠️ {in_slack(RISK)}" if few else ""
        return f"Tuning {escape(job.base)} on dataset `{job.dataset[:12]}`. {told}{risk}", None

    async def _status(self) -> AsyncIterator[str]:
        usable, refused = await self._trainable()
        yield f"*Examples* {await examples.progress(self._journal)}, {len(usable)} may be trained on"
        for reason, count in islice(kept_back(refused).items(), LAST):
            yield f"• {count} approved, but kept back: {escape(reason)}"
        if datasets := await self._register.datasets():
            yield "*Datasets*"
            for dataset in datasets[-LAST:]:
                yield dataset_line(dataset)
        if jobs := await self._register.jobs():
            yield "*Tuning*"
            for job in jobs[-LAST:]:
                yield line_of(job)
        if len(usable) < examples.WANTED:
            yield (
                f"`/support train start` waits for {examples.WANTED} examples; `/support train start few` does not. "
                "`/support examples` shows what waits for review."
            )
        else:
            yield "`/support train start` tunes a model on them."


def dataset_line(dataset: Dataset) -> str:
    """One dataset."""
    few = ", few" if dataset.is_few else ""
    return (
        f"• `{dataset.digest[:12]}` {counted(len(dataset.example_ids), 'example')}{few}, {dataset.created_at:%d %B %Y}"
    )


def line_of(job: TuningJob) -> str:
    """How a tuning job stands."""
    progress = f" {job.progress:.0%}" if job.status == "running" else ""
    event = f" ({escape(job.last_event)})" if job.last_event and job.status == "running" else ""
    model = f" → {escape(job.fine_tuned_model)}" if job.fine_tuned_model else ""
    problem = f"\n   {escape(job.problem)}" if job.problem else ""
    return f"• {job.status}{progress}{event}: {escape(job.base)} on `{job.dataset[:12]}`{model}{problem}"
