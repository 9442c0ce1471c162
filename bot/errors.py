"""Errors, grouped by what to do next. Adapters translate their library's exceptions into these at the edge; only the
worker's loop and the request gate catch anything wider."""

from __future__ import annotations


class FootnoteError(Exception):
    """Base of the errors that we raise on purpose. Its text is for operators and logs, never for an asker."""


class TryAgain(FootnoteError):
    """Something outside is down, slow or rate-limited: the same call may work later."""


class LibraryUnavailable(TryAgain):
    """The vector store or the embedder cannot be reached."""


class ModelUnavailable(TryAgain):
    """The persona model cannot be reached, or did not answer in time."""


class SlackUnavailable(TryAgain):
    """Slack's Web API cannot be reached, or asked us to slow down."""


class TellUser(FootnoteError):
    """Wrong use: the text is written for the person who did it and says what to do instead."""


class Broken(FootnoteError):
    """Will not work again by itself: a wrong key, a missing permission, a bug. Goes to the dead letters."""


class RequestRefused(Broken):
    """A server does not take this very request, as when it is too long for a model; others may be taken."""
