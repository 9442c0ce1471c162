"""The nouns of the conversation for tests: each with everything that it must have, and what a test wants to differ."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bot.vocabulary import Answer, Asked, Citation, Passage, Verdict

TEAM = "T0TEST"
BOT = "U0BOT"
MAYA = "U0MAYA"
PASSAGE = Passage(
    id="p1",
    document_id="keys",
    source="docs",
    title="API keys",
    url="https://docs.example/keys",
    text="To reset an API key, open Settings.",
    audience="workspace",
)
CITATION = Citation(
    number=1, document_id="keys", title="API keys", url="https://docs.example/keys", quote="open Settings"
)


def asked(ts: str = "1000.000100", **changes: Any) -> Asked:
    """A mention of the bot in a channel."""
    channel_id = changes.get("channel_id", "C0HELP")
    fields = {
        "id": f"{TEAM}:{channel_id}:{ts}",
        "kind": "mention",
        "team_id": TEAM,
        "channel_id": channel_id,
        "ts": ts,
        "thread_ts": ts,
        "user_id": MAYA,
        "user_team_id": TEAM,
        "text": "How do I reset an API key?",
    }
    return Asked.model_validate(fields | changes)


def answered(question_id: str, text: str = "To reset an API key, open Settings [1].", **changes: Any) -> Answer:
    """An answer with a source: what may become an example."""
    fields = {"question_id": question_id, "status": "answered", "text": text, "citations": (CITATION,)}
    return Answer.model_validate(fields | {"passages": (PASSAGE,), "query": "reset API key", "model": "m"} | changes)


def verdict(question_id: str, at_s: float, *, is_helpful: bool = True, user_id: str = MAYA) -> Verdict:
    """A thumb that was given so many seconds after the start of time."""
    at = datetime.fromtimestamp(at_s, UTC)
    return Verdict(question_id=question_id, user_id=user_id, is_helpful=is_helpful, at=at)
