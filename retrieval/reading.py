"""A source's files as documents: Markdown with front matter, HTML, PDF, Word, CSV, plain text, and `.jsonl` with one
record a line. What cannot be read becomes an entry that names the file (and line) and the reason, and the rest goes in.
What is slow is read ahead, nothing is waited for without end, and a far source that keeps failing is left alone.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from bot.errors import TellUser
from bot.vocabulary import Document
from retrieval.decoding import FORMATS, MARKDOWN, RECORDS, TEXT, Unfit, check_kind, decoded
from retrieval.markdown import first_heading, without_comments
from retrieval.reading_apart import Apart
from retrieval.sources import MOST_BYTES, Content, Item, Origin, OutOfReach, Unread, check_size, reason_of

READING = "1"
"""Names the way of reading: change it with anything here that makes another text of the same bytes."""
AHEAD = 8
"""Files that are read before their turn."""
FAR_S = 180
"""Longest wait for one file of a far source, with all its retries."""
FAILURES = 10
"""In a row, after which a far source is left alone."""
MOST_FRONT_MATTER = 20_000  # characters
_IN_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")  # JSON can write them; neither store nor Slack takes them
_AUDIENCE = re.compile(r"public|workspace|(?:channel|group):[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A document that its source says is the one we have."""

    id: str


class Entry(NamedTuple):
    """What was found at a place of a source."""

    place: str
    found: Document | Unchanged | Unread
    stamp: str = ""


def check_audience(label: str) -> str:
    """Gives an audience label back; raises TellUser when it is none."""
    if not _AUDIENCE.fullmatch(label):
        raise TellUser(f"“{label}” is no audience: use public, workspace, channel:ID or group:ID.")
    return label


@dataclass(frozen=True)
class Reader:
    """Reads one source, with what its documents get that say nothing themselves."""

    origin: Origin
    name: str
    audience: str
    base_url: str | None = None
    apart: Apart = field(default_factory=Apart)

    def items(self) -> Iterator[Item | Unread]:
        """Lists what there is to read. Raises TellUser when the source itself cannot be read."""
        return self.origin.items()

    def ids(self, items: Iterable[Item | Unread]) -> list[str]:
        """Gives the ids of the documents that items hold; a file of records is read for them."""
        ids = []
        for item in items:
            if isinstance(item, Item) and item.kind in RECORDS:
                ids += [found.id for _, found, _ in self._records(item) if isinstance(found, Document)]
            elif isinstance(item, Item):
                ids.append(item.id)
        return ids

    def count(self, items: Iterable[Item | Unread]) -> int:
        """Counts the documents to expect."""
        return sum(self._lines(item) if isinstance(item, Item) and item.kind in RECORDS else 1 for item in items)

    def entries(
        self, items: Iterable[Item | Unread], stamp_of: Callable[[str], str] = lambda document_id: ""
    ) -> Iterator[Entry]:
        """Reads items, in their order; `stamp_of` gives the stamp of the version of a document that we have."""
        with self.apart:
            threads = ThreadPoolExecutor(AHEAD, "reading")
            waiting: deque[Callable[[], Iterable[Entry]]] = deque()
            failures = 0
            try:
                for item in items:
                    waiting.append(self._begin(item, stamp_of, threads))
                    if len(waiting) < AHEAD:
                        continue
                    for entry in waiting.popleft()():
                        yield entry
                        is_lost = isinstance(entry.found, Unread) and entry.found.keeps is not None
                        failures = failures + 1 if is_lost else 0
                    if failures >= FAILURES and not self.origin.is_near:
                        reason = f"failed {failures} times in a row: the rest is not read"
                        yield Entry(self.name, Unread(reason, keeps="", ends_reading=True))
                        return
                while waiting:
                    yield from waiting.popleft()()
            finally:  # nobody waits for a server that is slow to answer to a sync that has ended
                threads.shutdown(wait=False, cancel_futures=True)

    def _begin(
        self, item: Item | Unread, stamp_of: Callable[[str], str], threads: ThreadPoolExecutor
    ) -> Callable[[], Iterable[Entry]]:
        """Begins to read what takes long; gives what to call for the result. Records are read when it is their turn,
        for there may be any number, and so is what takes no time."""
        if isinstance(item, Unread):
            return partial(iter, [Entry(item.keeps or self.name, item)])
        if item.kind in RECORDS:
            return partial(self._records, item)
        if self.origin.is_near and item.kind not in FORMATS:
            return lambda: [self._page(item, "")]
        return partial(self._awaited, item, threads.submit(self._page, item, stamp_of(item.id)))

    def _awaited(self, item: Item, reading: Future[Entry]) -> list[Entry]:
        try:
            return [reading.result(FAR_S)]
        except TimeoutError:
            return [Entry(item.place, Unread(f"did not come within {FAR_S} s", keeps=item.id))]

    def _page(self, item: Item, stamp: str) -> Entry:
        try:
            content = self.origin.read(item, stamp)
            if content is None:
                return Entry(item.place, Unchanged(item.id), stamp)
            return Entry(item.place, self._made_of(content, item), content.stamp)
        except (Unfit, OutOfReach, OSError) as error:
            return Entry(item.place, _unread(error, keeps=item.id))

    def _made_of(self, content: Content, item: Item) -> Document:
        kind = content.kind
        if kind not in MARKDOWN | TEXT | FORMATS:
            known = ".md, .html, .pdf, .docx, .csv, .txt or .jsonl"
            raise Unfit(f"is of a kind that cannot be read yet ({kind or 'no suffix'}): use {known}")
        check_kind(content.raw, kind)
        fields: dict[str, Any] = {}
        if kind in FORMATS:
            fields["title"], text = self.apart.read(content.raw, kind, content.charset)
        else:
            text = decoded(content.raw, content.charset)
        if kind in MARKDOWN:
            fields, text = front_matter(text)
            text = without_comments(text)
        if kind in MARKDOWN | {".docx"}:
            fields["title"] = fields.get("title") or first_heading(text)
        fields.setdefault("updated_at", content.updated_at)
        if content.url:
            fields["url"] = content.url
        return self._document(item.id, text, fields, title=item.id.rpartition("/")[2])

    def _records(self, item: Item) -> Iterator[Entry]:
        try:
            with closing(self.origin.records(item)) as lines:
                number = 0
                for number, line in enumerate(_long_lines(lines), start=1):
                    if number == 1:
                        check_kind(line, item.kind)
                    if not line.strip():
                        continue
                    place = f"{item.place}:{number}"
                    try:
                        yield Entry(place, self._record(line))
                    except Unfit as unfit:
                        yield Entry(place, Unread(str(unfit)))
                if not number:
                    raise Unfit("is empty (0 bytes)")
        except (Unfit, OutOfReach, OSError) as error:
            yield Entry(item.place, _unread(error, keeps=""))

    def _record(self, line: bytes) -> Document:
        try:
            record = json.loads(decoded(_whole(line)))
        except json.JSONDecodeError as error:
            raise Unfit(f"is not JSON: {error.msg} at column {error.colno}") from error
        except RecursionError:
            raise Unfit("is JSON nested too deeply") from None
        if not isinstance(record, dict):
            raise Unfit("is not a JSON object")
        for name in ("id", "text"):
            if not isinstance(record.get(name), str) or not record[name].strip():
                raise Unfit(f"has no “{name}” (a text that is not empty)")
        text = without_comments(record["text"])
        return self._document(record["id"].strip(), text, record, title=first_heading(text) or record["id"].strip())

    def _document(self, document_id: str, text: str, fields: dict[str, Any], title: str) -> Document:
        if not text.strip():
            raise Unfit("holds no text")
        title = _words(fields.get("title"), "title") or title
        if _IN_NO_TEXT.search("".join((document_id, title, text))):
            raise Unfit("holds characters that are in no text")
        audience = _words(fields.get("audience"), "audience") or self.audience
        if not _AUDIENCE.fullmatch(audience):
            raise Unfit(f"has an audience that is none: “{audience}” (public, workspace, channel:ID or group:ID)")
        return Document(
            id=document_id,
            source=self.name,
            title=title,
            url=self._url(document_id, _words(fields.get("url"), "url")),
            text=text,
            audience=audience,
            updated_at=_moment(fields.get("updated_at") or fields.get("updated") or fields.get("date")),
        )

    def _url(self, document_id: str, named: str) -> str | None:
        base = self.base_url and self.base_url.rstrip("/") + "/"
        if not named:
            return base and base + quote(document_id.lstrip("/"))
        url = urljoin(base, named) if base else named
        if urlsplit(url).scheme not in {"http", "https"}:
            raise Unfit(f"has a url that no link can lead to: “{named}” (http or https, or a base URL for the source)")
        return url

    def _lines(self, item: Item) -> int:
        if not self.origin.is_near:
            return 1
        try:
            with closing(self.origin.records(item)) as lines:
                return sum(1 for line in _long_lines(lines) if line.strip())
        except (Unfit, OSError):
            return 1


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Gives the fields at the head of a Markdown page, and the rest of it; raises Unfit when they are not YAML."""
    end = text.find("\n---", 3, MOST_FRONT_MATTER) if text.startswith("---\n") else -1
    if end < 0 or text[end + 4 : end + 5] not in ("", "\n", " "):
        return {}, text
    import frontmatter
    import yaml

    try:
        fields, _ = frontmatter.parse(text[: end + 4] + "\n")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise Unfit(f"has front matter that is not YAML{f' (line {mark.line + 2})' if mark else ''}") from error
    return dict(fields), text[end + 4 :].lstrip("\n")


def _words(value: object, what: str) -> str:
    """Gives a field as words; raises Unfit for a list or a mapping, which may be a bomb besides."""
    if value is not None and not isinstance(value, str | int | float | date):
        raise Unfit(f"has a {what} that is no text")
    return " ".join(str(value or "").split())


def _moment(value: object) -> datetime | None:
    """Reads a time as YAML or JSON give it; without a zone it is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _unread(error: Unfit | OutOfReach | OSError, keeps: str) -> Unread:
    if isinstance(error, Unfit):
        return Unread(str(error))
    if isinstance(error, FileNotFoundError):
        return Unread("is gone")
    return Unread(reason_of(error) if isinstance(error, OSError) else str(error), keeps)


def _long_lines(file: BinaryIO) -> Iterator[bytes]:
    """Gives a file's lines; of one that is longer than a document only so much that this can be seen."""
    while line := file.readline(MOST_BYTES + 1):
        yield line
        while len(line) > MOST_BYTES and not line.endswith(b"\n"):
            line = file.readline(MOST_BYTES + 1)


def _whole(line: bytes) -> bytes:
    check_size(len(line))
    return line
