"""A whole library embedded anew, behind the readers' backs. Every source of every team is read into the form of
EMBEDDING_MODEL, while every sync goes on to keep the live form fresh; when both hold the same documents, and a sample
of the new passages is found, the new form goes live in one step. Whatever ends it before that leaves all as it was, and
the next run goes on from there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

from bot.errors import FootnoteError, TellUser
from bot.log import log
from bot.source_words import without_secrets
from bot.vocabulary import FormState, FormStatus, IngestReport, Reembedded, Source
from retrieval.chunking import embedded_text
from retrieval.editions import Edition, Editions
from retrieval.forms import Form, form_before, outdated
from retrieval.index import Index, Query
from retrieval.ingesting import Progress

Read = Callable[[Edition, str, Source, Progress | None], Awaitable[IngestReport]]
"""Syncs a team's source into an edition."""
ReadIntoLive = Callable[[str, Source, Progress | None], Awaitable[IngestReport]]
ROUNDS = 3
"""Times that a source is read when what is live changes meanwhile."""
SAMPLED = 20
"""Passages of each team that must find themselves."""
FIRST_HITS = 5
SAME = 0.999
"""Certainty from which on two texts are one to the model."""
SEARCHABLE_WITHIN_S = 1_800
NAMED = 5

Place = tuple[str, str]
"""A team, and a source of it by its name."""


class Reembedding:
    """What is done to the forms of a library as a whole."""

    def __init__(self, editions: Editions, read: Read, read_into_live: ReadIntoLive) -> None:
        self._editions, self._read, self._read_into_live = editions, read, read_into_live
        self._new = editions.own
        self._unread: dict[Place, str] = {}
        """Why a source could not be read at all."""
        self._failed: dict[Place, str] = {}
        """Why some of its documents could not."""
        self._documents = self._passages = 0

    async def run(self, progress: Progress | None, incomplete: bool) -> Reembedded:
        """Embeds, checks and switches; goes on where an earlier run was ended."""
        began = time.perf_counter()
        forms = self._editions.forms
        await forms.record(self._new.form)
        live = await self._live()
        problems: list[str] = []
        if live.id != self._new.form.id:
            async with self._index_of(live) as old:
                marks = await self._bring_level(old, await self._places(), progress)
                unfound = await self._unfound()
                if changed := await self._changed(old, marks):  # while the store was indexing what it has
                    marks = await self._bring_level(old, changed, progress)
                problems = [*await self._lacking(old), *unfound]
                if (now := await self._live()).id != live.id:
                    problems = [f"Meanwhile another form went live, {now.id}: embed again."]
                elif not problems or incomplete:
                    await forms.switch(self._new.form.id)
                    self._editions.look_again()
                    log.info("library_switched", form=self._new.form.id, model=self._new.form.model, before=live.id)
                    await self._settle(old, marks)
        elif (before := form_before(await forms.all(), live.id)) and await self._is_unsettled():
            async with self._index_of(before) as old:  # a run was ended right after its switch
                await self._settle(old, {})
        return Reembedded(
            form=self._new.form.id,
            model=self._new.form.model,
            is_live=(await self._live()).id == self._new.form.id,
            problems=tuple(problems),
            documents=self._documents,
            passages=self._passages,
            seconds=round(time.perf_counter() - began, 3),
        )

    async def roll_back(self, unopened: bool) -> FormStatus:
        """Switches back to the form that was live before. Raises TellUser where there is none, or where its model
        cannot be opened here, unless it may be `unopened`."""
        forms = self._editions.forms
        live = await self._live()
        before = form_before(await forms.all(), live.id)
        if before is None:
            raise TellUser("There is no form to go back to: the live one is the first.")
        if not unopened:
            try:
                await self._editions.open(before)
            except TellUser as error:
                raise TellUser(f"The form before is of {error} (`--force` switches all the same.)") from error
        await forms.switch(before.id)
        self._editions.look_again()
        log.info("library_rolled_back", form=before.id, model=before.model, left=live.id)
        return await self._status_of(before, "live")

    async def prune(self, begun: bool) -> list[FormStatus]:
        """Drops the forms that were live before the one before; also those that never were live, where nobody may be
        at work on them any more (`begun`)."""
        states = ("old", "begun") if begun else ("old",)
        dropped = [status for status in await self.status() if status.state in states]
        for status in dropped:
            await self._editions.forms.drop(status.id)
            log.info("library_form_dropped", form=status.id, model=status.model)
        return dropped

    async def status(self) -> list[FormStatus]:
        """Lists the forms, the live one first."""
        forms = self._editions.forms
        there, live = await forms.all(), await forms.live()
        before = form_before(there, live)
        order: list[tuple[int, FormState, Form]] = []
        for form in there:
            if form.id == live:
                order.append((0, "live", form))
            elif before and form.id == before.id:
                order.append((1, "before", form))
            elif form.id == self._new.form.id:
                order.append((2, "to come", form))
            else:
                order.append((4, "old", form) if form.left_at else (3, "begun", form))
        return [
            await self._status_of(form, state) for _, state, form in sorted(order, key=lambda one: (one[0], one[2].id))
        ]

    async def _bring_level(
        self, old: Index, places: list[tuple[str, Source]], progress: Progress | None
    ) -> dict[Place, str]:
        """Reads sources into the new form until it holds what the live one holds, which is kept fresh meanwhile.
        Gives a mark of what that was, by source, for all of them."""
        for _ in range(ROUNDS):
            for number, (team_id, source) in enumerate(places, start=1):
                await self._bring(team_id, source, _named(progress, source.name, number, len(places)))
            marks, places = {}, []
            for team_id, source in await self._places():
                there, now = await self._digests(old, team_id, source), await self._digests(None, team_id, source)
                marks[team_id, source.name] = _mark(there)
                if there != now and (team_id, source.name) not in self._unread:
                    places.append((team_id, source))
            if not places:
                break
        return marks

    async def _bring(self, team_id: str, source: Source, progress: Progress | None) -> None:
        """Reads one source into the new form, then into the live one, where it can be written here."""
        place = (team_id, source.name)
        self._unread.pop(place, None)
        self._failed.pop(place, None)
        try:
            report = await self._read(self._new, team_id, source, progress)
        except TellUser as error:
            self._unread[place] = without_secrets(str(error))
            return
        self._documents += report.added + report.changed
        self._passages += report.passages
        if report.failed:
            self._failed[place] = "; ".join(f"{one.source}: {one.reason}" for one in report.failed[:NAMED])
        if not self._editions.trouble:
            try:
                await self._read_into_live(team_id, source, None)
            except FootnoteError as error:
                log.warning("live_form_not_synced", team=team_id, source=source.name, cause=without_secrets(str(error)))

    async def _lacking(self, old: Index) -> list[str]:
        """Says what the live form holds that the new one does not hold so."""
        problems = []
        for team_id, source in await self._places():
            place = (team_id, source.name)
            reason = self._unread.get(place) or self._failed.get(place, "")
            there, now = await self._digests(old, team_id, source), await self._digests(None, team_id, source)
            lacking = outdated(there, now)
            if self._editions.trouble and not reason:  # what is live could not be synced here: it is behind
                lacking = []
            if lacking:
                named = ", ".join(lacking[:NAMED]) + (" …" if len(lacking) > NAMED else "")
                problems.append(
                    f"{source.name} ({team_id}): {len(lacking)} of {len(there)} documents are not in the new form as "
                    f"they are in the live one: {named}.{f' Not read: {reason}' if reason else ''}"
                )
        return problems

    async def _unfound(self) -> list[str]:
        """Says what keeps the new form from being searched: each of some passages must find itself, or what is
        the same to the model."""
        forms, form = self._editions.forms, self._new.form
        deadline = time.monotonic() + SEARCHABLE_WITHIN_S
        while not await forms.is_searchable(form.id):
            if time.monotonic() > deadline:
                return [f"The store is still indexing vectors after {SEARCHABLE_WITHIN_S // 60} minutes."]
            await asyncio.sleep(1)
        problems = []
        for team_id in await forms.teams():
            sample = await self._new.index.sample(team_id, SAMPLED)
            if not sample:
                continue
            vectors = await asyncio.to_thread(self._new.embedder.embed_passages, [embedded_text(one) for one in sample])
            for passage, vector in zip(sample, vectors, strict=True):
                query = Query(passage.text, vector, frozenset({passage.audience}), alpha=1.0)
                hits = await self._new.index.search(team_id, query, FIRST_HITS)
                is_found = any(hit.passage.text == passage.text or hit.certainty > SAME for hit in hits)
                if not is_found:
                    problems.append(f"{passage.document_id} ({team_id}) is not found by its own words.")
        return problems

    async def _settle(self, old: Index, marks: dict[Place, str]) -> None:
        """Brings over what was synced into the old form at the last moment, takes out of all others what is outdated in
        them, and remembers how much of each source there is now."""
        for team_id, source in await self._changed(old, marks):
            try:
                await self._read(self._new, team_id, source, None)
            except TellUser as error:
                log.warning("source_not_read", team=team_id, source=source.name, cause=without_secrets(str(error)))
        others = await self._editions.others(self._new)
        for team_id, source in await self._places():
            now = await self._digests(None, team_id, source)
            for other in others:
                there = await other.digests(team_id, source.name)
                await other.remove(team_id, source.name, outdated(there, now))
            documents, passages = await self._new.index.count(team_id, source.name)
            counted = {"form": self._new.form.id, "documents": documents, "passages": passages}
            for latest in await self._new.index.sources(team_id):
                if latest.name == source.name:
                    await self._new.index.save_source(team_id, latest.model_copy(update=counted))
        for other in others:
            await other.close()

    async def _changed(self, old: Index, marks: dict[Place, str]) -> list[tuple[str, Source]]:
        """Gives the sources of which the old form holds something else now than when it was marked."""
        return [
            (team_id, source)
            for team_id, source in await self._places()
            if marks.get((team_id, source.name)) != _mark(await self._digests(old, team_id, source))
        ]

    async def _is_unsettled(self) -> bool:
        """Whether a source was last synced into another form than the live one, which is the new one."""
        return any(source.form not in ("", self._new.form.id) for _, source in await self._places())

    async def _places(self) -> list[tuple[str, Source]]:
        teams = await self._editions.forms.teams()
        return [(team_id, source) for team_id in teams for source in await self._new.index.sources(team_id)]

    async def _digests(self, old: Index | None, team_id: str, source: Source) -> dict[str, str]:
        return await (old or self._new.index).digests(team_id, source.name)

    async def _live(self) -> Form:
        forms = self._editions.forms
        live = await forms.live()
        return next((form for form in await forms.all() if form.id == live), self._new.form)

    @asynccontextmanager
    async def _index_of(self, form: Form) -> AsyncIterator[Index]:
        index = self._editions.forms.index(form)
        try:
            yield index
        finally:
            await index.close()

    async def _status_of(self, form: Form, state: FormState) -> FormStatus:
        documents = passages = 0
        async with self._index_of(form) as index:
            for team_id in await self._editions.forms.teams():
                some = await index.count(team_id)
                documents, passages = documents + some[0], passages + some[1]
        return FormStatus(
            id=form.id,
            model=form.model,
            dimensions=form.dimensions,
            state=state,
            documents=documents,
            passages=passages,
            left_at=None if state == "live" else form.left_at,
        )


def _named(progress: Progress | None, source: str, number: int, of: int) -> Progress | None:
    """Says with each step which source of how many it is about."""
    if progress is None:
        return None
    return lambda done, total, place: progress(done, total, f"{source} ({number} of {of}): {place}")


def _mark(digests: dict[str, str]) -> str:
    return sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()
