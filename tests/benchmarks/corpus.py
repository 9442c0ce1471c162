"""What the benchmarks read and ask: the sample company's pages, and more of the kind, made of its sentences in another
order. Vectors beyond those of real texts are mixtures of real ones, so that near and far are as they are in life."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from bot.vocabulary import Document, Passage
from retrieval.chunking import Chunker
from retrieval.embedding import Embedder
from retrieval.index import Page
from retrieval.intake import digest_of
from retrieval.reading import Reader
from retrieval.sources import Folder

if TYPE_CHECKING:
    from retrieval.embedding import Vectors

COMPANY = Path(__file__).parents[2] / "bot" / "local" / "company" / "pages"
PASSAGES_OF_A_PAGE = 8
SENTENCE = re.compile(r"(?<![^\s])[A-Z][^.!?\n`|*#\[\]]{40,200}\.(?=\s|$)")
"""A plain sentence of prose."""


def cut(folder: Path, embedder: Embedder, team_id: str) -> list[Passage]:
    """Gives the passages that an ingest of a folder stores."""
    reader, chunker = Reader(Folder(folder), folder.name, "workspace"), Chunker(embedder)
    documents = [entry.found for entry in reader.entries(reader.items())]
    return [
        passage
        for document in documents
        if isinstance(document, Document)
        for passage in chunker.cut(document, team_id, digest_of(document))
    ]


@dataclass
class Author:
    """Writes pages and questions from real sentences; the same ones for the same seed."""

    sentences: Sequence[str]
    random: random.Random
    homes: dict[str, int]
    """Of each sentence the number of a passage that it stands in."""

    def paragraph(self) -> str:
        """About as long as the company's own passages are, and never so long that it is cut."""
        return " ".join(self.choice())

    def choice(self) -> list[str]:
        """Some sentences in any order."""
        return self.random.sample(self.sentences, self.random.randint(3, 4))

    def heading(self) -> str:
        return " ".join(self.random.choice(self.sentences).rstrip(".").split()[:5])

    def write_folder(self, folder: Path, passages: int) -> None:
        """Writes Markdown pages that are cut into exactly so many passages."""
        folder.mkdir()
        for first in range(0, passages, PASSAGES_OF_A_PAGE):
            count = min(PASSAGES_OF_A_PAGE, passages - first)
            sections = "".join(f"\n## {self.heading()} {number}\n\n{self.paragraph()}\n" for number in range(count))
            (folder / f"page-{first}.md").write_text(f"# {self.heading()} {first}\n{sections}", encoding="utf-8")

    def questions(self, count: int) -> list[str]:
        """Asks about different sentences, in some of their words."""
        asked = []
        for number, sentence in enumerate(self.random.sample(self.sentences, min(count, len(self.sentences)))):
            words = sentence.rstrip(".").split()
            start = self.random.randint(0, max(0, len(words) - 10))
            asked.append(f"{_OPENINGS[number % len(_OPENINGS)]} {' '.join(words[start : start + 10])}?")
        return asked

    def pages(self, count: int, vectors: Vectors) -> Iterator[Page]:
        """Gives documents with `count` passages in all. The vector of each is a mixture of those of the passages that
        its sentences are from: a row of `vectors` for each passage that the author knows."""
        drawn = np.random.default_rng(self.random.randrange(2**32))
        for first in range(0, count, PASSAGES_OF_A_PAGE):
            size = min(PASSAGES_OF_A_PAGE, count - first)
            paragraphs = [self.choice() for _ in range(size)]
            homes = [[self.homes[sentence] for sentence in paragraph] for paragraph in paragraphs]
            mixed = np.stack([drawn.dirichlet([2.0] * len(home)) @ vectors[home] for home in homes])
            mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
            document_id, title = f"made/page-{first}", self.heading()
            passages = [
                Passage(
                    id=str(UUID(int=self.random.getrandbits(128), version=4)),
                    document_id=document_id,
                    source="made",
                    title=title,
                    section=self.heading(),
                    url=f"https://docs.heronpost.example/{document_id}",
                    text=" ".join(paragraph),
                    audience="workspace",
                    position=position,
                    document_digest=document_id,
                )
                for position, paragraph in enumerate(paragraphs)
            ]
            yield Page("made", document_id, document_id, passages, mixed.astype(np.float32))


def pages_of(passages: Sequence[Passage], vectors: Vectors) -> Iterator[Page]:
    """Gives real passages, with a row of real vectors each, as the documents that they are of."""
    start = 0
    for document_id, group in groupby(passages, key=lambda passage: passage.document_id):
        mine = list(group)
        end = start + len(mine)
        yield Page(mine[0].source, document_id, mine[0].document_digest, mine, vectors[start:end])
        start = end


def author_of(passages: Sequence[Passage]) -> Author:
    """Gives an author who knows the sentences of these passages."""
    homes = {sentence: number for number, one in enumerate(passages) for sentence in SENTENCE.findall(one.text)}
    return Author(list(homes), random.Random(20_261_122), homes)


_OPENINGS = ("What does it mean that", "Is it true that", "Where do I read more on", "How is it that", "Who says that")
