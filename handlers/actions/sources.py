"""The buttons below the question whether a source is to be removed. Who presses, and where, is looked at when it is
done, not here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from handlers.commands.sources import SourceOrder
from handlers.inbox import Inbox

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp


def register(app: AsyncApp, inbox: Inbox) -> None:
    async def pressed(ack: Any, body: dict[str, Any], action: dict[str, Any]) -> None:
        by, (mark, _, name) = body["user"]["id"], str(action.get("value", "")).partition(" ")
        order = SourceOrder(
            what="remove" if action.get("action_id") == "source_remove" else "keep",
            name=name,
            mark=mark,
            by=by,
            channel_id=(body.get("container") or {}).get("channel_id", ""),
            once=f"{by}:{name}:{action.get('action_ts')}",
            response_url=body.get("response_url"),
        )
        await inbox.shelve(order, order.line, order.key)
        await ack()

    app.action(re.compile(r"^source_(remove|keep)$"))(pressed)
