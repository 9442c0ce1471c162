"""A re-embedding that is killed: what was answered from is answered from, and the next run goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from bot.vocabulary import Question
from retrieval.embedding import Embedder
from retrieval.forms import Form
from retrieval.forms_embedded import EmbeddedForms
from retrieval.library import Library
from tests.hashing_embedder import HashingEmbedder

PAGES = 2_000
TO_KILL = """
import asyncio, sys, time
from pathlib import Path
from tests.chaos.test_reembedding import opened
from tests.hashing_embedder import HashingEmbedder

class Slow(HashingEmbedder):
    def embed_passages(self, texts):
        print(self.embedded, flush=True)
        time.sleep(0.05)
        return super().embed_passages(texts)

asyncio.run(opened(Path(sys.argv[1]), Slow("wide", 96)).reembed())
"""


def opened(folder: Path, embedder: HashingEmbedder) -> Library:
    """Opens the embedded library of a folder with a hashing model."""
    forms, name = EmbeddedForms(folder, 0.5), embedder.id.removeprefix("hashing/")
    own = Form.made_by(embedder, name)

    def embedder_of(form: Form) -> Embedder:
        return HashingEmbedder(form.model, form.dimensions)

    return Library(forms.index(own), embedder, own, 0.0, name, forms=forms, embedder_of=embedder_of)


def kill_in_the_middle(folder: Path) -> None:
    """Has another process embed anew, and kills it when it has embedded 500 passages."""
    with subprocess.Popen(
        [sys.executable, "-c", TO_KILL, str(folder)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    ) as killed:
        assert killed.stdout
        for told in killed.stdout:
            if told.strip().isdigit() and int(told) >= 500:
                break
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL


async def test_a_killed_re_embedding_leaves_the_old_form_live_and_goes_on_later(tmp_path: Path) -> None:
    """SIGKILL in the middle of the new form: it is there in part, nobody reads from it, and what is in it is not
    embedded twice."""
    source, folder = tmp_path / "docs.jsonl", tmp_path / "library"
    lines = [json.dumps({"id": f"p{n}", "title": "T", "text": f"The number {n} stands here."}) for n in range(PAGES)]
    source.write_text("\n".join(lines))
    running = opened(folder, HashingEmbedder("small"))
    await running.ingest("T1", source)
    await asyncio.to_thread(kill_in_the_middle, folder)
    question = Question(id="q", team_id="T1", text="the number 1700", readable=frozenset({"workspace"}))
    assert len((await running.find(question)).hits) == 5
    live, coming = await running.forms()
    assert (live.model, live.documents, coming.model) == ("small", PAGES, "wide")
    assert 0 < coming.documents < PAGES
    again = opened(folder, HashingEmbedder("wide", 96))
    report = await again.reembed()
    assert (report.is_live, report.problems, report.documents) == (True, (), PAGES - coming.documents)
    assert len((await again.find(question)).hits) == 5
    await asyncio.gather(running.close(), again.close())
