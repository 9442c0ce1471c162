"""`calibrate`: learn from one's own questions when to answer, in the shell."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.shell import AudienceOption, Json, load_settings, print_json, readable, run, writable, write
from bot.vocabulary import WORKSPACE

if TYPE_CHECKING:
    from bot.calibrating import Learned
    from bot.calibration import Calibration
    from bot.report import Report

_TITLES = {
    "wrongly_declined": "found, but declined",
    "wrongly_answered": "not there, but answered",
    "risk": "wrong among the answers",
    "area_under_risk_coverage": "area under risk against coverage",
    "brier": "squared error of the confidence",
}


def register(cli: typer.Typer) -> None:
    """Adds the command."""
    cli.command("calibrate")(calibrate)


def calibrate(
    questions: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="JSON lines: id, question, gold_doc_ids; or answerable: false"
        ),
    ],
    risk: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="The largest share of answers that may come from passages which do not hold them; default the fewest "
            "mistakes, with no more of either kind than SUFFICIENCY_THRESHOLD makes.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=writable, help="Draw it, as an HTML page.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and leave what is in use as it is.")] = False,
    audience: AudienceOption = WORKSPACE,
    as_json: Json = False,
) -> None:
    """Learn from your own questions when to answer. Each counts twice: as it is, and with its pages hidden."""
    from bot.calibration import calibration_file, save_calibration

    settings = load_settings()
    learned = run(_learn(questions, risk, audience))
    if not dry_run:
        save_calibration(calibration_file(settings.data_dir), learned.calibration)
    if report:
        write(report, page(learned).html().encode())
    if as_json:
        print_json(learned.calibration.model_dump(mode="json"))
        return
    print_calibration(learned.calibration)
    if not dry_run:
        file = calibration_file(settings.data_dir)
        typer.echo(f"Kept in {file}. Running processes take it up when they start again; without the file,", err=True)
        typer.echo("SUFFICIENCY_THRESHOLD decides as before.", err=True)


async def _learn(questions: Path, risk: float | None, audience: str) -> Learned:
    from bot.calibrating import calibrate as learn
    from bot.calibrating import search_all
    from bot.evaluating import read_questions
    from bot.progress import progress_bar
    from bot.wiring import open_library_of

    settings = load_settings()
    asked = read_questions(questions)
    async with open_library_of(settings) as (team_id, library):
        with progress_bar() as progress:
            searches = await search_all(
                asked,
                find=lambda question, k, hidden: library.find(question, k, hidden=hidden),
                signs=library.signs,
                team_id=team_id,
                readable=readable,
                audience=audience,
                progress=progress,
            )
        return learn(
            searches,
            form=library.form,
            alpha=settings.hybrid_alpha,
            plain_threshold=settings.sufficiency_threshold,
            fitted_on=questions.name,
            most_risk=risk,
        )


def print_calibration(calibration: Calibration) -> None:
    """Shows what changes, as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{calibration.answered} searches found the answer, {calibration.unanswered} did not")
    for head in ("", "threshold alone", "calibrated"):
        table.add_column(head, justify="right" if head else "left")
    for name, title in _TITLES.items():
        cells = (calibration.before[name], calibration.after[name])
        table.add_row(title, *(f"{cell.value:.3f}  ({cell.low:.3f} to {cell.high:.3f})" for cell in cells))
    console = Console()
    console.print(table)
    console.print(
        f"Answers from {calibration.threshold:.2f} on, by {', '.join(calibration.signs)}. The calibrated figures are "
        "of questions that it had not learned from; in brackets the 95 % interval.",
        markup=False,
        highlight=False,
    )


def page(learned: Learned) -> Report:
    """Gives the page: figures, risk against coverage, and whether the probabilities hold."""
    from bot.evaluation_page import OURS, PLAIN, Curve, draw_reliability, draw_risk
    from bot.report import Report

    calibration = learned.calibration
    shown = Report("When to answer")
    shown.text(
        f"Learned from {calibration.fitted_on}: {calibration.answered} searches that found the answer and "
        f"{calibration.unanswered} that did not, on {calibration.at:%Y-%m-%d %H:%M} UTC. It weighs "
        f"{', '.join(calibration.signs)}, and answers from {calibration.threshold:.3f} on. Everything about it on this "
        "page was measured on questions that it had not learned from."
    )
    figures = [(calibration.before[name], calibration.after[name]) for name in _TITLES]
    shown.table(
        ("", "Threshold alone", "95 % from", "to", "Calibrated", "95 % from", "to"),
        [
            (title, before.value, before.low, before.high, after.value, after.low, after.high)
            for title, (before, after) in zip(_TITLES.values(), figures, strict=True)
        ],
    )
    curves: list[Curve] = [
        ("certainty alone", PLAIN, learned.certainty, learned.holds),
        ("calibrated", OURS, learned.told, learned.holds),
    ]
    shown.heading("Risk against coverage")
    shown.plot(
        partial(draw_risk, curves=curves), "Wrong answers among the most confident searches, by how many those are"
    )
    shown.heading("Do the probabilities hold?")
    shown.plot(
        partial(draw_reliability, confidence=learned.told, right=learned.holds), "Told, and what came of it", height=3.2
    )
    return shown
