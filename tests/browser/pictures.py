"""Takes the pictures of `docs/pictures/` from a running demonstration: `python -m tests.browser.pictures URL`.

The bot in them is the real one and so are its answers; only who asks what is written here. URL is what
`python -m bot demo` prints, of a demonstration that was just started.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, async_playwright

from tests.browser.conftest import FLAGS, chromium
from tests.local_slack import ROOT

WIDE = {"viewport": {"width": 1360, "height": 820}, "device_scale_factor": 1.5}
PHONE = {"viewport": {"width": 390, "height": 760}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
PEOPLE = [
    ("U0NOAH", "How often is a webhook retried before you give up?"),
    ("U0PRIYA", "Getting ERR-4021 on every letter since this morning, what is that?"),
    ("U0MAYA", "How do I set up single sign-on?"),
]


async def main(address: str, folder: Path) -> None:
    """Lets three people ask, then takes the channel with a thread: light, dark, and on a phone."""
    url = "{0.scheme}://{0.netloc}/".format(urlsplit(address))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS, "--no-sandbox"])
        page = await (await browser.new_context(**WIDE)).new_page()
        for user, question in PEOPLE:
            await page.goto(f"{url}?as={user}#C0HELP")
            await ask(page, question)
        await page.get_by_role("article").last.press("Enter")
        thread = page.get_by_role("region", name="Thread")
        await thread.get_by_test_id("feedback-up").click()
        await picture(page, folder / "demo.png")
        await page.emulate_media(color_scheme="dark")
        await picture(page, folder / "demo-dark.png")
        await phone(browser, page.url, folder / "demo-phone.png")
        await browser.close()


async def ask(page: Page, question: str) -> None:
    replies = page.get_by_test_id("replies")
    await page.get_by_role("combobox", name="Message #help").wait_for()
    await page.wait_for_function("document.querySelectorAll('#messages article').length > 0")
    answered = await replies.count()
    await page.get_by_role("combobox", name="Message #help").fill(f"@Footnote {question}")
    await page.keyboard.press("Enter")
    await replies.nth(answered).wait_for()


async def picture(page: Page, path: Path) -> None:
    await page.mouse.move(0, 0)
    await page.evaluate("document.activeElement.blur()")
    await page.wait_for_timeout(500)
    await page.screenshot(path=path)
    print(path)


async def phone(browser: Browser, address: str, path: Path) -> None:
    page = await (await browser.new_context(**PHONE)).new_page()
    await page.goto(address)
    await page.get_by_test_id("thread").get_by_test_id("feedback-up").wait_for()
    await picture(page, path)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "pictures"))
