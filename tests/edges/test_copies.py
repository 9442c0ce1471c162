"""Pages that say the same are read once, the newest first."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.vocabulary import Hit, Passage
from retrieval.copies import newest_first, without_copies

LIMIT = "An upload may have up to {} megabytes on the free plan, and more on every paid plan."


def hit(document_id: str, text: str, year: int | None = None, title: str = "Uploads") -> Hit:
    updated = datetime(year, 1, 1, tzinfo=UTC) if year else None
    passage = Passage(
        id=f"{document_id}/{text}", document_id=document_id, source="s", title=title, text=text, audience="public",
        updated_at=updated,
    )  # fmt: skip
    return Hit(passage=passage, score=1, certainty=0.8)


def ids(*hits: Hit, question: str = "how large may an upload be") -> list[str]:
    return [each.passage.document_id for each in without_copies(newest_first(hits, question))]


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


def test_pages_whose_titles_differ_in_the_year_stand_newest_first() -> None:
    """In the places that they have among the others. Both are shown: they differ in more than a few words."""
    old = hit("2024", "The free plan holds 5 projects and 3 members; support answers in 4 days.", 2024, "Plans 2024")
    new = hit("2026", "The free plan holds 9 projects and 3 members; support replies in 2 days.", 2026, "Plans 2026")
    assert ids(old, hit("c", "Else."), new) == ["2026", "c", "2024"]


def test_the_version_that_a_question_names_stays_first() -> None:
    """Who asks for last year's prices is not given this year's."""
    old = hit("v1", "A key of the API lives 30 days and is renewed by hand in the console.", 2024, "API keys v1")
    new = hit("v2", "A key of the API lives 90 days and is renewed by hand in the console.", 2026, "API keys v2")
    assert ids(old, new) == ["v2", "v1"]
    assert ids(old, new, question="how long does a key live in v1?") == ["v1", "v2"]


def test_hours_say_nothing_of_age() -> None:
    """Files that are copied together are seconds apart."""
    first, second = hit("a", LIMIT.format(5), 2026), hit("b", LIMIT.format(25), 2026)
    later = second.passage.updated_at.replace(hour=7)  # type: ignore[union-attr]
    second = second.model_copy(update={"passage": second.passage.model_copy(update={"updated_at": later})})
    assert ids(first, second) == ["a", "b"]


def test_a_title_that_is_nothing_but_a_year_is_of_no_matter() -> None:
    """Two yearly reports are not two versions of one page."""
    old = hit("2024", "Sales grew by 3 percent and the team by 12 people in the year.", 2024, "2024")
    new = hit("2026", "Sales grew by 8 percent and the team by 40 people in a year.", 2026, "2026")
    assert ids(old, new) == ["2024", "2026"]
