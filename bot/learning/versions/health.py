"""How a version of the persona fares in its answers: how many leave the format, hold sentences that nothing supports,
or come to nothing. Counted alike on the held-out set by the gate and on what people ask by the watch, and compared with
bounds that a run of bad luck does not cross."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bot.persona import Persona, format_problems
from bot.vocabulary import Answer, Frozen

Signs = tuple[bool, bool, bool, bool]
"""Of one answer: it leaves the format, holds uncited sentences, declines after the model wrote, could not be had."""
FAILED = (False, False, False, True)

Z = 2.6
"""Standard deviations on either side of a rate that are put down to chance: two intervals of 99 % that do not touch."""


class Health(Frozen):
    """Counts over so many answers."""

    answers: int = 0
    off_format: int = 0
    uncited: int = 0
    refused: int | None = 0
    """None where it says nothing: on a set that was put together, refusals are as frequent as somebody made them."""
    failed: int = 0


NAMES = {
    "off_format": "answers that leave the format",
    "uncited": "answers with sentences that no passage supports",
    "refused": "refusals although there were passages",
    "failed": "questions that its server refused",
}


def signs_of(answer: Answer, persona: Persona) -> Signs | None:
    """Reads the signs of an answer; None where no model wrote."""
    if not answer.completion or answer.status == "failed":
        return None
    is_off = answer.status == "answered" and bool(format_problems(answer.text, persona))
    return is_off, answer.left_out > 0, answer.status == "declined", False


def health_of(signs: Iterable[Signs]) -> Health:
    """Counts."""
    every = list(signs)
    off, uncited, refused, failed = map(sum, zip(*every, strict=True)) if every else (0, 0, 0, 0)
    return Health(answers=len(every), off_format=off, uncited=uncited, refused=refused, failed=failed)


def worse_than(now: Health, known: Iterable[Health]) -> str | None:
    """Says in which rate `now` is worse than all that is known of it or its predecessor, as a sentence; None if in none
    or if nothing is known."""
    bands = list(known)
    for name, title in NAMES.items():
        count = getattr(now, name) or 0
        bounds = [wilson(seen, one.answers)[1] for one in bands if (seen := getattr(one, name)) is not None]
        if bounds and wilson(count, now.answers)[0] > max(bounds):
            return (
                f"{title}: {count / now.answers:.0%} of the last {now.answers}, where {max(bounds):.0%} was the most "
                "to expect"
            )
    return None


def wilson(count: int, of: int, z: float = Z) -> tuple[float, float]:
    """Gives the bounds between which a rate lies that was seen `count` times (Wilson's interval)."""
    if not of:
        return 0.0, 1.0
    share, square = count / of, z * z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = z * math.sqrt(share * (1 - share) / of + square / (4 * of * of)) / (1 + square / of)
    return max(0.0, middle - half), min(1.0, middle + half)
