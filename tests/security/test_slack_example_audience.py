"""An example from a private channel is read by the members of that channel, and by nobody else: not on a card, in a
list, a dialog, a note, an export or a dataset. Words that are nowhere else stand in its question, its answer, its
passages, its correction and its draft page, so that a leak is seen wherever it comes out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import BaseModel

from bot.journal import Journal, example_id
from bot.learning.versions.register import Register
from bot.vocabulary import Example
from bot.worker import open_queue
from handlers.actions.consent import Consented
from handlers.actions.review import Pressed
from handlers.modals.correction import Corrected
from handlers.modals.editing import Edited
from tests.local_slack import JSON
from tests.running_bot import RunningBot
from tests.small_library import bot_that_knows, memory_of, page, until_idle
from tests.stories.test_slack_audience import everything_before

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEAM = "T0LOCAL"
PRIVATE = "C0INCIDENTS"
PAGE, ASKED, BETTER, DRAFT = "Quillfeather", "Brimstock", "Larkenby", "Oddlewick"
CANARIES = (PAGE, ASKED, BETTER, DRAFT)
PAGES = {
    "vault": page(
        "Vault",
        f"## Opening the vault\n\nThe code word that opens the vault is {PAGE}. It is {BETTER} on Sundays.",
        url="https://docs.example/vault",
        audience=f"channel:{PRIVATE}",
    ),
    "coffee": page("Coffee", "## Coffee supplier\n\nThe supplier of our office coffee is Marrowgate."),
}
# Ada is an admin and in #incidents. The settings make admins of Priya and Gus, who are not in it, and of Petra, who is
# of another organisation. Noah is in it, and no admin; Maya is neither.
ADMINS = "U0PRIYA,U0GUEST,U0PARTNER"
INSIDE = [("U0ADMIN", PRIVATE), ("U0ADMIN", "D0ADMIN")]
OUTSIDE = [("U0ADMIN", "C0HELP"), ("U0ADMIN", "C0GENERAL"), ("U0ADMIN", "C0PARTNER"), ("U0PRIYA", "C0HELP")]
OUTSIDE += [("U0PRIYA", "D0PRIYA"), ("U0GUEST", "C0GENERAL"), ("U0GUEST", "D0GUEST"), ("U0PARTNER", "C0PARTNER")]
OUTSIDE += [("U0PARTNER", "D0PARTNER"), ("U0NOAH", PRIVATE), ("U0NOAH", "D0NOAH"), ("U0MAYA", "C0HELP")]
LOOKS = ["examples", "examples pages", "train", "train start few", "model", "matrix"]
NUMBERS = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBot]:
    async with bot_that_knows(tmp_path_factory.mktemp("canaries"), PAGES, ADMIN_USERS=ADMINS) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def question_id(bot: RunningBot) -> str:
    """A question in the private channel whose answer Noah liked, and then corrected: two examples and a draft page."""
    reply = await bot.ask("U0NOAH", PRIVATE, f"<@U0FOOTNOTE> What is the code word that opens the {ASKED} vault?")
    assert PAGE in reply["text"]
    await bot.slack.press("U0NOAH", PRIVATE, reply["ts"], "feedback", "up")
    await bot.slack.press("U0ADMIN", PRIVATE, reply["ts"], "feedback", "down")
    (modal,) = (await bot.slack.seen("U0ADMIN"))["modals"]
    better = f"The code word that opens the vault is {PAGE}. The vault is cleaned by {DRAFT} every 9 days."
    await bot.slack.submit("U0ADMIN", modal["view_id"], {"reason": "incomplete", "answer": better})
    id = f"{TEAM}:{PRIVATE}:{reply['thread_ts']}"
    liked, corrected = await example_of(bot, id), await example_of(bot, id, is_correction=True)
    assert liked and corrected and corrected.draft_page
    assert {liked.audience, corrected.audience} == {f"channel:{PRIVATE}"}
    return id


class Letterbox:
    """Takes what the bot answers to a press, in the place of Slack."""

    def __init__(self) -> None:
        self.letters: list[JSON] = []

    async def take(self, request: web.Request) -> web.Response:
        self.letters.append(await request.json())
        return web.Response(text="ok")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def letterbox() -> AsyncIterator[tuple[Letterbox, str]]:
    """The letterbox and its address."""
    box, app = Letterbox(), web.Application()
    app.router.add_post("/", box.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield box, f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def example_of(bot: RunningBot, question_id: str, *, is_correction: bool = False) -> Example | None:
    await until_idle(bot)
    async with memory_of(bot) as memory:
        return await Journal(memory.redis, TEAM).example(example_id(question_id, is_correction=is_correction))


async def hand_in(bot: RunningBot, kind: str, said: BaseModel) -> None:
    """Queues what a press or a dialog would: late, from another place, or as a client that is not Slack's would."""
    async with memory_of(bot) as memory, open_queue(memory.docket_url, Journal(memory.redis, TEAM)) as queue:
        await queue.add(kind, said.model_dump_json(), key=f"test:{next(NUMBERS)}", thread="test")
    await until_idle(bot)


async def notes_to(bot: RunningBot, user: str) -> str:
    """The last thing that the bot wrote to somebody directly."""
    dm = await bot.slack.open_dm(user)
    return str((await bot.slack.history(dm))[-1]["text"])


def leaks(shown: Any) -> set[str]:
    words = json.dumps(shown, ensure_ascii=False)
    return {word for word in CANARIES if word in words}


@pytest.mark.parametrize(("user", "channel"), INSIDE)
async def test_admins_of_the_channel_see_the_cards_where_it_may_be_read(
    bot: RunningBot, question_id: str, user: str, channel: str
) -> None:
    """In the channel itself, and in a direct message to somebody who is in it: the search for leaks finds them."""
    assert {PAGE, ASKED, DRAFT} <= leaks(await bot.command(user, channel, "examples"))
    assert DRAFT in await bot.command(user, channel, "examples pages")


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(("user", "channel"), OUTSIDE, ids=[" ".join(one) for one in OUTSIDE])
async def test_no_command_shows_it_elsewhere_or_to_others(
    bot: RunningBot, question_id: str, user: str, channel: str, look: str
) -> None:
    """Whoever asks, member or admin, in a channel or directly."""
    assert not leaks(await bot.command(user, channel, look))


@pytest.mark.parametrize(("user", "channel"), OUTSIDE[:9], ids=[" ".join(one) for one in OUTSIDE[:9]])
async def test_it_is_neither_approved_nor_rejected_from_outside(
    bot: RunningBot, question_id: str, user: str, channel: str
) -> None:
    """Its id may be known; what is said of it is what is said of one that is not there."""
    id = example_id(question_id)
    for verb in ("approve", "reject"):
        shown = await bot.command(user, channel, f"examples {verb} {id}")
        assert f"There is no example `{id}` that may be read here" in shown and not leaks(shown)
    example = await example_of(bot, question_id)
    assert example and example.status == "candidate"


@pytest.mark.parametrize("what", ["approve", "reject", "page", "edit"])
@pytest.mark.parametrize(("user", "channel"), OUTSIDE, ids=[" ".join(one) for one in OUTSIDE])
async def test_a_press_counts_by_who_presses_and_where(
    bot: RunningBot, question_id: str, letterbox: tuple[Letterbox, str], user: str, channel: str, what: str
) -> None:
    """A button that names the example decides nothing and draws nothing outside its channel."""
    box, url = letterbox
    box.letters.clear()
    id = example_id(question_id)
    press = Pressed(user_id=user, channel_id=channel, what=what, example_id=id, shown=(id,), response_url=url)
    await hand_in(bot, "review", press.model_copy(update={"view_id": "V0NONE"}))
    assert bool(box.letters) == (what != "edit") and not leaks(box.letters)
    example = await example_of(bot, question_id)
    assert example and (example.status, example.reviewed_by) == ("candidate", None)


async def test_the_same_press_inside_draws_the_card(
    bot: RunningBot, question_id: str, letterbox: tuple[Letterbox, str]
) -> None:
    """So the letterbox would have shown a leak."""
    box, url = letterbox
    box.letters.clear()
    press = Pressed(user_id="U0ADMIN", channel_id=PRIVATE, what="page", response_url=url)
    await hand_in(bot, "review", press)
    assert {PAGE, ASKED} <= leaks(box.letters)


async def test_the_dialog_for_editing_stays_empty_outside(bot: RunningBot, question_id: str) -> None:
    """It is filled by the rights of the place where Edit was pressed."""
    coffee = await bot.ask("U0MAYA", "C0HELP", "<@U0FOOTNOTE> Who is the supplier of our office coffee?")
    await bot.slack.press("U0MAYA", "C0HELP", coffee["ts"], "feedback", "up")
    await until_idle(bot)
    cards: JSON = json.loads(await bot.command("U0ADMIN", "C0HELP", "examples"))
    await bot.slack.press("U0ADMIN", "C0HELP", cards["ts"], "review_edit")
    await until_idle(bot)
    (modal,) = (await bot.slack.seen("U0ADMIN"))["modals"]
    for id in (example_id(question_id), example_id(question_id, is_correction=True)):
        press = Pressed(user_id="U0ADMIN", channel_id="C0HELP", what="edit", example_id=id, view_id=modal["view_id"])
        await hand_in(bot, "review", press)
        (shown,) = (await bot.slack.seen("U0ADMIN"))["modals"]
        assert "There is no example" in json.dumps(shown) and not leaks(shown)
    await bot.slack.post("close_view", user="U0ADMIN", view_id=modal["view_id"])


async def test_what_is_sent_from_outside_edits_nothing(bot: RunningBot, question_id: str) -> None:
    """And the note about it holds none of it."""
    id, before = example_id(question_id), await example_of(bot, question_id)
    edited = Edited(user_id="U0PRIYA", channel_id="C0HELP", example_id=id, answer="Anything [1].", shown=(id,))
    await hand_in(bot, "edit", edited)
    assert await example_of(bot, question_id) == before
    assert "There is no example" in await notes_to(bot, "U0PRIYA") and not leaks(await notes_to(bot, "U0PRIYA"))


@pytest.mark.parametrize("user", ["U0MAYA", "U0PRIYA", "U0GUEST", "U0PARTNER"])
async def test_who_cannot_read_an_answer_cannot_correct_it(bot: RunningBot, question_id: str, user: str) -> None:
    """Nor leave a verdict on it, nor learn from the note what it says."""
    before = await example_of(bot, question_id, is_correction=True)
    text = f"The code word that opens the vault is {PAGE}."
    corrected = Corrected(user_id=user, question_id=question_id, reason="wrong", answer=text, at_s=4_000_000_000)
    await hand_in(bot, "correct", corrected)
    assert await notes_to(bot, user) == "You can only correct an answer that you can read."
    assert await example_of(bot, question_id, is_correction=True) == before
    async with memory_of(bot) as memory:
        verdicts = await Journal(memory.redis, TEAM).verdicts(question_id)
    assert user not in {one.user_id for one in verdicts}


async def test_nobody_agrees_for_somebody_else(bot: RunningBot) -> None:
    """A private answer becomes an example by the word of its asker."""
    reply = await bot.ask("U0NOAH", "D0NOAH", f"What is the code word that opens the {ASKED} vault?")
    id = f"{TEAM}:D0NOAH:{reply['thread_ts']}"
    await bot.slack.press("U0NOAH", "D0NOAH", reply["ts"], "feedback", "up")
    for user in ("U0ADMIN", "U0MAYA"):
        await hand_in(bot, "consent", Consented(user_id=user, question_id=id, is_given=True))
    assert await example_of(bot, id) is None
    corrected = Corrected(user_id="U0ADMIN", question_id=id, reason="wrong", answer="Never.", at_s=4_000_000_000)
    await hand_in(bot, "correct", corrected)
    assert await example_of(bot, id, is_correction=True) is None


async def test_an_admin_who_is_not_in_the_channel_decides_nothing_there(bot: RunningBot, question_id: str) -> None:
    """What everybody in the place may read is not enough: the admin must be one of them."""
    id = example_id(question_id)
    for user, channel in (("U0GUEST", PRIVATE), ("U0PRIYA", PRIVATE), ("U0PARTNER", PRIVATE)):
        await hand_in(
            bot, "review", Pressed(user_id=user, channel_id=channel, what="approve", example_id=id, shown=(id,))
        )
    example = await example_of(bot, question_id)
    assert example and example.status == "candidate"


async def test_no_export_and_no_dataset_holds_it_though_it_is_approved(bot: RunningBot, question_id: str) -> None:
    """Its own admins approve it, for what that is worth in its channel."""
    id = example_id(question_id)
    assert f"`{id}` is approved" in await bot.command("U0ADMIN", PRIVATE, f"examples approve {id}")
    assert "1 approved, but kept back: Not everyone in the workspace may read it" in (
        await bot.command("U0ADMIN", "C0HELP", "train")
    )
    for status in ("candidate", "approved", "rejected"):
        assert not leaks(await bot.exported(status))
    async with memory_of(bot) as memory:
        assert not await Register(memory.redis, TEAM).datasets()


async def test_in_the_end_nobody_has_seen_a_word_that_is_not_for_them(bot: RunningBot, question_id: str) -> None:
    """After all of this: no channel, thread, private note, dialog or Home tab of anybody outside holds one."""
    for user in ("U0MAYA", "U0PRIYA", "U0GUEST", "U0PARTNER"):
        await bot.slack.open_home(user)
        assert not leaks(await everything_before(bot, user)), user
    assert {PAGE, ASKED, DRAFT} <= leaks(await everything_before(bot, "U0ADMIN"))
