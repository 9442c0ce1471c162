"""The dialog behind 👎: what was wrong with an answer, and a better one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bot.redacting import redact
from bot.vocabulary import Frozen
from handlers.blocks import Block
from handlers.inbox import Inbox
from handlers.modals import INPUT_LIMIT, entered, modal, select, text_input

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp

CALLBACK = "correction"
REASONS = {
    "wrong": "It is wrong",
    "incomplete": "Something is missing",
    "outdated": "It is out of date",
    "unrelated": "It answers another question",
    "format": "Tone or format",
    "other": "Something else",
}


class Corrected(Frozen):
    """What somebody says was wrong with an answer, with a better one or without."""

    user_id: str
    question_id: str
    reason: str
    """One of REASONS."""
    answer: str
    """The better answer, redacted; empty when none was given."""
    at_s: float
    """When the 👎 was given that it belongs to, by Slack's clock."""
    response_url: str | None = None


def view(question_id: str, at_s: float, response_url: str | None) -> Block:
    """The dialog on the answer to a question, behind the 👎 of a moment; at `response_url` its person is told what
    became of it."""
    hint = "I propose it as an example. What stands on no page yet waits for one, as a draft page with your name."
    return modal(
        CALLBACK,
        "What was wrong?",
        [
            select("reason", "What was wrong?", REASONS),
            text_input("answer", "A better answer", hint=hint, optional=True),
        ],
        submit="Send",
        metadata=json.dumps({"question_id": question_id, "at_s": at_s, "response_url": response_url}),
    )


def register(app: AsyncApp, inbox: Inbox) -> None:
    """Accepts what is sent with the dialog."""

    async def sent(ack: Any, body: dict[str, Any], view: dict[str, Any]) -> None:
        about = json.loads(view["private_metadata"])
        answer = entered(view, "answer")
        if len(answer) > INPUT_LIMIT:
            await ack(response_action="errors", errors={"answer": f"At most {INPUT_LIMIT:,} characters, please."})
            return
        corrected = Corrected(
            user_id=body["user"]["id"],
            reason=entered(view, "reason") if entered(view, "reason") in REASONS else "other",
            answer=redact(answer),
            **about,
        )
        await inbox.learn("correct", corrected, corrected.question_id, f"{view['id']}:{view.get('hash')}")
        await ack()

    app.view(CALLBACK)(sent)
