"""Which form questions are answered from. A process opens the form of its EMBEDDING_MODEL, asks every few seconds which
one is live, and follows: it loads the live form's model behind the questions' back, answers from its old form until
then, and changes over between two questions. What a question is embedded by, searched in and judged by is one edition,
taken once; where the live one cannot be opened, the old one goes on for as long as it is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from bot.calibration import Calibration
from bot.errors import Broken, FootnoteError, LibraryUnavailable, TellUser
from bot.log import log, trouble
from retrieval.embedding import Embedder
from retrieval.forms import Form, Forms
from retrieval.index import Index

LIVE_TRUSTED_S = 5
OPEN_AGAIN_S = 300
"""Until a model that could not be loaded is tried again."""


@dataclass(frozen=True)
class Edition:
    """One form, opened: where it is kept, what embeds for it, and what was calibrated for it."""

    form: Form
    index: Index
    embedder: Embedder
    calibration: Calibration | None = None


class Editions:
    """The editions that a process has opened, its own first. They stay open, so that going back takes no time."""

    def __init__(
        self,
        own: Edition,
        forms: Forms | None = None,
        embedder_of: Callable[[Form], Embedder] | None = None,
        calibration_of: Callable[[str], Calibration | None] = lambda form_id: None,
    ) -> None:
        """Without `forms` the own edition is all there is."""
        self.own, self._forms = own, forms
        self._embedder_of, self._calibration_of = embedder_of, calibration_of
        self.current = own
        """What was answered from last."""
        self.trouble = ""
        """Why the live form cannot be opened here; empty where it can."""
        self._opened = {own.form.id: own}
        self._indexes: dict[str, Index] = {}
        self._live: str | None = None
        self._ask_again_at = 0.0
        self._was_live: set[str] = set()
        self._there: dict[str, Form] = {}
        self._opening: asyncio.Task[None] | None = None
        self._open_again_at: dict[str, float] = {}
        self._is_recorded = False

    @property
    def forms(self) -> Forms:
        """The store's forms. Raises TellUser where there is one edition only."""
        if self._forms is None:
            raise TellUser("This library has one form only.")
        return self._forms

    async def reading(self) -> Edition:
        """Gives the edition to answer from: the live one, or the one before it while that is opened.

        Raises Broken when the live one cannot be opened here, and no other one ever was live.
        """
        live = await self._live_form()
        if live == self.current.form.id:
            return self.current
        while live not in self._opened and (opening := self._begin_to_open(live)):
            if self.current.form.id in self._was_live:
                break  # this goes on to answer meanwhile
            await asyncio.wait({opening})  # it may have been begun for yet another form
        if live in self._opened:
            self._follow(self._opened[live])
        elif not self._may_stay():
            raise Broken(f"{self.trouble} {_ADVICE}")
        return self.current

    async def writing(self) -> Edition:
        """Gives the live edition, asked for anew, with the place for it made. Raises TellUser when it cannot be opened
        here."""
        if self._forms is None:
            return self.own
        live = await self._forms.live()
        if live in (None, self.own.form.id) and not self._is_recorded:
            await self._forms.record(self.own.form)
            self._is_recorded = True
        self._ask_again_at = 0
        await self.reading()
        live = await self._live_form()
        while live not in self._opened and (opening := self._begin_to_open(live)):
            await asyncio.wait({opening})
        edition = self._opened.get(live)
        if edition is None:
            raise TellUser(f"{self.trouble} {_ADVICE}")
        self._follow(edition)
        return edition

    async def open(self, form: Form) -> None:
        """Opens a form that is to go live. Raises TellUser when it cannot be opened here."""
        if form.id not in self._opened:
            try:
                self._opened[form.id] = await asyncio.to_thread(self._opened_edition, form)
            except Exception as error:  # whatever the loading of a model raises
                raise TellUser(_why_not(form, error)) from error

    async def live_index(self) -> Index:
        """Gives the index of the live form without its model: to count, to remember and to forget."""
        live = await self._live_form()
        if live in self._opened:
            return self._opened[live].index
        if live not in self._indexes:
            self._indexes[live] = self.forms.index(self._there.get(live, Form(id=live)))
        return self._indexes[live]

    async def is_live(self, edition: Edition) -> bool:
        """Whether an edition is live, asked for anew."""
        return self._forms is None or await self._forms.live() in (None, edition.form.id)

    async def was_left(self, edition: Edition) -> bool:
        """Whether another edition is live, as far as was known some seconds ago."""
        return await self._live_form() != edition.form.id

    async def others(self, edition: Edition) -> list[Index]:
        """Gives the indexes of all other forms, to take documents out of; whoever asks closes them."""
        if self._forms is None:
            return []
        return [self._forms.index(form) for form in await self._forms.all() if form.id != edition.form.id]

    @property
    def remark(self) -> str:
        """What an operator should know of the forms; empty when all is as it is set."""
        if self.trouble:
            return f"{self.trouble} {_ADVICE}"
        if self.current is self.own:
            return ""
        mine, live = self.own.form.model, self.current.form.model
        if mine == live:
            return "The library was cut into passages in another way. `python -m bot library reembed` does it anew."
        return (
            f"EMBEDDING_MODEL is {mine}, and the library is embedded with {live}, which answers. Set EMBEDDING_MODEL "
            f"to that, or run `python -m bot library reembed` to embed all with {mine}."
        )

    def look_again(self) -> None:
        """Asks which form is live with the next question, not only in some seconds."""
        self._ask_again_at = 0

    async def close(self) -> None:
        """Lets go of all editions."""
        if self._opening:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        for index in (*self._indexes.values(), *(edition.index for edition in self._opened.values())):
            await index.close()
        if self._forms:
            await self._forms.close()

    async def _live_form(self) -> str:
        if self._forms is None:
            return self.own.form.id
        if self._live is None or time.monotonic() >= self._ask_again_at:
            if self._live is not None:  # the others go on with what was live a moment ago
                self._ask_again_at = time.monotonic() + LIVE_TRUSTED_S
            try:
                live = await self._forms.live() or self.own.form.id
            except LibraryUnavailable:  # on Weaviate it is asked by another port than searches are
                if self._live is None:
                    raise
                return self._live
            if live == self.current.form.id:
                self.trouble = ""
            else:
                self._there = {form.id: form for form in await self._forms.all()}
            self._live, self._ask_again_at = live, time.monotonic() + LIVE_TRUSTED_S
            self._was_live.add(live)
        return self._live

    def _may_stay(self) -> bool:
        """Whether the current form, which is not live, may be answered from: it was live once, and is there still."""
        id = self.current.form.id
        return id in self._there and (id in self._was_live or self._there[id].left_at is not None)

    def _begin_to_open(self, form_id: str) -> asyncio.Task[None] | None:
        if self._opening is None or self._opening.done():
            if time.monotonic() < self._open_again_at.get(form_id, 0):
                return None
            self._open_again_at[form_id] = time.monotonic() + OPEN_AGAIN_S
            self._opening = asyncio.create_task(self._open(form_id))
        return self._opening

    async def _open(self, form_id: str) -> None:
        form = self._there.get(form_id, Form(id=form_id))
        try:
            edition = await asyncio.to_thread(self._opened_edition, form)
        except Exception as error:  # whatever the loading of a model raises, the questions go on
            self.trouble = f"The library is embedded with {_why_not(form, error)}"
            log.warning(
                "live_form_not_opened", form=form_id, model=form.model, again_in_s=OPEN_AGAIN_S, **trouble(error)
            )
        else:
            self._opened[form_id], self.trouble = edition, ""

    def _opened_edition(self, form: Form) -> Edition:
        """Opens a form with its model loaded; runs in a thread."""
        if self._embedder_of is None or not form.model:
            raise TellUser("It is not known by what.")
        mine = {one.embedder.id: one.embedder for one in self._opened.values()}  # only the chunker may be another
        embedder = mine.get(form.embedder) or self._embedder_of(form)
        if embedder.id != form.embedder:
            raise TellUser(f"Here {form.model} is {embedder.id}, there it was {form.embedder}.")
        embedder.embed_query("hello")
        return Edition(form, self.forms.index(form), embedder, self._calibration_of(form.id))

    def _follow(self, edition: Edition) -> None:
        if edition is not self.current:
            self.current = edition
            log.info("library_form_followed", form=edition.form.id, model=edition.form.model)
            if self.remark:
                log.warning("embedding_model_not_live", advice=self.remark)


def _why_not(form: Form, error: Exception) -> str:
    cause = str(error) if isinstance(error, FootnoteError) else type(error).__name__
    return f"{form.model or 'a model that was not recorded'}, which cannot be opened here: {cause}"


_ADVICE = "Install what it needs, set EMBEDDING_MODEL to it, or run `python -m bot library reembed`."
