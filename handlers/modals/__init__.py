"""The dialogs. Slack's permission to open one lives for three seconds, so that `web` opens them itself, at once or not
at all; what is sent with them is queued like everything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from bot.errors import SlackUnavailable
from handlers.blocks import Block
from handlers.slack import SlackRefused, call, impatient

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

OPEN_WITHIN_S = 2
"""Slack waits three seconds for the acknowledgement, which comes after it."""
INPUT_LIMIT = 3_000
"""Characters that one input takes."""

log = structlog.get_logger()


async def open_modal(client: AsyncWebClient, body: dict[str, Any], view: Block) -> str | None:
    """Opens a dialog before whoever did what `body` tells. Gives its id; None when Slack did not open it in time."""
    try:
        async with asyncio.timeout(OPEN_WITHIN_S):
            opened = await call(impatient(client).views_open(trigger_id=str(body.get("trigger_id", "")), view=view))
            return str(opened["view"]["id"])
    except (SlackRefused, SlackUnavailable, TimeoutError) as error:
        log.warning("modal_not_opened", cause=str(error) or type(error).__name__)
        return None


def modal(callback_id: str, title: str, blocks: list[Block], *, submit: str | None = None, metadata: str = "") -> Block:
    """A dialog; without `submit` it can only be closed."""
    view: Block = {
        "type": "modal",
        "callback_id": callback_id,
        "title": _plain(title),
        "close": _plain("Cancel" if submit else "Close"),
        "private_metadata": metadata,
        "blocks": blocks,
    }
    return view | ({"submit": _plain(submit)} if submit else {})


def text_input(name: str, label: str, *, hint: str, value: str = "", optional: bool = False) -> Block:
    """An input of several lines, named `name`."""
    element: Block = {"type": "plain_text_input", "action_id": name, "multiline": True, "max_length": INPUT_LIMIT}
    return {
        "type": "input",
        "block_id": name,
        "optional": optional,
        "label": _plain(label),
        "hint": _plain(hint),
        "element": element | ({"initial_value": value} if value else {}),
    }


def select(name: str, label: str, choices: dict[str, str]) -> Block:
    """A choice of one, named `name`; `choices` has what is shown by value."""
    options = [{"text": _plain(text), "value": value} for value, text in choices.items()]
    element = {"type": "static_select", "action_id": name, "placeholder": _plain("Choose"), "options": options}
    return {"type": "input", "block_id": name, "label": _plain(label), "element": element}


def entered(view: dict[str, Any], name: str) -> str:
    """Reads what was entered or chosen in the input of a name; empty when nothing was."""
    values = (view.get("state") or {}).get("values") or {}
    entry = (values.get(name) or {}).get(name) or {}
    return str(entry.get("value") or (entry.get("selected_option") or {}).get("value") or "").strip()


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": text}
