"""Step seven: what people think of an answer, what is learned from it, and how admins steer the bot with `/support`."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam
from pydantic import TypeAdapter

from bot.journal import Journal
from bot.vocabulary import Example
from tests.keys import holding, keys_without_ttl
from tests.local_slack import JSON
from tests.running_bot import RunningBot
from tests.small_library import bot_that_knows, eventually, memory_of, page, until_idle, write_pages

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = {
    "keys": page(
        "API keys",
        "## Reset an API key\n\nTo reset an API key, open Settings and select Regenerate next to the key.",
        url="https://docs.example/keys",
    ),
    "sandbox": page("Sandbox", "## Limits\n\nThe sandbox allows 5 requests per second.", url="https://docs.example/s"),
}
RESET = "How do I reset an API key?"
ADMIN_COMMANDS = ["status", "sources", "sources sync pages", "sources remove pages", "examples", "model"]
ADMIN_COMMANDS += ["sources add https://docs.example/", "examples approve ex-00000000"]
ADMIN_COMMANDS += ["examples forget <@U0NOAH>", "examples pages", "train", "train start", "train start few", "matrix"]
ADMIN_COMMANDS += ["model gate v1", "model promote v1 override: me", "model canary v1 <#C0HELP>", "model rollback"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBot]:
    folder = tmp_path_factory.mktemp("admin")
    async with bot_that_knows(folder, PAGES, ADMIN_USERS="U0PRIYA,U0NOBODY") as running:
        yield running


async def said_to(bot: RunningBot, user: str, command: str) -> str:
    channel = {"U0GUEST": "C0GENERAL", "U0PARTNER": "C0PARTNER"}.get(user, "C0HELP")
    return str(json.loads(await bot.command(user, channel, command))["text"])


async def answered(bot: RunningBot, question: str, channel: str = "C0HELP", user: str = "U0MAYA") -> JSON:
    mention = "" if channel.startswith("D") else "<@U0FOOTNOTE> "
    return await bot.ask(user, channel, mention + question)


async def candidates(bot: RunningBot, word: str, status: str = "candidate") -> list[dict[str, Any]]:
    """The export lines whose question holds a word."""
    await until_idle(bot)
    return [line for line in await bot.exported(status) if word in line["messages"][1]["content"].split("\n\n")[-1]]


async def proposals(bot: RunningBot, word: str) -> list[Example]:
    """The candidates whose question holds a word, as the journal has them."""
    await until_idle(bot)
    async with memory_of(bot) as memory:
        return [one for one in await Journal(memory.redis, "T0LOCAL").examples("candidate") if word in one.question]


async def example_id(bot: RunningBot, word: str) -> str:
    """The id on the review card of the example whose question holds a word."""
    cards = (await bot.command("U0ADMIN", "C0HELP", "examples")).split('"divider"')
    (card,) = [card for card in cards if word in card]
    return re.findall(r"`(ex-\w+)`", card)[0]


# Commands


async def test_everybody_may_ask_for_help_and_privacy(bot: RunningBot) -> None:
    """A member sees the commands of members, an admin all of them."""
    help_for_member = await said_to(bot, "U0MAYA", "help")
    assert "/support ask" in help_for_member and "/support status" not in help_for_member
    assert "/support status" in await said_to(bot, "U0ADMIN", "help")
    assert await said_to(bot, "U0MAYA", "") == help_for_member
    privacy = await said_to(bot, "U0GUEST", "privacy")
    assert "How to object" in privacy and "for 30 days" in privacy


async def test_a_private_question_is_answered_to_its_asker_alone(bot: RunningBot) -> None:
    """`/support ask` leaves nothing in the channel."""
    before = await bot.slack.history("C0HELP")
    answer = await bot.command("U0MAYA", "C0HELP", f"ask {RESET}")
    assert "select Regenerate" in answer and "https://docs.example/keys" in answer
    assert await bot.slack.history("C0HELP") == before


@pytest.mark.parametrize("command", ADMIN_COMMANDS)
@pytest.mark.parametrize("user", ["U0MAYA", "U0GUEST", "U0PARTNER"])
async def test_anybody_else_is_refused_an_admin_command_in_a_friendly_way(
    bot: RunningBot, user: str, command: str
) -> None:
    """Whatever stands behind it."""
    assert await said_to(bot, user, command) == (
        "That is for admins of this workspace. Ask one of them, or try `/support help`."
    )


async def test_admin_users_are_admins_beside_those_of_the_workspace(bot: RunningBot) -> None:
    """`ADMIN_USERS` names people whom Slack calls members."""
    assert "*Library* embedded: 2 pages" in await said_to(bot, "U0PRIYA", "status")


async def test_status_says_how_everything_stands(bot: RunningBot) -> None:
    """Library, memory, queue and model, each in a line."""
    status = await said_to(bot, "U0ADMIN", "status")
    for part in ("✅ *Library*", "✅ *Memory* durable", "✅ *Queue*", "1 worker", "✅ *Model* quoting"):
        assert part in status
    assert "❌" not in status


async def test_sources_lists_the_sources_and_syncs_one(bot: RunningBot) -> None:
    """A page that was changed since is read again, and only that one."""
    assert "• *pages* 2 pages, 2 passages, for workspace" in await said_to(bot, "U0ADMIN", "sources")
    changed = PAGES["sandbox"].replace("5 requests", "6 requests")
    write_pages(bot.data_dir.parent / "pages", PAGES | {"sandbox": changed})
    before = len((await bot.slack.seen("U0ADMIN"))["ephemerals"])
    await said_to(bot, "U0ADMIN", "sources sync pages")
    seen = await bot.slack.wait_for_ephemeral("U0ADMIN", count=before + 2)
    ordered, report = (each["text"] for each in seen[before:])
    assert ordered.startswith("I read *pages* again")
    assert report.startswith("*pages*: 0 added, 1 changed, 1 unchanged, 0 removed, 0 failed")
    assert "6 requests" in (await answered(bot, "How many requests per second does the sandbox allow?"))["text"]


async def test_model_says_what_answers(bot: RunningBot) -> None:
    """And how many examples are still wanted for one's own."""
    shown = await said_to(bot, "U0ADMIN", "model")
    assert "*Live* quoting" in shown and "of 500 approved" in shown


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("frobnicate", "I do not know `frobnicate`."),
        ("<!channel>", "I do not know"),
        ("ask", "Write your question behind it"),
        ("ask    ", "Write your question behind it"),
        ("status now", "takes nothing behind it"),
        ("model live", "Use `/support model`"),
        ("matrix now", "takes nothing behind it"),
        ("train now", "Use `/support train`"),
        ("examples forget Maya", "Mention a person"),
        ("sources forget pages", "Use `/support sources`"),
        ("sources sync", "Use `/support sources`"),
        ("sources sync nowhere", "nowhere"),
        ("examples approve", "Use `/support examples`"),
        ("examples praise ex-1", "Use `/support examples`"),
        ("examples approve ex-00000000", "There is no example `ex-00000000`"),
    ],
)
async def test_wrong_use_is_told_what_is_right(bot: RunningBot, command: str, advice: str) -> None:
    """Nothing that somebody types gets a stack trace, or silence."""
    shown = await said_to(bot, "U0ADMIN", command)
    assert advice in shown
    assert "Error" not in shown and "Traceback" not in shown and "<!channel>" not in shown


# Verdicts


async def test_a_thumbs_up_stores_a_candidate_with_question_passages_and_answer(bot: RunningBot) -> None:
    """Its line is what OpenAI's own types call messages: system, user with the numbered passages, assistant."""
    reply = await answered(bot, "How do I reset an API key on a Monday?")
    await bot.slack.press("U0NOAH", "C0HELP", reply["ts"], "feedback", "up")
    (line,) = await candidates(bot, "on a Monday")
    messages = TypeAdapter(list[ChatCompletionMessageParam]).validate_python(line["messages"])
    assert set(line) == {"messages"}
    assert [one["role"] for one in messages] == ["system", "user", "assistant"]
    assert messages[0]["content"] == "You are a support agent for our company."
    assert str(messages[1]["content"]).startswith("[1] API keys › Reset an API key: To reset an API key, open Settings")
    assert str(messages[1]["content"]).endswith("\n\nHow do I reset an API key on a Monday?")
    assert messages[2]["content"] == reply["text"]


async def test_whoever_gives_a_thumb_is_thanked_alone(bot: RunningBot) -> None:
    """And told what becomes of it."""
    reply = await answered(bot, "How do I reset an API key on a Tuesday?")
    before = len((await bot.slack.seen("U0NOAH"))["ephemerals"])
    await bot.slack.press("U0NOAH", "C0HELP", reply["ts"], "feedback", "up")
    seen = await bot.slack.wait_for_ephemeral("U0NOAH", count=before + 1)
    assert "an admin reviews it" in seen[-1]["text"]
    assert len(await bot.slack.thread("C0HELP", reply["thread_ts"])) == 2


async def test_an_admin_approves_an_example_and_the_export_holds_it(bot: RunningBot) -> None:
    """The default export is what is approved."""
    reply = await answered(bot, "How do I reset an API key on a Wednesday?")
    await bot.slack.press("U0MAYA", "C0HELP", reply["ts"], "feedback", "up")
    await until_idle(bot)
    id = await example_id(bot, "Wednesday")
    assert f"`{id}` is approved" in await said_to(bot, "U0ADMIN", f"examples approve {id}")
    assert await candidates(bot, "Wednesday", "approved") and not await candidates(bot, "Wednesday")
    assert "Wednesday" not in await bot.command("U0ADMIN", "C0HELP", "examples")
    file = bot.data_dir / "default.jsonl"
    await bot.cli("train", "export", str(file))
    assert "Wednesday" in file.read_text(encoding="utf-8") and "Monday" not in file.read_text(encoding="utf-8")


async def test_what_an_admin_rejected_stays_rejected(bot: RunningBot) -> None:
    """Another thumb does not bring it back."""
    reply = await answered(bot, "How do I reset an API key on a Thursday?")
    await bot.slack.press("U0MAYA", "C0HELP", reply["ts"], "feedback", "up")
    await until_idle(bot)
    id = await example_id(bot, "Thursday")
    assert f"`{id}` is rejected" in await said_to(bot, "U0PRIYA", f"examples reject {id}")
    await bot.slack.press("U0NOAH", "C0HELP", reply["ts"], "feedback", "up")
    assert not await candidates(bot, "Thursday") and not await candidates(bot, "Thursday", "approved")
    assert await candidates(bot, "Thursday", "rejected")


async def test_one_person_has_one_verdict_and_may_change_it(bot: RunningBot) -> None:
    """A thumbs-down after a thumbs-up withdraws the proposal; the other way round makes one."""
    reply = await answered(bot, "How do I reset an API key on a Friday?")
    for value, count in (("up", 1), ("up", 1), ("down", 0), ("up", 1)):
        await bot.slack.press("U0MAYA", "C0HELP", reply["ts"], "feedback", value)
        assert len(await proposals(bot, "Friday")) == count, value


async def test_it_takes_the_last_of_those_who_liked_it_to_withdraw_it(bot: RunningBot) -> None:
    """Verdicts of others stand."""
    reply = await answered(bot, "How do I reset an API key on a Saturday?")
    for user, value, count in (("U0MAYA", "up", 1), ("U0NOAH", "up", 1), ("U0MAYA", "down", 1), ("U0NOAH", "down", 0)):
        await bot.slack.press(user, "C0HELP", reply["ts"], "feedback", value)
        assert len(await proposals(bot, "Saturday")) == count, (user, value)


async def test_a_reaction_is_a_verdict_and_its_removal_takes_it_back(bot: RunningBot) -> None:
    """For those who like an answer the way they like everything else; in any colour of skin."""
    reply = await answered(bot, "How do I reset an API key on a Sunday?")

    async def count_after(name: str, *, remove: bool, expected: int) -> bool:
        await bot.slack.react("U0MAYA", "C0HELP", reply["ts"], name, remove)
        return bool(await eventually(lambda: counts(expected)))

    async def counts(expected: int) -> bool:
        return len(await proposals(bot, "Sunday")) == expected

    assert await count_after("+1::skin-tone-3", remove=False, expected=1)
    assert await count_after("+1::skin-tone-3", remove=True, expected=0)
    assert await count_after("+1", remove=False, expected=1)
    assert await count_after("-1", remove=False, expected=0)


async def test_a_verdict_in_a_direct_message_makes_no_example_by_itself(bot: RunningBot) -> None:
    """What is said in private is learned from only if its asker agrees."""
    dm = await bot.slack.open_dm("U0MAYA")
    reply = await answered(bot, "How do I reset an API key in private?", dm)
    before = len((await bot.slack.seen("U0MAYA"))["ephemerals"])
    await bot.slack.press("U0MAYA", dm, reply["ts"], "feedback", "up")
    seen = await bot.slack.wait_for_ephemeral("U0MAYA", count=before + 1)
    assert seen[-1]["text"].startswith("Thank you. Only you have seen this answer. May your question")
    assert not await candidates(bot, "in private")
    async with memory_of(bot) as memory:
        (value,) = await memory.redis.hvals(f"footnote:T0LOCAL:verdicts:T0LOCAL:{dm}:{reply['thread_ts']}")
    assert json.loads(value)["is_helpful"] is True


# What is kept


@pytest.mark.parametrize("way", ["channel", "direct", "command", "edit", "unanswerable"])
async def test_secrets_and_addresses_are_written_down_nowhere(bot: RunningBot, way: str) -> None:
    """Neither in the journal nor in the queue."""
    secret, address = f"sk-proj-{way}Abcdefghij0123456789", f"jane.{way}@example.org"
    question = f"My key is {secret}, I am {address}. {RESET}"
    if way == "command":
        await bot.command("U0MAYA", "C0HELP", f"ask {question}")
    elif way == "direct":
        await answered(bot, question, await bot.slack.open_dm("U0MAYA"))
    elif way == "edit":
        ts = await bot.slack.message("U0MAYA", "C0HELP", f"<@U0FOOTNOTE> {RESET}")
        await bot.reply("C0HELP", ts)
        await bot.slack.edit("U0MAYA", "C0HELP", ts, f"<@U0FOOTNOTE> {question}")
        await answered(bot, RESET)
    else:
        reply = await answered(bot, question if way == "channel" else f"Who stole {secret} from {address} in Peru?")
        await bot.slack.press("U0MAYA", "C0HELP", reply["ts"], "feedback", "up")
    await until_idle(bot)
    async with memory_of(bot) as memory:
        assert await holding(memory, "⟨email 1⟩"), "the redacted question is there"
        assert not await holding(memory, secret)
        assert not await holding(memory, address)


async def test_nothing_stays_for_ever_but_the_examples(bot: RunningBot) -> None:
    """Everything else that is written about people has an end; the queue's own lists hold what waits, and who works.
    Of a rejected example the bare id stays, so that it is not proposed again."""
    await until_idle(bot)
    async with memory_of(bot) as memory:
        forever = await keys_without_ttl(memory.redis)
        assert await memory.redis.xlen("footnote-T0LOCAL:stream") == 0
    lists = "footnote-T0LOCAL(-parts)?:(stream|workers|task-workers:\\w+)"
    assert [
        key for key in forever if not re.fullmatch(f"footnote:T0LOCAL:(examples?(:ex-\\w+)?|rejected)|{lists}", key)
    ] == []
