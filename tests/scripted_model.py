"""A model server on loopback whose replies a test writes down beforehand. It speaks `/v1/chat/completions`, streamed
and plain, and `/v1/models`, and fails in all the ways in which real ones fail."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

Reply = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class ScriptedModel:
    """`async with ScriptedModel() as model:` serves at `model.base_url`; each request takes the next reply."""

    def __init__(self, name: str = "scripted") -> None:
        self.name = name
        self.requests: list[dict[str, Any]] = []
        """The bodies of the chat requests that arrived, in order."""
        self.keys: list[str | None] = []
        self._replies: deque[Reply] = deque()
        self._forever: Reply | None = None
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._released.set()
        await self._runner.cleanup()

    def enqueue(self, *replies: Reply | str) -> None:
        """Adds replies; a string is streamed in small pieces."""
        self._replies.extend(text(reply) if isinstance(reply, str) else reply for reply in replies)

    def always(self, reply: Reply | str) -> None:
        """Gives this reply when nothing else is enqueued."""
        self._forever = text(reply) if isinstance(reply, str) else reply

    def hang(self) -> Reply:
        """Accepts the request and never answers, until the server stops."""

        async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
            await self._released.wait()
            return web.Response(status=503)

        return reply

    def hang_after(self, beginning: str) -> Reply:
        """Streams a beginning and then stays silent."""

        async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
            response = await _begin(request)
            await _send(response, _chunk(body, content=beginning))
            await self._released.wait()
            return response

        return reply

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        self.keys.append(request.headers.get("Authorization"))
        reply = self._replies.popleft() if self._replies else self._forever
        if reply is None:
            return web.json_response({"error": {"message": "the test enqueued no reply"}}, status=418)
        return await reply(request, body)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"object": "list", "data": [{"id": self.name, "object": "model", "created": 0}]})


def text(content: str, *, size: int = 7, finish: str | None = "stop", reasoning: str = "") -> Reply:
    """Answers with a text, streamed in pieces of `size` characters if a stream was asked for."""

    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if not body.get("stream"):
            message = {"role": "assistant", "content": content}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return web.json_response({"id": "c", "object": "chat.completion", "created": 0, "choices": [choice]})
        response = await _begin(request)
        await _send(response, _chunk(body, role="assistant", content=""))
        for start in range(0, len(reasoning), size):
            await _send(response, _chunk(body, reasoning_content=reasoning[start : start + size]))
        for start in range(0, len(content), size):
            await _send(response, _chunk(body, content=content[start : start + size]))
        if finish is not None:
            await _send(response, _chunk(body, finish=finish))
            await _send(response, {**_chunk(body), "choices": [], "usage": {"total_tokens": 1}})
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    return reply


def status(code: int, *, retry_after: str | None = None, message: str = "no") -> Reply:
    """Answers with an HTTP error in OpenAI's form."""

    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        headers = {"Retry-After": retry_after} if retry_after is not None else {}
        return web.json_response({"error": {"message": message, "type": "t"}}, status=code, headers=headers)

    return reply


def raw(body: bytes, *, content_type: str = "text/event-stream") -> Reply:
    """Answers 200 with these bytes."""

    async def reply(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type)

    return reply


def half_a_body(beginning: str = "") -> Reply:
    """Sends a beginning and hangs up in the middle of an event."""

    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = await _begin(request)
        if beginning:
            await _send(response, _chunk(body, content=beginning))
        await response.write(b'data: {"id": "c", "cho')
        assert request.transport is not None
        request.transport.close()
        return response

    return reply


def events(*payloads: object) -> Reply:
    """Streams these JSON values as events, whatever their shape."""
    lines = "".join(f"data: {json.dumps(payload)}\n\n" for payload in payloads)
    return raw(f"{lines}data: [DONE]\n\n".encode())


def _chunk(body: dict[str, Any], finish: str | None = None, **delta: object) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": body["model"], "choices": [choice]}


async def _begin(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def _send(response: web.StreamResponse, payload: object) -> None:
    await response.write(f"data: {json.dumps(payload)}\n\n".encode())
