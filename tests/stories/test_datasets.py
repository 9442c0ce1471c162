"""From examples to a file that a fine-tuning API takes: the same bytes for the same examples, nothing in it that not
everyone may read, and every line that breaks a rule told by its number."""

from __future__ import annotations

import hashlib
import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.learning.tuning import datasets
from bot.learning.tuning.datasets import Kind, build, check, lines
from bot.persona import load_persona, training_messages
from bot.vocabulary import Example
from tests.lessons import corrected, example, examples, thread

PERSONA = load_persona()
KINDS: tuple[Kind, ...] = ("sft", "dpo", "kto")
GOOD: dict[str, Any] = {
    "messages": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So [1]."}],
}


def read(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.decode().split("\n") if line]


def jsonl(*values: object) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_examples_make_the_same_bytes_whatever_their_order(kind: Kind) -> None:
    """The digest is that of the bytes, so one dataset is trained on once."""
    some = [corrected(number) for number in range(40)]
    dataset, content = build(some, PERSONA, kind)
    random.Random(4).shuffle(some)
    again, same = build(some, PERSONA, kind)
    assert content == same
    assert again.digest == dataset.digest == hashlib.sha256(content).hexdigest()
    assert (again.kind, again.example_ids) == (kind, tuple(sorted(one.id for one in some)))


def test_what_is_learnt_makes_another_digest() -> None:
    """One more example, another answer, another company in the persona: another dataset each."""
    some = examples(20)
    edited = [some[0].model_copy(update={"answer": "Ask Ada [1]."}), *some[1:]]
    elsewhere = PERSONA.model_copy(update={"company": "Heronpost"})
    files = [build(some, PERSONA), build(examples(21), PERSONA), build(edited, PERSONA), build(some, elsewhere)]
    assert len({dataset.digest for dataset, _ in files}) == 4


def test_lines_stand_in_no_order_of_topics() -> None:
    """Not every trainer shuffles; examples come in the order in which people asked."""
    _, content = build(examples(60), PERSONA)
    numbers = [int(line["messages"][1]["content"].rpartition("key ")[2].rstrip("?")) for line in read(content)]
    assert sorted(numbers) == list(range(60))
    assert sum(abs(one - other) == 1 for one, other in pairwise(numbers)) < 12


def test_a_line_is_what_the_tuned_model_will_be_asked_with() -> None:
    """One line as system message, numbered passages, question, answer: OpenAI's chat layout."""
    one = example(7)
    (line,) = map(json.loads, lines([one], PERSONA))
    assert line == {"messages": training_messages(PERSONA, one.question, one.passages, one.answer)}
    assert [message["role"] for message in line["messages"]] == ["system", "user", "assistant"]
    assert one.passages[0].text in line["messages"][1]["content"]


def test_a_correction_is_a_pair_of_preferred_and_refused() -> None:
    """OpenAI's preference layout; an example without a refused answer prefers nothing to anything."""
    (line,) = map(json.loads, lines([corrected(1), example(2)], PERSONA, "dpo"))
    assert [message["role"] for message in line["input"]["messages"]] == ["system", "user"]
    assert line["preferred_output"] == [{"role": "assistant", "content": corrected(1).answer}]
    assert line["non_preferred_output"] == [{"role": "assistant", "content": corrected(1).refused_answer}]


def test_a_correction_is_two_labelled_rows() -> None:
    """What was liked is true, what was refused is false."""
    rows = [json.loads(line) for line in lines([corrected(1), example(2)], PERSONA, "kto")]
    assert [(row["completion"][0]["content"], row["label"]) for row in rows] == [
        (corrected(1).answer, True),
        (corrected(1).refused_answer, False),
        (example(2).answer, True),
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "kept_back",
    [{"audience": "channel:C1"}, {"audience": "nobody"}, {"is_held_out": True}, {"thread": thread(1, held_out=True)}],
)
def test_what_not_everyone_may_read_and_what_measures_enters_no_file(kind: Kind, kept_back: dict[str, Any]) -> None:
    """Whoever calls, and whatever the reviewer said."""
    secret = corrected(99, answer="CANARY-7731 [1].", **kept_back)
    dataset, content = build([*(corrected(number) for number in range(12)), secret], PERSONA, kind)
    assert b"CANARY-7731" not in content and secret.id not in dataset.example_ids
    assert check(content, kind) == []


def test_a_dataset_of_few_is_marked() -> None:
    """Whoever reads its record sees it."""
    assert build(examples(499), PERSONA)[0].is_few
    assert not build(examples(500), PERSONA)[0].is_few


@given(st.lists(st.text(st.characters(exclude_categories=())), min_size=10, max_size=12), st.sampled_from(KINDS))
def test_whatever_people_write_makes_a_file_that_keeps_the_rules(texts: list[str], kind: Kind) -> None:
    """Line separators of all scripts, half characters, quotes: one line each, for every reader of lines."""
    some: list[Example] = [corrected(number, answer=f"{text} [1]", question=text) for number, text in enumerate(texts)]
    _, content = build(some, PERSONA, kind)
    assert check(content, kind) == []
    assert len(content.decode().splitlines()) == len(texts) * (2 if kind == "kto" else 1)


def test_nine_lines_are_too_few() -> None:
    """The API's least is ten; blank lines do not count, a byte order mark does no harm."""
    assert check(jsonl(*[GOOD] * 9) + b"\n\n") == ["The file has 9 lines, and at least 10 are needed."]
    assert check(b"\xef\xbb\xbf" + jsonl(*[GOOD] * 10)) == []


def changed(number: int, **changes: Any) -> dict[str, Any]:
    messages = [dict(message) for message in GOOD["messages"]]
    messages[number] |= changes
    return {"messages": messages}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"messages": NaN}', "NaN is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "not a JSON object"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "surrogate"),
        (b'"' + b"x" * datasets.LONGEST_LINE + b'"', "bytes, more than"),
        (jsonl({"messages": []}), "list of messages"),
        (jsonl(GOOD | {"weight": 1}), "the key 'weight' is unknown"),
        (jsonl(changed(0, role="robot")), "message 1: 'role' must be one of"),
        (jsonl(changed(0, content=None)), "message 1: 'content' must be a string"),
        (jsonl(changed(0, weight=0)), "only a message of the assistant"),
        (jsonl(changed(1, weight=2)), "message 2: 'weight' must be 0 or 1"),
        (jsonl(changed(1, weight=True)), "message 2: 'weight' must be 0 or 1"),
        (jsonl(changed(1, weight=0)), "nothing to learn"),
        (jsonl(changed(1, content="  ")), "nothing to learn"),
        (jsonl(changed(1, role="user")), "last message must be from the assistant"),
        (jsonl({"messages": ["hello"]}), "message 1: it is not a JSON object"),
    ],
)
def test_a_line_that_breaks_a_rule_is_told_by_its_number(line: bytes, told: str) -> None:
    """The third of a good file, so that it can be found."""
    (problem,) = check(jsonl(GOOD, GOOD) + line.strip() + b"\n" + jsonl(*[GOOD] * 10))
    assert problem.startswith("Line 3: ") and told in problem


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("dpo", {"input": None}, "'input' must be an object"),
        ("dpo", {"preferred_output": []}, "'preferred_output' must be a list"),
        ("dpo", {"non_preferred_output": [{"role": "user", "content": "x"}]}, "must be one message of the assistant"),
        ("dpo", {"input": {"messages": [{"role": "assistant", "content": "x"}]}}, "must not be from the assistant"),
        ("kto", {"label": "yes"}, "'label' must be true or false"),
        ("kto", {"completion": [{"role": "assistant", "content": ""}]}, "must be one message of the assistant"),
        ("kto", {"extra": 1}, "the key 'extra' is unknown"),
    ],
)
def test_the_other_layouts_have_rules_too(kind: Kind, changes: dict[str, Any], told: str) -> None:
    """The same rules for messages, and those of pairs and labels."""
    content = build([corrected(number) for number in range(12)], PERSONA, kind)[1]
    assert check(content, kind) == []
    (problem,) = check(jsonl(read(content)[0] | changes) + content, kind)
    assert problem.startswith("Line 1: ") and told in problem


def test_a_broken_file_is_told_of_in_few_lines() -> None:
    """Nobody reads ten thousand sentences."""
    assert len(check(b"{\n" * 10_000)) == datasets.MOST_PROBLEMS


def test_a_file_larger_than_the_api_takes_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 MB at OpenAI."""
    monkeypatch.setattr(datasets, "LARGEST_FILE", 100)
    assert check(jsonl(*[GOOD] * 10)) == [f"The file has {len(jsonl(*[GOOD] * 10))} bytes, more than 100."]
