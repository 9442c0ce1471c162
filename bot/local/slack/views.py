"""Modals and Home tabs: what is open before whom, and Slack's rules for opening it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from bot.local.slack import block_kit
from bot.local.slack.errors import SlackError
from bot.local.slack.people import APP_ID, BOT_ID, JSON, TEAM_ID
from bot.local.slack.workspace import Workspace

TRIGGER_LIFE_S = 3
STACK = 3
VIEW_CHARACTERS = 250_000


@dataclass
class View:
    id: str
    user: str
    content: JSON
    root_id: str
    previous_id: str | None = None
    hash: str = field(default_factory=lambda: f"1.{secrets.token_hex(4)}")
    values: JSON = field(default_factory=dict)

    def as_slack(self) -> JSON:
        """The view object of `views.open` and of view payloads."""
        return {
            "id": self.id,
            "team_id": TEAM_ID,
            "app_id": APP_ID,
            "app_installed_team_id": TEAM_ID,
            "bot_id": BOT_ID,
            "private_metadata": "",
            "callback_id": "",
            "external_id": "",
            "clear_on_close": False,
            "notify_on_close": False,
            "close": None,
            "submit": None,
            **self.content,
            "state": {"values": self.values},
            "hash": self.hash,
            "root_view_id": self.root_id,
            "previous_view_id": self.previous_id,
        }


@dataclass
class _Trigger:
    user: str
    made_at: float
    view_id: str | None
    is_used: bool = False


class Views:
    """Every open modal, the published Home tabs, and the triggers that may open a modal."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.modals: dict[str, View] = {}
        self.homes: dict[str, View] = {}
        self._triggers: dict[str, _Trigger] = {}

    def trigger(self, user: str, *, view_id: str | None = None) -> str:
        """A trigger_id for one modal within three seconds; `view_id` is the modal it was pressed in."""
        now = self.workspace.clock()
        self._triggers = {id: t for id, t in self._triggers.items() if now - t.made_at < 10 * TRIGGER_LIFE_S}
        id = f"{secrets.randbelow(10**12)}.{secrets.randbelow(10**10)}.{secrets.token_hex(16)}"
        self._triggers[id] = _Trigger(user, now, view_id)
        return id

    def open(self, trigger: str, content: Any) -> View:
        """`views.open`."""
        user = self._use(trigger).user
        id = _new_id()
        return self._show(View(id, user, checked_view(content, "modal"), root_id=id))

    def push(self, trigger: str, content: Any) -> View:
        """`views.push`: a modal over the one in which the trigger was made."""
        used = self._use(trigger)
        below = self.modals.get(used.view_id or "")
        if below is None:
            raise SlackError("not_found")
        return self.put_over(below, content, user=used.user)

    def put_over(self, below: View, content: Any, *, user: str) -> View:
        if len(self.stack(below)) >= STACK:
            raise SlackError("push_limit_reached")
        view = View(_new_id(), user, checked_view(content, "modal"), root_id=below.root_id, previous_id=below.id)
        return self._show(view)

    def update(self, content: Any, *, view_id: str | None, external_id: str | None, hash: str | None) -> View:
        """`views.update`, by either id."""
        found = self.modals.get(view_id or "") or next(
            (home for home in self.homes.values() if home.id == view_id),
            None,
        )
        if found is None and external_id:
            found = next((v for v in self.modals.values() if v.content.get("external_id") == external_id), None)
        if found is None:
            raise SlackError("not_found")
        if hash and hash != found.hash:
            raise SlackError("hash_conflict")
        return self.replace(found, content)

    def replace(self, view: View, content: Any) -> View:
        """Put other content into an open view; what was typed under the same ids stays."""
        view.content = checked_view(content, str(view.content["type"]))
        view.hash = f"{int(self.workspace.clock())}.{secrets.token_hex(4)}"
        self._changed(view)
        return view

    def publish(self, user: str, content: Any, hash: str | None) -> View:
        """`views.publish`: the Home tab of one person."""
        self.workspace.user(user)
        home = self.homes.get(user)
        if home and hash and hash != home.hash:
            raise SlackError("hash_conflict")
        content = checked_view(content, "home")
        if home is None:
            id = _new_id()
            home = self.homes[user] = View(id, user, content, root_id=id)
        return self.replace(home, content)

    def close(self, view: View, *, whole_stack: bool = False) -> None:
        """Take a modal away, or all of its stack."""
        for other in self.stack(view) if whole_stack else [view]:
            self.modals.pop(other.id, None)
        self._changed(view)

    def stack(self, view: View) -> list[View]:
        return [other for other in self.modals.values() if other.root_id == view.root_id]

    def seen_by(self, user: str) -> list[View]:
        return [view for view in self.modals.values() if view.user == user]

    def _use(self, id: str) -> _Trigger:
        trigger = self._triggers.get(id)
        if trigger is None:
            raise SlackError("invalid_trigger_id")
        if trigger.is_used:
            raise SlackError("exchanged_trigger_id")
        if self.workspace.clock() - trigger.made_at > TRIGGER_LIFE_S:
            raise SlackError("expired_trigger_id")
        trigger.is_used = True
        return trigger

    def _show(self, view: View) -> View:
        self.modals[view.id] = view
        self._changed(view)
        return view

    def _changed(self, view: View) -> None:
        kind = "home" if view.content.get("type") == "home" else "modal"
        self.workspace.on_change({"user": view.user, "kind": kind, "view_id": view.id})


def _new_id() -> str:
    return f"V{secrets.token_hex(5).upper()}"


def checked_view(content: Any, kind: str) -> JSON:
    """The view as Slack takes it, or `invalid_arguments` with the reason."""
    if not isinstance(content, dict) or content.get("type") != kind:
        raise _refused("unsupported type", "/view/type")
    if kind == "modal":
        for name in ("title", "submit", "close"):
            text = content.get(name)
            if text is None and name != "title":
                continue
            words = text.get("text") if isinstance(text, dict) else None
            if not isinstance(words, str) or not 0 < len(words) <= 24:
                raise _refused("must be 1 to 24 characters", f"/view/{name}")
    for name, most in (("private_metadata", 3000), ("callback_id", 255), ("external_id", 255)):
        value = content.get(name, "")
        if not isinstance(value, str) or len(value) > most:
            raise _refused(f"must be less than {most + 1} characters", f"/view/{name}")
    if len(str(content)) > VIEW_CHARACTERS:
        raise SlackError("view_too_large")
    try:
        blocks = block_kit.checked(content.get("blocks"), limit=block_kit.VIEW_BLOCKS)
    except SlackError as refused:
        raise SlackError("invalid_arguments", **refused.details) from None
    if kind == "modal" and "submit" not in content and any(block["type"] == "input" for block in blocks):
        raise _refused("submit is required when an input block is within blocks", "/view/submit")
    return {**content, "blocks": blocks}


def _refused(problem: str, where: str) -> SlackError:
    message = f"[ERROR] {problem} [json-pointer:{where}]"
    return SlackError("invalid_arguments", response_metadata={"messages": [message]})
