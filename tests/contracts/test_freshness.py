"""Pages change, come and go while questions stream, on both indexes: the next answer follows, no question fails, and
none sees a page half old and half new, or not at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.settings import Settings
from bot.terminal import SilentReply
from bot.vocabulary import Answer, Found, Question
from bot.wiring import Thinking, open_thinking
from tests.contracts.index_suite import Kind, WeaviateKind, new_team

PLANTS = ("fern", "moss", "oak", "lily")
PARTS = ("leaves", "roots", "buds")
"""Of these a page tells another number each time."""
KEPT = ("shoots", "thorns")
"""What it tells of these stays."""
ROUNDS = 3


@pytest.fixture
async def thinking(index_kind: Kind, tmp_path: Path) -> AsyncIterator[Thinking]:
    """What answers, as the bot opens it, on each index in turn."""
    settings = Settings(data_dir=tmp_path / "data")
    if isinstance(index_kind, WeaviateKind):
        server = index_kind.server
        where = {"weaviate_url": server.url, "weaviate_grpc_url": server.grpc_url, "weaviate_api_key": server.key}
        settings = Settings.model_validate({"data_dir": tmp_path / "data"} | where)
    async with open_thinking(settings) as opened:
        yield opened


def write(folder: Path, plants: tuple[str, ...], version: int) -> None:
    """Writes a page for each plant and takes the other pages away; each section tells the version."""
    folder.mkdir(exist_ok=True)
    for page in folder.glob("*.md"):
        if page.stem not in plants:
            page.unlink()
    for plant in plants:
        numbers = dict.fromkeys(PARTS, str(version)) | dict.fromkeys(KEPT, "many")
        sections = (
            f"## The {part} of the {plant}\n\nThe {plant} has {many} {part}.\n" for part, many in numbers.items()
        )
        (folder / f"{plant}.md").write_text(f"# The {plant}\n\n" + "\n".join(sections))


async def find(thinking: Thinking, team_id: str, plant: str) -> Found:
    text = f"How many leaves, roots, buds, shoots and thorns has the {plant}?"
    return await thinking.find(Question(id="q", team_id=team_id, text=text, readable=frozenset({"workspace"})), 10)


async def ask(thinking: Thinking, team_id: str, plant: str) -> Answer:
    text = f"How many leaves has the {plant}?"
    question = Question(id="q", team_id=team_id, text=text, readable=frozenset({"workspace"}))
    return await thinking.answer(question, SilentReply())


def told(found: Found, plant: str) -> dict[str, set[str]]:
    """What the passages about a plant tell of each of its parts: the number, or many."""
    parts: dict[str, set[str]] = {}
    for hit in found.hits:
        if hit.passage.document_id.removesuffix(".md") == plant:
            for many, part in re.findall(r"has (\w+) (\w+)\.", hit.passage.text):
                parts.setdefault(part, set()).add(many)
    return parts


def whole(version: int) -> dict[str, set[str]]:
    return {part: {str(version)} for part in PARTS} | {part: {"many"} for part in KEPT}


async def test_answers_follow_the_pages_while_questions_stream(thinking: Thinking, tmp_path: Path) -> None:
    """Every question that is asked while a page changes finds it whole, as it was or as it is, and is answered by what
    one of the two says; every one asked after the sync by what it says now. A page that was added is there after its
    sync, one that was deleted is not."""
    folder, team_id = tmp_path / "garden", new_team()
    write(folder, PLANTS, version=0)
    await thinking.library.ingest(team_id, folder)
    synced = asked = 0
    is_over = asyncio.Event()

    async def keep_finding(plant: str) -> None:
        nonlocal asked
        while not is_over.is_set():
            least = synced
            page = told(await find(thinking, team_id, plant), plant)
            assert page in [whole(version) for version in range(least, synced + 2)]
            asked += 1

    async def keep_asking(plant: str) -> None:
        nonlocal asked
        while not is_over.is_set():
            least = synced
            answer = await ask(thinking, team_id, plant)
            assert answer.status == "answered"
            (said,) = set(re.findall(rf"{plant} has (\d+) leaves", answer.text))
            assert least <= int(said) <= synced + 1
            asked += 1

    async def keep_changing() -> None:
        nonlocal synced
        for version in range(1, ROUNDS + 1):
            is_odd = version % 2
            write(folder, (*PLANTS, "rose") if is_odd else PLANTS, version)
            report = await thinking.library.ingest(team_id, folder)
            assert (report.changed, report.added, report.removed) == (len(PLANTS), is_odd, 0 if is_odd else 1)
            synced = version
            assert told(await find(thinking, team_id, "rose"), "rose") == (whole(version) if is_odd else {})
            assert ("rose has" in (await ask(thinking, team_id, "rose")).text) == is_odd
        is_over.set()

    async with asyncio.TaskGroup() as group:
        for plant in PLANTS[::2]:
            group.create_task(keep_finding(plant))
        for plant in PLANTS[1::2]:
            group.create_task(keep_asking(plant))
        group.create_task(keep_changing())
    assert asked >= ROUNDS * len(PLANTS)
