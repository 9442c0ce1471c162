"""Which version answers where, and how a decision is undone."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from bot.errors import TellUser
from bot.journal import now
from bot.learning.versions.register import DECIDED_S, Register
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
    with pytest.raises(TellUser, match=f"`{two}` went live meanwhile"):
        await register.roll_back("the watch", only_if_live=one)
    assert (await register.routing()).live == two


async def test_what_was_checked_against_one_version_does_not_replace_another(register: Register) -> None:
    """Whoever promoted another one meanwhile wins; the canary that was measured against the old one does not begin."""
    one, two = await added(register, "m1"), await added(register, "m2")
    await register.promote(one, "U1")
    with pytest.raises(TellUser, match="Nothing was changed"):
        await register.promote(two, "U2", only_if_live=CONFIGURED)
    with pytest.raises(TellUser, match="Nothing was changed"):
        await register.canary(two, "C1", "U2", only_if_live=CONFIGURED)
    assert (await register.routing()).version_for("C1") == one


async def test_one_request_is_carried_out_once(register: Register) -> None:
    """Whoever does it again, after whatever was decided meanwhile, changes nothing and hears what came of it first."""
    one, two = await added(register, "m1"), await added(register, "m2")
    requests = {
        "promote": partial(register.promote, one, "U1", once="t1"),
        "second promote": partial(register.promote, two, "U1", once="t2"),
        "canary": partial(register.canary, one, "C1", "U1", once="t3"),
        "end": partial(register.canary, None, "C1", "U1", once="t4"),
        "back": partial(register.roll_back, "U1", once="t5"),
    }
    for request in requests.values():
        first = await request()
        assert await request() == first
    assert (await requests["promote"]()).live == one
    assert ((await register.routing()).live, len(await register.decisions())) == (one, 5)


async def test_the_same_request_at_the_same_moment_is_carried_out_once(register: Register) -> None:
    """Delivered to two workers; one step back is one step back."""
    for model in ("m1", "m2", "m3", "m4"):
        await register.promote(await added(register, model), "U1")
    await asyncio.gather(*(register.roll_back("U1", once="t1") for _ in range(10)))
    assert (await register.routing()).live == "v3"


async def test_two_who_mean_the_same_step_back_take_one(register: Register) -> None:
    """The second one gave the command before the first one's was carried out; a later command goes on further."""
    for model in ("m1", "m2"):
        await register.promote(await added(register, model), "U1")
    asked_at = now().timestamp()
    await register.roll_back("U1", asked_at=asked_at, once="t1")
    with pytest.raises(TellUser, match="somebody was faster, and `v1` is live now"):
        await register.roll_back("U2", asked_at=asked_at, once="t2")
    assert (await register.roll_back("U2", asked_at=now().timestamp(), once="t3")).live == CONFIGURED


async def test_what_came_of_a_request_is_forgotten_in_time(register: Register, memory: Memory) -> None:
    """After a day nothing tries it again."""
    await register.promote(await added(register, "m1"), "U1", once="t1")
    assert 0 < await memory.redis.ttl(register.key("decided", "t1")) <= DECIDED_S


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
