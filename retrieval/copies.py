"""Passages of different pages that say the same: an imported manual beside its original, last year's page beside this
year's. Read twice they take the place of others; and where they differ, the newer one is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache

from bot.vocabulary import Hit, Passage

ALIKE = 0.8
"""Share of words in common from which on passages of one title are the same one, before and after an edit. Under other
titles only the very same text is: pages made by a template are alike, and each is about something else."""
OF_ONE_MATTER = 0.6
"""Share of words in common, numbers aside, from which on passages whose titles differ in a year or a version at most
are about the same thing."""
_FEWEST_WORDS = 8
_NEVER = datetime.min.replace(tzinfo=UTC)
_VERSION = re.compile(
    r"\b(?:(?:19|20)\d\d(?:[-/.]\d{1,2}){0,2}|v\d+(?:\.\d+)*|\d+(?:\.\d+)+|old|new|archived?|legacy|outdated|copy|latest)\b"
)
"""What tells the versions of a page apart by their titles."""


def newest_first(hits: Sequence[Hit], question: str) -> list[Hit]:
    """Gives hits of which those about the same thing stand in the order of their dates, newest first, in the places
    that they have among the others. A version that the question names stays where it is."""
    order = list(hits)
    for places in _groups(hits, _is_of_one_matter):
        versions = [set(_VERSION.findall(_heading(hits[place].passage))) for place in places]
        telling = set.union(*versions) - set.intersection(*versions)
        if telling & set(_VERSION.findall(question.casefold())):
            continue
        newest = sorted((hits[place] for place in places), key=_day, reverse=True)
        for place, hit in zip(places, newest, strict=True):
            order[place] = hit
    return order


def without_copies(hits: Sequence[Hit]) -> list[Hit]:
    """Gives hits of which those that say the same as an earlier one of another page stand at the end. Passages of a few
    words are no copies: short notes are alike by chance."""
    groups = _groups(hits, _is_copy)
    copies = [place for places in groups for place in places[1:]]
    return [hit for place, hit in enumerate(hits) if place not in copies] + [hits[place] for place in copies]


def _groups(hits: Sequence[Hit], is_alike: Callable[[Passage, Passage], bool]) -> list[list[int]]:
    """The places of hits, each with those of hits of other pages that are like the first of them."""
    groups: list[list[int]] = []
    for place, hit in enumerate(hits):
        for places in groups:
            first = hits[places[0]].passage
            is_of_one_page = (first.source, first.document_id) == (hit.passage.source, hit.passage.document_id)
            if not is_of_one_page and is_alike(first, hit.passage):
                places.append(place)
                break
        else:
            groups.append([place])
    return [places for places in groups if len(places) > 1]


def _is_copy(one: Passage, other: Passage) -> bool:
    words, others = _words(one.text), _words(other.text)
    if min(len(words), len(others)) < _FEWEST_WORDS:
        return False
    return words == others or (one.title.casefold() == other.title.casefold() and _share(words, others) >= ALIKE)


def _is_of_one_matter(one: Passage, other: Passage) -> bool:
    if _is_copy(one, other):
        return True
    matter = _matter(_heading(one))
    if not matter or matter != _matter(_heading(other)):
        return False
    words, others = ([word for word in _words(each.text) if not word.isdigit()] for each in (one, other))
    return min(len(words), len(others)) >= _FEWEST_WORDS and _share(words, others) >= OF_ONE_MATTER


def _heading(passage: Passage) -> str:
    return f"{passage.title} {passage.section}".casefold()


@lru_cache(maxsize=1_000)
def _matter(heading: str) -> list[str]:
    return re.findall(r"\w+", _VERSION.sub(" ", heading))


@lru_cache(maxsize=1_000)
def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _share(words: Sequence[str], others: Sequence[str]) -> float:
    ours, theirs = set(words), set(others)
    return len(ours & theirs) / len(ours | theirs)


def _day(hit: Hit) -> date:
    """When its page was changed; those without a date are the oldest. Hours say nothing: files that are copied together
    are seconds apart."""
    return (hit.passage.updated_at or _NEVER).date()
