"""A large folder that every worker sees, left to the workers from the shell: the whole bot, with its own model."""

from __future__ import annotations

import json
from pathlib import Path

from bot.settings import Settings
from retrieval.library import Library, open_library
from tests.running_bot import running_bot
from tests.small_library import eventually

PAGES = 205
"""Two parts."""


async def test_a_large_folder_is_left_to_the_workers(data_dir: Path, tmp_path: Path) -> None:
    """The command returns at once; the workers read all of it, and the next question is answered from it. What is gone
    by the next sync is out."""
    docs = tmp_path / "handbook"
    docs.mkdir()
    for number in range(PAGES):
        (docs / f"page-{number}.md").write_text(f"# Page {number}\n\nThe fee number {number} is {number + 4000}.")
    async with (
        running_bot(data_dir, SHARED_FOLDERS=str(tmp_path)) as bot,
        open_library(Settings(data_dir=data_dir)) as library,
    ):
        ordered = await bot.cli("sources", "add", str(docs), "--every", "1d", "--by-workers", "--json")
        assert json.loads(ordered) == {"ordered": ["handbook"]}
        await eventually(lambda: has_counted(library, PAGES), within_s=120)
        found = json.loads(await bot.cli("search", "fee number 77", "--json"))["passages"]
        assert any("4077" in passage["text"] for passage in found)
        (docs / "page-77.md").unlink()
        await bot.cli("sources", "sync", "handbook", "--by-workers")
        await eventually(lambda: has_counted(library, PAGES - 1), within_s=120)


async def has_counted(library: Library, count: int) -> bool:
    """Whether the source was synced, and is said to hold so many documents."""
    (source,) = await library.sources("T0LOCAL")
    return source.synced_at is not None and source.documents == count
