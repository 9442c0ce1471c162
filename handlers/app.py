"""The Slack side of `web`: Bolt with its listeners, over Socket Mode or signed HTTP, and `/healthz` in both.

Listeners run before Slack gets its answer (`process_before_response`), so that what could not be queued is a 500, or
in Socket Mode no acknowledgement, and Slack delivers it again.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

from bot.errors import TellUser
from bot.settings import Settings
from handlers import events
from handlers.actions import consent, feedback, review, sources
from handlers.commands import support
from handlers.gate import BODY_LIMIT, Refused, admit, check_shape
from handlers.inbox import Inbox
from handlers.modals import correction, editing
from handlers.shortcuts import ask_about_message

if TYPE_CHECKING:
    from aiohttp import web
    from multidict import CIMultiDictProxy
    from slack_bolt.async_app import AsyncApp
    from slack_bolt.request.async_request import AsyncBoltRequest
    from slack_sdk.web.async_client import AsyncWebClient

Healthy = Callable[[], Awaitable[dict[str, bool]]]

log = structlog.get_logger()


def make_app(settings: Settings, client: AsyncWebClient, inbox: Inbox) -> AsyncApp:
    """Makes the Bolt app with all listeners."""
    from slack_bolt.async_app import AsyncApp

    # Bolt's warnings are about how an app is written; its errors are about what happens.
    logger = logging.getLogger("slack_bolt")
    logger.setLevel(logging.ERROR)
    secret = settings.slack_signing_secret
    app = AsyncApp(
        client=client,
        logger=logger,
        signing_secret=secret.get_secret_value() if secret else None,
        process_before_response=True,
    )
    for room in (events, feedback, consent, review, sources, correction, editing, support, ask_about_message):
        room.register(app, inbox)
    _ignore_the_rest(app)
    return app


def _ignore_the_rest(app: AsyncApp) -> None:
    """Acknowledges what no listener wants (a link button, an event more): Bolt would answer 404, and Slack stops
    deliveries to apps that refuse most of them."""

    async def ignore(ack: Any) -> None:
        await ack()

    anything = re.compile("")
    app.event(anything)(ignore)
    app.action(anything)(ignore)
    app.view(anything)(ignore)


@asynccontextmanager
async def listening(settings: Settings, app: AsyncApp, is_healthy: Healthy, *, host: str = "") -> AsyncIterator[int]:
    """Takes what Slack sends, until left. Gives the port of `/healthz` (and `/slack/events` without Socket Mode).

    Raises TellUser when neither way is configured.
    """
    from aiohttp import web

    if not settings.slack_app_token and not settings.slack_signing_secret:
        raise TellUser("Set SLACK_APP_TOKEN (Socket Mode) or SLACK_SIGNING_SECRET (signed HTTP); see the README.")
    server = web.Application(client_max_size=BODY_LIMIT)
    socket = None
    if settings.slack_app_token:
        socket = _socket(app, settings.slack_app_token.get_secret_value())
        await socket.connect_async()
    elif settings.slack_signing_secret:
        server.router.add_post("/slack/events", _events(app, settings.slack_signing_secret.get_secret_value()))

    async def health(request: web.Request) -> web.Response:
        parts = await is_healthy()
        if socket:
            parts["slack"] = await socket.client.is_connected()
        return web.json_response({"ok": all(parts.values()), **parts}, status=200 if all(parts.values()) else 503)

    server.router.add_get("/healthz", health)
    runner = web.AppRunner(server, access_log=None)
    try:
        await runner.setup()
        site = web.TCPSite(runner, host or None, settings.port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        if socket:
            await socket.close_async()
        await runner.cleanup()


def _events(app: AsyncApp, signing_secret: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    from aiohttp import web
    from slack_bolt.adapter.aiohttp import to_aiohttp_response
    from slack_bolt.request.async_request import AsyncBoltRequest

    async def events(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            admit(body, request.headers, signing_secret, time.time())
            bolt_request = _read(AsyncBoltRequest, body.decode(), request.headers)
        except Refused as refused:
            log.info("request_refused", status=refused.status, reason=refused.reason)
            return web.json_response({"error": refused.reason}, status=refused.status)
        response = await app.async_dispatch(bolt_request)
        return await to_aiohttp_response(response)

    return events


def _read(make: type[AsyncBoltRequest], body: str, headers: CIMultiDictProxy[str]) -> AsyncBoltRequest:
    """Lets Bolt read a request; it looks into many kinds of events, and falls over what is not as it expects."""
    try:
        return make(body=body, headers={name: headers.getall(name) for name in headers})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Refused(400, "not as Slack writes it") from error


def _socket(app: AsyncApp, app_token: str) -> Any:
    from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
    from slack_sdk.socket_mode.response import SocketModeResponse

    class GatedSocketModeHandler(AsyncSocketModeHandler):
        async def handle(self, client: Any, req: Any) -> None:
            try:
                check_shape(req.payload)
            except Refused as refused:
                log.info("event_refused", reason=refused.reason)
                await client.send_socket_mode_response(SocketModeResponse(envelope_id=req.envelope_id))
                return
            await super().handle(client, req)

    return GatedSocketModeHandler(app, app_token)
