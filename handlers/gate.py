"""The gate before Bolt, which parses a body before it checks the signature and falls over what is not an event. What
passes is of bounded size, freshly signed over its raw bytes, and a well-formed object; anything else gets its status.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

BODY_LIMIT = 2 * 1024 * 1024
"""Bytes. The longest message has 40,000 characters; an edit holds it four times, each character in up to six bytes."""
DEPTH_LIMIT = 64
SIGNATURE_AGE_S = 300


class Refused(Exception):
    """A request that goes no further, with its HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def admit(body: bytes, headers: Mapping[str, str], signing_secret: str, now_s: float) -> None:
    """Lets a request through. Raises Refused with 413, 401 or 400.

    Source: https://docs.slack.dev/authentication/verifying-requests-from-slack
    """
    if len(body) > BODY_LIMIT:
        raise Refused(413, "too large")
    check_signature(body, headers, signing_secret, now_s)
    check_shape(parse(body, headers.get("Content-Type", "")))


def check_signature(body: bytes, headers: Mapping[str, str], signing_secret: str, now_s: float) -> None:
    """Checks that Slack sent these bytes within the last five minutes. Raises Refused with 401."""
    timestamp = headers.get("X-Slack-Request-Timestamp", "")
    if not re.fullmatch(r"[0-9]{10}", timestamp) or abs(now_s - int(timestamp)) > SIGNATURE_AGE_S:
        raise Refused(401, "no fresh timestamp")
    expected = hmac.new(signing_secret.encode(), b"v0:%s:%s" % (timestamp.encode(), body), hashlib.sha256).hexdigest()
    given = headers.get("X-Slack-Signature", "").encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(given, f"v0={expected}".encode()):
        raise Refused(401, "wrong signature")


def parse(body: bytes, content_type: str) -> Any:
    """Reads the body: JSON for events, a form for commands, a form with JSON in `payload` for interactivity."""
    try:
        text = body.decode()
        if not content_type.startswith("application/x-www-form-urlencoded"):
            return json.loads(text)
        form = {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}
        return json.loads(form["payload"]) if "payload" in form else form
    except (ValueError, RecursionError) as error:
        raise Refused(400, "neither JSON nor a form") from error


def check_shape(payload: Any) -> None:
    """Checks that a payload is one that the listeners can read: in Socket Mode, too. Raises Refused with 400."""
    if not isinstance(payload, dict) or _is_deeper_than(DEPTH_LIMIT, payload):
        raise Refused(400, "not an object of reasonable depth")
    if "command" in payload:
        names = ("command", "text", "user_id", "channel_id", "team_id", "trigger_id", "response_url")
        _require_strings(payload, *(name for name in names if name in payload or name not in ("text", "team_id")))
        return
    kind = payload.get("type")
    if kind == "event_callback":
        _check_event(payload.get("event"))
        _require_strings(payload, "team_id")
    elif kind in ("block_actions", "message_action", "shortcut", "view_submission", "view_closed"):
        if not isinstance(payload.get("user"), dict):
            raise Refused(400, "nobody did it")
        _require_strings(payload["user"], "id")
        if kind == "block_actions" and not _are_objects(payload.get("actions")):
            raise Refused(400, "no actions")
        if not isinstance(payload.get("container"), dict | None):
            raise Refused(400, "done nowhere")
        if kind == "view_submission":
            _check_view(payload.get("view"))
        if kind == "message_action":
            _check_event(payload.get("message"), "ts")
            _check_event(payload.get("channel"), "id")
    elif not isinstance(kind, str) and "ssl_check" not in payload:
        raise Refused(400, "no type")


_REQUIRED = {
    "app_mention": ("channel", "ts"),
    "app_home_opened": ("user",),
    "reaction_added": ("user", "reaction", "event_ts"),
    "reaction_removed": ("user", "reaction", "event_ts"),
}
_STRINGS = ("user", "bot_id", "channel", "ts", "thread_ts", "text", "subtype", "channel_type", "client_msg_id", "team")


def _check_event(event: Any, *required: str) -> None:
    if not isinstance(event, dict):
        raise Refused(400, "no event")
    kind = event.get("type")
    if not required:
        _require_strings(event, "type")
        required = _REQUIRED.get(str(kind), ())
        if kind == "message":
            required = ("channel", "deleted_ts") if event.get("subtype") == "message_deleted" else ("channel",)
            if event.get("subtype") is None:
                required = ("channel", "ts")
    _require_strings(event, *required)
    for name in ("user", "channel"):
        if not isinstance(event.get(name), str | dict | None):
            raise Refused(400, f"{name} is neither an id nor an object")
    if kind in ("message", "app_mention"):
        for name in _STRINGS:
            if not isinstance(event.get(name), str | None):
                raise Refused(400, f"{name} is no string")
    for name in ("message", "previous_message", "item"):
        inner = event.get(name) or {}
        if not isinstance(inner, dict):
            raise Refused(400, f"{name} is no object")
        for field in ("ts", "text", "user", "subtype", "channel", "type"):
            if not isinstance(inner.get(field), str | None):
                raise Refused(400, f"{field} is no string")


def _check_view(view: Any) -> None:
    """Checks a dialog that was sent: its inputs by block and by action."""
    if not isinstance(view, dict):
        raise Refused(400, "no view")
    _require_strings(view, "id", "callback_id", "private_metadata")
    state = view.get("state") or {}
    inputs = (state.get("values") or {}) if isinstance(state, dict) else None
    blocks = list(inputs.values()) if isinstance(inputs, dict) else [None]
    if not all(isinstance(one, dict) and all(isinstance(each, dict) for each in one.values()) for one in blocks):
        raise Refused(400, "no inputs")


def _require_strings(values: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(values.get(name), str):
            raise Refused(400, f"{name} is no string")


def _are_objects(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(one, dict) for one in values)


def _is_deeper_than(limit: int, value: Any) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
