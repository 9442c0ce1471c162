"""Arms in wrong hands: a file that cannot be used is told by its arm and field, a key is never repeated, and a model
that fails is a figure."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bot.errors import TellUser
from bot.learning.matrix.arms import Arm, configured_arms, read_arms
from bot.learning.matrix.page import page, print_matrix
from bot.learning.matrix.running import PATIENCE
from bot.learning.matrix.speaking import written_out
from bot.persona import load_persona
from bot.settings import Settings
from bot.vocabulary import Found, ModelVersion, Question, TuningJob
from tests.matrix_bench import TOPICS, arm, by_rule, compare, questions, reading
from tests.scripted_model import ScriptedModel, half_a_body, status, text

REFUSAL = load_persona().refusal
KEY = "sk-canary-4711-do-not-repeat"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as server:
        server.always(by_rule(reading))
        yield server


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"model": "m"}, "arm 2: name: Field required"),
        ({"name": "b"}, "arm 2 (“b”): model: Field required"),
        ({"name": "b", "model": "m", "prompt": "poem"}, "arm 2 (“b”): prompt"),
        ({"name": "b", "model": "m", "nearest": 99}, "arm 2 (“b”): nearest"),
        ({"name": "b", "model": "m", "colour": "red"}, "arm 2 (“b”): colour"),
        ({"name": "b", "model": "m", "base_url": "ftp://x"}, "arm 2 (“b”): base_url"),
        ({"name": "b", "model": "m", "price_per_million_in": 1}, "go together"),
        ({"name": "b", "model": "m", "options": {"messages": []}}, "messages cannot be set here"),
        ({"name": "b", "model": "quoting", "retrieval": False}, "only answer with retrieval"),
        ({"name": "a", "model": "m"}, "two arms are named “a”"),
        ("b", "arm 2"),
        ({"name": "b", "model": "m", "api_key": KEY}, "name the variable that holds it in api_key_env"),
        ({"name": "b", "model": "m", "api_key_env": KEY}, "never the key itself"),
        ({"name": "b", "model": "m", "api_key_env": "NO_SUCH_KEY"}, "variable NO_SUCH_KEY is not set"),
        ({"name": "b", "model": "m", "base_url": f"https://u:{KEY}@x"}, "no password or key"),
        ({"name": "b", "model": "m", "base_url": f"https://x/v1?key={KEY}"}, "no password or key"),
        ({"name": "b", "model": "m", "options": {"extra_headers": {"X": KEY}}}, "extra_headers cannot be set"),
        ({"name": "b", "model": "m", "prompt": KEY}, "arm 2 (“b”): prompt"),
    ],
)
def test_a_wrong_arm_is_told_by_name_and_field_and_no_value_is_repeated(entry: Any, told: str, tmp_path: Path) -> None:
    """The first arm is fine."""
    file = tmp_path / "arms.json"
    file.write_text(json.dumps([{"name": "a", "model": "m"}, entry]), encoding="utf-8")
    with pytest.raises(TellUser) as raised:
        read_arms(file)
    assert told in str(raised.value)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("arms.json", "[{", "line 1"),
        ("arms.yaml", "arms: [\n  - {", "no valid YAML"),
        ("arms.json", "{}", "no list of arms"),
        ("arms.yaml", "", "no list of arms"),
        ("arms.json", json.dumps([{"name": f"a{n}", "model": "m"} for n in range(20)]), "12 are the most"),
    ],
)
def test_a_wrong_file_is_told_by_what_it_lacks(name: str, content: str, told: str, tmp_path: Path) -> None:
    """JSON and YAML alike."""
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(TellUser, match=told):
        read_arms(tmp_path / name)


def test_yaml_and_json_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bare or under `arms`; the one-line prompt means a tuned model unless told otherwise."""
    monkeypatch.setenv("MY_KEY", KEY)
    (tmp_path / "arms.yaml").write_text(
        "arms:\n- {name: a, model: m, prompt: one_line, retrieval: false, api_key_env: MY_KEY}\n"
        "- {name: b, model: m, prompt: one_line, tuned: false}\n"
    )
    (tmp_path / "arms.json").write_text(
        json.dumps(
            [
                {"name": "a", "model": "m", "prompt": "one_line", "retrieval": False, "api_key_env": "MY_KEY"},
                {"name": "b", "model": "m", "prompt": "one_line", "tuned": False},
            ]
        )
    )
    read = read_arms(tmp_path / "arms.yaml")
    assert read == read_arms(tmp_path / "arms.json")
    assert [one.tuned for one in read] == [True, False]


async def test_an_arm_that_fails_is_a_figure(server: ScriptedModel, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are measured as if it were not there; after five failures in a row it is not asked any more, and its
    quality is nothing."""
    async with ScriptedModel() as broken:
        broken.always(status(401))
        result = await compare([arm(server, "fine"), arm(broken, "broken")])
    assert result["summary"]["broken"]["failed"]["value"] == 1
    assert result["summary"]["broken"]["quality_posted"]["value"] == 0
    assert result["summary"]["broken"]["total_ms"]["n"] == 0
    assert result["summary"]["fine"]["failed"]["value"] == 0
    assert result["summary"]["fine"]["quality"]["value"] == 1
    warm_ups = 4
    assert len(broken.requests) == warm_ups + PATIENCE
    assert all(one["arm"] == "fine" for one in result["recommendations"])
    print_matrix(result)
    assert "it refused the key" in capsys.readouterr().out


async def test_no_claim_is_judged_by_an_arm_that_failed(server: ScriptedModel) -> None:
    """A server that is down says nothing about an approach."""
    async with ScriptedModel() as broken:
        broken.always(status(500))
        arms = [arm(broken, "full"), arm(server, "tuned", prompt="one_line")]
        result = await compare(arms)
    told = [one for one in result["claims"] if "“full” failed in 100 % of its answers." in one["why"]]
    assert len(told) >= 3
    assert {one["verdict"] for one in result["claims"]} == {"not measurable here"}


async def test_single_failures_are_counted_and_asked_again_the_next_time(server: ScriptedModel, tmp_path: Path) -> None:
    """A server that breaks off, or does not answer in time."""
    async with ScriptedModel() as shaky:
        shaky.enqueue("OK", half_a_body("The"), half_a_body("The"), shaky.hang(), shaky.hang())
        shaky.always(by_rule(reading))
        asked = questions(TOPICS[:6])
        kept = tmp_path / "kept.jsonl"
        first = await compare([arm(shaky, "shaky")], asked, kept=kept, deadline_s=1)
        failed = [one for one in first["answers"] if one["status"] == "failed"]
        assert failed and all(one["problem"] for one in failed)
        before = len(shaky.requests)
        again = await compare([arm(shaky, "shaky")], asked, kept=kept)
        assert len(shaky.requests) == before + 1 + len(failed)
    assert again["summary"]["shaky"]["failed"]["value"] == 0


async def test_a_model_that_rambles_until_it_is_stopped_is_measured_by_what_it_wrote(server: ScriptedModel) -> None:
    """That is no failure of the server, and the arm is not given up."""
    async with ScriptedModel() as rambler:
        rambler.always(text("And so on, and on, and on, and on, and on", finish="length"))
        result = await compare([arm(rambler, "rambler")], questions(TOPICS[:6]))
    summary = result["summary"]["rambler"]
    assert summary["failed"]["value"] == 0 and summary["answers"]["value"] == 0
    assert summary["raw_format"]["value"] == 0
    assert len(rambler.requests) == len(result["cases"]) + 1


async def test_a_server_that_refuses_a_temperature_is_asked_without(server: ScriptedModel) -> None:
    """As those of reasoning models do; nothing else is left out."""

    async def picky(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if "temperature" in body:
            return await status(400, message="temperature is not supported")(request, body)
        return await by_rule(reading)(request, body)

    async with ScriptedModel() as server:
        server.always(picky)
        result = await compare([arm(server, "picky")])
    assert result["summary"]["picky"]["failed"]["value"] == 0
    assert result["summary"]["picky"]["tokens_in"]["value"] == 100
    assert sum("temperature" in one for one in server.requests) == 1


async def test_options_of_an_arm_go_with_its_requests_and_into_no_report(server: ScriptedModel) -> None:
    """Such as the longest answer; at temperature 0 unless told otherwise."""
    arms = [arm(server, "short", options={"max_tokens": 77, "user": KEY})]
    result = await compare(arms, questions(TOPICS[:2]))
    assert all(one["max_tokens"] == 77 and one["temperature"] == 0 for one in server.requests)
    assert KEY not in json.dumps(result) + page(result).html()


async def test_no_key_and_no_address_is_in_any_output(server: ScriptedModel, tmp_path: Path) -> None:
    """Even of a server that sends the key back in its errors."""

    async def telling(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await text("", finish=None)(request, body)

    async with ScriptedModel() as broken:
        broken.always(telling)
        broken.enqueue(status(403, message=f"bad key {KEY}"), status(500, message=f"bad key {KEY}"))
        kept = tmp_path / "kept.jsonl"
        arms = [arm(server, "fine"), arm(broken, "broken")]
        result = await compare(arms, questions(TOPICS[:3]), kept=kept, key=KEY)
    assert server.keys and set(server.keys) == {f"Bearer {KEY}"}
    out = json.dumps(result) + page(result).html() + kept.read_text()
    assert KEY not in out
    assert server.base_url not in out


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("It is so.", "It is so."),
        ('{"sentences": []}', REFUSAL),
        ('{"sentences": [{"text": "It is', '{"sentences": [{"text": "It is'),
        ('{"sentences": [{"text": "It is so! [3]", "source": 2}]}', "It is so! [2]."),
        ('{"sentences": [{"text": "One. And two.", "source": 1}]}', "One [1]. And two [1]."),
        ('{ "sentences": [\n{"text": "A \\"b\\" \\u00e9.", "source": 1}, {"text": "Cut', 'A "b" é [1].'),
        ('{"sentences": [{"text": " ", "source": 1}]}', REFUSAL),
    ],
)
def test_sentences_in_json_are_written_out_with_their_marks(written: str, said: str) -> None:
    """The complete ones of a text that was cut off; what a server that knows no schemas wrote stays as it is."""
    assert written_out(written, REFUSAL) == said


async def test_nearest_examples_need_some(server: ScriptedModel) -> None:
    """Said before anything is asked."""
    with pytest.raises(TellUser, match="no approved one"):
        await compare([arm(server, "shown", nearest=2)])
    assert not server.requests


async def test_an_empty_library_is_told(server: ScriptedModel) -> None:
    """There would be nothing to compare."""

    async def nothing(question: Question, k: int) -> Found:
        return Found(hits=(), query=question.text)

    with pytest.raises(TellUser, match="holds nothing"):
        await compare([arm(server, "reader")], find=nothing)
    assert not server.requests


def names(arms: list[Arm]) -> list[str]:
    return [one.name for one in arms]


def test_arms_follow_from_what_is_configured() -> None:
    """Nothing: the quoting persona. A model: with each prompt. A tuned version: with and without passages, and beside
    it the model that it was made of."""
    assert names(configured_arms(Settings())) == ["quoting"]
    large = Settings(persona_model="large", openai_base_url="http://127.0.0.1:1/v1")
    assert names(configured_arms(large)) == ["full prompt", "plain", "grammar", "quoting"]
    assert "nearest examples" in names(configured_arms(large, has_examples=True))
    at = datetime(2026, 11, 5, tzinfo=UTC)
    version = ModelVersion(id="v3", model="ft:small", endpoint="tuner", prompt="one_line", dataset="d", created_at=at)
    job = TuningJob(dataset="d", base="small", status="succeeded", created_at=at, updated_at=at.replace(minute=4))
    arms = configured_arms(large, [version], [job])
    assert names(arms) == [
        *("full prompt", "plain", "grammar"),
        *("small, full prompt", "small, plain", "small, grammar"),
        *("v3 + passages", "v3 alone", "quoting"),
    ]
    hybrid, alone = (one for one in arms if one.tuned)
    assert (hybrid.retrieval, alone.retrieval) == (True, False)
    assert hybrid.model == "ft:small" and hybrid.endpoint == "tuner" and hybrid.training_seconds == 240
    tuner = Settings(tuner_base_url="http://127.0.0.1:1/v1", tuner_model="tiny")
    assert names(configured_arms(tuner)) == ["small, full prompt", "small, plain", "small, grammar", "quoting"]
