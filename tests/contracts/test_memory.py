"""What the bot may rely on whenever it opens a memory, and what it says when a memory cannot be relied on."""

from __future__ import annotations

import asyncio
import socket
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.errors import Broken, TellUser, TryAgain
from bot.memory import Memory, memory_health, open_redis
from tests.embedded_memory import plain_server

PASSWORD = "s3cret"

DURABLE = ("--appendonly", "yes", "--maxmemory-policy", "noeviction")


@asynccontextmanager
async def scripted_redis(info: str, delay_s: float = 0) -> AsyncIterator[str]:
    """The URL of a server that knows PING and INFO alone, and takes its time for each answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while header := await reader.readline():
            words = [(await reader.readline(), await reader.readline())[1].strip() for _ in range(int(header[1:]))]
            await asyncio.sleep(delay_s)
            body = info.replace("\n", "\r\n").encode()
            refusal = b"-ERR syntax error\r\n" if words[0] == b"INFO" else b"+OK\r\n"
            answers = {(b"PING",): b"+PONG\r\n", (b"INFO",): b"$%d\r\n%s\r\n" % (len(body), body)}
            writer.write(answers.get(tuple(words), refusal))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/?protocol=2"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def everything_told_by(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


# The open memory


async def test_answers_are_text(memory: Memory) -> None:
    """Nobody who reads the memory decodes bytes."""
    await memory.redis.set("greeting", "grüezi")
    assert await memory.redis.get("greeting") == "grüezi"


async def test_a_burst_of_calls_waits_its_turn(memory: Memory) -> None:
    """More calls at once than connections are all done: none raises, as with redis-py's usual pool."""
    await asyncio.gather(*(memory.redis.incr("calls") for _ in range(300)))
    assert await memory.redis.get("calls") == "300"


async def test_each_test_begins_with_an_empty_memory(memory: Memory) -> None:
    """What the tests above left behind is gone."""
    assert await memory.redis.dbsize() == 0


async def test_its_representation_hides_the_password(tmp_path: Path) -> None:
    """A logged memory does not tell the URL."""
    async with (
        plain_server(tmp_path, "--requirepass", PASSWORD) as url,
        open_redis(url.replace("unix://", f"unix://:{PASSWORD}@"), tmp_path) as memory,
    ):
        assert await memory.redis.ping()
        assert PASSWORD not in repr(memory)


@pytest.mark.parametrize(
    ("query", "expected"), [("", "?max_connections=1000"), ("?db=1", "?db=1&max_connections=1000")]
)
async def test_docket_gets_room_for_a_burst(tmp_path: Path, query: str, expected: str) -> None:
    """docket opens its own pool from the URL, whose limit is too low unless the URL says otherwise."""
    async with plain_server(tmp_path) as url, open_redis(url + query, tmp_path) as memory:
        assert memory.docket_url == url + expected


async def test_the_operators_own_limit_for_docket_stays(tmp_path: Path) -> None:
    """A limit in REDIS_URL is meant, also for docket."""
    async with plain_server(tmp_path) as url, open_redis(f"{url}?max_connections=7", tmp_path) as memory:
        assert memory.docket_url == f"{url}?max_connections=7"


# A memory that cannot be opened


async def test_an_unreachable_server_is_an_error_that_names_it_but_not_the_password(tmp_path: Path) -> None:
    """A bot does not start on a memory that does not answer; it says so in a few seconds."""
    port = free_port()
    started = time.monotonic()
    with pytest.raises(TryAgain, match=f"127.0.0.1:{port}") as caught:
        async with open_redis(f"redis://support:{PASSWORD}@127.0.0.1:{port}/0", tmp_path):
            pass
    assert time.monotonic() - started < 10
    assert PASSWORD not in everything_told_by(caught.value)


async def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """A connection that is accepted and then left alone does not hang the bot: the URL's own time limit counts."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TryAgain, match="Timeout"):
        async with open_redis(f"redis://127.0.0.1:{silent.getsockname()[1]}/?socket_timeout=0.2", tmp_path):
            pass


@pytest.mark.parametrize("login", ["", ":wrong@"])
async def test_a_refused_password_is_broken_not_a_reason_to_try_again(tmp_path: Path, login: str) -> None:
    """It will not work by itself, so the error says what to check."""
    async with plain_server(tmp_path, "--requirepass", PASSWORD) as url:
        with pytest.raises(Broken, match="check the user and password in REDIS_URL"):
            async with open_redis(url.replace("unix://", f"unix://{login}"), tmp_path):
                pass


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{PASSWORD}@127.0.0.1",
        f"redis://:{PASSWORD}/x@127.0.0.1:6379",
        f"redis://:{PASSWORD}?x@127.0.0.1:6379",
        f"redis://:{PASSWORD}#x@127.0.0.1:6379",
        f"redis://:12/{PASSWORD}@127.0.0.1:6379",
        f"redis://:{PASSWORD}@[::1",
        f"redis://:{PASSWORD}℀@127.0.0.1",
        f"redis://:{PASSWORD}@127.0.0.1:port",
        f"redis://:{PASSWORD}@127.0.0.1:6379/?socket_timeout=soon",
        f"redis://:{PASSWORD}@127.0.0.1:6379/?ssl_cert_reqs=none",
    ],
)
async def test_an_impossible_url_is_explained_without_quoting_it(tmp_path: Path, url: str) -> None:
    """Scheme, special characters in the password, port, options: the person is told how to write it."""
    with pytest.raises(TellUser, match="REDIS_URL cannot be used") as caught:
        async with open_redis(url, tmp_path):
            pass
    told = "".join(traceback.format_exception_only(caught.value))
    assert PASSWORD not in told
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


async def test_a_data_folder_that_cannot_be_is_the_users_to_change(tmp_path: Path) -> None:
    """The embedded server needs a folder."""
    (tmp_path / "file").touch()
    with pytest.raises(TellUser, match="DATA_DIR cannot be written"):
        async with open_redis(None, tmp_path / "file" / "data"):
            pass


# What is said of a memory


async def test_the_embedded_memory_is_healthy(memory: Memory) -> None:
    """It keeps what it is told on disk, throws nothing away, and there is nothing to do about it."""
    health = await memory_health(memory.redis)
    assert (health.keeps_on_disk, health.eviction, health.problems) == (True, "noeviction", ())
    assert health.version.startswith("Valkey ")
    assert health.used_bytes > 0
    assert 0 < health.latency_s < 1


async def problems_of(url: str, folder: Path) -> tuple[str, ...]:
    async with open_redis(url, folder) as memory:
        return (await memory_health(memory.redis)).problems


async def test_a_memory_without_a_file_is_told_to_keep_one(tmp_path: Path) -> None:
    """A restart of it would lose the questions that wait."""
    async with plain_server(tmp_path, "--maxmemory-policy", "noeviction") as url:
        (problem,) = await problems_of(url, tmp_path)
    assert "`appendonly yes`" in problem


async def test_a_memory_that_evicts_is_told_not_to(tmp_path: Path) -> None:
    """It would throw waiting questions away."""
    async with plain_server(tmp_path, "--appendonly", "yes", "--maxmemory-policy", "allkeys-lru") as url:
        (problem,) = await problems_of(url, tmp_path)
    assert "allkeys-lru" in problem and "`maxmemory-policy noeviction`" in problem


async def test_a_memory_that_is_nearly_full_is_told_in_time(tmp_path: Path) -> None:
    """Before it refuses new questions."""
    async with plain_server(tmp_path, *DURABLE) as url, open_redis(url, tmp_path) as memory:
        used = (await memory_health(memory.redis)).used_bytes
        await memory.redis.config_set("maxmemory", int(used * 1.1))
        (problem,) = (await memory_health(memory.redis)).problems
    assert "raise `maxmemory`" in problem


async def test_a_memory_that_cannot_write_its_file_says_so(tmp_path: Path) -> None:
    """A full disk shows before a restart does."""
    info = "redis_version:7.4.0\nused_memory:1\nmaxmemory_policy:noeviction\naof_enabled:1\naof_last_write_status:err\n"
    async with scripted_redis(info) as url:
        (problem,) = await problems_of(url, tmp_path)
    assert "disk is full" in problem


async def test_an_old_and_slow_redis_is_told_both(tmp_path: Path) -> None:
    """Redis before 7 is refused the trust; a far one is measured."""
    info = "redis_version:6.2.14\nused_memory:1\nmaxmemory_policy:noeviction\naof_enabled:1\n"
    async with scripted_redis(info, delay_s=0.06) as url:
        old, slow = await problems_of(url, tmp_path)
    assert "Redis 6.2.14 is too old" in old
    assert slow.startswith("One call takes ")


async def test_asking_after_a_memory_that_is_gone_says_try_again(tmp_path: Path) -> None:
    """A health check is not itself a crash."""
    async with plain_server(tmp_path) as url, open_redis(url, tmp_path) as memory:
        await memory.redis.config_set("appendonly", "no")
        await memory.redis.shutdown(nosave=True)
        with pytest.raises(TryAgain):
            await memory_health(memory.redis)
