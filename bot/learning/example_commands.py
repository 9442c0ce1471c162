"""`train review`, `import`, `draft`, `export`, `forget`: the examples, in the shell. What is listed is what the place
named by `--audience` may read, for whoever stands behind an operator reads along."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from bot.errors import TryAgain
from bot.shell import AudienceOption, Json, json_bytes, load_settings, print_json, readable, run, writable, write
from bot.vocabulary import WORKSPACE, DraftPage, Example, ExampleStatus

if TYPE_CHECKING:
    from bot.answering import Find
    from bot.journal import Journal
    from bot.learning.examples import Rules
    from bot.learning.tracing import Standing
    from bot.learning.versions.register import Register
    from bot.settings import Settings

CLEAN = "clean"
"""What `--approve` takes for every candidate in which nothing is wrong."""


def register(train: typer.Typer) -> None:
    """Adds the commands."""
    train.command("review")(review)
    train.command("import")(import_)
    train.command("draft")(draft)
    train.command("export")(export)
    train.command("forget")(forget)


def review(
    approve: Annotated[
        list[str] | None,
        typer.Option(help=f"Approve this one; `{CLEAN}`: all in which nothing is wrong.", metavar="ID"),
    ] = None,
    reject: Annotated[list[str] | None, typer.Option(help="Reject this one.", metavar="ID")] = None,
    edit: Annotated[str | None, typer.Option(help="Give this one another answer.", metavar="ID")] = None,
    answer: Annotated[str | None, typer.Option(help="The answer for --edit; `-` reads it from stdin.")] = None,
    pages: Annotated[
        Path | None,
        typer.Option(help="Write the draft pages there as Markdown, to be completed and ingested.", file_okay=False),
    ] = None,
    audience: AudienceOption = WORKSPACE,
    as_json: Json = False,
) -> None:
    """List the examples that wait for review, with what is wrong with them; approve, edit or reject some."""
    if (edit is None) != (answer is None):
        raise typer.BadParameter("name an example and give its answer", param_hint="--edit and --answer")
    better = sys.stdin.read() if answer == "-" else answer or ""
    settings = load_settings(log_level="ERROR")

    async def decide() -> tuple[list[Example], list[DraftPage], str]:
        from bot.learning import examples
        from bot.wiring import open_library_of

        may_read = readable(audience)
        async with open_library_of(settings) as (team_id, library), _open_desk(settings, team_id) as desk:
            await desk.hold_against_the_library(partial(library.standing, team_id), library.find)
            if edit:
                await desk.edit(edit, better.strip(), may_read)
            for id in [*(approve or []), *(reject or [])]:
                status: ExampleStatus = "approved" if id in (approve or []) else "rejected"
                await desk.decide(id, status, may_read)
            waiting = [
                one
                for one in await desk.journal.examples()
                if one.status in ("candidate", "quarantined") and examples.may_be_read(one, may_read)
            ]
            drafts = [page for page in await desk.register.draft_pages() if page.audience in may_read]
            return waiting, drafts, await examples.progress(desk.journal)

    waiting, drafts, progress = run(decide())
    if pages:
        _write_pages(pages, drafts)
    if as_json:
        shown: dict[str, Any] = {"examples": [one.model_dump(mode="json") for one in waiting]}
        print_json(shown | {"draft_pages": [one.model_dump(mode="json") for one in drafts], "progress": progress})
        return
    for one in waiting:
        _print_example(one)
    for page in drafts:
        typer.echo(f"\n{page.id}  draft page of {page.owner}, {page.audience}\n  {page.title}")
    typer.echo(f"{len(waiting)} wait for review; {progress}.")


def import_(
    file: Annotated[Path, typer.Argument(help='JSON lines of {"messages": […]}.', exists=True, dir_okay=False)],
    audience: Annotated[
        str, typer.Option(help="Who may read them: public, workspace, channel:ID or group:ID.")
    ] = WORKSPACE,
    as_json: Json = False,
) -> None:
    """Bring along examples: question and answer, with their passages or without. They wait for review."""
    from bot.learning import examples, importing
    from bot.progress import progress_bar
    from bot.wiring import open_library_of

    settings = load_settings(log_level="ERROR")

    async def take() -> tuple[importing.Imported, str]:
        readable(audience)
        async with open_library_of(settings) as (team_id, library), _open_desk(settings, team_id) as desk:
            with progress_bar() as progress:
                imported = await importing.import_file(
                    desk.journal, file, library.find, audience=audience, rules=desk.rules, progress=progress
                )
            return imported, await examples.progress(desk.journal)

    imported, progress = run(take())
    faulty = [one for one in imported.added if one.problems]
    if as_json:
        print_json(
            {
                "added": [{"id": one.id, "problems": list(one.problems)} for one in imported.added],
                "known": imported.known,
                "refused": [{"line": one.number, "reason": one.reason} for one in imported.refused],
                "progress": progress,
            }
        )
    else:
        for refusal in imported.refused:
            typer.echo(f"{file}, line {refusal.number}: {refusal.reason}", err=True)
        typer.echo(
            f"{len(imported.added)} added, {len(faulty)} of them with problems; {imported.known} known already; "
            f"{len(imported.refused)} refused. `train review` lists them; {progress}."
        )
    if imported.refused and not imported.added and not imported.known:
        raise typer.Exit(1)


def draft(
    questions: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON lines: id, question, history.")],
    audience: AudienceOption = WORKSPACE,
    as_json: Json = False,
) -> None:
    """Let the configured model answer questions, for people to review: all of them wait for that."""
    from bot.evaluating import read_questions
    from bot.learning import drafting, examples
    from bot.progress import progress_bar
    from bot.terminal import SilentReply
    from bot.wiring import open_thinking, team_of

    settings = load_settings(log_level="ERROR")

    async def write_drafts() -> tuple[drafting.Drafted, str]:
        asked = read_questions(questions)
        may_read = readable(audience)
        async with _open_desk(settings, await team_of(settings)) as desk, open_thinking(settings) as thinking:
            _warn_of_terms(settings, thinking.voices.configured.model.provider)
            with progress_bar() as progress:
                drafted = await drafting.draft(
                    desk.journal,
                    asked,
                    lambda question: thinking.answer(question, SilentReply()),
                    audience=audience,
                    readable=may_read,
                    rules=desk.rules,
                    progress=progress,
                )
            return drafted, await examples.progress(desk.journal)

    drafted, progress = run(write_drafts())
    figures = {"known": drafted.known, "unanswered": drafted.unanswered, "failed": drafted.failed}
    if as_json:
        print_json({"added": [one.id for one in drafted.added]} | figures | {"progress": progress})
        return
    told = ", ".join(f"{count} {name}" for name, count in figures.items() if count)
    typer.echo(f"{len(drafted.added)} drafted{f', {told}' if told else ''}. `train review` lists them; {progress}.")


def export(
    file: Annotated[Path, typer.Argument(help="The JSON lines file to write.", callback=writable)],
    status: Annotated[str, typer.Option(help="candidate, approved, rejected or quarantined.")] = "approved",
    trainable: Annotated[
        bool, typer.Option("--trainable", help="Only what may be trained on: see `train status`.")
    ] = False,
) -> None:
    """Write examples that everyone in the workspace may read as training lines in OpenAI's chat layout."""
    from bot.learning import examples
    from bot.wiring import open_journal, team_of

    if status not in get_args(ExampleStatus):
        raise typer.BadParameter(f"{status!r} is none of {', '.join(get_args(ExampleStatus))}", param_hint="--status")
    settings = load_settings()

    async def lines() -> tuple[list[bytes], int]:
        team_id = await team_of(settings)
        async with open_journal(settings, team_id) as (_, journal):
            every = await journal.examples()
        persona = examples.Rules.of(settings).persona
        found = [one for one in every if one.status == status]
        if trainable:
            usable = {one.id for one in examples.trainable(every, persona, settings.trainable_providers)[0]}
            found = [one for one in found if one.id in usable]
        exported = [json_bytes(line, indent=None) for line in examples.export(found, persona)]
        return exported, len(found) - len(exported)

    exported, kept_back = run(lines())
    write(file, b"".join(exported))
    typer.echo(f"{len(exported)} {status} examples written to {file}", err=True)
    if kept_back:
        typer.echo(f"{kept_back} kept back: not everyone in the workspace may read them", err=True)


def forget(
    user: Annotated[str, typer.Argument(help="Slack's id of the person, such as U0123ABCD.")],
    as_json: Json = False,
) -> None:
    """Erase what rests on one person, and say which datasets and models have seen it."""
    from bot.learning import examples
    from bot.learning.tracing import Forgotten
    from bot.wiring import team_of

    settings = load_settings(log_level="ERROR")

    async def erase() -> Forgotten:
        async with _open_desk(settings, await team_of(settings)) as desk:
            return await examples.forget_person(desk.journal, desk.register, user)

    gone = run(erase())
    datasets, versions = [one.digest for one in gone.datasets], [one.id for one in gone.versions]
    if as_json:
        erased = {"examples": list(gone.example_ids), "draft_pages": list(gone.page_ids)}
        print_json({"erased": erased, "datasets": datasets, "versions": versions})
        return
    typer.echo(f"Erased: {len(gone.example_ids)} examples, {len(gone.page_ids)} draft pages, and what was journalled.")
    if datasets:
        typer.echo(
            f"They were in the datasets {', '.join(one[:12] for one in datasets)}"
            f"{' and seen by ' + ', '.join(versions) if versions else ''}: what was trained on them still knows them."
        )


# What the commands share


@dataclass(frozen=True)
class _Desk:
    """What examples are worked on with."""

    journal: Journal
    register: Register
    rules: Rules

    async def hold_against_the_library(self, standing: Standing, find: Find) -> None:
        """Brings the examples in line with what the library holds now."""
        from bot.learning import examples

        try:
            changed = await examples.recheck(
                self.journal, standing, find=find, register=self.register, rules=self.rules
            )
        except TryAgain as error:
            typer.echo(f"Not held against the library, which cannot be reached: {error}", err=True)
            return
        aside = sum(one.status == "quarantined" for one in changed)
        if aside:
            typer.echo(f"{aside} were put aside, for their pages have changed.", err=True)
        if len(changed) > aside:
            typer.echo(f"{len(changed) - aside} are held by the pages of today, and wait for review.", err=True)

    async def decide(self, id: str, status: ExampleStatus, may_read: frozenset[str]) -> None:
        """Approves or rejects one, or all in which nothing is wrong."""
        from bot.learning import examples

        ids = [id]
        if id == CLEAN and status == "approved":
            candidates = await self.journal.examples("candidate")
            ids = [one.id for one in candidates if not one.problems and examples.may_be_read(one, may_read)]
        for each in ids:
            await examples.review(self.journal, each, status, "command line", may_read, self.rules.persona)
            typer.echo(f"{each} is {status}.", err=True)

    async def edit(self, id: str, answer: str, may_read: frozenset[str]) -> None:
        """Gives one another answer."""
        from bot.learning import examples

        edited = await examples.edit(self.journal, id, answer, "command line", may_read, self.rules.persona)
        typer.echo(f"{id} has another answer{', in which something is wrong' if edited.problems else ''}.", err=True)


@asynccontextmanager
async def _open_desk(settings: Settings, team_id: str) -> AsyncIterator[_Desk]:
    from bot.learning.examples import Rules
    from bot.learning.versions.register import Register
    from bot.wiring import open_journal

    async with open_journal(settings, team_id) as (memory, journal):
        yield _Desk(journal, Register(memory.redis, team_id), Rules.of(settings))


def _warn_of_terms(settings: Settings, provider: str) -> None:
    """Says before it costs anything that the drafts could not be trained on."""
    from bot.learning.judging import OURS

    if provider not in OURS | settings.trainable_providers:
        typer.echo(
            f"What {provider} writes may not be trained on as far as TRAINABLE_PROVIDERS says: the drafts can be "
            "reviewed and shown as examples, and are kept out of every dataset.",
            err=True,
        )


def _print_example(one: Example) -> None:
    state = "" if one.status == "candidate" else f"  {one.status}"
    held_out = "  held out for measuring" if one.is_held_out else ""
    typer.echo(f"\n{one.id}  {one.audience}  {one.origin} by {one.produced_by}{state}{held_out}")
    typer.echo(f"  {one.question}\n  {one.answer}")
    for number, passage in enumerate(one.passages, 1):
        typer.echo(f"    [{number}] {passage.title}: {' '.join(passage.text.split())[:160]}")
    for problem in one.problems:
        typer.echo(f"  ⚠ {problem}")


def _write_pages(folder: Path, drafts: list[DraftPage]) -> None:
    """Writes draft pages as Markdown with front matter; one that somebody has written on already is left alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for page in drafts:
            file = folder / f"{page.id}.md"
            if not file.exists():
                title = json.dumps(page.title, ensure_ascii=False)  # which is YAML, too, whatever the title holds
                front = f"title: {title}\naudience: {page.audience}"
                owner = f"<!-- Draft of {page.owner}: complete and check it, then ingest it. -->"
                file.write_text(f"---\n{front}\n---\n\n{owner}\n\n{page.text}\n", encoding="utf-8")
    except OSError as error:
        typer.echo(f"{folder} cannot be written: {error.strerror}.", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{len(drafts)} draft pages are in {folder}; ingest them once they are complete.", err=True)
