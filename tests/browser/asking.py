"""Steps that several tests of the page begin with."""

from __future__ import annotations

from playwright.async_api import Locator, Page, expect

QUESTION = "how do I reset my API key?"


async def ask(page: Page, question: str = QUESTION) -> Locator:
    """Asks in the open channel by its composer, opens the thread, and gives it."""
    await page.get_by_label("Message #help").fill(f"@Footnote {question}")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="1 reply").click()
    return page.get_by_role("region", name="Thread")


async def answered(page: Page) -> Locator:
    """A finished answer in the open thread."""
    thread = await ask(page)
    await expect(thread.get_by_test_id("feedback-up")).to_be_visible()
    return thread
