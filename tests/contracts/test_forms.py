"""A library that is embedded anew while it is asked: what both indexes promise of their forms. Two models with vectors
of different lengths, so that mixing them is an error and not only wrong."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from threading import Event

import pytest

from bot.errors import Broken, TellUser
from bot.vocabulary import Found, Hit, Question
from retrieval.chunking import CHUNKER, embedded_text
from retrieval.embedding import Embedder
from retrieval.forms import Form, Forms
from retrieval.index import certainty, form_of
from retrieval.library import Library
from retrieval.sources import Access
from tests import web_site
from tests.contracts.index_suite import Kind, new_team
from tests.hashing_embedder import HashingEmbedder

Open = Callable[..., Library]
PAGES = 30


def model(name: str) -> HashingEmbedder:
    return HashingEmbedder(name, {"small": 64, "wide": 96, "third": 32}[name])


def form(name: str) -> str:
    return form_of(model(name).id, CHUNKER)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes ask which form is live ten times a second."""
    monkeypatch.setattr("retrieval.editions.LIVE_TRUSTED_S", 0.1)


@pytest.fixture
async def opened(index_kind: Kind) -> AsyncIterator[Open]:
    """Opens the library with a model, each time as a process of its own would."""
    async with AsyncExitStack() as stack:

        def open_(
            name: str,
            embedder: Embedder | None = None,
            known: tuple[str, ...] = ("small", "wide"),
            forms: Forms | None = None,
            until: Event | None = None,
        ) -> Library:
            def embedder_of(form: Form) -> Embedder:
                if form.model not in known:
                    raise TellUser(f"{form.model} is not installed here.")
                if until:
                    assert until.wait(30)
                return model(form.model)

            embedder, forms = embedder or model(name), forms or index_kind.forms()
            own = Form.made_by(embedder, name)
            access = Access(frozenset({"127.0.0.1"}), pace_s=0)
            library = Library(forms.index(own), embedder, own, 0.0, name, access, forms=forms, embedder_of=embedder_of)
            stack.push_async_callback(library.close)
            return library

        yield open_


@pytest.fixture
async def store(index_kind: Kind) -> AsyncIterator[Forms]:
    """The forms of the store, to meddle with."""
    forms = index_kind.forms()
    yield forms
    await forms.close()


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return Pages(tmp_path / "docs.jsonl")


class Pages:
    """A source of pages in one file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.texts = {f"p{number}": f"The number of page {number} is {1000 + number}." for number in range(PAGES)}
        self.write()

    def write(self, *broken: str) -> None:
        """Writes the pages; those that are `broken` cannot be read."""
        lines = [json.dumps({"id": id, "title": id, "text": text}) for id, text in self.texts.items()]
        self.file.write_text("\n".join([*lines, *broken]) + "\n")

    def change(self, **texts: str | None) -> None:
        """Changes pages, and takes out those that are None now."""
        for id, text in texts.items():
            self.texts.pop(id, None)
            if text is not None:
                self.texts[id] = text
        self.write()


async def ask(library: Library, team_id: str, text: str) -> Found:
    return await library.find(
        Question(id="q", team_id=team_id, text=text, readable=frozenset({"workspace", "public"})), 5
    )


async def texts(library: Library, team_id: str, text: str) -> list[str]:
    return [hit.passage.text for hit in (await ask(library, team_id, text)).hits]


def forms_of(found: Found) -> set[str]:
    """Gives the models whose own certainty each of the hits has."""

    def fits(name: str, hit: Hit) -> bool:
        asked, passage = model(name).embed_query(found.query), model(name).embed_query(embedded_text(hit.passage))
        return abs(certainty(float(asked @ passage)) - hit.certainty) < 1e-4

    return {name for name in ("small", "wide") if all(fits(name, hit) for hit in found.hits)}


@asynccontextmanager
async def stream_of_questions(library: Library, team_id: str) -> AsyncIterator[list[Found]]:
    """Asks without a pause, three at a time, until the block ends; an error ends the test."""
    answers: list[Found] = []

    async def keep_asking(number: int) -> None:
        while True:
            number = (number + 7) % PAGES
            answers.append(await ask(library, team_id, f"what is the number of page {number}"))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(keep_asking(number)) for number in range(3)]
        yield answers
        for task in asking:
            task.cancel()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 (what changes is in other tasks)
            await asyncio.sleep(0.02)


async def test_a_re_embedding_and_a_rollback_are_not_noticed_by_those_who_ask(
    opened: Open, store: Forms, pages: Pages
) -> None:
    """Under a stream of questions none fails, none finds nothing, and none mixes: vectors, passages and certainties are
    of one model. The switch is followed by a process that was started with the old model, and so is the way back."""
    team_id, running = new_team(), opened("small")
    await running.ingest(team_id, pages.file)
    async with stream_of_questions(running, team_id) as answers:
        await until(lambda: len(answers) > 20)
        report = await opened("wide").reembed()
        assert (report.is_live, report.problems, report.documents) == (True, (), PAGES)
        await until(lambda: running.form == form("wide"))
        seen = len(answers)
        await until(lambda: len(answers) > seen + 20)
        assert (await opened("wide").roll_back()).model == "small"
        await until(lambda: running.form == form("small"))
        for name in ("wide", "small") * 3:  # to and fro, faster than anybody follows
            await store.switch(form(name))
            await asyncio.sleep(0.05)
        await until(lambda: running.form == form("small"))
        seen = len(answers)
        await until(lambda: len(answers) > seen + 20)
    assert all(len(found.hits) == 5 for found in answers)
    served = [forms_of(found) for found in answers]
    assert all(len(models) == 1 for models in served)
    assert [served[number] for number in (0, -1)] == [{"small"}, {"small"}] and {"wide"} in served


async def test_the_old_form_answers_until_the_new_model_is_loaded(opened: Open, pages: Pages) -> None:
    """A model that takes its time holds up no question of a process that answered before."""
    team_id, loaded = new_team(), Event()
    running = opened("small", until=loaded)
    await running.ingest(team_id, pages.file)
    await opened("wide").reembed()
    await asyncio.sleep(0.2)
    async with stream_of_questions(running, team_id) as answers:
        await until(lambda: len(answers) > 20)
        assert {*map(frozenset, map(forms_of, answers))} == {frozenset({"small"})}
        loaded.set()
        await until(lambda: forms_of(answers[-1]) == {"wide"})


async def test_a_process_that_starts_with_another_model_answers_from_the_live_form_at_once(
    opened: Open, pages: Pages
) -> None:
    """Whether its own form is still to come, or was left: its first question waits for the live model."""
    team_id = new_team()
    await opened("small").ingest(team_id, pages.file)
    assert forms_of(await ask(opened("wide"), team_id, "page 3")) == {"small"}
    await opened("wide").reembed()
    late = opened("small")
    assert forms_of(await ask(late, team_id, "page 3")) == {"wide"}
    status = await late.status(team_id)
    assert status.embedding_model == "wide" and "EMBEDDING_MODEL is small" in status.remark


async def test_which_form_is_live_is_asked_now_and_then_only(
    opened: Open, store: Forms, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many questions there are: a question costs no call to the store beside its search."""
    monkeypatch.setattr("retrieval.editions.LIVE_TRUSTED_S", 60)
    team_id, asked = new_team(), []
    look = store.live

    async def counted() -> str | None:
        asked.append(1)
        return await look()

    await opened("small").ingest(team_id, pages.file)
    monkeypatch.setattr(store, "live", counted)
    running = opened("small", forms=store)
    for _ in range(50):
        assert (await ask(running, team_id, "page 3")).hits
    assert len(asked) == 1


async def test_what_changes_during_a_re_embedding_is_in_the_answers_before_and_after(
    opened: Open, pages: Pages
) -> None:
    """A worker's sync in the middle is found at once, in the live form, and is there after the switch, too."""
    team_id, running = new_team(), opened("small")
    await running.ingest(team_id, pages.file)
    told: list[list[str]] = []

    class Meanwhile(HashingEmbedder):
        """Has a document changed and one removed while it embeds for the first time."""

        def embed_passages(self, some):  # type: ignore[no-untyped-def]
            if not told:
                pages.change(p3="Page 3 is about plums.", p4=None)
                asyncio.run_coroutine_threadsafe(sync(), loop).result(30)
            return super().embed_passages(some)

    async def sync() -> None:
        told.append([])
        await running.sync(team_id, "docs.jsonl")
        told[0] = await texts(running, team_id, "plums")

    loop = asyncio.get_running_loop()
    report = await opened("wide", Meanwhile("wide", 96)).reembed()
    assert (report.is_live, report.problems) == (True, ())
    assert told[0][0] == "Page 3 is about plums."
    later = opened("wide")
    assert (await texts(later, team_id, "plums"))[0] == "Page 3 is about plums."
    assert "The number of page 4 is 1004." not in await texts(later, team_id, "the number of page 4 is 1004")
    assert (await later.status(team_id)).documents == PAGES - 1


async def test_a_worker_of_the_old_model_syncs_what_is_live(opened: Open, pages: Pages) -> None:
    """After the switch its syncs go into the new form, with the new model; and what they change or remove leaves the
    form before, so that going back brings nothing back."""
    team_id, running = new_team(), opened("small")
    await running.ingest(team_id, pages.file)
    await opened("wide").reembed()
    pages.change(p3="Page 3 is about plums.", p4=None)
    report = await running.sync(team_id, "docs.jsonl")
    assert (report.changed, report.removed, running.form) == (1, 1, form("wide"))
    assert (await texts(running, team_id, "plums"))[0] == "Page 3 is about plums."
    await opened("wide").roll_back()
    back = opened("wide")
    for number in (3, 4):
        asked = f"the number of page {number} is {1000 + number}"
        assert f"The number of page {number} is {1000 + number}." not in await texts(back, team_id, asked)
    assert back.form == form("small")
    await back.sync(team_id, "docs.jsonl")
    assert (await texts(back, team_id, "plums"))[0] == "Page 3 is about plums."


async def test_a_sync_during_which_the_form_is_switched_reaches_the_new_one(
    opened: Open, store: Forms, pages: Pages
) -> None:
    """It began in the old form; at its end it sees that another one is live, and brings that up to date as well."""
    team_id, running = new_team(), opened("small")
    await running.ingest(team_id, pages.file)
    await opened("wide").reembed()
    await opened("wide").roll_back()
    pages.change(p3="Page 3 is about plums.")

    class Switched(HashingEmbedder):
        """Has the form switched while it embeds."""

        def embed_passages(self, some):  # type: ignore[no-untyped-def]
            asyncio.run_coroutine_threadsafe(store.switch(form("wide")), loop).result(30)
            return super().embed_passages(some)

    loop = asyncio.get_running_loop()
    report = await opened("small", Switched("small", 64)).sync(team_id, "docs.jsonl")
    assert report.changed + report.added == 1  # added, where it left the new form before the switch was seen
    later = opened("wide")
    assert (await texts(later, team_id, "plums"))[0] == "Page 3 is about plums."
    assert later.form == form("wide")


async def test_a_long_sync_does_not_go_on_in_a_form_that_was_left(opened: Open, store: Forms, tmp_path: Path) -> None:
    """It begins anew in the live form within seconds: until then what it changes would be missing from that."""
    team_id, many = new_team(), tmp_path / "many.jsonl"

    def write(version: int) -> None:
        pages = [{"id": f"p{n}", "title": "T", "text": f"The number {n} has version {version}."} for n in range(700)]
        many.write_text("\n".join(map(json.dumps, pages)))

    class Switched(HashingEmbedder):
        """Has the form switched with its first batch, and takes some time."""

        def embed_passages(self, some):  # type: ignore[no-untyped-def]
            asyncio.run_coroutine_threadsafe(store.switch(form("wide")), loop).result(30)
            time.sleep(0.05)
            return super().embed_passages(some)

    write(1)
    await opened("small").ingest(team_id, many)
    await opened("wide").reembed()
    await opened("wide").roll_back()
    write(2)
    loop, left = asyncio.get_running_loop(), Switched("small", 64)
    await opened("small", left).sync(team_id, "many.jsonl")
    assert 0 < left.embedded < 700
    later = opened("wide")
    assert (await texts(later, team_id, "the number 650 has version 2"))[0].endswith("version 2.")
    assert (await later.status(team_id)).documents == 700 and later.form == form("wide")


async def test_a_re_embedding_that_is_ended_leaves_the_old_form_live_and_goes_on_later(
    opened: Open, tmp_path: Path
) -> None:
    """What was embedded is not embedded again."""
    team_id, running = new_team(), opened("small")
    lines = [json.dumps({"id": f"p{n}", "title": "T", "text": f"The number {n} stands here."}) for n in range(700)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    await running.ingest(team_id, tmp_path / "many.jsonl")

    class Ended(HashingEmbedder):
        """Is ended with its third batch."""

        calls = 0

        def embed_passages(self, some):  # type: ignore[no-untyped-def]
            self.calls += 1
            if self.calls == 3:
                raise KeyError("killed")
            return super().embed_passages(some)

    with pytest.raises(KeyError):
        await opened("wide", Ended("wide", 96)).reembed()
    assert (await ask(opened("wide"), team_id, "the number 600")).hits
    assert running.form == form("small")
    live, coming = await running.forms()
    assert (live.model, live.state, live.documents) == ("small", "live", 700)
    assert coming.model == "wide" and 0 < coming.documents < 700
    again = model("wide")
    report = await opened("wide", again).reembed()
    assert (report.is_live, report.documents) == (True, 700 - coming.documents)
    assert again.embedded == 700 - coming.documents + 20  # the sample


async def test_the_switch_waits_for_every_source_of_every_team(opened: Open, pages: Pages, tmp_path: Path) -> None:
    """All of them are embedded anew in one go."""
    teams, running = (new_team(), new_team()), opened("small")
    other = tmp_path / "wiki.jsonl"
    other.write_text(json.dumps({"id": "w", "title": "Lunch", "text": "Lunch is at noon."}))
    for team_id in teams:
        for file in (pages.file, other):
            await running.ingest(team_id, file)
    report = await opened("wide").reembed()
    assert report.documents == 2 * (PAGES + 1)
    later = opened("wide")
    for team_id in teams:
        assert (await texts(later, team_id, "when is lunch"))[0] == "Lunch is at noon."
        assert {source.form for source in await later.sources(team_id)} == {form("wide")}


async def test_what_cannot_be_read_any_more_keeps_the_old_form_live(opened: Open, pages: Pages) -> None:
    """The report names the source, the document and the reason; an operator may switch all the same."""
    team_id, running = new_team(), opened("small")
    await running.ingest(team_id, pages.file)
    pages.file.rename(pages.file.with_suffix(".away"))
    report = await opened("wide").reembed()
    assert not report.is_live
    assert "docs.jsonl" in report.problems[0] and "30 of 30 documents" in report.problems[0]
    assert (await ask(running, team_id, "page 3")).hits and running.form == form("small")
    assert (await opened("wide").reembed(incomplete=True)).is_live
    assert (await ask(opened("wide"), team_id, "page 3")).hits == ()


@pytest.mark.nightly  # a page that answers 500 is asked for again, after pauses
async def test_one_page_that_is_out_of_reach_keeps_the_old_form_live(opened: Open) -> None:
    """What is live has it still, for it may come back; the new form would not."""
    team_id, running = new_team(), opened("small")
    with web_site.running(("/docs/a", "/docs/b", "/docs/c")) as site:
        await running.ingest(team_id, f"{site.url}/docs")
        page, site.pages["/docs/b"] = site.pages["/docs/b"], web_site.Page(b"", status=500)
        report = await opened("wide").reembed()
        assert not report.is_live
        assert "1 of 3 documents" in report.problems[0] and "500" in report.problems[0]
        assert len((await ask(running, team_id, "article")).hits) == 3
        site.pages["/docs/b"] = page
        assert (await opened("wide").reembed()).is_live


async def test_passages_that_do_not_find_themselves_keep_the_old_form_live(opened: Open, pages: Pages) -> None:
    """A model whose vectors mean something else with every call would answer nothing."""

    class Moody(HashingEmbedder):
        """Another model with every call."""

        calls = 0

        def embed_passages(self, some):  # type: ignore[no-untyped-def]
            self.calls += 1
            return HashingEmbedder(f"mood {self.calls}", self.dimensions).embed_passages(some)

    team_id, running = new_team(), opened("small")
    await running.ingest(team_id, pages.file)
    report = await opened("wide", Moody("wide", 96)).reembed()
    assert not report.is_live and any("not found by its own words" in problem for problem in report.problems)
    assert (await ask(running, team_id, "page 3")).hits and running.form == form("small")


async def test_a_model_that_is_not_installed_here_leaves_the_old_form_in_use(
    opened: Open, store: Forms, pages: Pages
) -> None:
    """The process says why, and goes on; what is removed from the live form is found there no more either. When the old
    form is dropped, it says so instead of finding nothing; a process that never had a live form does at once."""
    team_id, running = new_team(), opened("small", known=("small",))
    await running.ingest(team_id, pages.file)
    assert (await ask(running, team_id, "page 3")).hits
    await opened("wide").reembed()
    await asyncio.sleep(0.2)
    assert forms_of(await ask(running, team_id, "page 3")) == {"small"}
    await until(lambda: bool(running._editions.trouble))
    assert forms_of(await ask(running, team_id, "page 3")) == {"small"}
    assert "wide is not installed here" in (await running.status(team_id)).remark
    pages.change(p4=None)
    with pytest.raises(TellUser, match="wide"):
        await running.sync(team_id, "docs.jsonl")
    await opened("wide").sync(team_id, "docs.jsonl")
    assert "The number of page 4 is 1004." not in await texts(running, team_id, "the number of page 4 is 1004")
    assert await running.remove(team_id, "docs.jsonl") == PAGES - 1
    assert (await ask(running, team_id, "page 3")).hits == ()
    with pytest.raises(Broken, match="wide is not installed here"):
        await ask(opened("third", known=("third",)), team_id, "page 3")
    await store.drop(form("small"))
    await asyncio.sleep(0.2)
    with pytest.raises(Broken, match="wide"):
        await ask(running, team_id, "page 3")


async def test_going_back_to_a_model_that_cannot_be_opened_here_is_refused(
    opened: Open, store: Forms, pages: Pages
) -> None:
    """Else nobody who is started with the new model would answer; an operator may insist, from a shell that lacks what
    the bot's processes have."""
    team_id = new_team()
    await opened("small").ingest(team_id, pages.file)
    here = opened("wide", known=("wide",))
    await here.reembed()
    with pytest.raises(TellUser, match=r"small, which cannot be opened here: small is not installed here.*--force"):
        await here.roll_back()
    assert await store.live() == form("wide")
    assert (await here.roll_back(unopened=True)).model == "small"
    assert await store.live() == form("small")


async def test_what_a_re_embedding_was_the_first_to_see_gone_leaves_every_other_form(
    opened: Open, store: Forms, pages: Pages
) -> None:
    """Also where the model of the live form is not installed, so that no sync can take it out of the others: a process
    that could never follow answers from one of them still."""
    team_id, running = new_team(), opened("small", known=("small",))
    await running.ingest(team_id, pages.file)
    await opened("wide").reembed()
    pages.change(p3="Page 3 is about plums.", p4=None)
    assert (await opened("third", known=("third",)).reembed()).is_live
    for name in ("small", "wide", "third"):
        index = store.index(Form.made_by(model(name), name))
        held = await index.digests(team_id, "docs.jsonl")
        assert len(held) == PAGES - (1 if name == "third" else 2)
        await index.close()


async def test_old_forms_are_dropped_but_not_those_that_are_needed(opened: Open, pages: Pages) -> None:
    """The live one, the one before and that of EMBEDDING_MODEL stay; going back goes to the one before."""
    team_id = new_team()
    await opened("small").ingest(team_id, pages.file)
    for name in ("wide", "third"):
        await opened(name, known=("small", "wide", "third")).reembed()
    assert [(one.model, one.state) for one in await opened("third").forms()] == [
        ("third", "live"), ("wide", "before"), ("small", "old"),
    ]  # fmt: skip
    assert await opened("small", known=("third",)).prune() == []
    assert [one.model for one in await opened("third").prune()] == ["small"]
    assert (await opened("third").roll_back()).model == "wide"
    assert (await ask(opened("wide"), team_id, "page 3")).hits


async def test_a_form_that_is_being_made_is_not_dropped(opened: Open, pages: Pages) -> None:
    """An operator who prunes from a shell with another EMBEDDING_MODEL costs the one who embeds just now no work."""
    team_id, pruned = new_team(), []
    await opened("small").ingest(team_id, pages.file)

    class Pruned(HashingEmbedder):
        """Has the library pruned by a process of the old model while it embeds."""

        def embed_passages(self, some):  # type: ignore[no-untyped-def]
            pruned.append(asyncio.run_coroutine_threadsafe(opened("small").prune(), loop).result(30))
            return super().embed_passages(some)

    loop = asyncio.get_running_loop()
    assert (await opened("wide", Pruned("wide", 96)).reembed()).is_live
    assert pruned and not any(pruned)


async def test_what_was_begun_and_given_up_is_dropped_when_that_is_said(
    opened: Open, store: Forms, pages: Pages
) -> None:
    """It holds room, and no time tells whether somebody still works on it."""
    await opened("small").ingest(new_team(), pages.file)
    await store.record(Form.made_by(model("wide"), "wide"))
    here = opened("small")
    assert [(one.model, one.state) for one in await here.forms()] == [("small", "live"), ("wide", "begun")]
    assert await here.prune() == []
    assert [one.model for one in await here.prune(begun=True)] == ["wide"]
    assert [one.model for one in await here.forms()] == ["small"]


async def test_a_re_embedding_switches_nothing_when_another_one_was_faster(
    opened: Open, store: Forms, pages: Pages
) -> None:
    """Of two operators with two models the first one that is done wins, and the other is told."""
    team_id = new_team()
    await opened("small").ingest(team_id, pages.file)

    class Overtaken(HashingEmbedder):
        """Has another form go live while it embeds."""

        has_begun = False

        def embed_passages(self, some):  # type: ignore[no-untyped-def]
            if not self.has_begun:
                self.has_begun = True
                asyncio.run_coroutine_threadsafe(opened("wide").reembed(), loop).result(30)
            return super().embed_passages(some)

    loop = asyncio.get_running_loop()
    report = await opened("third", Overtaken("third", 32), known=("small", "wide", "third")).reembed()
    assert not report.is_live and "another form went live" in report.problems[0]
    assert await store.live() == form("wide")


async def test_what_is_synced_while_the_store_indexes_is_read_before_the_switch(
    opened: Open, store: Forms, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store may take half an hour to index what it was given: when the new form goes live it holds what the live one
    holds then, not what that held before the wait."""
    team_id, running = new_team(), opened("small")
    await running.ingest(team_id, pages.file)
    at_the_switch: list[dict[str, str]] = []
    switch = store.switch

    async def changed_meanwhile(form_id: str) -> bool:
        pages.change(p3="Page 3 is about plums.")
        await running.sync(team_id, "docs.jsonl")
        return True

    async def looked_at_first(form_id: str) -> None:
        indexes = [store.index(Form.made_by(model(name), name)) for name in ("small", "wide")]
        at_the_switch.extend([await index.digests(team_id, "docs.jsonl") for index in indexes])
        await switch(form_id)

    monkeypatch.setattr(store, "is_searchable", changed_meanwhile)
    monkeypatch.setattr(store, "switch", looked_at_first)
    report = await opened("wide", forms=store).reembed()
    assert (report.is_live, report.problems) == (True, ())
    assert len(at_the_switch[0]) == PAGES and at_the_switch[0] == at_the_switch[1]


async def test_a_re_embedding_that_is_ended_right_after_its_switch_is_completed_by_the_next(
    opened: Open, store: Forms, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was synced into the old form at the last moment is brought over, and the sources are noted with the form
    that they are in now."""
    team_id, running = new_team(), opened("small")
    await running.ingest(team_id, pages.file)
    switch = store.switch

    async def ended_after(form_id: str) -> None:
        pages.change(p3="Page 3 is about plums.")
        await running.sync(team_id, "docs.jsonl")
        await switch(form_id)
        raise KeyError("killed")

    monkeypatch.setattr(store, "switch", ended_after)
    with pytest.raises(KeyError):
        await opened("wide", forms=store).reembed()
    assert await store.live() == form("wide")
    later = opened("wide")
    assert "Page 3 is about plums." not in await texts(later, team_id, "plums")
    assert (await later.reembed()).is_live
    assert (await texts(later, team_id, "plums"))[0] == "Page 3 is about plums."
    (source,) = await later.sources(team_id)
    assert (source.form, source.documents) == (form("wide"), PAGES)


async def test_there_is_nothing_to_go_back_to_at_first(opened: Open, pages: Pages) -> None:
    """The first form has none before it, and is not embedded anew by its own model."""
    team_id, library = new_team(), opened("small")
    await library.ingest(team_id, pages.file)
    with pytest.raises(TellUser, match="no form to go back to"):
        await library.roll_back()
    report = await library.reembed()
    assert (report.is_live, report.documents) == (True, 0)
    assert await library.prune() == []
