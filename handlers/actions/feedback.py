"""https://docs.slack.dev/reference/block-kit/block-elements/feedback-buttons-element: 👍 and 👎 below an answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from handlers.inbox import Inbox, Judged, clock_of

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp


def register(app: AsyncApp, inbox: Inbox) -> None:
    async def pressed(ack: Any, body: dict[str, Any], action: dict[str, Any]) -> None:
        question_id, _, thumb = str(action.get("value", "")).rpartition(":")
        container = body.get("container") or {}
        if question_id and thumb in ("up", "down"):
            judged = Judged(
                user_id=body["user"]["id"],
                is_helpful=thumb == "up",
                at_s=clock_of(action.get("action_ts")),
                question_id=question_id,
                channel_id=container.get("channel_id", ""),
                message_ts=container.get("message_ts", ""),
                response_url=body.get("response_url"),
            )
            await inbox.judge(judged, f"{judged.user_id}:{question_id}:{action.get('action_ts')}")
        await ack()

    app.action(re.compile(r"^feedback(_down)?$"))(pressed)
