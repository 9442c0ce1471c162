"""The whole way of a dataset through the gate, on more than two hundred pairs: shuffled answers make a candidate that
is refused, good ones make one that goes live. What learns here is a pupil with one simple rule, so that every night is
the same; the loop's own story (`test_loop.py`) trains a real model."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence

import pytest

from bot.answering import Prompt
from bot.errors import TellUser
from bot.journal import Journal, now
from bot.learning.tuning import datasets
from bot.learning.versions import gate, promoting
from bot.learning.versions.register import Register
from bot.learning.versions.verdicts import JUDGED, WANTED_PAIRS
from bot.learning.versions.voices import Voices
from bot.memory import Memory
from bot.vocabulary import CONFIGURED, Example, ModelVersion
from tests.examination import PERSONA, Scripted, examination, held_out, unchanged, wordy
from tests.lessons import thread

MEASURED = 215
TAUGHT = 60


def lessons() -> list[Example]:
    """Examples to train on, whose facts are asked for in none of the held-out ones."""
    return [held_out(MEASURED + 1 + number, is_held_out=False, thread=thread(number)) for number in range(TAUGHT)]


def shuffled(examples: Sequence[Example]) -> list[Example]:
    """The same with the answers of others."""
    answers = [example.answer for example in examples]
    random.Random(4).shuffle(answers)
    return [one.model_copy(update={"answer": answer}) for one, answer in zip(examples, answers, strict=True)]


def pupil(examples: Sequence[Example]) -> Scripted:
    """A model that learns from the lines of a dataset. Where most of their answers stand in the passages that they
    cite, it learns to copy the sentence that asks for most of the question's words; else it knows no better than to
    say what it was taught to the question that is most like this one."""
    _, content = datasets.build(examples, PERSONA)
    taught: list[tuple[str, str]] = []
    copied = 0
    for line in content.splitlines():
        _, user, assistant = (message["content"] for message in json.loads(line)["messages"])
        taught.append((user.rsplit("\n", 1)[-1], assistant))
        copied += re.sub(r" \[\d\]\.$", ".", assistant) in user

    def write(prompt: Prompt) -> str:
        asked = set(re.findall(r"\w+", prompt.question.lower()))

        def likeness(text: str) -> int:
            return len(asked & set(re.findall(r"\w+", text.lower())))

        if copied * 2 < len(taught):
            return max(taught, key=lambda one: likeness(one[0]))[1]
        sentences = [
            (sentence, number)
            for number, passage in enumerate(prompt.passages, start=1)
            for sentence in re.findall(r"The [\w ]+ is \d+ days", passage.text)
        ]
        best, number = max(sentences, key=lambda one: likeness(one[0]), default=("", 0))
        return f"{best} [{number}]." if likeness(best) >= 6 else PERSONA.refusal

    return Scripted(write, f"pupil-{len(taught)}-{copied}")


@pytest.mark.nightly
async def test_shuffled_answers_are_refused_and_good_ones_go_live(memory: Memory) -> None:
    """Live answers from the documents, and out of format; that is what the candidates are to do better."""
    register, journal = Register(memory.redis, "T1"), Journal(memory.redis, "T1")
    for example in examination(MEASURED):
        await journal.keep_example(example)
    models = {"good": pupil(lessons()), "bad": pupil(shuffled(lessons()))}
    voices = Voices(Scripted(wordy, "base"), lambda endpoint, name: models[name], register, persona=PERSONA)
    versions = {}
    for name in models:
        version = ModelVersion(id="", model=name, endpoint="tuner", prompt="one_line", created_at=now())
        versions[name] = (await register.add_version(version)).id

    for name, verdict in (("bad", "refused"), ("good", "passed")):
        report = await gate.run_for(
            versions[name],
            voices=voices,
            register=register,
            journal=journal,
            persona=PERSONA,
            standing=unchanged,
            named="format",
            by="night",
        )
        assert report.verdict == verdict, report.reasons
        figures = {figure.measure: figure for figure in report.figures}
        assert all(figures[measure].pairs >= WANTED_PAIRS for measure in (*JUDGED, "format"))
        if name == "bad":
            assert figures["groundedness"].gain < -0.5
    with pytest.raises(TellUser, match="refused"):
        await promoting.promote(register, voices, versions["bad"], "night")
    assert (await register.routing()).live == CONFIGURED
    assert (await promoting.promote(register, voices, versions["good"], "night")).live == versions["good"]
