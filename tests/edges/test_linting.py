"""What the fact lint finds wrong with an example, and what it leaves alone; and which questions count as nearly the
same."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.learning import linting
from bot.learning.held_out import SHARE, Neighbours, is_held_out, near_duplicates
from bot.persona import Persona, load_persona
from bot.vocabulary import Example, Passage
from tests.benchmarks.linting import cases, corpora, measure, precision_and_recall

PLANS = Passage(
    id="p1",
    document_id="plans",
    source="docs",
    title="Plans",
    url="https://docs.example/plans",
    text=(
        "The Team plan costs 5 euros per month. The Business plan costs 7 euros per month.\n\n"
        "Invoices are sent on 3 March 2026. Messages are kept for 30 days. Error ERR-4021 means that the token has "
        "expired. Guests cannot invite others. To change the plan, open **Billing** and press **Change plan**. "
        "Only owners can delete a workspace."
    ),
    audience="workspace",
)
KEYS = PLANS.model_copy(
    update={"id": "p2", "document_id": "keys", "title": "API keys", "text": "To reset an API key, open Settings."}
)
PERSONA = load_persona()


def example(answer: str, **changes: Any) -> Example:
    fields = {
        "id": "ex-1",
        "team_id": "T1",
        "question_id": "T1:C1:1",
        "question": "What does the plan cost?",
        "answer": answer,
        "passages": (PLANS, KEYS),
        "audience": "workspace",
        "produced_by": "human",
        "provider": "human",
        "thread": "C1:1",
        "created_at": datetime(2026, 11, 1, tzinfo=UTC),
    }
    return Example.model_validate(fields | changes)


def problems(answer: str, persona: Persona = PERSONA, **changes: Any) -> str:
    return " ".join(linting.problems(example(answer, **changes), persona))


@pytest.mark.parametrize(
    "answer",
    [
        "The Team plan costs 5 euros per month [1].",
        "It costs 5 euros on Team and 7 euros on Business [1].",
        "Guests cannot invite others [1]. To reset an API key, open Settings [2].",
        "1. Open **Billing** [1].\n2. Press **Change plan** [1].",
        "Invoices are sent on 2026-03-03 [1].",
        PERSONA.refusal,
    ],
)
def test_what_its_passages_hold_is_left_alone(answer: str) -> None:
    """Word by word, joined, in steps, or the one refusal sentence."""
    assert problems(answer) == ""


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("The Team plan costs 9 euros per month [1].", "says what [1] does not: 9 €"),
        ("The Team plan costs 7 euros per month [1].", "says otherwise than [1]"),
        ("The Enterprise plan costs 5 euros, says Enterprise [1].", "says what [1] does not: Enterprise"),
        ("Guests can invite others [1].", "says otherwise than [1]"),
        ("Not only owners can delete a workspace [1].", "says otherwise than [1]"),
        ("Messages are kept for 30 minutes [1].", "says what [1] does not: 30 min"),
        ("Invoices are sent on 4 March 2026 [1].", "says what [1] does not"),
        ("Error ERR-4022 means that the token has expired [1].", "says what [1] does not: err-4022"),
        ("The Team plan costs 5 euros, see https://evil.example/x [1].", "says what [1] does not"),
        ("Penguins swim in cold water and eat fish [1].", "has little to do with [1]"),
        ("The Team plan costs 5 euros per month [2].", "[2]"),
        ("The Team plan costs 5 euros per month [1][2].", "cites [2], which does not support it"),
        ("The Team plan costs 5 euros per month [7].", "cites [7], and there is no such passage"),
        ("The Team plan costs 5 euros per month.", "cites nothing"),
        ("", "It has no answer."),
    ],
)
def test_what_its_passages_do_not_hold_is_named(answer: str, why: str) -> None:
    """Another number, unit, name, date, identifier or address; a denial; a mark that does not hold."""
    assert why in problems(answer)


def test_an_example_needs_passages_a_question_and_a_bearable_size() -> None:
    """Each is a sentence of its own."""
    good = "The Team plan costs 5 euros per month [1]."
    assert "It has no passages" in problems(good, passages=())
    assert "It has no question." in problems(good, question="  ")
    assert "more than 4,000" in problems(good, question="Why? " * 1_000)
    long = PLANS.model_copy(update={"text": PLANS.text + " And so on." * 4_000})
    assert "characters with its passages, more than 12,000" in problems(good, passages=(long,))


def test_the_format_is_the_personas() -> None:
    """Its opening needs no source, and must be there; an answer that is too long leaves the format."""
    greeting = PERSONA.model_copy(update={"opening": "Ahoy!"})
    assert problems("Ahoy! The Team plan costs 5 euros per month [1].", greeting) == ""
    assert "does not begin with “Ahoy!”" in problems("The Team plan costs 5 euros per month [1].", greeting)
    assert "more than 120" in problems("The Team plan costs 5 euros per month [1]. " * 20)


def test_each_sentence_is_named_once() -> None:
    """A sentence that no passage holds lacks its citation, too: that is one reason, not two."""
    said = problems("The Team plan costs 5 euros per month.")
    assert said.count("The Team plan") == 1 and ".." not in said
    assert "without a citation: “Yes.”" in problems("The Team plan costs 5 euros per month [1]. Yes.")


def test_secrets_and_personal_data_are_problems_wherever_they_stand() -> None:
    """In question, answer and passages; a placeholder is none."""
    good = "The Team plan costs 5 euros per month [1]."
    assert "Its question holds" in problems(good, question="I am jane@example.org, what does Team cost?")
    assert "Its passage [1] holds" in problems(good, passages=(PLANS.model_copy(update={
        "text": PLANS.text + " Ask jane@example.org."}),))  # fmt: skip
    assert problems(good, question="I am ⟨email 1⟩, what does Team cost?") == ""


def test_an_answer_speaks_the_language_of_its_question_or_its_pages() -> None:
    """German on English pages for an English question is none of both."""
    german = PLANS.model_copy(update={"text": "Der Tarif Team kostet 5 Euro und ist für die Teams, die wir haben."})
    answer = "Der Tarif Team kostet 5 Euro und ist für die Teams, die wir haben [1]."
    assert problems(answer, passages=(german,)) == ""
    assert "It is answered in German" in problems(answer, question="What does the Team plan cost us in a month?")
    assert linting.language("Как сбросить ключ?") == "Russian"
    assert linting.language("OK 5") is None


def test_unsupported_sentences_are_those_that_state_a_fact_of_their_own() -> None:
    """A greeting, a lead-in or what a page holds is none."""
    text = "Yes. Here is how:\n1. Open **Billing**.\n2. Call the hotline 12345.\nThe Team plan costs 5 euros per month."
    assert linting.unsupported(text, [PLANS]) == ["Call the hotline 12345."]


def test_marks_are_put_where_they_hold() -> None:
    """Those that do not hold are replaced, those that hold stay, and what nothing supports has none."""
    text = "To reset an API key, open Settings [1]. The Team plan costs 5 euros per month. Penguins swim [2]."
    marked = linting.marked(text, [PLANS, KEYS], PERSONA)
    assert marked.text == (
        "To reset an API key, open Settings [2]. The Team plan costs 5 euros per month [1]. Penguins swim."
    )
    assert marked.unsupported == ("Penguins swim.",)
    assert linting.marked(marked.text, [PLANS, KEYS], PERSONA).text == marked.text, "once more changes nothing"


def test_the_lint_tells_true_from_spoilt_on_the_sample_company() -> None:
    """Four hundred cases made by script; `python -m tests.benchmarks.linting` prints them by kind."""
    ((_, passages),) = corpora(None)
    made = list(cases(passages, random.Random(1)))
    precision, recall = precision_and_recall(measure(made))
    assert len(made) >= 400
    assert precision >= 0.97 and recall >= 0.88, (precision, recall)


# Held out


def test_one_thread_in_five_is_held_out_for_good() -> None:
    """By the thread's name alone: its examples stay together, whatever else changes; once held out, always."""
    threads = [example("a", thread=f"C1:{number}") for number in range(5_000)]
    share = sum(map(is_held_out, threads)) / len(threads)
    assert abs(share - SHARE) < 0.02
    for one in threads[:50]:
        assert is_held_out(one) == is_held_out(one.model_copy(update={"question": "Another?", "id": "ex-9"}))
    kept = next(one for one in threads if not is_held_out(one))
    assert is_held_out(kept.model_copy(update={"is_held_out": True}))


@pytest.mark.parametrize(
    ("other", "is_near"),
    [
        ("how can I reset an API key", True),
        ("Please, how do I reset my API keys?!", True),
        ("My API key: how do I reset it?", True),
        ("How do I resett my API key?", True),
        ("How do I reset my password?", False),
        ("How do I delete a workspace?", False),
        ("How do I reset my API key 2?", False),
    ],
)
def test_near_duplicates_ask_the_same_in_nearly_the_same_words(other: str, is_near: bool) -> None:
    """Order, endings, fill words and a slip of the pen make no difference; a number does."""
    assert (near_duplicates("How do I reset my API key?", ["Who pays?", other]) == [1]) == is_near


def test_ten_thousand_questions_are_searched_in_seconds() -> None:
    """Each against all; what is found is what comparing every pair would find."""
    drawn = random.Random(3)
    words = [f"{a}{b}{c}" for a in "kmptr" for b in "aeiou" for c in ("lor", "nes", "dit", "gam", "vux", "sko", "wem")]
    questions = [" ".join(drawn.sample(words, 6)) for _ in range(9_000)]
    questions += [question.title() + "?" for question in questions[:1_000]]
    began = time.perf_counter()
    neighbours = Neighbours(questions)
    found = [neighbours.of(question) for question in questions]
    assert time.perf_counter() - began < 60
    assert all(9_000 + index in found[index] for index in range(1_000))
    some = range(8_800, 9_200)
    near = [other for other in some if near_duplicates(questions[9_000], [questions[other]])]
    assert near == [other for other in found[9_000] if other in some] == [9_000]
