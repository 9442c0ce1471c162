"""The two indexes that the contract suites run over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contracts.index_suite import EmbeddedKind, Kind, Shelf, WeaviateKind, new_team, shelf
from tests.weaviate_server import SKIP_REASON, Server, is_available, running


@pytest.fixture(scope="session")
def weaviate_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Weaviate for the whole run; the test is skipped where there is none."""
    if not is_available():
        pytest.skip(SKIP_REASON)
    with running(tmp_path_factory.mktemp("weaviate")) as server:
        yield server


@pytest.fixture
async def weaviate_kind(weaviate_server: Server) -> AsyncIterator[WeaviateKind]:
    """Weaviate without any collection of ours."""
    kind = WeaviateKind(weaviate_server)
    await kind.clean()
    yield kind
    await kind.clean()


@pytest.fixture(params=["embedded", pytest.param("weaviate", marks=pytest.mark.weaviate)])
def index_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """Each of the two indexes in turn."""
    if request.param == "embedded":
        return EmbeddedKind(tmp_path / "library")
    kind: Kind = request.getfixturevalue("weaviate_kind")
    return kind


@pytest.fixture
async def library(index_kind: Kind) -> AsyncIterator[Shelf]:
    """An empty index for one team."""
    async with shelf(index_kind, new_team()) as opened:
        yield opened
