"""`/support sources`: an admin brings documents in, sees how they fare, and takes them out again, without the shell."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.keys import holding
from tests.local_slack import JSON
from tests.running_bot import RunningBot
from tests.small_library import bot_that_knows, eventually, memory_of, page, until_idle
from tests.web_site import WebSite, article, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEPT = {"keys": page("API keys", "## Reset an API key\n\nTo reset an API key, open Settings.")}
ADMIN, MAYA = "U0ADMIN", "U0MAYA"


@pytest.fixture(scope="module")
def site() -> AsyncIterator[WebSite]:
    with running() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(site: WebSite, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBot]:
    folder = tmp_path_factory.mktemp("sources")
    async with bot_that_knows(folder, KEPT, INTRANET_HOSTS="127.0.0.1", SLACK_SOURCES="memory://x/") as running_one:
        yield running_one


async def told(bot: RunningBot, text: str, count: int = 1, user: str = ADMIN, channel: str = "C0HELP") -> list[JSON]:
    """What the bot tells in private after a command, once there are `count` of it."""
    before = len((await bot.slack.seen(user))["ephemerals"])
    await bot.slack.command(user, channel, "/support", f"sources {text}")
    return (await bot.slack.wait_for_ephemeral(user, count=before + count, timeout_s=40))[before:]


async def said(bot: RunningBot, text: str, user: str = ADMIN, channel: str = "C0HELP") -> str:
    """The first answer to a command."""
    return str((await told(bot, text, user=user, channel=channel))[0]["text"])


def put_up(site: WebSite, **pages: str) -> str:
    """A handbook of its own on the site; gives its address."""
    name = f"/book{len(site.pages)}"
    for path, words in pages.items():
        site.put(f"{name}/{path}", article(path, words))
    site.put_map(*(path for path in site.pages if path.startswith("/book") and path.count("/") == 2))
    return f"{site.url}{name}"


def name_in(address: str) -> str:
    return address.rpartition("/")[2]


async def test_what_an_admin_adds_answers_the_next_question(bot: RunningBot, site: WebSite) -> None:
    """At once it is told that it is read, and at the end what was read."""
    address = put_up(
        site, fee="The fee for a replacement badge is 4711 crowns.", menu="On Fridays there is Marrowgate."
    )
    first, report = await told(bot, f"add {address} every 6h for workspace", count=2)
    name = name_in(address)
    assert f"I read {address} as *{name}*, for workspace" in first["text"]
    assert f"*{name}*: 2 added, 0 changed, 0 unchanged, 0 removed, 0 failed" in report["text"]
    answer = await bot.ask(MAYA, "C0HELP", "<@U0FOOTNOTE> What is the fee for a replacement badge?")
    assert "4711" in answer["text"]
    listed = await said(bot, "")
    assert f"*{name}* 2 pages, 2 passages, for workspace\n   {address} · every 6h · synced" in listed
    assert "• *pages* 1 page, 1 passage, for workspace" in listed


async def test_a_sync_tells_what_changed_and_what_failed(bot: RunningBot, site: WebSite) -> None:
    """And the list keeps the last failures with their reasons, in Slack and in the shell."""
    address = put_up(site, one="The first sentence.", two="The second sentence.", three="The third sentence.")
    name = name_in(address)
    await told(bot, f"add {address}", count=2)
    site.put(f"/{name}/one", article("one", "The first sentence is another one."))
    site.pages[f"/{name}/two"].status = 500
    del site.pages[f"/{name}/three"]
    first, report = await told(bot, f"sync {name}", count=2)
    assert first["text"].startswith(f"I read *{name}* again")
    assert f"*{name}*: 0 added, 1 changed, 0 unchanged, 1 removed, " in report["text"]
    assert f"• {address}/two: " in report["text"] and "500" in report["text"]
    assert f"⚠️ {address}/two: " in await said(bot, "list")
    sources = json.loads(await bot.cli("sources", "list", "--json"))["sources"]
    (last,) = [one["last_report"] for one in sources if one["name"] == name]
    assert last["changed"] == 1 and last["removed"] == 1 and "500" in str(last["failures"])


async def test_removing_asks_first_and_says_how_much_goes(bot: RunningBot, site: WebSite) -> None:
    """Keep keeps; what is removed answers nothing any more."""
    address = put_up(site, tide="The tide table is called Quillfeather.", moon="The moon table is called Ostrichwell.")
    name = name_in(address)
    await told(bot, f"add {address}", count=2)
    (asked,) = await told(bot, f"remove {name}")
    assert f"Remove *{name}*" in asked["text"] and "2 pages would be out" in asked["text"]
    await bot.slack.press(ADMIN, "C0HELP", asked["ts"], "source_keep")
    await until_idle(bot)
    assert name in await said(bot, "list")
    (asked,) = await told(bot, f"remove {name}")
    await bot.slack.press(ADMIN, "C0HELP", asked["ts"], "source_remove")

    async def outcome() -> str | None:
        seen = (await bot.slack.seen(ADMIN))["ephemerals"]
        return next((one["text"] for one in seen if one["ts"] == asked["ts"] and "Remove" not in one["text"]), None)

    assert await eventually(outcome) == f"*{name}* is forgotten, and 2 pages with it."
    assert f"*{name}*" not in await said(bot, "list")
    answer = await bot.ask(MAYA, "C0HELP", "<@U0FOOTNOTE> What is the tide table called?")
    assert "Quillfeather" not in json.dumps(answer)


@pytest.mark.parametrize(
    "address",
    [
        "/etc",
        "~/docs",
        "file:///etc/passwd",
        "FILE:///etc",
        "s3://somebodys-bucket/",
        "memory://x/",
        "zip://a::file:///a",
    ],
)
async def test_the_server_s_own_files_and_keys_are_not_for_slack(bot: RunningBot, address: str) -> None:
    """Neither its disk nor what its keys open; not even where a setting says so by mistake."""
    assert "web addresses only" in await said(bot, f"add {address}")


@pytest.mark.parametrize("address", ["http://169.254.169.254/latest/meta-data/", "http://localhost/", "http://[::1]/"])
async def test_an_address_that_is_not_public_is_not_fetched(bot: RunningBot, address: str) -> None:
    """The report says why, and nothing is remembered of it."""
    _, report = await told(bot, f"add {address} named inside", count=2)
    assert "not on the public internet" in report["text"]
    assert "*inside*" not in await said(bot, "list")


@pytest.mark.parametrize("secret", ["http://jane:Gr4nadilla@127.0.0.1/", "http://127.0.0.1/?token=Gr4nadilla"])
async def test_an_address_with_a_secret_is_refused_and_forgotten(bot: RunningBot, secret: str) -> None:
    """It stands neither in the answer, nor in the memory, nor in the queue."""
    shown = await said(bot, f"add {secret}")
    assert "looks like a login" in shown and "Gr4nadilla" not in shown
    await until_idle(bot)
    async with memory_of(bot) as memory:
        assert not await holding(memory, "Gr4nadilla")


async def test_a_secret_in_an_address_of_the_shell_is_not_shown(bot: RunningBot, site: WebSite) -> None:
    """Who added it on the server knows it; who lists it in Slack need not."""
    site.put("/private?token=Gr4nadilla", article("private", "The handbook."))
    await bot.ingest(f"{site.url}/private?token=Gr4nadilla", "--name", "private")
    listed = await said(bot, "")
    assert f"{site.url}/private?token=…" in listed and "Gr4nadilla" not in listed


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("add", "Use `/support sources`"),
        ("add https://docs.example/ every", "Use `/support sources`"),
        ("add https://docs.example/ every now", "write minutes, hours or days"),
        ("add https://docs.example/ for everybody", "It can be `for public`"),
        ("add https://docs.example/ named pages", "“pages” is taken"),
        ("sync nowhere", "There is no source named “nowhere” here"),
        ("remove nowhere", "There is no source named “nowhere” here"),
        ("remove", "Use `/support sources`"),
        ("forget pages", "Use `/support sources`"),
    ],
)
async def test_wrong_use_is_told_what_is_right(bot: RunningBot, command: str, advice: str) -> None:
    """And nothing is ordered."""
    assert advice in await said(bot, command)


async def test_nobody_else_may_touch_a_source(bot: RunningBot) -> None:
    """Neither by a command nor by somebody else's button."""
    for command in ("", "add https://docs.example/", "sync pages", "remove pages"):
        assert "for admins of this workspace" in await said(bot, command, user=MAYA)
    assert "*pages*" in await said(bot, "list")


async def test_a_source_for_a_channel_is_shown_only_where_it_is_for(bot: RunningBot, site: WebSite) -> None:
    """In a private channel it must be said for whom a source is; elsewhere it can be neither seen nor touched nor
    taken over."""
    address = put_up(site, vault="The word that opens the vault is Tamblewick.")
    name = name_in(address)
    assert "Say who may read it" in await said(bot, f"add {address}", channel="C0INCIDENTS")
    first, report = await told(bot, f"add {address} for channel", count=2, channel="C0INCIDENTS")
    assert "for <#C0INCIDENTS>" in first["text"] and "1 added" in report["text"]
    assert f"*{name}*" in await said(bot, "list", channel="C0INCIDENTS")
    elsewhere = await said(bot, "list")
    assert f"*{name}*" not in elsewhere and "1 source not shown" in elsewhere
    for command in (f"sync {name}", f"remove {name}"):
        assert "There is no source named" in await said(bot, command)
    assert "is taken" in await said(bot, f"add {address} for public")
    assert "Tamblewick" in await bot.command("U0NOAH", "C0INCIDENTS", "ask What is the word that opens the vault?")
    assert "Tamblewick" not in await bot.command(MAYA, "C0HELP", "ask What is the word that opens the vault?")


async def test_help_names_the_commands(bot: RunningBot) -> None:
    """With what may stand behind them."""
    shown = await bot.command(ADMIN, "C0HELP", "help")
    for command in ("sources add ADDRESS", "every 6h", "sources sync NAME", "sources remove NAME"):
        assert command in shown
