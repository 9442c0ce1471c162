"""The page of an evaluation: the figures, plots of what they rest on, and for every miss what was found instead beside
the page that would have been right. It shows passages: keep it where those may be read who asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bot.evaluating import DEPTH, Asked, judge
from bot.evaluating_steps import FIGURES as STEP_FIGURES
from bot.report import Report
from bot.vocabulary import Hit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

MOST_MISSES = 50
PLAIN, OURS = "#7a7a7a", "#1f6fb2"
_MOST_BINS, _PER_BIN = 8, 12
_MOST_CHARACTERS = 700
_MOST_OF_A_TURN = 200
_DRAWN_GAINS = ("hit@1", "read")
_TIMES = ("check", "model", "find", "total")

Curve = tuple[str, str, "ArrayLike", "ArrayLike"]
"""A name, a colour, confidences, and whether each was right."""


def page(result: Mapping[str, Any], questions: Sequence[Asked], kept: Mapping[str, Sequence[Hit]]) -> Report:
    """Gives the page of what `evaluate` gave; `kept` holds the hits of each question by its id."""
    shown = Report(f"{len(questions)} questions")
    summary, results = result["summary"], result["questions"]
    shown.heading("Figures").table(
        ("Figure", "Value", "95 % from", "to", "Questions"),
        [
            (name, figure["value"], figure["low"], figure["high"], figure["n"])
            for name, figure in summary.items()
            if figure["n"] and "/" not in name
        ],
    )
    if kinds := list(dict.fromkeys(name.partition("/")[2] for name in summary if "/" in name)):
        shown.text("By kind of question, each with the number of questions that count for it:")
        shown.table(("Figure", *(kind.replace("_", " ") for kind in kinds)), _by_kind(summary, kinds))
    known = [(asked, one) for asked, one in zip(questions, results, strict=True) if asked.gold_doc_ids]
    if known:
        ranks = [_rank(asked, one["found"]) for asked, one in known]
        shown.heading("Finding")
        shown.plot(partial(_hits, ranks=ranks), f"Share of {len(ranks)} questions with a right page among the first k")
    if judged := judge(questions, results):
        confidence = [told for told, _ in judged]
        right = [not wrong for _, wrong in judged]
        shown.heading("When to answer")
        shown.plot(
            partial(draw_risk, curves=[("confidence", OURS, confidence, right)]),
            "Wrong answers among the most confident questions, by how many those are",
        )
    answered = [pair for pair in zip(questions, results, strict=True) if pair[1]["status"] == "answered"]
    if said := judge([asked for asked, _ in answered], [one for _, one in answered]):
        draw = partial(draw_reliability, confidence=[told for told, _ in said], right=[not wrong for _, wrong in said])
        shown.plot(draw, "Confidence of the answers, and how many cite a right page", height=3.2)
    if times := _timings(results):
        shown.heading("Time").plot(partial(_latency, times=times), "Milliseconds of each part of an answer")
    if "steps" in result:
        steps = result["steps"]
        shown.heading("What each step of finding brings")
        draw_gains = partial(_gains, steps=steps)
        shown.plot(draw_gains, "Gain over leaving out the step, with 95 % intervals", height=1.2 + 0.4 * len(steps))
        shown.table(*_steps(steps))
    misses = [(asked, one) for asked, one in known if _rank(asked, one["found"]) > 1]
    shown.heading("Misses").text(
        f"For {len(misses)} of {len(known)} questions another page came first"
        + (f"; here are {MOST_MISSES}, those that were found last first." if len(misses) > MOST_MISSES else ".")
    )
    for asked, one in sorted(misses, key=lambda miss: -_rank(miss[0], miss[1]["found"]))[:MOST_MISSES]:
        _miss(shown, asked, one["found"], kept.get(asked.id, ()))
    return shown


def draw_risk(axes: Axes, curves: Sequence[Curve]) -> None:
    """Draws the share of wrong answers among the most confident 1, 2, … of all."""
    from bot.calibrating import risks

    for name, colour, confidence, right in curves:
        wrong = risks(confidence, right)
        axes.plot([(place + 1) / len(wrong) for place in range(len(wrong))], wrong, color=colour, label=name)
    axes.set_xlabel("coverage: share of the questions that are answered")
    axes.set_ylabel("risk: share of those that is wrong")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, None)
    if len(curves) > 1:
        axes.legend()


def draw_reliability(axes: Axes, confidence: ArrayLike, right: ArrayLike) -> None:
    """Draws what was told against how often it came true, in bins of equally many."""
    import numpy as np

    told, came = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    number = max(2, min(_MOST_BINS, len(told) // _PER_BIN))
    bins = [some for some in np.array_split(np.argsort(told, kind="stable"), number) if len(some)]
    axes.plot([0, 1], [0, 1], color=PLAIN, linewidth=1, linestyle=":")
    axes.plot([told[some].mean() for some in bins], [came[some].mean() for some in bins], "o-", color=OURS)
    axes.set_xlabel("confidence told")
    axes.set_ylabel("share that was right")


def _rank(asked: Asked, found: Sequence[str]) -> int:
    """Where the first gold page stands, from 1; one past all when it was not found."""
    ranks = (rank for rank, document_id in enumerate(found, start=1) if document_id in asked.gold_doc_ids)
    return next(ranks, len(found) + 1_000)


def _hits(axes: Axes, ranks: Sequence[int]) -> None:
    depths = range(1, DEPTH + 1)
    shares = [sum(rank <= depth for rank in ranks) / len(ranks) for depth in depths]
    axes.plot(depths, shares, "o-", color=OURS)
    for depth in (1, 5, 10):
        place = (depth, shares[depth - 1])
        axes.annotate(f"{place[1]:.3f}", place, textcoords="offset points", xytext=(0, 8), ha="center")
    axes.set_xticks(depths)
    axes.set_xlabel("k")
    axes.set_ylabel("hit@k")
    axes.set_ylim(0, 1.1)


def _timings(results: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    parts = {name: [one["timings_ms"][name] for one in results if name in one["timings_ms"]] for name in _TIMES}
    return {name: values for name, values in parts.items() if values}


def _latency(axes: Axes, times: Mapping[str, Sequence[float]]) -> None:
    axes.boxplot(list(times.values()), orientation="horizontal", whis=(5, 95), showfliers=False)
    axes.set_yticks(range(1, len(times) + 1), list(times))
    axes.set_xlabel("milliseconds: median, quarters, and 5 to 95 of 100")


def _by_kind(summary: Mapping[str, Mapping[str, Any]], kinds: Sequence[str]) -> list[tuple[str, ...]]:
    names = [name for name in summary if "/" not in name and any(f"{name}/{kind}" in summary for kind in kinds)]

    def cell(name: str, kind: str) -> str:
        figure = summary.get(f"{name}/{kind}")
        return f"{figure['value']:.3f} ({figure['n']})" if figure and figure["n"] else "–"

    return [(name, *(cell(name, kind) for kind in kinds)) for name in names]


def _gains(axes: Axes, steps: Mapping[str, Mapping[str, Any]]) -> None:
    for offset, (figure, colour) in enumerate(zip(_DRAWN_GAINS, (OURS, PLAIN), strict=True)):
        known = [(place, row["gain"][figure]) for place, row in enumerate(steps.values()) if row["gain"][figure]["n"]]
        values = [gain["value"] for _, gain in known]
        errors = [
            [gain["value"] - gain["low"] for _, gain in known],
            [gain["high"] - gain["value"] for _, gain in known],
        ]
        places = [place + 0.24 * offset - 0.12 for place, _ in known]
        axes.errorbar(values, places, xerr=errors, fmt="o", color=colour, label=figure, capsize=2, markersize=4)
    axes.axvline(0, color=PLAIN, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(steps)), [row["title"] for row in steps.values()])
    axes.invert_yaxis()
    axes.set_xlabel("gain")
    axes.legend()


def _steps(steps: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    def cell(row: Mapping[str, Any], figure: str) -> str:
        have, gain = row["with"][figure], row["gain"][figure]
        if not have["n"]:
            return "–"
        return f"{have['value']:.3f}, {gain['value']:+.3f}\n{gain['low']:+.3f} to {gain['high']:+.3f}"

    head = ("Step", *(f"{figure}, gain" for figure in STEP_FIGURES))
    return head, [(row["title"], *(cell(row, figure) for figure in STEP_FIGURES)) for row in steps.values()]


def _miss(shown: Report, asked: Asked, found: Sequence[str], hits: Sequence[Hit]) -> None:
    rank = _rank(asked, found)
    right = next((hit for hit in hits if hit.passage.document_id in asked.gold_doc_ids), None)
    where = f"right, at {rank}" if rank <= len(found) else "right, not found"
    before = next((turn.text for turn in reversed(asked.history) if turn.role == "user"), "")
    shown.sides(
        asked.question + (f" (after: {_cut(before, _MOST_OF_A_TURN)})" if before else ""),
        f"first: {found[0]}" if found else "nothing found",
        _text(hits[0]) if hits else "",
        f"{where}: {right.passage.document_id if right else ', '.join(asked.gold_doc_ids)}",
        _text(right) if right else "",
        is_marked=False,
    )


def _text(hit: Hit) -> str:
    where = " › ".join(filter(None, (hit.passage.title, hit.passage.section)))
    text = re.sub(r"\s*\n\s*", "\n", hit.passage.text.strip())
    return f"{where}\n{_cut(text, _MOST_CHARACTERS)}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
