"""A message as this Slack stores it, and the forms in which it leaves: Web API, events, control API."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape, unescape
from typing import Literal

from bot.local.slack.people import APP_ID, BOT_ID, BOT_USER_ID, CREATED, JSON, TEAM_ID

# What a client sends as markup of its own; everything else of what a person typed is escaped.
_MARKUP = re.compile(r"<[@#!][^<>\n]+>|<(?:https?://|mailto:)[^<>\n]+>|&(?:amp|lt|gt);")
_LINK = re.compile(r"https?://[^\s<>|]+[^\s<>|.,;:!?)\]'\"*_~`]")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


def as_typed(text: str) -> str:
    """What a Slack client sends for what a person typed.

    `&`, `<` and `>` become entities, bare links stand in angle brackets, an address becomes a mailto link; mentions
    and links already in Slack's form stay (docs.slack.dev/messaging/formatting-message-text).
    """
    pieces, end = [], 0
    for markup in _MARKUP.finditer(text):
        pieces += [_plain(text[end : markup.start()]), markup.group()]
        end = markup.end()
    return "".join([*pieces, _plain(text[end:])])


def _plain(text: str) -> str:
    pieces, end = [], 0
    for link in _LINK.finditer(text):
        pieces += [_addresses(text[end : link.start()]), f"<{escape(link.group(), quote=False)}>"]
        end = link.end()
    return "".join([*pieces, _addresses(text[end:])])


def _addresses(text: str) -> str:
    return _EMAIL.sub(lambda found: f"<mailto:{found.group()}|{found.group()}>", escape(text, quote=False))


@dataclass
class Stream:
    """A message while it is being written with chat.*Stream, and what became of it."""

    started_at: float
    is_stopped: bool = False
    mode: Literal["markdown_text", "chunks"] | None = None
    parts: list[JSON] = field(default_factory=list)  # blocks in the order of their chunks


@dataclass
class Message:
    channel: str
    ts: str
    user: str
    text: str
    thread_ts: str | None = None
    parent_user: str | None = None
    blocks: list[JSON] = field(default_factory=list)
    attachments: list[JSON] = field(default_factory=list)
    metadata: JSON | None = None
    client_msg_id: str | None = None
    subtype: str | None = None
    username: str | None = None
    edited: JSON | None = None
    reactions: dict[str, list[str]] = field(default_factory=dict)
    stream: Stream | None = None

    @property
    def is_reply(self) -> bool:
        return self.thread_ts not in (None, self.ts)

    @property
    def is_by_bot(self) -> bool:
        return self.user == BOT_USER_ID

    def as_slack(self, *, team_id: str = TEAM_ID, include_metadata: bool = False) -> JSON:
        """The message object of the Web API, without what only its thread knows (reply_count and so on)."""
        wire: JSON = {"type": "message", "user": self.user, "text": self.text, "ts": self.ts, "team": team_id}
        if self.subtype:
            wire["subtype"] = self.subtype
        if self.is_by_bot:
            wire |= {"bot_id": BOT_ID, "app_id": APP_ID, "bot_profile": BOT_PROFILE}
            if self.username:
                wire["username"] = self.username
        if self.client_msg_id:
            wire["client_msg_id"] = self.client_msg_id
        if self.thread_ts is not None:
            wire["thread_ts"] = self.thread_ts
        if self.is_reply and self.parent_user:
            wire["parent_user_id"] = self.parent_user
        if blocks := self.blocks or self._rich_text():
            wire["blocks"] = blocks
        if self.attachments:
            wire["attachments"] = self.attachments
        if self.edited:
            wire["edited"] = self.edited
        if self.reactions:
            wire["reactions"] = [
                {"name": name, "users": users, "count": len(users)} for name, users in self.reactions.items()
            ]
        if include_metadata and self.metadata:
            wire["metadata"] = self.metadata
        return wire

    def _rich_text(self) -> list[JSON]:
        """The block that Slack's own clients add to what a person types."""
        if self.is_by_bot or self.subtype == "tombstone" or not self.text:
            return []
        parts: list[JSON] = []
        for piece in re.split(r"(<[^<>]+>)", self.text):
            inside = piece[1:-1].partition("|")[0]
            if piece.startswith("<@"):
                parts.append({"type": "user", "user_id": inside[1:]})
            elif piece.startswith(("<http", "<mailto:")):
                parts.append({"type": "link", "url": inside})
            elif piece:
                parts.append({"type": "text", "text": unescape(piece)})
        section = {"type": "rich_text_section", "elements": parts}
        return [{"type": "rich_text", "block_id": self.ts.replace(".", "")[-5:], "elements": [section]}]


BOT_PROFILE: JSON = {
    "id": BOT_ID,
    "app_id": APP_ID,
    "user_id": BOT_USER_ID,
    "name": "Footnote",
    "icons": {},
    "deleted": False,
    "updated": CREATED,
    "team_id": TEAM_ID,
}
