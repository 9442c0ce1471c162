"""Fetches web addresses that strangers can name: in a site map, in a redirect. It promises that no connection is made
to an address that is not on the public internet (each is checked after its name was resolved, and the one checked is
what is connected to), that robots.txt is obeyed, that a host is not hurried, and that no answer costs more bytes, time
or redirects than it may, whatever the server does.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpcore
import httpx

from retrieval.decoding import Unfit
from retrieval.guarded_network import GuardedNetwork, Resolve, addresses_of, left_of, until
from retrieval.sources import MOST_BYTES, Access, OutOfReach, reason_of

if TYPE_CHECKING:
    from protego import Protego

AGENT = "Footnote"
MOST_REDIRECTS = 5
CONNECT_S, READ_S, TOTAL_S = 5.0, 15.0, 60.0
LONGEST_PAUSE_S = 20.0
"""That a server may ask for, between requests or before another attempt."""
MOST_ROBOTS = 500_000
_PORTS = {"http": 80, "https": 443}
_BUSY = (429, 503)


@dataclass(frozen=True)
class Fetched:
    """What a server answered."""

    url: str
    """Where the redirects led."""
    body: bytes
    media_type: str
    charset: str | None
    stamp: str
    updated_at: datetime | None


class Fetcher:
    """One crawler, for any number of threads."""

    def __init__(
        self,
        access: Access = Access(),  # noqa: B008 - it is frozen
        resolve: Resolve | None = None,
        network: httpcore.NetworkBackend | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._is_closed = threading.Event()
        self._wait = wait or self._is_closed.wait
        guarded = GuardedNetwork(
            access.intranet_hosts, resolve or addresses_of, network or httpcore.SyncBackend(), self._is_closed
        )
        self._intranet_hosts, self._pace_s = access.intranet_hosts, access.pace_s
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(), network_backend=guarded, max_connections=20, keepalive_expiry=10
        )
        self._robots: dict[str, Protego] = {}
        self._free_at: dict[str, float] = {}
        self._pacing, self._asking_robots = threading.Lock(), threading.Lock()

    def get(self, url: str, stamp: str = "", most_bytes: int = MOST_BYTES) -> Fetched | None:
        """Fetches an address; None when the server says that it is still what had this stamp.

        Raises Unfit for what is not there, not for us or too large, OutOfReach for what may be had another time.
        """
        return self._get(url, stamp, most_bytes, self._check_robots)

    def site_maps(self, url: str) -> list[str]:
        """Gives the site maps that the robots.txt of an address's host names. Raises as `get` does."""
        return list(self._robots_of(_parsed(url)).sitemaps)

    def close(self) -> None:
        """Ends what is being fetched, and closes the connections."""
        self._is_closed.set()
        self._pool.close()

    def _get(self, url: str, stamp: str, most_bytes: int, may_be_read: Callable[[httpx.URL], None]) -> Fetched | None:
        until.set(time.monotonic() + TOTAL_S)
        where = _parsed(url)
        for _ in range(MOST_REDIRECTS + 1):
            self._check_address(where)
            may_be_read(where)
            status, headers, body = self._ask(where, stamp, most_bytes)
            if status in (301, 302, 303, 307, 308) and "location" in headers:
                where = _parsed(str(_joined(where, headers["location"])))
                continue
            if status == 304 and stamp:
                return None
            _check_status(status)
            return _fetched(where, headers, body, most_bytes)
        raise Unfit(f"leads through more than {MOST_REDIRECTS} redirects")

    def _ask(self, url: httpx.URL, stamp: str, most_bytes: int) -> tuple[int, Mapping[str, str], bytes]:
        """Makes one request, and one more when the server asks to come back in a while."""
        status, headers, body = self._request(url, stamp, most_bytes)
        if status in _BUSY:
            pause_s = _seconds(headers.get("retry-after", "2"))
            if pause_s <= LONGEST_PAUSE_S and time.monotonic() + pause_s < until.get():
                self._wait(pause_s)
                return self._request(url, stamp, most_bytes)
        return status, headers, body

    def _request(self, url: httpx.URL, stamp: str, most_bytes: int) -> tuple[int, Mapping[str, str], bytes]:
        if self._is_closed.is_set():
            raise OutOfReach("is not asked any more")
        self._wait_turn(url)
        headers = {"Host": url.netloc.decode(), "User-Agent": f"{AGENT}/1 (reads documentation for a support bot)"}
        headers |= {"Accept": "text/html,text/markdown,*/*;q=0.5", "Accept-Encoding": "gzip", **_conditions(stamp)}
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        timeouts = {"connect": CONNECT_S, "read": READ_S, "write": READ_S, "pool": TOTAL_S}
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        try:
            with self._pool.stream("GET", target, headers=sent, extensions={"timeout": timeouts}) as response:
                answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                body = b""
                if response.status == 200:
                    body = _whole(response.iter_stream(), answered.get("content-encoding", ""), most_bytes)
                return response.status, answered, body
        except httpcore.TimeoutException as error:
            raise OutOfReach("does not answer in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
            cause = error.args[0] if error.args and isinstance(error.args[0], OSError) else error  # httpcore wraps it
            reason = reason_of(cause) if isinstance(cause, OSError) else str(cause) or type(cause).__name__
            raise OutOfReach(f"cannot be reached: {reason}") from error

    def _check_address(self, url: httpx.URL) -> None:
        if url.scheme not in _PORTS or not url.host:
            raise Unfit(f"leads to an address that is not on the web ({url.scheme}:)")
        if url.userinfo:
            raise Unfit("leads to an address with a password in it")
        is_named = {url.host, f"{url.host}:{url.port}"} & self._intranet_hosts
        if url.port not in (None, *_PORTS.values()) and not is_named:
            raise Unfit(f"leads to port {url.port}: only 80 and 443 are for the web (INTRANET_HOSTS may name the host)")

    def _check_robots(self, url: httpx.URL) -> None:
        if not self._robots_of(url).can_fetch(str(url), AGENT):
            raise Unfit(f"is not for robots: {url.host}/robots.txt says so")

    def _robots_of(self, url: httpx.URL) -> Protego:
        """Gives a host's rules as RFC 9309 reads them: none there is no rule, none to be had is no permission."""
        from protego import Protego

        origin = str(url.copy_with(raw_path=b"/robots.txt", fragment=None))
        end = until.get(None)
        with self._asking_robots:
            if origin not in self._robots:
                try:
                    fetched = self._get(origin, "", MOST_ROBOTS, lambda _: None)
                except Gone:
                    rules = ""
                else:
                    rules = fetched.body.decode("utf-8", "replace") if fetched else ""
                self._robots[origin] = Protego.parse(rules)
        if end is not None:
            until.set(end)
        return self._robots[origin]

    def _wait_turn(self, url: httpx.URL) -> None:
        """Waits until a host may be asked again."""
        robots = self._robots.get(str(url.copy_with(raw_path=b"/robots.txt", fragment=None)))
        asked_for = robots.crawl_delay(AGENT) if robots else None
        pace_s = max(self._pace_s, min(asked_for or 0.0, LONGEST_PAUSE_S))
        with self._pacing:
            now = time.monotonic()
            turn = max(now, self._free_at.get(url.host, 0.0))
            self._free_at[url.host] = turn + pace_s
        self._wait(turn - now)
        until.set(until.get() + turn - now)  # waiting is not the server's fault


class Gone(Unfit):
    """The server says that there is nothing for us, and means it."""


def unpacked(body: bytes, most_bytes: int) -> bytes:
    """Gives what gzip packed; raises Unfit when that is more than `most_bytes`, or damaged."""
    return _whole([body], "gzip", most_bytes)


def _whole(pieces: Iterable[bytes], encoding: str, most_bytes: int) -> bytes:
    """Puts an answer together, unpacked, and stops at the first byte too many."""
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise Unfit(f"comes in an encoding that nobody asked for ({encoding})")
    unpacking = zlib.decompressobj(47) if encoding not in ("", "identity") else None
    whole = bytearray()
    for piece in pieces:
        try:
            whole += unpacking.decompress(piece, most_bytes + 1 - len(whole)) if unpacking else piece
        except zlib.error as error:
            raise Unfit("comes packed, and damaged") from error
        if len(whole) > most_bytes:
            raise Unfit(f"is larger than {most_bytes // 1_000_000 or 1} MB")
        left_of(None)
    if unpacking and whole and not unpacking.eof:
        raise Unfit("comes packed, and cut off")
    return bytes(whole)


def _check_status(status: int) -> None:
    if status in (404, 410):
        raise Gone(f"is gone ({status})")
    if status in (401, 403, 407, 451):
        raise Gone(f"is not for everybody ({status})")
    if status in _BUSY or status >= 500:
        raise OutOfReach(f"is out of order ({status})")
    if status != 200:
        raise Gone(f"is answered with status {status}")


def _fetched(url: httpx.URL, headers: Mapping[str, str], body: bytes, most_bytes: int) -> Fetched:
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    charset = parameters.lower().partition("charset=")[2].strip(" \"'") or None
    versions = {name: headers[name] for name in ("etag", "last-modified") if headers.get(name)}
    try:
        updated_at = parsedate_to_datetime(headers["last-modified"])
    except (KeyError, ValueError):
        updated_at = None
    stamp = json.dumps(versions) if versions else ""
    return Fetched(str(url), body, media_type.strip().lower(), charset, stamp, updated_at)


def _conditions(stamp: str) -> dict[str, str]:
    if not stamp:
        return {}
    asked = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
    return {asked[name]: str(value) for name, value in json.loads(stamp).items() if name in asked}


def _parsed(url: str) -> httpx.URL:
    try:
        return httpx.URL(url).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError) as error:
        raise Unfit(f"leads to what is no address ({error})") from error


def _joined(url: httpx.URL, location: str) -> httpx.URL:
    try:
        return url.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise Unfit(f"leads to what is no address ({error})") from error


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdecimal() else LONGEST_PAUSE_S + 1
