"""What our collections in Weaviate look like. Every property says how it is cut into tokens: an audience, an id or a
source must match whole (`field`), for with Weaviate's default (`word`) a filter on `a/b` also lets `b/a` through."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bot.errors import TellUser

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient
    from weaviate.classes.config import Property, Tokenization
    from weaviate.collections import CollectionAsync

ALIAS = "Passages"
PASSAGES = "Passages_"
"""What the name of a form's collection begins with."""
SOURCES = "Sources"
SEARCHED = ("title", "section", "text", "identifiers")
"""The properties whose words count."""
RETURNED = (
    "passage_id", "document_id", "source", "title", "section", "url", "text", "audience", "updated_at", "position",
    "document_digest", "is_whole",
)  # fmt: skip
"""The properties of a passage. A collection that an earlier release made may lack the last ones: none is asked for by
name, and they are added before the first write."""


@dataclass(frozen=True)
class Keeping:
    """How the server keeps what it is given. `replicas` and `quantization` count when a collection is made."""

    replicas: int = 1
    consistency: Literal["ONE", "QUORUM", "ALL"] = "QUORUM"
    """How many of the replicas must agree to a read or a write."""
    quantization: Literal["none", "rq"] = "none"
    """`rq` keeps vectors in memory in a quarter of the room."""


def passages_name(form: str) -> str:
    return f"{PASSAGES}{form}"


def documents_name(form: str) -> str:
    return f"Documents_{form}"


def shelf(client: WeaviateAsyncClient, name: str, team_id: str, keeping: Keeping) -> CollectionAsync[Any, Any]:
    """Gives what one team has in a collection."""
    from weaviate.classes.config import ConsistencyLevel

    one = client.collections.use(name).with_tenant(team_id)
    return one.with_consistency_level(ConsistencyLevel(keeping.consistency)) if keeping.replicas > 1 else one


async def create(client: WeaviateAsyncClient, form: str, keeping: Keeping = Keeping()) -> None:
    """Makes the collections of a form and, where there is none, the alias. What is there is left as it is.

    Raises TellUser when there are not nodes enough for the replicas.
    """
    from weaviate.exceptions import UnexpectedStatusCodeError

    wanted = {
        passages_name(form): _passages(),
        documents_name(form): [_label("source"), _label("document_id"), _stored("digest")],
        SOURCES: [_label("name"), _stored("record")],
    }
    for name, properties in wanted.items():
        if not await client.collections.exists(name):
            try:
                await _create(client, name, properties, keeping, has_vectors=name == passages_name(form))
            except UnexpectedStatusCodeError as error:
                if "enough weaviate nodes" in str(error):
                    raise TellUser(
                        f"WEAVIATE_REPLICATION_FACTOR={keeping.replicas} needs as many nodes, which this Weaviate does "
                        f"not have: add nodes, or set a smaller one. It says: {error}"
                    ) from error
                if "already exists" not in str(error):  # another process was faster
                    raise
        elif name == passages_name(form):
            await _complete(client, name, properties)
    if not await client.alias.exists(alias_name=ALIAS):
        with suppress(UnexpectedStatusCodeError):
            await client.alias.create(alias_name=ALIAS, target_collection=passages_name(form))


async def _complete(client: WeaviateAsyncClient, name: str, properties: list[Property]) -> None:
    """Adds to a collection what it lacks."""
    from weaviate.exceptions import UnexpectedStatusCodeError

    collection = client.collections.use(name)
    held = {each.name for each in (await collection.config.get(simple=True)).properties}
    for each in properties:
        if each.name not in held:
            with suppress(UnexpectedStatusCodeError):  # another process was faster
                await collection.config.add_property(each)


async def _create(
    client: WeaviateAsyncClient, name: str, properties: list[Property], keeping: Keeping, has_vectors: bool
) -> None:
    from weaviate.classes.config import Configure, VectorDistances

    quantizer = Configure.VectorIndex.Quantizer.rq() if keeping.quantization == "rq" else None
    index = (
        Configure.VectorIndex.hnsw(distance_metric=VectorDistances.COSINE, quantizer=quantizer)
        if has_vectors
        else Configure.VectorIndex.none()
    )
    await client.collections.create(
        name,
        properties=properties,
        vector_config=Configure.Vectors.self_provided(vector_index_config=index),
        multi_tenancy_config=Configure.multi_tenancy(auto_tenant_creation=True, auto_tenant_activation=True),
        replication_config=Configure.replication(factor=keeping.replicas),
    )


def _passages() -> list[Property]:
    from weaviate.classes.config import DataType, Property, Tokenization

    return [
        *(_label(name) for name in ("audience", "source", "document_id", "document_digest")),
        *(_words(name, Tokenization.WORD) for name in ("title", "section", "text")),
        _words("identifiers", Tokenization.LOWERCASE),
        *(_stored(name) for name in ("passage_id", "url")),
        Property(name="position", data_type=DataType.INT, index_filterable=False),
        Property(name="updated_at", data_type=DataType.DATE, index_filterable=False),
        Property(name="is_whole", data_type=DataType.BOOL, index_filterable=False),
    ]


def _label(name: str) -> Property:
    """A property to filter by, matched whole."""
    from weaviate.classes.config import DataType, Property, Tokenization

    return Property(
        name=name,
        data_type=DataType.TEXT,
        tokenization=Tokenization.FIELD,
        index_filterable=True,
        index_searchable=False,
    )


def _words(name: str, tokenization: Tokenization) -> Property:
    """A property to search for words in."""
    from weaviate.classes.config import DataType, Property

    return Property(
        name=name,
        data_type=DataType.TEXT,
        tokenization=tokenization,
        index_filterable=False,
        index_searchable=True,
    )


def _stored(name: str) -> Property:
    """A property that is only kept."""
    from weaviate.classes.config import DataType, Property, Tokenization

    return Property(
        name=name,
        data_type=DataType.TEXT,
        tokenization=Tokenization.FIELD,
        index_filterable=False,
        index_searchable=False,
    )
