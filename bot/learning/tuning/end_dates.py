"""When models end. Hosted models are shut down on a date that their server tells; a persona that rests on one is to be
moved before, so the date is asked for every day and warned of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta

from bot.errors import FootnoteError
from bot.journal import now
from bot.learning.versions.register import Register
from bot.log import log
from bot.vocabulary import CONFIGURED, Endpoint, ModelVersion

WARN_DAYS = 90
"""Time enough to collect, tune, measure and promote another one."""

DAY_S = 24 * 3600.0

Ask = Callable[[Endpoint, str], Awaitable[date | None]]
"""Gives the end date of a model at an endpoint, None where its server tells none. Raises FootnoteError."""


async def warnings(register: Register, ask: Ask, configured: str | None = None) -> list[str]:
    """Asks when the versions end that answer somewhere, or that a rollback would bring back, keeps it, and gives a
    sentence for each that ends soon; `configured` is the model that PERSONA_MODEL names. A server that does not answer
    changes nothing. Raises TryAgain when Redis is away."""
    routing = await register.routing()
    in_use = {routing.live, *routing.canaries.values(), *routing.before[-1:]}
    versions = await register.versions()
    if configured:
        versions.append(ModelVersion(id=CONFIGURED, model=configured, created_at=now()))
    asked = [version for version in versions if version.id in in_use]
    told = await asyncio.gather(*(_end(version, ask) for version in asked))
    for version, ends_on in zip(asked, told, strict=True):
        if version.id != CONFIGURED and ends_on != version.ends_on:
            await register.keep_version(version.model_copy(update={"ends_on": ends_on}))
    sentences = (
        warning(f"{version.id} ({version.model})", ends_on) for version, ends_on in zip(asked, told, strict=True)
    )
    return [sentence for sentence in sentences if sentence]


async def watch(register: Register, ask: Ask, configured: str | None) -> None:
    """Looks every day and warns in the log, until it is cancelled."""
    while True:
        try:
            for sentence in await warnings(register, ask, configured):
                log.warning("model_ends", cause=sentence)
        except FootnoteError as error:
            log.warning("end_dates_not_read", cause=str(error))
        await asyncio.sleep(DAY_S)


def warning(name: str, ends_on: date | None) -> str | None:
    """Gives the sentence that warns of an end; None while it is unknown or far off."""
    today = datetime.now(UTC).date()
    if ends_on is None or ends_on - today > timedelta(days=WARN_DAYS):
        return None
    if ends_on <= today:
        return f"{name} was shut down on {ends_on}: promote another version (`train promote`), or roll back."
    return (
        f"{name} will be shut down on {ends_on}, in {(ends_on - today).days} days: tune one on another base before "
        "(`train start --base MODEL`), or set another PERSONA_MODEL."
    )


async def _end(version: ModelVersion, ask: Ask) -> date | None:
    try:
        return await ask(version.endpoint, version.model)
    except FootnoteError as error:
        log.info("end_date_not_told", version=version.id, cause=str(error))
        return version.ends_on
