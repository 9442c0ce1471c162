"""The Web API's door: who calls, with what, which method, and the faults that a test has ordered.

Every answer is JSON with `ok`, as Slack's; nothing that a caller sends can make it a 500, except an ordered fault.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bot.local.slack.arguments import Arguments, parse_json
from bot.local.slack.chat_methods import ChatMethods
from bot.local.slack.errors import SlackError
from bot.local.slack.manifest import Manifest
from bot.local.slack.people import APP_TOKEN, BOT_TOKEN, JSON
from bot.local.slack.read_methods import ReadMethods
from bot.local.slack.transports import SocketMode

_TOKENS = re.compile(r"x(?:ox[a-z]|app)-[\w-]+")


@dataclass
class Fault:
    """How the next `times` calls of one method go wrong.

    `after` lets the call do its work first, so that only its answer is lost: what a caller sees when a line breaks.
    """

    error: str | None = None
    status: int = 200
    delay_s: float = 0
    retry_after_s: int | None = None
    after: bool = False
    times: int = 1


class WebApi:
    def __init__(
        self,
        chat: ChatMethods,
        read: ReadMethods,
        manifest: Manifest,
        socket_mode: SocketMode | None,
        socket_url: str,
    ) -> None:
        self._chat = chat
        self._read = read
        self._manifest = manifest
        self._socket_mode = socket_mode
        self._socket_url = socket_url
        self.faults: dict[str, list[Fault]] = {}
        self.log: deque[JSON] = deque(maxlen=20_000)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one call."""
        method = request.match_info["method"]
        started_at = time.time()
        arguments: JSON = {}
        try:
            arguments = await _arguments(request)
            response = await self._answer(method, _token(request, arguments), arguments)
        except SlackError as refused:
            response = _refusal(refused)
        except web.HTTPRequestEntityTooLarge:
            response = _refusal(SlackError("request_too_large"), status=413)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            response = _refusal(SlackError("internal_error"))
        self.log.append(
            {
                "method": method[:100],
                "args": redacted({k: v for k, v in arguments.items() if k != "token"}),
                "at": started_at,
                "seconds": round(time.time() - started_at, 4),
                "status": response.status,
                "error": response.get("error"),
            }
        )
        return response

    async def _answer(self, method: str, token: str | None, values: JSON) -> web.Response:
        fault = self._next_fault(method)
        if fault:
            await asyncio.sleep(fault.delay_s)
        fails = fault is not None and (fault.error is not None or fault.status != 200)
        if fault and fails and not fault.after:
            return _failure(fault)
        answer = self._call(method, token, values)
        if fault and fails:
            return _failure(fault)
        headers = {"x-oauth-scopes": ",".join(sorted(self._manifest.scopes)), "x-slack-req-id": f"{time.time_ns():x}"}
        return web.json_response({"ok": True, **answer}, headers=headers)

    def _call(self, method: str, token: str | None, values: JSON) -> JSON:
        if method == "api.test":
            return _api_test(values)
        if method == "apps.connections.open":
            return self._open_connection(token)
        handler = self._method(method)
        if handler is None:
            raise SlackError("unknown_method", req_method=method[:100])
        if token is None:
            raise SlackError("not_authed")
        if token == APP_TOKEN:
            raise SlackError("not_allowed_token_type")
        if token != BOT_TOKEN:
            raise SlackError("invalid_auth")
        arguments = Arguments(values)
        place = values.get("channel", values.get("channel_id"))
        channel = self._read.workspace.channels.get(place) if isinstance(place, str) else None
        self._manifest.permit(method, channel, arguments.names("types"))
        return handler(arguments)

    def _method(self, method: str) -> Callable[[Arguments], JSON] | None:
        name = method.replace(".", "_")
        if "." not in method or "_" in method or not name.isascii() or name.startswith("_"):
            return None
        found: Callable[[Arguments], JSON] | None = getattr(self._chat, name, None) or getattr(self._read, name, None)
        return found

    def _open_connection(self, token: str | None) -> JSON:
        if token is None:
            raise SlackError("not_authed")
        if token == BOT_TOKEN:
            raise SlackError("not_allowed_token_type")
        if token != APP_TOKEN:
            raise SlackError("invalid_auth")
        if self._socket_mode is None:
            raise SlackError("socket_mode_disabled")
        return {"url": f"{self._socket_url}?ticket={self._socket_mode.ticket()}&app_id=local"}

    def _next_fault(self, method: str) -> Fault | None:
        waiting = self.faults.get(method, [])
        if not waiting:
            return None
        fault = waiting[0]
        fault.times -= 1
        if fault.times <= 0:
            waiting.pop(0)
        return fault


def redacted(value: Any) -> Any:
    """The same without anything that looks like a token."""
    if isinstance(value, str):
        return _TOKENS.sub("(token)", value)
    if isinstance(value, dict):
        return {redacted(key): redacted(part) for key, part in value.items()}
    return [redacted(part) for part in value] if isinstance(value, list) else value


async def _arguments(request: web.Request) -> JSON:
    values: JSON = dict(request.query)
    if request.method != "POST":
        return values
    if request.content_type == "application/json":
        try:
            body = parse_json(await request.read() or b"{}")
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(body, dict):
            raise SlackError("json_not_object")
        return values | body
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        try:
            form = await request.post()
        except (ValueError, AssertionError):
            raise SlackError("invalid_post_type") from None
        return values | {name: value for name, value in form.items() if isinstance(value, str)}
    if await request.read():
        raise SlackError("invalid_post_type")
    return values


def _token(request: web.Request, arguments: JSON) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    sent = arguments.get("token")
    return sent if isinstance(sent, str) and sent else None


def _api_test(values: JSON) -> JSON:
    arguments = {k: v for k, v in values.items() if k != "token"}
    if "error" in arguments:
        raise SlackError(str(arguments["error"]), args=arguments)
    return {"args": arguments} if arguments else {}


def _refusal(refused: SlackError, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = {"ok": False, "error": refused.code, **refused.details}
    response = web.json_response(body, status=status, headers=headers)
    response["error"] = refused.code
    return response


def _failure(fault: Fault) -> web.Response:
    code = fault.error or ("ratelimited" if fault.status == 429 else "internal_error")
    headers = {}
    if fault.status == 429 or fault.retry_after_s is not None:
        headers["Retry-After"] = str(fault.retry_after_s if fault.retry_after_s is not None else 1)
    return _refusal(SlackError(code), status=fault.status, headers=headers)
