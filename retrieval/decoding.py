"""Bytes to text, and what bytes are in truth: a file's name may lie about its kind, and its text about its encoding."""

from __future__ import annotations

import re

MARKDOWN = frozenset({".md", ".markdown", ".mdx"})
HTML = frozenset({".html", ".htm", ".xhtml"})
TEXT = frozenset({".txt", ".text", ".rst", ".adoc"})
RECORDS = frozenset({".jsonl", ".ndjson"})
FORMATS = frozenset({".pdf", ".docx", ".csv"}) | HTML
"""What is read by a library of others, and therefore in a process apart."""
_NAMES = {".pdf": "a PDF", ".docx": "a Word document", ".csv": "a CSV table"} | dict.fromkeys(HTML, "a web page")
_SIGNS = (
    (b"%PDF-", ".pdf", "a PDF"),
    (b"PK\x03\x04", ".zip", "a zip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ".doc", "an encrypted or an old Office file"),
    (b"\x1f\x8b\x08", ".gz", "a gzip archive"),
    (b"{\\rtf", ".rtf", "a rich text file"),
)
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([\w-]{2,30})""", re.IGNORECASE)

_MEND = ": save it as UTF-8 (`iconv -f windows-1252 -t utf-8` does that to a file of old Windows)"


class Unfit(Exception):
    """A file or record that holds no document; the text says why."""


def check_kind(raw: bytes, kind: str) -> None:
    """Raises Unfit when a file is empty, or is by its first bytes of another kind than its suffix says."""
    if not raw:
        raise Unfit("is empty (0 bytes)")
    # PDF readers accept a little noise before the sign, and so do we; every other sign comes first.
    head = raw[:1024].lstrip() if kind == ".pdf" else raw[:8]
    real, what = next(((real, what) for sign, real, what in _SIGNS if head.startswith(sign)), ("", "something else"))
    if kind == ".pdf" and b"%PDF-" in head:
        return
    if kind == ".docx" and real == ".zip":
        return
    if real or kind in (".pdf", ".docx"):
        raise Unfit(f"is {what}, not {_NAMES.get(kind, 'text')} as its name says")


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
            reason = reason or f"is not {encoding.upper().removesuffix('-SIG')} text (byte {error.start}){_MEND}"
        except LookupError:
            continue
        else:
            if "\0" in text:
                raise Unfit("is binary, not text")
            return text.replace("\r\n", "\n")
    raise Unfit("is binary, not text" if b"\0" in raw else reason)


def declared_charset(page: bytes) -> str | None:
    """Gives the encoding that a web page names in its head, if it names one."""
    found = _CHARSET.search(page[:4096])
    return found[1].decode("ascii") if found else None
