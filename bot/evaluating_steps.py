"""What each step of finding brings on an operator's own questions: the same questions again, leaving out one step at a
time, compared question by question. Few people misspell while they write a file of questions, or ask for an error code,
so what is done for those is measured on questions made from the same ones."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from bot.claims import STOP
from bot.evaluating import Asked, content_words, interval, ranking
from bot.progress import Progress
from bot.vocabulary import WORKSPACE, Found, Question

FIGURES = ("hit@1", "hit@5", "mrr", "read")
"""`read` is the share of the words of the evidence, else of the answer, that stand in the passages an answer is written
from: finding the page is not enough."""
_MADE = {"slips": "two slips each", "codes": "asked for each"}
_PASSAGES = 40
_READ = 5
_SEEN = 10
"""Passages of each question whose codes are asked for."""
_FEW = 3
_MOST_CODES = 50
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile(r"[A-Za-z]{5,}")

Figures = dict[str, dict[str, float | None]]


class Find(Protocol):
    """Finds passages, without some steps."""

    def __call__(self, question: Question, k: int, /, *, without: frozenset[str]) -> Awaitable[Found]: ...


async def measure_steps(
    questions: Sequence[Asked],
    *,
    find: Find,
    steps: Mapping[str, str],
    names: Callable[[str], Sequence[str]],
    team_id: str,
    readable: Callable[[str], frozenset[str]],
    audience: str = WORKSPACE,
    progress: Progress = lambda done, total, label: None,
) -> dict[str, dict[str, Any]]:
    """Gives `{step: {"title", "with": {figure: {value, low, high, n}}, "gain": {figure: …}}}`: what is found with all
    steps, and the gain over leaving out this one, with the 95 % interval of the paired differences.

    Two steps have another row, of questions made for them: `slips`, the same questions with two slips each; `codes`,
    what each code or setting means that the found pages name (`names` tells them) and few of them hold. Questions
    without gold pages are passed over.
    """
    known = [asked for asked in questions if asked.gold_doc_ids]
    rounds, done = len(steps) + 1 + 2 * ("spelling" in steps), 0
    pages: dict[str, str] = {}

    async def scores(some: Sequence[Asked], label: str, without: frozenset[str]) -> list[dict[str, float]]:
        nonlocal done
        scored = []
        for asked in some:
            progress(min(done, rounds * len(known)), rounds * len(known), label)
            done += 1
            question = Question(
                id=f"{team_id}:steps:{asked.id}",
                team_id=team_id,
                text=asked.question,
                readable=readable(asked.audience or audience),
                history=asked.history,
            )
            found = await find(question, _PASSAGES, without=without)
            hits = found.hits
            for hit in hits[:_SEEN]:
                pages[hit.passage.document_id] = pages.get(hit.passage.document_id, "") + f"\n{hit.passage.text}"
            documents = list(dict.fromkeys(hit.passage.document_id for hit in hits))
            scored.append(ranking(set(asked.gold_doc_ids), documents) | _read(asked, found))
        return scored

    async def row(title: str, some: Sequence[Asked], step: str, whole: list[dict[str, float]]) -> dict[str, Any]:
        less = await scores(some, f"without {title}", frozenset({step}))
        pairs = list(zip(whole, less, strict=True))
        known = {figure: [pair for pair in pairs if figure in pair[0]] for figure in FIGURES}
        return {
            "title": title,
            "with": {name: interval(ours[name] for ours, _ in known[name]) for name in FIGURES},
            "gain": {name: interval(ours[name] - theirs[name] for ours, theirs in known[name]) for name in FIGURES},
        }

    whole = await scores(known, "all steps", frozenset())
    measured = {name: await row(title, known, name, whole) for name, title in steps.items()}
    made = {
        "slips": ("spelling", [asked.model_copy(update={"question": misspelt(asked.question)}) for asked in known]),
        "codes": ("identifiers", _of_codes(pages, names)),
    }
    for name, (step, some) in made.items():
        if step in steps and some:
            title = f"{steps[step]}, {_MADE[name]}"
            measured[name] = await row(title, some, step, await scores(some, title, frozenset()))
    progress(1, 1, "")
    return measured


def _read(asked: Asked, found: Found) -> dict[str, float]:
    wanted = content_words("\n".join(asked.evidence) or asked.answer or "")
    passages = [*(hit.passage for hit in found.hits[:_READ]), *found.around]
    held = content_words("\n".join(f"{one.title}\n{one.section}\n{one.text}" for one in passages))
    return {"read": len(wanted & held) / len(wanted)} if wanted else {}


def _of_codes(pages: Mapping[str, str], names: Callable[[str], Sequence[str]]) -> list[Asked]:
    """Questions for the codes that pages hold; the pages seen to hold one are its gold pages."""
    holders: dict[str, list[str]] = {}
    for document_id, text in pages.items():
        for name in names(text):
            holders.setdefault(name, []).append(document_id)
    rare = sorted(name for name, ids in holders.items() if len(ids) <= _FEW)
    drawn = random.Random(0).sample(rare, min(_MOST_CODES, len(rare)))
    return [Asked(id=name, question=f"What does {name} mean?", gold_doc_ids=tuple(holders[name])) for name in drawn]


def misspelt(text: str, slips: int = 2) -> str:
    """Puts slips of the keyboard into a text's longer words: a letter left out, changed, added or swapped. The same
    text gets the same ones."""
    drawn = random.Random(text)
    words = [match for match in _WORD.finditer(text) if match[0].lower() not in STOP]
    for match in sorted(drawn.sample(words, min(slips, len(words))), key=lambda one: -one.start()):
        word, at = match[0], drawn.randrange(1, len(match[0]) - 1)
        letter = drawn.choice(_LETTERS)
        slip = drawn.choice(
            (
                word[:at] + word[at + 1 :],
                word[:at] + letter + word[at + 1 :],
                word[:at] + letter + word[at:],
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            )
        )
        text = text[: match.start()] + slip + text[match.end() :]
    return text


def print_steps(measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Shows the steps as a table, on stdout: each figure with its gain, and below them the gain's 95 % interval."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    title = "With all steps, the gain over leaving out this one, and its 95 % interval"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("step")
    for figure in FIGURES:
        table.add_column(figure, justify="right", no_wrap=True)
    for row in measured.values():
        table.add_row(row["title"], *(_cell(row["with"][figure], row["gain"][figure]) for figure in FIGURES))
    Console().print(table)


def _cell(have: Mapping[str, float | None], gain: Mapping[str, float | None]) -> str:
    if not have["n"]:
        return "–"
    return f"{have['value']:.3f} {gain['value']:+.3f}\n{gain['low']:+.2f} to {gain['high']:+.2f}"
