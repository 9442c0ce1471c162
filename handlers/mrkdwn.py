"""Slack's way of writing text: https://docs.slack.dev/messaging/formatting-message-text"""

from __future__ import annotations

import html
import re

_ANGLE = re.compile(r"<([^<>]*)>")
_PERSON = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^>]*)?>")


def people_in(text: str) -> set[str]:
    """Finds the ids of the people whom a message mentions."""
    return set(_PERSON.findall(text))


def to_plain(text: str) -> str:
    """Turns a message as Slack delivers it into plain words: mentions of people go, links leave their label."""
    return html.unescape(_ANGLE.sub(_plain_angle, text)).replace("\u00a0", " ").strip()


def _plain_angle(match: re.Match[str]) -> str:
    target, _, label = match[1].partition("|")
    if target.startswith("@"):
        return ""
    if target.startswith("#"):
        return f"#{label}" if label else "that channel"
    if target.startswith("!"):
        return label
    return label or target.removeprefix("mailto:")


def escape(text: str) -> str:
    """Makes text safe to stand in mrkdwn: nothing in it can become a mention or a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def link(url: str | None, label: str) -> str:
    """Writes a link, or the bare label where there is no web address."""
    text = escape(label).replace("|", "¦")
    if url is None or not re.match(r"https?://[^\s<>|]+$", url):
        return text
    return f"<{url.replace('&', '&amp;')}|{text}>"
