"""What stands in front of the weights of a GGUF file, read in hundredths of a second; the reader of the package `gguf`
takes seconds for the vocabulary that nobody asked for. The form: github.com/ggml-org/ggml/blob/master/docs/gguf.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST = 1 << 28
"""Bytes of one string, or items of one list, beyond which a file is taken for broken."""

Value = str | int | float | bool


class Broken(Exception):
    """The file is no GGUF file, or not a whole one; the text says why."""


@dataclass(frozen=True)
class Header:
    """The front of a GGUF file."""

    values: dict[str, Value]
    """The metadata, lists left out."""
    lists: dict[str, int]
    """The lengths of the lists in the metadata."""
    tensors: dict[str, tuple[int, ...]]
    """The shapes, as a row-major array has them."""

    def text(self, key: str) -> str:
        """Gives a value as text, empty where there is none."""
        return str(self.values.get(key, ""))


def read_header(path: Path) -> Header:
    """Reads the front of a GGUF file and checks that its weights are all there. Raises Broken and OSError."""
    with path.open("rb") as file:
        try:
            return _header(file, path.stat().st_size)
        except (struct.error, KeyError, UnicodeDecodeError, ValueError) as error:
            raise Broken(f"{path.name} is no whole GGUF file ({type(error).__name__}: {error})") from error


def _header(file: BinaryIO, size: int) -> Header:
    magic, version, tensors, count = _read(file, "4sIQQ")
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError("it does not begin as one")
    values: dict[str, Value] = {}
    lists: dict[str, int] = {}
    for _ in range(count):
        key = _string(file)
        (kind,) = _read(file, "I")
        if kind == _ARRAY:
            lists[key] = _skip_list(file)
        else:
            values[key] = _string(file) if kind == _STRING else _read(file, _SCALARS[kind])[0]
    shapes: dict[str, tuple[int, ...]] = {}
    end = 0
    for _ in range(tensors):
        name = _string(file)
        (dimensions,) = _read(file, "I")
        if dimensions > 4:
            raise ValueError(f"{name} has {dimensions} dimensions")
        shape = _read(file, "Q" * dimensions)
        kind, offset = _read(file, "IQ")
        shapes[name] = tuple(reversed(shape))
        end = max(end, offset + _bytes_of(shape, kind))
    alignment = int(values.get("general.alignment", 32))
    if (begin := -(-file.tell() // alignment) * alignment) + end > size:
        raise ValueError(f"{begin + end - size:,} bytes are missing at its end")
    return Header(values, lists, shapes)


def _bytes_of(shape: tuple[int, ...], kind: int) -> int:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    items = 1
    for length in shape:
        items *= length
    return int(items // block * size)


def _read(file: BinaryIO, form: str) -> tuple[Any, ...]:
    layout = struct.Struct("<" + form)
    return layout.unpack(file.read(layout.size))


def _string(file: BinaryIO) -> str:
    return file.read(_length(file)).decode()


def _length(file: BinaryIO) -> int:
    (length,) = _read(file, "Q")
    if length > _LONGEST:
        raise ValueError(f"a length of {length}")
    return int(length)


def _skip_list(file: BinaryIO) -> int:
    (kind,) = _read(file, "I")
    length = _length(file)
    if kind == _STRING:
        for _ in range(length):
            file.seek(int.from_bytes(file.read(8), "little"), 1)
    elif kind == _ARRAY:
        for _ in range(length):
            _skip_list(file)
    else:
        file.seek(length * struct.calcsize(_SCALARS[kind]), 1)
    return length
