"""What was pressed and what was filled in, in the words of Slack's payloads."""

from __future__ import annotations

import time
from typing import Any

from bot.local.slack import block_kit
from bot.local.slack.errors import WrongUse
from bot.local.slack.people import JSON


def action_of(blocks: list[JSON], action_id: str, value: str | None, picked: Any) -> JSON:
    """The entry of `actions` for the element with this action_id, and this value where several share the id."""
    candidates = [(b, e) for b, e in block_kit.elements(blocks) if e.get("action_id") == action_id]
    if not candidates:
        raise WrongUse(f"no element with action_id {action_id!r} is here")
    for block, element in candidates:
        base = {"action_id": action_id, "block_id": block["block_id"], "type": element["type"]}
        base["action_ts"] = f"{time.time():.6f}"
        if element["type"] == "feedback_buttons":
            for button in (element["positive_button"], element["negative_button"]):
                if value is None or button["value"] == value or button["value"].endswith(value):
                    return base | {"value": button["value"], "text": button["text"]}
        elif options := element.get("options"):
            for option in options:
                if value is None or option.get("value") == value:
                    many = element["type"].startswith("multi_") or element["type"] == "checkboxes"
                    return base | ({"selected_options": [option]} if many else {"selected_option": option})
        elif element["type"] in block_kit.SELECTS:
            name = element["type"].removesuffix("_select").removesuffix("s")
            return base | {f"selected_{name}": picked or value}
        elif value is None or element.get("value") == value:
            return base | {k: element[k] for k in ("value", "text", "style") if k in element}
    raise WrongUse(f"no element with action_id {action_id!r} has the value {value!r}")


def state_of(blocks: list[JSON], values: JSON) -> JSON:
    """`view.state.values` of what was filled in; refuses what Slack's client would refuse to submit."""
    state: JSON = {}
    for block, element in block_kit.elements(blocks):
        if block["type"] != "input":
            continue
        action_id, block_id = element["action_id"], block["block_id"]
        given = values.get(block_id, values.get(action_id))
        if isinstance(given, dict) and action_id in given:
            given = given[action_id]
        entry = given if isinstance(given, dict) else _entry(element, given)
        if not block.get("optional") and all(v in (None, "", []) for k, v in entry.items() if k != "type"):
            raise WrongUse(f"{block_id}: please complete this required field")
        most = element.get("max_length", block_kit.INPUT_CHARACTERS)
        if element["type"] == "plain_text_input" and len(str(entry.get("value") or "")) > most:
            raise WrongUse(f"{block_id}: at most {most} characters")
        state[block_id] = {action_id: {"type": element["type"], **entry}}
    return state


def _entry(element: JSON, given: Any) -> JSON:
    kind = element["type"]
    options = [option for option in element.get("options") or [] if isinstance(option, dict)]
    if kind in ("checkboxes", "multi_static_select"):
        wanted = given if isinstance(given, list) else [given]
        chosen = [o for o in options if o.get("value") in wanted]
        return {"selected_options": chosen or element.get("initial_options") or []}
    if kind in ("static_select", "radio_buttons"):
        chosen_one = next((o for o in options if o.get("value") == given), element.get("initial_option"))
        return {"selected_option": chosen_one}
    if kind in block_kit.SELECTS:
        return {f"selected_{kind.removesuffix('_select')}": given}
    if kind in ("datepicker", "timepicker"):
        return {f"selected_{kind.removesuffix('picker')}": given}
    return {"value": element.get("initial_value") if given is None else str(given)}
