"""The vectors of one team in memory, as one matrix that follows the SQLite file: what other processes committed is in
it with the next search, and only what is new is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from retrieval.embedding import Vectors


class Matrix:
    """Rows in the order of their numbers, each with the audience it is for."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._version = -1
        self._last = 0
        self._labels: dict[str | None, int] = {}
        self._numbers = np.empty(0, dtype=np.int64)
        self._audiences = np.empty(0, dtype=np.int32)
        self._vectors = np.empty((0, dimensions), dtype=np.float32)

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Brings the matrix to what the transaction sees; cheap when nothing was committed since."""
        (version,) = connection.execute("PRAGMA main.data_version").fetchone()
        if version == self._version:
            return
        there = np.fromiter((row[0] for row in connection.execute("SELECT n FROM passages ORDER BY n")), np.int64)
        kept = np.isin(self._numbers, there, assume_unique=True)
        new = connection.execute(
            "SELECT n, audience, vector FROM passages WHERE n > ? ORDER BY n", (self._last,)
        ).fetchall()
        codes = [self._labels.setdefault(audience, len(self._labels)) for _, audience, _ in new]
        vectors = np.frombuffer(b"".join(row[2] for row in new), dtype=np.float32).reshape(-1, self._dimensions)
        self._numbers = np.concatenate([self._numbers[kept], np.array([row[0] for row in new], dtype=np.int64)])
        self._audiences = np.concatenate([self._audiences[kept], np.array(codes, dtype=np.int32)])
        self._vectors = np.concatenate([self._vectors[kept], vectors])
        self._last = max([self._last, *(row[0] for row in new[-1:])])
        self._version = version

    def cosines(self, vector: Vectors) -> Vectors:
        """Gives the cosine of every row, readable or not; `best` chooses."""
        cosines: Vectors = self._vectors @ vector
        return cosines

    def readable(self, audiences: frozenset[str], hidden: Sequence[int] = ()) -> NDArray[np.intp]:
        """Gives the rows that these audiences may read, without hidden numbers. A row without an audience is not
        readable."""
        codes = [code for label, code in self._labels.items() if label in audiences]
        rows = np.flatnonzero(np.isin(self._audiences, codes))
        return rows[~np.isin(self._numbers[rows], hidden)] if hidden else rows

    def numbers(self, rows: NDArray[np.intp]) -> frozenset[int]:
        """Gives the numbers of rows."""
        return frozenset(self._numbers[rows].tolist())

    def best(self, cosines: Vectors, rows: NDArray[np.intp], most: int) -> dict[int, float]:
        """Gives the cosines of the best of these rows by their numbers."""
        if len(rows) > most:
            rows = rows[np.argpartition(-cosines[rows], most - 1)[:most]]
        return {int(self._numbers[row]): float(cosines[row]) for row in rows}

    def vector(self, number: int) -> Vectors:
        """Gives the vector of a number that is there."""
        vector: Vectors = self._vectors[np.searchsorted(self._numbers, number)]
        return vector
