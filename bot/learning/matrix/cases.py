"""What a decision matrix asks: an operator's own questions, each with the passages that were found for it once, so that
every arm is given the same. From the questions that can be answered two more sorts are made. *Changed*: a number that
the answer rests on is another one in the passages, as if the page had been edited after training. *Refusal*: the
passages are another question's, so that they do not answer; questions that the documents do not answer are such, too.

No case holds what the place of the report may not read; a question that is meant for a narrower one is not asked."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Literal

from bot.claims import read
from bot.evaluating import Asked
from bot.progress import Progress
from bot.small_talk import small_talk
from bot.vocabulary import Found, Frozen, Passage, Question, Turn

MOST_PAIRED = 20
"""Refusals that are made of pairs, where the file has fewer questions that the documents do not answer."""
PASSAGES = 5

Sort = Literal["answer", "changed", "refusal"]

# A number by itself: no part of a date, a version, an identifier, a path, or a step's number.
_NUMBER = re.compile(r"(?<![\w.,:/#@_`-])\d{1,3}(?:,\d{3})+(?![\w:/@_`-])|(?<![\w.,:/#@_`-])\d+(?![\w:/@_`-]|[.,]\d)")
_STEP = re.compile(r"(?m)^\s*(\d{1,3})[.)]\s")
_MONTH = re.compile(
    r"\W{0,2}(?:january|february|march|april|may|june|july|august|september|october|november|december)\b", re.IGNORECASE
)
_HOW_TO = re.compile(r"\bhow\s+(?:do|can|to|would|should|could)\b|\b(?:steps?|set\s*up|way\s+to)\b", re.IGNORECASE)


class Case(Frozen):
    """A question with the passages that every arm is given."""

    id: str
    sort: Sort
    kind: str
    """What is recommended for: the file's own kind, else `how-to`, `lookup`, `follow-up`, `unanswerable`."""
    question: str
    query: str
    """The same, standing alone."""
    history: tuple[Turn, ...] = ()
    passages: tuple[Passage, ...]
    find_ms: float = 0.0
    """What finding took, embedding included."""
    answer: str | None = None
    evidence: tuple[str, ...] = ()
    old: str = ""
    new: str = ""
    """For a changed case: the number that stood in the passages, and the one that stands there now."""


async def prepare(
    asked: Sequence[Asked],
    *,
    find: Callable[[Question, int], Awaitable[Found]],
    team_id: str,
    readable: Callable[[str], frozenset[str]],
    audience: str,
    progress: Progress = lambda done, total, label: None,
) -> list[Case]:
    """Finds the passages of every question once and makes the cases. What is no question for the documents (small talk,
    something to ask back about) is left out. Raises LibraryUnavailable."""
    place = readable(audience)
    found: list[tuple[Asked, Case]] = []
    for done, one in enumerate(asked):
        progress(done, len(asked), "finding passages")
        is_small_talk = small_talk(one.question, has_history=bool(one.history)) is not None
        if one.behaviour in ("clarify", "chitchat") or is_small_talk or not readable(one.audience or audience) <= place:
            continue
        question = Question(
            id=f"{team_id}:matrix:{one.id}",
            team_id=team_id,
            text=one.question,
            readable=readable(one.audience or audience),
            history=one.history,
        )
        if not found:
            await find(question, PASSAGES)  # so that the first one's time holds no loading
        began = time.perf_counter()
        there = await find(question, PASSAGES)
        found.append((one, _case(one, there, (time.perf_counter() - began) * 1_000)))
    progress(len(asked), len(asked), "finding passages")
    cases = [case for _, case in found]
    changed = filter(None, (_changed(one, case) for one, case in found))
    return [*cases, *changed, *_paired(found, MOST_PAIRED - sum(case.sort == "refusal" for case in cases))]


def _case(asked: Asked, found: Found, find_ms: float) -> Case:
    is_refusal = asked.behaviour in ("abstain", "decline")
    return Case(
        id=asked.id,
        sort="refusal" if is_refusal else "answer",
        kind=asked.kind or _kind(asked, is_refusal),
        question=asked.question,
        query=found.query or asked.question,
        history=asked.history,
        passages=tuple(hit.passage for hit in found.hits),
        find_ms=find_ms,
        answer=None if is_refusal else asked.answer,
        evidence=() if is_refusal else asked.evidence,
    )


def _kind(asked: Asked, is_refusal: bool) -> str:
    if is_refusal:
        return "unanswerable"
    if asked.history:
        return "follow-up"
    return "how-to" if _HOW_TO.search(asked.question) else "lookup"


def _changed(asked: Asked, case: Case) -> Case | None:
    """The same case in a world where a number of its answer is another one; None where the answer rests on none."""
    gold = set(asked.gold_doc_ids)
    pages = [passage.text for passage in case.passages if not gold or passage.document_id in gold]
    known = "\n".join([case.question, case.query, *(turn.text for turn in case.history)])
    wanted = {number for number, _ in read("\n".join([*asked.evidence, asked.answer or ""])).numbers}
    told = wanted - {number for number, _ in read(known).numbers}
    stated = (match[0] for page in pages for match in _free_numbers(page))
    old = next((number for number in stated if number.replace(",", "") in told), None)
    if case.sort != "answer" or old is None:
        return None
    everything = f"{known}\n" + "\n".join(passage.text for passage in case.passages)
    new = _other(old, everything)
    swapped = [one.model_copy(update={"text": _swapped(one.text, old, new)}) for one in case.passages]
    if any(old.replace(",", "") in {number for number, _ in read(one.text).numbers} for one in swapped):
        return None  # it also stands where it cannot be swapped: in a word, a date, a name
    return case.model_copy(
        update={
            "id": f"{case.id}~changed",
            "sort": "changed",
            "passages": tuple(swapped),
            "old": old,
            "new": new,
            "answer": None,
            "evidence": (),
        }
    )


def _free_numbers(text: str) -> list[re.Match[str]]:
    steps = {match.start(1) for match in _STEP.finditer(text)}
    return [
        match
        for match in _NUMBER.finditer(text)
        if match.start() not in steps and not _MONTH.match(text, match.end()) and int(match[0].replace(",", "")) > 1
    ]


def _swapped(text: str, old: str, new: str) -> str:
    for match in reversed(_free_numbers(text)):
        if match[0] == old:
            text = text[: match.start()] + new + text[match.end() :]
    return text


def _other(old: str, text: str) -> str:
    """A number as long as `old` that stands nowhere in the text, the same on every run."""
    there = {number for number, _ in read(text).numbers} | set(re.findall(r"\d+", text))
    digits = len(old.replace(",", ""))
    low = 10 ** (digits - 1) if digits > 1 else 2
    start = int.from_bytes(sha256(f"{old}{text}".encode()).digest()[:4]) % (10**digits - low)
    numbers = (low + (start + step) % (10**digits - low) for step in range(10**digits - low))
    new = next((number for number in numbers if str(number) not in there), 10**digits + start)
    return f"{new:,}" if "," in old else str(new)


def _paired(found: Sequence[tuple[Asked, Case]], wanted: int) -> list[Case]:
    """Questions with the passages of the next question that has none of their pages."""
    answerable = [(one, case) for one, case in found if case.sort == "answer" and case.passages]
    paired = []
    for index, (one, case) in enumerate(answerable):
        own = set(one.gold_doc_ids) or {passage.document_id for passage in case.passages}
        others = (other.passages for _, other in [*answerable[index + 1 :], *answerable[:index]])
        strange = (each for each in others if not own & {passage.document_id for passage in each})
        if one.behaviour is not None and (passages := next(strange, None)):
            update = {"id": f"{case.id}~paired", "sort": "refusal", "kind": "unanswerable", "passages": passages}
            paired.append(case.model_copy(update=update | {"answer": None, "evidence": ()}))
    return paired[: max(0, wanted)]
