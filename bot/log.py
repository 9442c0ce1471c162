"""The log: what happened, a line each, on stderr; coloured for people, JSON for machines. Neither shows the values of
variables: they hold what people wrote. structlog writes it. Its import takes as long as finding an answer, so that for
a command of a moment, which seldom has a line to log, it waits for the first one."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Any

_RETRIES = "docket.dependencies"
CAUSE_CHARACTERS = 500
_PLACES = 12

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
    logging.getLogger(_RETRIES).addFilter(_is_news)
    logging.basicConfig(level=max(_number(level), logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s")


def trouble(error: BaseException) -> dict[str, Any]:
    """Gives what may be logged of an error: its cause, without what people wrote, and the places that it came by, the
    innermost last (`desk.py:173`)."""
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
    return {"cause": cause_of(error), "at": " ".join(places[-_PLACES:])}


def cause_of(error: BaseException) -> str:
    """Names an error in one line, redacted, with its addresses as they may be shown. An error of pydantic's repeats
    what it was given: of that only stays what is wrong with it, and where."""
    from pydantic import ValidationError

    from bot.redacting import redact
    from bot.source_words import without_secrets

    said = str(error)
    if isinstance(error, ValidationError):
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        said = f"{error.title}: " + ", ".join(f"{'.'.join(map(str, one['loc']))} {one['type']}" for one in wrong)
    return redact(without_secrets(f"{type(error).__name__}: {said}"))[:CAUSE_CHARACTERS]


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a job is tried again for a reason that `worker` has not told in a line of its own."""
    return not (record.exc_info and getattr(record.exc_info[0], "__name__", "") == "ForcedRetry")


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
