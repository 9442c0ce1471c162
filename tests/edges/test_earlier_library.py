"""An embedded library that an earlier release made: it had noted in each team's catalogue which form is live."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.errors import Broken
from bot.vocabulary import Question
from retrieval.chunking import CHUNKER
from retrieval.index import form_of
from tests.chaos.test_reembedding import opened
from tests.hashing_embedder import HashingEmbedder

TEAM = "T1"
QUESTION = Question(id="q", team_id=TEAM, text="when is lunch", readable=frozenset({"workspace"}))


def model(name: str) -> HashingEmbedder:
    return HashingEmbedder(name, {"small": 64, "wide": 96}[name])


@pytest.fixture
async def earlier(tmp_path: Path) -> Path:
    """Gives the folder of a library that an earlier release embedded with `small`."""
    source, folder = tmp_path / "lunch.md", tmp_path / "library"
    source.write_text("# Lunch\n\nLunch is at noon.\n")
    library = opened(folder, model("small"))
    await library.ingest(TEAM, source)
    await library.close()
    (folder / "forms.sqlite3").unlink()
    with closing(sqlite3.connect(folder / TEAM / "sources.sqlite3")) as catalogue, catalogue:
        catalogue.execute("CREATE TABLE live (one INTEGER PRIMARY KEY CHECK (one = 1), form TEXT NOT NULL)")
        catalogue.execute("INSERT INTO live VALUES (1, ?)", (form_of(model("small").id, CHUNKER),))
    return folder


async def test_an_earlier_library_of_the_same_model_is_found_and_recorded(earlier: Path) -> None:
    """Nothing is embedded anew; the first sync records by what it was made."""
    library = opened(earlier, model("small"))
    assert len((await library.find(QUESTION)).hits) == 1
    assert (await library.sync(TEAM, "lunch.md")).unchanged == 1
    assert [(one.model, one.dimensions, one.state) for one in await library.forms()] == [("small", 64, "live")]
    await library.close()


async def test_an_earlier_library_of_another_model_says_what_to_do_instead_of_finding_nothing(earlier: Path) -> None:
    """By what it was made is not known, so it cannot be asked; embedding it anew brings it back."""
    library = opened(earlier, model("wide"))
    with pytest.raises(Broken, match="library reembed"):
        await library.find(QUESTION)
    assert "library reembed" in (await library.status(TEAM)).remark
    live, *_ = await library.forms()
    assert (live.model, live.state, live.documents) == ("", "live", 1)
    report = await library.reembed()
    assert (report.is_live, report.problems, report.documents) == (True, (), 1)
    assert len((await library.find(QUESTION)).hits) == 1
    await library.close()
