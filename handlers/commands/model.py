"""`/support model`: which version of the persona answers where. What is decided here counts from the next answer on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime

from bot.errors import TellUser
from bot.journal import Journal
from bot.learning import examples
from bot.learning.versions import promoting
from bot.learning.versions.gate import GateOrder, reports
from bot.learning.versions.register import Decision, Register
from bot.learning.versions.verdicts import NAMEABLE, GateReport
from bot.learning.versions.voices import Voices
from bot.vocabulary import CONFIGURED, ModelVersion
from handlers import blocks
from handlers.cards import counted, person
from handlers.commands.words import channel_in
from handlers.inbox import Commanded
from handlers.mrkdwn import escape, to_plain
from handlers.reviewing import Shown

USE = (
    "Use `/support model`, `/support model gate V [MEASURE]`, `/support model promote V [override: REASON]`, "
    "`/support model canary V #CHANNEL`, `/support model canary end #CHANNEL` or `/support model rollback [REASON]`."
)
DECISIONS = 8
NAMED = "format"
"""The measure that a gate names when nobody does."""

Order = Callable[[GateOrder, str], Awaitable[None]]
"""Queues a gate, under a key."""


class Model:
    """Carries out `/support model`."""

    def __init__(
        self, journal: Journal, register: Register, voices: Voices, order: Order, *, name: str, address: str
    ) -> None:
        self._journal, self._register, self._voices, self._order = journal, register, voices, order
        self._configured = f"{escape(name)} · {escape(address)}"

    async def carry_out(self, commanded: Commanded, arguments: list[str]) -> Shown:
        """Does what stands behind the word. Raises TellUser."""
        words, reason = _overriding(arguments)
        by, once = commanded.user_id, commanded.trigger_id
        match words:
            case []:
                return blocks.listed([line async for line in self._status()])
            case ["gate", id, *named] if len(named) < 2 and not reason:
                return await self._gate(commanded, id, *named), None
            case ["promote", id]:
                await promoting.promote(self._register, self._voices, id, by, override=reason, once=once)
                return f"`{id}` is live everywhere, from the next answer on. {_BACK}", None
            case ["canary", "end", channel] if not reason:
                return await self._end_canary(channel, by, once), None
            case ["canary", id, channel]:
                channel = channel_in(channel, "/support model canary V #CHANNEL")
                await promoting.canary(self._register, self._voices, id, [channel], by, override=reason, once=once)
                return f"`{id}` answers in <#{channel}>, from the next answer on. {_ENDS}", None
            case ["rollback", *why]:
                said = to_plain(" ".join(why)) or reason
                routing = await self._register.roll_back(by, said, asked_at=commanded.at_s, once=once)
                return f"`{routing.live}` is live again, from the next answer on; no canary is left.", None
        raise TellUser(USE)

    async def _gate(self, commanded: Commanded, id: str, named: str = NAMED) -> str:
        live = (await self._register.routing()).live
        await self._voices.of(id)
        if named not in NAMEABLE:
            raise TellUser(f"`{escape(named[:40])}` is no measure. There are: {', '.join(NAMEABLE)}.")
        if id == live:
            raise TellUser(f"`{id}` is live: it cannot be measured against itself.")
        order = GateOrder(version=id, named=named, by=commanded.user_id, tell=commanded.response_url)
        await self._order(order, commanded.trigger_id)
        return (
            f"I let `{id}` and `{live}` answer the held-out questions, to see whether {named} is better, and tell you."
        )

    async def _end_canary(self, channel: str, by: str, once: str) -> str:
        channel = channel_in(channel, "/support model canary end #CHANNEL")
        done = await self._register.outcome(once)
        routing = done or await self._register.routing()
        if done is None and channel not in routing.canaries:
            raise TellUser(f"There is no canary in <#{channel}>.")
        await self._register.canary(None, channel, by, once=once)
        return f"`{routing.live}` answers in <#{channel}> again."

    async def _status(self) -> AsyncIterator[str]:
        routing, versions = await self._register.routing(), await self._register.versions()
        models = {CONFIGURED: self._configured} | {one.id: f"`{one.id}` {escape(one.model)}" for one in versions}
        yield f"*Live* {models.get(routing.live, f'`{routing.live}`')}"
        for channel, id in routing.canaries.items():
            yield f"*Canary* in <#{channel}>: {models.get(id, f'`{id}`')}"
        async for trouble in self.out_of_reach():
            yield f"⚠️ {trouble}"
        yield f"*Examples* {await examples.progress(self._journal)} for a persona of your own"
        if versions:
            yield "*Versions*"
            newest = {report.candidate: report for report in await reports(self._register)}
            sizes = {one.digest: len(one.example_ids) for one in await self._register.datasets()}
            for version in reversed(versions):
                yield _version_line(version, newest.get(version.id), sizes.get(version.dataset or ""))
        if decisions := await self._register.decisions():
            yield "*Last decisions*"
            for decision in decisions[:DECISIONS]:
                yield _decision_line(decision)

    async def out_of_reach(self) -> AsyncIterator[str]:
        """Says of each version that should answer somewhere why this worker cannot have it."""
        routing = await self._register.routing()
        for id in sorted({routing.live, *routing.canaries.values()}):
            try:
                await self._voices.of(id)
            except TellUser as error:
                yield f"`{id}` is to answer, but this worker cannot have it, so another one does: {escape(str(error))}"


_BACK = "`/support model rollback` takes it back."
_ENDS = "`/support model canary end #CHANNEL` ends it."


def _overriding(arguments: list[str]) -> tuple[list[str], str]:
    """Parts the words of a command from the reason behind `override:`."""
    for index, word in enumerate(arguments):
        if word.lower().startswith("override:"):
            return arguments[:index], to_plain(" ".join([word[len("override:") :], *arguments[index + 1 :]]))
    return arguments, ""


def _version_line(version: ModelVersion, report: GateReport | None, examples_count: int | None) -> str:
    parts = [f"• `{version.id}` {escape(version.model)}"]
    if version.dataset:
        count = "" if examples_count is None else f", {counted(examples_count, 'example')}"
        parts.append(f"dataset `{version.dataset[:12]}`{count}{' (few)' if version.is_few else ''}")
    if report:
        parts.append(f"gate against `{report.live}`, {report.named} named: *{report.verdict}*")
    else:
        parts.append("not measured")
    if version.ends_on:
        parts.append(f"ends on {version.ends_on:%d %B %Y}")
    return " · ".join(parts)


def _decision_line(decision: Decision) -> str:
    reason = f": {escape(decision.reason[:300])}" if decision.reason else ""
    at = datetime.fromisoformat(decision.at)
    return f"• {at:%d %B %H:%M} {escape(decision.what)} `{decision.version}` by {person(decision.by)}{reason}"
