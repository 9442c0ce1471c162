"""What was asked, found, said and judged, in Redis. It promises that one question has one answer whatever is killed
meanwhile: everything that another worker needs to take over is written before and after each step that people see.
Every key lives for `retention_days`, but for the examples, which stay until somebody rejects or forgets them, for what
is needed to take those back, and for the bare ids of those that were rejected, so that none is proposed again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, cast
from uuid import uuid4

from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bot.errors import TryAgain
from bot.vocabulary import Answer, Asked, Example, ExampleStatus, Verdict

State = Literal["accepted", "posting", "streaming", "done", "left_alone", "withdrawn"]

Fields = dict[str, str]

FAILURES_KEPT = 1000
TOMBSTONE_S = 15 * 60
"""Longer than Slack goes on delivering what was not acknowledged."""
EXAMPLE_S = 5 * 365 * 86_400
UNAGREED_S = 7 * 86_400
"""For which an example that nobody may read waits for its asker's consent."""
READ_AT_ONCE = 500
NOBODY = "nobody"


class Entry(BaseModel, frozen=True):
    """What the journal knows of one question."""

    asked: Asked
    state: State
    reply_ts: str | None = None
    answer: Answer | None = None
    settled_edit: str | None = None
    """The `edited_ts` of the words that were answered or left alone; other than that of `asked` after an edit."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do: answered or left alone in these very words, or withdrawn."""
        is_done = self.state in ("done", "left_alone") and self.settled_edit == self.asked.edited_ts
        return is_done or self.state == "withdrawn"


class Failure(BaseModel, frozen=True):
    """A job that was given up, with what is needed to look into it and to run it again."""

    kind: str
    payload: str
    cause: str
    at: datetime


class Journal:
    """The journal of one team. Raises TryAgain when Redis cannot be reached."""

    def __init__(self, redis: Redis, team_id: str, *, retention_days: int = 30) -> None:
        self.team_id = team_id
        self.redis = redis
        self.retention_days = retention_days
        self._ttl_s = retention_days * 86_400
        self._parsed: dict[str, tuple[str, Example]] = {}

    def _key(self, *parts: str) -> str:
        return ":".join(("footnote", self.team_id, *parts))

    # Questions

    async def accept(self, asked: Asked) -> Entry:
        """Writes a question down, and gives what is known of it then.

        What is known already stays, for a late delivery must not undo an edit. New are the words of a later edit; and a
        follow-up that was left alone, or is about to be, becomes a question when somebody puts it to the bot.
        """

        def decide(known: Entry | None) -> Fields | None:
            if known is None:
                return {"state": "accepted", "asked": asked.model_dump_json()}
            if known.state == "withdrawn":
                return None
            newest = max(known.asked, asked, key=lambda one: (bool(one.text), one.edited_ts))
            words = {"text": newest.text, "edited_ts": newest.edited_ts}
            if known.asked.kind == "follow_up" != asked.kind and known.state in ("accepted", "left_alone"):
                return {"state": "accepted", "asked": asked.model_copy(update=words).model_dump_json()}
            if asked.edited_ts > known.asked.edited_ts:
                return {"asked": known.asked.model_copy(update=words).model_dump_json()}
            return None

        await self._change(asked.id, decide)
        if asked.kind in ("mention", "direct"):
            await self._call(self.redis.set(self._key("thread", asked.channel_id, asked.thread_ts), 1, ex=self._ttl_s))
        entry = await self.entry(asked.id)
        return entry or Entry(asked=asked, state="withdrawn")

    async def entry(self, question_id: str) -> Entry | None:
        """Reads what is known of a question."""
        return _entry(await self._call(self.redis.hgetall(self._key("question", question_id))))

    async def begin(
        self, question_id: str, state: Literal["posting", "streaming"], reply_ts: str | None = None
    ) -> None:
        """Notes that a reply is about to be seen, so that whoever takes over looks for it before posting another."""
        key = self._key("question", question_id)
        async with self._pipeline() as pipe:
            pipe.hdel(key, "reply_ts")  # of a reply that is no longer there
            pipe.hset(key, mapping={"state": state} | ({"reply_ts": reply_ts} if reply_ts else {}))
            self._keep(pipe, key)

    async def settle(self, asked: Asked, answer: Answer, reply_ts: str | None) -> None:
        """Notes the answer that people now see, where, and which words it answers."""
        key = self._key("question", asked.id)
        fields = {"state": "done", "answer": answer.model_dump_json(), "settled_edit": asked.edited_ts}
        if asked.kind == "command":  # the address is dead soon, and nobody needs it any more
            fields["asked"] = asked.model_copy(update={"response_url": None}).model_dump_json()
        async with self._pipeline() as pipe:
            pipe.hset(key, mapping=fields | ({"reply_ts": reply_ts} if reply_ts else {}))
            self._keep(pipe, key)
            if reply_ts:
                pipe.set(self._key("reply", asked.channel_id, reply_ts), asked.id, keepttl=True)
                self._keep(pipe, self._key("reply", asked.channel_id, reply_ts))

    async def leave_alone(self, asked: Asked) -> None:
        """Notes that a message turned out not to be meant for the bot, and forgets what it said; unless it was edited,
        or put to the bot, meanwhile."""

        def decide(known: Entry | None) -> Fields | None:
            if known is None or known.asked != asked or known.state == "withdrawn":
                return None
            return {"state": "left_alone", "asked": _without_words(asked), "settled_edit": asked.edited_ts}

        await self._change(asked.id, decide)

    async def withdraw(self, question_id: str) -> None:
        """Forgets question, answer, verdicts and example of a question that was deleted. Its id stays, so that a late
        delivery of the same question is not answered; also one that is not known yet, for a quarter of an hour."""
        key = self._key("question", question_id)
        async with self._pipeline() as pipe:
            pipe.hsetnx(key, "state", "withdrawn")
            pipe.expire(key, TOMBSTONE_S, nx=True)

        def decide(known: Entry | None) -> Fields | None:
            return {"state": "withdrawn", "asked": _without_words(known.asked)} if known else None

        await self._change(question_id, decide)
        entry = await self.entry(question_id)
        async with self._pipeline() as pipe:
            pipe.hdel(key, "answer", "settled_edit")
            pipe.delete(self._key("verdicts", question_id))
            if entry:
                pipe.expire(key, self._ttl_s)
                pipe.expire(self._key("reply", entry.asked.channel_id, entry.reply_ts or ""), self._ttl_s)
        await self.remove_example(question_id)

    async def forget_verdicts(self, question_id: str) -> None:
        """Forgets what people think of an answer that is about to be replaced."""
        await self._call(self.redis.delete(self._key("verdicts", question_id)))

    async def question_of_reply(self, channel_id: str, reply_ts: str) -> str | None:
        """Finds the question that a message of ours answers."""
        return cast("str | None", await self._call(self.redis.get(self._key("reply", channel_id, reply_ts))))

    async def is_in_thread(self, channel_id: str, thread_ts: str) -> bool:
        """Whether the bot was asked in that thread."""
        return bool(await self._call(self.redis.exists(self._key("thread", channel_id, thread_ts))))

    async def same_gesture(self, client_msg_id: str, question_id: str) -> bool:
        """Whether a client's message id was first seen with this question, not with another one: Slack has been seen
        to send one gesture under two timestamps."""
        key = self._key("gesture", client_msg_id)
        await self._call(self.redis.set(key, question_id, nx=True, ex=86_400))
        return bool(await self._call(self.redis.get(key)) == question_id)

    async def meets(self, user_id: str) -> bool:
        """Whether this is the first time that the bot talks to somebody, once."""
        return bool(await self._call(self.redis.set(self._key("met", user_id), "1", nx=True, ex=365 * 86_400)))

    async def has_not_met(self, user_id: str) -> None:
        """Takes back that the bot has talked to somebody: it did not work."""
        await self._call(self.redis.delete(self._key("met", user_id)))

    async def was_done(self, gesture: str) -> bool:
        """Whether what somebody wanted by one gesture was carried out already: Slack may deliver it again."""
        return bool(await self._call(self.redis.exists(self._key("done", gesture))))

    async def note_done(self, gesture: str) -> None:
        """Notes that it was carried out."""
        await self._call(self.redis.set(self._key("done", gesture), 1, ex=86_400))

    # Verdicts

    async def judge(self, verdict: Verdict) -> list[Verdict]:
        """Keeps a person's verdict on an answer; gives the verdicts that then stand.

        The newest counts, whatever comes first: each thumb of each person is kept with when it was given or taken back.
        """
        return await self._note(verdict, verdict)

    async def take_back(self, verdict: Verdict) -> list[Verdict]:
        """Takes a person's verdict back at `verdict.at`; gives the verdicts that then stand."""
        return await self._note(verdict, verdict.model_copy(update={"is_helpful": None}))

    async def _note(self, verdict: Verdict, noted: Verdict) -> list[Verdict]:
        key, thumb = self._key("verdicts", verdict.question_id), f"{verdict.user_id}:{verdict.is_helpful}"
        known = await self._call(self.redis.hget(key, thumb))
        if known is None or Verdict.model_validate_json(known).at <= verdict.at:
            async with self._pipeline() as pipe:
                pipe.hset(key, thumb, noted.model_dump_json())
                self._keep(pipe, key)
        return await self.verdicts(verdict.question_id)

    async def verdicts(self, question_id: str) -> list[Verdict]:
        """Reads what people think of an answer, one verdict for each of them."""
        values = await self._call(self.redis.hvals(self._key("verdicts", question_id)))
        verdicts = sorted((Verdict.model_validate_json(value) for value in values), key=lambda verdict: verdict.at)
        return list({verdict.user_id: verdict for verdict in verdicts if verdict.is_helpful is not None}.values())

    # Examples

    async def keep_example(self, example: Example) -> None:
        """Stores an example, whatever stands there."""
        await self._call(self.redis.transaction(partial(self._replace, example.id, example), *self._watched(example)))

    async def replace_example(
        self, id: str, known: Example | None, new: Example | None, entry: Entry, judges: frozenset[str] = frozenset()
    ) -> bool:
        """Stores an example of an answer where `known` stands, or erases it for None. False, and nothing changes, when
        something else stands there by then, when the question was withdrawn or answered anew, or when the verdict of
        one of these `judges` was forgotten."""
        done = False

        async def transaction(pipe: Any) -> None:
            nonlocal done
            value = await pipe.get(self._key("example", id))
            now_there = _entry(await pipe.hgetall(self._key("question", entry.asked.id)))
            still = {thumb.partition(":")[0] for thumb in await pipe.hkeys(self._key("verdicts", entry.asked.id))}
            is_same = now_there is not None and (now_there.state, now_there.answer) == (entry.state, entry.answer)
            done = is_same and (Example.model_validate_json(value) if value else None) == known and judges <= still
            if done and (new or known):
                await self._replace(id, new, pipe)

        keys = [self._key(kind, entry.asked.id) for kind in ("question", "verdicts")]
        await self._call(self.redis.transaction(transaction, self._key("example", id), *keys))
        return done

    async def change_example(self, id: str, change: Callable[[Example], Example | None]) -> Example | None:
        """Changes an example by what it is at that very moment, and gives it; nothing changes, nor comes back to life,
        when it is gone or `change` gives None. What `change` raises is passed on."""
        changed: Example | None = None

        async def transaction(pipe: Any) -> None:
            nonlocal changed
            value = await pipe.get(self._key("example", id))
            changed = change(Example.model_validate_json(value)) if value else None
            if changed:
                await self._replace(id, changed, pipe)

        await self._call(self.redis.transaction(transaction, self._key("example", id)))
        return changed

    async def example(self, example_id: str) -> Example | None:
        """Reads one example."""
        value = await self._call(self.redis.get(self._key("example", example_id)))
        return Example.model_validate_json(value) if value else None

    async def was_rejected(self, id: str) -> bool:
        """Whether an example of that id was rejected: its words go after a while, that it was rejected stays."""
        return bool(await self._call(self.redis.sismember(self._key("rejected"), id)))

    async def examples(self, status: ExampleStatus | None = None) -> list[Example]:
        """Reads the examples, oldest first; all of them or those of one status. Only those are parsed that have changed
        since they were read last, off the event loop."""
        ids = await self._call(self.redis.zrange(self._key("examples"), 0, -1))
        stored: dict[str, str] = {}
        for start in range(0, len(ids), READ_AT_ONCE):
            some = ids[start : start + READ_AT_ONCE]
            values = await self._call(self.redis.mget([self._key("example", id) for id in some]))
            stored |= {id: value for id, value in zip(some, values, strict=True) if value}
        known, changed = self._parsed, [id for id in stored if self._parsed.get(id, ("",))[0] != stored[id]]
        parsed = await asyncio.to_thread(lambda: {id: Example.model_validate_json(stored[id]) for id in changed})
        self._parsed = {id: (value, parsed[id] if id in parsed else known[id][1]) for id, value in stored.items()}
        found = [self._parsed[id][1] for id in stored]
        return [example for example in found if status in (None, example.status)]

    async def has_examples(self) -> bool:
        """Whether there is any example."""
        return bool(await self._call(self.redis.exists(self._key("examples"))))

    async def examples_revision(self) -> str:
        """Names the state that the examples are in: another one means that one of them was stored or erased."""
        key = self._key("examples-revision")
        return str(
            await self._call(self.redis.get(key))
            or await self._call(self.redis.set(key, uuid4().hex, nx=True, ex=self._ttl_s, get=True))
            or await self._call(self.redis.get(key))
        )

    async def remove_example(self, question_id: str) -> None:
        """Erases what was made of a question's answer, and of a correction of it."""
        await self.erase_examples([example_id(question_id), example_id(question_id, is_correction=True)])

    async def erase_examples(self, ids: Sequence[str]) -> None:
        """Erases examples with the draft pages that they wait for. What lived on for them goes after the retention."""
        for id in ids:
            await self._call(self.redis.transaction(partial(self._replace, id, None), self._key("example", id)))

    def _watched(self, example: Example) -> list[str]:
        return [self._key("example", example.id), self._key("question", example.question_id)]

    async def _replace(self, id: str, new: Example | None, pipe: Any) -> None:
        """Stores or erases an example in a transaction that watches it. Question, answer and verdicts live as long as
        an example that can be learned from; one that is rejected, or that nobody may read yet, keeps nothing alive."""
        key = self._key("example", id)
        value = await pipe.get(key)
        old = Example.model_validate_json(value) if value else None
        of = new or old
        question_id = of.question_id if of else ""
        ids = {example_id(question_id), example_id(question_id, is_correction=True)} - {id}
        others = [self._key("example", other) for other in sorted(ids)]
        await pipe.watch(*others, self._key("question", question_id))
        found = [Example.model_validate_json(other) for other in await pipe.mget(others) if other]
        entry = _entry(await pipe.hgetall(self._key("question", question_id)))
        lasts = any(one.status != "rejected" and one.audience != NOBODY for one in [*found, *([new] if new else [])])
        pipe.multi()
        if new is None:
            pipe.delete(key)
            pipe.zrem(self._key("examples"), id)
        else:
            ttl_s = self._ttl_s if new.status == "rejected" else UNAGREED_S if new.audience == NOBODY else None
            pipe.set(key, new.model_dump_json(), ex=ttl_s)
            pipe.zadd(self._key("examples"), {id: new.created_at.timestamp()})
        if new and new.status == "rejected":
            pipe.sadd(self._key("rejected"), id)
        else:
            pipe.srem(self._key("rejected"), id)
        if old and old.draft_page and old.draft_page != (new.draft_page if new else None):
            pipe.hdel(self._key("draft-pages"), old.draft_page)
        lived = [self._key(kind, question_id) for kind in ("question", "verdicts")]
        lived += [self._key("reply", entry.asked.channel_id, entry.reply_ts)] if entry and entry.reply_ts else []
        for one in lived if of else ():
            pipe.expire(one, EXAMPLE_S) if lasts else pipe.expire(one, self._ttl_s, lt=True)
        self._revise(pipe)

    def _revise(self, pipe: Any) -> None:
        pipe.set(self._key("examples-revision"), uuid4().hex, ex=self._ttl_s)

    async def forget_person(self, user_id: str) -> None:
        """Forgets what somebody has asked and judged; that there was a question stays for a while, so that its answer
        can still be taken away with it."""
        async for key in self._scan("question"):
            entry = _entry(await self._call(self.redis.hgetall(key)))
            if entry and entry.asked.user_id == user_id:
                await self.withdraw(entry.asked.id)
                nobodys = entry.asked.model_copy(update={"user_id": ""})
                await self._call(self.redis.hset(key, "asked", _without_words(nobodys)))
        async for key in self._scan("verdicts"):
            thumbs = [thumb for thumb in await self._call(self.redis.hkeys(key)) if thumb.startswith(f"{user_id}:")]
            if thumbs:
                await self._call(self.redis.hdel(key, *thumbs))

    async def _scan(self, kind: str) -> AsyncIterator[str]:
        try:
            async for key in self.redis.scan_iter(match=self._key(kind, "*"), count=1_000):
                yield key
        except (RedisError, OSError) as error:
            raise TryAgain(f"Redis: {type(error).__name__}") from error

    # Failures

    async def attempt(self, job_key: str) -> int:
        """Counts how often a job was begun, kills included, and gives the count."""
        key = self._key("attempts", job_key)
        pipe = self.redis.pipeline(transaction=True)
        pipe.incr(key)
        pipe.expire(key, 86_400)
        count, _ = await self._call(pipe.execute())
        return int(count)

    async def ended(self, job_key: str) -> None:
        """Forgets how often a job was begun: it has ended well."""
        await self._call(self.redis.delete(self._key("attempts", job_key)))

    async def give_up(self, failure: Failure) -> None:
        """Puts a job that will not be tried again among the dead letters."""
        key = self._key("failures")
        async with self._pipeline() as pipe:
            pipe.lpush(key, failure.model_dump_json())
            pipe.ltrim(key, 0, FAILURES_KEPT - 1)
            pipe.expire(key, self._ttl_s)

    async def failures(self) -> list[Failure]:
        """Reads the dead letters, newest first."""
        values = await self._call(self.redis.lrange(self._key("failures"), 0, -1))
        return [Failure.model_validate_json(value) for value in values]

    # Redis

    async def _change(self, question_id: str, decide: Callable[[Entry | None], Fields | None]) -> None:
        """Changes what is known of a question, by what is known of it at that very moment."""
        key = self._key("question", question_id)

        async def change(pipe: Any) -> None:
            known = await pipe.hgetall(key)
            is_tombstone = "asked" not in known and known.get("state") == "withdrawn"
            fields = None if is_tombstone else decide(_entry(known))
            pipe.multi()
            if fields:
                pipe.hset(key, mapping=fields)
                self._keep(pipe, key)

        await self._call(self.redis.transaction(change, key))

    def _keep(self, pipe: Any, key: str) -> None:
        """Lets a key live for as long as is retained, or longer if it does already: an example needs it."""
        pipe.expire(key, self._ttl_s, nx=True)
        pipe.expire(key, self._ttl_s, gt=True)

    async def _call(self, command: Any) -> Any:
        try:
            return await command
        except (RedisError, OSError) as error:
            raise TryAgain(f"Redis: {type(error).__name__}") from error

    @asynccontextmanager
    async def _pipeline(self) -> AsyncIterator[Any]:
        pipe = self.redis.pipeline(transaction=True)
        yield pipe
        await self._call(pipe.execute())


def example_id(question_id: str, *, is_correction: bool = False) -> str:
    """Gives the id of the example made of a question's answer, or of its correction: short enough to type."""
    name = f"{question_id}\ncorrection" if is_correction else question_id
    return "ex-" + hashlib.sha256(name.encode()).hexdigest()[:8]


def now() -> datetime:
    """The time, aware of its zone."""
    return datetime.now(UTC)


def _entry(fields: Mapping[str, str]) -> Entry | None:
    if "asked" not in fields:
        return None
    return Entry(
        asked=Asked.model_validate_json(fields["asked"]),
        state=cast(State, fields["state"]),
        reply_ts=fields.get("reply_ts"),
        answer=Answer.model_validate_json(fields["answer"]) if "answer" in fields else None,
        settled_edit=fields.get("settled_edit"),
    )


def _without_words(asked: Asked) -> str:
    return asked.model_copy(update={"text": "", "response_url": None}).model_dump_json()
