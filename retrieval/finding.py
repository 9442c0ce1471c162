"""From a question to the passages that answer it, in steps that each bring something: `python -m bot evaluate --steps`
shows how much by leaving out one at a time. Only what everyone at the place of the question may read is ever looked at,
also where words are compared, so that no correction betrays a page that an asker may not see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from bot.calibration import Calibration
from bot.errors import LibraryUnavailable
from bot.log import log
from bot.vocabulary import Found, Hit, Passage, Question
from retrieval.copies import newest_first, without_copies
from retrieval.index import Index, Query
from retrieval.questions import (
    codes,
    holds,
    identifiers,
    is_about,
    leaning,
    needs_its_thread,
    standalone,
    thread_before,
    with_codes_of,
    words_of_codes,
)
from retrieval.spelling import mended, suspects
from retrieval.sufficiency import READ, is_vague, signs

if TYPE_CHECKING:
    from retrieval.embedding import Embedder, Vectors

Result = TypeVar("Result")
Rewrite = Callable[[Question], Awaitable[str | None]]
"""Says a follow-up so that it can be understood without its thread, or gives None; raises nothing."""

STEPS = {
    "words": "words beside meaning",
    "follow_ups": "the asker's last words",
    "thread": "the thread's direction",
    "identifiers": "codes and names exact",
    "spelling": "slips mended",
    "recency": "the newer of two versions first",
    "copies": "copies read once",
    "neighbours": "what stands around the best hit",
}
"""What can be left out of a search, to measure what it brings."""
_SPARE = 3
"""Hits beyond those asked for, to take the places of copies."""
_DEEP = 40
"""Hits that are looked through for a word: for one that a misspelt one may stand for, and for a code as it is written,
which an index takes apart (`--token` is found wherever a token is)."""


class Finder:
    """Finds in one library; `threads` is where it computes."""

    def __init__(
        self, index: Index, embedder: Embedder, threads: Executor, threshold: float, calibration: Calibration | None
    ) -> None:
        self._index, self._embedder, self._threads = index, embedder, threads
        self._threshold, self._calibration = threshold, calibration

    async def find(
        self,
        question: Question,
        k: int,
        *,
        without: frozenset[str] = frozenset(),
        hidden: frozenset[str] = frozenset(),
        rewrite: Rewrite | None = None,
        around: bool = False,
    ) -> Found:
        """Finds the `k` best passages, without some of the `STEPS`, and as if some documents were not there. What is no
        question without its thread is searched as `rewrite` says it, else after what its asker said before. With
        `around`, which costs a call to the index, what stands around the best hit is read, too."""
        rewrite_ms = 0.0
        if rewrite and "follow_ups" not in without and needs_its_thread(question.text, question.history):
            asked = time.perf_counter()
            question = question.model_copy(update={"text": await rewrite(question) or question.text})
            rewrite_ms = (time.perf_counter() - asked) * 1000
        text = question.text if "follow_ups" in without else standalone(question.text, question.history)
        if not text.strip() or not question.readable:
            return Found(hits=(), query=text)
        began = time.perf_counter()
        query = await self._query(text, question, without)
        query = replace(query, hidden=hidden, alpha=1.0 if "words" in without else None)
        embedded = time.perf_counter()
        hits = await self._search(question, query, k + _SPARE)
        is_exact = "identifiers" not in without
        if is_exact and (right := await self._codes_as_written(text, question, query, hits)) != text:
            text = right
            query = replace(await self._query(text, question, without), hidden=hidden, alpha=query.alpha)
            hits = await self._search(question, query, k + _SPARE)
        if "spelling" not in without and (misspelt := suspects(text, hits, self._embedder.count_tokens)):
            near = await self._search(question, query, max(k, _DEEP))
            if (right := mended(text, misspelt, near)) != text:
                text = right
                query = replace(await self._query(text, question, without), hidden=hidden, alpha=query.alpha)
                hits = await self._search(question, query, k + _SPARE)
        if is_exact:
            hits = await self._exact_first(question, query, hits)
        if "recency" not in without:
            hits = newest_first(hits, text)
        if "copies" not in without:
            hits = without_copies(hits)
        hits = hits[:k]
        beside = await self._around(question, hits) if around and "neighbours" not in without else []
        confidence, is_sufficient = self._judge(text, hits)
        return Found(
            hits=tuple(hits),
            query=text,
            confidence=confidence,
            is_sufficient=is_sufficient,
            is_vague=not question.history and is_vague(text, hits),
            around=tuple(beside),
            rewrite_ms=rewrite_ms,
            embed_ms=(embedded - began) * 1000,
            search_ms=(time.perf_counter() - embedded) * 1000,
        )

    def _judge(self, text: str, hits: Sequence[Hit]) -> tuple[float, bool]:
        """Says how sure it is that the hits hold the answer, and whether that is enough to answer from them.

        A code or a setting's name of the question decides: where it stands, is the answer; and where a question is
        about nothing else, what only looks like it is none.
        """
        if self._calibration:
            confidence = self._calibration.probability(signs(text, hits)) if hits else 0.0
            is_enough = confidence >= self._calibration.threshold
        else:
            confidence = max((hit.certainty for hit in hits), default=0.0)
            is_enough = confidence >= self._threshold
        asked = identifiers(text)
        if any(_holds(hit.passage, asked) for hit in hits[:READ]):
            return confidence, True
        return confidence, bool(hits) and is_enough and not is_about(text, asked)

    async def _query(self, text: str, question: Question, without: frozenset[str]) -> Query:
        own = await self._compute(self._embedder.embed_query, text)
        vector = own
        if question.history and "thread" not in without:
            vector = await self._compute(self._towards_the_thread, own, question)
        return Query(text, vector, question.readable, identifiers(text), own_vector=own, stretch=self._embedder.stretch)

    def _towards_the_thread(self, own: Vectors, question: Question) -> Vectors:
        """Turns a question's vector towards what was said before it, which its words alone do not tell."""
        import numpy as np

        before = [self._embedder.embed_query(text) for text in thread_before(question.history)]
        if not before:
            return own
        thread = np.sum(before, axis=0)
        turned: Vectors = own + leaning(question.text) * thread / np.linalg.norm(thread)
        return turned / np.linalg.norm(turned)

    async def _codes_as_written(self, text: str, question: Question, query: Query, hits: Sequence[Hit]) -> str:
        """Writes the codes of a question as the pages do."""
        typed = codes(text)
        pages = "\n".join(_whole(hit.passage) for hit in hits)
        if all(holds(pages, code) for code in typed):
            return text
        near = await self._search(question, replace(query, text=words_of_codes(typed), alpha=0.0), _DEEP)
        return with_codes_of(text, "\n".join([pages, *(_whole(hit.passage) for hit in near)]))

    async def _exact_first(self, question: Question, query: Query, hits: list[Hit]) -> list[Hit]:
        """Sees to it that a passage which holds a code or name of the question comes first. Among thousands of
        passages that are about the same, its one rare word is not enough."""
        asked = query.identifiers
        if not asked:
            return hits
        exact = [hit for hit in hits if _holds(hit.passage, asked)]
        if not any(_holds(hit.passage, asked) for hit in hits[:READ]):
            by_name = await self._search(question, replace(query, text=" ".join(asked), alpha=0.0), _DEEP)
            exact = [hit for hit in by_name if _holds(hit.passage, asked)]
        first = {hit.passage.id for hit in exact}
        return [*exact, *(hit for hit in hits if hit.passage.id not in first)]

    async def _around(self, question: Question, hits: Sequence[Hit]) -> list[Passage]:
        """The passages before and after the best one in its section, of which the chunker made several."""
        if not hits or hits[0].passage.is_whole:
            return []
        best, known = hits[0].passage, {hit.passage.id for hit in hits[:READ]}
        try:
            near = await self._index.around(question.team_id, best, 1, question.readable)
        except LibraryUnavailable as error:  # what was found is enough to answer from
            log.warning("not_read_around", question=question.id, cause=str(error))
            return []
        return [one for one in near if one.section == best.section and one.id not in known and _may_show(one, question)]

    async def _search(self, question: Question, query: Query, k: int) -> list[Hit]:
        hits = await self._index.search(question.team_id, query, k)
        return [hit for hit in hits if _may_show(hit.passage, question)]

    async def _compute(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _holds(passage: Passage, asked: Iterable[str]) -> bool:
    return any(holds(_whole(passage), identifier) for identifier in asked)


def _whole(passage: Passage) -> str:
    return f"{passage.title}\n{passage.section}\n{passage.text}"


def _may_show(passage: Passage, question: Question) -> bool:
    if passage.audience in question.readable:
        return True
    log.error("unreadable_hit", passage=passage.id, audience=passage.audience, question=question.id)
    return False
