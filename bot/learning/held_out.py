"""What is kept for measuring. One thread in five, by the hash of its name, is never trained on, and neither is what
asks nearly the same: a model that has seen the questions of its own examination passes it by heart. The split needs no
list: the same thread falls on the same side on every machine, today and next year."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar
from zlib import crc32

from bot.claims import STOP, stem
from bot.vocabulary import Example


class Asking(Protocol):
    """Something with a question."""

    @property
    def question(self) -> str: ...


A = TypeVar("A", bound=Asking)

SHARE = 0.2
NEAR = 0.7
"""Share of their letters' triples, of all that two questions have, from which on they ask nearly the same."""
BITS = 512
_Read = tuple[frozenset[str], frozenset[str]]
_WORD = re.compile(r"\w+(?:[-.:_/]\w+)*")


def is_held_out(example: Example) -> bool:
    """Whether an example is for measuring only: so it was once, or its thread falls on that side."""
    thread = f"{example.team_id}\n{example.thread or example.question_id}"
    place = int.from_bytes(hashlib.sha256(thread.encode()).digest()[:8], "big") / 2**64
    return example.is_held_out or place < SHARE


def near_duplicates(question: str, others: Sequence[str]) -> list[int]:
    """Gives the indexes of the questions that ask nearly the same, in the order of the questions."""
    return Neighbours(others).of(question)


def unlike(question: str, examples: Sequence[Example]) -> list[Example]:
    """Gives the examples that do not ask nearly the same as a question, and so do not show its answer."""
    near = set(near_duplicates(question, [one.question for one in examples]))
    return [one for index, one in enumerate(examples) if index not in near]


def unseen(asked: Sequence[A], taught: Iterable[Example]) -> list[A]:
    """Gives what asks nothing that an example nearly asks on which a model was trained: questions to measure on are
    added after a training, too."""
    known = Neighbours(one.question for one in taught)
    return [one for one in asked if not known.of(one.question)]


class Neighbours:
    """Questions, made ready to be searched for near-duplicates: exact, and quick also for tens of thousands.

    Questions are compared by the triples of letters of their words' stems, so that order, endings, fill words and a
    slip of the pen make no difference; other numbers or identifiers make another question. A map of 512 bits for each
    question tells at least how many triples another one lacks, so few are compared in earnest.
    """

    def __init__(self, questions: Iterable[str]) -> None:
        import numpy as np

        self._read = [_read(question) for question in questions]
        self._sizes = np.array([len(triples) for triples, _ in self._read], dtype=np.int64)
        self._maps = np.frombuffer(b"".join(_map(triples) for triples, _ in self._read), dtype=np.uint64)
        self._maps = self._maps.reshape(len(self._read), BITS // 64)

    def of(self, question: str) -> list[int]:
        """Gives the indexes of the near-duplicates of a question, lowest first; of a question that is among them, its
        own too."""
        import numpy as np

        mine = _read(question)
        my_map = np.frombuffer(_map(mine[0]), dtype=np.uint64)
        lacked = np.bitwise_count(my_map & ~self._maps).sum(axis=1, dtype=np.int64)
        shared = np.minimum(len(mine[0]) - lacked, self._sizes)
        candidates = np.flatnonzero(shared >= NEAR * (len(mine[0]) + self._sizes - shared))
        return [int(index) for index in candidates if _is_near(mine, self._read[index])]


def _map(triples: frozenset[str]) -> bytes:
    bits = 0
    for triple in triples:
        bits |= 1 << crc32(triple.encode()) % BITS
    return bits.to_bytes(BITS // 8, sys.byteorder)


def _is_near(one: _Read, other: _Read) -> bool:
    (mine, my_fixed), (its, its_fixed) = one, other
    if my_fixed != its_fixed or len(its) < NEAR * len(mine) or len(mine) < NEAR * len(its):
        return False
    shared = len(mine & its)
    return shared >= NEAR * (len(mine) + len(its) - shared)


def _read(question: str) -> _Read:
    """A question's triples of letters, and its numbers and identifiers."""
    words = [word for word in _WORD.findall(question.lower()) if word not in STOP]
    fixed = frozenset(word for word in words if any(sign.isdigit() or sign == "_" for sign in word))
    plain = [f"^{stem(word)}$" for word in words if word not in fixed] or [f"^{word}$" for word in fixed]
    triples = {word[start : start + 3] for word in plain for start in range(len(word) - 2)}
    return frozenset(triples or {question.strip().lower()}), fixed
