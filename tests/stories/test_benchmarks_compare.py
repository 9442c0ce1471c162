"""What the benchmarks make of what they measured: overhead is what is beyond the bare call, and neither the peers nor
the machine's name get into the project."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.benchmarks import beside, peers
from tests.benchmarks.beside import LANGCHAIN, LLAMAINDEX, OURS, Way, ask_in_turn
from tests.benchmarks.figures import Figure, write_between_marks
from tests.benchmarks.finding import Times
from tests.benchmarks.growth import Point, draw, figures_of

ROOT = Path(__file__).parents[2]


class Clock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0

    def perf_counter(self) -> float:
        return self.seconds

    def takes(self, *ms: float) -> beside.Call:
        """A call that takes so long; with several, one after the other, and so on."""
        turns = iter(ms * 1_000)

        def call(text: str) -> None:
            self.calls += 1
            self.seconds += next(turns) / 1_000

        return call

    def waits(self, ms: float) -> beside.Call:
        """The same as a coroutine."""

        async def call(text: str) -> None:
            await asyncio.sleep(0)
            self.takes(ms)(text)

        return call


async def test_an_overhead_is_what_is_beyond_the_bare_call_whichever_way_takes_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A peer that can be asked synchronously or not counts with its faster way, each beside its own bare client; and of
    several rounds the least counts."""
    clock = Clock()
    monkeypatch.setattr(beside, "time", clock)
    monkeypatch.setattr(beside, "ms_since", lambda began: (clock.seconds - began) * 1_000)
    ways = [
        Way(OURS, clock.waits(7), clock.waits(5)),
        Way(LANGCHAIN, clock.takes(6), clock.takes(5)),
        Way(LANGCHAIN, clock.waits(9), clock.waits(5)),
        Way(LLAMAINDEX, clock.takes(9, 40, 40), clock.takes(30, 30, 6)),
    ]
    over = await ask_in_turn(ways, ["one?", "two?"], rounds=4)
    assert over == pytest.approx({OURS: 2, LANGCHAIN: 1, LLAMAINDEX: 3})
    assert clock.calls == 4 * 2 * (2 + 2 * 4)  # ways, with and without, questions to warm up and to count


def test_a_ratio_beside_the_bare_client_is_of_the_slow_ones() -> None:
    """The rows of a size say whether the aim is met for 19 of 20 questions."""
    point = Point(1_000, "Weaviate", Times([2.0] * 90 + [12.0] * 10, [1.0] * 90 + [10.0] * 10))
    ours, alone, ratio = figures_of(point)
    assert (ours.value, alone.value) == ("2.0 / 12.0", "1.0 / 10.0")
    assert (ratio.value, ratio.aim) == ("1.20", "≤ 1.2, met")
    assert [figure.name for figure in figures_of(Point(1_000, "embedded", Times([2.0], [])))] == [
        "Finding, 1,000 passages, embedded"
    ]


def test_the_plot_is_the_same_for_the_same_figures_and_names_no_machine(tmp_path: Path) -> None:
    """It is kept in the project: another run of the same figures must not change it."""
    points = [Point(size, "Weaviate", Times([1.0, 2.0], [1.0, 1.5])) for size in (1_000, 10_000)]
    for name in ("one.svg", "two.svg"):
        draw(points, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "<dc:date>" not in (tmp_path / "one.svg").read_text(encoding="utf-8")


def test_the_plot_stands_below_the_table_that_it_is_of(tmp_path: Path) -> None:
    """Between the marks, by a path that a reader of the page can follow."""
    page, plot = tmp_path / "README.md", tmp_path / "docs" / "growth.svg"
    page.write_text("<!-- benchmarks -->\nold\n<!-- /benchmarks -->\n", encoding="utf-8")
    write_between_marks(page, [Figure("A find", "1", "ms", "measured")], "bench", plot)
    *_, row, empty, picture, last = page.read_text(encoding="utf-8").splitlines()
    assert (row[:8], empty) == ("| A find", "")
    assert picture == "![How finding grows with the library](docs/growth.svg)"
    assert last == "<!-- /benchmarks -->"


def test_what_we_are_measured_beside_is_no_dependency() -> None:
    """Neither the project nor a lock names a package of the peers."""
    files = [ROOT / "pyproject.toml", *ROOT.glob("requirements*.lock")]
    names = [requirement.split("==")[0] for requirement in peers.PEERS]
    assert len(files) > 4
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not [name for name in names if name in text], file
