"""How fast documents are taken in, beside the embedder alone on the very same texts, before and after each ingest, so
that whatever else the machine does meets both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bot.vocabulary import Passage
from retrieval.chunking import embedded_text
from retrieval.embedding import Embedder
from retrieval.index import Page
from retrieval.library import Library
from tests.benchmarks.corpus import cut, pages_of
from tests.benchmarks.figures import Figure, at_least

if TYPE_CHECKING:
    from retrieval.embedding import Vectors


@dataclass(frozen=True)
class Round:
    """One ingest, and the embedding of the same passages without it."""

    pages: list[Page]
    """What the library holds of it."""
    passages: int
    ingest_s: float
    alone_s: float
    """Mean of before and after."""
    peak_mb: float
    """Of the process, while it ingested."""
    left_mb: float
    """Of the process, after both."""


async def ingest_rate(
    library: Library, embedder: Embedder, team_id: str, folders: Sequence[Path]
) -> tuple[list[Figure], list[Page]]:
    """Ingests each folder, and embeds its passages without any ingest. The first folder warms up and does not count.
    Gives what the library holds then, too."""
    first = await _round(library, embedder, team_id, folders[0], is_warming_up=True)
    rounds = [await _round(library, embedder, team_id, folder) for folder in folders[1:]]
    ours = median(one.passages / one.ingest_s for one in rounds)
    alone = median(one.passages / one.alone_s for one in rounds)
    ratio = median(one.alone_s / one.ingest_s for one in rounds)
    growth_mb = max(0.0, max(one.peak_mb for one in rounds) - first.left_mb)
    what = f"{sum(one.passages for one in rounds)} passages, a folder of {rounds[0].passages} at a time, embedded index"
    figures = [
        Figure("Ingest", f"{ours:.0f}", "passages/s", what),
        Figure(
            "The embedder alone",
            f"{alone:.0f}",
            "passages/s",
            "the same texts at once, before and after each ingest",
        ),
        Figure("Ingest / embedder alone", f"{ratio:.2f}", "ratio", "median of the folders", at_least(0.95, ratio)),
        Figure(
            "Memory growth of ingesting",
            f"{growth_mb:.0f}",
            "MB",
            f"peak above what the process had after it had ingested {first.passages} passages",
        ),
    ]
    return figures, [page for one in (first, *rounds) for page in one.pages]


async def _round(
    library: Library, embedder: Embedder, team_id: str, folder: Path, *, is_warming_up: bool = False
) -> Round:
    passages = cut(folder, embedder, team_id)
    before_s, vectors = _embed(embedder, passages)
    _start_peak()
    report = await library.ingest(team_id, folder)
    peak_mb = memory_mb("VmHWM")
    after_s = before_s if is_warming_up else _embed(embedder, passages)[0]
    if report.failed or report.passages != len(passages):
        raise SystemExit(f"the ingest of {folder} went wrong: {report}")
    pages = list(pages_of(passages, vectors))
    return Round(pages, len(passages), report.seconds, (before_s + after_s) / 2, peak_mb, memory_mb("VmRSS"))


def _embed(embedder: Embedder, passages: Sequence[Passage]) -> tuple[float, Vectors]:
    texts = [embedded_text(passage) for passage in passages]
    began = time.perf_counter()
    vectors = embedder.embed_passages(texts)
    return time.perf_counter() - began, vectors


def _start_peak() -> None:
    """Begins a new peak of this process's memory, where the system can do that (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def memory_mb(line: str) -> float:
    """Gives what Linux notes of this process's memory: `VmRSS` is what it has now, `VmHWM` the peak; elsewhere 0."""
    with suppress(OSError):
        for entry in Path("/proc/self/status").read_text().splitlines():
            if entry.startswith(f"{line}:"):
                return int(entry.split()[1]) / 1024
    return 0.0
