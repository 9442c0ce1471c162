"""Which words of a question are taken for misspelt, and what for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.vocabulary import Hit, Passage
from retrieval.spelling import mended, slips, suspects

KNOWN = {"webhook", "please", "rotate", "signing", "singing", "attention", "attentive"}


def pieces(words: Sequence[str]) -> list[int]:
    """A model that reads the words it knows whole, and others in two pieces."""
    return [1 if word in KNOWN else 2 for word in words]


def hit(text: str) -> Hit:
    passage = Passage(id=text, document_id="d", source="s", title="Keys", text=text, audience="public")
    return Hit(passage=passage, score=1, certainty=0.8)


PAGES = [hit("Rotate the signing secret of a webhook under Integrations."), hit("A mortgage needs attention.")]


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("how do I rtoate the singing secret", "how do I rotate the singing secret"),
        ("where are my Integratoins", "where are my integrations"),
        ("mortage", "mortgage"),
        ("rotate the webhooks", "rotate the webhooks"),
        ("what is the weebhoook", "what is the webhook"),
        ("attentive please", "attentive please"),
    ],
)
def test_a_misspelt_word_is_read_as_the_pages_write_it(asked: str, read: str) -> None:
    """One slip in a short word, two in a long one; a form of a known word stays, and so does what resembles nothing."""
    assert mended(asked, suspects(asked, [], pieces), PAGES) == read


def test_words_that_the_model_or_the_pages_know_are_left_alone() -> None:
    """Only what both do not know is suspect, and a short word never is."""
    assert suspects("please rotate the mortgages of Zorblax abc", PAGES, pieces) == ["zorblax"]


def test_a_question_in_another_language_is_no_misspelt_one() -> None:
    """Some of its words resemble a word of the pages by chance; a name that nobody knows does not keep from mending."""
    pages = [hit("The segment was demonstrated at a station."), *PAGES]
    for asked, read in (
        ("welches Segmant wurde demonstriert", "welches Segmant wurde demonstriert"),
        ("which segmant was demonstratd by Zorblax", "which segment was demonstrated by Zorblax"),
    ):
        assert mended(asked, suspects(asked, [], pieces), pages) == read


@pytest.mark.parametrize(
    "asked",
    ["max_bacth_size", "ERR-4021x", "chat.postMesage", "see https://exmaple.com/webhok", "mail ann@exmaple.com"],
)
def test_codes_names_and_addresses_are_never_corrected(asked: str) -> None:
    """They count letter by letter."""
    pages = [hit("max_batch_size example postMessage webhook")]
    assert suspects(asked, [], pieces) == []
    assert mended(asked, suspects(asked, [], pieces), pages) == asked


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [("webhook", "webhook", 0), ("webhok", "webhook", 1), ("wehbook", "webhook", 1), ("wxbhooks", "webhook", 2)],
)
def test_slips_are_letters_left_out_added_changed_or_swapped(one: str, other: str, count: int) -> None:
    """Each counts one, either way."""
    assert slips(one, other, 2) == slips(other, one, 2) == count


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_slips_stop_counting_above_what_is_asked(one: str, other: str) -> None:
    """More than `most` is `most + 1`, whatever the words."""
    true = slips(one, other, 99)
    assert slips(one, other, 2) == min(true, 3)
    assert (true == 0) == (one == other)
