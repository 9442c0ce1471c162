"""The files that clients upload: kept whole under a name of ours, never under one of theirs."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import BinaryIO

from aiohttp import BodyPartReader, MultipartReader
from pydantic import BaseModel

from bot.local.tuner.disk import keep_record, new_id, records, settle
from bot.local.tuner.errors import JSON, WireError, invalid, missing

LARGEST_FILE = 512 * 1024 * 1024
"""Bytes, as at OpenAI."""
_CHUNK = 1024 * 1024
_LONGEST_FIELD = 1024
_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")


class File(BaseModel, frozen=True):
    """An uploaded file; times are in Unix seconds."""

    id: str
    filename: str
    bytes: int
    created_at: int
    expires_at: int | None = None

    def shown(self) -> JSON:
        """As OpenAI shows a file. It was checked by nobody yet: that is for the job that trains on it."""
        return {
            "object": "file",
            "id": self.id,
            "purpose": "fine-tune",
            "filename": self.filename,
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "status": "processed",
            "status_details": None,
        }


class Files:
    """All files of one folder: `ID.data` is the content, and `ID.json`, written after it, makes it a file."""

    def __init__(self, folder: Path, *, largest: int = LARGEST_FILE) -> None:
        self._folder = folder
        self._largest = largest
        self._files: dict[str, File] = {}

    def start(self) -> None:
        """Reads what is there, and clears away what a killed upload or deletion left. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files = {path.stem: file for path, file in records(self._folder.glob("*.json"), File)}
        for path in self._folder.iterdir():
            if path.suffix != ".json" and not (path.suffix == ".data" and path.with_suffix(".json").exists()):
                path.unlink()

    def get(self, id: str) -> File:
        """Raises WireError where there is no such file, or no more."""
        file = self._files.get(id)
        if file is None:
            raise missing("file", id, param="id")
        if file.expires_at is not None and file.expires_at <= time.time():
            self.delete(id)
            raise missing("file", id, param="id")
        return file

    def all(self) -> list[File]:
        """Oldest first."""
        for file in list(self._files.values()):
            if file.expires_at is not None and file.expires_at <= time.time():
                self.delete(file.id)
        return list(self._files.values())

    def content(self, id: str) -> Path:
        """Where the content of a file lies. Raises WireError."""
        return self._folder / f"{self.get(id).id}.data"

    def delete(self, id: str) -> None:
        """Forgets a file for good. Raises WireError where there is none, OSError."""
        if id not in self._files:
            raise missing("file", id, param="id")
        (self._folder / f"{id}.json").unlink(missing_ok=True)
        del self._files[id]
        (self._folder / f"{id}.data").unlink(missing_ok=True)
        settle(self._folder)

    async def receive(self, form: MultipartReader) -> File:
        """Keeps an upload. Raises WireError, OSError; then nothing of it is kept."""
        id = new_id("file")
        draft = self._folder / f"{id}.part"
        fields: dict[str, str] = {}
        filename: str | None = None
        size = 0
        try:
            while (part := await form.next()) is not None:
                if not isinstance(part, BodyPartReader):
                    raise invalid(None, "A part of the form is itself a form.")
                if part.name == "file":
                    filename = (part.filename or "upload")[:255]
                    with draft.open("wb") as target:
                        size = await self._copy(part, target)
                elif part.name in _FIELDS:
                    fields[part.name] = await _text(part)
                else:
                    raise invalid(part.name, f"The argument '{part.name}' is unknown.")
            if filename is None:
                raise invalid("file", "A 'file' is required.")
            if size == 0:
                raise invalid("file", "The file is empty.")
            _check_purpose(fields.get("purpose"))
            now = int(time.time())
            expires_at = _expiry(fields, now)
            file = File(id=id, filename=filename, bytes=size, created_at=now, expires_at=expires_at)
            draft.replace(self._folder / f"{id}.data")
            keep_record(self._folder / f"{id}.json", file)
        except BaseException:
            draft.unlink(missing_ok=True)
            (self._folder / f"{id}.data").unlink(missing_ok=True)
            raise
        self._files[id] = file
        return file

    async def _copy(self, part: BodyPartReader, target: BinaryIO) -> int:
        size = 0
        while not part.at_eof():
            chunk = await part.read_chunk(_CHUNK)
            size += len(chunk)
            if size > self._largest:
                raise WireError(413, f"The file is larger than {self._largest} bytes.", param="file")
            await asyncio.to_thread(target.write, chunk)
        await asyncio.to_thread(_flush, target)
        return size


def _flush(target: BinaryIO) -> None:
    target.flush()
    os.fsync(target.fileno())


async def _text(part: BodyPartReader) -> str:
    value = b""
    while not part.at_eof():
        value += await part.read_chunk(_LONGEST_FIELD)
        if len(value) > _LONGEST_FIELD:
            raise invalid(part.name, f"'{part.name}' is too long.")
    return value.decode(errors="replace")


def _check_purpose(purpose: str | None) -> None:
    if purpose is None:
        raise invalid("purpose", "A 'purpose' is required.")
    if purpose != "fine-tune":
        raise invalid("purpose", f"'{purpose}' is not a purpose that this tuner has; 'fine-tune' is the only one.")


def _expiry(fields: dict[str, str], now: int) -> int | None:
    """When the file goes by itself; OpenAI's limits are an hour and thirty days."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise invalid("expires_after[anchor]", "'anchor' must be 'created_at'.")
    if not (seconds or "").isascii() or not (seconds or "").isdigit() or not 3600 <= int(seconds or "") <= 2_592_000:
        raise invalid("expires_after[seconds]", "'seconds' must be a whole number from 3600 to 2592000.")
    return now + int(seconds or "")
