"""What one person alone is told: through the address that came with what that person did, or, where there is none or it
is dead (Slack takes five answers within half an hour), in a direct message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bot.errors import SlackUnavailable
from handlers import blocks
from handlers.slack import SlackRefused, call

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

log = structlog.get_logger()


async def respond(
    response_url: str | None, text: str, shown: list[blocks.Block] | None = None, *, replaces: bool = False
) -> None:
    """Answers a command or a button so that only the person who used it sees it; `replaces` puts it in the place of
    what was pressed. Raises SlackUnavailable, and SlackRefused when the address is dead."""
    from slack_sdk.webhook.async_client import AsyncWebhookClient

    if response_url is None:
        return
    import aiohttp

    try:
        answer = await AsyncWebhookClient(response_url, timeout=10).send(
            text=text, blocks=shown, response_type="ephemeral", replace_original=replaces
        )
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise SlackUnavailable(f"the private reply was not taken: {type(error).__name__}") from error
    if answer.status_code >= 500 or answer.status_code == 429:
        raise SlackUnavailable(f"the private reply was not taken: {answer.status_code}")
    if answer.status_code >= 400:
        raise SlackRefused(answer.body[:100])


async def tell(
    client: AsyncWebClient,
    user_id: str,
    text: str,
    response_url: str | None = None,
    shown: list[blocks.Block] | None = None,
    *,
    replaces: bool = False,
) -> None:
    """Tells somebody something, wherever that is still possible. Raises SlackUnavailable."""
    try:
        if response_url:
            await respond(response_url, text, shown, replaces=replaces)
            return
    except SlackRefused as error:
        log.info("private_reply_not_taken", cause=error.code)
    try:
        await call(client.chat_postMessage(channel=user_id, text=text, blocks=shown, unfurl_links=False))
    except SlackRefused as error:
        log.warning("nobody_told", user=user_id, cause=error.code)
