"""Bases and adapters as named models, answered by llama.cpp: its own HTTP server, in this process, one for each base
that was asked. It promises that an answer never comes from another model than the one named, that a new adapter takes
over within a second, and that no answer is cut off by that: llama.cpp loads no adapter at run time, so a second server
is started beside the first, which goes when its last answer has ended.

While a server starts, xllamacpp holds Python's lock (0.3 s for SmolLM2-135M): other requests wait that long, but what
llama.cpp computes for them goes on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from bot.local.tuner.adapters import check_adapter
from bot.local.tuner.base_models import Base, Refused, open_base
from bot.local.tuner.hugging_face import served_file


class Upstream(NamedTuple):
    """Where a model answers, for one request."""

    url: str
    """Of the HTTP server, without a path; chat is at `/v1/chat/completions` below it."""
    key: str
    """To be sent as `Authorization: Bearer KEY`."""
    extra: dict[str, Any]
    """Fields to merge into the body of the request, over what the caller sent."""


class _Engine:
    """A running llama.cpp server, and how many answers it is giving."""

    def __init__(self, server: Any, adapters: dict[str, Path]) -> None:
        self._server = server
        self.url: str = server.listening_address
        self.adapters = tuple(adapters)
        """Their names, in the order of their ids."""
        self.answering = 0
        self.is_idle = asyncio.Event()

    async def callers_gone(self) -> None:
        """Returns when the last answer has ended."""
        if self.answering:
            self.is_idle.clear()
            await self.is_idle.wait()

    def stop(self) -> None:
        """Ends the server, whose callers must have gone: with Python's lock held, it waits for each to hang up. Blocks
        for a second at most."""
        self._server = None  # there is no other way to tell it


class Serving:
    """Named models. `bases` are served under their names, and adapters under the names that `add` gives them; adding
    and removing survive nothing: the caller adds them again when it starts. A base is loaded when it is first asked.

        async with serving.using(model) as (url, key, extra):
            … POST {**body, **extra} to f"{url}/v1/chat/completions" with the key, and read all of the answer …
    """

    def __init__(
        self, bases: dict[str, Path], work_folder: Path, threads: int = 1, *, context: int = 4096, slots: int = 2
    ) -> None:
        """`context` is the longest prompt with its answer, in tokens; `slots` are the answers at a time of each base,
        further ones wait. More threads than there are free cores slow llama.cpp down severalfold."""
        self._paths, self._work_folder = dict(bases), work_folder
        self._threads, self._context, self._slots = threads, context, slots
        self._key = secrets.token_urlsafe(32)
        self._adapters: dict[str, tuple[str, Path]] = {}
        self._engines: dict[str, _Engine] = {}
        self._starting = {name: asyncio.Lock() for name in bases}
        self._retiring: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def start(self) -> None:
        """Does nothing yet that takes time: bases are loaded when they are first asked."""

    async def close(self) -> None:
        """Stops all servers, when the last answer has ended: who wants to close at once cancels its answers before."""
        self._is_closed = True
        for base, lock in self._starting.items():
            async with lock:  # who was just starting a server has done so
                if (engine := self._engines.pop(base, None)) is not None:
                    self._retire(engine)
        await asyncio.gather(*self._retiring)

    def bases(self) -> dict[str, Path]:
        """Gives the bases by their names."""
        return dict(self._paths)

    def models(self) -> list[str]:
        """Names everything that `using` takes: first the bases, then the adapters in the order they were added."""
        return [*self._paths, *self._adapters]

    async def check_base(self, name: str) -> Base:
        """Looks whether a base can be trained and served. Raises Refused; the code is `model_not_found` where there is
        no base of that name."""
        if name not in self._paths:
            known = ", ".join(f"'{base}'" for base in self._paths) or "none"
            raise Refused("model_not_found", f"There is no base model '{name}' here; there is {known}.")
        return await asyncio.to_thread(open_base, self._paths[name])

    async def add(self, name: str, base: str, adapter: Path) -> None:
        """Makes an adapter a model. If its base is running, a server with the new adapter has taken over when this
        returns. Raises Refused for an adapter of another base or a name that is taken."""
        await asyncio.to_thread(check_adapter, adapter, await self.check_base(base), base)
        async with self._starting[base]:
            if name in self._paths or name in self._adapters:
                raise Refused("model_exists", f"There is a model '{name}' already.")
            if (running := self._engines.get(base)) is not None:
                self._engines[base] = await self._new_engine(base, {**self._adapters_of(base), name: adapter})
                self._retire(running)
            self._adapters[name] = (base, adapter)

    async def remove(self, name: str) -> None:
        """Makes an adapter unknown; answers of it that are running end well. Raises KeyError for what is no adapter."""
        del self._adapters[name]

    @asynccontextmanager
    async def using(self, model: str) -> AsyncIterator[Upstream]:
        """Gives the server that answers for a model, which stays until the end of the block. Raises KeyError for an
        unknown model, Refused where its base cannot be loaded."""
        base = model if model in self._paths else self._adapters[model][0]
        engine = await self._engine(base)
        if model != base and model not in engine.adapters:
            raise KeyError(model)
        chosen = [] if model == base else [{"id": engine.adapters.index(model), "scale": 1.0}]
        engine.answering += 1
        try:
            # The key-value cache may hold what another adapter computed for the same text, so none is reused.
            yield Upstream(engine.url, self._key, {"lora": chosen, "cache_prompt": False})
        finally:
            engine.answering -= 1
            if not engine.answering:
                engine.is_idle.set()

    def _adapters_of(self, base: str) -> dict[str, Path]:
        return {name: path for name, (of, path) in self._adapters.items() if of == base}

    async def _engine(self, base: str) -> _Engine:
        if (running := self._engines.get(base)) is not None:
            return running
        async with self._starting[base]:
            if base not in self._engines:
                self._engines[base] = await self._new_engine(base, self._adapters_of(base))
            return self._engines[base]

    async def _new_engine(self, base: str, adapters: dict[str, Path]) -> _Engine:
        if self._is_closed:
            raise Refused("closed", "The server is shutting down.")
        found = await self.check_base(base)
        there = {name: path for name, path in adapters.items() if path.is_file()}  # one that is gone harms no other
        return await asyncio.to_thread(self._start_engine, base, found, there)

    def _start_engine(self, name: str, base: Base, adapters: dict[str, Path]) -> _Engine:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(served_file(base, self._work_folder))
        parameters.model_alias = {name}
        # Scale 0: which adapter answers is said with each request (lora_init_without_apply has no effect here).
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 0.0) for path in adapters.values()]
        parameters.n_ctx = min(self._context, base.context) * self._slots
        parameters.n_parallel = self._slots
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = self._threads
        parameters.api_keys = [self._key]
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0
        parameters.endpoint_slots = parameters.ui = parameters.fit_params = False
        parameters.cache_ram_mib = 0
        parameters.sse_ping_interval = 1  # seconds within which it notices that nobody reads a stream any more
        parameters.cors_origins = ""
        parameters.verbosity = -1
        try:
            server = xllamacpp.Server(parameters)
        except RuntimeError as problem:
            raise Refused("base_not_loaded", f"llama.cpp cannot load the model '{name}': {problem}") from problem
        # It listens before its own loop runs, and stopping it in between would wait for ever, with Python's lock held.
        asking = HTTPConnection(server.listening_address.removeprefix("http://"), timeout=60)
        asking.request("GET", "/lora-adapters", headers={"Authorization": f"Bearer {self._key}", "Connection": "close"})
        asking.getresponse().read()
        asking.close()
        return _Engine(server, adapters)

    def _retire(self, engine: _Engine) -> None:
        async def wait_and_stop() -> None:
            await engine.callers_gone()
            await asyncio.to_thread(engine.stop)

        task = asyncio.create_task(wait_and_stop())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
