"""The two refusals of this Slack: what Slack itself refuses, and what only its control API does."""

from __future__ import annotations

from typing import Any


class SlackError(Exception):
    """A call refused as Slack refuses it: `{"ok": false, "error": code, **details}`."""

    def __init__(self, code: str, **details: Any) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


class WrongUse(ValueError):
    """A caller of the control API asks for what a Slack client would not offer."""
