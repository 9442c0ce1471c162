"""A page of figures opens anywhere, loads nothing, and shows what was put in as it was put in."""

from __future__ import annotations

import re
from pathlib import Path

from bot.report import Report


def test_what_is_put_in_is_escaped() -> None:
    """An answer or a question may hold HTML."""
    hostile = "<script>alert(1)</script>"
    page = (
        Report(hostile)
        .heading(hostile)
        .text(hostile)
        .table([hostile], [[hostile]])
        .sides(hostile, hostile, hostile, hostile, hostile)
        .plot(lambda axes: axes.set_title(hostile), hostile)
        .html()
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 9


def test_a_page_loads_nothing_from_outside() -> None:
    """Plots are in it; there is no address to fetch from."""
    page = Report("Figures").plot(lambda axes: axes.bar(["a", "b"], [1, 2]), "Bars").html()
    assert "<svg" in page and 'aria-label="Bars"' in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)|url\((?!#)|@import""", page)


def test_words_that_differ_are_marked_on_their_side() -> None:
    """Everything else is left as it is."""
    page = Report("Diff").sides("Question", "live", "It takes two days.", "candidate", "It takes three days.").html()
    assert "<del>two </del>" in page and "<ins>three </ins>" in page
    assert page.count("It takes ") == 2


def test_numbers_are_set_as_numbers() -> None:
    """Three digits, thousands with commas, a dash for what is not there."""
    page = Report("Table").table(["a", "b", "c", "d"], [[0.12345, 12345, None, "text"]]).html()
    assert re.findall(r'<td class="number">([^<]*)</td>', page) == ["0.123", "12,345", "–"]


def test_the_same_figures_give_the_same_page(tmp_path: Path) -> None:
    """A page that is kept in a repository changes only with what it shows."""

    def made() -> str:
        report = Report("Same").plot(lambda axes: axes.plot([1, 2], [3, 4]), "Line")
        report.write(tmp_path / "deep" / "report.html")
        return (tmp_path / "deep" / "report.html").read_text(encoding="utf-8")

    assert made() == made()


def test_texts_that_are_no_versions_of_each_other_are_not_marked() -> None:
    """They differ everywhere, and marks would only make them hard to read."""
    told = ("Title", "left", "one text", "right", "another")
    assert "<del>" in Report("Sides").sides(*told).html()
    html = Report("Sides").sides(*told, is_marked=False).html()
    assert "<del>" not in html and "<ins>" not in html
    assert "one text" in html and "another" in html
