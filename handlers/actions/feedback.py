"""https://docs.slack.dev/reference/block-kit/block-elements/feedback-buttons-element: 👍 and 👎 below an answer. A 👎
is kept first; then a dialog asks what was wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from handlers.inbox import Inbox, Judged, Told, clock_of
from handlers.modals import correction, open_modal

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp
    from slack_sdk.web.async_client import AsyncWebClient

NOT_OPENED = "I noted your 👎. Slack did not open the window for saying what was wrong; press 👎 again to try again."


def register(app: AsyncApp, inbox: Inbox) -> None:
    async def pressed(ack: Any, body: dict[str, Any], action: dict[str, Any], client: AsyncWebClient) -> None:
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
            key = f"{judged.user_id}:{question_id}:{action.get('action_ts')}"
            await inbox.judge(judged, key)
            dialog = correction.view(question_id, judged.at_s, judged.response_url)
            if thumb == "down" and await open_modal(client, body, dialog) is None:
                await inbox.tell(
                    Told(user_id=judged.user_id, text=NOT_OPENED, response_url=judged.response_url), f"{key}#not_opened"
                )
        await ack()

    app.action(re.compile(r"^feedback(_down)?$"))(pressed)
