"""`python -m tests.benchmarks.beside`: ours beside LangChain and LlamaIndex, in one process, with one embedder, one
Weaviate, and the same passages. Everything takes turns, question by question and folder by folder. What is compared is
*overhead*: what each takes beyond the embedder, and, of a question, beyond the bare client's search of the very same
collection. Runs where `peers.py` has installed them; its last line is the figures as JSON."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from statistics import fmean, median
from typing import Any
from urllib.parse import urlsplit

from bot.evaluating import read_questions
from bot.log import set_up
from bot.persona import load_persona
from bot.settings import LOCAL_TEAM, Settings
from bot.terminal import SilentReply
from bot.vocabulary import Passage, Question
from retrieval.chunking import CHUNKER, embedded_text
from retrieval.embedding import MiniLM
from retrieval.index import form_of
from retrieval.index_weaviate import WeaviateIndex
from retrieval.library import Library
from tests.benchmarks.answering import READABLE, InstantModel
from tests.benchmarks.clock import TimedEmbedder, ms_since
from tests.benchmarks.corpus import COMPANY, author_of, cut
from tests.benchmarks.figures import Figure, at_least, at_most
from tests.benchmarks.finding import K, bare_search
from tests.contracts.index_suite import WeaviateKind
from tests.weaviate_server import SKIP_REASON, Server, is_available, running

ALPHA = Settings.model_fields["hybrid_alpha"].default
OURS, LANGCHAIN, LLAMAINDEX = "Footnote", "LangChain", "LlamaIndex"
NAMES = (OURS, LANGCHAIN, LLAMAINDEX)
COLD = "Footnote, nothing remembered"
REPLY = "It is under Settings, where it can be changed at any time."
WARM_UP = 5
LEAST = 0.01
"""Below it, an overhead is none, and no ratio is made of it."""

Call = Callable[[str], Any]
"""What is timed; when it gives an awaitable, that is awaited."""


@dataclass(frozen=True)
class Way:
    """One way to ask, beside the bare client's search of what it asks."""

    of: str
    call: Call
    bare: Call


class Peers:
    """LangChain and LlamaIndex on collections of their own, in the fastest configuration that they document: the
    client's own hybrid search over the text alone, a filter on a property that is matched whole, vectors of ours."""

    def __init__(self, server: Server, client: Any, embedder: TimedEmbedder) -> None:
        from langchain_core.embeddings import Embeddings
        from langchain_weaviate import WeaviateVectorStore as LangChainStore
        from llama_index.core.embeddings import BaseEmbedding
        from llama_index.vector_stores.weaviate import WeaviateVectorStore as LlamaIndexStore

        class ForLangChain(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return embedder.embed_passages(texts).tolist()

            def embed_query(self, text: str) -> list[float]:
                return embedder.embed_query(text).tolist()

            async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
                return self.embed_documents(texts)  # nobody else waits here: a thread would only cost

            async def aembed_query(self, text: str) -> list[float]:
                return self.embed_query(text)

        class ForLlamaIndex(BaseEmbedding):
            def _get_query_embedding(self, query: str) -> list[float]:
                return embedder.embed_query(query).tolist()

            async def _aget_query_embedding(self, query: str) -> list[float]:
                return self._get_query_embedding(query)

            def _get_text_embedding(self, text: str) -> list[float]:
                return embedder.embed_passages([text])[0].tolist()

            def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
                return embedder.embed_passages(texts).tolist()

            async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
                return self._get_text_embeddings(texts)

        self.client, self.waiting = client, connect(server)
        for name in (LANGCHAIN, LLAMAINDEX):
            self.waiting.collections.delete(name)  # of a run that was killed
            self.waiting.collections.create(name, properties=_properties(), vector_config=_vectors())
        self.langchain = LangChainStore(self.waiting, LANGCHAIN, "text", ForLangChain(), client_async=client)
        self.llamaindex = LlamaIndexStore(weaviate_client=self.waiting, index_name=LLAMAINDEX)
        self.llamaindex_async = LlamaIndexStore(weaviate_client=client, index_name=LLAMAINDEX)
        self.embedding = ForLlamaIndex(embed_batch_size=2048)

    async def ingest_langchain(self, passages: Sequence[Passage]) -> None:
        """Embeds and stores; asynchronously, for its synchronous batches wait a second."""
        from langchain_core.documents import Document

        documents = [Document(page_content=embedded_text(passage), metadata=_metadata(passage)) for passage in passages]
        await self.langchain.aadd_documents(documents, ids=[passage.id for passage in passages])

    async def ingest_llamaindex(self, passages: Sequence[Passage]) -> None:
        """Embeds and stores; asynchronously, for its synchronous batches wait a second."""
        from llama_index.core.ingestion import IngestionPipeline
        from llama_index.core.schema import TextNode

        hidden = list(_metadata(passages[0]))
        nodes = [
            TextNode(
                id_=passage.id,
                text=embedded_text(passage),
                metadata=_metadata(passage),
                excluded_embed_metadata_keys=hidden,
                excluded_llm_metadata_keys=hidden,
            )
            for passage in passages
        ]
        pipeline = IngestionPipeline(
            transformations=[self.embedding], vector_store=self.llamaindex_async, disable_cache=True
        )
        await pipeline.arun(nodes=nodes)

    def finds(self, embedder: TimedEmbedder) -> list[Way]:
        """Each search, synchronous and not."""
        from weaviate.classes.query import Filter

        readable = Filter.by_property("audience").contains_any(sorted(READABLE))
        asked = {"k": K, "alpha": ALPHA, "filters": readable, "query_properties": ["text"]}
        waiting, client = self._bare(embedder)
        ours, theirs = self._retrievers()
        return [
            Way(LANGCHAIN, lambda text: self.langchain.similarity_search(text, **asked), waiting[LANGCHAIN]),
            Way(LANGCHAIN, lambda text: self.langchain.asimilarity_search(text, **asked), client[LANGCHAIN]),
            Way(LLAMAINDEX, ours.retrieve, waiting[LLAMAINDEX]),
            Way(LLAMAINDEX, theirs.aretrieve, client[LLAMAINDEX]),
        ]

    def answers(self, embedder: TimedEmbedder) -> list[Way]:
        """Each whole answer, by a model that says the same at once: the chain and the query engine of the manuals."""
        from langchain_core.language_models import FakeListChatModel
        from langchain_core.output_parsers import StrOutputParser
        from langchain_core.prompts import ChatPromptTemplate
        from langchain_core.runnables import RunnablePassthrough
        from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
        from llama_index.core.query_engine import RetrieverQueryEngine
        from weaviate.classes.query import Filter

        class Instant(CustomLLM):
            @property
            def metadata(self) -> LLMMetadata:
                return LLMMetadata()

            def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
                return CompletionResponse(text=REPLY)

            async def acomplete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
                return CompletionResponse(text=REPLY)

            def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
                raise NotImplementedError

        readable = Filter.by_property("audience").contains_any(sorted(READABLE))
        asked = {"k": K, "alpha": ALPHA, "filters": readable, "query_properties": ["text"]}
        retriever = self.langchain.as_retriever(search_kwargs=asked)
        prompt = ChatPromptTemplate.from_template("Answer from the context:\n{context}\n\nQuestion: {question}")
        context = (lambda asked: asked["question"]) | retriever | _joined
        model = FakeListChatModel(responses=[REPLY])
        answer = RunnablePassthrough.assign(context=context) | prompt | model | StrOutputParser()
        engines = [
            RetrieverQueryEngine.from_args(retriever, llm=Instant(), response_mode="simple_summarize")
            for retriever in self._retrievers()
        ]
        waiting, client = self._bare(embedder)
        return [
            Way(LANGCHAIN, lambda text: answer.invoke({"question": text}), waiting[LANGCHAIN]),
            Way(LANGCHAIN, lambda text: answer.ainvoke({"question": text}), client[LANGCHAIN]),
            Way(LLAMAINDEX, engines[0].query, waiting[LLAMAINDEX]),
            Way(LLAMAINDEX, engines[1].aquery, client[LLAMAINDEX]),
        ]

    def _bare(self, embedder: TimedEmbedder) -> tuple[dict[str, Call], dict[str, Call]]:
        waiting, client = (
            {name: bare_search(one.collections.use(name), embedder, ALPHA, ["text"]) for name in NAMES[1:]}
            for one in (self.waiting, self.client)
        )
        return waiting, client

    def _retrievers(self) -> tuple[Any, Any]:
        from llama_index.core import VectorStoreIndex
        from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters

        readable = MetadataFilter(key="audience", value=sorted(READABLE), operator=FilterOperator.ANY)
        waiting, client = (
            VectorStoreIndex.from_vector_store(store, embed_model=self.embedding).as_retriever(
                similarity_top_k=K,
                vector_store_query_mode="hybrid",
                alpha=ALPHA,
                filters=MetadataFilters(filters=[readable]),
                vector_store_kwargs={"query_properties": ["text"], "include_vector": False},
            )
            for store in (self.llamaindex, self.llamaindex_async)
        )
        return waiting, client


def connect(server: Server) -> Any:
    """Opens a synchronous client."""
    import weaviate
    from weaviate.classes.init import Auth

    http = urlsplit(server.url)
    grpc = urlsplit(server.grpc_url or f"{http.scheme}://{http.hostname}:50051")
    return weaviate.connect_to_custom(
        http.hostname,
        http.port or 80,
        http.scheme == "https",
        grpc.hostname,
        grpc.port or 50051,
        grpc.scheme == "https",
        auth_credentials=Auth.api_key(server.key) if server.key else None,
    )


def _properties() -> list[Any]:
    from weaviate.classes.config import DataType, Property, Tokenization

    labels = ("title", "section", "url", "audience", "source", "document_id")
    theirs = ("doc_id", "ref_doc_id", "_node_content", "_node_type")
    return [
        Property(name="text", data_type=DataType.TEXT),
        *(
            Property(name=name, data_type=DataType.TEXT, tokenization=Tokenization.FIELD, index_searchable=False)
            for name in (*labels, *theirs)
        ),
    ]


def _vectors() -> Any:
    from weaviate.classes.config import Configure

    return Configure.Vectors.self_provided()


def _metadata(passage: Passage) -> dict[str, str]:
    fields = passage.model_dump(include={"title", "section", "audience", "source", "document_id"})
    return {**fields, "url": passage.url or ""}


def _joined(documents: Sequence[Any]) -> str:
    return "\n\n".join(document.page_content for document in documents)


async def ask_in_turn(ways: Sequence[Way], questions: Sequence[str], rounds: int) -> dict[str, float]:
    """Gives the median of the milliseconds that each takes over the bare client, whichever way it is asked least. Of
    each question the least of some rounds counts on both sides: what else the machine does is nobody's overhead."""
    least: dict[tuple[int, str, bool], float] = {}
    for number, text in enumerate([*questions[-WARM_UP:], *chain.from_iterable([questions] * rounds)]):
        for place in range(len(ways)):
            way = (number + place) % len(ways)
            for is_bare in (False, True) if number % 2 else (True, False):
                spent = await _timed(ways[way].bare if is_bare else ways[way].call, text)
                if number >= WARM_UP:
                    least[way, text, is_bare] = min(spent, least.get((way, text, is_bare), spent))
    medians = [
        (way.of, median(least[number, text, False] - least[number, text, True] for text in questions))
        for number, way in enumerate(ways)
    ]
    return {name: min(ms for of, ms in medians if of == name) for name, _ in medians}


async def _timed(call: Call, text: str) -> float:
    began = time.perf_counter()
    done = call(text)
    if inspect.isawaitable(done):
        await done
    return ms_since(began)


async def hits(ways: Sequence[Way], asked: Sequence[tuple[str, Sequence[str]]]) -> dict[str, float]:
    """Gives the share of questions that find a right page among the best."""
    by_name: dict[str, float] = {}
    for way in ways:
        right = []
        for text, gold in asked:
            found = way.call(text)
            found = await found if inspect.isawaitable(found) else found
            right.append(bool(set(gold) & {_document_of(one) for one in getattr(found, "hits", found)}))
        by_name[way.of] = fmean(right)
    return by_name


def _document_of(found: Any) -> str:
    return found.passage.document_id if hasattr(found, "passage") else found.metadata["document_id"]


class Comparison:
    """What is compared, step by step."""

    def __init__(self, corpus: Path, questions: Path, is_quick: bool) -> None:
        self.corpus, self.is_quick = corpus, is_quick
        self.embedder = TimedEmbedder(MiniLM())
        self.form = form_of(self.embedder.id, CHUNKER)
        asked = [one for one in read_questions(questions) if not one.history]
        self.gold = [(one.question, one.gold_doc_ids) for one in asked if one.gold_doc_ids]
        self.questions = [text for text, _ in self.gold][: 12 if is_quick else 100]

    async def run(self, folder: Path) -> list[Figure]:
        """Compares everything, on a Weaviate that starts empty and is left empty."""
        passages = cut(self.corpus, self.embedder, LOCAL_TEAM)
        async with AsyncExitStack() as stack:
            server = stack.enter_context(running(folder))
            kind = WeaviateKind(server)
            await kind.clean()
            stack.push_async_callback(kind.clean)
            self.library = Library(
                kind.new(self.form, self.embedder.dimensions, ALPHA), self.embedder, self.form, 0.0, "minilm"
            )
            stack.push_async_callback(self.library.close)
            forgetful = WeaviateIndex(kind.connection(), self.form, self.embedder.dimensions, ALPHA, remembered=0)
            cold = Library(forgetful, self.embedder, self.form, 0.0, "minilm")
            stack.push_async_callback(cold.close)
            connection = kind.connection()
            stack.push_async_callback(connection.close)
            client = await stack.enter_async_context(connection.use(within_s=3_600))
            peers = Peers(server, client, self.embedder)
            stack.callback(_forget, peers)
            await self.library.ingest(LOCAL_TEAM, self.corpus)
            await peers.ingest_langchain(passages)
            await peers.ingest_llamaindex(passages)
            ours = bare_search(
                client.collections.use(f"Passages_{self.form}").with_tenant(LOCAL_TEAM), self.embedder, ALPHA
            )
            finds = [Way(OURS, partial(self.find, self.library), ours), *peers.finds(self.embedder)]
            found = await hits(finds, self.gold)
            finds.append(Way(COLD, partial(self.find, cold), ours))
            rounds = 2 if self.is_quick else 10
            find_ms = await ask_in_turn(finds, self.questions, rounds)
            answers = [Way(OURS, self.answer, ours), *peers.answers(self.embedder)]
            answer_ms = await ask_in_turn(answers, self.questions, rounds)
            ingested = await self.ingest(folder, passages, peers)  # last: the peers have all in one place
        return [*self._of_questions(find_ms, answer_ms, found, len(passages)), *ingested]

    async def find(self, library: Library, text: str) -> Any:
        """Finds as an asker's question does."""
        return await library.find(self._question(text), K)

    async def answer(self, text: str) -> None:
        """Answers as the worker does, without its journal."""
        from bot.answering import Voice, answer

        await answer(
            self._question(text),
            find=partial(self.library.find, around=True),
            voice=Voice(InstantModel(is_whole=True)),
            persona=load_persona(),
            reply=SilentReply(),
        )

    def _question(self, text: str) -> Question:
        return Question(id="benchmark", team_id=LOCAL_TEAM, text=text, readable=READABLE)

    async def ingest(self, folder: Path, passages: Sequence[Passage], peers: Peers) -> list[Figure]:
        """Takes in folders of made pages, each by all three in turn. The peers get them already read and cut, ours
        reads and cuts them itself."""
        author, count = author_of(passages), 40 if self.is_quick else 512
        team, spent = "T0MADE", {name: list[float]() for name in NAMES}
        rates = {name: list[float]() for name in NAMES}
        for number in range(1 if self.is_quick else 3):
            made = folder / f"made-{number}"
            author.write_folder(made, count)
            cuttings = cut(made, self.embedder, team)
            takers: list[tuple[str, Callable[[], Awaitable[object]]]] = [
                (OURS, lambda made=made: self.library.ingest(team, made)),
                (LANGCHAIN, lambda cuttings=cuttings: peers.ingest_langchain(cuttings)),
                (LLAMAINDEX, lambda cuttings=cuttings: peers.ingest_llamaindex(cuttings)),
            ]
            for place in range(len(takers)):
                name, take = takers[(number + place) % len(takers)]
                self.embedder.passages_ms, began = 0.0, time.perf_counter()
                await take()
                whole_ms = ms_since(began)
                spent[name].append((whole_ms - self.embedder.passages_ms) / len(cuttings))
                rates[name].append(1_000 * len(cuttings) / whole_ms)
        over = {name: median(each) for name, each in spent.items()}
        rate = {name: median(each) for name, each in rates.items()}
        how = f"beyond the embedder; made folders of {count} passages; the peers' come read and cut"
        return [
            *_beside("Ingest", over, "s per 1,000 passages", how, 0.5),
            Figure("… in all", _three(rate, ".0f"), "passages/s", "the embedder included"),
        ]

    def _of_questions(
        self, find: dict[str, float], answer: dict[str, float], found: dict[str, float], passages: int
    ) -> list[Figure]:
        over = f"beyond the bare client's search, p50; {len(self.questions)} questions over {passages} passages in turn"
        wrote = "the same, by a model that writes at once; ours reads around the best passage and checks each sentence"
        best = max(found[name] for name in NAMES[1:])
        aim = at_most(round(find[LANGCHAIN], 2), find[OURS], " ms")
        return [
            Figure("The peers", "–", "", versions()),
            Figure("A find beside peers", _three(find, ".2f"), "ms", f"{over}: {', '.join(NAMES)}", aim),
            Figure("… first time", f"{find[COLD]:.2f}", "ms", "ours, when no passage that is found was found before"),
            *_beside("A whole answer", answer, "ms", wrote, 0.5),
            Figure(
                "hit@5 beside peers",
                _three(found, ".3f"),
                "share",
                f"{len(self.gold)} questions whose pages are known",
                at_least(round(best, 3), round(found[OURS], 3)),
            ),
        ]


def _beside(what: str, by_name: dict[str, float], unit: str, how: str, limit: float) -> list[Figure]:
    """Two rows: the three of them, and ours as a part of the better peer's."""
    ratio = max(LEAST, by_name[OURS]) / max(LEAST, min(by_name[name] for name in NAMES[1:]))
    return [
        Figure(f"{what} beside peers", _three(by_name, ".2f"), unit, f"{how}: {', '.join(NAMES)}"),
        Figure("… / the better peer's", f"{ratio:.2f}", "ratio", "of the row above", at_most(limit, ratio)),
    ]


def _three(by_name: dict[str, float], form: str) -> str:
    return " / ".join(format(by_name[name], form) for name in NAMES)


def _forget(peers: Peers) -> None:
    for name in NAMES[1:]:
        peers.waiting.collections.delete(name)
    peers.waiting.close()


def versions() -> str:
    """Names what was compared."""
    packages = ("langchain-core", "langchain-weaviate", "llama-index-core", "llama-index-vector-stores-weaviate")
    return ", ".join(f"{package} {version(package)}" for package in packages)


def main() -> None:
    """Reads the arguments, compares, prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.beside", description=__doc__)
    parser.add_argument("--corpus", type=Path, default=COMPANY, help="a folder or file of documents")
    parser.add_argument("--questions", type=Path, default=COMPANY.parent / "questions.jsonl", help="with gold_doc_ids")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    set_up("WARNING")
    if not is_available():
        raise SystemExit(SKIP_REASON)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        comparison = Comparison(arguments.corpus.resolve(), arguments.questions, arguments.quick)
        figures = asyncio.run(comparison.run(Path(folder)))
    print(json.dumps([asdict(figure) for figure in figures]))


if __name__ == "__main__":
    main()
