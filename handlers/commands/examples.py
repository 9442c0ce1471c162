"""`/support examples`: the examples that wait for an admin, the draft pages, and what is forgotten with a person."""

from __future__ import annotations

from itertools import islice

from bot.errors import TellUser
from bot.journal import Journal
from bot.learning import examples
from bot.learning.versions.register import Register
from handlers import blocks, cards
from handlers.commands.words import person_in
from handlers.inbox import Commanded
from handlers.mrkdwn import escape
from handlers.reviewing import Reviewing, Shown

USE = (
    "Use `/support examples`, `/support examples approve ID` or `reject ID`, `/support examples pages`, or "
    "`/support examples forget @PERSON`."
)
PAGES = 15
"""Draft pages that one message shows."""


class Examples:
    """Carries out `/support examples`."""

    def __init__(self, journal: Journal, register: Register, reviewing: Reviewing) -> None:
        self._journal, self._register, self._reviewing = journal, register, reviewing

    async def carry_out(self, commanded: Commanded, arguments: list[str]) -> Shown:
        """Does what stands behind the word. Raises TellUser."""
        readable = await self._reviewing.readable(commanded.user_id, commanded.channel_id)
        match arguments:
            case []:
                return await self._reviewing.page(commanded.user_id, readable)
            case ["approve" | "reject" as verb, id]:
                reviewed = await self._reviewing.decide_by_id(id.strip("`"), verb, commanded.user_id, readable)
                return f"`{reviewed.id}` is {reviewed.status}. {await examples.progress(self._journal)}.", None
            case ["pages"]:
                return await self._pages(readable)
            case ["forget", who]:
                return await self._forget(person_in(who, "/support examples forget @PERSON"))
        raise TellUser(USE)

    async def _pages(self, readable: frozenset[str]) -> Shown:
        pages = [one for one in await self._register.draft_pages() if one.audience in readable]
        if not pages:
            return "No draft page waits: every correction so far rests on pages that are there.", None
        head = (
            f"*{cards.counted(len(pages), 'draft page')}* with facts of corrections that no page of the library holds. "
            "The owners put them into the documents; once a page that says so is ingested, the example can be approved."
        )
        shown = [blocks.section(head)]
        for one in islice(pages, PAGES):
            shown += cards.draft_page(one)
        if len(pages) > PAGES:
            shown.append(blocks.context(f"and {len(pages) - PAGES} more"))
        return cards.counted(len(pages), "draft page"), shown

    async def _forget(self, user_id: str) -> Shown:
        forgotten = await examples.forget_person(self._journal, self._register, user_id)
        counts = (
            f"{cards.counted(len(forgotten.example_ids), 'example')} and "
            f"{cards.counted(len(forgotten.page_ids), 'draft page')} that rested on {cards.person(user_id)} are "
            "erased, with this person's questions and verdicts."
        )
        if forgotten.copies:
            listed = "".join(f"\n• {escape(copy)}" for copy in forgotten.copies)
            counts += (
                f"\n{cards.counted(len(forgotten.copies), 'copy', 'copies')} elsewhere, for you to delete:{listed}"
            )
        if not forgotten.datasets:
            return f"{counts} No dataset held them, and there is no copy of them elsewhere.", None
        datasets = ", ".join(f"`{one.digest[:12]}`" for one in forgotten.datasets)
        versions = ", ".join(f"`{one.id}`" for one in forgotten.versions) or "none"
        return (
            f"{counts}\nDatasets that held them: {datasets}. Versions trained on those: {versions}. A model does not "
            "forget: tune a new one without them, and promote it.",
            None,
        )
