"""The commands about sources, as an operator types them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.edges.test_command_line import bot, report


def handbook(tmp_path: Path, pages: int = 2) -> Path:
    folder = tmp_path / "handbook"
    folder.mkdir(exist_ok=True)
    for number in range(pages):
        (folder / f"page{number}.md").write_text(f"# Page {number}\n\nThe fee number {number} is 4711 crowns.\n")
    return folder


def test_a_source_is_added_listed_synced_and_removed(tmp_path: Path) -> None:
    """Its schedule and audience are remembered; after its removal nothing of it is found."""
    docs = handbook(tmp_path)
    added = bot(tmp_path, "sources", "add", docs, "--every", "6h", "--audience", "public", "--json")
    assert (added.returncode, report(added)["added"]) == (0, 2)
    (source,) = report(bot(tmp_path, "sources", "list", "--json"))["sources"]
    assert (source["name"], source["address"], source["audience"]) == ("handbook", str(docs), "public")
    assert (source["every_s"], source["documents"]) == (21600, 2)
    (docs / "page1.md").unlink()
    synced = report(bot(tmp_path, "sources", "sync", "--json"))
    assert (synced["unchanged"], synced["removed"]) == (1, 1)
    assert "every 6h" in bot(tmp_path, "sources", "list").stdout
    assert report(bot(tmp_path, "sources", "remove", "handbook", "--json")) == {"removed": 1}
    assert report(bot(tmp_path, "search", "fee", "--json")) == {"passages": []}
    assert report(bot(tmp_path, "sources", "list", "--json")) == {"sources": []}


def test_a_source_is_reported_by_its_name(tmp_path: Path) -> None:
    """With the place that was typed; one that is read twice is told."""
    docs = handbook(tmp_path)
    assert bot(tmp_path, "ingest", docs, "--name", "rules").stdout.startswith(f"rules ({docs}): 2 added")
    again = bot(tmp_path, "ingest", docs, "--name", "laws")
    assert f"{docs} is read as rules already" in again.stderr
    ordered = bot(tmp_path, "sources", "sync", "rules", "--by-workers")
    assert ordered.stdout.startswith("rules is read as soon as a worker runs (`python -m bot worker`)")


def test_a_schedule_that_outlasts_a_failed_reading_is_told(tmp_path: Path) -> None:
    """Who adds a source again, whose folder is away, reads that it is on another schedule from now on."""
    docs = handbook(tmp_path)
    bot(tmp_path, "sources", "add", docs)
    docs.rename(tmp_path / "away")
    again = bot(tmp_path, "sources", "add", docs, "--every", "6h")
    assert (again.returncode, again.stdout.count("failed")) == (1, 1)
    assert "The schedule of handbook was changed all the same: every 6h." in again.stderr


def test_an_emptied_folder_is_told_loudly(tmp_path: Path) -> None:
    """On stderr, with what was removed, also beside JSON; the report's shape stays."""
    docs = handbook(tmp_path)
    bot(tmp_path, "ingest", docs)
    for page in docs.iterdir():
        page.unlink()
    done = bot(tmp_path, "ingest", docs, "--json")
    assert done.returncode == 0
    assert list(report(done)) == ["added", "changed", "unchanged", "removed", "failed", "passages", "seconds"]
    assert "IS EMPTY NOW" in done.stderr and "page0, page1" in done.stderr


def test_wrong_use_is_told(tmp_path: Path) -> None:
    """Status 2 for what was typed wrong, 1 for a source that cannot be read; nothing is remembered of either."""
    docs = handbook(tmp_path)
    wrong = bot(tmp_path, "sources", "add", docs, "--every", "often")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "30m" in wrong.stderr and "Traceback" not in wrong.stderr
    unknown = bot(tmp_path, "sources", "remove", "nothing")
    assert unknown.returncode == 2 and "nothing" in unknown.stderr
    inside = bot(tmp_path, "sources", "add", "http://169.254.169.254/latest/", "--json")
    assert inside.returncode == 1
    assert "INTRANET_HOSTS" in json.loads(inside.stdout)["failed"][0]["reason"]
    assert "There is no source" in bot(tmp_path, "sources", "list").stdout
