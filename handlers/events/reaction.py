"""https://docs.slack.dev/reference/events/reaction_added and reaction_removed: a thumb on an answer is a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handlers.inbox import Inbox, Judged, clock_of

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp
    from slack_bolt.context.async_context import AsyncBoltContext

THUMBS = {"+1": True, "thumbsup": True, "-1": False, "thumbsdown": False}


def register(app: AsyncApp, inbox: Inbox) -> None:
    async def hand_in(event: dict[str, Any], bot_user_id: str | None, *, is_taken_back: bool) -> None:
        name = event.get("reaction", "").split("::")[0]  # skin tones follow the name
        item = event.get("item") or {}
        if name not in THUMBS or item.get("type") != "message" or event.get("item_user") not in (None, bot_user_id):
            return
        judged = Judged(
            user_id=event["user"],
            is_helpful=THUMBS[name],
            is_taken_back=is_taken_back,
            at_s=clock_of(event["event_ts"]),
            channel_id=item["channel"],
            message_ts=item["ts"],
        )
        await inbox.judge(judged, f"{event['user']}:{item['channel']}:{item['ts']}:{event['event_ts']}")

    async def added(event: dict[str, Any], context: AsyncBoltContext) -> None:
        await hand_in(event, context.bot_user_id, is_taken_back=False)

    async def removed(event: dict[str, Any], context: AsyncBoltContext) -> None:
        await hand_in(event, context.bot_user_id, is_taken_back=True)

    app.event("reaction_added")(added)
    app.event("reaction_removed")(removed)
