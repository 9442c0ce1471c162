"""The forms on Weaviate: one pair of collections each. What a form is made by stands in the description of its
collection, and the alias says which one is live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bot.errors import Broken
from retrieval.forms import Form
from retrieval.index_weaviate import COUNT_TIMEOUT_S, SEARCH_TIMEOUT_S, WRITE_TIMEOUT_S, WeaviateIndex
from retrieval.weaviate_connection import Absent, Connection
from retrieval.weaviate_schema import ALIAS, PASSAGES, SOURCES, documents_name, passages_name

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient


class WeaviateForms:
    """The forms that one connection sees."""

    def __init__(self, connection: Connection, alpha: float) -> None:
        self._connection, self._alpha = connection, alpha

    async def live(self) -> str | None:
        async with self._connection.use(SEARCH_TIMEOUT_S) as client:
            return await _live(client)

    async def all(self) -> list[Form]:
        async with self._connection.use(SEARCH_TIMEOUT_S) as client:
            listed = await client.collections.list_all()
        return [
            _form(name.removeprefix(PASSAGES), config.description)
            for name, config in sorted(listed.items())
            if name.startswith(PASSAGES)
        ]

    async def record(self, form: Form) -> None:
        await self.index(form).make()
        async with self._writing(form.id) as client:
            if not (await _recorded(client, form.id)).model:
                await _describe(client, form)

    async def switch(self, form_id: str) -> None:
        async with self._writing(form_id) as client:
            left = await _live(client)
            if left and left != form_id:  # noted first: that the live form was once left does no harm
                noted = {"left_at": datetime.now(UTC)}
                await _describe(client, (await _recorded(client, left)).model_copy(update=noted))
            await client.alias.update(alias_name=ALIAS, new_target_collection=passages_name(form_id))

    async def drop(self, form_id: str) -> None:
        async with self._writing(form_id) as client:
            if await _live(client) == form_id:
                raise Broken(f"The form {form_id} is live: it cannot be dropped.")
            await client.collections.delete(passages_name(form_id))
            await client.collections.delete(documents_name(form_id))

    async def teams(self) -> list[str]:
        async with self._connection.use(COUNT_TIMEOUT_S) as client:
            if not await client.collections.exists(SOURCES):
                return []
            return sorted(await client.collections.use(SOURCES).tenants.get())

    async def is_searchable(self, form_id: str) -> bool:
        async with self._writing(form_id) as client:
            nodes = await client.cluster.nodes(collection=passages_name(form_id), output="verbose")
        return not any(shard.vector_queue_length for node in nodes for shard in node.shards or ())

    def index(self, form: Form) -> WeaviateIndex:
        return _Lent(self._connection, form.id, form.dimensions, self._alpha)

    async def close(self) -> None:
        await self._connection.close()

    @asynccontextmanager
    async def _writing(self, form_id: str) -> AsyncIterator[WeaviateAsyncClient]:
        """Lends the client for what needs a form that is there."""
        try:
            async with self._connection.use(WRITE_TIMEOUT_S, to_write=True) as client:
                yield client
        except Absent as absent:
            raise Broken(f"There is no form {form_id} in Weaviate: {absent}") from absent


class _Lent(WeaviateIndex):
    """An index over a connection that others use as well."""

    async def close(self) -> None:
        """Leaves the connection open."""


async def _live(client: WeaviateAsyncClient) -> str | None:
    alias = await client.alias.get(alias_name=ALIAS)
    return alias.collection.removeprefix(PASSAGES) if alias else None


async def _recorded(client: WeaviateAsyncClient, form_id: str) -> Form:
    config = await client.collections.use(passages_name(form_id)).config.get(simple=True)
    return _form(form_id, config.description)


async def _describe(client: WeaviateAsyncClient, form: Form) -> None:
    await client.collections.use(passages_name(form.id)).config.update(description=form.model_dump_json())


def _form(form_id: str, description: str | None) -> Form:
    try:
        return Form.model_validate_json(description or "").model_copy(update={"id": form_id})
    except ValidationError:
        return Form(id=form_id)
