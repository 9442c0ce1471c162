"""Examples that leave for a file: in which layout, which of them, and what is said about the rest."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bot.journal import Journal
from bot.memory import Memory
from tests import lessons
from tests.nouns import TEAM

ROOT = Path(__file__).parents[2]
Export = Callable[..., Awaitable[tuple[list[Any], str]]]


@pytest.fixture
async def journal(memory: Memory) -> Journal:
    """Three approved examples, a correction among them, one held out, and one for a channel."""
    journal = Journal(memory.redis, TEAM)
    corrected = lessons.example(1, origin="correction", refused_answer="No idea.")
    held_out = lessons.example(3, thread=lessons.thread(3, held_out=True))
    for one in (lessons.example(0), corrected, held_out, lessons.example(4, audience="channel:C1")):
        await journal.keep_example(one)
    return journal


@pytest.fixture
def export(memory_url: str, tmp_path: Path) -> Export:
    """Runs `train export`, and gives the lines and what was said."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    environment = kept | {"REDIS_URL": memory_url, "DATA_DIR": str(tmp_path / "data"), "TEAM_ID": TEAM}

    async def run(*arguments: str, status: int = 0) -> tuple[list[Any], str]:
        file = tmp_path / "lines.jsonl"
        command = (sys.executable, "-W", "error", "-m", "bot", "train", "export", str(file), *arguments)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe)
        _, said = await process.communicate()
        assert process.returncode == status, said
        return [json.loads(line) for line in file.read_bytes().splitlines()] if status == 0 else [], said.decode()

    return run


async def test_an_export_holds_what_everybody_may_read(export: Export, journal: Journal) -> None:
    """And says how many it kept back, and how many of its lines are not for training."""
    lines, said = await export()
    assert [list(line) for line in lines] == [["messages"]] * 3
    assert "3 approved examples written" in said and "1 kept back: not everyone" in said
    assert "1 of them are held out for measuring" in said


async def test_candidates_are_shown_on_whichever_side_they_are(export: Export, journal: Journal) -> None:
    """They are no training lines yet."""
    await journal.keep_example(lessons.example(5, status="candidate", thread=lessons.thread(5, held_out=True)))
    lines, said = await export("--status", "candidate")
    assert len(lines) == 1 and "held out" not in said


async def test_corrections_leave_as_preferences(export: Export, journal: Journal) -> None:
    """A pair in OpenAI's layout, rows in TRL's; another layout there is not."""
    ((pair,), _) = await export("--kind", "dpo")
    assert pair["non_preferred_output"] == [{"role": "assistant", "content": "No idea."}]
    assert [row["label"] for row in (await export("--kind", "kto"))[0]] == [True, True, False, True]
    assert "none of sft, dpo, kto" in (await export("--kind", "rl", status=2))[1]


async def test_who_wrote_it_comes_along_on_demand(export: Export, journal: Journal) -> None:
    """Fine-tuning APIs refuse such keys, so they are not there unless somebody wants to import the file again."""
    await journal.keep_example(lessons.example(0, produced_by="gpt-9", provider="api.example"))
    by = [(line["produced_by"], line["provider"]) for line in (await export("--with-origin"))[0]]
    assert ("gpt-9", "api.example") in by and len(by) == 3
    await export("--with-origin", "--kind", "dpo", status=2)
