"""Answers: passed on from llama.cpp's own server as it writes them. Ours are only the name of the model, the form of an
error, and a bound on the length where the caller set none."""

from __future__ import annotations

import json
import re

import aiohttp
from aiohttp import web

from bot.local.tuner.errors import JSON, WireError, busy, invalid
from bot.local.tuner.models import Models
from bot.local.tuner.requests import json_body
from bot.local.tuner.serving import Upstream

DEFAULT_MAX_TOKENS = 512
"""Where a request names none. A small base that loops would otherwise write until its context is full; four times the
120 words of an answer are room enough."""
MOST_AT_ONCE = 64
"""Answers that may be written or wait for their turn at the same time."""
LONGEST_SILENCE_S = 600
_LARGEST_LINE = 8 * 1024 * 1024
# Inside of a JSON string every quote follows a backslash, so that this finds the member and no text that looks like it.
_MODEL = re.compile(rb'"model":\s*"(?:[^"\\]|\\.)*"')

_BROKEN_OFF = WireError(503, "The server of the model broke off; try again.", kind="server_error", retry_after_s=1)


class Chat:
    """`POST /v1/chat/completions`."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._running = 0
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Passes a request on, and its answer back. Raises WireError."""
        body = await json_body(request)
        name = body.get("model")
        if not isinstance(name, str) or not name:
            raise invalid("model", "A 'model' is required.")
        if self._running >= MOST_AT_ONCE:
            raise busy(f"{MOST_AT_ONCE} answers are being written already.", retry_after_s=1)
        if body.get("max_tokens") is None and body.get("max_completion_tokens") is None:
            body["max_tokens"] = DEFAULT_MAX_TOKENS
        self._running += 1
        try:
            async with self._models.using(name) as upstream:
                return await self._pass_on(request, upstream, {**body, **upstream.extra}, name)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            raise _BROKEN_OFF from None
        except TimeoutError:
            message = f"The model wrote nothing for {LONGEST_SILENCE_S} s."
            raise WireError(504, message, kind="server_error", again=False) from None
        finally:
            self._running -= 1

    async def _pass_on(self, request: web.Request, upstream: Upstream, body: JSON, name: str) -> web.StreamResponse:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=LONGEST_SILENCE_S)
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=_LARGEST_LINE)
        url, key = f"{upstream.url}/v1/chat/completions", {"Authorization": f"Bearer {upstream.key}"}
        model = b'"model":' + json.dumps(name).encode()
        async with self._session.post(url, json=body, headers=key) as answer:
            if answer.status != 200:
                raise _translated(answer.status, await answer.read())
            headers = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
            if answer.content_type != "text/event-stream":
                return web.Response(body=_MODEL.sub(lambda _: model, await answer.read(), count=1), headers=headers)
            response = web.StreamResponse(headers={**headers, "Cache-Control": "no-cache"})
            await response.prepare(request)
            try:
                async for line in answer.content:
                    await response.write(_MODEL.sub(lambda _: model, line, count=1))
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError):
                if request.transport is not None and not request.transport.is_closing():
                    await response.write(b"data: " + json.dumps(_BROKEN_OFF.body).encode() + b"\n\n")
            return response


def _translated(status: int, answer: bytes) -> WireError:
    """llama.cpp's error in OpenAI's form."""
    try:
        told = json.loads(answer)["error"]
        message, kind = str(told["message"]), str(told.get("type"))
    except (ValueError, KeyError, TypeError, AttributeError):
        message, kind = "The server of the model gave no reason.", "server_error"
    if kind == "exceed_context_size_error":
        return WireError(400, message, param="messages", code="context_length_exceeded")
    if status == 503:
        return WireError(503, message, kind="server_error", code="model_loading", retry_after_s=1)
    if status >= 500:
        return WireError(status, message, kind="server_error")
    return WireError(status if status in (400, 404, 413, 422, 429) else 500, message)
