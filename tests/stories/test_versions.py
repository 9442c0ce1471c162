"""Which version answers: who may go live, in how many channels, and back again while everybody asks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bot.answering import Prompt, answer
from bot.errors import Broken, TellUser
from bot.journal import Journal, now
from bot.learning.tracing import IMPORTED
from bot.learning.versions import gate, promoting
from bot.learning.versions.register import Register
from bot.learning.versions.trials import trials_of
from bot.learning.versions.verdicts import GateReport
from bot.learning.versions.voices import Voices
from bot.memory import Memory, open_redis
from bot.terminal import SilentReply
from bot.vocabulary import CONFIGURED, Endpoint, Found, Hit, ModelVersion, Question
from tests.examination import PERSONA, Scripted, examination, fact, honest, page, silent, wordy
from tests.nouns import asked
from tests.scripted_model import Reply, ScriptedModel, text
from tests.scripted_model import status as unavailable
from tests.stories.test_gate import ENOUGH

ROOT = Path(__file__).parents[2]
TEAM = "T0LOCAL"
BETTER, FEWER, WORSE = "better", "fewer", "worse"


def model(endpoint: Endpoint, name: str) -> Scripted:
    return Scripted(silent if name == WORSE else honest, name)


@pytest.fixture
def register(memory: Memory) -> Register:
    return Register(memory.redis, TEAM)


@pytest.fixture
def voices(register: Register) -> Voices:
    """The configured one leaves the format in each answer."""
    return Voices(Scripted(wordy, "configured-model"), model, register, persona=PERSONA)


async def added(register: Register, name: str = BETTER) -> str:
    version = ModelVersion(id="", model=name, endpoint="tuner", prompt="one_line", created_at=now())
    return (await register.add_version(version)).id


async def measured(register: Register, voices: Voices, version: str, size: int = ENOUGH) -> GateReport:
    live = await voices.of((await register.routing()).live)
    trials = trials_of(examination(size), PERSONA)
    candidate = await voices.of(version)
    return await gate.run(candidate, live, trials, register=register, persona=PERSONA, named="format", by="U1")


async def decided(register: Register) -> list[tuple[str, str, str]]:
    return [(one.what, one.version, one.reason) for one in await register.decisions()]


# Who may go live


async def test_a_version_that_passed_the_gate_goes_live(register: Register, voices: Voices) -> None:
    """The decision names the gate."""
    version = await added(register)
    report = await measured(register, voices, version)
    assert (await promoting.promote(register, voices, version, "U1")).live == version
    assert (await decided(register))[0] == ("promoted", version, f"passed gate {report.id}")


async def test_a_version_that_was_not_measured_does_not(register: Register, voices: Voices) -> None:
    """The refusal says what to do; nothing is live by halves."""
    version = await added(register)
    with pytest.raises(TellUser, match=f"train gate {version}"):
        await promoting.promote(register, voices, version, "U1")
    with pytest.raises(TellUser, match="train canary"):
        await promoting.canary(register, voices, version, ["C1"], "U1")
    assert (await register.routing()).version_for("C1") == CONFIGURED
    assert await decided(register) == []


async def test_a_refused_version_does_not_go_live_and_is_no_canary(register: Register, voices: Voices) -> None:
    """It was measured, and found worse."""
    version = await added(register, WORSE)
    assert (await measured(register, voices, version)).verdict == "refused"
    for attempt in (
        promoting.promote(register, voices, version, "U1"),
        promoting.canary(register, voices, version, ["C1"], "U1"),
    ):
        with pytest.raises(TellUser, match="refused"):
            await attempt


async def test_what_was_measured_on_nothing_is_not_measured(register: Register, voices: Voices) -> None:
    """Without held-out examples there is no gate: nothing is named, and a canary needs a reason."""
    version = await added(register)
    with pytest.raises(TellUser, match=r"no held-out example.*train review"):
        await measured(register, voices, version, size=0)
    assert await gate.reports(register) == [] and await decided(register) == []
    with pytest.raises(TellUser, match="train gate"):
        await promoting.canary(register, voices, version, ["C1"], "U1")


async def test_whoever_overrides_the_gate_says_why_and_that_is_written_down(register: Register, voices: Voices) -> None:
    """A blank is no reason."""
    version = await added(register, FEWER)
    report = await measured(register, voices, version, size=10)
    with pytest.raises(TellUser, match="not enough evidence"):
        await promoting.promote(register, voices, version, "U1", override="  ")
    await promoting.promote(register, voices, version, "U1", override="we have sixty examples")
    assert (await decided(register))[:2] == [
        ("promoted", version, "we have sixty examples"),
        ("gate overridden", version, f"we have sixty examples (gate {report.id}: not enough evidence)"),
    ]


async def test_what_did_not_happen_overrode_nothing(register: Register, voices: Voices) -> None:
    """Another version goes live while this one is looked at: no note says that a gate was overridden."""
    one, two = await added(register), await added(register, "another")
    await register.promote(two, "U2")
    with pytest.raises(TellUser, match="went live meanwhile"):
        await register.promote(one, "U1", "now", overriding="now (no gate)", only_if_live=CONFIGURED)
    with pytest.raises(TellUser, match="went live meanwhile"):
        await register.canary(one, "C1", "U1", overriding="now (no gate)", only_if_live=CONFIGURED)
    assert [what for what, _, _ in await decided(register)] == ["promoted"]


async def test_one_reason_lets_a_canary_into_several_channels(register: Register, voices: Voices) -> None:
    """It is written down once."""
    version = await added(register)
    await promoting.canary(register, voices, version, ["C1", "C2"], "U1", override="we try it")
    assert [what for what, _, _ in await decided(register)] == ["canary in C2", "canary in C1", "gate overridden"]


async def test_a_gate_counts_against_what_is_live_now_only(register: Register, voices: Voices) -> None:
    """To beat the version before last proves nothing about the last one."""
    one, two = await added(register), await added(register, "another")
    for version in (one, two):
        await measured(register, voices, version)
    await promoting.promote(register, voices, one, "U1")
    with pytest.raises(TellUser, match=f"no gate against `{one}`"):
        await promoting.promote(register, voices, two, "U1")


async def test_a_gate_counts_only_against_the_model_that_was_measured(register: Register, voices: Voices) -> None:
    """PERSONA_MODEL was set to another one meanwhile; the version's name is still `configured`."""
    version = await added(register)
    await measured(register, voices, version)
    changed = Voices(Scripted(honest, "another-model"), model, register, persona=PERSONA)
    with pytest.raises(TellUser, match="no gate"):
        await promoting.promote(register, changed, version, "U1")


async def test_with_little_evidence_a_canary_needs_a_reason(register: Register, voices: Voices) -> None:
    """It answers in its channels only, until that is ended or it is promoted."""
    version = await added(register)
    await measured(register, voices, version, size=10)
    with pytest.raises(TellUser, match="not enough evidence"):
        await promoting.canary(register, voices, version, ["C1"], "U1")
    routing = await promoting.canary(register, voices, version, ["C1", "C2"], "U1", override="we try it")
    assert dict(routing.canaries) == {"C1": version, "C2": version}
    assert dict((await promoting.end_canary(register, version, ["C1"], "U1")).canaries) == {"C2": version}
    assert (await promoting.end_canary(register, version, [], "U1")).canaries == {}
    with pytest.raises(TellUser, match="no canary"):
        await promoting.end_canary(register, version, [], "U1")


async def test_who_was_refused_once_does_not_pass_by_other_questions(register: Register, voices: Voices) -> None:
    """Twenty tries of luck would make a passed gate of anything."""
    version = await added(register)
    report = await measured(register, voices, version)
    first = report.model_copy(update={"id": "first", "verdict": "refused", "at": report.at - timedelta(days=1)})
    again = report.model_copy(update={"earlier": ("refused",)})
    for one in (first, again):
        await register.redis.hset(register.key("gates"), one.id, one.model_dump_json())  # type: ignore[misc]
    with pytest.raises(TellUser, match="one before refused it"):
        await promoting.promote(register, voices, version, "U1")
    assert (await promoting.promote(register, voices, version, "U1", override="it learnt more")).live == version


async def test_a_gate_counts_by_the_rules_of_today_only(register: Register, voices: Voices) -> None:
    """PERSONA_FILE was changed meanwhile: nobody has seen how the version does by the new rules."""
    version = await added(register)
    await measured(register, voices, version)
    voices.persona = PERSONA.model_copy(update={"manner": "Write in verse."})
    with pytest.raises(TellUser, match="other rules"):
        await promoting.promote(register, voices, version, "U1")


async def test_a_version_that_was_returned_needs_a_new_gate(register: Register, voices: Voices) -> None:
    """What people saw of it counts for more than what the gate saw before."""
    version = await added(register)
    await measured(register, voices, version)
    await promoting.promote(register, voices, version, "U1")
    await register.roll_back("the watch")
    await register.note("returned automatically", version, "the watch", "refusals")
    with pytest.raises(TellUser, match="returned automatically after gate"):
        await promoting.promote(register, voices, version, "U1")
    assert (await promoting.promote(register, voices, version, "U1", override="mended")).live == version


async def test_a_version_that_nobody_can_open_does_not_go_live(register: Register) -> None:
    """The settings lack its endpoint: found out before it answers anybody."""

    def unset(endpoint: Endpoint, name: str) -> Scripted:
        raise TellUser("No model server is set.")

    version = await added(register)
    with pytest.raises(TellUser, match="No model server"):
        deaf = Voices(Scripted(honest), unset, register, persona=PERSONA)
        await promoting.promote(register, deaf, version, "U1", override="now")


class Gone(Scripted):
    """A model that its server no longer knows."""

    async def write(self, prompt: Prompt) -> AsyncIterator[str]:
        raise Broken("The model's server answered 404: it does not know this model.")
        yield ""


async def test_a_model_that_is_gone_does_not_go_live(register: Register) -> None:
    """Whatever the reason for it: it is asked for a word before."""
    version = await added(register)
    voices = Voices(Scripted(honest), lambda endpoint, name: Gone(honest, name), register, persona=PERSONA)
    for attempt in (
        promoting.promote(register, voices, version, "U1", override="now"),
        promoting.canary(register, voices, version, ["C1"], "U1", override="now"),
    ):
        with pytest.raises(TellUser, match=r"does not answer now, so nothing was changed\..*404"):
            await attempt
    assert await decided(register) == []


async def test_behind_the_live_version_stand_its_predecessor_and_the_configured_one(
    register: Register, voices: Voices
) -> None:
    """Behind a canary stands what is live elsewhere; behind the configured one stands nobody."""
    one, two, three = [await added(register, name) for name in ("m1", "m2", "m3")]
    for version in (one, two):
        await register.promote(version, "U1")
    await register.canary(three, "C1", "U1")

    async def order(channel: str) -> list[str]:
        voice, found = await voices.at(channel), list[str]()
        while voice:
            found.append(voice.version)
            voice = voice.instead  # type: ignore[assignment]
        return found

    assert await order("C1") == [three, two, one, CONFIGURED]
    assert await order("C2") == [two, one, CONFIGURED]
    await register.roll_back("U1")
    await register.roll_back("U1")
    assert await order("C2") == [CONFIGURED]


async def test_what_is_live_is_not_promoted_again(register: Register, voices: Voices) -> None:
    """Unless that ends its canaries."""
    version = await added(register)
    await promoting.promote(register, voices, version, "U1", override="why not")
    with pytest.raises(TellUser, match="live already"):
        await promoting.promote(register, voices, version, "U1")
    await register.canary(await added(register, "another"), "C1", "U1")
    assert (await promoting.promote(register, voices, version, "U1")).canaries == {}


# Under load


async def test_promoting_and_rolling_back_under_load_fails_no_answer(register: Register) -> None:
    """Six hundred answers, forty at a time, while versions come and go: each is whole and by one version, and what
    begins after a change is by the version that is live then."""

    class Slowly(Scripted):
        async def write(self, prompt: Prompt) -> AsyncIterator[str]:
            for word in honest(prompt).split(" "):
                await asyncio.sleep(0.001)
                yield f"{word} "

    voices = Voices(Slowly(honest, CONFIGURED), lambda endpoint, name: Slowly(honest, name), register, persona=PERSONA)
    names = {CONFIGURED: CONFIGURED} | {await added(register, name): name for name in ("m1", "m2")}
    found = Found(hits=(Hit(passage=page(0), score=1, certainty=1),), query=fact(0)[0], is_sufficient=True)

    async def find(question: Question) -> Found:
        return found

    async def ask(number: int) -> tuple[float, str, str, str]:
        question = Question(id=f"T:C:{number}", team_id="T", text=fact(0)[0], readable=frozenset({"workspace"}))
        began = time.monotonic()
        voice = await voices.at("C1")
        given = await answer(question, find=find, voice=voice, persona=PERSONA, reply=SilentReply())
        return began, given.status, given.version, given.model

    given: list[tuple[float, str, str, str]] = []
    numbers = iter(range(600))

    async def asker() -> None:
        for number in numbers:
            given.append(await ask(number))

    async def operator() -> float:
        one, two = [version for version in names if version != CONFIGURED]
        done = 0.0
        for number, change in enumerate(
            (register.promote(one, "U"), register.promote(two, "U"), register.roll_back("U"))
        ):
            while len(given) < 100 * (number + 1):  # noqa: ASYNC110 (the askers run beside)
                await asyncio.sleep(0.001)
            began = time.monotonic()
            await change
            done = time.monotonic()
            assert done - began < 5
        return done

    _, rolled_back_at = await asyncio.gather(asyncio.gather(*(asker() for _ in range(40))), operator())
    assert len(given) == 600 and {status for _, status, _, _ in given} == {"answered"}
    assert all(names[version] == name for _, _, version, name in given)
    assert {version for _, _, version, _ in given} == set(names)
    later = {names[version] for began, _, version, _ in given if began > rolled_back_at}
    assert later == {"m1"}


# In the journal


async def test_the_journal_knows_which_version_answered(memory: Memory, register: Register, voices: Voices) -> None:
    """From the voice to the stored answer, so that whatever is told of an answer can tell that."""
    version = await added(register)
    await register.canary(version, "C0HELP", "U1")

    async def find(question: Question) -> Found:
        return Found(hits=(Hit(passage=page(0), score=1, certainty=1),), query=question.text, is_sufficient=True)

    one = asked(text=fact(0)[0])
    question = Question(id=one.id, team_id=TEAM, text=one.text, readable=frozenset({"workspace"}), channel_id="C0HELP")
    given = await answer(question, find=find, voice=await voices.at("C0HELP"), persona=PERSONA, reply=SilentReply())
    journal = Journal(memory.redis, TEAM)
    await journal.accept(one)
    await journal.settle(one, given, "1.0")
    entry = await journal.entry(one.id)
    assert entry and entry.answer and (entry.answer.version, entry.answer.model) == (version, BETTER)


# In the shell


def examined() -> Reply:
    """A server with two models: `better` answers from the passages, the other one leaves the format as well."""

    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        content = str(body["messages"][-1]["content"])
        if content == "Say OK.":
            return await text("OK")(request, body)
        _, *parts = re.split(r"^\[(\d+)\] ", content, flags=re.MULTILINE)
        question = re.search(r"What is the (\w+) limit of the (\w+)\?", content)
        assert question
        answers = (
            f"{said[0]} [{number}]."
            for number, passage in zip(parts[::2], parts[1::2], strict=True)
            if (said := re.search(rf"The {question[1]} limit of the {question[2]} is \d+ days", passage))
        )
        said = next(answers, PERSONA.refusal)
        return await text(said if body["model"] == BETTER else f"According to the documents {said}")(request, body)

    return reply


async def test_the_shell_measures_promotes_and_rolls_back(data_dir: Path, tmp_path: Path) -> None:
    """Each command takes effect at once, tells what to do next, and shows its work to machines."""
    file = tmp_path / "gate.html"
    async with ScriptedModel("base") as server, open_redis(None, data_dir) as memory:
        server.always(examined())
        journal, register = Journal(memory.redis, TEAM), Register(memory.redis, TEAM)
        for example in examination(10):
            passages = [one.model_copy(update={"source": IMPORTED}) for one in example.passages]
            await journal.keep_example(example.model_copy(update={"passages": tuple(passages)}))
        version = await added(register)
        environment = {"DATA_DIR": str(data_dir), "OPENAI_BASE_URL": server.base_url, "PERSONA_MODEL": "base"}
        shell = partial(train, environment)

        server.always(unavailable(503))
        assert "goes on where this one stopped" in await shell("gate", version, status=1)
        server.always(examined())
        said = await shell("gate", version, "--report", str(file))
        assert f"{version} ({BETTER}) against configured (base)" in said and "Not enough evidence." in said
        assert "format, named: +100.0 points" in said and '--override "REASON"' in said
        assert "<svg" in file.read_text(encoding="utf-8")
        report = json.loads(await shell("gate", version, "--json"))
        assert (report["verdict"], report["named"]) == ("not enough evidence", "format")
        assert "`format` was named" in await shell("gate", version, "--measure", "words", status=2)

        assert "not enough evidence" in await shell("promote", version, status=2)
        assert (await register.routing()).live == CONFIGURED
        trial = partial(shell, "canary", version, "--channel")
        assert "not enough evidence" in await trial("C1", status=2)
        assert "`#help` is no channel's id" in await trial("#help", "--override", "we try it", status=2)
        assert "answers in C1" in await trial("C1", "--override", "we try it")
        assert (await register.routing()).version_for("C1") == version
        assert "configured is live" in await shell("canary", version, "--end")
        promoted = json.loads(await shell("promote", version, "--override", "the demo is small", "--json"))
        assert promoted == {"live": version, "before": [CONFIGURED], "canaries": {}}
        assert "configured is live, from the next answer on." in await shell("rollback", "--reason", "enough")
        assert (await register.decisions())[0].reason == "enough"
        assert "nothing to roll back" in await shell("rollback", status=2)
        assert "no version `v9`" in await shell("gate", "v9", status=2)


async def train(environment: dict[str, str], *arguments: str, status: int = 0) -> str:
    """Runs `train …` as an operator would; gives what it says."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "bot", "train", *arguments),
        cwd=ROOT,
        env=kept | {"COLUMNS": "300"} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == status, f"{arguments}: status {process.returncode}: {out.decode()}{err.decode()}"
    return (out or err).decode()
