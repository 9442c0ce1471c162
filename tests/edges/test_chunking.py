"""How pages become passages: cut where the page is, in the page's own words, with ids that last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.vocabulary import Document, Passage
from retrieval.chunking import PASSAGE_TOKENS, Chunker, sections
from retrieval.markdown import first_heading, lines, without_comments
from tests.hashing_embedder import HashingEmbedder

PROSE = "A sentence of some seven or eight words. " * 10


def cut(text: str, title: str = "Guide", document_id: str = "guide", team_id: str = "T1") -> list[Passage]:
    document = Document(id=document_id, source="docs", title=title, text=text)
    return Chunker(HashingEmbedder()).cut(document, team_id, "digest")


def test_a_passage_carries_the_headings_above_it() -> None:
    """The path from the outermost heading inwards, without the page's title; a heading's line is not in the text."""
    page = "# Guide\n\nTop.\n\n## Keys\n\nAbout.\n\n### Reset\n\nPress.\n\n## Limits\n\nMany.\n"
    assert [(each.section, each.text) for each in cut(page)] == [
        ("", "Top."),
        ("Keys", "About."),
        ("Keys › Reset", "Press."),
        ("Limits", "Many."),
    ]
    assert [each.position for each in cut(page)] == [0, 1, 2, 3]


def test_code_is_not_cut_at_what_looks_like_a_heading() -> None:
    """A comment in a shell script is no heading, however long the fence, and a fence inside a longer one is text."""
    page = "## Run\n\n````sh\n# not a heading\n```\n# nor this\n````\n\n## After\n\nText."
    assert [section.headings for section in sections(page)] == [("Run",), ("After",)]


def test_underlined_headings_count_too() -> None:
    """And a rule or the head of a table is no underline."""
    page = "Guide\n=====\n\nText.\n\nKeys\n----\n\nMore.\n\n---\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- item\n---\n"
    assert [section.headings for section in sections(page)] == [("Guide",), ("Guide", "Keys")]


@pytest.mark.parametrize(
    "whole",
    [
        "| Code | Meaning |\n|---|---|\n" + "\n".join(f"| E{n} | case {n} |" for n in range(12)),
        "```python\n" + "\n".join(f"value_{n} = {n}" for n in range(25)) + "\n```",
        "\n".join(f"{n}. Step number {n}" for n in range(1, 15)),
    ],
    ids=["table", "code", "list"],
)
def test_what_belongs_together_stays_together(whole: str) -> None:
    """In a section that is too long for one passage, a table, code or list that fits into one is in one."""
    passages = cut(f"# Guide\n\n{PROSE}\n\n{whole}\n\n{PROSE}")
    assert len(passages) > 1
    assert sum(whole in each.text for each in passages) == 1


def test_no_passage_is_longer_than_the_model_reads() -> None:
    """Even a table that is longer than any passage is cut, and words without a blank between them are, too."""
    table = "| Code | Meaning |\n|---|---|\n" + "\n".join(f"| E{n} | case {n} |" for n in range(300))
    for text in (PROSE * 20, table, "x" * 100_000, "日" * 5_000):
        for each in cut(text):
            assert HashingEmbedder().count_tokens([each.text])[0] <= PASSAGE_TOKENS
            assert len(each.text) <= 20 * (PASSAGE_TOKENS + 1)


def test_a_passage_knows_whether_its_section_was_cut() -> None:
    """Around one that is its whole section nothing more of it has to be looked for."""
    passages = cut(f"## Short\n\nOne.\n\n## Long\n\n{PROSE}\n\n{PROSE}\n\n{PROSE}\n\n## Short too\n\nTwo.")
    assert len(passages) > 3
    assert {each.section for each in passages if each.is_whole} == {"Short", "Short too"}
    assert {each.section for each in passages if not each.is_whole} == {"Long"}


def test_an_edit_elsewhere_leaves_an_id_alone() -> None:
    """A paragraph put in at the top changes no id of the sections below it; changed words change theirs."""
    before = {each.section: each.id for each in cut("Top.\n\n## A\n\nText a.\n\n## B\n\nText b.")}
    after = {each.section: each.id for each in cut("Top!\n\n## New\n\nNew.\n\n## A\n\nText a.\n\n## B\n\nOther.")}
    assert after["A"] == before["A"]
    assert after["B"] != before["B"]


def test_ids_are_one_per_passage_page_and_team() -> None:
    """The same words twice on a page, on another page, in another team: four ids."""
    page = "## A\n\nSame.\n\n## A\n\nSame."
    ids = [each.id for each in (*cut(page), *cut(page, document_id="other")[:1], *cut(page, team_id="T2")[:1])]
    assert len(set(ids)) == 4
    assert [each.id for each in cut(page)] == ids[:2]


def test_a_page_of_headings_alone_is_still_a_passage() -> None:
    """A document that holds any text can be found."""
    assert [each.text for each in cut("# Guide\n\n## Coming soon")] == ["# Guide\n\n## Coming soon"]


@given(st.text(alphabet="#`~-=<>!ab1.| \n", max_size=300))
def test_a_passage_is_always_verbatim_and_nothing_is_lost(text: str) -> None:
    """Whatever the page: each passage is a piece of it, and each of its words is in a passage or in a heading."""
    passages = cut(text) if text.strip() else []
    assert all(each.text in text for each in passages)
    told = " ".join(f"{each.section} {each.text}" for each in passages)
    headings = " ".join(line.text for line in lines(text) if line.level)
    assert set(HashingEmbedder.words(text)) <= set(HashingEmbedder.words(f"{told} {headings}"))


@given(st.text(alphabet="<!-->ab`\n", max_size=200))
def test_nothing_is_left_of_a_comment_and_nothing_else_is_taken(text: str) -> None:
    """What is left was on the page, in its order."""
    left = without_comments(text)
    place = 0
    for character in left:
        place = text.index(character, place) + 1
    if "<!--" not in text:
        assert left == text


def test_the_first_heading_may_be_of_any_kind() -> None:
    """`#`, underlined, closed with marks, or none at all."""
    assert first_heading("text\n\n## Keys ##\n") == "Keys"
    assert first_heading("Keys\n===\ntext") == "Keys"
    assert first_heading("# C#\n") == "C#"
    assert first_heading("#hashtag\n\n    # code\n") is None
