"""Checks what a model writes against the passages it was given, sentence by sentence, before anybody sees it. A
sentence is said only with a mark `[n]` that leads to a passage which supports it: all its numbers, dates, identifiers
and names and at least half of its content words occur there, its numbers near its words, and nothing is affirmed that
the passage denies. A mark that does not hold is repaired by a passage that does; else the sentence is left out. This
reads words, not meaning: it keeps out what is invented, not every way to be wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import lru_cache

from bot.claims import STOP, Claims, read
from bot.defusing import Defuser, visible
from bot.evidence import Grounds, Support, speaks_to_the_machine
from bot.sentences import MARK, Span, Splitter, lead_and_body
from bot.vocabulary import Citation, Passage

_MARK = re.compile(MARK)
_STOPS = re.compile(r"[.!?…:。！？]+[\"'”’»)*_]*$")
_STEP = re.compile(r"(\d{1,3})([.)][ \t]+)$")
_ENUMERATION = re.compile(r"(?:^|(?<=\s))\(?\d{1,2}\)(?=\s)")
_PARTICLE = re.compile(r"^(?:yes|no|ja|nein)[,.:;–—-]\s*", re.IGNORECASE)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_CONNECTING = _set(
    """here below following follow steps step way ways do this things points note summary document documents
    documentation docs passage passages according based options work works need make sure first then next also
    in short"""
)


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

    def __init__(
        self,
        passages: Sequence[Passage],
        *,
        refusal: str = "",
        opening: str = "",
        question: str = "",
        unsaid: str = "",
    ) -> None:
        """`opening` is what the persona begins each answer with, and needs no source; `unsaid` is what the model was
        told and must not recite."""
        self._grounds = Grounds(passages)
        self._defuser = Defuser(passages)
        self._splitter = Splitter()
        self._refusal = _bare_of_persona(refusal)
        self._opening = opening
        self._unsaid = f" {_bare_of_persona(unsaid)} "
        asked = read(question)
        self._asked = asked.words | asked.identifiers
        self._order: list[int] = []
        self._spans: dict[int, list[Span]] = {}
        self._citations: dict[int, Citation] = {}
        self._said: set[str] = set()
        self._lead = self._connecting = ""
        self._steps_left_out = 0
        self.left_out = 0
        """Sentences that tell something and were not said, for want of support."""
        self.has_refused = False
        """The model said the refusal sentence before anything else; the rest is not read."""

    @property
    def citations(self) -> tuple[Citation, ...]:
        """What was cited so far; the citation with the number n stands at n - 1."""
        return tuple(self._citations[index] for index in self._order)

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The given passages, the cited ones first, so that `[n]` is the n-th."""
        given = self._grounds.evidence
        rest = [index for index in range(len(given)) if index not in self._order]
        return tuple(given[index].passage for index in [*self._order, *rest])

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
        numbers, body = take_marks(body)
        if self._opening and body.lstrip().startswith(self._opening):
            body = body.lstrip().removeprefix(self._opening)
            if not self._said:
                self._connecting = f"{self._opening} " if body.strip() else self._opening
            if not body.strip():
                return
        if self._refusal and _bare(body) == self._refusal:
            if not self._order:
                self.has_refused = True
                return
            yield lead + body.strip()
            self._lead = ""
            return
        defused = self._defuser.defuse(body)
        text = _tidy(defused) if defused is not None else ""
        if is_connecting(text, self._asked):
            self._connecting = lead + text
            self._lead = ""
            return
        is_telling = self._is_telling(lead, text)
        cited = self._grounds.supporting(claims_of(text), numbers) if is_telling else []
        if not cited:
            self._lead = lead
            self.left_out += is_telling
            self._steps_left_out += bool(_STEP.search(lead))
            return
        self._said.add(_bare(text))
        numbered = [self._number(index, support) for index, support in cited]
        said = self._connecting + _renumbered(lead, self._steps_left_out) + with_marks(text, numbered)
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

    def _number(self, index: int, support: Support) -> int:
        if index not in self._order:
            self._order.append(index)
        known = self._spans.setdefault(index, [])
        new = [span for span in support.spans if span not in known]
        number, each = self._order.index(index) + 1, self._grounds.evidence[index]
        if new or index not in self._citations:
            known.extend(new)
            self._citations[index] = cite(number, each.passage, each.quote(known))
        return number


def take_marks(body: str) -> tuple[list[int], str]:
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


def with_marks(text: str, numbers: Iterable[int]) -> str:
    """Puts marks at the end of a sentence, before its full stop."""
    marks = "".join(f"[{number}]" for number in numbers)
    if text.startswith(("```", "~~~")):
        return f"{text}\n{marks}"
    stops = _STOPS.search(text)
    return f"{text[: stops.start()]} {marks}{stops[0]}" if stops else f"{text} {marks}"


def _renumbered(lead: str, left_out: int) -> str:
    """Closes the gap in a numbered list from which steps were left out."""
    return _STEP.sub(lambda step: f"{max(1, int(step[1]) - left_out)}{step[2]}", lead) if left_out else lead


def claims_of(text: str) -> Claims:
    """Reads what a sentence or a code block claims, without the number of a point and a leading yes or no."""
    if text.startswith(("```", "~~~")):
        return _code_claims(text)
    return read(_ENUMERATION.sub(" ", _PARTICLE.sub("", text)))


def _code_claims(block: str) -> Claims:
    """The claims of a code block: each of its lines, verbatim, but for its comments."""
    lines = (line.strip() for line in block.splitlines()[1:-1])
    return Claims(
        phrases={" ".join(line.split()).lower() for line in lines if line and not line.startswith(("#", "//"))}
    )


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower().replace("’", "'")))


_bare_of_persona = lru_cache(maxsize=16)(_bare)
"""What the persona is told is long, and the same for every answer."""

_CONNECTING_STEMS = {word for word in read(" ".join(_CONNECTING)).words} | STOP
