"""What all commands share: reading the settings, running, printing results, and saying what went wrong in a sentence.
Results go to stdout, progress and logs to stderr."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from bot.errors import FootnoteError, TellUser
from bot.log import set_up
from bot.settings import Settings
from bot.vocabulary import PUBLIC, WORKSPACE

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
AudienceOption = Annotated[
    str, typer.Option("--audience", help="The place to read from: public, workspace, channel:ID or group:ID.")
]


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


def run(coroutine: Coroutine[Any, Any, T], *, interrupted: str = "") -> T:
    """Runs a command; what goes wrong on purpose is a sentence, not a traceback, and so is `interrupted` on Ctrl-C."""
    gc.freeze()  # What is imported stays, and so does most of what is made at first: a tenth of a cold `ask` went
    gc.set_threshold(50_000, 20, 100)  # into looking through it for garbage again and again, and once more at the end.
    try:
        return asyncio.run(coroutine)
    except FootnoteError as error:
        typer.echo(explained(error), err=True)
        raise typer.Exit(2 if isinstance(error, TellUser) else 1) from None
    except KeyboardInterrupt:
        if interrupted:
            typer.echo(f"\n{interrupted}", err=True)
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
