"""When models end. Hosted models are shut down on a date that their server tells; a persona that rests on one is to be
moved before, so the date is asked for every day and warned of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, date, datetime, timedelta

from bot.errors import FootnoteError
from bot.learning.register import Register
from bot.log import log
from bot.vocabulary import Endpoint, ModelVersion

WARN_DAYS = 90
"""Time enough to collect, tune, measure and promote another one."""

DAY_S = 24 * 3600.0

Ask = Callable[[Endpoint, str], Awaitable[date | None]]
"""Gives the end date of a model at an endpoint, None where its server tells none. Raises FootnoteError."""


async def look_up(register: Register, ask: Ask) -> list[ModelVersion]:
    """Asks for the end of every version, keeps what is new, and gives the versions, oldest first. A server that does
    not answer changes nothing."""
    versions = []
    for version in await register.versions():
        try:
            ends_on = await ask(version.endpoint, version.model)
        except FootnoteError as error:
            log.info("end_date_not_told", version=version.id, cause=str(error))
            ends_on = version.ends_on
        if ends_on != version.ends_on:
            version = version.model_copy(update={"ends_on": ends_on})
            await register.keep_version(version)
        versions.append(version)
    return versions


async def watch(register: Register, ask: Ask) -> None:
    """Looks every day and warns in the log, until it is cancelled."""
    while True:
        try:
            for sentence in warnings(await look_up(register, ask)):
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
        f"{name} will be shut down on {ends_on}, in {(ends_on - today).days} days: tune and promote one on another "
        "base before."
    )


def warnings(versions: Iterable[ModelVersion]) -> list[str]:
    """Gives the warnings for some versions."""
    told = (warning(f"{version.id} ({version.model})", version.ends_on) for version in versions)
    return [sentence for sentence in told if sentence]
