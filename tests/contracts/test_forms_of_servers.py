"""A form whose model is behind a server: what of a process's settings is told to others, and where its key goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.settings import Settings
from bot.vocabulary import Question
from retrieval.editions import Editions
from retrieval.forms import Form, set_about_embedding, settings_of
from retrieval.library import open_library
from tests.embedding_server import EmbeddingServer

QUESTION = Question(id="q", team_id="T1", text="When is lunch?", readable=frozenset({"workspace"}))


def set_to(url: str, folder: Path, **more: str) -> Settings:
    told = {"EMBEDDING_BASE_URL": url, "EMBEDDING_MODEL": "hashing", "EMBEDDING_API_KEY": "our-key"}
    return Settings.from_environment(told | {"DATA_DIR": str(folder)} | more)


async def test_our_key_is_not_sent_to_the_server_of_another_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that follows to a model at another server asks there without the key, which is its own server's."""
    (tmp_path / "lunch.md").write_text("Lunch is at noon.")
    monkeypatch.setattr("retrieval.editions.LIVE_TRUSTED_S", 0)
    with EmbeddingServer() as ours, EmbeddingServer() as theirs:
        theirs_too = {"EMBEDDING_API_KEY": "their-key", "EMBEDDING_QUERY_PROMPT": "query: "}  # the prompt: another form
        async with open_library(set_to(ours.base_url, tmp_path)) as running:
            await running.ingest("T1", tmp_path / "lunch.md")
            async with open_library(set_to(theirs.base_url, tmp_path, **theirs_too)) as other:
                assert (await other.reembed()).is_live
            theirs.keys.clear()
            await _until_followed(running._editions)
            assert (await running.find(QUESTION)).hits
        assert theirs.keys and set(theirs.keys) == {"Bearer none"}
        assert "Bearer their-key" not in ours.keys and "Bearer our-key" in ours.keys


def test_a_form_at_our_own_server_is_opened_with_our_key_and_login(tmp_path: Path) -> None:
    """Another model of the same server needs them; the server is told by its address, which holds no login."""
    settings = set_to("https://me:secret@models.example/v1", tmp_path)
    told = set_about_embedding(settings)
    assert told["embedding_base_url"] == "https://models.example/v1" and "secret" not in str(told)
    opened = settings_of(Form(id="f", settings={**told, "embedding_model": "other"}), settings)
    assert (opened.embedding_base_url, opened.embedding_model) == ("https://me:secret@models.example/v1", "other")
    assert opened.embedding_api_key == settings.embedding_api_key


def test_a_form_sets_nothing_but_what_is_about_embedding(tmp_path: Path) -> None:
    """Whatever stands in the store: no key, no folder, no other address."""
    settings = set_to("https://models.example/v1", tmp_path)
    told = {"embedding_base_url": "https://models.example/v1", "embedding_api_key": "x", "data_dir": "/elsewhere"}
    assert settings_of(Form(id="f", settings=told), settings) == settings


async def _until_followed(editions: Editions) -> None:
    own = editions.current
    async with asyncio.timeout(20):
        while editions.current is own:
            await editions.reading()
