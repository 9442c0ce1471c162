"""The index of production. One collection per form, `Passages_<form>`, behind the alias `Passages`; a tenant per team;
vectors of our own; hybrid search with the audience as a filter inside it. `Documents_<form>` holds the digest of each
document, so that a sync needs nothing outside Weaviate. While a document is not wholly in, it has a mark there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

from bot.errors import LibraryUnavailable
from bot.vocabulary import Hit, Passage, Source
from retrieval.index import Page, Query, check_team, check_vectors
from retrieval.questions import identifiers
from retrieval.rows import ROWS_REMEMBERED, Row, Rows, Version
from retrieval.weaviate_connection import FORBIDDEN, Absent, Connection
from retrieval.weaviate_schema import (
    RETURNED,
    SEARCHED,
    SOURCES,
    create,
    documents_name,
    passages_name,
    shelf,
)

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient
    from weaviate.collections import CollectionAsync

SEARCH_TIMEOUT_S = 5
COUNT_TIMEOUT_S = 30
"""For what grows with the library."""
WRITE_TIMEOUT_S = 90  # in a cluster whose leader was killed, a write can wait for it for a minute
AGAIN_S = 1
"""Wait before objects that were refused are offered again."""
PER_CALL = 500
"""Ids in one filter, and objects in one page of a listing."""
FEW = 10_000
"""Documents, of which a server gives no more at once."""
NOTED = ("source", "document_id", "digest")
"""The properties of a document."""
UNFINISHED = "~"
"""Before the digest of a document that is not wholly in yet, or whose earlier version is still being taken out."""
LOOKS = 3
"""At a document that changes meanwhile, each time again."""
_NAMESPACE = UUID("4d7f3f0a-51f4-5b52-9d1e-0d1b4f9a7c55")


Key = tuple[str, str]
"""A document: its source and its id."""
Shown = dict[Key, str]
"""The digest of the version of a document that is to be read."""
Read = dict[UUID, Row]
"""Passages and vectors by the ids of their rows."""


class WeaviateIndex:
    """Weaviate behind the port. Its collections are made with the first write."""

    backend = "weaviate"

    def __init__(
        self, connection: Connection, form: str, dimensions: int, alpha: float, remembered: int = ROWS_REMEMBERED
    ) -> None:
        self._connection, self._form, self._dimensions, self._alpha = connection, form, dimensions, alpha
        self._is_created = False
        self._rows = Rows(remembered)
        self._shelves: dict[tuple[str, str], CollectionAsync[Any, Any]] = {}
        self._shelves_of: WeaviateAsyncClient | None = None

    async def search(self, team_id: str, query: Query, k: int) -> list[Hit]:
        check_team(team_id)
        if not query.readable:
            return []
        hits: list[Hit] = []
        for _ in range(LOOKS):
            hits = await self._search(team_id, query, k, {})
            mixed = _mixed(hits)
            if not mixed:
                break
            # A document is just being changed: it is read by the version that its manifest names. Nothing of that one
            # was being taken out before the manifest named another, so what was found is whole when it still does.
            shown = await self._shown(team_id, mixed)
            hits = await self._search(team_id, query, k, shown)
            if await self._shown(team_id, mixed) == shown:
                break
        return hits

    async def _search(self, team_id: str, query: Query, k: int, shown: Shown) -> list[Hit]:
        from weaviate.classes.query import HybridFusion, MetadataQuery

        where = _where(query, shown)
        rows: list[tuple[float, Row]] = []
        # It reads what is asked for of all that it ranks, which is a hundred for each leg: only ids, where most of what
        # is found is known.
        is_whole = not self._rows.are_worth_it
        for _ in range(LOOKS):
            try:
                async with self._connection.use(SEARCH_TIMEOUT_S) as client:
                    found = await self._passages(client, team_id).query.hybrid(
                        query=" ".join((query.text[:MOST_CHARACTERS], *query.identifiers)),
                        vector=query.vector.tolist(),
                        alpha=self._alpha if query.alpha is None else query.alpha,
                        fusion_type=HybridFusion.RELATIVE_SCORE,
                        query_properties=list(SEARCHED),
                        filters=where,
                        limit=k,
                        include_vector=is_whole,
                        return_properties=None if is_whole else [],
                        return_metadata=MetadataQuery(score=True, last_update_time=True),
                    )
                    read = await self._read(client, team_id, found.objects, where)
            except Absent:
                return []
            rows = [(one.metadata.score or 0.0, read[one.uuid]) for one in found.objects if one.uuid in read]
            if len(rows) == len(found.objects):
                break  # else one was taken out before it was read
        return [Hit(passage=row.passage, score=score, certainty=query.certainty(row.vector)) for score, row in rows]

    async def _read(self, client: WeaviateAsyncClient, team_id: str, found: Sequence[Any], where: Any) -> Read:
        """Gives the rows of what was found. Those that neither came along nor are remembered are asked for, if `where`
        holds of them."""
        from weaviate.classes.query import Filter, MetadataQuery

        self._rows.learn([_version(team_id, one) for one in found])
        rows: dict[UUID, Row] = {}
        for one in found:
            if row := self._rows.get(_version(team_id, one)):
                rows[one.uuid] = row
            elif one.vector:
                rows[one.uuid] = row = _row(one)
                self._rows.keep(_version(team_id, one), row)
        missing = [one.uuid for one in found if one.uuid not in rows]
        if missing:
            fetched = await self._passages(client, team_id).query.fetch_objects(
                filters=Filter.by_id().contains_any(missing) & where,
                limit=len(missing),
                include_vector=True,  # hybrid gives neither distance nor certainty
                return_metadata=MetadataQuery(last_update_time=True),
            )
            for one in fetched.objects:
                rows[one.uuid] = row = _row(one)
                self._rows.keep(_version(team_id, one), row)
        return rows

    async def around(self, team_id: str, passage: Passage, reach: int, readable: frozenset[str]) -> list[Passage]:
        if not readable:
            return []
        from weaviate.classes.query import Filter, Sort

        names = ("source", "document_id", "document_digest")
        where = Filter.by_property("audience").contains_any(sorted(readable))
        for name in names:
            where &= Filter.by_property(name).equal(getattr(passage, name))
        first = max(0, passage.position - reach)
        try:
            async with self._connection.use(SEARCH_TIMEOUT_S) as client:
                # All of a document have one audience: what is sorted by position can be counted off.
                found = await self._passages(client, team_id).query.fetch_objects(
                    filters=where,
                    sort=Sort.by_property("position"),
                    offset=first,
                    limit=passage.position + reach + 1 - first,
                )
        except Absent:
            return []
        return [_passage(one) for one in found.objects]

    async def put(self, team_id: str, pages: Sequence[Page]) -> dict[str, str]:
        check_vectors(pages, self._dimensions)
        known = await self._shown(team_id, {(page.source, page.document_id) for page in pages}, WRITE_TIMEOUT_S)
        new = [page for page in pages if (page.source, page.document_id) not in known]
        # What is new is noted first: when this ends halfway, the next sync sees that there is something to take out.
        refused = await self._note(team_id, new, UNFINISHED)
        good = _without(refused, pages)
        owners = [page.document_id for page in good for _ in page.passages]
        for number, reason in (await self._insert(passages_name(self._form), team_id, _objects(good))).items():
            refused[owners[number]] = reason
        good = _without(refused, good)
        # From here on the new version is read. It is not yet called known: a sync that ends here is taken up again.
        replaced = [page for page in good if known.get((page.source, page.document_id), page.digest) != page.digest]
        refused |= await self._note(team_id, replaced, UNFINISHED)
        good = _without(refused, good)
        await self._delete_earlier(team_id, good)
        for source in {page.source for page in new}:  # nobody is to read the half of one
            halves = [page.document_id for page in new if page.source == source and page.document_id in refused]
            await self.remove(team_id, source, halves)
        return refused | await self._note(team_id, good)

    async def remove(self, team_id: str, source: str, document_ids: Sequence[str]) -> None:
        from weaviate.classes.query import Filter

        for start in range(0, len(document_ids), PER_CALL):
            some = list(document_ids[start : start + PER_CALL])
            where = Filter.by_property("source").equal(source) & Filter.by_property("document_id").contains_any(some)
            # The passages first: a document that is still known is tried again by the next sync.
            await self._delete(passages_name(self._form), team_id, where)
            await self._delete(documents_name(self._form), team_id, where)

    async def digests(self, team_id: str, source: str, document_ids: Sequence[str] | None = None) -> dict[str, str]:
        if document_ids is not None:
            return await self._digests_of(team_id, source, document_ids)
        from weaviate.classes.query import Filter

        digests: dict[str, str] = {}
        after = None
        try:
            few = await self._listed(team_id, limit=FEW, filters=Filter.by_property("source").equal(source))
            if len(few) < FEW:
                return _digests(few)
            while True:
                # A cursor takes no filter, and an offset ends at 10,000: other sources are skipped here.
                some = await self._listed(team_id, limit=PER_CALL, after=after)
                digests |= _digests(one for one in some if one.properties["source"] == source)
                if len(some) < PER_CALL:
                    return digests
                after = some[-1].uuid
        except Absent:
            return {}

    async def _listed(self, team_id: str, **what: Any) -> list[Any]:
        async with self._connection.use(WRITE_TIMEOUT_S, to_write=True) as client:
            documents = self._documents(client, team_id)
            return list((await documents.query.fetch_objects(return_properties=list(NOTED), **what)).objects)

    async def _shown(self, team_id: str, documents: Iterable[Key], within_s: float | None = None) -> Shown:
        """Gives the digest of the version that is to be read, of those documents that are known."""
        by_source: dict[str, list[str]] = {}
        for source, document_id in sorted(documents):
            by_source.setdefault(source, []).append(document_id)
        return {
            (source, document_id): digest.removeprefix(UNFINISHED)
            for source, ids in by_source.items()
            for document_id, digest in (await self._digests_of(team_id, source, ids, within_s)).items()
        }

    async def _digests_of(
        self, team_id: str, source: str, document_ids: Sequence[str], within_s: float | None = None
    ) -> dict[str, str]:
        from weaviate.classes.query import Filter

        digests: dict[str, str] = {}
        for start in range(0, len(document_ids), PER_CALL):
            some = list(document_ids[start : start + PER_CALL])
            named = Filter.by_property("document_id").contains_any(some)
            try:
                async with self._connection.use(within_s or SEARCH_TIMEOUT_S) as client:
                    listed = await self._documents(client, team_id).query.fetch_objects(
                        filters=Filter.by_property("source").equal(source) & named,
                        limit=len(some),
                        return_properties=list(NOTED),
                    )
            except Absent:
                return {}
            digests |= _digests(listed.objects)
        return digests

    async def count(self, team_id: str, source: str | None = None) -> tuple[int, int]:
        from weaviate.classes.query import Filter

        where = Filter.by_property("source").equal(source) if source else None
        try:
            async with self._connection.use(COUNT_TIMEOUT_S) as client:
                documents = await self._documents(client, team_id).aggregate.over_all(filters=where)
                passages = await self._passages(client, team_id).aggregate.over_all(filters=where)
        except Absent:
            return 0, 0
        return documents.total_count or 0, passages.total_count or 0

    async def sources(self, team_id: str) -> list[Source]:
        try:
            async with self._connection.use(SEARCH_TIMEOUT_S) as client:
                return await self._sources(client, team_id)
        except Absent:
            return []

    async def save_source(self, team_id: str, source: Source) -> None:
        record = {"name": source.name, "record": source.model_dump_json()}
        refused = await self._insert(SOURCES, team_id, [_object(_source_id(source.name), record)])
        if refused:
            raise LibraryUnavailable(f"Weaviate did not keep the source {source.name}: {refused[0]}")

    async def forget_source(self, team_id: str, source: str) -> None:
        from weaviate.classes.query import Filter

        check_team(team_id)
        async with self._connection.use(WRITE_TIMEOUT_S, to_write=True) as client:
            names = sorted(await client.collections.list_all(), reverse=True)  # Passages_… before Documents_…
        for name in names:
            if name.startswith(("Passages_", "Documents_")):
                await self._delete(name, team_id, Filter.by_property("source").equal(source))
        await self._delete(SOURCES, team_id, Filter.by_property("name").equal(source))

    async def sample(self, team_id: str, most: int) -> list[Passage]:
        try:
            async with self._connection.use(COUNT_TIMEOUT_S) as client:
                passages = self._passages(client, team_id)
                # Ids are hashes: what comes after any one of them is as good as drawn by chance.
                found = list((await passages.query.fetch_objects(limit=most, after=uuid4())).objects)
                if len(found) < most:
                    found += (await passages.query.fetch_objects(limit=most)).objects
        except Absent:
            return []
        return list({str(one.uuid): _passage(one) for one in found}.values())[:most]

    async def make(self) -> None:
        """Makes the collections, as the first write would."""
        async with self._writing():
            pass

    async def is_ready(self) -> bool:
        return await self._connection.is_ready()

    async def close(self) -> None:
        await self._connection.close()

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[WeaviateAsyncClient]:
        """Lends the client when the collections are there."""
        try:
            async with self._connection.use(WRITE_TIMEOUT_S, to_write=True) as client:
                if not self._is_created:
                    await create(client, self._form, self._connection.keeping)
                    self._is_created = True
                yield client
        except Absent as absent:
            self._is_created = False
            raise LibraryUnavailable(f"Weaviate lost a collection while it was written: {absent}") from absent

    async def _insert(self, name: str, team_id: str, objects: Iterable[Any]) -> dict[int, str]:
        """Stores objects in place of those with their ids. Gives the reason by number for each that was refused.

        In requests of a bounded size, each after the answer to the one before, which is all the back-pressure that it
        takes. The server's own batching (`data.ingest`) opens a stream that ends a second after its last object, and a
        sync comes with some hundred passages at a time: by 256 it stored 200 a second, this way 350; by 4,096 both the
        same.
        """
        refused: dict[int, str] = {}
        left = list(objects)
        for start in range(0, len(left), PER_CALL):
            some = dict(enumerate(left[start : start + PER_CALL], start))
            errors = await self._offer(name, team_id, some)
            if errors:  # what is wrong with an object is wrong again; a replica that was away may be back
                await asyncio.sleep(AGAIN_S)
                errors = await self._offer(name, team_id, {number: some[number] for number in errors})
            refused |= errors
        return refused

    async def _offer(self, name: str, team_id: str, objects: Mapping[int, Any]) -> dict[int, str]:
        from weaviate.exceptions import WeaviateInsertManyAllFailedError

        numbers = list(objects)
        async with self._writing() as client:
            try:
                result = await self._shelf(client, name, team_id).data.insert_many(list(objects.values()))
            except WeaviateInsertManyAllFailedError as error:
                if FORBIDDEN in str(error):
                    raise
                return dict.fromkeys(objects, str(error))
        return {numbers[place]: each.message for place, each in result.errors.items()}

    async def _note(self, team_id: str, pages: Sequence[Page], mark: str = "") -> dict[str, str]:
        """Writes into the manifest which version of documents is to be read. Gives the reason for each refused."""
        refused = await self._insert(documents_name(self._form), team_id, _manifest(pages, mark))
        return {pages[number].document_id: reason for number, reason in refused.items()}

    async def _delete_earlier(self, team_id: str, pages: list[Page]) -> None:
        """Takes out what documents held before; their new passages are in already, so that nobody finds nothing."""
        from weaviate.classes.query import Filter

        for source in {page.source for page in pages}:
            mine = [page for page in pages if page.source == source]
            await self._delete(
                passages_name(self._form),
                team_id,
                Filter.by_property("source").equal(source)
                & Filter.by_property("document_id").contains_any([page.document_id for page in mine])
                & Filter.by_property("document_digest").contains_none([page.digest for page in mine]),
            )

    async def _delete(self, name: str, team_id: str, where: Any) -> None:
        """Deletes what a filter matches, however much that is: one call takes as much as the server lets it."""
        while True:
            try:
                async with self._connection.use(WRITE_TIMEOUT_S, to_write=True) as client:
                    result = await self._shelf(client, name, team_id).data.delete_many(where)
            except Absent:  # a team need not be in every form
                return
            if result.failed:
                raise LibraryUnavailable(f"Weaviate could not delete {result.failed} objects of {name}.")
            if result.successful < 1_000:
                return

    async def _sources(self, client: WeaviateAsyncClient, team_id: str) -> list[Source]:
        listed = await self._shelf(client, SOURCES, team_id).query.fetch_objects(limit=10_000)
        found = [Source.model_validate_json(str(each.properties["record"])) for each in listed.objects]
        return sorted(found, key=lambda source: source.name)

    def _passages(self, client: WeaviateAsyncClient, team_id: str) -> CollectionAsync[Any, Any]:
        return self._shelf(client, passages_name(self._form), team_id)

    def _documents(self, client: WeaviateAsyncClient, team_id: str) -> CollectionAsync[Any, Any]:
        return self._shelf(client, documents_name(self._form), team_id)

    def _shelf(self, client: WeaviateAsyncClient, name: str, team_id: str) -> CollectionAsync[Any, Any]:
        """Gives what a team has in a collection; made once, for the client takes as long for it as for some hits."""
        if client is not self._shelves_of:
            self._shelves, self._shelves_of = {}, client
        if (name, team_id) not in self._shelves:
            self._shelves[name, team_id] = shelf(client, name, check_team(team_id), self._connection.keeping)
        return self._shelves[name, team_id]


MOST_CHARACTERS = 2_000
"""Of a question that are searched for by words; its vector has 256 tokens of it anyway."""


def _source_id(name: str) -> UUID:
    return uuid5(_NAMESPACE, f"source\n{name}")


def _objects(pages: Sequence[Page]) -> Iterator[Any]:
    for page in pages:
        for passage, vector in zip(page.passages, page.vectors, strict=True):
            fields = passage.model_dump(exclude={"id"}, exclude_none=True) | {"passage_id": passage.id}
            fields["identifiers"] = " ".join(identifiers(passage.text))
            # A version's rows are its own: what did not change in a document is in both until the earlier one is out.
            yield _object(uuid5(UUID(passage.id), passage.document_digest), fields, vector.tolist())


def _manifest(pages: Sequence[Page], mark: str = "") -> list[Any]:
    return [
        _object(
            uuid5(_NAMESPACE, f"{page.source}\n{page.document_id}"),
            {"source": page.source, "document_id": page.document_id, "digest": mark + page.digest},
        )
        for page in pages
    ]


def _object(uuid: UUID, properties: Mapping[str, Any], vector: list[float] | None = None) -> Any:
    from weaviate.classes.data import DataObject

    return DataObject(properties=dict(properties), uuid=uuid, vector=vector)


def _where(query: Query, shown: Shown) -> Any:
    from weaviate.classes.query import Filter

    where = Filter.by_property("audience").contains_any(sorted(query.readable))
    if query.hidden:
        where &= Filter.by_property("document_id").contains_none(sorted(query.hidden))
    for (source, document_id), digest in shown.items():
        where &= Filter.any_of(
            [
                Filter.by_property("document_digest").equal(digest),
                Filter.by_property("document_id").not_equal(document_id),
                Filter.by_property("source").not_equal(source),
            ]
        )
    return where


def _without(refused: Mapping[str, str], pages: Iterable[Page]) -> list[Page]:
    return [page for page in pages if page.document_id not in refused]


def _digests(documents: Iterable[Any]) -> dict[str, str]:
    return {str(one.properties["document_id"]): str(one.properties["digest"]) for one in documents}


def _mixed(hits: Iterable[Hit]) -> set[Key]:
    """Gives the documents of which there are two versions."""
    digests: dict[Key, set[str]] = {}
    for hit in hits:
        key = hit.passage.source, hit.passage.document_id
        digests.setdefault(key, set()).add(hit.passage.document_digest)
    return {key for key, found in digests.items() if len(found) > 1}


def _version(team_id: str, found: Any) -> Version:
    return team_id, found.uuid, found.metadata.last_update_time


def _row(found: Any) -> Row:
    import numpy as np

    return Row(_passage(found), np.asarray(found.vector["default"], dtype=np.float32))


def _passage(found: Any) -> Passage:
    fields = {name: value for name in RETURNED if (value := found.properties.get(name)) is not None}
    # What the first release stored has the passage's id as its own, and none beside it.
    return Passage(id=fields.pop("passage_id", str(found.uuid)), **fields)
