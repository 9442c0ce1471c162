"""What a search on Weaviate remembers, and that nobody is ever told what is not so any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from retrieval.index import form_of
from retrieval.index_weaviate import WeaviateIndex
from retrieval.rows import Row, Rows
from tests.contracts.index_suite import EVERYBODY, Shelf, WeaviateKind, new_team, page, shelf
from tests.hashing_embedder import HashingEmbedder

TEAM = "T1"


@pytest.fixture(params=[True, False], ids=["ids first", "all at once"])
def asks_for_ids(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a search asks for ids first, or for passages and vectors at once."""
    asks = bool(request.param)
    monkeypatch.setattr(Rows, "are_worth_it", asks)
    return asks


async def rewrite(kind: WeaviateKind, library: Shelf, **properties: str) -> None:
    """Changes properties of all rows of a team, behind the index's back."""
    connection = kind.connection()
    async with connection.use(30) as client:
        form = form_of(library.embedder.id, "test")
        rows = client.collections.use(f"Passages_{form}").with_tenant(library.team_id)
        for found in (await rows.query.fetch_objects(include_vector=True)).objects:
            written = {**found.properties, **properties}
            await rows.data.replace(found.uuid, written, vector=found.vector["default"])
    await connection.close()


@pytest.mark.weaviate
@pytest.mark.usefixtures("asks_for_ids")
async def test_a_passage_that_is_found_again_is_not_read_again(weaviate_kind: WeaviateKind) -> None:
    """The very same passage comes back, with the same certainty; who searches in other words gets it, too."""
    async with shelf(weaviate_kind, new_team()) as library:
        await library.put("page", "Invoices are sent on the first of a month.")
        (first,) = await library.find("When are invoices sent?")
        (again,) = await library.find("When are invoices sent?")
        (other,) = await library.find("the first of a month")
        assert again.passage is first.passage is other.passage
        assert again == first
        assert other.certainty != first.certainty


@pytest.mark.weaviate
@pytest.mark.usefixtures("asks_for_ids")
async def test_a_row_that_was_written_again_is_read_again(weaviate_kind: WeaviateKind) -> None:
    """Also where its id says that it is the same version of the same document."""
    async with shelf(weaviate_kind, new_team()) as library:
        await library.put("page", "Invoices are sent on the first of a month.")
        assert [hit.passage.title for hit in await library.find("invoices")] == ["page"]
        await rewrite(weaviate_kind, library, title="Billing")
        assert [hit.passage.title for hit in await library.find("invoices")] == ["Billing"]


@pytest.mark.weaviate
@pytest.mark.usefixtures("asks_for_ids")
async def test_what_is_remembered_is_shown_to_nobody_who_may_not_read_it(weaviate_kind: WeaviateKind) -> None:
    """The store says each time who may read a row; memory never does."""
    async with shelf(weaviate_kind, new_team()) as library:
        await library.put("page", "Invoices are sent on the first of a month.")
        assert await library.find("invoices")
        assert await library.find("invoices", frozenset({"channel:C1"})) == []
        await rewrite(weaviate_kind, library, audience="channel:C1")
        assert await library.find("invoices") == []
        (hit,) = await library.find("invoices", EVERYBODY | {"channel:C1"})
        assert hit.passage.audience == "channel:C1"


@pytest.mark.weaviate
async def test_a_passage_taken_out_between_finding_and_reading_is_left_out(
    weaviate_kind: WeaviateKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else was found is found."""
    monkeypatch.setattr(Rows, "are_worth_it", True)
    team, embedder = new_team(), HashingEmbedder()

    class Emptied(WeaviateIndex):
        reads = 0

        async def _read(self, client: Any, team_id: str, found: Sequence[Any], where: Any) -> dict[Any, Row]:
            self.reads += 1
            if self.reads == 1:
                await self.remove(team, "docs", ["old"])
            return await super()._read(client, team_id, found, where)

    index = Emptied(weaviate_kind.connection(), form_of(embedder.id, "test"), embedder.dimensions, 0.5)
    library = Shelf(index, team, embedder)
    await library.put("old", "Invoices are sent on the first of a month.")
    await library.put("new", "Invoices are sent on the last day of a month.")
    assert await library.ids("invoices") == ["new"]
    assert index.reads == 2
    await index.close()


def test_the_row_that_nobody_read_for_longest_is_forgotten_first() -> None:
    """So that what is asked often stays, in a bounded room; no room remembers nothing."""
    stored = page(TEAM, "page", "Some words.")
    row, now = Row(stored.passages[0], stored.vectors[0]), datetime.now(UTC)
    rows, (one, two, three) = Rows(2), ((TEAM, uuid4(), now) for _ in range(3))
    rows.keep(one, row)
    rows.keep(two, row)
    assert rows.get(one) is row
    rows.keep(three, row)
    assert [rows.get(each) for each in (one, two, three)] == [row, None, row]
    nothing = Rows(0)
    nothing.keep(one, row)
    assert nothing.get(one) is None


def test_ids_are_asked_for_first_where_most_is_known() -> None:
    """New questions on a large library would only take two calls instead of one."""
    stored = page(TEAM, "page", "Some words.")
    rows, known, new = Rows(), (TEAM, uuid4(), datetime.now(UTC)), (TEAM, uuid4(), datetime.now(UTC))
    rows.keep(known, Row(stored.passages[0], stored.vectors[0]))
    assert not rows.are_worth_it
    for _ in range(10):
        rows.learn([known])
    assert rows.are_worth_it
    for _ in range(10):
        rows.learn([known, new])
    assert not rows.are_worth_it
