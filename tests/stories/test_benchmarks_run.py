"""The benchmarks run, in small, from end to end; how fast anything is, no test says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_small_form_prints_every_figure_and_writes_them_between_the_marks(tmp_path: Path) -> None:
    """What stood between the marks is replaced, and what stands around them is kept."""
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nafter\n", encoding="utf-8")
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--weaviate", "off", "--tuner", "off"]
    command += ["--write", str(page)]
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr

    rows = dict(re.findall(r"^\| ([^|]+) \| ([\d., /]+) \|", done.stdout, re.M))
    for figure in (
        "Our share of an answer", "… with the journal", "Embedding a question", "Finding, 2,000 passages, embedded",
        "Ingest / embedder alone", "Memory growth of ingesting", "Memory of a long ingest",
        "A cold `ask` / its bare imports", "Memory of a cold `ask`",
    ):  # fmt: skip
        assert figure in rows, done.stdout

    written = page.read_text(encoding="utf-8")
    assert written.startswith("before\n<!-- benchmarks -->\nMeasured on ")
    assert written.endswith(f"{done.stdout}<!-- /benchmarks -->\nafter\n")
