"""`/support`, by which people ask in private and admins steer the bot. Every answer is for the one who asked for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.errors import TellUser
from bot.journal import Journal
from bot.learning import examples
from bot.vocabulary import LibraryStatus, Source
from bot.worker import Backlog
from handlers import blocks
from handlers.audience import Audience
from handlers.inbox import Commanded, Inbox
from handlers.mrkdwn import escape

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp

NOT_ADMIN = "That is for admins of this workspace. Ask one of them, or try `/support help`."

Shown = tuple[str, list[blocks.Block] | None]


@dataclass(frozen=True)
class Works:
    """What the commands look into and steer; each a function of the outside part that it asks."""

    library_status: Callable[[], Awaitable[LibraryStatus]]
    sources: Callable[[], Awaitable[Sequence[Source]]]
    sync: Callable[[str], Awaitable[str]]
    memory_problems: Callable[[], Awaitable[list[str]]]
    backlog: Callable[[], Awaitable[Backlog]]
    model: str
    model_address: str


class Support:
    """Carries out `/support`."""

    def __init__(self, journal: Journal, audience: Audience, works: Works, admin_users: frozenset[str]) -> None:
        self._journal = journal
        self._audience = audience
        self._works = works
        self._admin_users = admin_users

    async def carry_out(self, commanded: Commanded) -> Shown:
        """Does what a command says and gives the answer: text, and blocks where they show more."""
        word, *arguments = commanded.text.split() or ["help"]
        word = word.lower()
        try:
            if word in self._for_everyone:
                return await self._for_everyone[word](commanded, arguments)
            if word not in self._for_admins:
                raise TellUser(f"I do not know `{escape(word[:40])}`. `/support help` lists what I can do.")
            if not await self._is_admin(commanded.user_id):
                return NOT_ADMIN, None
            return await self._for_admins[word](commanded, arguments)
        except TellUser as error:
            return str(error), None

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
            "sources": self._sources,
            "examples": self._examples,
            "model": self._model,
        }

    async def _is_admin(self, user_id: str) -> bool:
        return user_id in self._admin_users or await self._audience.is_admin(user_id)

    async def _help(self, commanded: Commanded, arguments: list[str]) -> Shown:
        usage = self.usage(is_admin=await self._is_admin(commanded.user_id))
        return "\n".join(f"`{command}` {text}" for command, text in usage), None

    async def _ask(self, commanded: Commanded, arguments: list[str]) -> Shown:
        raise TellUser("Write your question behind it: `/support ask How do I reset my API key?`")

    async def _privacy(self, commanded: Commanded, arguments: list[str]) -> Shown:
        return blocks.PRIVACY, None

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
        lines.append(f"✅ *Model* {escape(self._works.model)}")
        return "\n".join(lines), None

    async def _sources(self, commanded: Commanded, arguments: list[str]) -> Shown:
        if not arguments:
            found = await self._works.sources()
            if not found:
                raise TellUser("No source yet. On the server: `python -m bot ingest FOLDER`")
            lines = [
                f"• *{escape(one.name)}* {one.documents:,} pages, {one.passages:,} passages, for {escape(one.audience)}"
                for one in found
            ]
            return "\n".join([*lines, "`/support sources sync NAME` reads one again."]), None
        if arguments[0] != "sync" or len(arguments) < 2:
            raise TellUser("Use `/support sources` or `/support sources sync NAME`.")
        return await self._works.sync(" ".join(arguments[1:])), None

    async def _examples(self, commanded: Commanded, arguments: list[str]) -> Shown:
        readers = (
            await self._audience.of_person(commanded.user_id)
            if commanded.channel_id.startswith("D")
            else await self._audience.of_channel(commanded.channel_id)
        )
        if not arguments:
            waiting = [one for one in await self._journal.examples("candidate") if one.audience in readers.labels]
            approved = len(await self._journal.examples("approved"))
            return (
                f"{len(waiting)} candidates, {approved} of {examples.WANTED} approved",
                blocks.example_cards(waiting, approved, examples.WANTED),
            )
        if len(arguments) != 2 or arguments[0] not in ("approve", "reject"):
            raise TellUser("Use `/support examples`, `/support examples approve ID` or `/support examples reject ID`.")
        verb, id = arguments
        reviewed = await examples.review(
            self._journal,
            id.strip("`"),
            "approved" if verb == "approve" else "rejected",
            commanded.user_id,
            readers.labels,
        )
        approved = len(await self._journal.examples("approved"))
        return f"`{reviewed.id}` is {reviewed.status}. {approved} of {examples.WANTED} approved.", None

    async def _model(self, commanded: Commanded, arguments: list[str]) -> Shown:
        _take_none("model", arguments)
        approved = len(await self._journal.examples("approved"))
        return (
            f"*Live* {escape(self._works.model)} · {escape(self._works.model_address)}\n"
            f"*Examples* {approved} of {examples.WANTED} approved for a persona of your own",
            None,
        )


USAGE = [
    ("/support ask QUESTION", "answers you in private, from what this channel may read"),
    ("/support privacy", "says what I store and how to object"),
    ("/support help", "shows this list"),
]

ADMIN_USAGE = [
    ("/support status", "health, size of the library, model, queue"),
    ("/support sources", "lists where the documents come from"),
    ("/support sources sync NAME", "reads a source again"),
    ("/support examples", "lists the answers that people liked and that wait for review"),
    ("/support examples approve ID", "approves one for training; `reject ID` rejects it"),
    ("/support model", "shows the live persona model"),
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
        is_long = text.strip().lower().startswith(("ask ", "sources sync"))
        await ack(text="Looking in the documents…" if is_long else "")

    app.command("/support")(support)
