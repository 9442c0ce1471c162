"""Who the bot is: a file that an operator edits, rules that no edit can lose, and a format that code can check."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.errors import TellUser
from bot.persona import Persona, format_problems, load_persona, messages, one_line, training_messages
from bot.vocabulary import Passage, Turn

ROOT = Path(__file__).parents[2]
PERSONA = load_persona()
KEYS = Passage(
    id="k",
    document_id="k",
    source="s",
    title="API keys",
    section="Reset",
    text="Select **Regenerate**.\n\nThe old key\nstops.",
    audience="public",
)


def file(folder: Path, text: str) -> Path:
    path = folder / "persona.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_persona_that_comes_along_is_complete() -> None:
    """It has a name, a company, a refusal, an offer of a person and a manner."""
    assert (PERSONA.name, PERSONA.company) == ("Footnote", "our company")
    assert PERSONA.refusal.endswith(".") and PERSONA.human and "120 words" in PERSONA.manner
    assert one_line(PERSONA) == "You are a support agent for our company."


def test_an_operators_file_changes_what_it_names(tmp_path: Path) -> None:
    """What it leaves out stays as it comes along."""
    persona = load_persona(file(tmp_path, "---\nname: Heron\ncompany: Heronpost\n---\nBe brief.\n"))
    assert (persona.name, persona.company, persona.manner) == ("Heron", "Heronpost", "Be brief.")
    assert persona.refusal == PERSONA.refusal
    assert one_line(persona) == "You are a support agent for Heronpost."


def test_fields_may_be_plain_words_or_any_yaml(tmp_path: Path) -> None:
    """The same persona, whether its lines are plain, quoted, folded or commented on."""
    plain = load_persona(file(tmp_path, "---\nname: Heron\nhuman: Ask a person, don't wait.\n---\nBe brief.\n"))
    for number, fields in enumerate(
        (
            "name: 'Heron'\nhuman: Ask a person, don't wait.",
            "# us\nname: Heron # bird\nhuman: >\n  Ask a person,\n  don't wait.",
        )
    ):
        (tmp_path / str(number)).mkdir()
        assert load_persona(file(tmp_path / str(number), f"---\n{fields}\n---\n\nBe brief.\n\n")) == plain
    (tmp_path / "null").mkdir()
    nameless = load_persona(file(tmp_path / "null", "---\nname: null\ncompany: 'a: b'\n---\nBe brief."))
    assert (nameless.name, nameless.company) == (PERSONA.name, "a: b")


def test_the_persona_that_comes_along_needs_no_yaml() -> None:
    """It is read at every start, and YAML would take longer to import than all the rest of it."""
    code = "import sys; from bot.persona import load_persona; load_persona(); print('yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("---\nnam: Heron\n---\nBe brief.", "nam"),
        ("---\nname: [\n---\nBe brief.", "YAML"),
        ("---\nname: Heron\n---\n", "no text"),
        ("---\nname: ''\n---\nBe brief.", "name"),
        ("---\nrefusal: No. Really not.\n---\nBe brief.", "one sentence"),
    ],
)
def test_a_wrong_file_is_explained(text: str, told: str, tmp_path: Path) -> None:
    """The text names the file and what is wrong with it."""
    path = file(tmp_path, text)
    with pytest.raises(TellUser, match=told) as raised:
        load_persona(path)
    assert str(path) in str(raised.value)


def test_a_missing_or_unreadable_file_is_explained(tmp_path: Path) -> None:
    """Nothing falls back silently."""
    with pytest.raises(TellUser, match="PERSONA_FILE"):
        load_persona(tmp_path / "none.md")
    (tmp_path / "latin.md").write_bytes(b"---\nname: H\xe9ron\n---\nx")
    with pytest.raises(TellUser, match="UTF-8"):
        load_persona(tmp_path / "latin.md")


def test_the_prompt_answers_from_the_context_only() -> None:
    """It says to use the passages alone, and what to say when they are not enough."""
    system, user = messages(PERSONA, "How do I reset it?", [KEYS])
    assert system["role"] == "system" and user["role"] == "user"
    assert PERSONA.refusal in system["content"] and PERSONA.manner in system["content"]
    assert "only" in system["content"] and "do not contain enough information" in system["content"]
    assert "[1] API keys › Reset\nSelect **Regenerate**." in user["content"]
    assert user["content"].endswith("Question: How do I reset it?")


def test_a_model_sees_how_old_a_passage_is() -> None:
    """So that it can follow the newer of two that contradict each other; where nothing is known, nothing is said."""
    dated = KEYS.model_copy(update={"updated_at": datetime(2026, 5, 4, 3, 2, tzinfo=UTC)})
    system, user = messages(PERSONA, "q", [dated, KEYS])
    assert "[1] API keys › Reset (updated 2026-05-04)\n" in user["content"]
    assert "[2] API keys › Reset\n" in user["content"]
    assert "updated last" in system["content"]


def test_passages_are_fenced_by_a_marker_that_no_page_can_know() -> None:
    """It is made anew for each request; the system message stays the same, so that it can be cached."""
    (system, one), (same, two) = messages(PERSONA, "q", [KEYS]), messages(PERSONA, "q", [KEYS])
    markers = [message["content"].split("with ")[1].split()[0] for message in (one, two)]
    assert markers[0] != markers[1] and len(markers[0]) >= 16
    assert one["content"].count(f"\n{markers[0]}\n") == 2
    assert system == same


def test_hidden_characters_of_pages_do_not_reach_the_model() -> None:
    """A reader would not see them either."""
    hidden = KEYS.model_copy(update={"text": "Sel\u200bect\U000e0041 it\u202e."})
    assert "Select it." in messages(PERSONA, "q", [hidden])[1]["content"]


def test_the_conversation_is_carried_along_within_bounds() -> None:
    """The last turns, cut to a length."""
    history = [Turn(role="user", text=f"turn {number} " + "x" * 5_000) for number in range(20)]
    chat = messages(PERSONA, "q", [KEYS], history)
    assert len(chat) <= 8
    assert max(len(message["content"]) for message in chat[1:-1]) <= 1_000
    assert chat[-2]["content"].startswith("turn 19")


def test_an_example_has_the_layout_of_the_export() -> None:
    """One line of system, numbered passages, a blank line, the question; the answer."""
    assert training_messages(PERSONA, "How?", [KEYS, KEYS], "Select it [1].") == [
        {"role": "system", "content": "You are a support agent for our company."},
        {
            "role": "user",
            "content": "[1] API keys › Reset: Select **Regenerate**. The old key stops.\n"
            "[2] API keys › Reset: Select **Regenerate**. The old key stops.\n\nHow?",
        },
        {"role": "assistant", "content": "Select it [1]."},
    ]


GOOD = [
    "Select **Regenerate** [1].",
    "Select **Regenerate** [1]. The old key stops [1][2].",
    "Select it. [1] It stops. [2]",
    "Select it [1].\n\n1. Open Settings [1].\n2. Select **Keys** [1].",
    "Select it [1]. Here is how:\n\n1. Open Settings [1].",
    "Run it [1]:\n\n```\nheron push\n```\n[1]",
    "25 MB [1].",
    PERSONA.refusal,
    f"Select it [1]. {PERSONA.refusal}",
]


@pytest.mark.parametrize("text", GOOD)
def test_answers_in_the_format_pass(text: str) -> None:
    """Marks before or after the full stop, steps, code, the refusal alone or at the end."""
    assert format_problems(text, PERSONA) == []


BAD = {
    "opener": ("Sure! Select it [1].", "first sentence"),
    "lead-in first": ("Here is how:\n1. Open Settings [1].", "first sentence"),
    "no mark": ("Select it [1]. The old key stops.", "without a citation"),
    "six steps": ("Do it [1].\n" + "\n".join(f"{n}. Open page {n} [1]." for n in range(1, 7)), "more than 5"),
    "too long": ("Select the key " + "very " * 130 + "well [1].", "words"),
    "own refusal": ("The documents do not mention this [1].", "other words"),
    "own refusal 2": ("I don't know how that works.", "other words"),
    "nothing": ("", "nothing"),
}


@pytest.mark.parametrize(("text", "problem"), BAD.values(), ids=BAD.keys())
def test_answers_out_of_format_are_told_why(text: str, problem: str) -> None:
    """Each rule of the format has its words."""
    assert any(problem in each for each in format_problems(text, PERSONA))


def test_a_persona_is_frozen() -> None:
    """It is handed to every answer at once."""
    with pytest.raises(ValueError, match="frozen"):
        Persona(refusal="No.", human="Ask.", manner="Be kind.").name = "x"  # type: ignore[misc]
