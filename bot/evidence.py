"""What a passage is evidence for. It is read once into what each of its sentences claims; a sentence of an answer is
then held against it. Text in a page that gives orders to a language model is evidence for nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache

from bot.claims import Claims, opposed, read
from bot.defusing import visible
from bot.sentences import COMMENT, Span, spans
from bot.vocabulary import Passage

ENOUGH = 0.5
"""Share of a sentence's content words that its passages must hold."""

LONGEST_QUOTE = 400
_SAME = 0.7
"""Share of the other words that two sentences share which say the same of something else."""
_FEWEST_SHARED = 3
_MOST_SPANS = 3
_MOST_MARKS = 3

# This is no defence by itself (detection loses); it only keeps the crudest orders from being quoted.
_TO_THE_MACHINE = re.compile(
    r"""ignor\w*\s+(?:\w+\s+){0,3}(?:previous|prior|above|earlier|instruction|vorherig|anweisung|instruc)
    |(?:previous|prior|your|system)\s+(?:instructions|prompt)\b|(?:disregard|forget)\s+(?:\w+\s+){0,2}(?:above|previous|docs|rules)
    |\b(?:every|each|all)\s+(?:\w+\s+)?(?:answer|reply|response|summar(?:y|ies))s?\s+(?:must|should|has\s+to|you)
    |\b(?:ai|llm|the)\s+(?:assistants?|models?|chatbots?|agents?)\s+(?:must|should|shall|has\s+to|have\s+to|will)\b
    |(?:note|instruction|message|important)s?\s+(?:for|to)\s+(?:the\s+|all\s+)?(?:ai\b|assistant|llm|chatbot|language\s+model)
    |(?:in|to|of)\s+(?:your|every)\s+(?:answer|reply|response|output|summary)\b|^\W*assistant\s*:
    |\bbefore\s+(?:answering|you\s+answer)\b|when\s+(?:you\s+)?(?:summaris|summariz|answer)\w*\s|\byou\s+are\s+now\b""",
    re.IGNORECASE | re.VERBOSE,
)
_ONE_OF_THEM = (
    "ignor", "instruction", "prompt", "disregard", "forget", "answer", "reply", "response", "summar", "output",
    "assistant", "model", "chatbot", "agent", "note", "message", "important", "now",
)  # fmt: skip
"""Of these each such order holds one, and to look for them takes little of the time. It is done in ASCII only: to an
expression that ignores case some other letters are the same, too."""


@dataclass(frozen=True, slots=True)
class Support:
    """How well a passage supports a sentence, and by which of its own sentences, best first."""

    strength: float
    spans: tuple[Span, ...]


class Evidence:
    """A passage, read once."""

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        self.spans, self._orders = _for_readers(passage.text)
        self.claims = [read(f"{span.header}\n{self.text(span)}") for span in self.spans]
        self.about = read(f"{passage.title}\n{passage.section.replace(' › ', chr(10))}")
        every = [self.about, *self.claims]
        self.vocabulary = {word for claims in every for word in claims.words | claims.tokens}
        self._dates = {date for claims in every for date in claims.dates}
        self._flat = " ".join(" ".join(self.text(span).split()) for span in self.spans).lower()

    def text(self, span: Span) -> str:
        """The span as a reader sees it."""
        return visible(COMMENT.sub(" ", self.passage.text[span.start : span.end]))

    def lacks(self, sentence: Claims, known: Set[str] = frozenset()) -> set[str]:
        """Gives those of a sentence's names, identifiers, numbers and dates that the passage does not hold.

        `known` are names that need not be held.
        """
        missing = sentence.names - self.vocabulary - known
        missing |= {date for date in sentence.dates if date not in self._dates}
        missing |= {phrase for phrase in sentence.phrases if phrase not in self._flat}
        missing |= {each for each in sentence.identifiers if each not in known and not self._holds(each)}
        return missing | {
            f"{value} {unit}" for value, unit in sentence.numbers if not self._states(value, unit, sentence)
        }

    def support(self, sentence: Claims) -> Support | None:
        """Gives how the passage's sentences support this one's words, or None when they deny them."""
        overlaps = [_overlap(sentence, claims) for claims in self.claims]
        best = max(overlaps, default=0.0)
        alike = [claims for claims, overlap in zip(self.claims, overlaps, strict=True) if overlap >= best - 0.1]
        if best >= ENOUGH and all(_contradicts(sentence, claims) for claims in alike):
            return None
        return Support(share([self], sentence) + best, self._best(sentence, overlaps))

    def quote(self, chosen: Iterable[Span]) -> str:
        """Gives the verbatim text from the first of the spans to the last, if that is short, else the best one's."""
        chosen = list(chosen)
        if not chosen:
            return self.passage.text.strip()[:LONGEST_QUOTE]
        start, end = min(span.start for span in chosen), max(span.end for span in chosen)
        if end - start > LONGEST_QUOTE or any(start < order.start < end for order in self._orders):
            start, end = chosen[0].start, min(chosen[0].end, chosen[0].start + 2 * LONGEST_QUOTE)
        return self.passage.text[start:end].split("<!--")[0].rstrip()

    def _holds(self, identifier: str) -> bool:
        if identifier in self.vocabulary:
            return True
        before, after = (r"(?<!\w)" if identifier[0].isalnum() else ""), (r"(?!\w)" if identifier[-1].isalnum() else "")
        return re.search(before + re.escape(identifier) + after, self._flat) is not None

    def _states(self, value: str, unit: str, sentence: Claims) -> bool:
        """Whether the number is stated, with its unit, in a sentence that has to do with this one, or next to it."""
        topics = sentence.words | sentence.identifiers
        for index, claims in enumerate([*self.claims, self.about]):
            stated = any(value == other and (unit == its or not unit or not its) for other, its in claims.numbers)
            if not stated and (unit or value not in claims.date_parts):
                continue
            near = self.claims[max(0, index - 1) : index + 2] if index < len(self.claims) else [claims]
            if not topics or any(topics & (each.words | each.tokens) for each in [*near, self.about]):
                return True
        return False

    def _best(self, sentence: Claims, overlaps: list[float]) -> tuple[Span, ...]:
        """The fewest of the passage's sentences that hold what the sentence claims."""
        wanted = sentence.words | sentence.identifiers | {number for number, _ in sentence.numbers}
        chosen: list[Span] = []
        for index in sorted(range(len(overlaps)), key=lambda index: -overlaps[index])[:8]:
            claims = self.claims[index]
            gain = wanted & (claims.words | claims.tokens | {number for number, _ in claims.numbers})
            is_worth_it = len(gain) > 1 or any(each[0].isdigit() for each in gain) or (gain and not chosen)
            if is_worth_it and len(chosen) < _MOST_SPANS:
                chosen.append(self.spans[index])
                wanted -= gain
        return tuple(chosen)


class Grounds:
    """The passages of an answer, read together: which of them a sentence may cite."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.evidence = [evidence(passage) for passage in passages]

    @cached_property
    def _known(self) -> Set[str]:
        """What half of the passages speak of, which is their subject: the company, the product."""
        return in_at_least(max(2, (len(self.evidence) + 1) // 2), (each.vocabulary for each in self.evidence))

    def supporting(self, claims: Claims, numbers: Iterable[int]) -> list[tuple[int, Support]]:
        """Gives the passages that a sentence may cite, by index: those whose numbers it names, as far as they hold, one
        by one or together; else the best of the others."""
        named = self._indexes(numbers)
        if held := self.held(claims, numbers):
            return held
        others = self._holding(claims, [index for index in range(len(self.evidence)) if index not in named])
        return [max(others, key=lambda each: each[1].strength)] if others else []

    def held(self, claims: Claims, numbers: Iterable[int]) -> list[tuple[int, Support]]:
        """Gives those of the passages with these numbers that hold a sentence, one by one or together."""
        named = self._indexes(numbers)
        if holding := self._holding(claims, named):
            return holding[:_MOST_MARKS]
        return self._joint(claims, named) if 1 < len(named) <= _MOST_MARKS else []

    def _indexes(self, numbers: Iterable[int]) -> list[int]:
        return [number - 1 for number in dict.fromkeys(numbers) if 0 < number <= len(self.evidence)]

    def _holding(self, claims: Claims, indexes: list[int]) -> list[tuple[int, Support]]:
        """Those of the passages that hold the whole sentence."""
        holding = []
        for index in indexes:
            each = self.evidence[index]
            if claims.is_empty or share([each], claims) < ENOUGH:
                continue
            if each.lacks(claims) and each.lacks(claims, self._known):
                continue
            if support := each.support(claims):
                holding.append((index, support))
        return holding

    def _joint(self, claims: Claims, named: list[int]) -> list[tuple[int, Support]]:
        """The named passages if they hold the sentence together and none denies it, else nothing."""
        parts = [self.evidence[index] for index in named]
        if set.intersection(*(each.lacks(claims, self._known) for each in parts)) or share(parts, claims) < ENOUGH:
            return []
        supports = [(index, each.support(claims)) for index, each in zip(named, parts, strict=True)]
        found = [(index, support) for index, support in supports if support]
        return found if len(found) == len(named) else []


def in_at_least(count: int, vocabularies: Iterable[Set[str]]) -> Set[str]:
    """Gives the words that so many of the vocabularies hold."""
    held: list[set[str]] = [set() for _ in range(count)]  # by one of them, by two, and so on
    for words in vocabularies:
        for more in range(count - 1, 0, -1):
            held[more] |= held[more - 1] & words
        held[0] |= words
    return held[-1]


def share(passages: Sequence[Evidence], sentence: Claims) -> float:
    """Gives the share of a sentence's content words that the passages hold together."""
    if not sentence.words:
        return 1.0
    return len({word for each in passages for word in sentence.words & each.vocabulary}) / len(sentence.words)


@lru_cache(maxsize=2_000)
def evidence(passage: Passage) -> Evidence:
    """Reads a passage, or remembers having read it: the same ones are asked for again and again."""
    return Evidence(passage)


def speaks_to_the_machine(text: str) -> bool:
    """Says whether a page's sentence gives orders to a language model instead of informing a reader."""
    seen = visible(text)
    if seen.isascii():
        lower = seen.lower()
        if not any(word in lower for word in _ONE_OF_THEM):
            return False
    return _TO_THE_MACHINE.search(seen) is not None


def _for_readers(page: str) -> tuple[list[Span], list[Span]]:
    """The sentences that inform, and the orders to the machine; an order takes the rest of its paragraph along."""
    kept: list[Span] = []
    orders: list[Span] = []
    for span in spans(page):
        if (orders and orders[-1].block == span.block) or speaks_to_the_machine(page[span.start : span.end]):
            orders.append(span)
        else:
            kept.append(span)
    return kept, orders


def _overlap(sentence: Claims, claims: Claims) -> float:
    """The share of what a sentence claims that another one claims too."""
    whole = len(sentence.words) + len(sentence.numbers) + len(sentence.identifiers) + len(sentence.dates)
    shared = (
        len(sentence.words & (claims.words | claims.tokens))
        + len({number for number, _ in sentence.numbers} & {number for number, _ in claims.numbers})
        + len(sentence.identifiers & claims.tokens)
        + len(sentence.dates & claims.dates)
    )
    return shared / whole if whole else 0.0


def _contradicts(sentence: Claims, claims: Claims) -> bool:
    """Whether two sentences that are alike differ in a denial (of a word that both use, or by a word's opposite), or
    have one number or name in the place of another."""
    both = (sentence.words | sentence.tokens) & (claims.words | claims.tokens)
    return bool((sentence.denied ^ claims.denied) & both) or opposed(sentence, claims) or _swapped(sentence, claims)


def _swapped(sentence: Claims, claims: Claims) -> bool:
    """Whether one of two sentences that say the same has a number, a name or an identifier that the other lacks, and
    the other way round: "Team costs 7 euros" and "Team costs 5 euros"."""
    mine, its = sentence.words - sentence.names, claims.words - claims.names
    if len(mine & its) < max(_SAME * max(len(mine), len(its)), _FEWEST_SHARED):
        return False
    my_values = {value for value, _ in sentence.numbers} | sentence.dates
    its_values = {value for value, _ in claims.numbers} | claims.dates
    if my_values - its_values - claims.date_parts and its_values - my_values - sentence.date_parts:
        return True
    return bool(sentence.names - claims.words - claims.tokens and claims.names - sentence.words - sentence.tokens)
