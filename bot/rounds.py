"""A source that is read in parts, as the memory knows it: a round has its parts' pages (what was listed), and what
became of each part. Nothing of it is for ever: a round that nobody works on any more is forgotten after a week. Pages
and reports are packed, so that a million names take some twenty megabytes.
"""

from __future__ import annotations

import json
import zlib
from base64 import b85decode, b85encode
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import ValidationError

from bot.errors import TryAgain
from bot.memory import redis_errors
from bot.vocabulary import Frozen, IngestReport, Listing, PartReport

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

TTL_S = 7 * 86_400
LISTING_TTL_S = 3_600
"""From one page to the next: of a listing that broke off, nothing stays for long."""


class Round(Frozen):
    """One sync of one source that is read in parts."""

    id: str
    """Nobody works for a round that is not the current one of its source."""
    name: str
    began: datetime
    listing: Listing


@dataclass(frozen=True)
class Progress:
    """How far a round has come."""

    name: str
    done: int
    parts: int
    began: datetime


class Rounds:
    """The rounds of one team, at most one for each source. Raises TryAgain when Redis cannot be reached."""

    def __init__(self, redis: Redis, team_id: str) -> None:
        self._redis, self.team_id = redis, team_id

    async def current(self, name: str) -> Round | None:
        """Gives the round that a source is in. One that another release wrote, in another way, is none."""
        with redis_errors():
            value = await self._redis.get(self._key(name))
            try:
                return Round.model_validate_json(value) if value else None
            except ValidationError:
                await self._redis.unlink(self._key(name))
                return None

    async def keep(self, name: str, id: str, number: int, page: str) -> None:
        """Keeps what was listed for a part of a round that is about to be opened."""
        with redis_errors():
            pipe = self._redis.pipeline()
            pipe.hset(self._key(name, id, "pages"), str(number), _packed(page))
            pipe.expire(self._key(name, id, "pages"), LISTING_TTL_S)
            await pipe.execute()

    async def open(self, round: Round) -> Round:
        """Begins a round whose pages are all there; gives the one that the source is in, which is another where
        somebody was faster."""
        with redis_errors():
            pipe = self._redis.pipeline(transaction=True)
            pipe.expire(self._of(round, "pages"), TTL_S)
            pipe.set(self._key(round.name), round.model_dump_json(), ex=TTL_S, nx=True)
            self._list(pipe, round.name)
            await pipe.execute()
        current = await self.current(round.name)
        if current is None or current.id != round.id:
            await self.forget(round.name, round.id)
        return current or round

    async def forget(self, name: str, id: str) -> bool:
        """Takes everything of a round out; false when there was no such round open."""
        current = await self.current(name)
        is_open = current is not None and current.id == id
        with redis_errors():
            pipe = self._redis.pipeline(transaction=True)
            pipe.unlink(*(self._key(name, id, what) for what in ("pages", "reports", "facts")))
            if is_open:
                pipe.srem(self._open, name)
                pipe.unlink(self._key(name))
            return bool((await pipe.execute())[-1]) and is_open

    async def page(self, round: Round, number: int) -> str:
        """Gives what was listed for a part."""
        with redis_errors():
            return _unpacked(await self._redis.hget(self._of(round, "pages"), str(number)))

    async def note(self, round: Round, number: int, report: PartReport) -> None:
        """Notes what became of a part; what was noted first stands."""
        with redis_errors():
            pipe = self._redis.pipeline(transaction=True)
            pipe.hsetnx(self._of(round, "reports"), str(number), _packed(report.model_dump_json()))
            if report.ends_reading:
                pipe.hset(self._of(round, "facts"), "is_left_alone", "1")
            for what in ("pages", "reports", "facts"):
                pipe.expire(self._of(round, what), TTL_S)
            pipe.expire(self._key(round.name), TTL_S)
            self._list(pipe, round.name)
            await pipe.execute()

    async def report(self, round: Round, number: int) -> PartReport:
        """Gives what became of a part."""
        with redis_errors():
            report = await self._redis.hget(self._of(round, "reports"), str(number))
        return PartReport.model_validate_json(_unpacked(report))

    async def done(self, round: Round) -> set[int]:
        """Gives the parts that are done."""
        with redis_errors():
            return {int(one) for one in await self._redis.hkeys(self._of(round, "reports"))}

    async def is_left_alone(self, round: Round) -> bool:
        """Whether the source failed so often that no further part of it is read."""
        with redis_errors():
            return bool(await self._redis.hexists(self._of(round, "facts"), "is_left_alone"))

    async def settled(self, round: Round, report: IngestReport | None = None) -> IngestReport | None:
        """Gives the report of a round, once there is one. The first that is given is the one, whoever is killed."""
        with redis_errors():
            if report:
                whole = {"report": report.model_dump(mode="json"), "removed_ids": report.removed_ids}
                await self._redis.hsetnx(self._of(round, "facts"), "report", _packed(json.dumps(whole)))
                await self._redis.expire(self._of(round, "facts"), TTL_S)
            value = await self._redis.hget(self._of(round, "facts"), "report")
        if not value:
            return None
        whole = json.loads(_unpacked(value))
        return IngestReport.model_validate({**whole["report"], "removed_ids": whole["removed_ids"]})

    async def progress(self) -> list[Progress]:
        """Says of each source that is read in parts how far that is."""
        with redis_errors():
            names = sorted(map(str, await self._redis.smembers(self._open)))
        return [one for name in names if (one := await self.progress_of(name))]

    async def progress_of(self, name: str) -> Progress | None:
        """Says of a source how far it is read in parts, if it is."""
        one = await self.current(name)
        return Progress(one.name, len(await self.done(one)), one.listing.parts, one.began) if one else None

    @property
    def _open(self) -> str:
        """Where the names stand of sources that are in a round, and perhaps of some whose round has expired."""
        return f"footnote:{self.team_id}:rounds"

    def _list(self, pipe: Pipeline, name: str) -> None:
        pipe.sadd(self._open, name)
        pipe.expire(self._open, TTL_S)

    def _of(self, round: Round, what: str) -> str:
        return self._key(round.name, round.id, what)

    def _key(self, name: str, *parts: str) -> str:
        return ":".join(("footnote", self.team_id, "sync", quote(name, safe=""), *parts))


def _packed(text: str) -> str:
    return b85encode(zlib.compress(text.encode())).decode()


def _unpacked(packed: str | bytes | None) -> str:
    if packed is None:
        raise TryAgain("the memory has lost a part of a sync")
    return zlib.decompress(b85decode(packed)).decode()
