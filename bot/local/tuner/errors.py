"""The refusals of this tuner, in the form that OpenAI's clients turn into their exceptions."""

from __future__ import annotations

from typing import Any

from aiohttp import web

JSON = dict[str, Any]


class WireError(Exception):
    """A request refused as OpenAI refuses it: a status, and `{"error": {message, type, param, code}}`.

    `again` tells a client that retries by itself whether it should; None leaves that to the status.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        again: bool | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: JSON = {"error": {"message": message, "type": kind, "param": param, "code": code}}
        self.headers: dict[str, str] = {}
        if again is not None:
            self.headers["x-should-retry"] = str(again).lower()
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)

    def response(self) -> web.Response:
        return web.json_response(self.body, status=self.status, headers=self.headers)


def invalid(param: str | None, message: str, code: str | None = None) -> WireError:
    """A request that will never do."""
    return WireError(400, message, param=param, code=code)


def missing(what: str, id: str, *, param: str, code: str | None = None) -> WireError:
    """Something that is asked for by a name that nothing here has."""
    return WireError(404, f"There is no {what} '{id}'.", param=param, code=code)


def busy(message: str, *, retry_after_s: int) -> WireError:
    """More is asked at once than this machine takes on."""
    return WireError(429, message, kind="requests", code="rate_limit_exceeded", retry_after_s=retry_after_s)


def no_room(problem: OSError) -> WireError:
    """The data folder cannot be written; trying again at once would not help."""
    message = f"The tuner cannot use its data folder: {problem.strerror or problem}."
    return WireError(507, message, kind="server_error", code="storage_error", again=False)
