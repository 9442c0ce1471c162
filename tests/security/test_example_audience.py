"""Examples of a private channel, each with a canary in its question, its answer or a passage: no canary is in anything
that somebody else sees or trains on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.errors import TellUser
from bot.journal import Journal
from bot.learning import examples
from bot.learning.nearest import Nearest
from bot.learning.tuning import datasets
from bot.learning.tuning.datasets import lines
from bot.learning.versions import trials
from bot.learning.versions.register import Register
from bot.memory import Memory
from bot.persona import load_persona
from bot.vocabulary import Example, Found, Passage, Question
from tests import lessons
from tests.hashing_embedder import HashingEmbedder
from tests.nouns import MAYA, PASSAGE, TEAM, asked
from tests.running_bot import RunningBot
from tests.small_library import memory_of, page, shell_that_knows
from tests.stories.test_examples import ADMIN, FakeLibrary, embedding, liked, said

CANARY = "zanzibarcanary"
SECRET = "channel:C0SECRET"
EVERYBODY = frozenset({"public", "workspace"})
OUTSIDE = [EVERYBODY, frozenset({"public"}), EVERYBODY | {"channel:C0OTHER"}, EVERYBODY | {"group:C0SECRET"}]
PERSONA = load_persona()


def keys(audience: str, id: str = "p1") -> Passage:
    text = f"To reset an API key of {CANARY}, open Settings."
    return PASSAGE.model_copy(update={"id": id, "audience": audience, "text": text})


def canaries() -> list[Example]:
    """What must stay in its channel: by its own label, a passage's, or both; to train on, or to measure."""
    text = {"question": f"How do I reset the API key of {CANARY}?", "answer": f"Open Settings of {CANARY} [1]."}
    found = []
    for number, (audience, of_passage) in enumerate([(SECRET, SECRET), ("workspace", SECRET), (SECRET, "workspace")]):
        for held_out in (False, True):
            for status in ("approved", "candidate", "quarantined"):
                found.append(
                    lessons.example(
                        number,
                        id=f"ex-{number}-{held_out}-{status}",
                        audience=audience,
                        passages=(keys(of_passage),),
                        status=status,
                        thread=lessons.thread(number, held_out=held_out),
                        is_held_out=held_out,
                        refused_answer=f"No {CANARY} [1].",
                        **text,
                    )
                )
    return found


@pytest.fixture
def journal(memory: Memory) -> Journal:
    return Journal(memory.redis, TEAM)


@pytest.fixture
async def stocked(journal: Journal) -> Journal:
    for one in canaries():
        await journal.keep_example(one)
    return journal


@pytest.mark.parametrize("readable", OUTSIDE)
async def test_no_canary_is_a_demonstration_elsewhere(stocked: Journal, readable: frozenset[str]) -> None:
    """However near the question; inside the channel the example is shown, or this test would show nothing."""
    library = FakeLibrary(keys(SECRET), keys("workspace"))
    nearest = Nearest(stocked, embedding(HashingEmbedder()), library.standing, most=8)
    text = f"How do I reset the API key of {CANARY}?"
    question = Question(id="q", team_id=TEAM, text=text, readable=readable)
    assert not await nearest(question, Found(hits=(), query=text))
    library.passages.pop()
    inside = question.model_copy(update={"readable": EVERYBODY | {SECRET}})
    assert await nearest(inside, Found(hits=(), query=text))


def test_no_canary_is_in_a_dataset_or_an_export() -> None:
    """In no layout, and in no trial of the gate whose report others read."""
    every = [*canaries(), *lessons.examples(3)]
    usable, refused = examples.trainable(every, PERSONA)
    assert len(usable) == 3 and CANARY not in str(usable)
    assert CANARY not in "".join(reason for _, reason in refused)
    for kind in ("sft", "dpo", "kto"):
        assert CANARY.encode() not in datasets.build(usable, PERSONA, kind)[1]
    assert CANARY not in b"".join(lines(every, PERSONA, held_out=True)).decode()


def test_no_canary_of_a_channels_own_is_in_a_trial() -> None:
    """What the gate measures on is shown in its report."""
    narrow = [one for one in canaries() if one.audience == SECRET]
    assert CANARY not in str(trials.trials_of(narrow, PERSONA))


@pytest.mark.parametrize("readable", OUTSIDE)
async def test_nobody_outside_reviews_a_canary(stocked: Journal, readable: frozenset[str]) -> None:
    """Neither approving, nor rejecting, nor editing, and the refusal does not say that it exists."""
    for one in canaries():
        for attempt in (
            examples.review(stocked, one.id, "rejected", ADMIN, readable),
            examples.review(stocked, one.id, "approved", ADMIN, readable),
            examples.edit(stocked, one.id, "Other words.", ADMIN, readable, PERSONA),
        ):
            with pytest.raises(TellUser) as refusal:
                await attempt
            assert str(refusal.value) == f"There is no example `{one.id}` that may be read here."
    assert {one.id: one for one in await stocked.examples()} == {one.id: one for one in canaries()}


async def test_an_example_is_for_those_who_read_all_of_its_passages(journal: Journal) -> None:
    """Said in an open channel or agreed to in private: its label is its narrowest passage's."""
    entry = await said(journal, passages=(PASSAGE, keys(SECRET, "p2")))
    example = await liked(journal, entry)
    assert example and example.audience == SECRET
    private = await said(journal, asked("9.1", kind="direct", channel_id="D0MAYA"), passages=(keys(SECRET, "p2"),))
    await liked(journal, private)
    agreed = await examples.consent(journal, private, MAYA)
    assert agreed and agreed.audience == SECRET


async def test_a_correction_does_not_draw_on_what_its_place_may_not_read(journal: Journal, memory: Memory) -> None:
    """A page of another channel supports nothing here, and its words are in nothing that is stored."""
    register = Register(memory.redis, TEAM)
    library = FakeLibrary(PASSAGE, keys(SECRET, "p2"))
    entry = await said(journal)
    text = "To reset an API key, open Settings. It takes two admins."
    example = await examples.correct(journal, register, entry, text, "", MAYA, "workspace", library.find)
    (drafted,) = await register.draft_pages()
    assert CANARY not in example.model_dump_json() + drafted.model_dump_json()
    await examples.recheck(journal, library.standing, find=library.find, register=register)
    assert CANARY not in str(await journal.examples())
    narrow = await said(journal, asked("9.1", channel_id="C0SECRET"), passages=(keys(SECRET),))
    inside = await examples.correct(journal, register, narrow, f"Pay {CANARY} 12345.", "", MAYA, SECRET, library.find)
    assert inside.audience == SECRET
    assert [one.audience for one in await register.draft_pages()] == ["workspace", SECRET]


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[RunningBot]:
    async with shell_that_knows(tmp_path, {"keys": page("API keys", "To reset an API key, open Settings.")}) as running:
        yield running


async def test_the_shell_lists_what_the_place_may_read(bot: RunningBot, tmp_path: Path) -> None:
    """The review list, the pages to complete and the export are the workspace's unless another place is named."""
    async with memory_of(bot) as memory:
        journal, register = Journal(memory.redis, "T0LOCAL"), Register(memory.redis, "T0LOCAL")
        for one in canaries():
            await journal.keep_example(one)
        entry = await said(journal, asked("9.1", channel_id="C0SECRET"), passages=(keys(SECRET),))
        await examples.correct(
            journal, register, entry, f"Pay {CANARY} 12345.", "", MAYA, SECRET, FakeLibrary(keys(SECRET)).find
        )
    seen = await bot.cli("train", "review", "--pages", str(tmp_path / "drafts"))
    seen += await bot.cli("train", "review", "--json") + await bot.cli("train", "review", "--approve", "clean")
    seen += await bot.cli("train", "status")
    for status in ("approved", "candidate", "quarantined"):
        seen += json.dumps(await bot.exported(status))
    assert CANARY not in seen and not list((tmp_path / "drafts").iterdir())
    inside = await bot.cli("train", "review", "--pages", str(tmp_path / "drafts"), "--audience", SECRET)
    assert CANARY in inside and len(list((tmp_path / "drafts").iterdir())) == 1
