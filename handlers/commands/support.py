"""`/support`, by which people ask in private and admins steer the bot. Every answer is for the one who asked for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.errors import TellUser
from bot.journal import Journal
from bot.learning.versions.register import Register
from bot.learning.versions.voices import Voices
from bot.vocabulary import LibraryStatus
from bot.worker import Backlog
from handlers import blocks
from handlers.audience import Audience
from handlers.commands import matrix
from handlers.commands.examples import Examples
from handlers.commands.model import Model, Order
from handlers.commands.sources import Shelves, Sources
from handlers.commands.train import Start, Train, Trainable
from handlers.commands.words import in_slack
from handlers.inbox import Commanded, Inbox
from handlers.mrkdwn import escape
from handlers.reviewing import NOT_ADMIN, Reviewing, Shown

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp


@dataclass(frozen=True)
class Works:
    """What the commands look into and steer; each a function of the outside part that it asks."""

    library_status: Callable[[], Awaitable[LibraryStatus]]
    shelves: Shelves
    memory_problems: Callable[[], Awaitable[list[str]]]
    backlog: Callable[[], Awaitable[Backlog]]
    model: str
    model_address: str
    register: Register
    voices: Voices
    trainable: Trainable
    train: Start
    order_gate: Order


class Support:
    """Carries out `/support`."""

    def __init__(self, journal: Journal, audience: Audience, works: Works, reviewing: Reviewing) -> None:
        self._journal = journal
        self._audience = audience
        self._works = works
        self.sources = Sources(journal, audience, reviewing, works.shelves)
        self._examples = Examples(journal, works.register, reviewing)
        self._train = Train(journal, works.register, works.trainable, works.train)
        self._model = Model(
            journal,
            works.register,
            works.voices,
            works.order_gate,
            name=works.model,
            address=works.model_address,
        )

    async def carry_out(self, commanded: Commanded) -> Shown:
        """Does what a command says and gives the answer: text, and blocks where they show more."""
        word, *arguments = commanded.text.split() or ["help"]
        word = word.lower()
        try:
            if word in self._for_everyone:
                return await self._for_everyone[word](commanded, arguments)
            if word not in self._for_admins:
                raise TellUser(f"I do not know `{escape(word[:40])}`. `/support help` lists what I can do.")
            if not await self._audience.is_admin(commanded.user_id):
                return NOT_ADMIN, None
            return await self._for_admins[word](commanded, arguments)
        except TellUser as error:
            return in_slack(str(error)), None

    def usage(self, *, is_admin: bool) -> list[tuple[str, str]]:
        """Lists the commands with what they do."""
        return USAGE + (ADMIN_USAGE if is_admin else [])

    @property
    def _for_everyone(self) -> dict[str, Callable[[Commanded, list[str]], Awaitable[Shown]]]:
        return {"help": self._help, "ask": self._ask, "privacy": self._privacy}

    @property
    def _for_admins(self) -> dict[str, Callable[[Commanded, list[str]], Awaitable[Shown]]]:
        return {
            "status": self._status,
            "sources": self.sources.carry_out,
            "examples": self._examples.carry_out,
            "train": self._train.carry_out,
            "model": self._model.carry_out,
            "matrix": self._matrix,
        }

    async def _help(self, commanded: Commanded, arguments: list[str]) -> Shown:
        usage = self.usage(is_admin=await self._audience.is_admin(commanded.user_id))
        return "\n".join(f"`{command}` {text}" for command, text in usage), None

    async def _ask(self, commanded: Commanded, arguments: list[str]) -> Shown:
        raise TellUser("Write your question behind it: `/support ask How do I reset my API key?`")

    async def _privacy(self, commanded: Commanded, arguments: list[str]) -> Shown:
        return blocks.privacy(self._journal.retention_days), None

    async def _status(self, commanded: Commanded, arguments: list[str]) -> Shown:
        _take_none("status", arguments)
        library = await self._works.library_status()
        size = (
            f"{library.backend}: {library.documents:,} pages, {library.passages:,} passages, "
            f"embedded by {library.embedding_model}"
        )
        lines = [
            f"✅ *Library* {escape(size)}"
            if library.is_ready
            else "❌ *Library* cannot be reached; questions are answered with an apology until it is back"
        ]
        if library.remark:
            lines.append(f"⚠️ *Library* {escape(library.remark)}")
        if library.calibration:
            lines.append(f"• *Calibration* {escape(library.calibration)}")
        problems = await self._works.memory_problems()
        lines += [f"⚠️ *Memory* {escape(problem)}" for problem in problems] or ["✅ *Memory* durable"]
        backlog = await self._works.backlog()
        failures = await self._journal.failures()
        lines.append(
            f"✅ *Queue* {backlog.waiting} waiting, {backlog.running} running, {backlog.workers} worker"
            f"{'' if backlog.workers == 1 else 's'}"
        )
        if failures:
            lines.append(f"⚠️ *Given up* {len(failures)} jobs; the newest: {escape(failures[0].cause[:200])}")
        lines += [f"⚠️ *Version* {trouble}" async for trouble in self._model.out_of_reach()]
        lines.append(f"✅ *Model* {escape(self._works.model)}")
        return "\n".join(lines), None

    async def _matrix(self, commanded: Commanded, arguments: list[str]) -> Shown:
        _take_none("matrix", arguments)
        return await matrix.shown(self._works.register)


USAGE = [
    ("/support ask QUESTION", "answers you in private, from what this channel may read"),
    ("/support privacy", "says what I store and how to object"),
    ("/support help", "shows this list"),
]

ADMIN_USAGE = [
    ("/support status", "health, size of the library, model, queue"),
    ("/support sources", "lists where the documents come from, for whom, and what failed at the last sync"),
    (
        "/support sources add ADDRESS",
        "reads a web site; behind it `named NAME`, `every 6h`, `for public|workspace|channel`",
    ),
    ("/support sources sync NAME", "reads a source again, and tells what changed"),
    ("/support sources remove NAME", "takes a source out with its documents, once you have confirmed it"),
    ("/support examples", "shows the answers that wait for review, with buttons to approve, edit or reject them"),
    ("/support examples pages", "lists the draft pages of corrections, with their owners"),
    ("/support examples forget @PERSON", "erases what was learned from a person"),
    ("/support train", "shows how many examples there are, and how tuning stands"),
    ("/support train start", "tunes a model on the approved examples; `start few` does so with fewer than 500"),
    ("/support model", "shows which version answers where, all versions, and the last decisions"),
    ("/support model gate V", "measures a version against the live one; behind it, the measure to be better in"),
    ("/support model promote V", "makes a version live that passed the gate; `override: REASON` any"),
    ("/support model canary V #CHANNEL", "lets a version answer in one channel; `canary end #CHANNEL` ends that"),
    ("/support model rollback", "makes the version live again that was live before"),
    ("/support matrix", "says which way of answering was measured to be the best"),
]


def _take_none(word: str, arguments: list[str]) -> None:
    if arguments:
        raise TellUser(f"`/support {word}` takes nothing behind it.")


def register(app: AsyncApp, inbox: Inbox) -> None:
    """Accepts `/support` and says at once that it was taken."""

    async def support(ack: Any, command: dict[str, Any]) -> None:
        text = command.get("text") or ""
        await inbox.command(
            Commanded(
                user_id=command["user_id"],
                user_team_id=command.get("team_id") or "",
                channel_id=command["channel_id"],
                text=text,
                response_url=command["response_url"],
                trigger_id=command["trigger_id"],
            )
        )
        is_long = text.strip().lower().startswith("ask ")
        await ack(text="Looking in the documents…" if is_long else "")

    app.command("/support")(support)
