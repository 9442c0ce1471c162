"""`train gate`, `promote`, `rollback`: which version answers, in the shell."""

from __future__ import annotations

import typer


def register(train: typer.Typer) -> None:
    """Adds the commands."""
