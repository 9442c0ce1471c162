"""`ingest` and `sources`: what the library reads from, in the shell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot import source_words
from bot.errors import FootnoteError, TellUser
from bot.shell import Json, explained, load_settings, print_json, readable, run
from bot.source_words import interval
from bot.vocabulary import IngestReport, SourceFailure

if TYPE_CHECKING:
    from bot.progress import Progress
    from bot.vocabulary import Source

Library = Any
"""That of `retrieval/`, which this room does not know."""
Reading = Callable[[Library, str, str, "Progress"], Awaitable[IngestReport]]
"""Reads one source, given the library, the team, and what the source was called in the shell."""
NAMED_OF_REMOVED = 20

SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Folder, file, web site or site map, s3://…, github://…, …")
]
AudienceOfSource = Annotated[
    str | None,
    typer.Option(
        "--audience",
        help="Who may read pages that do not say it themselves: public, workspace, channel:ID or group:ID; "
        "default what SOURCE had before, at first workspace.",
    ),
]
BaseUrl = Annotated[
    str | None, typer.Option("--base-url", help="Where the pages are on the web, for the links; a site knows it.")
]
Name = Annotated[str | None, typer.Option("--name", help="The source's name; default the last part of SOURCE.")]

ByWorkers = Annotated[
    bool, typer.Option("--by-workers", help="Leave the reading to the running workers, a large source to all of them.")
]


def register(cli: typer.Typer) -> None:
    """Adds the commands."""
    cli.command()(ingest)
    sources = typer.Typer(help="List the sources of the library, add, sync or remove some.", no_args_is_help=True)
    for command in (list_, add, sync, remove):
        sources.command(command.__name__.strip("_"))(command)
    cli.add_typer(sources, name="sources")


def ingest(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE…", help="Folders, files, web sites, s3://…, github://…, …")
    ],
    audience: AudienceOfSource = None,
    base_url: BaseUrl = None,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Read documents into the library: what changed since the last time, and what is gone is removed."""
    if name and len(sources) > 1:
        raise typer.BadParameter("one name fits one SOURCE only", param_hint="--name")

    async def read(library: Library, team_id: str, source: str, progress: Progress) -> IngestReport:
        report: IngestReport = await library.ingest(
            team_id, source, name=name, audience=audience, base_url=base_url, progress=progress
        )
        return report

    _read_each(sources, read, as_json, audience, name)


def list_(as_json: Json = False) -> None:
    """List the sources: where they are, who may read them, how often and when they were synced."""
    from bot.wiring import open_library_of

    settings = load_settings(log_level="CRITICAL", lean=True)

    async def listed() -> list[Source]:
        async with open_library_of(settings) as (team_id, library):
            return await library.sources(team_id)

    sources = run(listed())
    if as_json:
        print_json({"sources": [source.model_dump(mode="json", exclude={"form"}) for source in sources]})
        return
    for source in sources:
        synced = f"synced {source.synced_at:%Y-%m-%d %H:%M} UTC" if source.synced_at else "never synced"
        every = f", every {interval(source.every_s)}" if source.every_s else ""
        typer.echo(f"{source.name}: {source.address}")
        typer.echo(f"  {source.documents} documents, for {source.audience}, {synced}{every}")
        if source.last_report and source.last_report.failed:
            typer.echo(f"  {source.last_report.failed} failed at the last sync:")
            for failure in source.last_report.failures:
                typer.echo(f"    {failure.source}: {failure.reason}")
    if not sources:
        typer.echo("There is no source. `python -m bot sources add SOURCE` adds one.")


def add(
    source: SourceArgument,
    every: Annotated[
        str | None, typer.Option(metavar="TIME", help="Sync again by itself, as 30m, 6h or 1d; `never` ends that.")
    ] = None,
    audience: AudienceOfSource = None,
    base_url: BaseUrl = None,
    name: Name = None,
    by_workers: ByWorkers = False,
    as_json: Json = False,
) -> None:
    """Read a source, and remember it with its schedule; a running worker keeps to that."""
    every_s = None if every is None else seconds_of(every)

    async def register(library: Library, team_id: str) -> list[str]:
        told = await library.register(team_id, source, name=name, audience=audience, base_url=base_url, every_s=every_s)
        if name:
            warn_of_twins(name, await library.sources(team_id))
        return [told.name]

    if by_workers:
        _leave_to_workers(register, as_json)
        return

    async def read(library: Library, team_id: str, source: str, progress: Progress) -> IngestReport:
        before = {known.name: known.every_s for known in await library.sources(team_id)}
        try:
            report: IngestReport = await library.ingest(
                team_id, source, name=name, audience=audience, base_url=base_url, every_s=every_s, progress=progress
            )
        except FootnoteError:
            for known in await library.sources(team_id):
                if before.get(known.name, known.every_s) != known.every_s:
                    now = f"every {interval(known.every_s)}" if known.every_s else "never"
                    typer.echo(f"The schedule of {known.name} was changed all the same: {now}.", err=True)
            raise
        return report

    _read_each([source], read, as_json, audience, name)


def sync(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="Sources; default all of them.")] = None,
    by_workers: ByWorkers = False,
    as_json: Json = False,
) -> None:
    """Read sources again that the library knows."""

    async def known(library: Library, team_id: str) -> list[str]:
        there = [source.name for source in await library.sources(team_id)]
        for name in names or []:
            if name not in there:
                raise TellUser(f"There is no source named “{name}”.")
        return names or there

    if by_workers:
        _leave_to_workers(known, as_json)
        return

    async def read(library: Library, team_id: str, source: str, progress: Progress) -> IngestReport:
        report: IngestReport = await library.sync(team_id, source, progress)
        return report

    _read_each(names or None, read, as_json)


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The source, as `sources list` names it.")],
    as_json: Json = False,
) -> None:
    """Forget a source, and take all its documents out of the library."""
    from bot.wiring import hold_examples_against, open_library_of

    settings = load_settings()

    async def forget() -> int:
        async with open_library_of(settings) as (team_id, library):
            removed = await library.remove(team_id, name)
            await hold_examples_against(library, settings, team_id)
            return removed

    removed = run(forget())
    if as_json:
        print_json({"removed": removed})
    else:
        typer.echo(f"{name} is forgotten, {removed} documents are out of the library.")


def _leave_to_workers(naming: Callable[[Library, str], Awaitable[list[str]]], as_json: bool) -> None:
    """Queues the syncs of the sources that are named."""
    from bot.wiring import open_library_of, order_syncs

    settings = load_settings()

    async def ordered() -> list[str]:
        async with open_library_of(settings) as (team_id, library):
            names = await naming(library, team_id)
            await order_syncs(settings, team_id, names)
            return names

    names = run(ordered())
    if as_json:
        print_json({"ordered": names})
    for name in [] if as_json else names:
        typer.echo(
            f"{name} is read as soon as a worker runs (`python -m bot worker`); `sources list` says when it was."
        )


def _read_each(
    sources: list[str] | None, read: Reading, as_json: bool, audience: str | None = None, name: str | None = None
) -> None:
    """Reads sources one after the other, all that there are where none is named, and prints their reports. Ends with
    status 1 when nothing of one could be read."""
    from bot.wiring import hold_examples_against, open_library_of

    settings = load_settings()

    async def read_all() -> list[tuple[str, IngestReport]]:
        from bot.progress import progress_bar

        if audience:
            readable(audience)  # a wrong one is wrong for every source
        reports = []
        async with open_library_of(settings) as (team_id, library):
            for source in sources or [known.name for known in await library.sources(team_id)]:
                try:
                    with progress_bar() as progress:
                        report = await read(library, team_id, source, progress)
                except FootnoteError as error:
                    report = IngestReport(failed=(SourceFailure(source=source, reason=explained(error)),))
                reports.append((source, report))
            if name:
                warn_of_twins(name, await library.sources(team_id))
            if any(report.added or report.changed or report.removed for _, report in reports):
                await hold_examples_against(library, settings, team_id)
        return reports

    reports = run(read_all())
    for source, report in reports:
        called = f"{name} ({source})" if name else source
        if report.has_emptied:
            warn_of_emptied(called, report)
        if not as_json:
            print_report(called, report)
    if as_json:
        print_json(merged(report for _, report in reports))
    if any(report.is_total_failure for _, report in reports):
        raise typer.Exit(1)


def merged(reports: Iterable[IngestReport]) -> dict[str, Any]:
    """Adds up the reports of several sources."""
    total = IngestReport().model_dump(mode="json")
    for report in reports:
        for name, value in report.model_dump(mode="json").items():
            total[name] += value
    return total


def print_report(source: str, report: IngestReport) -> None:
    typer.echo(
        f"{source}: {report.added} added, {report.changed} changed, {report.unchanged} unchanged, "
        f"{report.removed} removed, {len(report.failed)} failed; {report.passages} passages in {report.seconds:.1f} s"
    )
    for failure in report.failed:
        typer.echo(f"  {failure.source}: {failure.reason}")


def warn_of_emptied(source: str, report: IngestReport) -> None:
    """Says on stderr that a source holds nothing any more, and what that took out of the library."""
    named = ", ".join(report.removed_ids[:NAMED_OF_REMOVED])
    more = report.removed - NAMED_OF_REMOVED
    typer.secho(
        f"{source} IS EMPTY NOW: all of its {report.removed} documents were removed from the library: "
        f"{named}{f' and {more} more' if more > 0 else ''}. If that is a mistake, bring them back and sync again.",
        err=True,
        bold=True,
    )


def warn_of_twins(name: str, sources: list[Source]) -> None:
    """Says on stderr that what a source reads is read under another name, too."""
    address = next((source.address for source in sources if source.name == name), "")
    twins = ", ".join(source.name for source in sources if source.address == address and source.name != name)
    if twins:
        typer.secho(f"{address} is read as {twins} already: its pages are found twice now.", err=True, bold=True)


def seconds_of(every: str) -> int:
    """Reads a schedule: `30m`, `6h`, `1d`, or `never`, which is 0. Raises BadParameter for anything else."""
    try:
        return source_words.seconds_of(every)
    except TellUser as error:
        raise typer.BadParameter(str(error), param_hint="--every") from error
