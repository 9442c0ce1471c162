"""Where sentences begin and end, in what a model writes while it writes it, and in Markdown pages. It promises that no
character is lost: the pieces of a stream, joined, are the stream, and every span of a page is a slice of that page, so
that a quote is verbatim."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

MARK = r"\[\^?\d{1,3}(?:\s*[,–-]\s*\d{1,3})*\]|【\d{1,3}[^】\n]{0,40}】"
"""A citation mark as models write it: `[1]`, `[1, 2]`, `[^1]`, `【1†source】`."""

LONGEST = 1_000
"""Characters after which a sentence is cut at a space, so that a runaway line is not held back for ever."""

# The marks after the full stop belong to the sentence: "It expires. [1] Then …"
_END = re.compile(rf"""(?:[.!?…]+["'”’»)*_]*|[。！？]+)(?:[ \t]*(?:{MARK}))*(?=\s|$|(?<=[。！？]))""")
_LEAD = re.compile(r"\s*(?:(?:[-*•+]|\d{1,3}[.)]|#{1,6}|>)[ \t]+)*")
_FENCE = re.compile(r"\s*(```|~~~)")
_HALF_MARK = re.compile(rf"(?:(?:{MARK})[ \t]*)*(?:\[\^?[\d\s,–-]*|【[^】\n]{{0,40}})?\Z")
_CODE = re.compile(r"`[^`\n]+`")
_LAST_TOKEN = re.compile(r"(\S+)\.[\"'”’»)*_]*$")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEVER_LAST = _set("e.g i.e cf vs mr mrs dr prof z.b d.h bzw approx ca incl excl ggf inkl u.a")
_BEFORE_A_NUMBER = _set("no nos nr fig sec p pp vol art ch approx ca max min")


class Splitter:
    """Cuts a stream of text into sentences. Each carries the white space and the list marker that stand before it; a
    fenced code block is one piece."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, delta: str) -> Iterator[str]:
        """Takes the next characters and yields the sentences that are complete with them."""
        self._rest += delta
        yield from self._cut(is_final=False)

    def flush(self) -> Iterator[str]:
        """Yields what is left at the end of the stream."""
        yield from self._cut(is_final=True)
        rest, self._rest = self._rest, ""
        if rest.strip():
            yield rest

    def _cut(self, is_final: bool) -> Iterator[str]:
        while (end := _first_end(self._rest, is_final)) is not None:
            piece, self._rest = self._rest[:end], self._rest[end:]
            if piece.strip():
                yield piece
            else:
                self._rest = piece + self._rest
                return


def lead_and_body(piece: str) -> tuple[str, str]:
    """Parts a piece into what stands before the sentence (white space, list markers) and the sentence."""
    lead = _LEAD.match(piece)
    end = lead.end() if lead else 0
    return piece[:end], piece[end:]


def _first_end(text: str, is_final: bool) -> int | None:
    """The offset at which the first sentence ends, or None when it takes more text to know."""
    if fence := _FENCE.match(text):
        return _fence_end(text, fence, is_final)
    if text.strip() in {"`", "``", "~", "~~"} and not is_final:
        return None
    start = len(lead_and_body(text)[0])
    newline = text.find("\n", start)
    line = text if newline < 0 else text[:newline]
    masked = _CODE.sub(lambda code: "x" * len(code[0]), line)
    open_code = masked.find("`", start)
    limit = len(line) if open_code < 0 or newline >= 0 or is_final else open_code
    for end in _ends(masked, start, limit):
        if not is_final and _HALF_MARK.match(text[end:].lstrip(" \t")):
            return None
        return end
    if newline >= 0 and newline > start:
        return newline
    if len(text) > LONGEST:
        space = text.rfind(" ", start + 1, LONGEST)
        return space if space > 0 else LONGEST
    return None


def _ends(text: str, start: int, limit: int) -> Iterator[int]:
    """The ends of the sentences of one line or paragraph."""
    for match in _END.finditer(text, start):
        if match.end() > limit:
            return
        if _is_end(text, match):
            yield match.end()


def _is_end(text: str, match: re.Match[str]) -> bool:
    if not match[0].startswith(".") or match[0].startswith(".."):
        return True
    following = text[match.end() :].lstrip()[:1]
    if "[" in match[0] or not following:
        return True
    token = _LAST_TOKEN.search(text[: match.start() + 1])
    word = token[1].lower().lstrip("(\"'“*_") if token else ""
    if word in _NEVER_LAST or (word in _BEFORE_A_NUMBER and following.isdigit()):
        return False
    if len(word) == 1 and word.isalpha() and following.isupper():
        return False  # J. Smith
    return not following.islower()


def _fence_end(text: str, fence: re.Match[str], is_final: bool) -> int | None:
    closing = re.compile(rf"\n[ \t]*{fence[1]}[ \t]*((?:\s*(?:{MARK}))*)[ \t]*(?=\n|$)").search(text, fence.end())
    if closing is None:
        return None
    if not is_final and _HALF_MARK.match(text[closing.end() :].lstrip()):
        return None  # marks may follow on the next line
    return closing.end()


Kind = Literal["text", "step", "item", "row", "code", "heading"]


@dataclass(frozen=True, slots=True)
class Span:
    """A sentence, table row, heading or code block of a page: `page[start:end]`."""

    start: int
    end: int
    kind: Kind
    block: int
    """Sentences of one paragraph or list item share it."""
    header: str = ""
    """For a table row, the table's first row."""


COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_ITEM = re.compile(r"(?:>[ \t]*)*(?:(?P<bullet>[-*•+])|(?P<number>\d{1,3}[.)]))[ \t]+")
_HEADING = re.compile(r"#{1,6}[ \t]")
_ROW = re.compile(r"\|.*\|$")
_DELIMITER = re.compile(r"\|[\s:|-]+\|$")
_QUOTE = re.compile(r"(?:>[ \t]*)+")


def spans(page: str) -> list[Span]:
    """Parts Markdown into its sentences. What is hidden in HTML comments is no part of the page."""
    page = COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), page)
    found: list[Span] = []
    block = 0
    paragraph: tuple[int, int, Kind] | None = None
    fence, header = "", ""
    fence_start = 0

    def close() -> None:
        nonlocal paragraph, block
        if paragraph is not None:
            start, end, kind = paragraph
            found.extend(_paragraph(page, start, end, kind, block))
            block += 1
            paragraph = None

    offset = 0
    for line in page.splitlines(keepends=True):
        start, end = offset + len(line) - len(line.lstrip()), offset + len(line.rstrip())
        text, offset = page[start:end], offset + len(line)
        if fence:
            if text.startswith(fence):
                found.append(Span(fence_start, end, "code", block))
                block, fence = block + 1, ""
            continue
        if not _ROW.match(text):
            header = ""
        if text.startswith(("```", "~~~")):
            close()
            fence, fence_start = text[:3], start
        elif not text:
            close()
        elif _HEADING.match(text):
            close()
            found.append(Span(start + text.index(" ") + 1, end, "heading", block))
            block += 1
        elif _ROW.match(text):
            close()
            if not _DELIMITER.match(text):
                found.append(Span(start, end, "row", block, header))
                header = header or text
                block += 1
        elif item := _ITEM.match(text):
            close()
            paragraph = (start + item.end(), end, "step" if item["number"] else "item")
        elif paragraph is None:
            quote = _QUOTE.match(text)
            paragraph = (start + (quote.end() if quote else 0), end, "text")
        else:
            paragraph = (paragraph[0], end, paragraph[2])
    close()
    if fence:
        found.append(Span(fence_start, len(page.rstrip()), "code", block))
    return found


def _paragraph(page: str, start: int, end: int, kind: Kind, block: int) -> Iterator[Span]:
    text = _CODE.sub(lambda code: "x" * len(code[0]), page[start:end])
    begin = 0
    for stop in [*_ends(text, 0, len(text)), len(text)]:
        begin += len(text[begin:stop]) - len(text[begin:stop].lstrip())
        if text[begin:stop].strip():
            yield Span(start + begin, start + stop, kind, block)
        begin = stop
