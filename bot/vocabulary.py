"""The nouns of the conversation, as frozen models. They are what crosses every boundary between rooms: no Slack
dictionary leaves `handlers/`, no store object leaves `retrieval/`, and what is queued or journalled is one of these.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

PUBLIC = "public"
WORKSPACE = "workspace"
CONFIGURED = "configured"
"""The version of the persona that PERSONA_MODEL names; it is live until another one is promoted."""

FAILURES_REMEMBERED = 20
"""Of the last sync of a source; all of them are in its report."""
FAILURE_CHARACTERS = 300

AnswerStatus = Literal["answered", "declined", "clarified", "chitchat", "failed"]
ExampleStatus = Literal["candidate", "approved", "rejected", "quarantined"]
Origin = Literal["vote", "correction", "import", "draft"]
PromptStyle = Literal["full", "one_line", "plain"]
Endpoint = Literal["persona", "tuner"]
Fate = Literal["added", "changed", "unchanged", "refused"]
"""What a sync did with a document."""


class Frozen(BaseModel):
    """What cannot be changed. Fields that are not known are passed over, for nearly all of these are stored or queued,
    where a process of the next release may have written them: in a rolling deploy, or before going back."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Turn(Frozen):
    """One earlier message of a thread, oldest first in a history."""

    role: Literal["user", "assistant"]
    text: str


class Asked(Frozen):
    """A question as it came in and is queued: where, by whom, in which words (redacted). Who may read the reply is
    looked up when it is answered, not when it is asked."""

    id: str
    """`team:channel:ts`; a mention and its twin message event are one question."""
    kind: Literal["mention", "direct", "follow_up", "command"]
    team_id: str
    channel_id: str
    ts: str
    """The question's own message; for a command, an id of ours."""
    thread_ts: str
    """The thread that the reply goes into."""
    user_id: str
    user_team_id: str
    text: str
    edited_ts: str = ""
    """When the words were last changed, as Slack counts; empty for the first ones."""
    response_url: str | None = None
    """Where a private reply goes: set for commands and message shortcuts only."""

    @property
    def is_private(self) -> bool:
        """Whether the asker alone sees the reply."""
        return self.kind in ("direct", "command") or self.channel_id.startswith("D")


class Question(Frozen):
    """What is asked, and by which right it is answered.

    `readable` holds the audience labels (`public`, `workspace`, `channel:ID`, `group:ID`) that *everyone* who will see
    the reply may read. There is no way to search without it.
    """

    id: str
    """`team:channel:ts` in Slack."""
    team_id: str
    text: str
    readable: frozenset[str]
    history: tuple[Turn, ...] = ()
    channel_id: str = ""
    """Where it was asked; empty outside Slack. It decides which version of the persona answers, never what is read."""


class Document(Frozen):
    """A page as its source holds it, before it is cut into passages."""

    id: str
    source: str
    title: str
    url: str | None = None
    text: str
    """Markdown."""
    audience: str = WORKSPACE
    updated_at: datetime | None = None


class Passage(Frozen):
    """A piece of a document that can be found and cited."""

    id: str
    document_id: str
    source: str
    title: str
    section: str = ""
    """The headings above it, joined by ` › `; empty at the top of a page."""
    url: str | None = None
    text: str
    audience: str
    updated_at: datetime | None = None
    position: int = 0
    """Its place in the document, from 0."""
    document_digest: str = ""
    """SHA-256 of the whole document that it was cut from."""
    is_whole: bool = False
    """Whether its section was not cut, so that nothing more of it stands around; false where that was not noted."""


class Hit(Frozen):
    """A passage that was found for a question."""

    passage: Passage
    score: float
    """The fused rank score: good for ordering, no confidence."""
    certainty: float
    """`(1 + cosine) / 2` between question and passage, 0 to 1."""


class Found(Frozen):
    """What the library holds on a question, best first."""

    hits: tuple[Hit, ...]
    query: str
    """The standalone query that was searched."""
    confidence: float = 0.0
    """How likely the hits hold the answer, 0 to 1, where that was learned (`calibrate`); else their best certainty. 0
    when nothing was found."""
    is_sufficient: bool = False
    """Whether the hits may be answered from: confidence at the threshold, or an identifier of the question verbatim."""
    is_vague: bool = False
    """Whether the question, the first of its thread, fits several pages about equally well."""
    around: tuple[Passage, ...] = ()
    """What stands before and after the best hit where its section was cut: to be read after the hits."""
    rewrite_ms: float = 0.0
    embed_ms: float = 0.0
    search_ms: float = 0.0


class Citation(Frozen):
    """The checked link from a sentence to the passage that supports it."""

    number: int
    document_id: str
    title: str
    section: str = ""
    url: str | None = None
    quote: str
    """Verbatim from the passage."""
    updated_at: datetime | None = None


class Answer(Frozen):
    """The one reply to a question. `text` carries its `[n]` marks."""

    question_id: str
    status: AnswerStatus
    text: str
    citations: tuple[Citation, ...] = ()
    nearest: tuple[Citation, ...] = ()
    """For a declined question: pages that come nearest, to look at oneself."""
    passages: tuple[Passage, ...] = ()
    """What the persona was given, in the order of its numbers."""
    query: str = ""
    """The question as it was searched, understandable without its thread."""
    model: str = ""
    provider: str = ""
    """The host that served the model."""
    version: str = ""
    """The version of the persona that answered, as the register names it."""
    passed_over: tuple[str, ...] = ()
    """The versions that were to answer before, but that their server refused."""
    completion: str = ""
    """What the model wrote, before anything was checked."""
    left_out: int = 0
    """Sentences of the completion that were not said, for no passage supports them."""
    confidence: float = 0.0
    timings_ms: dict[str, float] = Field(default_factory=dict)


class Verdict(Frozen):
    """What one person thinks of one answer. A later verdict of the same person replaces it."""

    question_id: str
    user_id: str
    is_helpful: bool | None
    """None when the person has taken it back."""
    at: datetime
    reason: str = ""
    """What was wrong, where the person said so."""


class Example(Frozen):
    """An answer worth learning from: somebody liked it, corrected it, brought it along or had it drafted. It holds
    everything that is needed to learn from it or to throw it away; its documents' digests are those of its passages."""

    id: str
    team_id: str
    question_id: str
    question: str
    """Standalone and redacted."""
    answer: str
    passages: tuple[Passage, ...]
    audience: str
    """The narrower of its passages' and its place's audience."""
    status: ExampleStatus = "candidate"
    produced_by: str
    """The model that wrote the answer; `human` for a correction and for what was imported without saying."""
    provider: str = ""
    """The host that served that model, `quoting`, or `human`."""
    origin: Origin = "vote"
    liked_by: tuple[str, ...] = ()
    """Everybody whose word it rests on: who liked it, who corrected it."""
    asked_by: str | None = None
    """Who asked, so that it can be found when that person asks to be forgotten."""
    thread: str = ""
    """`channel:thread_ts` of its conversation: examples of one thread stay on one side of the held-out split."""
    refused_answer: str | None = None
    """For a correction: the bot's own answer, which it is preferred to."""
    is_held_out: bool = False
    """Kept for measuring, never for training. Frozen once it is set."""
    problems: tuple[str, ...] = ()
    """Why it is quarantined, or cannot be approved as it stands; each a sentence."""
    draft_page: str | None = None
    """The id of the draft page whose facts it waits for."""
    created_at: datetime
    reviewed_by: str | None = None
    reviewed_at: datetime | None = None


class DraftPage(Frozen):
    """Facts of a correction that no document holds, with somebody who is to see to it that one does."""

    id: str
    team_id: str
    title: str
    text: str
    """Markdown."""
    audience: str
    owner: str
    """The Slack user who wrote the correction."""
    created_at: datetime


class Dataset(Frozen):
    """A file of training lines. Its digest names it: the same examples, persona and layout give the same one."""

    digest: str
    """SHA-256 of the file, hexadecimal."""
    kind: Literal["sft", "dpo", "kto"] = "sft"
    example_ids: tuple[str, ...]
    is_few: bool = False
    """Made of fewer examples than are wanted, because somebody insisted."""
    created_at: datetime


class TuningJob(Frozen):
    """How the tuning on one dataset stands; there is one job per dataset."""

    dataset: str
    """The dataset's digest."""
    base: str
    """The model that is tuned, as the tuner names it."""
    endpoint: Endpoint = "tuner"
    server: str = ""
    """The address of the API that is tuning, without a key."""
    epochs: int = 3
    batch_size: int = 4
    file_id: str | None = None
    job_id: str | None = None
    earlier: tuple[str, ...] = ()
    """Jobs of the server on the same dataset that had ended when somebody wanted another one."""
    status: str = "preparing"
    """`preparing`, then what the API says: validating_files, queued, running, succeeded, failed, cancelled."""
    fine_tuned_model: str | None = None
    progress: float = 0.0
    """0 to 1, as far as the events tell."""
    last_event: str = ""
    """What the server said last about its progress."""
    problem: str | None = None
    """Why it failed, or what keeps it from going on, as a sentence."""
    started_by: str = ""
    created_at: datetime
    updated_at: datetime

    @property
    def has_ended(self) -> bool:
        """Whether its status is its last."""
        return self.status in ("succeeded", "failed", "cancelled")


class ModelVersion(Frozen):
    """A persona that can answer: a model, where it is served, and the prompt that it is used to. No key is kept: each
    endpoint's comes from the settings."""

    id: str
    """`configured` for what PERSONA_MODEL names; else `v1`, `v2`, …"""
    model: str
    endpoint: Endpoint = "persona"
    prompt: PromptStyle = "full"
    dataset: str | None = None
    is_few: bool = False
    ends_on: date | None = None
    """When its server says that it will be shut down."""
    created_at: datetime


def narrower(one: str, other: str) -> str:
    """Gives the audience that may read what both `one` and `other` may read, or `nobody`."""
    wideness = {PUBLIC: 0, WORKSPACE: 1}
    first, second = sorted((one, other), key=lambda label: wideness.get(label, 2))
    if first == second or first in wideness:
        return second
    return "nobody"


class SourceFailure(Frozen):
    """One thing that could not be read: the file (and line) by name, and why."""

    source: str
    reason: str


class IngestReport(Frozen):
    """What one sync of one source did: documents by what happened to them, and the passages that it embedded."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: tuple[SourceFailure, ...] = ()
    passages: int = 0
    seconds: float = 0.0
    removed_ids: tuple[str, ...] = Field((), exclude=True)

    @property
    def has_emptied(self) -> bool:
        """Whether a source that held something holds nothing any more."""
        return bool(self.removed) and not (self.added or self.changed or self.unchanged)

    @property
    def is_total_failure(self) -> bool:
        """Whether nothing of the source could be read."""
        return bool(self.failed) and not (self.added or self.changed or self.unchanged)


class LastReport(Frozen):
    """What the last sync of a source did, small enough to be remembered with it."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: int = 0
    failures: tuple[SourceFailure, ...] = ()
    """The first of those that failed."""
    seconds: float = 0.0

    @classmethod
    def of(cls, report: IngestReport) -> Self:
        """Makes it of a whole report."""
        failures = tuple(
            SourceFailure(source=one.source[:FAILURE_CHARACTERS], reason=one.reason[:FAILURE_CHARACTERS])
            for one in report.failed[:FAILURES_REMEMBERED]
        )
        counts = report.model_dump(include={"added", "changed", "unchanged", "removed", "seconds"})
        return cls(**counts, failed=len(report.failed), failures=failures)


class Source(Frozen):
    """A place that documents come from, as the library remembers it so that it can be synced again."""

    name: str
    address: str
    """A folder or file, absolute; or what stands before its documents elsewhere, as `https://…` or `s3://…`."""
    audience: str = WORKSPACE
    """What its documents get that name no audience themselves."""
    base_url: str | None = None
    every_s: int | None = None
    """Seconds after which it is synced again by itself; never where it is None."""
    tried_at: datetime | None = None
    """When its last sync began, however it ended."""
    synced_at: datetime | None = None
    documents: int = 0
    passages: int = 0
    last_report: LastReport | None = None
    """What its last sync did, also when the source could not be read at all."""
    form: str = ""
    """The embedding model and chunker that it was last synced with, as a hash."""


class Listing(Frozen):
    """What a source was found to hold, when it is to be read in parts."""

    form: str
    """The embedding model and chunker of who listed it, as a hash."""
    terms: tuple[str, ...]
    """Where it was, and for whom: what is read by other terms is for another listing."""
    parts: int
    hands: int
    """How many parts may be read at a time."""
    knows: str = ""
    """What was learned of the source on the way, for those who read the parts."""


class PartReport(Frozen):
    """What became of one part of a source."""

    documents: dict[str, tuple[str, Fate]] = {}
    """By id: where it stands, and what was done."""
    failed: tuple[SourceFailure, ...] = ()
    kept: tuple[str, ...] = ()
    """What is out of reach now but may still be there: documents of this id or below it, all of them where it is
    empty."""
    passages: int = 0
    ends_reading: bool = False
    """Whether the source failed so often that it is to be left alone."""


FormState = Literal["live", "before", "to come", "begun", "old"]
"""`before` is what a rollback goes back to; `to come` is EMBEDDING_MODEL's, where that is not live; `begun` never was
live, and is another EMBEDDING_MODEL's, which may be at work on it elsewhere."""


class FormStatus(Frozen):
    """How one form of the library stands: what it is embedded by, and how much of it is there, over all teams."""

    id: str
    model: str
    dimensions: int
    state: FormState
    documents: int
    passages: int
    left_at: datetime | None = None
    """When another form took its place, where it was live."""


class Reembedded(Frozen):
    """How a re-embedding went; while there are problems, what was live stays so."""

    form: str
    model: str
    is_live: bool
    problems: tuple[str, ...] = ()
    """What spoke against the switch."""
    documents: int = 0
    """That were embedded this time."""
    passages: int = 0
    seconds: float = 0.0


class LibraryStatus(Frozen):
    """How the library of one team stands."""

    passages: int
    documents: int
    backend: str
    embedding_model: str
    """Of the form that is answered from."""
    is_ready: bool
    remark: str = ""
    """What an operator should know: that another model is set than the library is embedded with, or why the live form
    cannot be opened."""
    calibration: str = ""
    """Whether what `python -m bot calibrate` has learned is in use; empty where it never ran."""
