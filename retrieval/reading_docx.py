"""A Word document as Markdown: headings, lists and tables, without what was deleted or is hidden in it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING

from retrieval.decoding import Unfit

if TYPE_CHECKING:
    from docx.table import Table
    from docx.text.paragraph import Paragraph

MOST_ENTRIES = 2_000
MOST_UNPACKED = 100_000_000  # bytes
MOST_RATIO = 100
_SMALL = 1_000_000
"""Bytes up to which an entry may be packed as tightly as it likes: styles and themes are."""
_SEEN = ".//w:r[not(ancestor::w:del) and not(w:rPr/w:vanish[not(@w:val='0' or @w:val='false')])]"
_HEADING = re.compile(r"heading (\d)")


def docx_to_markdown(raw: bytes) -> tuple[str | None, str]:
    """Gives a Word document's title and its text; raises Unfit when it is damaged, or a bomb."""
    _refuse_bomb(raw)
    import docx
    from docx.opc.exceptions import OpcError
    from lxml.etree import LxmlError  # type: ignore[import-untyped]

    try:
        document = docx.Document(BytesIO(raw))
        text = "\n\n".join(filter(None, _blocks(document.iter_inner_content())))
    except (OpcError, LxmlError, KeyError, ValueError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise Unfit(f"is no Word document that can be read ({type(error).__name__})") from error
    return " ".join((document.core_properties.title or "").split()) or None, text


def _refuse_bomb(raw: bytes) -> None:
    try:
        entries = zipfile.ZipFile(BytesIO(raw)).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise Unfit("is damaged or cut off: its archive cannot be opened") from error
    if any(entry.flag_bits & 1 for entry in entries):
        raise Unfit("is encrypted")
    unpacked = sum(entry.file_size for entry in entries)
    tightest = max(
        (entry.file_size / max(1, entry.compress_size) for entry in entries if entry.file_size > _SMALL), default=0
    )
    if len(entries) > MOST_ENTRIES or unpacked > MOST_UNPACKED or tightest > MOST_RATIO:
        raise Unfit("is a zip bomb, or packed like one")
    if not any(entry.filename == "word/document.xml" for entry in entries):
        raise Unfit("is a zip archive, not a Word document as its name says")


def _blocks(content: Iterator[Paragraph | Table]) -> Iterator[str]:
    from docx.text.paragraph import Paragraph

    listed: list[str] = []
    for block in content:
        item = _list_item(block) if isinstance(block, Paragraph) else None
        if item is not None:
            listed.append(item)
            continue
        if listed:
            yield "\n".join(listed)
            listed = []
        yield _paragraph(block) if isinstance(block, Paragraph) else _table(block)
    yield "\n".join(listed)


def _paragraph(paragraph: Paragraph) -> str:
    text = _words(paragraph)
    style = _style(paragraph)
    heading = _HEADING.match(style)
    if text and style == "title":
        return f"# {text}"
    return f"{'#' * min(6, int(heading[1]))} {text}" if text and heading else text


def _list_item(paragraph: Paragraph) -> str | None:
    properties = paragraph._p.pPr
    is_listed = _style(paragraph).startswith("list") or (properties is not None and properties.numPr is not None)
    text = _words(paragraph) if is_listed else ""
    return f"- {text}" if text else None


def _table(table: Table) -> str:
    rows = [[" ".join(map(_words, cell.paragraphs)).replace("|", r"\|") for cell in row.cells] for row in table.rows]
    if not rows:
        return ""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _style(paragraph: Paragraph) -> str:
    return (paragraph.style.name or "").lower() if paragraph.style is not None else ""


def _words(paragraph: Paragraph) -> str:
    """Gives what a reader sees of a paragraph: insertions that are being tracked, too, but no deletions."""
    return " ".join("".join(run.text for run in paragraph._p.xpath(_SEEN)).split())
