"""The passages that were lately read from a store, with their vectors. A search then asks it for nothing but ids: to
read eight passages and their vectors takes as long as to find them. What is kept is what one write made, so that it
holds for as long as the store names the row by the same id and the same time of writing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from bot.vocabulary import Passage

if TYPE_CHECKING:
    from retrieval.embedding import Vectors

ROWS_REMEMBERED = 2_000
"""About 10 MB with vectors of 384 dimensions."""

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
