"""What the page does when the server is gone for a while: it says so, comes back by itself, and has missed nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.local_slack import LocalSlack

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


class Wire:
    """A line between page and server that can be cut and joined again."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: set[asyncio.StreamWriter] = set()
        self.is_cut = False

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open |= {writer, there_writer}
        await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()
        self._open.discard(writer)

    def cut(self) -> None:
        self.is_cut = True
        for writer in list(self._open):
            writer.transport.abort()

    def join(self) -> None:
        self.is_cut = False


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[tuple[str, Wire]]:
    wire = Wire(urlsplit(url).port or 0)
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", wire
    finally:
        wire.cut()
        server.close()


async def test_a_lost_connection_is_said_and_mended(slack: LocalSlack, browser_page: OpenPage) -> None:
    """And what was written meanwhile is there afterwards."""
    async with wire_to(slack.url) as (url, wire):
        page = await browser_page(f"{url}/?as=U0MAYA#C0HELP", allow_errors=True)
        await expect(page.get_by_label("Message #help")).to_be_visible()
        await expect(page.get_by_text("Connection lost, trying again…")).to_be_hidden()
        wire.cut()
        await expect(page.get_by_text("Connection lost, trying again…")).to_be_visible()
        await page.get_by_label("Message #help").fill("Do not lose this")
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Message #help")).to_have_value("Do not lose this")
        await slack.message("U0NOAH", "C0HELP", "Written meanwhile")
        wire.join()
        await expect(page.get_by_role("article")).to_contain_text("Written meanwhile", timeout=20_000)
        await expect(page.get_by_text("Connection lost, trying again…")).to_be_hidden()
        await page.context.close()


async def test_the_page_asks_only_when_something_changed(slack: LocalSlack, browser_page: OpenPage) -> None:
    """No polling: an idle page is silent."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    await expect(page.get_by_role("heading", name="This is the beginning of #help")).to_be_visible()
    await slack.message("U0NOAH", "C0HELP", "One change")
    await expect(page.get_by_role("article")).to_have_count(1)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.wait_for_timeout(3_000)  # the claim is that nothing happens in this time
    assert asked == []
