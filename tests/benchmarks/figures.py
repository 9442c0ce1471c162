"""A measured figure, and the one table that a run prints. A README gets its figures from here and nowhere else, with
the day and the machine that they were measured on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

_BETWEEN_MARKS = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    name: str
    value: str
    unit: str
    how: str
    """What was measured, in words."""
    aim: str = ""


def p50_p95(values: Sequence[float]) -> str:
    """Gives median and 95th percentile."""
    return " / ".join(f"{value:.1f}" for value in np.percentile(values, [50, 95]))


def at_most(limit: float, value: float, unit: str = "") -> str:
    """Says the aim, and whether it was met."""
    return f"≤ {limit:g}{unit}, {'met' if value <= limit else 'missed'}"


def at_least(limit: float, value: float) -> str:
    """Says the aim, and whether it was met."""
    return f"≥ {limit:g}, {'met' if value >= limit else 'missed'}"


def table(figures: Sequence[Figure]) -> str:
    """Gives the figures as a Markdown table."""
    rows = [(one.name, one.value, one.unit, one.how, one.aim) for one in figures]
    lines = [("Figure", "Value", "Unit", "What it is", "Aim"), ("---", "--:", "---", "---", "---"), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machine() -> str:
    """Names the machine as far as it matters here."""
    model = platform.processor() or platform.machine()
    if (cpus := Path("/proc/cpuinfo")).exists() and (found := re.search(r"model name\s*: (.+)", cpus.read_text())):
        model = found[1]
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def write_between_marks(file: Path, figures: Sequence[Figure], command: str, plot: Path | None = None) -> None:
    """Puts the table and its plot between the benchmark marks of a Markdown file, in place of what was there."""
    page = file.read_text(encoding="utf-8")
    measured = f"Measured on {datetime.now(UTC):%d %B %Y} ({machine()}) by `{command}`:\n\n{table(figures)}\n"
    if plot:
        measured += f"\n![How finding grows with the library]({os.path.relpath(plot, file.parent)})\n"
    page, found = _BETWEEN_MARKS.subn(lambda marks: f"{marks[1]}{measured}{marks[2]}", page)
    if found != 1:
        raise SystemExit(f"{file} needs <!-- benchmarks --> and <!-- /benchmarks -->, each on a line of its own, once.")
    file.write_text(page, encoding="utf-8")
