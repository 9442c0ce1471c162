"""A small world for the decision matrix, in which every figure is known beforehand: pages that state one limit each, a
library that finds the right page and two others, and servers that answer by a rule."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from bot.evaluating import Asked
from bot.learning.matrix.arms import Arm
from bot.learning.matrix.running import run_matrix
from bot.persona import load_persona
from bot.shell import readable
from bot.vocabulary import Found, Hit, Passage, Question
from tests.scripted_model import Reply, ScriptedModel, events

PERSONA = load_persona()
TOPICS = ("envelope", "parcel", "stamp", "postcard", "printer", "ledger", "courier", "pigeon", "carton", "sticker")
LIMITS = {topic: str(31 + 7 * number) for number, topic in enumerate(TOPICS)}
_LIMIT = re.compile(r"The (\w+) limit is (\d+) units\.")

Rule = Callable[[str, dict[str, tuple[int, str]]], str]
"""From a topic, and for each topic in the prompt the passage's number and the limit it states, to what is written."""


def passage(topic: str, audience: str = "workspace") -> Passage:
    """The page on a topic."""
    text = f"The {topic} limit is {LIMITS[topic]} units."
    return Passage(id=topic, document_id=topic, source="s", title=f"About {topic}s", text=text, audience=audience)


def questions(topics: Sequence[str] = TOPICS, **more: Any) -> list[Asked]:
    """A question on each topic, with gold."""
    return [
        Asked.model_validate(
            {
                "id": topic,
                "question": f"What is the {topic} limit?",
                "answer": f"{LIMITS[topic]} units.",
                "evidence": passage(topic).text,
                "gold_doc_ids": [topic],
                "answerable": True,
            }
            | more
        )
        for topic in topics
    ]


async def find(question: Question, k: int) -> Found:
    """Finds the page on the question's topic between the two that follow it, if they may be read."""
    at = next((index for index, topic in enumerate(TOPICS) if topic in question.text), 0)
    pages = [passage(TOPICS[(at + step) % len(TOPICS)]) for step in (1, 0, 2)]
    hits = [Hit(passage=page, score=1, certainty=0.6) for page in pages if page.audience in question.readable]
    return Found(hits=tuple(hits), query=question.text, confidence=0.6, is_sufficient=False)


def by_rule(rule: Rule, *, tokens: tuple[int, int] | None = (100, 10), pause_s: float = 0) -> Reply:
    """Answers every request by a rule, and tells how many tokens that took."""

    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(pause_s)
        asked = body["messages"][-1]["content"]
        stated = {}
        for number, text in re.findall(r"^\[(\d+)\] ([^\[]*?units\.)", asked, re.MULTILINE):
            if found := _LIMIT.search(text):
                stated[found[1]] = (int(number), found[2])
        topic = re.findall(r"the (\w+) limit\?", asked)
        written = rule(topic[-1], stated) if topic else "OK"
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"content": written}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        ]
        if tokens:
            usage = dict(zip(("prompt_tokens", "completion_tokens"), tokens, strict=True))
            chunks.append({"choices": [], "usage": usage})
        return await events(*({"id": "c", "object": "chat.completion.chunk"} | chunk for chunk in chunks))(
            request, body
        )

    return reply


def reading(topic: str, stated: dict[str, tuple[int, str]]) -> str:
    """Tells what the passage says, with its mark; refuses when none does."""
    if topic not in stated:
        return PERSONA.refusal
    number, limit = stated[topic]
    return f"The {topic} limit is {limit} units [{number}]."


def remembering(topic: str, stated: dict[str, tuple[int, str]]) -> str:
    """Tells what stood in the pages once, whatever they say now."""
    return f"The {topic} limit is {LIMITS[topic]} units."


def inventing(topic: str, stated: dict[str, tuple[int, str]]) -> str:
    """Tells a number and a name that stand nowhere."""
    return f"The {topic} limit is 77777 units, as Barnaby says [1]."


def arm(server: ScriptedModel, name: str, **how: Any) -> Arm:
    """An arm at a scripted server."""
    return Arm.model_validate({"name": name, "model": name.replace(" ", "-"), "base_url": server.base_url} | how)


async def compare(
    arms: Sequence[Arm],
    asked: Sequence[Asked] | None = None,
    *,
    find: Callable[[Question, int], Any] = find,
    kept: Path | None = None,
    audience: str = "workspace",
    **how: Any,
) -> dict[str, Any]:
    """Runs the matrix in this world."""
    return await run_matrix(
        asked if asked is not None else questions(),
        arms,
        find=find,
        endpoint=lambda one: (one.base_url, how.get("key")),
        persona=PERSONA,
        team_id="T",
        readable=readable,
        audience=audience,
        kept=kept,
        timeout_s=how.get("timeout_s", 5),
        deadline_s=how.get("deadline_s", 5),
        nearest=how.get("nearest"),
        taught=how.get("taught", ()),
    )
