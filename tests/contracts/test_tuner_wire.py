"""The tuner keeps OpenAI's wire: every route is driven with OpenAI's own client, its refusals too.

One server with a fake engine serves this whole module; every test makes its own files and jobs.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI

from tests.fake_trainer import Behaviour
from tests.tuner import BASE, Tuner, examples, line

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tuner(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tuner]:
    bases = ("--base", "mute=/bases/mute", "--base", "broken=/bases/broken")
    async with Tuner(tmp_path_factory.mktemp("tuner"), *bases) as running:
        yield running


@pytest.fixture(scope="module")
def client(tuner: Tuner) -> AsyncOpenAI:
    return tuner.client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tuned(tuner: Tuner) -> str:
    """The name of a model that a job has made."""
    job = await tuner.until((await tuner.job(suffix="persona")).id, "succeeded")
    assert job.fine_tuned_model
    return job.fine_tuned_model


class refused:
    """`with refused(400, "code", "param"):` holds when the tuner answers with exactly this error."""

    def __init__(self, status: int, code: str | None = None, param: str | None = None) -> None:
        self.expected = (status, code, param)
        self.message = ""

    def __enter__(self) -> refused:
        return self

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> bool:
        assert isinstance(error, openai.APIStatusError), f"expected {self.expected}, got {error!r}"
        assert (error.status_code, error.code, error.param) == self.expected, error
        assert error.type in ("invalid_request_error", "server_error", "requests", "idempotency_error")
        assert error.request_id
        self.message = error.message
        return True


# -- who calls


async def test_a_wrong_key_and_none_are_refused_before_anything_else(tuner: Tuner) -> None:
    """401, as OpenAI's client knows it, on every route, also on those that do not exist."""
    async with AsyncOpenAI(base_url=tuner.base_url, api_key="sk-wrong", max_retries=0) as stranger:
        with refused(401, "invalid_api_key"):
            await stranger.models.list()
        with refused(401, "invalid_api_key"):
            await stranger.get("/nowhere", cast_to=object)
        with refused(401, "missing_api_key"):
            await stranger.models.list(extra_headers={"Authorization": openai.Omit()})


async def test_a_key_that_is_no_text_is_just_a_wrong_key(tuner: Tuner) -> None:
    """Bytes that are not UTF-8 are not worth an error of ours."""
    host, port = tuner.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\xff\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 401")
    writer.close()
    await writer.wait_closed()


async def test_unknown_routes_and_methods_are_named(client: AsyncOpenAI) -> None:
    """404 and 405 come in OpenAI's form too."""
    with refused(404, "unknown_url") as answer:
        await client.get("/embeddings", cast_to=object)
    assert "GET /v1/embeddings" in answer.message
    with refused(405, "method_not_supported"):
        await client.delete("/fine_tuning/jobs", cast_to=object)
    with refused(404, "unknown_url"):
        await client.fine_tuning.jobs.pause("ftjob-1")


# -- files


async def test_a_file_comes_back_as_it_was_sent(tuner: Tuner, client: AsyncOpenAI, tmp_path: Path) -> None:
    """Create, retrieve, content, wait_for_processing; also from an open file, as the clients of the API do it."""
    path = tmp_path / "training_data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + examples())
    with path.open("rb") as opened:
        created = await client.files.create(file=opened, purpose="fine-tune")
    assert (created.object, created.purpose, created.filename) == ("file", "fine-tune", "training_data.jsonl")
    assert (created.bytes, created.status) == (path.stat().st_size, "processed")
    assert await client.files.retrieve(created.id) == created
    assert await client.files.wait_for_processing(created.id) == created
    assert (await client.files.content(created.id)).content == path.read_bytes()


async def test_a_deleted_file_is_gone_everywhere(tuner: Tuner, client: AsyncOpenAI) -> None:
    """Delete says so, and nothing of the file stays on disk."""
    id = await tuner.upload(b"my secret")
    deleted = await client.files.delete(id)
    assert (deleted.id, deleted.object, deleted.deleted) == (id, "file", True)
    for call in (client.files.retrieve, client.files.delete, client.files.content):
        with refused(404, None, "id"):
            await call(id)
    assert id not in [file.id async for file in client.files.list()]
    assert not list(tuner.folder.rglob(f"{id}*"))


async def test_files_are_listed_in_pages_either_way(tuner: Tuner, client: AsyncOpenAI) -> None:
    """Newest first by default; a page may start after a file that was deleted meanwhile."""
    ids = [await tuner.upload() for _ in range(5)]
    first = await client.files.list(limit=2)
    assert [file.id for file in first.data] == [ids[4], ids[3]] and first.has_more
    await client.files.delete(ids[3])
    second = await first.get_next_page()
    assert [file.id for file in second.data] == [ids[2], ids[1]]
    upwards = [file.id async for file in client.files.list(limit=3, order="asc")]
    assert [id for id in upwards if id in ids] == [ids[0], ids[1], ids[2], ids[4]]
    assert (await client.files.list(purpose="batch")).data == []


async def test_what_is_no_upload_is_refused_by_name(tuner: Tuner, client: AsyncOpenAI) -> None:
    """Another purpose, no content, and what the form lacks or has too much; nothing of it is kept."""
    before = sorted((tuner.folder / "files").iterdir())
    with refused(400, None, "purpose"):
        await client.files.create(file=b"x", purpose="batch")
    with refused(400, None, "file"):
        await client.files.create(file=("empty.jsonl", b""), purpose="fine-tune")
    with refused(400, None, "surprise"):
        await client.files.create(file=b"x", purpose="fine-tune", extra_body={"surprise": "1"})
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {tuner.key}"}) as http:
        for form, param in (({"file": "x"}, "purpose"), ({"purpose": "fine-tune"}, "file")):
            with aiohttp.MultipartWriter("form-data") as parts:
                for name, value in form.items():
                    parts.append(value).set_content_disposition("form-data", name=name)
            async with http.post(f"{tuner.base_url}/files", data=parts) as answer:
                assert answer.status == 400 and (await answer.json())["error"]["param"] == param
        broken = {"Content-Type": "multipart/form-data; boundary=b"}
        for body in (b"--b\r\nno header", b"", b"--b--", b"--b\r\n\r\nx\r\n--b--"):
            async with http.post(f"{tuner.base_url}/files", data=body, headers=broken) as answer:
                assert answer.status == 400, body
        async with http.post(f"{tuner.base_url}/files", json={"purpose": "fine-tune"}) as answer:
            assert answer.status == 400
    assert sorted((tuner.folder / "files").iterdir()) == before


async def test_a_file_that_is_too_large_is_refused_with_413(tuner: Tuner, client: AsyncOpenAI) -> None:
    """The helper's limit is 1 MiB; nothing of the file stays."""
    before = sorted((tuner.folder / "files").iterdir())
    with refused(413, None, "file"):
        await client.files.create(file=b"x" * (1024 * 1024 + 1), purpose="fine-tune")
    assert sorted((tuner.folder / "files").iterdir()) == before
    await client.files.create(file=b"x" * (1024 * 1024), purpose="fine-tune")


@pytest.mark.parametrize("name", ["../../../escape.jsonl", "/etc/passwd", "a\x00b", ".", "x" * 5000, "ü \" \\ '.jsonl"])
async def test_a_file_name_is_never_a_path(tuner: Tuner, client: AsyncOpenAI, name: str) -> None:
    """Whatever a client calls its file, it lies under a name of ours."""
    before = set(tuner.folder.parent.rglob("*"))
    created = await client.files.create(file=(name, b"content"), purpose="fine-tune")
    new = {str(path.relative_to(tuner.folder)) for path in set(tuner.folder.parent.rglob("*")) - before}
    assert new == {f"files/{created.id}.data", f"files/{created.id}.json"}


async def test_a_file_may_say_when_it_goes(client: AsyncOpenAI) -> None:
    """`expires_after`, with OpenAI's limits."""
    expiring = await client.files.create(
        file=b"x", purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert expiring.expires_at == expiring.created_at + 3600
    with refused(400, None, "expires_after[seconds]"):
        await client.files.create(file=b"x", purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 60})


# -- jobs


async def test_a_job_is_created_and_shown_as_openai_does(tuner: Tuner, client: AsyncOpenAI) -> None:
    """`method` with `auto` values at first; at its end the values that were used, and a model."""
    file = await tuner.upload()
    job = await client.fine_tuning.jobs.create(
        training_file=file,
        validation_file=file,
        model=BASE,
        suffix="support-v1",
        seed=7,
        metadata={"digest": "abc"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto", "batch_size": 2}}},
    )
    assert (job.object, job.model, job.training_file, job.validation_file) == ("fine_tuning.job", BASE, file, file)
    assert (job.seed, job.metadata, job.organization_id) == (7, {"digest": "abc"}, "org-local")
    assert (job.fine_tuned_model, job.finished_at, job.trained_tokens, job.error) == (None, None, None, None)
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == ("auto", 2)
    assert job.method and job.method.type == "supervised"
    done = await tuner.until(job.id, "succeeded")
    assert done.hyperparameters.to_dict() == {"n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 1.0}
    assert done.fine_tuned_model == f"ft:{BASE}:local:support-v1:{job.id[-8:]}"
    assert done.trained_tokens == 30 and done.finished_at and done.finished_at >= job.created_at


async def test_top_level_hyperparameters_work_still(tuner: Tuner, client: AsyncOpenAI) -> None:
    """Deprecated at OpenAI, and what the seed's code sends."""
    job = await tuner.job(hyperparameters={"n_epochs": 3, "batch_size": 4})
    done = await tuner.until(job.id, "succeeded")
    assert (done.hyperparameters.n_epochs, done.hyperparameters.batch_size) == (3, 4)
    order = json.loads(next((tuner.folder / "jobs" / job.id).glob("run-*/job.json")).read_text())
    assert (order["n_epochs"], order["batch_size"], order["base"]) == (3, 4, "/bases/tiny")


async def test_a_job_without_hyperparameters_takes_three_epochs_of_four(tuner: Tuner) -> None:
    """The defaults, and a seed that is made up and told."""
    job = await tuner.job()
    done = await tuner.until(job.id, "succeeded")
    assert done.hyperparameters.to_dict() == {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert done.seed == job.seed
    assert done.fine_tuned_model == f"ft:{BASE}:local::{job.id[-8:]}"


@pytest.mark.parametrize(
    ("arguments", "code", "param"),
    [
        ({"model": "gpt-4o-mini"}, "model_not_available", "model"),
        ({"model": "mute"}, "no_chat_template", "model"),
        ({"training_file": "file-none"}, None, "training_file"),
        ({"training_file": "../../etc/passwd"}, None, "training_file"),
        ({"validation_file": "file-none"}, None, "validation_file"),
        ({"method": {"type": "dpo"}}, "unsupported_method", "method"),
        ({"method": {"type": "reinforcement"}}, "unsupported_method", "method"),
        ({"method": {"type": "guessing"}}, "invalid_value", "method.type"),
        ({"method": {"type": "supervised", "dpo": {}}}, "unknown_parameter", "method.dpo"),
        ({"hyperparameters": {"n_epochs": 0}}, "invalid_value", "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 51}}, "invalid_value", "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": True}}, "invalid_value", "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": "big"}}, "invalid_value", "hyperparameters.batch_size"),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "invalid_value",
            "hyperparameters.learning_rate_multiplier",
        ),
        ({"hyperparameters": {"n_epoch": 3}}, "unknown_parameter", "hyperparameters.n_epoch"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"beta": 1}}}},
            "unknown_parameter",
            "method.supervised.hyperparameters.beta",
        ),
        ({"suffix": "x" * 65}, "invalid_value", "suffix"),
        ({"suffix": "a:b"}, "invalid_value", "suffix"),
        ({"seed": -1}, "invalid_value", "seed"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "invalid_value", "metadata"),
        ({"metadata": {"x" * 65: "x"}}, "invalid_value", "metadata"),
        ({"metadata": {"x": "x" * 513}}, "invalid_value", "metadata"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, None, "integrations"),
        ({"extra_body": {"surprise": 1}}, "unknown_parameter", "surprise"),
        (
            {
                "hyperparameters": {"n_epochs": 1},
                "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
            },
            None,
            "hyperparameters",
        ),
    ],
)
async def test_a_job_that_will_never_do_is_refused_at_once(
    tuner: Tuner, client: AsyncOpenAI, arguments: dict[str, Any], code: str | None, param: str
) -> None:
    """400 with the argument's name, and no job."""
    before = sorted((tuner.folder / "jobs").iterdir())
    file = arguments.pop("training_file", None) or await tuner.upload()
    with refused(400, code, param):
        await client.fine_tuning.jobs.create(training_file=file, **{"model": BASE, **arguments})
    assert sorted((tuner.folder / "jobs").iterdir()) == before


async def test_a_body_that_is_no_json_object_is_refused(tuner: Tuner) -> None:
    """On both routes that take JSON; a body without end is too large."""
    headers = {"Authorization": f"Bearer {tuner.key}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for route in ("fine_tuning/jobs", "chat/completions"):
            for body in (b"", b"{", b"[]", b'"x"', b"\xff", b'{"seed": NaN}', b"[" * 100_000):
                async with http.post(f"{tuner.base_url}/{route}", data=body) as answer:
                    assert answer.status == 400, body
                    assert (await answer.json())["error"]["type"] == "invalid_request_error"
            async with http.post(f"{tuner.base_url}/{route}", data=io.BytesIO(b" " * (17 * 1024 * 1024))) as answer:
                assert answer.status == 413 and (await answer.json())["error"]["message"]


async def test_jobs_are_listed_newest_first_in_pages_and_by_metadata(tuner: Tuner, client: AsyncOpenAI) -> None:
    """`after`, `limit`, `metadata[k]=v` and `metadata=null`."""
    file = await tuner.upload()
    ids = [(await tuner.job(training_file=file, metadata={"digest": f"d{n % 2}"})).id for n in range(4)]
    plain = (await tuner.job(training_file=file)).id
    assert [job.id async for job in client.fine_tuning.jobs.list(limit=2)][:5] == [plain, *reversed(ids)]
    found = [job.id async for job in client.fine_tuning.jobs.list(metadata={"digest": "d1"})]
    assert found == [ids[3], ids[1]]
    assert [job.id async for job in client.fine_tuning.jobs.list(metadata={"digest": "d2"})] == []
    without = await client.fine_tuning.jobs.list(extra_query={"metadata": "null"})
    assert plain in [job.id for job in without.data] and not set(ids) & {job.id for job in without.data}
    first = await client.fine_tuning.jobs.list(limit=1)
    assert first.has_more and [job.id for job in first.data] == [plain]
    for wrong in ({"limit": "0"}, {"limit": "many"}, {"after": "' or 1=1"}, {"metadata": "all"}):
        with refused(400, None, next(iter(wrong))):
            await client.fine_tuning.jobs.list(extra_query=wrong)


async def test_a_jobs_events_tell_its_life(tuner: Tuner, client: AsyncOpenAI) -> None:
    """Newest first, in pages, with the metrics as data."""
    id = (await tuner.until((await tuner.job(Behaviour.CHATTER)).id, "succeeded")).id
    events = [event async for event in client.fine_tuning.jobs.list_events(id, limit=2)]
    assert len(events) == len({event.id for event in events}) == 10
    assert {event.object for event in events} == {"fine_tuning.job.event"}
    metrics = [event.data for event in reversed(events) if event.type == "metrics"]
    assert metrics[0] == {"step": 1, "total_steps": 2, "train_loss": 2.0}
    assert metrics[1] == {"step": 2, "total_steps": 2, "train_loss": None}, "a loss that is no number is none"
    told = [event.message for event in reversed(events)]
    assert told[0] == f"Created fine-tuning job: {id}" and told[-1] == "The job has successfully completed"
    with refused(404, "fine_tune_not_found", "fine_tuning_job_id"):
        await client.fine_tuning.jobs.list_events("ftjob-none")


async def test_of_many_epochs_the_newest_checkpoints_are_kept(tuner: Tuner, client: AsyncOpenAI) -> None:
    """Each is as large as the model's adapter; the others leave no file behind, and the settings reach the trainer."""
    created = await tuner.job(method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}})
    job = await tuner.until(created.id, "succeeded")
    found = [one async for one in client.fine_tuning.jobs.checkpoints.list(job.id)]
    steps = [one.step_number for one in found]
    files = {path.name for path in tuner.folder.glob(f"jobs/{job.id}/run-*/step-*")}
    assert len(steps) == 3 == len(files) and steps == sorted(steps, reverse=True)
    (order,) = tuner.folder.glob(f"jobs/{job.id}/run-*/job.json")
    assert json.loads(order.read_text())["threads"] == 1


async def test_checkpoints_are_models_of_their_own(tuner: Tuner, client: AsyncOpenAI) -> None:
    """Listed newest first once the job has succeeded; their names answer."""
    job = await tuner.until((await tuner.job()).id, "succeeded")
    found = [one async for one in client.fine_tuning.jobs.checkpoints.list(job.id, limit=1)]
    assert [one.step_number for one in found] == [2, 1]
    assert found[1].fine_tuned_model_checkpoint == f"{job.fine_tuned_model}:ckpt-step-1"
    assert found[1].metrics.train_loss == 2.0 and found[1].fine_tuning_job_id == job.id
    name = found[1].fine_tuned_model_checkpoint
    assert (await client.models.retrieve(name)).id == name
    assert (await say(client, name, "hello")).startswith(name)


async def test_the_same_idempotency_key_gives_the_same_job(tuner: Tuner, client: AsyncOpenAI) -> None:
    """Also for twenty at once; with another request it is refused, and another key makes another job."""
    file = await tuner.upload()
    key = {"Idempotency-Key": "digest-1"}
    calls = [
        client.fine_tuning.jobs.create(training_file=file, model=BASE, extra_headers=key, metadata={"m": "idempotent"})
        for _ in range(20)
    ]
    jobs = await asyncio.gather(*calls)
    assert len({job.id for job in jobs}) == 1
    listed = [job.id async for job in client.fine_tuning.jobs.list(metadata={"m": "idempotent"})]
    assert listed == [jobs[0].id]
    with refused(400, "idempotency_key_reused"):
        await client.fine_tuning.jobs.create(training_file=file, model=BASE, seed=1, extra_headers=key)
    other = await tuner.job(training_file=file, extra_headers={"Idempotency-Key": "digest-2"})
    assert other.id != jobs[0].id


# -- what makes a file a training file


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (examples(9), "9 examples, and at least 10"),
        (b"\n\n", "0 examples"),
        (examples(11) + b"{broken\n", "Line 12: not JSON"),
        (examples() + b"[]\n", "Line 11: not a JSON object"),
        (examples() + b"\xff\xfe\n", "Line 11: not UTF-8"),
        (examples() + b'{"messages": []}\n', "Line 11: 'messages' must be"),
        (examples() + b'{"prompt": "a", "completion": "b"}\n', "the key 'prompt' is unknown"),
        (examples() + line("q", "a").replace(b'"user"', b'"robot"'), "message 2: 'role' must be one of"),
        (examples() + line("q", "a").replace(b'"user"', b'"tool"'), "role 'tool' is not supported"),
        (examples() + line("q", "a").replace(b'"assistant"', b'"user"'), "last message must be from the assistant"),
        (examples() + line("q", " "), "nothing to learn"),
        (examples() + line("q", "a").replace(b'"a"', b'["a"]'), "message 3: 'content' must be a string"),
        (examples() + line("q", "a").replace(b'"a"', b'"a", "weight": 2'), "'weight' must be 0 or 1"),
        (examples() + line("q", "a").replace(b'"a"', b'"a", "weight": 0'), "nothing to learn"),
        (examples() + line("q", "a").replace(b'"q"', b'"q", "weight": 1'), "only a message of the assistant"),
        (examples() + line("q", "a").replace(b'"a"', b'"a", "tool_calls": []'), "'tool_calls' is not supported"),
        (examples() + line("q", "a").replace(b'"a"', b'"\\ud800"'), "surrogate"),
        (examples() + b"[" * 100_000, "nested too deeply"),
        (examples() + line("q", "a").replace(b": [", b":\r["), "a carriage return"),
        (examples() + line("q", "a" * 1024 * 512), "longer than"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_training_file_fails_the_job_and_names_the_line(tuner: Tuner, content: bytes, said: str) -> None:
    """As OpenAI does it: the job exists, and has failed with `invalid_training_file`."""
    job = await tuner.until((await tuner.job(training_file=await tuner.upload(content))).id, "failed")
    assert job.error and (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert said in job.error.message
    assert job.fine_tuned_model is None and job.finished_at


async def test_a_byte_order_mark_weights_and_blank_lines_are_fine(tuner: Tuner) -> None:
    """What OpenAI and Azure take."""
    turns: list[dict[str, Any]] = [
        {"role": "developer", "content": "You are …", "name": "ops"},
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "no", "weight": 0},
        {"role": "user", "content": "??"},
        {"role": "assistant", "content": "yes", "weight": 1},
    ]
    content = b"\xef\xbb\xbf" + examples(9) + b"\r\n\n" + json.dumps({"messages": turns}).encode()
    await tuner.until((await tuner.job(training_file=await tuner.upload(content))).id, "succeeded")


async def test_a_bad_validation_file_is_named_as_such(tuner: Tuner) -> None:
    """One example is enough for it; none is not."""
    bad = await tuner.upload(b"{}\n")
    job = await tuner.until((await tuner.job(validation_file=bad)).id, "failed")
    assert job.error and (job.error.code, job.error.param) == ("invalid_validation_file", "validation_file")
    await tuner.until((await tuner.job(validation_file=await tuner.upload(examples(1)))).id, "succeeded")


# -- how a training ends


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        (Behaviour.FAIL, "no_memory", "needs 9 GB"),
        (Behaviour.CRASH, "training_failed", "ended with status 1. RuntimeError: a tensor was bent"),
        (Behaviour.KILLED, "training_failed", "memory runs out"),
        (Behaviour.EMPTY, "training_failed", "without a complete result"),
        (Behaviour.OTHER_BASE, "adapter_of_another_base", "was not trained on"),
    ],
)
async def test_a_training_that_fails_says_why_and_leaves_no_model(
    tuner: Tuner, client: AsyncOpenAI, how: str, code: str, said: str
) -> None:
    """The reason is in the job and in its events; the next job runs."""
    job = await tuner.until((await tuner.job(how)).id, "failed")
    assert job.error and job.error.code == code and said in job.error.message
    assert job.fine_tuned_model is None
    assert (await tuner.messages(job.id))[-1] == job.error.message
    assert job.id[-8:] not in str([model.id async for model in client.models.list()])
    assert not [path for path in (tuner.folder / "jobs" / job.id).rglob("*") if "gguf" in path.name]
    await tuner.until((await tuner.job()).id, "succeeded")


async def test_one_job_trains_at_a_time_and_the_rest_wait_in_order(tuner: Tuner, client: AsyncOpenAI) -> None:
    """The second runs when the first is gone, and not before."""
    first = await tuner.until((await tuner.job(Behaviour.HOLD)).id, "running")
    assert first.estimated_finish is None or first.estimated_finish >= first.created_at
    second, third = await tuner.job(Behaviour.HOLD), await tuner.job()
    await tuner.until(third.id, "queued")
    assert (await tuner.until(second.id, "queued")).status == "queued"
    await client.fine_tuning.jobs.cancel(first.id)
    await tuner.until(second.id, "running")
    assert (await client.fine_tuning.jobs.retrieve(third.id)).status == "queued"
    await client.fine_tuning.jobs.cancel(second.id)
    await tuner.until(third.id, "succeeded")


async def test_a_running_job_is_cancelled_with_its_process(tuner: Tuner, client: AsyncOpenAI) -> None:
    """When the call returns the process is gone, and nothing of its work is left."""
    job = await tuner.until((await tuner.job(Behaviour.HOLD)).id, "running")
    cancelled = await client.fine_tuning.jobs.cancel(job.id)
    assert cancelled.status == "cancelled" and cancelled.finished_at and cancelled.fine_tuned_model is None
    assert not processes_naming(job.id)
    assert not list((tuner.folder / "jobs" / job.id).glob("run-*"))
    assert (await tuner.messages(job.id))[-1] == "The job was cancelled"


async def test_a_waiting_job_is_cancelled_and_never_runs(tuner: Tuner, client: AsyncOpenAI) -> None:
    """In `validating_files` and in `queued`."""
    blocker = await tuner.until((await tuner.job(Behaviour.HOLD)).id, "running")
    fresh = await tuner.job()
    assert (await client.fine_tuning.jobs.cancel(fresh.id)).status == "cancelled"
    waiting = await tuner.until((await tuner.job()).id, "queued")
    assert (await client.fine_tuning.jobs.cancel(waiting.id)).status == "cancelled"
    await client.fine_tuning.jobs.cancel(blocker.id)
    await tuner.until((await tuner.job()).id, "succeeded")
    for job in (fresh, waiting):
        assert (await client.fine_tuning.jobs.retrieve(job.id)).status == "cancelled"
        assert "Fine-tuning job started" not in await tuner.messages(job.id)


async def test_what_has_ended_cannot_be_cancelled(tuner: Tuner, client: AsyncOpenAI) -> None:
    """400; and 404 for what never was."""
    job = await tuner.until((await tuner.job()).id, "succeeded")
    with refused(400, "job_already_finished"):
        await client.fine_tuning.jobs.cancel(job.id)
    with refused(404, "fine_tune_not_found", "fine_tuning_job_id"):
        await client.fine_tuning.jobs.cancel("ftjob-none")
    with refused(404, "fine_tune_not_found", "fine_tuning_job_id"):
        await client.fine_tuning.jobs.retrieve("../files")


async def test_twenty_cancel_one_job_at_once_and_all_see_it_cancelled(tuner: Tuner, client: AsyncOpenAI) -> None:
    """The answer is the same for everyone who asked while it ran."""
    job = await tuner.until((await tuner.job(Behaviour.HOLD)).id, "running")
    answers = await asyncio.gather(*(client.fine_tuning.jobs.cancel(job.id) for _ in range(20)), return_exceptions=True)
    ends = {one.code if isinstance(one, openai.BadRequestError) else getattr(one, "status", one) for one in answers}
    assert "cancelled" in ends and ends <= {"cancelled", "job_already_finished"}
    assert not processes_naming(job.id)


async def test_a_file_deleted_before_its_turn_fails_the_job(tuner: Tuner, client: AsyncOpenAI) -> None:
    """Nothing is trained on what was deleted, also when the job was waiting already."""
    blocker = await tuner.until((await tuner.job(Behaviour.HOLD)).id, "running")
    file = await tuner.upload()
    waiting = await tuner.until((await tuner.job(training_file=file)).id, "queued")
    await client.files.delete(file)
    await client.fine_tuning.jobs.cancel(blocker.id)
    failed = await tuner.until(waiting.id, "failed")
    assert failed.error and failed.error.code == "invalid_training_file" and "deleted" in failed.error.message


# -- models


async def test_models_are_listed_with_bases_and_tuned_ones(tuner: Tuner, client: AsyncOpenAI, tuned: str) -> None:
    """As OpenAI lists them, with no end date."""
    found = {model.id: model async for model in client.models.list()}
    assert {BASE, tuned} <= set(found)
    assert (found[BASE].owned_by, found[tuned].owned_by) == ("system", "org-local")
    assert (await client.models.retrieve(tuned)) == found[tuned]
    assert found[tuned].shutdown_date is None
    with refused(404, "model_not_found", "model"):
        await client.models.retrieve("gpt-4o-mini")


async def test_a_deleted_model_answers_no_more(tuner: Tuner, client: AsyncOpenAI) -> None:
    """Its checkpoints go with it, its weights too; its job stays. A base cannot be deleted."""
    job = await tuner.until((await tuner.job()).id, "succeeded")
    name = str(job.fine_tuned_model)
    await say(client, f"{name}:ckpt-step-1", "hello")
    with refused(403, None, "model"):
        await client.models.delete(f"{name}:ckpt-step-1")
    deleted = await client.models.delete(name)
    assert (deleted.id, deleted.deleted, deleted.object) == (name, True, "model")
    for gone in (name, f"{name}:ckpt-step-1", f"{name}:ckpt-step-2"):
        with refused(404, "model_not_found", "model"):
            await say(client, gone, "hello")
    with refused(404, "model_not_found", "model"):
        await client.models.delete(name)
    assert (await client.fine_tuning.jobs.retrieve(job.id)).fine_tuned_model == name
    assert (await client.fine_tuning.jobs.checkpoints.list(job.id)).data == []
    assert not list((tuner.folder / "jobs" / job.id).rglob("*.gguf"))
    with refused(403, None, "model"):
        await client.models.delete(BASE)


# -- chat


async def test_an_answer_comes_under_the_name_that_was_asked(client: AsyncOpenAI, tuned: str) -> None:
    """Everything else is as the engine wrote it, also text that looks like the member."""
    for model in (BASE, tuned):
        answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
        assert answer.model == model
        assert answer.choices[0].message.content == f'{model} says "model":"x" to: hello'
        assert answer.usage and answer.usage.total_tokens == 7


async def test_an_answer_is_streamed_as_the_engine_writes_it(client: AsyncOpenAI, tuned: str) -> None:
    """Chunk by chunk, with usage at the end where it is asked for."""
    stream = await client.chat.completions.create(
        model=tuned,
        messages=[{"role": "user", "content": "a b c"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == f'{tuned} says "model":"x" to: a b c '
    assert {chunk.model for chunk in chunks} == {tuned}
    assert chunks[-1].usage and chunks[-1].usage.total_tokens == 7


async def test_fields_of_the_caller_reach_the_engine_and_ours_win(client: AsyncOpenAI) -> None:
    """Only the length is bounded where the caller set no bound, and the adapter is never the caller's choice."""
    sent: dict[str, Any] = {"temperature": 0, "seed": 1, "response_format": {"type": "json_object"}}
    mine = {"grammar": 'root ::= "a"', "lora": [{"id": 3, "scale": 9}]}
    got = json.loads(await say(client, BASE, "engine: echo", **sent, extra_body=mine))
    extra = {"lora": [BASE], "cache_prompt": False}
    assert got == {"model": BASE, **sent, "grammar": mine["grammar"], **extra, "max_tokens": 512}
    got = json.loads(await say(client, BASE, "engine: echo", max_completion_tokens=5))
    assert "max_tokens" not in got and got["max_completion_tokens"] == 5


async def test_the_engines_errors_come_in_openais_form(client: AsyncOpenAI) -> None:
    """Too long a prompt, a model that loads still, one that cannot be loaded, none at all."""
    with refused(400, "context_length_exceeded", "messages"):
        await say(client, BASE, "engine: overflow")
    with pytest.raises(openai.InternalServerError) as loading:
        await say(client, BASE, "engine: loading")
    assert (loading.value.status_code, loading.value.response.headers["retry-after"]) == (503, "1")
    with refused(503, "base_not_loaded"):
        await say(client, "broken", "hello")
    with refused(404, "model_not_found", "model"):
        await say(client, "gpt-4o-mini", "hello")
    with refused(400, None, "model"):
        await say(client, "", "hello")


async def test_an_engine_that_breaks_off_is_an_error_and_no_end(client: AsyncOpenAI) -> None:
    """A stream that was cut is never taken for a whole answer."""
    stream = await client.chat.completions.create(
        model=BASE, messages=[{"role": "user", "content": "engine: break off"}], stream=True
    )
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in stream:
            pass


async def test_who_hangs_up_stops_the_writing(client: AsyncOpenAI) -> None:
    """The engine is not left writing an answer that nobody reads."""
    before = int(await say(client, BASE, "engine: how many hung up"))
    stream = await client.chat.completions.create(
        model=BASE, messages=[{"role": "user", "content": "engine: never end"}], stream=True
    )
    await anext(aiter(stream))
    await stream.close()
    for _ in range(200):
        if int(await say(client, BASE, "engine: how many hung up")) > before:
            return
        await asyncio.sleep(0.02)
    pytest.fail("the engine writes on")


# -- many, and the other client


async def test_twenty_clients_at_once_each_get_their_own(tuner: Tuner) -> None:
    """Files, jobs and answers of one never show up in those of another."""

    async def one(number: int) -> None:
        async with AsyncOpenAI(base_url=tuner.base_url, api_key=tuner.key, max_retries=0) as client:
            content = examples(10 + number)
            file = await client.files.create(file=(f"{number}.jsonl", content), purpose="fine-tune")
            job = await client.fine_tuning.jobs.create(training_file=file.id, model=BASE, suffix=f"n{number}")
            assert (await client.files.content(file.id)).content == content
            done = await tuner.until(job.id, "succeeded", within_s=60)
            assert (done.training_file, done.trained_tokens) == (file.id, 3 * (10 + number))
            assert await say(client, str(done.fine_tuned_model), str(number)) == (
                f'{done.fine_tuned_model} says "model":"x" to: {number}'
            )

    await asyncio.gather(*map(one, range(20)))


async def test_the_synchronous_client_drives_every_route(tuner: Tuner) -> None:
    """The same wire, from threads."""

    def drive(client: OpenAI) -> None:
        file = client.files.create(file=("t.jsonl", examples()), purpose="fine-tune")
        assert client.files.retrieve(file.id).id in [one.id for one in client.files.list()]
        assert client.files.content(file.id).read() == examples()
        job = client.fine_tuning.jobs.create(training_file=file.id, model=BASE)
        assert client.fine_tuning.jobs.retrieve(job.id).id in [one.id for one in client.fine_tuning.jobs.list(limit=5)]
        while (done := client.fine_tuning.jobs.retrieve(job.id)).status != "succeeded":
            assert done.status in ("validating_files", "queued", "running")
        assert len(list(client.fine_tuning.jobs.list_events(job.id))) == 10
        assert len(list(client.fine_tuning.jobs.checkpoints.list(job.id))) == 2
        name = str(done.fine_tuned_model)
        assert client.models.retrieve(name).id in [one.id for one in client.models.list()]
        user: Any = {"role": "user", "content": "hi"}
        assert client.chat.completions.create(model=name, messages=[user]).choices[0].message.content
        assert len(list(client.chat.completions.create(model=name, messages=[user], stream=True))) > 2
        with pytest.raises(openai.BadRequestError):
            client.fine_tuning.jobs.cancel(job.id)
        assert client.models.delete(name).deleted and client.files.delete(file.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(file.id)

    await asyncio.to_thread(drive, tuner.sync)


async def say(client: AsyncOpenAI, model: str, text: str, **arguments: Any) -> str:
    answer = await client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **arguments
    )
    return answer.choices[0].message.content or ""


def processes_naming(text: str) -> list[str]:
    """Running processes with a text in their command line (Linux; elsewhere none are seen)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found
