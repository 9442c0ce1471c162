"""How both indexes rank: the fusion rule, and that the embedded index finds what Weaviate finds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.settings import Settings
from bot.vocabulary import Question
from retrieval.index import Query, certainty, fuse
from retrieval.library import Library, open_library
from tests.contracts.index_suite import WeaviateKind, new_team

COMPANY = Path(__file__).parents[2] / "bot" / "local" / "company"
READABLE = frozenset({"public", "workspace"})
LEG = st.dictionaries(st.integers(0, 20), st.floats(-1, 100, allow_nan=False), max_size=20)


def test_the_best_of_each_leg_gets_its_whole_share() -> None:
    """Each leg is scaled to 0…1 and weighted; what both legs like comes first."""
    assert fuse({1: 0.9, 2: 0.5, 3: 0.1}, {2: 12.0, 4: 2.0}, 0.5) == [(2, 0.75), (1, 0.5), (3, 0.0), (4, 0.0)]


def test_a_leg_whose_scores_are_equal_gives_its_whole_share() -> None:
    """As Weaviate does; so a single hit by words counts in full."""
    assert fuse({}, {7: 3.0}, 0.7) == [(7, pytest.approx(0.3))]
    assert fuse({1: 0.4, 2: 0.4}, {}, 0.7) == [(1, 0.7), (2, 0.7)]


def test_nothing_found_is_nothing_ranked() -> None:
    """Two empty legs."""
    assert fuse({}, {}, 0.5) == []


@given(LEG, LEG, st.floats(0, 1))
def test_every_hit_of_a_weighted_leg_is_ranked_once_within_bounds(
    by_vector: dict[int, float], by_words: dict[int, float], alpha: float
) -> None:
    """Whatever the scores: no hit is lost or doubled, no score leaves 0…1, best first."""
    ranked = fuse(by_vector, by_words, alpha)
    weighted = (by_vector.keys() if alpha > 0 else set()) | (by_words.keys() if alpha < 1 else set())
    assert {number for number, _ in ranked} == weighted
    scores = [score for _, score in ranked]
    assert scores == sorted(scores, reverse=True)
    assert all(-1e-9 <= score <= 1 + 1e-9 for score in scores)


def test_certainty_means_the_same_with_a_model_whose_cosines_are_all_high() -> None:
    """What such a model calls .9 is no nearer than .68 of another, and stays below the threshold."""
    vector = np.array([1, 0], dtype=np.float32)
    near = np.array([0.9, np.sqrt(1 - 0.9**2)], dtype=np.float32)
    assert Query("x", vector, frozenset()).certainty(near) == pytest.approx(0.95)
    assert Query("x", vector, frozenset(), stretch=3.2).certainty(near) == pytest.approx(0.84)
    assert Query("x", vector, frozenset(), stretch=3.2).certainty(vector) == 1
    assert Query("x", vector, frozenset(), stretch=3.2).certainty(-vector) == 0


def test_certainty_is_kept_within_bounds() -> None:
    """Rounding cannot make more than certain."""
    assert (certainty(1.0000001), certainty(-1.0000001), certainty(0.0)) == (1.0, 0.0, 0.5)


@pytest.fixture
async def both(weaviate_kind: WeaviateKind, tmp_path: Path) -> AsyncIterator[tuple[Library, Library]]:
    """The library on each index, with the settings' own defaults."""
    server = weaviate_kind.server
    remote = Settings(weaviate_url=server.url, weaviate_grpc_url=server.grpc_url, weaviate_api_key=server.key)
    async with AsyncExitStack() as stack:
        embedded = await stack.enter_async_context(open_library(Settings(data_dir=tmp_path)))
        weaviate = await stack.enter_async_context(open_library(remote))
        yield embedded, weaviate


@pytest.mark.weaviate
async def test_both_indexes_find_the_same_on_the_sample_company(both: tuple[Library, Library]) -> None:
    """Of the five best passages per question at least 80 % are the same, and the right page is found as often, within
    three points."""
    team_id = new_team()
    questions = [json.loads(line) for line in (COMPANY / "questions.jsonl").read_text().splitlines()]
    answerable = [question for question in questions if question["gold_doc_ids"]]
    hits, passages = [], []
    for library in both:
        report = await library.ingest(team_id, COMPANY / "pages")
        assert report.failed == ()
        found = {
            each["id"]: await library.find(
                Question(id=each["id"], team_id=team_id, text=each["question"], readable=READABLE)
            )
            for each in questions
        }
        passages.append({name: {hit.passage.id for hit in each.hits} for name, each in found.items()})
        hits.append(
            sum(
                any(hit.passage.document_id in each["gold_doc_ids"] for hit in found[each["id"]].hits)
                for each in answerable
            )
            / len(answerable)
        )
    shared = [len(passages[0][name] & passages[1][name]) / 5 for name in passages[0]]
    assert sum(shared) / len(shared) >= 0.8
    assert abs(hits[0] - hits[1]) <= 0.03 + 1 / len(answerable)
