"""What far sources call the versions of their documents (ETag, Last-Modified, a hash), so that a sync fetches only what
is new. A stamp counts only as long as the index holds the very document that was made of that version: this is a note
that may be lost or old without harm, and is therefore a file on this machine. Several processes may note at a time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path

BUSY_TIMEOUT_S = 10
_SCHEMA = """
CREATE TABLE IF NOT EXISTS terms (one INTEGER PRIMARY KEY CHECK (one = 1), terms TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stamps (id TEXT PRIMARY KEY, stamp TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
"""
_NAMED = "WHERE id IN (SELECT value FROM json_each(?))"


class Stamps:
    """The stamps of one source; those in the file were noted in the same terms, or are forgotten."""

    def __init__(self, file: Path | None = None, terms: str = "") -> None:
        self._file, self._terms = file, terms
        self._there: dict[str, str] = {}
        self._noted: dict[str, tuple[str, str]] = {}

    def load(self, known: Mapping[str, str]) -> None:
        """Reads what was noted of the documents that the index holds, given their digests."""

        def read(notes: sqlite3.Connection) -> None:
            told = notes.execute("SELECT terms FROM terms").fetchone()
            ids = json.dumps(list(known) if told == (self._terms,) else [])
            rows = notes.execute(f"SELECT id, stamp, digest FROM stamps {_NAMED}", (ids,))  # noqa: S608 - our own words
            self._there = {name: stamp for name, stamp, digest in rows if digest == known[name]}

        if self._file and self._file.exists():
            self._carefully(self._file, read)

    def of(self, document_id: str) -> str:
        """Gives the stamp of the version that the index holds; empty where none is known."""
        return self._there.get(document_id, "")

    def note(self, document_id: str, stamp: str, digest: str) -> None:
        """Notes that a version makes the document of a digest."""
        if stamp or document_id in self._there:
            self._noted[document_id] = (stamp, digest)

    def save(self, removed: Collection[str] = ()) -> None:
        """Writes the notes, and forgets the documents that are no more, in one step."""
        stamped = [(name, stamp, digest) for name, (stamp, digest) in self._noted.items() if stamp]
        forgotten = [*removed, *(name for name, (stamp, _) in self._noted.items() if not stamp)]

        def write(notes: sqlite3.Connection) -> None:
            if notes.execute("SELECT terms FROM terms").fetchone() != (self._terms,):
                notes.execute("DELETE FROM stamps")
            notes.execute("INSERT OR REPLACE INTO terms VALUES (1, ?)", (self._terms,))
            notes.executemany("INSERT OR REPLACE INTO stamps VALUES (?, ?, ?)", stamped)
            notes.execute(f"DELETE FROM stamps {_NAMED}", (json.dumps(forgotten),))  # noqa: S608 - our own words

        if self._file and (stamped or (forgotten and self._file.exists())):
            self._carefully(self._file, write)

    @staticmethod
    def _carefully(file: Path, work: Callable[[sqlite3.Connection], None]) -> None:
        """One transaction; what goes wrong with it costs the next sync some time, and this one nothing."""
        with suppress(OSError, sqlite3.Error):
            file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(file, BUSY_TIMEOUT_S, isolation_level=None)) as notes:
                notes.executescript(_SCHEMA)
                notes.execute("BEGIN IMMEDIATE")
                work(notes)
                notes.execute("COMMIT")


def stamps_file(folder: Path | None, team_id: str, source: str) -> Path | None:
    """Gives the file of a source's stamps."""
    return folder and folder / team_id / f"{sha256(source.encode()).hexdigest()[:20]}.sqlite3"
