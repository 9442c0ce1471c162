"""Where an app may answer an interaction later: a secret URL, five times within thirty minutes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from bot.local.slack import block_kit
from bot.local.slack.errors import SlackError
from bot.local.slack.messages import Message
from bot.local.slack.people import BOT_USER_ID, JSON
from bot.local.slack.workspace import Workspace

LIFE_S = 30 * 60
USES = 5


@dataclass
class Address:
    """Where an answer goes."""

    user: str
    channel: str
    made_at: float
    message_ts: str | None = None
    ephemeral_ts: str | None = None
    thread_ts: str | None = None
    uses: int = 0


class ResponseUrls:
    """Every URL that was given, and what is posted to it."""

    def __init__(self, workspace: Workspace, base_url: str) -> None:
        self.workspace = workspace
        self.base_url = base_url
        self._addresses: dict[str, Address] = {}

    def take(self, token: str, body: Any) -> None:
        """A post to a response_url: at most five within thirty minutes."""
        address = self._addresses.get(token)
        if address is None:
            raise SlackError("invalid_url")
        if self.workspace.clock() - address.made_at > LIFE_S:
            raise SlackError("expired_url")
        if address.uses >= USES:
            raise SlackError("used_url")
        if not isinstance(body, dict):
            raise SlackError("invalid_payload")
        self.respond(address, body)
        address.uses += 1

    def respond(self, address: Address, body: JSON) -> None:
        """Do what an answer asks for: whisper, post, replace or delete."""
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
            self.whisper(address, text, blocks, thread_ts if isinstance(thread_ts, str) else None)

    def _post(self, address: Address, text: str, blocks: list[JSON], thread_ts: str | None) -> None:
        channel = self.workspace.channels[address.channel]
        guest = BOT_USER_ID not in channel.members  # a response_url may post where its app is no member
        if guest:
            channel.members.append(BOT_USER_ID)
        try:
            self.workspace.post(Message(channel.id, "", BOT_USER_ID, text, blocks=blocks), thread_ts=thread_ts)
        finally:
            if guest:
                channel.members.remove(BOT_USER_ID)

    def whisper(self, address: Address, text: str, blocks: list[JSON], thread_ts: str | None = None) -> None:
        """Show it to the person of the interaction only."""
        whisper = {"channel": address.channel, "text": text, "blocks": blocks}
        self.workspace.whisper(address.user, whisper | {"thread_ts": thread_ts or address.thread_ts})

    def _change_whisper(self, address: Address, change: JSON | None) -> None:
        whispers = self.workspace.ephemerals[address.user]
        for whisper in [w for w in whispers if w["ts"] == address.ephemeral_ts]:
            if change is None:
                whispers.remove(whisper)
            else:
                whisper.update(change)
        self.workspace.on_change({"user": address.user, "kind": "ephemeral", "channel": address.channel})

    def url(self, address: Address) -> str:
        """A new URL that leads there."""
        now = self.workspace.clock()
        self._addresses = {t: a for t, a in self._addresses.items() if now - a.made_at < 2 * LIFE_S}
        token = secrets.token_hex(16)
        self._addresses[token] = address
        return f"{self.base_url}/response/{token}"
