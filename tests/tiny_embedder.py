"""A sentence-transformers model of random weights, made in a second: a folder like those of real ones."""

from __future__ import annotations

import string
from pathlib import Path

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ask", "tell", "find", ":", "key", "page", "word", "question"]


def make_tiny_embedder(folder: Path, prompts: dict[str, str] | None = None, seed: int = 1) -> Path:
    """Writes the model to a folder and gives it back; the same seed gives the same weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(seed)
    parts = folder.with_name(f"{folder.name}-parts")
    parts.mkdir(parents=True)
    letters = [*string.ascii_lowercase, *string.digits]
    vocabulary = [*WORDS, *letters, *(f"##{letter}" for letter in letters)]
    (parts / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(parts / "vocab.txt")).save_pretrained(parts)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=128, **sizes)).save_pretrained(parts)
    transformer = Transformer(str(parts), max_seq_length=128)
    model = SentenceTransformer(modules=[transformer, Pooling(32)], prompts=prompts, device="cpu")
    model.save(str(folder))
    return folder
