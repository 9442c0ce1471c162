"""How finding grows with the library: the same questions to libraries of thousands of passages, on both indexes, and on
Weaviate beside the bare client. As rows of the table, and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.benchmarks.figures import Figure, at_most, p50_p95
from tests.benchmarks.finding import ROUNDS, K, Times

HOW = f"best {K} of a hybrid search, embedding aside, least of {ROUNDS} rounds"


@dataclass(frozen=True)
class Point:
    """What was measured at one size."""

    passages: int
    where: str
    """`embedded` or `Weaviate`."""
    times: Times


def figures_of(point: Point) -> list[Figure]:
    """Gives the rows of one size; where there is a bare client, with the ratio of the slow ones."""
    ours, alone = point.times.ours, point.times.alone
    name = f"Finding, {point.passages:,} passages, {point.where}"
    figures = [Figure(name, p50_p95(ours), "ms, p50 / p95", HOW)]
    if alone:
        ratio = float(np.percentile(ours, 95) / np.percentile(alone, 95))
        how = "the same hybrid search by weaviate-client alone, in turn"
        figures += [
            Figure("… the bare client", p50_p95(alone), "ms, p50 / p95", how),
            Figure("… ours / the bare client", f"{ratio:.2f}", "ratio", "of the p95", at_most(1.2, ratio)),
        ]
    return figures


def draw(points: Sequence[Point], file: Path) -> None:
    """Draws median and 95th percentile over the size as an SVG file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Picture

    curves = {
        "embedded": ([(point.passages, point.times.ours) for point in points if point.where == "embedded"], "#7a7a7a"),
        "Weaviate": ([(point.passages, point.times.ours) for point in points if point.where == "Weaviate"], "#1264a3"),
        "Weaviate, bare client": (
            [(point.passages, point.times.alone) for point in points if point.times.alone],
            "#e8912d",
        ),
    }
    with rc_context({"svg.hashsalt": "growth", "font.size": 10}):
        picture = Picture(figsize=(7, 3.6), layout="constrained")
        axes = picture.subplots()
        for name, (curve, colour) in curves.items():
            if not curve:
                continue
            sizes = [size for size, _ in curve]
            for percent, line in ((50, "-"), (95, "--")):
                times = [float(np.percentile(times, percent)) for _, times in curve]
                axes.plot(sizes, times, line, marker="o", markersize=3, color=colour, label=f"{name}, p{percent}")
        axes.set(xscale="log", yscale="log", xlabel="passages in the library", ylabel="ms for a find, embedding aside")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        picture.savefig(file, format="svg", metadata={"Date": None})
