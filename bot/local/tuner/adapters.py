"""From the adapter that PEFT writes to the one that llama.cpp reads. llama.cpp has other names for the layers, and it
turns neighbouring dimensions of query and key where transformers turns the two halves of a head, so the rows of these
two are dealt anew (the form: `convert_lora_to_gguf.py` in github.com/ggml-org/llama.cpp). An adapter fits one base
only, whose digest it carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.local.tuner.base_models import Base, Refused, move_in_place
from bot.local.tuner.gguf_header import Broken, read_header

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

BASE_DIGEST = "tuner.base_sha256"
_PREFIX = "base_model.model."


def write_adapter(peft_folder: Path, model_folder: Path, base_digest: str, target: Path) -> None:
    """Writes a LoRA adapter as a GGUF file in half precision. `model_folder` is the Hugging Face folder that it was
    trained on. Raises ValueError for an adapter of another kind, and OSError."""
    import gguf
    import numpy as np
    from safetensors import safe_open

    adapter: dict[str, Any] = json.loads((peft_folder / "adapter_config.json").read_text(encoding="utf-8"))
    model: dict[str, Any] = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    for key in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save"):
        if adapter.get(key):
            raise ValueError(f"adapters with {key} are not supported")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model["num_hidden_layers"])
    unfinished = target.with_name(f"{target.name}.unfinished")
    writer = gguf.GGUFWriter(unfinished, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(adapter["lora_alpha"]))
    writer.add_string(BASE_DIGEST, base_digest)
    with safe_open(peft_folder / "adapter_model.safetensors", framework="numpy") as tensors:
        for key in tensors.keys():  # noqa: SIM118 (it is no dict)
            module, _, side = key.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".lora_")
            name = names.get_name(module)
            if side not in ("A", "B") or name is None:
                raise ValueError(f"the tensor {key} is of no layer that llama.cpp knows")
            weights = tensors.get_tensor(key)
            if side == "B" and module.endswith(("q_proj", "k_proj")):
                weights = deal_rows(weights, heads_of(module, model))
            writer.add_tensor(f"{name}.weight.lora_{side.lower()}", weights.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    move_in_place(unfinished, target)


def heads_of(module: str, model: dict[str, Any]) -> int:
    """Gives the heads of a query or key projection, of which a model may have fewer for keys."""
    heads = int(model["num_attention_heads"])
    return int(model.get("num_key_value_heads") or heads) if module.endswith("k_proj") else heads


def deal_rows(weights: Array, heads: int) -> Array:
    """Gives the rows of each head in llama.cpp's order: now one of the first half, now one of the second."""
    rows = weights.shape[0]
    halves = weights.reshape(heads, 2, rows // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def check_adapter(path: Path, base: Base, base_name: str) -> None:
    """Looks whether an adapter was made here for this base. Raises Refused."""
    try:
        header = read_header(path)
    except (Broken, OSError) as problem:
        raise Refused("invalid_adapter", f"The adapter '{path.name}' cannot be read: {problem}.") from problem
    if header.text("general.type") != "adapter" or header.text("adapter.type") != "lora":
        raise Refused("invalid_adapter", f"'{path.name}' is no LoRA adapter.")
    if header.text(BASE_DIGEST) != base.digest:
        raise Refused(
            "adapter_of_another_base",
            f"The adapter '{path.name}' was trained on another model than '{base_name}' is now; tune again.",
        )
