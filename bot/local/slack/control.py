"""The control API: how tests and the web page act as the people of this Slack, and see what they would see.

JSON over loopback; every answer has `ok`, and wrong use is a 400 that says why.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bot.local.slack import streams
from bot.local.slack.arguments import parse_json
from bot.local.slack.deliveries import Deliveries
from bot.local.slack.errors import SlackError, WrongUse
from bot.local.slack.interactions import Interactions
from bot.local.slack.manifest import Manifest
from bot.local.slack.messages import Message
from bot.local.slack.people import APP_ID, BOT_ID, BOT_USER_ID, JSON, TEAM_ID, TEAM_NAME, Channel
from bot.local.slack.transports import SocketMode
from bot.local.slack.views import Views
from bot.local.slack.web_api import Fault, WebApi
from bot.local.slack.workspace import Workspace

COPIES = 20
TAB = ("home", "messages")


class Body:
    """What a caller sent, read with plain words about what is wrong with it."""

    def __init__(self, values: JSON) -> None:
        self.values = values

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if not isinstance(value, str) or not value:
            raise WrongUse(f"{name}: a text is needed")
        return value

    def maybe(self, name: str) -> str | None:
        return None if self.values.get(name) in (None, "") else self.text(name)

    def number(self, name: str, default: float, most: float) -> float:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise WrongUse(f"{name}: a number from 0 to {most} is needed")
        return value

    def flag(self, name: str) -> bool:
        return self.values.get(name) is True

    def object(self, name: str) -> JSON:
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise WrongUse(f"{name}: an object is needed")
        return value


class Control:
    def __init__(
        self,
        workspace: Workspace,
        views: Views,
        interactions: Interactions,
        deliveries: Deliveries,
        api: WebApi,
        manifest: Manifest,
    ) -> None:
        self.workspace = workspace
        self.views = views
        self.interactions = interactions
        self.deliveries = deliveries
        self.api = api
        self._manifest = manifest
        self._watchers: set[asyncio.Queue[JSON | None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """Every call of the control API."""
        acts = [self.message, self.edit, self.delete, self.react, self.press, self.submit, self.close_view]
        acts += [self.command, self.shortcut, self.open_dm, self.open_home, self.join, self.leave]
        acts += [self.fault, self.disconnect]
        looks = [self.state, self.history, self.thread, self.seen, self.status, self.home, self.commands, self.log]
        posts = [web.post(f"/control/{act.__name__}", _acting(act)) for act in acts]
        gets = [web.get(f"/control/{look.__name__}", _looking(look)) for look in looks]
        return [*posts, *gets, web.get("/control/changes", self.changes)]

    # -- acting as somebody

    async def message(self, body: Body) -> JSON:
        user, channel = self._who(body), body.text("channel")
        copies = int(body.number("deliveries", 1, COPIES))
        said = self.workspace.say(
            user, channel, body.text("text"), thread_ts=body.maybe("thread_ts"), copies=max(copies, 1)
        )
        return {"ts": said.ts, "channel": channel}

    async def edit(self, body: Body) -> JSON:
        message = self._own(body)
        self.workspace.say_instead(message, body.text("text"))
        return {}

    async def delete(self, body: Body) -> JSON:
        self.workspace.delete(self._own(body))
        return {}

    async def react(self, body: Body) -> JSON:
        user, message = self._who(body), self._message(body)
        self.workspace.react(user, message, body.text("name").strip(":"), remove=body.flag("remove"))
        return {}

    async def press(self, body: Body) -> JSON:
        user, action_id, value = self._who(body), body.text("action_id"), body.maybe("value")
        picked = body.values.get("picked")
        if view_id := body.maybe("view_id"):
            outcome = await self.interactions.press_in_view(user, view_id, action_id, value, picked)
        else:
            place = (body.text("channel"), body.text("ts"))
            outcome = await self.interactions.press(user, *place, action_id, value, picked)
        return {"outcome": outcome.problem or "acknowledged"}

    async def submit(self, body: Body) -> JSON:
        return await self.interactions.submit(self._who(body), body.text("view_id"), body.object("values"))

    async def close_view(self, body: Body) -> JSON:
        await self.interactions.close_view(self._who(body), body.text("view_id"))
        return {}

    async def command(self, body: Body) -> JSON:
        user, channel, command = self._who(body), body.text("channel"), body.text("command")
        if command not in [known["command"] for known in self._manifest.commands]:
            raise WrongUse(f"{command} is no command here")
        outcome = await self.interactions.command(user, channel, command, body.maybe("text") or "")
        return {"outcome": outcome.problem or "acknowledged"}

    async def shortcut(self, body: Body) -> JSON:
        place = (body.text("channel"), body.text("ts"), body.text("callback_id"))
        outcome = await self.interactions.shortcut(self._who(body), *place)
        return {"outcome": outcome.problem or "acknowledged"}

    async def open_dm(self, body: Body) -> JSON:
        return {"channel": self.workspace.direct_message([self._who(body)]).id}

    async def open_home(self, body: Body) -> JSON:
        tab = body.maybe("tab") or "home"
        if tab not in TAB:
            raise WrongUse("tab: home or messages")
        self.interactions.open_home(self._who(body), tab)
        return {}

    async def join(self, body: Body) -> JSON:
        user = body.text("user")  # the app may be invited too
        self.workspace.join(self.workspace.user(user).id, self._room(body))
        return {}

    async def leave(self, body: Body) -> JSON:
        self.workspace.leave(self.workspace.user(body.text("user")).id, self._room(body))
        return {}

    # -- trouble on order

    async def fault(self, body: Body) -> JSON:
        fault = Fault(
            error=body.maybe("error"),
            status=int(body.number("status", 200, 599)),
            delay_s=body.number("delay_s", 0, 600),
            retry_after_s=int(body.number("retry_after_s", 0, 3600)) if "retry_after_s" in body.values else None,
            after=body.flag("after"),
            times=int(body.number("times", 1, 1_000_000)),
        )
        if fault.status < 200 or fault.times < 1:
            raise WrongUse("status: 200 to 599; times: at least 1")
        if fault.retry_after_s is not None and fault.status == 200:
            fault.status = 429
        self.api.faults.setdefault(body.text("method"), []).append(fault)
        return {}

    async def disconnect(self, body: Body) -> JSON:
        transport = self.deliveries.transport
        if not isinstance(transport, SocketMode):
            raise WrongUse("this Slack posts over HTTP; there is nothing to disconnect")
        return {"asked": await transport.disconnect(body.maybe("reason") or "refresh_requested")}

    # -- seeing

    async def state(self, query: Body) -> JSON:
        users = [
            {"id": user.id, "name": user.real_name, "handle": user.name, "role": user.role, "team": user.team_id}
            for user in self.workspace.users.values()
            if user.role not in ("bot", "slackbot")
        ]
        channels = [
            {"id": c.id, "name": c.name, "kind": c.kind, "members": c.members} for c in self.workspace.channels.values()
        ]
        bot = {"user_id": BOT_USER_ID, "bot_id": BOT_ID, "app_id": APP_ID, "name": "Footnote"}
        team = {"id": TEAM_ID, "name": TEAM_NAME}
        return {"team": team, "bot": {"id": BOT_USER_ID, **bot}, "users": users, "channels": channels}

    async def history(self, query: Body) -> JSON:
        messages = self.workspace.top_level(self._room(query).id)
        return {"messages": [self._shown(message) for message in messages]}

    async def thread(self, query: Body) -> JSON:
        messages = self.workspace.thread(self._room(query).id, query.text("ts"))
        return {"messages": [self._shown(message) for message in messages]}

    async def seen(self, query: Body) -> JSON:
        user = self._who(query)
        modals = [{"view_id": view.id, "view": view.as_slack()} for view in self.views.seen_by(user)]
        return {"ephemerals": self.workspace.ephemerals[user], "modals": modals}

    async def status(self, query: Body) -> JSON:
        return self.workspace.status(self._room(query).id, query.maybe("thread_ts") or "")

    async def home(self, query: Body) -> JSON:
        home = self.views.homes.get(self._who(query))
        return {"view": home.as_slack() if home else None}

    async def commands(self, query: Body) -> JSON:
        return {"commands": self._manifest.commands, "shortcuts": self._manifest.shortcuts}

    async def log(self, query: Body) -> JSON:
        return {"calls": list(self.api.log), "deliveries": list(self.deliveries.log)}

    async def changes(self, request: web.Request) -> web.StreamResponse:
        """Server-Sent Events: one for each thing that a page has to draw anew."""
        queue: asyncio.Queue[JSON | None] = asyncio.Queue(maxsize=1000)
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        self._watchers.add(queue)
        try:
            await response.write(b": listening\n\n")
            while True:
                try:
                    change = await asyncio.wait_for(queue.get(), 15)
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                if change is None:
                    break
                await response.write(f"data: {json.dumps(change)}\n\n".encode())
        except ConnectionError:
            pass  # the page was closed
        finally:
            self._watchers.discard(queue)
        return response

    def publish(self, change: JSON) -> None:
        """Tell every open page; one that does not keep up is let go and comes again by itself."""
        for queue in list(self._watchers):
            if queue.qsize() >= queue.maxsize - 1:
                self._watchers.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(change)

    def hang_up(self) -> None:
        """End every open stream of changes."""
        for queue in list(self._watchers):
            self._watchers.discard(queue)
            queue.put_nowait(None)

    # -- shared steps

    def _who(self, body: Body) -> str:
        user = self.workspace.users.get(body.text("user"))
        if user is None or user.role in ("bot", "slackbot"):
            raise WrongUse("user: nobody of that id, see /control/state")
        return user.id

    def _room(self, body: Body) -> Channel:
        channel = self.workspace.channels.get(body.text("channel"))
        if channel is None:
            raise SlackError("channel_not_found")
        return channel

    def _message(self, body: Body) -> Message:
        channel = self.workspace.joined(body.text("channel"), member=self._who(body))
        return self.workspace.message(channel.id, body.text("ts"))

    def _own(self, body: Body) -> Message:
        message = self._message(body)
        if message.user != body.text("user"):
            raise WrongUse("this message is not theirs")
        return message

    def _shown(self, message: Message) -> JSON:
        wire = self.workspace.as_slack(message, include_metadata=True)
        if not message.blocks:
            wire.pop("blocks", None)  # the rich text of what a person typed says no more than its text
        state = streams.state(self.workspace, message)
        return {**wire, "streaming": state == "live", "stream": state}


def _acting(act: Callable[[Body], Awaitable[JSON]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            values = parse_json(await request.read() or b"{}")
        except (ValueError, UnicodeError):
            return _wrong("the body is no JSON")
        return await _answered(act, values)

    return handle


def _looking(look: Callable[[Body], Awaitable[JSON]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return await _answered(look, dict(request.query))

    return handle


async def _answered(do: Callable[[Body], Awaitable[JSON]], values: Any) -> web.Response:
    if not isinstance(values, dict):
        return _wrong("the body is no object")
    try:
        return web.json_response({"ok": True, **await do(Body(values))})
    except SlackError as refused:
        return _wrong(refused.code)
    except WrongUse as wrong:
        return _wrong(str(wrong))


def _wrong(why: str) -> web.Response:
    return web.json_response({"ok": False, "error": why}, status=400)
