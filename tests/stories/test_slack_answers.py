"""Step four of the way a question takes: from Slack and back. The real processes, on a local Slack; the persona model
is a scripted one, so that a test decides how long an answer is and how slowly it comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.keys import holding
from tests.local_slack import JSON
from tests.running_bot import RunningBot, words_of
from tests.scripted_model import ScriptedModel
from tests.small_library import bot_that_knows, eventually, looking_up, memory_of, page, until_idle

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOT = "U0FOOTNOTE"
STREAM_LIFE_S = 3
OPEN = "To reset an API key, open Settings and choose API keys."
STEPS = [
    OPEN,
    "Select Regenerate next to the key.",
    "Confirm the reset with your password.",
    "The old key works for 24 more hours.",
    "The new key is shown once.",
    "Store the new key in a password manager.",
    "Audit log entries name the person who did the reset.",
]
SANDBOX = "The sandbox allows 5 requests per second."
PLANS = "The Sparrow plan costs 19 EUR per month."
PAGES = {
    "keys": page("API keys", f"## Reset an API key\n\n{' '.join(STEPS)}", url="https://docs.example/keys"),
    "sandbox": page("Sandbox", f"## Sandbox limits\n\n{SANDBOX}", url="https://docs.example/sandbox"),
    "plans": page("Plans", f"## Price of the Sparrow plan\n\n{PLANS}", url="https://docs.example/plans"),
}
RESET = "How do I reset an API key?"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBot]:
    folder = tmp_path_factory.mktemp("answers")
    asks_model = {"PERSONA_MODEL": model.name, "OPENAI_BASE_URL": model.base_url}
    async with bot_that_knows(folder, PAGES, slack={"stream_life_s": STREAM_LIFE_S}, **asks_model) as running:
        yield running


@pytest.fixture(autouse=True)
def short_answer(model: ScriptedModel) -> None:
    """What the model answers unless a test says otherwise."""
    model.always(looking_up(OPEN))


def at(text: str) -> str:
    return f"<@{BOT}> {text}"


def blocks_of(message: JSON, kind: str) -> list[JSON]:
    return [block for block in message["blocks"] if block["type"] == kind]


async def settled(bot: RunningBot, channel: str, ts: str) -> list[JSON]:
    """The bot's messages in a thread once everything that came in before this call is done with: what is asked now, in
    another thread, waits behind it."""
    await bot.ask("U0ADMIN", "C0HELP", at("Thanks!"))
    await until_idle(bot)
    return [one for one in (await bot.slack.thread(channel, ts))[1:] if one["user"] == BOT]


async def calls_for(bot: RunningBot, method: str, thread_ts: str, ts: str) -> list[JSON]:
    """The calls of a method that concern one thread or one message."""
    calls = await bot.slack.calls(method)
    return [one for one in calls if thread_ts == one["args"].get("thread_ts") or ts == one["args"].get("ts")]


# What an answer looks like


async def test_a_mention_is_answered_in_its_thread_with_sources_and_buttons(bot: RunningBot) -> None:
    """Title with link, section and age of the source; what it is, below; and Slack's feedback buttons."""
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))
    reply = await bot.reply("C0HELP", ts)
    assert reply["thread_ts"] == ts
    assert reply["text"] == OPEN.replace(".", " [1].")
    assert blocks_of(reply, "markdown")[0]["text"] == reply["text"]
    sources = blocks_of(reply, "section")[0]["text"]["text"]
    assert sources == "*Sources*\n[1] <https://docs.example/keys|API keys> › Reset an API key · updated today"
    footer = blocks_of(reply, "context")[0]["elements"][0]["text"]
    assert footer.startswith("Automated answer from the documents; it may be wrong")
    (buttons,) = blocks_of(reply, "context_actions")[0]["elements"]
    assert buttons["action_id"] == "feedback"
    assert buttons["positive_button"]["value"].endswith(":up")
    assert buttons["negative_button"]["value"].endswith(":down")


async def test_a_status_is_shown_before_the_answer_and_gone_with_it(bot: RunningBot, model: ScriptedModel) -> None:
    """Whoever asks sees within a second or two that somebody is looking."""
    model.enqueue(looking_up(OPEN, pause_s=1))
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))

    async def status() -> str:
        return await bot.slack.status("C0HELP", ts)

    assert "looking in the documents" in await eventually(status, within_s=3)
    assert len(await bot.slack.thread("C0HELP", ts)) == 1, "the status comes first"
    await bot.reply("C0HELP", ts)
    assert not await status()


async def test_a_mention_is_answered_once_however_often_slack_delivers_it(bot: RunningBot) -> None:
    """Slack sends a mention as two events, and each of them again when it doubts that it arrived."""
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET), deliveries=3)
    await bot.reply("C0HELP", ts)
    assert len(await settled(bot, "C0HELP", ts)) == 1
    assert len(await calls_for(bot, "chat.postMessage", ts, "")) == 1


async def test_a_direct_message_is_answered_in_a_thread_and_the_bot_introduces_itself_once(bot: RunningBot) -> None:
    """The introduction says what is stored and how to object; nobody needs to read it twice."""
    dm = await bot.slack.open_dm("U0PRIYA")
    for _ in range(2):
        ts = await bot.slack.message("U0PRIYA", dm, RESET)
        reply = await bot.reply(dm, ts)
        assert reply["thread_ts"] == ts and "[1]" in reply["text"]
    introductions = [one for one in await bot.slack.history(dm) if one["user"] == BOT]
    assert len(introductions) == 1
    assert "What I store" in introductions[0]["text"] and "How to object" in introductions[0]["text"]


# What comes in


async def test_an_empty_mention_is_asked_what_it_would_like_to_know(bot: RunningBot) -> None:
    """No search, no sources, no buttons: a friendly question back."""
    reply = await bot.ask("U0MAYA", "C0HELP", f"<@{BOT}>")
    assert "What would you like to know?" in reply["text"]
    assert not blocks_of(reply, "context_actions")


async def test_a_question_of_40_000_characters_gets_a_clear_answer(bot: RunningBot, model: ScriptedModel) -> None:
    """It is told that it is too long, and what to do; no model reads it."""
    asked_before = len(model.requests)
    reply = await bot.ask("U0MAYA", "C0HELP", at("x" * (40_000 - len(at("")))))
    assert "longer than I can search with" in reply["text"]
    assert len(model.requests) == asked_before


async def test_what_the_documents_do_not_answer_is_declined_with_the_nearest_pages(bot: RunningBot) -> None:
    """The model is not asked: it would only guess."""
    reply = await bot.ask("U0MAYA", "C0HELP", at("How warm does the office in Oslo get in July?"))
    assert "I could not find an answer to this in the documents." in reply["text"]
    assert "*Sources*" not in words_of(reply)


# In a thread


async def test_a_follow_up_needs_no_mention_and_is_understood_with_what_came_before(
    bot: RunningBot, model: ScriptedModel
) -> None:
    """Alone, "the old one" is nothing to look for; the thread says that it is an API key."""
    model.enqueue(looking_up(OPEN))
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))
    await bot.reply("C0HELP", ts)
    standing_alone = "How long does the old API key work?"
    model.enqueue(standing_alone, looking_up("The old key works for 24 more hours."))
    await bot.slack.message("U0MAYA", "C0HELP", "and how long does the old one work?", thread_ts=ts)
    _, answer = await bot.slack.wait_for_reply("C0HELP", ts, count=2)
    assert "24 more hours [1]" in answer["text"]
    given = model.requests[-1]["messages"]
    assert [one["role"] for one in given] == ["system", "user", "assistant", "user"]
    assert given[1]["content"] == RESET
    assert given[2]["content"].startswith("To reset an API key")


async def test_people_who_talk_to_each_other_in_a_thread_are_left_alone(bot: RunningBot) -> None:
    """Once somebody else has spoken, a question is theirs to answer until the bot is mentioned again."""
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))
    await bot.reply("C0HELP", ts)
    await bot.slack.message("U0NOAH", "C0HELP", "I did that yesterday.", thread_ts=ts)
    await bot.slack.message("U0MAYA", "C0HELP", "And did it work for you?", thread_ts=ts)
    assert len(await settled(bot, "C0HELP", ts)) == 1
    await bot.slack.message("U0MAYA", "C0HELP", at("so how do I reset a key?"), thread_ts=ts)
    assert len(await bot.slack.wait_for_reply("C0HELP", ts, count=2)) == 2


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("U0MAYA", "<@U0NOAH> can you do that for me?"),
        ("U0MAYA", "Thanks, that is it."),
        ("U0NOAH", "Did that work for you, Maya?"),
    ],
)
async def test_what_is_said_to_somebody_else_or_asks_nothing_is_left_alone(
    bot: RunningBot, user: str, said: str
) -> None:
    """A follow-up asks something, and of nobody else; what is not for the bot is not kept, either."""
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))
    await bot.reply("C0HELP", ts)
    await bot.slack.message(user, "C0HELP", said, thread_ts=ts)
    assert len(await settled(bot, "C0HELP", ts)) == 1
    async with memory_of(bot) as memory:
        assert not await holding(memory, said.removeprefix("<@U0NOAH> "))


async def test_a_colleague_may_ask_the_follow_up(bot: RunningBot, model: ScriptedModel) -> None:
    """A thread belongs to everybody who reads it."""
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))
    await bot.reply("C0HELP", ts)
    model.enqueue(looking_up(SANDBOX))
    await bot.slack.message("U0NOAH", "C0HELP", "How many requests per second does the sandbox allow?", thread_ts=ts)
    _, answer = await bot.slack.wait_for_reply("C0HELP", ts, count=2)
    assert "5 requests per second [1]" in answer["text"]


async def test_a_message_that_mentions_somebody_else_is_left_alone(bot: RunningBot) -> None:
    """In a channel the bot speaks when it is spoken to."""
    ts = await bot.slack.message("U0MAYA", "C0HELP", f"<@U0NOAH> {RESET}")
    assert await settled(bot, "C0HELP", ts) == []


# Streams


async def test_a_long_answer_is_streamed(bot: RunningBot, model: ScriptedModel) -> None:
    """It grows while it is written; sources and buttons come with its end."""
    model.enqueue(looking_up(*STEPS, pause_s=0.25))
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))

    async def growing() -> list[JSON]:
        return [one for one in await bot.slack.thread("C0HELP", ts) if one["streaming"] and one["text"]]

    (beginning,) = await eventually(growing)
    assert beginning["text"].startswith("To reset an API key"), "what is shown is shown in order"
    reply = await bot.reply("C0HELP", ts)
    assert reply["ts"] == beginning["ts"] and reply["text"].startswith(beginning["text"])
    assert all(step[:-1] in reply["text"] for step in STEPS)
    assert "*Sources*" in words_of(reply) and blocks_of(reply, "context_actions")
    methods = ("chat.startStream", "chat.appendStream", "chat.stopStream")
    counts = [len(await calls_for(bot, method, ts, reply["ts"])) for method in methods]
    assert counts[0] == counts[2] == 1 and counts[1] >= 2, counts
    assert not await calls_for(bot, "chat.update", ts, reply["ts"])


async def test_a_short_answer_is_posted_whole(bot: RunningBot, model: ScriptedModel) -> None:
    """A stream of two sentences would only flicker."""
    model.enqueue(looking_up(*STEPS[:2], pause_s=0.2))
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))
    reply = await bot.reply("C0HELP", ts)
    assert STEPS[1][:-1] in reply["text"] and reply["stream"] is None
    assert not await calls_for(bot, "chat.startStream", ts, "")


async def test_a_workspace_without_streams_gets_a_post(bot: RunningBot, model: ScriptedModel) -> None:
    """Older plans refuse chat.startStream; the answer is the same."""
    await bot.slack.fault("chat.startStream", error="not_allowed_token_type")
    model.enqueue(looking_up(*STEPS))
    reply = await bot.ask("U0MAYA", "C0HELP", at(RESET))
    assert all(step[:-1] in reply["text"] for step in STEPS) and reply["stream"] is None
    assert "*Sources*" in words_of(reply)


async def test_a_stream_that_dies_is_completed_by_an_update(bot: RunningBot, model: ScriptedModel) -> None:
    """Slack ends a stream when its time is over, which a slow model may exceed."""
    model.enqueue(looking_up(*STEPS, pause_s=0.8))
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))
    reply = await bot.reply("C0HELP", ts)
    assert all(step[:-1] in reply["text"] for step in STEPS)
    assert "*Sources*" in words_of(reply) and blocks_of(reply, "context_actions")
    assert await calls_for(bot, "chat.update", ts, reply["ts"])
    assert len(await settled(bot, "C0HELP", ts)) == 1


@pytest.mark.parametrize("count", [1, len(STEPS)], ids=["posted", "streamed"])
async def test_a_workspace_that_refuses_feedback_buttons_gets_plain_ones(
    bot: RunningBot, model: ScriptedModel, count: int
) -> None:
    """`context_actions` is not there everywhere, and one unknown block makes Slack refuse the whole message."""
    await bot.slack.fault("chat.postMessage" if count == 1 else "chat.stopStream", error="invalid_blocks")
    model.enqueue(looking_up(*STEPS[:count]))
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))
    reply = await bot.reply("C0HELP", ts)
    assert "*Sources*" in words_of(reply)
    assert [one["action_id"] for one in blocks_of(reply, "actions")[0]["elements"]] == ["feedback", "feedback_down"]
    assert (await bot.slack.press("U0MAYA", "C0HELP", reply["ts"], "feedback"))["outcome"] == "acknowledged"


# Changes of mind


async def test_an_edited_question_updates_its_answer(bot: RunningBot, model: ScriptedModel) -> None:
    """The same message now answers the new words; nobody is left with an answer to a question that is not there."""
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))
    first = await bot.reply("C0HELP", ts)
    model.enqueue(looking_up(SANDBOX))
    await bot.slack.edit("U0MAYA", "C0HELP", ts, at("How many requests per second does the sandbox allow?"))

    async def changed() -> list[JSON]:
        return [one for one in (await bot.slack.thread("C0HELP", ts))[1:] if "5 requests" in one["text"]]

    (reply,) = await eventually(changed)
    assert reply["ts"] == first["ts"]
    assert "https://docs.example/sandbox" in words_of(reply) and "docs.example/keys" not in words_of(reply)
    assert len(await settled(bot, "C0HELP", ts)) == 1


async def test_a_deleted_question_takes_its_answer_and_its_example_along(bot: RunningBot) -> None:
    """Deleting one's question is how one objects to what was made of it."""
    ts = await bot.slack.message("U0MAYA", "C0HELP", at("How do I reset an API key, step by step?"))
    reply = await bot.reply("C0HELP", ts)
    await bot.slack.press("U0MAYA", "C0HELP", reply["ts"], "feedback", "up")

    async def examples() -> list[Any]:
        return [line for line in await bot.exported() if "step by step" in json.dumps(line)]

    await eventually(examples)
    await bot.slack.delete("U0MAYA", "C0HELP", ts)

    async def is_gone() -> bool:
        return ts not in [one["ts"] for one in await bot.slack.history("C0HELP")]

    await eventually(is_gone)
    await until_idle(bot)
    assert await examples() == []


async def test_deleting_a_message_that_was_no_question_leaves_other_answers_alone(bot: RunningBot) -> None:
    """What people said to each other in a thread has no answer that could go with it."""
    ts = await bot.slack.message("U0MAYA", "C0HELP", at(RESET))
    await bot.reply("C0HELP", ts)
    said = await bot.slack.message("U0NOAH", "C0HELP", "I did that yesterday.", thread_ts=ts)
    await bot.slack.message("U0MAYA", "C0HELP", at("what is the price of the Sparrow plan?"), thread_ts=ts)
    await bot.slack.wait_for_reply("C0HELP", ts, count=2)
    await bot.slack.delete("U0NOAH", "C0HELP", said)
    assert len(await settled(bot, "C0HELP", ts)) == 2


# Other ways in


async def test_the_message_shortcut_answers_in_the_thread_of_that_message(bot: RunningBot) -> None:
    """Whoever sees an unanswered question of somebody else can pass it on."""
    ts = await bot.slack.message("U0NOAH", "C0HELP", RESET)
    outcome = await bot.slack.shortcut("U0MAYA", "C0HELP", ts, "ask_about_message")
    assert outcome["outcome"] == "acknowledged"
    reply = await bot.reply("C0HELP", ts)
    assert reply["thread_ts"] == ts and "[1]" in reply["text"]


async def test_the_message_shortcut_says_so_where_the_bot_may_not_write(bot: RunningBot) -> None:
    """It can be chosen in every conversation, also where nobody invited the bot."""
    ts = await bot.slack.message("U0NOAH", "C0RANDOM", RESET)
    before = len((await bot.slack.seen("U0MAYA"))["ephemerals"])
    await bot.slack.shortcut("U0MAYA", "C0RANDOM", ts, "ask_about_message")
    seen = await bot.slack.wait_for_ephemeral("U0MAYA", count=before + 1)
    assert "Invite me" in seen[-1]["text"]
    await bot.slack.join(BOT, "C0RANDOM")
    await bot.slack.shortcut("U0MAYA", "C0RANDOM", ts, "ask_about_message")
    assert "[1]" in (await bot.reply("C0RANDOM", ts))["text"]


async def test_the_home_tab_says_what_the_bot_does_and_what_it_stores(bot: RunningBot) -> None:
    """It is there when somebody opens it, with the commands."""
    await bot.slack.open_home("U0NOAH")

    async def home() -> JSON | None:
        return await bot.slack.home("U0NOAH")

    view = json.dumps(await eventually(home))
    assert "/support ask" in view and "What I store" in view
