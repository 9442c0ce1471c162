"""Our share of an answer: from the Question in the worker to the checked Answer, less the embedder and the model. The
model is a stub that writes at once, token by token as a real one does, sentences that are in the passages."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import count

import numpy as np

from bot.answering import Prompt, Voice, answer
from bot.journal import Journal
from bot.persona import load_persona
from bot.terminal import SilentReply
from bot.vocabulary import PUBLIC, WORKSPACE, Answer, Asked, Question
from retrieval.library import Library
from tests.benchmarks.clock import TimedEmbedder, ms_since
from tests.benchmarks.corpus import SENTENCE
from tests.benchmarks.figures import Figure, at_most, p50_p95

READABLE = frozenset({PUBLIC, WORKSPACE})
MOST_SENTENCES = 3
WARM_UP = 3
_TOKEN = re.compile(r"\s*\S{1,5}")
_ids = count()


class InstantModel:
    """A persona model that quotes the first sentence of the best passages, and says how long it took to choose them."""

    name = "instant"
    provider = "test"

    def __init__(self, is_whole: bool = False) -> None:
        self.ms, self._is_whole = 0.0, is_whole

    async def write(self, prompt: Prompt) -> AsyncIterator[str]:
        """Yields the answer in pieces as small as a model's tokens, or at once."""
        began = time.perf_counter()
        quotes = [(number, SENTENCE.search(passage.text)) for number, passage in enumerate(prompt.passages, start=1)]
        said = [f"{quote[0].rstrip('.')} [{number}]." for number, quote in quotes if quote][:MOST_SENTENCES]
        text = " ".join(said)
        tokens = [text] if self._is_whole else _TOKEN.findall(text)
        self.ms = ms_since(began)
        for token in tokens:
            yield token


class JournalledReply(SilentReply):
    """A reply that keeps the worker's promises to the journal and shows nothing."""

    def __init__(self, journal: Journal, asked: Asked) -> None:
        self._journal, self._asked = journal, asked

    async def finish(self, answer: Answer) -> None:
        """Notes the answer as one that is about to be seen, then as one that is seen."""
        await self._journal.begin(self._asked.id, "posting")
        await self._journal.settle(self._asked, answer, f"{self._asked.ts}1")


async def our_share(
    library: Library, embedder: TimedEmbedder, journal: Journal, questions: Sequence[str], passages: int
) -> list[Figure]:
    """Answers each question once, every other one with the journal; all by a threshold of 0, so that each is written
    and checked."""
    without: list[float] = []
    noted: list[float] = []
    embedding: list[float] = []
    for number, text in enumerate(questions):
        is_noted = number % 2 == 1
        share = await _share(library, embedder, text, journal if is_noted else None)
        if number >= WARM_UP:
            (noted if is_noted else without).append(share)
            embedding.append(embedder.question_ms)
    how = "from Question to checked Answer, less embedding and model; {} different questions over {:,} passages"
    return [
        Figure(
            "Our share of an answer",
            p50_p95(without),
            "ms, p50 / p95",
            how.format(len(without), passages),
            _aim(without),
        ),
        Figure(
            "… with the journal",
            p50_p95(noted),
            "ms, p50 / p95",
            f"the same on {len(noted)} others, with accept, begin and settle on the embedded Valkey",
            _aim(noted),
        ),
        Figure("Embedding a question", p50_p95(embedding), "ms, p50 / p95", "in the same runs; not part of our share"),
    ]


async def _share(library: Library, embedder: TimedEmbedder, text: str, journal: Journal | None) -> float:
    model, persona, asked = InstantModel(), load_persona(), _asked(text)
    began = time.perf_counter()
    if journal:
        await journal.accept(asked)
    reply = JournalledReply(journal, asked) if journal else SilentReply()
    question = Question(id=asked.id, team_id=asked.team_id, text=text, readable=READABLE)
    find = partial(library.find, around=True)
    answered = await answer(question, find=find, voice=Voice(model), persona=persona, reply=reply)
    whole_ms = ms_since(began)
    if answered.status != "answered":
        raise SystemExit(f"{text!r} was {answered.status}: {answered.completion!r}")
    return whole_ms - embedder.question_ms - model.ms


def _asked(text: str) -> Asked:
    ts = f"1700000000.{next(_ids):06}"
    team, channel = "T0LOCAL", "C0HELP"
    return Asked(
        id=f"{team}:{channel}:{ts}",
        kind="mention",
        team_id=team,
        channel_id=channel,
        ts=ts,
        thread_ts=ts,
        user_id="U0MAYA",
        user_team_id=team,
        text=text,
    )


def _aim(shares: Sequence[float]) -> str:
    """19 of 20 answers meet it, or it is missed."""
    return at_most(15, float(np.percentile(shares, 95)))
