"""The command line. Results go to stdout, progress and logs to stderr; exit status 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from bot.errors import FootnoteError, TellUser
from bot.log import set_up
from bot.settings import Settings
from bot.vocabulary import PUBLIC, WORKSPACE, ExampleStatus, Question

if TYPE_CHECKING:
    from bot.vocabulary import Citation, IngestReport

T = TypeVar("T")

cli = typer.Typer(
    help="Footnote answers questions in Slack from your own documents, and cites every sentence.\n\n"
    "Start with `demo`: the whole thing on this machine, with nothing to configure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(help="Turn the answers that people liked into training data.", no_args_is_help=True)
cli.add_typer(train, name="train")


def writable(file: Path | None) -> Path | None:
    """Refuses a file that cannot be written, before the work for it is done; `-` is stdout."""
    if file is None or str(file) == "-":
        return file
    try:
        there = file if file.exists() else file.parent
        is_fine = there.is_dir() == (there is not file) and os.access(there, os.W_OK)
    except OSError:
        is_fine = False
    if not is_fine:
        raise typer.BadParameter(f"{file} cannot be written: is its folder there, and may you write in it?")
    return file


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
AudienceOption = Annotated[
    str, typer.Option("--audience", help="The place to read from: public, workspace, channel:ID or group:ID.")
]


@cli.command()
def demo(
    port: Annotated[int, typer.Option(help="Port of the page; 0 takes a free one.")] = 8765,
    http: Annotated[bool, typer.Option("--http", help="Deliver events by signed HTTP instead of Socket Mode.")] = False,
) -> None:
    """Try everything on this machine: a local Slack on a web page, a sample company, no account, no key."""
    from bot.demo import run_demo

    run(run_demo(load_settings(log_level="WARNING"), port=port, over_http=http))


@cli.command()
def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    audience: AudienceOption = WORKSPACE,
    as_json: Json = False,
) -> None:
    """Ask one question in the terminal and read the answer with its sources."""
    from bot.terminal import SilentReply, TerminalReply
    from bot.wiring import open_thinking, team_of

    settings = load_settings(log_level="CRITICAL", lean=True)

    async def answer() -> bool:
        team_id = await team_of(settings)
        async with open_thinking(settings) as thinking:
            answer = await thinking.answer(
                Question(id=f"{team_id}:terminal:0", team_id=team_id, text=question, readable=readable(audience)),
                SilentReply() if as_json else TerminalReply(),
            )
            if answer.status == "declined" and not answer.nearest:
                typer.echo("The library holds nothing to read here. `python -m bot ingest FOLDER` fills it.", err=True)
        if as_json:
            print_json(
                {
                    "status": answer.status,
                    "text": answer.text,
                    "citations": [citation_json(one) for one in answer.citations],
                    "model": answer.model,
                    "confidence": answer.confidence,
                    "timings_ms": answer.timings_ms,
                }
            )
        return answer.status != "failed"

    if not run(answer()):
        raise typer.Exit(1)


@cli.command()
def ingest(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE…", help="Folders, files, or .jsonl files.")],
    audience: Annotated[
        str | None,
        typer.Option(
            help="Who may read pages that do not say it themselves: public, workspace, channel:ID or group:ID; "
            "default what SOURCE had before, at first workspace."
        ),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Where the pages are on the web, for the links.")] = None,
    name: Annotated[str | None, typer.Option(help="The source's name; default the last part of SOURCE.")] = None,
    as_json: Json = False,
) -> None:
    """Read documents into the library: what changed since the last time, and what is gone is removed."""
    from bot.vocabulary import IngestReport, SourceFailure
    from bot.wiring import open_library_of

    if name and len(sources) > 1:
        raise typer.BadParameter("one name fits one SOURCE only", param_hint="--name")
    settings = load_settings()

    async def read() -> list[tuple[str, IngestReport]]:
        from bot.progress import progress_bar

        if audience:
            readable(audience)  # a wrong one is wrong for every source
        reports = []
        async with open_library_of(settings) as (team_id, library):
            for source in sources:
                try:
                    with progress_bar() as progress:
                        report = await library.ingest(
                            team_id, source, name=name, audience=audience, base_url=base_url, progress=progress
                        )
                except FootnoteError as error:
                    report = IngestReport(failed=(SourceFailure(source=source, reason=explained(error)),))
                reports.append((source, report))
        return reports

    reports = run(read())
    if as_json:
        print_json(merged(report for _, report in reports))
    else:
        for source, report in reports:
            print_report(source, report)
    if any(report.is_total_failure for _, report in reports):
        raise typer.Exit(1)


@cli.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    audience: AudienceOption = WORKSPACE,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many passages.")] = 5,
    as_json: Json = False,
) -> None:
    """Show which passages the library finds, best first."""
    from bot.wiring import open_library_of

    settings = load_settings(log_level="CRITICAL", lean=True)

    async def find() -> list[dict[str, Any]]:
        async with open_library_of(settings) as (team_id, library):
            question = Question(id="search", team_id=team_id, text=query, readable=readable(audience))
            found = await library.find(question, k)
        fields = {"document_id", "title", "section", "url", "text"}
        return [hit.passage.model_dump(include=fields) | {"score": hit.score} for hit in found.hits]

    passages = run(find())
    if as_json:
        order = ("document_id", "title", "section", "url", "score", "text")
        print_json({"passages": [{name: passage[name] for name in order} for passage in passages]})
        return
    from rich.console import Console

    console = Console()
    for number, passage in enumerate(passages, 1):
        where = " › ".join(filter(None, (passage["title"], passage["section"])))
        console.print(f"[bold]{number}. [/bold]", end="")
        console.print(where, f"({passage['score']:.3f})", style="bold", markup=False)
        console.print(passage["url"] or passage["document_id"], style="cyan", markup=False)
        console.print(passage["text"].strip(), "\n", markup=False, highlight=False)
    if not passages:
        console.print("Nothing found. `python -m bot ingest FOLDER` fills the library.")


@cli.command()
def evaluate(
    questions: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="JSON lines: id, question, history, …")
    ],
    audience: AudienceOption = WORKSPACE,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", callback=writable, help="Write JSON there; - is stdout.")
    ] = None,
) -> None:
    """Measure finding and answering on your own questions."""
    from bot.evaluating import evaluate as evaluate_questions
    from bot.evaluating import print_summary, read_questions
    from bot.progress import progress_bar
    from bot.terminal import SilentReply
    from bot.wiring import open_thinking, team_of

    settings = load_settings()

    async def measure() -> dict[str, Any]:
        team_id = await team_of(settings)
        asked = read_questions(questions)
        async with open_thinking(settings) as thinking:
            with progress_bar() as progress:
                return await evaluate_questions(
                    asked,
                    find=thinking.library.find,
                    answer=lambda question: thinking.answer(question, SilentReply()),
                    persona=thinking.persona,
                    team_id=team_id,
                    readable=readable,
                    audience=audience,
                    progress=progress,
                )

    result = run(measure())
    if as_json:
        write(as_json, json_bytes(result))
    if str(as_json) != "-":
        print_summary(result)


@cli.command()
def web() -> None:
    """Run the process that takes what Slack sends. Needs Slack's tokens; see the README."""
    from bot.wiring import open_web, until_stopped

    settings = load_settings()

    async def serve() -> None:
        async with open_web(settings):
            await until_stopped()

    run(serve())


@cli.command()
def worker() -> None:
    """Run the process that answers. Start as many as you need."""
    from bot.wiring import run_worker, until_stopped

    run(until_stopped(run_worker(load_settings())))


@cli.command()
def doctor(as_json: Json = False) -> None:
    """Check every dependency, scope and setting, and say what to do."""
    from bot.doctor import examine, print_findings

    findings = run(examine(load_settings(log_level="CRITICAL")))
    if as_json:
        print_json({"findings": [finding.model_dump() for finding in findings]})
    else:
        print_findings(findings)
    if not all(finding.is_fine for finding in findings):
        raise typer.Exit(1)


@train.command("review")
def review(
    approve: Annotated[list[str] | None, typer.Option(help="Approve this example.", metavar="ID")] = None,
    reject: Annotated[list[str] | None, typer.Option(help="Reject this example.", metavar="ID")] = None,
) -> None:
    """List the examples that wait for review, approve or reject some."""
    from bot.learning import examples
    from bot.wiring import open_journal, team_of

    settings = load_settings()

    async def decide() -> None:
        team_id = await team_of(settings)
        async with open_journal(settings, team_id) as (_, journal):
            decisions: list[tuple[str, ExampleStatus]] = [(id, "approved") for id in approve or []]
            decisions += [(id, "rejected") for id in reject or []]
            for id, status in decisions:
                await examples.review(journal, id, status, "command line", None)
                typer.echo(f"{id} is {status}.")
            waiting = await journal.examples("candidate")
            for example in waiting:
                typer.echo(f"\n{example.id}  {example.audience}  by {example.produced_by}")
                typer.echo(f"  {example.question}\n  {example.answer}")
            approved = len(await journal.examples("approved"))
            typer.echo(f"{len(waiting)} wait for review; {approved} of {examples.WANTED} approved.")

    run(decide())


@train.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="The JSON lines file to write.", callback=writable)],
    status: Annotated[str, typer.Option(help="candidate, approved, rejected or quarantined.")] = "approved",
) -> None:
    """Write examples that everyone in the workspace may read as training lines in OpenAI's chat layout."""
    from typing import get_args

    from bot.learning import examples
    from bot.persona import load_persona
    from bot.wiring import open_journal, team_of

    if status not in get_args(ExampleStatus):
        raise typer.BadParameter(f"{status!r} is none of {', '.join(get_args(ExampleStatus))}", param_hint="--status")
    settings = load_settings()

    async def lines() -> tuple[list[bytes], int]:
        team_id = await team_of(settings)
        async with open_journal(settings, team_id) as (_, journal):
            found = [one for one in await journal.examples() if one.status == status]
        persona = load_persona(settings.persona_file)
        exported = [json_bytes(line, indent=None) for line in examples.export(found, persona)]
        return exported, len(found) - len(exported)

    exported, kept_back = run(lines())
    write(file, b"".join(exported))
    typer.echo(f"{len(exported)} {status} examples written to {file}", err=True)
    if kept_back:
        typer.echo(f"{kept_back} kept back: not everyone in the workspace may read them", err=True)


def load_settings(*, log_level: str | None = None, lean: bool = False) -> Settings:
    """Reads the settings and sets up the log, at another level where a command speaks for itself; a lean one begins
    with its first line.

    Ends with status 2 and the names of the variables when they are wrong.
    """
    try:
        settings = Settings.from_environment(os.environ)
    except ValidationError as error:
        for one in error.errors(include_input=False, include_url=False):  # an input may be a secret
            name = ".".join(str(part) for part in one["loc"]).upper()
            typer.echo(f"{name}: {one['msg']}" if name else one["msg"].removeprefix("Value error, "), err=True)
        raise typer.Exit(2) from None
    set_up(log_level or settings.log_level, at_first_line=lean)
    return settings


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a command; what goes wrong on purpose is a sentence, not a traceback."""
    gc.freeze()  # What is imported stays, and so does most of what is made at first: a tenth of a cold `ask` went
    gc.set_threshold(50_000, 20, 100)  # into looking through it for garbage again and again, and once more at the end.
    try:
        return asyncio.run(coroutine)
    except FootnoteError as error:
        typer.echo(explained(error), err=True)
        raise typer.Exit(2 if isinstance(error, TellUser) else 1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        gc.freeze()


def explained(error: FootnoteError) -> str:
    """Gives an error's text, with what to do next where the text does not say it."""
    return str(error) if isinstance(error, TellUser) else f"{error}\n`python -m bot doctor` says what is wrong."


def readable(place: str) -> frozenset[str]:
    """Gives what may be read at a place of the command line. Raises TellUser for what is no place."""
    if place == PUBLIC:
        return frozenset({PUBLIC})
    kind, _, id = place.partition(":")
    if place != WORKSPACE and not (kind in ("channel", "group") and id):
        raise TellUser(f"--audience {place!r}: use public, workspace, channel:ID or group:ID")
    return frozenset({PUBLIC, WORKSPACE, place})


def print_json(value: dict[str, Any]) -> None:
    typer.echo(json_bytes(value), nl=False)


def json_bytes(value: object, indent: int | None = 1) -> bytes:
    """Gives JSON and a line's end in UTF-8, whatever the terminal speaks; half a character, as a file's name may hold
    one, becomes an escape, which is JSON too."""
    return f"{json.dumps(value, ensure_ascii=False, indent=indent)}\n".encode("utf-8", "backslashreplace")


def write(file: Path, content: bytes) -> None:
    """Writes a result, to stdout when the file is `-`; ends with status 2 and the reason when it cannot."""
    try:
        if str(file) == "-":
            typer.echo(content, nl=False)
        else:
            file.write_bytes(content)
    except OSError as error:
        typer.echo(f"{file} cannot be written: {error.strerror}.", err=True)
        raise typer.Exit(2) from None


def citation_json(citation: Citation) -> dict[str, Any]:
    fields = ("number", "document_id", "title", "url", "quote")
    return {name: getattr(citation, name) for name in fields}


def merged(reports: Any) -> dict[str, Any]:
    """Adds up the reports of several sources."""
    total: dict[str, Any] = {}
    for report in reports:
        for name, value in report.model_dump(mode="json").items():
            total[name] = total[name] + value if name in total else value
    return total


def print_report(source: str, report: IngestReport) -> None:
    typer.echo(
        f"{source}: {report.added} added, {report.changed} changed, {report.unchanged} unchanged, "
        f"{report.removed} removed, {len(report.failed)} failed; {report.passages} passages in {report.seconds:.1f} s"
    )
    for failure in report.failed:
        typer.echo(f"  {failure.source}: {failure.reason}")


if __name__ == "__main__":
    cli()
