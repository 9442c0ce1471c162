"""From a thumbs-up, or a better answer, to what may be learned from: on a real Redis, with a library of a few pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bot.errors import LibraryUnavailable, TellUser, TryAgain
from bot.journal import Entry, Journal, example_id, now
from bot.learning import examples
from bot.learning.correcting import catch_up
from bot.learning.examples import Rules
from bot.learning.judging import redacted
from bot.learning.nearest import Nearest
from bot.learning.versions.register import Register
from bot.memory import Memory
from bot.persona import load_persona
from bot.vocabulary import (
    Answer,
    Asked,
    Dataset,
    Example,
    Found,
    Hit,
    ModelVersion,
    Passage,
    Question,
    TuningJob,
    Verdict,
)
from tests import lessons
from tests.hashing_embedder import HashingEmbedder
from tests.nouns import MAYA, PASSAGE, TEAM, answered, asked, verdict

NOAH, ADMIN = "U0NOAH", "U0ADMIN"
EVERYBODY = frozenset({"public", "workspace"})
DAY_S = 86_400
KEYS = PASSAGE.model_copy(update={"document_digest": "d1"})
COSTS = KEYS.model_copy(
    update={"id": "p2", "document_id": "costs", "title": "Costs", "text": "A new key costs 5 euros per month."}
)
PERSONA = load_persona()


class FakeLibrary:
    """Finds all passages that may be read, and tells how their documents stand now."""

    def __init__(self, *passages: Passage) -> None:
        self.passages = list(passages)

    async def find(self, question: Question) -> Found:
        readable = [one for one in self.passages if one.audience in question.readable]
        hits = tuple(Hit(passage=one, score=1, certainty=0.9) for one in readable)
        return Found(hits=hits, query=question.text, confidence=0.9, is_sufficient=True)

    async def standing(self, passages: Sequence[Passage]) -> Mapping[str, tuple[str, str]]:
        (source,) = {one.source for one in passages}
        ids = {one.document_id for one in passages}
        here = [one for one in self.passages if one.source == source and one.document_id in ids]
        return {one.document_id: (one.document_digest, one.audience) for one in here}


@pytest.fixture
def journal(memory: Memory) -> Journal:
    return Journal(memory.redis, TEAM)


@pytest.fixture
def register(memory: Memory) -> Register:
    return Register(memory.redis, TEAM)


async def said(journal: Journal, question: Asked | None = None, **answer: Any) -> Entry:
    """A question that was answered, as the journal has it."""
    question = question or asked()
    await journal.accept(question)
    given: Answer = answered(question.id, **{"passages": (KEYS,), "provider": "localhost", **answer})
    await journal.settle(question, given, "1000.000900")
    entry = await journal.entry(question.id)
    assert entry
    return entry


async def liked(journal: Journal, entry: Entry, *users: str, **rules: Any) -> Example | None:
    """What becomes of an answer that these people like."""
    verdicts: list[Verdict] = []
    for user in users or (MAYA,):
        verdicts = await journal.judge(verdict(entry.asked.id, 2000, user_id=user))
    return await examples.keep(journal, entry, verdicts, "workspace", Rules(**rules) if rules else None)


# Votes


async def test_a_like_makes_a_candidate_that_tells_where_it_comes_from(journal: Journal) -> None:
    """Who asked, who liked it, in which thread, by which model at which host."""
    example = await liked(journal, await said(journal))
    assert example and (example.status, example.problems, example.origin) == ("candidate", (), "vote")
    assert (example.asked_by, example.liked_by) == (MAYA, (MAYA,))
    assert example.thread == "C0HELP:1000.000100"
    assert (example.produced_by, example.provider) == ("m", "localhost")
    assert example.passages[0].document_digest == "d1"


async def test_secrets_and_people_are_out_of_it_under_one_numbering(journal: Journal) -> None:
    """The same address has the same placeholder in question, answer and passages; another one has another."""
    passage = KEYS.model_copy(update={"text": "Ask jane@example.org or bob@example.org.", "title": "jane@example.org"})
    entry = await said(
        journal, text="Ask jane@example.org [1].", passages=(passage,), query="Who is bob@example.org, ⟨email 1⟩?"
    )
    example = await liked(journal, entry)
    assert example and example.question == "Who is ⟨email 2⟩, ⟨email 1⟩?"
    assert example.answer == "Ask ⟨email 3⟩ [1]."
    assert example.passages[0].text == "Ask ⟨email 3⟩ or ⟨email 2⟩." and example.passages[0].title == "⟨email 3⟩"
    assert redacted(example) == example


@pytest.mark.parametrize(
    ("approval", "trusted", "answer", "status"),
    [
        ("required", {MAYA}, "To reset an API key, open Settings [1].", "candidate"),
        ("trusted voters", {MAYA}, "To reset an API key, open Settings [1].", "approved"),
        ("trusted voters", {NOAH}, "To reset an API key, open Settings [1].", "candidate"),
        ("off", set(), "To reset an API key, open Settings [1].", "approved"),
        ("off", set(), "To reset an API key, pay 9 euros [1].", "candidate"),
    ],
)
async def test_the_settings_say_whose_word_approves(
    journal: Journal, approval: str, trusted: set[str], answer: str, status: str
) -> None:
    """Where no admin is asked, only what the lint finds nothing in is approved."""
    rules = {"approval": approval, "trusted_voters": frozenset(trusted)}
    example = await liked(journal, await said(journal, text=answer), **rules)
    assert example and example.status == status
    assert bool(example.problems) == ("9 euros" in answer)


async def test_what_was_approved_without_an_admin_goes_with_the_last_like(journal: Journal) -> None:
    """Nobody has decided on it but the people who liked it; what an admin has approved stays."""
    entry = await said(journal)
    await liked(journal, entry, approval="off")
    gone = await journal.take_back(verdict(entry.asked.id, 3000))
    assert await examples.keep(journal, entry, gone, "workspace", Rules(approval="off")) is None
    assert await journal.examples() == []
    example = await liked(journal, entry, NOAH)
    assert example
    await examples.review(journal, example.id, "approved", ADMIN, EVERYBODY)
    kept = await examples.keep(journal, entry, [], "workspace")
    assert kept and kept.status == "approved"


# In private


@pytest.mark.parametrize("kind", ["direct", "command"])
async def test_a_private_answer_becomes_an_example_once_its_asker_agrees(journal: Journal, kind: str) -> None:
    """Until then the like is stored and nothing else; nobody else can agree for the asker."""
    question = asked(kind=kind, channel_id="D0MAYA" if kind == "direct" else "C0HELP")
    entry = await said(journal, question)
    assert await liked(journal, entry) is None
    assert await examples.consent(journal, entry, NOAH) is None and await journal.examples() == []
    example = await examples.consent(journal, entry, MAYA)
    assert example and (example.audience, example.status) == ("workspace", "candidate")
    again = await liked(journal, entry, NOAH)
    assert again and again.audience == "workspace" and again.liked_by == (MAYA, NOAH)
    await journal.take_back(verdict(entry.asked.id, 3000, user_id=NOAH))
    assert await examples.keep(journal, entry, [], "nobody") is None and await journal.examples() == []
    assert await examples.consent(journal, await said(journal, asked("2000.000100", kind="direct")), MAYA) is None


async def test_consent_opens_nothing_that_was_narrow(journal: Journal) -> None:
    """An answer from a channel's own pages stays that channel's; one from two channels is nobody's."""
    narrow = KEYS.model_copy(update={"audience": "channel:C0SECRET"})
    other = COSTS.model_copy(update={"audience": "channel:C0OTHER"})
    for passages, audience in (((KEYS, narrow), "channel:C0SECRET"), ((narrow, other), None)):
        entry = await said(journal, asked(f"{len(passages)}{audience}.1", channel_id="D0MAYA"), passages=passages)
        await liked(journal, entry)
        example = await examples.consent(journal, entry, MAYA)
        assert (example and example.audience) == audience


@pytest.mark.parametrize("decided", ["approved", "rejected"])
async def test_consent_is_taken_back_with_the_thumb_whatever_an_admin_decided(
    journal: Journal, register: Register, decided: Any
) -> None:
    """A like of somebody else keeps nothing; the datasets and models that saw it are noted."""
    entry = await said(journal, asked(kind="direct", channel_id="D0MAYA"))
    await liked(journal, entry)
    example = await examples.consent(journal, entry, MAYA)
    assert example
    await examples.review(journal, example.id, decided, ADMIN, None)
    await trained_on(register, example.id)
    await liked(journal, entry, NOAH)
    assert len(await journal.examples()) == 1
    left = await journal.take_back(verdict(entry.asked.id, 3000))
    assert await examples.keep(journal, entry, left, "nobody") is None and await journal.examples() == []
    (note,) = await register.decisions()
    assert (note.what, note.version) == ("example revoked", "v1") and "digest" in note.reason


async def test_a_deleted_question_names_what_has_seen_its_example(journal: Journal, register: Register) -> None:
    """The example goes with the question; the datasets and models that it went into are noted."""
    entry = await said(journal, asked())
    await liked(journal, entry)
    (example,) = await journal.examples()
    await trained_on(register, example.id)
    await examples.withdraw(journal, entry.asked.id)
    assert await journal.examples() == []
    (note,) = await register.decisions()
    assert (note.what, note.version) == ("question deleted", "v1") and "digest" in note.reason
    await examples.withdraw(journal, entry.asked.id)
    assert len(await register.decisions()) == 1, "a second delivery has nothing left to tell"


async def test_a_no_leaves_nothing_of_a_private_answer(journal: Journal, register: Register, memory: Memory) -> None:
    """Neither the correction nor its facts; a no of somebody else is none."""
    entry = await said(journal, asked(channel_id="D0MAYA", kind="direct"))
    await corrected(journal, register, entry, "A new key costs 5 euros per month.", FakeLibrary(KEYS))
    await examples.refuse(journal, entry, NOAH)
    assert len(await journal.examples()) == 1
    await examples.refuse(journal, entry, MAYA)
    assert await journal.examples() == [] and not [text for text in await everything(memory) if "5 euros" in text]


async def test_what_nobody_agreed_to_goes_by_itself(journal: Journal, register: Register, memory: Memory) -> None:
    """A private correction lives for days, keeps nothing else alive, and has no draft page that others could see."""
    entry = await said(journal, asked(channel_id="D0MAYA", kind="direct"))
    await journal.judge(verdict(entry.asked.id, 2000, is_helpful=False))
    example = await corrected(journal, register, entry, "A new key costs 5 euros per month.", FakeLibrary(KEYS))
    assert example.draft_page and await register.draft_pages() == []
    assert 0 < await ttl(memory, "example", example.id) <= 7 * DAY_S
    assert await ttl(memory, "question", entry.asked.id) <= 30 * DAY_S
    opened = await examples.consent(journal, entry, MAYA)
    (page,) = await register.draft_pages()
    assert opened and (page.id, page.audience, page.owner) == (opened.draft_page, "workspace", NOAH)
    assert "A new key costs 5 euros per month." in page.text and "[1]" not in page.text
    assert await ttl(memory, "example", example.id) == -1
    assert await ttl(memory, "question", entry.asked.id) > 365 * DAY_S


@pytest.mark.parametrize("way", ["taken back", "rejected"])
async def test_what_lived_on_for_an_example_goes_with_it(journal: Journal, memory: Memory, way: str) -> None:
    """Question, answer and verdicts are back at the retention, unless a correction still needs them."""
    entry = await said(journal)
    example = await liked(journal, entry)
    assert example and await ttl(memory, "question", entry.asked.id) > 365 * DAY_S
    if way == "rejected":
        await examples.review(journal, example.id, "rejected", ADMIN, None)
        assert 0 < await ttl(memory, "example", example.id) <= 30 * DAY_S
    else:
        await examples.keep(journal, entry, await journal.take_back(verdict(entry.asked.id, 3000)), "workspace")
    for kind, name in (("question", entry.asked.id), ("verdicts", entry.asked.id), ("reply", "C0HELP:1000.000900")):
        assert 0 < await ttl(memory, kind, name) <= 30 * DAY_S


async def test_what_was_rejected_is_not_proposed_again_when_its_words_are_gone(
    journal: Journal, register: Register, memory: Memory
) -> None:
    """Only its id is left of it then; forgetting takes that, too. A correction still holds the question."""
    entry = await said(journal)
    example = await liked(journal, entry)
    assert example
    other = await corrected(journal, register, entry, "Open Settings to reset an API key.", FakeLibrary(KEYS))
    await examples.review(journal, example.id, "rejected", ADMIN, None)
    assert await ttl(memory, "question", entry.asked.id) > 365 * DAY_S
    await memory.redis.delete(f"footnote:{TEAM}:example:{example.id}")
    assert await liked(journal, entry) is None and await journal.examples() == [other]
    await examples.forget_person(journal, register, MAYA)
    assert not await journal.was_rejected(example.id)


async def test_a_draft_page_goes_when_its_correction_is_rejected(journal: Journal, register: Register) -> None:
    """Nothing waits for it."""
    example = await corrected(journal, register, await said(journal), "It costs 5 euros.", FakeLibrary(KEYS))
    assert len(await register.draft_pages()) == 1
    await examples.review(journal, example.id, "rejected", ADMIN, None)
    assert await register.draft_pages() == []


# Meanwhile


async def test_nothing_that_was_forgotten_meanwhile_comes_back(journal: Journal, register: Register) -> None:
    """Neither a like nor a correction that was under way, of the asker or of somebody else."""
    for number, user in enumerate((MAYA, NOAH)):
        entry = await said(journal, asked(f"{number}.1"))
        verdicts = await journal.judge(verdict(entry.asked.id, 2000, user_id=NOAH))
        await examples.forget_person(journal, register, user)
        with pytest.raises(TryAgain):
            await examples.keep(journal, entry, verdicts, "workspace")
        assert await journal.examples() == []
    entry, library = await said(journal, asked("3.1")), FakeLibrary(KEYS)
    await journal.judge(verdict(entry.asked.id, 2000, is_helpful=False, user_id=NOAH))

    async def find(question: Question) -> Found:
        await examples.forget_person(journal, register, NOAH)
        return await library.find(question)

    with pytest.raises(TryAgain):
        await examples.correct(journal, register, entry, "It costs 5 euros.", "", NOAH, "workspace", find)
    assert await journal.examples() == [] and await register.draft_pages() == []


async def test_a_like_does_not_overwrite_what_an_admin_decides_meanwhile(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever came first is looked at again."""
    entry = await said(journal)
    example = await liked(journal, entry)
    assert example
    read = journal.example

    async def overtaken(id: str) -> Example | None:
        monkeypatch.setattr(journal, "example", read)
        known = await read(id)
        await examples.review(journal, id, "approved", ADMIN, None)
        return known

    monkeypatch.setattr(journal, "example", overtaken)
    kept = await liked(journal, entry, NOAH)
    assert kept and (kept.status, kept.reviewed_by) == ("approved", ADMIN)
    assert await journal.examples() == [kept]


async def ttl(memory: Memory, kind: str, name: str) -> int:
    return int(await memory.redis.ttl(f"footnote:{TEAM}:{kind}:{name}"))


# Review


async def test_approving_what_has_problems_says_why_not(journal: Journal) -> None:
    """The reason is the lint's, in words."""
    example = await liked(journal, await said(journal, text="To reset an API key, pay 9 euros [1]."))
    assert example and example.problems
    with pytest.raises(TellUser, match=r"cannot be approved: .*says what \[1\] does not: 9 €"):
        await examples.review(journal, example.id, "approved", ADMIN, None)
    assert (await examples.review(journal, example.id, "rejected", ADMIN, None)).status == "rejected"


async def test_an_edited_answer_is_held_against_the_passages_again(journal: Journal) -> None:
    """It gets its marks, waits for approval again, and says what is wrong with it."""
    example = await liked(journal, await said(journal))
    assert example
    edited = await examples.edit(journal, example.id, "Open Settings to reset an API key.", ADMIN, EVERYBODY, PERSONA)
    assert (edited.answer, edited.problems) == ("Open Settings to reset an API key [1].", ())
    assert (await examples.review(journal, example.id, "approved", ADMIN, EVERYBODY)).status == "approved"
    worse = await examples.edit(journal, example.id, "Call jane@example.org.", ADMIN, EVERYBODY, PERSONA)
    assert worse.status == "candidate" and worse.answer == "Call ⟨email 1⟩." and worse.problems
    with pytest.raises(TellUser, match="no example"):
        await examples.edit(journal, "ex-none", "Words.", ADMIN, EVERYBODY, PERSONA)


# Corrections


async def corrected(
    journal: Journal, register: Register, entry: Entry, text: str, library: FakeLibrary, place: str = "workspace"
) -> Example:
    return await examples.correct(
        journal, register, entry, text, "Not what jane@example.org says.", NOAH, place, library.find
    )


async def test_a_correction_that_the_pages_hold_gets_its_marks(journal: Journal, register: Register) -> None:
    """From the passages of the answer, and from what is found now; the bot's own words are kept as refused."""
    text = "To reset an API key, open Settings. A new key costs 5 euros per month."
    example = await corrected(journal, register, await said(journal), text, FakeLibrary(KEYS, COSTS))
    assert example.answer == ("To reset an API key, open Settings [1]. A new key costs 5 euros per month [2].")
    assert example.refused_answer == "To reset an API key, open Settings [1]."
    assert (example.origin, example.provider, example.liked_by, example.problems) == (
        "correction", "human", (NOAH,), (),
    )  # fmt: skip
    assert example.draft_page is None and await register.draft_pages() == []


async def test_new_facts_become_a_page_with_an_owner_and_the_example_waits(
    journal: Journal, register: Register
) -> None:
    """Until a page that holds them is ingested; then it is a plain candidate with marks."""
    library = FakeLibrary(KEYS)
    text = "To reset an API key, open Settings. A new key costs 5 euros per month."
    example = await corrected(journal, register, await said(journal), text, library)
    (page,) = await register.draft_pages()
    assert (page.owner, page.audience, page.id) == (NOAH, "workspace", example.draft_page)
    assert "A new key costs 5 euros per month." in page.text
    assert "open Settings" not in page.text and "Not what ⟨email 1⟩ says." in page.text
    assert page.id in example.problems[0]
    with pytest.raises(TellUser, match=page.id):
        await examples.review(journal, example.id, "approved", ADMIN, None)
    assert await examples.recheck(journal, library.standing, find=library.find, register=register) == []

    library.passages.append(COSTS)
    (now_held,) = await examples.recheck(journal, library.standing, find=library.find, register=register)
    assert "per month [2]." in now_held.answer and now_held.problems == () and now_held.draft_page is None
    assert await register.draft_pages() == []
    assert (await examples.review(journal, example.id, "approved", ADMIN, None)).status == "approved"


async def test_a_correction_outlives_the_likes_of_the_answer_and_goes_with_its_question(
    journal: Journal, register: Register
) -> None:
    """They are two examples of one question; deleting it takes both along."""
    entry = await said(journal)
    await corrected(journal, register, entry, "Open Settings to reset an API key.", FakeLibrary(KEYS))
    await liked(journal, entry)
    assert len(await journal.examples()) == 2
    await journal.take_back(verdict(entry.asked.id, 3000))
    await examples.keep(journal, entry, [], "workspace")
    (left,) = await journal.examples()
    assert left.origin == "correction"
    await journal.withdraw(entry.asked.id)
    assert await journal.examples() == []


async def test_a_draft_page_goes_with_the_question_that_it_came_from(journal: Journal, register: Register) -> None:
    """At once."""
    entry, library = await said(journal), FakeLibrary(KEYS)
    await corrected(journal, register, entry, "A new key costs 5 euros per month.", library)
    await examples.recheck(journal, library.standing, find=library.find, register=register)
    assert len(await register.draft_pages()) == 1
    await journal.withdraw(entry.asked.id)
    assert await register.draft_pages() == []


async def test_a_correction_in_private_waits_for_its_askers_consent(journal: Journal, register: Register) -> None:
    """Before, nobody may read it."""
    entry = await said(journal, asked(channel_id="D0MAYA", kind="direct"))
    example = await corrected(journal, register, entry, "Open Settings to reset an API key.", FakeLibrary(KEYS))
    assert example.audience == "nobody"
    opened = await examples.consent(journal, entry, MAYA)
    assert opened and (opened.id, opened.audience) == (example.id, "workspace")


@pytest.mark.parametrize("text", ["", "   ", "word " * 1_000])
async def test_a_correction_has_to_be_an_answer(journal: Journal, register: Register, text: str) -> None:
    """Nothing, or a book, is refused in words."""
    with pytest.raises(TellUser):
        await corrected(journal, register, await said(journal), text, FakeLibrary(KEYS))


# When documents change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"document_digest": "d2"}, "“API keys” was changed."),
        ({"audience": "channel:C0FEW", "document_digest": "d2"}, "“API keys” is for other readers now."),
        (None, "“API keys” is no longer in the library."),
    ],
)
async def test_an_example_is_put_aside_when_its_document_changes(
    journal: Journal, register: Register, change: dict[str, str] | None, why: str
) -> None:
    """Also an approved one; it cannot be approved again until the pages of today hold it, and what was trained on it
    is noted."""
    example = await liked(journal, await said(journal))
    assert example
    await examples.review(journal, example.id, "approved", ADMIN, None)
    library = FakeLibrary(KEYS, KEYS.model_copy(update={"source": "another", "document_digest": "d9"}))
    assert await examples.recheck(journal, library.standing) == []
    library.passages[0:1] = [KEYS.model_copy(update=change)] if change else []
    await trained_on(register, example.id)
    (aside,) = await examples.recheck(journal, library.standing)
    assert (aside.status, aside.problems) == ("quarantined", (why,))
    assert [(one.what, one.version) for one in await register.decisions()] == [("example put aside", "v1")]
    with pytest.raises(TellUser, match="cannot be approved"):
        await examples.review(journal, example.id, "approved", ADMIN, None)


async def test_a_document_that_still_holds_the_facts_makes_it_a_candidate_again(journal: Journal) -> None:
    """With the new passage and its digest; when the facts are gone, it stays aside."""
    example = await liked(journal, await said(journal))
    assert example
    await examples.review(journal, example.id, "approved", ADMIN, None)
    library = FakeLibrary(KEYS.model_copy(update={"id": "p9", "text": "Keys are gone.", "document_digest": "d2"}))
    (aside,) = await examples.recheck(journal, library.standing, find=library.find)
    assert aside.status == "quarantined"
    library.passages = [KEYS.model_copy(update={"id": "p9", "text": f"New. {KEYS.text}", "document_digest": "d3"})]
    (again,) = await examples.recheck(journal, library.standing, find=library.find)
    assert (again.status, again.reviewed_by) == ("candidate", None)
    assert [one.document_digest for one in again.passages] == ["d3"]


async def test_an_example_that_is_erased_meanwhile_does_not_come_back(journal: Journal) -> None:
    """Its question is deleted while its documents are looked at."""
    entry = await said(journal)
    await liked(journal, entry)

    async def standing(passages: Sequence[Passage]) -> Mapping[str, tuple[str, str]]:
        await journal.withdraw(entry.asked.id)
        return {}

    assert await examples.recheck(journal, standing) == []
    assert await journal.examples() == []


async def test_every_dataset_and_model_that_saw_an_example_is_named(journal: Journal, register: Register) -> None:
    """Through the digest of the dataset."""
    await trained_on(register, "ex-1")
    datasets, versions = await examples.seen_by(register, ["ex-1", "ex-9"])
    assert [one.digest for one in datasets] == ["digest"] and [one.model for one in versions] == ["tuned"]
    assert await examples.seen_by(register, ["ex-9"]) == ([], [])


async def trained_on(register: Register, *ids: str) -> None:
    await register.keep_dataset(Dataset(digest="digest", example_ids=ids, created_at=now()))
    await register.keep_dataset(Dataset(digest="other", example_ids=("ex-other",), created_at=now()))
    for model, dataset in (("tuned", "digest"), ("other", "other")):
        await register.add_version(
            ModelVersion(id="", model=model, endpoint="tuner", dataset=dataset, created_at=now())
        )


async def test_a_person_who_asks_is_forgotten(journal: Journal, register: Register, memory: Memory) -> None:
    """What rests on that person is erased; what others liked too loses the name only; who saw it is named."""
    own = await liked(journal, await said(journal), NOAH)
    alone = await liked(journal, await said(journal, asked("2.1", user_id=NOAH)), MAYA)
    shared = await liked(journal, await said(journal, asked("3.1", user_id=NOAH)), MAYA, NOAH)
    entry = await said(journal, asked("4.1", user_id=NOAH))
    wrong = await examples.correct(
        journal, register, entry, "A new key costs 5 euros.", "", MAYA, "workspace", FakeLibrary(KEYS).find
    )
    assert own and alone and shared
    await trained_on(register, own.id, shared.id)
    gone = await examples.forget_person(journal, register, MAYA)
    assert set(gone.example_ids) == {own.id, alone.id, wrong.id} and len(gone.page_ids) == 1
    assert [one.digest for one in gone.datasets] == ["digest"] and [one.id for one in gone.versions] == ["v1"]
    (left,) = await journal.examples()
    assert (left.id, left.liked_by) == (shared.id, (NOAH,))
    assert not [text for text in await everything(memory) if MAYA in text]
    assert await register.draft_pages() == []


async def test_copies_that_wait_elsewhere_go_with_what_is_forgotten(
    journal: Journal, register: Register, memory: Memory
) -> None:
    """Answers of a gate, a dataset that waits for its upload, the job on it; what was uploaded is named."""
    own = await liked(journal, await said(journal), NOAH)
    assert own
    await trained_on(register, own.id)
    uploaded = TuningJob(
        dataset="digest", base="base", server="tuner.example", file_id="file-1", created_at=now(), updated_at=now()
    )
    await register.keep_job(uploaded)
    await memory.redis.set(register.key("tuning-file", "digest"), "bytes")
    answers: dict[Any, Any] = {
        f"v1 {own.id}": "own",
        f"v1 {own.id}/injection": "own",
        "v1 ex-other": "of somebody else",
    }
    await memory.redis.hset(register.key("gate", "g"), mapping=answers)
    gone = await examples.forget_person(journal, register, MAYA)
    assert await memory.redis.hgetall(register.key("gate", "g")) == {"v1 ex-other": "of somebody else"}
    assert not await memory.redis.exists(register.key("tuning-file", "digest"))
    job = await register.job("digest")
    assert job and job.status == "failed" and "erased" in (job.problem or "")
    assert gone.copies == ("file-1 at tuner.example, the upload of the dataset digest",)


async def test_after_a_sync_examples_are_held_against_the_new_pages(journal: Journal) -> None:
    """Nothing is looked up where there is no example; a library that is away fails nothing."""
    example, library = await liked(journal, await said(journal)), FakeLibrary(KEYS)
    assert example
    library.passages = []
    (aside,) = await catch_up(journal, library.standing, library.find, Rules())
    assert aside.status == "quarantined"

    async def away(passages: Sequence[Passage]) -> Mapping[str, tuple[str, str]]:
        raise LibraryUnavailable("away")

    assert await catch_up(journal, away, library.find, Rules()) == []
    await journal.erase_examples([example.id])
    assert await catch_up(journal, None, library.find, Rules()) == []  # type: ignore[arg-type]


async def everything(memory: Memory) -> list[str]:
    """All that is stored, as text."""
    readers: dict[Any, str] = {"string": "get", "hash": "hgetall", "set": "smembers"}
    readers |= {"zset": "zrange", "list": "lrange"}
    found = []
    async for key in memory.redis.scan_iter("footnote:*"):
        read = getattr(memory.redis, readers[await memory.redis.type(key)])
        found.append(str(await read(key, 0, -1) if read.__name__ in ("zrange", "lrange") else await read(key)))
    return found


# Training


def test_what_may_be_trained_on_is_told_from_the_rest_with_reasons() -> None:
    """Approved, for everybody, clean, by a provider that allows it, not held out, and nothing twice."""
    good = [lessons.example(number) for number in range(3)]
    spoilt = {
        "It is a candidate.": lessons.example(11, status="candidate"),
        "Not everyone in the workspace may read it.": lessons.example(12, audience="channel:C1"),
        "It is held out for measuring.": lessons.example(13, thread=lessons.thread(13, held_out=True)),
        "It was written by gpt-9 at api.openai.com": lessons.example(
            14, produced_by="gpt-9", provider="api.openai.com"
        ),
        "a host that was not noted": lessons.example(15, provider=""),
        "“To reset API key 99, open Settings.” says what [1] does not: 99": lessons.example(
            16, answer="To reset API key 99, open Settings [1]."
        ),
        "It asks nearly the same as e1.": lessons.example(1, id="e17", question="how can I reset API keys 1"),
    }
    narrow = good[0].passages[0].model_copy(update={"audience": "channel:C1"})
    usable, refused = examples.trainable([*good, *spoilt.values()], PERSONA)
    assert [one.id for one in usable] == ["e0", "e1", "e2"]
    reasons = {one.id: reason for one, reason in refused}
    for reason, one in spoilt.items():
        assert reason in reasons[one.id]
    assert examples.trainable([good[0].model_copy(update={"passages": (narrow,)})], PERSONA)[0] == []
    lenient = examples.trainable(list(spoilt.values()), PERSONA, frozenset({"api.openai.com"}))[0]
    assert "e14" in [one.id for one in lenient]


def test_what_is_nearly_held_out_is_never_trained_on() -> None:
    """Neither the same question in other words, nor the same answer to another question."""
    kept = lessons.example(1, thread=lessons.thread(1, held_out=True))
    same = lessons.example(2, question="Please: how can I reset API keys 1?!")
    parrot = lessons.example(1, id="e3", question="Where is the button for that?")
    other = lessons.example(4)
    usable, refused = examples.trainable([kept, same, parrot, other], PERSONA)
    assert [one.id for one in usable] == ["e4"]
    assert [reason for one, reason in refused if one.id in ("e2", "e3")] == [
        "It is nearly the same as one that is held out."
    ] * 2


# Demonstrations


async def shown(journal: Journal, library: FakeLibrary, question: str, **how: Any) -> list[str]:
    """The answers that are shown for a question."""
    readable = how.pop("readable", EVERYBODY)
    nearest = how.pop("nearest", None) or Nearest(journal, embedding(HashingEmbedder()), library.standing, **how)
    asked_now = Question(id="q", team_id=TEAM, text=question, readable=readable)
    return [one.answer for one in await nearest(asked_now, Found(hits=(), query=question))]


def embedding(embedder: HashingEmbedder) -> Any:
    async def embed(text: str) -> Any:
        embedder.embedded += 1
        return embedder.embed_query(text)

    return embed


async def approved(journal: Journal, number: int, passage: Passage = KEYS, **changes: Any) -> Example:
    example = lessons.example(
        number, passages=(passage,), answer=f"To reset key {number}, open Settings [1].", **changes
    )
    await journal.keep_example(example)
    return example


async def test_the_nearest_examples_are_shown_best_last(journal: Journal) -> None:
    """As many as are wanted, none that is far from the question, nothing at all when nothing is approved."""
    library = FakeLibrary(KEYS)
    assert await shown(journal, library, "reset a key") == []
    await approved(journal, 1, question="reset a key")
    await approved(journal, 2, question="reset a key soon")
    await approved(journal, 3, question="reset a key soon enough for everybody")
    await approved(journal, 4, question="penguins swim")
    near = [f"To reset key {number}, open Settings [1]." for number in (2, 1)]
    assert await shown(journal, library, "reset a key") == near
    assert await shown(journal, library, "reset a key", most=1) == near[1:]
    assert await shown(journal, library, "reset a key", most=0) == []
    assert await shown(journal, library, "volcanoes") == []


async def test_no_example_is_shown_whose_page_has_changed_or_that_is_held_out(journal: Journal) -> None:
    """Looked at for each question, whatever is remembered."""
    library = FakeLibrary(KEYS)
    nearest = Nearest(journal, embedding(HashingEmbedder()), library.standing)
    example = await approved(journal, 1, question="reset a key")
    await approved(journal, 2, question="reset a key", thread=lessons.thread(2, held_out=True))
    assert await shown(journal, library, "reset a key", nearest=nearest) == [example.answer]
    library.passages = [KEYS.model_copy(update={"document_digest": "d2"})]
    assert await shown(journal, library, "reset a key", nearest=nearest) == []
    library.passages = [KEYS]
    await examples.review(journal, example.id, "rejected", ADMIN, None)
    assert await shown(journal, library, "reset a key", nearest=nearest) == []


async def test_no_example_is_embedded_twice(journal: Journal) -> None:
    """Not for another question, nor when another example is approved."""
    embedder, library = HashingEmbedder(), FakeLibrary(KEYS)
    nearest = Nearest(journal, embedding(embedder), library.standing)
    for number in (1, 2):
        await approved(journal, number, question=f"reset key {number}")
    for _ in range(3):
        await shown(journal, library, "reset key 1", nearest=nearest)
    assert embedder.embedded == 2 + 3
    await approved(journal, 3, question="reset key 3")
    await shown(journal, library, "reset key 1", nearest=nearest)
    assert embedder.embedded == 2 + 3 + 2


async def test_demonstrations_do_not_crowd_out_the_question(journal: Journal) -> None:
    """One that is too long is not shown; passages that its answer does not cite are left away."""
    long = KEYS.model_copy(update={"id": "p8", "text": "Words. " * 2_000})
    library = FakeLibrary(KEYS)
    await approved(journal, 1, long, question="reset a key")
    example = lessons.example(2, question="reset a key now", passages=(KEYS, long), answer="Open Settings [1].")
    await journal.keep_example(example)
    assert await shown(journal, library, "reset a key") == ["Open Settings [1]."]


async def test_progress_says_how_far_it_is(journal: Journal) -> None:
    """In the words that Slack and the shell show."""
    await approved(journal, 1)
    assert await examples.progress(journal) == "1 of 500 approved"
    await approved(journal, 2, thread=lessons.thread(2, held_out=True))
    await approved(journal, 3, audience="channel:C1")
    await approved(journal, 4, status="candidate")
    assert (await examples.progress(journal)) == "3 of 500 approved (2 of them kept for measuring, or not for everyone)"


async def test_only_what_has_changed_is_parsed_again(journal: Journal) -> None:
    """Thousands of examples are looked at with every press of a button."""
    for number in range(3):
        await approved(journal, number)
    before = await journal.examples()
    await approved(journal, 1, liked_by=(NOAH,))
    await journal.erase_examples([before[2].id])
    after = await journal.examples()
    assert [one.liked_by for one in after] == [(MAYA,), (NOAH,)]
    assert after[0] is before[0] and after[1] is not before[1]
    assert example_id("q") != example_id("q", is_correction=True)
