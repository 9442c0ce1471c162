"""Pages that say the same are read once, the newest first."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.vocabulary import Hit, Passage
from retrieval.copies import without_copies

LIMIT = "An upload may have up to {} megabytes on the free plan, and more on every paid plan."


def hit(document_id: str, text: str, year: int | None = None, title: str = "Uploads") -> Hit:
    updated = datetime(year, 1, 1, tzinfo=UTC) if year else None
    passage = Passage(
        id=f"{document_id}/{text}", document_id=document_id, source="s", title=title, text=text, audience="public",
        updated_at=updated,
    )  # fmt: skip
    return Hit(passage=passage, score=1, certainty=0.8)


def ids(*hits: Hit) -> list[str]:
    return [each.passage.document_id for each in without_copies(hits)]


def test_the_same_text_of_two_pages_is_read_once() -> None:
    """Its copy goes to the end, whatever the pages are called; where nothing says which is newer, the better stays."""
    assert ids(hit("a", LIMIT.format(5)), hit("b", LIMIT.format(5), title="Files"), hit("c", "Else.")) == [
        "a",
        "c",
        "b",
    ]


def test_where_two_versions_of_a_page_disagree_the_newer_one_is_read() -> None:
    """In the place of the better one."""
    old, new, other = hit("2024", LIMIT.format(5), 2024), hit("2026", LIMIT.format(25), 2026), hit("c", "Else.")
    assert ids(old, other, new) == ["2026", "c", "2024"]
    assert ids(hit("undated", LIMIT.format(5)), other, new) == ["2026", "c", "undated"]


def test_pages_made_by_a_template_are_not_copies() -> None:
    """Alike but for the thing that they are about, and its name is their title."""
    text = "The monthly limit of {0} is raised by an administrator of the workspace who opens {0}."
    assert ids(*(hit(name, text.format(name), 2026, title=name) for name in ("Invoices", "Backups"))) == [
        "Invoices",
        "Backups",
    ]


def test_passages_of_one_page_and_short_notes_are_not_copies() -> None:
    """A page may say a thing twice, and "See also" stands everywhere."""
    again = hit("a", LIMIT.format(5))
    assert ids(again, hit("a", LIMIT.format(6)), hit("b", "See also: uploads."), hit("c", "See also: uploads.")) == [
        "a", "a", "b", "c",
    ]  # fmt: skip
