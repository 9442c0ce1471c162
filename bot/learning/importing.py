"""Examples that somebody brings along in a file. None of them is learned from unseen: what is imported keeps its own
passages, or gets those that the library holds on it, and what nothing supports waits, with the reason. Each line that
cannot be read is refused with a reason of its own, and doing it again adds nothing twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.answering import Find
from bot.errors import TellUser
from bot.journal import Journal, now
from bot.learning.correcting import grounded
from bot.learning.judging import EVERYBODY, Rules, audience_of, bare, redacted
from bot.learning.tracing import IMPORTED
from bot.persona import short_messages
from bot.progress import Progress
from bot.vocabulary import PUBLIC, Example, Frozen, Passage, Question

LONGEST_LINE = 1_000_000
"""Bytes; no model that is tuned reads an example as long as that."""
_PASSAGE = re.compile(r"\[(\d{1,3})\] (.+?: .*)")


class Line(Frozen):
    """What one line of a file brings along."""

    question: str
    answer: str
    passages: tuple[str, ...] = ()
    """`title: text` of each, in the order of their numbers."""
    produced_by: str = "human"
    provider: str = "human"


@dataclass(frozen=True)
class Refused:
    """A line that cannot be read, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class Imported:
    """What became of a file's lines."""

    added: tuple[Example, ...]
    known: int
    """Lines that were there already, or twice in the file."""
    refused: tuple[Refused, ...]


async def import_file(
    journal: Journal,
    file: Path,
    find: Find,
    *,
    audience: str,
    rules: Rules | None = None,
    progress: Progress = lambda done, total, label: None,
) -> Imported:
    """Takes the lines of a file as candidates for those who read `audience`; each refused line has its own reason. An
    answer that a model is known to have written stays that model's, whatever its line says.

    Raises TellUser when the file cannot be read or holds nothing, and LibraryUnavailable; what was taken before stays.
    """
    rules = rules or Rules()
    parsed = await asyncio.to_thread(lambda: list(read_lines(file)))
    if not parsed:
        raise TellUser(f"{file} holds no lines.")
    models = {bare(one.answer): one for one in await journal.examples() if one.provider != "human"}
    added: list[Example] = []
    refused: list[Refused] = []
    known = 0
    for done, (number, line) in enumerate(parsed, 1):
        progress(done, len(parsed), f"line {number}")
        if isinstance(line, str):
            refused.append(Refused(number, line))
            continue
        id = example_id("import", line.question, line.answer)
        if await journal.example(id) or await journal.was_rejected(id):
            known += 1
            continue
        if writer := models.get(bare(line.answer)):
            line = line.model_copy(update={"produced_by": writer.produced_by, "provider": writer.provider})
        example = rules.judged(await _example(id, journal.team_id, line, find, audience, rules))
        await journal.keep_example(example)
        added.append(example)
    return Imported(tuple(added), known, tuple(refused))


def read_lines(file: Path) -> Iterator[tuple[int, Line | str]]:
    """Gives each line that is not empty with its number: what it brings along, or why it cannot be read.

    Raises TellUser when the file cannot be opened.
    """
    try:
        with file.open("rb") as lines:
            number = 0
            while raw := lines.readline(LONGEST_LINE + 1):
                number += 1
                is_too_long = len(raw) > LONGEST_LINE
                while is_too_long and not raw.endswith(b"\n") and (raw := lines.readline(LONGEST_LINE)):
                    pass
                if is_too_long:
                    yield number, f"it is longer than {LONGEST_LINE:,} bytes"
                elif text := raw.removeprefix(b"\xef\xbb\xbf").strip():
                    yield number, _parsed(text)
    except OSError as error:
        raise TellUser(f"{file} cannot be read: {error.strerror}.") from error


def _parsed(raw: bytes) -> Line | str:
    try:
        value = json.loads(raw.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        return "it is not UTF-8 text"
    except UnicodeEncodeError:
        return "it holds half a character (a lone surrogate)"
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        return f"it is not JSON: {error}"
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        return 'it is not an object with "messages"'
    try:
        return _line(value)
    except ValueError as error:
        return str(error)


def _line(value: dict[str, Any]) -> Line:
    turns = [_turn(message) for message in value["messages"]]
    spoken = [(role, text) for role, text in turns if role not in ("system", "developer")]
    if not any(role == "assistant" for role, _ in spoken):
        raise ValueError("no message is the assistant's")
    if [role for role, _ in spoken] != ["user", "assistant"]:
        order = ", ".join(role for role, _ in turns)
        raise ValueError(f"its roles are {order}; they must be system (or none), user, assistant")
    (_, asked), (_, answer) = spoken
    for name, text in (("question", asked), ("answer", answer)):
        if not text.strip():
            raise ValueError(f"its {name} is empty")
    passages, question = _parted(asked)
    if not question:
        raise ValueError("its user message holds passages and no question")
    by = {name: value[name] for name in ("produced_by", "provider") if name in value}
    if not all(isinstance(said, str) and said for said in by.values()):
        raise ValueError("produced_by and provider must be text")
    if by and "provider" not in by:
        raise ValueError("it says produced_by, but not the provider that served that model")
    return Line(question=question, answer=answer.strip(), passages=tuple(passages), **by)


def _turn(message: object) -> tuple[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ValueError("a message lacks its role")
    role, content = message["role"], message.get("content")
    if role not in ("system", "developer", "user", "assistant"):
        raise ValueError(f"the role {role[:40]!r} is none of system, user, assistant")
    if not isinstance(content, str):
        raise ValueError(f"the content of the {role} message is not text")
    return role, content


def _parted(asked: str) -> tuple[list[str], str]:
    """Parts a user message as our export writes it: lines `[n] title: text`, an empty line, the question."""
    head, _, question = f"{asked.strip()}\n\n".partition("\n\n")
    lines = [_PASSAGE.fullmatch(line) for line in head.split("\n")]
    numbers = [int(line[1]) for line in lines if line]
    if numbers != list(range(1, len(lines) + 1)):
        return [], asked.strip()
    return [line[2] for line in lines if line], question.strip()


async def _example(id: str, team_id: str, line: Line, find: Find, audience: str, rules: Rules) -> Example:
    """Makes the example of a line: on its own passages, as the library's where they are, or on those that are found."""
    readable = EVERYBODY | {audience} if audience != PUBLIC else frozenset({PUBLIC})
    bare = Example(
        id=id,
        team_id=team_id,
        question_id=f"import:{id}",
        question=line.question,
        answer=line.answer,
        passages=(),
        audience=audience,
        produced_by=line.produced_by,
        provider=line.provider,
        origin="import",
        thread=f"import:{digest(line.question.lower())}",
        created_at=now(),
    )
    if not line.passages:
        example, _ = await grounded(bare, (), find, readable, rules.persona)
        return example.model_copy(update={"audience": audience_of(example.passages, audience)})
    found = await find(Question(id=f"{id}:import", team_id=team_id, text=line.question, readable=readable))
    exported = _parted(short_messages(rules.persona, "?", [hit.passage for hit in found.hits])[1]["content"])[0]
    known = dict(zip(exported, (hit.passage for hit in found.hits), strict=False))
    passages = tuple(known.get(own) or _own_passage(own, audience) for own in line.passages)
    whole = {"passages": passages, "audience": audience_of(passages, audience)}
    return redacted(bare.model_copy(update=whole))


def _own_passage(line: str, audience: str) -> Passage:
    title, _, text = line.partition(": ")
    name = digest(line)
    return Passage(
        id=f"import-{name}",
        document_id=f"import/{name}",
        source=IMPORTED,
        title=title,
        text=text,
        audience=audience,
        document_digest=name,
    )


def example_id(*parts: str) -> str:
    """Gives the id of an example that no question of Slack has made."""
    return f"ex-{digest(chr(10).join(parts))[:12]}"


def digest(text: str) -> str:
    """Gives 16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
