"""The workspace: people, conversations, messages, and Slack's rules about them.

Pure and synchronous: every call either changes the state at once or raises `SlackError` with Slack's own code.
What happened is told to two listeners: `on_event` gets what Slack would send the app, `on_change` what a page that
shows the workspace has to draw anew.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from bot.local.slack import people
from bot.local.slack.errors import SlackError
from bot.local.slack.messages import Message, as_typed
from bot.local.slack.people import BOT_USER_ID, JSON, TEAM_ID, Channel, User

TEXT_CHARACTERS = 40_000
METADATA_CHARACTERS = 16_000
STATUS_LIFE_S = 120


class Workspace:
    """One workspace in memory; `clock` gives seconds since 1970, `stream_life_s` how long a stream may run."""

    def __init__(self, *, stream_life_s: float = 300, clock: Callable[[], float] = time.time) -> None:
        self.users: dict[str, User] = people.cast()
        self.channels: dict[str, Channel] = people.rooms()
        self.groups: dict[str, JSON] = {id: dict(group) for id, group in people.GROUPS.items()}
        self.messages: dict[str, dict[str, Message]] = {id: {} for id in self.channels}
        self.replies: dict[tuple[str, str], list[str]] = {}
        self.ephemerals: dict[str, list[JSON]] = {id: [] for id in self.users}
        self.statuses: dict[tuple[str, str], JSON] = {}
        self.stream_life_s = stream_life_s
        self.clock = clock
        self.on_event: Callable[[JSON, bool, int], None] = lambda event, is_external, copies: None
        self.on_change: Callable[[JSON], None] = lambda change: None
        self._last_ts = 0

    # -- finding

    def user(self, id: str) -> User:
        if id not in self.users:
            raise SlackError("user_not_found")
        return self.users[id]

    def channel(self, id: str, *, reader: str) -> Channel:
        """The conversation; one that is private and without `reader` does not exist for them."""
        channel = self.channels.get(id)
        if channel is None or (channel.is_private and reader not in channel.members):
            raise SlackError("channel_not_found")
        return channel

    def joined(self, id: str, *, member: str) -> Channel:
        """The conversation if `member` is in it, else `channel_not_found` or `not_in_channel`."""
        channel = self.channel(id, reader=member)
        if member not in channel.members:
            raise SlackError("not_in_channel")
        return channel

    def message(self, channel: str, ts: str, *, missing: str = "message_not_found") -> Message:
        found = self.messages.get(channel, {}).get(ts)
        if found is None:
            raise SlackError(missing)
        return found

    def thread(self, channel: str, ts: str) -> list[Message]:
        """The parent and its replies, oldest first; a reply's own ts gives that reply alone."""
        first = self.message(channel, ts, missing="thread_not_found")
        return [first, *(self.messages[channel][reply] for reply in self.replies.get((channel, ts), ()))]

    def top_level(self, channel: str) -> list[Message]:
        """What stands in the channel itself, oldest first."""
        return [m for m in self.messages[channel].values() if not m.is_reply or m.subtype == "thread_broadcast"]

    def as_slack(self, message: Message, *, include_metadata: bool = False) -> JSON:
        """The message object with what its thread adds to it."""
        wire = message.as_slack(team_id=self.users[message.user].team_id, include_metadata=include_metadata)
        if replies := self.replies.get((message.channel, message.ts)):
            authors = list(dict.fromkeys(self.messages[message.channel][ts].user for ts in replies))
            wire |= {
                "thread_ts": message.ts,
                "reply_count": len(replies),
                "reply_users_count": len(authors),
                "latest_reply": replies[-1],
                "reply_users": authors,
                "is_locked": False,
                "subscribed": message.is_by_bot or BOT_USER_ID in authors,
            }
        return wire

    # -- changing

    def next_ts(self) -> str:
        """A new id of a message: seconds and microseconds, unique and rising in the whole workspace."""
        self._last_ts = max(self._last_ts + 1, int(self.clock() * 1_000_000))
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    def say(self, user: str, channel: str, text: str, *, thread_ts: str | None = None, copies: int = 1) -> Message:
        """A person posts what they typed; its events go out `copies` times."""
        message = Message(channel, "", user, as_typed(text)[:TEXT_CHARACTERS], client_msg_id=str(uuid.uuid4()))
        return self.post(message, thread_ts=thread_ts, copies=copies)

    def say_instead(self, message: Message, text: str) -> None:
        """A person edits what they said."""
        self.edit(message, editor=message.user, text=as_typed(text)[:TEXT_CHARACTERS])

    def post(
        self, message: Message, *, thread_ts: str | None = None, broadcast: bool = False, copies: int = 1
    ) -> Message:
        """Store a message, in a thread if asked, and tell everybody.

        Slack threads on the parent only: a reply cannot be replied to, and a parent that is gone takes none.
        """
        channel = self.joined(message.channel, member=message.user)
        if thread_ts is not None:
            parent = self.message(channel.id, thread_ts, missing="thread_not_found")
            if parent.is_reply:
                raise SlackError("cannot_reply_to_message")
            message.thread_ts, message.parent_user = thread_ts, parent.user
            parent.thread_ts = thread_ts
            message.subtype = "thread_broadcast" if broadcast else message.subtype
        message.ts = self.next_ts()
        self.messages[channel.id][message.ts] = message
        if thread_ts is not None:
            self.replies.setdefault((channel.id, thread_ts), []).append(message.ts)
            if message.is_by_bot:
                self.clear_status(channel.id, thread_ts)
        self._announce(channel, message, copies)
        self._changed(message)
        return message

    def edit(self, message: Message, *, editor: str, mark_edited: bool = True, **parts: Any) -> None:
        """Change text, blocks, attachments or metadata, and tell everybody."""
        previous = self.as_slack(message)
        for name, value in parts.items():
            setattr(message, name, value)
        if mark_edited:
            message.edited = {"user": editor, "ts": f"{int(self.clock())}.000000"}
        self._announce_change(message, previous)

    def delete(self, message: Message) -> None:
        """Take a message away; the parent of a thread leaves a tombstone, as in Slack."""
        previous = self.as_slack(message)
        if self.replies.get((message.channel, message.ts)):
            tombstone = Message(message.channel, message.ts, "USLACKBOT", "This message was deleted.")
            tombstone.thread_ts, tombstone.subtype = message.ts, "tombstone"
            self.messages[message.channel][message.ts] = tombstone
            self._announce_change(tombstone, previous, hidden=True)
            return
        del self.messages[message.channel][message.ts]
        parent = None
        if message.is_reply and message.thread_ts:
            replies = self.replies[message.channel, message.thread_ts]
            replies.remove(message.ts)
            parent = self.messages[message.channel].get(message.thread_ts) if not replies else None
        event = {"type": "message", "subtype": "message_deleted", "previous_message": previous, "hidden": True}
        self._tell(message.channel, event | {"deleted_ts": message.ts, "ts": self.next_ts()})
        self._changed(message)
        if parent:
            parent.thread_ts = None
            if parent.subtype == "tombstone":  # nothing hangs on it any more
                self.delete(parent)

    def react(self, user: str, message: Message, name: str, *, remove: bool = False) -> None:
        """Add or take away one reaction of one person."""
        users = message.reactions.get(name, [])
        if remove and user not in users:
            raise SlackError("no_reaction")
        if not remove and user in users:
            raise SlackError("already_reacted")
        users = [u for u in users if u != user] if remove else [*users, user]
        message.reactions[name] = users
        if not users:
            del message.reactions[name]
        event: JSON = {
            "type": "reaction_removed" if remove else "reaction_added",
            "user": user,
            "reaction": name,
            "item": {"type": "message", "channel": message.channel, "ts": message.ts},
            "item_user": message.user,
            "event_ts": self.next_ts(),
        }
        channel = self.channels[message.channel]
        if BOT_USER_ID in channel.members:
            self.on_event(event, channel.is_external, 1)
        self._changed(message)

    def join(self, user: str, channel: Channel) -> None:
        """A person, or the app, becomes a member; again is no change."""
        if channel.kind in ("im", "mpim"):
            raise SlackError("method_not_supported_for_channel_type")
        if user in channel.members:
            return
        channel.members.append(user)
        event = {"type": "member_joined_channel", "user": user, "channel": channel.id, "team": TEAM_ID}
        self._tell(channel.id, event | {"channel_type": "G" if channel.is_private else "C"}, typed=False)
        self.on_change({"channel": channel.id, "kind": "members"})

    def leave(self, user: str, channel: Channel) -> None:
        """A person, or the app, is a member no longer."""
        if channel.kind in ("im", "mpim"):
            raise SlackError("method_not_supported_for_channel_type")
        if user not in channel.members:
            raise SlackError("not_in_channel")
        event = {"type": "member_left_channel", "user": user, "channel": channel.id, "team": TEAM_ID}
        self._tell(channel.id, event | {"channel_type": "G" if channel.is_private else "C"}, typed=False)
        channel.members.remove(user)
        self.on_change({"channel": channel.id, "kind": "members"})

    def whisper(self, user: str, ephemeral: JSON) -> JSON:
        """Show something to one person only; it is in no history."""
        ephemeral = {"ts": self.next_ts(), "thread_ts": None, "blocks": [], **ephemeral}
        self.ephemerals[user].append(ephemeral)
        del self.ephemerals[user][:-500]
        self.on_change({"user": user, "kind": "ephemeral", "channel": ephemeral["channel"], "ts": ephemeral["ts"]})
        return ephemeral

    def direct_message(self, users: list[str]) -> Channel:
        """The conversation of exactly these people and the app, made if it is not there."""
        members = {*users, BOT_USER_ID}
        for channel in self.channels.values():
            if channel.kind in ("im", "mpim") and set(channel.members) == members:
                return channel
        names = "--".join(sorted(self.users[user].name for user in members))
        channel = Channel(f"C0GROUP{len(self.channels)}", f"mpdm-{names}-1", "mpim", sorted(members))
        self.channels[channel.id] = channel
        self.messages[channel.id] = {}
        return channel

    # -- the status line of a thread

    def set_status(self, channel: str, thread_ts: str, **parts: Any) -> None:
        """Set text, title or prompts of a thread's status; Slack forgets the text after two minutes."""
        status = self.statuses.setdefault((channel, thread_ts), {"text": "", "title": "", "prompts": []})
        status.update(parts, at=self.clock())
        self.on_change({"kind": "status", "channel": channel, "thread_ts": thread_ts, "user": None})

    def clear_status(self, channel: str, thread_ts: str) -> None:
        if self.statuses.get((channel, thread_ts), {}).get("text"):
            self.set_status(channel, thread_ts, text="")

    def status(self, channel: str, thread_ts: str) -> JSON:
        """`{text, title, prompts}` of a thread, the text empty once its time is over."""
        status = self.statuses.get((channel, thread_ts), {"text": "", "title": "", "prompts": [], "at": 0})
        is_over = self.clock() - status["at"] > STATUS_LIFE_S
        return {**{k: v for k, v in status.items() if k != "at"}, "text": "" if is_over else status["text"]}

    # -- telling

    def _announce(self, channel: Channel, message: Message, copies: int) -> None:
        wire = self.as_slack(message, include_metadata=True)
        if channel.is_external:
            team = self.users[message.user].team_id
            wire |= {"user_team": team, "source_team": team}
        if message.subtype == "thread_broadcast" and message.thread_ts:
            wire["root"] = self.as_slack(self.messages[channel.id][message.thread_ts])
        self._tell(channel.id, wire, event_ts=message.ts, copies=copies)
        mentions_app = f"<@{BOT_USER_ID}>" in message.text or f"<@{BOT_USER_ID}|" in message.text
        if mentions_app and not message.is_by_bot and channel.kind != "im":
            mention = {k: v for k, v in wire.items() if k not in ("root", "subtype")} | {"type": "app_mention"}
            self._tell(channel.id, mention, event_ts=message.ts, copies=copies, typed=False)

    def _announce_change(self, message: Message, previous: JSON, *, hidden: bool = False) -> None:
        now = self.as_slack(message, include_metadata=True) | ({"hidden": True} if hidden else {})
        event = {"type": "message", "subtype": "message_changed", "message": now, "previous_message": previous}
        self._tell(message.channel, event | {"hidden": True, "ts": self.next_ts()})
        self._changed(message)

    def _tell(
        self, channel_id: str, event: JSON, *, event_ts: str | None = None, copies: int = 1, typed: bool = True
    ) -> None:
        """Hand an event of a conversation to the app, if the app is in it."""
        channel = self.channels[channel_id]
        if BOT_USER_ID not in channel.members:
            return
        event = {**event, "channel": channel_id, "event_ts": event_ts or event.get("ts") or self.next_ts()}
        if typed:
            event["channel_type"] = channel.channel_type
        self.on_event(event, channel.is_external, copies)

    def _changed(self, message: Message) -> None:
        self.on_change({"channel": message.channel, "ts": message.ts, "thread_ts": message.thread_ts})


def checked_metadata(metadata: Any) -> JSON | None:
    """Metadata of the shape Slack takes: `{event_type, event_payload}`; an empty object means none."""
    if metadata is None or metadata == {}:
        return None
    if not isinstance(metadata, dict):
        raise SlackError("invalid_metadata_format")
    if not isinstance(metadata.get("event_type"), str) or not isinstance(metadata.get("event_payload"), dict):
        raise SlackError("invalid_metadata_schema")
    if len(str(metadata)) > METADATA_CHARACTERS:
        raise SlackError("metadata_too_large")
    return {"event_type": metadata["event_type"], "event_payload": metadata["event_payload"]}
