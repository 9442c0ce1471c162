"""What the journal keeps of a question, in a real Redis: the newest words, the newest verdicts, and nothing for longer
than it may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import permutations

import pytest

from bot.journal import TOMBSTONE_S, Journal, example_id, now
from bot.learning import examples
from bot.memory import Memory
from bot.vocabulary import Verdict
from tests.nouns import MAYA, TEAM, answered, asked, verdict

DAY_S = 86_400
REPLY = "1000.000200"


@pytest.fixture
def journal(memory: Memory) -> Journal:
    return Journal(memory.redis, TEAM)


async def liked(journal: Journal, memory: Memory) -> str:
    """Gives the id of a question whose answer somebody liked, and which has become an example."""
    question = asked()
    await journal.accept(question)
    await journal.settle(question, answered(question.id), REPLY)
    entry = await journal.entry(question.id)
    assert entry
    await examples.keep(journal, entry, await journal.judge(verdict(question.id, 2000)), "workspace")
    assert await journal.examples("candidate")
    return question.id


# Words


async def test_a_late_edit_of_older_words_changes_nothing(journal: Journal) -> None:
    """Slack delivers again for minutes: the words of the latest edit stay, whatever comes after them."""
    await journal.accept(asked(text="first"))
    await journal.accept(asked(text="third", edited_ts="1000.000900"))
    for late in (asked(text="second", edited_ts="1000.000500"), asked(text="first")):
        assert (await journal.accept(late)).asked.text == "third"


async def test_words_that_come_while_a_message_is_judged_survive_it(journal: Journal) -> None:
    """Leaving a message alone erases what it said, but not what an edit says meanwhile."""
    follow_up = asked(kind="follow_up", text="thanks, Noah")
    await journal.accept(follow_up)
    await journal.accept(follow_up.model_copy(update={"text": "and for webhooks?", "edited_ts": "1000.000900"}))
    await journal.leave_alone(follow_up)
    entry = await journal.entry(follow_up.id)
    assert entry and not entry.is_settled and entry.asked.text == "and for webhooks?"


async def test_a_message_that_is_left_alone_is_forgotten(journal: Journal, memory: Memory) -> None:
    """What people say to each other is none of the bot's business: its words are gone, and it is settled."""
    await journal.accept(asked(kind="follow_up", text="the password is hunter2"))
    await journal.leave_alone(asked(kind="follow_up", text="the password is hunter2"))
    entry = await journal.entry(asked().id)
    assert entry and entry.is_settled
    assert "hunter2" not in str(await everything(memory))


@pytest.mark.parametrize("is_judged", [True, False], ids=["left alone", "still being judged"])
async def test_a_message_that_somebody_puts_to_the_bot_is_its_question(journal: Journal, is_judged: bool) -> None:
    """A shortcut or a mention counts, also on a message that was taken for people's talk, or is about to be."""
    follow_up = asked(kind="follow_up", text="I cannot log in")
    await journal.accept(follow_up)
    if is_judged:
        await journal.leave_alone(follow_up)
    await journal.accept(asked(text="I cannot log in"))
    await journal.leave_alone(follow_up)
    entry = await journal.entry(follow_up.id)
    assert entry and not entry.is_settled
    assert (entry.asked.kind, entry.asked.text) == ("mention", "I cannot log in")


# Deletions


async def test_a_deletion_that_comes_first_is_remembered_for_minutes(journal: Journal, memory: Memory) -> None:
    """Most deleted messages were no questions: their ids are kept no longer than Slack goes on delivering."""
    await journal.withdraw(asked().id)
    assert (await journal.accept(asked())).is_settled
    ttls = await ttls_of(memory)
    assert 60 < ttls.pop(f"footnote:{TEAM}:question:{asked().id}") <= TOMBSTONE_S <= 3600


async def test_a_deleted_question_leaves_nothing_that_was_said(journal: Journal, memory: Memory) -> None:
    """Words, answer, verdicts and example go; that it was deleted stays known for as long as anything is."""
    question_id = await liked(journal, memory)
    await journal.withdraw(question_id)
    assert (await journal.accept(asked())).is_settled
    assert not await journal.examples() and not await journal.verdicts(question_id)
    assert "API key" not in str(await everything(memory))
    assert max((await ttls_of(memory)).values()) <= 30 * DAY_S


async def test_a_deletion_after_the_entry_is_gone_takes_the_example(journal: Journal, memory: Memory) -> None:
    """An example outlives the journal, but not the question that it was made of."""
    question_id = await liked(journal, memory)
    await memory.redis.delete(f"footnote:{TEAM}:question:{question_id}")
    await journal.withdraw(question_id)
    assert await journal.example(example_id(question_id)) is None


# How long


async def test_everything_but_an_example_has_its_time(journal: Journal, memory: Memory) -> None:
    """No key lives for ever but the examples, which stay until somebody rejects or forgets them."""
    await liked(journal, memory)
    await journal.accept(asked("1000.000300", kind="follow_up"))
    await journal.leave_alone(asked("1000.000300", kind="follow_up"))
    await journal.withdraw(asked("1000.000400").id)
    await journal.meets(MAYA)
    await journal.same_gesture("g", asked().id)
    await journal.attempt("job")
    eternal = {name.split(":")[2] for name, ttl in (await ttls_of(memory)).items() if ttl == -1}
    assert eternal == {"example", "examples"}


@pytest.mark.parametrize("then", ["nothing", "a verdict", "another answer", "approval"])
async def test_what_takes_an_example_back_lives_as_long_as_it(journal: Journal, memory: Memory, then: str) -> None:
    """Whoever deletes the question next year, or takes back the thumb, still takes the example along."""
    question_id = await liked(journal, memory)
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "nothing": lambda: asyncio.sleep(0),
        "a verdict": lambda: journal.judge(verdict(question_id, 3000, user_id="U0NOAH")),
        "another answer": lambda: journal.settle(asked(), answered(question_id), REPLY),
        "approval": lambda: examples.review(journal, example_id(question_id), "approved", "U0ADMIN", None),
    }
    await ways[then]()
    ttls = await ttls_of(memory)
    names = (f"question:{question_id}", f"reply:C0HELP:{REPLY}", f"verdicts:{question_id}")
    assert {name: ttls[f"footnote:{TEAM}:{name}"] > 365 * DAY_S for name in names} == dict.fromkeys(names, True)


# Verdicts


Thumb = tuple[float, str]
STORIES: list[tuple[list[Thumb], bool | None]] = [
    ([(1, "+up"), (2, "-up")], None),
    ([(1, "+up"), (2, "+down")], False),
    ([(1, "+up"), (2, "-up"), (3, "+up")], True),
    ([(1, "+up"), (2, "+down"), (3, "-up")], False),
    ([(1, "+up"), (2, "+down"), (3, "-down")], True),
    ([(1, "+down"), (2, "-down"), (3, "+up")], True),
]


@pytest.mark.parametrize(("story", "stands"), STORIES, ids=[" ".join(t for _, t in story) for story, _ in STORIES])
async def test_verdicts_count_by_when_they_were_given(
    journal: Journal, story: list[Thumb], stands: bool | None
) -> None:
    """In whatever order thumbs arrive, and however often, what stands is what the message shows."""
    for number, order in enumerate(permutations(story)):
        question_id = asked(f"{1000 + number}.000100").id
        for at_s, what in [*order, *order[:1]]:
            one = verdict(question_id, at_s, is_helpful=what.endswith("up"))
            standing = await (journal.judge(one) if what.startswith("+") else journal.take_back(one))
        assert [one.is_helpful for one in standing] == ([] if stands is None else [stands]), order


async def test_one_persons_verdict_is_not_anothers(journal: Journal) -> None:
    """Two people may differ, and one who takes back takes back the own."""
    question_id = asked().id
    await journal.judge(verdict(question_id, 1))
    await journal.judge(verdict(question_id, 2, user_id="U0NOAH", is_helpful=False))
    standing = await journal.take_back(verdict(question_id, 3))
    assert [(one.user_id, one.is_helpful) for one in standing] == [("U0NOAH", False)]


async def test_verdicts_carry_who_and_when(journal: Journal) -> None:
    """An example says who liked it."""
    one = Verdict(question_id=asked().id, user_id=MAYA, is_helpful=True, at=now())
    assert await journal.judge(one) == [one]


# Replies


async def test_a_reply_that_is_made_anew_forgets_the_old_one(journal: Journal) -> None:
    """Somebody deleted the answer: whoever takes over after a crash must look for the new one, not for that."""
    await journal.accept(asked())
    await journal.begin(asked().id, "streaming", REPLY)
    await journal.begin(asked().id, "posting")
    entry = await journal.entry(asked().id)
    assert entry and (entry.state, entry.reply_ts) == ("posting", None)


# Help


async def ttls_of(memory: Memory) -> dict[str, int]:
    """The seconds that each key has left to live; -1 for those that live for ever."""
    return {name: await memory.redis.ttl(name) for name in await memory.redis.keys("footnote:*")}


async def everything(memory: Memory) -> dict[str, object]:
    """All that is stored."""
    values: dict[str, object] = {}
    for name in await memory.redis.keys("footnote:*"):
        kind = await memory.redis.type(name)
        reading = {"string": memory.redis.get, "hash": memory.redis.hgetall}.get(kind)
        values[name] = await reading(name) if reading else await memory.redis.zrange(name, 0, -1)
    return values
