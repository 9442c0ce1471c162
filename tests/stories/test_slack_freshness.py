"""Step five: a page changes, and so does the next answer. Over both ways in which Slack reaches a bot."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.running_bot import RunningBot, words_of
from tests.small_library import bot_that_knows, page, write_pages

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = {"stamps": page("Stamps", "A letter to Peru needs two blue stamps.", url="https://docs.example/stamps")}
LINK = "https://docs.example/greenhouse"
ASKED = "<@U0FOOTNOTE> How many seedlings stand in the greenhouse?"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[False, True], ids=["socket mode", "signed http"])
async def bot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBot]:
    folder = tmp_path_factory.mktemp("freshness")
    async with bot_that_knows(folder, OTHER, over_http=request.param) as running:
        yield running


def greenhouse(seedlings: int) -> dict[str, str]:
    words = f"## Seedlings in the greenhouse\n\nIn the greenhouse stand {seedlings} seedlings."
    return OTHER | {"greenhouse": page("Greenhouse", words, url=LINK)}


async def test_the_next_answer_holds_what_the_page_holds_now(bot: RunningBot) -> None:
    """A new page is answered from with its number and link, a changed one with its new number, a deleted one not at
    all. Nobody could know the numbers, so nobody can have guessed them."""
    first, second = (secrets.randbelow(900_000) + 100_000 for _ in range(2))
    folder = bot.data_dir.parent / "pages"
    before = await bot.ask("U0MAYA", "C0HELP", ASKED)
    assert "I could not find an answer" in before["text"]

    write_pages(folder, greenhouse(first))
    assert (await bot.ingest(str(folder)))["added"] == 1
    answer = await bot.ask("U0MAYA", "C0HELP", ASKED)
    assert f"{first} seedlings [1]" in answer["text"]
    assert f"<{LINK}|Greenhouse>" in words_of(answer)

    write_pages(folder, greenhouse(second))
    assert (await bot.ingest(str(folder)))["changed"] == 1
    answer = await bot.ask("U0MAYA", "C0HELP", ASKED)
    assert f"{second} seedlings [1]" in answer["text"] and str(first) not in words_of(answer)

    write_pages(folder, OTHER)
    assert (await bot.ingest(str(folder)))["removed"] == 1
    answer = await bot.ask("U0MAYA", "C0HELP", ASKED)
    assert "I could not find an answer" in answer["text"]
    assert str(second) not in words_of(answer) and LINK not in words_of(answer)
