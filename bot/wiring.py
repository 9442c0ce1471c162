"""From Settings to a running bot, read from top to bottom like a packing list. The only file of `bot/` that knows the
rooms beside it. Every part is entered on an exit stack, so that shutting down is starting up in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from bot.doctor import Finding
from bot.errors import Broken, FootnoteError, LibraryUnavailable, TellUser, TryAgain
from bot.log import cause_of, log, trouble
from bot.settings import LOCAL_TEAM, Settings
from bot.vocabulary import PUBLIC, Answer, Endpoint, Example, Found, IngestReport, Question, TuningJob

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

    from bot.answering import Demonstrate, PersonaModel, Reply
    from bot.journal import Journal
    from bot.learning.tuning.jobs import Tuning
    from bot.learning.versions.register import Register
    from bot.learning.versions.voices import Voices
    from bot.memory import Memory
    from bot.persona import Persona
    from bot.rewriting import Rewriter
    from retrieval.library import Library

Part = TypeVar("Part")

PAUSE_S = 60
"""Seconds before what broke beside the work is begun anew."""
DRAIN_S = 22
"""Seconds that running answers get to end after SIGTERM: platforms kill after 30."""


@dataclass(frozen=True)
class Thinking:
    """The parts that answer: they need neither Slack nor memory."""

    library: Library
    persona: Persona
    voices: Voices
    deadline_s: float
    rewrite: Rewriter | None = None

    async def find(self, question: Question, k: int = 5, *, without: frozenset[str] = frozenset()) -> Found:
        """Finds what an answer is written from: a follow-up is rewritten first, where there is a model for it, and what
        stands around the best passage is read with it."""
        return await self.library.find(question, k, without=without, rewrite=self.rewrite, around=True)

    async def answer(self, question: Question, reply: Reply) -> Answer:
        """Answers a question into a reply."""
        from bot.answering import answer

        return await answer(
            question,
            find=self.find,
            voice=await self.voices.at(question.channel_id),
            persona=self.persona,
            reply=reply,
            deadline_s=self.deadline_s,
        )


@asynccontextmanager
async def open_thinking(
    settings: Settings, register: Register | None = None, journal: Journal | None = None
) -> AsyncIterator[Thinking]:
    """Opens library, persona and persona models. Without a register the configured model answers; without a journal
    there are no examples to show it."""
    from bot.persona import load_persona
    from bot.rewriting import Rewriter
    from retrieval.library import open_library

    async with AsyncExitStack() as stack:
        library = await stack.enter_async_context(open_library(settings))
        persona = load_persona(settings.persona_file)
        demonstrate = demonstrations(settings, library, journal) if journal and has_model_server(settings) else None
        voices = await stack.enter_async_context(open_voices(settings, register, demonstrate))
        # Not by a tuned version: it was taught to answer, not to say what was asked.
        rewrite = Rewriter(voices.configured.model) if settings.persona_model else None
        yield Thinking(library, persona, voices, settings.answer_deadline_s, rewrite)


@asynccontextmanager
async def open_asking(settings: Settings) -> AsyncIterator[tuple[str, Thinking]]:
    """Opens what a question of the command line needs, with its team. The version that is live in Slack answers here,
    too; where no model server is set there can be none, and the memory is left alone."""
    async with AsyncExitStack() as stack:
        team_id = await team_of(settings)
        register = journal = None
        if has_model_server(settings):
            from bot.learning.versions.register import Register

            memory, journal = await stack.enter_async_context(open_journal(settings, team_id))
            register = Register(memory.redis, team_id)
        yield team_id, await stack.enter_async_context(open_thinking(settings, register, journal))


def has_model_server(settings: Settings) -> bool:
    """Whether anything but the quoting persona can answer, which neither has versions nor looks at examples."""
    return bool(settings.tuner_base_url or settings.openai_base_url or settings.openai_api_key)


def demonstrations(settings: Settings, library: Library, journal: Journal) -> Demonstrate:
    """Gives what finds the approved examples to show to an untuned model."""
    from bot.learning.nearest import Nearest

    standing = partial(library.standing, journal.team_id)
    return Nearest(journal, library.question_vector, standing, most=settings.demonstrations)


@asynccontextmanager
async def open_voices(
    settings: Settings, register: Register | None = None, demonstrate: Demonstrate | None = None
) -> AsyncIterator[Voices]:
    """Opens whoever can answer."""
    from bot.learning.versions.voices import Voices
    from bot.persona import load_persona

    persona = load_persona(settings.persona_file)
    voices = Voices(configured_model(settings), partial(model_at, settings), register, demonstrate, persona=persona)
    try:
        yield voices
    finally:
        await voices.aclose()


def configured_model(settings: Settings) -> PersonaModel:
    """Gives the model that PERSONA_MODEL names, or the quoting one."""
    if settings.persona_model is not None:
        return model_at(settings, "persona", settings.persona_model)
    from bot.model_quoting import QuotingModel

    return QuotingModel()


def model_at(settings: Settings, endpoint: Endpoint, name: str) -> PersonaModel:
    """Gives the model of a name at an endpoint. Raises TellUser when the settings lack that endpoint."""
    from bot.model_openai import OpenAIModel

    base_url, api_key = endpoint_of(settings, endpoint)
    return OpenAIModel(name, base_url=base_url, api_key=api_key, timeout_s=settings.model_timeout_s)


def endpoint_of(settings: Settings, endpoint: Endpoint) -> tuple[str | None, str | None]:
    """Gives base URL and key of an endpoint; the tuner's are the persona's where it has none of its own.

    Raises TellUser when the settings name neither.
    """
    base_url, api_key = settings.openai_base_url, settings.openai_api_key
    if endpoint == "tuner" and settings.tuner_base_url:
        base_url, api_key = settings.tuner_base_url, settings.tuner_api_key
    if base_url is None and api_key is None:
        raise TellUser(
            "No model server is set: TUNER_BASE_URL and TUNER_API_KEY (`python -m bot tuner` starts one and prints "
            "them), or OPENAI_BASE_URL and OPENAI_API_KEY."
        )
    return base_url, api_key.get_secret_value() if api_key else None


@asynccontextmanager
async def open_tuning(settings: Settings, register: Register) -> AsyncIterator[Tuning]:
    """Opens the tuning of a persona; the tuner is connected to only when something is to be tuned."""
    from bot.learning.tuning.client import Tuner
    from bot.learning.tuning.jobs import Tuning

    tuning = Tuning(register, lambda: Tuner(*endpoint_of(settings, "tuner")), base=settings.tuner_model)
    try:
        yield tuning
    finally:
        await tuning.aclose()


async def end_of(settings: Settings, endpoint: Endpoint, model: str) -> date | None:
    """Asks when a model will be shut down; None where its server does not say. Raises FootnoteError."""
    from bot.learning.tuning.client import Tuner

    server = Tuner(*endpoint_of(settings, endpoint))
    try:
        return await server.ends_on(model)
    finally:
        await server.aclose()


@asynccontextmanager
async def open_journal(settings: Settings, team_id: str) -> AsyncIterator[tuple[Memory, Journal]]:
    """Opens the memory and the team's journal in it."""
    from bot.journal import Journal
    from bot.memory import open_redis

    async with open_redis(settings.redis_url, settings.data_dir) as memory:
        yield memory, Journal(memory.redis, team_id, retention_days=settings.retention_days)


@dataclass(frozen=True)
class Identity:
    """Who the bot is in Slack, and whose library and journal it uses: its team's, unless TEAM_ID names another."""

    team_id: str
    slack_team_id: str
    bot_user_id: str


async def identify(client: AsyncWebClient, settings: Settings) -> Identity:
    """Asks Slack who the token is. Raises Broken when it is not taken, SlackUnavailable when Slack is not there."""
    from handlers.slack import SlackRefused, call

    try:
        me = await call(client.auth_test())
    except SlackRefused as error:
        raise Broken(f"SLACK_BOT_TOKEN is not taken: {error.code}. Copy it again from the app's OAuth page.") from error
    slack_team_id = str(me["team_id"])
    return Identity(settings.team_id or slack_team_id, slack_team_id, str(me["user_id"]))


async def team_of(settings: Settings) -> str:
    """Gives the team whose library and journal the command line works on."""
    from handlers.slack import open_client

    if settings.team_id:
        return settings.team_id
    if settings.slack_bot_token is None:
        return LOCAL_TEAM
    async with open_client(settings) as client:
        return (await identify(client, settings)).team_id


@asynccontextmanager
async def open_library_of(settings: Settings) -> AsyncIterator[tuple[str, Library]]:
    """Opens the library alone, with the team that the command line works on."""
    from retrieval.library import open_library

    team_id = await team_of(settings)
    async with open_library(settings) as library:
        yield team_id, library


async def hold_examples_against(library: Library, settings: Settings, team_id: str) -> None:
    """Brings the examples in line with documents that the command line has read or removed, where there is a memory.
    Never fails: what cannot be done now is done by the next review."""
    from bot.learning.correcting import catch_up
    from bot.learning.judging import Rules

    if not (settings.redis_url or (settings.data_dir / "valkey").is_dir()):
        return
    try:
        async with open_journal(settings, team_id) as (_, journal):
            await catch_up(journal, partial(library.standing, team_id), library.find, Rules.of(settings))
    except FootnoteError as error:
        log.warning("examples_not_rechecked", cause=str(error))


async def order_syncs(settings: Settings, team_id: str, names: Iterable[str]) -> None:
    """Leaves the syncs of sources to the running workers."""
    from bot.schedule import order
    from bot.worker import open_queue

    async with open_journal(settings, team_id) as (memory, journal), open_queue(memory.docket_url, journal) as queue:
        for name in names:
            await order(queue, name)


@asynccontextmanager
async def open_web(settings: Settings, *, host: str = "") -> AsyncIterator[int]:
    """Runs the process that accepts what Slack sends; gives its port."""
    from bot.worker import open_queue
    from handlers.app import listening, make_app
    from handlers.inbox import Inbox
    from handlers.slack import open_client

    settings.refuse_to_listen_to_nothing()
    settings.refuse_accidental_embedding()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(settings))
        identity = await _patiently("Slack", partial(identify, client, settings))
        memory, journal = await stack.enter_async_context(open_journal(settings, identity.team_id))
        queue = await stack.enter_async_context(open_queue(memory.docket_url, journal))

        async def is_healthy() -> dict[str, bool]:
            with contextlib.suppress(Exception):  # whatever is wrong with the memory, the answer is no
                return {"memory": bool(await memory.redis.ping())}
            return {"memory": False}

        app = make_app(settings, client, Inbox(journal, queue))
        port = await stack.enter_async_context(listening(settings, app, is_healthy, host=host))
        log.info("web_ready", team=identity.team_id, port=port, socket_mode=settings.slack_app_token is not None)
        yield port


async def run_worker(settings: Settings) -> None:
    """Runs the process that does the work, until it is cancelled; then ends the running answers."""
    from bot.learning.correcting import catch_up
    from bot.learning.judging import Rules, trainable
    from bot.learning.tracing import put_aside
    from bot.learning.tuning import end_dates
    from bot.learning.tuning.following import Following, follow
    from bot.learning.versions.gate import GateOrder, gate_duty
    from bot.learning.versions.register import Register
    from bot.learning.versions.watch import Watch
    from bot.memory import memory_health
    from bot.rounds import Rounds
    from bot.schedule import Schedule, is_ordered
    from bot.spreading import Spreading
    from bot.worker import Duty, open_queue
    from handlers.audience import Audience
    from handlers.commands.sources import Shelves, SourceOrder
    from handlers.commands.support import Support, Works
    from handlers.desk import Desk
    from handlers.learning import Learning
    from handlers.reviewing import Reviewing
    from handlers.slack import open_client
    from retrieval.sources import name_of

    settings.refuse_to_listen_to_nothing()
    settings.refuse_accidental_embedding()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(settings))
        identity = await _patiently("Slack", partial(identify, client, settings))
        memory, journal = await stack.enter_async_context(open_journal(settings, identity.team_id))
        register = Register(memory.redis, journal.team_id)
        thinking = await _patiently(
            "library", lambda: stack.enter_async_context(open_thinking(settings, register, journal))
        )
        watch = await stack.enter_async_context(Watch(register, thinking.persona))
        queue = await stack.enter_async_context(open_queue(memory.docket_url, journal))
        hands = await stack.enter_async_context(open_queue(memory.docket_url, journal, "parts"))
        tuning = await stack.enter_async_context(open_tuning(settings, register))
        audience = Audience(client, identity.slack_team_id, settings.admin_users)
        rules = Rules.of(settings)
        standing = partial(thinking.library.standing, identity.team_id)

        async def memory_problems() -> list[str]:
            return list((await memory_health(memory.redis)).problems)

        async def held_against(report: IngestReport) -> IngestReport:
            if report.added or report.changed or report.removed:
                await examples_follow()
            return report

        async def examples_follow() -> None:
            await catch_up(journal, standing, thinking.library.find, rules)

        rounds = Rounds(memory.redis, identity.team_id)
        spreading = Spreading(queue, hands, rounds, thinking.library, examples_follow)

        async def sync(name: str) -> IngestReport | None:
            report = await spreading.sync(name)
            return report and await held_against(report)

        async def add(order: SourceOrder) -> IngestReport | None:
            how = {"name": order.name, "audience": order.audience}
            await thinking.library.register(identity.team_id, order.address, every_s=order.every_s, **how)
            return await sync(order.name)

        async def remove(name: str) -> int:
            removed = await thinking.library.remove(identity.team_id, name)
            await examples_follow()
            return removed

        async def order_source(order: SourceOrder, after_s: float) -> None:
            await queue.add("source", order.model_dump_json(), key=order.key, thread=order.line, after_s=after_s)

        async def to_train_on() -> tuple[list[Example], list[tuple[Example, str]]]:
            every = await journal.examples()
            return await asyncio.to_thread(trainable, every, rules.persona, settings.trainable_providers)

        async def train(by: str, few: bool) -> TuningJob:
            await put_aside(journal, standing)
            job = await tuning.start((await to_train_on())[0], rules.persona, by=by, few=few)
            if not job.has_ended:
                await follow(queue, job.dataset)
            return job

        async def order_gate(order: GateOrder, key: str) -> None:
            await queue.add("gate", order.model_dump_json(), key=f"gate:{key}", thread="gate")

        works = Works(
            library_status=partial(thinking.library.status, identity.team_id),
            shelves=Shelves(
                sources=partial(thinking.library.sources, identity.team_id),
                add=add,
                sync=sync,
                remove=remove,
                progress=rounds.progress,
                progress_of=rounds.progress_of,
                is_ordered=partial(is_ordered, queue),
                order=order_source,
                name_of=name_of,
                opened=settings.slack_sources,
            ),
            memory_problems=memory_problems,
            backlog=queue.backlog,
            model=thinking.voices.configured.model.name,
            model_address=_address(settings),
            register=register,
            voices=thinking.voices,
            trainable=to_train_on,
            train=train,
            order_gate=order_gate,
        )
        reviewing = Reviewing(client, journal, audience, rules, partial(put_aside, journal, standing))
        desk = Desk(
            client,
            journal,
            audience,
            watch.over(thinking.answer),
            Support(journal, audience, works, reviewing),
            bot_user_id=identity.bot_user_id,
            bot_name=thinking.persona.name,
            rules=rules,
        )
        learning = Learning(client, journal, register, audience, thinking.library.find, reviewing, rules)
        gate = gate_duty(thinking.voices, register, journal, thinking.persona, standing, learning.gate_told)
        following = Following(tuning, queue, learning.tuning_ended)
        schedule = Schedule(queue, partial(thinking.library.due, identity.team_id), sync)
        await stack.enter_async_context(beside(schedule.keep))
        reading = partial(hands.work, concurrency=1, redelivery_timeout_s=settings.redelivery_timeout_s)
        await stack.enter_async_context(beside(partial(reading, spreading.part_duties)))
        await stack.enter_async_context(
            beside(partial(end_dates.watch, register, partial(end_of, settings), settings.persona_model))
        )
        await _warm_up(thinking.library, identity.team_id)
        await following.take_up()
        log.info("worker_ready", team=identity.team_id, model=thinking.voices.configured.model.name)
        await queue.work(
            {
                **desk.duties,
                **learning.duties,
                **following.duties,
                **schedule.duties,
                **spreading.duties,
                "gate": Duty(gate, apology="gate_failed"),
            },
            concurrency=settings.worker_concurrency,
            redelivery_timeout_s=settings.redelivery_timeout_s,
        )


async def until_stopped(running: Awaitable[None] | None = None) -> None:
    """Waits for SIGTERM or SIGINT; then cancels what runs and gives it time to end."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stopped.set)
    waiting = asyncio.create_task(stopped.wait())
    if running is None:
        await waiting
        return
    task = asyncio.ensure_future(running)
    await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=DRAIN_S)
    if task.done() and not task.cancelled():
        task.result()


@asynccontextmanager
async def beside(watching: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Lets something run until the block ends. What ends before is logged and begun anew after a pause, for nobody
    would miss it."""

    async def keep() -> None:
        while True:
            try:
                await watching()
            except Exception as error:  # a loop of ours, like the worker's: a bug must not end it unseen
                log.error("background_failed", again_in_s=PAUSE_S, **trouble(error))
            await asyncio.sleep(PAUSE_S)

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _patiently(part: str, opening: Callable[[], Awaitable[Part]]) -> Part:
    """Waits at the start for what is outside: a platform that restarts us in a loop would help nobody."""
    delay_s = 1.0
    while True:
        try:
            return await opening()
        except TryAgain as error:
            log.warning("not_there_yet", part=part, cause=cause_of(error), again_in_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, 30)


async def _warm_up(library: Library, team_id: str) -> None:
    """Loads what the first question would otherwise wait for."""
    with contextlib.suppress(TryAgain):  # a library that is down is told to whoever asks
        await library.find(Question(id="warm-up", team_id=team_id, text="hello", readable=frozenset({PUBLIC})))


def _address(settings: Settings) -> str:
    if settings.persona_model is None:
        return "needs no model; set PERSONA_MODEL and OPENAI_BASE_URL for one"
    return urlsplit(settings.openai_base_url or "https://api.openai.com").netloc.rpartition("@")[2]


async def examine_slack(settings: Settings) -> list[Finding]:
    """Finds out whether token and scopes are in order."""
    from handlers.checkup import missing_scopes
    from handlers.slack import open_client

    if settings.slack_bot_token is None:
        return [Finding(part="Slack", is_fine=True, found="no token: `python -m bot demo` brings a Slack of its own")]
    async with open_client(settings) as client:
        team, missing = await missing_scopes(client)
    way = "Socket Mode" if settings.slack_app_token else "signed HTTP"
    findings = [
        Finding(
            part="Slack",
            is_fine=not missing,
            found=f"{team}, {way}" + (f", without {', '.join(sorted(missing))}" if missing else ""),
            advice="Add the scopes (or the whole manifest.json) to the app and install it again." if missing else "",
        )
    ]
    if not settings.slack_app_token and not settings.slack_signing_secret:
        advice = "Set SLACK_APP_TOKEN for Socket Mode, or SLACK_SIGNING_SECRET for signed HTTP."
        findings.append(Finding(part="Slack", is_fine=False, found="no way to take events", advice=advice))
    return findings


async def examine_memory(settings: Settings) -> list[Finding]:
    """Finds out whether the memory is there and keeps what it is given."""
    from bot.memory import memory_health, open_redis

    async with open_redis(settings.redis_url, settings.data_dir) as memory:
        health = await memory_health(memory.redis)
    where = "" if settings.redis_url else "embedded, "
    found = f"{where}{health.version}, {health.latency_s * 1000:.1f} ms"
    if not health.problems:
        return [Finding(part="Memory", is_fine=True, found=found)]
    return [Finding(part="Memory", is_fine=False, found=found, advice=" ".join(health.problems))]


async def examine_library(settings: Settings) -> list[Finding]:
    """Finds out whether the library is there and filled."""
    from retrieval.library import open_library

    team_id = await team_of(settings)
    try:
        async with open_library(settings) as library:
            status = await library.status(team_id)
            if settings.embedding_base_url and status.is_ready:
                await library.question_vector("hello")  # asks the embedding server
    except (LibraryUnavailable, Broken) as error:  # what is wrong with the store is in the status: this is the model
        names = "EMBEDDING_BASE_URL, EMBEDDING_API_KEY and " if settings.embedding_base_url else ""
        return [Finding(part="Library", is_fine=False, found=str(error), advice=f"Check {names}EMBEDDING_MODEL.")]
    found = f"{status.backend}, {status.documents:,} pages, {status.passages:,} passages, {status.embedding_model}"
    if status.calibration:
        found += f"; calibration {status.calibration}"
    if not status.is_ready:
        found = status.remark or f"{status.backend} does not answer"
        advice = "Check WEAVIATE_URL, WEAVIATE_GRPC_URL and the keys beside them, and that REST and gRPC both answer."
        return [Finding(part="Library", is_fine=False, found=found, advice=advice)]
    if status.remark:
        return [Finding(part="Library", is_fine=False, found=found, advice=status.remark)]
    if not status.passages:
        return [Finding(part="Library", is_fine=True, found=f"{found}: `python -m bot ingest FOLDER` fills it")]
    return [Finding(part="Library", is_fine=True, found=found)]


async def examine_model(settings: Settings) -> list[Finding]:
    """Asks the model for a word."""
    from bot.answering import Prompt

    prompt = Prompt(question="Say OK.", query="Say OK.", passages=(), messages=[{"role": "user", "content": "Say OK."}])
    async with open_voices(settings) as voices:
        model = voices.configured.model
        words = "".join([delta async for delta in model.write(prompt)])
    if settings.persona_model is None:
        return [Finding(part="Model", is_fine=True, found=f"{model.name}: needs no model, it quotes the documents")]
    return [Finding(part="Model", is_fine=bool(words), found=f"{model.name} at {_address(settings)} answers")]


async def examine_tuner(settings: Settings) -> list[Finding]:
    """Asks the tuner for the model that would be tuned."""
    from bot.learning.tuning.end_dates import warning

    if settings.tuner_base_url is None:
        return [Finding(part="Tuner", is_fine=True, found="none set: `python -m bot tuner` starts one of your own")]
    ending = warning(f"TUNER_MODEL {settings.tuner_model}", await end_of(settings, "tuner", settings.tuner_model))
    if ending:
        return [Finding(part="Tuner", is_fine=False, found=ending, advice="Set TUNER_MODEL to another base.")]
    return [Finding(part="Tuner", is_fine=True, found=f"has {settings.tuner_model}")]


async def examine_versions(settings: Settings) -> list[Finding]:
    """Asks when the models end on which the persona rests: the configured one and the tuned ones."""
    from bot.learning.tuning import end_dates
    from bot.learning.versions.register import Register

    team_id = await team_of(settings)
    async with open_journal(settings, team_id) as (memory, _):
        register = Register(memory.redis, team_id)
        warnings = await end_dates.warnings(register, partial(end_of, settings), settings.persona_model)
        versions, live = await register.versions(), (await register.routing()).live
    if warnings:
        return [Finding(part="Versions", is_fine=False, found="a model ends", advice="\n".join(warnings))]
    return [Finding(part="Versions", is_fine=True, found=f"{len(versions)} tuned, live: {live}")]
