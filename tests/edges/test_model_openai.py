"""The model's server refuses, hangs, fails or lies: each time the bot asks a counted number of times, waits a bounded
time, and raises one of its own two errors."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from bot.errors import Broken, ModelUnavailable
from bot.model_openai import LONGEST_COMPLETION, OpenAIModel
from tests.contracts.test_persona_model import prompt
from tests.scripted_model import ScriptedModel, events, half_a_body, raw, status, text

WHOLE = "Open Settings and select Regenerate [1]."


@pytest.fixture(autouse=True)
def without_backoff() -> Iterator[None]:
    """Attempts stay as the code has them; only the waits between them are left out."""
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def model(server: ScriptedModel) -> AsyncIterator[OpenAIModel]:
    client = OpenAIModel("persona-v1", base_url=server.base_url, api_key="a-key", timeout_s=0.4)
    yield client
    await client.aclose()


async def written(model: OpenAIModel) -> str:
    return "".join([delta async for delta in model.write(prompt())])


async def test_it_sends_nothing_that_a_reasoning_model_refuses(server: ScriptedModel, model: OpenAIModel) -> None:
    """Only model, messages and stream go over the wire: no temperature, no limit of tokens."""
    server.enqueue(WHOLE)
    assert await written(model) == WHOLE
    assert set(server.requests[0]) == {"model", "messages", "stream"}
    assert server.requests[0]["model"] == "persona-v1"
    assert server.requests[0]["messages"][0] == prompt().messages[0]
    assert server.keys == ["Bearer a-key"]


async def test_a_server_without_a_key_is_asked_all_the_same(server: ScriptedModel) -> None:
    """One's own server often wants no key."""
    server.enqueue(WHOLE)
    client = OpenAIModel("m", base_url=server.base_url)
    assert await written(client) == WHOLE
    await client.aclose()


HOPELESS_ONCE = {
    "429 with a long wait": (lambda server: status(429, retry_after="60"), ModelUnavailable),
    "429 until a date": (lambda server: status(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), ModelUnavailable),
    "content filter before any text": (lambda server: text("", finish="content_filter"), ModelUnavailable),
    "cut off at the length limit": (lambda server: text("", finish="length"), ModelUnavailable),
    "401": (lambda server: status(401), Broken),
    "403": (lambda server: status(403), Broken),
    "404": (lambda server: status(404), Broken),
    "400": (lambda server: status(400), Broken),
}
WORTH_TWO = {
    "hangs": lambda server: server.hang(),
    "500": lambda server: status(500),
    "502 as a page": lambda server: status(502),
    "503": lambda server: status(503),
    "429": lambda server: status(429),
    "429 with a short wait": lambda server: status(429, retry_after="0.1"),
    "half a body": lambda server: half_a_body(),
    "empty body": lambda server: raw(b""),
    "nothing in the stream": lambda server: raw(b"data: [DONE]\n\n"),
    "no text": lambda server: text(""),
    "only white space events": lambda server: raw(b"\n\n: keep-alive\n\n"),
    "a web page": lambda server: raw(b"<html>captive portal</html>", content_type="text/html"),
    "plain JSON instead of a stream": lambda server: raw(b'{"choices": []}', content_type="application/json"),
    "broken JSON": lambda server: raw(b"data: {nonsense\n\n"),
    "a list": lambda server: events([1, 2]),
    "a string": lambda server: events("hello"),
    "null": lambda server: events(None),
    "no choices": lambda server: events({"id": "x"}),
    "choices of another shape": lambda server: events({"choices": "many"}),
    "a choice that is a number": lambda server: events({"choices": [5]}),
    "content that is a list": lambda server: events({"choices": [{"delta": {"content": [{"type": "text"}]}}]}),
    "an error in the stream": lambda server: events({"error": {"message": "CUDA out of memory"}}),
    "10 MB that are no stream": lambda server: raw(b"x" * 10_000_000),
}


@pytest.mark.parametrize("fault", WORTH_TWO)
async def test_a_fault_that_may_pass_is_tried_twice(fault: str, server: ScriptedModel, model: OpenAIModel) -> None:
    """Two requests arrive, no more, and the error says to try again."""
    server.always(WORTH_TWO[fault](server))
    with pytest.raises(ModelUnavailable):
        await written(model)
    assert len(server.requests) == 2


@pytest.mark.parametrize("fault", WORTH_TWO)
async def test_a_fault_that_passed_leaves_no_trace(fault: str, server: ScriptedModel, model: OpenAIModel) -> None:
    """When the second request is answered, its text is all that is seen."""
    server.enqueue(WORTH_TWO[fault](server), WHOLE)
    assert await written(model) == WHOLE
    assert len(server.requests) == 2


@pytest.mark.parametrize("fault", HOPELESS_ONCE)
async def test_a_fault_that_will_not_pass_is_tried_once(fault: str, server: ScriptedModel, model: OpenAIModel) -> None:
    """One request arrives; an operator's fault is Broken and says what to check."""
    reply, error = HOPELESS_ONCE[fault]
    server.always(reply(server))
    with pytest.raises(error) as raised:
        await written(model)
    assert len(server.requests) == 1
    if error is Broken:
        assert "check" in str(raised.value)


async def test_a_short_wait_that_the_server_asks_for_is_kept(server: ScriptedModel, model: OpenAIModel) -> None:
    """`Retry-After` is honoured before the second request."""
    server.enqueue(status(429, retry_after="0.3"), WHOLE)
    began = time.perf_counter()
    with stamina.set_testing(False):
        assert await written(model) == WHOLE
    assert time.perf_counter() - began >= 0.3


async def test_a_refused_connection_is_tried_twice() -> None:
    """Nobody listens: one repetition, and quickly."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        model = OpenAIModel("m", base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", timeout_s=1)
        repeated: list[RetryDetails] = []
        with pytest.raises(ModelUnavailable):
            await written(model)  # with its first call it takes the hooks away
        set_on_retry_hooks([repeated.append])
        try:
            with pytest.raises(ModelUnavailable):
                await written(model)
        finally:
            set_on_retry_hooks(None)
    await model.aclose()
    assert len(repeated) == 1


BREAKS_OFF = {
    "half a body": half_a_body("The old key stops at once [1]."),
    "truncated stream": text("The old key stops at once [1].", finish=None),
    "length": text("The old key stops at once [1].", finish="length"),
    "content filter": text("The old key stops at once [1].", finish="content_filter"),
    "error event": events(
        {"choices": [{"delta": {"content": "The old key stops at once [1]."}}]}, {"error": {"message": "overloaded"}}
    ),
}


@pytest.mark.parametrize("fault", BREAKS_OFF)
async def test_after_the_first_text_nothing_is_repeated(fault: str, server: ScriptedModel, model: OpenAIModel) -> None:
    """What was written stands, the error follows it, and no second request is made that would begin again."""
    server.always(BREAKS_OFF[fault])
    seen = ""
    with pytest.raises(ModelUnavailable):
        async for delta in model.write(prompt()):
            seen += delta
    assert seen == "The old key stops at once [1]."
    assert len(server.requests) == 1


async def test_silence_in_the_middle_ends_in_time(server: ScriptedModel, model: OpenAIModel) -> None:
    """A stream that stalls is given up after the time limit."""
    server.always(server.hang_after("The old key "))
    began = time.perf_counter()
    with pytest.raises(ModelUnavailable):
        await written(model)
    assert time.perf_counter() - began < 3
    assert len(server.requests) == 1


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
async def test_thoughts_are_not_text(size: int, server: ScriptedModel, model: OpenAIModel) -> None:
    """Neither reasoning deltas nor what stands between think tags is seen, however the tags are cut."""
    thinking = "<think>The user wants <b>keys</b>. [9]</think>"
    server.enqueue(text(f"{thinking}{WHOLE} 1 < 2 <", size=size, reasoning="First, let me see."))
    assert await written(model) == f"{WHOLE} 1 < 2 <"


async def test_only_thoughts_are_no_answer(server: ScriptedModel, model: OpenAIModel) -> None:
    """A model that thinks until it is cut off wrote nothing."""
    server.always(text("<think>Hmm, hmm"))
    with pytest.raises(ModelUnavailable):
        await written(model)


async def test_a_text_without_end_is_cut(server: ScriptedModel, model: OpenAIModel) -> None:
    """No more than the longest completion is taken from the stream."""
    server.always(text("All work and no play [1]. " * 4_000, size=500))
    seen = ""
    with pytest.raises(ModelUnavailable):
        async for delta in model.write(prompt()):
            seen += delta
    assert len(seen) == LONGEST_COMPLETION


async def test_one_event_of_ten_megabytes_is_cut(server: ScriptedModel, model: OpenAIModel) -> None:
    """A single huge delta is bounded too."""
    server.always(raw(b"data: " + json.dumps({"choices": [{"delta": {"content": "x" * 10**7}}]}).encode() + b"\n\n"))
    seen = ""
    with pytest.raises(ModelUnavailable):
        async for delta in model.write(prompt()):
            seen += delta
    assert len(seen) == LONGEST_COMPLETION


async def test_an_error_tells_no_secret(server: ScriptedModel, model: OpenAIModel) -> None:
    """The key is in no error text."""
    server.always(status(401, message="Incorrect API key provided: a-key"))
    with pytest.raises(Broken) as raised:
        await written(model)
    assert "a-key" not in str(raised.value)


async def test_many_questions_share_one_client(server: ScriptedModel, model: OpenAIModel) -> None:
    """Ten at once are all answered, each with its own text."""
    server.enqueue(*(f"Answer {number} [1]." for number in range(10)))
    texts = await asyncio.gather(*(written(model) for _ in range(10)))
    assert sorted(texts) == sorted(f"Answer {number} [1]." for number in range(10))


async def test_the_plain_form_and_the_list_of_models_are_spoken_too(server: ScriptedModel) -> None:
    """The scripted server answers the openai client's other two calls, which `doctor` and the tuner's tests make."""
    from openai import AsyncOpenAI

    server.enqueue(WHOLE)
    async with AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
        answer = await client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "?"}])
        models = [model.id async for model in client.models.list()]
    assert answer.choices[0].message.content == WHOLE
    assert models == ["scripted"]
