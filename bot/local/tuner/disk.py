"""How the tuner keeps things: a file is whole or not there, and what was acknowledged survives SIGKILL and a power
cut."""

from __future__ import annotations

import fcntl
import os
import secrets
import string
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

_LETTERS = string.ascii_letters + string.digits
_newest = 0
M = TypeVar("M", bound=BaseModel)


def new_id(prefix: str) -> str:
    """An id that is later in the alphabet than every earlier one, so that a page may start after one that is gone."""
    global _newest
    _newest = max(_newest + 1, time.time_ns())
    return f"{prefix}-{_newest:016x}" + "".join(secrets.choice(_LETTERS) for _ in range(8))


def keep(path: Path, content: bytes) -> None:
    """Puts a file in place, readable for its owner only, or leaves what was there. Raises OSError."""
    draft = path.with_name(f"{path.name}.new")
    try:
        with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    settle(path.parent)


def settle(path: Path) -> None:
    """Makes what was written to a file, or the names that were added to a folder or taken from it, outlive a power
    cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_record(path: Path, record: BaseModel) -> None:
    keep(path, record.model_dump_json().encode())


def records(paths: Iterable[Path], model: type[M]) -> Iterator[tuple[Path, M]]:
    """What was kept, oldest first. What is damaged, or of a form that is unknown here, is named on stderr and left
    alone."""
    for path in sorted(paths):
        try:
            record = model.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as problem:
            complain(f"cannot read {path}: {problem}")
        else:
            yield path, record


def complain(text: str) -> None:
    """Says on stderr what an operator should know; where the log is on a full disk too, nobody is told."""
    with suppress(OSError):
        print(f"tuner: {text.rstrip()}", file=sys.stderr, flush=True)


def lock(path: Path) -> int | None:
    """The open lock file, ours until this process ends in whatever way; None where another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
