"""Signs that passages answer a question. One alone misleads: a question in other words than its page has a low cosine,
and one about a thing that no page knows a high one. `python -m bot calibrate` learns how much each counts. They are
read from the question and the hits alone, so they mean the same on both indexes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from bot.calibration import Signs
from bot.claims import STOP, stem
from bot.vocabulary import Hit, Passage
from retrieval.questions import identifiers, telling_words

READ = 5
"""Hits that an answer is written from, however many were asked for."""
PAGES_ALIKE = 3
"""Pages that a vague question fits about equally well."""
_WORD = re.compile(r"[^\W_]{2,}")
_NEAR = 0.7
"""Certainty of the nearest page from which on a vague question is worth a question back."""
_SPREAD = 0.035
"""Certainty between the best and the worst of those pages up to which they fit equally well."""


def signs(query: str, hits: Sequence[Hit]) -> Signs:
    """Gives what speaks for the best five hits: each sign is a number that grows with its name.

    `cosine` of the nearest; `covered`, the share of the question's words that they hold together, and
    `covered_by_one`; `agreement`, the fused score of the first, 1 when it is the best by meaning and by words alike;
    `margin` of the nearest page before the next in cosine; `words`, the logarithm of the question's length.
    """
    read = hits[:READ]
    if not read:
        return dict.fromkeys(("cosine", "covered", "covered_by_one", "agreement", "margin", "words"), 0.0)
    asked = _stems(query)
    held = [asked & _stems(_whole(hit.passage)) for hit in read]
    nearest = max(read, key=lambda hit: hit.certainty)
    others = [hit.certainty for hit in read if hit.passage.document_id != nearest.passage.document_id]
    return {
        "cosine": 2 * nearest.certainty - 1,
        "covered": len(set().union(*held)) / max(1, len(asked)),
        "covered_by_one": max(map(len, held)) / max(1, len(asked)),
        "agreement": read[0].score,
        "margin": 2 * (nearest.certainty - max(others, default=min(hit.certainty for hit in read))),
        "words": math.log1p(len(asked)),
    }


def is_vague(question: str, hits: Sequence[Hit]) -> bool:
    """Whether a question fits several pages about equally well, so that asking back is better than guessing: it has one
    word that says what it is about, or none, and the three nearest pages, of different titles, are equally near. A page
    with that very word for its title is no guess."""
    said = telling_words(question)
    if len(said) > 1 or identifiers(question):
        return False
    nearest: dict[str, float] = {}
    for hit in sorted(hits, key=lambda hit: -hit.certainty):
        nearest.setdefault(hit.passage.title.casefold(), hit.certainty)
    if len(nearest) < PAGES_ALIKE or any(telling_words(title) == said for title in nearest):
        return False
    best, *_, worst = list(nearest.values())[:PAGES_ALIKE]
    return best >= _NEAR and best - worst <= _SPREAD


def _whole(passage: Passage) -> str:
    return f"{passage.title} {passage.section} {passage.text}"


def _stems(text: str) -> set[str]:
    return {stem(word) for word in _WORD.findall(text.lower()) if word not in STOP}
