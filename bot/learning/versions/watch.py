"""The automatic return. Each answer leaves signs behind: whether it left the format, held sentences that nothing
supports, came to nothing, or had to be given by another version. When these become so frequent over a version's last
answers that neither what the gate saw of it nor what its predecessor did accounts for them, the predecessor is live
again, without anybody being woken. All this happens beside the answer: it never makes one slower, and never fails
one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from bot.answering import Reply
from bot.errors import FootnoteError, TellUser
from bot.learning.versions.gate import reports
from bot.learning.versions.health import FAILED, Health, Signs, health_of, signs_of, worse_than
from bot.learning.versions.register import Register, Routing
from bot.log import log, trouble
from bot.persona import Persona
from bot.vocabulary import CONFIGURED, Answer, Question

Answering = Callable[[Question, Reply], Awaitable[Answer]]

LAST = 200
FEWEST = 50
"""Answers before which nobody is judged, nor taken as a yardstick."""
KEPT_S = 90 * 86_400
BY = "the watch"


class Watch:
    """Looks at answers until it is closed. `async with Watch(register, persona) as watch:`."""

    def __init__(self, register: Register, persona: Persona) -> None:
        self._register, self._persona = register, persona
        self._looking: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.looked()

    def over(self, answering: Answering) -> Answering:
        """Gives the same answering, watched."""

        async def answer(question: Question, reply: Reply) -> Answer:
            answered = await answering(question, reply)
            self.saw(answered)
            return answered

        return answer

    def saw(self, answer: Answer) -> None:
        """Takes an answer that was given; what follows from it happens later."""
        task = asyncio.create_task(self._look(answer))
        self._looking.add(task)
        task.add_done_callback(self._done)

    async def looked(self) -> None:
        """Returns when all that was seen has been looked at."""
        await asyncio.gather(*self._looking, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._looking.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("watch_failed", **trouble(error))

    async def health(self, version: str) -> Health:
        """Gives how a version fared in its last answers."""
        signs = await self._register.call(self._register.redis.lrange(self._key(version), 0, LAST - 1))
        return health_of(_signs(each) for each in signs)

    async def _look(self, answer: Answer) -> None:
        try:
            for version in answer.passed_over:
                await self._note(version, FAILED)
                await self._judge(version)
            signs = signs_of(answer, self._persona)
            if signs and answer.version:
                await self._note(answer.version, signs)
                await self._judge(answer.version)
        except FootnoteError as error:
            log.warning("watch_did_not_look", version=answer.version, cause=str(error))

    async def _note(self, version: str, signs: Signs) -> None:
        key = self._key(version)
        async with self._register.redis.pipeline(transaction=True) as pipe:
            pipe.lpush(key, "".join(str(int(sign)) for sign in signs))
            pipe.ltrim(key, 0, LAST - 1)
            pipe.expire(key, KEPT_S)
            await self._register.call(pipe.execute())

    async def _judge(self, version: str) -> None:
        """Takes a version back that has left its band, wherever it answers."""
        routing = await self._register.routing()
        predecessor = _predecessor(version, routing)
        if predecessor is None:
            return
        now = await self.health(version)
        if now.answers < FEWEST:
            return
        known = [one for one in [await self.health(predecessor)] if one.answers >= FEWEST]
        if known and not worse_than(now, known):
            return  # as after nearly every answer: the gate's reports are read only when they matter
        known += [one for one in await self._at_the_gate(version) if one.answers >= FEWEST]
        if reason := worse_than(now, known):
            await self._take_back(version, routing, reason)

    async def _at_the_gate(self, version: str) -> list[Health]:
        found = [report.health for report in await reports(self._register) if report.candidate == version]
        return found[-1:]

    async def _take_back(self, version: str, routing: Routing, reason: str) -> None:
        """Ends what the version does; its signs go, so that one who tries it again begins anew."""
        if routing.live == version:
            try:
                await self._register.roll_back(BY, reason, only_if_live=version)
            except TellUser:
                return  # somebody promoted another one at this very moment
        else:
            for channel, canary in routing.canaries.items():
                if canary == version:
                    await self._register.canary(None, channel, BY)
        if await self._register.call(self._register.redis.delete(self._key(version))):
            await self._register.note("returned automatically", version, BY, reason)
            log.error("version_returned", version=version, reason=reason)

    def _key(self, version: str) -> str:
        return self._register.key("watch", version)


def _predecessor(version: str, routing: Routing) -> str | None:
    """What would answer in place of a version; None when it answers nowhere, or nothing stands behind it."""
    if version in routing.canaries.values() and version != routing.live:
        return routing.live
    if version == routing.live != CONFIGURED and routing.before:
        return routing.before[-1]
    return None


def _signs(stored: str) -> Signs:
    off, uncited, refused, failed = (sign == "1" for sign in stored.ljust(len(FAILED), "0"))
    return off, uncited, refused, failed
