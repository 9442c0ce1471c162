"""Step eight: what people teach the bot in Slack. Private answers with their asker's consent, corrections by a dialog,
review by cards, and tuning and versions by `/support`, each in force with the next answer."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.journal import Journal, example_id, now
from bot.learning.versions.register import MatrixNote, Register
from bot.vocabulary import Dataset, Example, ModelVersion, Passage, TuningJob
from bot.worker import open_queue
from handlers.inbox import Commanded
from handlers.modals.correction import Corrected
from tests.keys import holding
from tests.lessons import thread
from tests.local_slack import JSON
from tests.orchard import TAUGHT
from tests.running_bot import RunningBot, words_of
from tests.scripted_model import ScriptedModel
from tests.scripted_tuner import BASE, KEY, ScriptedTuner
from tests.small_library import bot_that_knows, eventually, looking_up, memory_of, page, until_idle, write_pages

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESET_FACT = "To reset an API key, open Settings and select Regenerate next to the key."
PAGES = {
    "keys": page("API keys", f"## Reset an API key\n\n{RESET_FACT}", url="https://docs.example/keys"),
    "sandbox": page("Sandbox", "## Limits\n\nThe sandbox allows 5 requests per second.", url="https://docs.example/s"),
}
BETTER = "Open Settings and select Regenerate next to the key."
NEW_FACT = "The old key stays valid for 45 minutes."
TEAM = "T0LOCAL"
DAYS = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tuner() -> AsyncIterator[ScriptedTuner]:
    async with ScriptedTuner(way=("queued", "succeeded")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(tmp_path_factory: pytest.TempPathFactory, tuner: ScriptedTuner) -> AsyncIterator[RunningBot]:
    """It quotes by itself; the versions of the stories answer at a scripted model."""
    folder = tmp_path_factory.mktemp("learning")
    async with ScriptedModel() as model:
        model.always(looking_up(RESET_FACT))
        urls = {
            "OPENAI_BASE_URL": model.base_url,
            "TUNER_BASE_URL": tuner.base_url,
            "TUNER_API_KEY": KEY,
            "TUNER_MODEL": BASE,
        }
        async with bot_that_knows(folder, PAGES, ADMIN_USERS="U0PRIYA", **urls) as running:
            yield running


def question() -> str:
    """A question that nobody has asked yet."""
    return f"How do I reset an API key on day {next(DAYS)}?"


async def answered(bot: RunningBot, channel: str = "C0HELP", user: str = "U0MAYA") -> JSON:
    mention = "" if channel.startswith("D") else "<@U0FOOTNOTE> "
    reply = await bot.ask(user, channel, mention + question())
    return reply | {"channel": channel, "question_id": f"{TEAM}:{channel}:{reply['thread_ts']}"}


async def told(bot: RunningBot, user: str, before: int) -> JSON:
    """What somebody is told alone, behind so many things that were told before."""
    return (await bot.slack.wait_for_ephemeral(user, count=before + 1))[before]


async def whispers(bot: RunningBot, user: str) -> list[JSON]:
    return list((await bot.slack.seen(user))["ephemerals"])


async def said_to(bot: RunningBot, user: str, command: str, channel: str = "C0HELP") -> str:
    """The answer to a command, blocks included."""
    return words_of(json.loads(await bot.command(user, channel, command)))


async def example_of(bot: RunningBot, question_id: str, *, is_correction: bool = False) -> Example | None:
    await until_idle(bot)
    async with memory_of(bot) as memory:
        return await Journal(memory.redis, TEAM).example(example_id(question_id, is_correction=is_correction))


# Consent


async def ask_consent(bot: RunningBot, user: str = "U0MAYA") -> tuple[JSON, JSON]:
    """A private answer that its asker likes, and the question whether it may become an example."""
    reply = await answered(bot, await bot.slack.open_dm(user), user)
    before = len(await whispers(bot, user))
    await bot.slack.press(user, reply["channel"], reply["ts"], "feedback", "up")
    return reply, await told(bot, user, before)


async def test_an_asker_who_agrees_makes_an_example_of_a_private_answer(bot: RunningBot) -> None:
    """The question says who will see it and how to take it back; the thanks stand in its place."""
    reply, asked = await ask_consent(bot)
    for part in ("Only you have seen this answer", "the admins of this workspace read it", "take back your 👍"):
        assert part in asked["text"]
    assert await example_of(bot, reply["question_id"]) is None
    await bot.slack.press("U0MAYA", reply["channel"], asked["ts"], "consent_yes")
    example = await example_of(bot, reply["question_id"])
    assert example and (example.status, example.audience, example.asked_by) == ("candidate", "workspace", "U0MAYA")
    (thanks,) = [one for one in await whispers(bot, "U0MAYA") if one["ts"] == asked["ts"]]
    assert "I proposed it as an example" in thanks["text"] and not thanks["blocks"]


async def test_agreeing_twice_makes_one_example(bot: RunningBot) -> None:
    """Whoever presses twice, or 👍 again, changes nothing."""
    reply, asked = await ask_consent(bot)
    await bot.slack.press("U0MAYA", reply["channel"], asked["ts"], "consent_yes")
    first = await example_of(bot, reply["question_id"])
    before = len(await whispers(bot, "U0MAYA"))
    await bot.slack.press("U0MAYA", reply["channel"], reply["ts"], "feedback", "up")
    assert "May your question" not in (await told(bot, "U0MAYA", before))["text"]
    second = await example_of(bot, reply["question_id"])
    assert first and second and second.created_at == first.created_at


async def test_who_says_no_is_left_alone(bot: RunningBot) -> None:
    """The verdict stays, and nothing else."""
    reply, asked = await ask_consent(bot)
    await bot.slack.press("U0MAYA", reply["channel"], asked["ts"], "consent_no")
    assert await example_of(bot, reply["question_id"]) is None
    (answer,) = [one for one in await whispers(bot, "U0MAYA") if one["ts"] == asked["ts"]]
    assert answer["text"] == "All right: it stays between us."


@pytest.mark.parametrize("way", ["thumb", "deletion", "reaction"])
async def test_what_was_agreed_to_can_be_taken_back(bot: RunningBot, way: str) -> None:
    """By 👎, by deleting the question, or by removing the reaction that the 👍 was."""
    if way == "reaction":
        reply = await answered(bot, await bot.slack.open_dm("U0NOAH"), "U0NOAH")
        before = len(await whispers(bot, "U0NOAH"))
        await bot.slack.react("U0NOAH", reply["channel"], reply["ts"], "+1")
        asked, user = await told(bot, "U0NOAH", before), "U0NOAH"
    else:
        (reply, asked), user = await ask_consent(bot), "U0MAYA"
    await bot.slack.press(user, reply["channel"], asked["ts"], "consent_yes")
    assert await example_of(bot, reply["question_id"])
    if way == "thumb":
        await bot.slack.press(user, reply["channel"], reply["ts"], "feedback", "down")
        await close_modals(bot, user)
    elif way == "deletion":
        await bot.slack.delete(user, reply["channel"], reply["thread_ts"])
    else:
        await bot.slack.react(user, reply["channel"], reply["ts"], "+1", True)

    async def is_gone() -> bool:
        return await example_of(bot, reply["question_id"]) is None

    await eventually(is_gone)


async def test_the_answer_to_a_command_is_private_too(bot: RunningBot) -> None:
    """It is asked about where it was given, in the channel, and seen by its asker alone."""
    answer = json.loads(await bot.command("U0NOAH", "C0HELP", f"ask {question()}"))
    before = len(await whispers(bot, "U0NOAH"))
    await bot.slack.press("U0NOAH", "C0HELP", answer["ts"], "feedback", "up")
    asked = await told(bot, "U0NOAH", before)
    assert "May your question" in asked["text"]
    await bot.slack.press("U0NOAH", "C0HELP", asked["ts"], "consent_yes")
    (value,) = [
        button["value"] for block in asked["blocks"] for button in block.get("elements", []) if "value" in button
    ][:1]
    assert await example_of(bot, value)


async def test_privacy_says_what_consent_means(bot: RunningBot) -> None:
    """To everybody who asks."""
    privacy = await said_to(bot, "U0GUEST", "privacy", "C0GENERAL")
    assert "unless you are asked below your 👍 and agree" in privacy and "forgotten" in privacy


# Corrections


async def close_modals(bot: RunningBot, user: str) -> None:
    for modal in (await bot.slack.seen(user))["modals"]:
        await bot.slack.post("close_view", user=user, view_id=modal["view_id"])


async def press_down(bot: RunningBot, reply: JSON, user: str = "U0MAYA") -> JSON:
    """Presses 👎 and gives the dialog that opens at once."""
    await close_modals(bot, user)
    await bot.slack.press(user, reply["channel"], reply["ts"], "feedback", "down")
    (modal,) = (await bot.slack.seen(user))["modals"]
    await until_idle(bot)
    return dict(modal)


async def send(bot: RunningBot, modal: JSON, user: str = "U0MAYA", **values: str) -> str:
    """Sends the dialog and gives the private note about it."""
    before = len(await whispers(bot, user))
    sent = await bot.slack.submit(user, modal["view_id"], values)
    assert sent["outcome"] == "acknowledged" and sent["response_action"] is None
    return str((await told(bot, user, before))["text"])


async def test_a_thumbs_down_asks_at_once_what_was_wrong(bot: RunningBot) -> None:
    """The verdict is kept before the dialog is answered, or if it never is."""
    reply = await answered(bot)
    modal = await press_down(bot, reply)
    assert modal["view"]["title"]["text"] == "What was wrong?"
    assert modal["view"]["blocks"][1]["element"]["max_length"] == 3_000
    async with memory_of(bot) as memory:
        (verdict,) = await Journal(memory.redis, TEAM).verdicts(reply["question_id"])
    assert verdict.is_helpful is False and verdict.reason == ""


async def test_the_reason_alone_is_kept_with_the_verdict(bot: RunningBot) -> None:
    """Nobody has to know better to say that something is wrong."""
    reply = await answered(bot)
    modal = await press_down(bot, reply)
    assert await send(bot, modal, reason="outdated") == "Thank you, I noted what was wrong."
    async with memory_of(bot) as memory:
        (verdict,) = await Journal(memory.redis, TEAM).verdicts(reply["question_id"])
    assert (verdict.user_id, verdict.is_helpful, verdict.reason) == ("U0MAYA", False, "It is out of date")
    assert await example_of(bot, reply["question_id"], is_correction=True) is None


async def test_a_better_answer_that_a_page_holds_becomes_a_candidate(bot: RunningBot) -> None:
    """With the page cited, and the bot's own answer kept as the one that it is preferred to."""
    reply = await answered(bot)
    note = await send(bot, await press_down(bot, reply), reason="format", answer=BETTER)
    example = await example_of(bot, reply["question_id"], is_correction=True)
    assert note == "Thank you. I proposed it as an example; an admin reviews it."
    assert example and example.origin == "correction" and example.produced_by == "human"
    assert example.answer == "Open Settings and select Regenerate next to the key [1]."
    assert example.refused_answer == reply["text"] and example.liked_by == ("U0MAYA",)


async def test_a_fact_that_no_page_holds_becomes_a_draft_page_with_an_owner(bot: RunningBot) -> None:
    """The example waits for it, the person is told, and admins find the page in a list; once a page says so, the
    example can be approved and the draft page is gone."""
    reply = await answered(bot)
    note = await send(bot, await press_down(bot, reply), reason="incomplete", answer=f"{BETTER} {NEW_FACT}")
    found = re.search(r"draft page `(page-\w+)`", note)
    assert found and "with you as its owner" in note
    pages = await said_to(bot, "U0ADMIN", "examples pages")
    assert found[1] in pages and "owner <@U0MAYA>" in pages and NEW_FACT in pages
    example = await example_of(bot, reply["question_id"], is_correction=True)
    assert example and "waits for the draft page" in await said_to(bot, "U0ADMIN", f"examples approve {example.id}")
    grace = page("Old keys", f"## After the reset of an API key\n\n{NEW_FACT}", url="https://docs.example/old")
    await bot.ingest(str(write_pages(bot.data_dir.parent / "pages", PAGES | {"old": grace})))
    await said_to(bot, "U0ADMIN", "examples")
    assert f"`{example.id}` is approved" in await said_to(bot, "U0ADMIN", f"examples approve {example.id}")
    assert "No draft page waits" in await said_to(bot, "U0ADMIN", "examples pages")


async def test_secrets_in_a_correction_are_written_down_nowhere(bot: RunningBot) -> None:
    """Neither in the queue nor in the example."""
    reply = await answered(bot)
    await send(bot, await press_down(bot, reply), reason="wrong", answer=f"{BETTER} Or ask zoe.correct@example.org.")
    await until_idle(bot)
    async with memory_of(bot) as memory:
        assert not await holding(memory, "zoe.correct@example.org")


@pytest.mark.parametrize("fault", [{"error": "expired_trigger_id"}, {"status": 500}, {"delay_s": 4}])
async def test_a_dialog_that_slack_does_not_open_is_told_and_the_verdict_kept(bot: RunningBot, fault: JSON) -> None:
    """An expired trigger, a Slack that fails, one that takes too long: pressing again is all there is to do."""
    reply = await answered(bot)
    await close_modals(bot, "U0MAYA")
    before = len(await whispers(bot, "U0MAYA"))
    await bot.slack.fault("views.open", **fault)
    pressed = await bot.slack.press("U0MAYA", "C0HELP", reply["ts"], "feedback", "down")
    assert pressed["outcome"] == "acknowledged"
    texts = [one["text"] for one in (await bot.slack.wait_for_ephemeral("U0MAYA", count=before + 2))[before:]]
    assert any("press 👎 again" in text for text in texts) and "Thank you, I noted that." in texts
    assert (await press_down(bot, reply))["view"]["callback_id"] == "correction"


async def test_a_reaction_opens_no_dialog(bot: RunningBot) -> None:
    """Slack gives no leave to open one; the verdict is kept all the same."""
    reply = await answered(bot)
    await close_modals(bot, "U0NOAH")
    await bot.slack.react("U0NOAH", "C0HELP", reply["ts"], "-1")

    async def verdicts() -> list[Any]:
        async with memory_of(bot) as memory:
            return await Journal(memory.redis, TEAM).verdicts(reply["question_id"])

    assert [one.is_helpful for one in await eventually(verdicts)] == [False]
    assert not (await bot.slack.seen("U0NOAH"))["modals"]


async def test_a_correction_of_a_private_answer_asks_for_consent(bot: RunningBot) -> None:
    """Until its asker agrees, nobody can read the example, admins included."""
    reply = await answered(bot, await bot.slack.open_dm("U0MAYA"))
    modal = await press_down(bot, reply)
    before = len(await whispers(bot, "U0MAYA"))
    await bot.slack.submit("U0MAYA", modal["view_id"], {"reason": "format", "answer": BETTER})
    note = await told(bot, "U0MAYA", before)
    example = await example_of(bot, reply["question_id"], is_correction=True)
    assert example and example.audience == "nobody"
    assert "stays between us" in words_of(note) and "proposed" not in words_of(note)
    await bot.slack.press("U0MAYA", reply["channel"], note["ts"], "consent_yes")
    example = await example_of(bot, reply["question_id"], is_correction=True)
    assert example and example.audience == "workspace"


async def test_a_correction_of_a_deleted_question_is_told_so(bot: RunningBot) -> None:
    """The dialog was still open."""
    reply = await answered(bot)
    modal = await press_down(bot, reply)
    await bot.slack.delete("U0MAYA", "C0HELP", reply["thread_ts"])
    await until_idle(bot)
    assert "no longer there" in await send(bot, modal, reason="wrong", answer=BETTER)


async def test_the_note_comes_directly_when_the_dialog_was_open_for_too_long(bot: RunningBot) -> None:
    """Slack takes answers to a press for half an hour only."""
    reply, dm = await answered(bot), await bot.slack.open_dm("U0MAYA")
    corrected = Corrected(
        user_id="U0MAYA",
        question_id=reply["question_id"],
        reason="other",
        answer="",
        at_s=time.time(),
        response_url=f"{bot.slack.url}/response/expired",
    )
    async with memory_of(bot) as memory, open_queue(memory.docket_url, Journal(memory.redis, TEAM)) as queue:
        await queue.add("correct", corrected.model_dump_json(), key="late", thread="late")
    await until_idle(bot)
    assert (await bot.slack.history(dm))[-1]["text"] == "Thank you, I noted what was wrong."


async def test_a_dialog_works_over_http_too(tmp_path: Path) -> None:
    """Signed requests bring the press and the dialog, as Socket Mode does."""
    async with bot_that_knows(tmp_path, PAGES, over_http=True) as http_bot:
        reply = await answered(http_bot)
        note = await send(http_bot, await press_down(http_bot, reply), reason="format", answer=BETTER)
        assert "I proposed it as an example" in note


# Review


async def put(bot: RunningBot, number: int, **changes: Any) -> Example:
    """Stores an example as an import would: about a fact of its own, with the page that holds it."""
    fact = TAUGHT[number]
    passage = Passage(
        id=f"import-{number}",
        document_id=f"d{number}",
        source="import",
        title=fact.title,
        text=fact.fact,
        audience="workspace",
    )
    fields = {
        "id": f"ex-{number:08}",
        "team_id": TEAM,
        "question_id": f"{TEAM}:import:{number}",
        "question": fact.question,
        "answer": f"{fact.fact[:-1]} [1].",
        "passages": (passage,),
        "audience": "workspace",
        "produced_by": "human",
        "provider": "human",
        "origin": "import",
        "thread": thread(number),
        "liked_by": ("U0NOAH",),
        "created_at": now(),
    }
    example = Example.model_validate(fields | changes)
    async with memory_of(bot) as memory:
        await Journal(memory.redis, TEAM).keep_example(example)
    return example


@pytest_asyncio.fixture(loop_scope="module")
async def nothing_waits(bot: RunningBot) -> None:
    """The examples of the stories before are erased."""
    await until_idle(bot)
    async with memory_of(bot) as memory:
        journal = Journal(memory.redis, TEAM)
        await journal.erase_examples([one.id for one in await journal.examples()])


async def cards(bot: RunningBot, user: str = "U0ADMIN") -> JSON:
    """The message with the cards, as this admin has it before him or her."""
    return dict(json.loads(await bot.command(user, "C0HELP", "examples")))


async def after_press(
    bot: RunningBot, message: JSON, what: str, value: str | None = None, user: str = "U0ADMIN"
) -> str:
    """Presses a button below a card, and gives all that stands there then."""
    await bot.slack.press(user, "C0HELP", message["ts"], f"review_{what}", value)
    await until_idle(bot)
    (seen,) = [one for one in await whispers(bot, user) if one["ts"] == message["ts"]]
    return words_of(seen)


def value_of(message: JSON, what: str, id: str) -> str:
    """What the button of an example carries."""
    for block in message["blocks"]:
        for element in block.get("elements", []):
            if element.get("action_id") == f"review_{what}" and json.loads(element["value"])[0] == id:
                return str(element["value"])
    raise AssertionError(f"no button to {what} {id}")


@pytest.mark.usefixtures("nothing_waits")
async def test_a_card_shows_all_that_a_decision_needs(bot: RunningBot) -> None:
    """The question, the answer, the passages with title and quote, where it came from, what is wrong, three buttons."""
    example = await put(bot, 1, origin="vote", problems=("It is only a test.",))
    shown = await cards(bot)
    words = words_of(shown)
    for part in (
        example.question,
        example.answer,
        TAUGHT[1].title,
        f">{TAUGHT[1].fact}",
        "liked by <@U0NOAH>",
        "by human",
    ):
        assert part in words
    assert "It is only a test." in words and "1 waits for review · 0 of 500 approved" in words
    assert [one["text"]["text"] for one in shown["blocks"][-1]["elements"]] == ["Approve", "Edit", "Reject"]


@pytest.mark.usefixtures("nothing_waits")
async def test_a_card_is_replaced_by_what_was_decided(bot: RunningBot) -> None:
    """The others stay, with their buttons."""
    first, second = await put(bot, 1), await put(bot, 2)
    shown = await cards(bot)
    after = await after_press(bot, shown, "approve", value_of(shown, "approve", first.id))
    assert "✅ approved by <@U0ADMIN> · 1 of 500 approved" in after and first.answer not in after
    assert second.answer in after
    after = await after_press(bot, shown, "reject", value_of(shown, "reject", second.id))
    assert "🚫 rejected by <@U0ADMIN>" in after and second.answer not in after and "0 wait for review" in after


@pytest.mark.usefixtures("nothing_waits")
async def test_the_second_of_two_admins_is_told_that_it_was_decided(bot: RunningBot) -> None:
    """And changes nothing; so is whoever presses twice."""
    example = await put(bot, 1)
    hers, his = await cards(bot, "U0ADMIN"), await cards(bot, "U0PRIYA")
    await after_press(bot, hers, "approve")
    again = await after_press(bot, his, "reject", user="U0PRIYA")
    assert "decided on before you pressed" in again and "✅ approved by <@U0ADMIN>" in again
    async with memory_of(bot) as memory:
        stored = await Journal(memory.redis, TEAM).example(example.id)
    assert stored and (stored.status, stored.reviewed_by) == ("approved", "U0ADMIN")


@pytest.mark.usefixtures("nothing_waits")
async def test_two_admins_who_press_in_the_same_moment_decide_once(bot: RunningBot) -> None:
    """Whoever comes first decides, and both then read the same."""
    await put(bot, 1)
    hers, his = await cards(bot, "U0ADMIN"), await cards(bot, "U0PRIYA")
    first, second = await asyncio.gather(
        after_press(bot, hers, "approve"), after_press(bot, his, "reject", user="U0PRIYA")
    )
    outcomes = {"✅ approved by <@U0ADMIN>", "🚫 rejected by <@U0PRIYA>"}
    (decided,) = [one for one in outcomes if one in first]
    assert decided in second and ("before you pressed" in first) != ("before you pressed" in second)


@pytest.mark.usefixtures("nothing_waits")
async def test_what_is_erased_meanwhile_cannot_be_decided_on(bot: RunningBot) -> None:
    """The press says so; nothing comes back to life."""
    example = await put(bot, 1)
    shown = await cards(bot)
    async with memory_of(bot) as memory:
        await Journal(memory.redis, TEAM).erase_examples([example.id])
    after = await after_press(bot, shown, "approve")
    assert "There is no example" in after and example.answer not in after
    async with memory_of(bot) as memory:
        assert not await Journal(memory.redis, TEAM).examples()


@pytest.mark.usefixtures("nothing_waits")
async def test_an_example_with_problems_is_not_approved_by_a_button(bot: RunningBot) -> None:
    """The reason stands above the cards."""
    await put(bot, 1, answer="It takes 99 minutes [1].")
    after = await after_press(bot, await cards(bot), "approve")
    assert "cannot be approved" in after and "99" in after and "1 waits for review" in after


async def dialog(bot: RunningBot, user: str = "U0ADMIN") -> JSON:
    """The dialog for editing, once it is filled."""

    async def filled() -> Any:
        modals = (await bot.slack.seen(user))["modals"]
        return [one for one in modals if any("element" in block for block in one["view"]["blocks"])]

    (modal,) = await eventually(filled)
    return dict(modal)


@pytest.mark.usefixtures("nothing_waits")
async def test_what_was_not_seen_is_not_approved(bot: RunningBot) -> None:
    """A correction has replaced the answer since the card was drawn: the press draws the new card, and approves that
    one only when it is pressed again."""
    example = await put(bot, 1)
    shown = await cards(bot)
    other = f"At Heronpost, {example.answer[0].lower()}{example.answer[1:]}"
    await put(bot, 1, answer=other)
    after = await after_press(bot, shown, "approve")
    assert "has other words than you saw" in after and other in after and "1 waits for review" in after
    async with memory_of(bot) as memory:
        stored = await Journal(memory.redis, TEAM).example(example.id)
    assert stored and (stored.status, stored.reviewed_by) == ("candidate", None)
    (seen,) = [one for one in await whispers(bot, "U0ADMIN") if one["ts"] == shown["ts"]]
    assert "other words" not in await after_press(bot, seen, "reject")


@pytest.mark.usefixtures("nothing_waits")
async def test_what_was_not_seen_is_not_approved_by_its_id_either(bot: RunningBot) -> None:
    """What counts is what this very admin was shown; whoever was shown nothing of it names it at an own risk."""
    example = await put(bot, 1)
    await cards(bot, "U0ADMIN")
    await put(bot, 1, question=f"{example.question} Please?")
    assert "has other words than you saw" in await said_to(bot, "U0ADMIN", f"examples approve {example.id}")
    await cards(bot, "U0ADMIN")
    assert "is approved" in await said_to(bot, "U0ADMIN", f"examples approve `{example.id}`")


@pytest.mark.usefixtures("nothing_waits")
async def test_the_later_of_two_who_edit_does_not_overwrite_unseen(bot: RunningBot) -> None:
    """He sees what she has saved, and gets back what he wrote."""
    example = await put(bot, 1)
    hers, his = await cards(bot, "U0ADMIN"), await cards(bot, "U0PRIYA")
    for user, message in (("U0ADMIN", hers), ("U0PRIYA", his)):
        await bot.slack.press(user, "C0HELP", message["ts"], "review_edit")
    first, second = await dialog(bot, "U0ADMIN"), await dialog(bot, "U0PRIYA")
    await bot.slack.submit("U0ADMIN", first["view_id"], {"answer": f"Indeed: {TAUGHT[1].fact}"})
    await until_idle(bot)
    await bot.slack.submit("U0PRIYA", second["view_id"], {"answer": f"In short: {TAUGHT[1].fact}"})
    await until_idle(bot)
    (seen,) = [one for one in await whispers(bot, "U0PRIYA") if one["ts"] == his["ts"]]
    words = words_of(seen)
    assert "has other words than you saw" in words and "Indeed: " in words and f"In short: {TAUGHT[1].fact}" in words
    async with memory_of(bot) as memory:
        stored = await Journal(memory.redis, TEAM).example(example.id)
    assert stored and stored.answer.startswith("Indeed: ") and stored.reviewed_by == "U0ADMIN"


@pytest.mark.usefixtures("nothing_waits")
async def test_an_answer_is_edited_in_a_dialog_and_checked_again(bot: RunningBot) -> None:
    """The dialog holds the answer and the passages that it is held against; what is sent stands on the card, with the
    marks that hold."""
    example = await put(bot, 1)
    shown = await cards(bot)
    await bot.slack.press("U0ADMIN", "C0HELP", shown["ts"], "review_edit")
    modal = await dialog(bot)
    assert modal["view"]["blocks"][1]["element"]["initial_value"] == example.answer
    passage, shown_below = example.passages[0], json.dumps(modal["view"]["blocks"][2:], ensure_ascii=False)
    assert "*[1]*" in shown_below and passage.title in shown_below and passage.text in shown_below
    await bot.slack.submit("U0ADMIN", modal["view_id"], {"answer": TAUGHT[1].fact})
    await until_idle(bot)
    (seen,) = [one for one in await whispers(bot, "U0ADMIN") if one["ts"] == shown["ts"]]
    assert f"`{example.id}` has a new answer" in words_of(seen) and example.answer in words_of(seen)
    assert "✅ approved" in await after_press(bot, seen, "approve")


@pytest.mark.usefixtures("nothing_waits")
async def test_what_was_decided_is_not_edited_any_more(bot: RunningBot) -> None:
    """The dialog says who was faster."""
    await put(bot, 1)
    hers, his = await cards(bot, "U0ADMIN"), await cards(bot, "U0PRIYA")
    await after_press(bot, hers, "approve")
    await bot.slack.press("U0PRIYA", "C0HELP", his["ts"], "review_edit")
    await until_idle(bot)
    (modal,) = (await bot.slack.seen("U0PRIYA"))["modals"]
    assert "Somebody has decided meanwhile" in json.dumps(modal["view"]) and modal["view"]["submit"] is None
    await close_modals(bot, "U0PRIYA")


@pytest.mark.usefixtures("nothing_waits")
async def test_a_dialog_for_editing_that_does_not_open_is_told(bot: RunningBot) -> None:
    """As with every dialog."""
    await put(bot, 1)
    shown = await cards(bot)
    before = len(await whispers(bot, "U0ADMIN"))
    await bot.slack.fault("views.open", error="expired_trigger_id")
    await bot.slack.press("U0ADMIN", "C0HELP", shown["ts"], "review_edit")
    assert "Press Edit again" in (await told(bot, "U0ADMIN", before))["text"]


@pytest.mark.usefixtures("nothing_waits")
async def test_many_examples_come_page_by_page(bot: RunningBot) -> None:
    """Each message keeps within Slack's 50 blocks, however long the answers and many the passages are."""
    many = [await put(bot, number) for number in range(1, 13)]
    long = many[0].model_copy(update={"passages": many[0].passages * 8, "problems": ("It is long. " * 300,)})
    async with memory_of(bot) as memory:
        await Journal(memory.redis, TEAM).keep_example(long.model_copy(update={"answer": "Long words. " * 250}))
    shown = await cards(bot)
    seen = [one.id for one in many if one.id in words_of(shown)]
    for _ in range(2):
        words = await after_press(bot, shown, "page")
        seen += [one.id for one in many if one.id in words]
        (shown,) = [one for one in await whispers(bot, "U0ADMIN") if one["ts"] == shown["ts"]]
    assert seen == [one.id for one in many] and "review_page" not in words


async def test_a_person_is_forgotten_with_all_that_was_learned(bot: RunningBot) -> None:
    """And every dataset and version that saw it is named, and each copy that is for an admin to delete."""
    reply = await answered(bot, user="U0PRIYA")
    await bot.slack.press("U0PRIYA", "C0HELP", reply["ts"], "feedback", "up")
    example = await example_of(bot, reply["question_id"])
    assert example
    async with memory_of(bot) as memory:
        register, digest, times = Register(memory.redis, TEAM), "d" * 64, {"created_at": now(), "updated_at": now()}
        await register.keep_dataset(Dataset(digest=digest, example_ids=(example.id,), created_at=now()))
        job = {"base": "base", "server": "tuner.example", "file_id": "file-7", "status": "succeeded"}
        await register.keep_job(TuningJob.model_validate({"dataset": digest} | job | times))
    shown = await said_to(bot, "U0ADMIN", "examples forget <@U0PRIYA|priya>")
    assert re.search(r"^.*1 example and 0 draft pages that rested on <@U0PRIYA> are erased", shown)
    assert "1 copy elsewhere, for you to delete:" in shown and "file-7 at tuner.example" in shown
    assert f"Datasets that held them: `{digest[:12]}`" in shown
    assert await example_of(bot, reply["question_id"]) is None
    async with memory_of(bot) as memory:
        for kind in ("datasets", "jobs"):
            await memory.redis.hdel(Register(memory.redis, TEAM).key(kind), digest)


# Training and versions


@pytest.mark.usefixtures("nothing_waits")
async def test_training_is_refused_below_the_wanted_number_and_says_how_it_stands(bot: RunningBot) -> None:
    """Without examples, with few, and how many are there."""
    await put(bot, 1, status="approved", reviewed_by="U0ADMIN")
    assert "1 of 500 approved, 1 may be trained on" in await said_to(bot, "U0ADMIN", "train")
    assert "1 of 500 examples may be trained on" in await said_to(bot, "U0ADMIN", "train start")
    refused = await said_to(bot, "U0ADMIN", "train start few")
    assert "fewer than 10" in refused and "`/support examples`" in refused and "train review" not in refused


@pytest.mark.usefixtures("nothing_waits")
async def test_few_examples_are_tuned_on_and_the_end_is_told_to_whoever_began(
    bot: RunningBot, tuner: ScriptedTuner
) -> None:
    """One job, however often it is started; the version is there, marked as of few, and not live."""
    for number in range(1, 15):
        await put(bot, number, status="approved", reviewed_by="U0ADMIN")
    dm = await bot.slack.open_dm("U0ADMIN")
    started = await said_to(bot, "U0ADMIN", "train start few")
    assert "I tell you when it has ended" in started and "by heart" in started
    assert "on dataset" in await said_to(bot, "U0PRIYA", "train start few")

    async def news() -> list[str]:
        return [one["text"] for one in await bot.slack.history(dm) if "tuning of" in one["text"]]

    (text,) = await eventually(news, 40)
    assert len(tuner.jobs) == 1
    found = re.search(r"it is `(v\d+)`, and not live yet", text)
    assert found, text
    status, model = await said_to(bot, "U0ADMIN", "train"), await said_to(bot, "U0ADMIN", "model")
    assert "12 examples, few" in status and "succeeded" in status
    assert f"`{found[1]}`" in model and "12 examples (few) · not measured" in model and "*Live* quoting" in model


async def versions(bot: RunningBot, *models: str) -> list[str]:
    """Registers versions that answer at the scripted model; gives their ids."""
    async with memory_of(bot) as memory:
        register = Register(memory.redis, TEAM)
        made = [ModelVersion(id="", model=model, prompt="one_line", created_at=now()) for model in models]
        return [(await register.add_version(one)).id for one in made]


async def footer(bot: RunningBot, channel: str = "C0HELP", user: str = "U0MAYA") -> str:
    """The footer of the next answer."""
    reply = await answered(bot, channel, user)
    return str(reply["blocks"][-2]["elements"][0]["text"])


async def test_a_version_is_promoted_with_a_reason_and_rolled_back_with_the_next_answer(bot: RunningBot) -> None:
    """No restart; the footer names the version; every decision is listed."""
    (id,) = await versions(bot, "ft-one")
    refused = await said_to(bot, "U0ADMIN", f"model promote {id}")
    assert f"/support model gate {id}" in refused and f"/support model promote {id} override: REASON" in refused
    promoted = await said_to(bot, "U0ADMIN", f"model promote {id} override: the demo is today")
    assert f"`{id}` is live everywhere" in promoted
    assert f"ft-one ({id})" in await footer(bot)
    model = await said_to(bot, "U0ADMIN", "model")
    assert f"*Live* `{id}` ft-one" in model and "gate overridden" in model and "the demo is today" in model
    assert "is live again" in await said_to(bot, "U0PRIYA", "model rollback it is too short")
    assert "quoted word for word" in await footer(bot)
    assert "rolled back" in await said_to(bot, "U0ADMIN", "model")
    assert "nothing to roll back to" in await said_to(bot, "U0ADMIN", "model rollback")


@asynccontextmanager
async def taking(*statuses: int) -> AsyncIterator[tuple[str, list[str]]]:
    """An address for private answers that gives these statuses in turn; and the texts that came there."""
    given, texts = iter(statuses), list[str]()

    async def take(request: web.Request) -> web.Response:
        texts.append((await request.json())["text"])
        return web.Response(status=next(given))

    app = web.Application()
    app.router.add_post("/", take)
    async with TestServer(app) as server:
        yield str(server.make_url("/")), texts


async def carried_out(bot: RunningBot, text: str, *urls: str, at_s: float | None = None) -> None:
    """Lets the worker carry out a command once for each address, each time as the same one of U0ADMIN's."""
    async with memory_of(bot) as memory, open_queue(memory.docket_url, Journal(memory.redis, TEAM)) as queue:
        for url in urls:
            command = Commanded(
                user_id="U0ADMIN",
                user_team_id=TEAM,
                channel_id="C0HELP",
                text=text,
                response_url=url,
                trigger_id=text,
                at_s=at_s or time.time(),
            )
            await queue.add("command", command.model_dump_json(), key=f"{text}{url}", thread="U0ADMIN:command")
    await until_idle(bot)


@pytest_asyncio.fixture(loop_scope="module")
async def three_live(bot: RunningBot) -> AsyncIterator[list[str]]:
    """Three versions, promoted one after the other; in the end the configured one answers again."""
    ids = await versions(bot, "ft-step-1", "ft-step-2", "ft-step-3")
    async with memory_of(bot) as memory:
        register = Register(memory.redis, TEAM)
        for id in ids:
            await register.promote(id, "U0ADMIN")
        yield ids
        await memory.redis.delete(register.key("routing"))


async def live(bot: RunningBot) -> str:
    async with memory_of(bot) as memory:
        return (await Register(memory.redis, TEAM).routing()).live


async def test_a_rollback_whose_answer_is_not_taken_at_once_is_one_step_back(
    bot: RunningBot, three_live: list[str]
) -> None:
    """Slack fails twice, so that the command is carried out three times; each time it tells the same."""
    async with taking(500, 500, 200) as (url, texts):
        await carried_out(bot, "model rollback once", url)
    assert await live(bot) == three_live[1]
    assert texts == [f"`{three_live[1]}` is live again, from the next answer on; no canary is left."] * 3


async def test_a_command_that_is_delivered_twice_decides_once(bot: RunningBot, three_live: list[str]) -> None:
    """Also when its answer came through the first time; so it is with a promotion and a canary."""
    async with taking(*[200] * 6) as (url, texts):
        for text in (
            "model rollback twice",
            f"model promote {three_live[0]} override: we go back",
            f"model canary {three_live[2]} <#C0GENERAL|general> override: we try it",
        ):
            await carried_out(bot, text, url, f"{url}?again")
    assert await live(bot) == three_live[0] and texts[::2] == texts[1::2]
    async with memory_of(bot) as memory:
        decisions = await Register(memory.redis, TEAM).decisions()
    assert [one.what for one in decisions[:5]] == [
        *("canary in C0GENERAL", "gate overridden", "promoted", "gate overridden", "rolled back")
    ]


async def test_the_second_of_two_rollbacks_hears_that_somebody_was_faster(
    bot: RunningBot, three_live: list[str]
) -> None:
    """It was given before the first one was carried out, and meant the same step."""
    given_at = time.time()
    async with taking(200, 200) as (url, texts):
        for text in ("model rollback hers", "model rollback his"):
            await carried_out(bot, text, url, at_s=given_at)
    assert await live(bot) == three_live[1]
    assert "somebody was faster" in texts[1] and "`/support model rollback` once more" in texts[1]


async def test_whoever_cannot_be_answered_any_more_is_told_directly(bot: RunningBot, three_live: list[str]) -> None:
    """The address of the command is dead: it has acted, and says so, not that it failed."""
    dm = await bot.slack.open_dm("U0ADMIN")
    async with taking(404) as (url, _):
        await carried_out(bot, "model rollback late", url)
    assert f"`{three_live[1]}` is live again" in (await bot.slack.history(dm))[-1]["text"]


async def test_a_canary_answers_in_its_channel_only(bot: RunningBot) -> None:
    """Until it is ended."""
    (id,) = await versions(bot, "ft-two")
    command = f"model canary {id} <#C0GENERAL|general> override: we try it"
    write_pages(bot.data_dir.parent / "pages", PAGES)
    assert f"`{id}` answers in <#C0GENERAL>" in await said_to(bot, "U0ADMIN", command)
    assert "*Canary* in <#C0GENERAL>" in await said_to(bot, "U0ADMIN", "model")
    async with memory_of(bot) as memory:
        routing = await Register(memory.redis, TEAM).routing()
    assert routing.version_for("C0GENERAL") == id and routing.version_for("C0HELP") != id
    assert "quoted word for word" in await footer(bot)
    assert "answers in <#C0GENERAL> again" in await said_to(bot, "U0ADMIN", "model canary end <#C0GENERAL|general>")
    assert "There is no canary" in await said_to(bot, "U0ADMIN", "model canary end <#C0GENERAL|general>")


async def test_a_gate_is_queued_and_its_findings_told_in_private(bot: RunningBot) -> None:
    """A wrong measure or version is refused at once."""
    (id,) = await versions(bot, "ft-three")
    assert "is no measure" in await said_to(bot, "U0ADMIN", f"model gate {id} beauty")
    assert "no version" in await said_to(bot, "U0ADMIN", "model gate v999")
    before = len(await whispers(bot, "U0ADMIN"))
    await bot.slack.command("U0ADMIN", "C0HELP", "/support", f"model gate {id} groundedness")
    texts = [one["text"] for one in await bot.slack.wait_for_ephemeral("U0ADMIN", count=before + 2)][before:]
    assert any("I let" in text and "groundedness" in text for text in texts)
    # Whether an example of the stories before is held out depends on the second in which its thread began.
    none, few = "There is no held-out example", "ot enough evidence"
    (findings,) = [text for text in texts if none in text or few in text]
    assert ("`/support examples`" in findings or few in findings) and "train review" not in findings
    shown = await said_to(bot, "U0ADMIN", "model")
    assert "not measured" in shown or few in shown


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("model promote", "Use `/support model`"),
        ("model promote v999", "no version"),
        ("model canary v1 general", "Name a channel"),
        ("model canary end", "Use `/support model`"),
        ("model gate", "Use `/support model`"),
        ("train start now", "Use `/support train`"),
        ("examples forget", "Use `/support examples`"),
    ],
)
async def test_wrong_use_of_the_loop_is_told_what_is_right(bot: RunningBot, command: str, advice: str) -> None:
    """Nothing is changed by it."""
    assert advice in await said_to(bot, "U0ADMIN", command)


async def test_the_matrix_is_told_once_there_is_one(bot: RunningBot) -> None:
    """Before that, how to make one."""
    assert "python -m bot matrix" in await said_to(bot, "U0ADMIN", "matrix")
    note = MatrixNote(at=now(), arms=("large", "tuned"), questions=40, lines=("steps: tuned (81 %, n = 20; likely)",))
    async with memory_of(bot) as memory:
        await Register(memory.redis, TEAM).keep_matrix(note)
    shown = await said_to(bot, "U0ADMIN", "matrix")
    assert "40 questions to each of large, tuned" in shown and "steps: tuned (81 %" in shown


async def test_admins_find_every_command_in_the_help(bot: RunningBot) -> None:
    """And the Home tab of members does not show them."""
    shown = await said_to(bot, "U0ADMIN", "help")
    for command in ("examples pages", "examples forget", "train start", "model gate", "model canary", "matrix"):
        assert f"/support {command}" in shown
    assert "/support train" not in await said_to(bot, "U0MAYA", "help")
