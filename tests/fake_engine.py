"""The tuner with its wire real and its engine not: `python -m tests.fake_engine` takes the tuner's own arguments.

Its models answer with their own names. A message `engine: …` makes the server behind them misbehave as llama.cpp may.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from bot.local.tuner.__main__ import main
from bot.local.tuner.base_models import Refused
from bot.local.tuner.serving import Upstream

TRAINER = (sys.executable, str(Path(__file__).with_name("fake_trainer.py")))
ALIAS = '/some/where/"odd".gguf'
KEY = "a key between the two servers"


class FakeServing:
    """Stands in for `Serving`: the same promises, no weights."""

    def __init__(self, bases: dict[str, Path], work_folder: Path, threads: int = 1) -> None:
        self._bases, self._folder = bases, work_folder.parent
        self._adapters: dict[str, tuple[str, Path]] = {}
        self._runner: web.AppRunner | None = None
        self._url = ""
        self.hung_up = 0

    async def start(self) -> None:
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", self._answer)])
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._url = site.name

    async def close(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    def bases(self) -> dict[str, Path]:
        return dict(self._bases)

    def models(self) -> list[str]:
        return [*self._bases, *self._adapters]

    async def check_base(self, name: str) -> None:
        if "mute" in name:
            raise Refused("no_chat_template", f"The model '{name}' has no chat template.")

    async def add(self, name: str, base: str, adapter: Path) -> None:
        told = adapter.with_name("adapter.json").read_text()
        if json.loads(told)["base_digest"] != str(self._bases.get(base)):
            raise Refused("adapter_of_another_base", f"The adapter was not trained on '{base}'.")
        assert await asyncio.to_thread(adapter.read_text)
        self._adapters[name] = (base, adapter)

    async def remove(self, name: str) -> None:
        del self._adapters[name]

    @asynccontextmanager
    async def using(self, model: str) -> AsyncIterator[Upstream]:
        if model not in self.models():
            raise KeyError(model)
        if "broken" in model:
            raise Refused("base_not_loaded", f"llama.cpp cannot load '{model}'.")
        yield Upstream(self._url, KEY, {"lora": [model], "cache_prompt": False})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        assert request.headers["Authorization"] == f"Bearer {KEY}" and body["cache_prompt"] is False
        text = body["messages"][-1]["content"]
        if text == "engine: overflow":
            error = {"code": 400, "message": "request (9 tokens) exceeds", "type": "exceed_context_size_error"}
            return web.json_response({"error": error}, status=400)
        if text == "engine: loading":
            return web.json_response({"error": {"code": 503, "message": "Loading", "type": "unavailable"}}, status=503)
        if text == "engine: slow":
            await asyncio.to_thread((self._folder / "engine-is-slow").touch)
            await asyncio.sleep(0.5)
        if text == "engine: how many hung up":
            text = str(self.hung_up)
        elif text == "engine: echo":
            text = json.dumps({name: value for name, value in body.items() if name != "messages"})
        else:
            text = f'{body["lora"][0]} says "model":"x" to: {text}'
        if not body.get("stream"):
            return web.Response(body=_chunk("message", text, "chat.completion"), content_type="application/json")
        return await self._stream(request, body, text)

    async def _stream(self, request: web.Request, body: dict[str, Any], text: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for word in text.split(" "):
                await response.write(b"data: " + _chunk("delta", f"{word} ", "chat.completion.chunk") + b"\n\n")
            if "engine: break off" in text and request.transport:
                request.transport.abort()
            while "engine: never end" in text:
                await asyncio.sleep(0.01)
                await response.write(b"data: " + _chunk("delta", ".", "chat.completion.chunk") + b"\n\n")
        except (ConnectionError, asyncio.CancelledError):
            self.hung_up += 1
            raise
        if (body.get("stream_options") or {}).get("include_usage"):
            await response.write(b"data: " + _chunk("delta", "", "chat.completion.chunk", usage=True) + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


def _chunk(member: str, text: str, kind: str, *, usage: bool = False) -> bytes:
    """As llama.cpp writes it: no spaces, the alias of the model in the middle."""
    choice = {"finish_reason": "stop", "index": 0, member: {"role": "assistant", "content": text}}
    usage_told = {"completion_tokens": 3, "prompt_tokens": 4, "total_tokens": 7}
    body = {
        "choices": [] if usage else [choice],
        "created": 1,
        "model": ALIAS,
        "system_fingerprint": "b0-unknown",
        "object": kind,
        "id": "chatcmpl-1",
        **({"usage": usage_told} if usage or member == "message" else {}),
    }
    return json.dumps(body, separators=(",", ":")).encode()


if __name__ == "__main__":
    raise SystemExit(main(open_serving=FakeServing, trainer=TRAINER, largest_file=1024 * 1024))  # type: ignore[arg-type]
