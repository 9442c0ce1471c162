"""The nearest approved examples, shown to an untuned model as demonstrations: the manner can be had before there are
enough examples to tune one. None is shown that some reader of the answer may not read, nor one of whose pages any has
changed; both are looked at for each question anew."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from bot.journal import Journal
from bot.learning.held_out import is_held_out
from bot.learning.judging import may_be_read
from bot.learning.tracing import IMPORTED, Standing, changes, standing_of
from bot.vocabulary import Example, Found, Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

NEAR = 0.55
"""Cosine of two questions from which on one is an example for the other."""
MOST_CHARACTERS = 6_000
"""Of all demonstrations together: some 1,500 tokens, for each of them is paid for with every question."""
MOST_EMBEDDED = 32
"""New examples that one question waits for, well under a second; the next question goes on with the rest."""
LOOKED_AT = 4
"""Times as many as are wanted are looked at, for some may have changed."""
_MARK = re.compile(r"\[(\d{1,3})\]")


class Nearest:
    """Gives demonstrations (`answering.Demonstrate`). It remembers the approved examples until one of them changes, and
    the vectors of their questions by what they ask, so that none is embedded twice."""

    def __init__(
        self,
        journal: Journal,
        embed: Callable[[str], Awaitable[Vectors]],
        standing: Standing,
        *,
        most: int = 2,
    ) -> None:
        """`embed` gives a question's vector, of length 1."""
        self._journal, self._embed, self._standing, self._most = journal, embed, standing, most
        self._revision = ""
        self._approved: list[Example] = []
        self._vectors: dict[str, Vectors] = {}
        self._matrix: Vectors | None = None
        self._reading = asyncio.Lock()

    async def __call__(self, question: Question, found: Found) -> Sequence[Example]:
        """Gives the examples to show, best last."""
        if not self._most or not question.text.strip():
            return ()
        async with self._reading:
            await self._read_anew()
        near = await self._nearest(found.query or question.text, question.readable)
        if not near:
            return ()
        now_there = await standing_of([passage for one in near for passage in one.passages], self._standing)
        chosen: list[Example] = []
        room = MOST_CHARACTERS
        for one in near:
            if changes(one.passages, now_there) or one.question in [other.question for other in chosen]:
                continue
            one = _to_show(one)
            size = len(one.question) + len(one.answer) + sum(len(passage.text) for passage in one.passages)
            if len(chosen) < self._most and size <= room:
                chosen.append(one)
                room -= size
        return chosen[::-1]

    async def _read_anew(self) -> None:
        """Reads the approved examples when one of them has changed."""
        revision = await self._journal.examples_revision()
        if revision == self._revision:
            return
        approved = [
            one
            for one in await self._journal.examples("approved")
            if one.passages and not is_held_out(one) and all(passage.source != IMPORTED for passage in one.passages)
        ]
        known = {one.question: self._vectors[one.question] for one in approved if one.question in self._vectors}
        new = dict.fromkeys(one.question for one in approved if one.question not in known)
        for text in list(new)[:MOST_EMBEDDED]:
            known[text] = await self._embed(text)
        import numpy as np

        self._approved = [one for one in approved if one.question in known]
        self._matrix = np.stack([known[one.question] for one in self._approved]) if self._approved else None
        self._vectors, self._revision = known, revision if len(new) <= MOST_EMBEDDED else ""

    async def _nearest(self, text: str, readable: frozenset[str]) -> list[Example]:
        """The examples near a question that its readers may all read, best first."""
        approved, matrix = self._approved, self._matrix
        if matrix is None:
            return []
        cosines = matrix @ await self._embed(text)
        best: list[Example] = []
        for index in (-cosines).argsort(kind="stable"):
            one = approved[index]
            if cosines[index] < NEAR or len(best) == self._most * LOOKED_AT:
                break
            if may_be_read(one, readable):
                best.append(one)
        return best


def _to_show(example: Example) -> Example:
    """An example with the passages that its answer cites, and those before them, for marks are places."""
    cited = max((int(number) for number in _MARK.findall(example.answer)), default=len(example.passages))
    return example.model_copy(update={"passages": example.passages[:cited]})
