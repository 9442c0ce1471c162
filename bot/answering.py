"""The way of one question: find passages, let the persona write from them, check every sentence, say it; or say plainly
that the documents do not answer, and name the nearest pages. Whatever breaks on the way, the asker hears something true
and no word of an exception, and the reply is finished exactly once. When the library cannot be reached, the model is
not asked: it never answers from what it happens to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from bot.citing import Citer, cite
from bot.errors import Broken, ModelUnavailable, TryAgain
from bot.evidence import evidence
from bot.log import log
from bot.persona import Persona, messages, short_messages
from bot.small_talk import small_talk
from bot.vocabulary import CONFIGURED, Answer, AnswerStatus, Citation, Example, Found, Passage, PromptStyle, Question

LONGEST_QUESTION = 4_000
LONGEST_ANSWER = 3_000
"""Characters: what Slack shows in one block."""
MOST_NEAREST = 3


@dataclass(frozen=True)
class Prompt:
    """What a persona model writes from."""

    question: str
    query: str
    """The standalone query that was searched."""
    passages: tuple[Passage, ...]
    """Best first; the mark `[n]` means the n-th."""
    messages: list[dict[str, str]] = field(repr=False)
    """The same as chat messages."""


Find = Callable[[Question], Awaitable[Found]]
"""Raises LibraryUnavailable."""


class PersonaModel(Protocol):
    """Writes the answer, with `[n]` after each fact."""

    name: str
    provider: str
    """The host that serves it; whether its words may be trained on depends on whose they are."""

    def write(self, prompt: Prompt) -> AsyncIterator[str]:
        """Yields the text as it comes. Raises ModelUnavailable, also in the middle, and Broken."""
        ...


Demonstrate = Callable[[Question, Found], Awaitable[Sequence[Example]]]
"""Gives the examples to show a model, best last; none of them may be unreadable to a reader of the answer."""


@dataclass(frozen=True)
class Voice:
    """Who answers: a model, with the prompt that it is used to."""

    model: PersonaModel
    prompt: PromptStyle = "full"
    version: str = CONFIGURED
    demonstrate: Demonstrate | None = None
    instead: Voice | None = None
    """Who answers when this one's server refuses it before anything was said."""


class Reply(Protocol):
    """Where the answer appears: a Slack thread, a terminal."""

    async def status(self, text: str) -> None:
        """Shows what the bot is doing, after the bot's name."""
        ...

    async def say(self, sentence: str, citations: Sequence[Citation]) -> None:
        """Appends a checked piece of the answer, white space and list marker included; all citations so far."""
        ...

    async def finish(self, answer: Answer) -> None:
        """Completes the reply. What was said is the beginning of `answer.text`, or nothing was said."""
        ...


async def answer(
    question: Question,
    *,
    find: Find,
    voice: Voice,
    persona: Persona,
    reply: Reply,
    deadline_s: float = 45,
) -> Answer:
    """Answers one question through `reply` and returns what was answered; `deadline_s` bounds find and model.

    What `reply` raises is passed on, for then nobody was told; what the library and the model raise is answered.
    """
    work = _Work(question, voice, persona, reply, deadline_s)
    done = work.without_search() or await work.with_search(find)
    await reply.finish(done)
    return done


class _Work:
    """One question while it is being answered."""

    def __init__(self, question: Question, voice: Voice, persona: Persona, reply: Reply, deadline_s: float) -> None:
        self.question, self.voice, self.persona, self.reply = question, voice, persona, reply
        self.started = time.perf_counter()
        self.deadline = asyncio.get_running_loop().time() + deadline_s
        self.found = Found(hits=(), query=question.text)
        self.timings: dict[str, float] = {}
        self.said: list[str] = []
        self.completion = ""
        self.left_out = 0
        self.stopped: Exception | None = None
        self.passed_over: tuple[str, ...] = ()

    def without_search(self) -> Answer | None:
        """Answers what is no question, or too long a one."""
        text = self.question.text.strip()
        if len(text) > LONGEST_QUESTION:
            return self.ended(
                "clarified",
                f"That is longer than I can search with: {len(text):,} characters, and {LONGEST_QUESTION:,} are the "
                "most. Could you ask it in a few sentences, with the error message or the setting if there is one?",
            )
        kind = small_talk(text, has_history=bool(self.question.history))
        if kind is None:
            return None
        return self.ended("chitchat" if kind in ("greeting", "thanks") else "clarified", _SMALL_TALK[kind])

    async def with_search(self, find: Find) -> Answer:
        """Answers from what the library holds."""
        await self.reply.status("is looking in the documents…")
        began = time.perf_counter()
        try:
            async with asyncio.timeout_at(self.deadline):
                self.found = await find(self.question)
        except (TryAgain, Broken, TimeoutError) as error:
            return self.failed(error, while_searching=True)
        finally:
            self.timings["find"] = _ms_since(began)
        self.timings |= {"embed": self.found.embed_ms, "search": self.found.search_ms}
        if self.found.rewrite_ms:
            self.timings["rewrite"] = self.found.rewrite_ms
        if self.found.is_vague:
            return self.ended("clarified", _WHICH, nearest=_nearest(self.found))
        if not self.found.hits or not self.found.is_sufficient:
            return self.declined()
        return await self.from_passages((*(hit.passage for hit in self.found.hits), *self.found.around))

    async def from_passages(self, passages: tuple[Passage, ...]) -> Answer:
        """Lets the model write, and says each piece once it is checked."""
        began = time.perf_counter()
        question, query = self.question.text, self.found.query or self.question.text
        chat = await self.chat(passages)
        prompt = Prompt(question, query, passages, chat)
        citer = Citer(
            passages,
            refusal=self.persona.refusal,
            opening=self.persona.opening,
            question=f"{question}\n{query}",
            unsaid=chat[0]["content"].replace(self.persona.refusal, ""),
        )
        self.timings |= {"model": 0.0, "check": _ms_since(began)}
        async with aclosing(self.deltas(prompt)) as deltas:
            async for delta in deltas:
                if not await self.say(citer, citer.feed(delta)) or citer.has_refused:
                    break
            else:
                if self.stopped is None:
                    await self.say(citer, citer.close())
        self.left_out = citer.left_out
        if not self.said and isinstance(self.stopped, Broken) and self.voice.instead:
            return await self.from_passages_instead(passages, self.voice.instead)
        if not self.said:
            return self.failed(self.stopped) if self.stopped else self.declined()
        if self.stopped:
            self.report(self.stopped)
            await self.out(_STOPPED, citer)
        return self.ended("answered", "".join(self.said), citations=citer.citations, passages=citer.passages)

    async def from_passages_instead(self, passages: tuple[Passage, ...], voice: Voice) -> Answer:
        """Lets another voice write: a version that is gone from its server must cost nobody an answer."""
        log.error("version_not_to_be_had", version=self.voice.version, instead=voice.version, cause=str(self.stopped))
        self.passed_over = (*self.passed_over, self.voice.version)
        self.voice, self.stopped, self.completion = voice, None, ""
        return await self.from_passages(passages)

    async def chat(self, passages: tuple[Passage, ...]) -> list[dict[str, str]]:
        """The messages that this voice is used to."""
        if self.voice.prompt == "one_line":
            return short_messages(self.persona, self.found.query or self.question.text, passages)
        shown: Sequence[Example] = ()
        if self.voice.demonstrate:
            try:
                async with asyncio.timeout_at(self.deadline):
                    shown = await self.voice.demonstrate(self.question, self.found)
            except (TryAgain, TimeoutError) as error:  # demonstrations help, but nobody waits for them in vain
                log.warning("no_demonstrations", question=self.question.id, cause=str(error))
        return messages(self.persona, self.question.text, passages, self.question.history, shown)

    async def deltas(self, prompt: Prompt) -> AsyncGenerator[str, None]:
        """What the model writes. When it breaks off, the stream ends and `stopped` says why."""
        stream = self.voice.model.write(prompt)
        try:
            while True:
                began = time.perf_counter()
                try:
                    async with asyncio.timeout_at(self.deadline):
                        delta = await anext(stream, None)
                except (TryAgain, Broken, TimeoutError) as error:
                    self.stopped = error
                    return
                finally:
                    self.timings["model"] += _ms_since(began)
                if delta is None:
                    return
                self.timings.setdefault("model_first_token", self.timings["model"])
                self.completion += delta
                yield delta
        finally:
            if close := getattr(stream, "aclose", None):
                await close()

    async def say(self, citer: Citer, pieces: Iterator[str]) -> bool:
        """Says the pieces; false when the answer has reached its greatest length."""
        while True:
            began = time.perf_counter()
            piece = next(pieces, None)
            self.timings["check"] += _ms_since(began)
            if piece is None:
                return True
            if sum(map(len, self.said)) + len(piece) > LONGEST_ANSWER:
                self.stopped = ModelUnavailable(f"wrote more than {LONGEST_ANSWER} characters")
                return False
            await self.out(piece, citer)

    async def out(self, piece: str, citer: Citer) -> None:
        self.said.append(piece)
        await self.reply.say(piece, citer.citations)

    def declined(self) -> Answer:
        """Says that the documents do not answer."""
        pages = _nearest(self.found)
        look = "These pages come nearest." if len(pages) > 1 else "This page comes nearest." if pages else ""
        text = " ".join(filter(None, (self.persona.refusal, look, self.persona.human)))
        return self.ended("declined", text, nearest=pages)

    def failed(self, error: Exception, *, while_searching: bool = False) -> Answer:
        """Says truly what could not be done, in words that hold nothing of the exception."""
        self.report(error)
        pages = _nearest(self.found)
        look = (" This page seems" if len(pages) == 1 else " These pages seem") + " to be about it." if pages else ""
        if while_searching:
            text = "I cannot reach the documents right now, so I cannot answer this. Please ask again in a few minutes."
        elif isinstance(error, TimeoutError):
            text = (
                f"I found passages, but writing the answer took too long, so I stopped.{look} Please ask again later."
            )
        else:
            text = f"I found passages, but the model that writes the answers is not available right now.{look}"
            text += " Please ask again in a few minutes."
        return self.ended("failed", f"{text} {self.persona.human}", nearest=pages)

    def ended(
        self,
        status: AnswerStatus,
        text: str,
        *,
        citations: tuple[Citation, ...] = (),
        nearest: tuple[Citation, ...] = (),
        passages: tuple[Passage, ...] | None = None,
    ) -> Answer:
        self.timings["total"] = _ms_since(self.started)
        return Answer(
            question_id=self.question.id,
            status=status,
            text=text.format(name=self.persona.name) if status in ("chitchat", "clarified") else text,
            citations=citations,
            nearest=nearest,
            passages=tuple(hit.passage for hit in self.found.hits) if passages is None else passages,
            query=self.found.query,
            model=self.voice.model.name if self.completion else "",
            provider=self.voice.model.provider if self.completion else "",
            version=self.voice.version if self.completion else "",
            passed_over=self.passed_over,
            completion=self.completion,
            left_out=self.left_out,
            confidence=self.found.confidence,
            timings_ms={name: round(value, 3) for name, value in self.timings.items()},
        )

    def report(self, error: Exception) -> None:
        """Tells the operators what the asker is not told."""
        tell = log.error if isinstance(error, Broken) else log.warning
        tell("answer_failed", question=self.question.id, error=type(error).__name__, reason=str(error))


_STOPPED = "\n\nI had to stop here, so this may not be all of it."
_WHICH = (
    "That fits several pages about equally well. Do you mean one of these, or what exactly would you like to know? "
    "A few more words are enough."
)
_SMALL_TALK = {
    "empty": "What would you like to know? Ask me in a sentence, for example how something is set up or what an "
    "error means.",
    "greeting": "Hello, I am {name}. Ask me a question, and I answer it from the documents and show where it stands.",
    "thanks": "You are welcome! If something else comes up, just ask.",
    "vague": "I would like to help. What exactly does not work: which part or page, what did you do, and what did you "
    "see, word for word if it was an error?",
}


def _nearest(found: Found) -> tuple[Citation, ...]:
    """The pages of the best hits, each once."""
    pages = {hit.passage.document_id: hit.passage for hit in reversed(found.hits)}
    best = sorted(pages.values(), key=[hit.passage for hit in found.hits].index)[:MOST_NEAREST]
    return tuple(cite(number, page, evidence(page).quote(())) for number, page in enumerate(best, start=1))


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1_000
