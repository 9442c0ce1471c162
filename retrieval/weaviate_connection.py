"""The one connection of a process to Weaviate. It is made when it is first needed, so that a bot starts while Weaviate
is down, and every call through it has a deadline of our own: the client retries a dead gRPC port for a minute, whatever
timeout it was given.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bot.errors import Broken, LibraryUnavailable, TellUser

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient

LEAST_VERSION = (1, 36)  # server-side batching; aliases came with 1.32
CONNECT_TIMEOUT_S = 10
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED", "unauthorized", "forbidden")
_ABSENT = ("tenant not found", "could not find class")


class Absent(Exception):
    """What was read is not there yet: no collection, or no tenant of the team in it."""


class Connection:
    """Weaviate at a URL, with a key where it wants one."""

    def __init__(self, url: str, grpc_url: str | None, key: str | None) -> None:
        self.address = url
        self._http, self._grpc, self._key = _endpoint(url, "WEAVIATE_URL"), _grpc_endpoint(url, grpc_url), key
        self._client: WeaviateAsyncClient | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def use(self, within_s: float) -> AsyncIterator[WeaviateAsyncClient]:
        """Lends the client for `within_s` seconds at most.

        Raises LibraryUnavailable when Weaviate is down or slow, Broken when it refuses us, Absent when what was asked
        for is not there.
        """
        import grpc.aio  # type: ignore[import-untyped]
        import httpx
        from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateBaseError, WeaviateInvalidInputError

        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                client = await self._connected()
            async with asyncio.timeout(within_s):
                yield client
        except TimeoutError as error:
            raise LibraryUnavailable(f"Weaviate at {self.address} did not answer in {within_s:g} s.") from error
        except WeaviateInvalidInputError as error:
            raise Broken(f"Weaviate's client refused what we asked: {error}") from error
        except WeaviateBaseError as error:
            status = error.status_code if isinstance(error, UnexpectedStatusCodeError) else 0
            if any(sign in str(error) for sign in _ABSENT):
                raise Absent(str(error)) from error
            if status in (401, 403, 422) or any(sign in str(error) for sign in _REFUSED):
                raise Broken(f"Weaviate at {self.address} refuses us: {error}") from error
            raise LibraryUnavailable(f"Weaviate at {self.address} cannot be used now: {error}") from error
        except (httpx.HTTPError, grpc.aio.AioRpcError, OSError) as error:
            raise LibraryUnavailable(f"Weaviate at {self.address} cannot be reached: {error}") from error

    async def is_ready(self) -> bool:
        """Whether Weaviate is ready over REST and alive over gRPC."""
        try:
            async with self.use(CONNECT_TIMEOUT_S) as client:
                return bool(await client.is_ready() and await client.is_live())
        except LibraryUnavailable:
            return False

    async def close(self) -> None:
        """Closes the connection, if one was made."""
        if self._client:
            await self._client.close()
            self._client = None

    async def _connected(self) -> WeaviateAsyncClient:
        async with self._lock:
            if self._client is None:
                client = self._new_client()
                try:
                    await client.connect()
                    version = str((await client.get_meta())["version"])
                except BaseException:
                    await client.close()
                    raise
                if tuple(int(part) for part in version.split(".")[:2]) < LEAST_VERSION:
                    await client.close()
                    least = ".".join(map(str, LEAST_VERSION))
                    raise Broken(f"Weaviate at {self.address} is version {version}: {least} or newer is needed.")
                self._client = client
            return self._client

    def _new_client(self) -> WeaviateAsyncClient:
        import weaviate
        from weaviate.classes.init import AdditionalConfig, Auth, Timeout

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
            additional_config=AdditionalConfig(timeout=Timeout(init=5)),
        )


def _endpoint(url: str, setting: str, default_port: int | None = None) -> tuple[str, int, bool]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TellUser(f"{setting}={url} is no address: write http(s)://host:port.")
    is_secure = parts.scheme == "https"
    return parts.hostname, parts.port or default_port or (443 if is_secure else 80), is_secure


def _grpc_endpoint(url: str, grpc_url: str | None) -> tuple[str, int, bool]:
    """Weaviate's gRPC: where it is said to be, on Cloud at a host of its own, else the same host at port 50051."""
    if grpc_url:
        return _endpoint(grpc_url, "WEAVIATE_GRPC_URL", 50051)
    host, _, is_secure = _endpoint(url, "WEAVIATE_URL")
    if host.endswith(".weaviate.cloud"):
        return f"grpc-{host}", 443, True
    return host, 50051, is_secure
