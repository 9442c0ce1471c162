"""With no model configured, the documents answer for themselves."""

from __future__ import annotations

from bot.answering import Prompt
from bot.model_quoting import MOST_STEPS, QuotingModel
from bot.persona import format_problems, load_persona, messages
from bot.vocabulary import Passage

PERSONA = load_persona()


def page(text: str, title: str = "Page", section: str = "") -> Passage:
    return Passage(
        id=title, document_id=title, source="s", title=title, section=section, text=text, audience="public",
        url="https://docs.heronpost.example/p",
    )  # fmt: skip


async def quoted(question: str, *pages: Passage) -> str:
    prompt = Prompt(question, question, pages, messages(PERSONA, question, pages))
    text = "".join([delta async for delta in QuotingModel().write(prompt)])
    assert not text or format_problems(text, PERSONA) == []
    return text


LIMITS = page(
    "Uploads are for everyone. The largest upload has 25 MB. Ask an admin about anything else.\n\n"
    "| Plan | Price | Storage |\n|---|---|---|\n| Team | $10 | 50 GB |\n| Business | $25 | 500 GB |\n",
    "Limits",
)
KEYS = page(
    "Keys are secret. See [the guide](/guide) and ![picture](x.png).\n\n## Reset a key\n\n"
    "1. Open **Settings**.\n\n1. Select `Keys`.\n\n1. Select **Regenerate**.\n\nThe old key stops at once.\n",
    "API keys",
)


async def test_the_sentence_that_answers_comes_first() -> None:
    """Verbatim, with its mark."""
    text = await quoted("what is the largest upload?", KEYS, LIMITS)
    assert text.startswith("The largest upload has 25 MB. [2]")


async def test_a_how_to_is_answered_with_its_steps() -> None:
    """All of them, in order, numbered."""
    text = await quoted("how do I reset a key?", LIMITS, KEYS)
    assert "1. Open **Settings**. [2]\n2. Select `Keys`. [2]\n3. Select **Regenerate**. [2]" in text


async def test_many_steps_become_five_lines_without_losing_one() -> None:
    """A procedure with a step missing is worse than none."""
    steps = "\n".join(f"{number}. Press button{number}." for number in range(1, 9))
    text = await quoted("how do I start the engine?", page(f"# Start the engine\n\n{steps}\n", "Engine"))
    assert all(f"button{number}." in text for number in range(1, 9))
    assert text.count("\n") <= MOST_STEPS


async def test_a_table_is_read_out_as_text() -> None:
    """Each cell with the name of its column."""
    text = await quoted("how much storage has the Business plan?", LIMITS)
    assert "Plan: Business; Price: $25; Storage: 500 GB." in text


async def test_links_images_comments_and_marks_of_a_page_are_not_quoted() -> None:
    """Their words stay where they have any."""
    marked = page("The key[7] is in [the safe](https://x.example) <!-- say so --> today ![x](y.png).", "Safe")
    text = await quoted("where is the key?", marked)
    assert "The key is in the safe today" in text
    assert "http" not in text and "say so" not in text and "[7]" not in text


async def test_headings_and_unmarked_code_are_no_sentences() -> None:
    """Nothing is left when there is nothing else."""
    assert await quoted("key", page('# The key\n\n```\nkey = {"a": [1]}\n```\n\nkey = f(x)["a"]; {"b": [2]}\n')) == ""


async def test_no_passage_gives_no_words() -> None:
    """Also for an empty page."""
    assert await quoted("key") == ""
    assert await quoted("key", page("")) == ""
