"""Pages to passages. A page is cut at its headings, and a section that is longer than the embedding model reads is cut
further at the largest Markdown units that fit, so that tables, code and lists stay whole where they can. A passage
carries the headings above it, keeps the page's own words, and has an id that edits elsewhere on the page leave alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid5

from semantic_text_splitter import MarkdownSplitter

from bot.vocabulary import Document, Passage
from retrieval.embedding import Embedder
from retrieval.markdown import lines

CHUNKER = "sections-1"
"""Names the way of cutting: part of a collection's hash, so change it with anything here that moves a boundary."""
PASSAGE_TOKENS = 200
MOST_CHARACTERS_PER_TOKEN = 20
SECTION_JOINT = " › "
_NAMESPACE = UUID("6f1c2c0e-6b0a-5e0f-9a53-1d8f6f1f7c11")


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
            pieces = self._pieces(section.text.strip(), f"{document.title} {path}")
            for text in pieces:
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
                        is_whole=len(pieces) == 1,
                    )
                )
        return passages

    def _pieces(self, text: str, above: str) -> list[str]:
        room = min(PASSAGE_TOKENS, self._embedder.max_tokens - 4 - self._size(above))
        room = max(PASSAGE_TOKENS // 2, room)
        return [text] if self._size(text) <= room else MarkdownSplitter.from_callback(self._size, room).chunks(text)

    def _size(self, text: str) -> int:
        """Counts tokens; a stretch without words, of which a tokenizer makes one token, by its length."""
        (tokens,) = self._embedder.count_tokens([text])
        return max(tokens, len(text) // MOST_CHARACTERS_PER_TOKEN)


def embedded_text(passage: Passage) -> str:
    """Gives what stands for a passage in the vector space: its title, its headings and its text."""
    return "\n".join(filter(None, (passage.title, passage.section, passage.text)))


def sections(markdown: str) -> list[Section]:
    """Cuts a page at its headings. A heading's own line goes to `headings`, not into the text."""
    found: list[Section] = []
    above: list[tuple[int, str]] = []
    held: list[str] = []

    def close() -> None:
        text = "\n".join(held).strip("\n")
        if text.strip():
            found.append(Section(tuple(heading for _, heading in above), text))
        held.clear()

    for line in lines(markdown):
        if not line.level:
            held.append(line.text)
            continue
        close()
        above = [*(pair for pair in above if pair[0] < line.level), (line.level, line.text)]
    close()
    return found
