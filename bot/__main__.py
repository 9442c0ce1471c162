"""The command line. Results go to stdout, progress and logs to stderr; exit status 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot import calibration_command, library_commands, source_commands
from bot.learning import example_commands
from bot.learning.matrix import commands as matrix_commands
from bot.learning.tuning import commands as tuning_commands
from bot.learning.versions import commands as version_commands
from bot.shell import (
    AudienceOption,
    Json,
    json_bytes,
    load_settings,
    print_json,
    readable,
    run,
    writable,
    write,
)
from bot.vocabulary import WORKSPACE, Question

if TYPE_CHECKING:
    from bot.vocabulary import Citation, Hit

cli = typer.Typer(
    help="Footnote answers questions in Slack from your own documents, and cites every sentence.\n\n"
    "Start with `demo`: the whole thing on this machine, with nothing to configure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(help="Turn the answers that people liked into a persona of your own.", no_args_is_help=True)
cli.add_typer(train, name="train")
for commands in (example_commands, tuning_commands, version_commands):
    commands.register(train)


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
    from bot.wiring import open_asking

    settings = load_settings(log_level="CRITICAL", lean=True)

    async def answer() -> bool:
        async with open_asking(settings) as (team_id, thinking):
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


source_commands.register(cli)
library_commands.register(cli)


@cli.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    audience: AudienceOption = WORKSPACE,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many passages.")] = 5,
    around: Annotated[
        int, typer.Option(min=0, max=20, metavar="N", help="Show each with N passages of its page before and after it.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Show which passages the library finds, best first."""
    from bot.wiring import open_library_of

    settings = load_settings(log_level="CRITICAL", lean=True)

    async def find() -> list[dict[str, Any]]:
        async with open_library_of(settings) as (team_id, library):
            question = Question(id="search", team_id=team_id, text=query, readable=readable(audience))
            found = await library.find(question, k)
            near = [await library.around(question, hit.passage, around) if around else () for hit in found.hits]
        fields = {"document_id", "title", "section", "url", "text"}
        return [
            hit.passage.model_dump(include=fields)
            | {"score": hit.score, "around": "\n\n".join(one.text.strip() for one in page)}
            for hit, page in zip(found.hits, near, strict=True)
        ]

    passages = run(find())
    if as_json:
        order = ("document_id", "title", "section", "url", "score", "text", *(["around"] if around else []))
        print_json({"passages": [{name: passage[name] for name in order} for passage in passages]})
        return
    from rich.console import Console

    console = Console()
    for number, passage in enumerate(passages, 1):
        where = " › ".join(filter(None, (passage["title"], passage["section"])))
        console.print(f"[bold]{number}. [/bold]", end="")
        console.print(where, f"({passage['score']:.3f})", style="bold", markup=False)
        console.print(passage["url"] or passage["document_id"], style="cyan", markup=False)
        console.print(passage["around"] or passage["text"].strip(), "\n", markup=False, highlight=False)
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
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=writable, help="Draw it, as an HTML page with the misses.")
    ] = None,
    steps: Annotated[
        bool, typer.Option("--steps", help="Show what each step of finding brings, by leaving it out.")
    ] = False,
) -> None:
    """Measure finding and answering on your own questions."""
    from bot.evaluating import evaluate as evaluate_questions
    from bot.evaluating import print_summary, read_questions
    from bot.evaluating_steps import measure_steps, print_steps
    from bot.progress import progress_bar
    from bot.terminal import SilentReply
    from bot.wiring import open_asking

    settings = load_settings()

    kept: dict[str, tuple[Hit, ...]] = {}

    async def measure() -> dict[str, Any]:
        asked = read_questions(questions)
        async with open_asking(settings) as (team_id, thinking):
            place: dict[str, Any] = {"team_id": team_id, "readable": readable, "audience": audience}
            with progress_bar() as progress:
                result = await evaluate_questions(
                    asked,
                    find=thinking.find,
                    answer=lambda question: thinking.answer(question, SilentReply()),
                    persona=thinking.persona,
                    progress=progress,
                    kept=kept,
                    **place,
                )
            if steps:
                library = thinking.library
                with progress_bar() as progress:
                    result["steps"] = await measure_steps(
                        asked, find=thinking.find, steps=library.steps, names=library.names, progress=progress, **place
                    )
        return result

    result = run(measure())
    if as_json:
        write(as_json, json_bytes(result))
    if report:
        from bot.evaluation_page import page

        write(report, page(result, read_questions(questions), kept).html().encode())
    if str(as_json) != "-":
        print_summary(result)
        if steps:
            print_steps(result["steps"])


matrix_commands.register(cli)
calibration_command.register(cli)


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
def tuner(
    host: Annotated[
        str, typer.Option(help="Where to listen; to be reached from elsewhere it needs TUNER_API_KEY.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8766,
    base: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="A base of your own: a GGUF file or a folder.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of llama.cpp; more than free cores slow it down.")] = 1,
) -> None:
    """Run the self-hosted tuner: fine-tuning and serving on this machine. It prints the settings to use it with."""
    import signal
    import subprocess
    import sys

    options = ["--host", host, "--port", str(port), "--threads", str(threads)]
    options += ["--data-dir", str(load_settings().data_dir)]
    options += [word for one in base or () for word in ("--base", one)]
    command = [sys.executable, "-m", "bot.local.tuner", "--exit-with-parent", *options]
    child = subprocess.Popen(command, start_new_session=True)  # noqa: S603 (our own module)
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: child.terminate())
    raise typer.Exit(child.wait())


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


def citation_json(citation: Citation) -> dict[str, Any]:
    fields = ("number", "document_id", "title", "url", "quote")
    return {name: getattr(citation, name) for name in fields}


if __name__ == "__main__":
    cli()
