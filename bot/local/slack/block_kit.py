"""Block Kit as Slack accepts it: sizes, required parts, unique ids.

An app that sends a block that Slack would refuse shall learn it here and not in production. The limits are those
of docs.slack.dev/reference/block-kit.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

from bot.local.slack.errors import SlackError
from bot.local.slack.people import JSON

MESSAGE_BLOCKS = 50
VIEW_BLOCKS = 100
MARKDOWN_CHARACTERS = 12_000
INPUT_CHARACTERS = 3_000

# Blocks whose insides this Slack stores and shows but does not weigh.
_UNWEIGHED = {"divider", "rich_text", "file", "video", "table", "data_table", "data_visualization", "call"}
_UNWEIGHED |= {"task_card", "plan", "alert", "card", "carousel", "container"}
_SOURCES = ("static", "external", "users", "conversations", "channels")
SELECTS = {f"{many}{source}_select" for many in ("multi_", "") for source in _SOURCES}
_BUTTONS = {"button", "workflow_button", "icon_button"}
_INPUTS = {"plain_text_input", "email_text_input", "url_text_input", "number_input", "rich_text_input", "file_input"}
_INPUTS |= {"datepicker", "timepicker", "datetimepicker", "checkboxes", "radio_buttons"}
_INTERACTIVE = SELECTS | _BUTTONS | _INPUTS | {"overflow", "feedback_buttons"}


class _Refused(Exception):
    def __init__(self, problem: str, where: str) -> None:
        super().__init__(f"{problem} [json-pointer:{where}]")


def checked(blocks: Any, *, limit: int = MESSAGE_BLOCKS, code: str = "invalid_blocks") -> list[JSON]:
    """The blocks with their missing ids filled in.

    Raises `SlackError`: `invalid_blocks_format` for what is no array of objects, else `code`, with the place of the
    fault in `response_metadata.messages` as Slack gives it.
    """
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise SlackError("invalid_blocks_format")
    try:
        if len(blocks) > limit:
            raise _Refused(f"no more than {limit} items allowed", "/blocks")
        for number, block in enumerate(blocks):
            _block(block, f"/blocks/{number}")
        markdown = sum(len(block["text"]) for block in blocks if block["type"] == "markdown")
        if markdown > MARKDOWN_CHARACTERS:
            raise _Refused(f"markdown blocks hold more than {MARKDOWN_CHARACTERS} characters", "/blocks")
        _distinct([block["block_id"] for block in blocks if "block_id" in block], "block_id", "/blocks")
    except _Refused as refused:
        raise SlackError(code, response_metadata={"messages": [f"[ERROR] {refused}"]}, errors=[str(refused)]) from None
    return [_with_ids(block) for block in blocks]


def elements(blocks: list[JSON]) -> Iterator[tuple[JSON, JSON]]:
    """Each interactive element with the block it stands in."""
    for block in blocks:
        inside = block.get("elements")
        parts = inside if isinstance(inside, list) else []
        for element in (*parts, block.get("accessory"), block.get("element")):
            if isinstance(element, dict) and _type_of(element) in _INTERACTIVE:
                yield block, element


def _type_of(part: JSON) -> str:
    kind = part.get("type")
    return kind if isinstance(kind, str) else ""


def _with_ids(block: JSON) -> JSON:
    block = {**block, "block_id": block.get("block_id") or secrets.token_urlsafe(4)}
    for _, element in elements([block]):
        element.setdefault("action_id", secrets.token_urlsafe(4))
    return block


def _block(block: JSON, where: str) -> None:
    kind = _type_of(block)
    _text_of(block, "block_id", where, most=255, required=False)
    if kind == "section":
        if "text" not in block and "fields" not in block:
            raise _Refused("missing required field: text or fields", where)
        if "text" in block:
            _text_object(block["text"], f"{where}/text", most=3000)
        for number, text in enumerate(_list_of(block, "fields", where, most=10, required=False)):
            _text_object(text, f"{where}/fields/{number}", most=2000)
        if "accessory" in block:
            _element(block["accessory"], f"{where}/accessory")
    elif kind == "header":
        _text_object(block.get("text"), f"{where}/text", most=150, plain=True)
    elif kind == "markdown":
        _text_of(block, "text", where, most=MARKDOWN_CHARACTERS)
    elif kind == "image":
        _text_of(block, "alt_text", where, most=2000)
        if "image_url" not in block and "slack_file" not in block:
            raise _Refused("missing required field: image_url", where)
    elif kind == "context":
        for number, part in enumerate(_list_of(block, "elements", where, most=10)):
            if not (isinstance(part, dict) and part.get("type") == "image"):
                _text_object(part, f"{where}/elements/{number}", most=3000)
    elif kind in ("actions", "context_actions"):
        parts = _list_of(block, "elements", where, most=25 if kind == "actions" else 5)
        for number, part in enumerate(parts):
            _element(part, f"{where}/elements/{number}")
            for_context = part["type"] in ("feedback_buttons", "icon_button")
            if for_context != (kind == "context_actions"):
                raise _Refused(f"unsupported element type: {part['type']}", f"{where}/elements/{number}")
        _distinct([part["action_id"] for part in parts if "action_id" in part], "action_id", where)
    elif kind == "input":
        _text_object(block.get("label"), f"{where}/label", most=2000, plain=True)
        _element(block.get("element"), f"{where}/element")
    elif kind not in _UNWEIGHED:
        raise _Refused(f"unsupported type: {kind}", where)


def _element(element: Any, where: str) -> None:
    if not isinstance(element, dict):
        raise _Refused("must provide an object", where)
    kind = _type_of(element)
    if kind == "image":
        _text_of(element, "alt_text", where, most=2000)
        return
    if kind not in _INTERACTIVE:
        raise _Refused(f"unsupported type: {kind}", where)
    _text_of(element, "action_id", where, most=255, required=False)
    if kind == "feedback_buttons":
        for name in ("positive_button", "negative_button"):
            button = element.get(name)
            if not isinstance(button, dict):
                raise _Refused(f"missing required field: {name}", where)
            _text_object(button.get("text"), f"{where}/{name}/text", most=75, plain=True)
            _text_of(button, "value", f"{where}/{name}", most=2000)
            _text_of(button, "accessibility_label", f"{where}/{name}", most=75, required=False)
    elif kind in _BUTTONS:
        _text_object(element.get("text"), f"{where}/text", most=75, plain=True)
        _text_of(element, "value", where, most=2000, required=False)
        _text_of(element, "url", where, most=3000, required=False)
        if element.get("style") not in (None, "primary", "danger"):
            raise _Refused("invalid style", f"{where}/style")
    elif kind == "plain_text_input":
        most = element.get("max_length", INPUT_CHARACTERS)
        if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= INPUT_CHARACTERS:
            raise _Refused(f"must be from 1 to {INPUT_CHARACTERS}", f"{where}/max_length")
        _text_of(element, "initial_value", where, most=most, required=False)
    elif "options" in element or kind in ("overflow", "static_select", "checkboxes", "radio_buttons"):
        if "option_groups" in element:
            return
        most = {"overflow": 5, "checkboxes": 10, "radio_buttons": 10}.get(kind, 100)
        for number, option in enumerate(_list_of(element, "options", where, most=most)):
            if not isinstance(option, dict):
                raise _Refused("must provide an object", f"{where}/options/{number}")
            _text_object(option.get("text"), f"{where}/options/{number}/text", most=75)
            _text_of(option, "value", f"{where}/options/{number}", most=150)


def _text_object(text: Any, where: str, *, most: int, plain: bool = False) -> None:
    if not isinstance(text, dict):
        raise _Refused("must provide an object", where)
    if text.get("type") not in (("plain_text",) if plain else ("plain_text", "mrkdwn")):
        raise _Refused("unsupported text type", f"{where}/type")
    _text_of(text, "text", where, most=most)


def _text_of(holder: JSON, name: str, where: str, *, most: int, required: bool = True) -> None:
    value = holder.get(name)
    if value is None and not required:
        return
    if not isinstance(value, str):
        raise _Refused(f"missing required field: {name}", where)
    if required and not value:
        raise _Refused("must be more than 0 characters", f"{where}/{name}")
    if len(value) > most:
        raise _Refused(f"must be less than {most + 1} characters", f"{where}/{name}")


def _list_of(holder: JSON, name: str, where: str, *, most: int, required: bool = True) -> list[Any]:
    value = holder.get(name)
    if value is None and not required:
        return []
    if not isinstance(value, list) or not value:
        raise _Refused(f"missing required field: {name}", where)
    if len(value) > most:
        raise _Refused(f"no more than {most} items allowed", f"{where}/{name}")
    return value


def _distinct(names: list[Any], what: str, where: str) -> None:
    if len(set(names)) != len(names):
        raise _Refused(f"{what} already exists", where)
