"""One file per Slack event. Each listener only hands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.events import app_home_opened, app_mention, message, reaction
from handlers.inbox import Inbox

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp


def register(app: AsyncApp, inbox: Inbox) -> None:
    for event in (app_home_opened, app_mention, message, reaction):
        event.register(app, inbox)
