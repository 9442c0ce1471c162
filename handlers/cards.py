"""Examples as cards for an admin to decide on: the question, the answer, the passages that it rests on and what is
wrong with it. A page of cards names its examples in every button, so that a press draws the same page anew as it then
stands: what somebody else has decided meanwhile is seen, and what may no longer be read is gone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from bot.citing import claims_of
from bot.evidence import evidence
from bot.learning.judging import words_of
from bot.vocabulary import DraftPage, Example, Passage
from handlers.actions.review import value_of
from handlers.blocks import Block, button, context, section
from handlers.mrkdwn import escape, link

CARDS = 5
"""Of up to eight blocks each, with a head and a foot: Slack shows 50."""
PASSAGES = 5
QUOTE_CHARACTERS = 400
ORIGINS = {
    "vote": "liked by {likers}",
    "correction": "corrected by {likers}",
    "import": "imported",
    "draft": "drafted for a question",
}
OUTCOMES = {"approved": "✅ approved", "rejected": "🚫 rejected", "quarantined": "⏸️ set aside", "candidate": "waits"}


def page(shown: Sequence[Example], head: str, progress: str, *, more: int) -> list[Block]:
    """One page: cards of what waits, a line for what was decided on; `more` is how many wait behind it."""
    ids = tuple(one.id for one in shown)
    blocks = [section(head)]
    for one in shown:
        blocks.append({"type": "divider"})
        blocks += card(one, ids) if one.status == "candidate" else [section(outcome(one, progress))]
    if more and ids:
        buttons = [button(f"Next of {more} more", "review_page", value_of(ids[-1]))]
        blocks += [{"type": "divider"}, {"type": "actions", "elements": buttons}]
    return blocks


def card(example: Example, page_ids: tuple[str, ...]) -> list[Block]:
    """An example that waits for a decision."""
    blocks = [section(f"*{escape(example.question[:2_900])}*"), section(escape(example.answer) or "(empty)")]
    quotes = [
        f"[{number}] {link(one.url, one.title)}{f' › {escape(one.section)}' if one.section else ''}\n"
        f">{escape(quote(one, example.answer)[:QUOTE_CHARACTERS])}"
        for number, one in enumerate(islice(example.passages, PASSAGES), 1)
    ]
    if left_out := len(example.passages) - PASSAGES:
        quotes += [f"and {counted(left_out, 'more passage')}"] if left_out > 0 else []
    blocks += [context("\n".join(quotes))] if quotes else []
    if example.problems:
        blocks.append(section("\n".join(f"⚠️ {escape(one)}" for one in example.problems)))
    blocks.append(context(f"`{example.id}` · {origin(example)} · {reach(example)}"))
    value = value_of(example.id, words_of(example), page_ids)
    buttons = [
        button("Approve", "review_approve", value) | {"style": "primary"},
        button("Edit", "review_edit", value),
        button("Reject", "review_reject", value) | {"style": "danger"},
    ]
    return [*blocks, {"type": "actions", "elements": buttons}]


def outcome(example: Example, progress: str = "") -> str:
    """What became of an example, and how far it is to a model of one's own where that is told."""
    by = f" by {person(example.reviewed_by)}" if example.reviewed_by else ""
    done = f"{OUTCOMES[example.status]}{by}" + (f" · {progress}" if progress else "")
    return f"{done}\n`{example.id}` {escape(example.question[:200])}"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """A number with its noun; `nouns` where more of them take more than an s."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def origin(example: Example) -> str:
    """Where an example came from."""
    likers = ", ".join(person(one) for one in example.liked_by[:5]) or "somebody"
    held_out = " · kept for measuring" if example.is_held_out else ""
    return f"{ORIGINS[example.origin].format(likers=likers)}, written by {escape(example.produced_by)}{held_out}"


def reach(example: Example) -> str:
    """Who may read it."""
    return f"for {escape(example.audience)}"


def quote(passage: Passage, answer: str) -> str:
    """The sentences of a passage that have most to do with an answer, on one line."""
    read = evidence(passage)
    support = read.support(claims_of(answer))
    return " ".join(read.quote(support.spans if support else ()).split())


def draft_page(one: DraftPage) -> list[Block]:
    """Facts of a correction that wait to become a page."""
    about = f"`{one.id}` · owner {person(one.owner)} · for {escape(one.audience)} · since {one.created_at:%d %B %Y}"
    return [{"type": "divider"}, section(f"*{escape(one.title)}*\n{escape(one.text)}"), context(about)]


def person(user_id: str) -> str:
    """A person as Slack shows one, without calling that person; other names as they are."""
    return f"<@{user_id}>" if is_person(user_id) else escape(user_id)


def is_person(name: str) -> bool:
    """Whether somebody's name is the id of a person in Slack."""
    return re.fullmatch(r"[UW][A-Z0-9]{2,}", name) is not None
