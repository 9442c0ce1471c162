"""How the page shows text: what Slack formats is formatted, and what could harm is shown as the text that it is."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import OpenPage
from tests.browser.stand_in import StandIn, mrkdwn
from tests.local_slack import JSON, LocalSlack

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

HOSTILE = [
    "<img src=x onerror=hacked()>",
    "<script>hacked()</script>",
    "<svg/onload=hacked()>",
    '"><iframe srcdoc="<script>parent.hacked()</script>">',
    "<javascript:hacked()|press>",
    "<data:text/html,hacked|press>",
    "[press](javascript:hacked())",
    "[press](//evil.example.com)",
    "<!here|<b onclick=hacked()>all</b>>",
    "{{constructor.constructor('hacked()')()}}",
]


async def posted(bot: StandIn, text: str, blocks: list[JSON] | None = None) -> None:
    await bot.web.chat_postMessage(channel="C0HELP", text=text, blocks=blocks)


async def shown(slack: LocalSlack, browser_page: OpenPage) -> Locator:
    """The words of the only message in the channel."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    content = page.get_by_role("article").locator(".content")
    await expect(content).to_be_visible()
    return content


async def html(content: Locator) -> str:
    """The elements and text of a message, without classes and other attributes but an address."""
    shape = r"""(content) => {
        const address = (node) => node.getAttribute('href') ? ` ${node.getAttribute('href')}` : '';
        const inside = (node) => [...node.childNodes].map(write).join('');
        const element = (node) => `<${node.localName}${address(node)}>${inside(node)}</>`;
        const write = (node) => node.nodeType === 3 ? node.data : element(node);
        return inside(content);
    }"""
    return str(await content.evaluate(shape))


@pytest.mark.parametrize("way", ["typed by a person", "text", "section", "markdown", "plain_text", "context"])
async def test_hostile_text_is_text_wherever_it_stands(
    slack: LocalSlack, bot: StandIn, browser_page: OpenPage, way: str
) -> None:
    """No element comes of it, no script runs, and no link leads anywhere but to http, https and mailto."""
    text = "\n\n".join(HOSTILE)
    plain = {"type": "plain_text", "text": text}
    blocks = {
        "section": [mrkdwn(text)],
        "markdown": [{"type": "markdown", "text": text}],
        "plain_text": [{"type": "section", "text": plain}],
        "context": [{"type": "context", "elements": [plain]}],
    }
    if way == "typed by a person":
        await slack.message("U0NOAH", "C0HELP", text)
    else:
        await posted(bot, text, blocks.get(way))
    content = await shown(slack, browser_page)
    await expect(content).to_contain_text("<img src=x onerror=hacked()>")
    await expect(content).to_contain_text("<script>hacked()</script>")
    assert await content.locator("img, script, svg, iframe, b, a").count() == 0
    assert await content.page.evaluate("typeof hacked") == "undefined"


async def test_names_that_are_hostile_are_text_too(slack: LocalSlack, bot: StandIn, browser_page: OpenPage) -> None:
    """A name that an app gives itself, a reaction, a button and its values."""
    evil = "<img src=x onerror=hacked()>"
    button = {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": evil}, "value": evil}
    block = {"type": "actions", "block_id": '"><img>', "elements": [button]}
    await bot.web.chat_postMessage(channel="C0HELP", text="x", username=evil, blocks=[block])
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    await expect(page.get_by_role("article").get_by_text(evil).first).to_be_visible()
    await expect(page.get_by_role("button", name=evil)).to_be_visible()
    assert await page.locator("img").count() == 0


async def test_nothing_can_be_made_into_html_on_this_page(slack: LocalSlack, browser_page: OpenPage) -> None:
    """The policy refuses innerHTML, inline scripts and foreign servers, should a mistake ever ask for them."""
    page = await browser_page(f"{slack.url}/", allow_errors=True)
    assert (
        await page.evaluate("(() => { try { document.body.innerHTML = '<b>x</b>'; } catch (e) { return e.name; } })()")
        == "TypeError"
    )
    assert await page.evaluate("fetch('http://127.0.0.1:9/').catch((error) => error.name)") == "TypeError"
    policy = await page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy and "unsafe" not in policy and "default-src 'none'" in policy


async def test_mrkdwn_is_formatted(slack: LocalSlack, bot: StandIn, browser_page: OpenPage) -> None:
    """Slack's own way of writing, as people and the blocks of apps use it."""
    text = (
        "*bold* _italic_ ~gone~ `code *not bold*` snake_case_name 2*3*4 :eyes: :nonsense:\n"
        "<https://e.example/a_b?c=1&amp;d=2|A *page*> <@U0NOAH> <#C0GENERAL|general> &lt;tag&gt; <!here>\n"
        "• one\n• two\n&gt; quoted\n```\nif a &lt; b:\n    *run*\n```"
    )
    await posted(bot, text)
    assert await html(await shown(slack, browser_page)) == (
        "<p><strong>bold</> <em>italic</> <s>gone</> <code>code *not bold*</> snake_case_name 2*3*4 👀 :nonsense:"
        "<br></><a https://e.example/a_b?c=1&d=2>A *page*</> <span>@Noah Becker</> <a #C0GENERAL>#general</> <tag> "
        "<span>@here</></>"
        "<ul><li>one</><li>two</></><blockquote><p>quoted</></><pre><code>if a < b:\n    *run*</></>"
    )


async def test_markdown_is_formatted(slack: LocalSlack, bot: StandIn, browser_page: OpenPage) -> None:
    """The way of streamed text and of markdown blocks."""
    text = (
        "## Keys\nThey are **valid *and* safe** for __24 hours__, see [the (long) page](https://e.example/a_(b)).\n\n"
        "1. First\n   more of it\n2. Second\n   - inner `a|b`\n\n> Quoted\n\n---\n\n"
        "| Plan | Limit |\n|---|---:|\n| Free | *60* |\n\n```sh\ncurl **x** <url>\n```\nDone\\*.[[1]](https://e.example/1)"
    )
    await posted(bot, "fallback", [{"type": "markdown", "text": text}])
    content = await shown(slack, browser_page)
    assert await html(content.locator(".block-markdown")) == (
        "<p>Keys</><p>They are <strong>valid <em>and</> safe</> for <strong>24 hours</>, see "
        "<a https://e.example/a_(b)>the (long) page</>.</>"
        "<ol><li>First<br></>more of it</><li>Second<ul><li>inner <code>a|b</></></></></>"
        "<blockquote><p>Quoted</></><hr></>"
        "<div><table><thead><tr><th>Plan</><th>Limit</></></><tbody><tr><td>Free</><td><em>60</></></></></></>"
        "<pre><code>curl **x** <url></></><p>Done*.<a https://e.example/1>[1]</></>"
    )


async def test_a_half_streamed_fence_is_code_already(slack: LocalSlack, bot: StandIn, browser_page: OpenPage) -> None:
    """So that a growing answer does not jump between text and code."""
    parent = await slack.message("U0MAYA", "C0HELP", "How?")
    to = {"recipient_user_id": "U0MAYA", "recipient_team_id": "T0LOCAL"}
    await bot.web.chat_startStream(channel="C0HELP", thread_ts=parent, markdown_text="Run:\n```sh\nmake *all*", **to)
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP/{parent}")
    answer = page.get_by_role("region", name="Thread").get_by_role("article").last
    await expect(answer.locator("pre")).to_have_text("make *all*")


async def test_rich_text_is_formatted(slack: LocalSlack, bot: StandIn, browser_page: OpenPage) -> None:
    """The form in which Slack keeps what its own clients wrote."""
    bold = {"type": "text", "text": "bold", "style": {"bold": True}}
    link = {"type": "link", "url": "https://e.example/", "text": "page"}
    parts = [bold, {"type": "text", "text": " <b> "}, link, {"type": "emoji", "name": "tada"}]
    section = {"type": "rich_text_section", "elements": parts}
    item = {"type": "rich_text_section", "elements": [{"type": "user", "user_id": "U0NOAH"}]}
    listed = {"type": "rich_text_list", "style": "ordered", "elements": [item]}
    await posted(bot, "fallback", [{"type": "rich_text", "elements": [section, listed]}])
    content = await shown(slack, browser_page)
    assert await html(content.locator(".block-rich_text")) == (
        "<p><strong>bold</> <b> <a https://e.example/>page</>🎉</><ol><li><span>@Noah Becker</></></>"
    )


CONFUSING = ["*a ", "*<", "<", "`", "[", "[[", "**a ", "_*~", "- \n  - ", "  " * 9 + "- a\n", "|-|\n", "> ", "&lt;"]
CONFUSING += ["<https://a|", "http://a.", "```\n", "\\", ":a", "[a](http://(", "1. a\n\n"]


async def test_no_text_makes_the_page_slow(slack: LocalSlack, browser_page: OpenPage) -> None:
    """Forty thousand characters made to confuse are read in less than a second, in both ways of writing."""
    page = await browser_page(f"{slack.url}/?as=U0MAYA#C0HELP")
    measure = """async ([way, text]) => {
        const reader = await import("/page/text.js");
        const names = { user: (id) => ({ id, name: id }), channel: () => null };
        const began = performance.now();
        document.createElement("div").append(...reader[way](text, names));
        return performance.now() - began;
    }"""
    taken = {
        (way, piece): await page.evaluate(measure, [way, (piece * 40_000)[:40_000]])
        for way in ("mrkdwn", "markdown")
        for piece in CONFUSING
    }
    assert {what: ms for what, ms in taken.items() if ms > 1000} == {}
