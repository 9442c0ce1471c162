"""One run of training, as a child process of its own: it can be killed at any moment and takes its memory along.

Its order is `job.json` in a folder, its report is JSON lines on stdout, its result `adapter.gguf` in that folder (the
other end is `training.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bot.local.tuner.errors import JSON

COMMAND = (sys.executable, "-m", "bot.local.tuner.training")
LONGEST_LINE = 1024 * 1024
LONGEST_SILENCE_S = 3600
"""Seconds without a word after which a run counts as stuck; a step of a large base on a small machine takes minutes."""


class TrainingFailed(Exception):
    """A run without a result; what a job shows as its error."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.error: JSON = {"code": code, "message": message, "param": param}


async def train(
    folder: Path, *, command: Sequence[str], report: Callable[[JSON], None], silence_s: float = LONGEST_SILENCE_S
) -> int:
    """Trains by the order in a folder, hands every line of the report on as it comes, and gives the number of trained
    tokens. Cancelling it kills the process before it returns. Raises TrainingFailed, OSError."""
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            str(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=LONGEST_LINE,
            env={name: value for name, value in os.environ.items() if name != "TUNER_API_KEY"},
            start_new_session=True,  # Ctrl-C is for the server, which then ends the whole group
        )
    try:
        tokens, error = await _follow(process, report, silence_s)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if error is not None:
        raise TrainingFailed(str(error.get("code")), str(error.get("message")), error.get("param"))
    if process.returncode != 0:
        ending = f"The training process {_ending(process.returncode or 0)}. {_last_words(folder)}"
        raise TrainingFailed("training_failed", ending.strip())
    if tokens is None or not (folder / "adapter.gguf").is_file() or not (folder / "adapter.json").is_file():
        raise TrainingFailed("training_failed", "The training process ended without a complete result.")
    return tokens


async def _follow(
    process: asyncio.subprocess.Process, report: Callable[[JSON], None], silence_s: float
) -> tuple[int | None, JSON | None]:
    """The number of trained tokens and the error, whichever was told before the process closed its mouth."""
    assert process.stdout
    tokens, error = None, None
    while True:
        try:
            async with asyncio.timeout(silence_s):
                line = await process.stdout.readline()
                if not line:
                    await process.wait()
                    return tokens, error
        except TimeoutError:
            raise TrainingFailed("training_stuck", f"The training process said nothing for {silence_s:g} s.") from None
        except ValueError:
            raise TrainingFailed("training_failed", "The training process said a line without an end.") from None
        told = _parse(line)
        if isinstance(told.get("error"), dict):
            error = told["error"]
        elif isinstance(told.get("trained_tokens"), int):
            tokens = told["trained_tokens"]
        elif told:
            report(told)


def _parse(line: bytes) -> dict[str, Any]:
    """What a line tells; a library's stray print tells nothing."""
    try:
        told = json.loads(line, parse_constant=lambda _: None)  # a loss that is no number is none
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _ending(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed, as the system does when memory runs out"
    return f"died of signal {-status}" if status < 0 else f"ended with status {status}"


def _last_words(folder: Path) -> str:
    """The last line of the log, where a traceback has its reason."""
    with suppress(OSError), (folder / "log").open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
        lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""
    return ""
