"""Finding one's way on the page: people, channels, addresses, colours, a phone, a keyboard."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.asking import QUESTION, answered
from tests.browser.conftest import OpenPage
from tests.browser.stand_in import StandIn
from tests.local_slack import LocalSlack

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


async def test_everybody_sees_only_the_channels_that_are_theirs(slack: LocalSlack, browser_page: OpenPage) -> None:
    """Public ones for staff, else membership: also by address."""
    page = await browser_page(f"{slack.url}/?as=U0NOAH#C0INCIDENTS")
    channels = page.get_by_role("navigation", name="Channels")
    await expect(page.get_by_role("heading", name="incidents", exact=True)).to_be_visible()
    seen = {}
    for user in ("U0MAYA", "U0GUEST", "U0PARTNER"):
        await page.get_by_label("Act as").select_option(user)
        await expect(page.get_by_role("heading", name="incidents", exact=True)).to_have_count(0)
        await expect(page).to_have_url(re.compile(rf"as={user}"))
        seen[user] = await channels.get_by_role("link").all_inner_texts()
    assert seen == {
        "U0MAYA": ["help", "general", "random", "partner-acme", "Noah Becker, Footnote", "Footnote"],
        "U0GUEST": ["general", "Footnote"],
        "U0PARTNER": ["partner-acme", "Footnote"],
    }


async def test_the_colours_follow_the_system_until_one_chooses(slack: LocalSlack, browser_page: OpenPage) -> None:
    """The choice outlives a reload."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP", color_scheme="dark")

    async def lightness() -> int:
        colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) // 3

    assert await lightness() < 50
    await page.get_by_role("button", name="Dark colours", pressed=True).click()
    await expect(page.get_by_role("button", name="Dark colours", pressed=False)).to_be_visible()
    assert await lightness() > 200
    await page.reload()
    await expect(page.get_by_role("heading", name="help", exact=True)).to_be_visible()
    assert await lightness() > 200


async def test_a_phone_shows_one_column_and_never_scrolls_sideways(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """At 360 pixels: channel, channel list, thread, each by a tap."""
    await slack.message("U0NOAH", "C0HELP", "averyverylongwordwithoutaspace" * 12 + " ```" + "code " * 60 + "```")
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0GENERAL", **phone)

    async def is_narrow() -> bool:
        return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    await expect(page.get_by_role("navigation", name="Channels")).to_be_hidden()
    await page.get_by_role("button", name="Channels").tap()
    await expect(page.get_by_role("navigation", name="Channels")).to_be_visible()
    assert await is_narrow()
    await page.get_by_role("link", name="help").tap()
    await expect(page.get_by_role("navigation", name="Channels")).to_be_hidden()
    assert await is_narrow()
    thread = await answered(page)
    await expect(page.get_by_test_id("channel")).to_be_hidden()
    assert await is_narrow()
    box = await thread.bounding_box()
    assert box and (box["x"], box["width"]) == (0, 360)
    await page.get_by_role("button", name="Close thread").tap()
    await expect(page.get_by_test_id("channel")).to_be_visible()


async def test_all_of_it_can_be_done_with_the_keyboard(slack: LocalSlack, bot: StandIn, browser_page: OpenPage) -> None:
    """Ask, open the thread, reach the thumb, press it, close: no mouse."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    await expect(page.get_by_label("Message #help")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the message box")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Message #help")).to_be_focused()
    await page.keyboard.type("@foo")
    await page.keyboard.press("Enter")
    await page.keyboard.type("hello")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type(QUESTION)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="1 reply")).to_be_visible()
    await page.keyboard.press("Shift+Tab")  # to the reply bar of the last message
    for _ in range(12):
        if await page.evaluate("document.activeElement.dataset.testid") == "replies":
            break
        await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("combobox", name="Reply in thread")).to_be_focused()
    await expect(page.get_by_test_id("feedback-up")).to_be_visible()
    for _ in range(12):
        if await page.evaluate("document.activeElement.dataset.testid") == "feedback-up":
            break
        await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Space")
    await expect(page.get_by_test_id("feedback-up")).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_test_id("feedback-up")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("region", name="Thread")).to_be_hidden()
    await expect(page.get_by_role("article").last).to_be_focused()
    assert (await slack.history("C0HELP"))[-1]["text"] == f"<@U0FOOTNOTE> hello\n{QUESTION}"


async def test_an_address_opens_person_channel_and_thread(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """What the demonstration prints, and Slack's own permalinks."""
    ts = await slack.message("U0NOAH", "C0INCIDENTS", "Is the queue down?")
    await slack.message("U0ADMIN", "C0INCIDENTS", "Not any more.", thread_ts=ts)
    page = await browser_page(f"{slack.url}/?as=U0NOAH#C0INCIDENTS/{ts}")
    await expect(page.get_by_label("Act as")).to_have_value("U0NOAH")
    await expect(page.get_by_role("region", name="Thread")).to_contain_text("Not any more.")
    link = await bot.web.chat_getPermalink(channel="C0HELP", message_ts=await slack.message("U0MAYA", "C0HELP", "Hi"))
    await page.goto(link["permalink"])
    await expect(page.get_by_role("region", name="Thread")).to_contain_text("Hi")


async def test_a_message_elsewhere_marks_its_channel_as_unread(slack: LocalSlack, browser_page: OpenPage) -> None:
    """Until one goes there."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    await expect(page.get_by_role("heading", name="This is the beginning of #help")).to_be_visible()
    await slack.message("U0NOAH", "C0GENERAL", "News!")
    link = page.get_by_role("link", name="general")
    await expect(link.get_by_label("new messages")).to_be_visible()
    await link.click()
    await expect(page.get_by_role("article")).to_contain_text("News!")
    await expect(link.get_by_label("new messages")).to_have_count(0)


async def test_what_one_began_to_write_waits_until_one_is_back(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """While a thread is opened, in another channel, and as another person."""
    ts = await slack.message("U0NOAH", "C0HELP", "Hello")
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    composer = page.get_by_label("Message #help")
    await composer.fill("Half a thou")
    await page.get_by_role("article").press("Enter")
    await page.get_by_role("combobox", name="Reply in thread").fill("Another")
    await expect(composer).to_have_value("Half a thou")
    await page.get_by_role("link", name="general").click()
    await expect(page.get_by_label("Message #general")).to_have_value("")
    await page.get_by_role("link", name="help").click()
    await expect(composer).to_have_value("Half a thou")
    await page.get_by_label("Act as").select_option("U0NOAH")
    await expect(composer).to_have_value("")
    await page.get_by_label("Act as").select_option("U0MAYA")
    await expect(composer).to_have_value("Half a thou")
    await page.goto(f"{slack.url}/?as=U0MAYA#C0HELP/{ts}")
    await expect(page.get_by_role("combobox", name="Reply in thread")).to_have_value("Another")


async def test_who_leaves_a_channel_can_read_it_if_it_is_public_but_not_write(
    slack: LocalSlack, browser_page: OpenPage
) -> None:
    """And sees it at once, without a reload."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0RANDOM")
    await expect(page.get_by_label("Message #random")).to_be_visible()
    await slack.leave("U0MAYA", "C0RANDOM")
    await expect(page.get_by_text("Maya Lindqvist is not a member of this channel")).to_be_visible()
    await expect(page.get_by_label("Message #random")).to_have_count(0)
    await slack.join("U0MAYA", "C0RANDOM")
    await expect(page.get_by_label("Message #random")).to_be_visible()


async def test_a_reader_who_scrolled_up_is_left_in_peace(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """At the end the newest message is in view; further up nothing moves when one arrives."""
    parent = await slack.message("U0NOAH", "C0HELP", "Tell me a lot")
    for number in range(40):
        await slack.message("U0NOAH", "C0HELP", f"Remark {number}", thread_ts=parent)
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP/{parent}")
    scroll = page.locator("#thread-scroll")
    await expect(page.get_by_role("region", name="Thread").get_by_role("article").last).to_be_in_viewport()
    await scroll.evaluate("(element) => element.scrollTop = 100")
    await slack.message("U0NOAH", "C0HELP", "One more", thread_ts=parent)
    await expect(page.get_by_role("region", name="Thread").get_by_text("One more")).to_be_attached()
    assert await scroll.evaluate("(element) => element.scrollTop") == 100
