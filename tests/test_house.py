"""The rules of the house that a linter does not know: which room may import which, and that the README's settings table
is the code's."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.settings import Settings

ROOT = Path(__file__).parent.parent
ROOMS = ("bot", "handlers", "retrieval")


def modules(folder: str) -> Iterator[tuple[str, set[str]]]:
    """Gives each file below a folder with the modules that it imports, wherever in the file."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        imported: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        yield str(path.relative_to(ROOT)), imported


def comes_from(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def test_bot_imports_neither_neighbour_but_for_wiring() -> None:
    """`handlers → bot ← retrieval`: only `bot/wiring.py` names the adapters."""
    for path, imported in modules("bot"):
        if path != "bot/wiring.py":
            assert not [one for one in imported if comes_from(one, "handlers") or comes_from(one, "retrieval")], path


def test_handlers_and_retrieval_do_not_know_each_other() -> None:
    """They meet in the nouns of `bot/vocabulary.py`."""
    for room, other in (("handlers", "retrieval"), ("retrieval", "handlers")):
        for path, imported in modules(room):
            assert not [one for one in imported if comes_from(one, other)], path


def test_local_servers_and_the_bot_meet_on_the_wire_only() -> None:
    """Nothing in `bot/local/` imports the bot, nor the bot it."""
    for room in ROOMS:
        for path, imported in modules(room):
            is_local = path.startswith("bot/local/")
            crossing = [
                one
                for one in imported
                if (any(comes_from(one, other) for other in ROOMS) and not comes_from(one, "bot.local"))
                if is_local
            ] + [one for one in imported if comes_from(one, "bot.local") and not is_local]
            assert not crossing, path


def test_every_module_says_what_it_is_for() -> None:
    """A newcomer reads the first lines of a file."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not text.strip() or ast.get_docstring(ast.parse(text)), path


def test_readme_lists_every_setting_with_its_default() -> None:
    """One table in the README; this compares it with `Settings`."""
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.M))
    assert rows == {name.upper(): default_of(name) for name in Settings.model_fields}


def default_of(name: str) -> str:
    default = Settings.model_fields[name].default
    if default is None or default == frozenset():
        return "–"
    if isinstance(default, frozenset):
        return f"`{','.join(sorted(default))}`"
    return f"`{int(default) if isinstance(default, bool) else default}`"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_no_file_is_committed_that_git_ignores() -> None:
    """What a run leaves behind stays out of the repository."""
    ignored = subprocess.run(
        ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ignored.stdout == ""
