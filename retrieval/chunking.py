"""Pages to passages. A page is cut at its headings, and a section that is longer than the embedding model reads is cut
further at the largest Markdown units that fit, so that tables, code and lists stay whole where they can. A passage
carries the headings above it, keeps the page's own words, and has an id that edits elsewhere on the page leave alone.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid5

from semantic_text_splitter import MarkdownSplitter

from bot.vocabulary import Document, Passage
from retrieval.embedding import Embedder

CHUNKER = "sections-1"
"""Names the way of cutting: part of a collection's hash, so change it with anything here that moves a boundary."""
PASSAGE_TOKENS = 200
SECTION_JOINT = " › "
_NAMESPACE = UUID("6f1c2c0e-6b0a-5e0f-9a53-1d8f6f1f7c11")
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(?P<marks>#{1,6})[ \t]+(?P<text>.*?)[ \t]*#*[ \t]*$")


@dataclass(frozen=True)
class Section:
    """A stretch of a page between two headings, with the headings above it, outermost first."""

    headings: tuple[str, ...]
    text: str


class Chunker:
    """Cuts documents into passages that the embedder reads whole."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def cut(self, document: Document, team_id: str, digest: str) -> list[Passage]:
        """Gives the passages of a document in its order; at least one for a document that holds any text."""
        passages: list[Passage] = []
        seen: Counter[str] = Counter()
        for section in sections(document.text) or [Section((), document.text)]:
            headings = section.headings[1:] if section.headings[:1] == (document.title,) else section.headings
            path = SECTION_JOINT.join(headings)
            for text in self._pieces(section.text.strip(), f"{document.title} {path}"):
                content = sha256(f"{path}\n{text}".encode()).hexdigest()
                seen[content] += 1
                key = "\n".join((team_id, document.source, document.id, content, str(seen[content])))
                passages.append(
                    Passage(
                        id=str(uuid5(_NAMESPACE, key)),
                        document_id=document.id,
                        source=document.source,
                        title=document.title,
                        section=path,
                        url=document.url,
                        text=text,
                        audience=document.audience,
                        updated_at=document.updated_at,
                        position=len(passages),
                        document_digest=digest,
                    )
                )
        return passages

    def _pieces(self, text: str, above: str) -> list[str]:
        in_text, in_above = self._embedder.count_tokens([text, above])
        room = max(PASSAGE_TOKENS // 2, min(PASSAGE_TOKENS, self._embedder.max_tokens - 4 - in_above))
        return [text] if in_text <= room else self._splitter(room).chunks(text)

    def _splitter(self, room: int) -> MarkdownSplitter:
        return MarkdownSplitter.from_callback(lambda text: self._embedder.count_tokens([text])[0], room)


def embedded_text(passage: Passage) -> str:
    """Gives what stands for a passage in the vector space: its title, its headings and its text."""
    return "\n".join(filter(None, (passage.title, passage.section, passage.text)))


def sections(markdown: str) -> list[Section]:
    """Cuts a page at its headings, those in code aside. A heading's own line goes to `headings`, not into the text."""
    found: list[Section] = []
    above: list[tuple[int, str]] = []
    lines: list[str] = []
    fence = ""

    def close() -> None:
        text = "\n".join(lines).strip("\n")
        if text.strip():
            found.append(Section(tuple(heading for _, heading in above), text))
        lines.clear()

    for line in markdown.splitlines():
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark["fence"]
        elif mark and mark["fence"].startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        heading = None if fence else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        close()
        level = len(heading["marks"])
        above = [*(pair for pair in above if pair[0] < level), (level, heading["text"])]
    close()
    return found
