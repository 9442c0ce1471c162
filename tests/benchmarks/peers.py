"""An environment with what we are measured beside: LangChain and LlamaIndex, installed by this benchmark alone, on top
of the environment that runs it. Theirs never enters ours: ours is only looked into, by a line in a `.pth` file, and
every version of it stays as it is."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.metadata import distributions
from pathlib import Path

from tests.benchmarks.figures import Figure

ROOT = Path(__file__).parents[2]
PEERS = (
    "langchain-core==1.7.2",
    "langchain-weaviate==0.0.8",
    "llama-index-core==0.14.25",
    "llama-index-vector-stores-weaviate==1.7.1",
)


def environment() -> Path:
    """Gives the Python of the peers' environment, below our own; makes it when it is not there, or not of these
    versions.

    Raises SystemExit when they cannot be installed.
    """
    folder = Path(sys.prefix) / "peers"
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join((sys.version, *PEERS))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    venv.create(folder, clear=True, with_pip=True, symlinks=True)
    home = sysconfig.get_path("purelib", vars={"base": str(folder)})
    (Path(home) / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as constraints:
        ours = {f"{one.name}=={one.version}" for one in distributions() if one.name not in ("pip", "setuptools")}
        constraints.write("\n".join(sorted(ours)))
        constraints.flush()
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", constraints.name, *PEERS]
        if subprocess.run([str(python), *install]).returncode:
            raise SystemExit("the peers could not be installed: see what pip says above")
    stamp.write_text(wanted, encoding="utf-8")
    return python


def beside_peers(is_quick: bool, corpus: Path | None = None) -> list[Figure]:
    """Runs `tests.benchmarks.beside` where the peers are installed, and gives its figures."""
    command = [str(environment()), "-m", "tests.benchmarks.beside", *(["--quick"] if is_quick else [])]
    if corpus:
        questions = min(corpus.glob("questions*.jsonl"), key=lambda file: len(file.name))
        command += ["--corpus", str(corpus / "docs.jsonl"), "--questions", str(questions)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit("the comparison with the peers failed: see above")
    return [Figure(**fields) for fields in json.loads(done.stdout.splitlines()[-1])]
