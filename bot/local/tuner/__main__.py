"""`python -m bot.local.tuner`: start the tuner and print what a client needs to use it."""

from __future__ import annotations

import argparse
import asyncio
import errno
import importlib.util
import ipaddress
import os
import re
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from bot.local.tuner.base_models import BUILT_IN, Refused, built_in
from bot.local.tuner.disk import keep, lock
from bot.local.tuner.files import LARGEST_FILE, Files
from bot.local.tuner.jobs import Jobs
from bot.local.tuner.ledger import Ledger
from bot.local.tuner.models import Models
from bot.local.tuner.server import application
from bot.local.tuner.serving import Serving
from bot.local.tuner.trainer import COMMAND

GRACE_S = 10
"""Seconds that answers may still run when the tuner is told to stop."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Failed(Exception):
    """The tuner cannot start; the text says why."""


def open_serving(bases: dict[str, Path], work_folder: Path, threads: int) -> Serving:
    """The real engine. Raises Failed where its packages are not installed."""
    lacking = [name for name in ("xllamacpp", "trl", "peft", "gguf") if importlib.util.find_spec(name) is None]
    if lacking:
        raise Failed(f"{', '.join(lacking)} must be installed: make setup-models, or pip install 'footnote[tuner]'")
    try:
        bases = {BUILT_IN: built_in(), **bases}
    except Refused as refused:
        if not bases:
            raise Failed(f"{refused.message} Or name a base of yours: --base NAME=PATH") from None
    return Serving(bases, work_folder, threads)


def main(
    arguments: Sequence[str] | None = None,
    *,
    open_serving: Callable[[dict[str, Path], Path, int], Serving] = open_serving,
    trainer: Sequence[str] = COMMAND,
    largest_file: int = LARGEST_FILE,
) -> int:
    """Serves until told to stop, and gives the exit status. What stands behind the arguments is for tests."""
    options = _options(arguments)
    given_key = os.environ.get("TUNER_API_KEY", "").strip()
    if not given_key and not _is_loopback(options.host):
        print(f"{options.host} can be reached from elsewhere: set TUNER_API_KEY to a key of yours.", file=sys.stderr)
        return 2
    folder = options.data_dir.resolve() / "tuner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if (held := lock(folder / "lock")) is None:
            raise Failed(f"another tuner uses {folder}; stop it, or give this one another --data-dir")
        try:
            key = given_key or _kept_key(folder / "key")
            serving = open_serving(dict(options.base), folder / "work", options.threads)
            files = Files(folder / "files", largest=largest_file)
            ledger = Ledger(folder / "jobs")
            jobs = Jobs(ledger, files, serving, work_folder=folder / "work", command=trainer, threads=options.threads)
            app = application(key, files, ledger, jobs, Models(ledger, serving))
            family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
            with socket.create_server((options.host, options.port), family=family) as listener:
                asyncio.run(_serve(listener, options, app, files, jobs, serving, None if given_key else key))
        finally:
            os.close(held)
    except (Failed, OSError) as problem:
        is_taken = isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE
        reason = f"port {options.port} is taken. Choose another one with --port; 0 finds one" if is_taken else problem
        print(f"The tuner cannot run: {reason}", file=sys.stderr)
        return 1
    return 0


async def _serve(
    listener: socket.socket,
    options: argparse.Namespace,
    app: web.Application,
    files: Files,
    jobs: Jobs,
    serving: Serving,
    key_to_print: str | None,
) -> None:
    stopped = asyncio.Event()
    for stop in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(stop, stopped.set)
    watch = asyncio.ensure_future(_parent_gone(stopped)) if options.exit_with_parent else None
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=GRACE_S)
    try:
        files.start()
        await serving.start()
        await jobs.start()
        await runner.setup()
        await web.SockSite(runner, listener).start()
        if key_to_print:
            print(f"TUNER_API_KEY={key_to_print}", flush=True)
        host = f"[{options.host}]" if ":" in options.host else options.host
        url = f"http://{host}:{listener.getsockname()[1]}/v1"
        print(f"TUNER_BASE_URL={url}", flush=True)
        print(_next_step(url, key_to_print), file=sys.stderr, flush=True)
        await stopped.wait()
    finally:
        if watch:
            watch.cancel()
        await runner.cleanup()
        await jobs.close()
        await serving.close()


def _next_step(url: str, key: str | None) -> str:
    """What to do now, with lines to paste into another shell; a key that was given is not repeated."""
    exports = [f"  export TUNER_BASE_URL={url}"]
    exports += [f"  export TUNER_API_KEY={key}"] if key else ["  export TUNER_API_KEY=…  (the key that it was given)"]
    return "\n".join(["The tuner is ready. In the shell of its client, or in .env:", *exports, "Ctrl-C stops it."])


async def _parent_gone(stopped: asyncio.Event) -> None:
    """A child whose parent was killed is nobody's server any more."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 (the system sends no event for this)
        await asyncio.sleep(0.5)
    stopped.set()


def _kept_key(path: Path) -> str:
    """The key of this data folder, made at the first start."""
    try:
        key = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        key = ""
    if not key:
        key = f"sk-tuner-{secrets.token_urlsafe(32)}"
        keep(path, f"{key}\n".encode())
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError("a number from 0 to 65535")
    return int(text)


def _threads(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError("a number from 1 to 1024")
    return int(text)


def _base(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not _NAME.fullmatch(name) or not path:
        raise argparse.ArgumentTypeError("NAME=PATH, the name of letters, digits, '.', '_' and '-'")
    return name, Path(path).expanduser().resolve()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bot.local.tuner",
        description="Fine-tuning and serving on this machine, for any client of OpenAI's API.",
        epilog="TUNER_API_KEY is the key to use; without one a random key is made, kept in DIR/tuner/key and printed.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=0, help="0 takes a free one (default)")
    parser.add_argument("--data-dir", type=Path, default=Path(".data"), help="everything is in DIR/tuner (.data)")
    parser.add_argument(
        "--base", type=_base, action="append", default=[], metavar="NAME=PATH", help="a base: a GGUF file or a folder"
    )
    parser.add_argument(
        "--threads", type=_threads, default=1, help="of training and of answering; more than free cores slow it (1)"
    )
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when the starting process is gone")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
