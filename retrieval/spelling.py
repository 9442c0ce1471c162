"""Misspelt words of a question, read as words of the pages that come nearest without them. Only a word that neither the
embedding model nor those pages know is taken for a slip; a code or a setting's name never is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from bot.claims import STOP, stem
from bot.vocabulary import Hit
from retrieval.questions import identifiers

_SHORTEST = 5
_LONG = 8
"""Letters from which on two slips in one word are believed."""
_MOST_UNREAD = 1
_WORD = re.compile(r"[^\W\d_]+")
_TOKEN = re.compile(r"\S+")


def suspects(question: str, hits: Sequence[Hit], count_tokens: Callable[[Sequence[str]], Sequence[int]]) -> list[str]:
    """Gives the words that may be misspelt: those that no hit holds in any form, and that the model reads in pieces."""
    named = " ".join(identifiers(question))
    plain = (token for token in _TOKEN.findall(question) if not re.search(r"[\d_@/\\]|\w[.:]\w", token))
    words = dict.fromkeys(word.lower() for token in plain for word in _WORD.findall(token) if word not in named)
    unsure = [word for word in words if len(word) >= _SHORTEST and word not in STOP]
    if not unsure:
        return []
    pieces = dict(zip(unsure, count_tokens(unsure), strict=True))
    unsure = [word for word in unsure if pieces[word] > 1]
    known = {stem(word) for word in _words_of(hits)} if unsure else set()
    return [word for word in unsure if stem(word) not in known]


def mended(question: str, misspelt: Sequence[str], hits: Sequence[Hit]) -> str:
    """Gives a question with each misspelt word in place of which the hits have a similar one written like it: the most
    similar, and of those the most frequent. Where more than one word is like none of them nothing is believed: people
    slip now and then, and words of another language resemble some word by chance."""
    words = _words_of(hits)
    stems = {stem(word) for word in words}
    right = {word: _nearest(word, words) for word in misspelt if stem(word) not in stems}
    if sum(other is None for other in right.values()) > _MOST_UNREAD:
        return question
    return _WORD.sub(lambda match: right.get(match[0].lower()) or match[0], question)


def slips(one: str, other: str, most: int) -> int:
    """Counts the letters left out, added, changed or swapped between two words; more than `most` is `most + 1`."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        now = [row]
        for column, theirs in enumerate(other, start=1):
            best = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != theirs))
            if before and column > 1 and letter == other[column - 2] and one[row - 2] == theirs:
                best = min(best, before[column - 2] + 1)
            now.append(best)
        if min(now) > most:
            return most + 1
        before, last = last, now
    return min(last[-1], most + 1)


def _nearest(word: str, known: Counter[str]) -> str | None:
    most = 2 if len(word) >= _LONG else 1
    alike = ((slips(word, other, most), -count, other) for other, count in known.items() if other[0] == word[0])
    distance, _, best = min(alike, default=(most + 1, 0, ""))
    return best if distance <= most else None


def _words_of(hits: Sequence[Hit]) -> Counter[str]:
    passages = (hit.passage for hit in hits)
    texts = (f"{passage.title} {passage.section} {passage.text}".lower() for passage in passages)
    return Counter(word for text in texts for word in _WORD.findall(text) if len(word) >= _SHORTEST - 1)
