"""Spares everybody the wait for a server that is known to be down. After a few failures in a row calls are turned away
at once; every few seconds one is let through to look, and the first that succeeds lets all through again.

Ours, for there is none to take: pybreaker (2025) knows no asyncio, aiobreaker is of 2021, and purgatory (2024) lets
everybody through at once when it looks again, and takes an asker who went away for a failure.
"""

from __future__ import annotations

import threading
import time

from bot.log import log


class Breaker:
    """For one server; who calls it, from whatever thread, asks first, and tells afterwards how it went."""

    def __init__(self, server: str, failures: int, pause_s: float) -> None:
        self._server, self._most, self._pause_s = server, failures, pause_s
        self._failures = 0
        self._opened_at = self._look_at = 0.0
        self._reason = ""
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether calls are turned away."""
        return self._failures >= self._most

    def turned_away(self) -> str:
        """Gives why a call is not to be made now; nothing when it is.

        A call that is let through while it is open puts off the next one, so that one looks at a time, and one that
        never comes back holds nobody up.
        """
        now = time.monotonic()
        if not self.is_open:
            return ""
        with self._lock:
            if now < self._look_at:
                return f"{self._server} is left alone for {self._look_at - now:.1f} s more: {self._reason}"
            self._look_at = now + self._pause_s
        return ""

    def failed(self, reason: str) -> None:
        """Notes that a call did not reach the server, or had no answer in time."""
        with self._lock:
            self._failures += 1
            self._reason = reason
            self._look_at = time.monotonic() + self._pause_s
            is_enough = self._failures == self._most
        if is_enough:
            self._opened_at = time.monotonic()
            log.warning("server_left_alone", server=self._server, error=reason, looks_every_s=self._pause_s)

    def answered(self) -> None:
        """Notes that the server answered, be it with an error."""
        if self.is_open:
            log.info("server_is_back", server=self._server, after_s=round(time.monotonic() - self._opened_at, 1))
        self._failures = 0
