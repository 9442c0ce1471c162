"""Calls to Slack's Web API, with its errors translated by what to do next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bot.errors import Broken, SlackUnavailable
from bot.settings import Settings

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient
    from slack_sdk.web.async_slack_response import AsyncSlackResponse

CALL_TIMEOUT_S = 10
PASSING = {"internal_error", "fatal_error", "service_unavailable", "request_timeout"}


class RateLimited(SlackUnavailable):
    """Slack did not carry the call out, since there were too many."""


class SlackRefused(Broken):
    """Slack said no. `code` is Slack's own error code."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Slack says {code}")
        self.code = code


async def call(request: Awaitable[AsyncSlackResponse]) -> AsyncSlackResponse:
    """Awaits a call. Raises SlackUnavailable when it may work later, SlackRefused with Slack's code when not."""
    import aiohttp
    from slack_sdk.errors import SlackApiError, SlackClientError

    try:
        return await request
    except SlackApiError as error:
        status, answer = error.response.status_code, error.response.data
        code = answer.get("error", "") if isinstance(answer, dict) else ""
        if status == 429 or code == "ratelimited":
            raise RateLimited("Slack asks us to slow down") from error
        if status >= 500 or code in PASSING or not code:
            raise SlackUnavailable(f"Slack answers {status} {code}".strip()) from error
        raise SlackRefused(code) from error
    except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
        raise SlackUnavailable(f"Slack cannot be reached: {type(error).__name__}") from error


async def answers_of(method: Callable[..., Awaitable[AsyncSlackResponse]], **arguments: Any) -> AsyncIterator[Any]:
    """Gives the pages of a method that pages with cursors."""
    cursor = None
    while True:
        page = await call(method(**arguments, **({"cursor": cursor} if cursor else {})))
        yield page
        cursor = (page.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            return


@asynccontextmanager
async def refusal(*codes: str) -> AsyncIterator[list[str]]:
    """Goes on when Slack refuses with one of these codes; the list that it gives then holds the code."""
    refused: list[str] = []
    try:
        yield refused
    except SlackRefused as error:
        if error.code not in codes:
            raise
        refused.append(error.code)


def impatient(client: AsyncWebClient) -> AsyncWebClient:
    """Gives a client for calls that are not worth waiting for when Slack asks us to slow down."""
    from slack_sdk.web.async_client import AsyncWebClient

    return AsyncWebClient(
        token=client.token,
        base_url=client.base_url,
        timeout=client.timeout,
        session=client.session,
        retry_handlers=[],
    )


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[AsyncWebClient]:
    """Opens one client, with one pool of connections, for the whole process.

    A call that was not answered is never repeated here, since Slack may have carried it out; only those that Slack
    refused for their rate are.
    """
    import aiohttp
    from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
    from slack_sdk.web.async_client import AsyncWebClient

    token = settings.slack_bot_token
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)) as session:
        yield AsyncWebClient(
            token=token.get_secret_value() if token else None,
            base_url=settings.slack_api_url.rstrip("/") + "/",
            timeout=CALL_TIMEOUT_S,
            session=session,
            retry_handlers=[AsyncRateLimitErrorRetryHandler(max_retry_count=2)],
        )
