"""Which prompts questions and passages get: the operator's, the model's own, or those that its makers documented."""

from __future__ import annotations

import pytest

from bot.settings import Settings
from retrieval.families import NONE, Prompts, family_of, prompts_of, stretch_of

E5 = Prompts("query: ", "passage: ")
RETRIEVAL = Prompts("Represent this sentence for searching relevant passages: ")


@pytest.mark.parametrize(
    ("name", "prompts"),
    [
        ("intfloat/multilingual-e5-small", E5),
        ("intfloat/e5-large-v2", E5),
        ("/models/multilingual-E5-base/", E5),
        ("BAAI/bge-small-en-v1.5", RETRIEVAL),
        ("mixedbread-ai/mxbai-embed-large-v1", RETRIEVAL),
        ("Snowflake/snowflake-arctic-embed-m", RETRIEVAL),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", Prompts("query: ")),
        ("nomic-embed-text", Prompts("search_query: ", "search_document: ")),
        ("sentence-transformers/all-MiniLM-L6-v2", NONE),
        ("BAAI/bge-m3", NONE),
        ("thenlper/gte-base", NONE),
        ("text-embedding-3-small", NONE),
        ("models/e5-small-archive/mine", NONE),
    ],
)
def test_well_known_families_are_known_by_name(name: str, prompts: Prompts) -> None:
    """Only the last part of a name or folder counts; a model that wants no prompt gets none."""
    assert family_of(name) == prompts


def test_cosines_of_e5_are_read_on_another_scale() -> None:
    """By whatever way it is opened; every other model is taken as it is."""
    assert stretch_of("intfloat/multilingual-e5-small") == stretch_of("E5-large-v2") > 2
    assert stretch_of("BAAI/bge-small-en-v1.5") == stretch_of("minilm") == 1


def test_an_instructed_model_is_told_the_task_and_its_passages_nothing() -> None:
    """The instructed E5 is another family than E5, though it is called so."""
    query, passage = family_of("intfloat/multilingual-e5-large-instruct")
    assert query.startswith("Instruct: ") and query.endswith("\nQuery: ") and passage == ""


def test_the_operator_comes_before_the_model_and_the_model_before_its_family() -> None:
    """Each prompt for itself; a line's end is written as \\n, for a variable can seldom hold one."""
    e5 = Settings(embedding_model="intfloat/e5-small")
    assert prompts_of(e5) == E5
    assert prompts_of(e5, Prompts("ask: ", "tell: ")) == ("ask: ", "tell: ")
    mine = Settings(embedding_model="intfloat/e5-small", embedding_query_prompt=r"Find:\n")
    assert prompts_of(mine) == ("Find:\n", "passage: ")
    assert prompts_of(mine, Prompts("ask: ")) == ("Find:\n", "")
