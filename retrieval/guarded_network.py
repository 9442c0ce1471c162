"""The network as strangers' addresses get it: no connection to what is not on the public internet, and none that waits
longer than it may. An address is checked after its name was resolved, and the one that was checked is the one that is
connected to: whoever resolves a second time may get another answer.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore

from retrieval.decoding import Unfit

LONGEST_READ_S = 60.0
GLANCE_S = 0.5
"""How often a wait looks whether it is still wanted."""
_NAT64 = IPv6Network("64:ff9b::/96")
_HOSTS_OF_CLOUDS = frozenset({IPv4Address("168.63.129.16")})
"""Public by its number, but Azure's own host to each of its machines."""
until: ContextVar[float] = ContextVar("until")
"""When the fetch that runs in this thread has taken long enough (monotonic)."""

Resolve = Callable[[str, int], Iterable[str]]


class GuardedNetwork(httpcore.NetworkBackend):
    """Connects to addresses on the public internet only, and to those hosts besides that an operator named."""

    def __init__(
        self,
        intranet_hosts: frozenset[str],
        resolve: Resolve,
        network: httpcore.NetworkBackend,
        is_over: threading.Event,
    ) -> None:
        self._intranet_hosts, self._resolve, self._network = intranet_hosts, resolve, network
        self._is_over = is_over

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connects to the first address of a name that answers. Raises Unfit when any of them is not public."""
        try:
            addresses = list(self._resolve(host, port))
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"there is no host {host}") from error
        if not {host, f"{host}:{port}"} & self._intranet_hosts and not all(map(is_public, addresses)):
            raise Unfit(f"leads to {host}, which is not on the public internet (INTRANET_HOSTS may name it)")
        refused: httpcore.NetworkError | httpcore.TimeoutException = httpcore.ConnectError(f"there is no host {host}")
        for address in addresses:
            try:
                within_s = left_of(timeout)
                stream = self._network.connect_tcp(address, port, within_s, local_address, socket_options)
                return Clocked(stream, self._is_over)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                refused = error
        raise refused


class Clocked(httpcore.NetworkStream):
    """A connection on which no wait outlasts the fetch that it is for: neither does a byte now and then keep it going,
    nor is a server waited for when nobody wants its answer any more."""

    def __init__(self, stream: httpcore.NetworkStream, is_over: threading.Event) -> None:
        self._stream, self._is_over = stream, is_over

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        end = time.monotonic() + (LONGEST_READ_S if timeout is None else timeout)
        while True:
            left = end - time.monotonic()
            try:
                return self._stream.read(max_bytes, left_of(min(left, GLANCE_S)))
            except httpcore.ReadTimeout:
                if left <= GLANCE_S or self._is_over.is_set():
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, left_of(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return Clocked(self._stream.start_tls(ssl_context, server_hostname, left_of(timeout)), self._is_over)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet: neither private, local, shared, multicast, reserved or a cloud's
    own, nor a wrapping of such a one."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            return is_public(str(IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.ipv4_mapped or ip.sixtofour or ip.teredo or ip.is_site_local:
            return False
    is_special = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local
    return ip.is_global and not is_special and ip not in _HOSTS_OF_CLOUDS


def addresses_of(host: str, port: int) -> list[str]:
    """Asks the system for the addresses of a name; numbers in any notation become addresses, too."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def left_of(timeout: float | None) -> float | None:
    """Gives how long a wait may be; raises ReadTimeout when the fetch has taken all its time."""
    end = until.get(None)
    if end is None:
        return timeout
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left if timeout is None else min(timeout, left)
