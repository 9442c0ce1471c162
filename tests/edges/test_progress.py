"""Long work says how far it is, also where nobody sees a bar."""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO

from bot.progress import EVERY_S, lines, progress_bar


class Clock:
    """A clock that stands until it is set."""

    s = 100.0

    def __call__(self) -> float:
        return self.s


def test_a_line_is_written_now_and_then() -> None:
    """With how much is done, and what the rest takes at the pace so far."""
    written: list[str] = []
    clock = Clock()
    show = lines(written.append, clock)
    show(0, 40, "plain: How?")
    clock.s += EVERY_S / 2
    show(5, 40, "plain: When?")
    assert written == []
    clock.s += EVERY_S / 2
    show(10, 40, "plain: Where?")
    assert written == ["10 of 40, about 30 s left: plain: Where?"]
    show(11, 40, "plain: Why?")
    assert len(written) == 1


def test_each_stage_has_its_own_pace() -> None:
    """What was quick to find is not quick to answer."""
    written: list[str] = []
    clock = Clock()
    show = lines(written.append, clock)
    show(0, 40, "finding")
    clock.s += 1
    show(40, 40, "finding")
    show(0, 80, "answering")
    clock.s += 60
    show(2, 80, "answering")
    assert written == ["2 of 80, about 39 min left: answering"]


def test_work_of_unknown_size_has_no_end_to_tell() -> None:
    """A site is as large as its links say."""
    written: list[str] = []
    clock = Clock()
    show = lines(written.append, clock)
    clock.s += EVERY_S
    show(7, 0, "reading")
    assert written == ["7: reading"]


def test_what_is_soon_done_says_nothing_where_there_is_no_terminal() -> None:
    """Scripts that read stderr for errors find none."""
    with redirect_stderr(StringIO()) as stderr, progress_bar() as progress:
        progress(1, 2, "half")
        progress(2, 2, "done")
    assert stderr.getvalue() == ""
