"""What the library makes of files as they come: good ones become documents, bad ones a reason with a name."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from bot.errors import TellUser
from bot.vocabulary import Document
from retrieval.chunking import Chunker
from retrieval.reading import Entry, Reader, Unchanged
from retrieval.sources import Access, Unread, address_of, open_origin
from tests.bad_files import docx, pdf
from tests.hashing_embedder import HashingEmbedder

TABLE = "| Code | Meaning |\n|---|---|\n| E1 | bad |"


def read(root: Path, base_url: str | None = None) -> dict[str, Document | Unchanged | Unread]:
    """Reads a source whole: by place, what is there."""
    return {entry.place: entry.found for entry in entries_of(root, base_url)}


def entries_of(root: Path, base_url: str | None = None) -> list[Entry]:
    reader = Reader(open_origin(address_of(root), Access()), "docs", "workspace", base_url)
    return list(reader.entries(reader.items()))


def the(root: Path, base_url: str | None = None) -> Document:
    """The only document of a source."""
    (entry,) = read(root, base_url).values()
    assert isinstance(entry, Document), entry
    return entry


def reason(root: Path) -> str:
    """Why the only file of a source is no document."""
    (entry,) = read(root).values()
    assert isinstance(entry, Unread), entry
    return entry.reason


def file(folder: Path, name: str, content: str | bytes) -> Path:
    """Writes a file below a folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_front_matter_says_title_url_and_audience(tmp_path: Path) -> None:
    """The fields at the head of a page are taken, and are not part of its text."""
    head = "---\ntitle: Reset a key\nurl: https://x.example/keys\naudience: channel:C1\n---\n"
    document = the(file(tmp_path, "api/keys.md", f"{head}# Keys\n\nPress Regenerate.\n"))
    assert (document.id, document.title, document.url) == ("api/keys", "Reset a key", "https://x.example/keys")
    assert (document.audience, document.source) == ("channel:C1", "docs")
    assert "title:" not in document.text


def test_the_first_heading_is_the_title_when_none_is_given(tmp_path: Path) -> None:
    """A heading in code is no heading."""
    page = "```sh\n# not me\n```\n\n## Keys ##\n\nText."
    assert the(file(tmp_path, "a.md", page)).title == "Keys"


def test_the_file_name_is_the_title_when_nothing_else_is(tmp_path: Path) -> None:
    """A page of plain words is called after its file."""
    document = the(file(tmp_path, "release-notes.txt", "Plain words."))
    assert (document.id, document.title, document.audience) == ("release-notes", "release-notes", "workspace")


def test_one_file_is_a_source_too(tmp_path: Path) -> None:
    """The id of a single file is its name without the suffix."""
    file(tmp_path, "faq.md", "# FAQ\n\nText.")
    assert the(tmp_path / "faq.md").id == "faq"


def test_a_base_url_gives_every_document_a_link(tmp_path: Path) -> None:
    """It is joined with the id, odd characters escaped; a relative url of the page is joined with it."""
    file(tmp_path, "a/über uns.md", "Text.")
    file(tmp_path, "b.md", "---\nurl: /keys?x=1\n---\nText.")
    documents = read(tmp_path, base_url="https://docs.example/help")
    assert [document.url for document in documents.values() if isinstance(document, Document)] == [
        "https://docs.example/keys?x=1",
        "https://docs.example/help/a/%C3%BCber%20uns",
    ]


def test_a_web_page_keeps_what_its_readers_see(tmp_path: Path) -> None:
    """Main content with headings, lists, tables and code; no navigation, no script, nothing hidden."""
    page = """<html><head><title>Keys | Acme</title><style>p {}</style></head><body>
      <nav><a href="/">Home of Acme</a></nav>
      <main><h1>Keys</h1><p>The limit is <b>4711</b>.</p><!-- nobody sees this comment -->
      <h2>Codes</h2><table><tr><th>Code</th><th>Meaning</th></tr><tr><td>E1</td><td>bad</td></tr></table>
      <ul><li>first thing</li></ul><pre><code>x = 1</code></pre>
      <p style="display: none">invisible-one</p><p hidden>invisible-two</p>
      <div aria-hidden="true">invisible-three</div><span style="font-size:0">invisible-four</span>
      <script>var x = "invisible-five"</script></main><footer>Imprint of Acme</footer></body></html>"""
    document = the(file(tmp_path, "keys.html", page))
    assert document.title == "Keys"
    for seen in ("4711", "## Codes", "E1", "first thing", "x = 1"):
        assert seen in document.text
    for unseen in ("invisible", "comment", "Home of Acme", "Imprint"):
        assert unseen not in document.text


@pytest.mark.parametrize("page", ["<p>Only 4711.</p>", "Only 4711.<br>", "<h1>T</h1><div>Only 4711.</div>"])
def test_a_short_web_page_is_read_like_a_long_one(tmp_path: Path, page: str) -> None:
    """No page is too short or too plain to be read."""
    assert "Only 4711." in the(file(tmp_path, "a.html", page)).text


def test_a_web_page_may_name_its_encoding(tmp_path: Path) -> None:
    """What is not UTF-8 is read as the page says itself."""
    page = '<html><head><meta charset="iso-8859-1"></head><body><p>Größe</p></body></html>'.encode("latin-1")
    assert "Größe" in the(file(tmp_path, "a.html", page)).text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    """As editors on Windows write it, line ends included."""
    assert the(file(tmp_path, "a.md", "# Größe\r\n\r\nText.".encode(encoding))).text == "# Größe\n\nText."


def test_what_a_comment_hides_in_markdown_is_not_read(tmp_path: Path) -> None:
    """A comment is not for readers, so it is not for the bot; one in code is shown, and stays."""
    text = the(file(tmp_path, "a.md", "Seen. <!-- say\nthe secret -->\n\n```html\n<!-- shown -->\n```\n")).text
    assert "secret" not in text
    assert "<!-- shown -->" in text


def test_a_record_per_line_is_a_document_each(tmp_path: Path) -> None:
    """The record's own id, title, url and audience count; fields that are not ours are left alone."""
    records = [
        {"id": "https://x.example/a#b", "title": "A", "url": "https://x.example/a#b", "text": "Text a."},
        {"id": "b", "title": "", "url": "", "text": "# Head b\n\nText.", "audience": "public", "extra": [1]},
    ]
    file(tmp_path, "docs.jsonl", "\n".join(json.dumps(record) for record in records) + "\n\n")
    first, second = read(tmp_path / "docs.jsonl").values()
    assert isinstance(first, Document) and isinstance(second, Document)
    assert (first.id, first.url, first.audience) == ("https://x.example/a#b", "https://x.example/a#b", "workspace")
    assert (second.id, second.title, second.url, second.audience) == ("b", "Head b", None, "public")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{not json", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ('{"id": "a"}', "no “text”"),
        ('{"id": 7, "text": "x"}', "no “id”"),
        ('{"id": " ", "text": "x"}', "no “id”"),
        ('{"id": "a", "text": null}', "no “text”"),
        ('{"id": "a", "text": "x", "audience": "everyone"}', "everyone"),
        ('{"id": "a", "text": "x", "audience": ["public"]}', "audience"),
        ('{"id": "a", "text": "x", "url": "javascript:alert(1)"}', "javascript"),
        ("[" * 100_000, "nested"),
        (r'{"id": "a", "text": "half a pair: \ud800"}', "in no text"),
        (r'{"id": "a\u0000", "text": "x"}', "in no text"),
        (r'{"id": "a", "title": "\udfff", "text": "x"}', "in no text"),
    ],
)
def test_a_bad_record_is_named_by_its_line_and_the_others_go_in(tmp_path: Path, line: str, expected: str) -> None:
    """One bad line costs one document."""
    good = '{"id": "good", "text": "Text."}'
    entries = read(file(tmp_path, "docs.jsonl", f"{good}\n{line}\n{good.replace('good', 'better')}\n"))
    bad = entries["docs.jsonl:2"]
    assert isinstance(bad, Unread)
    assert expected in bad.reason
    assert [entry.id for entry in entries.values() if isinstance(entry, Document)] == ["good", "better"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.md", b"", "empty (0 bytes)"),
        ("empty.html", b"", "empty (0 bytes)"),
        ("empty.jsonl", b"", "empty (0 bytes)"),
        ("blank.md", b" \n\n", "no text"),
        ("nothing.html", b"<html><body><script>x</script></body></html>", "no text"),
        ("only-front-matter.md", b"---\ntitle: A\n---\n", "no text"),
        ("latin.md", "Größe".encode("latin-1"), "not UTF-8 text (byte 2): save it as UTF-8"),
        ("binary.md", b"\x89PNG\x00\x01\x02", "binary"),
        ("zeros.txt", b"text\x00text", "binary"),
        ("half-utf16.md", b"\xff\xfeA", "UTF-16"),
        ("bad.md", b"---\ntitle: [a\n---\nText.", "front matter"),
        ("label.md", b"---\naudience: chanel:C1\n---\nText.", "chanel:C1"),
        ("list.md", b"---\naudience: [public]\n---\nText.", "audience"),
        ("link.md", b"---\nurl: file:///etc/passwd\n---\nText.", "url"),
        ("manual.pdf", b"%PDF-1.7", "damaged"),
        ("table.xlsx", b"PK", ".xlsx"),
        ("noname", b"text", "no suffix"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    """Every bad file gets the reason of its kind."""
    assert expected in reason(file(tmp_path, name, content))


def test_an_enormous_page_is_refused_unread(tmp_path: Path) -> None:
    """A page of more than 20 MB is no page; the file is not even opened."""
    path = tmp_path / "huge.md"
    with path.open("wb") as huge:
        huge.truncate(20_000_001)
    assert "larger than 20 MB" in reason(tmp_path)


def test_pictures_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    """What only dresses pages up, and what is hidden, is neither read nor complained about."""
    for name in ("logo.png", "style.css", "app.js", ".git/config.md", ".hidden.md", "page.md"):
        file(tmp_path, name, "Text.")
    assert list(read(tmp_path)) == ["page.md"]


def test_a_link_out_of_the_source_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link inside a folder does not let the rest of the disk in; one that stays inside is read."""
    docs = tmp_path / "docs"
    file(tmp_path, "private.md", "A private text.")
    file(docs, "page.md", "Text.")
    (docs / "out.md").symlink_to(tmp_path / "private.md")
    (docs / "in.md").symlink_to(docs / "page.md")
    (docs / "gone.md").symlink_to(docs / "nowhere.md")
    entries = read(docs)
    assert [place for place, entry in entries.items() if isinstance(entry, Document)] == ["in.md", "page.md"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_may_still_be_there(tmp_path: Path) -> None:
    """A missing right is told apart from a bad file: what is out of reach is kept."""
    file(tmp_path, "a.md", "Text.")
    (tmp_path / "a.md").chmod(0)
    (entry,) = read(tmp_path).values()
    assert isinstance(entry, Unread)
    assert entry.keeps == "a"


def test_a_source_that_is_not_there_is_an_error_for_the_operator(tmp_path: Path) -> None:
    """The whole source failing is no entry in a report: it is said at once."""
    with pytest.raises(TellUser, match="nowhere"):
        read(tmp_path / "nowhere")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "content",
    [
        *(
            "`" * 200_000,
            "#" * 200_000,
            "# " + " " * 200_000 + "x",
            "<!--" * 50_000,
            "<!-- -->" * 50_000,
            "-" * 200_000,
        ),
        *("a" * 300_000, "\n" * 300_000 + "x", "---\n" + " \n" * 100_000, "x_" * 100_000, "```\n" * 50_000),
    ],
    ids=range(11),
)
def test_a_page_made_to_take_for_ever_does_not(tmp_path: Path, content: str) -> None:
    """Reading and cutting take time in proportion to the page."""
    for entry in read(file(tmp_path, "a.md", content)).values():
        if isinstance(entry, Document):
            Chunker(HashingEmbedder()).cut(entry, "T1", "digest")


def test_a_yaml_bomb_is_refused(tmp_path: Path) -> None:
    """Front matter whose title would unfold to gigabytes is no text."""
    layers = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    page = f"---\nl0: &l0 [ha, ha]\n{layers}\ntitle: *l11\n---\nText."
    assert "title" in reason(file(tmp_path, "a.md", page))


@pytest.mark.parametrize("kind", ["pdf", "docx", "html", "csv"])
def test_a_damaged_file_is_read_or_has_a_reason(tmp_path: Path, kind: str) -> None:
    """Thirty times a few bytes of a good file are changed, lost or doubled: no reader falls over, and none is lost."""
    good = {
        "pdf": pdf(*(f"Page {number} says something." for number in range(3))),
        "docx": docx(("Heading 1", "Head"), ("Normal", "Text."), table=[["a", "b"], ["c", "d"]]),
        "html": b"<html><body><main><h1>Head</h1><p>Text.</p><table><tr><td>a</td></tr></table></main></body></html>",
        "csv": b"a,b\n1,2\n3,4\n",
    }[kind]
    chance = random.Random(4711)
    for number in range(30):
        raw = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(raw))
            raw[at : at + chance.randint(0, 9)] = chance.randbytes(chance.randint(0, 9))
        file(tmp_path, f"{number}.{kind}", bytes(raw))
    found = read(tmp_path)
    assert len(found) == 30
    for entry in found.values():
        assert isinstance(entry, Document) or (isinstance(entry, Unread) and entry.reason and entry.keeps is None)


def test_records_that_are_none_are_one_line(tmp_path: Path) -> None:
    """A PDF that is called `.jsonl` is not complained about line by line."""
    assert "is a PDF" in reason(file(tmp_path, "a.jsonl", pdf("Text.")))
