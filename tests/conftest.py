"""What tests of every room share: a real, empty memory, and a data folder that nothing outlives."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bot.memory import Memory, open_redis
from tests.embedded_memory import all_gone_from, end_all_on

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def memory_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded server for this run. We hold it as a bot would, so that it ends with us even if we are
    killed (how: `bot/local/valkey.py`)."""
    data_dir = tmp_path_factory.mktemp("memory")
    (data_dir / "valkey").mkdir()
    command = [sys.executable, "-m", "bot.local.valkey", "--detach", "--data-dir", str(data_dir)]
    try:
        with (data_dir / "valkey" / "users.lock").open("wb") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            started = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=30)
            yield started.stdout.strip().removeprefix("REDIS_URL=")
        all_gone_from(data_dir)
    finally:
        end_all_on(data_dir)


@pytest.fixture
async def memory(memory_url: str, tmp_path: Path) -> AsyncIterator[Memory]:
    """An open memory with nothing in it."""
    async with open_redis(memory_url, tmp_path) as opened:
        await opened.redis.flushall()
        yield opened


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder for everything embedded, not there yet. Its test fails when it leaves a server running."""
    folder = tmp_path / "data"
    yield folder
    if (folder / "valkey").exists():
        try:
            all_gone_from(folder)
        finally:
            end_all_on(folder)
