"""A source's files as documents: Markdown with front matter, HTML, plain text, and `.jsonl` with one record a line.
What cannot be read becomes an entry that names the file (and line) and the reason, and the rest goes in.
"""

from __future__ import annotations

import json
import mimetypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from bot.errors import TellUser
from bot.vocabulary import Document
from retrieval.markdown import first_heading, without_comments
from retrieval.reading_html import declared_charset, html_to_markdown

MARKDOWN = {".md", ".markdown", ".mdx"}
HTML = {".html", ".htm", ".xhtml"}
TEXT = {".txt", ".text", ".rst", ".adoc"}
RECORDS = {".jsonl", ".ndjson"}
MOST_BYTES = 20_000_000  # of one page; nobody wrote a longer one by hand
MOST_FRONT_MATTER = 20_000  # characters
_IN_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")  # JSON can write them; neither store nor Slack takes them
_DECORATION = ("image/", "font/", "audio/", "video/", "text/css", "text/javascript", "application/javascript")
_AUDIENCE = re.compile(r"public|workspace|(?:channel|group):[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Unread:
    """Why there is no document where one was looked for."""

    reason: str
    keeps: str | None = None
    """What is out of reach now (no right to read, a broken disk) but may still be there, and is therefore not taken for
    deleted: documents of this id or below it, all of them where it is empty. None when it was seen and is no document.
    """


class Unfit(Exception):
    """A file or record that holds no document; the text says why."""


def check_audience(label: str) -> str:
    """Gives an audience label back; raises TellUser when it is none."""
    if not _AUDIENCE.fullmatch(label):
        raise TellUser(f"“{label}” is no audience: use public, workspace, channel:ID or group:ID.")
    return label


@dataclass(frozen=True)
class Reader:
    """Reads one source: a folder or a file, with what its documents get that say nothing themselves."""

    root: Path
    name: str
    audience: str
    base_url: str | None = None

    def files(self) -> list[Path | Unread]:
        """Lists what there is to read, in a steady order. Raises TellUser when the source itself cannot be read."""
        if self.root.is_file():
            return [self.root]
        try:
            os.scandir(self.root).close()
        except OSError as error:
            raise TellUser(f"{self.root} cannot be read: {_reason(error)}.") from error
        found: list[Path | Unread] = []

        def refused(error: OSError) -> None:
            folder = self._label(Path(error.filename))
            found.append(Unread(_reason(error), keeps=folder))

        for folder, folders, names in os.walk(self.root, onerror=refused):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files = (Path(folder, name) for name in sorted(names) if not name.startswith("."))
            found.extend(file for file in files if not _is_decoration(file))
        return found

    def count(self, files: list[Path | Unread]) -> int:
        """Counts the documents to expect."""
        return sum(_lines(file) if isinstance(file, Path) and _holds_records(file) else 1 for file in files)

    def read(self, file: Path | Unread) -> Iterator[tuple[str, Document | Unread]]:
        """Gives the document of a file, or those of a `.jsonl`, each with its place by name, or why there is none."""
        if isinstance(file, Unread):
            yield file.keeps or self.name, file
            return
        label = self._label(file)
        try:
            if self.root.is_dir() and not file.resolve().is_relative_to(self.root.resolve()):
                raise Unfit("is a link that leads out of the source")
            if _holds_records(file):
                yield from self._records(file, label)
            else:
                yield label, self._page(file)
        except Unfit as unfit:
            yield label, Unread(str(unfit))
        except FileNotFoundError:
            yield label, Unread("is gone")
        except OSError as error:
            yield label, Unread(_reason(error), keeps="" if _holds_records(file) else self._id(file))

    def _page(self, file: Path) -> Document:
        kind = file.suffix.lower()
        if kind not in MARKDOWN | HTML | TEXT:
            raise Unfit(f"is of a kind that cannot be read yet ({kind or 'no suffix'}): use .md, .html, .txt or .jsonl")
        if file.stat().st_size > MOST_BYTES:
            raise Unfit(f"is larger than {MOST_BYTES // 1_000_000} MB")
        raw = file.read_bytes()
        text = decoded(raw, declared_charset(raw) if kind in HTML else None)
        fields: dict[str, Any] = {}
        if kind in MARKDOWN:
            fields, text = front_matter(text)
            text = without_comments(text)
            fields.setdefault("title", first_heading(text))
        elif kind in HTML:
            fields["title"], text = html_to_markdown(text)
        fields.setdefault("updated_at", datetime.fromtimestamp(file.stat().st_mtime, UTC))
        return self._document(self._id(file), text, fields, title=file.stem)

    def _records(self, file: Path, label: str) -> Iterator[tuple[str, Document | Unread]]:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                place = f"{label}:{number}"
                try:
                    yield place, self._record(line)
                except Unfit as unfit:
                    yield place, Unread(str(unfit))
        if not file.stat().st_size:
            raise Unfit("is empty (0 bytes)")

    def _record(self, line: bytes) -> Document:
        try:
            record = json.loads(decoded(line))
        except json.JSONDecodeError as error:
            raise Unfit(f"is not JSON: {error.msg} at column {error.colno}") from error
        except RecursionError:
            raise Unfit("is JSON nested too deeply") from None
        if not isinstance(record, dict):
            raise Unfit("is not a JSON object")
        for field in ("id", "text"):
            if not isinstance(record.get(field), str) or not record[field].strip():
                raise Unfit(f"has no “{field}” (a text that is not empty)")
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

    def _id(self, file: Path) -> str:
        below = Path(file.name) if file == self.root else file.relative_to(self.root)
        return below.with_suffix("").as_posix()

    def _label(self, file: Path) -> str:
        return file.name if file == self.root else file.relative_to(self.root).as_posix()


def decoded(raw: bytes, charset: str | None = None) -> str:
    """Gives a file's text, from UTF-8, UTF-16 with a byte order mark, or `charset`; raises Unfit when it is none."""
    if not raw:
        raise Unfit("is empty (0 bytes)")
    encodings = ["utf-16"] if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", *filter(None, [charset])]
    reason = ""
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError as error:
            reason = reason or f"is not {encoding.upper().removesuffix('-SIG')} text (byte {error.start})"
        except LookupError:
            continue
        else:
            if "\0" in text:
                raise Unfit("is binary, not text")
            return text.replace("\r\n", "\n")
    raise Unfit("is binary, not text" if b"\0" in raw else reason)


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


def _holds_records(file: Path) -> bool:
    return file.suffix.lower() in RECORDS


def _lines(file: Path) -> int:
    try:
        with file.open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    except OSError:
        return 1


def _is_decoration(file: Path) -> bool:
    """Whether a file only dresses pages up (pictures, styles, scripts), so that nobody misses it."""
    return (mimetypes.guess_type(file.name)[0] or "").startswith(_DECORATION)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
