"""What the commands on examples share: journal, register and rules, open together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from bot.errors import TryAgain
from bot.vocabulary import Dataset, ExampleStatus, ModelVersion

if TYPE_CHECKING:
    from bot.answering import Find
    from bot.journal import Journal
    from bot.learning.examples import Rules
    from bot.learning.tracing import Standing
    from bot.learning.versions.register import Register
    from bot.settings import Settings

CLEAN = "clean"
"""What `--approve` takes for every candidate in which nothing is wrong."""


@dataclass(frozen=True)
class Desk:
    """What examples are worked on with."""

    journal: Journal
    register: Register
    rules: Rules

    async def hold_against_the_library(self, standing: Standing, find: Find | None = None) -> None:
        """Brings the examples in line with what the library holds now."""
        from bot.learning import examples

        try:
            changed = await examples.recheck(
                self.journal, standing, find=find, register=self.register, rules=self.rules
            )
        except TryAgain as error:
            typer.echo(f"Not held against the library, which cannot be reached: {error}", err=True)
            return
        aside = sum(one.status == "quarantined" for one in changed)
        if aside:
            typer.echo(f"{aside} were put aside, for their pages have changed.", err=True)
            datasets, versions = await examples.seen_by(self.register, [one.id for one in changed])
            if datasets:
                typer.echo(told_of(datasets, versions), err=True)
        if len(changed) > aside:
            typer.echo(f"{len(changed) - aside} are held by the pages of today, and wait for review.", err=True)

    async def decide(self, id: str, status: ExampleStatus, may_read: frozenset[str]) -> None:
        """Approves or rejects one, or all in which nothing is wrong."""
        from bot.learning import examples

        if id == CLEAN and status == "approved":
            await self._approve_clean(may_read)
            return
        await examples.review(self.journal, id, status, "command line", may_read, self.rules.persona)
        typer.echo(f"{id} is {status}.", err=True)

    async def _approve_clean(self, may_read: frozenset[str]) -> None:
        from bot.learning import examples

        waiting = [one for one in await self.journal.examples("candidate") if examples.may_be_read(one, may_read)]
        clean = [one.id for one in waiting if not one.problems]
        for each in clean:
            await examples.review(self.journal, each, "approved", "command line", may_read, self.rules.persona)
        typer.echo(f"{len(clean)} approved; something is wrong with {len(waiting) - len(clean)} others.", err=True)

    async def edit(self, id: str, answer: str, may_read: frozenset[str]) -> None:
        """Gives one another answer."""
        from bot.learning import examples

        edited = await examples.edit(self.journal, id, answer, "command line", may_read, self.rules.persona)
        typer.echo(f"{id} has another answer{', in which something is wrong' if edited.problems else ''}.", err=True)


@asynccontextmanager
async def open_desk(settings: Settings, team_id: str) -> AsyncIterator[Desk]:
    """Opens the desk of a team."""
    from bot.learning.examples import Rules
    from bot.learning.versions.register import Register
    from bot.wiring import open_journal

    async with open_journal(settings, team_id) as (memory, journal):
        yield Desk(journal, Register(memory.redis, team_id), Rules.of(settings))


def told_of(datasets: Sequence[Dataset], versions: Sequence[ModelVersion]) -> str:
    """Says which datasets and versions have seen what may no longer be learned from."""
    seen = f" and seen by {', '.join(one.id for one in versions)}" if versions else ""
    digests = ", ".join(one.digest[:12] for one in datasets)
    return f"They were in the datasets {digests}{seen}: what was trained on them still knows them."
