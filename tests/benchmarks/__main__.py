"""`python -m tests.benchmarks` prints what this machine measures, in one Markdown table. Every ratio is of two things
that ran in turn in this very run; no figure is compared with one of another day or machine. `--quick` is the same in
small, to see that it runs; `--write README.md` puts the table between the benchmark marks of that file."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bot.journal import Journal
from bot.log import set_up
from bot.memory import open_redis
from bot.settings import LOCAL_TEAM, Settings
from retrieval.chunking import CHUNKER
from retrieval.embedding import MiniLM
from retrieval.index import Index, Page, form_of
from retrieval.index_embedded import EmbeddedIndex
from retrieval.index_weaviate import WeaviateIndex
from retrieval.library import Library
from tests.benchmarks import tuning
from tests.benchmarks.answering import our_share
from tests.benchmarks.clock import TimedEmbedder
from tests.benchmarks.corpus import COMPANY, Author, author_of, cut
from tests.benchmarks.figures import Figure, table, write_between_marks
from tests.benchmarks.finding import fill, find_times, looking, looking_bare
from tests.benchmarks.growth import Point, draw, figures_of
from tests.benchmarks.ingesting import ingest_rate
from tests.benchmarks.many_documents import flat_memory
from tests.benchmarks.peers import beside_peers
from tests.benchmarks.starting import cold_start
from tests.contracts.index_suite import WeaviateKind
from tests.embedded_memory import all_gone_from
from tests.weaviate_server import SKIP_REASON, is_available, running

ALPHA = Settings.model_fields["hybrid_alpha"].default


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    passages: int
    """In the library that is asked, the sample company's own among them."""
    ingests: int
    """Into how many parts the others are ingested."""
    many: tuple[int, ...]
    """Passages in the large libraries."""
    documents: int
    """In the ingest whose memory is watched."""
    questions: int
    starts: int
    steps: int
    """Of each training run."""


FULL = Size(passages=1_000, ingests=4, many=(10_000, 100_000), documents=24_000, questions=240, starts=7, steps=8)
QUICK = Size(passages=225, ingests=2, many=(2_000,), documents=1_000, questions=24, starts=2, steps=2)


class Bench:
    """What the measurements share: one embedder with a clock, one author, one folder."""

    def __init__(self, size: Size, folder: Path) -> None:
        self.size, self.folder, self.data_dir = size, folder, folder / "data"
        self.embedder = TimedEmbedder(MiniLM())
        self.form = form_of(self.embedder.id, CHUNKER)
        self.pages: list[Page] = []
        self.points: list[Point] = []

    async def run(self, with_weaviate: bool, with_tuner: bool) -> list[Figure]:
        """Measures everything, in the order of the table but for the ingest, which comes first."""
        company = cut(COMPANY, self.embedder, LOCAL_TEAM)
        author = author_of(company)
        questions = author.questions(self.size.questions)
        async with AsyncExitStack() as stack:
            index = EmbeddedIndex(self.data_dir / "library", self.form, self.embedder.dimensions, ALPHA)
            library = self.library(index)
            stack.push_async_callback(library.close)
            tell("ingesting")
            folders = [COMPANY, *self.write_folders(author, self.size.passages - len(company))]
            ingest, self.pages = await ingest_rate(library, self.embedder, LOCAL_TEAM, folders)
            tell("answering")
            memory = await stack.enter_async_context(open_redis(None, self.data_dir))
            journal = Journal(memory.redis, LOCAL_TEAM)
            answers = await our_share(library, self.embedder, journal, questions, self.passages)
            tell("finding")
            questions_of_growth = questions[::2]
            await self.find_embedded(library, index, author, questions_of_growth)
            if with_weaviate:
                tell("finding in Weaviate")
                await self.find_weaviate(author, questions_of_growth)
        all_gone_from(self.data_dir)
        tell("ingesting many documents")
        ingest += flat_memory(self.size.documents)
        tell("starting")
        starts = cold_start(self.data_dir, questions[0], self.size.starts)
        if with_tuner:
            tell("tuning")
            starts += await tuning.tune(self.folder, questions[:24], self.size.steps)
        finds = [figure for point in self.points for figure in figures_of(point)]
        return [*answers, *finds, *ingest, *starts]

    @property
    def passages(self) -> int:
        return sum(len(page.passages) for page in self.pages)

    def library(self, index: Index) -> Library:
        """A library that takes anything for sufficient, so that every question goes all the way."""
        return Library(index, self.embedder, self.form, threshold=0.0, model="minilm")

    def write_folders(self, author: Author, passages: int) -> list[Path]:
        """Writes the folders to ingest, with as many passages in all."""
        folders = [self.folder / f"made-{number}" for number in range(self.size.ingests)]
        for number, folder in enumerate(folders):
            author.write_folder(folder, (passages + number) // self.size.ingests)
        return folders

    async def find_embedded(self, library: Library, index: Index, author: Author, questions: Sequence[str]) -> None:
        """Looks in what was ingested, and in many more passages."""
        for team_id, count in await self.libraries(index, author):
            look = looking(library, self.embedder, team_id)
            self.points.append(Point(count, "embedded", await find_times(look, questions)))

    async def find_weaviate(self, author: Author, questions: Sequence[str]) -> None:
        """The same on Weaviate, which starts empty and is left empty, beside its bare client. Nothing is remembered
        from find to find: in a large library most of what is found was not found lately."""
        with running(self.folder) as server:
            kind = WeaviateKind(server)
            await kind.clean()
            index = WeaviateIndex(kind.connection(), self.form, self.embedder.dimensions, ALPHA, remembered=0)
            await fill(index, LOCAL_TEAM, self.pages)
            library, connection = self.library(index), kind.connection()
            libraries = await self.libraries(index, author)
            async with connection.use(within_s=3_600) as client:
                for team_id, count in libraries:
                    look = looking(library, self.embedder, team_id)
                    bare = looking_bare(client, self.embedder, self.form, team_id, ALPHA)
                    self.points.append(Point(count, "Weaviate", await find_times(look, questions, bare)))
            await connection.close()
            await library.close()
            await kind.clean()

    async def libraries(self, index: Index, author: Author) -> list[tuple[str, int]]:
        """Fills the large libraries. Gives each library's team and size, the ingested one first."""
        vectors = np.concatenate([page.vectors for page in self.pages])  # the company's come first
        for count in self.size.many:
            await fill(index, f"T0MANY{count}", author.pages(count, vectors))
        return [(LOCAL_TEAM, self.passages), *((f"T0MANY{count}", count) for count in self.size.many)]


def tell(step: str) -> None:
    """Says on stderr what is measured now."""
    print(f"{step} …", file=sys.stderr, flush=True)


def main() -> None:
    """Reads the arguments, measures, prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it runs, not to be quoted")
    parser.add_argument("--weaviate", choices=("auto", "off"), default="auto", help="auto: where there is one")
    parser.add_argument("--tuner", choices=("auto", "off"), default="auto", help="auto: where it is installed")
    parser.add_argument("--peers", action="store_true", help="also beside LangChain and LlamaIndex, installed apart")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="for --peers: docs.jsonl and questions.jsonl")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between FILE's benchmark marks")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw how finding grows with the library, as SVG")
    arguments = parser.parse_args()
    set_up("WARNING")
    with_weaviate = arguments.weaviate == "auto" and is_available()
    if not with_weaviate:
        tell("without Weaviate" if arguments.weaviate == "off" else SKIP_REASON)
    with_tuner = arguments.tuner == "auto" and tuning.is_available()
    if not with_tuner:
        tell("without the tuner" if arguments.tuner == "off" else tuning.SKIP_REASON)
    beside: list[Figure] = []
    if arguments.peers and with_weaviate:  # first: what cannot be installed is told at once
        tell("beside the peers")
        beside = beside_peers(arguments.quick, arguments.corpus)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        bench = Bench(QUICK if arguments.quick else FULL, Path(folder))
        figures = [*asyncio.run(bench.run(with_weaviate, with_tuner)), *beside]
    if arguments.plot:
        draw(bench.points, arguments.plot)
    print(table(figures))
    if arguments.write:
        options = [f" --{name}" for name in ("quick", "peers") if getattr(arguments, name)]
        command = "python -m tests.benchmarks" + "".join(options)
        write_between_marks(arguments.write, figures, command, arguments.plot)


if __name__ == "__main__":
    main()
