"""Reads files that take a parser (PDF, Word, HTML, CSV) in processes apart from ours. These have an empty environment,
and little memory, time and room for their answer, so that a bomb, an endless loop or a crash costs one document, and
the reason for it is known. They are started with the first such file and kept warm for the next.

Run as a module this is such a process: a length and a JSON head come in, then the file; a length and JSON go out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from retrieval.decoding import HTML, Unfit

MEMORY_BYTES = 768 * 1024 * 1024
CPU_S = 20
WALL_S = 60
"""A busy machine gives a process less than all of a core."""
MOST_TEXT = 5_000_000  # characters
FILES_PER_PROCESS = 500
"""After which a process is replaced: what a library leaks has an end."""
_HEAD = 8  # bytes of a length


@dataclass(frozen=True)
class Limits:
    """What a process may use for one file."""

    memory_bytes: int = MEMORY_BYTES
    cpu_s: int = CPU_S
    wall_s: float = WALL_S


class Apart:
    """Processes that read files, as many at a time as there are cores. Any number of threads may ask."""

    def __init__(self, limits: Limits | None = None, at_once: int | None = None) -> None:
        self._limits = limits or Limits()
        self._places = threading.BoundedSemaphore(at_once or os.cpu_count() or 1)
        self._idle: list[Child] = []
        self._is_closed = False

    def __enter__(self) -> Self:
        self._is_closed = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        while self._idle:
            self._idle.pop().end()

    def read(self, raw: bytes, kind: str, charset: str | None = None) -> tuple[str | None, str]:
        """Gives the title, if it has one, and the Markdown of a file; raises Unfit with what is wrong with it."""
        with self._places:
            child = self._idle.pop() if self._idle else Child(self._limits)
            try:
                answer = child.ask(raw, {"kind": kind, "charset": charset})
            except BaseException:
                child.end()
                raise
            if child.is_worn or self._is_closed:
                child.end()
            else:
                self._idle.append(child)
        if reason := answer.get("unfit"):
            raise Unfit(str(reason))
        return answer["title"], answer["text"]


class Child:
    """One such process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = FILES_PER_PROCESS
        # An environment of its own: a parser that is taken over finds no token in it.
        environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "LANG": "C.UTF-8", "PATH": os.defpath}
        self._process = subprocess.Popen(  # noqa: S603 - our own module, with numbers
            [sys.executable, "-P", "-m", __name__, str(limits.memory_bytes), str(limits.cpu_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the parent
        )

    @property
    def is_worn(self) -> bool:
        return self._left <= 0

    def ask(self, raw: bytes, head: dict[str, Any]) -> dict[str, Any]:
        """Has a file read; raises Unfit when the process does not live through it."""
        self._left -= 1
        out, back = self._process.stdin, self._process.stdout
        assert out and back
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        clock = threading.Timer(self._limits.wall_s, stop)
        clock.start()
        try:
            _send(out, json.dumps({**head, "bytes": len(raw)}).encode())
            out.write(raw)
            out.flush()
            return dict(json.loads(_receive(back)))
        except (EOFError, OSError):
            raise Unfit(self._death(late.is_set())) from None
        finally:
            clock.cancel()

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()

    def _death(self, is_late: bool) -> str:
        try:
            number = -self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "made its reader end without a word"
        if number == signal.SIGXCPU:
            return f"takes more than {self._limits.cpu_s} s of computing to read"
        if is_late:
            return f"takes more than {self._limits.wall_s:g} s to read"
        name = signal.Signals(number).name if number > 0 else f"status {-number}"
        return f"makes its reader crash ({name}): it is damaged, or needs too much memory"


def _send(out: IO[bytes], message: bytes) -> None:
    out.write(len(message).to_bytes(_HEAD, "big") + message)
    out.flush()


def _receive(back: IO[bytes]) -> bytes:
    length = int.from_bytes(_exactly(back, _HEAD), "big")
    return _exactly(back, length)


def _exactly(back: IO[bytes], count: int) -> bytes:
    read = back.read(count)
    if len(read) < count:
        raise EOFError
    return read


def _serve(memory_bytes: int, cpu_s: int) -> None:
    """Reads files until nobody asks any more."""
    back = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no answer
    _limit_memory(memory_bytes)
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            head = json.loads(_receive(sys.stdin.buffer))
            raw = _exactly(sys.stdin.buffer, head["bytes"])
            _limit_cpu(cpu_s)
            _send(back, json.dumps(_answer(raw, head)).encode())


def _answer(raw: bytes, head: dict[str, Any]) -> dict[str, Any]:
    try:
        title, text = _parse(raw, head["kind"], head["charset"])
    except Unfit as unfit:
        return {"unfit": str(unfit)}
    except MemoryError:
        return {"unfit": "needs more memory to be read than a document may"}
    except RecursionError:
        return {"unfit": "is nested too deeply"}
    except Exception as error:  # a parser's own fault, in a file made or broken for it: the reason is all that we need
        return {"unfit": f"cannot be read ({type(error).__name__})"}
    if len(text) > MOST_TEXT:
        return {"unfit": f"holds more than {MOST_TEXT // 1_000_000} million characters of text"}
    return {"title": title, "text": text}


def _parse(raw: bytes, kind: str, charset: str | None) -> tuple[str | None, str]:
    if kind in HTML:
        from retrieval.reading_html import page_to_markdown

        return page_to_markdown(raw, charset)
    if kind == ".csv":
        from retrieval.reading_csv import csv_to_markdown

        return csv_to_markdown(raw, charset)
    if kind == ".docx":
        from retrieval.reading_docx import docx_to_markdown

        return docx_to_markdown(raw)
    from retrieval.reading_pdf import pdf_to_markdown

    return pdf_to_markdown(raw)


def _limit_memory(limit: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # macOS does not know it
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_cpu(seconds: int) -> None:
    """Gives the process so many seconds from now; the system ends it then by SIGXCPU."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, resource.RLIM_INFINITY))


if __name__ == "__main__":
    _serve(*map(int, sys.argv[1:]))
