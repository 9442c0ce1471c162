"""The sample company is what the demo shows and what `evaluate` measures first, so its questions have to be
right: each gold page exists, each piece of evidence stands in it word for word, and the two restricted pages
hold facts that no other page gives away."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import frontmatter
import pytest

COMPANY = Path(__file__).parents[2] / "bot" / "local" / "company"
PRIVATE_CHANNEL = "channel:C0INCIDENTS"


def document_id(page: Path) -> str:
    return page.relative_to(COMPANY / "pages").with_suffix("").as_posix()


PAGES = {document_id(path): frontmatter.load(str(path)) for path in sorted((COMPANY / "pages").rglob("*.md"))}
RESTRICTED = {id for id, page in PAGES.items() if page.get("audience") == PRIVATE_CHANNEL}
QUESTIONS: list[dict[str, Any]] = [
    json.loads(line) for line in (COMPANY / "questions.jsonl").read_text("utf-8").splitlines()
]
ANSWERABLE = [question for question in QUESTIONS if question["answerable"]]


def test_the_company_has_pages_of_substance() -> None:
    """At least fifteen pages, each with a title, sections, and 250 to 700 words."""
    assert len(PAGES) >= 15
    for id, page in PAGES.items():
        assert page["title"], id
        assert page.content.count("\n## ") >= 2, id
        assert 250 <= len(page.content.split()) <= 700, id


def test_every_page_links_to_its_own_place_on_one_host() -> None:
    """A citation of any page leads to the one made-up host, and to the path that the page's id names."""
    urls = {id: urlsplit(str(page["url"])) for id, page in PAGES.items()}
    assert {(url.scheme, url.hostname) for url in urls.values()} == {("https", "docs.heronpost.example")}
    assert {id: url.path.removeprefix("/") for id, url in urls.items()} == {id: id for id in PAGES}


def test_every_other_address_in_the_company_is_made_up() -> None:
    """Links and mail addresses end in .example, or stay on the reader's own machine."""
    for id, page in PAGES.items():
        hosts = re.findall(r"https?://([\w.-]+)|[\w.]+@([\w-]+\.[\w.-]+\w)", page.content)
        for host in map("".join, hosts):
            assert host.endswith(".example") or host == "localhost", (id, host)


def test_exactly_two_pages_are_for_the_private_channel() -> None:
    """Three pages are for guests, too; the others say nothing, so that ingest makes them the workspace's."""
    assert {"internal/on-call-runbook", "internal/postmortem-2026-08-19"} == RESTRICTED
    others = {id: page["audience"] for id, page in PAGES.items() if page.get("audience") and id not in RESTRICTED}
    assert others == dict.fromkeys(("api/api-keys", "api/errors", "api/rate-limits"), "public")


@pytest.mark.parametrize("fact", ["HERON-318", "spool-le-03", "48,211", "61,400", "7714", "Night Heron"])
def test_a_restricted_fact_stands_on_no_open_page(fact: str) -> None:
    """Whoever reads one of these in an answer outside the private channel has found a leak."""
    holders = {id for id, page in PAGES.items() if fact.lower() in page.content.lower()}
    assert holders and holders <= RESTRICTED


def test_every_question_has_its_own_id_and_text() -> None:
    """At least twenty questions, none of them twice."""
    assert len(QUESTIONS) >= 20
    assert len({question["id"] for question in QUESTIONS}) == len(QUESTIONS)
    assert len({question["question"] for question in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda question: question["id"])
def test_the_evidence_stands_word_for_word_in_the_first_gold_page(question: dict[str, Any]) -> None:
    """A question that has an answer names pages that exist, and quotes the first of them."""
    assert question["expected_behavior"] == "answer"
    assert set(question["gold_doc_ids"]) <= set(PAGES)
    assert question["evidence"] in PAGES[question["gold_doc_ids"][0]].content


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda question: question["id"])
def test_every_number_of_an_answer_stands_in_its_gold_pages(question: dict[str, Any]) -> None:
    """The reference answers invent nothing: their numbers and codes come from the pages."""
    text = " ".join(PAGES[id].content for id in question["gold_doc_ids"])
    for number in re.findall(r"\d[\d.,]*\d|\d", question["answer"]):
        assert number in text, number


def test_exactly_five_questions_cannot_be_answered() -> None:
    """They name no gold page; the pages that come nearest are named and exist."""
    unanswerable = [question for question in QUESTIONS if not question["answerable"]]
    assert len(unanswerable) == 5
    for question in unanswerable:
        assert question["expected_behavior"] == "abstain"
        assert question["gold_doc_ids"] == [] and question["evidence"] is None
        assert question["near_miss_doc_ids"] and set(question["near_miss_doc_ids"]) <= set(PAGES)


def test_a_question_on_a_restricted_page_says_where_it_is_asked() -> None:
    """Restricted gold page, `restricted` tag and the channel as audience always come together."""
    on_restricted = [question for question in QUESTIONS if RESTRICTED & set(question["gold_doc_ids"])]
    assert on_restricted
    assert on_restricted == [question for question in QUESTIONS if "restricted" in question["tags"]]
    assert on_restricted == [question for question in QUESTIONS if question.get("audience") == PRIVATE_CHANNEL]


def test_two_questions_follow_up_on_an_earlier_answer() -> None:
    """A follow-up carries the turns before it and the question that it stands for."""
    follow_ups = [question for question in QUESTIONS if question["history"]]
    assert len(follow_ups) == 2
    for question in follow_ups:
        assert "follow-up" in question["tags"] and question["standalone"]
        assert [turn["role"] for turn in question["history"]] == ["user", "assistant"]
        assert all(turn["text"] for turn in question["history"])
