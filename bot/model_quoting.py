"""The persona model that needs no model: it answers with the passages' own sentences, verbatim and each with its mark.
It is what answers while nothing is configured, the floor against which a real model is measured, and, being
deterministic, the model of the story tests. It chooses by the question's words alone; that is no understanding, so its
name `quoting` stands in the footer."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from bot.answering import Prompt
from bot.claims import Claims, read
from bot.defusing import Defuser
from bot.evidence import Evidence, evidence
from bot.sentences import MARK, Span

MOST_SENTENCES = 4
MOST_STEPS = 5
MOST_WORDS = 110
_GOOD_ENOUGH = 0.55
"""Share of the best sentence's score that a further sentence needs."""

_HOW_TO = re.compile(
    r"\bhow\s+(?:do|can|to|does|would|should|could|did|i\b)|\b(?:steps?|where|set\s*up|way\s+to)\b|^wie\b", re.I
)
_HOW_MUCH = re.compile(
    r"\b(?:how\s+(?:long|many|much|often|fast|big|large|old|soon|far)|when|what\s+time|max(?:imum)?|min(?:imum)?|limits?"
    r"|cost|price|size|number|version|date|year|percent\w*|wie\s+(?:lange|viele?|oft|hoch)|wann)\b",
    re.I,
)
_BACKTICKED = re.compile(r"(`[^`\n]+`)")
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)|\[([^\[\]\n]+)\]\[[^\[\]\n]*\]")
_BLOCK_QUOTE = re.compile(r"\n[ \t]*>[ \t]?")
_STOPS = re.compile(r"[.!?:…。！？][\"'”’»)*_]*$")
_CODE_SIGNS = frozenset('{}[]=<>\\|_"')
_GAP = re.compile(r" +([.,:!?](?:\s|$))")
_TAGS = re.compile(r"</?[a-zA-Z][^<>\n]*>|\{[!{%][^{}\n]*[!}%]\}")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sentence that might be quoted."""

    passage: int
    index: int
    """Its place among the passage's sentences."""
    span: Span
    text: str
    matched: frozenset[str]
    score: float


class QuotingModel:
    """Answers by quoting; see `answering.PersonaModel`."""

    name = "quoting"
    provider = "quoting"

    async def write(self, prompt: Prompt) -> AsyncIterator[str]:
        """Yields the chosen sentences or steps."""
        for piece in _chosen(prompt):
            yield piece


def _chosen(prompt: Prompt) -> Iterator[str]:
    read_passages = [evidence(passage) for passage in prompt.passages]
    wanted = _wanted(f"{prompt.question}\n{prompt.query}")
    weights = _weights(wanted, read_passages)
    defuser = Defuser(prompt.passages)
    candidates = sorted(_candidates(prompt, read_passages, weights, defuser), key=lambda each: -each.score)
    if not candidates:
        return
    best = candidates[0]
    steps = _steps(read_passages, best, candidates, defuser) if _HOW_TO.search(prompt.question) else []
    lead = _sentences(candidates, most=1 if steps else MOST_SENTENCES)
    if steps:
        lead = [each for each in lead if each.span.kind != "step"]
    lines = [" ".join(_marked(each.text, each.passage) for each in lead)] if lead else []
    lines += [f"{number}. {step}" for number, step in enumerate(steps, start=1)]
    yield "\n".join(lines)


def _wanted(question: str) -> set[str]:
    claims = read(question)
    return claims.words | claims.identifiers | {number for number, _ in claims.numbers}


def _terms(claims: Claims) -> set[str]:
    return claims.words | claims.identifiers | claims.tokens | {number for number, _ in claims.numbers}


def _weights(wanted: set[str], passages: list[Evidence]) -> dict[str, float]:
    """The rarer a word of the question is among the sentences, the more it tells them apart."""
    counts: Counter[str] = Counter()
    total = 0
    for each in passages:
        for claims in each.claims:
            total += 1
            counts.update(wanted & _terms(claims))
    return {word: math.log(1 + (total - counts[word] + 0.5) / (counts[word] + 0.5)) for word in wanted}


def _candidates(
    prompt: Prompt, passages: list[Evidence], weights: dict[str, float], defuser: Defuser
) -> Iterator[_Candidate]:
    asks_how_much = bool(_HOW_MUCH.search(prompt.question))
    for rank, each in enumerate(passages):
        about = each.about.words | each.about.identifiers
        for index, (span, claims) in enumerate(zip(each.spans, each.claims, strict=True)):
            if span.kind in ("heading", "code"):
                continue
            text = quotable(each.text(span), span, defuser)
            if text is None or (text.endswith(":") and span.kind == "text"):
                continue  # what leads over to a list says nothing without it
            matched = frozenset(weights) & _terms(claims)
            # What the title or the heading says holds for each of its sentences, if less so.
            near = _near(each, index) & weights.keys()
            score = sum(weights[word] for word in matched)
            score += 0.4 * sum(weights[word] for word in (about & weights.keys()) - matched)
            score += 0.25 * sum(weights[word] for word in near - matched - about)
            score *= 1 / (1 + 0.12 * rank)
            score *= 1 / (1 + max(0, len(text.split()) - 30) / 40)
            if asks_how_much and (claims.numbers or claims.dates):
                score *= 1.3
            if len(claims.words) < 3 and not claims.numbers:
                score *= 0.5
            yield _Candidate(rank, index, span, text, matched, score)


def _near(each: Evidence, index: int) -> set[str]:
    """The words of the sentences before and after, and of the heading above."""
    near: set[str] = set()
    for other in (index - 1, index + 1):
        if 0 <= other < len(each.claims):
            near |= _terms(each.claims[other])
    for other in range(index, -1, -1):
        if each.spans[other].kind == "heading":
            return near | _terms(each.claims[other])
    return near


def _sentences(candidates: list[_Candidate], most: int) -> list[_Candidate]:
    """The best sentence, and those that come near it."""
    best = candidates[0]
    chosen = [best]
    words = len(best.text.split())
    for each in candidates[1:]:
        if len(chosen) >= most or each.score < _GOOD_ENOUGH * best.score:
            break
        length = len(each.text.split())
        if any(each.text == other.text for other in chosen) or words + length > MOST_WORDS:
            continue
        chosen.append(each)
        words += length
    return chosen


def _steps(passages: list[Evidence], best: _Candidate, candidates: list[_Candidate], defuser: Defuser) -> list[str]:
    """The numbered list that the best sentence is part of or stands before: all its steps, in five lines at most."""
    each = passages[best.passage]
    runs: list[list[int]] = []
    for index, span in enumerate(each.spans):
        if span.kind != "step":
            continue
        if runs and all(each.spans[other].kind in ("step", "code", "item") for other in range(runs[-1][-1], index)):
            runs[-1].append(index)
        else:
            runs.append([index])
    scores = {(candidate.passage, candidate.index): candidate.score for candidate in candidates}
    runs = [run for run in runs if len({each.spans[index].block for index in run}) > 1]
    if not runs:
        return []
    run = max(runs, key=lambda run: max(scores.get((best.passage, index), 0.0) for index in run))
    if max(scores.get((best.passage, index), 0.0) for index in run) < 0.4 * best.score:
        return []
    blocks: dict[int, list[str]] = {}
    for index in run:
        text = quotable(each.text(each.spans[index]), each.spans[index], defuser)
        if text is None:
            return []  # a procedure with a step missing is worse than none
        blocks.setdefault(each.spans[index].block, []).append(_marked(text, best.passage))
    steps = [" ".join(block) for block in blocks.values()]
    size = math.ceil(len(steps) / MOST_STEPS)
    return [" ".join(steps[start : start + size]) for start in range(0, len(steps), size)]


def quotable(text: str, span: Span, defuser: Defuser) -> str | None:
    """Gives a page's sentence as a sentence of an answer: links and tags gone, a table's row read out; or None."""
    text = " ".join(_BLOCK_QUOTE.sub("\n", text).split())
    if span.kind == "row":
        if not span.header:
            return None
        names, cells = ([cell.strip() for cell in row.strip().strip("|").split("|")] for row in (span.header, text))
        text = "; ".join(f"{name}: {cell}" for name, cell in zip(names, cells, strict=False) if cell)
    text = _TAGS.sub("", _LINK.sub(lambda link: link[1] or link[2] or "", text)).lstrip("> ")
    parts = _BACKTICKED.split(text)
    parts[::2] = [re.sub(MARK, "", prose) for prose in parts[::2]]
    if sum(sign in _CODE_SIGNS for prose in parts[::2] for sign in prose) > len(text) / 25:
        return None  # code that the page does not mark as such
    defused = defuser.defuse("".join(parts))
    return _GAP.sub(r"\1", defused).strip() or None if defused else None


def _marked(text: str, passage: int) -> str:
    """Puts the mark behind a sentence, which gets a full stop if it has none."""
    return f"{text}{'' if _STOPS.search(text) else '.'} [{passage + 1}]"
