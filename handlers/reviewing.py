"""How admins decide on examples in Slack. Who presses and where is asked anew at every press: an example is seen and
decided on only by an admin who may read it, in a place where everybody may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import structlog

from bot.errors import LibraryUnavailable, TellUser
from bot.journal import Journal
from bot.learning import examples
from bot.learning.judging import words_of
from bot.learning.versions.register import Register
from bot.vocabulary import Example, ExampleStatus
from handlers import blocks, cards
from handlers.actions.review import Pressed
from handlers.audience import Audience
from handlers.modals import editing
from handlers.modals.editing import Edited
from handlers.mrkdwn import escape
from handlers.private import respond, tell
from handlers.slack import SlackRefused, call

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

NOT_ADMIN = "That is for admins of this workspace. Ask one of them, or try `/support help`."
SEEN_S = 86_400
"""How long it is known in which words somebody was shown an example."""
STATUSES: dict[str, ExampleStatus] = {"approve": "approved", "reject": "rejected"}

log = structlog.get_logger()

Shown = tuple[str, list[blocks.Block] | None]


class Reviewing:
    """The pages of cards, and what is pressed on them."""

    def __init__(
        self,
        client: AsyncWebClient,
        journal: Journal,
        audience: Audience,
        rules: examples.Rules,
        recheck: Callable[[], Awaitable[object]],
    ) -> None:
        """`recheck` brings the examples in line with the library of today."""
        self._client, self._journal, self._audience, self._rules = client, journal, audience, rules
        self._recheck = recheck
        self._register = Register(journal.redis, journal.team_id)

    async def readable(self, user_id: str, channel_id: str) -> frozenset[str]:
        """Gives what an admin may be shown at a place: what both the admin and everybody there may read. Raises
        TellUser when it is no admin."""
        if not await self._audience.is_admin(user_id):
            raise TellUser(NOT_ADMIN)
        person = await self._audience.of_person(user_id)
        if channel_id.startswith("D"):
            return person.labels
        return person.labels & (await self._audience.of_channel(channel_id)).labels

    async def page(self, viewer: str, readable: frozenset[str], after: str = "") -> Shown:
        """Shows the examples that wait, oldest first: the first ones, or those after a certain one."""
        if not after:
            try:
                await self._recheck()
            except LibraryUnavailable as error:
                log.warning("examples_not_rechecked", cause=str(error))
        every = await self._journal.examples()
        waiting = _waiting(every, readable)
        last = next((one for one in every if one.id == after), None)
        rest = [one for one in waiting if last is None or _order(one) > _order(last)]
        if not rest:
            text = f"No {'more examples wait' if after else 'example waits'} for review ({_progress(every)})."
            return f"{text} A 👍 on an answer in a channel makes one.", None
        await self._note_seen(viewer, rest[: cards.CARDS])
        return _drawn(rest[: cards.CARDS], waiting, _progress(every))

    async def decide_by_id(self, id: str, verb: str, reviewer: str, readable: frozenset[str]) -> Example:
        """Approves or rejects an example that somebody names. Raises TellUser when that cannot be, or when it has other
        words by now than this very person was shown."""
        words = await self._register.call(self._register.redis.hget(self._seen_by(reviewer), id))
        return await self._decide(id, verb, reviewer, readable, words)

    async def _decide(
        self, id: str, verb: str, reviewer: str, readable: frozenset[str], words: str | None = None
    ) -> Example:
        status = STATUSES[verb]
        return await examples.review(self._journal, id, status, reviewer, readable, self._rules.persona, words)

    async def _note_seen(self, viewer: str, shown: Iterable[Example]) -> None:
        """Notes in which words somebody was shown examples."""
        key, waiting = self._seen_by(viewer), [one for one in shown if one.status == "candidate"]
        if waiting:
            async with self._register.redis.pipeline(transaction=True) as pipe:
                for one in waiting:
                    pipe.hset(key, one.id, words_of(one))
                pipe.expire(key, SEEN_S)
                await self._register.call(pipe.execute())

    def _seen_by(self, viewer: str) -> str:
        return self._register.key("seen", viewer)

    async def press(self, payload: str) -> None:
        """Does what was pressed on a card, and draws the page anew."""
        pressed = Pressed.model_validate_json(payload)
        if pressed.what == "edit":
            await self._open(pressed)
            return
        try:
            readable = await self.readable(pressed.user_id, pressed.channel_id)
        except TellUser as error:
            await respond(pressed.response_url, str(error), replaces=True)
            return
        if pressed.what == "page":
            text, shown = await self.page(pressed.user_id, readable, pressed.example_id)
        else:
            notice = await self._decided(pressed, readable)
            text, shown = await self._again(pressed.user_id, pressed.shown, readable, notice)
        await respond(pressed.response_url, text, shown, replaces=True)

    async def edit(self, payload: str) -> None:
        """Keeps the new answer of an example, and draws the page anew from which it was edited."""
        edited = Edited.model_validate_json(payload)
        try:
            readable = await self.readable(edited.user_id, edited.channel_id)
            await self._editable(edited.example_id, readable)
        except TellUser as error:
            await tell(self._client, edited.user_id, str(error), edited.response_url)
            return
        notice = await self._edited(edited, readable)
        text, shown = await self._again(edited.user_id, edited.shown, readable, notice)
        try:
            await respond(edited.response_url, text, shown, replaces=True)
        except SlackRefused:  # the dialog was open for longer than the cards live
            await tell(self._client, edited.user_id, f"{notice} `/support examples` shows what waits.")

    async def _edited(self, edited: Edited, readable: frozenset[str]) -> str:
        """Keeps the new answer; gives what there is to say of it, and what would be lost where it is not kept."""
        id, answer, by = edited.example_id, edited.answer, edited.user_id
        try:
            await examples.edit(self._journal, id, answer, by, readable, self._rules.persona, edited.words)
        except TellUser as error:
            return f"⚠️ {error} You wrote:\n>{escape(' '.join(answer.split()))}"
        return f"`{id}` has a new answer."

    async def _open(self, pressed: Pressed) -> None:
        """Fills the dialog that `web` has opened."""
        try:
            readable = await self.readable(pressed.user_id, pressed.channel_id)
            example = await self._editable(pressed.example_id, readable)
            view = editing.view(example, pressed.channel_id, pressed.shown, pressed.response_url)
        except TellUser as error:
            view = editing.refused(str(error))
        try:
            await call(self._client.views_update(view_id=pressed.view_id, view=view))
        except SlackRefused as error:
            if error.code != "not_found":  # it was closed meanwhile
                raise

    async def _editable(self, id: str, readable: frozenset[str]) -> Example:
        example = await self._journal.example(id)
        if example is None or not examples.may_be_read(example, readable):
            raise TellUser(f"There is no example `{id}` that may be read here.")
        if example.status != "candidate":
            raise TellUser(f"Somebody has decided meanwhile: {cards.outcome(example)}")
        return example

    async def _decided(self, pressed: Pressed, readable: frozenset[str]) -> str:
        """Carries out a press; gives what else there is to say."""
        example = await self._journal.example(pressed.example_id)
        if example and example.status != "candidate" and examples.may_be_read(example, readable):
            is_done = (example.status, example.reviewed_by) == (STATUSES[pressed.what], pressed.user_id)
            return "" if is_done else f"`{example.id}` was decided on before you pressed."
        try:
            await self._decide(pressed.example_id, pressed.what, pressed.user_id, readable, pressed.words)
        except TellUser as error:
            return f"⚠️ {error}"
        return ""

    async def _again(self, viewer: str, ids: Iterable[str], readable: frozenset[str], notice: str) -> Shown:
        """Shows a page as it stands now."""
        every = await self._journal.examples()
        known = {one.id: one for one in every if examples.may_be_read(one, readable)}
        shown = [known[id] for id in ids if id in known]
        await self._note_seen(viewer, shown)
        return _drawn(shown, _waiting(every, readable), _progress(every), notice)


def _drawn(shown: list[Example], waiting: list[Example], progress: str, notice: str = "") -> Shown:
    head = f"{len(waiting):,} {'waits' if len(waiting) == 1 else 'wait'} for review · {progress}"
    more = sum(_order(one) > max(map(_order, shown)) for one in waiting) if shown else 0
    return f"{notice} {head}".strip(), cards.page(shown, f"*{head}*\n{notice}".strip(), progress, more=more)


def _waiting(every: Iterable[Example], readable: frozenset[str]) -> list[Example]:
    waiting = (one for one in every if one.status == "candidate" and examples.may_be_read(one, readable))
    return sorted(waiting, key=_order)


def _progress(every: Iterable[Example]) -> str:
    return examples.progress_of(every)


def _order(example: Example) -> tuple[float, str]:
    return example.created_at.timestamp(), example.id
