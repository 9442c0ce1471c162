"""The reply in a shell. What the bot is doing goes to stderr, the answer to stdout sentence by sentence, and after it
the sources with title, section, age and address; so that `ask … > file` holds the answer and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

import typer

from bot.defusing import visible
from bot.vocabulary import Answer, Citation


class TerminalReply:
    """Shows an answer, styled where a person looks; see `answering.Reply`."""

    def __init__(self, name: str = "Footnote", *, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self._name = name
        self._out, self._err = stdout or sys.stdout, stderr or sys.stderr
        self._said = ""

    async def status(self, text: str) -> None:
        """Shows what is being done, on stderr."""
        _print(self._err, f"{self._name} {text}\n", dim=True)

    async def say(self, sentence: str, citations: Sequence[Citation]) -> None:
        """Prints the next piece of the answer."""
        self._write(sentence)

    async def finish(self, answer: Answer) -> None:
        """Prints what was not said yet, then the sources or the nearest pages."""
        self._write(answer.text.removeprefix(self._said))
        _print(self._out, "\n")
        self._list("Sources", answer.citations)
        self._list("Nearest pages", answer.nearest)
        if answer.model == "quoting":
            _print(self._err, "Quoted from the documents; no persona model is configured.\n", dim=True)

    def _write(self, text: str) -> None:
        self._said += text
        _print(self._out, visible(text))

    def _list(self, heading: str, citations: Sequence[Citation]) -> None:
        if citations:
            _print(self._out, f"\n{heading}\n", bold=True)
        for citation in citations:
            _print(self._out, f"[{citation.number}] ", bold=True)
            _print(self._out, visible(" › ".join(filter(None, (citation.title, citation.section)))))
            if citation.updated_at is not None:
                _print(self._out, f" · {age(citation.updated_at)}", dim=True)
            if citation.url:
                _print(self._out, f"\n    {visible(citation.url)}", dim=True)
            _print(self._out, "\n")


class SilentReply:
    """Shows nothing: for machines, which read the answer when it is whole."""

    async def status(self, text: str) -> None:
        """Shows nothing."""

    async def say(self, sentence: str, citations: Sequence[Citation]) -> None:
        """Shows nothing."""

    async def finish(self, answer: Answer) -> None:
        """Shows nothing."""


def _print(stream: TextIO, text: str, *, bold: bool = False, dim: bool = False) -> None:
    """Prints at once; styles only on a terminal, and not where https://no-color.org asks for none."""
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        bold = dim = False
    stream.write(typer.style(text, bold=bold or None, dim=dim or None) if bold or dim else text)
    stream.flush()


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
