"""The forms of the embedded index: which there are and which is live, in one small SQLite file beside the teams'."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from bot.errors import Broken, LibraryUnavailable
from retrieval.forms import Form
from retrieval.index import Index
from retrieval.index_embedded import BUSY_TIMEOUT_S, CATALOGUE, EmbeddedIndex

Result = TypeVar("Result")

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS forms (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS live (one INTEGER PRIMARY KEY CHECK (one = 1), form TEXT NOT NULL)",
)


class EmbeddedForms:
    """The forms in a folder."""

    def __init__(self, folder: Path, alpha: float) -> None:
        self._folder, self._alpha = folder, alpha
        self._file = folder / "forms.sqlite3"

    async def live(self) -> str | None:
        return await asyncio.to_thread(self._read, _live, None)

    async def all(self) -> list[Form]:
        return await asyncio.to_thread(self._read, _all, [])

    async def record(self, form: Form) -> None:
        def write(connection: sqlite3.Connection) -> None:
            there = next((one for one in _all(connection) if one.id == form.id), None)
            if there is None or not there.model:
                told = form.model_copy(update={"left_at": there and there.left_at})
                connection.execute("INSERT OR REPLACE INTO forms VALUES (?, ?)", (form.id, told.model_dump_json()))
            connection.execute("INSERT OR IGNORE INTO live VALUES (1, ?)", (form.id,))

        await asyncio.to_thread(self._write, write)

    async def switch(self, form_id: str) -> None:
        def write(connection: sqlite3.Connection) -> None:
            there = {form.id: form for form in _all(connection)}
            if form_id not in there:
                raise Broken(f"There is no form {form_id} to switch to.")
            left = there.get(_live(connection) or "")
            if left and left.id != form_id:
                left = left.model_copy(update={"left_at": datetime.now(UTC)})
                connection.execute("UPDATE forms SET record = ? WHERE id = ?", (left.model_dump_json(), left.id))
            connection.execute("INSERT OR REPLACE INTO live VALUES (1, ?)", (form_id,))

        await asyncio.to_thread(self._write, write)

    async def drop(self, form_id: str) -> None:
        def write(connection: sqlite3.Connection) -> None:
            if _live(connection) == form_id:
                raise Broken(f"The form {form_id} is live: it cannot be dropped.")
            connection.execute("DELETE FROM forms WHERE id = ?", (form_id,))

        def delete() -> None:
            self._write(write)
            for file in self._folder.glob(f"*/{form_id}.sqlite3*"):
                file.unlink(missing_ok=True)

        await asyncio.to_thread(delete)

    async def teams(self) -> list[str]:
        return await asyncio.to_thread(lambda: sorted(file.parent.name for file in self._folder.glob(f"*/{CATALOGUE}")))

    async def is_searchable(self, form_id: str) -> bool:
        return True

    def index(self, form: Form) -> Index:
        return EmbeddedIndex(self._folder, form.id, form.dimensions, self._alpha)

    async def close(self) -> None:
        """Nothing is held open."""

    def _read(self, work: Callable[[sqlite3.Connection], Result], when_there_is_none: Result) -> Result:
        if not self._file.exists():
            with self._translated():
                if _made_earlier(self._folder) is None:
                    return when_there_is_none
            self._write(lambda connection: None)  # notes them
        with self._opened() as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()
            return work(connection) if tables else when_there_is_none

    def _write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Does some work in one transaction."""
        with self._opened() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            if not _all(connection) and (earlier := _made_earlier(self._folder)):
                live, ids = earlier
                forms = [(id, Form(id=id).model_dump_json()) for id in sorted({live, *ids})]
                connection.executemany("INSERT INTO forms VALUES (?, ?)", forms)
                connection.execute("INSERT INTO live VALUES (1, ?)", (live,))
            return work(connection)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            self._folder.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, BUSY_TIMEOUT_S, isolation_level=None)) as connection:
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turns errors of SQLite and of the folder into ours."""
        try:
            yield
        except (OSError, sqlite3.OperationalError) as error:
            raise LibraryUnavailable(f"The index in {self._folder} cannot be used now: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Broken(f"{self._file} is damaged: {error}. Move it away.") from error


def _made_earlier(folder: Path) -> tuple[str, set[str]] | None:
    """Gives the live form, and all forms, of a library that an earlier release made: it noted in each team's catalogue
    which one is live, and by what they are made nowhere."""
    for catalogue in sorted(folder.glob(f"*/{CATALOGUE}")):
        with closing(sqlite3.connect(catalogue, BUSY_TIMEOUT_S)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'live'").fetchone():
                continue
            if live := _live(connection):
                files = folder.glob("*/*.sqlite3")
                return live, {file.stem for file in files if file.name != CATALOGUE}
    return None


def _live(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT form FROM live").fetchone()
    return row and str(row[0])


def _all(connection: sqlite3.Connection) -> list[Form]:
    return [Form.model_validate_json(row[0]) for row in connection.execute("SELECT record FROM forms ORDER BY id")]
