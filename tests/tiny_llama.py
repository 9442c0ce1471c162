"""Models of the Llama architecture, made in a second: random weights, a tokenizer learnt from one page, and adapters
for them. What is under test is the way of the numbers, for which these are as good as large ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PAGE = "How do I export the report? Open Settings, choose Export and confirm [1]. It takes 12 minutes; don't wait. " * 8
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 400,
    "hidden_size": 48,  # no multiple of 32, so that nothing is rounded to 8 bits on the way to llama.cpp
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "torch_dtype": "float32",
}


def write_tiny_llama(folder: Path, *, seed: int = 1, **config: Any) -> Path:
    """Writes a Hugging Face folder; `config` changes its config.json. Give another seed for another model."""
    from safetensors.numpy import save_file

    made = {**CONFIG, **config}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(made))
    _write_tokenizer(folder)
    random = np.random.default_rng(seed)
    width, wide = made["hidden_size"], made["intermediate_size"]
    keys = made["num_key_value_heads"] * made["head_dim"]
    shapes = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (wide, width),
        "mlp.up_proj": (wide, width),
        "mlp.down_proj": (width, wide),
    }
    tensors = {"model.embed_tokens.weight": random.normal(size=(made["vocab_size"], width)) * 0.5}
    for layer in range(made["num_hidden_layers"]):
        for name, shape in shapes.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = random.normal(size=shape) * 0.25
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{name}.weight"] = np.ones(width)
    tensors["model.norm.weight"] = np.ones(width)
    save_file(
        {name: weights.astype(np.float32) for name, weights in tensors.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return folder


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=390, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([PAGE], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "TokenizersBackend", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "bos_token": "<|im_start|>"}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def write_peft_adapter(folder: Path, model_folder: Path, *, seed: int, strength: float = 0.3, rank: int = 4) -> Path:
    """Writes a LoRA adapter as PEFT does, its numbers random and so strong that it changes every answer."""
    from safetensors.numpy import load_file, save_file

    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for name, weights in load_file(model_folder / "model.safetensors").items():
        if "_proj" in name:
            rows, columns = weights.shape
            module = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{module}.lora_A.weight"] = random.normal(size=(rank, columns)).astype(np.float32) * strength
            tensors[f"{module}.lora_B.weight"] = random.normal(size=(rows, rank)).astype(np.float32) * strength
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0}
    targets = sorted({name.split(".")[-3] for name in tensors})
    config = {**settings, "target_modules": targets, "base_model_name_or_path": str(model_folder), "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
