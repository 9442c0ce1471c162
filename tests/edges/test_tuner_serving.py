"""Named models on llama.cpp: an answer is always of the model that was named, whatever was asked before and whatever is
added meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.local.tuner.adapters import write_adapter
from bot.local.tuner.base_models import Refused, open_base
from bot.local.tuner.serving import Serving
from tests.tiny_llama import write_peft_adapter, write_tiny_llama

pytestmark = pytest.mark.models

ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "How do I export the report?"}],
    "temperature": 0,
    "max_tokens": 24,
    "ignore_eos": True,
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small bases, three adapters of the first and one of the second."""
    folder = tmp_path_factory.mktemp("shelf")
    for base, seed, names in (("first", 1, "abc"), ("second", 2, "x")):
        model = write_tiny_llama(folder / base, seed=seed)
        for number, name in enumerate(names):
            peft = write_peft_adapter(folder / f"peft-{name}", model, seed=10 * seed + number)
            write_adapter(peft, model, open_base(model).digest, folder / f"{name}.gguf")
    return folder


@pytest.fixture
async def serving(shelf: Path) -> AsyncIterator[Serving]:
    made = Serving({"first": shelf / "first", "second": shelf / "second"}, shelf / "work", context=256)
    await made.start()
    yield made
    await made.close()


async def answer(serving: Serving, model: str, **changes: Any) -> str:
    """What a model says, as a text that tells it from others."""
    import httpx

    async with serving.using(model) as (url, key, extra), httpx.AsyncClient(timeout=60) as client:
        done = await client.post(
            f"{url}/v1/chat/completions",
            json={**ASKED, **changes, **extra},
            headers={"Authorization": f"Bearer {key}"},
        )
    assert done.status_code == 200, done.text
    return str(done.json()["choices"][0]["message"]["content"])


async def alone(shelf: Path, adapter: str) -> str:
    """What an adapter says on a server where nothing else was ever asked."""
    serving = Serving({"first": shelf / "first"}, shelf / "work", context=256)
    try:
        await serving.add(adapter, "first", shelf / f"{adapter}.gguf")
        return await answer(serving, adapter)
    finally:
        await serving.close()


async def test_bases_and_adapters_are_models_by_their_names(serving: Serving, shelf: Path) -> None:
    """Bases first; nothing else is known."""
    await serving.add("a", "first", shelf / "a.gguf")
    assert serving.models() == ["first", "second", "a"]
    assert serving.bases() == {"first": shelf / "first", "second": shelf / "second"}
    with pytest.raises(KeyError):
        await answer(serving, "b")


async def test_each_model_answers_as_if_it_were_alone(serving: Serving, shelf: Path) -> None:
    """The same question to one after the other, to and fro: nothing is left over from the one before."""
    for name in "abc":
        await serving.add(name, "first", shelf / f"{name}.gguf")
    expected = {name: await alone(shelf, name) for name in "abc"} | {"second": await answer(serving, "second")}
    expected["first"] = await answer(serving, "first")
    assert len(set(expected.values())) == 5, "they must differ for this to mean anything"
    for name in ("a", "first", "b", "a", "c", "second", "first", "c", "b", "a"):
        assert await answer(serving, name) == expected[name], name


async def test_models_asked_at_the_same_time_are_not_mixed_up(serving: Serving, shelf: Path) -> None:
    """More questions than slots, and a server that is exchanged in the middle of them."""
    await serving.add("a", "first", shelf / "a.gguf")
    expected = {name: await answer(serving, name) for name in ("first", "a")}
    asked = [asyncio.create_task(answer(serving, name)) for name in ("first", "a") * 6]
    await serving.add("b", "first", shelf / "b.gguf")
    asked += [asyncio.create_task(answer(serving, name)) for name in ("a", "first") * 3]
    assert await asyncio.gather(*asked) == [expected[name] for name in ("first", "a") * 6 + ("a", "first") * 3]
    assert await answer(serving, "b") == await alone(shelf, "b")


async def test_an_answer_that_is_being_given_ends_well_while_an_adapter_is_added(serving: Serving, shelf: Path) -> None:
    """The server it comes from stays until then, and no longer; others are answered by the new one meanwhile."""
    import httpx

    async with httpx.AsyncClient(timeout=60) as client:
        async with serving.using("first") as (old, key, extra):
            body = {**ASKED, "max_tokens": 150, "stream": True, **extra}
            headers = {"Authorization": f"Bearer {key}"}
            async with client.stream("POST", f"{old}/v1/chat/completions", json=body, headers=headers) as stream:
                lines = stream.aiter_lines()
                first = await anext(lines)
                await serving.add("a", "first", shelf / "a.gguf")
                assert await answer(serving, "a") == await alone(shelf, "a")
                async with serving.using("first") as (new, _, _):
                    assert new != old
                rest = [line async for line in lines]
        assert json.loads(first.removeprefix("data: "))
        assert rest[-2:] == ["data: [DONE]", ""] or rest[-1] == "data: [DONE]"
        deadline = time.monotonic() + 10
        while True:
            try:
                await client.get(f"{old}/health")
            except httpx.TransportError:
                break
            assert time.monotonic() < deadline, "the old server was never stopped"
            await asyncio.sleep(0.02)


async def test_an_adapter_of_another_base_is_refused_and_unknown(serving: Serving, shelf: Path) -> None:
    """It would load, for the shapes are the same, and talk nonsense; what was there answers as before."""
    before = await answer(serving, "first")
    with pytest.raises(Refused) as refused:
        await serving.add("x", "first", shelf / "x.gguf")
    assert refused.value.code == "adapter_of_another_base"
    assert "x" not in serving.models()
    assert await answer(serving, "first") == before


async def test_what_is_no_adapter_is_refused(serving: Serving, shelf: Path, tmp_path: Path) -> None:
    """A file that is cut short, one that is missing, a name that is taken."""
    (tmp_path / "cut.gguf").write_bytes((shelf / "a.gguf").read_bytes()[:-64])
    for path in (tmp_path / "cut.gguf", tmp_path / "missing.gguf"):
        with pytest.raises(Refused) as refused:
            await serving.add("a", "first", path)
        assert refused.value.code == "invalid_adapter"
    with pytest.raises(Refused, match="a model 'second' already"):
        await serving.add("second", "first", shelf / "a.gguf")
    assert serving.models() == ["first", "second"]


async def test_an_unknown_base_is_refused_with_those_there_are(serving: Serving) -> None:
    """As `check_base` is what a job is checked by before it starts."""
    assert (await serving.check_base("first")).context == 256
    with pytest.raises(Refused, match="there is 'first', 'second'") as refused:
        await serving.check_base("gpt-4o-mini")
    assert refused.value.code == "model_not_found"


async def test_a_removed_adapter_is_unknown_and_its_base_answers_on(serving: Serving, shelf: Path) -> None:
    """Also when its file is gone before the server is exchanged again."""
    (gone := shelf / "gone.gguf").write_bytes((shelf / "a.gguf").read_bytes())
    await serving.add("gone", "first", gone)
    before = await answer(serving, "first")
    await serving.remove("gone")
    gone.unlink()
    with pytest.raises(KeyError):
        await answer(serving, "gone")
    await serving.add("b", "first", shelf / "b.gguf")
    assert await answer(serving, "first") == before
    assert await answer(serving, "b") == await alone(shelf, "b")


async def test_an_adapter_whose_file_is_lost_harms_no_other(serving: Serving, shelf: Path) -> None:
    """It is unknown from the next start of its server on."""
    (lost := shelf / "lost.gguf").write_bytes((shelf / "a.gguf").read_bytes())
    await serving.add("lost", "first", lost)
    lost.unlink()
    with pytest.raises(KeyError):
        await answer(serving, "lost")
    assert await answer(serving, "first")


async def test_the_server_answers_nobody_without_the_key(serving: Serving) -> None:
    """Other users of the machine reach its port too."""
    import httpx

    async with serving.using("first") as (url, key, extra), httpx.AsyncClient(timeout=60) as client:
        assert url.startswith("http://127.0.0.1:") and len(key) > 40
        for headers in ({}, {"Authorization": "Bearer guess"}):
            refused = await client.post(f"{url}/v1/chat/completions", json={**ASKED, **extra}, headers=headers)
            assert refused.status_code == 401


async def test_a_closed_serving_stops_its_servers_and_starts_no_more(serving: Serving) -> None:
    """Nothing listens any more when close returns."""
    import httpx

    async with serving.using("first") as (url, _, _):
        pass
    await serving.close()
    with pytest.raises(httpx.TransportError):
        async with httpx.AsyncClient() as client:
            await client.get(f"{url}/health")
    with pytest.raises(Refused, match="shutting down"):
        await answer(serving, "first")


async def test_closing_waits_for_the_answer_that_is_being_given(serving: Serving) -> None:
    """A server that is stopped while somebody reads would hold up the whole process."""
    import httpx

    async with serving.using("first") as (url, key, extra), httpx.AsyncClient(timeout=60) as client:
        closing = asyncio.create_task(serving.close())
        await asyncio.wait({closing}, timeout=0.3)
        assert not closing.done()
        headers = {"Authorization": f"Bearer {key}"}
        done = await client.post(f"{url}/v1/chat/completions", json={**ASKED, **extra}, headers=headers)
        assert done.status_code == 200
    await closing
