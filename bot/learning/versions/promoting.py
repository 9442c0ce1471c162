"""Which version may go live: one that passed the gate against what is live now. Whoever knows better says why, and that
is written down. Coming back needs no leave and no gate: `Register.roll_back`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

from bot.answering import Prompt, Voice
from bot.errors import Broken, TellUser, TryAgain
from bot.learning.versions.gate import latest, objection
from bot.learning.versions.register import Register, Routing
from bot.learning.versions.voices import Voices

PROBE_S = 30


async def promote(
    register: Register, voices: Voices, version: str, by: str, *, override: str = "", once: str = ""
) -> Routing:
    """Makes a version live that passed the gate against what is live now, or, with a reason that is written down, any.
    What a request of the id `once` has done is not done again.

    Raises TellUser when it must not be, with what to do instead.
    """
    if done := await register.outcome(once):
        return done
    candidate, routing = await voices.of(version), await register.routing()
    go = partial(register.promote, version, by, only_if_live=routing.live, once=once)
    if routing.live == version and not routing.canaries:
        raise TellUser(f"`{version}` is live already.")
    if routing.live == version:
        return await go("its canaries ended")
    await _probe(candidate)
    report = await latest(register, candidate, await voices.of(routing.live))
    missing = await objection(register, report, routing.live, voices.persona)
    if report is not None and not missing:
        return await go(f"passed gate {report.id}")
    return await go(override.strip(), overriding=_overriding(version, override, missing, "promote"))


async def canary(
    register: Register,
    voices: Voices,
    version: str,
    channels: Sequence[str],
    by: str,
    *,
    override: str = "",
    once: str = "",
) -> Routing:
    """Lets a version answer in some channels that passed the gate against what is live now, or any with a reason. What
    a request of the id `once` has done is not done again. Raises TellUser when it must not, with what to do instead."""
    ids = {channel: once and f"{once}:{channel}" for channel in channels}
    if done := await register.outcome(ids[channels[-1]]):
        return done
    candidate, routing = await voices.of(version), await register.routing()
    await _probe(candidate)
    report = await latest(register, candidate, await voices.of(routing.live))
    missing = await objection(register, report, routing.live, voices.persona)
    overriding = _overriding(version, override, missing, "canary") if missing else ""
    for channel, id in ids.items():
        is_new = routing.canaries.get(channel) != version
        go = partial(register.canary, version, channel, by, only_if_live=routing.live, once=id)
        routing, overriding = await go(overriding=overriding), "" if is_new else overriding
    return routing


async def _probe(voice: Voice) -> None:
    """Asks a model for a word, so that none goes live that is gone. Raises TellUser."""
    say: list[dict[str, str]] = [{"role": "user", "content": "Say OK."}]
    words = voice.model.write(Prompt(question="Say OK.", query="Say OK.", passages=(), messages=say))
    try:
        async with asyncio.timeout(PROBE_S):
            await anext(words, None)
    except (TryAgain, Broken, TimeoutError) as error:
        cause = str(error) or f"no word within {PROBE_S} s"
        raise TellUser(f"`{voice.version}` does not answer now, so nothing was changed. {cause}") from error
    finally:
        if close := getattr(words, "aclose", None):
            await close()


def _overriding(version: str, reason: str, missing: str, verb: str) -> str:
    """Gives what is written down when somebody goes on without a gate. Raises TellUser where no reason is given."""
    if not reason.strip():
        raise TellUser(
            f"`{version}` has passed no gate that counts ({missing}). `train gate {version}` measures it; "
            f'`train {verb} {version} --override "REASON"` goes on all the same and writes the reason down.'
        )
    return f"{reason.strip()} ({missing})"


async def end_canary(register: Register, version: str, channels: Iterable[str], by: str) -> Routing:
    """Ends a version's trial in these channels, in all of its channels if none is named.

    Raises TellUser when it answers as a canary in none of them.
    """
    routing = await register.routing()
    wanted = set(channels)
    its = [channel for channel, one in routing.canaries.items() if one == version and (not wanted or channel in wanted)]
    if not its:
        raise TellUser(f"`{version[:40]}` is no canary there.")
    for channel in its:
        routing = await register.canary(None, channel, by)
    return routing
