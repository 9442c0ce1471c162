"""A real Chromium on the local Slack's page: `slack` is the running server, `browser_page` opens a page on it. One
Chromium serves all tests, each in contexts of its own: starting it takes longer than most of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.browser.stand_in import StandIn
from tests.local_slack import ROOT, LocalSlack

OpenPage = Callable[..., Awaitable[Page]]
FLAGS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
PATIENCE_MS = 10_000
expect.set_options(timeout=PATIENCE_MS)


def chromium() -> str | None:
    """The system's Chromium or Chrome."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest_asyncio.fixture(loop_scope="package")
async def slack() -> AsyncIterator[LocalSlack]:
    """A local Slack of this test's own, with the slash commands of the manifest."""
    async with LocalSlack(manifest=ROOT / "manifest.json") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="package")
async def bot(slack: LocalSlack) -> AsyncIterator[StandIn]:
    """A small Bolt app on that Slack, in the place of Footnote."""
    async with StandIn(slack) as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, without a window; the test is skipped where there is none."""
    executable = chromium()
    if executable is None:
        pytest.skip("no chromium on PATH: `make test` installs it, or `apt-get install chromium`")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *root])
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="package")
async def browser_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens pages: `await browser_page(url, **options of a Playwright context)`.

    Fails the test when a page raised an error, logged one (a broken Content-Security-Policy does), or asked any
    server but its own for something. `allow_errors=True` is for pages whose server goes away on purpose.
    """
    contexts: list[BrowserContext] = []
    troubles: list[str] = []

    async def open_page(url: str, *, allow_errors: bool = False, **options: Any) -> Page:
        context = await browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        own = urlsplit(url).netloc

        def asked(request: Any) -> None:
            if urlsplit(request.url).scheme in ("http", "https") and urlsplit(request.url).netloc != own:
                troubles.append(f"asked {request.url}")

        page.on("request", asked)
        page.on("pageerror", lambda error: troubles.append(f"raised {error}"))
        if not allow_errors:
            page.on("console", lambda line: troubles.append(line.text) if line.type in ("error", "warning") else None)
        await page.goto(url)
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert not troubles, troubles
