"""What both indexes promise. Runs over the embedded one, and over a real Weaviate where there is one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest

from bot.errors import Broken
from bot.vocabulary import Source
from retrieval.index import Query, form_of
from tests.contracts.index_suite import EVERYBODY, Kind, Shelf, new_team, page, shelf


async def test_it_finds_the_document_that_answers_first(library: Shelf) -> None:
    """Of several documents the one with the question's words and meaning comes first."""
    await library.put("keys", "Reset an API key under Settings.")
    await library.put("billing", "An invoice is issued on the third of each month.")
    assert await library.ids("when is an invoice issued") == ["billing", "keys"]


async def test_what_was_stored_comes_back_whole(library: Shelf) -> None:
    """A hit carries every field of the passage as it was stored, and its certainty is (1 + cosine) / 2."""
    stored = await library.put("a/b", "# Head\n\n## Sub\n\nOnly this.", title="Head", audience="public")
    (hit,) = await library.find("only this")
    assert hit.passage == stored.passages[0]
    assert hit.passage.section == "Sub"
    cosine = float(stored.vectors[0] @ library.embedder.embed_query("only this"))
    assert hit.certainty == pytest.approx((1 + cosine) / 2, abs=1e-5)


@pytest.mark.parametrize("audience", ["workspace", "channel:C1", "group:G1"])
async def test_only_who_may_read_it_finds_it(library: Shelf, audience: str) -> None:
    """A passage is found with its own audience among the readable ones, and with no other, however alike."""
    await library.put("secret", "The secret number is 4711.", audience=audience)
    assert await library.ids("secret number", frozenset({"public", audience})) == ["secret"]
    for others in ("public", "channel:C12", "channel:c1", "channel:C", "channel:C1 x", "group:G", "work", "C1"):
        if others != audience:
            assert await library.ids("secret number", frozenset({others})) == []


async def test_who_may_read_nothing_finds_nothing(library: Shelf) -> None:
    """With no readable audience there is no hit, not even a public one, and no error."""
    await library.put("open", "Open to all.", audience="public")
    assert await library.ids("open to all", frozenset()) == []


async def test_a_hidden_document_is_searched_past(library: Shelf) -> None:
    """As if it were not there: the others are found and ranked without it, and its namesakes are not hidden."""
    for name in ("keys", "keys/old", "billing"):
        await library.put(name, f"Reset a key, says {name}.")
    asked = library.query("reset a key says keys")
    best, *_ = await library.index.search(library.team_id, asked, 5)
    assert best.passage.document_id == "keys" and best.score == pytest.approx(1.0)
    best, *others = await library.index.search(library.team_id, replace(asked, hidden=frozenset({"keys"})), 5)
    assert best.score == pytest.approx(1.0)
    assert {hit.passage.document_id for hit in (best, *others)} == {"keys/old", "billing"}


async def test_certainty_is_of_the_question_itself(library: Shelf) -> None:
    """Where the search leans towards the thread, hits are ranked by where it leans and judged by the question."""
    billing = await library.put("billing", "Invoices and payments.")
    keys = await library.put("keys", "Tokens and secrets.")
    asked = replace(library.query("tokens and secrets"), vector=billing.vectors[0], alpha=1.0)
    best, other = await library.index.search(library.team_id, replace(asked, own_vector=keys.vectors[0]), 5)
    assert best.passage.document_id == "billing"
    assert other.certainty == pytest.approx(1.0, abs=1e-5) and best.certainty < other.certainty


async def test_the_text_around_a_passage_is_read_in_its_order(library: Shelf) -> None:
    """As far as one reaches, that passage included; no other document's, also where its id is a part of the other's."""
    page = "\n".join(f"## Part {number}\n\nWords of part {number}." for number in range(12))
    stored = await library.put("guide", page, title="Guide")
    await library.put("guide/old", page, title="Guide")
    around = partial(library.index.around, library.team_id, readable=EVERYBODY)
    assert await around(stored.passages[10], 1) == list(stored.passages[9:12])
    assert await around(stored.passages[0], 2) == list(stored.passages[:3])
    assert await around(stored.passages[11], 0) == [stored.passages[11]]


async def test_nobody_reads_around_a_passage_what_they_may_not_read(library: Shelf) -> None:
    """Nor what a document held before it changed, nor another team's."""
    stored = await library.put("secret", "## One\n\nThe code is 4711.\n\n## Two\n\nAnd 4712.", audience="group:G1")
    first, around = stored.passages[0], library.index.around
    assert len(await around(library.team_id, first, 1, frozenset({"group:G1"}))) == 2
    assert await around(library.team_id, first, 1, EVERYBODY) == []
    assert await around(library.team_id, first, 1, frozenset()) == []
    assert await around(new_team(), first, 1, frozenset({"group:G1"})) == []
    await library.put("secret", "## One\n\nThe code is 4713.\n\n## Two\n\nAnd 4712.", audience="group:G1")
    assert await around(library.team_id, first, 1, frozenset({"group:G1"})) == []


async def test_what_an_earlier_release_stored_is_read_and_added_to(index_kind: Kind) -> None:
    """Of it nobody knows whether its section is whole; of what is stored now it is known. What is changed in it takes
    the place of what it was."""
    async with shelf(index_kind, new_team()) as before:
        old = await before.put("old", "Old words.")
        assert (await before.find("words"))[0].passage == old.passages[0]
    await index_kind.make_earlier(before.team_id, form_of(before.embedder.id, "test"))
    async with shelf(index_kind, before.team_id) as library:
        (found,) = await library.find("words")
        assert found.passage == old.passages[0].model_copy(update={"is_whole": False})
        new = await library.put("new", "New words.")
        assert new.passages[0].is_whole
        assert {hit.passage.id: hit.passage.is_whole for hit in await library.find("words")} == {
            old.passages[0].id: False,
            new.passages[0].id: True,
        }
        await library.put("old", "Changed words.")
        assert sorted(hit.passage.text for hit in await library.find("words")) == ["Changed words.", "New words."]


async def test_a_search_can_be_by_meaning_or_by_words_alone(library: Shelf) -> None:
    """What is found then is ranked by its vector alone, or by its words alone."""
    near = await library.put("near", "Something else.")
    await library.put("worded", "ERR-4021 ERR-4021")
    asked = replace(library.query("ERR-4021"), vector=near.vectors[0])
    for alpha, name in ((1.0, "near"), (0.0, "worded")):
        (best, *_) = await library.index.search(library.team_id, replace(asked, alpha=alpha), 5)
        assert (best.passage.document_id, best.score) == (name, pytest.approx(1.0))


async def test_unreadable_passages_do_not_crowd_out_readable_ones(library: Shelf) -> None:
    """The filter is inside the query: 150 better but unreadable passages leave the readable one in the answer."""
    pages = [
        page(library.team_id, f"s{n}", f"secret number {n}", audience="channel:C9", embedder=library.embedder)
        for n in range(150)
    ]
    await library.index.put(library.team_id, pages)
    await library.put("open", "A secret, and much else about numbers that nobody asked for.")
    assert await library.ids("secret number") == ["open"]


async def test_a_forgotten_source_is_out_whole(library: Shelf) -> None:
    """Its documents are found no more and its name is gone; another source with the same ids stays as it was."""
    for source in ("wiki", "docs"):
        await library.put("keys", f"Reset a key in the {source}.", source=source)
        await library.index.save_source(library.team_id, Source(name=source, address=f"/{source}"))
    await library.index.forget_source(library.team_id, "wiki")
    (hit,) = await library.find("reset a key")
    assert hit.passage.source == "docs"
    assert await library.index.digests(library.team_id, "wiki") == {}
    assert [source.name for source in await library.index.sources(library.team_id)] == ["docs"]
    assert await library.index.count(library.team_id) == (1, 1)


async def test_what_is_not_there_is_forgotten_without_a_word(library: Shelf) -> None:
    """A team without anything, and a source that nobody has: nothing happens."""
    await library.index.forget_source(library.team_id, "wiki")
    await library.put("keys", "Reset a key.")
    await library.index.forget_source(library.team_id, "wiki")
    assert await library.ids("reset") == ["keys"]


async def test_a_source_is_forgotten_in_every_form(index_kind: Kind) -> None:
    """What an earlier model had embedded is kept for going back: of a forgotten source nothing is."""
    team_id = new_team()
    for version in ("1", "2"):
        async with shelf(index_kind, team_id, version) as one:
            await one.put("keys", "Reset a key.", source="wiki")
            form = form_of(one.embedder.id, "test")
            await one.index.save_source(team_id, Source(name="wiki", address="/wiki", form=form))
    async with shelf(index_kind, team_id, "2") as newest:
        await newest.index.forget_source(team_id, "wiki")
    for version in ("1", "2"):
        async with shelf(index_kind, team_id, version) as one:
            assert await one.index.count(team_id) == (0, 0)
            assert await one.index.digests(team_id, "wiki") == {}


async def test_a_row_without_an_audience_is_unreadable(library: Shelf, index_kind: Kind) -> None:
    """A row that lost its audience is found by nobody."""
    await library.put("lost", "A lost page.")
    await library.put("kept", "A kept page.")
    await index_kind.take_audience(library.team_id, form_of(library.embedder.id, "test"), "lost")
    assert await library.ids("lost page", EVERYBODY | {"", "None", "null"}) == ["kept"]


async def test_a_row_that_loses_its_audience_is_lost_with_the_next_search(library: Shelf, index_kind: Kind) -> None:
    """Who may read a row is what the row says now, not what was remembered of it."""
    await library.put("lost", "A lost page.")
    await library.put("kept", "A kept page.")
    assert await library.ids("lost page") == ["lost", "kept"]
    await index_kind.take_audience(library.team_id, form_of(library.embedder.id, "test"), "lost")
    assert await library.ids("lost page", EVERYBODY | {"", "None", "null"}) == ["kept"]


async def test_teams_never_meet(library: Shelf, index_kind: Kind) -> None:
    """What one team stores, another neither finds nor counts nor removes, though ids and sources are the same."""
    await library.put("page", "The same page.")
    async with shelf(index_kind, new_team()) as other:
        assert await other.ids("same page") == []
        await other.put("page", "The same page.")
        await other.index.remove(other.team_id, "docs", ["page"])
        assert await other.index.count(other.team_id) == (0, 0)
    assert await library.ids("same page") == ["page"]
    assert await library.index.count(library.team_id) == (1, 1)


async def test_a_team_that_never_stored_anything_has_an_empty_library(library: Shelf) -> None:
    """Everything can be asked of a team that is not there yet, and the answer is nothing."""
    assert await library.ids("anything") == []
    assert await library.index.digests(library.team_id, "docs") == {}
    assert await library.index.sources(library.team_id) == []
    assert await library.index.count(library.team_id) == (0, 0)
    assert await library.index.is_ready()


async def test_a_changed_document_replaces_what_it_held(library: Shelf) -> None:
    """After a change the old words are not found, the new ones are, and nothing is there twice."""
    await library.put("fee", "# Fee\n\nThe fee is 4711.\n\n# More\n\nMore words.", title="Fee")
    changed = await library.put("fee", "# Fee\n\nThe fee is 4712.", title="Fee")
    assert [hit.passage.text for hit in await library.find("fee 4711")] == ["The fee is 4712."]
    assert await library.index.digests(library.team_id, "docs") == {"fee": changed.digest}
    assert await library.index.count(library.team_id) == (1, 1)


async def test_the_digests_of_some_documents_are_told_apart_by_source(library: Shelf) -> None:
    """Asked for some ids, it tells those that are there, of that source and no other, whatever the ids look like."""
    first = await library.put("a/b", "The same page.")
    await library.put("c", "Another page.")
    await library.put("b/a", "The same page.", source="wiki")
    digests = library.index.digests
    assert await digests(library.team_id, "docs", ["a/b", "b/a", "gone"]) == {"a/b": first.digest}
    assert await digests(library.team_id, "docs", []) == {}
    assert await digests(new_team(), "docs", ["a/b"]) == {}
    narrow = await library.put("a/b", "The same page.", audience="channel:C1")
    assert await digests(library.team_id, "docs", ["a/b"]) == {"a/b": narrow.digest} != {"a/b": first.digest}


async def test_a_change_of_audience_alone_takes_effect(library: Shelf) -> None:
    """The same words for another audience: the old readers lose them."""
    await library.put("plan", "The plan.", audience="workspace")
    await library.put("plan", "The plan.", audience="channel:C1")
    assert await library.ids("plan") == []
    assert await library.ids("plan", frozenset({"channel:C1"})) == ["plan"]


async def test_two_documents_that_swap_their_words_are_each_replaced(library: Shelf) -> None:
    """A new version that equals what another document held before does not save the other's old passages."""
    for one, other in (("first words", "second words"), ("second words", "first words")):
        await library.index.put(
            library.team_id,
            [page(library.team_id, "a", one, title="T"), page(library.team_id, "b", other, title="T")],
        )
    assert await library.index.count(library.team_id) == (2, 2)
    held = {hit.passage.document_id: hit.passage.text for hit in await library.find("words")}
    assert held == {"a": "second words", "b": "first words"}


async def test_removing_takes_exactly_what_is_named(library: Shelf) -> None:
    """`a/b` is not `b/a`, nor `a`, nor the `a/b` of another source."""
    for document_id in ("a/b", "b/a", "a", "A/B", "a b"):
        await library.put(document_id, "Some words.")
    await library.put("a/b", "Some words.", source="wiki")
    await library.index.remove(library.team_id, "docs", ["a/b"])
    await library.index.remove(library.team_id, "docs", [])
    assert set(await library.index.digests(library.team_id, "docs")) == {"b/a", "a", "A/B", "a b"}
    assert set(await library.index.digests(library.team_id, "wiki")) == {"a/b"}
    left = [(hit.passage.source, hit.passage.document_id) for hit in await library.find("some words", k=10)]
    assert sorted(left) == [("docs", "A/B"), ("docs", "a"), ("docs", "a b"), ("docs", "b/a"), ("wiki", "a/b")]


async def test_it_knows_all_documents_of_a_large_source(library: Shelf) -> None:
    """The digests of more documents than fit one page of a listing are all there, and can all be removed."""
    pages = [page(library.team_id, f"d{n}", f"Text {n}.", embedder=library.embedder) for n in range(1_203)]
    await library.index.put(library.team_id, pages)
    await library.put("d1", "Another source.", source="wiki")
    assert await library.index.digests(library.team_id, "docs") == {each.document_id: each.digest for each in pages}
    assert await library.index.count(library.team_id, "docs") == (1_203, 1_203)
    await library.index.remove(library.team_id, "docs", [each.document_id for each in pages])
    assert await library.index.count(library.team_id) == (1, 1)


async def test_an_identifier_is_found_letter_by_letter(index_kind: Kind) -> None:
    """By words alone, the page with exactly the asked error code comes first among pages with codes like it."""
    async with shelf(index_kind, new_team(), alpha=0) as library:
        for number in range(4020, 4030):
            await library.put(f"e{number}", f"`ERR-{number}` means that something is wrong with case {number - 4000}.")
        assert (await library.ids("what does ERR-4023 mean?"))[0] == "e4023"


async def test_alpha_one_ranks_by_vectors_alone(index_kind: Kind) -> None:
    """With alpha 1 the order is that of the cosines, whatever the words say."""
    async with shelf(index_kind, new_team(), alpha=1) as library:
        for name, text in {"one": "alpha beta", "two": "alpha alpha beta", "three": "gamma"}.items():
            await library.put(name, text, title="-")
        hits = await library.find("alpha")
        assert hits == sorted(hits, key=lambda hit: -hit.certainty)


@pytest.mark.parametrize(
    "text",
    ['"', "AND OR NOT (", "'; DROP TABLE passages; --", "?!", "*", "title:", "\x00x", "é" * 40_000, "a" * 70_000],
)
async def test_no_question_breaks_it(library: Shelf, text: str) -> None:
    """Whatever is typed is looked for as words, never as a query language."""
    await library.put("page", "Some page.")
    assert await library.ids(text) == ["page"]


async def test_it_gives_no_more_than_it_was_asked_for(library: Shelf) -> None:
    """`k` bounds the hits; a large `k` gives all there are."""
    for number in range(30):
        await library.put(f"p{number}", f"words and page {number}")
    assert len(await library.ids("words", k=3)) == 3
    assert len(set(await library.ids("words", k=50))) == 30


async def test_another_process_sees_a_change_with_its_next_search(library: Shelf, index_kind: Kind) -> None:
    """Two indexes over the same store, as two processes have them: a commit of one is found by the other at once."""
    await library.put("one", "The number is 1.")
    async with shelf(index_kind, library.team_id) as other:
        assert await other.ids("number") == ["one"]
        await library.put("two", "The number is 2.")
        assert set(await other.ids("number")) == {"one", "two"}
        await library.index.remove(library.team_id, "docs", ["one"])
        assert await other.ids("number") == ["two"]
        await other.put("three", "The number is 3.")
    assert set(await library.ids("number")) == {"two", "three"}


async def test_searching_goes_on_while_documents_are_stored(library: Shelf) -> None:
    """Readers beside a writer never fail, and never see a document in two versions."""
    await library.put("page", "version 0 words")

    async def write() -> None:
        for number in range(1, 20):
            await library.put("page", f"version {number} words")
            await library.put(f"other{number}", "other words")

    writing = asyncio.create_task(write())
    while not writing.done():
        assert "page" in await library.ids("version words", k=3)
        await asyncio.sleep(0)
    await writing


async def test_sources_are_remembered_by_name(library: Shelf, index_kind: Kind) -> None:
    """A source comes back as it was saved last, to other processes too."""
    when = datetime(2026, 1, 2, tzinfo=UTC)
    form = form_of(library.embedder.id, "test")
    wiki = Source(name="wiki", address="/wiki", audience="channel:C1", base_url="https://w", synced_at=when, form=form)
    docs = Source(name="docs", address="/docs", form=form)
    await library.index.save_source(library.team_id, docs)
    await library.index.save_source(library.team_id, wiki)
    await library.index.save_source(library.team_id, docs.model_copy(update={"documents": 3}))
    async with shelf(index_kind, library.team_id) as other:
        assert await other.index.sources(library.team_id) == [docs.model_copy(update={"documents": 3}), wiki]


async def test_two_models_never_mix(library: Shelf, index_kind: Kind) -> None:
    """What is stored by one model is neither found, counted nor removed by another; sources they have in common."""
    await library.put("page", "A page of the first model.")
    await library.index.save_source(library.team_id, Source(name="docs", address="/"))
    async with shelf(index_kind, library.team_id, version="2") as other:
        assert await other.ids("page") == []
        await other.put("page", "A page of the second model.")
        assert [hit.passage.text for hit in await library.find("page")] == ["A page of the first model."]
        assert [hit.passage.text for hit in await other.find("page")] == ["A page of the second model."]
        await other.index.remove(library.team_id, "docs", ["page"])
        assert await other.index.count(library.team_id) == (0, 0)
        assert [source.name for source in await other.index.sources(library.team_id)] == ["docs"]
    assert await library.index.count(library.team_id) == (1, 1)


async def test_a_sample_is_of_what_is_there(library: Shelf) -> None:
    """Some passages as they were stored, whoever may read them, none twice; all where there are few."""
    stored = {}
    for number in range(12):
        for passage in (await library.put(f"p{number}", f"Page {number}.", audience="channel:C1")).passages:
            stored[passage.id] = passage
    sample = await library.index.sample(library.team_id, 5)
    assert len({passage.id for passage in sample}) == 5
    assert all(stored[passage.id] == passage for passage in sample)
    assert {passage.id for passage in await library.index.sample(library.team_id, 50)} == stored.keys()
    assert await library.index.sample(new_team(), 5) == []


async def test_vectors_of_another_length_are_refused_before_anything_is_stored(library: Shelf) -> None:
    """One wrong vector would set the length of an empty collection, and one without numbers spoils its index: the whole
    call is refused."""
    good = page(library.team_id, "good", "good words", embedder=library.embedder)
    bad = page(library.team_id, "bad", "bad words", embedder=library.embedder)
    for wrong in (np.ones((1, 3)), np.ones((2, 64)), np.full((1, 64), np.nan)):
        with pytest.raises(Broken, match="dimensions"):
            await library.index.put(library.team_id, [replace(bad, vectors=wrong.astype(np.float32)), good])
    assert await library.index.count(library.team_id) == (0, 0)


@pytest.mark.parametrize("team_id", ["", "../T1", "T 1", "T/1", "T" * 65])
async def test_what_is_no_team_id_is_refused(library: Shelf, team_id: str) -> None:
    """A team's id names a file or a tenant, so nothing else passes for one."""
    with pytest.raises(Broken, match="team"):
        await library.index.search(team_id, Query("x", library.embedder.embed_query("x"), EVERYBODY), 5)
