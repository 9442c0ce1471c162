"""From examples to a file that a fine-tuning API takes. The same examples and persona always make the same bytes, in
whatever order they come, so that a dataset is named by its digest and one digest is trained on once. What not everyone
in the workspace may read, and what is kept for measuring, never enters a file."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from bot.journal import now
from bot.learning.examples import WANTED
from bot.learning.held_out import is_held_out
from bot.learning.judging import EVERYBODY, may_be_read
from bot.persona import Persona, short_messages, training_messages
from bot.vocabulary import Dataset, Example

Kind = Literal["sft", "dpo", "kto"]

FEWEST = 10
"""Lines below which OpenAI's API, and every one that follows it, refuses a file."""
LARGEST_FILE = 512 * 1024 * 1024
LONGEST_LINE = 1024 * 1024
"""Bytes; no model that is tuned reads an example as long as that."""
MOST_PROBLEMS = 20

_ROLES = ("system", "developer", "user", "assistant")
_MESSAGE_KEYS = {"role", "content", "weight", "name"}
_SEPARATORS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\u0085\u2028\u2029"}
"""They are no line ends in JSON lines, but many readers split on them."""


def build(examples: Iterable[Example], persona: Persona, kind: Kind = "sft") -> tuple[Dataset, bytes]:
    """Makes the file of the examples that may be learned from, and its record; `examples.trainable` says beforehand
    which those are. Lines stand in an order that depends on nothing but themselves, and is no order of topics, for
    not every trainer shuffles."""
    pairs = [(example.id, line) for example in examples for line in lines([example], persona, kind)]
    content = b"".join(sorted((line for _, line in pairs), key=lambda line: hashlib.sha256(line).digest()))
    dataset = Dataset(
        digest=hashlib.sha256(content).hexdigest(),
        kind=kind,
        example_ids=tuple(sorted({id for id, _ in pairs})),
        is_few=len(pairs) < WANTED,
        created_at=now(),
    )
    return dataset, content


def lines(
    examples: Iterable[Example], persona: Persona, kind: Kind = "sft", *, held_out: bool = False
) -> Iterator[bytes]:
    """Gives the JSON lines of examples, in the order of the examples: for `sft` OpenAI's chat layout, one line each;
    for `dpo` OpenAI's preference layout, one line for each correction; for `kto` TRL's rows of prompt, completion and
    label, and so two for a correction. Left out: what is held out, unless it is only to be shown, and what not everyone
    in the workspace may read."""
    for example in examples:
        if may_be_read(example, EVERYBODY) and (held_out or not is_held_out(example)):
            yield from (_line(value) for value in _LAYOUTS[kind](example, persona))


def check(content: bytes, kind: Kind = "sft") -> list[str]:
    """Says where a file breaks the rules of the API, each with its line's number; an empty list means that it keeps
    them. At most the first MOST_PROBLEMS are told."""
    if len(content) > LARGEST_FILE:
        return [f"The file has {len(content)} bytes, more than {LARGEST_FILE}."]
    problems: list[str] = []
    count = 0
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not line.strip():
            continue
        count += 1
        try:
            _CHECKS[kind](_parsed(line))
        except ValueError as problem:
            problems.append(f"Line {number}: {problem}.")
            if len(problems) == MOST_PROBLEMS:
                return problems
    if count < FEWEST:
        problems.append(f"The file has {count} lines, and at least {FEWEST} are needed.")
    return problems


# Layouts


def _sft(example: Example, persona: Persona) -> Iterator[dict[str, Any]]:
    yield {"messages": training_messages(persona, example.question, example.passages, example.answer)}


def _dpo(example: Example, persona: Persona) -> Iterator[dict[str, Any]]:
    if example.refused_answer and example.refused_answer != example.answer:
        yield {
            "input": {
                "messages": short_messages(persona, example.question, example.passages),
                "tools": [],
                "parallel_tool_calls": True,
            },
            "preferred_output": [_said(example.answer)],
            "non_preferred_output": [_said(example.refused_answer)],
        }


def _kto(example: Example, persona: Persona) -> Iterator[dict[str, Any]]:
    prompt = short_messages(persona, example.question, example.passages)
    yield {"prompt": prompt, "completion": [_said(example.answer)], "label": True}
    if example.refused_answer and example.refused_answer != example.answer:
        yield {"prompt": prompt, "completion": [_said(example.refused_answer)], "label": False}


_LAYOUTS = {"sft": _sft, "dpo": _dpo, "kto": _kto}


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _line(value: dict[str, Any]) -> bytes:
    """UTF-8, with `?` for half a character: an API refuses a file for a single one."""
    return f"{json.dumps(value, ensure_ascii=False).translate(_SEPARATORS)}\n".encode("utf-8", "replace")


# Rules


def _parsed(line: bytes) -> dict[str, Any]:
    if len(line) > LONGEST_LINE:
        raise ValueError(f"it has {len(line)} bytes, more than {LONGEST_LINE}")

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        found = json.loads(line.decode(), parse_constant=refuse)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not text") from None
    except json.JSONDecodeError as problem:
        raise ValueError(f"it is not JSON ({problem.msg} at column {problem.colno})") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _check_sft(line: dict[str, Any]) -> None:
    _only(line, {"messages"})
    messages = _messages(line.get("messages"), "messages")
    if messages[-1]["role"] != "assistant":
        raise ValueError("the last message must be from the assistant")
    if not any(_teaches(message) for message in messages):
        raise ValueError("no message of the assistant has both text and a weight of 1, so there is nothing to learn")


def _check_dpo(line: dict[str, Any]) -> None:
    _only(line, {"input", "preferred_output", "non_preferred_output"})
    given = line.get("input")
    if not isinstance(given, dict):
        raise ValueError("'input' must be an object with messages")
    if _messages(given.get("messages"), "input.messages")[-1]["role"] == "assistant":
        raise ValueError("the last message of 'input' must not be from the assistant")
    for name in ("preferred_output", "non_preferred_output"):
        _one_answer(line.get(name), name)


def _check_kto(line: dict[str, Any]) -> None:
    _only(line, {"prompt", "completion", "label"})
    _messages(line.get("prompt"), "prompt")
    _one_answer(line.get("completion"), "completion")
    if not isinstance(line.get("label"), bool):
        raise ValueError("'label' must be true or false")


_CHECKS = {"sft": _check_sft, "dpo": _check_dpo, "kto": _check_kto}


def _one_answer(value: Any, name: str) -> None:
    messages = _messages(value, name)
    if len(messages) != 1 or not _teaches(messages[0]):
        raise ValueError(f"'{name}' must be one message of the assistant with text")


def _messages(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"'{name}' must be a list of messages")
    for number, message in enumerate(value, 1):
        try:
            _check_message(message)
        except ValueError as problem:
            raise ValueError(f"message {number}: {problem}") from None
    return value


def _check_message(message: Any) -> None:
    if not isinstance(message, dict):
        raise ValueError("it is not a JSON object")
    _only(message, _MESSAGE_KEYS)
    if message.get("role") not in _ROLES:
        raise ValueError(f"'role' must be one of {', '.join(_ROLES)}")
    if not isinstance(message.get("content"), str):
        raise ValueError("'content' must be a string")
    if "weight" in message:
        if message["role"] != "assistant":
            raise ValueError("only a message of the assistant may have a 'weight'")
        if type(message["weight"]) is not int or message["weight"] not in (0, 1):
            raise ValueError("'weight' must be 0 or 1")


def _teaches(message: dict[str, Any]) -> bool:
    return message["role"] == "assistant" and message.get("weight", 1) == 1 and bool(message["content"].strip())


def _only(found: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(found.keys() - known):
        raise ValueError(f"the key '{unknown[0]}' is unknown")
