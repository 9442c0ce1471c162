"""Where passages are kept and found. The port has two implementations, Weaviate and the embedded one, which rank by the
same rule and keep the same promises: a search sees only what the place that asks may read, a document is either wholly
in or retried, and what was embedded by one model and chunker (a *form*) is never searched with another's vectors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from bot.errors import Broken
from bot.vocabulary import Hit, Passage, Source

if TYPE_CHECKING:
    from retrieval.embedding import Vectors

POOL = 100
"""Hits of each leg that go into the fusion, as in Weaviate."""
_TEAM = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Query:
    """A question as an index takes it."""

    text: str
    vector: Vectors
    """Where to look: float32, (dimensions,), of length 1."""
    readable: frozenset[str]
    identifiers: tuple[str, ...] = ()
    """Its error codes and names of settings, as written."""
    own_vector: Vectors | None = None
    """What a hit's certainty is measured from, where `vector` leans towards the thread; else `vector`."""
    hidden: frozenset[str] = frozenset()
    """Ids of documents to search as if they were not there, which makes of a question one that is not answered."""
    alpha: float | None = None
    """1 ranks by the vector alone, 0 by words alone; None as the index is set."""
    stretch: float = 1.0
    """By how much 1 - cosine is too small with the model of the vectors; see `Embedder.stretch`."""

    def certainty(self, vector: Vectors) -> float:
        """Gives the certainty of a passage by its vector."""
        cosine = float(vector @ (self.vector if self.own_vector is None else self.own_vector))
        return certainty(1 - (1 - cosine) * self.stretch)


@dataclass(frozen=True)
class Page:
    """A document cut and embedded, ready to be stored."""

    source: str
    document_id: str
    digest: str
    passages: Sequence[Passage]
    vectors: Vectors
    """One row per passage, each of length 1."""


class Index(Protocol):
    """What keeps passages. Each method is about one team and never touches another's.

    All raise LibraryUnavailable when the store is down or slow, Broken when it will not work again by itself.
    """

    backend: str

    async def search(self, team_id: str, query: Query, k: int) -> list[Hit]:
        """Finds the `k` best passages that `query.readable` may read, best first."""
        ...

    async def around(self, team_id: str, passage: Passage, reach: int, readable: frozenset[str]) -> list[Passage]:
        """Gives a document from `reach` passages before one of it to as many after it, in order, that one included, as
        far as `readable` may read them; nothing when the document has changed since."""
        ...

    async def put(self, team_id: str, pages: Sequence[Page]) -> dict[str, str]:
        """Stores documents in place of what they held before. Gives the reason by id for each that was refused."""
        ...

    async def remove(self, team_id: str, source: str, document_ids: Sequence[str]) -> None:
        """Takes documents out of a source."""
        ...

    async def digests(self, team_id: str, source: str, document_ids: Sequence[str] | None = None) -> dict[str, str]:
        """Gives the digest of every document of a source by its id; or of those named, as far as they are there."""
        ...

    async def count(self, team_id: str, source: str | None = None) -> tuple[int, int]:
        """Counts documents and passages, of one source or of all."""
        ...

    async def sources(self, team_id: str) -> list[Source]:
        """Lists the sources that were ever synced, by name."""
        ...

    async def save_source(self, team_id: str, source: Source) -> None:
        """Remembers a source."""
        ...

    async def forget_source(self, team_id: str, source: str) -> None:
        """Takes all documents of a source out, in every form that there is, and forgets the source."""
        ...

    async def sample(self, team_id: str, most: int) -> list[Passage]:
        """Gives some passages of a team, whoever may read them; all of them where there are no more than `most`."""
        ...

    async def is_ready(self) -> bool:
        """Whether the store answers."""
        ...

    async def close(self) -> None: ...


def form_of(embedder_id: str, chunker: str) -> str:
    """Names a model and chunker by 12 hexadecimal digits."""
    return sha256(f"{embedder_id}\n{chunker}".encode()).hexdigest()[:12]


def check_team(team_id: str) -> str:
    """Gives a team's id back; raises Broken when it cannot name a file or a tenant."""
    if not _TEAM.fullmatch(team_id):
        raise Broken(f"{team_id!r} is no team id.")
    return team_id


def check_vectors(pages: Iterable[Page], dimensions: int) -> None:
    """Raises Broken unless each passage has a finite vector of the right length, before any of them is stored: a wrong
    one that comes first would set the length for all."""
    import numpy as np

    for page in pages:
        if page.vectors.shape != (len(page.passages), dimensions) or not np.isfinite(page.vectors).all():
            raise Broken(f"The vectors of {page.document_id} are not of {dimensions} dimensions, one per passage.")


def fuse(by_vector: Mapping[int, float], by_words: Mapping[int, float], alpha: float) -> list[tuple[int, float]]:
    """Ranks what two legs found by the weighted sum of their scores, each leg scaled to 0…1; best first.

    This is Weaviate's relative-score fusion: a leg whose scores are all equal gives its whole weight.
    """
    fused: dict[int, float] = {}
    for leg, weight in ((by_vector, alpha), (by_words, 1 - alpha)):
        if not leg or not weight:
            continue
        low, high = min(leg.values()), max(leg.values())
        for number, score in leg.items():
            scaled = (score - low) / (high - low) if high > low else 1.0
            fused[number] = fused.get(number, 0.0) + weight * scaled
    return sorted(fused.items(), key=lambda pair: (-pair[1], pair[0]))


def certainty(cosine: float) -> float:
    """Gives `(1 + cosine) / 2`, kept within 0 and 1."""
    return min(1.0, max(0.0, (1.0 + cosine) / 2))
