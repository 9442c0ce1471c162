"""From a thumbs-up, or somebody's better answer, to an example. It is a candidate, not a label: it is redacted, held
against its passages, and then an admin approves it, or whoever the settings trust. Who may not read an example's
passages never reads the example, and when a document behind it changes, or a person behind it asks to be forgotten, it
is put aside or erased, and every dataset and model that saw it can be named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

from bot.errors import TellUser
from bot.journal import Entry, Journal, example_id, now
from bot.learning import linting
from bot.learning.held_out import Neighbours, is_held_out
from bot.persona import Persona, load_persona, training_messages
from bot.redacting import redact_together
from bot.settings import Settings
from bot.vocabulary import (
    PUBLIC,
    WORKSPACE,
    Dataset,
    Example,
    ExampleStatus,
    ModelVersion,
    Passage,
    Verdict,
    narrower,
)

if TYPE_CHECKING:
    from bot.learning.register import Register

WANTED = 500
"""Approved examples from which on a tuned persona is worth its while (the seed's figure)."""
OURS = frozenset({"human", "quoting"})
"""Providers whose words may always be trained on: people, and the pages themselves."""
IMPORTED = "import"
"""The source of a passage that came along with an imported example: there is no document to be kept in step with."""
MOST_AT_ONCE = 500

Standing = Callable[[Sequence[Passage]], Awaitable[Mapping[str, tuple[str, str]]]]
"""Gives what the library holds now of the documents of passages, which are all of one source: by document id the digest
of the whole document and its audience; a document that is gone is left out."""


@dataclass(frozen=True)
class Rules:
    """How examples are judged: by which persona's format, and whose word approves them."""

    persona: Persona = field(default_factory=load_persona)
    approval: str = "required"
    trusted_voters: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules that the settings make."""
        return cls(load_persona(settings.persona_file), settings.approval, settings.trusted_voters)

    def judged(self, example: Example) -> Example:
        """Gives an example with its side of the split and what is wrong with it; approved, where nothing is wrong and
        the settings say that no admin is asked."""
        found = linting.problems(example, self.persona)
        trusts = self.approval == "off" or (
            self.approval == "trusted voters" and not self.trusted_voters.isdisjoint(example.liked_by)
        )
        is_approved = trusts and not found and example.status == "candidate" and example.liked_by
        return example.model_copy(
            update={
                "status": "approved" if is_approved else example.status,
                "is_held_out": is_held_out(example),
                "problems": tuple(found),
            }
        )


def redacted(example: Example) -> Example:
    """Gives an example without secrets and personal data; one numbering runs through all of its texts."""
    passages = example.passages
    texts = [example.question, example.answer, example.refused_answer or ""]
    texts += [text for passage in passages for text in (passage.title, passage.section, passage.text)]
    question, answer, refused, *rest = redact_together(texts)
    parts = zip(passages, rest[::3], rest[1::3], rest[2::3], strict=True)
    clean = [
        passage.model_copy(update={"title": title, "section": section, "text": text})
        for passage, title, section, text in parts
    ]
    changes = {"question": question, "answer": answer, "passages": tuple(clean), "refused_answer": refused or None}
    return example.model_copy(update=changes)


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


def audience_of(passages: Iterable[Passage], place_audience: str) -> str:
    """Gives who may read what was said at a place from passages."""
    return reduce(narrower, (passage.audience for passage in passages), place_audience)


def may_be_read(example: Example, readable: frozenset[str] | None) -> bool:
    """Whether who reads these audiences may read an example and every passage of it; None reads everything."""
    audiences = {example.audience, *(passage.audience for passage in example.passages)}
    return readable is None or audiences <= readable


async def keep(
    journal: Journal, entry: Entry, verdicts: Iterable[Verdict], place_audience: str, rules: Rules | None = None
) -> Example | None:
    """Brings the stored example of an answer in line with the verdicts on it. What an admin has decided on stays. An
    answer that its asker alone saw has an example only once the asker has agreed to that (`consent`)."""
    stored = await journal.example(example_id(entry.asked.id))
    if stored and (stored.status in ("rejected", "quarantined") or stored.reviewed_by):
        return stored
    if entry.asked.is_private and stored is None:
        return None
    place = WORKSPACE if entry.asked.is_private else place_audience
    likers = [verdict.user_id for verdict in verdicts if verdict.is_helpful]
    example = proposed(entry, likers, place, journal.team_id)
    if example is None:
        if stored:
            await journal.erase_examples([stored.id])
        return None
    if stored:
        example = example.model_copy(update={"created_at": stored.created_at})
    example = (rules or Rules()).judged(example)
    await journal.keep_example(example, entry=entry)
    return example


async def consent(journal: Journal, entry: Entry, user_id: str, rules: Rules | None = None) -> Example | None:
    """Makes the example of an answer that its asker alone saw, now that this very person agrees; a correction of it
    that waited for this, too. Who may read it then are the readers of its passages, at most the workspace. None when
    somebody else agrees, when nobody likes or corrected the answer, or when nobody could read the example."""
    if not entry.asked.is_private or user_id != entry.asked.user_id:
        return None

    def open_up(example: Example) -> Example:
        return example.model_copy(update={"audience": audience_of(example.passages, WORKSPACE)})

    corrected = await journal.change_example(example_id(entry.asked.id, is_correction=True), open_up)
    stored = await journal.example(example_id(entry.asked.id))
    if corrected or stored:
        return corrected or stored
    likers = [verdict.user_id for verdict in await journal.verdicts(entry.asked.id) if verdict.is_helpful]
    example = proposed(entry, likers, WORKSPACE, journal.team_id)
    if example is None or example.audience == "nobody":
        return None
    example = (rules or Rules()).judged(example)
    await journal.keep_example(example, entry=entry)
    return example


async def question_changed(journal: Journal, entry: Entry) -> None:
    """Takes verdicts and examples of an answer along that is about to be replaced; what an admin has approved is kept
    aside, out of training."""
    await journal.forget_verdicts(entry.asked.id)

    def put_aside(example: Example) -> Example | None:
        if example.status != "approved" or not example.reviewed_by:
            return None
        problem = "Its question was changed after it was approved."
        return example.model_copy(update={"status": "quarantined", "problems": (problem,)})

    for is_correction in (False, True):
        id = example_id(entry.asked.id, is_correction=is_correction)
        if await journal.change_example(id, put_aside) is None:
            await journal.erase_examples([id])


async def edit(
    journal: Journal, id: str, answer: str, reviewer: str, readable: frozenset[str] | None, persona: Persona
) -> Example:
    """Gives an example another answer, with the marks that hold, and says in `problems` what is wrong with it then; it
    waits for approval again. Raises TellUser when there is none that may be read here."""

    def change(example: Example) -> Example:
        _check_readable(example, readable)
        changed = redacted(example.model_copy(update={"answer": answer}))
        marks = linting.marked(changed.answer, changed.passages, persona)
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
) -> Example:
    """Approves or rejects an example; `readable` is None for who may read everything.

    Raises TellUser when there is none that may be read here, and when one is to be approved that has problems: it says
    which. One in quarantine stays there until `recheck` has found its documents again.
    """

    def change(example: Example) -> Example:
        _check_readable(example, readable)
        update: dict[str, Any] = {"status": status, "reviewed_by": reviewer, "reviewed_at": now()}
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


def _missing(id: str) -> Example:
    raise TellUser(f"There is no example `{id[:40]}` that may be read here.")


# What may be trained on


def trainable(
    examples: Iterable[Example], persona: Persona, providers: frozenset[str] = frozenset()
) -> tuple[list[Example], list[tuple[Example, str]]]:
    """Parts examples into those to train on and the rest, each with the reason; `providers` are the hosts whose terms
    allow it. All examples are wanted, for those that are held out decide what is too near to them; run `recheck`
    before, which puts aside what rests on a document that has changed."""
    every = list(examples)
    kept = [one for one in every if is_held_out(one) and one.status != "rejected"]
    questions, answers = Neighbours(one.question for one in kept), {_bare(one.answer) for one in kept}
    usable: list[Example] = []
    refused: list[tuple[Example, str]] = []
    for one in every:
        reason = _refusal(one, persona, providers)
        if reason is None and (questions.of(one.question) or _bare(one.answer) in answers):
            reason = "It is nearly the same as one that is held out."
        if reason is None:
            usable.append(one)
        else:
            refused.append((one, reason))
    usable, doubles = _without_doubles(usable)
    return usable, [*refused, *doubles]


def _refusal(example: Example, persona: Persona, providers: frozenset[str]) -> str | None:
    """Why one example alone must not be trained on."""
    if example.status != "approved":
        return f"It is {'a candidate' if example.status == 'candidate' else example.status}."
    if not may_be_read(example, frozenset({PUBLIC, WORKSPACE})):
        return "Not everyone in the workspace may read it."
    if is_held_out(example):
        return "It is held out for measuring."
    if example.provider not in OURS | providers:
        writer = f"{example.produced_by or 'a model'} at {example.provider or 'a host that was not noted'}"
        return f"It was written by {writer}, and TRAINABLE_PROVIDERS does not say that one may train on that."
    found = linting.problems(example, persona)
    return found[0] if found else None


def _without_doubles(examples: list[Example]) -> tuple[list[Example], list[tuple[Example, str]]]:
    """Keeps one of those that ask nearly the same: a person's words before a model's, then the newest."""
    order = sorted(examples, key=lambda one: (one.provider == "human", one.created_at), reverse=True)
    known = Neighbours(one.question for one in order)
    doubles: dict[str, str] = {}
    for index, one in enumerate(order):
        before = [order[near] for near in known.of(one.question) if near < index and order[near].id not in doubles]
        if before:
            doubles[one.id] = f"It asks nearly the same as {before[0].id}."
    return (
        [one for one in examples if one.id not in doubles],
        [(one, doubles[one.id]) for one in examples if one.id in doubles],
    )


def _bare(answer: str) -> str:
    """An answer's letters and digits, without its marks."""
    return "".join(sign for sign in linting.without_marks(answer).lower() if sign.isalnum())


# When what is behind an example changes


async def recheck(journal: Journal, standing: Standing) -> list[Example]:
    """Puts aside the examples of which a document was changed, is gone, or may be read by fewer people now, and gives
    them; `problems` says what happened."""
    stored = [one for one in await journal.examples() if one.status in ("candidate", "approved")]
    now_there = await _standing_of([passage for one in stored for passage in one.passages], standing)
    put_aside = []
    for one in stored:
        reasons = changes(one.passages, now_there)
        if not reasons:
            continue

        def quarantined(example: Example, known: Example = one, reasons: list[str] = reasons) -> Example | None:
            if example.passages != known.passages or example.status not in ("candidate", "approved"):
                return None
            return example.model_copy(update={"status": "quarantined", "problems": tuple(reasons)})

        if changed := await journal.change_example(one.id, quarantined):
            put_aside.append(changed)
    return put_aside


async def _standing_of(passages: Sequence[Passage], standing: Standing) -> dict[tuple[str, str], tuple[str, str]]:
    """What the library holds now, by source and document."""
    documents = {(passage.source, passage.document_id): passage for passage in passages if passage.source != IMPORTED}
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for source in {source for source, _ in documents}:
        mine = [passage for (its, _), passage in documents.items() if its == source]
        for start in range(0, len(mine), MOST_AT_ONCE):
            there = await standing(mine[start : start + MOST_AT_ONCE])
            found |= {(source, id): state for id, state in there.items()}
    return found


def changes(passages: Iterable[Passage], now_there: Mapping[tuple[str, str], tuple[str, str]]) -> list[str]:
    """Says what has happened to the documents of passages since."""
    reasons: dict[str, None] = {}
    for passage in passages:
        if passage.source == IMPORTED:
            continue
        digest, audience = now_there.get((passage.source, passage.document_id), ("", ""))
        if not digest:
            reasons[f"“{passage.title}” is no longer in the library."] = None
        elif audience != passage.audience:
            reasons[f"“{passage.title}” is for other readers now."] = None
        elif digest != passage.document_digest:
            reasons[f"“{passage.title}” was changed."] = None
    return list(reasons)


async def seen_by(register: Register, ids: Iterable[str]) -> tuple[list[Dataset], list[ModelVersion]]:
    """Lists every dataset that holds one of the examples, and every version of the persona that was trained on it."""
    wanted = set(ids)
    datasets = [one for one in await register.datasets() if not wanted.isdisjoint(one.example_ids)]
    digests = {one.digest for one in datasets}
    return datasets, [one for one in await register.versions() if one.dataset in digests]


@dataclass(frozen=True)
class Forgotten:
    """What was erased with a person, and what has seen it."""

    example_ids: tuple[str, ...]
    page_ids: tuple[str, ...]
    datasets: tuple[Dataset, ...]
    versions: tuple[ModelVersion, ...]


async def forget_person(journal: Journal, register: Register, user_id: str) -> Forgotten:
    """Erases what rests on one person: the examples that this person asked for, alone liked, or corrected, the draft
    pages, and what the journal still holds; names every dataset and version that saw them. Examples that others liked
    too lose this person's name only."""
    erased: list[str] = []
    for one in await journal.examples():
        rests = user_id == one.asked_by or one.liked_by == (user_id,)
        if rests or (one.origin == "correction" and user_id in one.liked_by):
            erased.append(one.id)
        elif user_id in (*one.liked_by, one.reviewed_by):
            await journal.change_example(one.id, lambda example: _without(example, user_id))
    pages = [page.id for page in await register.draft_pages() if page.owner == user_id]
    datasets, versions = await seen_by(register, erased)
    await journal.erase_examples(erased)
    for id in pages:
        await register.remove_draft_page(id)
    await journal.forget_person(user_id)
    return Forgotten(tuple(erased), tuple(pages), tuple(datasets), tuple(versions))


def _without(example: Example, user_id: str) -> Example:
    return example.model_copy(
        update={
            "liked_by": tuple(one for one in example.liked_by if one != user_id),
            "reviewed_by": "somebody" if example.reviewed_by == user_id else example.reviewed_by,
        }
    )


async def progress(journal: Journal) -> str:
    """Says how far it is to a persona of one's own: `312 of 500 approved`."""
    return f"{len(await journal.examples('approved'))} of {WANTED} approved"


def export(examples: Iterable[Example], persona: Persona) -> Iterator[dict[str, Any]]:
    """Gives the training lines of the examples that everyone in the workspace may read, in OpenAI's chat layout."""
    for example in examples:
        if may_be_read(example, frozenset({PUBLIC, WORKSPACE})):
            yield {"messages": training_messages(persona, example.question, example.passages, example.answer)}
