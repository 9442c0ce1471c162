"""The rules of a file of examples: OpenAI's chat JSONL, as far as this tuner can train on it.

One JSON object a line, `{"messages": [{"role", "content", "weight"?}, …]}`, the last message from the assistant. What
breaks a rule is named with its line.
"""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

LONGEST_LINE = 512 * 1024
"""Bytes; no base that runs here reads an example as long as that."""
ROLES = ("system", "developer", "user", "assistant")
_MESSAGE_KEYS = {"role", "content", "weight", "name"}
_NOT_HERE = {"tools", "functions", "parallel_tool_calls", "tool_calls", "function_call", "tool_call_id"}


class BadExamples(Exception):
    """A file that cannot be trained on; the text says where and why."""


def count_examples(path: Path, *, fewest: int) -> int:
    """How many examples a file holds, all of them checked. Raises BadExamples."""
    count = 0
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            try:
                _check(line)
            except ValueError as problem:
                raise BadExamples(f"Line {number}: {problem}.") from None
            count += 1
    if count < fewest:
        raise BadExamples(f"It has {count} example{'s' * (count != 1)}, and at least {fewest} are needed.")
    return count


def _check(line: bytes) -> None:
    if len(line) > LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE} bytes")
    if b"\r" in line.rstrip(b"\r\n"):
        raise ValueError("a carriage return in the middle of it, where some readers end a line")
    example = _parse(line)
    if not isinstance(example, dict):
        raise ValueError("not a JSON object")
    _only(example, {"messages"})
    messages = example.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("'messages' must be a list of messages")
    for number, message in enumerate(messages, start=1):
        try:
            _check_message(message)
        except ValueError as problem:
            raise ValueError(f"message {number}: {problem}") from None
    if messages[-1]["role"] != "assistant":
        raise ValueError("the last message must be from the assistant")
    if not any(_teaches(message) for message in messages):
        raise ValueError("no message of the assistant has both text and a weight of 1, so there is nothing to learn")


def _check_message(message: Any) -> None:
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    role = message.get("role")
    if role in ("tool", "function"):
        raise ValueError(f"the role '{role}' is not supported by this tuner")
    if role not in ROLES:
        raise ValueError(f"'role' must be one of {', '.join(ROLES)}")
    _only(message, _MESSAGE_KEYS)
    if not isinstance(message.get("content"), str):
        raise ValueError("'content' must be a string")
    if not isinstance(message.get("name", ""), str):
        raise ValueError("'name' must be a string")
    if "weight" in message:
        if role != "assistant":
            raise ValueError("only a message of the assistant may have a 'weight'")
        if type(message["weight"]) is not int or message["weight"] not in (0, 1):
            raise ValueError("'weight' must be 0 or 1")


def _teaches(message: dict[str, Any]) -> bool:
    return message["role"] == "assistant" and message.get("weight", 1) == 1 and bool(message["content"].strip())


def _only(found: dict[str, Any], known: set[str]) -> None:
    for key in found:
        if key in _NOT_HERE:
            raise ValueError(f"'{key}' is not supported by this tuner")
        if key not in known:
            raise ValueError(f"the key '{key}' is unknown")


def _parse(line: bytes) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        found = json.loads(line.decode(), parse_constant=refuse)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is not text") from None
    except json.JSONDecodeError as problem:
        raise ValueError(f"not JSON ({problem.msg} at column {problem.colno})") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found
