"""What happened to a job: a file that only grows, one line an event, oldest first."""

from __future__ import annotations

import json
import time
from pathlib import Path

from bot.local.tuner.disk import complain, new_id
from bot.local.tuner.errors import JSON


class Events:
    """The events of one job."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, message: str, *, level: str, kind: str, data: JSON) -> None:
        """Adds an event. On a full disk it goes to stderr instead: a job does not end for the sake of a remark."""
        event = {
            "object": "fine_tuning.job.event",
            "id": new_id("ftevent"),
            "created_at": int(time.time()),
            "level": level,
            "message": message,
            "type": kind,
            "data": data,
        }
        try:
            with self._path.open("ab+") as file:
                if file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n":
                    file.write(b"\n")  # the line before was cut off by a kill, or by a full disk
                file.write(json.dumps(event).encode() + b"\n")
        except OSError as problem:
            complain(f"cannot write '{message}' to {self._path}: {problem}")

    def page(self, after: str | None, limit: int) -> tuple[list[JSON], bool]:
        """Newest first: a page of those that are older than `after`, and whether more follow."""
        found: list[JSON] = []
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return [], False
        for line in reversed(lines):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if after is None or event["id"] < after:
                found.append(event)
                if len(found) > limit:
                    break
        return found[:limit], len(found) > limit
