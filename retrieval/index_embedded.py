"""The index of a laptop: one SQLite file per team and form (WAL, FTS5) with exact NumPy vectors beside it. Several
processes read and write it at once and see each other's commits with their next search. What is stored of a document
changes in one transaction. From 50,000 passages on it says that it is time for Weaviate.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bot.errors import Broken, LibraryUnavailable
from bot.log import log
from bot.vocabulary import Hit, Passage, Source
from retrieval.index import POOL, Page, Query, check_team, check_vectors, fuse
from retrieval.questions import words

if TYPE_CHECKING:
    from retrieval.matrix import Matrix

Result = TypeVar("Result")

TIME_FOR_WEAVIATE = 50_000
BUSY_TIMEOUT_S = 30
CATALOGUE = "sources.sqlite3"
"""What each team has once, whatever its forms."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS passages (
    n INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: how a reader knows what is new
    id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, document_id TEXT NOT NULL, document_digest TEXT NOT NULL,
    audience TEXT, title TEXT NOT NULL, section TEXT NOT NULL, url TEXT, text TEXT NOT NULL,
    position INTEGER NOT NULL, updated_at TEXT, vector BLOB NOT NULL, is_whole INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS passages_of ON passages (source, document_id);
CREATE TABLE IF NOT EXISTS documents (
    source TEXT NOT NULL, id TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (source, id)) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    title, section, text, content='passages', content_rowid='n', tokenize='porter unicode61 remove_diacritics 2');
CREATE TRIGGER IF NOT EXISTS passage_in AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, title, section, text) VALUES (new.n, new.title, new.section, new.text);
END;
CREATE TRIGGER IF NOT EXISTS passage_out AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, title, section, text)
    VALUES ('delete', old.n, old.title, old.section, old.text);
END;
CREATE TABLE IF NOT EXISTS catalogue.sources (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
"""
_LATER = "ALTER TABLE passages ADD COLUMN is_whole INTEGER NOT NULL DEFAULT 0"
_FIELDS = ("id", "source", "document_id", "document_digest", "audience", "title", "section", "url", "text", "position",
           "updated_at", "is_whole")  # fmt: skip
_COLUMNS = ", ".join(_FIELDS)


class EmbeddedIndex:
    """SQLite and NumPy in a folder; the work happens in two threads of its own, one that reads and one that writes."""

    backend = "embedded"

    def __init__(self, folder: Path, form: str, dimensions: int, alpha: float) -> None:
        self._folder, self._form, self._dimensions, self._alpha = folder, form, dimensions, alpha
        self._reader = ThreadPoolExecutor(1, "library-reader")
        self._writer = ThreadPoolExecutor(1, "library-writer")
        self._connections: dict[tuple[str, bool], sqlite3.Connection] = {}
        self._matrices: dict[str, Matrix] = {}
        self._has_warned = False

    async def search(self, team_id: str, query: Query, k: int) -> list[Hit]:
        check_team(team_id)
        if not query.readable:
            return []
        return await self._read(team_id, lambda connection: self._search(team_id, connection, query, k), [])

    async def around(self, team_id: str, passage: Passage, reach: int, readable: frozenset[str]) -> list[Passage]:
        sql = (
            f"SELECT {_COLUMNS} FROM passages WHERE source = ? AND document_id = ? AND document_digest = ?"  # noqa: S608
            " AND position BETWEEN ? AND ? AND audience IN (SELECT value FROM json_each(?)) ORDER BY position"
        )
        document = (passage.source, passage.document_id, passage.document_digest)
        place = (passage.position - reach, passage.position + reach, json.dumps(sorted(readable)))
        return await self._read(
            team_id, lambda connection: [_passage(row) for row in connection.execute(sql, (*document, *place))], []
        )

    async def put(self, team_id: str, pages: Sequence[Page]) -> dict[str, str]:
        def write(connection: sqlite3.Connection) -> dict[str, str]:
            for page in pages:
                _delete(connection, page.source, [page.document_id])
                connection.executemany(_INSERT, _rows(page))
                connection.execute(
                    "INSERT INTO documents VALUES (?, ?, ?)", (page.source, page.document_id, page.digest)
                )
            return {}

        check_vectors(pages, self._dimensions)
        return await self._write(team_id, write)

    async def remove(self, team_id: str, source: str, document_ids: Sequence[str]) -> None:
        if document_ids:
            await self._write(team_id, lambda connection: _delete(connection, source, document_ids))

    async def digests(self, team_id: str, source: str, document_ids: Sequence[str] | None = None) -> dict[str, str]:
        sql = "SELECT id, digest FROM documents WHERE source = ?1"
        named = [source]
        if document_ids is not None:
            sql += " AND id IN (SELECT value FROM json_each(?2))"
            named.append(json.dumps(list(document_ids)))
        return await self._read(team_id, lambda connection: dict(connection.execute(sql, named)), {})

    async def count(self, team_id: str, source: str | None = None) -> tuple[int, int]:
        sql = (
            "SELECT (SELECT count(*) FROM documents WHERE ?1 IS NULL OR source = ?1),"
            " (SELECT count(*) FROM passages WHERE ?1 IS NULL OR source = ?1)"
        )
        documents, passages = await self._read(
            team_id, lambda connection: connection.execute(sql, (source,)).fetchone(), (0, 0)
        )
        if passages > TIME_FOR_WEAVIATE and not self._has_warned:
            self._has_warned = True
            log.warning("time_for_weaviate", passages=passages, advice="set WEAVIATE_URL: searches grow with the size")
        return documents, passages

    async def sources(self, team_id: str) -> list[Source]:
        return await self._read(team_id, _sources, [])

    async def save_source(self, team_id: str, source: Source) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (source.name, source.model_dump_json()))

        await self._write(team_id, write)

    async def forget_source(self, team_id: str, source: str) -> None:
        def write(connection: sqlite3.Connection) -> None:
            _delete_source(connection, source)
            connection.execute("DELETE FROM sources WHERE name = ?", (source,))

        folder = self._file(team_id).parent
        if not await asyncio.to_thread(folder.exists):
            return
        forms = {file.stem for file in await asyncio.to_thread(lambda: list(folder.glob("*.sqlite3")))}
        for form in sorted(forms - {Path(CATALOGUE).stem, self._form}):  # first: the source is forgotten last
            other = EmbeddedIndex(self._folder, form, self._dimensions, self._alpha)
            await other._write(team_id, lambda connection: _delete_source(connection, source))
            await other.close()
        await self._write(team_id, write)

    async def sample(self, team_id: str, most: int) -> list[Passage]:
        sql = f"SELECT {_COLUMNS} FROM passages ORDER BY random() LIMIT ?"  # noqa: S608
        rows: list[tuple[Any, ...]] = await self._read(
            team_id, lambda connection: connection.execute(sql, (most,)).fetchall(), []
        )
        return [Passage.model_validate(dict(zip(_FIELDS, row, strict=True))) for row in rows]

    async def is_ready(self) -> bool:
        return await asyncio.to_thread(self._can_write)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _can_write(self) -> bool:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return False
        return os.access(self._folder, os.W_OK)

    def _close(self) -> None:
        self._reader.shutdown()
        self._writer.shutdown()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _search(self, team_id: str, connection: sqlite3.Connection, query: Query, k: int) -> list[Hit]:
        from retrieval.matrix import Matrix

        matrix = self._matrices.setdefault(team_id, Matrix(self._dimensions))
        matrix.refresh(connection)
        readable = matrix.readable(query.readable, _numbers(connection, query.hidden))
        by_vector = matrix.best(matrix.cosines(query.vector), readable, POOL)
        alpha = self._alpha if query.alpha is None else query.alpha
        by_words = _by_words(connection, query.text, matrix.numbers(readable)) if alpha < 1 else {}
        best = fuse(by_vector, by_words, alpha)[:k]
        passages = _passages(connection, [n for n, _ in best], query.readable)
        return [
            Hit(passage=passages[n], score=score, certainty=query.certainty(matrix.vector(n)))
            for n, score in best
            if n in passages
        ]

    async def _read(
        self, team_id: str, work: Callable[[sqlite3.Connection], Result], when_there_is_none: Result
    ) -> Result:
        def run() -> Result:
            if (team_id, False) not in self._connections and not self._file(team_id).parent.exists():
                return when_there_is_none
            with self._transaction(team_id, is_writing=False) as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._reader, run)

    async def _write(self, team_id: str, work: Callable[[sqlite3.Connection], Result]) -> Result:
        def run() -> Result:
            with self._transaction(team_id, is_writing=True) as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    @contextmanager
    def _transaction(self, team_id: str, is_writing: bool) -> Iterator[sqlite3.Connection]:
        """One transaction; errors of SQLite and of the folder become ours, and what was begun is rolled back."""
        try:
            connection = self._connection(team_id, is_writing)
            connection.execute("BEGIN IMMEDIATE" if is_writing else "BEGIN")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        except (OSError, sqlite3.OperationalError) as error:
            raise LibraryUnavailable(f"The index in {self._folder} cannot be used now: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Broken(f"The index in {self._folder} is damaged: {error}. Move it away and ingest again.") from error

    def _connection(self, team_id: str, is_writing: bool) -> sqlite3.Connection:
        connection = self._connections.get((team_id, is_writing))
        if connection is None:
            file = self._file(team_id)
            file.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(file, BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            connection.execute("ATTACH ? AS catalogue", (str(file.with_name(CATALOGUE)),))
            for database in ("main", "catalogue"):
                connection.execute(f"PRAGMA {database}.journal_mode = WAL")
                connection.execute(f"PRAGMA {database}.synchronous = NORMAL")
            connection.executescript(_SCHEMA)
            if "is_whole" not in {row[1] for row in connection.execute("PRAGMA table_info(passages)")}:
                connection.execute(_LATER)  # an earlier release made the file
            self._connections[team_id, is_writing] = connection
        return connection

    def _file(self, team_id: str) -> Path:
        return self._folder / check_team(team_id) / f"{self._form}.sqlite3"


_INSERT = f"INSERT INTO passages ({_COLUMNS}, vector) VALUES ({', '.join('?' * (len(_FIELDS) + 1))})"  # noqa: S608


def _rows(page: Page) -> Iterator[tuple[Any, ...]]:
    for passage, vector in zip(page.passages, page.vectors, strict=True):
        record = passage.model_dump()
        record["updated_at"] = passage.updated_at and passage.updated_at.isoformat()
        yield (*(record[field] for field in _FIELDS), vector.tobytes())


def _delete(connection: sqlite3.Connection, source: str, document_ids: Sequence[str]) -> None:
    ids = json.dumps(list(document_ids))
    connection.execute(
        "DELETE FROM passages WHERE source = ? AND document_id IN (SELECT value FROM json_each(?))", (source, ids)
    )
    connection.execute(
        "DELETE FROM documents WHERE source = ? AND id IN (SELECT value FROM json_each(?))", (source, ids)
    )


def _delete_source(connection: sqlite3.Connection, source: str) -> None:
    connection.execute("DELETE FROM passages WHERE source = ?", (source,))
    connection.execute("DELETE FROM documents WHERE source = ?", (source,))


def _sources(connection: sqlite3.Connection) -> list[Source]:
    return [
        Source.model_validate_json(row[0]) for row in connection.execute("SELECT record FROM sources ORDER BY name")
    ]


def _numbers(connection: sqlite3.Connection, document_ids: frozenset[str]) -> list[int]:
    """Gives the numbers of the passages of documents."""
    if not document_ids:
        return []
    sql = "SELECT n FROM passages WHERE document_id IN (SELECT value FROM json_each(?))"
    return [row[0] for row in connection.execute(sql, (json.dumps(sorted(document_ids)),))]


def _by_words(connection: sqlite3.Connection, text: str, readable: frozenset[int]) -> dict[int, float]:
    """Gives the BM25 score of the best readable passages that hold any of a text's words. Who may read them is told by
    the matrix: joining `passages` would read the wide row of every match for its audience alone."""
    asked = " OR ".join(f'"{term}"' for term in words(text))
    if not asked:
        return {}
    found = connection.execute("SELECT rowid, -rank FROM words WHERE words MATCH ? ORDER BY rank", (asked,))
    return dict(islice((match for match in found if match[0] in readable), POOL))


def _passages(connection: sqlite3.Connection, numbers: list[int], readable: frozenset[str]) -> dict[int, Passage]:
    """Reads passages by number, those that may be read as they stand now."""
    rows = connection.execute(
        f"SELECT n, {_COLUMNS} FROM passages WHERE n IN (SELECT value FROM json_each(?))"  # noqa: S608
        " AND audience IN (SELECT value FROM json_each(?))",
        (json.dumps(numbers), json.dumps(sorted(readable))),
    )
    return {row[0]: _passage(row[1:]) for row in rows}


def _passage(row: Sequence[Any]) -> Passage:
    return Passage.model_validate(dict(zip(_FIELDS, row, strict=True)))
