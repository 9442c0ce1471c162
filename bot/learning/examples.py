"""From a thumbs-up to an example. It is a candidate, not a label: it is redacted, held against its passages, and then
an admin approves it, or whoever the settings trust. Who may not read an example's passages never reads the example.
This is the door of the room: what else happens to examples can be called from here, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bot.errors import TellUser, TryAgain
from bot.journal import Entry, Journal, example_id, now
from bot.learning import linting
from bot.learning.correcting import QUESTION_CHANGED, correct, open_draft_page, recheck
from bot.learning.held_out import is_held_out
from bot.learning.judging import EVERYBODY, Rules, audience_of, may_be_read, redacted, trainable, words_of
from bot.learning.tracing import Standing, erase, forget_person, seen_by
from bot.learning.versions.register import Register
from bot.persona import Persona, load_persona
from bot.vocabulary import WORKSPACE, Example, ExampleStatus, Verdict

__all__ = [
    "WANTED", "Rules", "Standing", "consent", "correct", "edit", "forget_person", "keep", "may_be_read",
    "progress", "progress_of", "proposed", "question_changed", "recheck", "refuse", "review", "seen_by", "trainable",
    "withdraw",
]  # fmt: skip

WANTED = 500
"""Approved examples from which on a tuned persona is worth its while (the seed's figure)."""
TRIES = 5
"""Times that a change is begun anew because others change the same."""


def proposed(entry: Entry, likers: Sequence[str], audience: str, team_id: str) -> Example | None:
    """Makes a candidate of a liked answer for those who read `audience`; None when there is nothing to learn from it:
    nobody likes it, or it is no answer with citations."""
    answer = entry.answer
    if not likers or answer is None or answer.status != "answered" or not answer.citations:
        return None
    return redacted(
        Example(
            id=example_id(entry.asked.id),
            team_id=team_id,
            question_id=entry.asked.id,
            question=answer.query or entry.asked.text,
            answer=answer.text,
            passages=answer.passages,
            audience=audience_of(answer.passages, audience),
            produced_by=answer.model,
            provider=answer.provider,
            liked_by=tuple(sorted(likers)),
            asked_by=entry.asked.user_id,
            thread=f"{entry.asked.channel_id}:{entry.asked.thread_ts}",
            created_at=now(),
        )
    )


async def keep(
    journal: Journal, entry: Entry, verdicts: Iterable[Verdict], place_audience: str, rules: Rules | None = None
) -> Example | None:
    """Brings the stored example of an answer in line with the verdicts on it. What an admin has decided on stays. An
    answer that its asker alone saw has an example only once the asker has agreed to that (`consent`), and only until
    the asker's 👍 is taken back, whoever has approved it: then everything goes that was made of it, and what saw it is
    noted. Raises TryAgain."""
    rules, verdicts = rules or Rules(), list(verdicts)
    if entry.asked.is_private:
        await _hold_to_consent(journal, entry, verdicts)
    id = example_id(entry.asked.id)
    for _ in range(TRIES):
        stored = await journal.example(id)
        if stored and (stored.status in ("rejected", "quarantined") or stored.reviewed_by):
            return stored
        if stored is None and (entry.asked.is_private or await journal.was_rejected(id)):
            return None
        place = WORKSPACE if entry.asked.is_private else place_audience
        likers = frozenset(verdict.user_id for verdict in verdicts if verdict.is_helpful)
        example = proposed(entry, sorted(likers), place, journal.team_id)
        if example and stored:
            example = example.model_copy(update={"created_at": stored.created_at})
        example = rules.judged(example) if example else None
        if await journal.replace_example(id, stored, example, entry, likers if example else frozenset()):
            return example
    raise TryAgain("an answer is being judged, changed or withdrawn by others")


async def _hold_to_consent(journal: Journal, entry: Entry, verdicts: Iterable[Verdict]) -> None:
    """Erases what was made of a private answer whose asker takes back the thumb that allowed it."""
    standing = [one.is_helpful for one in verdicts if one.user_id == entry.asked.user_id]
    revoked = [] if True in standing else [example_id(entry.asked.id)]
    revoked += [] if standing else [example_id(entry.asked.id, is_correction=True)]
    await _revoke(journal, revoked)


async def _revoke(journal: Journal, ids: Iterable[str], what: str = "example revoked") -> None:
    there = [id for id in ids if await journal.example(id)]
    if there:
        await erase(journal, there, what)


async def withdraw(journal: Journal, question_id: str) -> None:
    """Forgets a question that was deleted, its answer, and all that was made of it; which datasets and versions have
    seen that is noted. Raises TryAgain."""
    ids = [example_id(question_id), example_id(question_id, is_correction=True)]
    await _revoke(journal, ids, "question deleted")
    await journal.withdraw(question_id)


async def refuse(journal: Journal, entry: Entry, user_id: str) -> None:
    """Erases what was made, or kept for later, of an answer that its asker alone saw, now that this very person does
    not agree; nothing when it is somebody else."""
    if entry.asked.is_private and user_id == entry.asked.user_id:
        await _revoke(journal, [example_id(entry.asked.id), example_id(entry.asked.id, is_correction=True)])


async def consent(journal: Journal, entry: Entry, user_id: str, rules: Rules | None = None) -> Example | None:
    """Makes the example of an answer that its asker alone saw, now that this very person agrees; a correction of it
    that waited for this, too, with its draft page. Who may read it then are the readers of its passages, at most the
    workspace. None when somebody else agrees, when nobody likes or corrected the answer, when an admin has rejected it,
    or when nobody could read the example. Raises TryAgain."""
    if not entry.asked.is_private or user_id != entry.asked.user_id:
        return None
    rules, id = rules or Rules(), example_id(entry.asked.id)

    def open_up(example: Example) -> Example | None:
        if example.status == "rejected":
            return None
        return example.model_copy(update={"audience": audience_of(example.passages, WORKSPACE)})

    corrected = await journal.change_example(example_id(entry.asked.id, is_correction=True), open_up)
    verdicts = await journal.verdicts(entry.asked.id)
    if corrected and corrected.draft_page:
        await open_draft_page(Register(journal.redis, journal.team_id), corrected, verdicts, rules.persona)
    stored = await journal.example(id)
    if corrected or stored:
        return corrected or stored
    likers = frozenset(verdict.user_id for verdict in verdicts if verdict.is_helpful)
    example = proposed(entry, sorted(likers), WORKSPACE, journal.team_id)
    if user_id not in likers or example is None or example.audience == "nobody" or await journal.was_rejected(id):
        return None
    example = rules.judged(example)
    if not await journal.replace_example(id, None, example, entry, likers):
        raise TryAgain("an answer is being judged, changed or withdrawn by others")
    return example


async def question_changed(journal: Journal, entry: Entry) -> None:
    """Takes verdicts and examples of an answer along that is about to be replaced; what an admin has approved is kept
    aside, out of training."""
    await journal.forget_verdicts(entry.asked.id)

    def put_aside(example: Example) -> Example | None:
        if example.status != "approved" or not example.reviewed_by:
            return None
        return example.model_copy(update={"status": "quarantined", "problems": (QUESTION_CHANGED,)})

    for is_correction in (False, True):
        id = example_id(entry.asked.id, is_correction=is_correction)
        if await journal.change_example(id, put_aside) is None:
            await journal.erase_examples([id])


async def edit(
    journal: Journal,
    id: str,
    answer: str,
    reviewer: str,
    readable: frozenset[str] | None,
    persona: Persona,
    words: str | None = None,
) -> Example:
    """Gives an example another answer, with the marks that hold, and says in `problems` what is wrong with it then; it
    waits for approval again.

    Raises TellUser when there is none that may be read here, and when somebody has changed the `words` that were seen
    (`judging.words_of`) into others than these: nobody's work is overwritten unseen.
    """

    def change(example: Example) -> Example:
        _check_readable(example, readable)
        changed = redacted(example.model_copy(update={"answer": answer}))
        marks = linting.marked(changed.answer, changed.passages, persona)
        if marks.text != example.answer:
            _check_words(example, words)
        changed = changed.model_copy(
            update={
                "answer": marks.text,
                "status": "quarantined" if example.status == "quarantined" else "candidate",
                "reviewed_by": reviewer,
                "reviewed_at": now(),
            }
        )
        kept = example.problems if example.status == "quarantined" else ()
        found = linting.problems(changed, persona)
        return changed.model_copy(update={"problems": (*kept, *(one for one in found if one not in kept))})

    return await journal.change_example(id, change) or _missing(id)


async def review(
    journal: Journal,
    id: str,
    status: ExampleStatus,
    reviewer: str,
    readable: frozenset[str] | None,
    persona: Persona | None = None,
    words: str | None = None,
) -> Example:
    """Approves or rejects an example; `readable` is None for who may read everything. The words of a rejected one, and
    the draft page that it waited for, go after the retention or at once; the same is not proposed again.

    Raises TellUser when there is none that may be read here, when it is not in the `words` any more that were seen, and
    when one is to be approved that has problems: it says which. One in quarantine stays there until `recheck` has found
    its documents again.
    """

    def change(example: Example) -> Example:
        _check_readable(example, readable)
        _check_words(example, words)
        update: dict[str, Any] = {"status": status, "reviewed_by": reviewer, "reviewed_at": now()}
        if status == "rejected":
            update["draft_page"] = None
        if status == "approved":
            found = [*_waiting(example), *linting.problems(example, persona or load_persona())]
            if found:
                raise TellUser(f"`{example.id}` cannot be approved: {' '.join(found)}")
            update |= {"problems": (), "is_held_out": is_held_out(example)}
        return example.model_copy(update=update)

    return await journal.change_example(id, change) or _missing(id)


def _waiting(example: Example) -> Sequence[str]:
    """What no reading of the example itself can tell."""
    if example.status == "quarantined":
        return example.problems or ("It is in quarantine.",)
    return (f"It waits for the draft page {example.draft_page}.",) if example.draft_page else ()


def _check_readable(example: Example, readable: frozenset[str] | None) -> None:
    if not may_be_read(example, readable):
        _missing(example.id)


def _check_words(example: Example, words: str | None) -> None:
    if words not in (None, words_of(example)):
        raise TellUser(f"Nothing was done: `{example.id}` has other words than you saw. Look at it again.")


def _missing(id: str) -> Example:
    raise TellUser(f"There is no example `{id[:40]}` that may be read here.")


async def progress(journal: Journal) -> str:
    """Says how far it is to a persona of one's own: see `progress_of`."""
    return progress_of(await journal.examples("approved"))


def progress_of(examples: Iterable[Example]) -> str:
    """Says how far it is with these examples, `312 of 500 approved`, and how many of them are never trained on, whoever
    wrote them: `trainable` looks closer."""
    approved = [one for one in examples if one.status == "approved"]
    barred = sum(is_held_out(one) or not may_be_read(one, EVERYBODY) for one in approved)
    aside = f" ({barred} of them kept for measuring, or not for everyone)" if barred else ""
    return f"{len(approved)} of {WANTED} approved{aside}"
