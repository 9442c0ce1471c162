"""What a later release stored or queued, read by this one: in a rolling deploy, and after going back to it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from bot.learning.matrix.arms import Arm
from bot.vocabulary import Asked, Frozen, Listing, Passage, Source
from retrieval.forms import Form
from tests.chaos.test_reembedding import opened
from tests.hashing_embedder import HashingEmbedder

RECORDS = (
    Asked(
        id="q", kind="direct", team_id="T1", channel_id="D1", ts="1.0", thread_ts="1.0", user_id="U1",
        user_team_id="T1", text="When is lunch?",
    ),
    Form(id="f", model="minilm"),
    Listing(form="f", terms=(), parts=1, hands=1),
    Passage(id="p", document_id="d", source="s", title="Lunch", text="At noon.", audience="public"),
    Source(name="docs", address="/docs"),
)  # fmt: skip


def later(record: str) -> str:
    """Gives a stored record as the next release would write it."""
    return json.dumps({**json.loads(record), "of_the_next_release": {"n": 1}})


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_field_of_a_later_release_is_passed_over(record: Frozen) -> None:
    """The rest of the record is read as it stands."""
    assert type(record).model_validate_json(later(record.model_dump_json())) == record


async def test_sources_and_forms_of_a_later_release_are_found_and_synced(tmp_path: Path) -> None:
    """The records as the embedded library keeps them."""
    folder, lunch = tmp_path / "library", tmp_path / "lunch.md"
    lunch.write_text("Lunch is at noon.")
    library = opened(folder, HashingEmbedder("small"))
    await library.ingest("T1", lunch)
    for file, table in ((folder / "T1/sources.sqlite3", "sources"), (folder / "forms.sqlite3", "forms")):
        with closing(sqlite3.connect(file)) as store, store:
            store.create_function("later", 1, later)
            store.execute(f"UPDATE {table} SET record = later(record)")
    assert [source.name for source in await library.sources("T1")] == ["lunch.md"]
    assert (await library.sync("T1", "lunch.md")).unchanged == 1
    assert [form.model for form in await library.forms()] == ["small"]
    await library.close()


def test_a_slip_in_what_people_write_is_refused() -> None:
    """An arm of the matrix is written by hand."""
    with pytest.raises(ValidationError, match="promt"):
        Arm.model_validate({"name": "a", "model": "m", "promt": "plain"})
