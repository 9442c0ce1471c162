"""A CSV table as text: a paragraph per row, in which each value stands after the name of its column, so that a row
found alone still says what it is about."""

from __future__ import annotations

import csv
from io import StringIO

from retrieval.decoding import Unfit, decoded

MOST_ROWS = 100_000
_LARGEST_CELL = 1_000_000  # characters


def csv_to_markdown(raw: bytes, charset: str | None = None) -> tuple[None, str]:
    """Gives a table's rows; raises Unfit when it is no table, or too long."""
    text = decoded(raw, charset)
    csv.field_size_limit(_LARGEST_CELL)
    head = text.partition("\n")[0]
    separator = max(",;\t|", key=head.count)  # csv.Sniffer gives up on small tables, and guesses quotes wrong
    paragraphs = []
    try:
        rows = csv.reader(StringIO(text, newline=""), delimiter=separator)
        header = [_words(cell) for cell in next(rows, [])]
        for number, row in enumerate(rows):
            if number >= MOST_ROWS:
                raise Unfit(f"has more than {MOST_ROWS:,} rows")
            names = header + [""] * (len(row) - len(header))
            pairs = [(name, _words(cell)) for name, cell in zip(names, row, strict=False)]
            paragraphs.append("; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell))
    except csv.Error as error:
        raise Unfit(f"is no table that can be read: {error}") from error
    return None, "\n\n".join(filter(None, paragraphs))


def _words(cell: str) -> str:
    return " ".join(cell.split())
