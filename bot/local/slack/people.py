"""The fixed cast: who is in the local workspace, and where they talk.

Ids are fixed and readable, so that tests, notes and demonstrations can name them. Every kind of reader that an
answer's audience depends on is here: an admin, members, a guest, and someone of another organisation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

JSON = dict[str, Any]
Role = Literal["admin", "member", "guest", "external", "bot", "slackbot"]
Kind = Literal["public", "private", "shared", "mpim", "im"]

TEAM_ID = "T0LOCAL"
TEAM_NAME = "Local Workspace"
TEAM_DOMAIN = "local"
PARTNER_TEAM_ID = "T0ACME"
APP_ID = "A0FOOTNOTE"
BOT_ID = "B0FOOTNOTE"
BOT_USER_ID = "U0FOOTNOTE"
CREATED = 1_760_000_000

BOT_TOKEN = "xoxb-local-bot-token"
APP_TOKEN = "xapp-local-app-token"
SIGNING_SECRET = "local-signing-secret"

# What the bot may do, as the header x-oauth-scopes tells it.
SCOPES = (
    "app_mentions:read,assistant:write,channels:history,channels:join,channels:read,chat:write,commands,groups:history,"
    "groups:read,im:history,im:read,im:write,mpim:history,mpim:read,mpim:write,reactions:read,reactions:write,team:read,"
    "usergroups:read,users:read"
)


@dataclass(frozen=True)
class User:
    id: str
    name: str
    real_name: str
    role: Role

    @property
    def team_id(self) -> str:
        return PARTNER_TEAM_ID if self.role == "external" else TEAM_ID

    def as_slack(self) -> JSON:
        """The user object of `users.info`."""
        display_name = "" if self.role == "bot" else self.real_name.split()[0]
        profile: JSON = {
            "real_name": self.real_name,
            "real_name_normalized": self.real_name,
            "display_name": display_name,
            "display_name_normalized": display_name,
            "first_name": self.real_name.split()[0],
            "last_name": self.real_name.split()[-1],
            "title": "",
            "phone": "",
            "status_text": "",
            "status_emoji": "",
            "avatar_hash": "local",
            "team": self.team_id,
        }
        user: JSON = {
            "id": self.id,
            "team_id": self.team_id,
            "name": self.name,
            "real_name": self.real_name,
            "deleted": False,
            "color": "4bbe2e",
            "tz": "Europe/Amsterdam",
            "tz_label": "Central European Time",
            "tz_offset": 3600,
            "profile": profile,
            "is_admin": self.role == "admin",
            "is_owner": self.role == "admin",
            "is_primary_owner": self.role == "admin",
            "is_restricted": self.role == "guest",
            "is_ultra_restricted": False,
            "is_bot": self.role == "bot",
            "is_app_user": False,
            "updated": CREATED,
            "is_email_confirmed": True,
            "who_can_share_contact_card": "EVERYONE",
        }
        if self.role == "external":
            user["is_stranger"] = True
        if self.role == "bot":
            profile |= {"api_app_id": APP_ID, "bot_id": BOT_ID, "always_active": True}
        return user


@dataclass
class Channel:
    id: str
    name: str
    kind: Kind
    members: list[str] = field(default_factory=list)

    @property
    def is_private(self) -> bool:
        return self.kind in ("private", "mpim", "im")

    @property
    def is_external(self) -> bool:
        return self.kind == "shared"

    @property
    def channel_type(self) -> str:
        """The `channel_type` of message events."""
        return {"public": "channel", "shared": "channel", "private": "group", "mpim": "mpim", "im": "im"}[self.kind]

    @property
    def type_name(self) -> str:
        """The word for this kind in the `types` of conversations.list."""
        kinds = {"public": "public_channel", "shared": "public_channel", "private": "private_channel"}
        return kinds.get(self.kind, self.kind)

    def person(self) -> str:
        """The one of a direct message who is not the bot."""
        return next(member for member in self.members if member != BOT_USER_ID)

    def as_slack(self, *, with_member_count: bool = False) -> JSON:
        """The channel object of `conversations.info`, as the bot sees it."""
        channel: JSON = {"id": self.id, "created": CREATED, "is_archived": False, "context_team_id": TEAM_ID}
        channel |= {"is_org_shared": False, "updated": CREATED * 1000}
        if self.kind == "im":
            person = self.person()
            channel |= {"is_im": True, "user": person, "is_user_deleted": False, "is_open": True}
            return channel | {"is_ext_shared": False, "is_private": True}
        shared = [TEAM_ID, PARTNER_TEAM_ID] if self.is_external else [TEAM_ID]
        channel |= {
            "name": self.name,
            "name_normalized": self.name,
            "is_channel": self.kind in ("public", "shared"),
            "is_group": self.kind == "private",
            "is_im": False,
            "is_mpim": self.kind == "mpim",
            "is_private": self.is_private,
            "is_general": self.name == "general",
            "is_shared": self.is_external,
            "is_ext_shared": self.is_external,
            "is_pending_ext_shared": False,
            "shared_team_ids": shared,
            "pending_shared": [],
            "pending_connected_team_ids": [],
            "is_member": BOT_USER_ID in self.members,
            "creator": "U0ADMIN",
            "unlinked": 0,
            "topic": {"value": "", "creator": "", "last_set": 0},
            "purpose": {"value": "", "creator": "", "last_set": 0},
            "previous_names": [],
        }
        if self.is_external:
            channel["connected_team_ids"] = [PARTNER_TEAM_ID]
        if with_member_count:
            channel["num_members"] = len(self.members)
        return channel


def cast() -> dict[str, User]:
    """Everybody in the workspace by id."""
    people = [
        User("U0ADMIN", "ada", "Ada Okafor", "admin"),
        User("U0MAYA", "maya", "Maya Lindqvist", "member"),
        User("U0NOAH", "noah", "Noah Becker", "member"),
        User("U0PRIYA", "priya", "Priya Raman", "member"),
        User("U0GUEST", "gus", "Gus Ferreira", "guest"),
        User("U0PARTNER", "petra", "Petra Novak", "external"),
        User(BOT_USER_ID, "footnote", "Footnote", "bot"),
        User("USLACKBOT", "slackbot", "Slackbot", "slackbot"),
    ]
    return {person.id: person for person in people}


def rooms() -> dict[str, Channel]:
    """Every conversation that is there from the start, by id."""
    staff = ["U0ADMIN", "U0MAYA", "U0NOAH", "U0PRIYA"]
    channels = [
        Channel("C0HELP", "help", "public", [*staff, BOT_USER_ID]),
        Channel("C0GENERAL", "general", "public", [*staff, "U0GUEST", BOT_USER_ID]),
        Channel("C0RANDOM", "random", "public", [*staff]),
        Channel("C0INCIDENTS", "incidents", "private", ["U0ADMIN", "U0NOAH", BOT_USER_ID]),
        Channel("C0PARTNER", "partner-acme", "shared", ["U0ADMIN", "U0MAYA", "U0PARTNER", BOT_USER_ID]),
        Channel("C0GROUP", "mpdm-maya--noah--footnote-1", "mpim", ["U0MAYA", "U0NOAH", BOT_USER_ID]),
    ]
    for user in cast().values():
        if user.role not in ("bot", "slackbot"):
            name = user.id.removeprefix("U0")
            channels.append(Channel(f"D0{name}", "directmessage", "im", [user.id, BOT_USER_ID]))
    return {channel.id: channel for channel in channels}


GROUPS: dict[str, JSON] = {
    "S0ONCALL": {
        "id": "S0ONCALL",
        "team_id": TEAM_ID,
        "is_usergroup": True,
        "is_subteam": True,
        "name": "On call",
        "description": "Whoever carries the pager",
        "handle": "oncall",
        "is_external": False,
        "date_create": CREATED,
        "date_update": CREATED,
        "date_delete": 0,
        "auto_type": None,
        "auto_provision": False,
        "created_by": "U0ADMIN",
        "updated_by": "U0ADMIN",
        "deleted_by": None,
        "prefs": {"channels": [], "groups": []},
        "users": ["U0ADMIN", "U0NOAH"],
    },
}
