"""An operator embeds the library with another model, and goes back, while people ask: nobody starts anything again, and
nobody notices."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.running_bot import RunningBot
from tests.small_library import bot_that_knows, eventually, page, write_pages

pytestmark = pytest.mark.models  # a second model: the extra `multilingual`

PAGES = {
    "stamps": page("Stamps", "A letter to Peru needs two blue stamps."),
    "greenhouse": page("Greenhouse", "In the greenhouse stand 4711 seedlings."),
}
ASKED = "<@U0FOOTNOTE> How many seedlings stand in the greenhouse?"


async def with_other_model(bot: RunningBot, *arguments: str) -> str:
    """Runs a command with another EMBEDDING_MODEL than the bot's."""
    other = RunningBot(bot.slack, bot.data_dir, bot.environment | {"EMBEDDING_MODEL": "multilingual"}, bot.port)
    return await other.cli(*arguments, timeout_s=120)


async def until_embedded_by(bot: RunningBot, model: str) -> None:
    async def is_followed() -> bool:
        return f"embedded by {model}" in await bot.command("U0ADMIN", "C0HELP", "status")

    await eventually(is_followed, 60)


async def test_a_running_bot_follows_to_another_model_and_back(tmp_path: Path) -> None:
    """Answers are right before, while and after; what changes after the switch is in the next answer, although the
    worker and `ingest` were started with the old model; and so it is after the way back."""
    async with bot_that_knows(tmp_path, PAGES) as bot:
        assert "4711 seedlings [1]" in (await bot.ask("U0MAYA", "C0HELP", ASKED))["text"]
        embedding = asyncio.create_task(with_other_model(bot, "library", "reembed"))
        while not embedding.done():
            assert "4711 seedlings [1]" in (await bot.ask("U0MAYA", "C0HELP", ASKED))["text"]
        assert "answered from multilingual now" in embedding.result()
        await until_embedded_by(bot, "multilingual")
        for seedlings in (4712, 4713):
            words = f"In the greenhouse stand {seedlings} seedlings."
            folder = write_pages(tmp_path / "pages", PAGES | {"greenhouse": page("Greenhouse", words)})
            assert (await bot.ingest(str(folder)))["changed"] == 1
            assert f"{seedlings} seedlings [1]" in (await bot.ask("U0MAYA", "C0HELP", ASKED))["text"]
            if seedlings == 4712:
                await bot.cli("library", "rollback")
                await until_embedded_by(bot, "minilm")
