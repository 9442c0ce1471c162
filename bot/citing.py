"""Checks what a model writes against the passages it was given, sentence by sentence, before anybody sees it. A
sentence is said only with a mark `[n]` that leads to a passage which supports it: all its numbers, dates, identifiers
and names and at least half of its content words occur there, its numbers near its words, and nothing is affirmed that
the passage denies. A mark that does not hold is repaired by a passage that does; else the sentence is left out. This
reads words, not meaning: it keeps out what is invented, not every way to be wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache

from bot.claims import STOP, Claims, opposed, read
from bot.defusing import Defuser, visible
from bot.sentences import MARK, Span, Splitter, lead_and_body, spans
from bot.vocabulary import Citation, Passage

ENOUGH = 0.5
"""Share of a sentence's content words that its passage must hold."""

LONGEST_QUOTE = 400
_MOST_MARKS = 3

_MARK = re.compile(MARK)
_STOPS = re.compile(r"[.!?…:。！？]+$")
_STEP = re.compile(r"(\d{1,3})([.)][ \t]+)$")
_PARTICLE = re.compile(r"^(?:yes|no|ja|nein)[,.:;–—-]\s*", re.IGNORECASE)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_CONNECTING = _set(
    """here below following follow steps step way ways do this things points note summary document documents
    documentation docs passage passages according based options work works need make sure first then next also
    in short"""
)
# Text in a page that speaks to the machine instead of the reader is no evidence for anything. This is no defence by
# itself (detection loses); it only keeps the crudest of it from being quoted.
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


@dataclass(frozen=True, slots=True)
class Support:
    """How well a passage supports a sentence, and by which of its own sentences."""

    strength: float
    spans: tuple[Span, ...]


class Evidence:
    """A passage, read once: what each of its sentences claims."""

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        self.spans = self._for_readers(spans(passage.text))
        self.claims = [read(f"{span.header}\n{self.text(span)}") for span in self.spans]
        self.about = read(f"{passage.title}\n{passage.section.replace(' › ', chr(10))}")
        every = [self.about, *self.claims]
        self.words = {word for claims in every for word in claims.words}
        self.tokens = {token for claims in every for token in claims.tokens}
        self.dates = {date for claims in every for date in claims.dates}
        self._flat = " ".join(" ".join(self.text(span).split()) for span in self.spans).lower()

    def _for_readers(self, found: list[Span]) -> list[Span]:
        """The sentences that inform: an order to the machine ends its paragraph."""
        ordering = -1
        kept = []
        for span in found:
            if span.block != ordering and speaks_to_the_machine(self.text(span)):
                ordering = span.block
            if span.block != ordering:
                kept.append(span)
        return kept

    def text(self, span: Span) -> str:
        return visible(self.passage.text[span.start : span.end])

    def support(self, sentence: Claims) -> Support | None:
        """Gives the support for a sentence's claims, or None when the passage does not hold them."""
        if sentence.is_empty or not sentence.dates <= self.dates or not sentence.names <= self.words | self.tokens:
            return None
        if not all(identifier in self.tokens or identifier in self._flat for identifier in sentence.phrases):
            return None
        if not all(self._holds(identifier) for identifier in sentence.identifiers):
            return None
        if not all(self._states(number, sentence) for number in sentence.numbers):
            return None
        held = len(sentence.words & (self.words | self.tokens))
        share = held / len(sentence.words) if sentence.words else 1.0
        if share < ENOUGH:
            return None
        overlaps = [self._overlap(sentence, claims) for claims in self.claims]
        if self._contradicts(sentence, overlaps):
            return None
        best = self._best(sentence, overlaps)
        return Support(share + max(overlaps, default=0.0), best)

    def quote(self, chosen: Iterable[Span]) -> str:
        """Gives the verbatim text from the first of the spans to the last, if that is short, else the first given."""
        chosen = list(chosen)
        if not chosen:
            return self.passage.text.strip()[:LONGEST_QUOTE]
        start, end = min(span.start for span in chosen), max(span.end for span in chosen)
        if end - start > LONGEST_QUOTE:
            start, end = chosen[0].start, min(chosen[0].end, chosen[0].start + 2 * LONGEST_QUOTE)
        return self.passage.text[start:end]

    def _holds(self, identifier: str) -> bool:
        if identifier in self.tokens:
            return True
        before, after = (r"(?<!\w)" if identifier[0].isalnum() else ""), (r"(?!\w)" if identifier[-1].isalnum() else "")
        return re.search(before + re.escape(identifier) + after, self._flat) is not None

    def _states(self, number: tuple[str, str], sentence: Claims) -> bool:
        """Whether the number is stated, with its unit, in a sentence that has to do with this one, or next to it."""
        value, unit = number
        topics = sentence.words | sentence.identifiers
        for index, claims in enumerate([*self.claims, self.about]):
            stated = any(value == other and (unit == its or not unit or not its) for other, its in claims.numbers)
            if not stated and (unit or value not in claims.date_parts):
                continue
            near = self.claims[max(0, index - 1) : index + 2] if index < len(self.claims) else [claims]
            if not topics or any(topics & (each.words | each.tokens) for each in near) or topics & self.about.words:
                return True
        return False

    @staticmethod
    def _overlap(sentence: Claims, claims: Claims) -> float:
        whole = len(sentence.words) + len(sentence.numbers) + len(sentence.identifiers) + len(sentence.dates)
        shared = (
            len(sentence.words & (claims.words | claims.tokens))
            + len({number for number, _ in sentence.numbers} & {number for number, _ in claims.numbers})
            + len(sentence.identifiers & claims.tokens)
            + len(sentence.dates & claims.dates)
        )
        return shared / whole if whole else 0.0

    def _contradicts(self, sentence: Claims, overlaps: list[float]) -> bool:
        """Whether the sentences that are most like this one say the opposite: a word is denied in one only, or its
        opposite stands in its place."""
        best = max(overlaps, default=0.0)
        if best < ENOUGH:
            return False
        alike = [claims for claims, overlap in zip(self.claims, overlaps, strict=True) if overlap >= best - 0.1]
        return all(
            bool((sentence.denied ^ claims.denied) & sentence.words & claims.words) or opposed(sentence, claims)
            for claims in alike
        )

    def _best(self, sentence: Claims, overlaps: list[float]) -> tuple[Span, ...]:
        """The fewest of the passage's sentences that hold what the sentence claims, best first, at most three."""
        wanted = sentence.words | sentence.identifiers | {number for number, _ in sentence.numbers}
        chosen: list[Span] = []
        order = sorted(range(len(overlaps)), key=lambda index: -overlaps[index])
        for index in order[:8]:
            claims = self.claims[index]
            gain = wanted & (claims.words | claims.tokens | {number for number, _ in claims.numbers})
            if not gain or len(chosen) == 3 or (chosen and len(gain) < 2 and not any(g[0].isdigit() for g in gain)):
                continue
            chosen.append(self.spans[index])
            wanted -= gain
        return tuple(chosen)


@lru_cache(maxsize=2_000)
def evidence(passage: Passage) -> Evidence:
    """Reads a passage, or remembers having read it: the same ones are asked for again and again."""
    return Evidence(passage)


def speaks_to_the_machine(text: str) -> bool:
    """Says whether a page's sentence gives orders to a language model instead of informing a reader."""
    return _TO_THE_MACHINE.search(visible(text)) is not None


def cite(number: int, passage: Passage, quote: str) -> Citation:
    """Makes the citation of a passage."""
    return Citation(
        number=number,
        document_id=passage.document_id,
        title=passage.title,
        section=passage.section,
        url=passage.url,
        quote=quote,
        updated_at=passage.updated_at,
    )


def is_connecting(text: str, asked: Set[str] = frozenset()) -> bool:
    """Says whether a line only leads over to the next, as "Here is how:" does, and carries no fact of its own.

    `asked` are the stems of the question's words, which it may repeat.
    """
    if not text.endswith(":") or len(text) > 120:
        return False
    claims = read(text)
    states = claims.numbers or claims.identifiers - asked or claims.dates or claims.phrases or claims.denied
    return not states and claims.words <= asked | _CONNECTING_STEMS


class Citer:
    """Takes a model's stream and gives back, piece by piece, what may be said. The pieces joined are the answer; their
    marks are numbered in the order of first use. A piece with which `refused` became true is the refusal sentence."""

    def __init__(self, passages: Sequence[Passage], *, refusal: str = "", question: str = "", unsaid: str = "") -> None:
        """`unsaid` is what the model was told and must not recite."""
        self._evidence = [evidence(passage) for passage in passages]
        self._defuser = Defuser(passages)
        self._splitter = Splitter()
        self._refusal = _bare(refusal)
        self._unsaid = f" {_bare(unsaid)} "
        asked = read(question)
        self._asked = asked.words | asked.identifiers
        self._order: list[int] = []
        self._spans: dict[int, list[Span]] = {}
        self._said: set[str] = set()
        self._lead = self._connecting = ""
        self._steps_left_out = 0
        self.has_refused = False
        """The model said the refusal sentence before anything else; the rest is not read."""

    @property
    def citations(self) -> tuple[Citation, ...]:
        """What was cited so far; the citation with the number n stands at n - 1."""
        return tuple(
            cite(number, self._evidence[index].passage, self._evidence[index].quote(self._spans[index]))
            for number, index in enumerate(self._order, start=1)
        )

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The given passages, the cited ones first, so that `[n]` is the n-th."""
        rest = [index for index in range(len(self._evidence)) if index not in self._order]
        return tuple(self._evidence[index].passage for index in [*self._order, *rest])

    def feed(self, delta: str) -> Iterator[str]:
        """Takes what the model wrote next and yields the pieces that can be said now."""
        for piece in self._splitter.feed(visible(delta)):
            yield from self._piece(piece)

    def close(self) -> Iterator[str]:
        """Yields what can be said of the rest, once the model has ended."""
        for piece in self._splitter.flush():
            yield from self._piece(piece)

    def _piece(self, piece: str) -> Iterator[str]:
        if self.has_refused:
            return
        lead, body = lead_and_body(piece)
        lead = self._take_lead(lead)
        numbers, body = _marks(body)
        if self._refusal and _bare(body) == self._refusal:
            if not self._order:
                self.has_refused = True
                return
            yield lead + body.strip()
            self._lead = ""
            return
        defused = self._defuser.defuse(body)
        text = _tidy(defused) if defused is not None else ""
        claims = read(_PARTICLE.sub("", text))
        if text.startswith(("```", "~~~")):
            claims = _code_claims(text)
        elif is_connecting(text, self._asked):
            self._connecting = lead + text
            self._lead = ""
            return
        cited = self._supporting(claims, numbers) if self._is_telling(lead, text) else []
        if not cited:
            self._lead = lead
            self._steps_left_out += bool(_STEP.search(lead))
            return
        self._said.add(_bare(text))
        marks = "".join(f"[{self._number(index, support)}]" for index, support in cited)
        said = self._connecting + _renumbered(lead, self._steps_left_out) + _with_marks(text, marks)
        self._connecting = self._lead = ""
        yield said if len(self._said) > 1 else said.lstrip()

    def _is_telling(self, lead: str, text: str) -> bool:
        """Whether a sentence tells something that was not told yet: no heading, question, order or rule."""
        bare = _bare(text)
        if not bare or bare in self._said or "#" in lead or text.endswith("?") or speaks_to_the_machine(text):
            return False
        return bare.count(" ") < 3 or f" {bare} " not in self._unsaid

    def _take_lead(self, lead: str) -> str:
        """What stands before this sentence. If the one before was left out, the rest of its line inherits its lead."""
        if not self._lead:
            if not _STEP.search(lead) and "\n\n" in lead:
                self._steps_left_out = 0
            return lead
        inherited, self._lead = self._lead, ""
        if _STEP.search(inherited) and not lead.strip() and "\n" not in lead:
            self._steps_left_out -= 1
            return inherited
        return lead if "\n" in lead else inherited

    def _supporting(self, claims: Claims, numbers: list[int]) -> list[tuple[int, Support]]:
        """The passages that the sentence may cite: those it names, as far as they hold; else the best of the others."""
        named = [index for index in dict.fromkeys(number - 1 for number in numbers) if 0 <= index < len(self._evidence)]
        held = [(index, support) for index in named if (support := self._evidence[index].support(claims))]
        if held:
            return held[:_MOST_MARKS]
        others = [
            (index, support)
            for index, each in enumerate(self._evidence)
            if index not in named and (support := each.support(claims))
        ]
        return [max(others, key=lambda each: each[1].strength)] if others else []

    def _number(self, index: int, support: Support) -> int:
        if index not in self._order:
            self._order.append(index)
        known = self._spans.setdefault(index, [])
        known.extend(span for span in support.spans if span not in known)
        return self._order.index(index) + 1


def _marks(body: str) -> tuple[list[int], str]:
    """Takes the marks out of a sentence: the numbers they name, and the sentence without them."""
    numbers: list[int] = []

    def take(mark: re.Match[str]) -> str:
        parts = re.findall(r"\d+|[–-]", mark[0].split("†")[0])
        for index, part in enumerate(parts):
            if part.isdigit():
                numbers.append(int(part))
            elif 0 < index < len(parts) - 1 and int(parts[index + 1]) - numbers[-1] < 10:
                numbers.extend(range(numbers[-1] + 1, int(parts[index + 1])))
        return ""

    if body.startswith(("```", "~~~")):
        fence = body.rfind(body[:3]) + 3
        return numbers, body[:fence] + _MARK.sub(take, body[fence:])
    parts = re.split(r"(`[^`\n]+`)", body)
    return numbers, "".join(part if index % 2 else _MARK.sub(take, part) for index, part in enumerate(parts))


def _tidy(text: str) -> str:
    """Closes the gaps that marks and links left."""
    if text.startswith(("```", "~~~")):
        return text.rstrip()
    text = re.sub(r"\(\s*\)|\[\s*\]", "", text)
    text = re.sub(r"[ \t]{2,}", " ", text)
    return re.sub(r"[ \t]+([.,;:!?…])(?=\s|$)", r"\1", text).strip(" \t\n,;")


def _with_marks(text: str, marks: str) -> str:
    if text.startswith(("```", "~~~")):
        return f"{text}\n{marks}"
    stops = _STOPS.search(text)
    return f"{text[: stops.start()]} {marks}{stops[0]}" if stops else f"{text} {marks}"


def _renumbered(lead: str, left_out: int) -> str:
    """Closes the gap in a numbered list from which steps were left out."""
    return _STEP.sub(lambda step: f"{max(1, int(step[1]) - left_out)}{step[2]}", lead) if left_out else lead


def _code_claims(block: str) -> Claims:
    """The claims of a code block: each of its lines, verbatim, but for its comments."""
    lines = (line.strip() for line in block.splitlines()[1:-1])
    return Claims(
        phrases={" ".join(line.split()).lower() for line in lines if line and not line.startswith(("#", "//"))}
    )


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower().replace("’", "'")))


_CONNECTING_STEMS = {word for word in read(" ".join(_CONNECTING)).words} | STOP
