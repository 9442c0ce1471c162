"""What the bot shows in Slack, as pure functions from our nouns to Block Kit.

Slack's limits: 50 blocks a message, 3,000 characters a section, 12,000 a payload of `markdown` blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from bot.vocabulary import CONFIGURED, Answer, Citation
from handlers.mrkdwn import escape, link

Block = dict[str, Any]

QUOTING = "quoting"
SECTION_LIMIT = 3_000
BLOCKS_LIMIT = 50
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
    if answer.version not in ("", CONFIGURED):
        writer += f" ({escape(answer.version)})"
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
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text)}}


def context(text: str) -> Block:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": cut(text)}]}


def cut(text: str) -> str:
    """Cuts a text at the end of the last line that fits into a section."""
    if len(text) <= SECTION_LIMIT:
        return text
    return (text[: SECTION_LIMIT - 2].rsplit("\n", 1)[0] + "\n…")[:SECTION_LIMIT]


def sections(lines: Iterable[str]) -> list[Block]:
    """Lines in as many sections as they need, up to a message's 50; more are counted."""
    blocks: list[str] = []
    left_out = 0
    for line in map(cut, lines):
        if blocks and len(blocks[-1]) + 1 + len(line) <= SECTION_LIMIT:
            blocks[-1] += f"\n{line}"
        elif len(blocks) < BLOCKS_LIMIT - 1:
            blocks.append(line)
        else:
            left_out += 1
    return [*map(section, blocks), *([context(f"and {left_out} more")] if left_out else [])]


def listed(lines: Sequence[str]) -> tuple[str, list[Block] | None]:
    """Lines as one text, or, where they are too long for that, as a message of sections that begins with the first."""
    text = "\n".join(lines)
    return (text, None) if len(text) <= SECTION_LIMIT else (lines[0], sections(lines))


def consent(question_id: str) -> list[Block]:
    """Asks whether a private question and its answer may become an example."""
    return [
        section(CONSENT),
        {
            "type": "actions",
            "elements": [
                button("Use as an example", "consent_yes", question_id),
                button("No, thanks", "consent_no", question_id),
            ],
        },
    ]


def home(bot_name: str, commands: Iterable[tuple[str, str]], retention_days: int) -> Block:
    """The bot's Home tab."""
    lines = "\n".join(f"`{command}` {text}" for command, text in commands)
    return {
        "type": "home",
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": f"Hello, I am {bot_name}"}},
            section(WELCOME),
            section(f"*Commands*\n{lines}"),
            {"type": "divider"},
            section(privacy(retention_days)),
        ],
    }


WELCOME = (
    "Ask me in a channel by mentioning me, or write to me here. I answer from the company's documents only, and every "
    "sentence names its source. When the documents do not hold the answer, I say so."
)

CONSENT = (
    "Thank you. Only you have seen this answer. May your question and the answer become an example to learn from? "
    "Secrets and e-mail addresses are replaced, and the admins of this workspace read it before it is used. Once "
    "approved, it may be shown to the model that answers others, and be trained on. You can take it back at any time: "
    "take back your 👍, delete your question, or ask an admin to forget your examples."
)


def privacy(retention_days: int) -> str:
    """What the bot stores, for how long, and how to object."""
    days = f"{retention_days:,} day{'' if retention_days == 1 else 's'}"
    return (
        "*What I store.* Your question with secrets and e-mail addresses replaced, my answer, and your 👍 or 👎 with "
        f"what you say was wrong, for {days}; what became an example, for as long as it is one. A 👍 on an answer in a "
        "channel proposes question and answer as a training example, which an admin reviews; so does a better answer "
        "that you send with a 👎. From direct messages and private answers nothing becomes an example, unless you are "
        "asked below your 👍 and agree.\n"
        "*How to object.* Delete your question: my answer and its example go with it. Take back your 👍 (remove the "
        "reaction, or press 👎): the proposal goes with it. To have everything forgotten that was learned from you, "
        "ask an admin of this workspace, who can do it at once.\n"
        "My answers are automated and may be wrong: check the sources."
    )
