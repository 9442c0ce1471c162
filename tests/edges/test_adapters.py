"""A converted adapter says the same in llama.cpp as in transformers: the log probabilities of the next token are those
that transformers and PEFT compute, and a slip in the order of the rows would show."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bot.local.tuner import adapters
from bot.local.tuner.adapters import check_adapter, write_adapter
from bot.local.tuner.base_models import Base, Refused, built_in, open_base, training_folder
from bot.local.tuner.gguf_header import read_header
from bot.local.tuner.hugging_face import served_file
from tests.tiny_llama import write_peft_adapter, write_tiny_llama

pytestmark = [
    pytest.mark.models,
    # PEFT 0.21 asks transformers 5.23 for an attribute that is about to go.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]

PROMPT = "<|im_start|>user\nHow do I export the report in 2026?<|im_end|>\n<|im_start|>assistant\nOpen"
TOP = 10
LogProbs = dict[int, float]


@pytest.fixture(scope="module")
def work_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return open_base(write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny"))


def by_transformers(model_folder: Path, peft_folder: Path | None) -> tuple[list[int], LogProbs]:
    """The prompt's tokens, and the log probabilities of the likeliest next ones."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokens = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)(PROMPT)["input_ids"]
    model: Any = AutoModelForCausalLM.from_pretrained(model_folder, local_files_only=True, dtype=torch.float32)
    if peft_folder:
        model = PeftModel.from_pretrained(model, peft_folder)
    with torch.no_grad():
        found = model(torch.tensor([tokens])).logits[0, -1].log_softmax(-1).topk(TOP)
    return tokens, dict(zip(found.indices.tolist(), found.values.tolist(), strict=True))


def by_llama_cpp(file: Path, adapter: Path | None, tokens: list[int]) -> LogProbs:
    import httpx
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx = 256
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.verbosity = -1
    if adapter:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    server = xllamacpp.Server(parameters)
    body = {"prompt": tokens, "n_predict": 1, "n_probs": 4 * TOP, "ignore_eos": True, "cache_prompt": False}
    deadline = time.monotonic() + 60
    while (answer := httpx.post(f"{server.listening_address}/completion", json=body, timeout=60)).status_code == 503:
        assert time.monotonic() < deadline, answer.text  # the model is being loaded
        time.sleep(0.05)
    assert answer.is_success, answer.text
    (next_token,) = answer.json()["completion_probabilities"]
    return {one["id"]: one["logprob"] for one in next_token["top_logprobs"]}


def furthest(ours: LogProbs, theirs: LogProbs) -> float:
    """The largest difference over the tokens that transformers finds likeliest."""
    return max(abs(ours.get(token, -99.0) - value) for token, value in theirs.items())


def test_a_converted_adapter_gives_the_log_probabilities_of_peft(tiny: Base, tmp_path: Path, work_folder: Path) -> None:
    """Half precision aside (0.06), on a model with fewer heads for keys than for queries."""
    peft = write_peft_adapter(tmp_path / "peft", tiny.path, seed=5)
    write_adapter(peft, tiny.path, tiny.digest, tmp_path / "adapter.gguf")
    tokens, theirs = by_transformers(tiny.path, peft)
    file = served_file(tiny, work_folder)
    assert furthest(by_llama_cpp(file, tmp_path / "adapter.gguf", tokens), theirs) < 0.06
    assert furthest(by_llama_cpp(file, None, tokens), theirs) > 0.5, "the adapter must matter for this to mean anything"


def test_rows_in_another_order_would_show(
    tiny: Base, tmp_path: Path, work_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above fails for an adapter whose query and key rows are left as PEFT has them."""
    peft = write_peft_adapter(tmp_path / "peft", tiny.path, seed=5)
    monkeypatch.setattr(adapters, "deal_rows", lambda weights, heads: weights)
    write_adapter(peft, tiny.path, tiny.digest, tmp_path / "wrong.gguf")
    tokens, theirs = by_transformers(tiny.path, peft)
    assert furthest(by_llama_cpp(served_file(tiny, work_folder), tmp_path / "wrong.gguf", tokens), theirs) > 0.3


def test_a_folder_gives_the_same_log_probabilities_in_llama_cpp(tiny: Base, work_folder: Path) -> None:
    """Its weights, its rotary positions and its tokenizer arrive."""
    tokens, theirs = by_transformers(tiny.path, None)
    assert furthest(by_llama_cpp(served_file(tiny, work_folder), None, tokens), theirs) < 0.03


def test_the_slowed_rotary_positions_of_llama_3_arrive(tmp_path: Path) -> None:
    """Llama 3.1 and later read long texts by them; a model served without would be another model."""
    rope = {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    base = open_base(write_tiny_llama(tmp_path / "llama3", rope_parameters=rope))
    tokens, theirs = by_transformers(base.path, None)
    assert furthest(by_llama_cpp(served_file(base, tmp_path), None, tokens), theirs) < 0.03


@pytest.mark.timeout(240)
def test_an_adapter_of_the_built_in_base_says_the_same_on_the_served_file(tmp_path: Path) -> None:
    """llama.cpp serves the 4-bit file as it is, and rounds to 8 bits on the way (0.3); the tokens are the same too."""
    base = open_base(built_in())
    model_folder = training_folder(base, tmp_path)
    peft = tmp_path / "peft"
    write_lora_of_peft(model_folder, peft)
    write_adapter(peft, model_folder, base.digest, tmp_path / "adapter.gguf")
    tokens, theirs = by_transformers(model_folder, peft)
    assert furthest(by_llama_cpp(base.path, tmp_path / "adapter.gguf", tokens), theirs) < 0.3
    assert furthest(by_llama_cpp(base.path, None, tokens), theirs) > 0.5


def write_lora_of_peft(model_folder: Path, folder: Path) -> None:
    """Writes an adapter that PEFT itself made, its zeros replaced by small numbers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model: Any = AutoModelForCausalLM.from_pretrained(model_folder, local_files_only=True, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weights in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.01)
    tuned.save_pretrained(folder, save_embedding_layers=False)


def test_an_adapter_names_its_base_and_is_refused_for_another(tiny: Base, tmp_path: Path) -> None:
    """Two models of the same shape would load each other's adapters without a word and talk nonsense."""
    peft = write_peft_adapter(tmp_path / "peft", tiny.path, seed=5)
    write_adapter(peft, tiny.path, tiny.digest, tmp_path / "adapter.gguf")
    check_adapter(tmp_path / "adapter.gguf", tiny, "tiny")
    other = open_base(write_tiny_llama(tmp_path / "other", seed=2))
    with pytest.raises(Refused, match="trained on another model than 'other'") as refused:
        check_adapter(tmp_path / "adapter.gguf", other, "other")
    assert refused.value.code == "adapter_of_another_base"


def test_an_adapter_cut_short_is_refused(tiny: Base, tmp_path: Path) -> None:
    """As a disk leaves it that was full."""
    peft = write_peft_adapter(tmp_path / "peft", tiny.path, seed=5)
    write_adapter(peft, tiny.path, tiny.digest, whole := tmp_path / "adapter.gguf")
    (short := tmp_path / "short.gguf").write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(Refused, match="missing at its end"):
        check_adapter(short, tiny, "tiny")
    with pytest.raises(Refused, match="no LoRA adapter"):
        check_adapter(built_in(), tiny, "tiny")


def test_an_adapter_of_another_kind_is_not_converted(tiny: Base, tmp_path: Path) -> None:
    """Half of its numbers would be left behind."""
    peft = write_peft_adapter(tmp_path / "peft", tiny.path, seed=5)
    config = (peft / "adapter_config.json").read_text().replace('"bias"', '"use_dora": true, "bias"')
    (peft / "adapter_config.json").write_text(config)
    with pytest.raises(ValueError, match="use_dora"):
        write_adapter(peft, tiny.path, tiny.digest, tmp_path / "adapter.gguf")
    assert not (tmp_path / "adapter.gguf").exists()


def test_an_adapter_keeps_names_shapes_and_alpha(tiny: Base, tmp_path: Path) -> None:
    """As llama.cpp looks for them."""
    peft = write_peft_adapter(tmp_path / "peft", tiny.path, seed=5, rank=4)
    write_adapter(peft, tiny.path, tiny.digest, tmp_path / "adapter.gguf")
    header = read_header(tmp_path / "adapter.gguf")
    assert header.values["adapter.lora.alpha"] == 8.0
    assert header.tensors["blk.1.attn_k.weight.lora_a"] == (4, 48)
    assert header.tensors["blk.1.attn_k.weight.lora_b"] == (24, 4)
    assert len(header.tensors) == 2 * 2 * 7
