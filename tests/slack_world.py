"""A workspace that people join, leave and change, and what is true of it: who reads a place, and who may read what. It
answers Slack's lookups as Slack would. Nothing in here is the product's: what is true is said from the promise alone,
so that the product can be held against it. Slack's answers may be remembered for a while; so a thing may be shown if
it was right at some moment of that while, and must be shown if it was right all along."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

from handlers.slack import SlackRefused

PLACES_S = 60.0
"""How long who is in a place, in a group, or what somebody is who writes directly, may be remembered."""
ROLES_S = 600.0
"""How long it may be remembered who of a channel's members is a guest."""

Role = Literal["member", "guest", "partner"]
"""Of the workspace; with few rights in it; of another organisation."""
Kind = Literal["open", "private", "group"]
NOBODY_KNOWN = "somebody of another organisation"


@dataclass
class Place:
    """A channel, or a conversation of several people."""

    kind: Kind
    members: set[str]
    is_shared: bool = False
    """With another organisation, whose people may read it whoever they are."""
    knows_bot: bool = True


@dataclass
class State:
    """How everything stands at a moment."""

    roles: dict[str, Role]
    places: dict[str, Place]
    groups: dict[str, set[str]] = field(default_factory=dict)

    def readers(self, place_id: str) -> set[str]:
        """Everybody who can read a place."""
        place = self.places[place_id]
        readers = set(place.members)
        if place.kind == "open":
            readers |= {person for person, role in self.roles.items() if role == "member"}
        return readers | ({NOBODY_KNOWN} if place.is_shared else set())

    def may_read(self, person: str, audience: str, roles: dict[str, set[Role]] | None = None) -> bool:
        """Whether somebody may read what has that audience; `roles` are what people may be taken for."""
        kind, _, id = audience.partition(":")
        if kind == "workspace":
            return "member" in (roles.get(person, set()) if roles else {self.roles.get(person)})
        if kind == "channel":
            return person in self.readers(id)
        return kind == "public" or (kind == "group" and person in self.groups[id])

    def is_known(self, place_id: str) -> bool:
        """Whether Slack tells the bot of a place."""
        return self.places[place_id].kind == "open" or self.places[place_id].knows_bot


class World:
    """One team over time. Change `now`, then call `changed`."""

    def __init__(self, team_id: str, state: State) -> None:
        self.team_id, self.now, self.at_s = team_id, state, 0.0
        self._past: list[tuple[float, State]] = [(0.0, deepcopy(state))]

    def changed(self) -> None:
        """Writes down how everything stands from this moment on."""
        self._past.append((self.at_s, deepcopy(self.now)))

    def within(self, seconds: float) -> Iterator[State]:
        """Gives how everything stood at any moment of the last `seconds`."""
        ends = [since for since, _ in self._past[1:]] + [float("inf")]
        for (_, state), end in zip(self._past, ends, strict=True):
            if end >= self.at_s - seconds:
                yield state

    def may_be_shown(self, place: str, audience: str) -> bool:
        """Whether it is right to show something in a channel: everybody who reads it may read that."""
        roles = self._roles()
        return any(
            all(state.may_read(reader, audience, roles) for reader in state.readers(place))
            for state in self.within(PLACES_S)
        )

    def may_be_told(self, person: str, audience: str) -> bool:
        """Whether it is right to tell one person something."""
        return any(state.may_read(person, audience) for state in self.within(PLACES_S))

    def must_be_shown(self, place: str, audience: str) -> bool:
        """Whether a channel is promised to be told: what is public, what is its own, and what is for the workspace
        where nobody else reads."""
        states, roles = list(self.within(PLACES_S)), self._roles()
        if audience == "public":
            return True
        if not all(state.is_known(place) for state in states):
            return False
        if audience == "workspace":
            are_insiders = all(
                roles[person] == {"member"} for state in states for person in state.places[place].members
            )
            return are_insiders and not any(state.places[place].is_shared for state in states)
        return audience == f"channel:{place}"

    def must_be_told(self, person: str, audience: str) -> bool:
        """Whether a person is promised to be told: a member what the workspace, the own channels and groups may read,
        and everybody what is public."""
        states = list(self.within(PLACES_S))
        kind, _, id = audience.partition(":")
        if kind == "public":
            return True
        if any(state.roles[person] != "member" for state in states):
            return False
        if kind == "channel":
            return all(state.is_known(id) and person in state.places[id].members for state in states)
        return kind == "workspace" or all(person in state.groups[id] for state in states)

    def _roles(self) -> dict[str, set[Role]]:
        """What Slack may have said of each person lately."""
        states = list(self.within(ROLES_S))
        return {person: {state.roles[person] for state in states} for person in self.now.roles}


class SlackOf:
    """Slack's lookups in a world, in pages of one."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def conversations_info(self, channel: str) -> dict[str, Any]:
        place = self._place(channel)
        return {
            "channel": {
                "id": channel,
                "is_private": place.kind != "open",
                "is_mpim": place.kind == "group",
                "is_ext_shared": place.is_shared,
            }
        }

    async def conversations_members(self, channel: str, cursor: str = "", limit: int = 0) -> dict[str, Any]:
        return _page("members", sorted(self._place(channel).members), cursor)

    async def users_list(self, cursor: str = "", limit: int = 0) -> dict[str, Any]:
        ours = [self._user(id) for id, role in sorted(self._world.now.roles.items()) if role != "partner"]
        return _page("members", ours, cursor)

    async def users_info(self, user: str) -> dict[str, Any]:
        return {"user": self._user(user)}

    async def users_conversations(self, user: str, types: str, cursor: str = "", limit: int = 0) -> dict[str, Any]:
        now = self._world.now
        theirs = [id for id, place in sorted(now.places.items()) if user in place.members and now.is_known(id)]
        return _page("channels", [{"id": id} for id in theirs], cursor)

    async def usergroups_list(self, include_users: bool = False) -> dict[str, Any]:
        return {"usergroups": [{"id": id, "users": sorted(users)} for id, users in self._world.now.groups.items()]}

    def _place(self, channel: str) -> Place:
        if not self._world.now.is_known(channel):
            raise SlackRefused("channel_not_found")
        return self._world.now.places[channel]

    def _user(self, id: str) -> dict[str, Any]:
        role = self._world.now.roles[id]
        if role == "partner":
            return {"id": id, "team_id": "T0OTHER", "is_stranger": True}
        return {"id": id, "team_id": self._world.team_id, "is_restricted": role == "guest"}


def _page(name: str, values: list[Any], cursor: str) -> dict[str, Any]:
    start = int(cursor or 0)
    more = str(start + 1) if len(values) > start + 1 else ""
    return {name: values[start : start + 1], "response_metadata": {"next_cursor": more}}
