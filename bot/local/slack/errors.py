"""The one error of this Slack: a refusal with Slack's own code for it."""

from __future__ import annotations

from typing import Any


class SlackError(Exception):
    """A call refused as Slack refuses it: `{"ok": false, "error": code, **details}`."""

    def __init__(self, code: str, **details: Any) -> None:
        super().__init__(code)
        self.code = code
        self.details = details
