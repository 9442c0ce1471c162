"""Step eight: something is down. The question waits or its asker hears something true, once, and never the words of an
exception. Over signed HTTP, where Slack is told by a status what to deliver again."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from bot.local.valkey import PONG, say, server_binary
from tests.embedded_memory import end_all_on, until
from tests.embedding_server import EmbeddingServer, refused
from tests.local_slack import JSON
from tests.running_bot import RunningBot, running_bot, words_of
from tests.scripted_model import Reply, ScriptedModel, half_a_body, raw, status
from tests.small_library import bot_that_knows, eventually, looking_up, page, until_idle

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOT = "U0FOOTNOTE"
OPEN = "To reset an API key, open Settings and choose API keys."
STEPS = [OPEN, "Select Regenerate next to the key.", "Confirm the reset with your password.", "The old key ends then."]
PAGES = {"keys": page("API keys", f"## Reset an API key\n\n{' '.join(STEPS)}", url="https://docs.example/keys")}
RESET = f"<@{BOT}> How do I reset an API key?"
INNARDS = re.compile(r"traceback|exception|error|errno|http|timeout|127\.0\.0\.1|redis|NoneType", re.IGNORECASE)


class OperatorsRedis:
    """A Valkey server that an operator runs, and that goes down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "memory.sock"
        self._server: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always"]
        self._server = await asyncio.create_subprocess_exec(
            server_binary(), *options, stdout=asyncio.subprocess.DEVNULL
        )
        await until(lambda: say(self.socket, b"PING") == PONG)

    async def kill(self) -> None:
        assert self._server
        with suppress(ProcessLookupError):
            self._server.kill()
        await self._server.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OperatorsRedis]:
    folder = tmp_path_factory.mktemp("redis")
    server = OperatorsRedis(folder)
    await server.start()
    yield server
    await server.kill()
    shutil.rmtree(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bot(
    model: ScriptedModel, redis: OperatorsRedis, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBot]:
    settings = {"PERSONA_MODEL": model.name, "OPENAI_BASE_URL": model.base_url, "REDIS_URL": f"unix://{redis.socket}"}
    settings |= {"MODEL_TIMEOUT_S": "1", "ANSWER_DEADLINE_S": "3"}
    slack = {"retry_delays": (1, 2, 4)}
    folder = tmp_path_factory.mktemp("trouble")
    async with bot_that_knows(folder, PAGES, over_http=True, slack=slack, **settings) as running:
        yield running


@pytest.fixture(autouse=True)
def short_answer(model: ScriptedModel) -> None:
    model.always(looking_up(OPEN))


async def the_one_reply(bot: RunningBot, ts: str) -> JSON:
    """The only answer to a question once everything is done, without a word about our innards."""
    await bot.reply("C0HELP", ts)
    await until_idle(bot)
    (reply,) = [one for one in (await bot.slack.thread("C0HELP", ts))[1:] if one["user"] == BOT]
    assert not INNARDS.search(reply["text"]), reply["text"]
    return reply


# The memory


async def test_a_question_that_cannot_be_written_down_is_delivered_again_and_answered(
    bot: RunningBot, redis: OperatorsRedis
) -> None:
    """Slack gets a 500 as long as Redis is gone; when it is back, so is the question."""
    await redis.kill()
    ts = await bot.slack.message("U0MAYA", "C0HELP", RESET)

    async def refusals() -> list[JSON]:
        return [one for one in (await bot.slack.log())["deliveries"] if one["outcome"] == "http_error"]

    await eventually(refusals)
    assert len(await bot.slack.thread("C0HELP", ts)) == 1
    await redis.start()
    reply = await the_one_reply(bot, ts)
    assert "choose API keys [1]" in reply["text"]


# The model


@pytest.mark.parametrize("way", ["hangs", "500", "401", "garbage", "nothing"])
async def test_a_model_that_fails_is_owned_up_to(bot: RunningBot, model: ScriptedModel, way: str) -> None:
    """The asker hears that no answer could be written, which page seems to be about it, and whom to ask."""
    replies: dict[str, Reply] = {
        "hangs": model.hang(),
        "500": status(500, message="Traceback: NoneType error in worker"),
        "401": status(401, message="Incorrect API key provided: sk-wrong"),
        "garbage": raw(b"<html><body>502 Bad Gateway</body></html>"),
        "nothing": half_a_body(),
    }
    model.always(replies[way])
    reply = await the_one_reply(bot, await bot.slack.message("U0MAYA", "C0HELP", RESET))
    assert re.search("not available right now|took too long", reply["text"]), reply["text"]
    assert "seems to be about it" in reply["text"] and "ask a person" in reply["text"]
    assert "https://docs.example/keys" in words_of(reply)
    assert "context_actions" not in [block["type"] for block in reply["blocks"]], "there is nothing to like"


async def test_a_model_that_breaks_off_leaves_a_marked_beginning(bot: RunningBot, model: ScriptedModel) -> None:
    """What was said was checked, so it stays; that it may not be all is said, too."""
    marked = " ".join(f"{step[:-1]} [1]." for step in STEPS[:3])
    model.always(half_a_body(f"{marked} The old"))
    reply = await the_one_reply(bot, await bot.slack.message("U0MAYA", "C0HELP", RESET))
    assert reply["text"].startswith(STEPS[0][:-1]) and "this may not be all of it" in reply["text"]


# Slack itself


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "retry_after_s": 1},
        {"status": 500},
        {"status": 500, "after": True},
        pytest.param({"status": 503, "times": 3}, marks=pytest.mark.nightly),
        pytest.param({"error": "internal_error", "after": True}, marks=pytest.mark.nightly),
        pytest.param({"delay_s": 12}, marks=pytest.mark.nightly),
    ],
    ids=lambda fault: json.dumps(fault).strip("{}"),
)
async def test_a_post_that_fails_is_made_once_in_the_end(bot: RunningBot, fault: JSON) -> None:
    """`after` means that Slack posted it and only its answer was lost: then it is found and completed, not repeated."""
    await bot.slack.fault("chat.postMessage", **fault)
    reply = await the_one_reply(bot, await bot.slack.message("U0MAYA", "C0HELP", RESET))
    assert "choose API keys [1]" in reply["text"] and "*Sources*" in words_of(reply)


@pytest.mark.parametrize(
    ("method", "after"),
    [
        ("chat.startStream", True),
        ("chat.appendStream", True),
        ("chat.stopStream", False),
        ("chat.stopStream", True),
        pytest.param("chat.startStream", False, marks=pytest.mark.nightly),
        pytest.param("chat.appendStream", False, marks=pytest.mark.nightly),
    ],
)
async def test_a_stream_that_fails_is_completed(
    bot: RunningBot, model: ScriptedModel, method: str, after: bool
) -> None:
    """Whatever call of it breaks, and whether Slack had carried it out or not: one answer, each sentence once."""
    model.always(looking_up(*STEPS, pause_s=0.1))
    await bot.slack.fault(method, status=500, after=after)
    ts = await bot.slack.message("U0MAYA", "C0HELP", RESET)

    async def is_whole() -> bool:
        replies = (await bot.slack.thread("C0HELP", ts))[1:]
        return bool(replies) and "*Sources*" in words_of(replies[0])

    await eventually(is_whole)
    reply = await the_one_reply(bot, ts)
    assert [reply["text"].count(step[:-1]) for step in STEPS] == [1] * len(STEPS), reply["text"]
    assert reply["stream"] in (None, "stopped")


async def test_a_worker_that_starts_before_the_embedding_server_waits_for_it(tmp_path: Path) -> None:
    """At its very first start it must ask how long a vector is; what people ask meanwhile is answered then."""
    with EmbeddingServer() as server:
        server.faults.extend([refused(503)] * 2)
        given = {"EMBEDDING_BASE_URL": server.base_url, "EMBEDDING_MODEL": "hashing"}
        try:
            async with running_bot(tmp_path / "data", **given) as bot:
                assert (await bot.ask("U0MAYA", "C0HELP", RESET))["text"]
        finally:
            end_all_on(tmp_path / "data")
    assert not server.faults
