"""What an asker says when the bot asks whether a private question and its answer may become an example."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bot.vocabulary import Frozen
from handlers.inbox import Inbox

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp


class Consented(Frozen):
    """A yes or a no."""

    user_id: str
    question_id: str
    is_given: bool
    response_url: str | None = None


def register(app: AsyncApp, inbox: Inbox) -> None:
    async def pressed(ack: Any, body: dict[str, Any], action: dict[str, Any]) -> None:
        consented = Consented(
            user_id=body["user"]["id"],
            question_id=str(action.get("value", "")),
            is_given=action.get("action_id") == "consent_yes",
            response_url=body.get("response_url"),
        )
        key = f"{consented.user_id}:{consented.question_id}:{action.get('action_ts')}"
        await inbox.learn("consent", consented, consented.question_id, key)
        await ack()

    app.action(re.compile(r"^consent_(yes|no)$"))(pressed)
