"""The whole way in a real browser, with the real bot behind the page: asked, answered with sources, liked, learned."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser import asking
from tests.browser.conftest import OpenPage
from tests.running_bot import COMPANY
from tests.small_library import bot_that_knows, until_idle

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


async def test_an_answer_that_somebody_liked_on_the_page_is_found_among_the_candidates(
    browser_page: OpenPage, tmp_path: Path
) -> None:
    """Maya asks in #help, reads the answer with its source in the thread, presses 👍, and `train export` holds it."""
    pages = {"api-keys": (COMPANY / "api" / "api-keys.md").read_text(encoding="utf-8")}
    async with bot_that_knows(tmp_path, pages) as bot:
        page = await browser_page(f"{bot.slack.url}/?as=U0MAYA#C0HELP")
        thread = await asking.answered(page)
        answer = thread.get_by_test_id("message").nth(1)
        await expect(answer).to_contain_text("Regenerate")
        source = answer.get_by_test_id("source").first
        await expect(source).to_have_text("API keys")
        await expect(source).to_have_attribute("href", "https://docs.heronpost.example/api/api-keys")
        await expect(answer).to_contain_text("it may be wrong")
        async with page.expect_response("**/control/press"):
            await thread.get_by_role("button", name="This answer was helpful").click()
        await expect(thread.get_by_test_id("feedback-up")).to_have_attribute("aria-pressed", "true")
        await until_idle(bot)
        (line,) = await bot.exported("candidate")
    _, asked, answered = line["messages"]
    assert asked["content"].endswith(f"\n\n{asking.QUESTION}") and "[1] API keys" in asked["content"]
    assert "Regenerate" in answered["content"] and "[1]" in answered["content"]
