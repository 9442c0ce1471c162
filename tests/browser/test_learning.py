"""How the bot is taught, in a real browser, with the real bot behind the page: corrected in a dialog, edited and
approved on a card."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser import asking
from tests.browser.conftest import OpenPage
from tests.running_bot import COMPANY
from tests.small_library import bot_that_knows, until_idle

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

BETTER = "Open Settings, then API keys, and select Regenerate next to the key."
FINAL = "Open Settings, then API keys, and select Regenerate next to the key [1]."


async def test_an_answer_is_corrected_in_a_dialog_and_approved_on_a_card(
    browser_page: OpenPage, tmp_path: Path
) -> None:
    """Maya presses 👎 and writes a better answer; Ada finds it on a card, edits and approves it; the export has it."""
    pages = {"api-keys": (COMPANY / "api" / "api-keys.md").read_text(encoding="utf-8")}
    async with bot_that_knows(tmp_path, pages) as bot:
        page = await browser_page(f"{bot.slack.url}/?as=U0MAYA#C0HELP")
        thread = await asking.answered(page)
        await thread.get_by_role("button", name="This answer was not helpful").click()
        dialog = page.get_by_role("dialog", name="What was wrong?")
        await dialog.get_by_label("What was wrong?").select_option("Tone or format")
        await dialog.get_by_label("A better answer").fill(BETTER)
        await dialog.get_by_role("button", name="Send").click()
        await expect(dialog).to_be_hidden()
        await expect(thread.get_by_text("I proposed it as an example")).to_be_visible()

        await page.get_by_label("Act as").select_option("U0ADMIN")
        await page.get_by_label("Message #help").fill("/support examples")
        await page.keyboard.press("Enter")
        card = page.get_by_test_id("channel").get_by_role("article").filter(has_text="1 waits for review")
        await expect(card).to_contain_text("corrected by")
        await card.get_by_role("button", name="Edit").click()
        dialog = page.get_by_role("dialog", name="Edit an example")
        await expect(dialog.get_by_label("Answer")).not_to_be_empty()
        await dialog.get_by_label("Answer").fill(FINAL)
        await dialog.get_by_role("button", name="Save").click()
        await expect(card).to_contain_text("has a new answer")
        await card.get_by_role("button", name="Approve").click()
        decided = page.get_by_test_id("channel").get_by_role("article").filter(has_text="approved by")
        await expect(decided).to_contain_text("1 of 500 approved")
        await until_idle(bot)
        (line,) = await bot.exported("approved")
    assert line["messages"][-1]["content"] == FINAL
