"""What the app declared of itself in its Slack app manifest, and what follows from it.

Given a manifest, this Slack holds the app to it as Slack does: a scope that is not there is `missing_scope`, an
event that is not subscribed is not sent, a command that is not declared does not exist. Without one, the app may
do everything, and `/support` is its command.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.local.slack.arguments import parse_json
from bot.local.slack.errors import SlackError
from bot.local.slack.people import JSON, SCOPES, Channel

_PLURALS = {"channel": "channels", "group": "groups", "im": "im", "mpim": "mpim"}
# What each method needs; `{place}` is channels, groups, im or mpim (docs.slack.dev/reference/methods).
_NEEDS = {
    "chat.getPermalink": None,
    "chat.": "chat:write",
    "conversations.history": "{place}:history",
    "conversations.replies": "{place}:history",
    "conversations.open": "im:write",
    "conversations.join": "channels:join",
    "conversations.": "{place}:read",
    "users.conversations": "{place}:read",
    "users.": "users:read",
    "bots.": "users:read",
    "usergroups.": "usergroups:read",
    "team.": "team:read",
    "reactions.get": "reactions:read",
    "reactions.": "reactions:write",
    "assistant.threads.": "chat:write",
}
_PLACE_OF_TYPE = {"public_channel": "channels", "private_channel": "groups", "mpim": "mpim", "im": "im"}


@dataclass(frozen=True)
class Manifest:
    """`events` None means all of them."""

    commands: tuple[JSON, ...] = (
        {"command": "/support", "description": "Ask, or steer the bot", "usage_hint": "help"},
    )
    shortcuts: tuple[JSON, ...] = ()
    scopes: frozenset[str] = frozenset(SCOPES.split(","))
    events: frozenset[str] | None = None

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read `manifest.json`; raises `OSError` or `ValueError` with what is wrong."""
        manifest = parse_json(path.read_bytes())
        features, settings = _part(manifest, "features"), _part(manifest, "settings")
        commands = [{"usage_hint": "", "description": "", **command} for command in _list(features, "slash_commands")]
        if not all(isinstance(command.get("command"), str) for command in commands):
            raise ValueError("a slash command without its name")
        shortcuts = [dict(s) for s in _list(features, "shortcuts") if s.get("type") == "message"]
        scopes = _list(_part(_part(manifest, "oauth_config"), "scopes"), "bot", str)
        events = _list(_part(settings, "event_subscriptions"), "bot_events", str)
        return cls(tuple(commands), tuple(shortcuts), frozenset(scopes), frozenset(events))

    def subscribes(self, event: JSON) -> bool:
        """Whether Slack would send this event to the app."""
        name = event["type"]
        if name == "message":
            name = f"message.{_PLURALS[event['channel_type']]}"
        return self.events is None or name in self.events

    def permit(self, method: str, channel: Channel | None, types: list[str]) -> None:
        """Raise `missing_scope` where Slack would; `types` are those that a listing asks for."""
        family = next((prefix for prefix in _NEEDS if method.startswith(prefix)), None)
        need = _NEEDS[family] if family else None
        if need is None:
            return
        if channel:
            places = [_PLURALS[channel.channel_type]]
        else:
            places = [_PLACE_OF_TYPE[name] for name in types if name in _PLACE_OF_TYPE] or ["channels"]
        missing = sorted({need.format(place=place) for place in places} - self.scopes)
        if missing:
            raise SlackError("missing_scope", needed=",".join(missing), provided=",".join(sorted(self.scopes)))


def _part(holder: Any, name: str) -> JSON:
    part = holder.get(name, {}) if isinstance(holder, dict) else None
    if not isinstance(part, dict):
        raise ValueError(f"{name} is no object")
    return part


def _list(holder: JSON, name: str, of: type = dict) -> list[Any]:
    part = holder.get(name, [])
    if not isinstance(part, list) or not all(isinstance(item, of) for item in part):
        raise ValueError(f"{name} is no list of the right things")
    return part
