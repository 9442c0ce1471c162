"""The two ways to an app: Socket Mode and signed HTTP posts; each sends a payload once and tells what became of it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType, web

from bot.local.slack.people import APP_ID, JSON, SIGNING_SECRET

ACK_S = 3
CONNECTIONS = 10
Kind = Literal["events_api", "interactive", "slash_commands"]


@dataclass(frozen=True)
class Outcome:
    """What became of one delivery: `problem` is None when it was acknowledged, else Slack's word for it."""

    problem: str | None = None
    body: Any = None
    refuses_retries: bool = False


class Transport(Protocol):
    async def send(self, kind: Kind, payload: JSON, attempt: int, reason: str | None) -> Outcome: ...

    async def close(self) -> None: ...


class SocketMode:
    """The WebSocket side: up to ten connections, each payload to one of them, in turn."""

    def __init__(self) -> None:
        self._tickets: set[str] = set()
        self._connections: list[web.WebSocketResponse] = []
        self._acks: dict[str, tuple[web.WebSocketResponse, asyncio.Future[Outcome]]] = {}
        self._is_connected = asyncio.Event()

    def ticket(self) -> str:
        """A one-time ticket for one connection, as in the URL of apps.connections.open."""
        ticket = secrets.token_hex(16)
        self._tickets.add(ticket)
        return ticket

    async def connection(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until it closes."""
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=403, text="this link was used before, or was never given")
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse(max_msg_size=4 * 1024 * 1024, heartbeat=30)
        await socket.prepare(request)
        if len(self._connections) >= CONNECTIONS:
            await socket.send_json({"type": "disconnect", "reason": "too_many_websockets"})
            await socket.close()
            return socket
        hello = {
            "type": "hello",
            "num_connections": len(self._connections) + 1,
            "connection_info": {"app_id": APP_ID},
            "debug_info": {"host": "local", "build_number": 1, "approximate_connection_time": 3600},
        }
        await socket.send_json(hello)
        self._connections.append(socket)
        self._is_connected.set()
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._acknowledged(message.data)
        finally:
            self._gone(socket)
        return socket

    async def send(self, kind: Kind, payload: JSON, attempt: int, reason: str | None) -> Outcome:
        if kind == "events_api":
            while not self._connections:
                await self._is_connected.wait()
        elif not self._connections:
            return Outcome("no_connection")
        socket = self._connections.pop(0)
        self._connections.append(socket)
        envelope_id = secrets.token_hex(16)
        envelope: JSON = {"type": kind, "envelope_id": envelope_id, "payload": payload}
        envelope["accepts_response_payload"] = kind != "events_api"
        if kind == "events_api":
            envelope |= {"retry_attempt": attempt, "retry_reason": reason or ""}
        ack = asyncio.get_running_loop().create_future()
        self._acks[envelope_id] = (socket, ack)
        try:
            await socket.send_json(envelope)
            return await asyncio.wait_for(ack, ACK_S)
        except TimeoutError:
            return Outcome("timeout")
        except (ConnectionError, RuntimeError):
            self._gone(socket)
            return Outcome("connection_failed")
        finally:
            self._acks.pop(envelope_id, None)

    async def disconnect(self, reason: str) -> int:
        """Ask every connection to come again, as Slack does about hourly; gives how many were asked."""
        asked = list(self._connections)
        for socket in asked:
            await socket.send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "local"}})
            self._gone(socket)
        return len(asked)

    async def close(self) -> None:
        for socket in list(self._connections):
            await socket.close()

    def _acknowledged(self, text: str) -> None:
        try:
            answer = json.loads(text)
            _, ack = self._acks[answer["envelope_id"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if not ack.done():
            ack.set_result(Outcome(body=answer.get("payload")))

    def _gone(self, socket: web.WebSocketResponse) -> None:
        if socket in self._connections:
            self._connections.remove(socket)
        if not self._connections:
            self._is_connected.clear()
        if socket.closed:
            for owner, ack in list(self._acks.values()):
                if owner is socket and not ack.done():
                    ack.set_result(Outcome("connection_failed"))


class HttpPosts:
    """The HTTP side: events as JSON, everything else form-encoded, all signed, one URL for all."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session: aiohttp.ClientSession | None = None

    async def send(self, kind: Kind, payload: JSON, attempt: int, reason: str | None) -> Outcome:
        if kind == "events_api":
            content_type, body = "application/json", json.dumps(payload)
        else:
            content_type = "application/x-www-form-urlencoded"
            fields = payload if kind == "slash_commands" else {"payload": json.dumps(payload)}
            body = urlencode(fields, errors="replace")
        headers = {"Content-Type": content_type, "User-Agent": "Slackbot 1.0", **signature(body)}
        if attempt:
            headers |= {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": reason or "unknown_error"}
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ACK_S))
        try:
            posted = self._session.post(self.url, data=body.encode(), headers=headers, allow_redirects=False)
            async with posted as response:
                text = (await response.content.read(1024 * 1024)).decode(errors="replace")
                if 200 <= response.status < 300:
                    return Outcome(body=_parsed(text))
                stop = response.headers.get("x-slack-no-retry") == "1"
                return Outcome("http_error", refuses_retries=stop)
        except TimeoutError:
            return Outcome("http_timeout")
        except (aiohttp.ClientError, OSError):
            return Outcome("connection_failed")

    async def close(self) -> None:
        if self._session:
            await self._session.close()


def signature(body: str) -> dict[str, str]:
    """The headers by which an app knows that a post comes from Slack (v0, HMAC-SHA256 over time and body)."""
    timestamp = str(int(time.time()))
    digest = hmac.new(SIGNING_SECRET.encode(), f"v0:{timestamp}:{body}".encode(), hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": f"v0={digest}"}


def _parsed(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
