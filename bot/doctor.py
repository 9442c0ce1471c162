"""Looks at every dependency, scope and setting, and says of each what it found and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bot.errors import FootnoteError
from bot.settings import Settings
from bot.vocabulary import Frozen

LOOK_S = 30


class Finding(Frozen):
    """What was found about one part; `advice` says what to do when it is not fine."""

    part: str
    is_fine: bool
    found: str
    advice: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """Looks at every part, each on its own: one that hangs or fails is a finding."""
    from bot import wiring

    findings = [_production(settings)]
    for part, look, advice in (
        ("Slack", wiring.examine_slack, "Check SLACK_BOT_TOKEN, SLACK_API_URL and the network."),
        ("Memory", wiring.examine_memory, "Check REDIS_URL: Redis 7+ or Valkey, reachable from here."),
        ("Library", wiring.examine_library, "Check WEAVIATE_URL, EMBEDDING_MODEL and EMBEDDING_BASE_URL."),
        ("Model", wiring.examine_model, "Check OPENAI_BASE_URL, OPENAI_API_KEY and PERSONA_MODEL."),
        ("Tuner", wiring.examine_tuner, "Check TUNER_BASE_URL, TUNER_API_KEY and TUNER_MODEL."),
        ("Versions", wiring.examine_versions, "Check REDIS_URL, TUNER_BASE_URL and TUNER_API_KEY."),
    ):
        findings += await _carefully(part, look, settings, advice)
    return findings


async def _carefully(
    part: str, look: Callable[[Settings], Awaitable[list[Finding]]], settings: Settings, advice: str
) -> list[Finding]:
    try:
        async with asyncio.timeout(LOOK_S):
            return await look(settings)
    except TimeoutError:
        return [Finding(part=part, is_fine=False, found=f"no answer within {LOOK_S} s", advice=advice)]
    except FootnoteError as error:
        return [Finding(part=part, is_fine=False, found=str(error), advice=advice)]


def _production(settings: Settings) -> Finding:
    try:
        settings.refuse_accidental_embedding()
    except FootnoteError as error:
        return Finding(part="Settings", is_fine=False, found="embedded parts beside a real Slack", advice=str(error))
    return Finding(part="Settings", is_fine=True, found="production" if settings.is_production else "local")


def print_findings(findings: list[Finding]) -> None:
    """Prints the findings for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for finding in findings:
        found = finding.found if finding.is_fine else f"{finding.found}\n→ {finding.advice}"
        table.add_row("✅" if finding.is_fine else "❌", finding.part, found)
    Console().print(table, highlight=False, markup=False)
