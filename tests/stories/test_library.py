"""The library's part of a question's way: documents in, passages out, with the real embedder on the embedded index."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.errors import TellUser
from bot.settings import Settings
from bot.vocabulary import FAILURES_REMEMBERED, Found, Question, Turn
from retrieval.library import Library, open_library

TEAM = "T1"
EVERYBODY = frozenset({"public", "workspace"})


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    async with open_library(Settings(data_dir=tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A small handbook."""
    folder = tmp_path / "handbook"
    (folder / "api").mkdir(parents=True)
    (folder / "api" / "keys.md").write_text(
        "---\ntitle: API keys\nurl: https://docs.example/api/keys\n---\n# API keys\n\nA key opens the API.\n\n"
        "## Reset a key\n\nOpen Settings, choose your key and press Regenerate. The old key stops at once.\n"
    )
    (folder / "billing.md").write_text("# Billing\n\nInvoices are issued on the third day of each month.\n")
    (folder / "errors.md").write_text("# Errors\n\n`ERR-4021` means that the balance is too low: top it up.\n")
    (folder / "secret.md").write_text("---\naudience: channel:C1\n---\n# Plans\n\nThe merger is on the ninth of May.\n")
    return folder


async def ask(library: Library, text: str, readable: frozenset[str] = EVERYBODY, *history: str) -> Found:
    """Asks, after what the asker and the bot said before, in turns."""
    turns = tuple(Turn(role="assistant" if n % 2 else "user", text=said) for n, said in enumerate(history))
    return await library.find(Question(id="q", team_id=TEAM, text=text, readable=readable, history=turns))


def ids(found: Found) -> list[str]:
    return [hit.passage.document_id for hit in found.hits]


async def test_a_folder_becomes_passages_that_can_be_cited(library: Library, docs: Path) -> None:
    """The best passage for a question carries title, section, link and the page's own words."""
    report = await library.ingest(TEAM, docs)
    assert (report.added, report.failed) == (4, ())
    assert report.passages == 5
    found = await ask(library, "How do I reset my API key?")
    best = found.hits[0].passage
    assert (best.document_id, best.title, best.section) == ("api/keys", "API keys", "Reset a key")
    assert best.url == "https://docs.example/api/keys"
    assert best.text == "Open Settings, choose your key and press Regenerate. The old key stops at once."
    assert best.updated_at is not None
    assert found.is_sufficient
    assert found.confidence == max(hit.certainty for hit in found.hits) >= 0.75
    assert found.embed_ms > 0 and found.search_ms > 0


async def test_what_the_pages_do_not_hold_is_not_sufficient(library: Library, docs: Path) -> None:
    """The nearest pages are found, for the asker to look at, and the bot is told not to answer from them."""
    await library.ingest(TEAM, docs)
    found = await ask(library, "Which wine goes with grilled fish?")
    assert found.hits
    assert not found.is_sufficient


async def test_an_identifier_in_a_hit_is_enough(docs: Path, tmp_path: Path) -> None:
    """However little certainty a bare error code gives: the page that holds it letter by letter answers. A code that is
    only the beginning of one there is not it."""
    async with open_library(Settings(data_dir=tmp_path / "data", sufficiency_threshold=1)) as library:
        await library.ingest(TEAM, docs)
        found = await ask(library, "huh, ERR-4021??")
        assert ids(found)[0] == "errors"
        assert found.is_sufficient
        assert not (await ask(library, "huh, ERR-402??")).is_sufficient


async def test_a_page_for_one_channel_is_found_only_there(library: Library, docs: Path) -> None:
    """The same question with and without the channel among the readable audiences."""
    await library.ingest(TEAM, docs)
    assert "secret" in ids(await ask(library, "when is the merger", EVERYBODY | {"channel:C1"}))
    assert "secret" not in ids(await ask(library, "when is the merger"))
    assert (await ask(library, "when is the merger", frozenset())).hits == ()


async def test_the_next_question_follows_a_change(library: Library, docs: Path) -> None:
    """A new page, a changed number and a deleted page are each in effect with the first question after the sync, and
    only what changed was embedded."""
    await library.ingest(TEAM, docs)
    (docs / "fee.md").write_text("# Fee\n\nThe late fee is 4711 euros.\n")
    report = await library.sync(TEAM, "handbook")
    assert (report.added, report.changed, report.unchanged, report.removed, report.passages) == (1, 0, 4, 0, 1)
    assert "4711" in (await ask(library, "how much is the late fee")).hits[0].passage.text

    (docs / "fee.md").write_text("# Fee\n\nThe late fee is 4712 euros.\n")
    report = await library.sync(TEAM, "handbook")
    assert (report.added, report.changed, report.unchanged, report.removed, report.passages) == (0, 1, 4, 0, 1)
    assert "4712" in (await ask(library, "how much is the late fee")).hits[0].passage.text

    (docs / "fee.md").unlink()
    report = await library.sync(TEAM, "handbook")
    assert (report.added, report.changed, report.unchanged, report.removed, report.passages) == (0, 0, 4, 1, 0)
    assert "fee" not in ids(await ask(library, "how much is the late fee"))


async def test_a_changed_audience_is_in_effect_with_the_next_question(library: Library, docs: Path) -> None:
    """The words stay the same, the readers change."""
    await library.ingest(TEAM, docs)
    (docs / "billing.md").write_text("---\naudience: channel:C1\n---\n" + (docs / "billing.md").read_text())
    assert (await library.sync(TEAM, "handbook")).changed == 1
    assert "billing" not in ids(await ask(library, "when are invoices issued"))


async def test_nothing_new_is_a_matter_of_milliseconds(library: Library, docs: Path) -> None:
    """A sync of an unchanged source embeds nothing and says that all is as it was."""
    await library.ingest(TEAM, docs)
    report = await library.ingest(TEAM, docs)
    assert (report.added, report.changed, report.unchanged, report.removed, report.passages) == (0, 0, 4, 0, 0)


async def test_a_source_keeps_what_it_was_told(library: Library, docs: Path) -> None:
    """Audience and base URL stay in force for later syncs: forgetting them would open a restricted source to all."""
    await library.ingest(TEAM, docs, name="internal", audience="channel:C9", base_url="https://wiki.example")
    await library.ingest(TEAM, docs, name="internal")
    (docs / "new.md").write_text("# New\n\nSomething new.\n")
    await library.sync(TEAM, "internal")
    assert ids(await ask(library, "something new")) == []
    (hit, *_) = (await ask(library, "something new", frozenset({"channel:C9"}))).hits
    assert hit.passage.url == "https://wiki.example/new"
    (source,) = await library.sources(TEAM)
    assert (source.name, source.audience, source.documents) == ("internal", "channel:C9", 5)
    assert source.synced_at is not None


async def test_what_the_last_sync_did_is_remembered(library: Library, docs: Path) -> None:
    """Counts, and the first things that could not be read with their reasons; also when nothing could be read."""
    for number in range(25):
        (docs / f"broken-{number}.pdf").write_bytes(b"")
    report = await library.ingest(TEAM, docs)
    (source,) = await library.sources(TEAM)
    assert source.last_report and source.last_report.added == report.added > 0
    assert source.last_report.failed == 25 and len(source.last_report.failures) == FAILURES_REMEMBERED
    assert "broken-0.pdf" in source.last_report.failures[0].source
    shutil.rmtree(docs)
    with pytest.raises(TellUser):
        await library.sync(TEAM, "handbook")
    (source,) = await library.sources(TEAM)
    assert source.last_report and source.last_report.failed == 1 and source.documents == report.added
    assert "cannot be read" in source.last_report.failures[0].reason


async def test_sources_do_not_touch_each_other(library: Library, docs: Path, tmp_path: Path) -> None:
    """What one source no longer holds is removed from that one only."""
    (tmp_path / "wiki.jsonl").write_text('{"id": "w1", "title": "Lunch", "text": "Lunch is at noon."}\n')
    await library.ingest(TEAM, docs)
    await library.ingest(TEAM, tmp_path / "wiki.jsonl")
    report = await library.ingest(TEAM, docs)
    assert report.removed == 0
    assert ids(await ask(library, "when is lunch"))[0] == "w1"
    assert [source.name for source in await library.sources(TEAM)] == ["handbook", "wiki.jsonl"]


async def test_a_follow_up_that_points_back_is_understood(library: Library, docs: Path) -> None:
    """“What does it mean?” is searched together with the question before it; a question of its own is not."""
    await library.ingest(TEAM, docs)
    history = ("when are invoices issued?", "On the third day of each month.")
    found = await ask(library, "and how do we change that?", EVERYBODY, *history)
    assert found.query == "when are invoices issued?\nand how do we change that?"
    assert ids(found)[0] == "billing"
    own = "How do I reset an API key in the settings?"
    assert (await ask(library, own, EVERYBODY, *history)).query == own


async def test_progress_is_told_to_the_end(library: Library, docs: Path) -> None:
    """A progress bar gets how many documents of how many, and ends at all of them."""
    told: list[tuple[int, int, str]] = []
    await library.ingest(TEAM, docs, progress=lambda done, total, place: told.append((done, total, place)))
    assert told[-1][:2] == (4, 4)


async def test_the_status_says_how_the_library_stands(library: Library, docs: Path) -> None:
    """Sizes, backend and model."""
    await library.ingest(TEAM, docs)
    status = await library.status(TEAM)
    assert status.model_dump() == {
        "passages": 5, "documents": 4, "backend": "embedded", "embedding_model": "minilm", "is_ready": True,
        "remark": "", "calibration": "",
    }  # fmt: skip


async def test_a_follow_up_is_searched_in_the_direction_of_its_thread(library: Library, tmp_path: Path) -> None:
    """Of two pages that hold its words alike, the one that the thread is about comes first; how certain the bot is
    stays a matter of the question's own words."""
    folder = tmp_path / "guide"
    folder.mkdir()
    for name in ("Invoices", "Backups"):
        (folder / f"{name}.md").write_text(f"# {name}\n\nThe monthly limit of {name} is raised by an administrator.\n")
    await library.ingest(TEAM, folder)
    text = "who raises the monthly limit for a customer"
    for name, said in (("Invoices", "How are payments billed?"), ("Backups", "Is my data saved every night?")):
        found = await ask(library, text, EVERYBODY, said, f"{name} are made every night.")
        assert ids(found)[0] == name
        assert found.query == text
        alone = {hit.passage.id: hit.certainty for hit in (await ask(library, text)).hits}
        assert {hit.passage.id: hit.certainty for hit in found.hits} == pytest.approx(alone)


async def test_a_page_that_holds_the_code_comes_first(library: Library, tmp_path: Path) -> None:
    """However many pages are nearer in meaning; in its heading or in its text."""
    folder = tmp_path / "codes"
    folder.mkdir()
    for n in range(30):
        (folder / f"e{n}.md").write_text(
            f"# Errors of part {n}\n\nWhat does the error code of part {n} mean? See there.\n"
        )
    (folder / "limits.md").write_text("# Limits\n\n## QX-77\n\nPayload above the quota; shrink it.\n")
    await library.ingest(TEAM, folder)
    found = await ask(library, "What does the error code QX-77 mean?")
    assert ids(found)[0] == "limits"
    assert found.is_sufficient


async def test_a_code_that_no_page_holds_is_not_answered_from_a_look_alike(library: Library, docs: Path) -> None:
    """Though its page is near; a question that names a code by the way is judged as any other."""
    await library.ingest(TEAM, docs)
    look_alike = await ask(library, "What does ERR-4022 mean?")
    assert ids(look_alike)[0] == "errors"
    assert not look_alike.is_sufficient
    assert (await ask(library, "Since ERR-4022 came up I want to reset my API key, how do I do that?")).is_sufficient


async def test_a_misspelt_question_finds_its_page(library: Library, docs: Path) -> None:
    """It is searched as the pages write it, and what was read is told."""
    await library.ingest(TEAM, docs)
    found = await ask(library, "when are invocies isued")
    assert found.query == "when are invoices issued"
    assert ids(found)[0] == "billing"


async def test_no_correction_betrays_a_page_that_may_not_be_read(library: Library, docs: Path) -> None:
    """A word of a page for others is no word to correct to."""
    await library.ingest(TEAM, docs)
    assert (await ask(library, "is there a mergger", frozenset({"channel:C1"}))).query == "is there a merger"
    assert (await ask(library, "is there a mergger")).query == "is there a mergger"


async def test_of_two_versions_of_a_page_the_newer_is_read_first(library: Library, tmp_path: Path) -> None:
    """And the older one does not take the place of another page."""
    folder = tmp_path / "years"
    folder.mkdir()
    for year, size in ((2024, 5), (2026, 25)):
        text = f"An upload may have up to {size} megabytes on every plan."
        (folder / f"{year}.md").write_text(f"---\ntitle: Uploads\nupdated: {year}-01-01\n---\n{text}\n")
    await library.ingest(TEAM, folder)
    found = await ask(library, "how large may an upload be, up to 5 megabytes?")
    assert ids(found) == ["2026", "2024"]


@pytest.fixture
async def notices(library: Library, tmp_path: Path) -> Library:
    """A library of pages on notifications."""
    folder = tmp_path / "notices"
    folder.mkdir()
    for kind in ("Desktop", "Mobile", "Email"):
        text = f"{kind} notifications are switched on under Settings, in the part {kind}."
        (folder / f"{kind}.md").write_text(f"# {kind} notifications\n\n{text}\n")
    await library.ingest(TEAM, folder)
    return library


async def test_a_question_that_fits_several_pages_alike_is_vague(notices: Library) -> None:
    """One word that says what it is about, and three pages as near to it; another word, and it is not."""
    assert (await ask(notices, "notifications?")).is_vague
    assert (await ask(notices, "how do I use notifications")).is_vague
    assert not (await ask(notices, "how do I get notifications on mobile")).is_vague
    assert not (await ask(notices, "chess?")).is_vague


async def test_nobody_is_asked_back_twice_in_a_thread(notices: Library) -> None:
    """Only the first question of a thread can be vague: a follow-up has the thread to tell what it means."""
    assert not (await ask(notices, "notifications?", EVERYBODY, "notifications", "Which ones?")).is_vague


async def test_a_page_of_that_very_title_is_no_guess(notices: Library, tmp_path: Path) -> None:
    """Whoever types the name of a page wants it."""
    (tmp_path / "notices" / "all.md").write_text("# Notifications\n\nNotifications are switched on under Settings.\n")
    await notices.sync(TEAM, "notices")
    assert not (await ask(notices, "notifications?")).is_vague


async def test_a_restart_forgets_nothing(docs: Path, tmp_path: Path) -> None:
    """Another process on the same data folder finds what the first one took in, and knows what it need not embed."""
    settings = Settings(data_dir=tmp_path / "data")
    async with open_library(settings) as library:
        await library.ingest(TEAM, docs)
    async with open_library(settings) as library:
        assert ids(await ask(library, "when are invoices issued"))[0] == "billing"
        assert (await library.sync(TEAM, "handbook")).unchanged == 4
