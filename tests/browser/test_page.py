"""What a person does on the local Slack's page, as a person does it: by names and roles, in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.asking import QUESTION, answered
from tests.browser.conftest import OpenPage
from tests.browser.stand_in import StandIn
from tests.local_slack import LocalSlack

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


async def test_a_question_in_a_channel_is_answered_in_its_thread_before_the_readers_eyes(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """The status, the text as it grows with a caret, then the whole answer with its sources."""
    bot.may_begin.clear()
    bot.may_finish.clear()
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    await page.get_by_label("Message #help").fill(f"@Footnote {QUESTION}")
    await page.keyboard.press("Enter")
    question = page.get_by_test_id("channel").get_by_role("article")
    await expect(question).to_contain_text("Footnote is looking in the documents…")
    await question.press("Enter")
    thread = page.get_by_role("region", name="Thread")
    await expect(thread.get_by_test_id("status")).to_have_text("Footnote is looking in the documents…")

    bot.may_begin.set()

    answer = thread.get_by_test_id("message").nth(1)
    await expect(answer).to_contain_text("Open Settings › API keys and press Rotate.")
    await expect(answer.get_by_label("still writing")).to_be_visible()

    bot.may_finish.set()

    await expect(answer.get_by_role("listitem")).to_have_count(2)
    await expect(answer.get_by_label("still writing")).to_have_count(0)
    await expect(thread.get_by_test_id("status")).to_be_hidden()
    await expect(answer.get_by_test_id("source")).to_have_text(["API keys", "Deploying"])
    source = answer.get_by_test_id("source").first
    await expect(source).to_have_attribute("href", "https://docs.example.com/keys")
    await expect(source).to_have_attribute("rel", "noopener noreferrer")
    assert (await slack.history("C0HELP"))[-1]["text"] == f"<@U0FOOTNOTE> {QUESTION}"


async def test_a_thumb_shows_that_it_was_pressed_and_reaches_the_app(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """By whoever pressed it; another person sees their own thumbs."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    thread = await answered(page)
    async with page.expect_response("**/control/press"):
        await thread.get_by_role("button", name="This answer was helpful").click()
    await expect(thread.get_by_test_id("feedback-up")).to_have_attribute("aria-pressed", "true")
    await expect(thread.get_by_test_id("feedback-down")).to_have_attribute("aria-pressed", "false")
    await page.get_by_label("Act as").select_option("U0NOAH")
    await expect(thread.get_by_test_id("feedback-up")).to_have_attribute("aria-pressed", "false")
    assert bot.pressed == ["q1:up"]


async def test_a_dialog_of_the_app_is_filled_in_corrected_and_sent(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """What the app refuses is said at the field, with what was typed still there."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    thread = await answered(page)
    await thread.get_by_test_id("feedback-down").click()
    dialog = page.get_by_role("dialog", name="What was wrong?")
    await dialog.get_by_label("It is out of date").check()
    await dialog.get_by_label("The right answer").fill("No.")
    await dialog.get_by_role("button", name="Send").click()
    await expect(dialog.get_by_role("alert").last).to_have_text("Please say a little more.")
    await expect(dialog.get_by_label("The right answer")).to_be_focused()

    await dialog.get_by_label("The right answer").fill("Ask an admin to rotate it.")
    await dialog.get_by_role("button", name="Send").click()

    await expect(dialog).to_have_count(0)
    (values,) = bot.submitted
    assert values["reason"]["reason"]["selected_option"]["value"] == "stale"
    assert values["right"]["right"]["value"] == "Ask an admin to rotate it."


async def test_a_dialog_that_is_left_does_not_come_back(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """Escape closes it for good, also over a reload."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    thread = await answered(page)
    await thread.get_by_test_id("feedback-down").click()
    await expect(page.get_by_test_id("modal")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("modal")).to_have_count(0)
    await page.reload()
    await expect(page.get_by_test_id("message").first).to_be_visible()
    await expect(page.get_by_test_id("modal")).to_have_count(0)
    assert bot.submitted == []


async def test_a_reaction_is_added_counted_and_taken_back(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """A click on somebody's reaction adds one's own, a second click takes it back."""
    ts = await slack.message("U0NOAH", "C0HELP", "Lunch?")
    await slack.react("U0PRIYA", "C0HELP", ts, "+1")
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    reaction = page.get_by_test_id("reaction")
    await expect(reaction).to_have_text("👍1")
    await reaction.click()
    await expect(reaction).to_have_text("👍2")
    await expect(reaction).to_have_attribute("aria-pressed", "true")
    await reaction.click()
    await expect(reaction).to_have_text("👍1")
    await page.get_by_role("article").hover()
    await page.get_by_role("button", name="React with eyes").click()
    await expect(page.get_by_test_id("reaction").last).to_have_text("👀1")
    (message,) = await slack.history("C0HELP")
    assert {one["name"]: one["users"] for one in message["reactions"]} == {"+1": ["U0PRIYA"], "eyes": ["U0MAYA"]}


async def test_a_slash_command_is_offered_and_its_answer_is_seen_by_one_person(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """`/` offers the commands, the hint says how to go on, and nobody else sees the answer."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    composer = page.get_by_label("Message #help")
    await composer.press_sequentially("/su")
    await expect(page.get_by_role("listbox").get_by_role("option")).to_contain_text("/support")
    await composer.press("Tab")
    await expect(composer).to_have_value("/support ")
    await expect(page.get_by_role("listbox")).to_contain_text("ask QUESTION")
    await composer.press_sequentially("ask what is a key?")
    await composer.press("Enter")
    answer = page.get_by_role("article", name="Footnote")
    await expect(answer).to_contain_text("Only visible to you")
    await expect(answer).to_contain_text("You asked ask what is a key? in private.")
    await page.get_by_label("Act as").select_option("U0NOAH")
    await expect(page.get_by_role("heading", name="This is the beginning of #help")).to_be_visible()
    await expect(answer).to_have_count(0)


async def test_ones_own_message_is_edited_and_deleted_and_nobody_elses(
    slack: LocalSlack, browser_page: OpenPage
) -> None:
    """The menu of another's message offers neither."""
    await slack.message("U0NOAH", "C0HELP", "Not yours")
    await slack.message("U0MAYA", "C0HELP", "Ask <@U0NOAH> & wait")
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    theirs, own = page.get_by_role("article").first, page.get_by_role("article").last
    await theirs.hover()
    await theirs.get_by_role("button", name="More").click()
    await expect(page.get_by_role("menuitem", name="Reply in thread")).to_be_visible()
    await expect(page.get_by_role("menuitem", name="Edit message")).to_have_count(0)
    await page.keyboard.press("Escape")
    await own.hover()
    await own.get_by_role("button", name="More").click()
    await page.get_by_role("menuitem", name="Edit message").click()
    editor = page.get_by_label("Edit message")
    await expect(editor).to_have_value("Ask @Noah Becker & wait")
    await editor.fill("Ask @Noah Becker & go on")
    await editor.press("Enter")
    await expect(own).to_contain_text("Ask @Noah Becker & go on(edited)")
    assert (await slack.history("C0HELP"))[-1]["text"] == "Ask <@U0NOAH> &amp; go on"
    await own.hover()
    await own.get_by_role("button", name="More").click()
    await page.get_by_role("menuitem", name="Delete message").click()
    await page.get_by_role("dialog", name="Delete this message?").get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("article")).to_have_count(1)


async def test_the_home_tab_shows_what_the_app_publishes(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """In the direct message with the app."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#D0MAYA")
    await page.get_by_role("tab", name="Home").click()
    await expect(page.get_by_role("heading", name="Hello, I am a stand-in")).to_be_visible()
    await page.get_by_role("tab", name="Messages").click()
    await expect(page.get_by_label("Message Footnote")).to_be_visible()


async def test_a_message_shortcut_hands_the_message_to_the_app(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage
) -> None:
    """By the name that the manifest gives it."""
    await slack.message("U0NOAH", "C0HELP", "How long is a key valid?")
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    await page.get_by_role("article").hover()
    await page.get_by_role("article").get_by_role("button", name="More").click()
    async with page.expect_response("**/control/shortcut") as response:
        await page.get_by_role("menuitem", name="Ask Footnote about this").click()
    assert (await (await response.value).json())["outcome"] == "acknowledged"
    assert bot.asked_about == ["How long is a key valid?"]


async def test_what_cannot_be_done_is_said_and_nothing_typed_is_lost(slack: LocalSlack, browser_page: OpenPage) -> None:
    """A slash command in a thread, which Slack has not, and a command that no app answers."""
    ts = await slack.message("U0NOAH", "C0HELP", "Hello")
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP/{ts}")
    reply = page.get_by_role("combobox", name="Reply in thread")
    await reply.fill("/support status")
    await reply.press("Enter")
    await expect(page.get_by_text("Slash commands work in the channel, not in a thread.")).to_be_visible()
    await expect(reply).to_have_value("/support status")
    await page.get_by_label("Message #help").fill("/support status")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("article", name="Footnote")).to_contain_text("/support failed")
