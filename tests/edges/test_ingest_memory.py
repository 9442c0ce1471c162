"""How much memory a sync takes: that of a batch, and of the names, however much there is to read."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bot.vocabulary import Listing, Source
from retrieval.index import form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.ingesting import Sync
from retrieval.library import Library
from retrieval.reading import Reader
from retrieval.sources import Folder, Item, item_at
from tests.hashing_embedder import HashingEmbedder

TEAM = "T1"
TEXT = "x" * 3_000
"""Long, so that documents that are held can be told from names that are."""


def open_library(folder: Path) -> Library:
    embedder = HashingEmbedder()
    form = form_of(embedder.id, "test")
    index = EmbeddedIndex(folder / "library", form, embedder.dimensions, 0.5)
    return Library(index, embedder, form, threshold=0.75, model="hashing")


def write_records(folder: Path, count: int) -> None:
    folder.mkdir()
    lines = (json.dumps({"id": f"page-{number}", "text": f"{TEXT}{number}"}) for number in range(count))
    (folder / "all.jsonl").write_text("\n".join(lines))


async def peak_of_ingesting(folder: Path, count: int) -> int:
    """The most bytes that Python held while so many records were taken in."""
    write_records(folder, count)
    library = open_library(folder)
    tracemalloc.start()
    try:
        report = await library.ingest(TEAM, folder / "all.jsonl")
        assert report.added == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        await library.close()


async def test_documents_that_are_in_are_held_no_more(tmp_path: Path) -> None:
    """Of each more there is its name, and what became of it."""
    await peak_of_ingesting(tmp_path / "warm", 10)
    few, many = [await peak_of_ingesting(tmp_path / str(count), count) for count in (600, 1_600)]
    assert (many - few) / 1_000 < 1_500


class Pages(Folder):
    """A folder that any process may read, of so many pages, which are nowhere."""

    def __init__(self, root: Path, count: int) -> None:
        super().__init__(root, shared=frozenset({root}))
        self._count = count

    def items(self) -> Iterator[Item]:
        for number in range(self._count):
            yield item_at(f"/docs/page-{number}.md", f"page-{number}.md")


async def peak_of_listing(folder: Path, count: int) -> int:
    """The most bytes that Python held while so many names were listed and handed on."""

    async def keep(number: int, page: str) -> None:
        """They are kept elsewhere."""

    embedder = HashingEmbedder()
    index = EmbeddedIndex(folder / "library", form_of(embedder.id, "test"), embedder.dimensions, 0.5)
    reader = Reader(Pages(folder, count), "docs", "workspace")
    with ThreadPoolExecutor(1) as threads:
        sync = Sync(TEAM, Source(name="docs", address="/docs"), reader, index, embedder, threads)
        tracemalloc.start()
        try:
            listing = await sync.spread("form", keep)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    await index.close()
    assert isinstance(listing, Listing) and listing.parts == count // 200
    return peak


async def test_a_listing_is_handed_on_part_by_part(tmp_path: Path) -> None:
    """Of sixteen thousand more names whoever lists them holds none; what Python interns them in grows once."""
    few, many = [await peak_of_listing(tmp_path, count) for count in (4_000, 20_000)]
    assert (many - few) / 16_000 < 200  # an item alone takes twice that


@pytest.mark.nightly
@pytest.mark.timeout(1_200)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not say what a process takes")
async def test_a_process_does_not_grow_over_twenty_thousand_files(tmp_path: Path) -> None:
    """As the system sees it: from the two thousandth file to the last one it takes no more than their names."""
    for number in range(20_000):
        file = tmp_path / "docs" / str(number // 500) / f"page-{number}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{TEXT[:300]}{number}")
    sizes: list[int] = []

    def look(done: int, total: int, place: str) -> None:
        if done > 2_000:
            status = Path("/proc/self/status").read_text()
            (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", status)
            sizes.append(int(kilobytes) * 1024)

    library = open_library(tmp_path)
    report = await library.ingest(TEAM, tmp_path / "docs", progress=look)
    await library.close()
    assert report.added == 20_000
    assert max(sizes) - sizes[0] < 18_000 * 2_000
