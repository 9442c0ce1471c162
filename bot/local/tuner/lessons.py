"""From rows of chat to what a model learns of them: the tokens of the whole conversation, by the base's own chat
template as in serving, and which of them are taught: the text of the assistant's messages with its ending, but for
those of weight 0."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.local.tuner.base_models import Refused

NOT_TAUGHT = -100
"""The label of a token that the loss passes over, as everywhere in PyTorch."""


@dataclass(frozen=True)
class Lesson:
    """One row of a training file."""

    input_ids: list[int]
    labels: list[int]
    """As long as the tokens: the token itself where it is taught, else NOT_TAUGHT."""


def read_lessons(path: Path, tokenizer: Any, context: int) -> list[Lesson]:
    """Reads a checked file of OpenAI's chat rows. Raises Refused for a row that is longer than the base can read or
    that its chat template does not take."""
    lessons = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                lesson = _lesson(json.loads(line)["messages"], tokenizer, number)
                if (length := len(lesson.input_ids)) > context:
                    raise Refused(
                        "example_too_long",
                        f"The example in line {number} has {length:,} tokens and the base reads at most {context:,}; "
                        "shorten it or leave it out.",
                    )
                lessons.append(lesson)
    return lessons


def _lesson(messages: list[dict[str, Any]], tokenizer: Any, line: int) -> Lesson:
    plain = [
        {"role": "system" if one["role"] == "developer" else one["role"], "content": one["content"]} for one in messages
    ]
    whole = _rendered(plain, tokenizer, line)
    taught: list[tuple[int, int]] = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("weight", 1):
            asked = _rendered(plain[:number], tokenizer, line, to_answer=True)
            answered = _rendered(plain[: number + 1], tokenizer, line)
            if not answered.startswith(asked) or not whole.startswith(answered):
                raise Refused(
                    "unsupported_example",
                    f"The chat template of the base tells the conversation in line {line} otherwise once it goes on; "
                    "keep its last answer only, or give the others a weight of 0.",
                )
            taught.append((len(asked), len(answered)))
    tokens = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    labels = [
        id if any(begin <= first < end for begin, end in taught) else NOT_TAUGHT
        for id, (first, _) in zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
    ]
    return Lesson(tokens["input_ids"], labels)


def _rendered(messages: list[dict[str, Any]], tokenizer: Any, line: int, *, to_answer: bool = False) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=to_answer))
    except TemplateError as problem:
        raise Refused(
            "unsupported_example", f"The chat template of the base does not take the example in line {line}: {problem}."
        ) from problem
