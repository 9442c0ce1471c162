"""`python -m tests.benchmarks.many_documents COUNT` ingests so many small documents from one file into a fresh embedded
library, with vectors that cost nothing, and prints as JSON what memory the process had on the way: a sync holds a batch
at a time, however many documents there are."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bot.log import set_up
from bot.settings import LOCAL_TEAM
from retrieval.chunking import CHUNKER
from retrieval.index import form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library
from tests.benchmarks.figures import Figure, at_most
from tests.benchmarks.ingesting import memory_mb
from tests.hashing_embedder import HashingEmbedder

ROOT = Path(__file__).parents[2]
TEXT = "Open Settings > Printers, choose printer number {0} and press Test. It prints page {0} of the manual, twice."


def flat_memory(count: int) -> list[Figure]:
    """Measures in a process of its own, whose memory nothing else has stretched."""
    command = [sys.executable, "-m", "tests.benchmarks.many_documents", str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the ingest of {count} documents failed: {done.stderr}")
    told = json.loads(done.stdout)
    early, late = told["early_mb"], told["late_mb"]
    how = f"of a process that ingests {count:,} documents, after a quarter of them and at the end: {{}} MB"
    return [
        Figure(
            "Memory of a long ingest",
            f"{late / early:.2f}",
            "ratio",
            how.format(f"{early:.0f} and {late:.0f}"),
            at_most(1.25, late / early),
        )
    ]


async def ingest(folder: Path, count: int) -> dict[str, float]:
    """Ingests, and notes the resident memory after a quarter and at the end."""
    file = folder / "many.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for number in range(count):
            lines.write(json.dumps({"id": f"page-{number}", "title": f"Page {number}", "text": TEXT.format(number)}))
            lines.write("\n")
    embedder = HashingEmbedder()
    form = form_of(embedder.id, CHUNKER)
    index = EmbeddedIndex(folder / "library", form, embedder.dimensions, alpha=0.5)
    library = Library(index, embedder, form, threshold=0.0, model="hashing")
    early: list[float] = []

    def note(done: int, total: int, place: str) -> None:
        if not early and done >= count // 4:
            early.append(memory_mb("VmRSS"))

    report = await library.ingest(LOCAL_TEAM, file, progress=note)
    late = memory_mb("VmRSS")
    await library.close()
    if report.added != count or not early:
        raise SystemExit(f"the ingest went wrong: {report}")
    return {"early_mb": early[0], "late_mb": late, "seconds": report.seconds}


def main() -> None:
    """Ingests and prints."""
    set_up("WARNING")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        print(json.dumps(asyncio.run(ingest(Path(folder), int(sys.argv[1])))))


if __name__ == "__main__":
    main()
