"""Who can read a place, and so what may be said there. Whatever Slack does not tell counts as not allowed.

The audience of a reply is everyone who can read the place where it is posted, not the asker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from bot.vocabulary import PUBLIC, WORKSPACE, Asked
from handlers.slack import answers_of, call, refusal

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

T = TypeVar("T")

MEMBERSHIP_S = 60
"""How long channels, their members, groups and those who write directly are remembered."""
PEOPLE_S = 600
"""How long it is remembered who is a guest: to list 20,000 people takes as many calls as Slack allows in a minute."""


@dataclass(frozen=True)
class Readers:
    """What the readers of a place may all read, and who they are as an audience themselves."""

    labels: frozenset[str]
    audience: str
    """The audience of what is said there: `workspace`, `channel:ID`, or `nobody` for what one person sees."""


NOBODY_KNOWN = Readers(frozenset({PUBLIC}), "nobody")


class Audience:
    """Looks up readers, and remembers them for a minute. `team_id` is the token's own team: whoever is of another is an
    outsider."""

    def __init__(self, client: AsyncWebClient, team_id: str, admin_users: frozenset[str] = frozenset()) -> None:
        self._client = client
        self._team_id = team_id
        self._admin_users = admin_users
        self._remembered: dict[tuple[str, ...], Remembered] = {}

    async def of(self, asked: Asked) -> Readers:
        """Gives the readers of the reply to a question."""
        if asked.channel_id.startswith("D"):
            return await self.of_person(asked.user_id)
        return await self.of_channel(asked.channel_id)

    async def of_channel(self, channel_id: str) -> Readers:
        """Gives the readers of a channel, of a private one too, and of a group conversation."""
        return await self._remember(MEMBERSHIP_S, self._of_channel, "channel", channel_id)

    async def of_person(self, user_id: str) -> Readers:
        """Gives what one person may read: what a direct message to that person may say."""
        return await self._remember(MEMBERSHIP_S, self._of_person, "person", user_id)

    async def may_see(self, user_id: str, asked: Asked) -> bool:
        """Whether somebody can read the answer to a question where it was given."""
        if asked.is_private:
            return user_id == asked.user_id
        if asked.channel_id in await self._channels(user_id):
            return True
        place = await self.of_channel(asked.channel_id)
        return place.audience in (await self.of_person(user_id)).labels

    async def is_admin(self, user_id: str) -> bool:
        """Whether somebody is an admin: by our settings, or because Slack says so."""
        if user_id in self._admin_users:
            return True
        user = await self._remember(MEMBERSHIP_S, self._user, "admin", user_id)
        return bool(user.get("is_admin") or user.get("is_owner")) and not self._is_outsider(user)

    async def _of_channel(self, channel_id: str) -> Readers:
        async with refusal("channel_not_found", "missing_scope") as refused:
            channel = (await call(self._client.conversations_info(channel=channel_id)))["channel"]
        if refused:
            return NOBODY_KNOWN
        own = f"channel:{channel_id}"
        is_open = not (channel.get("is_private") or channel.get("is_mpim") or channel.get("is_group"))
        if (
            channel.get("is_ext_shared")
            or channel.get("is_pending_ext_shared")
            or (is_open and channel.get("is_org_shared"))  # people of other workspaces read it without being members
            or await self._has_outsiders(channel_id)
        ):
            return Readers(frozenset({PUBLIC, own}), own)
        return Readers(frozenset({PUBLIC, WORKSPACE, own}), WORKSPACE if is_open else own)

    async def _has_outsiders(self, channel_id: str) -> bool:
        people = await self._remember(PEOPLE_S, self._people, "people")
        async for page in answers_of(self._client.conversations_members, channel=channel_id, limit=999):
            for user_id in page["members"]:
                known = people.get(user_id)
                user = known if known is not None else await self._remember(PEOPLE_S, self._user, "user", user_id)
                if self._is_outsider(user):
                    return True
        return False

    async def _of_person(self, user_id: str) -> Readers:
        user = await self._user(user_id)
        if self._is_outsider(user):
            return NOBODY_KNOWN
        labels = {PUBLIC, WORKSPACE} | {f"channel:{id}" for id in await self._channels(user_id)}
        async with refusal("missing_scope"):
            groups = await self._remember(MEMBERSHIP_S, self._groups, "groups")
            labels |= {f"group:{id}" for id, members in groups.items() if user_id in members}
        return Readers(frozenset(labels), "nobody")

    async def _channels(self, user_id: str) -> frozenset[str]:
        """The channels that somebody is in, as far as the bot may know."""
        return await self._remember(MEMBERSHIP_S, self._look_up_channels, "channels", user_id)

    async def _look_up_channels(self, user_id: str) -> frozenset[str]:
        found: set[str] = set()
        kinds = "public_channel,private_channel,mpim"
        async with refusal("missing_scope", "user_not_found"):
            async for page in answers_of(self._client.users_conversations, user=user_id, types=kinds, limit=999):
                found |= {channel["id"] for channel in page["channels"]}
        return frozenset(found)

    async def _user(self, user_id: str) -> dict[str, Any]:
        async with refusal("user_not_found", "user_not_visible"):
            return dict((await call(self._client.users_info(user=user_id)))["user"])
        return {}

    async def _people(self) -> dict[str, dict[str, Any]]:
        people: dict[str, dict[str, Any]] = {}
        async for page in answers_of(self._client.users_list, limit=999):
            people |= {user["id"]: user for user in page["members"]}
        return people

    async def _groups(self) -> dict[str, list[str]]:
        page = await call(self._client.usergroups_list(include_users=True))
        return {group["id"]: group.get("users", []) for group in page["usergroups"]}

    def _is_outsider(self, user: dict[str, Any]) -> bool:
        """Guests, people of other organisations, and people of whom nothing is known. Bots of the own team are none."""
        if user.get("is_restricted") or user.get("is_ultra_restricted") or user.get("is_stranger"):
            return True
        return user.get("team_id") != self._team_id and self._team_id not in user.get("enterprise_user", {}).get(
            "teams", []
        )

    async def _remember(self, seconds: float, look_up: Callable[..., Coroutine[Any, Any, T]], *key: str) -> T:
        """Looks up once for everybody who asks meanwhile and for `seconds` after; failures are forgotten. What rests on
        something remembered is remembered no longer than that."""
        known = self._remembered.get(key)
        if known is None or known.until < time.monotonic():
            if len(self._remembered) > 50_000:
                self._remembered.clear()
            known = Remembered(time.monotonic() + seconds)
            known.task = asyncio.create_task(_on_behalf_of(known, look_up(*key[1:])))
            self._remembered[key] = known
        try:
            found = cast(T, await asyncio.shield(known.task))
        except BaseException:
            if known.task.done() and self._remembered.get(key) is known:
                del self._remembered[key]
            raise
        if resting := _resting.get():
            resting.until = min(resting.until, known.until)
        return found


@dataclass
class Remembered:
    """What was looked up, or is being looked up."""

    until: float
    task: asyncio.Task[Any] = field(init=False)


_resting: ContextVar[Remembered | None] = ContextVar("resting", default=None)
"""What the lookup that is going on is remembered as."""


async def _on_behalf_of(remembered: Remembered, look_up: Coroutine[Any, Any, T]) -> T:
    _resting.set(remembered)  # for this task alone
    return await look_up
