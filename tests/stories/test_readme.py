"""What the README shows is what a run prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shown(question: str) -> str:
    block = re.search(rf'<!-- shown: ask "{re.escape(question)}" -->\n```console\n\$ [^\n]*\n(.*?)```', README, re.S)
    assert block, "the README does not show this command"
    return block[1]


def bot(data_dir: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    command = [sys.executable, "-m", "bot", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"DATA_DIR": str(data_dir)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_answer_in_the_readme_is_the_one_that_is_printed(tmp_path: Path) -> None:
    """The sample company's pages are copied, so that their age is today's as after a fresh clone."""
    pages = shutil.copytree(ROOT / "bot" / "local" / "company" / "pages", tmp_path / "pages", copy_function=shutil.copy)
    bot(tmp_path / "data", "ingest", str(pages))
    question = "How do I reset my API key?"
    assert bot(tmp_path / "data", "ask", question) == shown(question)
