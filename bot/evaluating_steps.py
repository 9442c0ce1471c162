"""What each step of finding brings on an operator's own questions: the same questions again, leaving out one step at a
time, compared question by question. Few people misspell while they write a file of questions, so what the mending of
slips brings is measured on questions into which slips were put."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from bot.claims import STOP
from bot.evaluating import Asked, interval, ranking
from bot.progress import Progress
from bot.vocabulary import WORKSPACE, Found, Question

FIGURES = ("hit@1", "hit@5", "mrr")
SLIPS = "slips"
"""Names the row of questions with two slips each."""
_PASSAGES = 40
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
    team_id: str,
    readable: Callable[[str], frozenset[str]],
    audience: str = WORKSPACE,
    progress: Progress = lambda done, total, label: None,
) -> dict[str, dict[str, Any]]:
    """Gives `{step: {"title", "with": {figure: {value, low, high, n}}, "gain": {figure: …}}}`: what is found with all
    steps, and the gain over leaving out this one, with the 95 % interval of the paired differences.

    Of a step named `spelling` there is a second row, `slips`: the same with two slips in each question. Questions
    without gold pages are passed over.
    """
    known = [asked for asked in questions if asked.gold_doc_ids]
    rows = [(name, title, False) for name, title in steps.items()]
    rows += [(SLIPS, f"{steps['spelling']}, in questions with two slips each", True)] if "spelling" in steps else []
    total, done = (len(rows) + 1 + (SLIPS in dict(row[:2] for row in rows))) * len(known), 0

    async def scores(label: str, without: frozenset[str], is_misspelt: bool) -> list[dict[str, float]]:
        nonlocal done
        found = []
        for asked in known:
            progress(done, total, label)
            done += 1
            text = misspelt(asked.question) if is_misspelt else asked.question
            place = readable(asked.audience or audience)
            question = Question(
                id=f"{team_id}:steps:{asked.id}", team_id=team_id, text=text, readable=place, history=asked.history
            )
            hits = (await find(question, _PASSAGES, without=without)).hits
            documents = list(dict.fromkeys(hit.passage.document_id for hit in hits))
            found.append(ranking(set(asked.gold_doc_ids), documents))
        return found

    whole = await scores("all steps", frozenset(), False)
    measured: dict[str, dict[str, Any]] = {}
    for name, title, is_misspelt in rows:
        step = "spelling" if is_misspelt else name
        best = await scores("with slips", frozenset(), True) if is_misspelt else whole
        less = await scores(f"without {step}", frozenset({step}), is_misspelt)
        measured[name] = {
            "title": title,
            "with": {figure: interval(score[figure] for score in best) for figure in FIGURES},
            "gain": {
                figure: interval(ours[figure] - theirs[figure] for ours, theirs in zip(best, less, strict=True))
                for figure in FIGURES
            },
        }
    progress(total, total, "")
    return measured


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
    """Shows the steps as a table, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="What each step brings: the gain over leaving it out")
    table.add_column("step")
    for figure in FIGURES:
        table.add_column(figure, justify="right", style="bold")
        table.add_column("gain", justify="right")
    for row in measured.values():
        cells = [row["title"]]
        for figure in FIGURES:
            gain = row["gain"][figure]
            if row["with"][figure]["n"]:
                cells.append(f"{row['with'][figure]['value']:.3f}")
                cells.append(f"{gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})")
        table.add_row(*cells)
    Console().print(table)
