"""Where everything is remembered and queued: Redis or Valkey. This room opens it, the operator's own or the embedded
one, and says whether it can be trusted. It promises that a bot never starts on a memory that does not answer, and that
the embedded server lives exactly as long as some bot uses it (how: `bot/local/valkey.py`)."""

from __future__ import annotations

import asyncio
import fcntl
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict
from structlog import get_logger

from bot.errors import Broken, TellUser, TryAgain

if TYPE_CHECKING:
    from redis.asyncio import Redis

PATIENCE_S = 15
"""Longest wait for another bot's server to end before ours is started, in seconds."""
SLOW_S = 0.05
"""A memory whose every call takes longer than this makes each answer noticeably slower."""
SCHEMES = ("redis", "rediss", "unix")

log = get_logger(__name__)


@dataclass(frozen=True, repr=False)  # the URL may hold a password
class Memory:
    """An open memory: the client, whose answers are `str`, and the URL that docket is to be opened with."""

    redis: Redis
    docket_url: str


class MemoryHealth(BaseModel):
    """What `doctor` and `status` show of the memory. Each problem is a sentence that says what to do."""

    model_config = ConfigDict(frozen=True)

    version: str
    keeps_on_disk: bool
    eviction: str
    used_bytes: int
    latency_s: float
    problems: tuple[str, ...]


@asynccontextmanager
async def open_redis(redis_url: str | None, data_dir: Path) -> AsyncIterator[Memory]:
    """The memory at this URL, or the embedded one of this folder when there is none; it has answered a PING.

    Raises TellUser for a URL or folder that cannot be used, Broken for a refused password, TryAgain when nobody
    answers.
    """
    async with AsyncExitStack() as stack:
        url = redis_url if redis_url else await stack.enter_async_context(_embedded(data_dir))
        redis = _client(url)
        stack.push_async_callback(redis.aclose)
        with redis_errors():
            await redis.ping()
        yield Memory(redis, _docket_url(url))


async def memory_health(redis: Redis) -> MemoryHealth:
    """How the memory fares; asks INFO only, since hosted servers refuse CONFIG. Raises TryAgain, Broken."""
    with redis_errors():
        info: dict[str, Any] = await redis.info()  # Redis before 7 refuses more than one section
        latency_s = statistics.median([await _timed_ping(redis) for _ in range(5)])
    is_valkey = "valkey_version" in info
    health = MemoryHealth(
        version=f"Valkey {info['valkey_version']}" if is_valkey else f"Redis {info['redis_version']}",
        keeps_on_disk=bool(info["aof_enabled"]),
        eviction=info["maxmemory_policy"],
        used_bytes=info["used_memory"],
        latency_s=latency_s,
        problems=(),
    )
    return health.model_copy(update={"problems": tuple(_problems(health, info))})


@contextmanager
def redis_errors() -> Iterator[None]:
    """Redis' exceptions as ours: Broken for a refused password or permission, TryAgain for everything else."""
    from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

    refusals = (AuthenticationError, AuthorizationError, NoPermissionError)
    try:
        yield
    except RedisError as error:
        # Over a unix socket, redis-py wraps a refusal in a ConnectionError.
        if isinstance(error, refusals) or isinstance(error.__cause__, refusals):
            raise Broken(f"Redis refuses us ({error}): check the user and password in REDIS_URL") from error
        raise TryAgain(f"Redis does not answer: {error}") from error


def _client(url: str) -> Redis:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import EqualJitterBackoff
    from redis.exceptions import ConnectionError

    try:
        _check_url(url)
        # What the URL's query sets wins over these. Callers wait for a full pool, where redis-py's usual one raises. A
        # lost connection is tried again for some two seconds, as long as a server takes to restart; a call that timed
        # out is not, for it has cost its time and may have been done. No health_check_interval: its pings retry within
        # the retries, which takes minutes to find out that a password is missing. TCP keepalive, on by default, does.
        pool = BlockingConnectionPool.from_url(
            url,
            decode_responses=True,
            max_connections=50,
            timeout=5,
            socket_connect_timeout=2,
            socket_timeout=5,
            client_name="footnote",
            retry=Retry(EqualJitterBackoff(base=0.05, cap=0.8), 6, (ConnectionError,)),
        )
        # Connects to nothing yet, but refuses an option that redis-py does not know.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        # Their texts may quote the password, and so would a traceback that shows them as the cause.
        raise TellUser(
            "REDIS_URL cannot be used. Write redis://USER:PASSWORD@HOST:PORT/0 (rediss:// for TLS, unix:///PATH for a "
            "socket) with special characters of the password percent-encoded, `/` as %2F, and only redis-py's options."
        ) from None
    return Redis.from_pool(pool)


def _check_url(url: str) -> None:
    """Raises ValueError for what redis-py would misread: another scheme, or a password cut short by `/`, `?` or `#`."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or (parts.scheme != "unix" and "@" in parts.path + parts.query + parts.fragment):
        raise ValueError


def _docket_url(url: str) -> str:
    """docket makes its own pool from the URL, with redis-py's limit of 100 connections: a burst of questions meets it
    as MaxConnectionsError."""
    if "max_connections=" in urlsplit(url).query:
        return url
    return f"{url}{'&' if urlsplit(url).query else '?'}max_connections=1000"


async def _timed_ping(redis: Redis) -> float:
    started = time.perf_counter()
    await redis.ping()
    return time.perf_counter() - started


def _problems(health: MemoryHealth, info: dict[str, Any]) -> Iterator[str]:
    if "valkey_version" not in info and int(info["redis_version"].split(".")[0]) < 7:
        yield f"{health.version} is too old: use Redis 7 or later, or Valkey."
    if not health.keeps_on_disk:
        yield (
            "It keeps nothing on disk, so a restart loses the questions that wait: set `appendonly yes` "
            "(hosted servers call it AOF persistence)."
        )
    if health.keeps_on_disk and "err" in (info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")):
        yield "It could not write its append-only file last time: see whether its disk is full, and read its log."
    if health.eviction != "noeviction":
        yield (
            f"It throws keys away when it is full (`{health.eviction}`), waiting questions among them: "
            "set `maxmemory-policy noeviction`."
        )
    if (limit := info.get("maxmemory", 0)) and health.used_bytes > 0.8 * limit:
        yield (
            f"It uses {health.used_bytes / limit:.0%} of its `maxmemory` and will soon refuse new questions: raise "
            "`maxmemory`, or lower RETENTION_DAYS."
        )
    if health.latency_s > SLOW_S:
        yield f"One call takes {health.latency_s * 1000:.0f} ms: bring it nearer to the bot, or see what keeps it busy."


@asynccontextmanager
async def _embedded(data_dir: Path) -> AsyncIterator[str]:
    """The URL of the embedded server, which stays for as long as this is open."""
    users = await _join_users(data_dir)
    try:
        url = await asyncio.to_thread(_start_supervisor, data_dir)
        watch = asyncio.create_task(_keep_supervised(data_dir))
        try:
            yield url
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
    finally:
        os.close(users)


async def _join_users(data_dir: Path) -> int:
    """Our share of the users' lock; given back by closing it, which the system does even after a SIGKILL."""
    folder = data_dir / "valkey"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        users = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise TellUser(f"DATA_DIR cannot be written ({error}): choose another folder, or set REDIS_URL.") from error
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if _is_shareable(users):
            return users
        await asyncio.sleep(0.05)  # the last bot has just left and its server is stopping
    os.close(users)
    raise TryAgain(f"The embedded Valkey in {folder} has been stopping for {PATIENCE_S} s; see {folder}/valkey.log")


def _start_supervisor(data_dir: Path) -> str:
    """Sees to it that a supervisor runs, and returns the server's URL once it answers. Blocks."""
    log_file = data_dir / "valkey" / "valkey.log"
    command = [sys.executable, "-m", "bot.local.valkey", "--detach", "--data-dir", str(data_dir.absolute())]
    try:
        done = subprocess.run(  # noqa: S603 (our own module)
            command,
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,  # its own patience is shorter unless it has gigabytes to load
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise TryAgain(f"The embedded Valkey is still loading after {error.timeout:.0f} s; see {log_file}") from error
    if done.returncode != 0:
        raise TryAgain(f"The embedded Valkey did not start ({done.stderr.strip()}); see {log_file}, or set REDIS_URL")
    return done.stdout.strip().removeprefix("REDIS_URL=")


async def _keep_supervised(data_dir: Path) -> None:
    """Starts a new supervisor when the old one was killed: without one a dead server stays dead."""
    pause_s = 0.5
    while True:
        await asyncio.sleep(pause_s)
        try:
            if _has_supervisor(data_dir):
                continue
            await asyncio.to_thread(_start_supervisor, data_dir)
            pause_s = 0.5
            log.warning("embedded_valkey_restarted", data_dir=str(data_dir))
        except (TryAgain, OSError) as error:
            pause_s = min(30.0, pause_s * 2)
            log.error("embedded_valkey_down", error=str(error), next_try_in_s=pause_s)


def _has_supervisor(data_dir: Path) -> bool:
    lock = os.open(data_dir / "valkey" / "supervisor.lock", os.O_RDONLY)
    try:
        return not _is_shareable(lock)
    finally:
        os.close(lock)


def _is_shareable(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
