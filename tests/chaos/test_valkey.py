"""The embedded Valkey with everything around it being killed: what it acknowledged stays, and nothing stays behind.

Each test's `data_dir` fails it when a supervisor or a server is still running at its end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from docket import Docket, Worker

from bot.errors import TryAgain
from bot.local import valkey
from bot.memory import open_redis
from tests.embedded_memory import all_gone_from, processes_on, the, until

ROOT = Path(__file__).resolve().parent.parent.parent

BOT = """
import asyncio, sys
from pathlib import Path
from bot.memory import open_redis

async def main():
    async with open_redis(None, Path(sys.argv[1])) as memory:
        await memory.redis.set("bot", "was here")
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def another_bot(data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A bot in a process of its own, which has its memory open."""
    bot = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BOT, data_dir, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert bot.stdout is not None
        assert await asyncio.wait_for(bot.stdout.readline(), 15) == b"ready\n"
        yield bot
    finally:
        if bot.returncode is None:
            bot.kill()
        await bot.wait()


def serves_again(data_dir: Path, *, instead_of: int) -> bool:
    roles = processes_on(data_dir)
    return instead_of not in roles and sorted(roles.values()) == ["server", "supervisor"]


# One server for all bots of a folder


async def test_two_bots_on_one_folder_share_one_server(data_dir: Path) -> None:
    """`demo` and `ask` at the same time see the same memory."""
    async with another_bot(data_dir), open_redis(None, data_dir) as memory:
        assert await memory.redis.get("bot") == "was here"
        assert sorted(processes_on(data_dir).values()) == ["server", "supervisor"]


async def test_bots_that_start_at_once_share_one_server(data_dir: Path) -> None:
    """Nobody has to start first."""

    async def process_id_of_server() -> int:
        async with open_redis(None, data_dir) as memory:
            await together.wait()
            found: int = (await memory.redis.info("server"))["process_id"]
            return found

    together = asyncio.Barrier(6)
    assert len(set(await asyncio.gather(*(process_id_of_server() for _ in range(6))))) == 1


async def test_bots_on_two_folders_have_a_server_each(tmp_path: Path) -> None:
    """What one is told, the other does not know."""
    first, second = tmp_path / "first", tmp_path / "second"
    async with open_redis(None, first) as one, open_redis(None, second) as other:
        await one.redis.set("told", "one")
        assert await other.redis.get("told") is None
    all_gone_from(first)
    all_gone_from(second)


async def test_a_killed_bot_takes_nobody_with_it_and_leaves_nothing_behind(data_dir: Path) -> None:
    """The other bot works on; once it leaves, the server leaves, although the killed one never said goodbye."""
    async with open_redis(None, data_dir) as memory:
        async with another_bot(data_dir) as bot:
            bot.kill()
            await bot.wait()
        assert await memory.redis.get("bot") == "was here"
    all_gone_from(data_dir, within_s=5)


async def test_a_bot_killed_alone_leaves_nothing_behind(data_dir: Path) -> None:
    """Nobody else is there to tidy up."""
    async with another_bot(data_dir) as bot:
        bot.kill()
        await bot.wait()
    all_gone_from(data_dir, within_s=5)


async def test_a_bot_that_comes_while_the_server_stops_finds_everything(data_dir: Path) -> None:
    """Leaving and coming back at any moment loses nothing."""
    for pause_s in (0, 0.1, 0.2, 0.25, 0.3):
        async with open_redis(None, data_dir) as memory:
            count = await memory.redis.incr("visits")
        await asyncio.sleep(pause_s)  # to meet the server before, during and after its stop
    assert count == 5


# Kills


async def test_a_killed_supervisor_is_replaced_and_the_data_kept(data_dir: Path) -> None:
    """The client that a bot has open goes on with the new server."""
    async with open_redis(None, data_dir) as memory:
        await memory.redis.set("kept", "yes")
        killed = the("supervisor", data_dir)
        os.kill(killed, signal.SIGKILL)
        await until(lambda: serves_again(data_dir, instead_of=killed))
        assert await memory.redis.get("kept") == "yes"


async def test_supervisor_and_server_killed_together_are_replaced(data_dir: Path) -> None:
    """As the out-of-memory killer may do it."""
    async with open_redis(None, data_dir) as memory:
        await memory.redis.set("kept", "yes")
        killed = the("supervisor", data_dir)
        for process in (killed, the("server", data_dir)):
            os.kill(process, signal.SIGKILL)
        await until(lambda: serves_again(data_dir, instead_of=killed))
        assert await memory.redis.get("kept") == "yes"


async def test_what_a_killed_server_acknowledged_is_there_after_its_restart(data_dir: Path) -> None:
    """Three kills under writes; the same client reconnects, and no write that it saw acknowledged is missing."""
    async with open_redis(None, data_dir) as memory:
        acknowledged = dict.fromkeys("abcd", 0)

        async def write(name: str) -> None:
            while True:
                await memory.redis.set(f"{name}:{acknowledged[name]}", "1")
                acknowledged[name] += 1

        async def kill_the_server_under_writes() -> None:
            before, killed, a_second_later = dict(acknowledged), the("server", data_dir), time.monotonic() + 1
            await until(lambda: all(acknowledged[name] > before[name] + 50 for name in before))
            await until(lambda: time.monotonic() > a_second_later)  # sooner, it is taken for a crash loop and made wait
            os.kill(killed, signal.SIGKILL)
            await until(lambda: serves_again(data_dir, instead_of=killed))

        async with asyncio.TaskGroup() as group:  # ends at once, with the error, when a writer raises
            writers = [group.create_task(write(name)) for name in acknowledged]
            for _ in range(3):
                await kill_the_server_under_writes()
            for writer in writers:
                writer.cancel()
        written = [f"{name}:{number}" for name in acknowledged for number in range(acknowledged[name])]
        assert await memory.redis.exists(*written) == len(written)


async def test_a_hundred_jobs_survive_the_servers_kill_and_each_runs(data_dir: Path) -> None:
    """Killed while a third of them is done: the worker comes back by itself and does the rest."""
    runs: list[int] = []

    async def job(number: int) -> None:
        runs.append(number)
        await asyncio.sleep(0.01)

    async with open_redis(None, data_dir) as memory, Docket(name="chaos", url=memory.docket_url) as docket:
        for number in range(100):
            await docket.add(job, key=str(number))(number)
        async with Worker(
            docket,
            concurrency=10,
            reconnection_delay=timedelta(seconds=0.5),
            redelivery_timeout=timedelta(seconds=2),
            minimum_check_interval=timedelta(milliseconds=50),
        ) as worker:
            working = asyncio.create_task(worker.run_forever())
            try:
                await until(lambda: len(runs) > 30)
                os.kill(the("server", data_dir), signal.SIGKILL)
                await until(lambda: set(runs) == set(range(100)), within_s=30)
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)


# What else may have happened to the folder


async def test_a_stray_server_is_asked_to_stop_and_its_data_taken_over(data_dir: Path) -> None:
    """Where the system does not end a server with its supervisor (macOS), the next supervisor does."""
    folder = data_dir / "valkey"
    folder.mkdir(parents=True)
    lock = valkey.take(folder / "server.lock")
    assert lock is not None
    command = [str(valkey.server_binary()), "--port", "0", "--dir", str(folder), "--appendonly", "yes"]
    stray = await asyncio.create_subprocess_exec(
        *command,
        "--unixsocket",
        str(valkey.socket_path(folder)),
        cwd=folder,
        pass_fds=[lock],
        stdout=asyncio.subprocess.DEVNULL,
    )
    os.close(lock)
    try:
        await until(lambda: valkey.say(valkey.socket_path(folder), b"SET kept yes") == b"+OK\r\n")
        async with open_redis(None, data_dir) as memory:
            assert await memory.redis.get("kept") == "yes"
            assert await asyncio.wait_for(stray.wait(), 5) == 0
    finally:
        if stray.returncode is None:
            stray.kill()
        await stray.wait()


async def test_a_removed_socket_comes_back(data_dir: Path) -> None:
    """Programs that tidy folders take sockets along; without one the server could not be reached."""
    async with open_redis(None, data_dir) as memory:
        await memory.redis.set("kept", "yes")
        valkey.socket_path(data_dir / "valkey").unlink()
        await memory.redis.connection_pool.disconnect()
        assert await memory.redis.get("kept") == "yes"


async def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    """A unix socket's path has about 100 bytes; people's folders are longer. Its folder is ours alone."""
    data_dir = tmp_path / ("ä" * 40) / ("deep" * 10)
    socket_folder = valkey.socket_path(data_dir.resolve() / "valkey").parent
    try:
        async with open_redis(None, data_dir) as memory:
            await memory.redis.set("kept", "yes")
            assert socket_folder.stat().st_mode & 0o077 == 0
        all_gone_from(data_dir)
        async with open_redis(None, data_dir) as memory:
            assert await memory.redis.get("kept") == "yes"
        all_gone_from(data_dir)
    finally:
        socket_folder.rmdir()


async def test_a_socket_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    """In /tmp somebody else may have prepared it."""
    data_dir = tmp_path / ("long" * 30)
    socket_folder = valkey.socket_path(data_dir.resolve() / "valkey").parent
    try:
        socket_folder.chmod(0o755)
        with pytest.raises(TryAgain, match="must be a folder that belongs to you alone"):
            async with open_redis(None, data_dir):
                pass
        assert processes_on(data_dir) == {}
    finally:
        socket_folder.rmdir()


async def test_a_damaged_file_is_an_error_that_names_it(data_dir: Path) -> None:
    """Better no memory than one with a hole that nobody knows of."""
    async with open_redis(None, data_dir) as memory:
        await memory.redis.set("kept", "yes")
    all_gone_from(data_dir)
    (written,) = (data_dir / "valkey" / "appendonlydir").glob("*.incr.aof")
    written.write_bytes(b"no redis command\r\n" + written.read_bytes())
    with pytest.raises(TryAgain, match="Bad file format") as caught:
        async with open_redis(None, data_dir):
            pass
    assert "valkey.log" in str(caught.value)


# The command line alone


async def test_the_command_prints_its_address_and_ends_its_server_when_it_is_stopped(data_dir: Path) -> None:
    """`python -m bot.local.valkey` in a terminal serves without any bot, until Ctrl-C."""
    command = ["-m", "bot.local.valkey", "--data-dir", str(data_dir)]
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert supervisor.stdout is not None
        line = (await asyncio.wait_for(supervisor.stdout.readline(), 15)).decode().strip()
        async with open_redis(line.removeprefix("REDIS_URL="), data_dir) as memory:
            await memory.redis.set("kept", "yes")
        supervisor.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(supervisor.wait(), 10) == 0
        assert processes_on(data_dir) == {}
    finally:
        if supervisor.returncode is None:
            supervisor.kill()
        await supervisor.wait()
    async with open_redis(None, data_dir) as memory:
        assert await memory.redis.get("kept") == "yes"
