"""The local Slack as one web server: Web API, Socket Mode, response URLs, control API and the page, on one port."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from bot.local.slack.arguments import parse_json
from bot.local.slack.chat_methods import ChatMethods
from bot.local.slack.control import Control
from bot.local.slack.deliveries import Deliveries
from bot.local.slack.errors import SlackError
from bot.local.slack.interactions import Interactions
from bot.local.slack.manifest import Manifest
from bot.local.slack.read_methods import ReadMethods
from bot.local.slack.response_urls import ResponseUrls
from bot.local.slack.transports import HttpPosts, SocketMode
from bot.local.slack.views import Views
from bot.local.slack.web_api import WebApi
from bot.local.slack.workspace import Workspace

PAGE = Path(__file__).parent / "page"
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#3b3054"/>'
    '<text x="8" y="24" font-family="Georgia,serif" font-size="22" fill="#fff">f</text>'
    '<text x="19" y="15" font-family="Georgia,serif" font-size="12" fill="#f2c14e">1</text></svg>'
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(
    base_url: str,
    *,
    events_url: str | None = None,
    stream_life_s: float = 300,
    retry_delays_s: tuple[float, ...] = (0, 60, 300),
    manifest: Manifest | None = None,
) -> web.Application:
    """The whole server as an aiohttp application; with `events_url` it posts there instead of Socket Mode."""
    manifest = manifest or Manifest()
    workspace = Workspace(stream_life_s=stream_life_s)
    socket_mode = None if events_url else SocketMode()
    transport = socket_mode or HttpPosts(str(events_url))
    deliveries = Deliveries(transport, manifest, retry_delays_s=retry_delays_s)
    views, responses = Views(workspace), ResponseUrls(workspace, base_url)
    interactions = Interactions(workspace, views, deliveries, responses)
    chat, read = ChatMethods(workspace, views, base_url), ReadMethods(workspace, base_url)
    api = WebApi(chat, read, manifest, socket_mode, base_url.replace("http", "ws", 1) + "/link/")
    control = Control(workspace, views, interactions, deliveries, api, manifest)
    workspace.on_event = deliveries.event
    workspace.on_change = control.publish

    async def respond(request: web.Request) -> web.Response:
        try:
            responses.take(request.match_info["token"], parse_json(await request.read()))
        except (ValueError, UnicodeError):
            return web.json_response({"ok": False, "error": "invalid_payload"}, status=400)
        except SlackError as refused:
            status = 404 if refused.code.endswith("_url") else 400
            return web.json_response({"ok": False, "error": refused.code, **refused.details}, status=status)
        return web.Response(text="ok")

    app = web.Application(middlewares=[_guard], client_max_size=2 * 1024 * 1024)
    app.add_routes(control.routes())
    app.add_routes([web.route("*", "/api/{method}", api.handle), web.post("/response/{token}", respond)])
    if socket_mode:
        app.add_routes([web.get("/link/", socket_mode.connection)])
    app.add_routes([web.get("/", _index), web.get("/favicon.ico", _favicon)])
    app.add_routes([web.get(r"/archives/{room}/p{ts:\d{16,18}}", _archive)])
    app.add_routes([web.get(r"/page/{name:[a-z][a-z0-9_-]*\.(?:html|js|css|svg|png)}", _page)])

    async def hang_up(_: web.Application) -> None:
        control.hang_up()
        await deliveries.close()

    app.on_shutdown.append(hang_up)
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Loopback only, also by name (DNS rebinding), and no page of another origin may steer; never a 500."""
    if not _LOOPBACK.fullmatch(request.headers.get("Host", "")):
        return web.json_response({"ok": False, "error": "this Slack answers on loopback only"}, status=403)
    origin = request.headers.get("Origin")
    if origin is not None and _place_of(origin) != request.headers.get("Host"):
        return web.json_response({"ok": False, "error": "another origin may not call here"}, status=403)
    try:
        return await handler(request)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        return web.json_response({"ok": False, "error": answer.reason.lower()}, status=answer.status)
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return web.json_response({"ok": False, "error": "internal_error"}, status=400)


def _place_of(origin: str) -> str | None:
    """Host and port of an origin, or None where there is none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


async def _index(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-store"})


async def _page(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(PAGE / request.match_info["name"], headers={"Cache-Control": "no-store"})


async def _favicon(request: web.Request) -> web.Response:
    return web.Response(text=_ICON, content_type="image/svg+xml")


async def _archive(request: web.Request) -> web.Response:
    """A permalink: the page, opened at this message."""
    digits = request.match_info["ts"]
    ts = request.query.get("thread_ts") or f"{digits[:-6]}.{digits[-6:]}"
    raise web.HTTPFound(f"/?{urlencode({'channel': request.match_info['room'], 'ts': ts})}")
