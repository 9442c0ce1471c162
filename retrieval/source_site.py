"""A web site as a source: the pages that its site maps list, at or below the address that was given; or one page or
file, where that is all that there is. Pages of other hosts are not the site's, whoever lists them or leads to them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from bot.errors import TellUser
from retrieval.decoding import FORMATS, HTML, MARKDOWN, RECORDS, TEXT, Unfit
from retrieval.fetching import Fetched, Fetcher, Gone, unpacked
from retrieval.sources import Access, Content, Item, OutOfReach, Unread, is_passed_over, told_apart

MOST_PAGES = 20_000
MOST_MAPS = 500
MOST_MAP_BYTES = 50_000_000
"""What the protocol (sitemaps.org) lets a site map have, unpacked."""
MOST_RECORD_BYTES = 200_000_000
_NAMED = MARKDOWN | TEXT | FORMATS - HTML
"""Kinds that the end of an address tells; what else it may be, the server says."""
_KINDS = {
    "text/html": ".html",
    "application/xhtml+xml": ".xhtml",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/csv": ".csv",
}


class Site:
    """A site, or a page or a file of one."""

    is_near = False
    hands = 1
    """Several would not know of each other how long ago the host was asked."""

    def __init__(self, address: str, access: Access, fetcher: Fetcher | None = None, knows: str = "") -> None:
        self._address = address
        self._fetcher = fetcher or Fetcher(access)
        self._hosts = {_host(address), *knows.split()}

    @property
    def knows(self) -> str:
        return " ".join(sorted(self._hosts))

    def items(self) -> Iterator[Item | Unread]:
        try:
            yield from told_apart(self._items())
        except (Unfit, OutOfReach) as error:
            raise TellUser(f"{self._address} {error}.") from error

    def check(self) -> None:
        """Each item tells for itself whether it can be reached."""

    def read(self, item: Item, stamp: str) -> Content | None:
        fetched = self._fetcher.get(item.path, stamp)
        if fetched is None:
            return None
        self._check_host(fetched)
        kind = _suffix(item.path)
        if kind not in _NAMED:
            kind = _KINDS.get(fetched.media_type, fetched.media_type)
        updated_at = fetched.updated_at or item.updated_at
        return Content(fetched.body, kind, fetched.charset, item.path, updated_at, fetched.stamp)

    def records(self, item: Item) -> BinaryIO:
        fetched = self._fetcher.get(item.path, most_bytes=MOST_RECORD_BYTES)
        assert fetched  # only who names a stamp is told that it still holds
        self._check_host(fetched)
        return BytesIO(fetched.body)

    def close(self) -> None:
        """Closes the connections."""
        self._fetcher.close()

    def _items(self) -> Iterator[Item | Unread]:
        suffix = _suffix(self._address)
        if suffix in _NAMED | HTML | RECORDS:
            yield _item(self._address, urljoin(self._address, "."))
        elif suffix in (".xml", ".gz"):
            found = list(self._listed([self._address], urljoin(self._address, "/")))
            if not found:
                raise Unfit("lists no pages")
            yield from found
        else:
            below = self._address.partition("?")[0].rstrip("/") + "/"
            found = self._found(below)
            yield from found or [_item(self._address, below)]
            if not found and (urlsplit(self._address).path or "/").endswith("/"):  # which names more than a page
                yield Unread("no site map was found: only this page was read")

    def _found(self, below: str) -> list[Item | Unread]:
        """Lists what the site maps that robots.txt names hold, or the one at the usual place."""
        named = self._fetcher.site_maps(self._address)
        try:
            return list(self._listed(named or [urljoin(self._address, "/sitemap.xml")], below))
        except Gone:
            return []

    def _listed(self, maps: list[str], below: str) -> Iterator[Item | Unread]:
        """Lists the pages of site maps, and of those that they name; raises when the only one cannot be read."""
        waiting, seen = deque(dict.fromkeys(maps)), set(maps)
        pages: set[str] = set()
        foreign: set[str] = set()
        while waiting:
            address = waiting.popleft()
            try:
                entries = self._read_map(address, is_first=not pages)
            except (Unfit, OutOfReach) as error:
                if maps == [address]:
                    raise
                yield Unread(f"the site map {address} {error}", keeps="")
                continue
            for entry in entries:
                if entry.is_map and entry.address not in seen and len(seen) < MOST_MAPS:
                    seen.add(entry.address)
                    waiting.append(entry.address)
                elif not entry.is_map and _host(entry.address) not in self._hosts:
                    foreign.add(_host(entry.address))
                elif not entry.is_map and entry.address not in pages and _is_below(entry.address, below):
                    if len(pages) == MOST_PAGES:
                        yield Unread(f"lists more than {MOST_PAGES:,} pages: the rest is left out")
                        return
                    pages.add(entry.address)
                    yield replace(_item(entry.address, below), updated_at=entry.modified_at)
        if foreign:
            yield Unread(f"pages of other hosts are left out: {', '.join(sorted(foreign)[:10])}")

    def _read_map(self, address: str, *, is_first: bool) -> list[Entry]:
        fetched = self._fetcher.get(address, most_bytes=MOST_MAP_BYTES)
        assert fetched
        if is_first:
            self._hosts.add(_host(fetched.url))  # where example.com leads to www.example.org, the site is there
        body = unpacked(fetched.body, MOST_MAP_BYTES) if fetched.body[:2] == b"\x1f\x8b" else fetched.body
        return entries_of(body, address)

    def _check_host(self, fetched: Fetched) -> None:
        if _host(fetched.url) not in self._hosts:
            raise Unfit(f"leads to another site ({_host(fetched.url)})")


class Entry(NamedTuple):
    """What a site map names."""

    address: str
    is_map: bool
    modified_at: datetime | None


def entries_of(body: bytes, address: str) -> list[Entry]:
    """Reads a site map, or an index of some; raises Unfit when it is neither."""
    from lxml import etree  # type: ignore[import-untyped]

    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Unfit("is no site map: it is not XML") from error
    name = "a document type" if root.getroottree().docinfo.doctype else etree.QName(root).localname
    if name not in ("urlset", "sitemapindex"):
        raise Unfit(f"is no site map: it is XML of another kind ({name})")
    found = []
    for node in root:
        fields = {etree.QName(one).localname: (one.text or "").strip() for one in node if isinstance(one.tag, str)}
        if fields.get("loc"):
            where = urljoin(address, fields["loc"]).partition("#")[0]
            found.append(Entry(where, name == "sitemapindex", _moment(fields.get("lastmod", ""))))
    return found


def _item(address: str, below: str) -> Item:
    kind = _suffix(address)
    parts = urlsplit(address)
    start, path = unquote(urlsplit(below).path), unquote(parts.path)
    path = path[len(start) :] if path.startswith(start) else path if path + "/" != start else ""
    path = path.strip("/")
    if kind in _NAMED | HTML | RECORDS:
        path = str(PurePosixPath(path).with_suffix(""))
    return Item(address, (path or "index") + (f"?{unquote(parts.query)}" if parts.query else ""), address, kind)


def _is_below(address: str, below: str) -> bool:
    path, start = urlsplit(address).path or "/", urlsplit(below).path
    return (path.startswith(start) or path + "/" == start) and not is_passed_over(PurePosixPath(path).name)


def _host(address: str) -> str:
    return (urlsplit(address).hostname or "").removeprefix("www.")


def _suffix(address: str) -> str:
    return PurePosixPath(unquote(urlsplit(address).path)).suffix.lower()


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
