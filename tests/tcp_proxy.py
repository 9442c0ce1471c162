"""A wire between a client and a server, on loopback, that can be cut: what runs over it ends, and what is new is
refused. Or it falls silent: what is new is taken, and nothing comes through any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

State = Literal["whole", "refuses", "is silent"]


class Wire:
    """Leads to the server at a URL; `turn` changes its state at any time."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname, parts.port
        self._flows = asyncio.Event()
        self._ends: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.calls = 0
        """How many connections were taken."""
        self.carrying: set[asyncio.Task[None] | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def turn(self, state: State) -> None:
        if state == "is silent":
            self._flows.clear()
            return
        if self._server:
            self._server.close()
            for end in self._ends:
                end.transport.abort()
        self._flows.set()
        if state == "whole":
            self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        self.carrying.add(asyncio.current_task())
        there, back = await asyncio.open_connection(self._host, self._port)
        ends = {writer, back}
        self._ends |= ends
        with suppress(OSError):
            await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        for end in ends:
            end.close()
        self._ends -= ends

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def wire_to(target: str) -> AsyncIterator[Wire]:
    """A whole wire to a server's URL."""
    wire = Wire(target)
    await wire.turn("whole")
    try:
        yield wire
    finally:
        await wire.turn("refuses")
        await asyncio.gather(*wire.carrying, return_exceptions=True)
