"""What the worker does with what people teach: agreements, corrections, and news of what came of them. Like every duty,
each may be started again after a crash, and then ends as if it had run once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.answering import Find
from bot.errors import TellUser
from bot.journal import Entry, Journal
from bot.learning import examples
from bot.learning.versions.gate import GateOrder
from bot.learning.versions.register import Register
from bot.vocabulary import Example, TuningJob, Verdict
from bot.worker import Duty
from handlers import blocks
from handlers.actions.consent import Consented
from handlers.audience import Audience
from handlers.cards import is_person
from handlers.commands.words import in_slack
from handlers.inbox import Told, clock_of
from handlers.modals.correction import REASONS, Corrected
from handlers.mrkdwn import escape
from handlers.private import respond, tell
from handlers.reviewing import Reviewing

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

UNAGREED = (
    "I noted what was wrong. Your better answer stays between us: unless you agree below, nothing becomes of it, and "
    "it is gone after a week."
)
GONE = "That question and its answer are no longer there."
TOLD_S = 30 * 86_400


class Learning:
    """The duties, with all that they need."""

    def __init__(
        self,
        client: AsyncWebClient,
        journal: Journal,
        register: Register,
        audience: Audience,
        find: Find,
        reviewing: Reviewing,
        rules: examples.Rules,
    ) -> None:
        self._client, self._journal, self._register = client, journal, register
        self._audience, self._find, self._reviewing, self._rules = audience, find, reviewing, rules

    @property
    def duties(self) -> Mapping[str, Duty]:
        """The duty of each kind of job."""
        return {
            "tell": Duty(self.tell),
            "consent": Duty(self.consent),
            "correct": Duty(self.correct, apology="apologise_for_correction"),
            "apologise_for_correction": Duty(self.apologise_for_correction),
            "gate_failed": Duty(self.gate_failed),
            "review": Duty(self._reviewing.press),
            "edit": Duty(self._reviewing.edit),
        }

    async def tell(self, payload: str) -> None:
        """Tells one person something."""
        told = Told.model_validate_json(payload)
        await tell(self._client, told.user_id, told.text, told.response_url)

    async def consent(self, payload: str) -> None:
        """Makes an example of a private answer, or not, as its asker says."""
        consented = Consented.model_validate_json(payload)
        entry = await self._journal.entry(consented.question_id)
        if entry and entry.asked.user_id != consented.user_id:
            return
        await respond(consented.response_url, await self._consented(consented, entry), replaces=True)

    async def _consented(self, consented: Consented, entry: Entry | None) -> str:
        if entry is None or entry.state == "withdrawn":
            return GONE
        if not consented.is_given:
            await examples.refuse(self._journal, entry, consented.user_id)
            return "All right: it stays between us."
        example = await examples.consent(self._journal, entry, consented.user_id, self._rules)
        if example is None:
            return "I made no example of it: you have taken back your 👍, or it rests on pages for few people only."
        became = _became_of(example) if example.origin == "correction" else f"Thank you. {_proposed(example.status)}"
        return f"{became} You can take it back at any time, as I said."

    async def correct(self, payload: str) -> None:
        """Keeps what was wrong with an answer, and makes an example of the better one."""
        corrected = Corrected.model_validate_json(payload)
        entry = await self._journal.entry(corrected.question_id)
        try:
            text, asks_consent = await self._corrected(corrected, entry)
        except TellUser as error:
            text, asks_consent = str(error), False
        shown = [blocks.section(text), *blocks.consent(corrected.question_id)] if asks_consent else None
        await tell(self._client, corrected.user_id, text, corrected.response_url, shown)

    async def _corrected(self, corrected: Corrected, entry: Entry | None) -> tuple[str, bool]:
        """Gives what became of it, and whether its person is to be asked for consent."""
        if entry is None or entry.answer is None or entry.state == "withdrawn":
            return GONE, False
        if not await self._audience.may_see(corrected.user_id, entry.asked):
            return "You can only correct an answer that you can read.", False
        if entry.asked.edited_ts and corrected.at_s < clock_of(entry.asked.edited_ts):
            return "The question was changed meanwhile, and so was its answer: look at it again.", False
        verdict = Verdict(
            question_id=entry.asked.id,
            user_id=corrected.user_id,
            is_helpful=False,
            at=datetime.fromtimestamp(corrected.at_s, UTC),
            reason=REASONS[corrected.reason],
        )
        await self._journal.judge(verdict)
        if not corrected.answer:
            return "Thank you, I noted what was wrong.", False
        readers = await self._audience.of(entry.asked)
        example = await examples.correct(
            self._journal,
            self._register,
            entry,
            corrected.answer,
            REASONS[corrected.reason],
            corrected.user_id,
            readers.audience,
            self._find,
            readable=readers.labels,
            rules=self._rules,
        )
        return (UNAGREED if entry.asked.is_private else _became_of(example)), entry.asked.is_private

    async def apologise_for_correction(self, payload: str) -> None:
        """Tells somebody that a correction was lost."""
        corrected = Corrected.model_validate_json(payload)
        text = "Your correction could not be kept: something on my side failed. Please send it again later."
        await tell(self._client, corrected.user_id, text, corrected.response_url)

    async def gate_failed(self, payload: str) -> None:
        """Tells whoever ordered a gate that it did not come to an end."""
        order = GateOrder.model_validate_json(payload)
        text = f"The gate on `{order.version}` failed; the log says why. Ordered again, it goes on where it stopped."
        await self.gate_told(order, text)

    async def gate_told(self, order: GateOrder, text: str) -> None:
        """Tells whoever ordered a gate what it found."""
        await tell(self._client, order.by, in_slack(text), order.tell or None)

    async def tuning_ended(self, job: TuningJob) -> None:
        """Tells whoever started a tuning job how it ended, or what keeps it from that, once."""
        news = (job.job_id or "",) if job.has_ended else (job.job_id or "", job.problem or "")
        key = self._register.key("told", job.dataset, *news)
        if not is_person(job.started_by) or await self._register.call(self._register.redis.exists(key)):
            return
        await tell(self._client, job.started_by, await self._ended(job))
        await self._register.call(self._register.redis.set(key, 1, ex=TOLD_S))

    async def _ended(self, job: TuningJob) -> str:
        if not job.has_ended:
            return f"The tuning of {job.base} on dataset `{job.dataset[:12]}` needs an operator. {job.problem}"
        if job.status != "succeeded":
            return f"The tuning of {job.base} on dataset `{job.dataset[:12]}` {job.status}. {job.problem or ''}".strip()
        versions = [one for one in await self._register.versions() if one.dataset == job.dataset]
        id = versions[-1].id if versions else "?"
        return (
            f"The tuning of {job.base} on dataset `{job.dataset[:12]}` has ended: it is `{id}`, and not live yet. "
            f"`/support model gate {id}` measures it against what is live."
        )


def _became_of(example: Example) -> str:
    if example.draft_page:
        return (
            f"Thank you. Some of it stands on no page yet, so it waits: draft page `{example.draft_page}` holds those "
            "facts, with you as its owner. Once a page that says so is among the documents, an admin can approve it."
        )
    if example.problems:
        problems = "\n".join(f"• {escape(one)}" for one in example.problems)
        return f"Thank you. I kept your answer; before an admin can approve it, this is to be mended:\n{problems}"
    return f"Thank you. {_proposed(example.status)}"


def _proposed(status: str) -> str:
    if status == "approved":
        return "It is an example now."
    return "I proposed it as an example; an admin reviews it."
