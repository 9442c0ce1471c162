"""The forms that the library is kept in. A form is the whole library as one embedding model and chunker have it, in a
place of its own; one of them is live, which is where questions are answered from. Another one is made behind the
readers' backs and goes live in one step; the one before is kept for going back. A form may lack a document, but none
holds a document as its source no longer has it: what a sync changes in the live form leaves the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

from pydantic import Field

from bot.errors import LibraryUnavailable
from bot.settings import Settings
from bot.source_words import holds_secret, shown_address
from bot.vocabulary import Frozen
from retrieval.chunking import CHUNKER
from retrieval.index import Index, Page, form_of

if TYPE_CHECKING:
    from retrieval.embedding import Embedder


Setting = Mapping[str, str | int | float | None]
"""What was set, by the names of `Settings`."""


class Form(Frozen):
    """What a form was made by."""

    id: str
    model: str = ""
    """As EMBEDDING_MODEL names it; empty where it was not recorded."""
    settings: Setting = Field(default_factory=dict)
    """Everything that was set about embedding, without keys."""
    embedder: str = ""
    """The embedder's own id, which tells versions of a model apart."""
    chunker: str = ""
    dimensions: int = 0
    left_at: datetime | None = None
    """When another form took its place, where it was live once."""

    @classmethod
    def made_by(cls, embedder: Embedder, model: str, settings: Setting | None = None, id: str = "") -> Self:
        """Gives the form that an embedder and our chunker make; its id follows from them."""
        return cls(
            id=id or form_of(embedder.id, CHUNKER),
            model=model,
            settings=settings or {},
            embedder=embedder.id,
            chunker=CHUNKER,
            dimensions=embedder.dimensions,
        )


class Forms(Protocol):
    """What knows the forms of one store, for all of its teams. Raises what an index raises."""

    async def live(self) -> str | None:
        """Names the form that is live; None where nothing was ever stored."""
        ...

    async def all(self) -> list[Form]:
        """Lists the forms that are there."""
        ...

    async def record(self, form: Form) -> None:
        """Makes a place for a form and remembers what it is made by. The very first one is live at once."""
        ...

    async def switch(self, form_id: str) -> None:
        """Makes a form that is there the live one, for all teams in one step; notes when the other one was left."""
        ...

    async def drop(self, form_id: str) -> None:
        """Takes a form away, which must not be the live one."""
        ...

    async def teams(self) -> list[str]:
        """Lists the teams that have sources."""
        ...

    async def is_searchable(self, form_id: str) -> bool:
        """Whether all that a form was given can be found: a store may index behind its answer."""
        ...

    def index(self, form: Form) -> Index:
        """Gives the index of a form; closing it leaves the store open to others."""
        ...

    async def close(self) -> None:
        """Lets go of the store."""
        ...


def open_forms(settings: Settings) -> Forms:
    """Opens the store that the settings name: Weaviate when its URL is set, else embedded in the data folder."""
    if settings.weaviate_url:
        from retrieval.forms_weaviate import WeaviateForms
        from retrieval.weaviate_connection import Connection

        return WeaviateForms(Connection.of(settings), settings.hybrid_alpha)
    from retrieval.forms_embedded import EmbeddedForms

    return EmbeddedForms(settings.data_dir / "library", settings.hybrid_alpha)


def set_about_embedding(settings: Settings) -> Setting:
    """Gives what another process needs to open the same model; keys and logins are its own affair."""
    named = {name: getattr(settings, name) for name in Settings.model_fields if _is_told(name)}
    named["embedding_base_url"] = _without_login(settings.embedding_base_url)
    return {name: value for name, value in named.items() if value is None or isinstance(value, (str, int, float))}


def settings_of(form: Form, settings: Settings) -> Settings:
    """Gives the settings by which a form's model is opened here. Our key and our login go to our own server only: who
    writes to the store could name another one, to read them there."""
    told: dict[str, Any] = {name: value for name, value in form.settings.items() if _is_told(name)}
    server = told.get("embedding_base_url")
    if _without_login(server) == _without_login(settings.embedding_base_url):
        told["embedding_base_url"] = settings.embedding_base_url
    else:
        told["embedding_api_key"] = None
    return settings.model_copy(update=told)


def _is_told(name: str) -> bool:
    return name.startswith("embedding_") and not name.endswith("_key")


def _without_login(url: str | None) -> str | None:
    return shown_address(url) if url and holds_secret(url) else url


def form_before(forms: Iterable[Form], live: str | None) -> Form | None:
    """Gives the form that was live last before the live one."""
    left = [(form.left_at, form.id, form) for form in forms if form.left_at and form.id != live]
    return max(left)[2] if left else None


def outdated(there: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names the documents of a form that another one has in another version, or has not, by their digests."""
    return [id for id, digest in there.items() if now.get(id) != digest]


class FormLeft(LibraryUnavailable):
    """Another form went live while a sync wrote to this one: done again, it goes to that."""


class Everywhere:
    """The index of the live form for a sync: what it stores or removes leaves the other forms first, so that none of
    them ever gives away what a source took back. Raises FormLeft when it is told that the form is live no more."""

    def __init__(self, index: Index, others: Sequence[Index], was_left: Callable[[], Awaitable[bool]]) -> None:
        self._index, self._others, self._was_left = index, others, was_left
        self.backend, self.search, self.digests, self.count = index.backend, index.search, index.digests, index.count
        self.sources, self.save_source, self.forget_source = index.sources, index.save_source, index.forget_source
        self.around, self.sample, self.is_ready = index.around, index.sample, index.is_ready

    async def put(self, team_id: str, pages: Sequence[Page]) -> dict[str, str]:
        await self._check()
        for other in self._others:
            for source in {page.source for page in pages}:
                now = {page.document_id: page.digest for page in pages if page.source == source}
                there = await other.digests(team_id, source, list(now))
                await other.remove(team_id, source, outdated(there, now))
        return await self._index.put(team_id, pages)

    async def remove(self, team_id: str, source: str, document_ids: Sequence[str]) -> None:
        await self._check()
        for other in self._others:
            await other.remove(team_id, source, document_ids)
        await self._index.remove(team_id, source, document_ids)

    async def _check(self) -> None:
        if await self._was_left():
            raise FormLeft("Another form of the library went live meanwhile.")

    async def close(self) -> None:
        """Closes the indexes of the other forms; the live one stays open."""
        for other in self._others:
            await other.close()
