"""An answer in the shell: the answer on stdout, what is being done on stderr."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest

from bot.terminal import TerminalReply, age
from bot.vocabulary import Answer, Citation

SOURCE = Citation(
    number=1,
    document_id="keys",
    title="API [bold]keys\x1b[31m",
    section="Reset a key",
    url="https://docs.heronpost.example/keys",
    quote="q",
    updated_at=datetime.now(UTC) - timedelta(days=3),
)


async def shown(answer: Answer, *said: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    reply = TerminalReply(stdout=out, stderr=err)
    await reply.status("is looking in the documents…")
    for piece in said:
        await reply.say(piece, [SOURCE])
    await reply.finish(answer)
    return out.getvalue(), err.getvalue()


async def test_the_answer_is_shown_once_with_its_sources() -> None:
    """Sentences as they come, then title, section, age and address; marks are not taken for markup."""
    text = "Select **Regenerate** [1]. It stops [1]."
    answer = Answer(question_id="q", status="answered", text=text, citations=(SOURCE,), model="m")
    out, err = await shown(answer, "Select **Regenerate** [1].", " It stops [1].")
    assert out.count("Select **Regenerate** [1]. It stops [1].") == 1
    assert "[1] API [bold]keys[31m › Reset a key · 3 days ago" in out
    assert "https://docs.heronpost.example/keys" in out
    assert "looking" in err and "looking" not in out


async def test_a_page_cannot_write_to_the_terminal() -> None:
    """Control characters of titles and answers are left out."""
    answer = Answer(question_id="q", status="declined", text="No\x1b]0;x\x07.", nearest=(SOURCE,))
    out, _ = await shown(answer)
    assert "\x1b" not in out and "\x07" not in out
    assert "Nearest pages" in out


async def test_the_quoting_persona_is_named_as_such() -> None:
    """On stderr, so that stdout holds the answer only."""
    _, err = await shown(
        Answer(question_id="q", status="answered", text="x [1].", citations=(SOURCE,), model="quoting")
    )
    assert "no persona model" in err


class Terminal(io.StringIO):
    """A stream that says of itself that somebody looks at it."""

    def isatty(self) -> bool:
        return True


async def test_styles_are_for_people_who_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bold and dim on a terminal; plain text in a file, and where NO_COLOR is set."""
    answer = Answer(question_id="q", status="answered", text="It stops [1].", citations=(SOURCE,), model="m")
    monkeypatch.delenv("NO_COLOR", raising=False)
    seen = Terminal()
    await TerminalReply(stdout=seen, stderr=io.StringIO()).finish(answer)
    assert "\x1b[1m\nSources" in seen.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    await TerminalReply(stdout=plain, stderr=io.StringIO()).finish(answer)
    assert "\x1b" not in plain.getvalue()


@pytest.mark.parametrize(
    ("days", "words"),
    [(0, "today"), (1, "1 day ago"), (6, "6 days ago"), (7, "1 week ago"), (29, "4 weeks ago"), (60, "2 months ago"),
     (800, "2 years ago"), (-1, "today")],
)  # fmt: skip
def test_age_is_said_in_words(days: int, words: str) -> None:
    """With or without a time zone."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert age(now - timedelta(days=days), now) == words
    assert age((now - timedelta(days=days)).replace(tzinfo=None), now) == words
