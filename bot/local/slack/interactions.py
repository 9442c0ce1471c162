"""What a person does in a Slack client besides writing: press, submit, close, command, shortcut, open a tab.

Each builds the payload that Slack sends, delivers it, and honours what the app answers in its acknowledgement or
posts to the response_url.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from bot.local.slack import block_kit
from bot.local.slack.deliveries import Deliveries, Outcome
from bot.local.slack.errors import SlackError
from bot.local.slack.messages import Message
from bot.local.slack.people import APP_ID, BOT_USER_ID, JSON, TEAM_DOMAIN, TEAM_ID, Channel
from bot.local.slack.views import View, Views
from bot.local.slack.workspace import Workspace

RESPONSE_URL_LIFE_S = 30 * 60
RESPONSE_URL_USES = 5


class WrongUse(ValueError):
    """The caller of the control API asked for what a Slack client would not offer."""


@dataclass
class _Address:
    """Where a response_url leads."""

    user: str
    channel: str
    made_at: float
    message_ts: str | None = None
    ephemeral_ts: str | None = None
    thread_ts: str | None = None
    uses: int = 0


class Interactions:
    def __init__(self, workspace: Workspace, views: Views, deliveries: Deliveries, base_url: str) -> None:
        self.workspace = workspace
        self.views = views
        self.deliveries = deliveries
        self.base_url = base_url
        self._addresses: dict[str, _Address] = {}

    # -- what people do

    async def press(
        self, user: str, channel_id: str, ts: str, action_id: str, value: str | None, picked: Any = None
    ) -> Outcome:
        """Press a button, or choose from a menu, of a message of the app, an ephemeral one included."""
        channel = self.workspace.joined(channel_id, member=user)
        whisper = next((e for e in self.workspace.ephemerals[user] if e["ts"] == ts), None)
        blocks = whisper["blocks"] if whisper else self.workspace.message(channel_id, ts).blocks
        action = _action(blocks, action_id, value, picked)
        thread_ts = whisper["thread_ts"] if whisper else self.workspace.message(channel_id, ts).thread_ts
        address = _Address(user, channel_id, self.workspace.clock(), thread_ts=thread_ts)
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
        payload["response_url"] = self._response_url(address)
        return await self.deliveries.interaction("interactive", payload)

    async def press_in_view(
        self, user: str, view_id: str, action_id: str, value: str | None, picked: Any = None
    ) -> Outcome:
        """Press a button of an open modal or of the Home tab."""
        view = self._view(user, view_id)
        action = _action(view.content["blocks"], action_id, value, picked)
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
        view.values = _state(view.content["blocks"], values)
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
        address = _Address(user, channel_id, self.workspace.clock())
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
            "response_url": self._response_url(address),
            "trigger_id": self.views.trigger(user),
        }
        outcome = await self.deliveries.interaction("slash_commands", fields)
        if outcome.problem:
            word = "operation_timeout" if "timeout" in outcome.problem else "dispatch_failed"
            self._whisper_to(address, f'{command} failed with the error "{word}"', [])
        elif outcome.body:
            body = outcome.body if isinstance(outcome.body, dict) else {"text": str(outcome.body)}
            try:
                self._respond(address, body)
            except SlackError:
                self._whisper_to(address, f'{command} failed with the error "dispatch_failed"', [])
        return outcome

    async def shortcut(self, user: str, channel_id: str, ts: str, callback_id: str) -> Outcome:
        """Use a message shortcut."""
        channel = self.workspace.joined(channel_id, member=user)
        message = self.workspace.message(channel_id, ts)
        address = _Address(user, channel_id, self.workspace.clock(), message_ts=ts, thread_ts=message.thread_ts)
        payload = self._payload("message_action", user) | {
            "callback_id": callback_id,
            "action_ts": self.workspace.next_ts(),
            "message_ts": ts,
            "channel": {"id": channel.id, "name": _shown_name(channel)},
            "message": self.workspace.as_slack(message),
            "response_url": self._response_url(address),
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

    # -- response_url

    def respond(self, token: str, body: Any) -> None:
        """A post to a response_url: at most five within thirty minutes."""
        address = self._addresses.get(token)
        if address is None:
            raise SlackError("invalid_url")
        if self.workspace.clock() - address.made_at > RESPONSE_URL_LIFE_S:
            raise SlackError("expired_url")
        if address.uses >= RESPONSE_URL_USES:
            raise SlackError("used_url")
        if not isinstance(body, dict):
            raise SlackError("invalid_payload")
        self._respond(address, body)
        address.uses += 1

    def _respond(self, address: _Address, body: JSON) -> None:
        text = body.get("text")
        text = text if isinstance(text, str) else ""
        blocks = block_kit.checked(body["blocks"]) if body.get("blocks") is not None else []
        replaces, deletes = body.get("replace_original") is True, body.get("delete_original") is True
        if not (text or blocks or deletes):
            raise SlackError("no_text")
        if (replaces or deletes) and address.ephemeral_ts:
            self._change_whisper(address, None if deletes else {"text": text, "blocks": blocks})
        elif (replaces or deletes) and address.message_ts:
            original = self.workspace.message(address.channel, address.message_ts)
            if not original.is_by_bot:
                raise SlackError("cant_update_message")
            if deletes:
                self.workspace.delete(original)
            else:
                self.workspace.edit(original, editor=BOT_USER_ID, text=text, blocks=blocks)
        elif body.get("response_type") == "in_channel":
            thread_ts = body.get("thread_ts")
            self._post(address, text, blocks, thread_ts if isinstance(thread_ts, str) else None)
        else:
            thread_ts = body.get("thread_ts")
            self._whisper_to(address, text, blocks, thread_ts if isinstance(thread_ts, str) else None)

    def _post(self, address: _Address, text: str, blocks: list[JSON], thread_ts: str | None) -> None:
        channel = self.workspace.channels[address.channel]
        guest = BOT_USER_ID not in channel.members  # a response_url may post where its app is no member
        if guest:
            channel.members.append(BOT_USER_ID)
        try:
            self.workspace.post(Message(channel.id, "", BOT_USER_ID, text, blocks=blocks), thread_ts=thread_ts)
        finally:
            if guest:
                channel.members.remove(BOT_USER_ID)

    def _whisper_to(self, address: _Address, text: str, blocks: list[JSON], thread_ts: str | None = None) -> None:
        whisper = {"channel": address.channel, "text": text, "blocks": blocks}
        self.workspace.whisper(address.user, whisper | {"thread_ts": thread_ts or address.thread_ts})

    def _change_whisper(self, address: _Address, change: JSON | None) -> None:
        whispers = self.workspace.ephemerals[address.user]
        for whisper in [w for w in whispers if w["ts"] == address.ephemeral_ts]:
            if change is None:
                whispers.remove(whisper)
            else:
                whisper.update(change)
        self.workspace.on_change({"user": address.user, "kind": "ephemeral", "channel": address.channel})

    def _response_url(self, address: _Address) -> str:
        now = self.workspace.clock()
        self._addresses = {t: a for t, a in self._addresses.items() if now - a.made_at < 2 * RESPONSE_URL_LIFE_S}
        token = secrets.token_hex(16)
        self._addresses[token] = address
        return f"{self.base_url}/response/{token}"

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


def _action(blocks: list[JSON], action_id: str, value: str | None, picked: Any) -> JSON:
    """The entry of `actions` for the element with this action_id, and this value where several share the id."""
    candidates = [(b, e) for b, e in block_kit.elements(blocks) if e.get("action_id") == action_id]
    if not candidates:
        raise WrongUse(f"no element with action_id {action_id!r} is here")
    for block, element in candidates:
        base = {"action_id": action_id, "block_id": block["block_id"], "type": element["type"]}
        base["action_ts"] = f"{secrets.randbelow(10**10)}.000000"
        if element["type"] == "feedback_buttons":
            for button in (element["positive_button"], element["negative_button"]):
                if value is None or button["value"] == value or button["value"].endswith(value):
                    return base | {"value": button["value"], "text": button["text"]}
        elif options := element.get("options"):
            for option in options:
                if value is None or option.get("value") == value:
                    many = element["type"].startswith("multi_") or element["type"] == "checkboxes"
                    return base | ({"selected_options": [option]} if many else {"selected_option": option})
        elif element["type"] in block_kit.SELECTS:
            name = element["type"].removesuffix("_select").removesuffix("s")
            return base | {f"selected_{name}": picked or value}
        elif value is None or element.get("value") == value:
            return base | {k: element[k] for k in ("value", "text", "style") if k in element}
    raise WrongUse(f"no element with action_id {action_id!r} has the value {value!r}")


def _state(blocks: list[JSON], values: JSON) -> JSON:
    """`view.state.values` of what was filled in; refuses what Slack's client would refuse to submit."""
    state: JSON = {}
    for block, element in block_kit.elements(blocks):
        if block["type"] != "input":
            continue
        action_id, block_id = element["action_id"], block["block_id"]
        given = values.get(block_id, values.get(action_id))
        if isinstance(given, dict) and action_id in given:
            given = given[action_id]
        entry = given if isinstance(given, dict) else _entry(element, given)
        if not block.get("optional") and all(v in (None, "", []) for k, v in entry.items() if k != "type"):
            raise WrongUse(f"{block_id}: please complete this required field")
        state[block_id] = {action_id: {"type": element["type"], **entry}}
    return state


def _entry(element: JSON, given: Any) -> JSON:
    kind = element["type"]
    options = [option for option in element.get("options") or [] if isinstance(option, dict)]
    if kind in ("checkboxes", "multi_static_select"):
        wanted = given if isinstance(given, list) else [given]
        chosen = [o for o in options if o.get("value") in wanted]
        return {"selected_options": chosen or element.get("initial_options") or []}
    if kind in ("static_select", "radio_buttons"):
        chosen_one = next((o for o in options if o.get("value") == given), element.get("initial_option"))
        return {"selected_option": chosen_one}
    if kind in block_kit.SELECTS:
        return {f"selected_{kind.removesuffix('_select')}": given}
    if kind in ("datepicker", "timepicker"):
        return {f"selected_{kind.removesuffix('picker')}": given}
    return {"value": element.get("initial_value") if given is None else str(given)}
