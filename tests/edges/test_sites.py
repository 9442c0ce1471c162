"""Web sites as sources: what is found of a site, and what happens when it fails, hurries nobody, or never answers."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.errors import TellUser
from bot.vocabulary import IngestReport, Question
from retrieval import fetching, source_site
from retrieval.index import form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library
from retrieval.sources import Access
from tests.bad_files import pdf
from tests.hashing_embedder import HashingEmbedder
from tests.web_site import Page, WebSite, article, running

TEAM = "T1"


@pytest.fixture
def site() -> Iterator[WebSite]:
    with running() as started:
        yield started


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    embedder = HashingEmbedder()
    form = form_of(embedder.id, "test")
    index = EmbeddedIndex(tmp_path / "library", form, embedder.dimensions, 0.5)
    access = Access(frozenset({"127.0.0.1"}), tmp_path / "stamps", pace_s=0)
    opened = Library(index, embedder, form, threshold=0.75, model="hashing", access=access)
    yield opened
    await opened.close()


async def held(library: Library, text: str = "article") -> dict[str, str | None]:
    """The documents that a search finds, with their links."""
    question = Question(id="q", team_id=TEAM, text=text, readable=frozenset({"public", "workspace"}))
    hits = (await library.find(question, k=50)).hits
    return {hit.passage.document_id: hit.passage.url for hit in hits}


def put_articles(site: WebSite, *paths: str) -> None:
    for path in paths:
        site.put(path, article(path, f"The article about {path}."))


def reasons(report: IngestReport) -> dict[str, str]:
    return {failure.source: failure.reason for failure in report.failed}


async def test_a_site_is_read_by_the_site_maps_that_its_robots_name(library: Library, site: WebSite) -> None:
    """An index of maps, a packed one among them; ids are paths below the address, links are the pages' own."""
    put_articles(site, "/help/keys.html", "/help/api/limits", "/help/", "/about")
    site.put("/robots.txt", f"User-agent: *\nAllow: /\nSitemap: {site.url}/maps/index.xml\n")
    site.put_index("/maps/1.xml.gz", "/maps/2.xml", at="/maps/index.xml")
    site.put_map("/help/keys.html", "/help/api/limits", at="/maps/1.xml.gz", packed=True)
    site.put_map("/help/", "/about", "/help/keys.html", at="/maps/2.xml")
    report = await library.ingest(TEAM, f"{site.url}/help")
    assert (report.added, report.failed) == (3, ())
    assert await held(library) == {
        "keys": f"{site.url}/help/keys.html",
        "api/limits": f"{site.url}/help/api/limits",
        "index": f"{site.url}/help/",
    }
    (source,) = await library.sources(TEAM)
    assert (source.name, source.address) == ("help", f"{site.url}/help")


async def test_a_site_map_itself_may_be_named(library: Library, site: WebSite) -> None:
    """All pages that it lists are read, wherever on the site they are."""
    put_articles(site, "/a", "/b/c")
    site.put_map("/a", "/b/c", at="/maps/all.xml")
    assert (await library.ingest(TEAM, f"{site.url}/maps/all.xml")).added == 2
    assert set(await held(library)) == {"a", "b/c"}


async def test_without_a_site_map_the_page_alone_is_read(library: Library, site: WebSite) -> None:
    """An address is at least a page."""
    put_articles(site, "/help")
    assert (await library.ingest(TEAM, f"{site.url}/help", name="site")).added == 1
    assert await held(library) == {"index": f"{site.url}/help"}


async def test_a_site_without_a_site_map_is_told_that_one_page_is_all(library: Library, site: WebSite) -> None:
    """Who names a site, not a page of it, expects more than one."""
    put_articles(site, "/", "/help")
    for address in (site.url, f"{site.url}/"):
        report = await library.ingest(TEAM, address, name="site")
        assert reasons(report) == {"site": "no site map was found: only this page was read"}
    assert not (await library.ingest(TEAM, f"{site.url}/help", name="page")).failed


@pytest.mark.parametrize(
    ("path", "body", "media_type"),
    [
        ("/manual.pdf", pdf("An article in a PDF."), "application/pdf"),
        ("/manual.md", b"# Manual\n\nAn article in Markdown.", "text/plain"),
        ("/manual.jsonl", b'{"id": "manual", "text": "An article in a record."}', "application/octet-stream"),
    ],
)
async def test_one_file_of_a_site_is_a_source_too(
    library: Library, site: WebSite, path: str, body: bytes, media_type: str
) -> None:
    """By the end of its address, without looking for a site map."""
    site.pages[path] = Page(body, media_type)
    assert (await library.ingest(TEAM, site.url + path)).added == 1
    assert set(await held(library)) == {"manual"}


async def test_what_did_not_change_is_not_sent_again(library: Library, site: WebSite) -> None:
    """The second sync asks with the ETag of the first; only what changed is read, and what is gone goes."""
    put_articles(site, "/a", "/b", "/c")
    site.put_map("/a", "/b", "/c")
    await library.ingest(TEAM, site.url, name="site")
    site.put("/b", article("b", "Another article."))
    site.put_map("/a", "/b")
    report = await library.sync(TEAM, "site")
    assert (report.unchanged, report.changed, report.removed, report.failed) == (1, 1, 1, ())
    assert set(await held(library)) == {"a", "b"}


async def test_a_stamp_counts_only_for_what_the_library_holds(library: Library, site: WebSite) -> None:
    """Another audience, or a source that was removed in between: everything is read anew."""
    put_articles(site, "/a")
    site.put_map("/a")
    await library.ingest(TEAM, site.url, name="site")
    report = await library.ingest(TEAM, site.url, name="site", audience="channel:C1")
    assert report.changed == 1
    assert await held(library) == {}
    assert await library.remove(TEAM, "site") == 1
    assert (await library.ingest(TEAM, site.url, name="site")).added == 1
    assert set(await held(library)) == {"a"}


async def test_a_page_that_fails_now_may_still_be_there(library: Library, site: WebSite) -> None:
    """A page that answers 500 keeps its place in the library; one that answers 404, or wants a login now, does not."""
    put_articles(site, "/a", "/b", "/c", "/d")
    site.put_map("/a", "/b", "/c", "/d")
    await library.ingest(TEAM, site.url, name="site")
    for path, status in (("/a", 500), ("/b", 404), ("/c", 403)):
        site.pages[path] = Page(b"Sorry.", status=status)
    report = await library.sync(TEAM, "site")
    assert (report.unchanged, report.removed) == (1, 2)
    assert reasons(report) == {
        f"{site.url}/a": "is out of order (500)",
        f"{site.url}/b": "is gone (404)",
        f"{site.url}/c": "is not for everybody (403)",
    }
    assert set(await held(library)) == {"a", "d"}


async def test_a_site_that_is_down_loses_nothing(library: Library, site: WebSite) -> None:
    """No site map, no sync: everything stays as it was."""
    put_articles(site, "/a")
    site.put_map("/a")
    await library.ingest(TEAM, site.url, name="site")
    for path in ("/sitemap.xml", "/robots.txt"):
        site.pages[path] = Page(b"Sorry.", status=500)
        with pytest.raises(TellUser, match="out of order"):
            await library.sync(TEAM, "site")
    assert set(await held(library)) == {"a"}


async def test_a_site_map_that_is_out_of_order_takes_no_pages_away(library: Library, site: WebSite) -> None:
    """One of two maps fails: its pages are not taken for deleted."""
    put_articles(site, "/a", "/b")
    site.put_index("/1.xml", "/2.xml")
    site.put_map("/a", at="/1.xml")
    site.put_map("/b", at="/2.xml")
    await library.ingest(TEAM, site.url, name="site")
    site.pages["/2.xml"] = Page(b"Sorry.", status=502)
    report = await library.sync(TEAM, "site")
    assert report.removed == 0
    assert [f"the site map {site.url}/2.xml is out of order (502)"] == list(reasons(report).values())
    assert set(await held(library)) == {"a", "b"}


@pytest.mark.parametrize("how", ["silent", "drip"])
async def test_a_page_that_never_comes_is_given_up(
    library: Library, site: WebSite, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whether the server says nothing, or a byte now and then for ever: the other pages go in."""
    monkeypatch.setattr(fetching, "READ_S", 0.4)
    monkeypatch.setattr(fetching, "TOTAL_S", 0.8)

    def never(out: Any) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not site.stopped.wait(0.05):
            if how == "drip":
                out.write(b"x")
                out.flush()

    put_articles(site, "/a", "/c")
    site.pages["/b"] = Page(instead=never)
    site.put_map("/a", "/b", "/c")
    report = await library.ingest(TEAM, site.url, name="site")
    assert report.added == 2
    assert reasons(report) == {f"{site.url}/b": "does not answer in time"}
    assert report.seconds < 10


async def test_a_sync_that_is_broken_off_waits_for_no_server(library: Library, site: WebSite) -> None:
    """Whoever stops it (Ctrl-C, a deploy) gets it stopped, though pages are still awaited."""
    is_asked = threading.Event()

    def never(out: Any) -> None:
        is_asked.set()
        site.stopped.wait(100)

    site.pages["/a"] = Page(instead=never)
    site.put_map("/a")
    syncing = asyncio.create_task(library.ingest(TEAM, site.url, name="site"))
    assert await asyncio.to_thread(is_asked.wait, 10)
    began = time.monotonic()
    syncing.cancel()
    await asyncio.gather(syncing, return_exceptions=True)
    while any(thread.name.startswith("reading") for thread in threading.enumerate()):
        assert time.monotonic() - began < 5
        await asyncio.sleep(0.01)


async def test_a_site_that_fails_again_and_again_is_left_alone(library: Library, site: WebSite) -> None:
    """After ten failures in a row nobody asks it any more, and nothing of it is taken for deleted."""
    paths = [f"/{number:03}" for number in range(200)]
    put_articles(site, *paths)
    site.put_map(*paths)
    await library.ingest(TEAM, site.url, name="site")
    for path in paths:
        site.pages[path] = Page(b"Sorry.", status=500)
    before = sum(site.asked.values())
    report = await library.sync(TEAM, "site")
    assert sum(site.asked.values()) - before < 40
    assert len(report.failed) < 20
    assert "the rest is not read" in reasons(report)["site"]
    assert report.removed == 0
    assert len(await held(library)) == 50


async def test_what_robots_may_not_read_is_not_read(library: Library, site: WebSite) -> None:
    """The rule for our name counts before the rule for all."""
    put_articles(site, "/a", "/private/b")
    site.put("/robots.txt", "User-agent: *\nDisallow: /\n\nUser-agent: Footnote\nDisallow: /private/\n")
    site.put_map("/a", "/private/b")
    report = await library.ingest(TEAM, site.url, name="site")
    assert report.added == 1
    assert "robots.txt" in reasons(report)[f"{site.url}/private/b"]
    assert site.asked["/private/b"] == 0


def test_a_host_is_not_hurried(site: WebSite) -> None:
    """What robots.txt asks to wait between two pages is waited, and what the answer to one request too many asks."""
    waited: list[float] = []
    site.put("/robots.txt", "User-agent: *\nCrawl-delay: 3\n")
    put_articles(site, "/a", "/b")
    site.pages["/busy"] = Page(status=429, headers={"Retry-After": "7"})
    fetcher = fetching.Fetcher(Access(frozenset({"127.0.0.1"}), pace_s=0), wait=waited.append)
    for path in ("/a", "/b"):
        fetcher.get(site.url + path)
    assert 2.5 < max(waited) <= 3
    with pytest.raises(source_site.OutOfReach, match="429"):
        fetcher.get(f"{site.url}/busy")
    fetcher.close()
    assert 7 in waited
    assert site.asked["/busy"] == 2


async def test_pages_of_other_hosts_are_not_the_sites(library: Library, site: WebSite) -> None:
    """Neither those that a site map lists, nor those that a page leads to."""
    with running(["/evil"]) as other:
        foreign = f"http://localhost:{other.port}/evil"
        site.put_map("/a", "/moved", foreign)
        put_articles(site, "/a")
        site.pages["/moved"] = Page(status=302, headers={"Location": foreign})
        report = await library.ingest(TEAM, site.url, name="site")
        assert report.added == 1
        assert other.asked == {}
    assert "localhost" in " ".join(reasons(report).values())
    assert set(await held(library)) == {"a"}


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"x" * 21_000_000, {}, "larger than 20 MB"),
        (gzip.compress(bytes(300_000_000), 1), {"Content-Encoding": "gzip"}, "larger than 20 MB"),
        (gzip.compress(b"<p>Text.</p>")[:15], {"Content-Encoding": "gzip"}, "packed"),
        (b"<p>Text.</p>", {"Content-Encoding": "br"}, "encoding"),
    ],
    ids=["large", "bomb", "cut off", "not asked for"],
)
async def test_an_answer_has_a_limit(
    library: Library, site: WebSite, body: bytes, headers: dict[str, str], expected: str
) -> None:
    """What is larger, once it is unpacked, than a document can be is not read to its end."""
    put_articles(site, "/a")
    site.pages["/b"] = Page(body, headers=headers)
    site.put_map("/a", "/b")
    report = await library.ingest(TEAM, site.url, name="site")
    assert report.added == 1
    assert expected in reasons(report)[f"{site.url}/b"]


async def test_a_site_has_a_limit(library: Library, site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a site map without end so many pages are read, and it is said that there are more."""
    monkeypatch.setattr(source_site, "MOST_PAGES", 3)
    put_articles(site, *(f"/{number}" for number in range(5)))
    site.put_map(*(f"/{number}" for number in range(5)))
    report = await library.ingest(TEAM, site.url, name="site")
    assert report.added == 3
    assert reasons(report) == {"site": "lists more than 3 pages: the rest is left out"}


@pytest.mark.parametrize(
    "xml",
    [
        "no xml at all",
        "<html><body/></html>",
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>',
        '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><urlset><url><loc>/&f;</loc></url></urlset>',
        "<urlset/>",
    ],
)
async def test_a_site_map_that_is_none_is_told(library: Library, site: WebSite, xml: str) -> None:
    """Entities are not unfolded, no file is read for them, and a map without pages empties no library."""
    site.pages["/map.xml"] = Page(xml.encode(), "application/xml")
    with pytest.raises(TellUser, match=r"site map|lists no pages"):
        await library.ingest(TEAM, f"{site.url}/map.xml")
    assert "/root" not in "".join(site.asked)


async def test_redirects_have_an_end(library: Library, site: WebSite) -> None:
    """A page that leads to itself is given up."""
    put_articles(site, "/a")
    site.pages["/loop"] = Page(status=301, headers={"Location": "/loop"})
    site.put_map("/a", "/loop")
    report = await library.ingest(TEAM, site.url, name="site")
    assert "redirects" in reasons(report)[f"{site.url}/loop"]
    assert report.added == 1
