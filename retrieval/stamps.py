"""What far sources call the versions of their documents (ETag, Last-Modified, a hash), so that a sync fetches only what
is new. A stamp counts only as long as the index holds the very document that was made of that version: this is a note
that may be lost or old without harm, and is therefore a file on this machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path


class Stamps:
    """The stamps of one source; those in the file were noted in the same terms, or are forgotten."""

    def __init__(self, file: Path | None = None, terms: str = "") -> None:
        self._file, self._terms = file, terms
        self._noted: dict[str, tuple[str, str]] = {}
        self._known: Mapping[str, str] = {}

    def load(self, known: Mapping[str, str]) -> None:
        """Reads what was noted; `known` gives the digest of each document that the index holds."""
        self._known = known
        if self._file is None:
            return
        with suppress(OSError, ValueError, KeyError, TypeError):
            noted = json.loads(self._file.read_bytes())
            if noted["terms"] == self._terms:
                self._noted = {
                    str(name): (str(stamp), str(digest)) for name, (stamp, digest) in noted["stamps"].items()
                }

    def of(self, document_id: str) -> str:
        """Gives the stamp of the version that the index holds; empty where none is known."""
        stamp, digest = self._noted.get(document_id, ("", ""))
        return stamp if digest and digest == self._known.get(document_id) else ""

    def note(self, document_id: str, stamp: str, digest: str) -> None:
        """Notes that a version makes the document of a digest."""
        self._noted.pop(document_id, None)
        if stamp:
            self._noted[document_id] = (stamp, digest)

    def save(self, document_ids: Collection[str]) -> None:
        """Writes the notes about these documents, in one step."""
        if self._file is None or not self._noted:
            return
        kept = {name: noted for name, noted in self._noted.items() if name in document_ids}
        with suppress(OSError):  # a full disk costs the next sync some time, and this one nothing
            self._file.parent.mkdir(parents=True, exist_ok=True)
            beside = self._file.with_suffix(f".{os.getpid()}")
            beside.write_text(json.dumps({"terms": self._terms, "stamps": kept}))
            beside.replace(self._file)


def stamps_file(folder: Path | None, team_id: str, source: str) -> Path | None:
    """Gives the file of a source's stamps."""
    return folder and folder / team_id / f"{sha256(source.encode()).hexdigest()[:20]}.json"
