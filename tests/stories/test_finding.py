"""What a search does beside ranking: a follow-up is said anew, the newer of two versions comes first, and what stands
around the best passage is read with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import openai  # noqa: F401 - its import may take longer than a rewriting
import pytest

from bot.errors import LibraryUnavailable
from bot.settings import LOCAL_TEAM, Settings
from bot.terminal import SilentReply
from bot.vocabulary import Found, Passage, Question, Turn
from bot.wiring import open_thinking
from retrieval.finding import Rewrite
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library, open_library
from tests.scripted_model import ScriptedModel

EVERYBODY = frozenset({"public", "workspace"})
THREAD = (
    Turn(role="user", text="What does the audit log hold?"),
    Turn(role="assistant", text="Who did what, and when."),
)


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    async with open_library(Settings(data_dir=tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A guide whose steps are too many for one passage, and some other pages."""
    folder = tmp_path / "docs"
    folder.mkdir()
    steps = "\n".join(
        f"{number}. Turn valve {number} of the cooling circuit until its gauge shows {number * 10} bar, and note the "
        "reading, the time and your name in the log book that hangs beside the door of the boiler room."
        for number in range(1, 16)
    )
    (folder / "boiler.md").write_text(f"# Boiler\n\n## Starting the boiler\n\n{steps}\n\n## Cleaning\n\nOnce a year.\n")
    (folder / "audit.md").write_text("# Audit log\n\nThe audit log is kept for 400 days and can be exported.\n")
    (folder / "exports.md").write_text("# Exports\n\nAn export of the invoices is a CSV file.\n")
    return folder


async def ask(
    library: Library, text: str, *history: Turn, rewrite: Rewrite | None = None, readable: frozenset[str] = EVERYBODY
) -> Found:
    question = Question(id="q", team_id=LOCAL_TEAM, text=text, readable=readable, history=history)
    return await library.find(question, rewrite=rewrite, around=True)


async def test_a_follow_up_is_searched_as_it_was_rewritten(library: Library, docs: Path) -> None:
    """And only a follow-up: no model is asked about a question that is understood alone, or has no thread."""
    seen: list[str] = []

    async def rewrite(question: Question) -> str | None:
        seen.append(question.text)
        return "How long is the audit log kept?"

    await library.ingest(LOCAL_TEAM, docs)
    found = await ask(library, "and how long is that kept?", *THREAD, rewrite=rewrite)
    assert found.query == "How long is the audit log kept?"
    assert found.hits[0].passage.document_id == "audit"
    assert found.rewrite_ms > 0
    await ask(library, "How do I export the invoices of last year as a CSV file?", *THREAD, rewrite=rewrite)
    await ask(library, "and that?", rewrite=rewrite)
    assert seen == ["and how long is that kept?"]


async def test_a_follow_up_that_nobody_rewrites_is_searched_by_rule(library: Library, docs: Path) -> None:
    """After what its asker said before."""

    async def rewrite(question: Question) -> str | None:
        return None

    await library.ingest(LOCAL_TEAM, docs)
    found = await ask(library, "and how long is that kept?", *THREAD, rewrite=rewrite)
    assert found.query == "What does the audit log hold?\nand how long is that kept?"


async def test_the_persona_model_rewrites_on_its_way_to_the_answer(docs: Path, tmp_path: Path) -> None:
    """It is asked for the question first, then for the answer; what was searched is a part of the answer, and the time
    is told."""
    async with ScriptedModel() as server:
        server.enqueue("How long is the audit log kept?", "The audit log is kept for 400 days [1].")
        settings = Settings(
            data_dir=tmp_path / "data",
            persona_model="scripted",
            openai_base_url=server.base_url,
            sufficiency_threshold=0,
        )
        async with open_thinking(settings) as thinking:
            await thinking.library.ingest(LOCAL_TEAM, docs)
            asked = Question(
                id="q", team_id=LOCAL_TEAM, text="and how long is that kept?", readable=EVERYBODY, history=THREAD
            )
            answered = await thinking.answer(asked, SilentReply())
        assert answered.text == "The audit log is kept for 400 days [1]."
        assert answered.query == "How long is the audit log kept?"
        assert answered.timings_ms["rewrite"] > 0
        assert "follow-up: and how long is that kept?" in server.requests[0]["messages"][1]["content"]
        assert "Question: and how long is that kept?" in server.requests[1]["messages"][-1]["content"]


async def test_what_stands_around_the_best_passage_is_read_with_it(library: Library, docs: Path) -> None:
    """A list of steps that was cut goes on; another section of the page is not a part of it."""
    await library.ingest(LOCAL_TEAM, docs)
    found = await ask(library, "How do I turn valve 8 of the cooling circuit?")
    best, around = found.hits[0].passage, found.around
    read = sorted({best.position, *(hit.passage.position for hit in found.hits), *(one.position for one in around)})
    assert {best.position - 1, best.position, best.position + 1} <= set(read)
    assert {one.section for one in around} <= {"Starting the boiler"}
    assert not {one.id for one in around} & {hit.passage.id for hit in found.hits}
    assert (await ask(library, "how long is the audit log kept")).around == ()


async def test_nothing_is_read_around_a_passage_that_is_its_whole_section(
    library: Library, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be a call to the index on most answers, for nothing."""

    async def unwanted(*_: object) -> list[Passage]:
        raise AssertionError("there is nothing around it")

    await library.ingest(LOCAL_TEAM, docs)
    monkeypatch.setattr(EmbeddedIndex, "around", unwanted)
    found = await ask(library, "how long is the audit log kept")
    assert found.hits[0].passage.is_whole and found.around == ()


async def test_what_stands_around_a_passage_obeys_the_audience(library: Library, docs: Path) -> None:
    """Nobody reads around what they may not read."""
    await library.ingest(LOCAL_TEAM, docs, audience="group:G1")
    found = await ask(library, "How do I turn valve 8?", readable=frozenset({"public"}))
    assert found.hits == () and found.around == ()


async def test_what_stands_around_is_no_reason_to_fail(
    library: Library, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the index breaks down just then, what was found is answered from."""

    async def down(*_: object) -> list[Passage]:
        raise LibraryUnavailable("down")

    await library.ingest(LOCAL_TEAM, docs)
    monkeypatch.setattr(EmbeddedIndex, "around", down)
    found = await ask(library, "How do I turn valve 8?")
    assert found.hits and found.around == ()


@pytest.mark.parametrize("typed", ["E1042", "e-1042"])
async def test_a_code_that_is_typed_otherwise_is_found(library: Library, docs: Path, typed: str) -> None:
    """Its page comes first and is enough to answer from; for a code that is nowhere no other is taken."""
    for number in range(1030, 1060):
        (docs / f"{number}.md").write_text(
            f"# Faults of pump {number}\n\nE-{number} means that pump {number} stands.\n"
        )
    await library.ingest(LOCAL_TEAM, docs)
    found = await ask(library, f"What does {typed} mean?")
    assert found.query == "What does E-1042 mean?"
    assert found.is_sufficient and found.hits[0].passage.document_id == "1042"
    assert not (await ask(library, "What does E-9042 mean?")).is_sufficient
