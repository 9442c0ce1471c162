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

READ = 5
"""Hits that an answer is written from, however many were asked for."""
_WORD = re.compile(r"[^\W_]{2,}")


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


def _whole(passage: Passage) -> str:
    return f"{passage.title} {passage.section} {passage.text}"


def _stems(text: str) -> set[str]:
    return {stem(word) for word in _WORD.findall(text.lower()) if word not in STOP}
