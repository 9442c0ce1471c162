"""The automatic return: when a version is taken back without anybody being woken, and when it is left alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from bot.journal import now
from bot.learning.versions import gate
from bot.learning.versions.health import Health, worse_than
from bot.learning.versions.register import Register, Routing
from bot.learning.versions.trials import trials_of
from bot.learning.versions.watch import FEWEST, LAST, Watch
from bot.memory import Memory
from bot.vocabulary import CONFIGURED, Answer, ModelVersion
from tests.examination import PERSONA, examination, honest, voice, wordy
from tests.keys import keys_without_ttl
from tests.small_library import bot_that_knows, eventually, memory_of, page

GOOD = "Keys expire after 90 days [1]."
OFF_FORMAT = "Sure! Keys expire after 90 days [1]."


@pytest.fixture
def register(memory: Memory) -> Register:
    return Register(memory.redis, "T1")


@pytest.fixture
def watch(register: Register) -> Watch:
    return Watch(register, PERSONA)


async def added(register: Register, model: str = "m1") -> str:
    version = ModelVersion(id="", model=model, endpoint="tuner", prompt="one_line", created_at=now())
    return (await register.add_version(version)).id


def answer(version: str, text: str = GOOD, **changes: object) -> Answer:
    fields = {"question_id": "q", "status": "answered", "text": text, "completion": text, "version": version}
    return Answer.model_validate(fields | changes)


async def saw(watch: Watch, version: str, good: int, text: str = OFF_FORMAT, bad: int = 0, **changes: object) -> None:
    """Lets a version give so many good answers and so many bad ones, mixed."""
    answers = [answer(version)] * good + [answer(version, text, **changes)] * bad
    random.Random(1).shuffle(answers)
    for one in answers:
        watch.saw(one)
        await watch.looked()


async def test_a_version_that_leaves_the_format_is_taken_back(register: Register, watch: Watch) -> None:
    """What was live before is live again; log and decisions say why."""
    version = await added(register)
    await saw(watch, CONFIGURED, 95, bad=5)
    await register.promote(version, "U1")
    with capture_logs() as logs:
        await saw(watch, version, 40, bad=60)
    assert (await register.routing()).live == CONFIGURED
    decision = (await register.decisions())[0]
    assert (decision.what, decision.version, decision.by) == ("returned automatically", version, "the watch")
    assert "answers that leave the format" in decision.reason and "most to expect" in decision.reason
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["version_returned"]


@pytest.mark.parametrize(
    ("sign", "changes"),
    [
        ("no passage supports", {"text": GOOD, "left_out": 2}),
        ("refusals", {"text": PERSONA.refusal, "status": "declined"}),
    ],
)
async def test_uncited_sentences_and_refusals_count_as_well(
    register: Register, watch: Watch, sign: str, changes: dict[str, object]
) -> None:
    """Each by itself."""
    version = await added(register)
    await saw(watch, CONFIGURED, 90, bad=10, **changes)  # type: ignore[arg-type]
    await register.promote(version, "U1")
    await saw(watch, version, 50, bad=50, **changes)  # type: ignore[arg-type]
    assert (await register.routing()).live == CONFIGURED
    assert sign in (await register.decisions())[0].reason


async def test_a_version_that_its_server_refuses_is_taken_back(register: Register, watch: Watch) -> None:
    """Its predecessor has answered in its place all the while, and is live again."""
    version = await added(register)
    await register.promote(version, "U1")
    await saw(watch, CONFIGURED, 0, text=GOOD, bad=FEWEST + 1, passed_over=(version,))
    assert (await register.routing()).live == CONFIGURED
    assert "questions that its server refused" in (await register.decisions())[0].reason


async def test_a_version_that_is_no_worse_than_its_predecessor_stays(register: Register, watch: Watch) -> None:
    """A third of the predecessor's answers left the format, too."""
    version = await added(register)
    await saw(watch, CONFIGURED, 67, bad=33)
    await register.promote(version, "U1")
    await saw(watch, version, 130, bad=70)
    assert (await register.routing()).live == version


def test_a_run_of_bad_luck_triggers_nothing() -> None:
    """In 200 lives of 1,000 answers each, of versions just as good as their predecessors, nobody is taken back; one
    that is four times as bad is, within a hundred answers."""

    def taken_back_after(rate: float, its: float, seed: int) -> int | None:
        drawn = random.Random(seed)
        known = Health(answers=LAST, off_format=sum(drawn.random() < rate for _ in range(LAST)))
        last: list[bool] = []
        for count in range(1_000):
            last = [*last, drawn.random() < its][-LAST:]
            if len(last) >= FEWEST and worse_than(Health(answers=len(last), off_format=sum(last)), [known]):
                return count
        return None

    assert [taken_back_after(rate, rate, seed) for rate in (0.03, 0.1, 0.3) for seed in range(66)] == [None] * 198
    caught = sorted(taken_back_after(0.1, 0.4, seed) or 1_000 for seed in range(50))
    assert caught[-1] < LAST and caught[25] < 100


async def test_nobody_is_judged_by_a_few_answers(register: Register, watch: Watch) -> None:
    """Forty-nine bad answers are too few; with the next one it is judged."""
    version = await added(register)
    await saw(watch, CONFIGURED, 60)
    await register.promote(version, "U1")
    await saw(watch, version, 0, bad=FEWEST - 1)
    assert (await register.routing()).live == version
    await saw(watch, version, 0, bad=1)
    assert (await register.routing()).live == CONFIGURED


async def test_without_a_yardstick_nobody_is_judged(register: Register, watch: Watch) -> None:
    """No gate was passed, and the predecessor has hardly answered."""
    version = await added(register)
    await saw(watch, CONFIGURED, FEWEST - 1)
    await register.promote(version, "U1")
    await saw(watch, version, 0, bad=80)
    assert (await register.routing()).live == version


async def test_what_the_gate_saw_is_a_yardstick_too(register: Register, watch: Watch) -> None:
    """A version that kept the format on the held-out set and then loses it goes back, also where nothing else is
    known; refusals on a set that was put together say nothing about what people ask."""
    version = await added(register)
    trials = trials_of(examination(FEWEST), PERSONA)
    report = await gate.run(
        voice(honest, version),
        voice(wordy, CONFIGURED),
        trials,
        register=register,
        persona=PERSONA,
        named="format",
        by="U",
    )
    assert (report.health.answers, report.health.off_format, report.health.refused) == (FEWEST, 0, None)
    await register.promote(version, "U1")
    await saw(watch, version, 0, PERSONA.refusal, bad=FEWEST, status="declined")
    assert (await register.routing()).live == version
    await saw(watch, version, 0, bad=FEWEST)
    assert (await register.routing()).live == CONFIGURED


async def test_a_canary_ends_in_its_channels_and_the_live_version_stays(register: Register, watch: Watch) -> None:
    """Another canary is left alone."""
    live, bird, other = [await added(register, name) for name in ("m1", "m2", "m3")]
    await register.promote(live, "U1")
    for version, channel in ((bird, "C1"), (bird, "C2"), (other, "C3")):
        await register.canary(version, channel, "U1")
    await saw(watch, live, 100)
    await saw(watch, bird, 30, bad=70)
    routing = await register.routing()
    assert (routing.live, dict(routing.canaries)) == (live, {"C3": other})


async def test_another_version_that_was_promoted_meanwhile_is_left_alone(register: Register, watch: Watch) -> None:
    """Late answers of the one before are no reason to take the new one back."""
    one, two = await added(register, "m1"), await added(register, "m2")
    await saw(watch, CONFIGURED, 60)
    await register.promote(one, "U1")
    await register.promote(two, "U1")
    await saw(watch, one, 0, bad=100)
    assert (await register.routing()).live == two


async def test_a_promotion_at_the_very_moment_of_the_return_stands(memory: Memory, register: Register) -> None:
    """The watch has read that the old version is live; by the time it acts, another one is."""

    class Behind(Register):
        async def routing(self) -> Routing:
            return Routing(live=one, before=(CONFIGURED,))

    one, two = await added(register, "m1"), await added(register, "m2")
    watch = Watch(Behind(memory.redis, "T1"), PERSONA)
    await saw(watch, CONFIGURED, 60)
    await register.promote(one, "U1")
    await register.promote(two, "U1")
    await saw(watch, one, 0, bad=FEWEST)
    assert (await register.routing()).live == two
    assert (await register.decisions())[0].what == "promoted"


async def test_whoever_tries_a_version_again_begins_anew(register: Register, watch: Watch) -> None:
    """Its old answers do not take it back at once."""
    version = await added(register)
    await saw(watch, CONFIGURED, 60)
    for _ in range(2):
        await register.promote(version, "U1")
        await saw(watch, version, 0, bad=FEWEST - 1)
        assert (await register.routing()).live == version
        await saw(watch, version, 0, bad=1)
        assert (await register.routing()).live == CONFIGURED


async def test_only_the_last_answers_are_kept_and_not_for_ever(
    memory: Memory, register: Register, watch: Watch
) -> None:
    """Two hundred signs a version, and no words."""
    await saw(watch, CONFIGURED, LAST + 30, bad=20)
    assert (await watch.health(CONFIGURED)).answers == LAST
    assert await keys_without_ttl(memory.redis) == set()


async def test_what_no_model_wrote_is_passed_over(register: Register, watch: Watch) -> None:
    """Greetings, questions without passages, and a server that is down say nothing about a version."""
    for status in ("chitchat", "declined", "failed"):
        watch.saw(answer(CONFIGURED, completion="", status=status))
    watch.saw(answer("", "Hello"))
    await watch.looked()
    assert (await watch.health(CONFIGURED)).answers == 0


async def test_a_memory_that_is_away_harms_no_answer() -> None:
    """The answer is given before, and the log says that nobody looked."""
    redis = Redis.from_url("redis://127.0.0.1:1/0", decode_responses=True)

    async def answering(question: object, reply: object) -> Answer:
        return answer(CONFIGURED)

    with capture_logs() as logs:
        async with Watch(Register(redis, "T1"), PERSONA) as watch:
            given = await watch.over(answering)(None, None)  # type: ignore[arg-type]
    await redis.aclose()
    assert given == answer(CONFIGURED)
    assert [line["event"] for line in logs] == ["watch_did_not_look"]


async def test_an_answer_does_not_wait_for_the_watch(register: Register) -> None:
    """What follows from it happens later."""
    async with Watch(register, PERSONA) as watch:
        watch.saw(answer(CONFIGURED))
        assert (await watch.health(CONFIGURED)).answers in (0, 1)
    assert (await watch.health(CONFIGURED)).answers == 1


async def test_the_worker_watches_its_answers(tmp_path: Path) -> None:
    """One question in Slack, one sign in the memory."""
    words = page("Keys", "Keys expire after 90 days.")
    async with bot_that_knows(tmp_path, {"keys": words}, SUFFICIENCY_THRESHOLD="0.3") as bot:
        await bot.ask("U0MAYA", "C0HELP", "<@U0FOOTNOTE> When do keys expire?")
        async with memory_of(bot) as memory:
            watch = Watch(Register(memory.redis, "T0LOCAL"), PERSONA)

            async def seen() -> Health | None:
                health = await watch.health(CONFIGURED)
                return health if health.answers else None

            assert await eventually(seen) == Health(answers=1)
