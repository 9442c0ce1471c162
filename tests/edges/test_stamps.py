"""The notes about versions of far documents: shared by processes, and worth nothing but time."""

from __future__ import annotations

from pathlib import Path

from retrieval.stamps import Stamps


def noted(file: Path, terms: str = "as now", **stamps: str) -> None:
    """One process notes versions, each of the document of the same digest."""
    one = Stamps(file, terms)
    one.load({})
    for name, stamp in stamps.items():
        one.note(name, stamp, f"digest of {stamp}")
    one.save()


def known(file: Path, terms: str = "as now", **digests: str) -> dict[str, str]:
    """What another process finds noted of documents that the index holds in these digests."""
    other = Stamps(file, terms)
    other.load(digests)
    return {name: other.of(name) for name in digests}


def test_several_processes_note_in_one_file(tmp_path: Path) -> None:
    """Each its own documents: what one saves, another's save leaves alone."""
    file = tmp_path / "stamps" / "docs.sqlite3"
    noted(file, a="1", b="2")
    noted(file, b="3", c="4")
    digests = {"a": "digest of 1", "b": "digest of 3", "c": "digest of 4"}
    assert known(file, **digests) == {"a": "1", "b": "3", "c": "4"}


def test_a_stamp_of_what_the_index_does_not_hold_is_none(tmp_path: Path) -> None:
    """Nor is one that was noted when the source was read in other terms, or of a document that was removed."""
    file = tmp_path / "docs.sqlite3"
    noted(file, a="1", b="2")
    assert known(file, a="another digest", b="digest of 2") == {"a": "", "b": "2"}
    assert known(file, "otherwise", b="digest of 2") == {"b": ""}
    removing = Stamps(file, "as now")
    removing.load({"a": "digest of 1"})
    removing.save(removed=["b"])
    assert known(file, a="digest of 1", b="digest of 2") == {"a": "1", "b": ""}


def test_a_version_that_has_no_name_any_more_is_forgotten(tmp_path: Path) -> None:
    """A server that sends no ETag now is asked without one the next time."""
    file = tmp_path / "docs.sqlite3"
    noted(file, a="1")
    again = Stamps(file, "as now")
    again.load({"a": "digest of 1"})
    again.note("a", "", "digest of 1")
    again.save()
    assert known(file, a="digest of 1") == {"a": ""}


def test_a_file_that_is_damaged_costs_only_time(tmp_path: Path) -> None:
    """Nothing is known of what was noted; the sync goes on."""
    file = tmp_path / "docs.sqlite3"
    file.write_bytes(b"no database" * 100)
    assert known(file, a="digest of 1") == {"a": ""}
    noted(file, a="1")
