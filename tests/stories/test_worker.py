"""How a job fares in the worker: what fails for now is tried again, ever more slowly; what fails for good is told to
people and kept for operators; and no job stops another. On a real queue, with the delays cut short."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import structlog
from structlog.testing import capture_logs

from bot import wiring, worker
from bot.errors import Broken, SlackUnavailable
from bot.journal import Failure, Journal
from bot.log import set_up
from bot.memory import Memory
from bot.worker import KILLS, Duty, Queue, open_queue
from tests.nouns import TEAM
from tests.small_library import eventually

KEY = "T:C:1#mention#"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules in less time."""
    monkeypatch.setattr(worker, "FIRST_DELAY_S", 0.02)
    monkeypatch.setattr(worker, "ATTEMPTS", 4)


@pytest.fixture
def journal(memory: Memory) -> Journal:
    return Journal(memory.redis, TEAM)


@pytest.fixture
async def queue(memory: Memory, journal: Journal) -> AsyncIterator[Queue]:
    async with open_queue(memory.docket_url, journal) as opened:
        yield opened


@asynccontextmanager
async def working(queue: Queue, **duties: Duty) -> AsyncIterator[asyncio.Task[None]]:
    """A worker that has these duties."""
    task = asyncio.create_task(queue.work(duties, concurrency=4, redelivery_timeout_s=2))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Doing:
    """A duty that fails as often as it is told to, and notes when and with what it was begun."""

    def __init__(self, error: Exception | None = None, times: int = 1_000) -> None:
        self.error, self.times = error, times
        self.begun: list[tuple[str, float]] = []
        self.done: list[str] = []

    async def __call__(self, payload: str) -> None:
        self.begun.append((payload, time.monotonic()))
        if self.error and len(self.begun) <= self.times:
            raise self.error
        self.done.append(payload)

    async def is_done(self) -> bool:
        return bool(self.done)


def dead_letters(journal: Journal, count: int = 1) -> Callable[[], Awaitable[list[Failure]]]:
    async def look() -> list[Failure]:
        failures = await journal.failures()
        return failures if len(failures) >= count else []

    return look


async def is_idle(queue: Queue) -> bool:
    backlog = await queue.backlog()
    return not backlog.waiting and not backlog.running


# Trying again


async def test_what_fails_for_now_is_tried_again_ever_more_slowly(
    queue: Queue, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something outside is down: the waits double, and the job is done once in the end."""
    monkeypatch.setattr(worker, "FIRST_DELAY_S", 0.2)
    answer = Doing(SlackUnavailable("down"), times=3)
    async with working(queue, answer=Duty(answer)):
        await queue.add("answer", "question", key=KEY, thread="C:1")
        await eventually(answer.is_done)
        await eventually(lambda: is_idle(queue))
    times = [at for _, at in answer.begun]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert [wait >= 0.2 * 2**n for n, wait in enumerate(waits)] == [True] * 3, waits
    assert answer.done == ["question"] and not await journal.failures()


async def test_what_goes_on_failing_is_given_up(queue: Queue, journal: Journal) -> None:
    """After the last attempt it is a dead letter, with all that is needed to look into it and run it again."""
    answer = Doing(SlackUnavailable("maya@example.com cannot be reached with xoxb-1234567890-abcdefghij"))
    async with working(queue, answer=Duty(answer)):
        await queue.add("answer", '{"id": 1}', key=KEY, thread="C:1")
        (failure,) = await eventually(dead_letters(journal))
        await eventually(lambda: is_idle(queue))
    assert len(answer.begun) == 4
    assert (failure.kind, failure.payload) == ("answer", '{"id": 1}')
    assert "SlackUnavailable" in failure.cause and "cannot be reached" in failure.cause
    assert "maya@" not in failure.cause and "xoxb" not in failure.cause


async def test_what_can_never_work_is_not_tried_again(queue: Queue, journal: Journal) -> None:
    """A missing permission, or a bug of ours, is the same in two seconds."""
    for number, error in enumerate((Broken("missing_scope"), ZeroDivisionError("a bug"))):
        answer = Doing(error)
        async with working(queue, answer=Duty(answer)):
            await queue.add("answer", "question", key=f"{KEY}{number}", thread="C:1")
            await eventually(dead_letters(journal, number + 1))
            await eventually(lambda: is_idle(queue))
        assert len(answer.begun) == 1


async def test_the_log_of_a_job_given_up_holds_nothing_that_people_wrote(queue: Queue, journal: Journal) -> None:
    """An error of pydantic's repeats its input, and any other may hold a secret: what is logged is what is wrong, and
    the places that it came by."""

    async def misread(payload: str) -> None:
        Failure.model_validate({"kind": ["my confidential question"]})

    leaks = Doing(Broken("maya@example.com cannot be reached"))
    with capture_logs() as logs:
        async with working(queue, answer=Duty(misread), tell=Duty(leaks)):
            await queue.add("answer", "question", key=KEY, thread="C:1")
            await queue.add("tell", "question", key=f"{KEY}2", thread="C:2")
            failures = await eventually(dead_letters(journal, 2))
            await eventually(lambda: is_idle(queue))
    lines = {line["kind"]: line for line in logs if line["event"] == "job_given_up"}
    assert "ValidationError: Failure: kind string_type" in lines["answer"]["cause"]
    assert "test_worker.py:" in lines["answer"]["at"] and "worker.py:" in lines["answer"]["at"]
    assert lines["tell"]["cause"] == "Broken: ⟨email 1⟩ cannot be reached"
    assert {failure.cause for failure in failures} == {line["cause"] for line in lines.values()}
    assert "confidential" not in str(logs) and "maya@" not in str(logs)


async def test_no_line_about_a_job_holds_a_secret(queue: Queue, journal: Journal) -> None:
    """Neither while it is tried again nor when it is given up, and no dead letter: the address of a source may hold a
    key that nothing else would know as one."""
    signed = "https://docs.example/sitemap.xml?code=Gr4nadilla"
    sync = Doing(SlackUnavailable(f"{signed} was not read for maya@example.com"))
    with capture_logs() as logs:
        async with working(queue, sync=Duty(sync)):
            await queue.add("sync", "help", key=KEY, thread="C:1")
            failures = await eventually(dead_letters(journal))
            await eventually(lambda: is_idle(queue))
    causes = [line["cause"] for line in logs] + [failure.cause for failure in failures]
    shown = "SlackUnavailable: https://docs.example/sitemap.xml?code=… was not read for ⟨email 1⟩"
    assert causes == [shown] * 6


@pytest.fixture
def log_is_set_up() -> Iterator[None]:
    set_up("INFO")
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("log_is_set_up")
async def test_a_job_that_is_tried_again_is_one_line_in_the_log(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    """The queue would add an error with its payload and a traceback that tells nothing."""
    answer = Doing(SlackUnavailable("down"), times=2)
    with capture_logs() as logs:
        async with working(queue, answer=Duty(answer)):
            await queue.add("answer", "question", key=KEY, thread="C:1")
            await eventually(answer.is_done)
            await eventually(lambda: is_idle(queue))
    assert [line["event"] for line in logs] == ["job_failed"] * 2
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_what_breaks_beside_the_work_is_told_and_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the schedule must not end it for the rest of the worker's life."""
    monkeypatch.setattr(wiring, "PAUSE_S", 0.01)
    begun = 0

    async def watch() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise ZeroDivisionError("a bug")
        await asyncio.Event().wait()

    async def has_begun_anew() -> bool:
        return begun == 3

    with capture_logs() as logs:
        async with wiring.beside(watch):
            await eventually(has_begun_anew)
    assert [(line["event"], line["cause"]) for line in logs] == [("background_failed", "ZeroDivisionError: a bug")] * 2


# Telling people


async def test_an_apology_is_tried_until_it_gets_through(queue: Queue, journal: Journal) -> None:
    """What made the job fail may be what the apology needs, too: Slack itself."""
    answer, apologise = Doing(Broken("no")), Doing(SlackUnavailable("down"), times=2)
    async with working(queue, answer=Duty(answer, apology="apologise"), apologise=Duty(apologise)):
        await queue.add("answer", "question", key=KEY, thread="C:1")
        await eventually(apologise.is_done)
        await eventually(lambda: is_idle(queue))
    assert [payload for payload, _ in apologise.begun] == ["question"] * 3
    assert [failure.kind for failure in await journal.failures()] == ["answer"]


async def test_nobody_apologises_for_an_apology(queue: Queue, journal: Journal) -> None:
    """An apology that cannot be made is a dead letter, and that is the end of it."""
    answer, apologise = Doing(Broken("no")), Doing(Broken("not_in_channel"))
    async with working(queue, answer=Duty(answer, apology="apologise"), apologise=Duty(apologise)):
        await queue.add("answer", "question", key=KEY, thread="C:1")
        failures = await eventually(dead_letters(journal, 2))
        await eventually(lambda: is_idle(queue))
    assert [failure.kind for failure in failures] == ["apologise", "answer"]
    assert len(apologise.begun) == 1


# Jobs that kill


async def test_a_job_that_never_ends_is_given_up(queue: Queue, journal: Journal) -> None:
    """One that takes its worker down each time raises nothing: its beginnings tell. It is not begun once more."""
    for _ in range(KILLS + 1):
        await journal.attempt(KEY)
    answer, apologise = Doing(), Doing()
    async with working(queue, answer=Duty(answer, apology="apologise"), apologise=Duty(apologise)):
        await queue.add("answer", "question", key=KEY, thread="C:1")
        await eventually(apologise.is_done)
        (failure,) = await eventually(dead_letters(journal))
        assert not answer.begun and "never ended" in failure.cause
        await eventually(lambda: is_idle(queue))
        await queue.add("answer", "question", key=KEY, thread="C:1")
        await eventually(answer.is_done)  # whoever runs a dead letter again gets a fresh start


async def test_a_few_unlucky_restarts_are_no_suspicion(queue: Queue, journal: Journal) -> None:
    """Deploys kill workers, too; and failures that are tried again are no kills."""
    for _ in range(KILLS):
        await journal.attempt(KEY)
    answer = Doing(SlackUnavailable("down"), times=3)
    async with working(queue, answer=Duty(answer)):
        await queue.add("answer", "question", key=KEY, thread="C:1")
        await eventually(answer.is_done)
    assert not await journal.failures()


# Jobs beside each other


async def test_a_job_that_nobody_knows_stops_nothing(queue: Queue, journal: Journal) -> None:
    """A newer `web` may queue what an older `worker` has never heard of."""
    answer = Doing()
    async with working(queue, answer=Duty(answer)):
        await queue.add("sing", "la", key="sing", thread="C:1")
        await queue.add("answer", "question", key=KEY, thread="C:1")
        await eventually(answer.is_done)
        (failure,) = await eventually(dead_letters(journal))
    assert (failure.kind, failure.payload) == ("sing", "la")


async def test_jobs_of_one_thread_wait_for_each_other(queue: Queue) -> None:
    """One answer at a time in a thread, in the order asked; other threads go on."""
    running: list[str] = []
    most: dict[str, int] = {}
    order: list[str] = []

    async def answer(payload: str) -> None:
        running.append(payload)
        for thread in ("A", "B"):
            most[thread] = max(most.get(thread, 0), sum(one[0] == thread for one in running))
        most["both"] = max(most.get("both", 0), len(running))
        await asyncio.sleep(0.05)
        running.remove(payload)
        order.append(payload)

    async with working(queue, answer=Duty(answer)):
        for payload in ("A1", "A2", "B1", "B2", "A3"):
            await queue.add("answer", payload, key=payload, thread=payload[0])

        async def are_done() -> bool:
            return len(order) == 5

        await eventually(are_done)
    assert most == {"A": 1, "B": 1, "both": 2}
    assert [one for one in order if one[0] == "A"] == ["A1", "A2", "A3"]


async def test_a_job_that_waits_to_be_tried_again_keeps_nobody_waiting(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread is free meanwhile: the next question is answered now, not in eight minutes."""
    monkeypatch.setattr(worker, "FIRST_DELAY_S", 30)
    stuck, answer = Doing(SlackUnavailable("down")), Doing()
    async with working(queue, stuck=Duty(stuck), answer=Duty(answer)):
        await queue.add("stuck", "first", key="first", thread="C:1")
        await queue.add("answer", "second", key="second", thread="C:1")
        await eventually(answer.is_done, within_s=5)
    assert len(stuck.begun) == 1


async def test_the_same_job_twice_is_one(queue: Queue) -> None:
    """Slack delivers three times; one is waiting already."""
    answer = Doing()
    for _ in range(3):
        await queue.add("answer", "question", key=KEY, thread="C:1")
    assert (await queue.backlog()).waiting == 1
    async with working(queue, answer=Duty(answer)):
        await eventually(lambda: is_idle(queue))
    assert len(answer.begun) == 1


async def test_a_worker_that_is_stopped_ends_what_it_began(queue: Queue) -> None:
    """A deploy takes no half an answer with it; what was not begun waits for the next worker."""
    began, go_on = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def answer(payload: str) -> None:
        began.set()
        await go_on.wait()
        done.append(payload)

    async with working(queue, answer=Duty(answer)) as task:
        await queue.add("answer", "first", key="first", thread="C:1")
        await began.wait()
        await queue.add("answer", "second", key="second", thread="C:1")
        task.cancel()
        await asyncio.sleep(0.1)  # long enough for a worker that would not wait
        assert not task.done()
        go_on.set()
        await asyncio.wait({task}, timeout=10)
    assert done[0] == "first"
    async with working(queue, answer=Duty(answer)):
        await eventually(lambda: is_idle(queue))
    assert done == ["first", "second"]
