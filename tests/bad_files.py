"""A folder of everything that can be wrong with a document, made by script, each file with the words that its reason
must hold; and the makers of good files in the formats that are no plain text."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
"""How an encrypted Word document begins, and an old one."""


def pdf(*pages: str, title: str = "", encrypted: bool = False) -> bytes:
    """A PDF with a line of text on each page."""
    contents = [b"BT /F1 12 Tf 72 720 Td (%s) Tj ET" % text.encode("latin-1") for text in pages]
    return pdf_of(contents, title=title, encrypted=encrypted)


def pdf_of(contents: Sequence[bytes], *, packed: bool = False, title: str = "", encrypted: bool = False) -> bytes:
    """A PDF with a page for each stream of drawing commands."""
    count = len(contents)
    numbers = [4 + 2 * index for index in range(count)]
    kids = b" ".join(b"%d 0 R" % number for number in numbers)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (count, kids),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, content in zip(numbers, contents, strict=True):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (number + 1)
        )
        way = b"/Filter /FlateDecode " if packed else b""
        objects.append(b"<< %s/Length %d >>\nstream\n%s\nendstream" % (way, len(content), content))
    trailer = b"/Root 1 0 R"
    if title:
        objects.append(b"<< /Title (%s) >>" % title.encode("latin-1"))
        trailer += b" /Info %d 0 R" % len(objects)
    if encrypted:  # with a password that nobody knows
        objects.append(b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -44 >>" % (b"6f" * 32, b"75" * 32))
        trailer += (
            b" /Encrypt %d 0 R /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]"
            % len(objects)
        )
    out, places = b"%PDF-1.5\n", []
    for number, one in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    return (
        out
        + head
        + table
        + b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, trailer, len(out))
    )


def docx(*paragraphs: tuple[str, str], hidden: str = "", table: Sequence[Sequence[str]] = ()) -> bytes:
    """A Word document of (style, text) paragraphs."""
    import docx as word

    document = word.Document()
    for style, text in paragraphs:
        document.add_paragraph(text, style=style)
    if hidden:
        document.add_paragraph().add_run(hidden).font.hidden = True
    if table:
        rows = document.add_table(rows=len(table), cols=len(table[0])).rows
        for row, cells in zip(rows, table, strict=True):
            for cell, text in zip(row.cells, cells, strict=True):
                cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def zip_bomb() -> bytes:
    """A Word document whose text would unpack to 300 MB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(300_000_000))
    return out.getvalue()


def docx_with(*names: str, content: bytes = b"x") -> bytes:
    """A Word document with other entries of its archive, or more of them."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx(("Normal", "whole")))) as whole, zipfile.ZipFile(out, "w") as changed:
        for name in {*whole.namelist(), *names}:
            changed.writestr(name, content if name in names else whole.read(name))
    return out.getvalue()


def entities() -> bytes:
    """The text of a Word document that would unfold to a billion letters."""
    each = b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 30) for n in range(6))
    word = b"http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    return (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">' + each + b"]>"
        b'<w:document xmlns:w="' + word + b'"><w:body><w:p><w:r><w:t>&g;</w:t></w:r></w:p></w:body></w:document>'
    )


def pdf_bomb(pages: int) -> bytes:
    """A small PDF with 40 MB of text on each page."""
    content = zlib.compress(b"BT /F1 12 Tf 72 720 Td " + b"(bomb) Tj " * 4_000_000 + b"ET", 9)
    return pdf_of([content] * pages, packed=True)


def write_all(folder: Path) -> dict[str, str]:
    """Writes the good pages and the bad ones; gives, for each place that must fail, what its reason must say."""
    folder.mkdir(parents=True, exist_ok=True)
    good: dict[str, bytes] = {
        "good.md": b"# Good\n\nMarkdown says 1001.",
        "good-table.csv": b"code,meaning\nE7,says 1002\n",
        "good-page.html": b"<main><h1>Page</h1><p>HTML says 1003.</p><p style='left:-9999px'>hiddenword</p></main>",
        "good-manual.pdf": pdf("PDF says 1004."),
        "good-letter.docx": docx(("Heading 1", "Letter"), ("Normal", "Word says 1005."), hidden="hiddenword"),
        "good.txt": b"Another text of that name says 1008.",
        "good.jsonl": b'{"id": "record", "text": "A record says 1006."}\n{"id": \n{"id": "record", "text": "Again."}\n',
    }
    bad: dict[str, tuple[bytes, str]] = {
        "empty.md": (b"", "0 bytes"),
        "empty.pdf": (b"", "0 bytes"),
        "latin.md": ("Größe".encode("latin-1"), "not UTF-8"),
        "latin.csv": ("a;b\nGröße;1\n".encode("latin-1"), "not UTF-8"),
        "binary.txt": (b"text\0text", "binary"),
        "encrypted.pdf": (pdf("secret", encrypted=True), "encrypted"),
        "encrypted.docx": (OLE, "encrypted"),
        "cut-off.pdf": (pdf("whole")[:120], "cut off"),
        "cut-off.docx": (docx(("Normal", "whole"))[:9_000], "cut off"),
        "scanned.pdf": (pdf_of([b"0 0 10 10 re f"]), "pictures"),
        "lies-pdf.md": (pdf("x"), "is a PDF, not text"),
        "lies-pdf.html": (pdf("x"), "is a PDF, not a web page"),
        "lies-html.pdf": (b"<html><p>Text.</p></html>", "not a PDF"),
        "lies-zip.txt": (b"PK\x03\x04" + bytes(40), "zip archive"),
        "lies-text.docx": (b"just words", "not a Word document"),
        "zip-bomb.docx": (zip_bomb(), "zip bomb"),
        "pdf-bomb.pdf": (pdf_bomb(8), "memory"),
        "deep.html": (b"<main>" + b"<div>" * 500_000 + b"x", ""),
        "wide.csv": (b"a,b\n" + b'"' + b"x" * 2_000_000 + b'",1\n', "field larger"),
        "entities.docx": (docx_with("word/document.xml", content=entities()), "no Word document"),
        "entries.docx": (docx_with(*(f"x/{number}" for number in range(2_001))), "zip bomb"),
        "turns.pdf": (pdf("x").replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]"), "damaged"),
        "utf16.txt": ("Größe".encode("utf-16-le"), "binary"),
        "packed.md": (gzip.compress(b"Text."), "gzip archive"),
        "script.html": (b"<script>var text</script>", "holds no text"),
        "unknown.xlsx": (b"PK\x03\x04", "kind that cannot be read"),
        "chanel.md": (b"---\naudience: chanel:C1\n---\nText.", "chanel:C1"),
    }
    for name, content in good.items():
        (folder / name).write_bytes(content)
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    with (folder / "enormous.md").open("wb") as enormous:
        enormous.truncate(20_000_001)
    with (folder / "long-line.jsonl").open("wb") as records:
        records.write(b'{"id": "long", "text": "')
        records.truncate(45_000_000)
        records.seek(0, io.SEEK_END)
        records.write(b'"}\n' + json.dumps({"id": "after", "text": "After it says 1007."}).encode())
    (folder / "nested.jsonl").write_bytes(b'{"id": "nested", "text": ' + b"[" * 100_000)
    os.mkfifo(folder / "pipe.md")
    (folder / "out.md").symlink_to("/etc/hostname")
    (folder / "round.md").symlink_to(folder / "round.md")
    (folder / "nowhere.md").symlink_to(folder / "never-was.md")
    wanted = {name: reason for name, (_, reason) in bad.items()}
    del wanted["deep.html"]  # read or not, as long as it costs nobody else anything
    return wanted | {
        "enormous.md": "larger than 20 MB",
        "long-line.jsonl:1": "larger than 20 MB",
        "pipe.md": "pipe",
        "out.md": "leads out",
        "round.md": "",
        "nowhere.md": "gone",
        "nested.jsonl:1": "nested too deeply",
        "good.jsonl:2": "not JSON",
        "good.jsonl:3": "which good.jsonl:1 has already",
    }
