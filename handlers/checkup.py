"""Whether Slack lets the bot do its work: its token, and the scopes that `manifest.json` asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from handlers.slack import call

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

MANIFEST = Path(__file__).parent.parent / "manifest.json"


def wanted_scopes() -> set[str]:
    """Reads the bot's scopes from the manifest."""
    return set(json.loads(MANIFEST.read_text(encoding="utf-8"))["oauth_config"]["scopes"]["bot"])


async def missing_scopes(client: AsyncWebClient) -> tuple[str, set[str]]:
    """Gives the team's name and the scopes that the token lacks."""
    me = await call(client.auth_test())
    granted = {scope.strip() for scope in me.headers.get("x-oauth-scopes", "").split(",")}
    return str(me["team"]), wanted_scopes() - granted
