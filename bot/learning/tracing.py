"""What is behind an example, and what is made of it. When a document changes, or a person asks to be forgotten, the
examples that rest on it are put aside or erased, and every dataset and model that saw them is named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bot.journal import Journal
from bot.learning.versions.register import Register
from bot.log import log
from bot.vocabulary import Dataset, Example, ModelVersion, Passage

IMPORTED = "import"
"""The source of a passage that came along with an imported example: there is no document to be kept in step with."""
MOST_AT_ONCE = 500

Standing = Callable[[Sequence[Passage]], Awaitable[Mapping[str, tuple[str, str]]]]
"""Gives what the library holds now of the documents of passages, which are all of one source: by document id the digest
of the whole document and its audience (empty where it was not looked up); a document that is gone is left out."""


async def put_aside(journal: Journal, standing: Standing) -> list[Example]:
    """Puts aside the examples of which a document was changed, is gone, or may be read by fewer people now, and gives
    them; `problems` says what happened."""
    stored = [one for one in await journal.examples() if one.status in ("candidate", "approved")]
    now_there = await standing_of([passage for one in stored for passage in one.passages], standing)
    found = []
    for one in stored:
        reasons = changes(one.passages, now_there)
        if not reasons:
            continue

        def quarantined(example: Example, known: Example = one, reasons: list[str] = reasons) -> Example | None:
            if example.passages != known.passages or example.status not in ("candidate", "approved"):
                return None
            return example.model_copy(update={"status": "quarantined", "problems": tuple(reasons)})

        if changed := await journal.change_example(one.id, quarantined):
            found.append(changed)
    await leave_behind(journal, [one.id for one in found], "example put aside")
    return found


async def standing_of(passages: Sequence[Passage], standing: Standing) -> dict[tuple[str, str], tuple[str, str]]:
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
        there = now_there.get((passage.source, passage.document_id))
        if there is None:
            reasons[f"“{passage.title}” is no longer in the library."] = None
        elif there[1] not in ("", passage.audience):
            reasons[f"“{passage.title}” is for other readers now."] = None
        elif there != (passage.document_digest, passage.audience):
            reasons[f"“{passage.title}” was changed."] = None
    return list(reasons)


async def seen_by(register: Register, ids: Iterable[str]) -> tuple[list[Dataset], list[ModelVersion]]:
    """Lists every dataset that holds one of the examples, and every version of the persona that was trained on it."""
    wanted = set(ids)
    datasets = [one for one in await register.datasets() if not wanted.isdisjoint(one.example_ids)]
    digests = {one.digest for one in datasets}
    return datasets, [one for one in await register.versions() if one.dataset in digests]


async def leave_behind(journal: Journal, ids: Sequence[str], what: str) -> tuple[list[Dataset], list[ModelVersion]]:
    """Notes, where decisions are noted and in the log, which datasets and versions have seen examples that may no
    longer be learned from, and gives them."""
    register = Register(journal.redis, journal.team_id)
    datasets, versions = await seen_by(register, ids) if ids else ([], [])
    if datasets:
        digests, names = [one.digest[:12] for one in datasets], [one.id for one in versions]
        log.warning("examples_seen_by", what=what, examples=list(ids)[:20], datasets=digests, versions=names)
        reason = f"{len(ids)} examples, which the datasets {', '.join(digests)} hold"
        await register.note(what, ", ".join(names), "footnote", reason)
    return datasets, versions


@dataclass(frozen=True)
class Forgotten:
    """What was erased with a person, and what has seen it."""

    example_ids: tuple[str, ...]
    page_ids: tuple[str, ...]
    datasets: tuple[Dataset, ...]
    versions: tuple[ModelVersion, ...]
    copies: tuple[str, ...] = ()
    """Files elsewhere that hold it, for somebody to delete: uploads at a tuner."""


async def forget_person(journal: Journal, register: Register, user_id: str) -> Forgotten:
    """Erases what rests on one person: the examples that this person asked for, alone liked, or corrected, the draft
    pages, and what the journal still holds; names every dataset and version that saw them. Examples that others liked
    too lose this person's name only."""
    erased: list[str] = []
    waited_for: set[str | None] = set()
    for one in await journal.examples():
        rests = user_id == one.asked_by or one.liked_by == (user_id,)
        if rests or (one.origin == "correction" and user_id in one.liked_by):
            erased.append(one.id)
            waited_for.add(one.draft_page)
        elif user_id in (*one.liked_by, one.reviewed_by):
            await journal.change_example(one.id, lambda example: _without(example, user_id))
    pages = [page.id for page in await register.draft_pages() if page.owner == user_id or page.id in waited_for]
    datasets, versions, copies = await erase(journal, erased, "examples forgotten")
    for id in pages:
        await register.remove_draft_page(id)
    await journal.forget_person(user_id)
    return Forgotten(tuple(erased), tuple(pages), tuple(datasets), tuple(versions), tuple(copies))


async def erase(journal: Journal, ids: Sequence[str], what: str) -> tuple[list[Dataset], list[ModelVersion], list[str]]:
    """Erases examples with every copy of them that waits in Redis (a gate's answers, datasets to be uploaded, whose
    jobs end); notes and gives the datasets and versions that saw them, and where else copies are."""
    register = Register(journal.redis, journal.team_id)
    await journal.erase_examples(ids)
    datasets, versions = await leave_behind(journal, ids, what)
    copies = []
    for digest in [one.digest for one in datasets]:
        await register.call(register.redis.delete(register.key("tuning-file", digest)))
        job = await register.job(digest)
        if job and job.file_id:
            copies.append(f"{job.file_id} at {job.server or job.endpoint}, the upload of the dataset {digest[:12]}")
        if job and not job.has_ended and not job.job_id:
            problem = "An example of its dataset was erased; `train start` makes another one without it."
            await register.keep_job(job.model_copy(update={"status": "failed", "problem": problem}))
    for key in await register.call(_all(register.redis.scan_iter(match=register.key("gate", "*"), count=1_000))):
        fields = await register.call(register.redis.hkeys(key))
        if gone := [one for one in fields if one.partition(" ")[2].partition("/")[0] in ids]:
            await register.call(register.redis.hdel(key, *gone))
    return datasets, versions, copies


async def _all(keys: AsyncIterator[str]) -> list[str]:
    return [key async for key in keys]


def _without(example: Example, user_id: str) -> Example:
    return example.model_copy(
        update={
            "liked_by": tuple(one for one in example.liked_by if one != user_id),
            "reviewed_by": "somebody" if example.reviewed_by == user_id else example.reviewed_by,
        }
    )
