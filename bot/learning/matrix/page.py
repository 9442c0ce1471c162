"""The decision matrix for people: a page with the recommendation first, then what became of the usual claims, the
figures, the plots, and answers of all arms side by side; and the same in a few lines for a terminal or for Slack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bot.learning.matrix.figures import FIGURES
from bot.learning.versions.measures import Measure
from bot.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALONE = (
    "There is one arm alone, so nothing is compared. A configured model (PERSONA_MODEL) brings others, and so does "
    "`python -m bot matrix --arms FILE`."
)
SHOWN_CASES = 4
_LONGEST_SHOWN = 1_200
_IN_SHORT = ("quality_posted", "hallucinating", "citation_recall", "raw_format", "format", "fresh", "right_refusals")


def page(result: Mapping[str, Any], title: str = "Decision matrix", note: str = "", measured: str = "") -> Report:
    """Makes the page of a result; `note` is a paragraph that says how to read it, `measured` a sentence that says when
    and on which questions. A single arm is shown by its figures alone: nothing is compared."""
    arms = [arm["name"] for arm in result["arms"]]
    report = Report(title).text(f"{measured} {_asked(result)}".strip())
    if note:
        report.text(note)
    if len(arms) > 1:
        _findings(report, result)
    report.heading("The arms" if len(arms) > 1 else "The arm").table(
        ("arm", "model", "prompt", "retrieval", "examples shown", "training", "set-up"),
        [_arm_row(arm) for arm in result["arms"]],
    )
    _figures(report, result, arms)
    if len(arms) > 1:
        _differences(report, result, arms)
        _plots(report, result, arms)
        _sides(report, result, arms)
    else:
        report.text(ALONE)
    return report


def _findings(report: Report, result: Mapping[str, Any]) -> None:
    """The recommendations, and what became of the claims."""
    report.heading("Which arm for which question")
    report.table(
        ("questions", "n", "arm", "figure", "value", "next best", "how sure"),
        [
            (one["kind"], one["n"], one["arm"], one["figure"], one["value"], one["next_best"], one["how_sure"])
            for one in result["recommendations"]
        ],
    )
    report.text(
        "Recommended is the fastest of the arms that are within two points of the best. “Sure” means that in 95 of "
        "100 resamples of the questions no other arm is better by more than that; “likely” in 80. An arm that declines "
        "most of what it should answer is not recommended for what it should decline."
    )
    report.heading("What is commonly said").table(
        ("claim", "here", "why"), [(one["claim"], one["verdict"], one["why"]) for one in result["claims"]]
    )


def _asked(result: Mapping[str, Any]) -> str:
    sorts = [case["sort"] for case in result["cases"]]
    text = (
        f"{sorts.count('answer')} questions that the documents answer, {sorts.count('changed')} of them again with a "
        f"number changed in the passages, and {sorts.count('refusal')} that the passages given do not answer. Every "
        "arm with retrieval got the same passages, however uncertain the library was of them. Intervals are 95 % "
        "bootstrap."
    )
    if left_out := result["left_out"]:
        text += f" {left_out} lines of the file are not asked here: small talk, or not to be answered at this place."
    if trained_on := result["trained_on"]:
        text += f" Not asked, as tuned arms were trained on what is nearly the same: {trained_on}."
    if kept := sum(answer["was_kept"] for answer in result["answers"]):
        text += f" {kept} of {len(result['answers'])} answers are kept from an earlier run, with their times."
    if not all(answer["tokens_are_counted"] for answer in result["answers"] if not answer["problem"]):
        text += " Some servers do not say how many tokens they used; those are estimated at 4 characters each."
    return text


def _arm_row(arm: Mapping[str, Any]) -> tuple[object, ...]:
    training = [f"{arm['training_seconds']:,.0f} s"] if arm["training_seconds"] is not None else []
    training += [f"{arm['training_examples']:,} examples"] if arm["training_examples"] else []
    training += [f"cost {arm['training_cost']:,.2f}"] if arm["training_cost"] is not None else []
    told = ", ".join(training) or ("tuned" if arm["tuned"] else "none")
    retrieval = "yes" if arm["retrieval"] else "no"
    return arm["name"], arm["model"], arm["prompt"], retrieval, arm["nearest"], told, arm["setup_effort"] or "–"


def _figures(report: Report, result: Mapping[str, Any], arms: Sequence[str]) -> None:
    measured = [
        (name, measure) for name, measure in _all_figures() if any(result["summary"][arm][name]["n"] for arm in arms)
    ]
    rows = [
        (
            name,
            "less" if measure.less_is_better else "more",
            *(shown(result["summary"][arm][name], measure) for arm in arms),
        )
        for name, measure in measured
    ]
    report.heading("Figures").table(("figure", "better", *arms), rows)
    known = [(name, measure.title) for name, measure in measured if name in FIGURES]
    report.table(("figure", "what it says"), known)


def _differences(report: Report, result: Mapping[str, Any], arms: Sequence[str]) -> None:
    differences = result["differences"]
    report.heading(f"Differences from “{arms[0]}”, question by question").table(
        ("figure", "better", *arms[1:]),
        [
            (
                name,
                "less" if measure.less_is_better else "more",
                *(shown(differences[arm][name], measure, is_difference=True) for arm in arms[1:]),
            )
            for name, measure in FIGURES.items()
            if any(differences[arm][name]["n"] for arm in arms[1:])
        ],
    )
    report.text("A star marks a difference whose interval leaves out zero.")


def _all_figures() -> list[tuple[str, Measure]]:
    """The figures, those of time as medians and 95th percentiles too."""
    found = []
    for name, measure in FIGURES.items():
        found.append((name, measure))
        if measure.unit == "ms":
            found += [(f"{name}_p{percent}", measure) for percent in (50, 95)]
    return found


def shown(value: Mapping[str, Any], measure: Measure, *, is_difference: bool = False) -> str:
    """Writes a figure with its interval: shares in per cent, times in milliseconds."""
    if not value["n"]:
        return "–"
    scale, unit, digits = {
        "share": (100, " %", 0),
        "ms": (1, " ms", 0),
        "money": (1, "", 3),
        "tokens": (1, "", 0),
    }.get(measure.unit, (1, "", 1))
    sign = "+" if is_difference else ""
    middle, low, high = (f"{scale * value[key]:{sign},.{digits}f}" for key in ("value", "low", "high"))
    star = " *" if is_difference and (value["low"] > 0 or value["high"] < 0) else ""
    return f"{middle}{unit} ({low} to {high}){star}"


def _plots(report: Report, result: Mapping[str, Any], arms: Sequence[str]) -> None:
    summary = result["summary"]

    def against(axes: Axes) -> None:
        for index, arm in enumerate(arms):
            quality, time = summary[arm]["quality_posted"], summary[arm]["total_ms_p50"]
            if not quality["n"] or not time["n"]:
                continue
            seconds = time["value"] / 1_000
            axes.errorbar(
                [seconds],
                [100 * quality["value"]],
                xerr=_spread(time, 1 / 1_000),
                yerr=_spread(quality, 100),
                fmt="o",
                color=f"C{index}",
                capsize=3,
                label=arm,
            )
        axes.set_xscale("log")
        axes.set_xlabel("median time to the whole answer, s")
        axes.set_ylabel("quality of what is posted, %")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="best")

    report.heading("Quality against latency").plot(against, "Quality of what is posted against time, with intervals")
    report.heading("Bars with intervals")
    for figure in _IN_SHORT:
        if any(summary[arm][figure]["n"] for arm in arms):
            report.plot(_bars(summary, arms, figure), FIGURES[figure].title, height=0.5 + 0.33 * len(arms))


def _bars(summary: Mapping[str, Any], arms: Sequence[str], figure: str) -> Any:
    def draw(axes: Axes) -> None:
        for index, arm in enumerate(reversed(arms)):
            value = summary[arm][figure]
            if value["n"]:
                color = f"C{len(arms) - 1 - index}"
                axes.barh(arm, 100 * value["value"], xerr=_spread(value, 100), color=color, alpha=0.75, capsize=3)
            else:
                axes.barh(arm, 0)
        axes.set_xlim(0, 105)
        direction = "less is better" if FIGURES[figure].less_is_better else "more is better"
        axes.set_title(f"{FIGURES[figure].title}, % ({direction})", fontsize=9, loc="left")

    return draw


def _spread(value: Mapping[str, Any], scale: float) -> list[list[float]]:
    below, above = value["value"] - value["low"], value["high"] - value["value"]
    return [[max(0.0, below * scale)], [max(0.0, above * scale)]]


def _sides(report: Report, result: Mapping[str, Any], arms: Sequence[str]) -> None:
    """What the arms wrote to the same questions, against the first arm."""
    answers = {(answer["case"], answer["arm"]): answer for answer in result["answers"]}
    chosen = [case for sort in ("answer", "refusal", "changed") for case in result["cases"] if case["sort"] == sort]
    by_sort = {sort: [case for case in chosen if case["sort"] == sort] for sort in ("answer", "refusal", "changed")}
    chosen = [*by_sort["answer"][: SHOWN_CASES - 2], *by_sort["refusal"][:1], *by_sort["changed"][:1]]
    report.heading("What the models wrote, before it was checked")
    for case in chosen:
        about = f" ({case['old']} changed to {case['new']})" if case["old"] else ""
        for arm in arms[1:]:
            left, right = (_written(answers[case["id"], name]) for name in (arms[0], arm))
            report.sides(f"{case['question']}{about}", arms[0], left, arm, right)


def _written(answer: Mapping[str, Any]) -> str:
    text = answer["completion"] or f"({answer['problem'] or answer['status']})"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def lines(result: Mapping[str, Any]) -> list[str]:
    """Gives the recommendations and what became of the claims, a line each."""
    if len(result["arms"]) < 2:
        return [ALONE]
    found = [
        f"{one['kind']}: {one['arm']} ({100 * one['value']:.0f} %, n = {one['n']}; {one['how_sure']})"
        for one in result["recommendations"]
    ]
    return [*found, *(f"{one['verdict']}: {one['claim']}" for one in result["claims"])]


def print_matrix(result: Mapping[str, Any]) -> None:
    """Shows figures, recommendations and claims, on stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{len(result['cases'])} questions to each arm")
    table.add_column("figure")
    for arm in result["summary"]:
        table.add_column(arm, justify="right")
    for name, measure in _all_figures():
        values = [summary[name] for summary in result["summary"].values()]
        if name in (*_IN_SHORT, "total_ms_p50", "tokens_in", "tokens_out", "cost_per_1000", "failed") and any(
            value["n"] for value in values
        ):
            table.add_row(name.replace("_", " "), *(shown(value, measure).partition(" (")[0] for value in values))
    console.print(table)
    for line in lines(result):
        console.print(line, markup=False, highlight=False)
    problems = {(answer["arm"], answer["problem"]): None for answer in result["answers"] if answer["problem"]}
    for arm, problem in list(problems)[:10]:
        console.print(f"{arm}: {problem}", style="red", markup=False, highlight=False)
