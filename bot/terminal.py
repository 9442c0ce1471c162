"""The reply in a shell. What the bot is doing goes to stderr, the answer to stdout sentence by sentence, and after it
the sources with title, section, age and address; so that `ask … > file` holds the answer and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from bot.defusing import visible
from bot.vocabulary import Answer, Citation

if TYPE_CHECKING:
    from rich.console import Console


class TerminalReply:
    """Shows an answer with rich; see `answering.Reply`."""

    def __init__(self, name: str = "Footnote", *, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        from rich.console import Console

        self._name = name
        self._out = Console(file=stdout or sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._err = Console(file=stderr or sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._said = ""

    async def status(self, text: str) -> None:
        """Shows what is being done, on stderr."""
        self._err.print(f"{self._name} {text}", style="dim")

    async def say(self, sentence: str, citations: Sequence[Citation]) -> None:
        """Prints the next piece of the answer."""
        self._write(sentence)

    async def finish(self, answer: Answer) -> None:
        """Prints what was not said yet, then the sources or the nearest pages."""
        self._write(answer.text.removeprefix(self._said))
        self._out.print()
        self._list("Sources", answer.citations)
        self._list("Nearest pages", answer.nearest)
        if answer.model == "quoting":
            self._err.print("Quoted from the documents; no persona model is configured.", style="dim")

    def _write(self, text: str) -> None:
        self._said += text
        self._out.print(visible(text), end="")

    def _list(self, heading: str, citations: Sequence[Citation]) -> None:
        if citations:
            self._out.print()
            self._out.print(heading, style="bold")
        for citation in citations:
            _print_source(self._out, citation)


class SilentReply:
    """Shows nothing: for machines, which read the answer when it is whole."""

    async def status(self, text: str) -> None:
        """Shows nothing."""

    async def say(self, sentence: str, citations: Sequence[Citation]) -> None:
        """Shows nothing."""

    async def finish(self, answer: Answer) -> None:
        """Shows nothing."""


def _print_source(console: Console, citation: Citation) -> None:
    from rich.text import Text

    line = Text(f"[{citation.number}] ", style="bold")
    line.append(visible(" › ".join(filter(None, (citation.title, citation.section)))), style="default")
    if citation.updated_at is not None:
        line.append(f" · {age(citation.updated_at)}", style="dim")
    if citation.url:
        line.append(f"\n    {visible(citation.url)}", style="dim underline")
    console.print(line)


def age(updated_at: datetime, now: datetime | None = None) -> str:
    """Says how long ago a page was changed: `today`, `3 days ago`, `2 months ago`, `1 year ago`."""
    if updated_at.tzinfo is None:
        updated_at = updated_at.replace(tzinfo=UTC)
    days = ((now or datetime.now(UTC)) - updated_at).days
    for unit, size in (("year", 365), ("month", 30), ("week", 7), ("day", 1)):
        if days >= size:
            count = days // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "today"
