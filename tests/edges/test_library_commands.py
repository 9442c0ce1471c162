"""The commands about the library's forms, as an operator types them; what they do is told in
`tests/contracts/test_forms.py`."""

from __future__ import annotations

from pathlib import Path

from tests.edges.test_command_line import bot, report
from tests.edges.test_source_commands import handbook
from tests.embedding_server import EmbeddingServer


def test_the_forms_are_listed_and_embedding_by_the_live_model_is_done_already(tmp_path: Path) -> None:
    """An empty library has none; after an ingest there is one, live, and there is nothing to embed anew, to go back to
    or to drop."""
    assert report(bot(tmp_path, "library", "status", "--json"))["forms"] == []
    bot(tmp_path, "ingest", handbook(tmp_path))
    told = report(bot(tmp_path, "library", "status", "--json"))
    (form,) = told["forms"]
    assert (form["model"], form["state"], form["documents"], form["left_at"]) == ("minilm", "live", 2, None)
    assert (told["library"]["embedding_model"], told["library"]["remark"]) == ("minilm", "")
    done = report(bot(tmp_path, "library", "reembed", "--json"))
    assert (done["form"], done["is_live"], done["documents"]) == (form["id"], True, 0)
    back = bot(tmp_path, "library", "rollback", "--json")
    assert (back.returncode, back.stdout) == (2, "") and "no form to go back to" in back.stderr
    assert report(bot(tmp_path, "library", "prune", "--json")) == {"forms": []}


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Status 2, with the setting's name, and the library is as it was."""
    bot(tmp_path, "ingest", handbook(tmp_path))
    done = bot(tmp_path, "library", "reembed", EMBEDDING_MODEL="minilm-int8")
    assert done.returncode == 2 and "EMBEDDING_MODEL" in done.stderr and "Traceback" not in done.stderr
    assert "minilm" in bot(tmp_path, "library", "status").stdout


def test_embedding_anew_ends_with_what_is_left_to_do(tmp_path: Path) -> None:
    """Another model wants a calibration of its own; no line of a log, with advice that is being followed, comes
    between."""
    bot(tmp_path, "ingest", handbook(tmp_path))
    with EmbeddingServer() as server:
        other = {"EMBEDDING_BASE_URL": server.base_url, "EMBEDDING_MODEL": "hashing"}
        done = bot(tmp_path, "library", "reembed", **other)
    assert done.returncode == 0, done.stderr
    assert "python -m bot calibrate" in done.stdout.splitlines()[-1]
    assert "embedding_model_not_live" not in done.stderr and '"event"' not in done.stderr
