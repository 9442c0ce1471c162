"""Questions that were embedded before, which every embedder remembers in the same way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bot.errors import LibraryUnavailable
from retrieval.embedding import Remembered


class Counting:
    """Embeds a text as its length, when it may, and counts how often."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_down = False

    def __call__(self, text: str) -> np.ndarray:
        self.asked.append(text)
        self.may_go_on.wait(10)
        if self.is_down:
            raise LibraryUnavailable("down")
        return np.full(3, len(text), dtype=np.float32)


def test_what_a_hundred_ask_at_once_is_embedded_once() -> None:
    """All hundred are asking before the first is answered."""
    embed = Counting()
    embed.may_go_on.clear()
    remembered, arrived = Remembered(embed), threading.Barrier(101)

    def ask(_: int) -> np.ndarray:
        arrived.wait(10)
        return remembered("the same question")

    with ThreadPoolExecutor(100) as askers:
        answers = [askers.submit(ask, number) for number in range(100)]
        arrived.wait(10)
        embed.may_go_on.set()
        assert {float(answer.result()[0]) for answer in answers} == {17.0}
    assert embed.asked == ["the same question"]


def test_the_longest_unasked_is_forgotten_first() -> None:
    """So many and no more are kept."""
    embed = Counting()
    remembered = Remembered(embed, most=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        remembered(text)
    assert embed.asked == ["a", "b", "c", "b"]


def test_a_failure_is_not_remembered() -> None:
    """The next to ask may have more luck; who waited for the one that failed is told, too."""
    embed = Counting()
    embed.is_down = True
    remembered = Remembered(embed)
    with pytest.raises(LibraryUnavailable):
        remembered("x")
    embed.is_down = False
    assert remembered("x")[0] == 1


def test_a_remembered_vector_cannot_be_written_to() -> None:
    """It is the same one for all who ask."""
    with pytest.raises(ValueError, match="read-only"):
        Remembered(Counting())("x")[0] = 0
