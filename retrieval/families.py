"""What is known of families of embedding models. Each was trained with its own words before questions and passages:
an operator's wish comes first, then what the model itself declares, then what its makers have documented, for servers
and some model folders do not say it, and without it a model finds worse and nobody notices. And the cosines of some
are all high, so that a threshold for another would never decline.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from bot.settings import Settings


class Prompts(NamedTuple):
    """Beginnings of a question and of a passage, each with its own space at the end; empty where there is none."""

    query: str = ""
    passage: str = ""


NONE = Prompts()
_RETRIEVAL = "Represent this sentence for searching relevant passages: "
_TASK = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"

_FAMILIES: tuple[tuple[str, Prompts], ...] = (
    (r"e5-.*instruct", Prompts(f"{_TASK} ")),  # huggingface.co/intfloat/multilingual-e5-large-instruct
    (r"e5-(small|base|large)", Prompts("query: ", "passage: ")),  # …/intfloat/multilingual-e5-small
    (r"bge-(small|base|large)-en", Prompts(_RETRIEVAL)),  # …/BAAI/bge-small-en-v1.5
    (r"bge-(small|base|large)-zh", Prompts("为这个句子生成表示以用于检索相关文章：")),  # …/BAAI/bge-small-zh-v1.5
    (r"mxbai-embed-(large|xsmall)", Prompts(_RETRIEVAL)),  # …/mixedbread-ai/mxbai-embed-large-v1
    (r"arctic-embed-.*v2", Prompts("query: ")),  # …/Snowflake/snowflake-arctic-embed-l-v2.0
    (r"arctic-embed", Prompts(_RETRIEVAL)),  # …/Snowflake/snowflake-arctic-embed-m
    (r"nomic-embed-text", Prompts("search_query: ", "search_document: ")),  # …/nomic-ai/nomic-embed-text-v1.5
    (r"qwen3-embedding", Prompts(_TASK)),  # …/Qwen/Qwen3-Embedding-0.6B
    (
        r"embedding-?gemma",
        Prompts("task: search result | query: ", "title: none | text: "),
    ),  # …/google/embeddinggemma-300m
)
"""Families by a part of a model's name, the first that fits; each with the page that documents it."""


_E5_STRETCH = 2.5
"""Measured on 240 pages, questions with their page and with it hidden. In the pages' language 1 - certainty of the
nearest passage is about 3.2 times as great with MiniLM; in another language E5's cosines are lower. With 2.5 the
threshold of 0.75 declines, of German questions over English pages, 30 of 100 that have an answer and 71 that have none,
as MiniLM does of English ones (28 and 70); of English questions 1 and 25."""


def stretch_of(name: str) -> float:
    """Gives by how much 1 - cosine is too small with a model of this name, beside MiniLM."""
    return _E5_STRETCH if re.search(r"e5-(small|base|large)", _short(name)) else 1.0


def prompts_of(settings: Settings, declared: Prompts = NONE) -> Prompts:
    """Gives the prompts of the model that the settings name: each the operator's, else the model's own; and those of
    its family where there is neither."""
    wished = (settings.embedding_query_prompt, settings.embedding_passage_prompt)
    default = declared if any(declared) else family_of(settings.embedding_model)
    query, passage = (_written_out(wish) if wish else own for wish, own in zip(wished, default, strict=True))
    return Prompts(query, passage)


def family_of(name: str) -> Prompts:
    """Gives the prompts that are documented for a model of this name or folder."""
    return next((prompts for pattern, prompts in _FAMILIES if re.search(pattern, _short(name))), NONE)


def _short(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()


def _written_out(prompt: str) -> str:
    r"""Reads `\n` as the end of a line: a variable can seldom hold one."""
    return prompt.replace("\\n", "\n")
