"""Where documents come from. A source is a folder or file on this machine, an address of any file system that fsspec
knows, or a web site; this file has what they share, and the first of them. A source only lists and hands out bytes:
what they mean is for `reading.py`.
"""

from __future__ import annotations

import mimetypes
import os
import re
import socket
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from bot.errors import TellUser
from retrieval.decoding import FORMATS, MARKDOWN, TEXT, Unfit

MOST_BYTES = 20_000_000
"""Of one file; nobody wrote a longer one by hand."""
_DECORATION = ("image/", "font/", "audio/", "video/", "text/css", "text/javascript", "application/javascript")


@dataclass(frozen=True, slots=True)
class Unread:
    """Why there is no document where one was looked for."""

    reason: str
    keeps: str | None = None
    """What is out of reach now (no right to read, a broken disk) but may still be there, and is therefore not taken for
    deleted: documents of this id or below it, all of them where it is empty. None when it was seen and is no document.
    """
    ends_reading: bool = False
    """Whether the source is left alone from here on."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of a source to read."""

    place: str
    """How a report names it."""
    id: str
    path: str
    """How its source finds it."""
    kind: str
    """The suffix of its name, in small letters; a web page's is known when it is there."""
    size: int = 0
    """Bytes, where the listing said it."""
    updated_at: datetime | None = None
    """As the listing said it."""
    stamp: str = ""
    """What the listing called this version of it."""


@dataclass(frozen=True, slots=True)
class Content:
    """What stands at an item now."""

    raw: bytes
    kind: str
    charset: str | None = None
    url: str | None = None
    updated_at: datetime | None = None
    stamp: str = ""
    """What the source calls this version of it; empty where it has no name for it."""


class OutOfReach(Exception):
    """An item cannot be read now, but may still be there."""


class Origin(Protocol):
    """A source to read from. Several threads may read at a time."""

    is_near: bool
    """Whether reading is so fast that nobody needs to do it ahead."""
    hands: int
    """How many processes may read it at a time, on whatever machine, each by its address; 0 where only this one can."""

    @property
    def knows(self) -> str:
        """What it learned while it listed, for whoever opens it in another process to read what was listed."""
        ...

    def items(self) -> Iterator[Item | Unread]:
        """Lists what there is to read, in a steady order. Raises TellUser when the source itself cannot be read."""
        ...

    def check(self) -> None:
        """Raises TellUser where what another process listed cannot be here."""
        ...

    def read(self, item: Item, stamp: str) -> Content | None:
        """Gives what an item holds; None when that is what it held when it had this stamp.

        Raises Unfit for what is no document, OutOfReach or OSError for what may be one another time.
        """
        ...

    def records(self, item: Item) -> BinaryIO:
        """Opens a file of records, to be read line by line. Raises as `read` does."""
        ...

    def close(self) -> None: ...


MANY = 64
"""Processes that may read one source at a time, where nobody is hurried by that."""


@dataclass(frozen=True)
class Access:
    """What a process lets its sources do."""

    intranet_hosts: frozenset[str] = frozenset()
    """Hosts that web addresses may lead to although they are not on the public internet."""
    stamps: Path | None = None
    """Folder in which the stamps of far sources are remembered; without it they are read whole each time."""
    pace_s: float = 0.1
    """Seconds between two requests to one host, where its robots.txt does not ask for more."""
    shared_folders: frozenset[Path] = frozenset()
    """Folders that are the same on every machine that a worker runs on."""


def address_of(source: str | Path) -> str:
    """Gives a source's address as it is remembered: a path on this machine absolute, anything else as it stands.

    Raises TellUser for an address that holds a password: it would be shown to whoever lists the sources.
    """
    text = str(source)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    if "://" not in text:
        return str(Path(text).expanduser().resolve())
    first = text if text.startswith(("http://", "https://")) else text.partition("::")[0]  # `[::1]` is a host
    try:
        password = urlsplit(first).password
    except ValueError as error:
        raise TellUser(f"{text} is no address: {error}.") from error
    # `github://owner:repository@branch` only looks as if it had one.
    if not text.startswith("github://") and password is not None:
        raise TellUser(f"{text.partition('://')[0]}://…: leave the password out of the address, it would be shown.")
    return text


def name_of(address: str) -> str:
    """Gives the last part of an address, which names a source that has no other name."""
    if "://" not in address:
        return Path(address).name or "root"
    last = address.rpartition("::")[2] if address.startswith(("zip://", "tar://")) else address
    parts = [part for part in re.split(r"[/?#]+", last.partition("://")[2] or last) if part]
    return unquote(parts[-1]) if parts else address.partition("://")[0]


def open_origin(address: str, access: Access, knows: str = "") -> Origin:
    """Opens a source by its address, and by what it learned when another process listed it. Raises TellUser when it can
    be none."""
    if "://" not in address:
        return Folder(Path(address), access.shared_folders)
    if address.startswith(("http://", "https://")):
        from retrieval.source_site import Site

        return Site(address, access, knows=knows)
    from retrieval.source_remote import Remote

    return Remote(address)


class Folder:
    """A folder or a file on this machine."""

    is_near = True
    knows = ""

    def __init__(self, root: Path, shared: frozenset[Path] = frozenset()) -> None:
        self.root = root
        self.hands = MANY if any(root.is_relative_to(folder) for folder in shared) else 0

    def items(self) -> Iterator[Item | Unread]:
        if self.root.is_file():
            yield item_at(str(self.root), self.root.name)
            return
        try:
            os.scandir(self.root).close()
        except OSError as error:
            raise TellUser(f"{self.root} cannot be read: {reason_of(error)}.") from error
        refused: list[Unread] = []

        def refuse(error: OSError) -> None:
            below = Path(error.filename).relative_to(self.root).as_posix()
            refused.append(Unread(reason_of(error), keeps=_told(below)))

        for folder, folders, names in os.walk(self.root, onerror=refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files = [Path(folder, name) for name in sorted(names) if not is_passed_over(name)]
            yield from told_apart(item_at(str(file), file.relative_to(self.root).as_posix()) for file in files)
        yield from refused

    def check(self) -> None:
        if not self.root.is_file() and not (self.root.is_dir() and any(self.root.iterdir())):
            raise TellUser(f"{self.root} is not here, or empty: is it mounted on this machine?")

    def read(self, item: Item, stamp: str) -> Content | None:
        file = self._inside(item)
        check_size(file.stat().st_size)
        updated_at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        return Content(file.read_bytes(), item.kind, updated_at=updated_at)

    def records(self, item: Item) -> BinaryIO:
        return self._inside(item).open("rb")

    def close(self) -> None:
        """Nothing is held open."""

    def _inside(self, item: Item) -> Path:
        file = Path(item.path)
        try:
            is_inside = file == self.root or file.resolve().is_relative_to(self.root.resolve())
        except RuntimeError:  # which Python 3.13 raises no more
            raise Unfit("is a link that leads to itself") from None
        if not is_inside:
            raise Unfit("is a link that leads out of the source")
        if not stat.S_ISREG(file.stat().st_mode):
            raise Unfit("is a pipe or a device, not a file")  # reading it might never end
        return file


def item_at(path: str, below: str) -> Item:
    """Gives the item of a file, by its path below the source."""
    place = PurePosixPath(_told(below))
    return Item(str(place), place.with_suffix("").as_posix(), path, place.suffix.lower())


def told_apart(items: Iterable[Item | Unread]) -> Iterator[Item | Unread]:
    """Gives items ids of their own: of documents whose names differ by the suffix alone all but the first keep it."""
    taken: set[str] = set()
    for item in items:
        if isinstance(item, Item) and item.kind in MARKDOWN | TEXT | FORMATS:
            item = replace(item, id=item.id + item.kind) if item.id in taken else item
            taken.add(item.id)
        yield item


def _told(path: str) -> str:
    """Gives a path as it can be told: a name need not be UTF-8."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def is_passed_over(name: str) -> bool:
    """Whether a file is hidden, or only dresses pages up (pictures, styles, scripts), so that nobody misses it."""
    return name.startswith(".") or (mimetypes.guess_type(name)[0] or "").startswith(_DECORATION)


def check_size(size: int) -> None:
    """Raises Unfit for a file that is larger than a document can be."""
    if size > MOST_BYTES:
        raise Unfit(f"is larger than {MOST_BYTES // 1_000_000} MB")


def reason_of(error: OSError) -> str:
    """Gives the reason of an error as words."""
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    return (error.strerror or str(error) or type(error).__name__).lower()
