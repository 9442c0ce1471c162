"""Step six: who may read what. The audience of a reply is everyone who can read the place where it is posted. Each page
holds a word that is nowhere else, so that a leak can be seen wherever it comes out."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bot.vocabulary import Asked
from handlers import audience
from handlers.audience import Audience
from tests.running_bot import RunningBot, words_of
from tests.small_library import bot_that_knows, eventually, page

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESTRICTED, WORKSPACE, PUBLIC = "Quillfeather", "Marrowgate", "Tamblewick"
PAGES = {
    "vault": page(
        f"Vault {RESTRICTED}",
        f"## Opening the vault\n\nThe code word that opens the vault is {RESTRICTED}.",
        url=f"https://docs.example/{RESTRICTED}",
        audience="channel:C0INCIDENTS",
    ),
    "coffee": page(
        f"Coffee {WORKSPACE}",
        f"## Coffee supplier\n\nThe supplier of our office coffee is {WORKSPACE}.",
        url=f"https://docs.example/{WORKSPACE}",
    ),
    "hotline": page(
        f"Hotline {PUBLIC}",
        f"## Name of the hotline\n\nThe hotline for customers is called {PUBLIC}.",
        url=f"https://docs.example/{PUBLIC}",
        audience="public",
    ),
}
ASKED = {
    RESTRICTED: "What is the code word that opens the vault?",
    WORKSPACE: "Who is the supplier of our office coffee?",
    PUBLIC: "What is the hotline for customers called?",
}
# Noah is in #incidents, Maya is not. #general has a guest, #partner-acme is shared, C0GROUP is Maya, Noah and the bot.
READS_ALL = [("mention", "U0NOAH", "C0INCIDENTS"), ("command", "U0NOAH", "C0INCIDENTS"), ("direct", "U0NOAH", "D0NOAH")]
READS_ALL += [("command", "U0NOAH", "D0NOAH"), ("direct", "U0ADMIN", "D0ADMIN")]
READS_WORKSPACE = [("mention", "U0NOAH", "C0HELP"), ("command", "U0NOAH", "C0HELP"), ("direct", "U0MAYA", "D0MAYA")]
READS_WORKSPACE += [("command", "U0MAYA", "D0MAYA"), ("mention", "U0NOAH", "C0GROUP")]
READS_PUBLIC = [("mention", "U0ADMIN", "C0GENERAL"), ("command", "U0NOAH", "C0GENERAL")]
READS_PUBLIC += [("mention", "U0ADMIN", "C0PARTNER"), ("command", "U0ADMIN", "C0PARTNER")]
READS_PUBLIC += [("direct", "U0GUEST", "D0GUEST"), ("direct", "U0PARTNER", "D0PARTNER")]
PLACES = (
    [(place, {RESTRICTED, WORKSPACE, PUBLIC}) for place in READS_ALL]
    + [(place, {WORKSPACE, PUBLIC}) for place in READS_WORKSPACE]
    + [(place, {PUBLIC}) for place in READS_PUBLIC]
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBot]:
    async with bot_that_knows(tmp_path_factory.mktemp("audience"), PAGES) as running:
        yield running


async def ask(bot: RunningBot, way: str, user: str, channel: str, question: str) -> str:
    if way == "command":
        return await bot.command(user, channel, f"ask {question}")
    mention = "<@U0FOOTNOTE> " if way == "mention" else ""
    return words_of(await bot.ask(user, channel, mention + question))


@pytest.mark.parametrize(("place", "may_read"), PLACES, ids=[" ".join(place) for place, _ in PLACES])
async def test_a_place_is_told_what_all_its_readers_may_read(
    bot: RunningBot, place: tuple[str, str, str], may_read: set[str]
) -> None:
    """What they may not read is declined, and not even named among the nearest pages."""
    for page_word, question in ASKED.items():
        shown = await ask(bot, *place, question)
        assert ("could not find an answer" not in shown) == (page_word in may_read), shown
        assert {word for word in ASKED if word in shown} <= may_read
        assert (page_word in shown) == (page_word in may_read)


async def everything_before(bot: RunningBot, user: str) -> str:
    """All that somebody can see in this Slack: conversations they are in, open channels, and what only they see."""
    role = next(one["role"] for one in (await bot.slack.state())["users"] if one["id"] == user)
    seen = [await bot.slack.seen(user), await bot.slack.home(user)]
    for channel in (await bot.slack.state())["channels"]:
        if user in channel["members"] or (channel["kind"] == "public" and role in ("admin", "member")):
            for message in await bot.slack.history(channel["id"]):
                seen.append(await bot.slack.thread(channel["id"], message["ts"]))
    return json.dumps(seen, ensure_ascii=False)


async def test_nobody_has_seen_a_word_that_is_not_for_them(bot: RunningBot) -> None:
    """After all these questions: not in any channel, thread, private answer, window or Home tab."""
    for user in ("U0NOAH", "U0MAYA", "U0PRIYA", "U0GUEST", "U0PARTNER"):
        await bot.slack.open_home(user)
        seen = await everything_before(bot, user)
        may_see = {RESTRICTED, WORKSPACE, PUBLIC} if user == "U0NOAH" else {WORKSPACE, PUBLIC}
        if user in ("U0GUEST", "U0PARTNER"):
            may_see = {PUBLIC}
        assert {word for word in ASKED if word in seen} <= may_see, user
    assert RESTRICTED in await everything_before(bot, "U0NOAH"), "the search finds what is there"


async def test_an_example_keeps_the_audience_of_what_it_was_made_of(bot: RunningBot) -> None:
    """An admin reviews it where it may be read, and no export for training holds it."""
    reply = await bot.ask("U0NOAH", "C0INCIDENTS", f"<@U0FOOTNOTE> {ASKED[RESTRICTED]}")
    await bot.slack.press("U0NOAH", "C0INCIDENTS", reply["ts"], "feedback", "up")

    async def card() -> str | None:
        shown = await bot.command("U0ADMIN", "C0INCIDENTS", "examples")
        return shown if RESTRICTED in shown else None

    shown = await eventually(card)
    assert RESTRICTED not in await bot.command("U0ADMIN", "C0HELP", "examples")
    id = re.findall(r"`(ex-\w+)`", shown)[0]
    assert "no example" in await bot.command("U0ADMIN", "C0HELP", f"examples approve {id}")
    assert "is approved" in await bot.command("U0ADMIN", "C0INCIDENTS", f"examples approve {id}")
    for status in ("candidate", "approved"):
        assert RESTRICTED not in json.dumps(await bot.exported(status))


# What Slack tells, remembered for a minute


class FakeClient:
    """Slack's lookups, with members that a test can change."""

    def __init__(self) -> None:
        self.members = ["U0NOAH"]
        self.roles = {"U0NOAH": {"team_id": "T"}, "U0GUEST": {"team_id": "T", "is_restricted": True}}
        self.channel = {"is_private": True}

    async def conversations_info(self, channel: str) -> dict[str, object]:
        return {"channel": {"id": channel, **self.channel}}

    async def conversations_members(self, **_: object) -> dict[str, object]:
        return {"members": self.members}

    async def users_list(self, **_: object) -> dict[str, object]:
        return {"members": [{"id": id, **role} for id, role in self.roles.items()]}

    async def users_info(self, user: str) -> dict[str, object]:
        return {"user": {"id": user, **self.roles[user]}}

    async def users_conversations(self, user: str, **_: object) -> dict[str, object]:
        return {"channels": [{"id": "C0INCIDENTS"}] if user in self.members else []}

    async def usergroups_list(self, **_: object) -> dict[str, object]:
        return {"usergroups": [{"id": "S0ONCALL", "users": self.members}]}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(audience, "time", clock)
    return clock


def asked_by(user: str, channel: str) -> Asked:
    common = {"id": f"T:{channel}:1", "kind": "direct", "team_id": "T", "ts": "1", "thread_ts": "1", "text": "?"}
    return Asked.model_validate({**common, "channel_id": channel, "user_id": user, "user_team_id": "T"})


async def test_leaving_a_channel_takes_effect_within_a_minute(clock: Clock) -> None:
    """Membership and groups are asked for again after sixty seconds."""
    client = FakeClient()
    readers = Audience(client, "T")  # type: ignore[arg-type]
    question = asked_by("U0NOAH", "D0NOAH")
    assert {"channel:C0INCIDENTS", "group:S0ONCALL"} < (await readers.of(question)).labels
    client.members = []
    clock.now_s += 61
    assert (await readers.of(question)).labels == {"public", "workspace"}


async def test_a_guest_who_joins_is_noticed_within_a_minute(clock: Clock) -> None:
    """From then on the channel is told what is public, and what names it."""
    client = FakeClient()
    readers = Audience(client, "T")  # type: ignore[arg-type]
    question = asked_by("U0NOAH", "C0INCIDENTS")
    assert "workspace" in (await readers.of(question)).labels
    client.members = ["U0NOAH", "U0GUEST"]
    clock.now_s += 61
    assert (await readers.of(question)).labels == {"public", "channel:C0INCIDENTS"}


@pytest.mark.parametrize("role", [{}, {"team_id": "OTHER"}, {"team_id": "T", "is_stranger": True}])
async def test_somebody_of_whom_slack_tells_nothing_good_is_an_outsider(clock: Clock, role: dict[str, object]) -> None:
    """Unknown is not allowed."""
    client = FakeClient()
    client.roles["U0NOAH"] = role  # type: ignore[assignment]
    readers = Audience(client, "T")  # type: ignore[arg-type]
    assert (await readers.of(asked_by("U0NOAH", "D0NOAH"))).labels == {"public"}
    assert "workspace" not in (await readers.of(asked_by("U0NOAH", "C0INCIDENTS"))).labels


async def test_what_was_remembered_for_somebody_else_is_no_younger_for_it(clock: Clock) -> None:
    """Groups that were looked up for one person are not remembered for a second minute with the next one."""
    client = FakeClient()
    readers = Audience(client, "T")  # type: ignore[arg-type]
    client.roles["U0MAYA"] = {"team_id": "T"}
    await readers.of_person("U0MAYA")
    client.members = []
    clock.now_s += 59
    await readers.of_person("U0NOAH")
    clock.now_s += 2
    assert (await readers.of_person("U0NOAH")).labels == {"public", "workspace"}


async def test_a_member_who_becomes_a_guest_is_noticed_within_ten_minutes(clock: Clock) -> None:
    """In channels; who writes directly is looked up each minute."""
    client = FakeClient()
    readers = Audience(client, "T")  # type: ignore[arg-type]
    channel, direct = asked_by("U0NOAH", "C0INCIDENTS"), asked_by("U0NOAH", "D0NOAH")
    assert "workspace" in (await readers.of(channel)).labels & (await readers.of(direct)).labels
    client.roles["U0NOAH"] = {"team_id": "T", "is_restricted": True}
    clock.now_s += 61
    assert "workspace" not in (await readers.of(direct)).labels
    clock.now_s += 540
    assert "workspace" not in (await readers.of(channel)).labels


async def test_an_open_channel_of_several_workspaces_is_read_by_their_people(clock: Clock) -> None:
    """Whoever is in another workspace of the same organisation reads it without being a member."""
    client = FakeClient()
    client.channel = {"is_private": False, "is_org_shared": True}
    readers = await Audience(client, "T").of(asked_by("U0NOAH", "C0ALL"))  # type: ignore[arg-type]
    assert readers.labels == {"public", "channel:C0ALL"} and readers.audience == "channel:C0ALL"
