"""Sources of every kind but the web, and files of every kind, the worst ones included: each bad one is a line with its
reason in the report, the rest goes in, and nothing hangs."""

from __future__ import annotations

import importlib.util
import os
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
import typer

from bot.errors import TellUser
from bot.source_commands import seconds_of
from bot.source_words import interval
from bot.vocabulary import Question
from retrieval.decoding import Unfit
from retrieval.index import form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.library import Library
from retrieval.reading_apart import Apart, Limits
from retrieval.source_remote import Remote
from retrieval.sources import Access, Item, name_of
from tests.bad_files import docx, pdf, pdf_bomb, write_all
from tests.hashing_embedder import HashingEmbedder

TEAM = "T1"


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    embedder = HashingEmbedder()
    form = form_of(embedder.id, "test")
    index = EmbeddedIndex(tmp_path / "library", form, embedder.dimensions, 0.5)
    opened = Library(index, embedder, form, threshold=0.75, model="hashing", access=Access(stamps=tmp_path / "stamps"))
    yield opened
    await opened.close()


@pytest.fixture
def bucket() -> Iterator[str]:
    """A place in fsspec's memory that is like a bucket."""
    address = f"memory://{uuid4().hex}/docs"
    yield address
    files = fsspec.filesystem("memory")
    if files.exists(address):
        files.rm(address, recursive=True)


def put(address: str, text: str) -> None:
    with fsspec.open(address, "wb") as file:
        file.write(text.encode())


async def texts(library: Library, text: str) -> str:
    """All that a search finds."""
    question = Question(id="q", team_id=TEAM, text=text, readable=frozenset({"public", "workspace"}))
    return "\n".join(hit.passage.text for hit in (await library.find(question, k=50)).hits)


# Bad files


async def test_a_folder_of_everything_bad_is_one_line_each(library: Library, tmp_path: Path) -> None:
    """Encrypted, cut off, lying, enormous, bombs, empty, wrongly encoded, hidden, twice the same id, a pipe: each has
    its reason in the report, every good one is found, and it takes seconds."""
    wanted = write_all(tmp_path / "bad")
    began = time.monotonic()
    report = await library.ingest(TEAM, tmp_path / "bad")
    assert time.monotonic() - began < 60
    told = {failure.source: failure.reason for failure in report.failed}
    assert len(told) == len(report.failed)
    assert told.keys() - {"deep.html"} == wanted.keys()
    for place, reason in wanted.items():
        assert reason in told[place], place
    found = await texts(library, "says 1001 1002 1003 1004 1005 1006 1007 1008")
    for number in range(1001, 1009):
        assert str(number) in found
    assert "hiddenword" not in found


@pytest.mark.parametrize("place", ["folder", "bucket"])
async def test_files_that_differ_by_their_suffix_alone_are_documents_of_their_own(
    library: Library, tmp_path: Path, bucket: str, place: str
) -> None:
    """The first keeps the plain id, also when it is read again; a file that is no document takes no id away."""
    address = str(tmp_path / "docs") if place == "folder" else bucket
    (tmp_path / "docs").mkdir()
    for name in ("price.json", "price.html", "price.md", "price.md.txt", "other.md"):
        put(f"{address}/{name}", f"The text of {name}.")
    assert (await library.ingest(TEAM, address)).added == 4
    again = await library.ingest(TEAM, address)
    assert (again.unchanged, again.removed) == (4, 0)
    question = Question(id="q", team_id=TEAM, text="text of price", readable=frozenset({"workspace"}))
    found = {hit.passage.document_id: hit.passage.text for hit in (await library.find(question, k=9)).hits}
    assert found == {
        "price": "The text of price.html.",
        "price.md": "The text of price.md.",
        "price.md.txt": "The text of price.md.txt.",
        "other": "The text of other.md.",
    }


def put_named(folder: Path, name: bytes, content: bytes) -> None:
    (folder / os.fsdecode(name)).write_bytes(content)


async def test_a_name_that_is_not_utf_8_costs_nothing(library: Library, tmp_path: Path) -> None:
    """As old disks have them: the page is found, and the report and the list of sources can be written."""
    folder = tmp_path / "docs"
    folder.mkdir()
    try:
        for name, content in ((b"caf\xe9.md", b"A text that says 1008."), (b"caf\xe9.pdf", b"no PDF")):
            put_named(folder, name, content)
    except OSError:
        pytest.skip("this file system takes no such name")
    report = await library.ingest(TEAM, folder)
    assert report.added == 1 and "1008" in await texts(library, "says 1008")
    assert "caf\ufffd.pdf" in report.model_dump_json()
    (source,) = await library.sources(TEAM)
    assert source.last_report and source.last_report.failed == 1


ROOMY = 8_000_000_000  # bytes


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(ROOMY, cpu_s=1), "more than 1 s of computing"),
        (Limits(ROOMY, wall_s=0.2), "more than 0.2 s"),
        (Limits(300_000_000), "memory"),
    ],
    ids=["computing", "waiting", "memory"],
)
def test_a_bomb_costs_only_itself(limits: Limits, expected: str) -> None:
    """Whichever limit it meets first, that is its reason, and the next file is read."""
    with Apart(limits) as apart, pytest.raises(Unfit, match=expected):
        apart.read(pdf_bomb(30), ".pdf")
    with Apart() as apart:
        assert apart.read(pdf("Text."), ".pdf") == (None, "Text.")


def test_a_process_that_died_is_replaced() -> None:
    """The same pool reads on after a crash."""
    with Apart(Limits(ROOMY, cpu_s=1), at_once=1) as apart:
        for _ in range(2):
            with pytest.raises(Unfit):
                apart.read(pdf_bomb(30), ".pdf")
            assert apart.read(pdf("Text."), ".pdf")[1] == "Text."


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system shows no environments")
def test_who_takes_a_parser_over_finds_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the processes that parse holds nothing of ours."""
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-not-for-you")
    with Apart(at_once=1) as apart:
        apart.read(pdf("Text."), ".pdf")
        (child,) = apart._idle
        seen = Path(f"/proc/{child._process.pid}/environ").read_bytes()
    assert b"PYTHONPATH" in seen
    assert b"xoxb" not in seen


def test_no_process_is_left_behind() -> None:
    """When the reading is over, so are the processes."""
    with Apart() as apart:
        apart.read(pdf("Text."), ".pdf")
        processes = [child._process for child in apart._idle]
    assert processes and all(process.poll() is not None for process in processes)


# Good files


async def test_a_pdf_is_cited_by_its_pages(library: Library, tmp_path: Path) -> None:
    """The section of a passage is the page, its title the document's own."""
    (tmp_path / "manual.pdf").write_bytes(pdf("Nothing here.", "The limit is 4711.", title="The Manual"))
    await library.ingest(TEAM, tmp_path / "manual.pdf")
    question = Question(id="q", team_id=TEAM, text="limit 4711", readable=frozenset({"workspace"}))
    best = (await library.find(question)).hits[0].passage
    assert (best.document_id, best.title, best.section) == ("manual", "The Manual", "Page 2")
    assert best.text == "The limit is 4711."


def test_a_word_document_keeps_its_shape() -> None:
    """Headings, lists and tables as Markdown; what is hidden in it stays hidden."""
    raw = docx(
        ("Heading 1", "Keys"),
        ("Normal", "How to use them."),
        ("List Bullet", "first"),
        ("List Bullet", "second"),
        ("Heading 2", "Codes"),
        hidden="invisible",
        table=[["Code", "Meaning"], ["E1", "a | b"]],
    )
    with Apart() as apart:
        _, text = apart.read(raw, ".docx")
    table = "| Code | Meaning |\n|---|---|\n| E1 | a \\| b |"
    assert text == f"# Keys\n\nHow to use them.\n\n- first\n- second\n\n## Codes\n\n{table}"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_row_of_a_table_says_what_it_is_about(separator: str) -> None:
    """Each value stands after the name of its column."""
    rows = [["Code", "Meaning", "Since"], ["E1", "too low", "2025"], ["E2", "", "2026", "extra"]]
    raw = "\n".join(separator.join(row) for row in rows).encode()
    with Apart() as apart:
        assert apart.read(raw, ".csv")[1] == "Code: E1; Meaning: too low; Since: 2025\n\nCode: E2; Since: 2026; extra"


def test_what_a_style_sheet_hides_is_not_read() -> None:
    """By class or id, off the page, without size or colour."""
    page = b"""<html><head><style>.off, p#gone { display: none } .on { color: red }</style></head><body><main>
      <h1>Keys</h1><p class="on">The limit is 4711.</p><p class="x off">unseen1</p><p id="gone">unseen2</p>
      <div style="position:absolute; left: -5000px">unseen3</div><span style="font-size: 0px">unseen4</span>
      <p style="text-indent:-9999px">unseen5</p><p style="color: transparent">unseen6</p>
      <p style="opacity: 0.9; font-size: 0.9em">The fee is 42.</p></main></body></html>"""
    with Apart() as apart:
        _, text = apart.read(page, ".html")
    assert "4711" in text and "The fee is 42." in text
    assert "unseen" not in text


# Addresses of fsspec


async def test_a_bucket_is_synced_like_a_folder(library: Library, bucket: str) -> None:
    """Added, changed, removed; hidden files and pictures are passed over; ids are paths below the address."""
    for name in ("keys.md", "api/limits.md", ".hidden/x.md", "logo.png"):
        put(f"{bucket}/{name}", f"Text of {name}.")
    put(f"{bucket}/all.jsonl", '{"id": "record", "text": "Text of a record."}\n')
    report = await library.ingest(TEAM, bucket)
    assert (report.added, report.failed) == (3, ())
    put(f"{bucket}/keys.md", "Another text of the keys.")
    fsspec.filesystem("memory").rm(f"{bucket}/api/limits.md")
    report = await library.sync(TEAM, "docs")
    assert (report.changed, report.unchanged, report.removed) == (1, 1, 1)
    assert "Another text" in await texts(library, "text")


def test_what_has_its_stamp_is_not_fetched(bucket: str) -> None:
    """The version that the file system names is enough to know that nothing changed."""
    put(f"{bucket}/keys.md", "Text.")
    remote = Remote(bucket)
    (item,) = remote.items()
    assert isinstance(item, Item)
    content = remote.read(item, "")
    assert content and content.raw == b"Text." and content.stamp
    assert remote.read(item, content.stamp) is None
    put(f"{bucket}/keys.md", "Word.")
    again = Remote(bucket)
    (changed,) = again.items()
    assert isinstance(changed, Item)
    assert again.read(changed, content.stamp) is not None


async def test_a_bucket_that_holds_nothing_takes_nothing_away(library: Library, bucket: str) -> None:
    """A slip of the pen in an address looks like an empty bucket: that is an error, and all stays."""
    put(f"{bucket}/keys.md", "Text of the keys.")
    await library.ingest(TEAM, bucket)
    fsspec.filesystem("memory").rm(bucket, recursive=True)
    with pytest.raises(TellUser, match=r"holds no file|no such place"):
        await library.sync(TEAM, "docs")
    assert "keys" in await texts(library, "keys")


async def test_an_archive_is_a_source(library: Library, tmp_path: Path) -> None:
    """Its members are read without unpacking it, each within its limit."""
    with zipfile.ZipFile(tmp_path / "docs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("docs/keys.md", "Text of the keys.")
        archive.writestr("docs/bomb.md", bytes(30_000_000))
        archive.writestr("../outside.md", "Text from outside.")
    report = await library.ingest(TEAM, f"zip://docs::{tmp_path / 'docs.zip'}", name="docs")
    assert report.added == 1
    assert [failure.reason for failure in report.failed] == ["is larger than 20 MB"]
    assert await texts(library, "text") == "Text of the keys."


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="the extra is installed")
async def test_a_missing_package_is_named(library: Library) -> None:
    """With the command that brings it."""
    with pytest.raises(TellUser, match="make setup-cloud"):
        await library.ingest(TEAM, "s3://bucket/docs")


@pytest.mark.parametrize("address", ["nonsense://x/y", "zip://"])
async def test_an_address_of_nothing_is_told(library: Library, address: str) -> None:
    """In a sentence for the operator."""
    with pytest.raises(TellUser, match=address.partition(":")[0]):
        await library.ingest(TEAM, address)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("github://acme", "write github://owner:repository@branch/folder"),
        ("ftp://nowhere.invalid/docs", "cannot be read: there is no such host."),
    ],
)
async def test_what_is_wrong_with_an_address_is_said_in_words(library: Library, address: str, said: str) -> None:
    """Not by the name of an error of some library."""
    with pytest.raises(TellUser) as told:
        await library.ingest(TEAM, address)
    assert said in str(told.value) and "Error" not in str(told.value)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/srv/handbook", "handbook"),
        ("/srv/faq.md", "faq.md"),
        ("https://docs.example/", "docs.example"),
        ("https://docs.example/help/", "help"),
        ("s3://bucket/docs", "docs"),
        ("github://owner:repository@main/docs/guide", "guide"),
    ],
)
def test_a_source_is_named_by_the_last_part_of_its_address(address: str, name: str) -> None:
    """Unless a name is given."""
    assert name_of(address) == name


def test_a_file_address_is_a_folder(tmp_path: Path) -> None:
    """`file://` is what stands there on this machine."""
    from retrieval.sources import address_of

    assert address_of(f"file://{tmp_path}") == str(tmp_path)


# What the library remembers of its sources


async def test_an_emptied_folder_is_told_with_what_went(library: Library, tmp_path: Path) -> None:
    """The report names the documents, so that whoever reads it can tell a mistake."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("Text a.")
    (docs / "b.md").write_text("Text b.")
    await library.ingest(TEAM, docs)
    for file in docs.iterdir():
        file.unlink()
    report = await library.sync(TEAM, "docs")
    assert report.has_emptied
    assert report.removed_ids == ("a", "b")
    assert "removed_ids" not in report.model_dump()


async def test_a_removed_source_is_found_no_more(library: Library, tmp_path: Path) -> None:
    """Its documents go, its name is free again, and the other sources stay."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text(f"Text {name}.")
        await library.ingest(TEAM, tmp_path / name)
    assert await library.remove(TEAM, "one") == 1
    assert await texts(library, "text") == "Text two."
    with pytest.raises(TellUser, match="one"):
        await library.remove(TEAM, "one")


async def test_a_schedule_stays_until_it_is_changed(library: Library, tmp_path: Path) -> None:
    """A source is due when its time since the last sync is over; never, when it was told so."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("Text.")
    await library.ingest(TEAM, docs, every_s=3600)
    await library.ingest(TEAM, docs)
    (source,) = await library.sources(TEAM)
    assert source.every_s == 3600
    assert await library.due(TEAM) == []
    earlier = source.model_copy(update={"tried_at": datetime.now(UTC) - timedelta(seconds=3601)})
    await library._index.save_source(TEAM, earlier)
    assert await library.due(TEAM) == ["docs"]
    await library.ingest(TEAM, docs, every_s=0)
    await library._index.save_source(TEAM, earlier.model_copy(update={"every_s": None}))
    assert await library.due(TEAM) == []


async def test_a_source_that_fails_is_not_due_again_at_once(library: Library, tmp_path: Path) -> None:
    """Its next try comes when its time is over, as if it had not failed."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("Text.")
    await library.ingest(TEAM, docs, every_s=60)
    (source,) = await library.sources(TEAM)
    await library._index.save_source(TEAM, source.model_copy(update={"tried_at": datetime(2026, 1, 1, tzinfo=UTC)}))
    docs.rename(tmp_path / "elsewhere")
    assert await library.due(TEAM) == ["docs"]
    with pytest.raises(TellUser):
        await library.sync(TEAM, "docs")
    assert await library.due(TEAM) == []


@pytest.mark.parametrize(("written", "seconds"), [("30m", 1800), ("6h", 21600), ("2d", 172800), ("90m", 5400)])
def test_a_schedule_is_written_as_it_is_read(written: str, seconds: int) -> None:
    """Minutes, hours and days."""
    assert seconds_of(written) == seconds
    assert interval(seconds) == written


@pytest.mark.parametrize("written", ["", "6", "0h", "-1h", "6 hours", "1.5h", "6s", "999999h"])
def test_a_schedule_that_is_none_is_refused(written: str) -> None:
    """With how to write one."""
    with pytest.raises(typer.BadParameter, match="30m"):
        seconds_of(written)
