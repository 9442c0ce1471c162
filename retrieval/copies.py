"""Passages of different pages that say the same: an imported manual beside its original, last year's page beside this
year's. Read twice they take the place of others; and where they differ, the newer one is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from bot.vocabulary import Hit

ALIKE = 0.8
"""Share of words in common from which on passages of one title are the same one, before and after an edit. Under other
titles only the very same text is: pages made by a template are alike, and each is about something else."""
_FEWEST_WORDS = 8
_NEVER = datetime.min.replace(tzinfo=UTC)


def without_copies(hits: Sequence[Hit]) -> list[Hit]:
    """Gives hits of which those that say the same as an earlier one of another page stand at the end; the newest of
    them takes the place of the first. Passages of a few words are no copies: short notes are alike by chance."""
    groups: list[tuple[list[Hit], list[str]]] = []
    for hit in hits:
        words = re.findall(r"\w+", hit.passage.text.lower())
        for members, theirs in groups:
            if _is_copy(hit, words, members[0], theirs):
                members.append(hit)
                break
        else:
            groups.append(([hit], words))
    newest = [sorted(members, key=_age) for members, _ in groups]
    return [*(members[0] for members in newest), *(hit for members in newest for hit in members[1:])]


def _is_copy(hit: Hit, words: Sequence[str], other: Hit, theirs: Sequence[str]) -> bool:
    if hit.passage.document_id == other.passage.document_id and hit.passage.source == other.passage.source:
        return False
    if min(len(words), len(theirs)) < _FEWEST_WORDS:
        return False
    if words == theirs or hit.passage.title.casefold() != other.passage.title.casefold():
        return words == theirs
    ours, others = set(words), set(theirs)
    return len(ours & others) >= ALIKE * len(ours | others)


def _age(hit: Hit) -> float:
    """Grows with age; pages without a date are the oldest, and of the same age the order stays."""
    return -(hit.passage.updated_at or _NEVER).timestamp()
