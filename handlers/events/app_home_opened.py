"""https://docs.slack.dev/reference/events/app_home_opened"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handlers.inbox import Inbox, Opened

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp


def register(app: AsyncApp, inbox: Inbox) -> None:
    async def opened(event: dict[str, Any]) -> None:
        if event.get("tab") == "home":
            await inbox.open_home(Opened(user_id=event["user"]), f"{event['user']}:{event.get('event_ts')}")

    app.event("app_home_opened")(opened)
