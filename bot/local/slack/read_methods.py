"""The Web API methods that read: who, where, and what was said."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import TypeVar

from bot.local.slack.arguments import Arguments
from bot.local.slack.errors import SlackError
from bot.local.slack.messages import Message
from bot.local.slack.people import (
    APP_ID,
    BOT_ID,
    BOT_USER_ID,
    CREATED,
    JSON,
    TEAM_DOMAIN,
    TEAM_ID,
    TEAM_NAME,
    Channel,
)
from bot.local.slack.workspace import Workspace

T = TypeVar("T")
_TYPES = ("public_channel", "private_channel", "mpim", "im")
_TS = re.compile(r"\d{1,12}(\.\d{1,6})?")


class ReadMethods:
    def __init__(self, workspace: Workspace, base_url: str) -> None:
        self.workspace = workspace
        self.base_url = base_url

    # -- the app and its team

    def auth_test(self, call: Arguments) -> JSON:
        bot = self.workspace.users[BOT_USER_ID]
        names = {"url": f"{self.base_url}/", "team": TEAM_NAME, "user": bot.name, "team_id": TEAM_ID}
        return names | {"user_id": BOT_USER_ID, "bot_id": BOT_ID, "is_enterprise_install": False}

    def team_info(self, call: Arguments) -> JSON:
        team = {"id": TEAM_ID, "name": TEAM_NAME, "domain": TEAM_DOMAIN, "url": f"{self.base_url}/"}
        return {"team": team | {"email_domain": "", "icon": {"image_default": True}}}

    def bots_info(self, call: Arguments) -> JSON:
        if call.text("bot") not in (None, BOT_ID):
            raise SlackError("bot_not_found")
        bot = {"id": BOT_ID, "deleted": False, "name": "Footnote", "updated": CREATED, "app_id": APP_ID}
        return {"bot": bot | {"user_id": BOT_USER_ID, "icons": {}}}

    # -- people

    def users_info(self, call: Arguments) -> JSON:
        return {"user": self.workspace.user(call.required("user", missing="user_not_found")).as_slack()}

    def users_list(self, call: Arguments) -> JSON:
        page, more = _page(list(self.workspace.users.values()), call, default=1000, most=1000)
        return {"members": [user.as_slack() for user in page], "cache_ts": CREATED, **more}

    def users_conversations(self, call: Arguments) -> JSON:
        """Where a person is; private places only where the app is too."""
        user = self.workspace.user(call.text("user") or BOT_USER_ID).id
        channels = [c for c in self._visible(call) if user in c.members]
        page, more = _page(channels, call, default=100, most=999)
        return {"channels": [channel.as_slack() for channel in page], **more}

    def usergroups_list(self, call: Arguments) -> JSON:
        groups = []
        for group in self.workspace.groups.values():
            shown = {k: v for k, v in group.items() if k != "users" or call.flag("include_users")}
            if call.flag("include_count") or call.flag("include_users"):
                shown["user_count"] = len(group["users"])
            groups.append(shown)
        return {"usergroups": groups}

    def usergroups_users_list(self, call: Arguments) -> JSON:
        group = self.workspace.groups.get(call.required("usergroup"))
        if group is None:
            raise SlackError("no_such_subteam")
        return {"users": group["users"]}

    # -- conversations

    def conversations_info(self, call: Arguments) -> JSON:
        channel = self._channel(call)
        return {"channel": channel.as_slack(with_member_count=call.flag("include_num_members"))}

    def conversations_list(self, call: Arguments) -> JSON:
        page, more = _page(self._visible(call), call, default=100, most=1000)
        return {"channels": [channel.as_slack(with_member_count=True) for channel in page], **more}

    def conversations_members(self, call: Arguments) -> JSON:
        page, more = _page(self._channel(call).members, call, default=100, most=1000)
        return {"members": list(page), **more}

    def conversations_join(self, call: Arguments) -> JSON:
        channel = self._channel(call)
        if channel.is_private:
            raise SlackError("method_not_supported_for_channel_type")
        already = BOT_USER_ID in channel.members
        self.workspace.join(BOT_USER_ID, channel)
        answer: JSON = {"channel": channel.as_slack()}
        return answer | ({"warning": "already_in_channel"} if already else {})

    def conversations_open(self, call: Arguments) -> JSON:
        if call.text("channel"):
            channel = self._channel(call)
        else:
            users = call.names("users")
            if not users:
                raise SlackError("users_list_not_supplied")
            if len(users) > 8:
                raise SlackError("too_many_users")
            channel = self.workspace.direct_message([self.workspace.user(user).id for user in users])
        whole = channel.as_slack() if call.flag("return_im") else {"id": channel.id}
        return {"channel": whole}

    def conversations_history(self, call: Arguments) -> JSON:
        channel = self._channel(call, joined=True)
        newest_first = self._between(self.workspace.top_level(channel.id), call)[::-1]
        page, more = _page(newest_first, call, default=100, most=999)
        return {"messages": self._wire(page, call), "pin_count": 0, "has_more": bool(_cursor_of(more)), **more}

    def conversations_replies(self, call: Arguments) -> JSON:
        channel = self._channel(call, joined=True)
        parent, *replies = self.workspace.thread(channel.id, call.required("ts", missing="thread_not_found"))
        page, more = _page(self._between(replies, call), call, default=1000, most=1000)
        shown = page if call.text("cursor") else [parent, *page]  # the parent leads the first page
        return {"messages": self._wire(shown, call), "has_more": bool(_cursor_of(more)), **more}

    # -- shared steps

    def _channel(self, call: Arguments, *, joined: bool = False) -> Channel:
        id = call.required("channel", missing="channel_not_found")
        find = self.workspace.joined(id, member=BOT_USER_ID) if joined else None
        return find or self.workspace.channel(id, reader=BOT_USER_ID)

    def _visible(self, call: Arguments) -> list[Channel]:
        types = call.names("types") or ["public_channel"]
        if not set(types) <= set(_TYPES):
            raise SlackError("invalid_types")
        return [
            channel
            for channel in self.workspace.channels.values()
            if channel.type_name in types and (not channel.is_private or BOT_USER_ID in channel.members)
        ]

    def _between(self, messages: list[Message], call: Arguments) -> list[Message]:
        oldest, latest = _moment(call, "oldest"), _moment(call, "latest")
        if call.flag("inclusive"):
            return [m for m in messages if (oldest or "") <= m.ts <= (latest or "~")]
        return [m for m in messages if (oldest or "") < m.ts < (latest or "~")]

    def _wire(self, messages: Sequence[Message], call: Arguments) -> list[JSON]:
        with_metadata = call.flag("include_all_metadata")
        return [self.workspace.as_slack(message, include_metadata=with_metadata) for message in messages]


def _moment(call: Arguments, name: str) -> str | None:
    """A ts to compare with: all are of the same length, so that their order is that of their characters."""
    value = call.text(name)
    if value is None or value == "0":
        return None
    if not _TS.fullmatch(value):
        raise SlackError(f"invalid_ts_{name}")
    seconds, _, fraction = value.partition(".")
    return f"{seconds.zfill(10)}.{fraction.ljust(6, '0')}"


def _page(items: Sequence[T], call: Arguments, *, default: int, most: int) -> tuple[Sequence[T], JSON]:
    """One page and the `response_metadata` that leads to the next."""
    try:
        start = int(base64.b64decode(call.text("cursor") or "MA==", validate=True)[:12])
    except (binascii.Error, ValueError):
        raise SlackError("invalid_cursor") from None
    if start < 0:
        raise SlackError("invalid_cursor")
    end = start + call.number("limit", default=default, most=most)
    cursor = base64.b64encode(str(end).encode()).decode() if end < len(items) else ""
    return items[start:end], {"response_metadata": {"next_cursor": cursor}}


def _cursor_of(more: JSON) -> str:
    return str(more["response_metadata"]["next_cursor"])
