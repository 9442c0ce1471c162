"""A web site on loopback for tests: pages by path, which may be answered with any status, late, or never."""

from __future__ import annotations

import gzip
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Page:
    """What is at a path."""

    body: bytes = b""
    media_type: str = "text/html; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    instead: Callable[[Any], None] | None = None
    """Answers in its own way, given the connection's file to write to."""


@dataclass
class WebSite:
    """A running site; change `pages` at any time."""

    port: int = 0
    pages: dict[str, Page] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, path: str, text: str, **fields: Any) -> None:
        """Puts a page up; its ETag changes with its text."""
        headers = {"ETag": f'"{hash(text)}"', **fields.pop("headers", {})}
        self.pages[path] = Page(text.encode(), headers=headers, **fields)

    def put_map(self, *paths: str, at: str = "/sitemap.xml", packed: bool = False) -> None:
        """Puts up a site map of paths or whole addresses."""
        locations = "".join(f"<url><loc>{self.whole(path)}</loc></url>" for path in paths)
        self._put_xml(at, f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{locations}</urlset>', packed)

    def put_index(self, *paths: str, at: str = "/sitemap.xml") -> None:
        """Puts up an index of site maps."""
        locations = "".join(f"<sitemap><loc>{self.whole(path)}</loc></sitemap>" for path in paths)
        self._put_xml(at, f"<sitemapindex>{locations}</sitemapindex>", packed=False)

    def whole(self, path: str) -> str:
        return path if "://" in path else self.url + path

    def _put_xml(self, at: str, xml: str, packed: bool) -> None:
        raw = f'<?xml version="1.0" encoding="UTF-8"?>{xml}'.encode()
        self.pages[at] = Page(gzip.compress(raw) if packed else raw, "application/xml")


def article(title: str, *sentences: str) -> str:
    """A web page."""
    return f"<html><body><main><h1>{title}</h1><p>{' '.join(sentences)}</p></main></body></html>"


@contextmanager
def running(paths: Sequence[str] = ()) -> Iterator[WebSite]:
    """Runs a site, with an article at each path and a site map of them."""
    site = WebSite()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.asked[self.path] += 1
            page = site.pages.get(self.path, Page(b"Not here.", status=404))
            if page.instead:
                page.instead(self.wfile)
                self.close_connection = True
                return
            tag = page.headers.get("ETag")
            is_known = page.status == 200 and tag is not None and self.headers.get("If-None-Match") == tag
            self.send_response(304 if is_known else page.status)
            body = b"" if is_known else page.body
            for name, value in {"Content-Type": page.media_type, **page.headers, "Content-Length": len(body)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up on purpose is no error."""

    server = Server(("127.0.0.1", 0), Handler)
    site.port = server.server_port
    for path in paths:
        site.put(path, article(path.strip("/"), f"The article about {path.strip('/')}."))
    if paths:
        site.put_map(*paths)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
