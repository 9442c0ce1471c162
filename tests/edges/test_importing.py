"""What people bring along in files, good and broken, and what a model drafts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.errors import ModelUnavailable, TellUser
from bot.evaluating import Asked
from bot.journal import Journal
from bot.learning import drafting, examples, importing
from bot.learning.drafting import Drafted
from bot.learning.importing import Imported
from bot.learning.tracing import IMPORTED
from bot.learning.tuning.datasets import lines
from bot.memory import Memory
from bot.persona import load_persona, training_messages
from bot.vocabulary import Answer, Passage, Question
from tests import lessons
from tests.nouns import PASSAGE, TEAM, answered
from tests.running_bot import RunningBot
from tests.small_library import page, shell_that_knows
from tests.stories.test_examples import FakeLibrary

EVERYBODY = frozenset({"public", "workspace"})
COSTS = PASSAGE.model_copy(update={"id": "p2", "document_id": "costs", "title": "Costs: all", "text": "It costs 5 €."})
SECRET = PASSAGE.model_copy(update={"id": "p3", "text": "To win, open the door.", "audience": "channel:C0SECRET"})


@pytest.fixture
def journal(memory: Memory) -> Journal:
    return Journal(memory.redis, TEAM)


def line(question: str, answer: str, **more: Any) -> str:
    """A line in the seed's shape."""
    turns = [("system", "You are a support agent."), ("user", question), ("assistant", answer)]
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]} | more)


RESET = line("How do I reset an API key?", "To reset an API key, open Settings.")


async def imported(
    journal: Journal, folder: Path, *lines: str | bytes, library: FakeLibrary | None = None, audience: str = "workspace"
) -> Imported:
    file = folder / "lines.jsonl"
    file.write_bytes(b"\n".join(one.encode() if isinstance(one, str) else one for one in lines))
    find = (library or FakeLibrary(PASSAGE, COSTS, SECRET)).find
    return await importing.import_file(journal, file, find, audience=audience)


# Lines that are taken


async def test_a_line_of_the_seeds_shape_is_cited_from_the_library(journal: Journal, tmp_path: Path) -> None:
    """It has no passages; those that hold its sentences are found, and it waits for review like every other."""
    (example,) = (await imported(journal, tmp_path, RESET)).added
    assert example.answer == "To reset an API key, open Settings [1]." and example.passages == (PASSAGE, COSTS)
    assert (example.status, example.origin, example.problems) == ("candidate", "import", ())
    assert (example.produced_by, example.provider, example.audience) == ("human", "human", "workspace")
    assert await journal.examples("candidate") == [example]


async def test_what_the_library_does_not_hold_waits_with_the_reason(journal: Journal, tmp_path: Path) -> None:
    """It is a candidate that cannot be approved until a page holds it."""
    text = line("How do I reset an API key?", "To reset an API key, open Settings. Then call 12345.")
    (example,) = (await imported(journal, tmp_path, text)).added
    assert example.answer == "To reset an API key, open Settings [1]. Then call 12345."
    assert "“Then call 12345.” cites nothing, and no passage holds it." in example.problems
    library = FakeLibrary(PASSAGE, PASSAGE.model_copy(update={"id": "p9", "document_id": "9", "text": "Call 12345."}))
    (held,) = await examples.recheck(journal, library.standing, find=library.find)
    assert held.problems == () and "Then call 12345 [" in held.answer


async def test_our_own_export_comes_back_with_its_passages(journal: Journal, tmp_path: Path) -> None:
    """Those that the library still holds are its own again; others come along as they are."""
    other = PASSAGE.model_copy(update={"title": "Old: page", "text": "The price is 9 euros.", "section": "Part"})
    turns = training_messages(
        load_persona(), "What is it?", (COSTS, other), "It costs 5 € [1]. The price is 9 euros [2]."
    )
    (example,) = (await imported(journal, tmp_path, json.dumps({"messages": turns}))).added
    assert example.question == "What is it?" and example.problems == ()
    assert example.passages[0] == COSTS
    assert (example.passages[1].source, example.passages[1].text) == (IMPORTED, "page › Part: The price is 9 euros.")
    assert await examples.recheck(journal, FakeLibrary(COSTS).standing) == [], "it has no document to keep in step with"


async def test_the_same_line_is_one_example_however_often_it_comes(journal: Journal, tmp_path: Path) -> None:
    """Also after somebody has decided on it."""
    first = await imported(journal, tmp_path, RESET, RESET)
    assert (len(first.added), first.known) == (1, 1)
    await examples.review(journal, first.added[0].id, "approved", "U0ADMIN", None)
    again = await imported(journal, tmp_path, RESET)
    assert (len(again.added), again.known) == (0, 1)
    assert [one.status for one in await journal.examples()] == ["approved"]


async def test_secrets_do_not_come_in(journal: Journal, tmp_path: Path, memory: Memory) -> None:
    """Neither in question nor in answer; the same address has the same placeholder in both."""
    text = line("I am jane@example.org, my key is sk-proj-Abcdefghij0123456789", "Hello jane@example.org.")
    (example,) = (await imported(journal, tmp_path, text)).added
    assert "⟨email 1⟩" in example.question and "⟨email 1⟩" in example.answer
    assert "jane" not in str(await memory.redis.get(f"footnote:{TEAM}:example:{example.id}"))


async def test_who_wrote_it_is_said_or_it_counts_as_a_persons(journal: Journal, tmp_path: Path) -> None:
    """Outputs of a provider that is not listed stay out of training."""
    said = line("How do I reset an API key?", "Open Settings.", produced_by="gpt-9", provider="api.openai.com")
    (example,) = (await imported(journal, tmp_path, said)).added
    assert (example.produced_by, example.provider) == ("gpt-9", "api.openai.com")


async def test_an_export_that_comes_back_is_still_the_models(journal: Journal, tmp_path: Path) -> None:
    """An answer that is known keeps its writer, whatever the file says or leaves out."""
    known = lessons.example(1, passages=(PASSAGE,), produced_by="gpt-9", provider="api.openai.com")
    await journal.keep_example(known)
    (exported,) = lines([known], load_persona(), held_out=True)
    said = line("How may I do it?", known.answer.replace(" [1]", ""), produced_by="me", provider="human")
    for example in (await imported(journal, tmp_path, exported.strip(), said)).added:
        assert (example.produced_by, example.provider) == ("gpt-9", "api.openai.com")


async def test_an_import_sees_only_what_its_readers_may_read(journal: Journal, tmp_path: Path) -> None:
    """A page of a private channel supports no example of the workspace, but one of that channel."""
    text = line("How do I win?", "To win, open the door.")
    (open_one,) = (await imported(journal, tmp_path, text)).added
    assert SECRET not in open_one.passages and open_one.problems
    await journal.erase_examples([open_one.id])
    (narrow,) = (await imported(journal, tmp_path, text, audience="channel:C0SECRET")).added
    assert narrow.audience == "channel:C0SECRET" and SECRET in narrow.passages


# Lines that are not


BROKEN: list[tuple[str | bytes, str]] = [
    ("{broken", "it is not JSON"),
    ("[1, 2]", 'it is not an object with "messages"'),
    ('{"prompt": "a", "completion": "b"}', 'it is not an object with "messages"'),
    ('{"messages": []}', "no message is the assistant's"),
    ('{"messages": ["hello"]}', "a message lacks its role"),
    ('{"messages": [{"role": "user", "content": "Why?"}]}', "no message is the assistant's"),
    (RESET.replace('"user"', '"customer"'), "the role 'customer' is none of"),
    (RESET.replace('"user"', '"assistant"'), "its roles are system, assistant, assistant"),
    (RESET.replace('"To reset an API key, open Settings."', "null"), "the content of the assistant message is not"),
    (line("Why?", "  "), "its answer is empty"),
    (line("", "Because."), "its question is empty"),
    (line("[1] Keys: words\n\n", "Because [1]."), "no question"),
    (line("Why?", "Because.", provider=7), "produced_by and provider must be text"),
    (line("Why?", "Because.", produced_by="gpt-9"), "not the provider"),
    (line("Why?", "\ud800"), "half a character"),
    (line("Why?", "x" * 1_100_000), "longer than 1,000,000 bytes"),
    (RESET.encode("utf-16"), "it is not UTF-8 text"),
    ("[" * 100_000, "nested too deeply"),
]  # fmt: skip


async def test_each_broken_line_is_refused_with_its_own_reason(journal: Journal, tmp_path: Path) -> None:
    """All of them, and the good ones between them are taken; empty lines are none."""
    lines = [one for text, _ in BROKEN if b"\n" not in (text if isinstance(text, bytes) else b"") for one in (text, "")]
    found = await imported(journal, tmp_path, b"\xef\xbb\xbf" + RESET.encode(), *lines)
    assert len(found.added) == 1
    reasons = {one.number: one.reason for one in found.refused}
    for index, text in enumerate(lines):
        expected = dict((str(text), why) for text, why in BROKEN).get(str(text))
        if expected:
            assert expected in reasons[index + 2], (index, reasons[index + 2])
    assert len(reasons) == len(BROKEN)


async def test_a_file_with_nothing_in_it_is_refused(journal: Journal, tmp_path: Path) -> None:
    """So is one that cannot be opened."""
    with pytest.raises(TellUser, match="holds no lines"):
        await imported(journal, tmp_path, "", "  ")
    with pytest.raises(TellUser, match="cannot be read"):
        await importing.import_file(journal, tmp_path / "none", FakeLibrary().find, audience="workspace")


async def test_nine_examples_are_taken_and_told_to_be_few(journal: Journal, tmp_path: Path) -> None:
    """Nothing is wrong with nine; training on them is another matter."""
    lines = [line(f"What costs part {number}?", f"Part {number} costs 5 €.") for number in range(9)]
    found = await imported(journal, tmp_path, *lines)
    assert len(found.added) == 9 and not found.refused
    assert await examples.progress(journal) == "0 of 500 approved"


# Drafts


def questions(count: int) -> list[Asked]:
    return [Asked(id=f"q{number}", question=f"How do I reset API key {number}?") for number in range(count)]


class FakeModel:
    """Answers every question but those in `declined` and `failed`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.declined: set[str] = set()
        self.is_down = False

    async def __call__(self, question: Question) -> Answer:
        self.asked.append(question.text)
        await asyncio.sleep(0)
        if self.is_down:
            return answered(question.id, "Later.", status="failed", citations=())
        if question.text in self.declined:
            return answered(question.id, "No.", status="declined", citations=())
        return answered(question.id, query=question.text, provider="localhost")


async def drafted(journal: Journal, count: int, model: FakeModel) -> Drafted:
    return await drafting.draft(journal, questions(count), model, audience="workspace", readable=EVERYBODY)


async def test_every_draft_goes_to_review(journal: Journal) -> None:
    """Whatever the settings approve by themselves: nobody has liked it."""
    model = FakeModel()
    rules = examples.Rules(approval="off")
    made = await drafting.draft(journal, questions(3), model, audience="workspace", readable=EVERYBODY, rules=rules)
    assert [(one.origin, one.status, one.provider) for one in made.added] == [("draft", "candidate", "localhost")] * 3
    assert len(await journal.examples("candidate")) == 3


async def test_drafting_goes_on_where_it_was(journal: Journal) -> None:
    """Questions that have a draft are not asked again; those that the documents do not answer leave none."""
    model = FakeModel()
    model.declined = {"How do I reset API key 1?"}
    assert [one.id for one in (await drafted(journal, 2, model)).unanswered] == ["q1"]
    again = await drafted(journal, 4, model)
    assert (len(again.added), again.known, len(again.unanswered)) == (2, 1, 1)
    assert model.asked.count("How do I reset API key 0?") == 1


async def test_a_model_that_is_down_ends_the_drafting(journal: Journal) -> None:
    """After a few failures in a row, not after five hundred."""
    model = FakeModel()
    model.is_down = True
    with pytest.raises(ModelUnavailable, match="Run it again to go on"):
        await drafted(journal, 100, model)
    assert len(model.asked) < 10


# In the shell


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[RunningBot]:
    pages = {"keys": page("API keys", "To reset an API key, open Settings.")}
    async with shell_that_knows(tmp_path, pages) as running:
        yield running


async def test_the_shell_imports_drafts_reviews_and_forgets(bot: RunningBot, tmp_path: Path) -> None:
    """With the progress after each; what was approved is in the export."""
    file = tmp_path / "mine.jsonl"
    file.write_text(f"{RESET}\n{{broken\n{line('Who pays?', 'Penguins pay 12345 euros.')}\n", encoding="utf-8")
    taken = json.loads(await bot.cli("train", "import", str(file), "--json"))
    assert len(taken["added"]) == 2 and taken["progress"] == "0 of 500 approved"
    assert [one["line"] for one in taken["refused"]] == [2]
    file.write_text("{broken\n{too\n", encoding="utf-8")
    assert "2 refused" in await bot.cli("train", "import", str(file), status=1)

    asked = tmp_path / "asked.jsonl"
    answered, not_held = "How do I reset an API key on a Friday?", "Who was the first person on the moon?"
    lines = (json.dumps({"id": f"q{number}", "question": text}) for number, text in enumerate((answered, not_held)))
    asked.write_text("\n".join(lines), encoding="utf-8")
    made = json.loads(await bot.cli("train", "draft", str(asked), "--json"))
    assert len(made["added"]) == 1, made
    assert made["left"] == [{"id": "q1", "why": "unanswered"}]
    assert "1 known" in await bot.cli("train", "draft", str(asked))

    listed = json.loads(await bot.cli("train", "review", "--approve", "clean", "--json"))
    assert listed["progress"] == "2 of 500 approved"
    (left,) = listed["examples"]
    assert any("cites nothing" in problem for problem in left["problems"])
    text = await bot.cli("train", "review", "--edit", left["id"], "--answer", "To reset an API key, open Settings.")
    assert "open Settings [1]." in text and "1 wait for review" in text
    assert len(await bot.exported("approved")) == 2
    await bot.cli("train", "forget", "bob", status=2)
    assert "0 examples" in await bot.cli("train", "forget", "U0NOBODY")
    await bot.cli("train", "review", "--edit", "ex-1", status=2)
    await bot.cli("train", "review", "--approve", "ex-none", status=2)
    await bot.cli("train", "import", str(tmp_path / "none.jsonl"), status=2)


def test_a_passage_of_another_readership_is_not_in_the_question(tmp_path: Path) -> None:
    """The export of one example is read as one question and its passages, whatever the question looks like."""
    file = tmp_path / "one.jsonl"
    passages: tuple[Passage, ...] = (PASSAGE, COSTS)
    turns = training_messages(load_persona(), "[1] is\n\nwhat?", passages, "It costs 5 € [2].")
    file.write_text(json.dumps({"messages": turns}), encoding="utf-8")
    ((_, read),) = importing.read_lines(file)
    assert not isinstance(read, str)
    assert (read.question, len(read.passages)) == ("[1] is what?", 2)
