"""The whole thing on one machine with nothing configured: a local Slack, a sample company, everything embedded. The
bot that runs here is the one that runs in production; only `SLACK_API_URL` differs."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from rich.console import Console

from bot.errors import TellUser, TryAgain
from bot.settings import LOCAL_TEAM, Settings

COMPANY = Path(__file__).parent / "local" / "company" / "pages"
MANIFEST = Path(__file__).parent.parent / "manifest.json"
FIRST_QUESTION = "How do I reset my API key?"
ASKER, CHANNEL = "U0MAYA", "C0HELP"
START_S = 20


async def run_demo(settings: Settings, *, port: int, over_http: bool) -> None:
    """Runs until Ctrl-C. Raises TellUser when a real Slack is configured: the demo must not talk to one."""
    from bot.wiring import open_library_of, open_web, run_worker, until_stopped

    if settings.is_production:
        raise TellUser(
            "SLACK_BOT_TOKEN is set: the demo runs on a local Slack only. Unset it, or run `web` and `worker`."
        )
    console = Console(stderr=True)
    web_port = _free_port()
    async with AsyncExitStack() as stack:
        events_url = f"http://127.0.0.1:{web_port}/slack/events" if over_http else None
        local = await stack.enter_async_context(local_slack(port, events_url))
        settings = settings.model_copy(update={"team_id": LOCAL_TEAM, "port": web_port} | _slack_settings(local))
        async with open_library_of(settings) as (team_id, library):
            from bot.progress import progress_bar

            console.print("Reading the sample company …")
            with progress_bar() as progress:
                report = await library.ingest(team_id, str(COMPANY), name="sample-company", progress=progress)
        console.print(f"{report.added + report.changed + report.unchanged} pages are in the library.")
        await stack.enter_async_context(open_web(settings, host="127.0.0.1"))
        working = asyncio.create_task(run_worker(settings))
        bot_id = await _bot_id(local["LOCAL_SLACK_URL"])
        ts = await _post(local["LOCAL_SLACK_URL"], f"<@{bot_id}> {FIRST_QUESTION}")
        page = f"{local['LOCAL_SLACK_URL']}/#{CHANNEL}/{ts}"
        console.print(f"\nOpen [bold]{page}[/bold]\n", highlight=False)
        python = Path(sys.executable)
        shown = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
        console.print(
            "Ask there as anybody: Maya is a member, Ada an admin, Noah reads the private #incidents, Gus is a guest.\n"
            f'In another terminal: {shown} -m bot ask "What is ERR-4021?"\n'
            f"Everything is kept in {settings.data_dir}; remove that folder to start anew. Ctrl-C ends the demo.",
            highlight=False,
        )
        await until_stopped(working)


@asynccontextmanager
async def local_slack(port: int, events_url: str | None) -> AsyncIterator[dict[str, str]]:
    """Starts the local Slack as a child process and gives what it prints: the `SLACK_*` settings and its address."""
    arguments = ["--port", str(port), *(["--events-url", events_url] if events_url else [])]
    # In a session of its own it does not get our Ctrl-C, so that the bot can say goodbye to it first.
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot.local.slack",
        "--exit-with-parent",
        "--manifest",
        str(MANIFEST),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdout
    try:
        printed: dict[str, str] = {}
        async with asyncio.timeout(START_S):
            while "LOCAL_SLACK_URL" not in printed:
                line = (await child.stdout.readline()).decode().strip()
                if not line:
                    raise TellUser(f"The local Slack did not start. Is port {port} taken? Try --port 0.")
                name, _, value = line.partition("=")
                printed[name] = value
        yield printed
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()


def _slack_settings(local: dict[str, str]) -> dict[str, object]:
    names = {name: value for name, value in local.items() if name.startswith("SLACK_")}
    fresh = Settings.model_validate({name.lower(): value for name, value in names.items()})
    return {
        name: getattr(fresh, name)
        for name in ("slack_bot_token", "slack_app_token", "slack_signing_secret", "slack_api_url")
    }


async def _bot_id(url: str) -> str:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(f"{url}/control/state") as response:
        return str((await response.json())["bot"]["id"])


async def _post(url: str, text: str) -> str:
    import aiohttp

    message = {"user": ASKER, "channel": CHANNEL, "text": text}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/control/message", json=message) as response:
        answer = await response.json()
    if not answer.get("ok"):
        raise TryAgain(f"the local Slack did not take the first question: {answer.get('error')}")
    return str(answer["ts"])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
