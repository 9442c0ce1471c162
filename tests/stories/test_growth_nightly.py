"""A library of a million passages on Weaviate: what was stored is found, by meaning and by words, and only by those who
may read it. Nothing here asserts how fast; what it took is printed (`pytest -s`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from bot.vocabulary import PUBLIC, WORKSPACE, Passage
from retrieval.index import Page, Query, form_of
from tests.benchmarks.figures import p50_p95
from tests.contracts.index_suite import WeaviateKind
from tests.weaviate_server import SKIP_REASON, is_available, running

PASSAGES = int(os.environ.get("FOOTNOTE_TEST_PASSAGES", "1000000"))
DIMENSIONS = 64
PER_PAGE = 250
PAGES_AT_A_TIME = 40
CENTRES = 500
TEAM = "T0MILLION"
ASKED = 200


def page(number: int, vectors: np.ndarray) -> Page:
    """A document about its own number; every tenth is for everybody, the others for one channel."""
    document_id = f"page-{number}"
    passages = [
        Passage(
            id=str(UUID(int=number * PER_PAGE + position, version=4)),
            document_id=document_id,
            source="made",
            title=f"Page {number}",
            section="",
            url=None,
            text=f"Unit {number}x{position} stands in hall {number % 97}.",
            audience=WORKSPACE if number % 10 == 0 else "channel:C0SECRET",
            position=position,
            document_digest=document_id,
        )
        for position in range(len(vectors))
    ]
    return Page("made", document_id, document_id, passages, vectors)


def pages(count: int, kept: dict[int, np.ndarray]) -> Iterator[Page]:
    """Makes pages whose vectors lie in clusters, as those of texts do; keeps some of the vectors to ask with."""
    drawn = np.random.default_rng(20_261_122)
    centres = drawn.normal(size=(CENTRES, DIMENSIONS))
    for number in range(count // PER_PAGE):
        vectors = centres[drawn.integers(CENTRES, size=PER_PAGE)] + drawn.normal(size=(PER_PAGE, DIMENSIONS))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        kept[number] = vectors[0].astype(np.float32)
        yield page(number, vectors.astype(np.float32))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not is_available(), reason=SKIP_REASON)
async def test_a_million_passages_are_stored_and_found(tmp_path: Path) -> None:
    """Of the passages that an asker may read, nearly all come first when asked for by their own vector (the search is
    approximate), each comes first when its unit is named, and no other is ever shown."""
    with running(tmp_path) as server:
        kind = WeaviateKind(server)
        await kind.clean()
        index = kind.new(form_of("synthetic", "none"), DIMENSIONS, 0.7)
        vectors: dict[int, np.ndarray] = {}
        began = time.perf_counter()
        some: list[Page] = []
        for one in pages(PASSAGES, vectors):
            some.append(one)
            if len(some) == PAGES_AT_A_TIME:
                assert await index.put(TEAM, some) == {}
                some = []
        assert not some or await index.put(TEAM, some) == {}
        filled_s = time.perf_counter() - began
        stored = await index.count(TEAM)
        assert stored == (len(vectors), len(vectors) * PER_PAGE)

        readable = frozenset({PUBLIC, WORKSPACE})
        open_pages = [number for number in vectors if number % 10 == 0]
        asked = open_pages[:: max(1, len(open_pages) // ASKED)]
        spent, by_vector, by_words = [], [], []
        for number in asked:
            for alpha, right in ((1.0, by_vector), (0.0, by_words)):
                query = Query(f"Where is unit {number}x0?", vectors[number], readable, alpha=alpha)
                began = time.perf_counter()
                hits = await index.search(TEAM, query, 5)
                spent.append((time.perf_counter() - began) * 1_000)
                assert {hit.passage.audience for hit in hits} <= readable
                right.append(bool(hits) and hits[0].passage.id == str(UUID(int=number * PER_PAGE, version=4)))
        await kind.clean()
        await index.close()
    print(f"\n{stored[1]:,} passages in {filled_s:.0f} s; a search took {p50_p95(spent)} ms (p50 / p95)")
    assert np.mean(by_vector) >= 0.95
    assert np.mean(by_words) == 1.0
