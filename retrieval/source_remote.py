"""A source on any file system that fsspec knows: `github://`, `s3://`, `gs://`, `abfs://`, `sftp://`, `zip://…::…` …
Keys and tokens come from the environment, as each of them documents it (and `FSSPEC_GITHUB_TOKEN` and the like).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from bot.errors import TellUser
from retrieval.sources import MOST_BYTES, Content, Item, OutOfReach, Unread, check_size, is_passed_over, item_at

_NOT_FOR_SOURCES = frozenset({"http", "https", "reference", "data", "generic", "dask", "jupyter", "jlab"})
"""What would lead anywhere: these follow addresses that a file holds, past the guard of web addresses."""
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

    def __init__(self, address: str) -> None:
        import fsspec

        self._address = address
        for protocol in (part.partition("://")[0] for part in address.split("::")):
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
        self._info: dict[str, dict[str, Any]] = {}

    def items(self) -> Iterator[Item | Unread]:
        with self._telling():
            self._info = self._files.find(self._root, detail=True)
        if not self._info:
            raise TellUser(f"{self._address} holds no file. (`sources remove` takes a source out of the library.)")
        for path in sorted(self._info):
            below = path.removeprefix(self._root).lstrip("/") or PurePosixPath(path).name
            if not any(is_passed_over(part) for part in PurePosixPath(below).parts):
                yield item_at(path, below)

    def read(self, item: Item, stamp: str) -> Content | None:
        info = self._info[item.path]
        check_size(info.get("size") or 0)
        now = _stamp(info)
        if stamp and stamp == now:
            return None
        with self._reaching(), self._files.open(item.path, "rb") as file:
            raw = file.read(MOST_BYTES + 1)
        check_size(len(raw))
        moments = (info.get(name) for name in _VERSIONS)
        updated_at = next((moment for moment in moments if isinstance(moment, datetime)), None)
        return Content(raw, item.kind, updated_at=updated_at, stamp=now)

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
        except Exception as error:  # each file system raises errors of its own library
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
