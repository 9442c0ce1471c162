"""The text of a PDF, page by page, each under a heading with its number, so that a citation says where to look."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from retrieval.decoding import Unfit

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

MOST_PAGES = 2_000
_FPDF_ERR_PASSWORD = 4
_HYPHEN = re.compile(r"\ufffe\s*|(?<=[a-zäöüß])\u00ad\n")
"""What PDFium makes of a hyphen at a line's end that the word itself does not have."""
_FILE_NAME = re.compile(r"\.\w{2,5}$|^untitled|^microsoft word", re.IGNORECASE)


def pdf_to_markdown(raw: bytes) -> tuple[str | None, str]:
    """Gives a PDF's title and its text; raises Unfit when it is encrypted, damaged, too long or without any text."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(raw)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _FPDF_ERR_PASSWORD:
            raise Unfit("is encrypted: it opens with a password only") from error
        raise Unfit("is damaged or cut off: no PDF reader opens it") from error
    count = len(document)
    if not count:
        raise Unfit("is damaged or cut off: it has no page")
    if count > MOST_PAGES:
        raise Unfit(f"has {count:,} pages, more than {MOST_PAGES:,}")
    pages = [(number, _text(document, number - 1)) for number in range(1, count + 1)]
    if not any(text for _, text in pages):
        raise Unfit("holds no text: perhaps its pages are pictures, as from a scanner")
    if count == 1:
        return _title(document), pages[0][1]
    return _title(document), "\n\n".join(f"## Page {number}\n\n{text}" for number, text in pages if text)


def _text(document: PdfDocument, index: int) -> str:
    import pypdfium2

    try:
        page = document[index]
    except pypdfium2.PdfiumError as error:
        raise Unfit(f"is damaged or cut off: page {index + 1} cannot be read") from error
    text: str = page.get_textpage().get_text_bounded()
    page.close()
    return _HYPHEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).replace("\0", "").strip()


def _title(document: PdfDocument) -> str | None:
    title = " ".join(document.get_metadata_dict().get("Title", "").split())
    return None if _FILE_NAME.search(title) else title or None
