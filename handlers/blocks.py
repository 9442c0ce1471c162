"""What the bot shows in Slack, as pure functions from our nouns to Block Kit.

Slack's limits: 50 blocks a message, 3,000 characters a section, 12,000 a payload of `markdown` blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from bot.vocabulary import Answer, Citation, Example
from handlers.mrkdwn import escape, link

Block = dict[str, Any]

QUOTING = "quoting"
SECTION_LIMIT = 3_000
ANSWER_LIMIT = 3_800  # chat.update takes 4,000 characters of text


def answer_text(answer: Answer) -> str:
    """The words of an answer as they are posted, cut to what one message can be updated to."""
    return answer.text if len(answer.text) <= ANSWER_LIMIT else answer.text[: ANSWER_LIMIT - 1] + "…"


def whole(answer: Answer, now: datetime, *, feedback_buttons: bool = True) -> list[Block]:
    """A whole answer: its words, its sources, the footer and the feedback buttons."""
    return [{"type": "markdown", "text": answer_text(answer)}, *closing(answer, now, feedback_buttons=feedback_buttons)]


def closing(answer: Answer, now: datetime, *, feedback_buttons: bool = True) -> list[Block]:
    """Everything that stands below the words of an answer."""
    blocks: list[Block] = []
    if answer.citations:
        blocks.append(section("*Sources*\n" + "\n".join(source_line(one, now) for one in answer.citations)))
    elif answer.nearest:
        lines = (f"• {source_line(one, now, numbered=False)}" for one in answer.nearest)
        blocks.append(section("*Nearest pages*\n" + "\n".join(lines)))
    if answer.status in ("answered", "declined", "failed"):
        blocks.append(context(footer(answer)))
    if answer.status in ("answered", "declined"):
        blocks.append(feedback(answer.question_id) if feedback_buttons else plain_feedback(answer.question_id))
    return blocks


def source_line(citation: Citation, now: datetime, *, numbered: bool = True) -> str:
    """One source: number, title with its link, section, age."""
    parts = [link(citation.url, citation.title)]
    if citation.section:
        parts.append(f"› {escape(citation.section)}")
    if citation.updated_at:
        parts.append(f"· {age(citation.updated_at, now)}")
    return (f"[{citation.number}] " if numbered else "") + " ".join(parts)


def age(then: datetime, now: datetime) -> str:
    """Says how long ago a page was changed."""
    days = (now - then).days
    for unit, length in (("year", 365), ("month", 30), ("week", 7), ("day", 1)):
        if days >= length:
            count = days // length
            return f"updated {count} {unit}{'s' if count > 1 else ''} ago"
    return "updated today"


def footer(answer: Answer) -> str:
    """The line that every answer ends with."""
    writer = "quoted word for word" if answer.model == QUOTING else escape(answer.model)
    return " · ".join(
        filter(None, ("Automated answer from the documents; it may be wrong", writer, "`/support privacy`"))
    )


def feedback(question_id: str) -> Block:
    """Slack's own feedback buttons."""
    return {
        "type": "context_actions",
        "elements": [
            {
                "type": "feedback_buttons",
                "action_id": "feedback",
                "positive_button": {
                    "text": {"type": "plain_text", "text": "👍 Helpful"},
                    "accessibility_label": "This answer was helpful",
                    "value": f"{question_id}:up",
                },
                "negative_button": {
                    "text": {"type": "plain_text", "text": "👎 Not helpful"},
                    "accessibility_label": "This answer was not helpful",
                    "value": f"{question_id}:down",
                },
            }
        ],
    }


def plain_feedback(question_id: str) -> Block:
    """The same as plain buttons, for workspaces that refuse `context_actions`."""
    return {
        "type": "actions",
        "elements": [
            button("👍 Helpful", "feedback", f"{question_id}:up"),
            button("👎 Not helpful", "feedback_down", f"{question_id}:down"),
        ],
    }


def button(text: str, action_id: str, value: str) -> Block:
    return {"type": "button", "text": {"type": "plain_text", "text": text}, "action_id": action_id, "value": value}


def section(text: str) -> Block:
    """A section of mrkdwn, cut at Slack's limit."""
    cut = text if len(text) <= SECTION_LIMIT else text[: SECTION_LIMIT - 1].rsplit("\n", 1)[0] + "\n…"
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut[:SECTION_LIMIT]}}


def context(text: str) -> Block:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}


def example_cards(examples: Sequence[Example], approved: int, wanted: int) -> list[Block]:
    """The examples that wait for an admin, as cards."""
    progress = f"{approved} of {wanted} approved"
    if not examples:
        return [section(f"No example waits for review ({progress}). A 👍 on an answer in a channel makes one.")]
    blocks = [section(f"*{len(examples)} wait for review*, {progress}")]
    for example in examples[:10]:
        blocks += [
            {"type": "divider"},
            section(
                f"`{example.id}` · {escape(example.audience)} · by {escape(example.produced_by)}\n"
                f"*{escape(example.question[:500])}*\n{escape(example.answer[:1500])}"
            ),
            context(f"`/support examples approve {example.id}` or `/support examples reject {example.id}`"),
        ]
    return blocks


def home(bot_name: str, commands: Iterable[tuple[str, str]]) -> Block:
    """The bot's Home tab."""
    lines = "\n".join(f"`{command}` {text}" for command, text in commands)
    return {
        "type": "home",
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": f"Hello, I am {bot_name}"}},
            section(WELCOME),
            section(f"*Commands*\n{lines}"),
            {"type": "divider"},
            section(PRIVACY),
        ],
    }


WELCOME = (
    "Ask me in a channel by mentioning me, or write to me here. I answer from the company's documents only, and every "
    "sentence names its source. When the documents do not hold the answer, I say so."
)

PRIVACY = (
    "*What I store.* Your question with secrets and e-mail addresses replaced, my answer, and your 👍 or 👎, for a "
    "limited time. A 👍 on an answer in a channel proposes question and answer as a training example, which an admin "
    "reviews; from direct messages and private answers nothing becomes an example.\n"
    "*How to object.* Delete your question: my answer and its example go with it. Take back your 👍 (remove the "
    "reaction, or press 👎): the proposal goes with it. For anything else, ask an admin of this workspace.\n"
    "My answers are automated and may be wrong: check the sources."
)
