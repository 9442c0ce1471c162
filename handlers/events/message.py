"""https://docs.slack.dev/reference/events/message: questions in direct messages, mentions, follow-ups in threads that
the bot is part of; and questions that their askers edit or delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handlers.inbox import Inbox, asked_in, edited_ts_of
from handlers.mrkdwn import people_in

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp
    from slack_bolt.context.async_context import AsyncBoltContext

SAID_BY_PEOPLE = (None, "file_share", "thread_broadcast")


def register(app: AsyncApp, inbox: Inbox) -> None:
    async def said(event: dict[str, Any], context: AsyncBoltContext) -> None:
        team_id, subtype = context.team_id or "", event.get("subtype")
        if subtype == "message_changed":
            await changed(event, context)
        elif subtype == "message_deleted":
            await inbox.withdraw(f"{team_id}:{event['channel']}:{event['deleted_ts']}")
        elif subtype in SAID_BY_PEOPLE and event.get("user") and not event.get("bot_id"):
            kind = await kind_of(event, context.bot_user_id or "")
            if kind:
                asked = asked_in(event, kind, team_id, user_team_id=context.actor_team_id)
                await inbox.ask(asked, event.get("client_msg_id"))

    async def kind_of(event: dict[str, Any], bot_user_id: str) -> str | None:
        if event.get("channel_type") == "im":
            return "direct"
        if bot_user_id in people_in(event.get("text") or ""):
            return "mention"
        thread_ts = event.get("thread_ts")
        if thread_ts and await inbox.is_in_thread(event["channel"], thread_ts):
            return "follow_up"
        return None

    async def changed(event: dict[str, Any], context: AsyncBoltContext) -> None:
        message, before = event.get("message") or {}, event.get("previous_message") or {}
        text, question_id = message.get("text") or "", f"{context.team_id or ''}:{event['channel']}:{message.get('ts')}"
        if message.get("subtype") == "tombstone":  # deleted, but its thread stays
            await inbox.withdraw(question_id)
        elif message.get("user") and not message.get("bot_id") and text != before.get("text"):
            edited_ts = edited_ts_of(message) or event.get("event_ts") or ""
            if await inbox.revise(question_id, text, edited_ts) or not message.get("ts"):
                return
            kind = await kind_of(event | message, context.bot_user_id or "")
            if kind in ("mention", "direct"):  # only now put to the bot, or its first words have not arrived
                await inbox.ask(
                    asked_in(message, kind, context.team_id or "", channel_id=event["channel"], edited_ts=edited_ts)
                )

    app.event("message")(said)
