"""A source on any file system that fsspec knows: `github://`, `s3://`, `gs://`, `abfs://`, `sftp://`, `zip://…::…` …
Keys and tokens come from the environment, as each of them documents it (and `FSSPEC_GITHUB_TOKEN` and the like).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from bot.errors import TellUser
from retrieval.sources import (
    MANY,
    MOST_BYTES,
    Content,
    Item,
    OutOfReach,
    Unread,
    check_size,
    is_passed_over,
    item_at,
    reason_of,
    told_apart,
)

_NOT_FOR_SOURCES = frozenset({"http", "https", "reference", "data", "generic", "dask", "jupyter", "jlab"})
"""What would lead anywhere: these follow addresses that a file holds, past the guard of web addresses."""
_HERE = frozenset({"file", "local", "memory", "dir", "zip", "tar", "libarchive", ""})
"""What is on one machine, or in one process; of a chain of protocols the last one counts."""
_VERSIONS = (
    "ETag",
    "etag",
    "sha",
    "md5Hash",
    "content_md5",
    "LastModified",
    "last_modified",
    "mtime",
    "updated",
    "created",
)


class Remote:
    """A folder or a file far away."""

    is_near = False
    knows = ""

    def __init__(self, address: str) -> None:
        import fsspec

        self._address = address
        protocols = [part.partition("://")[0] if "://" in part else "" for part in address.split("::")]
        self.hands = 0 if protocols[-1] in _HERE else MANY
        for protocol in protocols:
            if protocol in _NOT_FOR_SOURCES:
                raise TellUser(f"{address} cannot be a source: {protocol}:// is not read inside another address.")
        try:
            # A file system of its own: fsspec would give the one of the last sync, which remembers its listing.
            with self._telling():
                self._files, root = fsspec.core.url_to_fs(address, skip_instance_cache=True)
        except ImportError as error:
            raise TellUser(
                f"{address} needs a package that is not installed ({error}). For s3://, gs:// and abfs://: "
                "`make setup-cloud`."
            ) from error
        except ValueError as error:
            raise TellUser(f"{address} is no address of a source: {error}.") from error
        self._root = str(root).rstrip("/")

    def items(self) -> Iterator[Item | Unread]:
        with self._telling():
            found = self._files.find(self._root, detail=True)
        if not found:
            raise TellUser(f"{self._address} holds no file. (`sources remove` takes a source out of the library.)")
        yield from told_apart(self._listed(found))

    def _listed(self, found: dict[str, Any]) -> Iterator[Item | Unread]:
        for path in sorted(found):
            info = found.pop(path)
            below = path.removeprefix(self._root).lstrip("/") or PurePosixPath(path).name
            if not any(is_passed_over(part) for part in PurePosixPath(below).parts):
                moments = (info.get(name) for name in _VERSIONS)
                updated_at = next((moment for moment in moments if isinstance(moment, datetime)), None)
                item = item_at(path, below)
                yield replace(item, size=info.get("size") or 0, updated_at=updated_at, stamp=_stamp(info))

    def check(self) -> None:
        """Each item tells for itself whether it can be reached."""

    def read(self, item: Item, stamp: str) -> Content | None:
        check_size(item.size)
        if stamp and stamp == item.stamp:
            return None
        with self._reaching(), self._files.open(item.path, "rb") as file:
            raw = file.read(MOST_BYTES + 1)
        check_size(len(raw))
        return Content(raw, item.kind, updated_at=item.updated_at, stamp=item.stamp)

    def records(self, item: Item) -> BinaryIO:
        with self._reaching():
            return cast(BinaryIO, self._files.open(item.path, "rb"))

    def close(self) -> None:
        """Nothing is held open."""

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What goes wrong with the source as a whole is told to whoever named it."""
        try:
            yield
        except (TellUser, ImportError, ValueError):
            raise
        except FileNotFoundError as error:
            raise TellUser(f"{self._address} cannot be read: there is no such place.") from error
        except OSError as error:
            raise TellUser(f"{self._address} cannot be read: {reason_of(error)}.") from error
        except Exception as error:  # each file system raises errors of its own library
            if isinstance(error, TypeError) and self._address.startswith("github://"):
                raise TellUser(
                    f"{self._address} names no repository: write github://owner:repository@branch/folder."
                ) from error
            raise TellUser(f"{self._address} cannot be read: {type(error).__name__}: {error}") from error

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            raise
        except Exception as error:  # as above
            raise OutOfReach(f"cannot be read now ({type(error).__name__}: {error})") from error


def _stamp(info: dict[str, Any]) -> str:
    """Names the version of a file by what its file system says of it; empty where it says nothing but the size."""
    version = {name: str(info[name]) for name in _VERSIONS if info.get(name)}
    return json.dumps({**version, "size": info.get("size")}) if version else ""
