"""Whether a message in a thread that the bot is part of is meant for the bot, or people are talking to each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bot.redacting import redact
from bot.vocabulary import Turn
from handlers.mrkdwn import people_in, to_plain

HISTORY_TURNS = 10
TURN_CHARACTERS = 1_000

_TO_SOMEBODY = re.compile(r"\b(you|your|yours|u|du|dir|dich|dein|ihr|euch|sie)\b", re.IGNORECASE)
_ASKS = re.compile(
    r"\?\s*$|\?\s|^\W*(who|what|when|where|which|why|how|can|could|do|does|did|is|are|was|will|would|should|may|"
    r"and (if|for|how|what|with|when|where|which|who)|what about|how about|show|tell|explain|list|give|compare|"
    r"please|pls|wer|was|wann|wo|warum|wie|kann)\b",
    re.IGNORECASE,
)


def is_for_bot(messages: Sequence[dict[str, Any]], ts: str, bot_user_id: str) -> bool:
    """Says whether the message `ts` of a thread follows up on the bot's answer.

    It does when it mentions the bot (an edit may have brought that); or when it asks something, mentions nobody else,
    and nobody but its author has spoken since the bot did. When somebody joins in who was not answered last, a "you" is
    taken for that person: "did it work for you?".
    """
    before = [one for one in messages if one["ts"] < ts]
    message = next((one for one in messages if one["ts"] == ts), None)
    mentioned = people_in(message.get("text", "")) if message else set()
    if message is None or mentioned:
        return bot_user_id in mentioned
    text, author = to_plain(message.get("text", "")), message.get("user")
    while before and before[-1].get("user") == author:
        if bot_user_id in people_in(before.pop().get("text", "")):  # asked, and not answered yet
            return bool(_ASKS.search(text))
    if not before or before[-1].get("user") != bot_user_id:
        return False
    answered = next((one.get("user") for one in reversed(before) if one.get("user") != bot_user_id), None)
    return bool(_ASKS.search(text)) and (author == answered or not _TO_SOMEBODY.search(text))


def history(messages: Sequence[dict[str, Any]], ts: str, bot_user_id: str) -> tuple[Turn, ...]:
    """Gives what was said in a thread before the message `ts`, redacted, oldest first."""
    turns = []
    for message in [one for one in messages if one["ts"] < ts][-HISTORY_TURNS:]:
        is_own = message.get("user") == bot_user_id
        text = redact(to_plain(message.get("text", "")))[:TURN_CHARACTERS]
        if text and (is_own or not message.get("bot_id")):
            turns.append(Turn(role="assistant" if is_own else "user", text=text))
    return tuple(turns)
