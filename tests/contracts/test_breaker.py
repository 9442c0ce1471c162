"""Calls to a server that is down are turned away at once, until one that looks finds it back."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from retrieval.breaker import Breaker


class Clock:
    """Stands until it is moved."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    standing = Clock()
    monkeypatch.setattr("retrieval.breaker.time", standing)
    return standing


def new_breaker() -> Breaker:
    return Breaker("A server", failures=3, pause_s=5)


def opened(breaker: Breaker) -> Breaker:
    for _ in range(3):
        assert not breaker.turned_away()
        breaker.failed("refused")
    return breaker


def test_failures_in_a_row_open_it(clock: Clock) -> None:
    """The third one does; what failed before an answer does not count."""
    breaker = new_breaker()
    for _ in range(5):
        breaker.failed("refused")
        breaker.failed("refused")
        assert not breaker.turned_away()
        breaker.answered()
    opened(breaker)
    assert breaker.turned_away() == "A server is left alone for 5.0 s more: refused"


def test_one_at_a_time_looks_whether_it_is_back(clock: Clock) -> None:
    """After the pause one call is let through, and the next only after another pause, though the first never told."""
    breaker = opened(new_breaker())
    clock.now += 4.9
    assert breaker.turned_away()
    for _ in range(3):
        clock.now += 5.1
        assert [bool(breaker.turned_away()) for _ in range(4)] == [False, True, True, True]


def test_a_look_that_fails_keeps_it_open(clock: Clock) -> None:
    """For another pause, with the newest reason."""
    breaker = opened(new_breaker())
    clock.now += 5.1
    assert not breaker.turned_away()
    clock.now += 2
    breaker.failed("no route")
    clock.now += 4.9
    assert breaker.turned_away().endswith("no route")


def test_one_answer_closes_it(clock: Clock) -> None:
    """Whatever the answer was, and from whichever call it came; then it takes three failures again."""
    breaker = opened(new_breaker())
    clock.now += 5.1
    breaker.turned_away()
    breaker.answered()
    assert not breaker.is_open
    breaker.failed("refused")
    assert not breaker.turned_away()


def test_the_log_says_once_that_it_is_left_alone_and_once_that_it_is_back(clock: Clock) -> None:
    """However many calls fail meanwhile, and however many succeed afterwards."""
    breaker = new_breaker()
    with capture_logs() as lines:
        opened(breaker)
        for _ in range(5):
            breaker.failed("refused")
        clock.now += 12
        for _ in range(5):
            breaker.answered()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("server_left_alone", "warning"),
        ("server_is_back", "info"),
    ]
    assert lines[0]["error"] == "refused" and lines[1]["after_s"] == 12
