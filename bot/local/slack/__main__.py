"""`python -m bot.local.slack`: start the local Slack and print what an app needs to use it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from bot.local.slack.manifest import Manifest
from bot.local.slack.people import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET
from bot.local.slack.server import application


def main() -> int:
    """Serve until told to stop."""
    options = _options()
    try:
        manifest = Manifest.read(options.manifest) if options.manifest else None
    except (OSError, ValueError) as problem:
        print(f"cannot read the manifest {options.manifest}: {problem}", file=sys.stderr)
        return 2
    try:
        listener = socket.create_server(("127.0.0.1", options.port))
    except OSError as problem:
        print(f"cannot listen on port {options.port}: {problem.strerror}", file=sys.stderr)
        return 1
    asyncio.run(_serve(listener, options, manifest))
    return 0


async def _serve(listener: socket.socket, options: argparse.Namespace, manifest: Manifest | None) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = application(
        url,
        events_url=options.events_url,
        stream_life_s=options.stream_life_s,
        retry_delays_s=options.retry_delays,
        manifest=manifest,
    )
    stopped = asyncio.Event()
    for stop in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(stop, stopped.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    lines = {"SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_SIGNING_SECRET": SIGNING_SECRET, "SLACK_API_URL": f"{url}/api/"}
    if not options.events_url:
        lines["SLACK_APP_TOKEN"] = APP_TOKEN
    for name, value in {**lines, "LOCAL_SLACK_URL": url}.items():
        print(f"{name}={value}", flush=True)
    watch = asyncio.ensure_future(_parent_gone(stopped)) if options.exit_with_parent else None
    await stopped.wait()
    if watch:
        watch.cancel()
    await runner.cleanup()


async def _parent_gone(stopped: asyncio.Event) -> None:
    """A child whose parent was killed is nobody's server any more."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 (the system sends no event for this)
        await asyncio.sleep(0.5)
    stopped.set()


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError("a number from 0 to 65535")
    return int(text)


def _delays(text: str) -> tuple[float, ...]:
    delays = tuple(float(part) for part in text.split(",") if part.strip())
    if any(not 0 <= delay <= 86_400 for delay in delays):
        raise argparse.ArgumentTypeError("seconds from 0 to 86400, with commas between them")
    return delays


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bot.local.slack",
        description="A Slack on this machine: loopback only, in memory, new at every start.",
        epilog="While no Socket Mode connection is open, events wait for one; Slack itself would lose them.",
    )
    parser.add_argument("--port", type=_port, default=0, help="on 127.0.0.1; 0 takes a free one (default)")
    parser.add_argument("--events-url", help="post events here, signed, instead of Socket Mode")
    parser.add_argument("--stream-life-s", type=float, default=300, help="how long a stream may run (default 300)")
    parser.add_argument(
        "--retry-delays", type=_delays, default=(0, 60, 300), help="seconds before each retry (default 0,60,300)"
    )
    parser.add_argument("--manifest", type=Path, help="hold the app to this Slack app manifest")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when the starting process is gone")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
