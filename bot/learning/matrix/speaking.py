"""How an arm of the matrix speaks: with its own prompt, at temperature 0 where its server takes that, measured from the
request to the first and the last character. What a model writes is taken whole before it goes on to the check that
every answer goes through, so that the tokens it used are heard of; where a JSON schema holds it, its sentences are
written out with their marks."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from bot.answering import PersonaModel, Prompt
from bot.defusing import visible
from bot.errors import Broken, FootnoteError
from bot.learning.matrix.arms import Arm
from bot.model_openai import CutOff, OpenAIModel
from bot.model_quoting import QuotingModel
from bot.persona import Persona, messages, short_messages
from bot.sentences import MARK, Splitter
from bot.vocabulary import Example, Passage, Turn

MOST_SENTENCES = 5
LONGEST_SENTENCE = 180
"""Characters. Without bounds a small model fills a schema for ever."""

_GENTLER: tuple[Mapping[str, Any], ...] = (
    {"temperature": 0, "stream_options": {"include_usage": True}},
    {"stream_options": {"include_usage": True}},
    {"temperature": 0},
    {},
)
"""What is asked of a server beside the messages; each is tried when the one before is refused."""

_AS_JSON = (
    "Write the answer as JSON: `sentences`, each with its `text`, without a mark, and as `source` the number of its "
    "passage. If the passages do not answer, `sentences` is empty."
)


@dataclass
class Spoken:
    """What one answer of a model took."""

    completion: str = ""
    characters_in: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    """None where the server does not say."""
    first_ms: float | None = None
    problem: str = ""
    """Why it failed; no key in it."""


class Speaker:
    """An arm with its model, open until `aclose`. It answers one question at a time."""

    def __init__(
        self,
        arm: Arm,
        persona: Persona,
        endpoint: Callable[[Arm], tuple[str | None, str | None]],
        *,
        timeout_s: float = 20,
    ) -> None:
        """`endpoint` gives base URL and key of an arm. Raises TellUser when the arm's cannot be known."""
        self.arm, self._persona = arm, persona
        self._gentleness = 0
        self._spoken = Spoken()
        self._key = ""
        self._model: PersonaModel = QuotingModel()
        if not arm.is_quoting:
            base_url, key = endpoint(arm)
            self._key = key or ""
            self._model = OpenAIModel(
                arm.model, base_url=base_url, api_key=key, timeout_s=timeout_s, options=self._options, used=self._used
            )

    async def aclose(self) -> None:
        """Closes the connections."""
        if isinstance(self._model, OpenAIModel):
            await self._model.aclose()

    async def warm_up(self) -> str:
        """Lets the server load the model, and finds out what it takes; gives the problem when it cannot be used."""
        prompt = Prompt("Say OK.", "Say OK.", (), [{"role": "user", "content": "Say OK."}])
        if self.arm.is_quoting:
            return ""
        for self._gentleness in range(len(_GENTLER)):
            try:
                async with aclosing(self._stream(prompt)) as deltas:
                    await anext(deltas, None)
                return ""
            except Broken as error:
                problem = self._without_key(str(error))
            except FootnoteError as error:
                return self._without_key(str(error))
        self._gentleness = 0
        return problem

    async def speak(self, speech: Speech) -> AsyncIterator[str]:
        """Lets the model write, keeps in `speech.spoken` what that took, and yields the text. Raises as models do."""
        spoken = speech.spoken = self._spoken = Spoken()
        chat = self._messages(speech)
        prompt = Prompt(speech.question, speech.query, speech.passages, chat)
        spoken.characters_in = 0 if self.arm.is_quoting else sum(len(message["content"]) for message in chat)
        problem: FootnoteError | None = None
        began = time.perf_counter()
        try:
            async with aclosing(self._stream(prompt)) as deltas:
                async for delta in deltas:
                    if spoken.first_ms is None:
                        spoken.first_ms = (time.perf_counter() - began) * 1_000
                    spoken.completion += delta
        except CutOff:
            pass  # a model that rambles until it is stopped is measured by what it wrote
        except FootnoteError as error:
            spoken.problem, problem = self._without_key(str(error)), error
        if self.arm.prompt == "grammar":
            spoken.completion = written_out(spoken.completion, self._persona.refusal)
        if spoken.completion:
            yield spoken.completion
        if problem is not None:
            raise problem

    def _stream(self, prompt: Prompt) -> AsyncGenerator[str, None]:
        stream = self._model.write(prompt)
        assert isinstance(stream, AsyncGenerator)
        return stream

    def _messages(self, speech: Speech) -> list[dict[str, str]]:
        if self.arm.prompt == "one_line":
            return short_messages(self._persona, speech.query, speech.passages)
        if self.arm.prompt == "plain":
            return plain_messages(speech.query, speech.passages)
        chat = messages(self._persona, speech.question, speech.passages, speech.history, speech.shown)
        if self.arm.prompt == "grammar":
            chat[0] = {"role": "system", "content": f"{chat[0]['content']}\n\n{_AS_JSON}"}
        return chat

    def _options(self, prompt: Prompt) -> Mapping[str, Any]:
        held = {"response_format": _schema(len(prompt.passages))} if self.arm.prompt == "grammar" else {}
        return {**_GENTLER[self._gentleness], **held, **self.arm.options}

    def _used(self, tokens_in: int, tokens_out: int) -> None:
        self._spoken.tokens_in, self._spoken.tokens_out = tokens_in, tokens_out

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


@dataclass
class Speech:
    """One answer of an arm, as a persona model; see `answering.PersonaModel`."""

    speaker: Speaker
    question: str
    query: str
    passages: tuple[Passage, ...]
    history: tuple[Turn, ...] = ()
    shown: tuple[Example, ...] = ()
    provider: str = ""

    def __post_init__(self) -> None:
        self.name = self.speaker.arm.name
        self.spoken = Spoken()

    async def write(self, prompt: Prompt) -> AsyncIterator[str]:
        """Yields the text; the prompt of the arm takes the place of the one given."""
        async for text in self.speaker.speak(self):
            yield text


def plain_messages(question: str, passages: Sequence[Passage]) -> list[dict[str, str]]:
    """Gives the messages of the simplest use of a model: passages, question, and no word on how to write; without
    passages the question alone."""
    quoted = "\n\n".join(f"[{number}] {visible(each.text).strip()}" for number, each in enumerate(passages, 1))
    asked = f"Question: {visible(question).strip()}"
    if not passages:
        return [{"role": "user", "content": asked}]
    say_so = "Answer from these passages. If they do not hold the answer, say so."
    return [{"role": "user", "content": f"{quoted}\n\n{say_so}\n{asked}"}]


def _schema(passages: int) -> dict[str, Any]:
    """A JSON schema in which every sentence names one of the passages."""
    sentence = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": LONGEST_SENTENCE},
            "source": {"type": "integer", "enum": list(range(1, max(1, passages) + 1))},
        },
        "required": ["text", "source"],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"sentences": {"type": "array", "items": sentence, "maxItems": MOST_SENTENCES}},
        "required": ["sentences"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def written_out(text: str, refusal: str) -> str:
    """Gives the sentences of a JSON answer with their marks, those that are complete if it was cut off; no sentence is
    the refusal. Text that is not in that form stays as it is."""
    entries = list(_ENTRY.finditer(text))
    if not entries and not _NO_ENTRY.fullmatch(text):
        return text
    found = []
    for entry in entries:
        splitter = Splitter()
        words = re.sub(MARK, "", json.loads(f'"{entry["text"]}"', strict=False))
        for piece in (*splitter.feed(words), *splitter.flush()):
            found.append(f"{piece.strip().rstrip('.')} [{entry['source']}].")
    return " ".join(found) or refusal


_NO_ENTRY = re.compile(r'\s*\{\s*"sentences"\s*:\s*\[\s*\]\s*\}\s*')
_ENTRY = re.compile(
    r"""\{\s*"text"\s*:\s*"(?P<text>(?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"\s*,\s*"source"\s*:\s*(?P<source>\d+)\s*\}"""
)
"""A complete sentence, its properties in the order of the schema, which every server keeps that holds to one."""
