"""How long the library looks for passages, the embedding of the question aside; over both indexes, and on Weaviate
beside the bare client's hybrid search with the same arguments, question by question in turn."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from bot.vocabulary import Question
from retrieval.index import Index, Page
from retrieval.library import Library
from retrieval.questions import identifiers
from retrieval.weaviate_schema import RETURNED, SEARCHED, passages_name
from tests.benchmarks.answering import READABLE
from tests.benchmarks.clock import TimedEmbedder, ms_since

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient

K = 5
WARM_UP = 5
ROUNDS = 3
_PAGES_AT_A_TIME = 64

Look = Callable[[str], Awaitable[float]]
"""Looks for passages and gives the milliseconds that it took."""


@dataclass(frozen=True)
class Times:
    """Milliseconds, question by question."""

    ours: list[float]
    alone: list[float]
    """Of the bare client, where there is one."""


async def fill(index: Index, team_id: str, pages: Iterable[Page]) -> None:
    """Writes pages straight through the port."""
    pages = iter(pages)
    while some := list(islice(pages, _PAGES_AT_A_TIME)):
        if refused := await index.put(team_id, some):
            raise SystemExit(f"the index refused {refused}")


def looking(library: Library, embedder: TimedEmbedder, team_id: str) -> Look:
    """Gives the library's find, with the time of the embedder taken off."""

    async def look(text: str) -> float:
        question = Question(id="benchmark", team_id=team_id, text=text, readable=READABLE)
        began = time.perf_counter()
        found = await library.find(question, K)
        spent = ms_since(began)
        if len(found.hits) != K:
            raise SystemExit(f"{len(found.hits)} passages were found for {text!r}")
        return spent - embedder.question_ms

    return look


def looking_bare(client: WeaviateAsyncClient, embedder: TimedEmbedder, form: str, team_id: str, alpha: float) -> Look:
    """Gives the client's own search with what the library asks it for, without anything around it."""
    collection: Any = client.collections.use(passages_name(form)).with_tenant(team_id)
    ask = bare_search(collection, embedder, alpha, include_vector=True, return_properties=list(RETURNED))

    async def look(text: str) -> float:
        embedder.embed_query(text)  # what follows has it in the cache
        began = time.perf_counter()
        found = await ask(text)
        spent = ms_since(began)
        if len(found.objects) != K:
            raise SystemExit(f"{len(found.objects)} objects were found for {text!r}")
        return spent

    return look


def bare_search(
    collection: Any, embedder: TimedEmbedder, alpha: float, properties: Sequence[str] = SEARCHED, **more: Any
) -> Callable[[str], Any]:
    """Gives the hybrid search of a collection by a client alone, with nothing around it; as the client is, it blocks or
    is awaited."""
    from weaviate.classes.query import Filter, HybridFusion, MetadataQuery

    readable = Filter.by_property("audience").contains_any(sorted(READABLE))

    def ask(text: str) -> Any:
        return collection.query.hybrid(
            query=" ".join((text, *identifiers(text))),
            vector=embedder.embed_query(text).tolist(),
            alpha=alpha,
            fusion_type=HybridFusion.RELATIVE_SCORE,
            query_properties=list(properties),
            filters=readable,
            limit=K,
            return_metadata=MetadataQuery(score=True),
            **more,
        )

    return ask


async def find_times(look: Look, questions: Sequence[str], bare: Look | None = None) -> Times:
    """Looks for each question in some rounds, and with `bare` as often without us, now the one first and now the other.
    Of each question the least counts, on both sides: what else the machine does is nobody's doing."""
    ours: dict[str, float] = {}
    alone: dict[str, float] = {}
    for number, text in enumerate([*questions[-WARM_UP:], *chain.from_iterable([questions] * ROUNDS)]):
        looks = [(ours, look), *([(alone, bare)] if bare else [])]
        for kept, one in looks if number % 2 else reversed(looks):
            spent = await one(text)
            if number >= WARM_UP:
                kept[text] = min(spent, kept.get(text, spent))
    return Times([ours[text] for text in questions], [alone[text] for text in questions] if bare else [])
