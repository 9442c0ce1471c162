"""`library`: the forms that the library is embedded in, in the shell: which is live, another model, and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.errors import FootnoteError
from bot.shell import Json, explained, load_settings, print_json, run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bot.vocabulary import FormStatus, IngestReport, LibraryStatus, Reembedded

_MEASURED = "minilm"
"""The model that SUFFICIENCY_THRESHOLD was chosen with."""
_STATES = {
    "live": "answered from",
    "before": "the one before: `python -m bot library rollback` goes back to it",
    "to come": "EMBEDDING_MODEL's: `python -m bot library reembed` completes it and switches to it",
    "begun": "never live: `library reembed` with its EMBEDDING_MODEL completes it, `library prune --begun` drops it",
    "old": "not needed: `python -m bot library prune` drops it",
}


def register(cli: typer.Typer) -> None:
    """Adds the commands."""
    library = typer.Typer(
        help="Embed the whole library with another model, with no gap for those who ask, and go back.",
        no_args_is_help=True,
    )
    for command in (status, reembed, rollback, prune):
        library.command()(command)
    cli.add_typer(library, name="library")


def status(as_json: Json = False) -> None:
    """Show the forms of the library: by which model, which is answered from, and how much is in each."""
    from bot.wiring import open_library_of

    settings = load_settings(log_level="CRITICAL", lean=True)

    async def look() -> tuple[LibraryStatus, list[FormStatus]]:
        async with open_library_of(settings) as (team_id, library):
            return await library.status(team_id), await library.forms()

    whole, forms = run(look())
    if as_json:
        print_json({"library": whole.model_dump(mode="json"), **_listed(forms)})
        return
    most = max((form.documents for form in forms if form.state == "live"), default=0)
    for form in forms:
        of = f" of {most:,}" if form.documents != most else ""
        typer.echo(f"{form.model or 'model not recorded'} ({form.id}), {form.dimensions} dimensions: {form.state}")
        typer.echo(f"  {form.documents:,}{of} documents, {form.passages:,} passages; {_STATES[form.state]}")
    if not forms:
        typer.echo("There is nothing in the library: `python -m bot ingest SOURCE` reads documents into it.")
    if whole.calibration:
        typer.echo(f"Calibration: {whole.calibration}.")
    if whole.remark:
        typer.echo(whole.remark, err=True)


def reembed(
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Switch although documents are missing that cannot be read any more.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Embed every source of every team with EMBEDDING_MODEL, behind the readers' backs, and switch when all is there.

    What was ended goes on where it was. Until the switch, and when a check fails, the library answers as before.
    """
    from bot.progress import progress_bar
    from bot.wiring import open_library_of

    settings = load_settings(log_level="ERROR")
    os.nice(10)  # where a worker answers on the same machine, answers come first

    async def embed() -> tuple[Reembedded, str]:
        async with open_library_of(settings) as (team_id, library):
            with progress_bar() as progress:
                done = await library.reembed(progress, incomplete=incomplete)
            return done, (await library.status(team_id)).calibration

    done, calibration = run(
        embed(), interrupted="Ended. The library answers as before; the same command goes on from here."
    )
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        _print_reembedded(done, calibration)
    if not done.is_live:
        raise typer.Exit(1)


def rollback(
    force: Annotated[
        bool, typer.Option("--force", help="Also to a model that cannot be opened here; elsewhere it may be.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Go back to the form before, in one step; then sync the sources, for what changed since."""
    from bot.progress import progress_bar
    from bot.source_commands import merged, print_report
    from bot.vocabulary import IngestReport, SourceFailure
    from bot.wiring import open_library_of

    settings = load_settings(log_level="ERROR")

    async def go_back() -> tuple[FormStatus, list[tuple[str, IngestReport]]]:
        reports = []
        async with open_library_of(settings) as (team_id, library):
            live = await library.roll_back(unopened=force)
            typer.echo(f"The library is answered from {live.model} ({live.id}) again.", err=True)
            for source in await library.sources(team_id):
                try:
                    with progress_bar() as progress:
                        report = await library.sync(team_id, source.name, progress)
                except FootnoteError as error:
                    report = IngestReport(failed=(SourceFailure(source=source.name, reason=explained(error)),))
                reports.append((source.name, report))
        return live, reports

    live, reports = run(go_back(), interrupted="Ended. `python -m bot sources sync` brings what changed since.")
    if as_json:
        print_json({"form": live.model_dump(mode="json"), "synced": merged(report for _, report in reports)})
        return
    for name, report in reports:
        print_report(name, report)


def prune(
    begun: Annotated[
        bool, typer.Option("--begun", help="Also what never was live. See that nobody embeds it just now.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Drop the forms that are neither live, nor the one before, nor EMBEDDING_MODEL's, nor being made."""
    from bot.wiring import open_library_of

    settings = load_settings(log_level="ERROR")

    async def drop() -> list[FormStatus]:
        async with open_library_of(settings) as (_, library):
            return await library.prune(begun=begun)

    dropped = run(drop())
    if as_json:
        print_json(_listed(dropped))
        return
    for form in dropped:
        typer.echo(f"{form.model or 'model not recorded'} ({form.id}) is dropped, {form.documents:,} documents.")
    if not dropped:
        typer.echo("There is no form to drop.")


def _print_reembedded(done: Reembedded, calibration: str) -> None:
    typer.echo(
        f"{done.documents:,} documents, {done.passages:,} passages embedded with {done.model} in {done.seconds:.1f} s."
    )
    for problem in done.problems:
        typer.echo(f"  {problem}")
    if done.is_live:
        typer.echo(f"The library is answered from {done.model} now; running processes follow within seconds.")
        if calibration:
            typer.echo(f"Calibration: {calibration}.")
        elif done.model != _MEASURED:
            typer.echo("`python -m bot calibrate QUESTIONS.jsonl` teaches it when to answer with this model.")
    else:
        typer.echo("The library is answered from as before. `--incomplete` switches all the same.")


def _listed(forms: Iterable[FormStatus]) -> dict[str, Any]:
    return {"forms": [form.model_dump(mode="json") for form in forms]}
