"""The tuner as a helper of tests: the real child process, driven with OpenAI's own client.

`async with Tuner(data_dir) as tuner:` starts it on a free port and ends it surely; `tuner.client` and `tuner.sync` are
clients of it. Its engine is a fake one (`tests/fake_engine.py`) unless `is_real`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from openai import AsyncOpenAI, OpenAI
from openai.types.fine_tuning import FineTuningJob

JSON = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
BASE = "tiny"
FINISHED = ("succeeded", "failed", "cancelled")


class Tuner:
    """A running tuner. `arguments` and `environment` are added to those of its command."""

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        environment: dict[str, str] | None = None,
        is_real: bool = False,
        start_s: float = 60,
    ) -> None:
        module = "bot.local.tuner" if is_real else "tests.fake_engine"
        bases = () if is_real else ("--base", f"{BASE}=/bases/tiny")
        self._command = [sys.executable, "-m", module, "--data-dir", str(data_dir), "--exit-with-parent"]
        self._command += [*bases, *arguments]
        self._environment = {name: value for name, value in os.environ.items() if name != "TUNER_API_KEY"}
        self._environment |= environment or {}
        self._start_s = start_s
        self.folder = data_dir / "tuner"
        self.base_url = ""
        self.key = self._environment.get("TUNER_API_KEY", "")
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        try:
            await asyncio.wait_for(self._start(), self._start_s)
        except BaseException:
            await self.__aexit__()
            raise
        self.client = AsyncOpenAI(base_url=self.base_url, api_key=self.key, max_retries=0)
        self.sync = OpenAI(base_url=self.base_url, api_key=self.key, max_retries=0)
        return self

    async def _start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdout=pipe, cwd=ROOT, env=self._environment
        )
        assert self._process.stdout
        async for line in self._process.stdout:
            name, _, value = line.decode().strip().partition("=")
            if name == "TUNER_API_KEY":
                self.key = value
            elif name == "TUNER_BASE_URL":
                self.base_url = value
                return
        raise AssertionError("the tuner did not start; its reason is on stderr")

    async def __aexit__(self, *_: object) -> None:
        if self.base_url:
            await self.client.close()
            self.sync.close()
        if self._process and self._process.returncode is None:
            await self.stop()
        if self._process:
            self._process._transport.close()  # type: ignore[attr-defined]  # else its pipes are closed after the loop

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    async def stop(self) -> int:
        """Ends it as a process manager does, and gives its exit status."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self._process.wait(), 20)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise

    async def kill(self) -> None:
        """SIGKILL: it gets no chance to write anything."""
        assert self._process
        self._process.kill()
        await self._process.wait()

    # -- what most tests do

    async def upload(self, content: bytes | None = None, name: str = "training.jsonl") -> str:
        """Gives the id of an uploaded training file."""
        content = examples() if content is None else content
        return (await self.client.files.create(file=(name, content), purpose="fine-tune")).id

    async def job(self, how: str | None = None, **arguments: Any) -> FineTuningJob:
        """Creates a job on ten examples; `how` says what the fake trainer does."""
        file = arguments.pop("training_file", None) or await self.upload(examples(how=how))
        return await self.client.fine_tuning.jobs.create(training_file=file, **{"model": BASE, **arguments})

    async def until(self, id: str, *statuses: str, within_s: float = 30) -> FineTuningJob:
        """Waits for one of the statuses; another end fails the test at once."""
        deadline = time.monotonic() + within_s
        while True:
            job = await self.client.fine_tuning.jobs.retrieve(id)
            if job.status in statuses:
                return job
            assert job.status not in FINISHED, f"{job.status} instead of {statuses}: {job.error}"
            assert time.monotonic() < deadline, f"{job.status} still, not {statuses}"
            await asyncio.sleep(0.02)

    async def messages(self, id: str) -> list[str]:
        """What the events of a job say, oldest first."""
        return [event.message async for event in self.client.fine_tuning.jobs.list_events(id, limit=100)][::-1]


def examples(count: int = 10, *, how: str | None = None) -> bytes:
    """A training file; `how` says what the fake trainer does with it."""
    question = f"trainer: {how}" if how else "How do I reset my key?"
    return b"".join(line(question, f"Answer {number} [1].") for number in range(count))


def line(question: str, answer: str, system: str = "You are a support agent for Heronpost.") -> bytes:
    roles: Sequence[tuple[str, str]] = (("system", system), ("user", question), ("assistant", answer))
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in roles]}).encode() + b"\n"
