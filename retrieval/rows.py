"""The passages that were lately read from a store, with their vectors. Where people ask for the same pages again and
again, a search then asks it for nothing but ids: to read eight passages and their vectors takes as long as to find
them. What is kept is what one write made, so that it holds for as long as the store names the row by the same id and
the same time of writing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from bot.vocabulary import Passage

if TYPE_CHECKING:
    from retrieval.embedding import Vectors

ROWS_REMEMBERED = 2_000
"""About 10 MB with vectors of 384 dimensions."""
_WORTH = 1 / 3
"""Share of searches that must find nothing new for ids alone to be asked for: what is new then takes a second call."""
_PACE = 0.1
"""Weight of the latest search in that share."""

Version = tuple[str, UUID, datetime]
"""A team, a row's id, and when it was written."""


@dataclass(frozen=True)
class Row:
    """A passage as it is stored."""

    passage: Passage
    vector: Vectors
    """float32, (dimensions,), of length 1."""


class Rows:
    """The rows that were read last; for one event loop."""

    def __init__(self, most: int = ROWS_REMEMBERED) -> None:
        self._most = most
        self._rows: OrderedDict[Version, Row] = OrderedDict()
        self._share = 0.0

    @property
    def are_worth_it(self) -> bool:
        """Whether so many searches find nothing new of late that it pays to ask for ids first."""
        return self._share > _WORTH

    def learn(self, versions: Sequence[Version]) -> None:
        """Takes note of whether a search found nothing new."""
        if versions:
            self._share += _PACE * (all(version in self._rows for version in versions) - self._share)

    def get(self, version: Version) -> Row | None:
        """Gives a row, if it is remembered."""
        row = self._rows.get(version)
        if row:
            self._rows.move_to_end(version)
        return row

    def keep(self, version: Version, row: Row) -> None:
        """Remembers a row, and forgets the one that nobody read for longest where they become too many."""
        self._rows[version] = row
        if len(self._rows) > self._most:
            self._rows.popitem(last=False)
