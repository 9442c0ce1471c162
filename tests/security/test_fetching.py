"""Nobody outside can have us connect to what is inside: an address is checked at the socket, however it is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import TellUser
from retrieval.decoding import Unfit
from retrieval.fetching import Fetcher
from retrieval.guarded_network import addresses_of, is_public
from retrieval.source_remote import Remote
from retrieval.sources import Access, OutOfReach, address_of
from tests.web_site import Page, running

PUBLIC = "93.184.215.14"
NO_RULES = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Wire(httpcore.NetworkBackend):
    """A network that only notes where it was asked to connect, and answers from a script."""

    def __init__(self, *answers: bytes) -> None:
        self.connected: list[str] = []
        self._answers = list(answers)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        self.connected.append(host)
        answer = self._answers.pop(0) if self._answers else NO_RULES
        return httpcore.MockStream([answer])


def resolver(**names: Sequence[str]) -> Any:
    """Resolves names from a table, and numbers as the system does."""

    def resolve(host: str, port: int) -> list[str]:
        name = host.replace(".", "_").replace("-", "_")
        return list(names[name]) if name in names else addresses_of(host, port)

    return resolve


def fetcher(wire: Wire, resolve: Any) -> Fetcher:
    return Fetcher(Access(pace_s=0), resolve, wire)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://localhost/",
        "http://localhost./",
        "http://LOCALHOST/",
        "http://10.0.0.1/",
        "http://10.255.255.255/",
        "http://172.16.0.1/",
        "http://172.31.255.254/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://2852039166/",
        "http://168.63.129.16/metadata",
        "http://100.100.100.200/latest/meta-data/",
        "http://100.64.0.1/",
        "http://192.0.0.170/",
        "http://198.18.0.1/",
        "http://203.0.113.5/",
        "http://224.0.0.1/",
        "http://239.255.255.250/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[::127.0.0.1]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[fd00:ec2::254]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://[2002:7f00:1::]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2001:0:0:0:0:0:80ff:fffe]/",
        "http://[2001:db8::1]/",
    ],
)
def test_no_address_that_is_not_public_is_connected_to(url: str) -> None:
    """In whatever notation: decimal, octal, hexadecimal, short, wrapped in IPv6, by name."""
    wire = Wire()
    with pytest.raises((Unfit, OutOfReach)):
        fetcher(wire, addresses_of).get(url)
    assert wire.connected == []


def test_a_name_with_one_private_address_is_refused_whole() -> None:
    """A public address beside it makes it no better: the system might take either."""
    wire = Wire()
    with pytest.raises(Unfit, match="not on the public internet"):
        fetcher(wire, resolver(docs_example=[PUBLIC, "10.0.0.1"])).get("https://docs.example/")
    assert wire.connected == []


def test_a_name_that_changes_its_mind_gains_nothing() -> None:
    """Each connection resolves once, and connects to the address that was checked, not to the name."""
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    wire = Wire(NO_RULES)
    with pytest.raises((Unfit, OutOfReach)):
        fetcher(wire, lambda host, port: next(answers)).get("http://docs.example/")
    assert wire.connected == [PUBLIC]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/",
        "//127.0.0.1/",
        "http://inside.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "http://docs.example:6379/",
        "http://user:pass@docs.example/",
        "http://[::ffff:127.0.0.1]/",
    ],
)
def test_a_redirect_leads_nowhere_inside(location: str) -> None:
    """Each hop is checked like the first: its scheme, its port, its address."""
    redirect = (
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\nLocation: %s\r\n\r\n" % location.encode()
    )
    closing = NO_RULES.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    wire = Wire(closing, redirect)
    resolve = resolver(docs_example=[PUBLIC], inside_example=["192.168.0.7"])
    with pytest.raises((Unfit, OutOfReach)):
        fetcher(wire, resolve).get("http://docs.example/")
    assert wire.connected == [PUBLIC, PUBLIC]


def test_a_public_page_is_read() -> None:
    """The guard lets through what it is not for: otherwise the tests above would prove nothing."""
    closing = NO_RULES.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nText"
    wire = Wire(closing, page)
    fetched = fetcher(wire, resolver(docs_example=[PUBLIC])).get("http://docs.example/")
    assert fetched and fetched.body == b"Text"
    assert wire.connected == [PUBLIC, PUBLIC]


@pytest.mark.parametrize("url", ["http://docs.example:8080/", "http://docs.example:22/", "ftp://docs.example/"])
def test_only_the_ports_of_the_web_are_asked(url: str) -> None:
    """Other ports are other services."""
    wire = Wire()
    with pytest.raises(Unfit):
        fetcher(wire, resolver(docs_example=[PUBLIC])).get(url)
    assert wire.connected == []


def test_a_host_of_the_intranet_is_read_when_it_is_named_and_no_other() -> None:
    """INTRANET_HOSTS opens exactly the names in it; a redirect from there to another host inside is refused."""
    with running() as site:
        site.put("/a", "Text.")
        site.pages["/away"] = Page(status=302, headers={"Location": f"http://localhost:{site.port}/a"})
        one = Fetcher(Access(frozenset({"127.0.0.1"}), pace_s=0))
        fetched = one.get(f"{site.url}/a")
        assert fetched and fetched.body == b"Text."
        with pytest.raises(Unfit, match="port"):
            one.get(f"{site.url}/away")
        one.close()


def test_a_site_that_is_down_is_told_in_words() -> None:
    """Not by the number of an error."""
    with running() as site:
        url = site.url
    one = Fetcher(Access(frozenset({"127.0.0.1"}), pace_s=0))
    with pytest.raises(OutOfReach) as told:
        one.get(url)
    assert str(told.value) == "cannot be reached: connection refused"
    one.close()


def test_a_host_may_be_named_with_the_only_port_that_is_open() -> None:
    """INTRANET_HOSTS=host:port opens no other port of the host, and who is refused reads which setting would help."""
    with running() as site, running() as other:
        site.put("/a", "Text.")
        one = Fetcher(Access(frozenset({f"127.0.0.1:{site.port}"}), pace_s=0))
        fetched = one.get(f"{site.url}/a")
        assert fetched and fetched.body == b"Text."
        for refused in (f"{other.url}/a", "http://127.0.0.1/a"):
            with pytest.raises(Unfit, match="INTRANET_HOSTS"):
                one.get(refused)
        one.close()


@given(st.ip_addresses(v=4))
def test_no_private_address_is_public(address: Any) -> None:
    """Over all of IPv4, and wrapped in IPv6."""
    if address.is_private or address.is_multicast or address.is_link_local or not address.is_global:
        assert not is_public(str(address))
        assert not is_public(f"::ffff:{address}")
        assert not is_public(f"64:ff9b::{address}")


@pytest.mark.parametrize("address", ["8.8.8.8", PUBLIC, "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    """The guard knows the public internet, too."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "zip://docs::http://169.254.169.254/x.zip",
        "simplecache::http://127.0.0.1/x.md",
        "filecache::https://127.0.0.1/x.md",
        "reference://::file:///tmp/references.json",
        "data://text/plain,hello",
    ],
)
def test_no_other_address_leads_around_the_guard(address: str) -> None:
    """A web address inside one of fsspec's would be fetched by fsspec, without our checks."""
    with pytest.raises(TellUser, match="cannot be a source"):
        Remote(address)


@pytest.mark.parametrize("address", ["https://user:secret@docs.example/", "sftp://user:secret@host/docs"])
def test_an_address_with_a_password_is_not_remembered(address: str) -> None:
    """It would be shown to whoever lists the sources; the message does not repeat it."""
    with pytest.raises(TellUser, match="password") as told:
        address_of(address)
    assert "secret" not in str(told.value)
