"""The arguments of a Web API call, however they came: query, form, or JSON."""

from __future__ import annotations

import json
from typing import Any

from bot.local.slack.errors import SlackError
from bot.local.slack.people import JSON


def parse_json(text: str | bytes) -> Any:
    """Strict JSON: NaN and Infinity are refused, and so is nesting that Python cannot follow (ValueError)."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


class Arguments:
    """Typed reading of what a caller sent; what has the wrong form raises `invalid_arguments`."""

    def __init__(self, values: JSON) -> None:
        self.values = values

    def text(self, name: str) -> str | None:
        """A string, or None when it was not sent or is empty."""
        value = self.values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise _invalid(name)
        return value

    def required(self, name: str, *, missing: str = "invalid_arguments") -> str:
        """A string that must be there."""
        value = self.text(name)
        if value is None:
            raise SlackError(missing, response_metadata={"messages": [f"[ERROR] missing required field: {name}"]})
        return value

    def flag(self, name: str) -> bool:
        """A truth value in any of the forms that Slack's libraries send."""
        return self.values.get(name) in (True, 1, "1", "true", "True")

    def number(self, name: str, *, default: int, most: int) -> int:
        """A positive whole number, cut at `most`."""
        value = self.text(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or len(value) > 9 or int(value) == 0:
            raise _invalid(name)
        return min(int(value), most)

    def structure(self, name: str, *, invalid: str = "invalid_arguments") -> Any:
        """A list or an object, sent as JSON or as a string that holds JSON; None when it was not sent."""
        value = self.values.get(name)
        if isinstance(value, str):
            if not value.strip():
                return None
            try:
                value = parse_json(value)
            except ValueError:
                raise SlackError(invalid) from None
        if value is not None and not isinstance(value, list | dict):
            raise SlackError(invalid)
        return value

    def names(self, name: str) -> list[str]:
        """Several strings, sent with commas between them or as a list."""
        value = self.values.get(name)
        if isinstance(value, list):
            return [str(part) for part in value]
        return [part.strip() for part in (self.text(name) or "").split(",") if part.strip()]


def _invalid(name: str) -> SlackError:
    return SlackError("invalid_arguments", response_metadata={"messages": [f"[ERROR] invalid value for {name}"]})
