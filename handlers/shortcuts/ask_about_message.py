"""https://docs.slack.dev/interactivity/implementing-shortcuts: asks the bot what somebody wrote, in that thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handlers.inbox import Inbox, asked_in

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp
    from slack_bolt.context.async_context import AsyncBoltContext


def register(app: AsyncApp, inbox: Inbox) -> None:
    async def chosen(ack: Any, shortcut: dict[str, Any], context: AsyncBoltContext) -> None:
        message, channel_id = shortcut["message"], shortcut["channel"]["id"]
        kind = "direct" if channel_id.startswith("D") else "mention"
        event = message | {"user": shortcut["user"]["id"], "user_team": shortcut["user"].get("team_id")}
        response_url = shortcut.get("response_url")
        await inbox.ask(asked_in(event, kind, context.team_id or "", channel_id=channel_id, response_url=response_url))
        await ack()

    app.message_shortcut("ask_about_message")(chosen)
