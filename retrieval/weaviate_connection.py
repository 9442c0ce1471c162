"""The one connection of a process to Weaviate. It is made when it is first needed, so that a bot starts while Weaviate
is down; it finds with one key and writes with another where there are two; and every call through it has a deadline of
our own, for the client tries a dead gRPC port for a minute, whatever timeout it was given. A Weaviate that is down is
left alone for a while (`retrieval.breaker`), so that nobody waits for what will not come.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from bot.errors import Broken, FootnoteError, LibraryUnavailable, TellUser
from bot.settings import Settings
from retrieval.breaker import Breaker
from retrieval.weaviate_schema import SOURCES, Keeping

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient

LEAST_VERSION = (1, 36)  # aliases came with 1.32; what is older than 1.36 gets no fixes any more
CONNECT_TIMEOUT_S = 5
FAILURES = 3
"""In a row, after which it is left alone."""
PAUSE_S = 5
"""Between two looks whether it is back."""
PROMPT_S = 10
"""What is given no longer than this must be answered in time, or Weaviate is down; what is given longer may be slow."""
_SOCKETS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 2_000))
"""Else a new client shares the sockets of the one before, and waits with it: two minutes after a long outage."""
FORBIDDEN = "forbidden action"
_ABSENT = re.compile(r'tenant not found|could not find class|class ("\w+" )?not found')


class Absent(Exception):
    """What was read is not there yet: no collection, or no tenant of the team in it."""


class _Outage(LibraryUnavailable):
    """The server was not reached, or had no answer in time."""


class _Late(_Outage):
    """The server was reached, and had no answer in time."""


class Connection:
    """Weaviate at a URL, with a key where it wants one, and another for finding where there is one."""

    def __init__(
        self,
        url: str,
        grpc_url: str | None,
        key: str | None,
        read_key: str | None = None,
        keeping: Keeping = Keeping(),  # noqa: B008 - it is frozen
    ) -> None:
        self.address, self.keeping = url, keeping
        http, grpc = _endpoint(url, "WEAVIATE_URL"), _grpc_endpoint(url, grpc_url)
        if http[:2] == grpc[:2]:
            raise TellUser(f"WEAVIATE_URL and WEAVIATE_GRPC_URL are both {url}: gRPC has a port of its own.")
        self._writing = _Line(url, http, grpc, "WEAVIATE_API_KEY", key)
        self._reading = _Line(url, http, grpc, "WEAVIATE_READ_API_KEY", read_key) if read_key else self._writing
        self._breaker = Breaker(f"Weaviate at {url}", FAILURES, PAUSE_S)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Gives the connection that the settings name; WEAVIATE_URL must be set."""
        assert settings.weaviate_url
        key, read_key = settings.weaviate_api_key, settings.weaviate_read_api_key
        return cls(
            settings.weaviate_url,
            settings.weaviate_grpc_url,
            key.get_secret_value() if key else None,
            read_key.get_secret_value() if read_key else None,
            Keeping(
                settings.weaviate_replication_factor, settings.weaviate_consistency, settings.weaviate_quantization
            ),
        )

    @asynccontextmanager
    async def use(self, within_s: float, *, to_write: bool = False) -> AsyncIterator[WeaviateAsyncClient]:
        """Lends the client for `within_s` seconds at most, with the key for finding unless it is to write.

        Raises LibraryUnavailable when Weaviate is down or slow, or was down a moment ago; Broken when it refuses us;
        Absent when what was asked for is not there.
        """
        import grpc.aio  # type: ignore[import-untyped]
        import httpx
        from weaviate.exceptions import WeaviateBaseError

        if reason := self._breaker.turned_away():
            raise LibraryUnavailable(reason)
        line = self._writing if to_write else self._reading
        if self._breaker.is_open:
            await line.hang_up()  # its sockets may be dead without knowing, or lead to where Weaviate was before
        is_lent = False
        try:
            async with line.lent() as client, asyncio.timeout(within_s):
                is_lent = True
                yield client
        except (TimeoutError, WeaviateBaseError, httpx.HTTPError, grpc.aio.AioRpcError, OSError) as error:
            told = _told(error, line, within_s)
            if not isinstance(told, _Outage):
                self._breaker.answered()
            elif not (is_lent and isinstance(told, _Late) and within_s > PROMPT_S):
                self._breaker.failed(str(told))
            raise told from error
        self._breaker.answered()

    async def is_ready(self) -> bool:
        """Whether Weaviate is ready by REST and answers a search by gRPC. Raises Broken when it refuses us.

        The client's own two checks print what goes wrong to stdout, where results go.
        """
        import httpx

        try:
            async with self.use(CONNECT_TIMEOUT_S) as client:
                async with httpx.AsyncClient(timeout=CONNECT_TIMEOUT_S, trust_env=False) as http:
                    ready = await http.get(f"{self.address.rstrip('/')}/v1/.well-known/ready")
                await client.collections.use(SOURCES).with_tenant("anybody").query.fetch_objects(limit=1)
        except Absent:
            pass
        except LibraryUnavailable:
            return False
        return ready.is_success

    async def close(self) -> None:
        """Closes the connection, as far as one was made."""
        await self._reading.hang_up()
        await self._writing.hang_up()


class _Line:
    """One client, of one key."""

    def __init__(self, address: str, http: Endpoint, grpc: Endpoint, setting: str, key: str | None) -> None:
        self.address, self.setting = address, setting
        self._http, self._grpc, self._key = http, grpc, key
        self.grpc_address = f"{grpc[0]}:{grpc[1]}"
        self._client: WeaviateAsyncClient | None = None
        self._lock = asyncio.Lock()
        self._users = 0

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[WeaviateAsyncClient]:
        """Lends the client, connected."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S), self._lock:
            client = self._client = self._client or await self._connected()
        self._users += 1
        try:
            yield client
        finally:
            self._users -= 1

    async def hang_up(self) -> None:
        """Closes the client unless somebody uses it; the next one connects anew."""
        if self._client and not self._users:
            client, self._client = self._client, None
            await client.close()

    async def _connected(self) -> WeaviateAsyncClient:
        client = self._new_client()
        try:
            await client.connect()
            version = str((await client.get_meta())["version"])
            if tuple(int(part) for part in version.split(".")[:2]) < LEAST_VERSION:
                least = ".".join(map(str, LEAST_VERSION))
                raise Broken(f"Weaviate at {self.address} is version {version}: {least} or newer is needed.")
        except BaseException:
            await client.close()
            raise
        return client

    def _new_client(self) -> WeaviateAsyncClient:
        import weaviate
        from weaviate.classes.init import AdditionalConfig, Auth, GrpcConfig, Timeout

        logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)  # of each try, in five lines; we tell the last
        http_host, http_port, is_https = self._http
        grpc_host, grpc_port, is_grpc_secure = self._grpc
        return weaviate.use_async_with_custom(
            http_host,
            http_port,
            is_https,
            grpc_host,
            grpc_port,
            is_grpc_secure,
            auth_credentials=Auth.api_key(self._key) if self._key else None,
            additional_config=AdditionalConfig(
                timeout=Timeout(init=CONNECT_TIMEOUT_S), grpc_config=GrpcConfig(channel_options=list(_SOCKETS))
            ),
            skip_init_checks=True,  # they also ask PyPI for a newer client, and hold up who may not reach it
        )


def _status(error: BaseException | None) -> int:
    """Gives the HTTP status that an error comes to, 0 for none. The client wraps, and for a search leaves out, what
    tells it."""
    import grpc.aio
    import httpx
    from weaviate.exceptions import InsufficientPermissionsError, UnexpectedStatusCodeError

    by_code = {
        grpc.StatusCode.UNAUTHENTICATED: 401,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.UNAVAILABLE: 503,
        grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    }
    while error:
        if isinstance(error, InsufficientPermissionsError):
            return 403
        if isinstance(error, UnexpectedStatusCodeError):
            return error.status_code
        if isinstance(error, grpc.aio.AioRpcError):
            return by_code.get(error.code(), 0)
        if isinstance(error, (TimeoutError, httpx.ReadTimeout)):
            return 504
        if isinstance(error, (OSError, httpx.TransportError)):
            return 503
        error = error.__cause__ or error.__context__
    return 0


def _words(error: BaseException, line: _Line, within_s: float) -> str:
    """Says in a few words what went wrong: what the client says is long, and at times leaves out the cause."""
    import grpc.aio
    import httpx
    from weaviate.exceptions import UnexpectedStatusCodeError

    cause: BaseException | None = error
    while cause:
        if isinstance(cause, grpc.aio.AioRpcError) and cause.code() == grpc.StatusCode.UNAVAILABLE:
            return f"gRPC at {line.grpc_address} cannot be reached."
        if isinstance(cause, httpx.ConnectError):
            return "nothing can be reached there."
        if isinstance(cause, UnexpectedStatusCodeError) and str(cause).startswith("Meta endpoint"):
            return f"what answers there with status {cause.status_code} does not seem to be a Weaviate."
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, TimeoutError):
        return f"not within {within_s:g} s (what is searched and stored goes to gRPC at {line.grpc_address})."
    return str(error) or type(error).__name__


def _told(error: BaseException, line: _Line, within_s: float) -> FootnoteError | Absent:
    """Gives what an error means to us."""
    from weaviate.exceptions import WeaviateInvalidInputError

    server, status = f"Weaviate at {line.address}", _status(error)
    words = _words(error, line, within_s)
    if isinstance(error, WeaviateInvalidInputError):
        return Broken(f"Weaviate's client refused what we asked: {words}")
    if _ABSENT.search(words):
        return Absent(words)
    if status in (502, 503, 504):
        return (_Late if status == 504 else _Outage)(f"{server} does not answer: {words}")
    if status == 401:
        return Broken(f"{server} refuses us: it does not know the key in {line.setting}. {words}")
    if status == 403 or FORBIDDEN in words:
        return Broken(f"{server} refuses us: the key in {line.setting} lacks a right. {words}")
    if status == 422:
        return Broken(f"{server} refuses what we asked: {words}")
    return LibraryUnavailable(f"{server} cannot be used now: {words}")


Endpoint = tuple[str, int, bool]
"""Host, port, and whether it speaks TLS."""


def _endpoint(url: str, setting: str, default_port: int | None = None) -> Endpoint:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TellUser(f"{setting}={url} is no address: write http(s)://host:port.")
    is_secure = parts.scheme == "https"
    return parts.hostname, parts.port or default_port or (443 if is_secure else 80), is_secure


def _grpc_endpoint(url: str, grpc_url: str | None) -> Endpoint:
    """Weaviate's gRPC: where it is said to be, on Cloud at a host of its own, else the same host at port 50051."""
    if grpc_url:
        return _endpoint(grpc_url, "WEAVIATE_GRPC_URL", 50051)
    host, _, is_secure = _endpoint(url, "WEAVIATE_URL")
    if host.endswith(".weaviate.cloud"):
        return f"grpc-{host}", 443, True
    return host, 50051, is_secure
