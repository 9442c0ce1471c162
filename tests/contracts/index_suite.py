"""What the suites over the index share: pages made by hand, and the two indexes to run over."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from bot.vocabulary import Document, Hit
from retrieval.chunking import Chunker, embedded_text
from retrieval.forms import Forms
from retrieval.forms_embedded import EmbeddedForms
from retrieval.forms_weaviate import WeaviateForms
from retrieval.index import Index, Page, Query, form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.index_weaviate import WeaviateIndex
from retrieval.intake import digest_of
from retrieval.questions import identifiers
from retrieval.weaviate_connection import Connection
from retrieval.weaviate_schema import ALIAS
from tests.hashing_embedder import HashingEmbedder
from tests.weaviate_server import Server

EVERYBODY = frozenset({"public", "workspace"})
UPDATED = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def new_team() -> str:
    """A team that no other test has used."""
    return f"T{uuid4().hex[:12].upper()}"


def page(team_id: str, document_id: str, text: str, *, source: str = "docs", **fields: Any) -> Page:
    """A document as a sync would hand it to the index."""
    embedder = fields.pop("embedder", None) or HashingEmbedder()
    named = {"title": document_id, "url": f"https://example.com/{document_id}", "updated_at": UPDATED, **fields}
    document = Document(id=document_id, source=source, text=text, **named)
    passages = Chunker(embedder).cut(document, team_id, digest_of(document))
    vectors = embedder.embed_passages([embedded_text(passage) for passage in passages])
    return Page(source, document_id, digest_of(document), passages, vectors)


@dataclass
class Shelf:
    """An index under test, in one form, for one team."""

    index: Index
    team_id: str
    embedder: HashingEmbedder

    async def put(self, document_id: str, text: str, **fields: Any) -> Page:
        """Stores a document and gives what was stored."""
        stored = page(self.team_id, document_id, text, embedder=self.embedder, **fields)
        assert await self.index.put(self.team_id, [stored]) == {}
        return stored

    async def find(self, text: str, readable: frozenset[str] = EVERYBODY, k: int = 5) -> list[Hit]:
        """Searches as the library would."""
        return await self.index.search(self.team_id, self.query(text, readable), k)

    def query(self, text: str, readable: frozenset[str] = EVERYBODY) -> Query:
        """A question as the library would put it."""
        return Query(text, self.embedder.embed_query(text), readable, identifiers(text))

    async def ids(self, text: str, readable: frozenset[str] = EVERYBODY, k: int = 5) -> list[str]:
        """Searches, and gives the documents that were found."""
        return [hit.passage.document_id for hit in await self.find(text, readable, k)]


class EmbeddedKind:
    """Opens embedded indexes over one folder."""

    name = "embedded"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self, form: str, dimensions: int, alpha: float) -> Index:
        return EmbeddedIndex(self.folder, form, dimensions, alpha)

    def forms(self, alpha: float = 0.5) -> Forms:
        """The forms of the store, as a process of its own opens them."""
        return EmbeddedForms(self.folder, alpha)

    async def take_audience(self, team_id: str, form: str, document_id: str) -> None:
        """Takes the audience off a document's rows, behind the index's back."""

        def update() -> None:
            connection = sqlite3.connect(self.folder / team_id / f"{form}.sqlite3")
            with connection:
                connection.execute("UPDATE passages SET audience = NULL WHERE document_id = ?", (document_id,))
            connection.close()

        await asyncio.to_thread(update)

    async def make_earlier(self, team_id: str, form: str) -> None:
        """Takes from what is stored what earlier releases did not note."""
        connection = sqlite3.connect(self.folder / team_id / f"{form}.sqlite3")
        connection.execute("ALTER TABLE passages DROP COLUMN is_whole")
        connection.close()

    async def clean(self) -> None:
        """Nothing to do: the folder is the test's own."""


class WeaviateKind:
    """Opens indexes on a Weaviate server, and takes their collections away afterwards."""

    name = "weaviate"

    def __init__(self, server: Server) -> None:
        self.server = server

    def connection(self) -> Connection:
        return Connection(self.server.url, self.server.grpc_url, self.server.key)

    def new(self, form: str, dimensions: int, alpha: float) -> Index:
        return WeaviateIndex(self.connection(), form, dimensions, alpha)

    def forms(self, alpha: float = 0.5) -> Forms:
        """The forms of the store, as a process of its own opens them."""
        return WeaviateForms(self.connection(), alpha)

    async def take_audience(self, team_id: str, form: str, document_id: str) -> None:
        """Takes the audience off a document's rows, behind the index's back."""
        from weaviate.classes.query import Filter

        connection = self.connection()
        async with connection.use(30) as client:
            rows = client.collections.use(f"Passages_{form}").with_tenant(team_id)
            there = Filter.by_property("document_id").equal(document_id)
            for found in (await rows.query.fetch_objects(filters=there, include_vector=True)).objects:
                left = {name: value for name, value in found.properties.items() if name != "audience"}
                await rows.data.replace(found.uuid, left, vector=found.vector["default"])
        await connection.close()

    async def make_earlier(self, team_id: str, form: str) -> None:
        """Makes of what is stored what the first release stored: it noted less, and a passage's id was its row's."""
        later = ("passage_id", "is_whole")
        connection = self.connection()
        async with connection.use(60) as client:
            name = f"Passages_{form}"
            stored = client.collections.use(name).with_tenant(team_id)
            held = (await stored.query.fetch_objects(include_vector=True)).objects
            config = await client.collections.use(name).config.get()
            config.properties = [each for each in config.properties if each.name not in later]
            await client.collections.delete(name)
            await client.collections.create_from_config(config)
            for found in held:
                left = {name: value for name, value in found.properties.items() if name not in later}
                await stored.data.insert(left, uuid=str(found.properties["passage_id"]), vector=found.vector["default"])
        await connection.close()

    async def clean(self) -> None:
        connection = self.connection()
        async with connection.use(60) as client:
            await client.alias.delete(alias_name=ALIAS)
            for name in await client.collections.list_all():
                if name == "Sources" or name.startswith(("Passages_", "Documents_")):
                    await client.collections.delete(name)
        await connection.close()


Kind = EmbeddedKind | WeaviateKind


@asynccontextmanager
async def shelf(kind: Kind, team_id: str, version: str = "1", alpha: float = 0.5) -> AsyncIterator[Shelf]:
    """An index of the given kind, with an embedder of its own form."""
    embedder = HashingEmbedder(version)
    index = kind.new(form_of(embedder.id, "test"), embedder.dimensions, alpha)
    try:
        yield Shelf(index, team_id, embedder)
    finally:
        await index.close()
