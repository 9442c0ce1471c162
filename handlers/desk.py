"""What the worker does with what came in: it answers questions, keeps verdicts, carries out commands. Each duty may
be started again after a crash at any point, and then ends as if it had run once."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from bot.answering import Reply
from bot.errors import SlackUnavailable, TryAgain
from bot.journal import Entry, Journal
from bot.learning import examples
from bot.vocabulary import Answer, Asked, Example, Question, Turn, Verdict
from bot.worker import Duty
from handlers import blocks
from handlers.audience import Audience
from handlers.commands.sources import SourceOrder
from handlers.following import history, is_for_bot
from handlers.inbox import Commanded, Judged, Opened, asked_by, clock_of
from handlers.mrkdwn import escape
from handlers.private import respond, tell
from handlers.slack import SlackRefused, call, refusal
from handlers.thread import PrivateReply, ThreadReply, own_replies, thread_messages

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

    from handlers.commands.support import Support

Answering = Callable[[Question, Reply], Awaitable[Answer]]

SORRY = "I could not answer this: something on my side failed. Please ask again in a few minutes, or ask a person."
NOT_HERE = "I cannot write in this conversation. Invite me by `/invite`, then ask again; or use `/support ask`."
NOTED_WITHIN_S = 120
"""How long a message of ours may still turn out to be an answer: a killed worker's job is taken over within it."""

log = structlog.get_logger()


class Desk:
    """The duties, with all that they need."""

    def __init__(
        self,
        client: AsyncWebClient,
        journal: Journal,
        audience: Audience,
        answer: Answering,
        support: Support,
        *,
        bot_user_id: str,
        bot_name: str,
        rules: examples.Rules | None = None,
    ) -> None:
        self._client = client
        self._rules = rules or examples.Rules()
        self._journal = journal
        self._audience = audience
        self._answer = answer
        self._support = support
        self._bot_user_id = bot_user_id
        self._bot_name = bot_name

    @property
    def duties(self) -> Mapping[str, Duty]:
        """The duty of each kind of job."""
        return {
            "answer": Duty(self.answer, apology="apologise"),
            "apologise": Duty(self.apologise),
            "withdraw": Duty(self.withdraw),
            "judge": Duty(self.judge),
            "command": Duty(self.command, apology="apologise_for_command"),
            "apologise_for_command": Duty(self.apologise_for_command),
            "source": Duty(self.source, apology="apologise_for_source"),
            "apologise_for_source": Duty(self.apologise_for_source),
            "home": Duty(self.home),
        }

    async def answer(self, question_id: str) -> None:
        """Answers a question in its newest words, unless that is done."""
        entry = await self._journal.entry(question_id)
        if entry is None or entry.is_settled:
            return
        if entry.asked.kind == "direct":
            await self._introduce(entry.asked)
        if entry.answer:
            await examples.question_changed(self._journal, entry)
        question = await self._question(entry.asked)
        if question is None:
            await self._journal.leave_alone(entry.asked)
            return
        async with refusal("not_in_channel", "channel_not_found", "is_archived") as refused:
            await self._answer(question, await self._reply(entry))
        if refused:
            log.info("no_place_to_answer", question=question_id, cause=refused[0])
            await respond(entry.asked.response_url, NOT_HERE)

    async def apologise(self, question_id: str) -> None:
        """Tells an asker that there will be no answer. That is the one answer, then."""
        entry = await self._journal.entry(question_id)
        if entry and not entry.is_settled:
            answer = Answer(question_id=question_id, status="failed", text=SORRY)
            await (await self._reply(entry)).finish(answer)

    async def withdraw(self, question_id: str) -> None:
        """Takes the answer to a deleted question away, and all that was made of it."""
        entry = await self._journal.entry(question_id)
        if entry is None:
            return
        await examples.withdraw(self._journal, question_id)  # first, for Slack may be away, or say no for good
        posted = [entry.reply_ts] if entry.reply_ts else []
        if not posted:
            with _taking_no(question_id):
                posted = [one["ts"] for one in await own_replies(self._client, entry, self._bot_user_id)]
        for ts in posted:
            with _taking_no(question_id):
                await call(self._client.chat_delete(channel=entry.asked.channel_id, ts=ts))

    async def judge(self, payload: str) -> None:
        """Keeps a verdict, and proposes an example or takes it back."""
        judged = Judged.model_validate_json(payload)
        question_id = judged.question_id or await self._journal.question_of_reply(judged.channel_id, judged.message_ts)
        if question_id is None and time.time() - clock_of(judged.message_ts) < NOTED_WITHIN_S:
            raise TryAgain("a thumb on a message of which nothing is noted yet")
        entry = await self._journal.entry(question_id) if question_id else None
        if entry is None or entry.state in ("left_alone", "withdrawn"):
            return
        if entry.asked.edited_ts and judged.at_s < clock_of(entry.asked.edited_ts):
            return  # it was for the answer to other words
        if not entry.is_settled:
            raise TryAgain("a thumb on an answer that is not noted yet")
        verdict = Verdict(
            question_id=entry.asked.id,
            user_id=judged.user_id,
            is_helpful=judged.is_helpful,
            at=datetime.fromtimestamp(judged.at_s, UTC),
        )
        keep = self._journal.take_back if judged.is_taken_back else self._journal.judge
        verdicts = await keep(verdict)
        readers = await self._audience.of(entry.asked)
        example = await examples.keep(self._journal, entry, verdicts, readers.audience, self._rules)
        if judged.is_helpful and not judged.is_taken_back and example is None and _may_ask(judged, entry):
            await self._ask_consent(judged, entry)
        else:
            await respond(judged.response_url, _thanks(judged, example))

    async def _ask_consent(self, judged: Judged, entry: Entry) -> None:
        """Asks the asker of a private answer whether it may become an example."""
        shown = blocks.consent(entry.asked.id)
        if judged.response_url:
            await respond(judged.response_url, blocks.CONSENT, shown)
            return
        try:
            await call(
                self._client.chat_postEphemeral(
                    channel=judged.channel_id,
                    user=judged.user_id,
                    thread_ts=entry.asked.thread_ts,
                    text=blocks.CONSENT,
                    blocks=shown,
                )
            )
        except SlackRefused as error:
            log.warning("consent_not_asked", question=entry.asked.id, cause=error.code)

    async def command(self, payload: str) -> None:
        """Carries out a slash command; its answer is for whoever gave it, wherever that person can still be told."""
        commanded = Commanded.model_validate_json(payload)
        word, _, rest = commanded.text.strip().partition(" ")
        if word.lower() == "ask" and rest.strip():
            asked = asked_by(commanded, self._journal.team_id, rest)
            await self._journal.accept(asked)
            await self.answer(asked.id)
            return
        text, shown = await self._support.carry_out(commanded)
        await tell(self._client, commanded.user_id, text, commanded.response_url, shown)

    async def apologise_for_command(self, payload: str) -> None:
        """Tells somebody that a command failed."""
        commanded = Commanded.model_validate_json(payload)
        text = "That failed. The log says why; try again."
        await tell(self._client, commanded.user_id, text, commanded.response_url)

    async def source(self, payload: str) -> None:
        """Does with a source what an admin ordered, and tells how that ended."""
        order = SourceOrder.model_validate_json(payload)
        done = await self._support.sources.done(order)
        if done is None:
            return
        text, shown = done
        is_pressed = order.what in ("remove", "keep")  # then the buttons go
        await tell(self._client, order.by, text, order.response_url, shown, replaces=is_pressed)
        await self._journal.note_done(order.once)

    async def apologise_for_source(self, payload: str) -> None:
        """Tells an admin that an order about a source failed."""
        order = SourceOrder.model_validate_json(payload)
        text = (
            f"*{escape(order.name)}* could not be done ({order.what}): something on my side failed, the log says what."
        )
        await tell(self._client, order.by, text, order.response_url)

    async def home(self, payload: str) -> None:
        """Draws the Home tab."""
        opened = Opened.model_validate_json(payload)
        view = blocks.home(self._bot_name, self._support.usage(is_admin=False), self._journal.retention_days)
        await call(self._client.views_publish(user_id=opened.user_id, view=view))

    async def _question(self, asked: Asked) -> Question | None:
        """Gives the question with the rights of its readers; None when it turns out not to be meant for the bot."""
        readers = await self._audience.of(asked)
        turns: tuple[Turn, ...] = ()
        if asked.thread_ts != asked.ts:
            async with refusal("thread_not_found", "channel_not_found", "not_in_channel", "missing_scope") as refused:
                messages = await thread_messages(self._client, asked)
                if asked.kind == "follow_up" and not is_for_bot(messages, asked.ts, self._bot_user_id):
                    return None
                turns = history(messages, asked.ts, self._bot_user_id)
            if refused and asked.kind == "follow_up":  # then nobody knows whether it was meant for the bot
                return None
        return Question(
            id=asked.id,
            team_id=self._journal.team_id,
            text=asked.text,
            readable=readers.labels,
            history=turns,
            channel_id=asked.channel_id,
        )

    async def _reply(self, entry: Entry) -> Reply:
        if entry.asked.kind == "command":
            return PrivateReply(self._client, self._journal, entry.asked)
        reply = ThreadReply(self._client, self._journal, entry, bot_user_id=self._bot_user_id)
        await reply.adopt()
        return reply

    async def _introduce(self, asked: Asked) -> None:
        """Says once to everyone who writes to the bot directly what it is and what it stores."""
        if not await self._journal.meets(asked.user_id):
            return
        stored = blocks.privacy(self._journal.retention_days)
        text = f"Hello, I am {self._bot_name}. {blocks.WELCOME}\n\n{stored}"
        metadata = {"event_type": "footnote_introduction", "event_payload": {}}
        try:
            await call(self._client.chat_postMessage(channel=asked.channel_id, text=text, metadata=metadata))
        except SlackRefused as error:
            log.warning("not_introduced", cause=error.code)
        except SlackUnavailable:
            await self._journal.has_not_met(asked.user_id)
            raise


@contextmanager
def _taking_no(question_id: str) -> Iterator[None]:
    try:
        yield
    except SlackRefused as error:
        log.warning("reply_not_deleted", question=question_id, cause=error.code)


def _may_ask(judged: Judged, entry: Entry) -> bool:
    """Whether this is the asker of a private answer, and there is something to learn from it."""
    answer = entry.answer
    is_theirs = entry.asked.is_private and judged.user_id == entry.asked.user_id
    return is_theirs and answer is not None and answer.status == "answered" and bool(answer.citations)


def _thanks(judged: Judged, example: Example | None) -> str:
    if judged.is_helpful and example and example.status == "candidate":
        return "Thank you. I proposed this answer as an example; an admin reviews it."
    if judged.is_helpful and example and example.status == "approved":
        return "Thank you. This answer is an example now."
    return "Thank you, I noted that."
