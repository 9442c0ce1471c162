"""The page of a gate: what was found, as figures, plots and answers side by side, for whoever decides on a version. It
shows only what everyone in the workspace may read, as the trials hold nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from bot.learning.versions.measures import MEASURES, Outcome, Trial, measure
from bot.learning.versions.verdicts import JUDGED, MARGIN, Figure, GateReport, gain_of
from bot.persona import Persona
from bot.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SIDES = 20
_LIVE, _CANDIDATE = "#7a7a7a", "#1f6fb2"


def page(
    report: GateReport, trials: Sequence[Trial], made: Mapping[str, Mapping[str, Outcome]], persona: Persona
) -> Report:
    """Gives the page; without the answers (they expire) it has the figures alone."""
    shown = Report(f"Gate of {report.candidate}: {report.verdict}")
    shown.text(" ".join(report.reasons))
    shown.text(
        f"Candidate: {report.candidate} ({report.candidate_model}). Live: {report.live} ({report.live_model}). "
        f"The measure to be better in was {report.named}, named {_where(report.by)} on {_when(report.named_at)}, "
        f"before the first question. Measured until {_when(report.at)}; id {report.id}."
    )
    if report.earlier:
        shown.text(f"These two versions were measured before: {', '.join(report.earlier)}. Luck grows with every try.")
    if report.trained_on:
        shown.text(
            f"{report.trained_on} held-out examples were not asked: one of the two versions was trained on a question "
            "that is nearly the same."
        )
    shown.heading("Figures").table(
        ("Measure", "Live", "Candidate", "Gain (95 % interval)", "Pairs", ""),
        [_row(figure, report) for figure in report.figures],
    )
    shown.text("A gain is positive where the candidate is better. Tokens are estimated at four characters each.")
    shares = [figure for figure in report.figures if MEASURES[figure.measure].unit == "share"]
    if shares:
        shown.plot(
            partial(_gains, figures=shares),
            "Gains of the candidate with their 95 % intervals, in points",
            height=0.8 + 0.4 * len(shares),
        )
    asked = [trial for trial in trials if trial.kind == "held_out" and trial.id in made]
    if not asked:
        return shown.text("The answers have expired; only the figures are kept.")
    for title, name, unit in (
        ("Latency", "total_ms", "milliseconds to the whole answer"),
        ("Length", "words", "words of an answer"),
    ):
        values = [[_values(trial, made, version, persona).get(name) for trial in asked] for version in _both(report)]
        shown.heading(title).plot(partial(_spread, values=values, unit=unit, report=report), unit)
    shown.heading("Answers side by side")
    different = [trial for trial in asked if len({made[trial.id][one].answer.text for one in _both(report)}) > 1]
    shown.text(f"{len(different)} of {len(asked)} answers differ; here are those whose measures differ most.")
    for trial in sorted(different, key=lambda trial: -_distance(trial, report, made, persona))[:MOST_SIDES]:
        live, candidate = (made[trial.id][version].answer.text for version in _both(report))
        shown.sides(trial.question, report.live, live, report.candidate, candidate)
    return shown


def _both(report: GateReport) -> tuple[str, str]:
    return report.live, report.candidate


def _row(figure: Figure, report: GateReport) -> tuple[object, ...]:
    role = "must not be inferior" if figure.measure in JUDGED else ""
    if figure.measure == report.named:
        role = "named: must be better"
    name = f"{figure.measure}: {MEASURES[figure.measure].title}"
    live, candidate = (_value(value, MEASURES[figure.measure].unit) for value in (figure.live, figure.candidate))
    return name, live, candidate, gain_of(figure), figure.pairs, role


def _value(value: float, unit: str) -> str:
    """Writes a figure with no more digits than its interval lets it have."""
    match unit:
        case "share":
            return f"{100 * value:.1f} %"
        case "ms":
            return f"{value:,.0f} ms"
        case "money":
            return f"{value:,.4f}"
    return f"{value:,.1f} {unit}"


def _when(at: datetime) -> str:
    return f"{at:%d %B %Y, %H:%M} UTC"


def _where(by: str) -> str:
    """Who named the measure: somebody in Slack, or whoever works on the server."""
    return "on the command line" if by == "command line" else f"by {by} in Slack"


def _values(
    trial: Trial, made: Mapping[str, Mapping[str, Outcome]], version: str, persona: Persona
) -> dict[str, float]:
    return measure(trial, made[trial.id][version], persona)


def _distance(trial: Trial, report: GateReport, made: Mapping[str, Mapping[str, Outcome]], persona: Persona) -> float:
    """By how much the shares of two answers differ altogether."""
    ours, theirs = (_values(trial, made, version, persona) for version in _both(report))
    names = [name for name in ours.keys() | theirs.keys() if MEASURES[name].unit == "share"]
    return sum(abs(ours.get(name, 0.0) - theirs.get(name, 0.0)) for name in names)


def _gains(axes: Axes, figures: Sequence[Figure]) -> None:
    for place, figure in enumerate(reversed(figures)):
        low, middle, high = (100 * value for value in (figure.low, figure.gain, figure.high))
        axes.plot([low, high], [place, place], color=_CANDIDATE, linewidth=2)
        axes.plot([middle], [place], "o", color=_CANDIDATE)
    axes.set_yticks(range(len(figures)), [figure.measure for figure in reversed(figures)])
    axes.axvline(0, color=_LIVE, linewidth=1)
    axes.axvline(-100 * MARGIN, color="#b2371f", linewidth=1, linestyle=":")
    axes.set_xlabel("points; the dotted line is the limit of not being inferior")


def _spread(axes: Axes, values: Sequence[Sequence[float | None]], unit: str, report: GateReport) -> None:
    known = [[value for value in side if value is not None] for side in values]
    if any(known):
        axes.hist(known, bins=20, color=[_LIVE, _CANDIDATE], label=[f"{one}" for one in _both(report)])
        axes.legend()
    axes.set_xlabel(unit)
    axes.set_ylabel("answers")
