"""The tuner is killed, stopped and starved of disk at its worst moments, and nothing that it acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.contracts.test_tuner_wire import processes_naming, refused, say
from tests.fake_trainer import Behaviour
from tests.tuner import BASE, Tuner, examples


def record(tuner: Tuner, id: str) -> dict[str, Any]:
    """A job as it is on disk."""
    found: dict[str, Any] = json.loads((tuner.folder / "jobs" / id / "record.json").read_text())
    return found


async def test_an_upload_that_was_killed_leaves_nothing(data_dir: Path) -> None:
    """A file is there as a whole or not at all."""
    async with Tuner(data_dir) as tuner:
        kept = await tuner.upload()
        is_killed = asyncio.Event()

        async def without_end() -> AsyncIterator[bytes]:
            yield b"--b\r\nContent-Disposition: form-data; name=file; filename=x\r\n\r\n"
            while not is_killed.is_set():
                yield b"x" * 10_000
                await asyncio.sleep(0.01)

        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {tuner.key}"}) as http:
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            upload = asyncio.ensure_future(http.post(f"{tuner.base_url}/files", data=without_end(), headers=headers))
            await until(lambda: any(path.stat().st_size for path in (tuner.folder / "files").glob("*.part")))
            await tuner.kill()
            is_killed.set()
            with pytest.raises(aiohttp.ClientError):
                await upload
    async with Tuner(data_dir) as tuner:
        assert [file.id async for file in tuner.client.files.list()] == [kept]
        assert {path.stem for path in (tuner.folder / "files").iterdir()} == {kept}


async def test_an_upload_whose_client_hangs_up_leaves_nothing(data_dir: Path) -> None:
    """The half of it goes at once."""
    async with Tuner(data_dir) as tuner:

        async def half() -> AsyncIterator[bytes]:
            yield b"--b\r\nContent-Disposition: form-data; name=file; filename=x\r\n\r\n"
            while not list((tuner.folder / "files").iterdir()):
                yield b"x" * 10_000
                await asyncio.sleep(0.01)
            raise ConnectionAbortedError

        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {tuner.key}"}) as http:
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            with pytest.raises((aiohttp.ClientError, ConnectionAbortedError)):
                await http.post(f"{tuner.base_url}/files", data=half(), headers=headers)
        await until(lambda: not list((tuner.folder / "files").iterdir()))
        assert await tuner.upload()


async def test_a_job_killed_while_it_was_validated_is_validated_again(data_dir: Path) -> None:
    """Its record says how far it had come, and no client has to ask again."""
    for _ in range(10):
        async with Tuner(data_dir) as tuner:
            job = await tuner.job(training_file=await tuner.upload(examples(4000)))
            await tuner.kill()
            if record(tuner, job.id)["status"] == "validating_files":
                break
    else:
        pytest.fail("the validation was always faster than the kill")
    async with Tuner(data_dir) as tuner:
        done = await tuner.until(job.id, "succeeded")
        assert done.trained_tokens == 12_000
        assert sum("Validating" in message for message in await tuner.messages(job.id)) == 2


async def test_a_running_job_that_was_killed_runs_again_from_its_beginning(data_dir: Path) -> None:
    """Its process is gone with the server, an event says what happened, and those behind it keep their places."""
    async with Tuner(data_dir) as tuner:
        done = await tuner.until((await tuner.job()).id, "succeeded")
        running = await tuner.until((await tuner.job(Behaviour.HOLD)).id, "running")
        waiting = await tuner.until((await tuner.job()).id, "queued")
        await tuner.kill()
        await until(lambda: not processes_naming(running.id))
        assert record(tuner, running.id)["status"] == "running"
    async with Tuner(data_dir) as tuner:
        again = await tuner.until(running.id, "running")
        assert (again.created_at, again.seed) == (running.created_at, running.seed)
        messages = await tuner.messages(running.id)
        assert messages.count("Fine-tuning job started") == 2
        assert "The tuner had stopped; the job starts again from its beginning" in messages
        assert len(list((tuner.folder / "jobs" / running.id).glob("run-*"))) == 1
        assert (await tuner.client.fine_tuning.jobs.retrieve(waiting.id)).status == "queued"
        await tuner.client.fine_tuning.jobs.cancel(running.id)
        await tuner.until(waiting.id, "succeeded")
        assert await tuner.client.fine_tuning.jobs.retrieve(done.id) == done
        assert await say(tuner.client, str(done.fine_tuned_model), "hello")
        assert await say(tuner.client, f"{done.fine_tuned_model}:ckpt-step-1", "hello")


async def test_what_was_cancelled_or_deleted_stays_so_after_a_kill(data_dir: Path) -> None:
    """The end of a job and of a model is on disk before the answer."""
    async with Tuner(data_dir) as tuner:
        cancelled = await tuner.until((await tuner.job(Behaviour.HOLD)).id, "running")
        await tuner.client.fine_tuning.jobs.cancel(cancelled.id)
        deleted = await tuner.until((await tuner.job()).id, "succeeded")
        await tuner.client.models.delete(str(deleted.fine_tuned_model))
        file = await tuner.upload()
        await tuner.client.files.delete(file)
        await tuner.kill()
    async with Tuner(data_dir) as tuner:
        assert (await tuner.client.fine_tuning.jobs.retrieve(cancelled.id)).status == "cancelled"
        with refused(404, "model_not_found", "model"):
            await say(tuner.client, str(deleted.fine_tuned_model), "hello")
        with refused(404, None, "id"):
            await tuner.client.files.retrieve(file)


async def test_what_a_kill_may_leave_half_written_is_passed_over(data_dir: Path) -> None:
    """A record that was never put in place, an event without its end, a file without its record."""
    async with Tuner(data_dir) as tuner:
        job = await tuner.until((await tuner.job()).id, "succeeded")
        before = await tuner.messages(job.id)
        await tuner.kill()
        folder = tuner.folder / "jobs"
        (folder / "ftjob-unborn").mkdir()
        (folder / "ftjob-unborn" / "record.json.new").write_text('{"id"')
        (folder / job.id / "record.json.new").write_text('{"id"')
        with (folder / job.id / "events.jsonl").open("ab") as events:
            events.write(b'{"id": "ftevent-')
        (tuner.folder / "files" / "file-1.data").write_bytes(b"no record yet")
    async with Tuner(data_dir) as tuner:
        assert [one.id async for one in tuner.client.fine_tuning.jobs.list()] == [job.id]
        assert await tuner.messages(job.id) == before
        assert not (folder / "ftjob-unborn").exists() and not (tuner.folder / "files" / "file-1.data").exists()


async def test_a_record_that_cannot_be_read_is_named_and_left_alone(data_dir: Path) -> None:
    """One damaged file is no reason to lose the others."""
    async with Tuner(data_dir) as tuner:
        file, job = await tuner.upload(), await tuner.until((await tuner.job()).id, "succeeded")
        (tuner.folder / "files" / f"{file}.json").write_text('{"id": 7}')
        bad = await tuner.until((await tuner.job()).id, "succeeded")
        (tuner.folder / "jobs" / bad.id / "record.json").write_text("\x00")
    async with Tuner(data_dir) as tuner:
        assert [one.id async for one in tuner.client.fine_tuning.jobs.list()] == [job.id]
        assert (tuner.folder / "jobs" / bad.id / "record.json").read_text() == "\x00"
        assert (tuner.folder / "files" / f"{file}.data").read_bytes() == examples()
        with refused(404, None, "id"):
            await tuner.client.files.retrieve(file)


async def test_a_model_whose_base_is_gone_is_not_offered(data_dir: Path) -> None:
    """It is back as soon as its base is; a job that waits for the base says what it lacks."""
    async with Tuner(data_dir, "--base", "other=/bases/other") as tuner:
        done = await tuner.until((await tuner.job(model="other")).id, "succeeded")
        running = await tuner.until((await tuner.job(Behaviour.HOLD, model="other")).id, "running")
    async with Tuner(data_dir) as tuner:
        assert [model.id async for model in tuner.client.models.list()] == [BASE]
        with refused(404, "model_not_found", "model"):
            await tuner.client.models.retrieve(str(done.fine_tuned_model))
        failed = await tuner.until(running.id, "failed")
        assert failed.error and failed.error.code == "model_not_available"
    async with Tuner(data_dir, "--base", "other=/bases/other") as tuner:
        assert await say(tuner.client, str(done.fine_tuned_model), "hello")


async def test_more_than_it_can_take_on_is_put_off(data_dir: Path) -> None:
    """429 with Retry-After, for answers and for jobs; what was taken on is done."""
    async with Tuner(data_dir) as tuner:
        calls = (say(tuner.client, BASE, "engine: slow") for _ in range(80))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        put_off = [one for one in answers if isinstance(one, openai.RateLimitError)]
        assert put_off and {one.response.headers["retry-after"] for one in put_off} == {"1"}
        assert sum(isinstance(one, str) for one in answers) == 80 - len(put_off) >= 64
        file = await tuner.upload(examples(how=Behaviour.HOLD))
        for _ in range(100):
            await tuner.job(training_file=file)
        with refused(429, "rate_limit_exceeded"):
            await tuner.job(training_file=file)
        waiting = [job.id async for job in tuner.client.fine_tuning.jobs.list(limit=100)]
        for id in waiting:
            assert (await tuner.client.fine_tuning.jobs.cancel(id)).status == "cancelled"


async def test_killed_again_and_again_it_keeps_one_job_per_key(data_dir: Path) -> None:
    """A client that uploads, creates and polls, and tries again after every kill, ends with one job that succeeded."""
    await kill_and_retry(data_dir, kills=5)


@pytest.mark.nightly
async def test_killed_twenty_times_it_keeps_one_job_per_key(data_dir: Path) -> None:
    """The same, often enough to meet every moment."""
    await kill_and_retry(data_dir, kills=20)


async def kill_and_retry(data_dir: Path, *, kills: int) -> None:
    """Each round is killed at a random moment of upload, creation and polling; its key is asked for until it is
    done."""
    chance = random.Random(kills)
    acknowledged: dict[str, str] = {}

    async def round_of(tuner: Tuner, key: str) -> None:
        file = await tuner.upload()
        job = await tuner.job(training_file=file, extra_headers={"Idempotency-Key": key}, metadata={"key": key})
        assert acknowledged.setdefault(key, job.id) == job.id
        await tuner.until(job.id, "succeeded")

    async def same_request(tuner: Tuner, key: str) -> None:
        file = str((await tuner.client.fine_tuning.jobs.retrieve(acknowledged[key])).training_file)
        job = await tuner.job(training_file=file, extra_headers={"Idempotency-Key": key}, metadata={"key": key})
        assert job.id == acknowledged[key]
        await tuner.until(job.id, "succeeded")

    for number in range(kills + 1):
        async with Tuner(data_dir) as tuner:
            for key in list(acknowledged):
                await same_request(tuner, key)
            work = asyncio.ensure_future(round_of(tuner, f"key-{number}"))
            if number < kills:
                await asyncio.wait({work}, timeout=chance.uniform(0, 0.4))
                await tuner.kill()
                with suppress(openai.APIError):
                    await work
            else:
                await work
                keys = [str((one.metadata or {})["key"]) async for one in tuner.client.fine_tuning.jobs.list(limit=5)]
                assert len(keys) == len(set(keys)) and set(acknowledged) <= set(keys)


async def test_a_stopped_tuner_ends_in_order_and_takes_its_training_along(data_dir: Path) -> None:
    """SIGTERM: exit status 0, no process left, the job taken up by the next one."""
    async with Tuner(data_dir) as tuner:
        running = await tuner.until((await tuner.job(Behaviour.HOLD)).id, "running")
        assert await tuner.stop() == 0
        assert not processes_naming(running.id)
    async with Tuner(data_dir) as tuner:
        await tuner.until(running.id, "running")


async def test_an_answer_that_is_being_written_is_not_cut_by_a_stop(data_dir: Path) -> None:
    """Who asked before SIGTERM gets the whole answer; who asks after it finds nobody."""
    async with Tuner(data_dir) as tuner:
        answers = [asyncio.ensure_future(say(tuner.client, BASE, "engine: slow")) for _ in range(5)]
        await until(lambda: bool(list(tuner.folder.glob("engine-is-slow"))))
        assert await tuner.stop() == 0
        assert all("engine: slow" in answer for answer in await asyncio.gather(*answers))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can take a running process's disk away (prlimit)")
async def test_a_full_disk_is_told_and_leaves_nothing_half_written(data_dir: Path) -> None:
    """507 for what needs room; what needs none works on; with room again everything does."""
    async with Tuner(data_dir) as tuner:
        file, done = await tuner.upload(), await tuner.until((await tuner.job()).id, "succeeded")
        before = sorted(tuner.folder.rglob("*"))
        with no_disk(tuner.pid):
            with refused(507, "storage_error"):
                await tuner.upload()
            with refused(507, "storage_error"):
                await tuner.job(training_file=file)
            with refused(507, "storage_error"):
                await tuner.client.models.delete(str(done.fine_tuned_model))
            assert await say(tuner.client, str(done.fine_tuned_model), "hello")
            assert sorted(tuner.folder.rglob("*")) == before
        await tuner.until((await tuner.job(training_file=file)).id, "succeeded")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can take a running process's disk away (prlimit)")
async def test_a_job_that_meets_a_full_disk_fails_and_says_so(data_dir: Path) -> None:
    """Its end is written as soon as there is room; until then the tuner knows it all the same."""
    async with Tuner(data_dir) as tuner:
        running = await tuner.until((await tuner.job(Behaviour.HOLD)).id, "running")
        waiting = await tuner.until((await tuner.job()).id, "queued")
        with no_disk(tuner.pid):
            assert (await tuner.client.fine_tuning.jobs.cancel(running.id)).status == "cancelled"
            failed = await tuner.until(waiting.id, "failed")
            assert failed.error and failed.error.code == "storage_error" and "File too large" in failed.error.message
            assert record(tuner, running.id)["status"] == "running"
            assert not list((tuner.folder / "jobs").glob("*/run-*/*"))
        await until(lambda: record(tuner, running.id)["status"] == "cancelled")
        await until(lambda: record(tuner, waiting.id)["status"] == "failed")


@contextmanager
def no_disk(pid: int) -> Iterator[None]:
    """Lets a process write no byte to any file, as on a full disk (the system says EFBIG instead of ENOSPC)."""
    import resource

    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


async def until(is_so: Any, within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110 (another process changes it)
            await asyncio.sleep(0.01)
