"""One tuning job for each dataset, whatever is killed meanwhile: the real commands against a server that is slow enough
to be caught in the middle of every call, and that brings what it was asked for to its end, whoever hangs up."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from bot.journal import Journal
from bot.learning.versions.register import Register
from bot.memory import Memory
from bot.vocabulary import CONFIGURED
from tests.lessons import example, examples
from tests.nouns import TEAM
from tests.scripted_tuner import BASE, KEY, ScriptedTuner
from tests.small_library import eventually

ROOT = Path(__file__).parents[2]
START = ("train", "start", "--few")
GO_ON = ("train", "status", "--wait")
CALLS = ("upload", "create", "retrieve", "list_events")
"""In the order in which a job comes to them."""
SLOW_S = 0.8


@pytest.mark.timeout(300)
@pytest.mark.parametrize("datasets", [1, pytest.param(5, marks=pytest.mark.nightly)])
async def test_kills_during_upload_creation_and_polling_leave_one_job_for_each_dataset(
    memory: Memory, memory_url: str, tmp_path: Path, datasets: int
) -> None:
    """Four kills for each, twenty in the nightly run: a dataset's process is killed in the middle of its upload, its
    creation, a look at the job and one at its events: before the server has done it, or after, when nobody hears of it
    any more. Whoever comes next goes on, by either command; at the end there are one file, one job and one version for
    each, and nothing is live."""
    draw = random.Random(20)
    journal, register = Journal(memory.redis, TEAM), Register(memory.redis, TEAM)
    for one in examples(20):
        await journal.keep_example(one)
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    environment |= {"REDIS_URL": memory_url, "DATA_DIR": str(tmp_path / "data"), "TEAM_ID": TEAM}
    async with ScriptedTuner(way=("queued", *["running"] * 4, "succeeded")) as tuner:
        environment |= {"TUNER_BASE_URL": tuner.base_url, "TUNER_API_KEY": KEY, "TUNER_MODEL": BASE}
        tuner.delays_s = dict.fromkeys(CALLS, SLOW_S)
        kills = 0
        for number in range(datasets):
            await journal.keep_example(example(100 + number))  # another dataset
            for call in CALLS:
                command = START if call in ("upload", "retrieve") else GO_ON
                async with Killed(environment, *command):
                    await eventually(lambda call=call: _is_doing(tuner, call), 60)
                    await asyncio.sleep(draw.uniform(0, SLOW_S * 0.9))
                kills += 1
                if kills != 2 or datasets == 1:  # once, by night, its lock goes by itself, after fifteen seconds
                    await memory.redis.delete(*[key async for key in memory.redis.scan_iter("*tuning-lock*")])
            tuner.delays_s = {}
            await run(environment, *GO_ON)
            tuner.delays_s = dict.fromkeys(CALLS, SLOW_S)
        assert kills == 4 * datasets
        async with AsyncOpenAI(base_url=tuner.base_url, api_key=KEY) as client:
            jobs = [job async for job in client.fine_tuning.jobs.list()]
            files = [file async for file in client.files.list()]
    digests = {dataset.digest for dataset in await register.datasets()}
    assert len(digests) == datasets
    assert sorted(job.metadata["dataset"] for job in jobs if job.metadata) == sorted(digests)
    assert len(jobs) == datasets and files == []
    assert {job.status for job in await register.jobs()} == {"succeeded"}
    assert sorted(version.dataset or "" for version in await register.versions()) == sorted(digests)
    assert (await register.routing()).live == CONFIGURED


async def _is_doing(tuner: ScriptedTuner, call: str) -> bool:
    return call in tuner.doing


class Killed:
    """A command that is killed at the end of the block."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self._environment, self._arguments = environment, arguments

    async def __aenter__(self) -> None:
        self._process = await begin(self._environment, *self._arguments)

    async def __aexit__(self, *_: object) -> None:
        was_running = self._process.returncode is None
        if was_running:
            self._process.send_signal(signal.SIGKILL)
        _, err = await self._process.communicate()
        assert was_running and self._process.returncode == -signal.SIGKILL, err.decode()


async def run(environment: dict[str, str], *arguments: str) -> None:
    process = await begin(environment, *arguments)
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()


async def begin(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    command = (sys.executable, "-W", "error", "-m", "bot", *arguments)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe)
