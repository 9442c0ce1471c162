"""Which version answers where, and how a decision is undone."""

from __future__ import annotations

import asyncio

import pytest

from bot.errors import TellUser
from bot.journal import now
from bot.learning.versions.register import Register
from bot.memory import Memory
from bot.vocabulary import CONFIGURED, ModelVersion


@pytest.fixture
def register(memory: Memory) -> Register:
    return Register(memory.redis, "T1")


async def added(register: Register, model: str) -> str:
    version = ModelVersion(id="", model=model, endpoint="tuner", prompt="one_line", created_at=now())
    return (await register.add_version(version)).id


async def test_until_something_is_promoted_the_configured_version_answers(register: Register) -> None:
    """An empty register changes nothing."""
    assert (await register.routing()).version_for("C1") == CONFIGURED


async def test_a_promoted_version_answers_everywhere_until_it_is_rolled_back(register: Register) -> None:
    """Promote twice, roll back twice: each step back is the version before."""
    one, two = await added(register, "m1"), await added(register, "m2")
    await register.promote(one, "U1")
    assert (await register.promote(two, "U1")).version_for("C1") == two
    assert (await register.roll_back("U1")).live == one
    assert (await register.roll_back("U1")).live == CONFIGURED
    with pytest.raises(TellUser, match="nothing to roll back"):
        await register.roll_back("U1")


async def test_a_canary_answers_in_its_channel_only(register: Register) -> None:
    """Elsewhere the live version goes on; promoting ends the canary."""
    one = await added(register, "m1")
    routing = await register.canary(one, "C1", "U1")
    assert (routing.version_for("C1"), routing.version_for("C2")) == (one, CONFIGURED)
    assert (await register.canary(None, "C1", "U1")).version_for("C1") == CONFIGURED
    await register.canary(one, "C1", "U1")
    assert (await register.promote(one, "U1")).canaries == {}


async def test_rolling_back_ends_canaries_even_when_nothing_was_promoted(register: Register) -> None:
    """At three in the morning one command ends every experiment."""
    await register.canary(await added(register, "m1"), "C1", "U1")
    assert (await register.roll_back("U1")).version_for("C1") == CONFIGURED


async def test_an_automatic_return_leaves_a_version_alone_that_it_did_not_mean(register: Register) -> None:
    """Somebody promoted another one meanwhile."""
    one, two = await added(register, "m1"), await added(register, "m2")
    await register.promote(one, "U1")
    await register.promote(two, "U1")
    assert (await register.roll_back("the watch", only_if_live=one)).live == two


async def test_no_version_goes_live_that_does_not_exist(register: Register) -> None:
    """The message says where the versions are listed."""
    for change in (register.promote("v9", "U1"), register.canary("v9", "C1", "U1")):
        with pytest.raises(TellUser, match="train status"):
            await change
    assert await register.decisions() == []


async def test_the_same_model_is_one_version(register: Register) -> None:
    """A worker that takes over adds it again."""
    assert await added(register, "m1") == await added(register, "m1") == "v1"
    assert await added(register, "m2") == "v2"


async def test_every_decision_is_written_down(register: Register) -> None:
    """Newest first, with who and why."""
    one = await added(register, "m1")
    await register.promote(one, "U1", "it is better")
    await register.roll_back("U2", "it was not")
    assert [(each.what, each.version, each.by, each.reason) for each in await register.decisions()] == [
        ("rolled back", CONFIGURED, "U2", "it was not"),
        ("promoted", one, "U1", "it is better"),
    ]


async def test_two_decisions_at_once_are_both_kept(register: Register) -> None:
    """Canaries in twenty channels at the same moment."""
    one = await added(register, "m1")
    await asyncio.gather(*(register.canary(one, f"C{number}", "U1") for number in range(20)))
    assert len((await register.routing()).canaries) == 20
