"""A Hugging Face folder as the one file that llama.cpp serves: `python -m bot.local.tuner.hugging_face FOLDER TARGET`,
a process of its own, for torch is not needed where answers are given. Matrices are rounded to 8 bits (Q8_0), all else
is kept. The result is only left when llama.cpp cuts text into the same tokens as the folder's own tokenizer, for nobody
has a list of all tokenizers that were ever given to a Llama (the form: `convert_hf_to_gguf.py` in
github.com/ggml-org/llama.cpp)."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.local.tuner.adapters import deal_rows, heads_of
from bot.local.tuner.base_models import Base, Refused, made_once, read_json

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_PROBE = (
    "Hello  world,\n\n\tI'm 12345 and WE'LL pay $3.50 by 2026-11-05!  naïve café — 漢字かな مرحبا 🙂👍🏽\n"
    "def f(a_b, *c): return a_b[0]  # E-1042 https://example.com/?q=1&x=%20 …   \n end"
)
_LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)


def served_file(base: Base, work_folder: Path) -> Path:
    """Gives the GGUF file of a base: itself, or what is made of a folder once, in a process that takes about a minute
    for 1B. Raises Refused and OSError."""
    if base.is_file:
        return base.path
    target = work_folder / f"{base.digest}.gguf"
    if not target.exists():
        command = [sys.executable, "-m", "bot.local.tuner.hugging_face", str(base.path), str(target)]
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stdout.strip() or done.stderr.strip()).rpartition("\n")[2]
            raise Refused("base_not_loaded", f"'{base.path.name}' cannot be made ready for llama.cpp: {reason}")
    return target


def main(arguments: list[str]) -> int:
    """Runs the command line and returns its exit status; a refusal is said on stdout."""
    folder, target = map(Path, arguments)
    try:
        made_once(target, lambda unfinished: convert(folder, unfinished))
    except (Refused, OSError) as problem:
        print(problem)
        return 1
    return 0


def kind_of_tokenizer(folder: Path) -> tuple[str, str]:
    """Gives the names by which llama.cpp knows the folder's tokenizer: its model, and how it cuts text into words
    before that. Raises Refused, Broken and OSError."""
    tokenizer = read_json(folder / "tokenizer.json")
    model, cutting = tokenizer.get("model") or {}, tokenizer.get("pre_tokenizer") or {}
    steps = cutting.get("pretokenizers") or [cutting]
    kinds = [step.get("type") for step in steps]
    patterns = [str((step.get("pattern") or {}).get("Regex", "")) for step in steps if step.get("type") == "Split"]
    if model.get("type") == "BPE" and model.get("byte_fallback"):
        return "llama", "default"
    if model.get("type") == "BPE" and kinds[-1] == "ByteLevel":
        if kinds == ["ByteLevel"]:
            return "gpt2", "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
            return "gpt2", "smollm"
        if kinds == ["Split", "ByteLevel"] and patterns[0].startswith(_LLAMA_3):
            return "gpt2", "llama-bpe"
    raise Refused(
        "unsupported_base",
        f"The tokenizer of '{folder.name}' is of a kind that this tuner does not know ({model.get('type')}, "
        f"{', '.join(map(str, kinds))}); convert the folder to GGUF by llama.cpp's own script and use that file.",
    )


def convert(folder: Path, target: Path) -> None:
    """Writes the GGUF file of a folder. Raises Refused and OSError."""
    import gguf

    config = read_json(folder / "config.json")
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(folder.name)
    _describe(writer, config)
    _add_vocabulary(writer, folder, config["vocab_size"])
    for name, weights, kind in _tensors(folder, config):  # twice, for a large model is not held in memory
        writer.add_tensor_info(name, weights.shape, weights.dtype, weights.nbytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, weights, _ in _tensors(folder, config):
        writer.write_tensor_data(weights)
    writer.close()
    _compare_tokens(folder, target)


def _describe(writer: Any, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    rope = _rope(config)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config.get("max_position_embeddings", 2048))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))
    writer.add_vocab_size(config["vocab_size"])
    if rope["rope_type"] == "linear":
        import gguf

        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """How positions are told apart, which transformers 5 writes otherwise than 4."""
    rope = config.get("rope_parameters") or {
        "rope_theta": config.get("rope_theta"),
        **(config.get("rope_scaling") or {}),
    }
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ("default", "linear", "llama3"):
        raise Refused("unsupported_base", f"Rotary positions of the kind '{kind}' are not supported; take a GGUF file.")
    return {**{key: value for key, value in rope.items() if value is not None}, "rope_type": kind}


def _tensors(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, Array, Any]]:
    import gguf
    import numpy as np
    from safetensors import safe_open

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    if (factors := _rope_factors(config)) is not None:
        yield "rope_freqs.weight", factors, None
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:  # NumPy has no bfloat16
            for key in sorted(tensors.keys()):
                if key.endswith("rotary_emb.inv_freq"):
                    continue
                if (name := names.get_name(key, try_suffixes=(".weight", ".bias"))) is None:
                    raise Refused("unsupported_base", f"llama.cpp knows no place for the tensor '{key}'.")
                weights = tensors.get_tensor(key).float().numpy()
                if re.search(r"\.[qk]_proj\.", key):
                    weights = deal_rows(weights, heads_of(key.rpartition(".")[0], config))
                if weights.ndim < 2:
                    yield name, np.ascontiguousarray(weights), None
                elif weights.shape[-1] % 32:
                    yield name, weights.astype(np.float16), None
                else:
                    kind = gguf.GGMLQuantizationType.Q8_0
                    yield name, gguf.quants.quantize(np.ascontiguousarray(weights), kind), kind


def _rope_factors(config: dict[str, Any]) -> Array | None:
    """By how much Llama 3.1 and later slow each frequency down (transformers: `_compute_llama3_parameters`)."""
    import numpy as np

    rope = _rope(config)
    if rope["rope_type"] != "llama3":
        return None
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    original = rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    factors = []
    for index in range(0, size, 2):
        length = 2 * math.pi * float(rope["rope_theta"]) ** (index / size)
        smooth = min(max((original / length - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def _add_vocabulary(writer: Any, folder: Path, size: int) -> None:
    import gguf

    kind, cutting = kind_of_tokenizer(folder)
    tokenizer = read_json(folder / "tokenizer.json")
    tokens = [f"[PAD{id}]" for id in range(size)]
    types = [_UNUSED] * size
    for token, id in tokenizer["model"]["vocab"].items():
        tokens[id] = token
        types[id] = _BYTE if kind == "llama" and re.fullmatch(r"<0x[0-9A-F]{2}>", token) else _NORMAL
    for added in tokenizer.get("added_tokens") or []:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = _CONTROL if added.get("special") else _USER_DEFINED
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(cutting)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if kind == "llama":
        writer.add_token_scores([-float(id) for id in range(size)])
        writer.add_add_space_prefix("▁" in json.dumps(tokenizer.get("normalizer"), ensure_ascii=False))
    special = gguf.SpecialVocab(folder, load_merges=kind == "gpt2", n_vocab=size)
    special.add_to_gguf(writer, quiet=True)


def _compare_tokens(folder: Path, file: Path) -> None:
    import httpx
    import tokenizers
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx = 256
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.warmup = parameters.fit_params = False
    parameters.verbosity = -1
    server = xllamacpp.Server(parameters)
    answer = httpx.post(
        f"{server.listening_address}/tokenize", json={"content": _PROBE, "add_special": False}, timeout=60
    )
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(_PROBE, add_special_tokens=False).ids
    if answer.json().get("tokens") != theirs:
        raise Refused(
            "unsupported_base",
            "llama.cpp cuts text into other tokens than the folder's tokenizer; "
            "convert the folder to GGUF by llama.cpp's own script and use that file.",
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
