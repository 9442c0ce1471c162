"""The buttons on the cards of examples: approve, edit, reject, and the next page. Who presses, and where, is looked at
when it is done, not here."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from bot.vocabulary import Frozen
from handlers.inbox import Inbox, Told
from handlers.modals import editing, open_modal

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp
    from slack_sdk.web.async_client import AsyncWebClient

NOT_OPENED = "Slack did not open the window for editing. Press Edit again."


class Pressed(Frozen):
    """A button on a card of examples, or below them."""

    user_id: str
    channel_id: str
    what: str
    """approve, reject, edit or page."""
    example_id: str = ""
    """For a page: the example that it begins after; empty for the first one."""
    words: str = ""
    """Names the words of the example that stood on the card (`judging.words_of`): it is these that are decided on."""
    shown: tuple[str, ...] = ()
    """The examples on that page."""
    view_id: str | None = None
    """The dialog that was opened for it."""
    response_url: str | None = None


def value_of(example_id: str, words: str = "", shown: tuple[str, ...] = ()) -> str:
    """What a button carries."""
    return json.dumps([example_id, words, *shown])


def register(app: AsyncApp, inbox: Inbox) -> None:
    async def pressed(ack: Any, body: dict[str, Any], action: dict[str, Any], client: AsyncWebClient) -> None:
        what = str(action["action_id"]).removeprefix("review_")
        example_id, words, *shown = json.loads(action["value"])
        press = Pressed(
            user_id=body["user"]["id"],
            channel_id=(body.get("container") or {}).get("channel_id", ""),
            what=what,
            example_id=example_id,
            words=words,
            shown=tuple(shown),
            response_url=body.get("response_url"),
        )
        key = f"{press.user_id}:{action['value']}:{action.get('action_ts')}"
        if what == "edit":
            press = press.model_copy(update={"view_id": await open_modal(client, body, editing.waiting())})
        if what == "edit" and press.view_id is None:
            await inbox.tell(Told(user_id=press.user_id, text=NOT_OPENED, response_url=press.response_url), key)
        else:
            await inbox.review("review", press, example_id, key)
        await ack()

    app.action(re.compile(r"^review_(approve|reject|edit|page)$"))(pressed)
