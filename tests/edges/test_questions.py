"""What is read from a question by rule: its words, its identifiers, and whether it needs the thread before it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.vocabulary import Turn
from retrieval.questions import (
    LEANING,
    MOST_WORDS,
    holds,
    identifiers,
    leaning,
    standalone,
    thread_before,
    with_codes_of,
    words,
)

HISTORY = (Turn(role="user", text="How long are exports kept?"), Turn(role="assistant", text="For 7 days."))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("what is ERR-4021?", ("ERR-4021",)),
        ("E1234, CVE-2026-12345 and HP-2026-004182!", ("E1234", "CVE-2026-12345", "HP-2026-004182")),
        ("set `max_batch_size` or FOOTNOTE_HOME", ("max_batch_size", "FOOTNOTE_HOME")),
        ("call chat.postMessage with maxRetries", ("chat.postMessage", "maxRetries")),
        ("use --base-url twice: --base-url", ("--base-url",)),
        ("my iPhone, GitHub, macOS and JavaScript", ()),
        ("is a 24-hour or 5-day wait e.g. normal? well-known -- yes", ()),
        ("see docs.example.com/a_b and me@x.example", ()),
    ],
)
def test_identifiers_are_error_codes_and_names_of_settings(text: str, expected: tuple[str, ...]) -> None:
    """What counts letter by letter is found as written, once; brands, hosts and compounds are none."""
    assert identifiers(text) == expected


@pytest.mark.parametrize(
    ("typed", "pages", "expected"),
    [
        ("what is E1042?", "Error E-1042 means", "what is E-1042?"),
        ("what is err4021?", "ERR-4021.", "what is ERR-4021?"),
        ("what is ERR-4021?", "ERR4021 is", "what is ERR4021?"),
        ("what is err-4021?", "ERR-4021 and err-4021", "what is err-4021?"),
        ("what is ERR-402?", "ERR-4021", "what is ERR-402?"),
        ("in 2024 and 24h", "IN-2024", "in 2024 and 24h"),
    ],
)
def test_a_code_is_read_as_the_pages_write_it(typed: str, pages: str, expected: str) -> None:
    """Apart from hyphens and capitals it is the same; one that they hold as it was typed stays."""
    assert with_codes_of(typed, pages) == expected


def test_an_identifier_is_held_whole_or_not_at_all() -> None:
    """A longer code that begins or ends alike is another one; punctuation and code marks around it do not matter."""
    for text in ("`ERR-402` means", "ERR-402.", "(ERR-402)", "see ERR-402, or"):
        assert holds(text, "ERR-402")
    for text in ("ERR-4021", "XERR-402", "err-402", "ERR-402-7", "ERR-402.5"):
        assert not holds(text, "ERR-402")


@pytest.mark.parametrize(
    "question",
    [
        "and who can change that?",
        "what about the others, can we extend it?",
        "can we make that shorter?",
        "why?",
        "more",
    ],
)
def test_a_question_that_leans_on_the_thread_gets_it(question: str) -> None:
    """It is searched after what its asker said last; what the bot said is left out."""
    assert standalone(question, HISTORY) == f"How long are exports kept?\n{question}"


@pytest.mark.parametrize(
    "question",
    [
        "How do I rotate the signing secret of a webhook?",
        "And now something else: does the audit log record who exported a list of customers?",
        "What are the rate limits of the sandbox?",
    ],
)
def test_a_question_of_its_own_is_left_alone(question: str) -> None:
    """Most questions in a thread are understood as they are, and find less with the thread before them."""
    assert standalone(question, HISTORY) == question


def test_without_a_thread_nothing_is_put_before() -> None:
    """Nor with a thread in which only the bot has spoken."""
    assert standalone("and that?", ()) == "and that?"
    assert standalone("and that?", (Turn(role="assistant", text="Hello."),)) == "and that?"


def test_a_thread_is_told_by_what_was_said_last() -> None:
    """By its asker and by the bot; earlier turns and empty ones do not count, and a long turn counts by its head."""
    long = Turn(role="assistant", text="word " * 1_000)
    assert thread_before((*HISTORY, Turn(role="user", text="and CSV?"), Turn(role="user", text=" "), long)) == [
        "and CSV?",
        long.text[:800],
    ]
    assert thread_before(()) == []


def test_the_more_a_question_says_the_less_it_leans() -> None:
    """A short one leans as far as any; one that tells its subject in a dozen words hardly."""
    assert leaning("and the invoices?") == leaning("why?") == LEANING
    asked = "does the audit log record who exported a list of customers from the billing dashboard last week"
    assert 0 < leaning(asked) < LEANING / 2


def test_words_are_bounded_and_without_stop_words() -> None:
    """A pasted log does not become a search for thousands of words; compounds stay one."""
    assert words("What is the ERR-4021 of a foo_bar.py?") == ["what", "err-4021", "foo_bar.py"]
    assert len(words(" ".join(f"w{n}" for n in range(5_000)))) == MOST_WORDS


@pytest.mark.parametrize(
    "text", ["a" * 100_000, "a_" * 50_000, "aB" * 50_000, "a." * 50_000, "--a-" * 30_000, " " * 100_000]
)
def test_no_question_takes_for_ever(text: str) -> None:
    """Each rule takes time in proportion to the question."""
    began = time.monotonic()
    identifiers(text), words(text), standalone(text, HISTORY), holds(text, "ERR-1")
    assert time.monotonic() - began < 5


@given(st.text(max_size=200))
def test_every_identifier_found_is_held_by_its_question(text: str) -> None:
    """Finding and checking agree."""
    assert all(name in text for name in identifiers(text))
