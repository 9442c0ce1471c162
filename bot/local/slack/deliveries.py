"""What happens in the workspace reaches the app, with Slack's promises and its impatience.

An event that is not acknowledged within three seconds comes again, three times at most, with the reason of the
retry; an interaction comes once.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from typing import Any

from bot.local.slack.manifest import Manifest
from bot.local.slack.people import APP_ID, BOT_USER_ID, JSON, TEAM_ID
from bot.local.slack.transports import Kind, Outcome, Transport

WAITING = 10_000


class Deliveries:
    """Sends what happens to the app, as often as Slack would, and keeps a log of it.

    `retry_delays_s` are the waits before each repetition of an event that was not acknowledged.
    """

    def __init__(
        self, transport: Transport, manifest: Manifest, *, retry_delays_s: tuple[float, ...] = (0, 60, 300)
    ) -> None:
        self.transport = transport
        self._manifest = manifest
        self.retry_delays_s = retry_delays_s
        self.log: deque[JSON] = deque(maxlen=20_000)
        self._under_way: set[asyncio.Task[None]] = set()

    def event(self, event: JSON, is_external: bool, copies: int = 1) -> None:
        """Send an event; `copies` above one are repetitions that do not wait for an answer, as Slack's do at times."""
        if not self._manifest.subscribes(event):
            return
        envelope: JSON = {
            "token": "local-verification-token",
            "team_id": TEAM_ID,
            "context_team_id": TEAM_ID,
            "context_enterprise_id": None,
            "api_app_id": APP_ID,
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{secrets.token_hex(5).upper()}",
            "event_time": int(time.time()),
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": TEAM_ID,
                    "user_id": BOT_USER_ID,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
            "is_ext_shared_channel": is_external,
            "event_context": f"4-{secrets.token_hex(12)}",
        }
        self._start(self._deliver(envelope))
        for copy in range(1, copies):
            self._start(self._once("events_api", envelope, copy, "timeout"))

    async def interaction(self, kind: Kind, payload: JSON) -> Outcome:
        """Send an interaction once and give what the app answered."""
        return await self._send(kind, payload, 0, None)

    async def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self.transport.close()

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _once(self, kind: Kind, payload: JSON, attempt: int, reason: str | None) -> None:
        await self._send(kind, payload, attempt, reason)

    async def _deliver(self, envelope: JSON) -> None:
        outcome = await self._send("events_api", envelope, 0, None)
        for attempt, delay_s in enumerate(self.retry_delays_s, start=1):
            if outcome.problem is None or outcome.refuses_retries:
                return
            await asyncio.sleep(delay_s)
            outcome = await self._send("events_api", envelope, attempt, outcome.problem)

    async def _send(self, kind: Kind, payload: JSON, attempt: int, reason: str | None) -> Outcome:
        if kind == "events_api" and len(self._under_way) > WAITING:
            outcome = Outcome("dropped", refuses_retries=True)
        else:
            outcome = await self.transport.send(kind, payload, attempt, reason)
        event = payload.get("event", {})
        self.log.append(
            {
                "kind": kind,
                "event_id": payload.get("event_id"),
                "type": event.get("type") or payload.get("type") or payload.get("command"),
                "subtype": event.get("subtype"),
                "attempt": attempt,
                "retry_reason": reason,
                "outcome": outcome.problem or "acknowledged",
                "at": time.time(),
            }
        )
        return outcome
