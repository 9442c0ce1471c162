"""From approved examples to a version of the persona: one job for each dataset, whoever starts it how often and whoever
dies meanwhile; whatever fails says why, and nothing goes live by itself."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from bot.errors import Broken, FootnoteError, TellUser, TryAgain
from bot.journal import Journal, now
from bot.learning.tuning import end_dates, following
from bot.learning.tuning import jobs as tuning
from bot.learning.tuning.client import Refused, Tuner
from bot.learning.tuning.following import Following, follow
from bot.learning.tuning.jobs import Tuning
from bot.learning.versions.register import Register
from bot.memory import Memory
from bot.persona import load_persona
from bot.settings import Settings
from bot.vocabulary import CONFIGURED, Endpoint, Example, ModelVersion, TuningJob
from bot.wiring import examine_tuner, open_tuning
from bot.worker import open_queue
from tests.lessons import example, examples
from tests.nouns import TEAM
from tests.scripted_tuner import BASE, KEY, WAY, ScriptedTuner, event
from tests.small_library import eventually
from tests.tuner import Tuner as SelfHosted

PERSONA = load_persona()
FEW = examples(12)


@pytest.fixture
def register(memory: Memory) -> Register:
    return Register(memory.redis, TEAM)


@pytest.fixture
async def tuner() -> AsyncIterator[ScriptedTuner]:
    async with ScriptedTuner() as running:
        yield running


@asynccontextmanager
async def tuning_at(base_url: str, register: Register, key: str = KEY) -> AsyncIterator[Tuning]:
    """What a process has that tunes there."""
    opened = Tuning(register, lambda: Tuner(base_url, key), base=BASE)
    try:
        yield opened
    finally:
        await opened.aclose()


@pytest.fixture
async def process(tuner: ScriptedTuner, register: Register) -> AsyncIterator[Tuning]:
    async with tuning_at(tuner.base_url, register) as opened:
        yield opened


async def started(process: Tuning, some: Sequence[Example] = FEW, **options: object) -> TuningJob:
    return await process.start(some, PERSONA, by="U0ADA", few=True, **options)  # type: ignore[arg-type]


async def ended(process: Tuning, job: TuningJob) -> TuningJob:
    """Follows a job to its end."""
    for _ in range(20):
        if job.has_ended:
            return job
        job = await process.advance(job.dataset)
    raise AssertionError(f"it is {job.status} still")


async def is_still_as_before(register: Register) -> bool:
    """Whether nothing came of it: no version, nothing live."""
    return not await register.versions() and (await register.routing()).live == CONFIGURED


# Enough examples


@pytest.mark.parametrize("count", [0, 9])
@pytest.mark.parametrize("few", [False, True])
async def test_nine_examples_are_never_enough(process: Tuning, register: Register, count: int, few: bool) -> None:
    """No API takes them; whoever insists hears how many there are and how to get more."""
    with pytest.raises(TellUser, match=f"^{count} of 500 examples .* fewer than 10: .*train import"):
        await process.start(examples(count), PERSONA, by="U0ADA", few=few)
    assert await register.jobs() == [] and await register.datasets() == []


async def test_fewer_than_five_hundred_are_refused_until_somebody_insists(process: Tuning, register: Register) -> None:
    """The refusal says how many there are, what overrides it, and what that risks."""
    with pytest.raises(TellUser, match=r"^312 of 500 .*--few.*by heart"):
        await process.start(examples(312), PERSONA, by="U0ADA")
    assert await register.jobs() == [] and await register.datasets() == []
    await process.start(examples(312), PERSONA, by="U0ADA", few=True)
    (dataset,) = await register.datasets()
    assert dataset.is_few and len(dataset.example_ids) == 312


async def test_five_hundred_are_enough(process: Tuning, register: Register) -> None:
    """Neither dataset nor version is marked."""
    await ended(process, await process.start(examples(500), PERSONA, by="U0ADA"))
    (dataset,), (version,) = await register.datasets(), await register.versions()
    assert not dataset.is_few and not version.is_few


async def test_examples_that_may_not_be_trained_on_do_not_count(process: Tuning) -> None:
    """Nine public ones and one of a private channel are nine."""
    with pytest.raises(TellUser, match=r"^9 of 500"):
        await started(process, [*examples(9), example(99, audience="channel:C1")])


async def test_without_a_tuner_nothing_begins(memory: Memory, register: Register) -> None:
    """The sentence names the variables and the command that starts a tuner."""
    async with open_tuning(Settings(), register) as process:
        with pytest.raises(TellUser, match=r"TUNER_BASE_URL and TUNER_API_KEY .*python -m bot tuner"):
            await started(process)
    assert await register.jobs() == [] and [key async for key in memory.redis.scan_iter("*")] == []


# The way


async def test_a_dataset_becomes_a_version_that_is_not_live(
    process: Tuning, tuner: ScriptedTuner, register: Register
) -> None:
    """Upload, creation, one look at a time; the version answers the prompt that it was trained on, at the tuner."""
    job = await started(process)
    assert (job.status, job.server, job.started_by) == ("preparing", tuner.base_url, "U0ADA")
    seen = [job.status]
    while not job.has_ended:
        job = await process.advance(job.dataset)
        seen.append(job.status)
    assert list(dict.fromkeys(seen)) == ["preparing", *WAY]
    (version,) = await register.versions()
    assert (version.model, version.endpoint, version.prompt) == (job.fine_tuned_model, "tuner", "one_line")
    assert (version.dataset, version.is_few) == (job.dataset, True)
    assert (await register.routing()).live == CONFIGURED
    assert await register.job(job.dataset) == await process.advance(job.dataset) == job


async def test_the_job_is_asked_for_in_the_way_that_is_not_deprecated(process: Tuning, tuner: ScriptedTuner) -> None:
    """Hyperparameters in `method`, the seed's by default; the digest in the metadata and in the idempotency key."""
    job = await started(process)
    await ended(process, job)
    (asked,) = tuner.asked
    assert asked["method"] == {
        "type": "supervised",
        "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 4}},
    }
    assert "hyperparameters" not in asked and asked["model"] == BASE
    assert asked["metadata"] == {"dataset": job.dataset} and job.dataset in asked["idempotency_key"]
    other = await started(process, examples(11), base="tiny", epochs=5, batch_size=2)
    await ended(process, other)
    assert tuner.asked[1]["method"]["supervised"]["hyperparameters"] == {"n_epochs": 5, "batch_size": 2}


async def test_what_is_uploaded_is_the_dataset(process: Tuning, tuner: ScriptedTuner) -> None:
    """The file's name and bytes have the digest; afterwards nothing of it is left in Redis."""
    job = await started(process)
    await ended(process, job)
    ((id, content),) = tuner.contents.items()
    assert tuner.uploaded[id]["filename"] == f"footnote-{job.dataset}.jsonl"
    assert len(content.splitlines()) == 12 and json.loads(content.splitlines()[0])["messages"]


async def test_the_bytes_of_a_dataset_wait_in_redis_only_until_they_are_uploaded(
    process: Tuning, memory: Memory
) -> None:
    """Any worker can go on with them; nobody keeps them who does not need them, and they end by themselves."""

    async def files() -> list[str]:
        return [key async for key in memory.redis.scan_iter("*tuning-file*")]

    job = await started(process)
    (key,) = await files()
    assert 0 < await memory.redis.ttl(key) <= tuning.FILE_KEPT_S
    await ended(process, job)
    assert await files() == []


async def test_progress_is_read_from_the_events(process: Tuning, tuner: ScriptedTuner, register: Register) -> None:
    """By their data or by their words; the newest is what the server says."""
    tuner.way = ("running", *["running"] * 9, "succeeded")
    job = await started(process)
    while job.job_id is None:
        job = await process.advance(job.dataset)
    tuner.events += [event("began"), event("Step 3/12: training loss=2.1", step=3, total_steps=12)]
    job = await process.advance(job.dataset)
    assert (job.progress, job.last_event) == (0.25, "Step 3/12: training loss=2.1")
    tuner.events.append(event("Step 9/12: training loss=0.4"))
    assert (await process.advance(job.dataset)).progress == 0.75
    tuner.fault("list_events", 404, times=99)
    assert (await process.advance(job.dataset)).progress == 0.75, "a server without events harms nothing"
    assert (await ended(process, job)).progress == 1.0


# One job


async def test_the_same_dataset_is_tuned_on_once(process: Tuning, tuner: ScriptedTuner) -> None:
    """In whatever order the examples come, whoever asks, before and after the end."""
    job = await started(process)
    assert (await started(process, FEW[::-1])).dataset == job.dataset
    done = await ended(process, job)
    assert await started(process) == done
    assert len(tuner.jobs) == len(tuner.uploaded) == 1


async def test_eight_processes_at_once_make_one_job(tuner: ScriptedTuner, register: Register) -> None:
    """Shells and workers that start and advance the same dataset at the same moment."""

    async def one() -> TuningJob:
        async with tuning_at(tuner.base_url, register) as process:
            job = await started(process)
            while not job.has_ended:
                job = await process.advance(job.dataset)
                await asyncio.sleep(0.01)
            return job

    jobs = await asyncio.gather(*(one() for _ in range(8)))
    assert {job.job_id for job in jobs} == set(tuner.jobs) and len(tuner.jobs) == len(tuner.uploaded) == 1
    assert len(await register.versions()) == 1


@pytest.mark.parametrize("step", ["upload", "create"])
@pytest.mark.parametrize("keeps_metadata", [True, False])
async def test_what_was_done_although_nobody_heard_of_it_is_not_done_again(
    register: Register, step: str, keeps_metadata: bool
) -> None:
    """The server uploads or creates and hangs up; the next step finds it, by metadata or by file."""
    async with ScriptedTuner(keeps_metadata=keeps_metadata) as tuner, tuning_at(tuner.base_url, register) as process:
        tuner.fault(step, is_done=True)
        job = await started(process)
        with pytest.raises(TryAgain, match="hung up"):
            await ended(process, job)
        waiting = await register.job(job.dataset)
        assert waiting and not waiting.has_ended and "hung up" in (waiting.problem or "")
        done = await ended(process, waiting)
        assert (done.status, done.problem) == ("succeeded", None)
        assert len(tuner.jobs) == len(tuner.uploaded) == 1


async def test_a_creation_that_is_still_under_way_is_not_asked_for_as_another_one(
    process: Tuning, tuner: ScriptedTuner, register: Register
) -> None:
    """Its process is gone before the server has the job, and the next one finds none: the same key makes it the same
    request."""
    job = await process.advance((await started(process)).dataset)
    tuner.delays_s["create"] = 1.0
    dying = asyncio.create_task(process.advance(job.dataset))
    await eventually(lambda: _is_doing(tuner, "create"))
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert tuner.jobs == {}
    async with tuning_at(tuner.base_url, register) as other:
        assert (await ended(other, job)).status == "succeeded"
    assert len(tuner.jobs) == 1 and tuner.calls.count("create") == 2


async def _is_doing(tuner: ScriptedTuner, call: str) -> bool:
    return call in tuner.doing


async def test_a_provider_that_dies_between_upload_and_creation_is_waited_for(
    tuner: ScriptedTuner, register: Register, process: Tuning
) -> None:
    """The record says why it waits; when the provider is back it goes on with the file that is there."""
    job = await process.advance((await started(process)).dataset)
    assert job.file_id
    tuner.fault("list_jobs", times=2)
    for _ in range(2):
        with pytest.raises(TryAgain, match="cannot be reached, or hung up"):
            await process.advance(job.dataset)
    waiting = await register.job(job.dataset)
    assert waiting and waiting.status == "preparing" and "Is it running" in (waiting.problem or "")
    assert (await ended(process, job)).status == "succeeded"
    assert len(tuner.uploaded) == 1 and await register.versions()


async def test_a_version_is_registered_once_when_its_worker_dies_before_it_says_so(
    process: Tuning, register: Register
) -> None:
    """The version is there, the job's record is from before."""
    done = await ended(process, await started(process))
    await register.keep_job(done.model_copy(update={"status": "running", "fine_tuned_model": None}))
    assert (await process.advance(done.dataset)).fine_tuned_model == done.fine_tuned_model
    assert len(await register.versions()) == 1


async def test_a_lock_of_a_killed_process_goes_by_itself(
    process: Tuning, memory: Memory, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then others leave the dataset alone; a living process renews its lock."""
    monkeypatch.setattr(tuning, "LOCK_S", 0.3)
    monkeypatch.setattr(tuning, "START_PATIENCE_S", 0.05)
    job = await started(process)
    async with process._alone(job.dataset) as is_alone:
        assert is_alone
        await asyncio.sleep(0.6)  # longer than the lock would live by itself
        assert await process.advance(job.dataset) == job == await started(process)
    key = register.key("tuning-lock", job.dataset)
    await memory.redis.set(key, "a killed process", px=300)
    assert await process.advance(job.dataset) == job
    async with asyncio.timeout(5):
        while (await process.advance(job.dataset)).file_id is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# Failing


@pytest.mark.parametrize("state", ["validating_files", "queued", "running"])
@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_a_job_that_ends_badly_in_any_of_its_states_says_why(register: Register, state: str, end: str) -> None:
    """With the server's own reason, and nothing half-live; wanted again, it is another job on the same dataset."""
    way = (*WAY[: WAY.index(state) + 1], end)
    async with (
        ScriptedTuner(way=way, reason="Line 3 has 9 tokens too many.") as tuner,
        tuning_at(tuner.base_url, register) as process,
    ):
        job = await ended(process, await started(process))
        assert job.status == end
        assert ("Line 3 has 9 tokens too many." if end == "failed" else "cancelled") in (job.problem or "")
        assert await is_still_as_before(register)
        assert await started(process) == job, "it is not repeated unasked"
        tuner.way = WAY
        second = await ended(process, await started(process, again=True))
        assert (second.status, second.earlier) == ("succeeded", (job.job_id,))
        assert len(tuner.jobs) == 2 and len(tuner.uploaded) == 2 and len(await register.versions()) == 1


async def test_a_job_that_fails_without_a_reason_is_told_of_all_the_same(register: Register) -> None:
    """Some servers say nothing."""
    async with ScriptedTuner(way=("queued", "failed")) as tuner, tuning_at(tuner.base_url, register) as process:
        assert "it_failed" in ((await ended(process, await started(process))).problem or "")


async def test_a_success_without_a_model_is_a_failure(register: Register) -> None:
    """There is nothing to ask for an answer."""
    async with ScriptedTuner(way=("succeeded",)) as tuner, tuning_at(tuner.base_url, register) as process:
        job = await ended(process, await started(process))
        assert job.status == "failed" and "names no model" in (job.problem or "")
        assert await is_still_as_before(register)


REFUSALS = [
    (400, f"it cannot be trained with {KEY}", "it cannot be trained"),
    (401, f"Incorrect API key provided: {KEY}", "TUNER_API_KEY"),
    (403, "not allowed", "right to fine-tune"),
    (404, "no such model", "TUNER_MODEL"),
    (413, "too large", "too large"),
    (507, "The tuner cannot use its data folder: No space left on device.", "No space left"),
]


@pytest.mark.parametrize("step", ["upload", "create"])
@pytest.mark.parametrize(("status", "message", "told"), REFUSALS)
async def test_what_a_server_refuses_says_what_to_do_and_can_be_begun_anew(
    process: Tuning, tuner: ScriptedTuner, register: Register, step: str, status: int, message: str, told: str
) -> None:
    """No job is there, nothing half-live, and no key in the record; once it is put right, starting again suffices."""
    tuner.fault(step, status, message=message)
    job = await ended(process, await started(process))
    assert job.status == "failed" and job.job_id is None
    assert told in (job.problem or "") and str(status) in (job.problem or "")
    assert KEY not in job.model_dump_json()
    assert tuner.jobs == {} and await is_still_as_before(register)
    assert (await ended(process, await started(process))).status == "succeeded"
    assert len(tuner.jobs) == len(tuner.uploaded) == 1


async def test_a_model_that_the_server_cannot_tune_is_named(process: Tuning, register: Register) -> None:
    """And another base can be chosen for the same dataset."""
    job = await ended(process, await started(process, base="gpt-0"))
    assert "gpt-0" in (job.problem or "") and "TUNER_MODEL" in (job.problem or "")
    assert (await ended(process, await started(process, base=BASE))).status == "succeeded"


@pytest.mark.parametrize("step", ["upload", "list_files", "list_jobs", "create", "retrieve"])
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_is_busy_or_ill_is_asked_again_later(
    process: Tuning, tuner: ScriptedTuner, register: Register, step: str, status: int
) -> None:
    """The job stays as it is, its record says what is the matter, and each try is one call."""
    tuner.fault(step, status, message="come back later", times=2)
    job = await started(process)
    for _ in range(2):
        with pytest.raises(TryAgain, match=f"{status}.*come back later"):
            await ended(process, job)
    waiting = await register.job(job.dataset)
    assert waiting and not waiting.has_ended and "come back later" in (waiting.problem or "")
    done = await ended(process, job)
    assert (done.status, done.problem) == ("succeeded", None)
    assert tuner.calls.count("create") == (3 if step == "create" else 1)


async def test_a_quota_that_is_used_up_is_no_passing_thing(process: Tuning, tuner: ScriptedTuner) -> None:
    """OpenAI answers 429 for both; waiting helps with one of them."""
    tuner.fault("create", 429, message="You exceeded your current quota", code="insufficient_quota")
    job = await ended(process, await started(process))
    assert job.status == "failed" and "quota is used up" in (job.problem or "")


async def test_a_job_goes_on_after_its_key_was_refused_for_a_while(
    tuner: ScriptedTuner, register: Register, process: Tuning
) -> None:
    """The job at the server knows nothing of our keys: what was wrong is told, and nothing is given up."""
    job = await process.advance((await process.advance((await started(process)).dataset)).dataset)
    async with tuning_at(tuner.base_url, register, "sk-wrong-0123456789abcdef") as stranger:
        with pytest.raises(Refused, match="TUNER_API_KEY") as refused:
            await stranger.advance(job.dataset)
    known = await register.job(job.dataset)
    assert known and not known.has_ended and known.problem == str(refused.value)
    assert "sk-wrong" not in known.model_dump_json()
    assert (await ended(process, job)).status == "succeeded"


async def test_a_job_that_its_server_has_lost_has_failed(
    process: Tuning, tuner: ScriptedTuner, register: Register
) -> None:
    """Somebody removed the tuner's folder."""
    job = await process.advance((await process.advance((await started(process)).dataset)).dataset)
    tuner.jobs.clear()
    lost = await ended(process, job)
    assert lost.status == "failed" and job.job_id and job.job_id in (lost.problem or "")
    assert await is_still_as_before(register)


async def test_a_file_that_its_server_has_lost_is_uploaded_anew(process: Tuning, tuner: ScriptedTuner) -> None:
    """The server says so when the job is created; starting again makes the file again."""
    job = await process.advance((await started(process)).dataset)
    tuner.files.clear()
    failed = await ended(process, job)
    assert failed.status == "failed" and "There is no file" in (failed.problem or "")
    assert (await ended(process, await started(process))).status == "succeeded"


async def test_a_dataset_that_waited_too_long_for_its_upload_is_made_anew(
    process: Tuning, memory: Memory, tuner: ScriptedTuner
) -> None:
    """Its bytes have ended by themselves."""
    job = await started(process)
    await memory.redis.delete(*[key async for key in memory.redis.scan_iter("*tuning-file*")])
    failed = await process.advance(job.dataset)
    assert failed.status == "failed" and "train start" in (failed.problem or "")
    assert (await ended(process, await started(process))).status == "succeeded"


@pytest.mark.parametrize("step", ["upload", "list_jobs", "create", "retrieve"])
async def test_a_server_that_talks_nonsense_is_no_end(process: Tuning, tuner: ScriptedTuner, step: str) -> None:
    """A page of a proxy in the place of an answer."""
    tuner.nonsense(step)
    job = await started(process)
    with pytest.raises(TryAgain, match="no answer"):
        await ended(process, job)
    assert (await ended(process, job)).status == "succeeded"
    assert len(tuner.jobs) == 1


async def test_a_server_that_is_not_there_is_told_with_what_to_check(register: Register) -> None:
    """Port 9 answers nobody."""
    async with tuning_at("http://127.0.0.1:9/v1", register) as process:
        job = await started(process)
        with pytest.raises(TryAgain, match=r"127\.0\.0\.1:9 cannot be reached.*TUNER_BASE_URL"):
            await process.advance(job.dataset)


async def test_a_memory_that_is_full_takes_no_half_of_a_job(
    process: Tuning, memory: Memory, register: Register
) -> None:
    """It refuses to write; once there is room again, starting suffices."""
    await memory.redis.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(TryAgain, match="Redis"):
            await started(process)
        assert await register.jobs() == [] and await register.datasets() == []
    finally:
        await memory.redis.config_set("maxmemory", "0")
    assert (await ended(process, await started(process))).status == "succeeded"


async def test_no_process_sends_a_dataset_to_another_server_than_it_was_meant_for(
    tuner: ScriptedTuner, register: Register, process: Tuning
) -> None:
    """A worker whose TUNER_BASE_URL is missing would hand it to OPENAI_BASE_URL. Starting it there is another thing."""
    job = await started(process)
    async with ScriptedTuner() as other, tuning_at(other.base_url, register) as misled:
        with pytest.raises(Broken, match=f"{re.escape(tuner.base_url)}.*{re.escape(other.base_url)}"):
            await misled.advance(job.dataset)
        assert other.calls == [] and await register.job(job.dataset) == job
        moved = await started(misled)
        assert moved.server == other.base_url and (await ended(misled, moved)).status == "succeeded"


async def test_a_password_in_an_address_is_kept_nowhere(register: Register) -> None:
    """Some put the key into the URL."""
    async with tuning_at("http://ada:hunter2@127.0.0.1:9/v1", register) as process:
        job = await started(process)
        with pytest.raises(TryAgain) as away:
            await process.advance(job.dataset)
    known = await register.job(job.dataset)
    assert known and "hunter2" not in known.model_dump_json() + str(away.value)


async def test_there_is_no_job_on_a_dataset_that_nobody_started(process: Tuning) -> None:
    """The sentence says what begins one."""
    with pytest.raises(TellUser, match="train start"):
        await process.advance("0" * 64)


# The self-hosted tuner


async def test_the_self_hosted_tuner_takes_what_we_send(register: Register, tmp_path: Path) -> None:
    """The real server with a trainer that only pretends: upload, job, progress by its events, model, version."""
    async with SelfHosted(tmp_path) as server, tuning_at(server.base_url, register, server.key) as process:
        job = await started(process)
        async with asyncio.timeout(60):
            while not job.has_ended:
                job = await process.advance(job.dataset)
                await asyncio.sleep(0.02)
        assert (job.status, job.progress, job.problem) == ("succeeded", 1.0, None)
        (version,) = await register.versions()
        assert version.model in {model.id async for model in server.client.models.list()}
        assert await started(process) == job
        again = await started(process, again=True)
        again = await process.advance((await process.advance(again.dataset)).dataset)
        assert again.job_id not in (None, job.job_id)


async def test_the_reason_of_the_self_hosted_tuner_reaches_the_record(register: Register, tmp_path: Path) -> None:
    """A base that ran out of memory."""
    how = [example(number, question="trainer: fail", passages=()) for number in range(12)]
    async with SelfHosted(tmp_path) as server, tuning_at(server.base_url, register, server.key) as process:
        job = await started(process, how)
        async with asyncio.timeout(60):
            while not job.has_ended:
                job = await process.advance(job.dataset)
                await asyncio.sleep(0.02)
    assert job.status == "failed" and "9 GB" in (job.problem or "")
    assert await is_still_as_before(register)


# The worker


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_S", 0.05)
    monkeypatch.setattr(following, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(following, "LOOK_SELDOM_S", 0.1)


@asynccontextmanager
async def working(memory: Memory, process: Tuning, told: list[TuningJob]) -> AsyncIterator[Following]:
    """A worker that follows tuning jobs, and takes up those that are not finished."""

    async def note(job: TuningJob) -> None:
        told.append(job)

    journal = Journal(memory.redis, TEAM)
    async with open_queue(memory.docket_url, journal) as queue:
        duty = Following(process, queue, note)
        await duty.take_up()
        task = asyncio.create_task(queue.work(duty.duties, concurrency=2, redelivery_timeout_s=2))
        try:
            yield duty
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_follows_a_job_to_its_end(
    process: Tuning, tuner: ScriptedTuner, memory: Memory, register: Register, hurried: None
) -> None:
    """Also past a server that is away for a while; then nothing of it waits in the queue."""
    told: list[TuningJob] = []
    async with working(memory, process, told), open_queue(memory.docket_url, Journal(memory.redis, TEAM)) as queue:
        tuner.fault("create", 503, times=3)
        tuner.fault("retrieve", times=2)
        job = await started(process)
        await follow(queue, job.dataset)
        await follow(queue, job.dataset)
        (done, *others) = await eventually(lambda: _given(told))
        assert done.status == "succeeded" and not others

        async def is_idle() -> bool:
            backlog = await queue.backlog()
            return not backlog.waiting and not backlog.running

        await eventually(is_idle)
    assert len(tuner.jobs) == 1 and await Journal(memory.redis, TEAM).failures() == []


async def _given(told: list[TuningJob]) -> list[TuningJob]:
    return told


async def test_a_worker_that_starts_takes_up_what_was_not_finished(
    process: Tuning, memory: Memory, hurried: None
) -> None:
    """Whoever started it is gone."""
    await started(process)
    told: list[TuningJob] = []
    async with working(memory, process, told):
        await eventually(lambda: _given(told))
    assert [job.status for job in told] == ["succeeded"]


async def test_a_worker_tells_what_an_operator_must_mend_and_then_goes_on(
    tuner: ScriptedTuner, process: Tuning, register: Register, memory: Memory, hurried: None
) -> None:
    """The key was changed for a while; no worker need be started anew for it."""
    told: list[TuningJob] = []
    job = await started(process)
    while not (job := await process.advance(job.dataset)).job_id:
        pass
    tuner.fault("retrieve", 401)
    async with working(memory, process, told):
        (first, *_) = await eventually(lambda: _given(told))
        if not first.has_ended:
            assert "TUNER_API_KEY" in (first.problem or "")
            await eventually(lambda: _has_ended(told))
    assert told[-1].status == "succeeded"
    assert (await register.job(job.dataset)) == told[-1]


async def test_another_address_of_the_tuner_is_told_of_too(
    tuner: ScriptedTuner, process: Tuning, register: Register, memory: Memory, hurried: None
) -> None:
    """The worker whose TUNER_BASE_URL is another one leaves the job as it is."""
    told: list[TuningJob] = []
    job = await started(process)
    async with ScriptedTuner() as other, tuning_at(other.base_url, register) as misled, working(memory, misled, told):
        await eventually(lambda: _given(told))
    assert "Set it alike everywhere" in (told[0].problem or "") and not told[0].has_ended
    assert await register.job(job.dataset) == job


async def test_an_old_job_is_looked_at_seldom_and_told_of(process: Tuning, register: Register, memory: Memory) -> None:
    """One that is stuck at its server must not be asked for every five seconds for ever."""
    told: list[TuningJob] = []
    waits: list[float] = []

    class Noting:
        async def add(self, kind: str, payload: str, *, key: str, thread: str, after_s: float) -> None:
            waits.append(after_s)

    async def note(job: TuningJob) -> None:
        told.append(job)

    job = await started(process)
    duty = Following(process, Noting(), note)  # type: ignore[arg-type]
    for age in (timedelta(), timedelta(hours=2), timedelta(days=2)):
        known = await register.job(job.dataset)
        assert known
        await register.keep_job(known.model_copy(update={"created_at": now() - age, "status": "preparing"}))
        await duty.tune(job.dataset)
    assert waits == [following.LOOK_S, pytest.approx(144, abs=1), following.LOOK_SELDOM_S]
    assert [f"train cancel {job.dataset[:12]}" in (one.problem or "") for one in told] == [True]


async def test_a_job_can_be_cancelled_in_each_of_its_states(process: Tuning, tuner: ScriptedTuner) -> None:
    """Before the tuner has it, and while it runs; then it is ended there, too."""
    before = await started(process)
    assert (await process.cancel(before.dataset)).status == "cancelled" and not tuner.jobs
    tuner.way = ("queued", *["running"] * 100)
    job = await started(process, examples(13))
    while not (job := await process.advance(job.dataset)).job_id:
        pass
    assert (await process.cancel(job.dataset)).status == "cancelled"
    assert [one["status"] for one in tuner.jobs.values()] == ["cancelled"] and not tuner.files
    with pytest.raises(TellUser, match="has cancelled already"):
        await process.cancel(job.dataset)


@pytest.mark.parametrize("end", ["succeeded", "failed"])
async def test_nothing_that_people_wrote_stays_at_the_tuner(register: Register, end: str) -> None:
    """The upload goes with the end of its job; a server that refuses that harms nothing."""
    async with ScriptedTuner(way=("queued", end)) as tuner, tuning_at(tuner.base_url, register) as process:
        await ended(process, await started(process))
        assert tuner.contents and not tuner.files
        tuner.fault("delete", 405)
        assert (await ended(process, await started(process, examples(13)))).status == end


async def _has_ended(told: list[TuningJob]) -> bool:
    return any(one.has_ended for one in told)


# Ends, and the doctor


async def test_the_doctor_looks_at_the_tuner(tuner: ScriptedTuner) -> None:
    """Whether it is there, takes the key, and has the model that would be tuned; a base that ends is told of, too."""
    settings = Settings.from_environment({"TUNER_BASE_URL": tuner.base_url, "TUNER_API_KEY": KEY, "TUNER_MODEL": BASE})
    (fine,), (unset,) = await examine_tuner(settings), await examine_tuner(Settings())
    assert fine.is_fine and BASE in fine.found and unset.is_fine and "python -m bot tuner" in unset.found
    with pytest.raises(TryAgain, match="cannot be reached"):
        await examine_tuner(settings.model_copy(update={"tuner_base_url": "http://127.0.0.1:9/v1"}))
    with pytest.raises(Refused, match="TUNER_API_KEY"):
        await examine_tuner(settings.model_copy(update={"tuner_api_key": None}))
    tuner.fault("model", 404, message="no such model")
    with pytest.raises(Refused, match=r"no such model.*TUNER_MODEL"):
        await examine_tuner(settings)
    tuner.shutdown_date = "2020-01-02"
    (ending,) = await examine_tuner(settings)
    assert not ending.is_fine and "shut down on 2020-01-02" in ending.found


async def test_the_end_of_a_model_is_read_where_its_server_tells_it(
    process: Tuning, tuner: ScriptedTuner, register: Register
) -> None:
    """As OpenAI's `shutdown_date`."""
    tuner.shutdown_date = "2027-01-14"
    await ended(process, await started(process))
    (version,) = await register.versions()
    assert version.ends_on == date(2027, 1, 14)


@pytest.mark.parametrize("told", [None, "", "soon"])
async def test_a_server_that_does_not_tell_the_end_harms_nothing(
    process: Tuning, tuner: ScriptedTuner, register: Register, told: str | None
) -> None:
    """Most do not know of it; some have no route for it at all."""
    tuner.shutdown_date = told
    if told == "":
        tuner.fault("model", 404)
    await ended(process, await started(process))
    (version,) = await register.versions()
    assert version.ends_on is None


async def test_of_what_is_in_use_it_is_told_when_it_ends(register: Register) -> None:
    """The live version, a canary, the way back, the configured model; not one that nobody uses. A server that is away
    changes nothing."""
    today = datetime.now(UTC).date()
    ends = {name: today + timedelta(days=10) for name in ("live", "canary", "before", "unused", "configured")}
    for name in ("before", "live", "canary", "unused"):
        version = ModelVersion(id="", model=name, endpoint="tuner", prompt="one_line", created_at=now())
        await register.add_version(version)

    async def ask(endpoint: Endpoint, model: str) -> date | None:
        if not ends:
            raise TryAgain("away")
        return ends[model]

    assert await end_dates.warnings(register, ask, "configured") == [
        f"configured (configured) will be shut down on {today + timedelta(days=10)}, in 10 days: tune one on another "
        "base before (`train start --base MODEL`), or set another PERSONA_MODEL."
    ]
    await register.promote("v1", "U0ADA")
    await register.promote("v2", "U0ADA")
    await register.canary("v3", "C1", "U0ADA")
    told = await end_dates.warnings(register, ask, "configured")
    assert sorted(sentence.split()[0] for sentence in told) == ["v1", "v2", "v3"]
    ends.clear()
    assert await end_dates.warnings(register, ask, "configured") == told, "they are remembered"


def test_an_end_is_warned_of_in_time_and_told_when_it_has_come() -> None:
    """Ninety days before; what nobody knows is not warned of."""
    today = datetime.now(UTC).date()
    assert end_dates.warning("v1", None) is None
    assert end_dates.warning("v1", today + timedelta(days=91)) is None
    assert "in 90 days" in (end_dates.warning("v1", today + timedelta(days=90)) or "")
    assert "was shut down" in (end_dates.warning("v1", today) or "")


async def test_the_watch_outlives_a_memory_that_is_away(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again the next day."""
    looks = []

    async def away(*_: object) -> list[str]:
        looks.append(1)
        raise TryAgain("Redis is away")

    async def ask(endpoint: Endpoint, model: str) -> date | None:
        raise FootnoteError

    monkeypatch.setattr(end_dates, "DAY_S", 0.01)
    monkeypatch.setattr(end_dates, "warnings", away)
    watching = asyncio.create_task(end_dates.watch(register, ask, None))
    await eventually(lambda: _many(looks))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def _many(looks: list[int]) -> bool:
    return len(looks) > 2
