"""`train start` and `train status` in the shell: with a worker or without one, interrupted or not, by people and by
scripts. And `tuner`, which starts the self-hosted one."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bot.journal import Journal
from bot.learning.judging import kind_of
from bot.learning.versions.register import Register
from bot.memory import Memory
from bot.vocabulary import CONFIGURED
from tests.lessons import example, examples, thread
from tests.nouns import TEAM
from tests.scripted_tuner import BASE, KEY, ScriptedTuner, event
from tests.small_library import eventually

ROOT = Path(__file__).parents[2]
Shell = Callable[..., Awaitable["Done"]]


class Done:
    """What a command left: its exit status and what it printed."""

    def __init__(self, status: int | None, out: bytes, err: bytes) -> None:
        self.status, self.out, self.err = status, out.decode(), err.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
async def tuner() -> AsyncIterator[ScriptedTuner]:
    async with ScriptedTuner(way=("running", "succeeded")) as running:
        yield running


@pytest.fixture
async def journal(memory: Memory) -> Journal:
    """A journal with sixty approved examples, one of them for measuring."""
    journal = Journal(memory.redis, TEAM)
    for one in (*examples(59), example(60, thread=thread(60, held_out=True))):
        await journal.keep_example(one)
    return journal


@pytest.fixture
def environment(memory_url: str, tuner: ScriptedTuner, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    settings = {"REDIS_URL": memory_url, "DATA_DIR": str(tmp_path / "data"), "TEAM_ID": TEAM, "COLUMNS": "200"}
    return kept | settings | {"TUNER_BASE_URL": tuner.base_url, "TUNER_API_KEY": KEY, "TUNER_MODEL": BASE}


async def begin(environment: dict[str, str], *arguments: str, **pipes: Any) -> asyncio.subprocess.Process:
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | pipes
    command = (sys.executable, "-W", "error", "-m", "bot", *arguments)
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, **pipes)


@pytest.fixture
def shell(environment: dict[str, str]) -> Shell:
    """Runs a command as an operator would."""

    async def run(*arguments: str, **changes: str) -> Done:
        process = await begin(environment | changes, *arguments)
        out, err = await process.communicate()
        assert b"Traceback" not in err and KEY.encode() not in out + err
        return Done(process.returncode, out, err)

    return run


async def test_a_job_is_followed_to_its_version_without_a_worker(
    shell: Shell, journal: Journal, memory: Memory, tuner: ScriptedTuner
) -> None:
    """The risk is told, the version is named, nothing is live; asked again, it is the same job."""
    done = await shell("train", "start", "--few")
    assert done.status == 0, done.err
    assert "succeeded" in done.out and "It is v1: ft:tiny:scripted" in done.out and "not live yet" in done.out
    assert "by heart" in done.err
    again = await shell("train", "start", "--few", "--json")
    assert (again.json["job"]["status"], again.json["version"]["id"]) == ("succeeded", "v1")
    assert again.json["version"]["is_few"] and len(tuner.jobs) == 1
    assert (await Register(memory.redis, TEAM).routing()).live == CONFIGURED


async def test_the_status_tells_everything_that_was_made(shell: Shell, journal: Journal, tuner: ScriptedTuner) -> None:
    """Examples with those kept back and why, datasets, jobs, versions, who is live, and when a model ends."""
    tuner.shutdown_date = "2020-01-02"
    await shell("train", "start", "--few", "--epochs", "5")
    report = (await shell("train", "status", "--json")).json
    held_out = {"It is held out for measuring.": 1}
    assert report["examples"] == {"trainable": 59, "wanted": 500, "kept_back": held_out}
    (dataset,), (job,), (version,) = report["datasets"], report["jobs"], report["versions"]
    assert (dataset["examples"], dataset["is_few"], dataset["digest"]) == (59, True, job["dataset"])
    assert (job["status"], job["epochs"], version["ends_on"]) == ("succeeded", 5, "2020-01-02")
    assert (report["live"], version["is_live"], report["warnings"]) == ("configured", False, [])
    told = (await shell("train", "status")).out
    assert "59 of 500 examples" in told and "Version v1" in told and "ends on 2020-01-02" in told
    assert "Live: configured" in told


async def test_an_end_of_what_is_live_is_warned_of_by_status_and_doctor(
    shell: Shell, journal: Journal, memory: Memory, tuner: ScriptedTuner
) -> None:
    """It is asked for anew: a server may set the date long after the tuning."""
    await shell("train", "start", "--few")
    await Register(memory.redis, TEAM).promote("v1", "U0ADA", "a test")
    tuner.shutdown_date = "2020-01-02"
    assert "was shut down on 2020-01-02" in (await shell("train", "status")).out
    doctor = await shell("doctor", "--json")
    (finding,) = [one for one in doctor.json["findings"] if one["part"] == "Versions"]
    assert doctor.status == 1 and not finding["is_fine"] and "was shut down on 2020-01-02" in finding["advice"]


async def test_without_waiting_the_job_is_handed_over(shell: Shell, journal: Journal, tuner: ScriptedTuner) -> None:
    """Then the tuner has it; whoever asks for the status brings it to its end, with no worker."""
    done = await shell("train", "start", "--few", "--no-wait")
    assert done.status == 0 and len(tuner.jobs) == 1 and "succeeded" not in done.out
    assert (await shell("train", "status", "--wait", "--json")).json["jobs"][0]["status"] == "succeeded"


async def test_an_interrupted_start_is_resumed_by_the_status(
    environment: dict[str, str], shell: Shell, journal: Journal, tuner: ScriptedTuner
) -> None:
    """Ctrl-C ends the waiting, not the training."""
    tuner.way = ("queued", *["running"] * 1_000)
    process = await begin(environment, "train", "start", "--few")

    async def is_running() -> bool:
        return any(job["status"] == "running" for job in tuner.jobs.values())

    await eventually(is_running, 30)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130 and b"Traceback" not in err
    report = (await shell("train", "status", "--json")).json
    assert report["jobs"][0]["status"] == "running" and report["versions"] == []
    (steps,) = tuner.steps.values()
    steps.clear()
    steps.append("succeeded")
    assert (await shell("train", "status", "--wait", "--json")).json["versions"][0]["id"] == "v1"
    assert len(tuner.jobs) == 1


async def test_people_see_how_far_it_is(environment: dict[str, str], journal: Journal, tuner: ScriptedTuner) -> None:
    """A bar on the terminal with what the server said last; nothing of it in a pipe."""
    tuner.way = ("running", *["running"] * 3, "succeeded")
    tuner.events.append(event("Step 3/12: loss=2.1", step=3, total_steps=12))
    ours, theirs = pty.openpty()
    process = await begin(environment | {"TERM": "xterm"}, "train", "start", "--few", stderr=theirs)
    os.close(theirs)
    seen = b""

    def read() -> None:
        nonlocal seen
        while piece := _read(ours):
            seen += piece

    await asyncio.gather(asyncio.to_thread(read), process.wait())
    os.close(ours)
    assert b"Step 3/12: loss=2.1" in seen and b"25/100" in seen
    assert process.stdout and b"Step" not in await process.stdout.read()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when the other side is closed
        return b""


async def test_a_job_that_fails_ends_with_status_one_and_the_reason(
    shell: Shell, journal: Journal, tuner: ScriptedTuner
) -> None:
    """Also when it is asked for again; `--again` makes another one."""
    tuner.way, tuner.reason = ("queued", "failed"), "Line 3 has 9 tokens too many."
    for _ in range(2):
        done = await shell("train", "start", "--few")
        assert done.status == 1 and "Line 3 has 9 tokens too many." in done.out
    tuner.way = ("queued", "succeeded")
    assert (await shell("train", "start", "--few", "--again")).status == 0
    assert len(tuner.jobs) == 2


async def test_too_few_examples_are_wrong_use_and_say_what_keeps_the_others_back(
    shell: Shell, journal: Journal, memory: Memory
) -> None:
    """59 of 500, one held out, two of a provider whose terms nobody has looked at."""
    for number in (61, 62):
        await journal.keep_example(example(number, provider="api.example", produced_by="gpt-0"))
    done = await shell("train", "start")
    assert done.status == 2 and done.out == ""
    assert "59 of 500" in done.err and "--few" in done.err
    assert "3 approved examples are kept back" in done.err
    assert "2  It was written by gpt-0 at api.example, and TRAINABLE_PROVIDERS" in done.err
    assert await Register(memory.redis, TEAM).jobs() == []


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("“It costs 7: so.” says what [1][2] does not: 7.", "A sentence says what a passage does not."),
        ("It asks nearly the same as ex-4f0a.", "It asks nearly the same as another one."),
        ("The answer leaves the format: it has 130 words, more than 120.", "The answer leaves the format."),
        ("Its question has 5,000 characters, more than 4,000.", "Its question has too many characters."),
        ("It is held out for measuring.", "It is held out for measuring."),
    ],
)
def test_what_is_kept_back_is_counted_by_kinds_of_reasons(reason: str, kind: str) -> None:
    """A hundred sentences that are wrong alike are one line."""
    assert kind_of(reason) == kind


async def test_what_rests_on_a_page_that_has_changed_is_not_trained_on(shell: Shell, journal: Journal) -> None:
    """The library does not hold these pages any more; the examples are put aside, and it is told."""
    stale = [one.model_copy(update={"source": "docs"}) for one in example(61).passages]
    await journal.keep_example(example(61, passages=stale))
    done = await shell("train", "start", "--few")
    assert done.status == 0 and "pages behind them have changed: 1." in done.err
    assert (await shell("train", "status", "--json")).json["datasets"][0]["examples"] == 59
    kept = await journal.example("e61")
    assert kept and kept.status == "quarantined"


async def test_a_tuner_that_is_not_there_is_told_at_once(shell: Shell, journal: Journal, tuner: ScriptedTuner) -> None:
    """What was begun waits; when the tuner is there, the status brings it to its end."""
    done = await shell("train", "start", "--few", TUNER_BASE_URL="http://127.0.0.1:9/v1")
    assert done.status == 1 and "127.0.0.1:9 cannot be reached" in done.err and "TUNER_BASE_URL" in done.err
    status = await shell("train", "status", TUNER_BASE_URL="http://127.0.0.1:9/v1")
    assert status.status == 0 and "preparing" in status.out and "cannot be reached" in status.out
    assert (await shell("train", "start", "--few")).status == 0, "it is started where the tuner is now"
    assert len(tuner.jobs) == 1


async def test_without_a_tuner_it_is_wrong_use(shell: Shell, journal: Journal) -> None:
    """The sentence names the settings."""
    done = await shell("train", "start", "--few", TUNER_BASE_URL="", TUNER_API_KEY="")
    assert done.status == 2 and "TUNER_BASE_URL and TUNER_API_KEY" in done.err


@pytest.mark.parametrize(
    "wrong",
    [("--epochs", "0"), ("--epochs", "51"), ("--batch-size", "0"), ("--batch-size", "many"), ("--base",)],
)
async def test_wrong_options_are_wrong_use(shell: Shell, wrong: tuple[str, ...]) -> None:
    """Nothing is opened then."""
    done = await shell("train", "start", "--few", *wrong)
    assert done.status == 2 and done.out == "" and wrong[0] in done.err


async def test_a_tuner_that_others_could_reach_is_refused_without_a_key(shell: Shell) -> None:
    """On loopback it makes its own."""
    done = await shell("tuner", "--host", "0.0.0.0", "--port", "0", TUNER_API_KEY="")
    assert done.status == 2 and "TUNER_API_KEY" in done.err


@pytest.mark.models
async def test_the_tuner_prints_what_it_is_used_with_and_stops_when_told(environment: dict[str, str]) -> None:
    """The key is made and kept in the data folder; a signal ends the child with the command."""
    process = await begin(environment | {"TUNER_API_KEY": ""}, "tuner", "--port", "0")
    assert process.stdout
    async with asyncio.timeout(60):
        printed = [(await process.stdout.readline()).decode() for _ in range(2)]
        assert [line.partition("=")[0] for line in printed] == ["TUNER_API_KEY", "TUNER_BASE_URL"]
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert await process.stdout.read() == b"", "the child is gone, for it holds this pipe"
