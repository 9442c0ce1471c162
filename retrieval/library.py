"""The library: finds passages for a question, and takes documents in. It holds an embedder and an index, and promises
that a hit was readable for everyone at the place that asked: the index filters, and the library checks again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bot.calibration import Calibration, Signs, about_calibration, calibration_file, load_calibration
from bot.errors import FootnoteError
from bot.log import log
from bot.settings import Settings
from bot.vocabulary import (
    FormStatus,
    Found,
    LibraryStatus,
    Passage,
    Question,
    Reembedded,
)
from retrieval.editions import Edition, Editions
from retrieval.embedding import Embedder, open_embedder
from retrieval.finding import STEPS, Finder, Rewrite
from retrieval.forms import Form, Forms, open_forms, set_about_embedding, settings_of
from retrieval.index import Index
from retrieval.ingesting import Progress
from retrieval.questions import identifiers
from retrieval.reembedding import Reembedding
from retrieval.sources import Access, address_of
from retrieval.sufficiency import signs
from retrieval.syncing import Syncing

if TYPE_CHECKING:
    from retrieval.embedding import Vectors

_WAITING_AT_ONCE = 32
"""Questions that wait for an embedding server at a time; to wait takes no core."""


class Library(Syncing):
    """One library for many teams. `find` is for askers, the rest for operators."""

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        form: str | Form,
        threshold: float,
        model: str,
        access: Access = Access(),  # noqa: B008 - it is frozen
        calibration: Calibration | None = None,
        forms: Forms | None = None,
        embedder_of: Callable[[Form], Embedder] | None = None,
        calibration_of: Callable[[str], Calibration | None] = lambda form_id: None,
        about_calibration: Callable[[str], str] = lambda form_id: "",
    ) -> None:
        """`index` and `embedder` are of the form that EMBEDDING_MODEL, `model`, makes. With `forms` the library follows
        the one that is live, and opens models and calibrations of others by `embedder_of` and `calibration_of`."""
        own = form if isinstance(form, Form) else Form.made_by(embedder, model, id=form)
        editions = Editions(
            Edition(own, index, embedder, calibration), forms, embedder_of=embedder_of, calibration_of=calibration_of
        )
        super().__init__(editions, index, access)
        self._embedder, self._threshold, self._about_calibration = embedder, threshold, about_calibration
        self._asking = ThreadPoolExecutor(os.cpu_count() or 1, "library-asking")
        self._waiting = ThreadPoolExecutor(_WAITING_AT_ONCE, "library-waiting")
        self._finders: dict[str, Finder] = {}

    async def find(
        self,
        question: Question,
        k: int = 5,
        *,
        without: frozenset[str] = frozenset(),
        hidden: frozenset[str] = frozenset(),
        rewrite: Rewrite | None = None,
        around: bool = False,
    ) -> Found:
        """Finds the `k` best passages that everyone at the place of the question may read; to measure, without some of
        the steps of finding, and as if some documents were not there. `rewrite` says a follow-up without its thread;
        with `around`, what stands around the best hit is read, too.

        Raises LibraryUnavailable when the index is down or slow.
        """
        finder = self._finder(await self._editions.reading())
        return await finder.find(question, k, without=without, hidden=hidden, rewrite=rewrite, around=around)

    async def around(self, question: Question, passage: Passage, reach: int) -> list[Passage]:
        """Gives a page from `reach` passages before one of it to as many after it, as far as everyone at the place of
        the question may read it; nothing when the page has changed since."""
        edition = await self._editions.reading()
        near = await edition.index.around(question.team_id, passage, reach, question.readable)
        return [one for one in near if one.audience in question.readable]

    @property
    def form(self) -> str:
        """The embedding model and chunker that were answered from last, as a hash."""
        return self._editions.current.form.id

    @property
    def steps(self) -> dict[str, str]:
        """The steps of finding that `find` can leave out, each with what it is."""
        return dict(STEPS)

    def names(self, text: str) -> tuple[str, ...]:
        """Gives the error codes, settings and flags that a text names, as written."""
        return identifiers(text)

    def signs(self, found: Found) -> Signs:
        """Gives what speaks for it that passages answer, by name; see `retrieval.sufficiency`."""
        return signs(found.query, found.hits)

    async def standing(self, team_id: str, passages: Sequence[Passage]) -> dict[str, tuple[str, str]]:
        """Gives, by id, the digest and the audience of those documents of passages, all of one source, that are still
        there. The digest covers the audience; of a changed document the new audience is not looked up, and is empty."""
        known = {passage.document_id: passage for passage in passages}
        if not known:
            return {}
        (source,) = {passage.source for passage in passages}
        edition = await self._editions.reading()
        digests = await edition.index.digests(team_id, source, list(known))
        return {
            id: (digest, known[id].audience if digest == known[id].document_digest else "")
            for id, digest in digests.items()
        }

    async def question_vector(self, text: str) -> Vectors:
        """Gives a question's place in the vector space of EMBEDDING_MODEL, whatever is live: float32, (dimensions,), of
        length 1."""
        threads = self._threads_of(self._embedder)
        return await asyncio.get_running_loop().run_in_executor(threads, self._embedder.embed_query, text)

    async def status(self, team_id: str) -> LibraryStatus:
        """Says how a team's library stands; not ready when the index does not answer."""
        documents = passages = 0
        trouble = ""
        try:
            is_ready = await self._index.is_ready()
            edition = await self._editions.reading()
            documents, passages = await edition.index.count(team_id)
        except FootnoteError as error:
            trouble = str(error)
            log.warning("library_not_ready", error=trouble)
            is_ready = False
        return LibraryStatus(
            passages=passages,
            documents=documents,
            backend=self._index.backend,
            embedding_model=self._editions.current.form.model,
            is_ready=is_ready,
            remark=self._editions.remark or trouble,
            calibration=self._about_calibration(self.form),
        )

    async def forms(self) -> list[FormStatus]:
        """Lists the forms of the library with what is in them, the live one first."""
        return await self._reembedding().status()

    async def reembed(self, progress: Progress | None = None, *, incomplete: bool = False) -> Reembedded:
        """Embeds every source of every team anew by EMBEDDING_MODEL, behind the readers' backs, and then switches to
        it; goes on where an earlier one was ended. With problems what is live stays so, unless the new form may be
        `incomplete`."""
        return await self._reembedding().run(progress, incomplete)

    async def roll_back(self, *, unopened: bool = False) -> FormStatus:
        """Switches back to the form that was live before, in one step. It holds nothing that is outdated, but may lack
        what changed since: `sync` brings that. Raises TellUser where there is none, or where its model cannot be opened
        here, unless it may be `unopened`."""
        return await self._reembedding().roll_back(unopened)

    async def prune(self, *, begun: bool = False) -> list[FormStatus]:
        """Drops all forms but the live one, the one before, and that of EMBEDDING_MODEL; gives what is dropped. One
        that never was live may be embedded by another process just now: it is dropped as `begun` only."""
        return await self._reembedding().prune(begun)

    async def close(self) -> None:
        """Lets go of the index and the threads."""
        for threads in (self._asking, self._waiting, self._ingesting):
            threads.shutdown(wait=False, cancel_futures=True)
        await self._editions.close()

    def _reembedding(self) -> Reembedding:
        return Reembedding(self._editions, self._read, self._read_into_live)

    def _finder(self, edition: Edition) -> Finder:
        id = edition.form.id
        if id not in self._finders:
            self._finders[id] = Finder(
                edition.index,
                edition.embedder,
                self._threads_of(edition.embedder),
                self._threshold,
                edition.calibration,
            )
        return self._finders[id]

    def _threads_of(self, embedder: Embedder) -> ThreadPoolExecutor:
        return self._waiting if embedder.is_remote else self._asking


@asynccontextmanager
async def open_library(settings: Settings) -> AsyncIterator[Library]:
    """Opens the library that the settings name: on Weaviate when its URL is set, else embedded in the data folder."""
    embedder = await asyncio.to_thread(open_embedder, settings)  # it may wait for a server, or load for seconds
    form = Form.made_by(embedder, settings.embedding_model, set_about_embedding(settings))
    forms = open_forms(settings)

    def calibration_of(form_id: str) -> Calibration | None:
        return load_calibration(calibration_file(settings.data_dir), form_id, settings.hybrid_alpha)

    library = Library(
        forms.index(form),
        embedder,
        form,
        settings.sufficiency_threshold,
        settings.embedding_model,
        Access(
            settings.intranet_hosts,
            settings.data_dir / "stamps",
            shared_folders=frozenset(Path(address_of(folder)) for folder in settings.shared_folders),
        ),
        calibration_of(form.id),
        forms=forms,
        embedder_of=lambda form: open_embedder(settings_of(form, settings)),
        calibration_of=calibration_of,
        about_calibration=lambda form_id: about_calibration(
            calibration_file(settings.data_dir), form_id, settings.hybrid_alpha
        ),
    )
    try:
        yield library
    finally:
        await library.close()
