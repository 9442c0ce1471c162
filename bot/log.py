"""The log: what happened, a line each, on stderr; coloured for people, JSON for machines. Neither shows the values of
variables: they hold what people wrote. structlog writes it. Its import takes as long as finding an answer, so that for
a command of a moment, which seldom has a line to log, it waits for the first one."""

from __future__ import annotations

import logging
import sys
from typing import Any

_waiting: list[str] = []
"""The level of a log that is to be set up with its first line."""


class Log:
    """structlog's logger, imported when it is used: `log.warning("what_happened", cause=…)`."""

    def __getattr__(self, name: str) -> Any:
        import structlog

        if _waiting:
            _configure(_waiting.pop())
        return getattr(structlog.get_logger(), name)


log = Log()


def set_up(level: str, *, at_first_line: bool = False) -> None:
    """Sets up the log from a level on. With `at_first_line` nothing that is run may use structlog but by `log`."""
    if at_first_line:
        _waiting[:] = [level]
    else:
        _configure(level)
    logging.basicConfig(level=max(_number(level), logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s")


def _configure(level: str) -> None:
    import structlog

    is_shown_to_people = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            *([] if is_shown_to_people else [structlog.processors.format_exc_info]),
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if is_shown_to_people
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _number(level: str) -> int:
    return logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
