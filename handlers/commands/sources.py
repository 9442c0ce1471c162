"""`/support sources`: where the documents come from. What takes long is ordered here and done in line with the syncs
that run by themselves; whoever ordered it is told how it ended. A source is shown, and touched, only by an admin who
may read what it is for, in a place where everybody may."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import quote

import structlog
from pydantic import Field

from bot.errors import TellUser
from bot.journal import Journal, now
from bot.redacting import redact
from bot.rounds import Progress
from bot.schedule import log_report
from bot.source_words import check_from_slack, interval, seconds_of, shown_address, without_secrets
from bot.vocabulary import PUBLIC, WORKSPACE, Frozen, IngestReport, LastReport, Source, SourceFailure
from handlers import blocks
from handlers.audience import Audience
from handlers.cards import counted
from handlers.inbox import Commanded
from handlers.mrkdwn import escape, to_plain
from handlers.reviewing import Reviewing, Shown

USE = (
    "Use `/support sources`, `/support sources add ADDRESS [named NAME] [every 6h] [for public|workspace|channel]`, "
    "`/support sources sync NAME` or `/support sources remove NAME`."
)
SHOWN_FAILURES = 3
"""Of one source in the list."""
TOLD_FAILURES = 40
"""In the report of one sync."""
LOOK_S = 10.0
"""Between two looks whether a source is still read in parts."""
_LINK = re.compile(r"<([^|<>]+)(?:\|[^<>]*)?>")

log = structlog.get_logger()


class SourceOrder(Frozen):
    """What an admin wants done with a source."""

    what: Literal["add", "sync", "remove", "keep", "tell"]
    """`tell` waits until a source is no longer read in parts, and tells how that ended."""
    name: str
    mark: str = ""
    """Of the address that was shown when it was asked whether to remove it."""
    address: str = ""
    audience: str | None = None
    """None leaves it as it was."""
    every_s: int | None = None
    by: str
    channel_id: str
    """Where it was ordered."""
    once: str
    """It is carried out once under this id."""
    response_url: str | None = None
    at: datetime = Field(default_factory=now)
    looks: int = 0
    """How often it was looked whether the source is still read in parts."""

    @property
    def key(self) -> str:
        """What the queue knows it by."""
        return f"source:{self.once}:{self.looks}"

    @property
    def newly(self) -> str:
        """What the journal notes where it adds a source that was not there: the next attempt finds it there."""
        return f"{self.once}:new"

    @property
    def line(self) -> str:
        """The line in which everything that is done with this source waits, as `bot.schedule` names it."""
        return f"source-told:{self.once}" if self.what in ("keep", "tell") else f"source:{quote(self.name, safe='')}"


@dataclass(frozen=True)
class Shelves:
    """What is done with the sources of a library; each a function of the library."""

    sources: Callable[[], Awaitable[Sequence[Source]]]
    add: Callable[[SourceOrder], Awaitable[IngestReport | None]]
    sync: Callable[[str], Awaitable[IngestReport | None]]
    """Each gives None where all workers read it now, in parts."""
    remove: Callable[[str], Awaitable[int]]
    progress: Callable[[], Awaitable[Sequence[Progress]]]
    """Says of each source that is read in parts how far that is."""
    progress_of: Callable[[str], Awaitable[Progress | None]]
    is_ordered: Callable[[str], Awaitable[bool]]
    """Whether a source's sync waits, or lists it."""
    order: Callable[[SourceOrder, float], Awaitable[None]]
    """Queues, to be done after so many seconds."""
    name_of: Callable[[str], str]
    """Names a source by its address."""
    opened: frozenset[str] = frozenset()
    """What may be added beside web addresses (SLACK_SOURCES)."""


class Sources:
    """Carries out `/support sources`."""

    def __init__(self, journal: Journal, audience: Audience, reviewing: Reviewing, shelves: Shelves) -> None:
        self._journal, self._audience, self._reviewing, self._shelves = journal, audience, reviewing, shelves

    async def carry_out(self, commanded: Commanded, arguments: list[str]) -> Shown:
        """Does what stands behind the word, or orders it. Raises TellUser."""
        readable = await self._reviewing.readable(commanded.user_id, commanded.channel_id)
        match arguments:
            case [] | ["list"]:
                return await self._listed(readable, is_direct=commanded.channel_id.startswith("D"))
            case ["add", address, *how]:
                return await self._add(commanded, readable, address, how), None
            case ["sync", *words] if words:
                source = await self._known(_name_in(words), readable)
                await self._order(commanded, SourceOrder(what="sync", name=source.name, **_by(commanded)))
                return f"I read *{escape(source.name)}* again{_TURN}", None
            case ["remove", *words] if words:
                return _asked_whether(await self._known(_name_in(words), readable), commanded)
        raise TellUser(USE)

    async def done(self, order: SourceOrder) -> Shown | None:
        """Carries out an order, as far as whoever gave it may still give it; what there is to tell is given back, None
        where there is nothing, or it was told already."""
        if await self._journal.was_done(order.once):
            return None
        try:
            return await self._done(order)
        except TellUser as error:
            log.warning("source_order_refused", what=order.what, source=order.name, cause=without_secrets(str(error)))
            return f"*{escape(order.name)}*: {escape(without_secrets(str(error)))}", None

    async def _done(self, order: SourceOrder) -> Shown | None:
        readable = await self._reviewing.readable(order.by, order.channel_id)
        match order.what:
            case "keep":
                return f"*{escape(order.name)}* stays.", None
            case "add":
                known = await self._check_name(order.name, order.address, readable)
                if known is None:
                    if await self._shelves.progress_of(order.name):  # one of that name was just removed
                        raise TellUser(
                            "It is being read in parts: add it again when that is done, `/support sources` says."
                        )
                    await self._journal.note_done(order.newly)
                return await self._read(order, await self._added(order))
            case "sync":
                source = await self._known(order.name, readable)
                return await self._read(order, await self._shelves.sync(source.name))
            case "tell":
                return await self._told(order, readable)
            case "remove":
                there = [one for one in await self._shelves.sources() if one.name == order.name]
                if not there or there[0].audience not in readable:
                    return f"*{escape(order.name)}* is not among the sources any more.", None
                if mark_of(there[0].address) != order.mark:
                    raise TellUser("It is another source by now: `/support sources remove NAME` asks again.")
                removed = await self._shelves.remove(order.name)
                return f"*{escape(order.name)}* is forgotten, and {counted(removed, 'page')} with it.", None

    async def _added(self, order: SourceOrder) -> IngestReport | None:
        """Adds a source, and forgets it again where it is a new one that cannot be read."""
        try:
            return await self._shelves.add(order)
        except TellUser:
            unread = [one.name for one in await self._shelves.sources() if one.synced_at is None]
            if order.name in unread and await self._journal.was_done(order.newly):
                await self._shelves.remove(order.name)
            raise

    async def _read(self, order: SourceOrder, report: IngestReport | None) -> Shown:
        if report:
            log_report(order.name, report)
            return reported(order.name, report)
        await self._shelves.order(order.model_copy(update={"what": "tell", "once": f"{order.once}:told"}), LOOK_S)
        return (
            f"*{escape(order.name)}* is large: all workers read it now, part by part. I tell you here at the end.",
            None,
        )

    async def _told(self, order: SourceOrder, readable: frozenset[str]) -> Shown | None:
        later = order.model_copy(update={"looks": order.looks + 1})
        if await self._shelves.progress_of(order.name):
            await self._shelves.order(later, LOOK_S)
            return None
        source = await self._known(order.name, readable)
        if source.last_report is None or source.synced_at is None or source.synced_at < order.at:
            if await self._shelves.is_ordered(order.name):  # its round was begun anew
                await self._shelves.order(later, LOOK_S)
                return None
            return f"*{escape(source.name)}* was not read to its end. `/support sources sync NAME` begins again.", None
        return told(source.name, source.last_report, source.last_report.failures)

    async def _listed(self, readable: frozenset[str], *, is_direct: bool) -> Shown:
        every = await self._shelves.sources()
        shown = [one for one in every if one.audience in readable]
        read = {one.name: one for one in await self._shelves.progress()}
        lines = [source_lines(one, read.get(one.name)) for one in shown]
        if hidden := len(every) - len(shown):
            where = "not for you" if is_direct else "not for everybody here; a direct message to me lists all of yours"
            lines.append(f"_{counted(hidden, 'source')} not shown: {where}._")
        if not every:
            lines = ["No source yet. `/support sources add https://…` adds a web site."]
        return blocks.listed([*lines, "`/support sources sync NAME` reads one again, `remove NAME` takes one out."])

    async def _add(self, commanded: Commanded, readable: frozenset[str], word: str, how: list[str]) -> str:
        wanted = _wanted(how)
        address = check_from_slack(_address_in(word), self._shelves.opened)
        name = wanted.get("named") or self._shelves.name_of(address)
        known = await self._check_name(name, address, readable)
        audience = await self._audience_of(commanded.channel_id, wanted.get("for"), known)
        every_s = seconds_of(wanted["every"]) if "every" in wanted else None
        order = SourceOrder(
            what="add", name=name, address=address, audience=audience, every_s=every_s, **_by(commanded)
        )
        await self._order(commanded, order)
        again = "It is among the sources already. " if known else ""
        whom = _for(audience or (known.audience if known else WORKSPACE))
        return f"{again}I read {escape(shown_address(address))} as *{escape(name)}*, {whom}{_TURN}"

    async def _audience_of(self, channel_id: str, wanted: str | None, known: Source | None) -> str | None:
        """Says for whom a source is. What is named in a place of its own (private, shared, with guests) is for nobody
        by default: for that place it might be too much, for everybody else, too."""
        is_direct = channel_id.startswith("D")
        if wanted == "channel" and not is_direct:
            return f"channel:{channel_id}"
        if wanted in (PUBLIC, WORKSPACE):
            return wanted
        if wanted == "channel":
            raise TellUser("A direct message is no channel: say it in the channel that it is for.")
        place = "" if is_direct else (await self._audience.of_channel(channel_id)).audience
        if known is None and not is_direct and place != WORKSPACE:
            raise TellUser(
                "Say who may read it, for not everybody who is here is everybody who is there: `for channel` (who "
                "reads here), `for workspace` (all members, no guests) or `for public` (guests and partners, too)."
            )
        return None

    async def _check_name(self, name: str, address: str, readable: frozenset[str]) -> Source | None:
        """Gives the source of that name, where it is this one. Raises TellUser where the name is another's, or nobody
        may speak of it here: reading it anew would take that one's documents out, or show them."""
        for one in await self._shelves.sources():
            if one.name == name and (one.address != address or one.audience not in readable):
                raise TellUser(f"The name “{escape(name)}” is taken. Give it another one: `named NAME`.")
            if one.name == name:
                return one
        return None

    async def _known(self, name: str, readable: frozenset[str]) -> Source:
        """Finds a source by its name, or by what is left of it where a name looks like something secret."""
        found = [one for one in await self._shelves.sources() if one.audience in readable]
        named = [one for one in found if one.name == name] or [one for one in found if redact(one.name) == name]
        if len(named) != 1:
            raise TellUser(f"There is no source named “{escape(name[:100])}” here. `/support sources` lists them.")
        return named[0]

    async def _order(self, commanded: Commanded, order: SourceOrder) -> None:
        if not await self._journal.was_done(order.once):
            await self._shelves.order(order, 0)


_TURN = ", and tell you here how that ended. If it is being read just now, its turn is after that."


def source_lines(source: Source, progress: Progress | None = None) -> str:
    """What the list says of one source."""
    every = f" · every {interval(source.every_s)}" if source.every_s else ""
    synced = f" · synced {_moment(source.synced_at)}" if source.synced_at else " · never synced"
    pages = f"{counted(source.documents, 'page')}, {counted(source.passages, 'passage')}"
    address = escape(shown_address(source.address))
    lines = [f"• *{escape(source.name)}* {pages}, {_for(source.audience)}", f"   {address}{every}{synced}"]
    last = source.last_report
    is_newer = source.tried_at and (source.synced_at is None or source.tried_at > source.synced_at)
    if progress:
        lines.append(
            f"   ⏳ being read since {_moment(progress.began)}, {progress.done} of {progress.parts} parts done"
        )
    elif last and not is_newer:
        lines[-1] += f": {_counts(last)}"
    elif last and source.tried_at:
        lines.append(f"   last tried {_moment(source.tried_at)}")
    if last:
        lines += [f"   ⚠️ {line}" for line in _failure_lines(last.failures[:SHOWN_FAILURES])]
        if last.failed > SHOWN_FAILURES:
            lines.append(f"   and {counted(last.failed - SHOWN_FAILURES, 'more failure')}")
    return "\n".join(lines)


def reported(name: str, report: IngestReport) -> Shown:
    """What one sync did."""
    return told(name, LastReport.of(report), report.failed, report.removed_ids if report.has_emptied else ())


def told(name: str, last: LastReport, failures: Sequence[SourceFailure], emptied: Sequence[str] = ()) -> Shown:
    """What one sync did, in as many words as are known of it."""
    lines = [f"*{escape(name)}*: {_counts(last)}, in {last.seconds:.1f} s"]
    shown = failures[:TOLD_FAILURES]
    lines += [f"• {line}" for line in _failure_lines(shown)]
    if last.failed > len(shown):
        lines.append(f"and {counted(last.failed - len(shown), 'more failure')}")
    if emptied:
        lines.append(f"⚠️ It is *empty now*: {', '.join(escape(id) for id in emptied[:10])} …")
    return blocks.listed(lines)


def _counts(last: LastReport) -> str:
    return (
        f"{last.added:,} added, {last.changed:,} changed, {last.unchanged:,} unchanged, {last.removed:,} removed, "
        f"{last.failed:,} failed"
    )


def _failure_lines(failures: Iterable[SourceFailure]) -> list[str]:
    return [escape(without_secrets(f"{one.source}: {one.reason}")) for one in failures]


def _asked_whether(source: Source, commanded: Commanded) -> Shown:
    """Asks before a source is removed: it takes its documents along."""
    text = (
        f"Remove *{escape(source.name)}* ({escape(shown_address(source.address))})? "
        f"{counted(source.documents, 'page')} would be out of the library at once, and in no answer any more."
    )
    value = f"{mark_of(source.address)} {source.name}"
    buttons = [
        blocks.button(f"Remove {counted(source.documents, 'page')}", "source_remove", value) | {"style": "danger"},
        blocks.button("Keep", "source_keep", value),
    ]
    return text, [blocks.section(text), {"type": "actions", "elements": buttons}]


def mark_of(address: str) -> str:
    """Tells one address from another, and nobody what it is."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def _by(commanded: Commanded) -> dict[str, str]:
    return {
        "by": commanded.user_id,
        "channel_id": commanded.channel_id,
        "once": commanded.trigger_id,
        "response_url": commanded.response_url,
    }


def _wanted(how: Sequence[str]) -> dict[str, str]:
    """Reads what stands behind an address: words in pairs. Raises TellUser."""
    wanted = dict(zip(how[::2], map(to_plain, how[1::2]), strict=False))
    allowed = {"named", "every", "for"}
    if len(how) % 2 or len(wanted) != len(how) // 2 or not wanted.keys() <= allowed or "" in wanted.values():
        raise TellUser(USE)
    if wanted.get("for", WORKSPACE) not in (PUBLIC, WORKSPACE, "channel"):
        raise TellUser("It can be `for public`, `for workspace` or `for channel`, which is this one.")
    if len(wanted.get("named", "")) > 100:
        raise TellUser("A name has at most 100 characters.")
    return wanted


def _address_in(word: str) -> str:
    """Reads an address as Slack delivers it: in angle brackets with a label, or as it was typed."""
    found = _LINK.fullmatch(word)
    return html.unescape(found[1] if found else word)


def _name_in(words: Sequence[str]) -> str:
    return to_plain(" ".join(words))


def _for(audience: str) -> str:
    kind, _, id = audience.partition(":")
    return f"for <#{id}>" if kind == "channel" and re.fullmatch(r"[CG][A-Z0-9]+", id) else f"for {escape(audience)}"


def _moment(when: datetime) -> str:
    return f"{when:%d %B %Y, %H:%M} UTC"
