"""What a person does in a Slack client besides writing: press, submit, close, command, shortcut, open a tab.

Each builds the payload that Slack sends, delivers it, and honours what the app answers in its acknowledgement or
posts to the response_url.
"""

from __future__ import annotations

from typing import Any

from bot.local.slack.deliveries import Deliveries
from bot.local.slack.errors import SlackError, WrongUse
from bot.local.slack.forms import action_of, state_of
from bot.local.slack.people import APP_ID, JSON, TEAM_DOMAIN, TEAM_ID, Channel
from bot.local.slack.response_urls import Address, ResponseUrls
from bot.local.slack.transports import Outcome
from bot.local.slack.views import View, Views
from bot.local.slack.workspace import Workspace


class Interactions:
    """People's hands: each call does one thing that a Slack client lets a person do."""

    def __init__(self, workspace: Workspace, views: Views, deliveries: Deliveries, responses: ResponseUrls) -> None:
        self.workspace = workspace
        self.views = views
        self.deliveries = deliveries
        self.responses = responses

    # -- what people do

    async def press(
        self, user: str, channel_id: str, ts: str, action_id: str, value: str | None, picked: Any = None
    ) -> Outcome:
        """Press a button, or choose from a menu, of a message of the app, an ephemeral one included."""
        channel = self.workspace.joined(channel_id, member=user)
        whisper = next((e for e in self.workspace.ephemerals[user] if e["ts"] == ts), None)
        blocks = whisper["blocks"] if whisper else self.workspace.message(channel_id, ts).blocks
        action = action_of(blocks, action_id, value, picked)
        thread_ts = whisper["thread_ts"] if whisper else self.workspace.message(channel_id, ts).thread_ts
        address = Address(user, channel_id, self.workspace.clock(), thread_ts=thread_ts)
        container: JSON = {"type": "message", "message_ts": ts, "channel_id": channel_id}
        container["is_ephemeral"] = whisper is not None
        if thread_ts:
            container["thread_ts"] = thread_ts
        payload = self._payload("block_actions", user) | {
            "container": container,
            "channel": {"id": channel.id, "name": _shown_name(channel)},
            "state": {"values": {}},
            "actions": [action],
        }
        if whisper:
            address.ephemeral_ts = ts
        else:
            address.message_ts = ts
            payload["message"] = self.workspace.as_slack(self.workspace.message(channel_id, ts))
        payload["response_url"] = self.responses.url(address)
        return await self.deliveries.interaction("interactive", payload)

    async def press_in_view(
        self, user: str, view_id: str, action_id: str, value: str | None, picked: Any = None
    ) -> Outcome:
        """Press a button of an open modal or of the Home tab."""
        view = self._view(user, view_id)
        action = action_of(view.content["blocks"], action_id, value, picked)
        payload = self._payload("block_actions", user, view_id=view.id) | {
            "container": {"type": "view", "view_id": view.id},
            "view": view.as_slack(),
            "actions": [action],
        }
        return await self.deliveries.interaction("interactive", payload)

    async def submit(self, user: str, view_id: str, values: JSON) -> JSON:
        """Submit a modal; gives `{response_action, errors}` of the app's answer.

        `values` has the entries by action_id, or by block_id, or as Slack's own `{block_id: {action_id: …}}`.
        """
        view = self._view(user, view_id)
        view.values = state_of(view.content["blocks"], values)
        payload = self._payload("view_submission", user, view_id=view.id)
        outcome = await self.deliveries.interaction(
            "interactive", payload | {"view": view.as_slack(), "response_urls": []}
        )
        if outcome.problem:
            return {"outcome": outcome.problem, "response_action": None}
        answer = outcome.body if isinstance(outcome.body, dict) else {}
        action = answer.get("response_action")
        if action == "errors":
            return {"outcome": "acknowledged", "response_action": "errors", "errors": answer.get("errors") or {}}
        try:
            if action == "update":
                self.views.replace(view, answer.get("view"))
            elif action == "push":
                self.views.put_over(view, answer.get("view"), user=user)
            else:
                self.views.close(view, whole_stack=action == "clear")
        except SlackError as refused:
            return {"outcome": f"refused: {refused.code}", "response_action": action}
        return {"outcome": "acknowledged", "response_action": action}

    async def close_view(self, user: str, view_id: str) -> None:
        """Close a modal without submitting; the app hears of it only if the view asked for that."""
        view = self._view(user, view_id)
        self.views.close(view)
        if view.content.get("notify_on_close") is True:
            payload = self._payload("view_closed", user) | {"view": view.as_slack(), "is_cleared": False}
            payload.pop("trigger_id")
            await self.deliveries.interaction("interactive", payload)

    async def command(self, user: str, channel_id: str, command: str, text: str) -> Outcome:
        """Use a slash command."""
        channel = self.workspace.joined(channel_id, member=user)
        address = Address(user, channel_id, self.workspace.clock())
        fields: JSON = {
            "token": "local-verification-token",
            "team_id": TEAM_ID,
            "team_domain": TEAM_DOMAIN,
            "channel_id": channel.id,
            "channel_name": _shown_name(channel),
            "user_id": user,
            "user_name": self.workspace.user(user).name,
            "command": command,
            "text": text,
            "api_app_id": APP_ID,
            "is_enterprise_install": "false",
            "response_url": self.responses.url(address),
            "trigger_id": self.views.trigger(user),
        }
        outcome = await self.deliveries.interaction("slash_commands", fields)
        if outcome.problem:
            word = "operation_timeout" if "timeout" in outcome.problem else "dispatch_failed"
            self.responses.whisper(address, f'{command} failed with the error "{word}"', [])
        elif outcome.body:
            body = outcome.body if isinstance(outcome.body, dict) else {"text": str(outcome.body)}
            try:
                self.responses.respond(address, body)
            except SlackError:
                self.responses.whisper(address, f'{command} failed with the error "dispatch_failed"', [])
        return outcome

    async def shortcut(self, user: str, channel_id: str, ts: str, callback_id: str) -> Outcome:
        """Use a message shortcut."""
        channel = self.workspace.joined(channel_id, member=user)
        message = self.workspace.message(channel_id, ts)
        address = Address(user, channel_id, self.workspace.clock(), message_ts=ts, thread_ts=message.thread_ts)
        payload = self._payload("message_action", user) | {
            "callback_id": callback_id,
            "action_ts": self.workspace.next_ts(),
            "message_ts": ts,
            "channel": {"id": channel.id, "name": _shown_name(channel)},
            "message": self.workspace.as_slack(message),
            "response_url": self.responses.url(address),
        }
        return await self.deliveries.interaction("interactive", payload)

    def open_home(self, user: str, tab: str) -> None:
        """Open the app's Home or Messages tab."""
        dm = self.workspace.direct_message([user])
        event: JSON = {"type": "app_home_opened", "user": user, "channel": dm.id, "tab": tab}
        home = self.views.homes.get(user)
        if tab == "home" and home:
            event["view"] = home.as_slack()
        self.deliveries.event(event | {"event_ts": self.workspace.next_ts()}, False)

    # -- payloads

    def _payload(self, kind: str, user_id: str, *, view_id: str | None = None) -> JSON:
        user = self.workspace.user(user_id)
        who = {"id": user.id, "username": user.name, "name": user.name, "team_id": user.team_id}
        return {
            "type": kind,
            "team": {"id": TEAM_ID, "domain": TEAM_DOMAIN},
            "user": who,
            "api_app_id": APP_ID,
            "token": "local-verification-token",
            "trigger_id": self.views.trigger(user.id, view_id=view_id),
            "enterprise": None,
            "is_enterprise_install": False,
        }

    def _view(self, user: str, view_id: str) -> View:
        view = self.views.modals.get(view_id)
        home = self.views.homes.get(user)
        if view is None and home and home.id == view_id:
            view = home
        if view is None or view.user != user:
            raise WrongUse("no such view is open before this user")
        return view


def _shown_name(channel: Channel) -> str:
    return {"im": "directmessage", "private": "privategroup"}.get(channel.kind, channel.name)
