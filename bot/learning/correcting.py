"""Somebody knows better than the bot, or than the pages. What a correction states is held against the library: what is
there is cited, and what is not becomes a draft page with an owner, for a persona learns manner and never facts. The
correction waits until a page holds those facts, and so does every other example whose pages have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from bot.answering import Find
from bot.errors import FootnoteError, TellUser, TryAgain
from bot.journal import Entry, Journal, example_id, now
from bot.learning import linting
from bot.learning.judging import Rules, audience_of, redacted
from bot.learning.tracing import IMPORTED, Standing, changes, put_aside, standing_of
from bot.learning.versions.register import Register
from bot.log import log
from bot.persona import Persona
from bot.redacting import redact
from bot.vocabulary import PUBLIC, DraftPage, Example, Passage, Question, Verdict

MOST_PASSAGES = 8
LONGEST_CORRECTION = 3_000
QUESTION_CHANGED = "Its question was changed after it was approved."


async def correct(
    journal: Journal,
    register: Register,
    entry: Entry,
    corrected_text: str,
    wrong: str,
    user_id: str,
    place_audience: str,
    find: Find,
    *,
    readable: frozenset[str] | None = None,
    rules: Rules | None = None,
) -> Example:
    """Makes an example of somebody's better answer, preferred to the bot's own, which it keeps.

    Each sentence is held against the passages of the answer and those that are found now; `readable` is what the
    readers of the place may read, else it is taken from the place and from what was shown there. Sentences that a
    passage supports get their marks; for the rest a draft page of that person is stored, and the example waits for it.
    `wrong` is what was wrong, in the person's own words. A correction of a private answer is nobody's to read, has no
    draft page yet and goes by itself, until its asker agrees (`examples.consent`). Raises TellUser when there is
    nothing to correct, LibraryUnavailable, and TryAgain.
    """
    rules = rules or Rules()
    answer = entry.answer
    if answer is None or not corrected_text.strip():
        raise TellUser("There is no answer to correct." if answer is None else "Write the better answer.")
    if len(corrected_text) > LONGEST_CORRECTION:
        raise TellUser(f"That is longer than an answer can be: at most {LONGEST_CORRECTION:,} characters.")
    id = example_id(entry.asked.id, is_correction=True)
    stored = await journal.example(id)
    judges = frozenset(one.user_id for one in await journal.verdicts(entry.asked.id)) & {user_id}
    if (stored and stored.reviewed_by) or await journal.was_rejected(id):
        raise TellUser("An admin has already decided on a correction of this answer.")
    place = "nobody" if entry.asked.is_private else place_audience
    draft = Example(
        id=id,
        team_id=journal.team_id,
        question_id=entry.asked.id,
        question=answer.query or entry.asked.text,
        answer=corrected_text,
        passages=answer.passages,
        audience=place,
        produced_by="human",
        provider="human",
        origin="correction",
        liked_by=(user_id,),
        asked_by=entry.asked.user_id,
        thread=f"{entry.asked.channel_id}:{entry.asked.thread_ts}",
        refused_answer=answer.text,
        created_at=stored.created_at if stored else now(),
    )
    may_read = (readable or _readable_at(place, answer.passages)) - {"nobody"}
    example, unsupported = await grounded(draft, answer.passages, find, may_read, rules.persona)
    example = example.model_copy(update={"audience": audience_of(example.passages, place)})
    page = _draft_page(example, unsupported, wrong, user_id) if unsupported else None
    example = _waiting_for(page, rules.judged(example)) if page else rules.judged(example)
    if not await journal.replace_example(id, stored, example, entry, judges):
        raise TryAgain("an answer is being corrected, changed or withdrawn by others")
    if page and not entry.asked.is_private:
        await register.keep_draft_page(page)
    return example


async def open_draft_page(
    register: Register, example: Example, verdicts: Iterable[Verdict], persona: Persona
) -> DraftPage:
    """Stores the draft page of a correction to which its person has agreed by now, for whoever may read the example."""
    unsupported = linting.marked(linting.without_marks(example.answer), example.passages, persona).unsupported
    (user_id,) = example.liked_by
    wrong = next((one.reason for one in verdicts if one.user_id == user_id and one.reason), "")
    page = _draft_page(example, unsupported, wrong, user_id)
    await register.keep_draft_page(page)
    return page


async def recheck(
    journal: Journal,
    standing: Standing,
    *,
    find: Find | None = None,
    register: Register | None = None,
    rules: Rules | None = None,
) -> list[Example]:
    """Brings the examples in line with what the library holds now, and gives those that changed.

    An example of which a document was changed, is gone, or is for fewer readers now is put aside, and `problems` says
    why. With `find`, what waits or was put aside for its pages is held against the pages of today: when they hold all
    that it says, it has their marks and is a plain candidate, its draft page forgotten.
    """
    changed = {one.id: one for one in await put_aside(journal, standing)}
    if find is None:
        return list(changed.values())
    rules = rules or Rules()
    for one in await journal.examples():
        is_waiting = one.status == "candidate" and (one.draft_page or (one.problems and one.origin != "vote"))
        if not is_waiting and not (one.status == "quarantined" and one.passages):
            continue
        renewed = await _renewed(one, standing, find, rules)
        if renewed is None or await journal.change_example(one.id, _unless_changed(one, renewed)) is None:
            continue
        changed[one.id] = renewed
    if register:
        await _remove_pages_of_nothing(journal, register)
    return list(changed.values())


async def catch_up(journal: Journal, standing: Standing, find: Find, rules: Rules) -> list[Example]:
    """Does a `recheck` after documents were read, where there is any example; why it cannot is logged, for what was
    read stays read."""
    register = Register(journal.redis, journal.team_id)
    try:
        if await journal.has_examples():
            return await recheck(journal, standing, find=find, register=register, rules=rules)
    except FootnoteError as error:
        log.warning("examples_not_rechecked", cause=str(error))
    return []


async def _remove_pages_of_nothing(journal: Journal, register: Register) -> None:
    """Forgets the draft pages that no example waits for any more: they are held, or their question was deleted."""
    pages = await register.draft_pages()
    waited_for = {one.draft_page for one in await journal.examples()} if pages else set()
    for page in pages:
        if page.id not in waited_for:
            await register.remove_draft_page(page.id)


async def grounded(
    example: Example, passages: Sequence[Passage], find: Find, readable: frozenset[str], persona: Persona
) -> tuple[Example, tuple[str, ...]]:
    """Gives an example, redacted, with the marks that hold and these passages (where there are none, with what its
    question finds), the new ones behind them that it cites; and the sentences that nothing holds. What its question
    finds is looked at, and what its answer finds."""
    found: list[Passage] = []
    for text in (example.question, linting.without_marks(example.answer)):
        asked = Question(id=f"{example.id}:ground", team_id=example.team_id, text=text[:1_000], readable=readable)
        found += [hit.passage for hit in (await find(asked)).hits]
        passages = passages or tuple(found)
    known = {passage.id for passage in passages}
    new = {passage.id: passage for passage in found if passage.id not in known}
    every = redacted(example.model_copy(update={"passages": (*passages, *new.values())}))
    cited = linting.marked(every.answer, every.passages, persona).numbers
    keep = [one for number, one in enumerate(every.passages, 1) if number <= len(passages) or number in cited]
    kept = keep[:MOST_PASSAGES]
    marks = linting.marked(linting.without_marks(every.answer), kept, persona)
    return every.model_copy(update={"answer": marks.text, "passages": tuple(kept)}), marks.unsupported


async def _renewed(example: Example, standing: Standing, find: Find, rules: Rules) -> Example | None:
    """Gives an example on the pages of today, or None when they do not hold what it says."""
    now_there = await standing_of(example.passages, standing)
    still = [one for one in example.passages if one.source == IMPORTED or not changes([one], now_there)]
    readable = _readable_at(example.audience, still) - {"nobody"}
    renewed, unsupported = await grounded(example, still, find, readable, rules.persona)
    if unsupported or not renewed.passages or _is_of_old_words(example):
        return None
    refused = renewed.refused_answer
    if len(still) < len(example.passages) and refused:
        refused = linting.without_marks(refused)  # they named passages that are no longer there
    fresh = {
        "status": "candidate",
        "draft_page": None,
        "audience": audience_of(renewed.passages, example.audience),
        "refused_answer": refused,
        "reviewed_by": None,
        "reviewed_at": None,
    }
    judged = rules.judged(renewed.model_copy(update=fresh))
    return None if judged.problems else judged


def _is_of_old_words(example: Example) -> bool:
    """Whether it was put aside because its question was changed: no page makes that right."""
    return example.status == "quarantined" and QUESTION_CHANGED in example.problems


def _unless_changed(known: Example, renewed: Example) -> Callable[[Example], Example | None]:
    return lambda example: renewed if example == known else None


def _readable_at(place: str, shown: Sequence[Passage]) -> frozenset[str]:
    """What the readers of a place may read, as far as it shows: what is public, what is said there, what was shown."""
    return frozenset({PUBLIC, place, *(passage.audience for passage in shown)})


def _draft_page(example: Example, unsupported: Sequence[str], wrong: str, user_id: str) -> DraftPage:
    name = hashlib.sha256(f"{example.id}\n{user_id}".encode()).hexdigest()[:8]
    facts = "\n".join(f"- {sentence}" for sentence in unsupported)
    remark = f"\n\nWhat was wrong with the answer: {redact(wrong.strip())}" if wrong.strip() else ""
    return DraftPage(
        id=f"page-{name}",
        team_id=example.team_id,
        title=example.question[:150],
        text=f"{facts}{remark}",
        audience=example.audience,
        owner=user_id,
        created_at=now(),
    )


def _waiting_for(page: DraftPage, example: Example) -> Example:
    reason = f"It waits for the draft page {page.id}, for no page holds all that it says."
    return example.model_copy(
        update={"draft_page": page.id, "status": "candidate", "problems": (reason, *example.problems)}
    )
