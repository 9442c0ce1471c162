"""https://docs.slack.dev/reference/events/app_mention: its twin `message` event is the same question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handlers.inbox import Inbox, asked_in

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp
    from slack_bolt.context.async_context import AsyncBoltContext


def register(app: AsyncApp, inbox: Inbox) -> None:
    async def mentioned(event: dict[str, Any], context: AsyncBoltContext) -> None:
        if event.get("bot_id") or not event.get("user"):
            return
        asked = asked_in(event, "mention", context.team_id or "", user_team_id=context.actor_team_id)
        await inbox.ask(asked, event.get("client_msg_id"))

    app.event("app_mention")(mentioned)
