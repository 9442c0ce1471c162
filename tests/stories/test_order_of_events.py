"""What people do to a question, in the order in which Slack may tell of it: late, twice, before what it is about, or
while the answer is being written. The real listeners, inbox, queue, journal and desk, and a Slack that tests hold up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis
from slack_sdk.errors import SlackApiError

from bot import worker
from bot.answering import Reply
from bot.journal import TOMBSTONE_S, Entry, Journal, example_id
from bot.learning import examples
from bot.memory import Memory
from bot.vocabulary import Answer, Asked, Question
from bot.worker import Duty, Queue, open_queue
from handlers import events
from handlers.actions import feedback
from handlers.audience import Readers
from handlers.commands import support
from handlers.desk import Desk
from handlers.inbox import Inbox, asked_in
from handlers.shortcuts import ask_about_message
from tests.nouns import BOT, MAYA, TEAM, answered
from tests.small_library import eventually

JSON = dict[str, Any]
HELP = "C0HELP"
NOAH = "U0NOAH"


class FakeSlack:
    """One channel, as far as answering needs it. A method is refused with the code in `refusals`, is down when it is in
    `down`, and waits for its event in `held` after it has done its work, as when only its answer is slow."""

    token, base_url, timeout, session = "xoxb", "http://127.0.0.1:9/", 1, None

    def __init__(self) -> None:
        self.messages: dict[str, JSON] = {}
        self.refusals: dict[str, str] = {}
        self.down: set[str] = set()
        self.held: dict[str, asyncio.Event] = {}
        self._last = 0.0

    def tick(self) -> str:
        """A timestamp later than all before."""
        self._last = max(time.time(), self._last + 0.0001)
        return f"{self._last:.6f}"

    def posts(self) -> list[str]:
        """What the bot has said, in order."""
        return [one["text"] for _, one in sorted(self.messages.items()) if one["user"] == BOT]

    async def conversations_replies(self, ts: str, **bounds: Any) -> JSON:
        found = [dict(one) for one in self.messages.values() if ts in (one["ts"], one.get("thread_ts"))]
        oldest, latest = bounds.get("oldest", ""), bounds.get("latest", "~")
        await self._come_through("conversations_replies")
        return {"messages": sorted((one for one in found if oldest <= one["ts"] <= latest), key=lambda one: one["ts"])}

    async def chat_postMessage(self, **message: Any) -> JSON:
        ts = self.tick()
        self.messages[ts] = {"ts": ts, "user": BOT, "bot_id": "B0"} | message
        await self._come_through("chat_postMessage")
        return {"ts": ts}

    async def chat_update(self, ts: str, **message: Any) -> JSON:
        await self._come_through("chat_update")
        self.messages[ts] |= message
        return {"ts": ts}

    async def chat_delete(self, ts: str, **place: Any) -> JSON:
        await self._come_through("chat_delete")
        if self.messages.pop(ts, None) is None:
            raise _no("message_not_found")
        return {}

    async def _come_through(self, method: str) -> None:
        if method in self.held:
            await self.held[method].wait()
        if method in self.refusals:
            raise _no(self.refusals[method])
        if method in self.down:
            raise _no("", status=503)


def _no(code: str, status: int = 200) -> SlackApiError:
    return SlackApiError("no", SimpleNamespace(status_code=status, data={"ok": False, "error": code}))


class FakeBolt:
    """Keeps the listeners, so that tests can deliver to them."""

    def __init__(self) -> None:
        self.listeners: dict[str, Callable[..., Awaitable[None]]] = {}

    def event(self, name: str) -> Callable[[Callable[..., Awaitable[None]]], None]:
        return lambda listener: self.listeners.update({name: listener})

    def action(self, pattern: Any) -> Callable[[Callable[..., Awaitable[None]]], None]:
        return self.event("action")

    message_shortcut = command = event


class FakeAnswering:
    """Answers each question with its own words, once it is `free`."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.texts: list[str] = []

    async def __call__(self, question: Question, reply: Reply) -> Answer:
        self.texts.append(question.text)
        await self.free.wait()
        answer = answered(question.id, f"About {question.text} [1].", query=question.text)
        await reply.finish(answer)
        return answer


class FakeAudience:
    """Everybody reads everything."""

    async def of(self, asked: Asked) -> Readers:
        return Readers(frozenset({"public", "workspace"}), "workspace")


class Office:
    """Slack, the bot, and what people do. What they do is given as the event that Slack delivers, so that a test can
    deliver it later, twice, or never."""

    def __init__(self, memory: Memory, queue: Queue, journal: Journal) -> None:
        self.memory, self.queue, self.journal = memory, queue, journal
        self.slack, self.answering = FakeSlack(), FakeAnswering()
        self.desk: Any = Desk(
            self.slack,  # type: ignore[arg-type]
            journal,
            FakeAudience(),  # type: ignore[arg-type]
            self.answering,
            None,  # type: ignore[arg-type]
            bot_user_id=BOT,
            bot_name="Footnote",
        )
        bolt: Any = FakeBolt()
        inbox = Inbox(journal, queue)
        for room in (events, feedback, support, ask_about_message):
            room.register(bolt, inbox)
        self.listeners = bolt.listeners

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        duties = {**self.desk.duties, "tell": Duty(_not_told)}
        task = asyncio.create_task(self.queue.work(duties, concurrency=4, redelivery_timeout_s=2))
        try:
            yield
        finally:
            self.answering.free.set()
            for held in self.slack.held.values():
                held.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # What people do

    def says(self, text: str, user: str = MAYA, thread_ts: str | None = None) -> JSON:
        message = {"type": "message", "channel": HELP, "ts": self.slack.tick(), "user": user, "text": text}
        message |= {"thread_ts": thread_ts} if thread_ts else {}
        self.slack.messages[message["ts"]] = message
        return message

    def asks(self, text: str, **how: Any) -> JSON:
        return self.says(f"<@{BOT}> {text}", **how)

    def edits(self, message: JSON, text: str) -> JSON:
        before = self.slack.messages[message["ts"]]
        edited_ts = self.slack.tick()
        after = before | {"text": text, "edited": {"user": before["user"], "ts": edited_ts}}
        self.slack.messages[message["ts"]] = after
        return self._changed("message_changed", message=after, previous_message=before, event_ts=edited_ts)

    def deletes(self, message: JSON) -> JSON:
        self.slack.messages.pop(message["ts"], None)
        return self._changed("message_deleted", deleted_ts=message["ts"], event_ts=self.slack.tick())

    def _changed(self, subtype: str, **event: Any) -> JSON:
        return {"type": "message", "subtype": subtype, "channel": HELP} | event

    def reacts(self, ts: str, *, removes: bool = False, name: str = "+1") -> JSON:
        kind = "reaction_removed" if removes else "reaction_added"
        item = {"type": "message", "channel": HELP, "ts": ts}
        return {"type": kind, "user": NOAH, "reaction": name, "item": item, "event_ts": self.slack.tick()}

    # What Slack does

    async def deliver(self, *happened: JSON) -> None:
        """Delivers events in this order. Slack has two for one mention."""
        context = SimpleNamespace(team_id=TEAM, bot_user_id=BOT, actor_team_id=TEAM)
        for event in happened:
            kinds = [event["type"]]
            if event["type"] == "message" and "subtype" not in event and BOT in event["text"]:
                kinds.append("app_mention")
            for kind in kinds:
                listener = self.listeners[kind]
                await (listener(event) if kind == "app_home_opened" else listener(event=event, context=context))

    async def press(self, ts: str, thumb: str, *, at: str) -> None:
        """Delivers the press of a feedback button."""
        question_id = self.slack.messages[ts]["metadata"]["event_payload"]["question_id"]
        body = {"user": {"id": NOAH}, "container": {"channel_id": HELP, "message_ts": ts}}
        action = {"value": f"{question_id}:{thumb}", "action_ts": at}
        await self.listeners["action"](ack=_ack, body=body, action=action, client=self.slack)

    async def choose(self, message: JSON) -> None:
        """Delivers that somebody chose the bot in the menu of a message."""
        context = SimpleNamespace(team_id=TEAM, bot_user_id=BOT, actor_team_id=TEAM)
        shortcut = {"message": self.slack.messages[message["ts"]], "channel": {"id": HELP}, "user": {"id": NOAH}}
        await self.listeners["ask_about_message"](ack=_ack, shortcut=shortcut, context=context)

    # What comes of it

    async def quiet(self) -> list[str]:
        """Waits until everything is done; gives what the bot says."""

        async def is_idle() -> bool:
            backlog = await self.queue.backlog()
            return not backlog.waiting and not backlog.running

        await eventually(is_idle)
        assert not await self.journal.failures()
        return self.slack.posts()

    async def is_answering(self, count: int = 1) -> None:
        """Waits until so many answers were begun."""

        async def has_begun() -> bool:
            return len(self.answering.texts) >= count

        await eventually(has_begun)

    async def entry(self, message: JSON) -> Entry:
        found = await self.journal.entry(id_of(message))
        assert found
        return found

    async def verdicts(self, message: JSON) -> list[bool | None]:
        return [one.is_helpful for one in await self.journal.verdicts(id_of(message))]

    async def answered(self, text: str) -> tuple[JSON, str]:
        """A question that has its answer, and where that is."""
        question = self.asks(text)
        await self.deliver(question)
        await self.quiet()
        reply_ts = (await self.entry(question)).reply_ts
        assert reply_ts
        return question, reply_ts


async def _ack(**_: Any) -> None:
    """Slack's 200."""


async def _not_told(payload: str) -> None:
    """That no dialog was opened: this Slack has none."""


def id_of(message: JSON) -> str:
    return f"{TEAM}:{HELP}:{message['ts']}"


@pytest.fixture
async def closed_office(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """What comes in is queued, and nobody works yet."""
    monkeypatch.setattr(worker, "FIRST_DELAY_S", 0.05)
    journal = Journal(memory.redis, TEAM)
    async with open_queue(memory.docket_url, journal) as queue:
        yield Office(memory, queue, journal)


@pytest.fixture
async def office(closed_office: Office) -> AsyncIterator[Office]:
    async with closed_office.at_work():
        yield closed_office


# Edits


async def test_an_edit_and_back_again_is_answered_in_the_first_words(office: Office) -> None:
    """While the new words are being answered their asker returns to the first ones: those it is in the end."""
    question, _ = await office.answered("keys?")
    first_words = office.slack.messages[question["ts"]]["text"]
    office.answering.free.clear()
    await office.deliver(office.edits(question, f"<@{BOT}> webhooks?"))
    await office.is_answering(2)
    await office.deliver(office.edits(question, first_words))
    office.answering.free.set()
    assert await office.quiet() == ["About keys? [1]."]
    assert office.answering.texts == ["keys?", "webhooks?", "keys?"]
    assert (await office.entry(question)).is_settled


async def test_an_edit_back_that_overtakes_the_edit_is_answered(office: Office) -> None:
    """The first words are still being answered when they come again as the latest: that is not the same job."""
    office.answering.free.clear()
    question = office.asks("keys?")
    edit, back = office.edits(question, f"<@{BOT}> webhooks?"), office.edits(question, f"<@{BOT}> keys?")
    await office.deliver(question)
    await office.is_answering()
    await office.deliver(back, edit)
    office.answering.free.set()
    assert await office.quiet() == ["About keys? [1]."]
    assert (await office.entry(question)).is_settled


async def test_an_edit_while_the_answer_is_written_gets_its_own(office: Office) -> None:
    """The answer to the old words appears and is replaced; nobody keeps an answer to what they did not ask."""
    office.answering.free.clear()
    question = office.asks("keys?")
    await office.deliver(question)
    await office.is_answering()
    await office.deliver(office.edits(question, f"<@{BOT}> webhooks?"))
    office.answering.free.set()
    assert await office.quiet() == ["About webhooks? [1]."]


async def test_what_slack_delivers_again_changes_nothing(office: Office) -> None:
    """Neither the question before its edits nor the edit before the last one is answered once more."""
    question = office.asks("first?")
    second = office.edits(question, f"<@{BOT}> second?")
    third = office.edits(question, f"<@{BOT}> third?")
    await office.deliver(question, second, third)
    await office.quiet()
    begun = len(office.answering.texts)
    await office.deliver(second, question, third, second)
    assert await office.quiet() == ["About third? [1]."]
    assert len(office.answering.texts) == begun


async def test_an_edit_that_overtakes_its_question_is_the_question(office: Office) -> None:
    """The first words arrive afterwards, and are history."""
    question = office.asks("first?")
    await office.deliver(office.edits(question, f"<@{BOT}> second?"))
    await office.quiet()
    await office.deliver(question)
    assert await office.quiet() == ["About second? [1]."]
    assert office.answering.texts == ["second?"]


# Messages that were not for the bot


async def test_a_message_that_was_left_alone_may_still_be_put_to_the_bot(office: Office) -> None:
    """By an edit that mentions it, by the menu of the message, by a mention that comes late."""
    question, _ = await office.answered("keys?")
    for way in ("edit", "menu", "late mention"):
        message = office.says(f"thanks, all ({way})", user=NOAH, thread_ts=question["ts"])
        await office.deliver(message)
        before = await office.quiet()
        assert (await office.entry(message)).state == "left_alone", way
        if way == "edit":
            await office.deliver(office.edits(message, f"<@{BOT}> thanks, and webhooks?"))
        elif way == "menu":
            await office.choose(message)
        else:
            await office.deliver(message | {"text": f"<@{BOT}> and webhooks?"})
        assert len(await office.quiet()) == len(before) + 1, way


async def test_being_left_alone_does_not_swallow_what_comes_meanwhile(office: Office) -> None:
    """While the bot looks whether a message is for it, its author turns it into a question; another is chosen in the
    menu. Both are answered."""
    question, _ = await office.answered("keys?")
    for way in ("edit", "menu"):
        office.slack.held["conversations_replies"] = asyncio.Event()
        message = office.says(f"thanks ({way})", thread_ts=question["ts"])
        await office.deliver(message)

        async def is_looking() -> bool:
            return bool((await office.queue.backlog()).running)

        await eventually(is_looking)
        if way == "edit":
            await office.deliver(office.edits(message, "thanks, and for webhooks?"))
        else:
            await office.choose(message)
        before = len(office.slack.posts())
        office.slack.held.pop("conversations_replies").set()
        assert len(await office.quiet()) == before + 1, way


async def test_a_follow_up_before_the_first_answer_is_for_the_bot(office: Office) -> None:
    """Whoever asks, and asks on without waiting, gets two answers."""
    office.answering.free.clear()
    question = office.asks("keys?")
    await office.deliver(question)
    await office.is_answering()
    await office.deliver(office.says("And for webhooks?", thread_ts=question["ts"]))
    office.answering.free.set()
    assert await office.quiet() == ["About keys? [1].", "About And for webhooks? [1]."]


# Deletions


async def test_a_deletion_that_overtakes_its_question_stands(office: Office) -> None:
    """What was taken back before it came is not answered; that this happened is known for minutes only."""
    question = office.asks("keys?")
    await office.deliver(office.deletes(question), question)
    assert await office.quiet() == [] and office.answering.texts == []
    assert 60 < await office.memory.redis.ttl(f"footnote:{TEAM}:question:{id_of(question)}") <= TOMBSTONE_S


async def test_a_deletion_while_the_answer_is_written_takes_it_along(office: Office) -> None:
    """The answer may appear for a moment, but it does not stay; and a late edit does not bring it back."""
    office.answering.free.clear()
    question = office.asks("keys?")
    await office.deliver(question)
    await office.is_answering()
    edit = office.edits(question, f"<@{BOT}> webhooks?")
    await office.deliver(office.deletes(question))
    office.answering.free.set()
    assert await office.quiet() == []
    await office.deliver(edit, question)
    assert await office.quiet() == []


@pytest.mark.parametrize("code", ["is_archived", "cant_delete_message", "not_in_channel"])
async def test_what_slack_will_not_delete_is_forgotten_all_the_same(office: Office, code: str) -> None:
    """The message may stay in Slack; words, verdicts and example do not stay with us, and it is no failure of ours."""
    question, reply_ts = await office.answered("keys?")
    await office.deliver(office.reacts(reply_ts))
    await office.quiet()
    assert await office.journal.examples("candidate")
    office.slack.refusals["chat_delete"] = code
    await office.deliver(office.deletes(question))
    await office.quiet()
    entry = await office.entry(question)
    assert (entry.state, entry.answer, entry.asked.text) == ("withdrawn", None, "")
    assert not await office.verdicts(question) and not await office.journal.examples()


@pytest.mark.parametrize("code", ["is_archived", "not_in_channel", "access_denied"])
async def test_an_unreadable_thread_keeps_nothing_from_being_forgotten(office: Office, code: str) -> None:
    """The bot does not know what it posted, and may not look."""
    question = office.asks("keys?")
    await office.journal.accept(asked_in(question, "mention", TEAM))
    office.slack.refusals["conversations_replies"] = code
    await office.deliver(office.deletes(question))
    await office.quiet()
    assert (await office.entry(question)).asked.text == ""


async def test_a_deletion_does_not_wait_for_slack_to_be_back(office: Office) -> None:
    """Our memory is cleared at once; the answer goes when Slack can be reached."""
    question, _ = await office.answered("keys?")
    office.slack.down.add("chat_delete")
    await office.deliver(office.deletes(question))

    async def is_forgotten() -> bool:
        return (await office.entry(question)).state == "withdrawn"

    await eventually(is_forgotten)
    assert office.slack.posts()
    office.slack.down.clear()
    assert await office.quiet() == []


async def test_a_deletion_long_after_takes_the_example(office: Office) -> None:
    """The question has left the journal since; what was learned from it leaves now."""
    question, reply_ts = await office.answered("keys?")
    await office.deliver(office.reacts(reply_ts))
    await office.quiet()
    assert await office.journal.examples("candidate")
    await office.memory.redis.delete(f"footnote:{TEAM}:question:{id_of(question)}")
    await office.deliver(office.deletes(question))
    await office.quiet()
    assert not await office.journal.examples()


# Verdicts and examples


async def test_an_edit_drops_what_was_thought_of_the_old_answer(office: Office) -> None:
    """Nobody has liked the new answer yet; so it is no candidate either."""
    question, reply_ts = await office.answered("keys?")
    await office.deliver(office.reacts(reply_ts))
    await office.quiet()
    assert await office.verdicts(question) == [True] and await office.journal.examples("candidate")
    await office.deliver(office.edits(question, f"<@{BOT}> webhooks?"))
    await office.quiet()
    assert not await office.verdicts(question) and not await office.journal.examples()
    await office.deliver(office.reacts(reply_ts))
    await office.quiet()
    (example,) = await office.journal.examples("candidate")
    assert example.question == "webhooks?" and example.answer == "About webhooks? [1]."


async def test_an_edit_puts_an_approved_example_aside(office: Office) -> None:
    """An admin approved other words: they are kept out of training, for an admin to look at."""
    question, reply_ts = await office.answered("keys")
    await office.deliver(office.reacts(reply_ts))
    await office.quiet()
    await examples.review(office.journal, example_id(id_of(question)), "approved", "U0ADMIN", None)
    await office.deliver(office.edits(question, f"<@{BOT}> webhooks?"))
    await office.quiet()
    assert not await office.journal.examples("approved")
    (example,) = await office.journal.examples("quarantined")
    assert example.answer == "About keys [1]."


async def test_a_thumb_from_before_an_edit_is_not_for_the_new_answer(office: Office) -> None:
    """It arrives late, and was given for what is no longer there."""
    question, reply_ts = await office.answered("keys?")
    late = office.reacts(reply_ts)
    await office.deliver(office.edits(question, f"<@{BOT}> webhooks?"))
    await office.quiet()
    await office.deliver(late)
    await office.quiet()
    assert not await office.verdicts(question) and not await office.journal.examples()


async def test_a_thumb_that_was_taken_back_does_not_return(office: Office) -> None:
    """Slack delivers the thumb again after its removal, or for the first time."""
    for is_known in (True, False):
        question, reply_ts = await office.answered("keys?")
        added, removed = office.reacts(reply_ts), office.reacts(reply_ts, removes=True)
        await office.deliver(*([added, removed] if is_known else [removed]))
        await office.quiet()
        await office.deliver(added)
        await office.quiet()
        assert not await office.verdicts(question) and not await office.journal.examples()


async def test_the_button_pressed_last_counts(office: Office) -> None:
    """In whatever order the presses arrive."""
    question, reply_ts = await office.answered("keys?")
    earlier, later = office.slack.tick(), office.slack.tick()
    await office.press(reply_ts, "down", at=later)
    await office.quiet()
    await office.press(reply_ts, "up", at=earlier)
    await office.quiet()
    assert await office.verdicts(question) == [False] and not await office.journal.examples()


@pytest.mark.parametrize("by", ["reaction", "button"])
async def test_a_thumb_on_an_answer_that_is_not_noted_yet_counts(office: Office, by: str) -> None:
    """Whoever is quicker than our bookkeeping is heard in the end."""
    office.slack.held["chat_postMessage"] = asyncio.Event()
    question = office.asks("keys?")
    await office.deliver(question)

    async def answer() -> str | None:
        return next((ts for ts, one in office.slack.messages.items() if one["user"] == BOT), None)

    reply_ts = await eventually(answer)
    if by == "reaction":
        await office.deliver(office.reacts(reply_ts))
    else:
        await office.press(reply_ts, "up", at=office.slack.tick())
    await asyncio.sleep(0.1)  # the thumb is tried meanwhile
    assert not await office.verdicts(question)
    office.slack.held.pop("chat_postMessage").set()
    await office.quiet()
    assert await office.verdicts(question) == [True]


async def test_a_thumb_on_an_answer_that_is_to_be_taken_over_counts(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was posted, but Slack's receipt was lost: the thumb waits until the next attempt has found the answer."""
    monkeypatch.setattr(worker, "FIRST_DELAY_S", 0.5)
    office.slack.down.add("chat_postMessage")
    question = office.asks("keys?")
    await office.deliver(question)

    async def answer() -> str | None:
        return next((ts for ts, one in office.slack.messages.items() if one["user"] == BOT), None)

    await office.press(await eventually(answer), "up", at=office.slack.tick())
    assert await office.quiet() == ["About keys? [1]."]
    assert await office.verdicts(question) == [True]


async def test_a_thumb_on_what_is_no_answer_is_no_failure(office: Office) -> None:
    """The bot's introduction is liked; or an answer from before the journal remembers."""
    await office.deliver(office.reacts("1600000000.000100"))
    assert await office.quiet() == []


async def test_a_deletion_takes_a_thumb_along_that_comes_with_it(office: Office) -> None:
    """However the two fall, nothing of a deleted question becomes an example."""
    question, reply_ts = await office.answered("keys?")
    thumb = office.reacts(reply_ts)
    await office.deliver(office.deletes(question), thumb)
    await office.quiet()
    assert not await office.verdicts(question) and not await office.journal.examples()


# What is written down


async def test_secrets_are_replaced_before_anything_is_written_down(closed_office: Office, memory: Memory) -> None:
    """Neither journal nor queue ever holds them: a question, an edit of it, a command."""
    secrets = ("xoxb-1234567890-abcdefghijkl", "maya@example.com")
    words = f"{secrets[0]} of {secrets[1]}?"
    question = closed_office.asks(f"zebra {words}")
    command = {"user_id": MAYA, "team_id": TEAM, "channel_id": HELP, "text": f"ask gnu {words}", "trigger_id": "1.2"}
    command["response_url"] = "https://hooks.example/1"
    for kept, hand_in in {
        "zebra": lambda: closed_office.deliver(question),
        "okapi": lambda: closed_office.deliver(closed_office.edits(question, f"<@{BOT}> okapi {words}")),
        "gnu": lambda: closed_office.listeners["/support"](ack=_ack, command=command),
    }.items():
        await hand_in()
        stored = await everything(memory)
        assert kept in stored
        assert [secret for secret in secrets if secret in stored] == [], kept


async def everything(memory: Memory) -> str:
    """All that is stored, docket's keys included."""
    raw = Redis.from_url(memory.docket_url)
    try:
        parts: list[Any] = []
        for key in await raw.keys("*"):
            kind = (await raw.type(key)).decode()
            reading: dict[str, Callable[[], Awaitable[Any]]] = {
                "string": lambda key=key: raw.get(key),
                "hash": lambda key=key: raw.hgetall(key),
                "stream": lambda key=key: raw.xrange(key),
                "zset": lambda key=key: raw.zrange(key, 0, -1),
                "list": lambda key=key: raw.lrange(key, 0, -1),
                "set": lambda key=key: raw.smembers(key),
            }
            parts.append((key, await reading[kind]()))
        return repr(parts)
    finally:
        await raw.aclose()
