"""The dialog in which an admin edits the answer of an example. It opens empty, for `web` looks nothing up: the worker
fills it once it has seen who asks, and where."""

from __future__ import annotations

import json
from itertools import islice
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from bot.learning.judging import words_of
from bot.redacting import redact
from bot.vocabulary import Example, Frozen, Passage
from handlers.blocks import Block, section
from handlers.inbox import Inbox
from handlers.modals import INPUT_LIMIT, entered, modal, text_input
from handlers.mrkdwn import escape, link

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp

CALLBACK = "edit_example"
PASSAGES = 20
PASSAGE_CHARACTERS = 2_000
"""Of each passage; Slack shows 3,000 in a block, with its head and what is escaped."""
TITLE = "Edit an example"


class Edited(Frozen):
    """New words for the answer of an example."""

    user_id: str
    channel_id: str
    """Where the card is that the dialog was opened from."""
    example_id: str
    answer: str
    words: str = ""
    """Names the words that the dialog was opened with: others are not overwritten."""
    shown: tuple[str, ...]
    """The examples on that page of cards."""
    response_url: str | None = None


def waiting() -> Block:
    """The dialog before it is filled."""
    return modal(CALLBACK, TITLE, [section("One moment…")])


def refused(why: str) -> Block:
    """The dialog when there is nothing to edit."""
    return modal(CALLBACK, TITLE, [section(why)])


def view(example: Example, channel_id: str, shown: tuple[str, ...], response_url: str | None) -> Block:
    """The dialog with the answer, and below it the passages that its sentences are held against."""
    if len(example.answer) > INPUT_LIMIT:
        return refused(f"Its answer is longer than the {INPUT_LIMIT:,} characters that fit here.")
    hint = "Each sentence of fact ends in the number of its passage, like [1]. What you send is checked again."
    about = {"example_id": example.id, "channel_id": channel_id, "words": words_of(example), "shown": shown}
    return modal(
        CALLBACK,
        TITLE,
        [
            section(f"*{escape(example.question[:2_900])}*"),
            text_input("answer", "Answer", hint=hint, value=example.answer),
            *(_passage(number, one) for number, one in enumerate(islice(example.passages, PASSAGES), 1)),
        ],
        submit="Save",
        metadata=json.dumps(about | {"response_url": response_url}),
    )


def _passage(number: int, passage: Passage) -> Block:
    """A passage with its number, as the answer names it."""
    head = (
        f"*[{number}]* {link(passage.url, passage.title)}{f' › {escape(passage.section)}' if passage.section else ''}"
    )
    text = shorten(passage.text, PASSAGE_CHARACTERS, placeholder=" …")
    return section(f"{head}\n>{escape(text)}")


def register(app: AsyncApp, inbox: Inbox) -> None:
    """Accepts what is sent with the dialog."""

    async def sent(ack: Any, body: dict[str, Any], view: dict[str, Any]) -> None:
        about = json.loads(view["private_metadata"])
        edited = Edited(user_id=body["user"]["id"], answer=redact(entered(view, "answer")), **about)
        await inbox.review("edit", edited, edited.example_id, f"{view['id']}:{view.get('hash')}")
        await ack()

    app.view(CALLBACK)(sent)
