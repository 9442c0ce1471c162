"""What was made of the examples, in Redis: datasets, tuning jobs, versions of the persona, which of them answers where,
and every decision with its reason. It promises that a decision takes effect with the next answer in every process, and
that nothing in here is forgotten by itself: a model must be traceable to its examples for as long as it can be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot.errors import TellUser, TryAgain
from bot.journal import now
from bot.vocabulary import CONFIGURED, Dataset, DraftPage, Frozen, ModelVersion, TuningJob

Model = TypeVar("Model", bound=BaseModel)

DECISIONS_KEPT = 1_000
DECIDED_S = 86_400
"""How long it is known what came of a request: longer than its job is tried again."""


class Decision(Frozen):
    """Something that changed which version answers, or that overruled a gate."""

    what: str
    """`promoted`, `canary`, `rolled back`, `gate overridden`, …"""
    version: str
    by: str
    reason: str = ""
    at: str
    """ISO 8601."""


class MatrixNote(Frozen):
    """What the newest decision matrix found, in figures only: whoever may read its questions has the page."""

    at: datetime
    arms: tuple[str, ...]
    questions: int
    lines: tuple[str, ...]
    """The recommendations, and what became of the claims."""


class Routing(Frozen):
    """Which version answers where."""

    live: str = CONFIGURED
    before: tuple[str, ...] = ()
    """What was live before, newest last: the way back."""
    canaries: Mapping[str, str] = {}
    """By channel."""
    since: float = 0
    """When that was decided, in seconds since 1970."""

    def version_for(self, channel_id: str) -> str:
        """Names the version that answers in a channel."""
        return self.canaries.get(channel_id, self.live)


class Register:
    """The register of one team. Raises TryAgain when Redis cannot be reached."""

    def __init__(self, redis: Redis, team_id: str) -> None:
        self.team_id = team_id
        self.redis = redis

    def key(self, *parts: str) -> str:
        """Names a key of this team's."""
        return ":".join(("footnote", self.team_id, *parts))

    # Records

    async def keep_dataset(self, dataset: Dataset) -> None:
        """Stores a dataset's record."""
        await self._keep("datasets", dataset.digest, dataset)

    async def datasets(self) -> list[Dataset]:
        """Reads all datasets, oldest first."""
        return sorted(await self._all("datasets", Dataset), key=lambda one: one.created_at)

    async def keep_job(self, job: TuningJob) -> None:
        """Stores how a tuning job stands."""
        await self._keep("jobs", job.dataset, job)

    async def job(self, dataset: str) -> TuningJob | None:
        """Reads the tuning job of a dataset."""
        return await self._one("jobs", dataset, TuningJob)

    async def jobs(self) -> list[TuningJob]:
        """Reads all tuning jobs, oldest first."""
        return sorted(await self._all("jobs", TuningJob), key=lambda one: one.created_at)

    async def add_version(self, version: ModelVersion) -> ModelVersion:
        """Stores a version under the next free id (`v1`, `v2`, …), or gives the one that this model has already."""
        for known in await self.versions():
            if (known.model, known.endpoint, known.prompt) == (version.model, version.endpoint, version.prompt):
                return known
        number = await self.call(self.redis.incr(self.key("version-count")))
        added = version.model_copy(update={"id": f"v{number}"})
        await self._keep("versions", added.id, added)
        return added

    async def keep_version(self, version: ModelVersion) -> None:
        """Stores what is newly known of a version."""
        await self._keep("versions", version.id, version)

    async def version(self, id: str) -> ModelVersion | None:
        """Reads one version; None for `configured` too, which only the settings know."""
        return await self._one("versions", id, ModelVersion)

    async def versions(self) -> list[ModelVersion]:
        """Reads all versions, oldest first."""
        return sorted(await self._all("versions", ModelVersion), key=lambda one: one.created_at)

    async def keep_draft_page(self, page: DraftPage) -> None:
        """Stores facts that wait to become a document."""
        await self._keep("draft-pages", page.id, page)

    async def draft_pages(self) -> list[DraftPage]:
        """Reads all draft pages, oldest first."""
        return sorted(await self._all("draft-pages", DraftPage), key=lambda one: one.created_at)

    async def remove_draft_page(self, id: str) -> None:
        """Forgets a draft page."""
        await self.call(self.redis.hdel(self.key("draft-pages"), id))

    async def keep_matrix(self, note: MatrixNote) -> None:
        """Stores what the newest matrix found, in the place of the one before."""
        await self.call(self.redis.set(self.key("matrix"), note.model_dump_json()))

    async def matrix(self) -> MatrixNote | None:
        """Reads what the newest matrix found; None when there was none."""
        value = await self.call(self.redis.get(self.key("matrix")))
        return MatrixNote.model_validate_json(value) if value else None

    # Who answers

    async def routing(self) -> Routing:
        """Reads which version answers where: one call, for it is read before every answer."""
        value = await self.call(self.redis.get(self.key("routing")))
        return Routing.model_validate_json(value) if value else Routing()

    async def outcome(self, once: str) -> Routing | None:
        """Reads what came of a request that was carried out already; None when it was not, or has no id."""
        value = await self.call(self.redis.get(self.key("decided", once))) if once else None
        return Routing.model_validate_json(value) if value else None

    async def promote(
        self,
        id: str,
        by: str,
        reason: str = "",
        *,
        overriding: str = "",
        only_if_live: str | None = None,
        once: str = "",
    ) -> Routing:
        """Makes a version live everywhere, its canaries ended. `overriding` is written down as the reason to go on
        without a gate, if that is what happens. What a request of the id `once` has done is not done again; so below.

        Raises TellUser when there is none of that id, or another one than `only_if_live` is live by then.
        """
        await self._check(id)

        def change(routing: Routing) -> Routing:
            _check_live(routing, only_if_live)
            if routing.live == id:
                return routing.model_copy(update={"canaries": {}})
            before = (*routing.before, routing.live)[-20:]
            return Routing(live=id, before=before)

        decision = Decision(what="promoted", version=id, by=by, reason=reason, at=_now())
        return await self._reroute(change, decision, once, overriding)

    async def canary(
        self,
        id: str | None,
        channel_id: str,
        by: str,
        *,
        overriding: str = "",
        only_if_live: str | None = None,
        once: str = "",
    ) -> Routing:
        """Lets a version answer in one channel only; None ends that. Raises TellUser as `promote` does."""
        if id is not None:
            await self._check(id)

        def change(routing: Routing) -> Routing:
            _check_live(routing, only_if_live)
            others = {channel: version for channel, version in routing.canaries.items() if channel != channel_id}
            return routing.model_copy(update={"canaries": others | ({channel_id: id} if id else {})})

        what = f"canary in {channel_id}" if id else f"canary ended in {channel_id}"
        return await self._reroute(change, Decision(what=what, version=id or "", by=by, at=_now()), once, overriding)

    async def roll_back(
        self,
        by: str,
        reason: str = "",
        *,
        only_if_live: str | None = None,
        asked_at: float | None = None,
        once: str = "",
    ) -> Routing:
        """Makes live again what was live before, and ends all canaries.

        Raises TellUser when there is no way back, when another version than `only_if_live` is live by then, and when
        something else was decided after `asked_at` (seconds since 1970): two who mean the same step back take one.
        """

        def change(routing: Routing) -> Routing:
            _check_live(routing, only_if_live)
            if asked_at is not None and routing.since > asked_at:
                raise TellUser(
                    f"Nothing was changed: somebody was faster, and `{routing.live}` is live now. `train rollback` "
                    "once more goes back further."
                )
            if not routing.before and not routing.canaries:
                raise TellUser("There is nothing to roll back to: no version was promoted.")
            if not routing.before:
                return Routing(live=routing.live)
            return Routing(live=routing.before[-1], before=routing.before[:-1])

        decision = Decision(what="rolled back", version="", by=by, reason=reason, at=_now())
        return await self._reroute(change, decision, once)

    async def note(self, what: str, version: str, by: str, reason: str = "") -> None:
        """Writes down a decision."""
        await self._note(Decision(what=what, version=version, by=by, reason=reason, at=_now()))

    async def decisions(self) -> list[Decision]:
        """Reads the decisions, newest first."""
        values = await self.call(self.redis.lrange(self.key("decisions"), 0, -1))
        return [Decision.model_validate_json(value) for value in values]

    async def _note(self, decision: Decision) -> None:
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.lpush(self.key("decisions"), decision.model_dump_json())
            pipe.ltrim(self.key("decisions"), 0, DECISIONS_KEPT - 1)
            await self.call(pipe.execute())

    async def _check(self, id: str) -> None:
        if id != CONFIGURED and await self.version(id) is None:
            raise TellUser(f"There is no version `{id[:40]}`; `/support model` or `train status` lists them.")

    async def _reroute(
        self, change: Callable[[Routing], Routing], decision: Decision, once: str, overriding: str = ""
    ) -> Routing:
        """Changes the routing by what it is at that very moment, and writes the decision down, behind the gate that it
        overrides; gives what came of it the first time when that was done before."""
        key, decided = self.key("routing"), self.key("decided", once)
        changed = Routing()

        async def transaction(pipe: Any) -> None:
            nonlocal changed
            done = await pipe.get(decided) if once else None
            value = await pipe.get(key)
            known = Routing.model_validate_json(value) if value else Routing()
            changed = Routing.model_validate_json(done) if done else change(known)
            pipe.multi()
            if done:
                return
            if changed != known:
                changed = changed.model_copy(update={"since": now().timestamp()})
                named = decision if decision.version else decision.model_copy(update={"version": changed.live})
                pipe.set(key, changed.model_dump_json())
                if overriding:
                    override = named.model_copy(update={"what": "gate overridden", "reason": overriding})
                    pipe.lpush(self.key("decisions"), override.model_dump_json())
                pipe.lpush(self.key("decisions"), named.model_dump_json())
                pipe.ltrim(self.key("decisions"), 0, DECISIONS_KEPT - 1)
            if once:
                pipe.set(decided, changed.model_dump_json(), ex=DECIDED_S)

        await self.call(self.redis.transaction(transaction, key, decided))
        return changed

    # Redis

    async def _keep(self, kind: str, id: str, record: BaseModel) -> None:
        await self.call(self.redis.hset(self.key(kind), id, record.model_dump_json()))

    async def _one(self, kind: str, id: str, model: type[Model]) -> Model | None:
        value = await self.call(self.redis.hget(self.key(kind), id))
        return model.model_validate_json(value) if value else None

    async def _all(self, kind: str, model: type[Model]) -> list[Model]:
        values = await self.call(self.redis.hvals(self.key(kind)))
        return [model.model_validate_json(value) for value in values]

    async def call(self, command: Any) -> Any:
        """Awaits a command of Redis. Raises TryAgain when it cannot be reached."""
        try:
            return await command
        except (RedisError, OSError) as error:
            raise TryAgain(f"Redis: {type(error).__name__}") from error


def _check_live(routing: Routing, only_if_live: str | None) -> None:
    if only_if_live not in (None, routing.live):
        raise TellUser(f"Nothing was changed: `{routing.live}` went live meanwhile. Measure against that one.")


def _now() -> str:
    return now().isoformat()
