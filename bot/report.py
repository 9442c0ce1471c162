"""Pages of figures: one HTML file with tables, plots and texts side by side, which opens anywhere, loads nothing from
outside and runs no script. Everything put in is escaped."""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Report:
    """A page, built from top to bottom; each method adds a part and gives the report back."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[dict[str, Any]] = []

    def heading(self, text: str) -> Self:
        """Begins a section."""
        return self._add("heading", text=text)

    def text(self, text: str) -> Self:
        """Adds a paragraph."""
        return self._add("text", text=text)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Self:
        """Adds a table; numbers are set to the right, floats with three digits, None as a dash."""
        return self._add("table", head=head, rows=[[_cell(value) for value in row] for row in rows])

    def plot(self, draw: Callable[[Axes], None], caption: str, *, width: float = 8, height: float = 3.6) -> Self:
        """Adds what `draw` draws on matplotlib's axes, as SVG; the size is in inches."""
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "footnote"}):
            draw(figure.subplots())
            drawn = io.StringIO()
            figure.savefig(drawn, format="svg", metadata={"Date": None})
        svg = drawn.getvalue()
        return self._add("plot", svg=svg[svg.index("<svg") :], caption=caption)

    def sides(
        self, title: str, left_name: str, left: str, right_name: str, right: str, *, is_marked: bool = True
    ) -> Self:
        """Sets two texts side by side and marks the words in which they differ, where they are versions of one."""
        if not is_marked:
            plain = {"left": [(False, left)], "right": [(False, right)]}
            return self._add("sides", title=title, left_name=left_name, right_name=right_name, **plain)
        ours, theirs = left.split(" "), right.split(" ")
        matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
        marked: tuple[list[tuple[bool, str]], list[tuple[bool, str]]] = ([], [])
        for tag, i1, i2, j1, j2 in matcher.get_opcodes():
            for side, words in ((0, ours[i1:i2]), (1, theirs[j1:j2])):
                if words:
                    marked[side].append((tag != "equal", " ".join(words) + " "))
        return self._add(
            "sides", title=title, left_name=left_name, left=marked[0], right_name=right_name, right=marked[1]
        )

    def html(self) -> str:
        """Gives the whole page."""
        from jinja2 import Environment

        template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
        page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
        return page.render(title=self.title, parts=self._parts)

    def write(self, file: Path) -> None:
        """Writes the page; its folder is made if need be."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.html(), encoding="utf-8")

    def _add(self, kind: str, **part: Any) -> Self:
        self._parts.append({"kind": kind, **part})
        return self


def _cell(value: object) -> dict[str, object]:
    if value is None:
        return {"text": "–", "is_number": True}
    if isinstance(value, float):
        return {"text": f"{value:,.3f}", "is_number": True}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"text": f"{value:,}", "is_number": True}
    return {"text": str(value), "is_number": False}
