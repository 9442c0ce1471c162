"""The command line in wrong hands: what it prints where, and with which exit status it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with one page."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "fee.md").write_text("# Fees\n\nThe fee for a late invoice is 4711 crowns.\n")
    return folder


def bot(tmp_path: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line as an operator would, with nothing configured but where its data is."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "bot", *map(str, arguments)],
        cwd=ROOT,
        env=kept | {"DATA_DIR": str(tmp_path / "data"), "COLUMNS": "300", **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Reads the JSON that is alone on stdout."""
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_a_source_that_cannot_be_read_keeps_no_other_from_the_library(tmp_path: Path, docs: Path) -> None:
    """Each SOURCE is tried; the one that failed is in the report by name, and the exit status is 1."""
    missing = tmp_path / "missing"
    for sources in ((docs, missing), (missing, docs)):
        done = bot(tmp_path, "ingest", *sources, "--json")
        read = report(done)
        assert done.returncode == 1
        assert read["added"] + read["unchanged"] == 1
        (failed,) = read["failed"]
        assert failed["source"] == str(missing) and "cannot be read" in failed["reason"]
    assert "4711" in bot(tmp_path, "search", "late invoice").stdout


def test_what_stands_around_a_passage_can_be_read(tmp_path: Path, docs: Path) -> None:
    """As much of its page as was asked for, in order; without the option nothing more is told."""
    sections = "\n\n".join(f"## Part {number}\n\nTurn wheel {number}." for number in range(5))
    (docs / "wheels.md").write_text(f"# Wheels\n\n{sections}\n")
    bot(tmp_path, "ingest", docs)
    (found,) = report(bot(tmp_path, "search", "wheel 2", "-k", "1", "--around", "1", "--json"))["passages"]
    assert found["around"] == "Turn wheel 1.\n\nTurn wheel 2.\n\nTurn wheel 3."
    assert "around" not in report(bot(tmp_path, "search", "wheel 2", "-k", "1", "--json"))["passages"][0]


def test_a_failed_source_is_told_to_people_too(tmp_path: Path, docs: Path) -> None:
    """Without --json, one line says which source and why."""
    done = bot(tmp_path, "ingest", tmp_path / "missing", docs)
    assert done.returncode == 1
    assert f"{tmp_path / 'missing'} cannot be read" in done.stdout
    assert "1 added" in done.stdout


def test_a_store_that_is_down_fails_each_source_with_the_report(tmp_path: Path, docs: Path) -> None:
    """What the library cannot take is reported like what cannot be read, with what to do."""
    folder = tmp_path / "data" / "library" / "T0LOCAL"
    folder.mkdir(parents=True)
    (folder / "sources.sqlite3").write_bytes(b"not a database" * 1_000)
    done = bot(tmp_path, "ingest", docs, "--json")
    assert done.returncode == 1
    assert "doctor" in report(done)["failed"][0]["reason"]


def test_a_data_folder_that_cannot_be_is_told_in_a_sentence(tmp_path: Path, docs: Path) -> None:
    """A file stands where the folder should be: no traceback, in no command."""
    (tmp_path / "data").write_text("a file")
    done = bot(tmp_path, "ingest", docs, "--json")
    assert done.returncode == 1
    assert "cannot be used" in report(done)["failed"][0]["reason"] and "Traceback" not in done.stderr
    asked = bot(tmp_path, "ask", "How high is the fee?")
    assert asked.stdout and "Traceback" not in asked.stderr


def test_a_wrong_audience_is_wrong_use(tmp_path: Path, docs: Path) -> None:
    """Nothing is read then, and stdout stays empty."""
    done = bot(tmp_path, "ingest", docs, "--audience", "everybody", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "everybody" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["no/folder/x.jsonl", "docs"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, docs: Path, place: str) -> None:
    """A missing folder or a folder's own name: status 2 and a sentence, and no library or memory was opened."""
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"id": "1", "question": "How high is the fee?"}\n')
    for command in (("train", "export", tmp_path / place), ("evaluate", questions, "--json", tmp_path / place)):
        done = bot(tmp_path, *command)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{tmp_path / place} cannot be written" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path, docs: Path) -> None:
    """What is only found out while writing ends in the same way."""
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"id": "1", "question": "How high is the fee?"}\n')
    done = bot(tmp_path, "evaluate", questions, "--json", "/dev/full")
    assert done.returncode == 2
    assert "/dev/full cannot be written" in done.stderr and "Traceback" not in done.stderr


def test_results_as_json_are_json_whatever_they_hold(tmp_path: Path, docs: Path) -> None:
    """In a terminal that speaks Latin-1, with signs of other scripts and a file's name that is no text at all."""
    (docs / "ferry.md").write_text("# Ferry\n\nThe ferry to Gdańsk 渡し船 leaves at noon.\n")
    (Path(os.fsdecode(os.fsencode(docs) + b"/h\xe4lf.md"))).write_bytes(b"\xff\xfe\xfa")
    latin = {"PYTHONIOENCODING": "latin-1"}
    read = report(bot(tmp_path, "ingest", docs, "--json", **latin))
    assert read["added"] == 2 and "lf.md" in read["failed"][0]["source"]
    asked = report(bot(tmp_path, "ask", "When does the ferry leave?", "--json", **latin))
    assert asked["status"] == "answered" and "Gdańsk 渡し船" in asked["citations"][0]["quote"]
    assert report(bot(tmp_path, "search", "ferry", "--json", **latin))["passages"][0]["document_id"] == "ferry"
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"id": "1", "question": "When does the ferry leave?"}\n')
    assert report(bot(tmp_path, "evaluate", questions, "--json", "-"))["questions"][0]["status"] == "answered"


LOGS_A_FAULT = """
from bot.log import log, set_up
set_up("INFO", at_first_line=%s)
def fail(written_by_somebody):
    raise LookupError("no such page")
try:
    fail("my question" + " and my trouble")
except LookupError:
    log.exception("answering_failed")
"""


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("at_first_line", [True, False])
def test_a_logged_fault_shows_no_values_of_variables(is_terminal: bool, at_first_line: bool) -> None:
    """They hold questions, payloads and page texts; where it happened is enough, on a terminal and in a file."""
    here, there = pty.openpty() if is_terminal else os.pipe()
    done = subprocess.Popen([sys.executable, "-c", LOGS_A_FAULT % at_first_line], cwd=ROOT, stderr=there)
    os.close(there)
    logged = ""
    try:
        while piece := os.read(here, 10_000):
            logged += piece.decode()
    except OSError:  # how a terminal says that it was left
        pass
    os.close(here)
    assert done.wait(30) == 0
    assert "answering_failed" in logged and "no such page" in logged and "in fail" in logged
    assert "my question and my trouble" not in logged


def test_a_question_in_the_shell_imports_only_what_answers_it(tmp_path: Path, docs: Path) -> None:
    """Neither stores and services that are not configured, nor what only other commands show or log with."""
    bot(tmp_path, "ingest", docs)
    code = (
        "import runpy, sys; sys.argv = ['bot', 'ask', 'How high is the fee for a late invoice?']\n"
        "try:\n    runpy.run_module('bot', run_name='__main__')\n"
        "finally:\n    sys.stderr.write(' '.join(['imported:', *sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "4711 crowns" in done.stdout
    imported = {name.partition(".")[0] for name in done.stderr.partition("imported:")[2].split()}
    assert "onnxruntime" in imported
    heavy = {"aiohttp", "docket", "openai", "redis", "slack_bolt", "slack_sdk", "structlog", "trafilatura", "weaviate"}
    assert not imported & (heavy | {"pydantic_settings", "torch", "yaml"})
