"""What tests need around the embedded Valkey: to see which processes a data folder has, and to wait for something."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bot.local.valkey import PONG, say, server_binary


def processes_on(data_dir: Path) -> dict[int, str]:
    """Process ids of the supervisors and servers of this folder, with `supervisor` or `server`; zombies left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (OSError, ValueError):
            continue
        if "bot.local.valkey" in words and str(data_dir) in words:
            found[int(entry.name)] = "supervisor"
        # A server calls itself "…/valkey-server unixsocket:PATH"; its folder tells it apart from everybody else's.
        elif "valkey-server" in words[0] and _folder(entry) == data_dir / "valkey":
            found[int(entry.name)] = "server"
    return found


def the(role: str, data_dir: Path) -> int:
    """The process id of the only one with this role."""
    (found,) = (number for number, its_role in processes_on(data_dir).items() if its_role == role)
    return found


async def until(claim: Callable[[], bool], within_s: float = 15) -> None:
    """Returns as soon as the claim holds; fails the test when it does not in time."""
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        await asyncio.sleep(0.02)


def all_gone_from(data_dir: Path, within_s: float = 15) -> None:
    """Returns when no supervisor and no server of this folder runs any more; fails the test when one stays."""
    deadline = time.monotonic() + within_s
    while left := processes_on(data_dir):
        assert time.monotonic() < deadline, f"still running after {within_s} s: {left}"
        time.sleep(0.02)


def end_all_on(data_dir: Path) -> None:
    """Kills what runs on this folder, if anything does."""
    for number in processes_on(data_dir):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


@asynccontextmanager
async def plain_server(folder: Path, *options: str) -> AsyncIterator[str]:
    """The URL of a server that an operator would have started with these options, and that nobody looks after."""
    address = folder / "plain.sock"
    command = [server_binary(), "--port", "0", "--unixsocket", address, "--dir", folder, "--save", "", *options]
    server = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    try:
        await until(lambda: say(address, b"PING").startswith((PONG, b"-NOAUTH")))
        yield f"unix://{address}"
    finally:
        with suppress(ProcessLookupError):
            server.kill()
        await server.wait()


def _folder(process: Path) -> Path | None:
    try:
        return (process / "cwd").readlink()
    except OSError:
        return None
