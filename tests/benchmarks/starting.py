"""What a cold `ask` costs as a whole process, beside a process that only imports what it cannot do without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from tests.benchmarks.figures import Figure, at_most

ROOT = Path(__file__).parents[2]
IMPORTS = "onnxruntime, tokenizers, numpy, pydantic, typer, rich"
_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024
# Started from a small process of its own: on Linux a child's peak memory begins with that of the process it came from.
_CLOCK = """
import json, os, sys, time
began = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(child, 0)
print(json.dumps([time.perf_counter() - began, used.ru_maxrss, os.waitstatus_to_exitcode(status)]))
"""


def cold_start(data_dir: Path, question: str, runs: int) -> list[Figure]:
    """Asks from a cold start, in turn with the bare imports; a first pair that fills the disk cache does not count."""
    pairs, peaks_mb = [], []
    for number in range(runs + 1):
        asked_s, peak_mb, printed = _run(data_dir, "-m", "bot", "ask", question)
        bare_s, _, _ = _run(data_dir, "-c", f"import {IMPORTS}")
        if "[1]" not in printed:
            raise SystemExit(f"ask did not answer: {printed}")
        if number:
            pairs.append((asked_s, bare_s))
            peaks_mb.append(peak_mb)
    asked, bare = (median(seconds) for seconds in zip(*pairs, strict=True))
    ratio = median(one / other for one, other in pairs)
    peak = max(peaks_mb)
    return [
        Figure("A cold `ask`", f"{asked:.2f}", "s", f"`python -m bot ask`, the whole process, median of {runs}"),
        Figure("Its bare imports", f"{bare:.2f}", "s", f"`python -c 'import {IMPORTS}'`, in turn with it"),
        Figure("A cold `ask` / its bare imports", f"{ratio:.2f}", "ratio", "median of the pairs", at_most(2, ratio)),
        Figure("Memory of a cold `ask`", f"{peak:.0f}", "MB", "highest resident set", at_most(400, peak)),
    ]


def _run(data_dir: Path, *arguments: str) -> tuple[float, float, str]:
    """Runs Python and gives its seconds, its peak memory in MB, and all that it printed."""
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    clock = subprocess.run(
        [sys.executable, "-S", "-c", _CLOCK, sys.executable, *arguments],
        cwd=ROOT,
        env=environment | {"DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    seconds, peak, status = json.loads(clock.stdout)
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed: {clock.stderr}")
    return seconds, peak * _BYTES_OF_MAXRSS / 2**20, clock.stderr
