"""Progress of long work, on stderr: a bar for people who look on, and a line now and then where a file or a service
keeps what is written, so that whoever looks there sees that work goes on, and for how long still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int, str], None]
"""Takes how much is done, of how much, and what it is."""

EVERY_S = 10.0
"""Between two lines; what takes less than that says nothing."""


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Shows a bar while work goes on, and removes it then; writes lines where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lines(lambda text: print(text, file=console.file, flush=True))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int, label: str) -> None:
            bar.update(task, completed=done, total=total or None, description=label)

        yield show


def lines(write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Progress:
    """Gives what writes a line every EVERY_S seconds: how much is done, and about how long the rest takes at this pace;
    another total begins another stage."""
    told, began, stage, first = clock(), clock(), 0, 0

    def show(done: int, total: int, label: str) -> None:
        nonlocal told, began, stage, first
        now = clock()
        if total != stage or done < first:
            began, stage, first = now, total, done
        if now - told < EVERY_S:
            return
        told = now
        rest_s = (total - done) * (now - began) / (done - first) if done > first else None
        left = f", about {_duration(rest_s)} left" if rest_s else ""
        write(f"{done:,} of {total:,}{left}: {label}" if total else f"{done:,}: {label}")

    return show


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5_400
        else f"{seconds / 3600:.1f} h"
    )
