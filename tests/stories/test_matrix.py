"""An operator compares ways to answer, on questions of their own, and can trust every figure: each is known beforehand
in a small world of pages with one limit each."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.answering import Demonstrate
from bot.errors import TellUser
from bot.evaluating import Asked
from bot.learning.matrix.page import lines, page, print_matrix
from bot.vocabulary import Example, Found, Question
from tests.embedded_memory import end_all_on
from tests.examination import held_out
from tests.matrix_bench import (
    LIMITS,
    PERSONA,
    TOPICS,
    arm,
    by_rule,
    compare,
    find,
    inventing,
    passage,
    questions,
    reading,
    remembering,
)
from tests.scripted_model import ScriptedModel


class Servers:
    """A reading, a remembering and an inventing model, each at a server of its own."""

    def __init__(self, reading: ScriptedModel, remembering: ScriptedModel, inventing: ScriptedModel) -> None:
        self.reading, self.remembering, self.inventing = reading, remembering, inventing


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        opened = []
        for rule in (reading, remembering, inventing):
            server = await stack.enter_async_context(ScriptedModel())
            server.always(by_rule(rule))
            opened.append(server)
        yield Servers(*opened)


def value(result: dict[str, Any], name: str, figure: str) -> float | None:
    found: float | None = result["summary"][name][figure]["value"]
    return found


async def test_a_model_that_reads_its_passages_scores_full_marks(servers: Servers) -> None:
    """It holds the evidence and the key facts, invents nothing, cites rightly, keeps the format, follows a page that
    was changed, and refuses where the passages are another question's."""
    result = await compare([arm(servers.reading, "reader")])
    best = ("quality", "quality_posted", "groundedness", "citation_precision", "citation_recall", "raw_format")
    for figure in (*best, "format", "fresh", "right_refusals", "raw_refusals", "answers"):
        assert value(result, "reader", figure) == 1, figure
    for figure in ("hallucinating", "hallucinated", "stale", "failed"):
        assert value(result, "reader", figure) == 0, figure
    counts = {figure: result["summary"]["reader"][figure]["n"] for figure in ("quality", "fresh", "right_refusals")}
    assert counts == dict.fromkeys(("quality", "fresh", "right_refusals"), len(TOPICS))


async def test_what_is_invented_is_found_and_is_not_posted(servers: Servers) -> None:
    """One number and one name in each answer stand in no passage; the check keeps them from the reader."""
    result = await compare([arm(servers.reading, "reader"), arm(servers.inventing, "inventor")])
    assert value(result, "inventor", "hallucinating") == 1
    assert value(result, "inventor", "hallucinated") == 2
    assert value(result, "inventor", "citation_precision") == 0
    assert value(result, "inventor", "quality_posted") == 0
    assert value(result, "inventor", "answers") == 0
    assert result["differences"]["inventor"]["hallucinating"]["low"] == 1


async def test_a_model_that_remembers_tells_the_old_number(servers: Servers) -> None:
    """A page was changed after training; without retrieval the same prompt needs to be asked once only."""
    arms = [
        arm(servers.reading, "reader"),
        arm(servers.reading, "tuned", prompt="one_line"),
        arm(servers.remembering, "alone", prompt="one_line", retrieval=False),
    ]
    result = await compare(arms)
    assert (value(result, "alone", "fresh"), value(result, "alone", "stale")) == (0, 1)
    assert (value(result, "tuned", "fresh"), value(result, "tuned", "stale")) == (1, 0)
    assert (value(result, "alone", "quality"), value(result, "alone", "quality_posted")) == (1, 0)
    warm_up = 1
    assert len(servers.remembering.requests) == len(TOPICS) + warm_up
    verdicts = {claim["claim"]: claim["verdict"] for claim in result["claims"]}
    assert verdicts["Knowledge is as fresh as the index with retrieval; a tuned model tells what it learnt."] == "held"
    assert verdicts["Sources come by themselves with retrieval, and hardly from a tuned model."] == "held"
    assert verdicts["Both together tell what the pages say now."] == "held"
    assert verdicts["A tuned model by itself gets facts wrong that retrieval gets right."] == "not measurable here"


async def test_a_claim_is_not_judged_by_a_handful_of_questions(servers: Servers) -> None:
    """However far apart the arms are."""
    arms = [
        arm(servers.reading, "reader"),
        arm(servers.remembering, "alone", prompt="one_line", retrieval=False),
    ]
    claim = "Knowledge is as fresh as the index with retrieval; a tuned model tells what it learnt."
    for count, verdict in ((5, "not measurable here"), (6, "held")):
        result = await compare(arms, questions(TOPICS[:count]))
        assert {one["claim"]: one["verdict"] for one in result["claims"]}[claim] == verdict


async def test_every_arm_gets_the_same_passages_in_its_own_prompt(servers: Servers) -> None:
    """Found once for each question; a case with a changed number has that number in all of them."""
    searched: list[str] = []

    async def finding(question: Question, k: int) -> Found:
        searched.append(question.text)
        return await find(question, k)

    async with ScriptedModel() as other:
        other.always(by_rule(reading))
        arms = [arm(servers.reading, "full"), arm(other, "short", prompt="one_line")]
        result = await compare([*arms], find=finding)
    assert len(searched) == len(TOPICS) + 1  # the first is asked once more, to load what finding needs
    for case in result["cases"]:
        for server in (servers.reading, other):
            texts = [one["messages"][-1]["content"] for one in server.requests[1:]]
            shown = [text for text in texts if all(each["text"] in text for each in case["passages"])]
            assert shown, case["id"]
    assert all(len(one["messages"][0]["content"]) < 60 for one in other.requests[1:])
    changed = [case for case in result["cases"] if case["sort"] == "changed"]
    assert len(changed) == len(TOPICS)
    for case in changed:
        texts = " ".join(each["text"] for each in case["passages"])
        assert case["new"] in texts and case["old"] not in texts


async def test_intervals_are_of_paired_differences() -> None:
    """An arm that is wrong on three questions of ten is worse by 0.3, and one that is the same is worse by nothing."""
    wrong = TOPICS[:3]

    def forgetful(topic: str, stated: dict[str, tuple[int, str]]) -> str:
        return PERSONA.refusal if topic in wrong else reading(topic, stated)

    async with ScriptedModel() as good, ScriptedModel() as worse:
        good.always(by_rule(reading))
        worse.always(by_rule(forgetful))
        result = await compare([arm(good, "first"), arm(good, "same"), arm(worse, "worse")])
    same, less = (result["differences"][name]["quality_posted"] for name in ("same", "worse"))
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    assert less["value"] == pytest.approx(-0.3) and less["n"] == 10
    assert less["low"] == pytest.approx(-0.6, abs=0.11) and less["high"] == pytest.approx(0, abs=0.11)
    assert value(result, "worse", "answers") == pytest.approx(0.7)


async def test_costs_are_tokens_times_prices(servers: Servers) -> None:
    """As the server counts them; an arm without prices has tokens only."""
    arms = [
        arm(servers.reading, "priced", price_per_million_in=2, price_per_million_out=10),
        arm(servers.reading, "unpriced"),
    ]
    result = await compare(arms)
    assert value(result, "priced", "tokens_in") == 100 and value(result, "priced", "tokens_out") == 10
    assert value(result, "priced", "cost_per_1000") == pytest.approx(1_000 * (100 * 2 + 10 * 10) / 1_000_000)
    assert value(result, "unpriced", "cost_per_1000") is None
    assert all(answer["tokens_are_counted"] for answer in result["answers"])


async def test_tokens_that_no_server_counts_are_estimated_and_marked() -> None:
    """Four characters each, and the page says so."""
    async with ScriptedModel() as silent:
        silent.always(by_rule(reading, tokens=None))
        result = await compare([arm(silent, "silent", prompt="one_line")])
    assert not any(answer["tokens_are_counted"] for answer in result["answers"])
    tokens = value(result, "silent", "tokens_out")
    assert tokens is not None and 8 <= tokens <= 15
    assert "estimated" in page(result).html()


async def test_a_slower_arm_takes_longer_and_finding_is_part_of_its_time(servers: Servers) -> None:
    """The tuned arm without retrieval is charged nothing for finding."""

    async def slowly(question: Question, k: int) -> Found:
        await asyncio.sleep(0.06)
        return await find(question, k)

    arms = [
        arm(servers.reading, "reader"),
        arm(servers.reading, "tuned", prompt="one_line"),
        arm(servers.remembering, "alone", prompt="one_line", retrieval=False),
    ]
    result = await compare(arms, find=slowly)
    times = {one["name"]: value(result, one["name"], "total_ms_p50") for one in result["arms"]}
    assert times["reader"] is not None and times["reader"] > 60
    assert times["alone"] is not None and times["alone"] < 60
    (claim,) = (one for one in result["claims"] if one["claim"].startswith("Retrieval takes longer"))
    assert claim["verdict"] == "held" and "ms" in claim["why"]


async def test_a_grammar_holds_a_model_to_sentences_with_sources() -> None:
    """The schema is bounded and knows the passages' numbers; its sentences are written out with their marks, and none
    is the refusal."""

    def in_json(topic: str, stated: dict[str, tuple[int, str]]) -> str:
        if topic not in stated:
            return json.dumps({"sentences": []})
        number, limit = stated[topic]
        return json.dumps({"sentences": [{"text": f"The {topic} limit is {limit} units. [7]", "source": number}]})

    async with ScriptedModel() as server:
        server.always(by_rule(in_json))
        result = await compare([arm(server, "held", prompt="grammar")])
    asked = server.requests[-1]["response_format"]["json_schema"]["schema"]["properties"]["sentences"]
    assert asked["maxItems"] and asked["items"]["properties"]["text"]["maxLength"]
    assert asked["items"]["properties"]["source"]["enum"] == [1, 2, 3]
    written = {answer["case"]: answer["completion"] for answer in result["answers"]}
    assert written["stamp"] == f"The stamp limit is {LIMITS['stamp']} units [2]."
    assert written["stamp~paired"] == PERSONA.refusal
    assert value(result, "held", "raw_format") == 1 and value(result, "held", "citation_precision") == 1


async def test_a_recommendation_is_made_for_each_kind_of_question() -> None:
    """By the file's own kind: here one arm reads stamps well, the other everything else; and the unanswerable."""

    def only(known: bool) -> Any:
        def rule(topic: str, stated: dict[str, tuple[int, str]]) -> str:
            return reading(topic, stated) if (topic in TOPICS[:5]) == known else inventing(topic, stated)

        return rule

    asked = [*questions(TOPICS[:5], kind="stamps"), *questions(TOPICS[5:], kind="others")]
    more = [one.model_copy(update={"id": f"{one.id}-again", "question": f"Please: {one.question}"}) for one in asked]
    async with ScriptedModel() as one, ScriptedModel() as two:
        one.always(by_rule(only(True)))
        two.always(by_rule(only(False)))
        result = await compare([arm(one, "stamper"), arm(two, "other")], [*asked, *more])
    chosen = {each["kind"]: each for each in result["recommendations"]}
    assert chosen["stamps"]["arm"] == "stamper" and chosen["others"]["arm"] == "other"
    assert chosen["stamps"]["how_sure"] == "sure" and chosen["stamps"]["n"] == 10
    assert chosen["unanswerable"]["figure"] == "right_refusals"
    assert any(line.startswith("stamps: stamper (100 %, n = 10; sure)") for line in lines(result))


async def test_an_arm_that_declines_everything_is_not_recommended_for_what_cannot_be_answered(
    servers: Servers,
) -> None:
    """It is right there by being silent."""
    async with ScriptedModel() as silent:
        silent.always(PERSONA.refusal)
        result = await compare([arm(silent, "silent"), arm(servers.reading, "reader")])
    assert value(result, "silent", "right_refusals") == 1 and value(result, "silent", "answers") == 0
    chosen = {one["kind"]: one["arm"] for one in result["recommendations"]}
    assert chosen["unanswerable"] == "reader"


async def test_few_questions_give_a_hint_and_equal_arms_nothing(servers: Servers) -> None:
    """The faster one of equal arms is taken; how sure is said in words."""
    result = await compare([arm(servers.reading, "a"), arm(servers.inventing, "b")], questions(TOPICS[:3]))
    assert {one["how_sure"] for one in result["recommendations"]} == {"a hint only: fewer than 10 questions"}


async def test_anybody_can_compute_the_figures_again(servers: Servers) -> None:
    """From the answers in the JSON: a figure is the mean of its scores."""
    result = json.loads(json.dumps(await compare([arm(servers.reading, "reader"), arm(servers.inventing, "inventor")])))
    assert {"arms", "summary", "differences", "claims", "recommendations", "answers"} <= result.keys()
    for name, summary in result["summary"].items():
        for figure, told in summary.items():
            scores = [one["scores"] for one in result["answers"] if one["arm"] == name]
            values = [score[figure] for score in scores if figure in score]
            assert figure.endswith(("_p50", "_p95")) or told["n"] == len(values)
            if values:
                assert told["value"] == pytest.approx(statistics.mean(values), abs=1e-3)
                assert told["low"] <= told["value"] <= told["high"]


async def test_a_broken_run_goes_on_where_it_was(servers: Servers, tmp_path: Path) -> None:
    """What was answered is not asked again, nor by another name; a line that was cut off is, and a further arm is."""
    kept = tmp_path / "matrix.answers.jsonl"
    first = await compare([arm(servers.reading, "reader")], kept=kept)
    asked = len(servers.reading.requests)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-40])
    again = await compare([arm(servers.reading, "renamed", model="reader"), arm(servers.inventing, "new")], kept=kept)
    warm_up = 1
    assert len(servers.reading.requests) == asked + warm_up + 1
    assert len(servers.inventing.requests) == warm_up + len(again["cases"])
    figures = (value(first, "reader", "quality"), value(again, "renamed", "quality"))
    assert figures == (1, 1)
    assert "are kept from an earlier run" in page(again).html()
    assert len(kept.read_text().splitlines()) == 2 * len(again["cases"]) + 1  # and the line that was cut off


async def test_a_report_holds_nothing_that_its_place_may_not_read(servers: Servers) -> None:
    """Private passages are not shown to the arms, and a question that is meant for a private channel is not asked."""
    secret = "The pigeon is called Canary-4711."

    async def finding(question: Question, k: int) -> Found:
        found = await find(question, k)
        if "channel:C1" not in question.readable:
            return found
        private = passage("pigeon", "channel:C1").model_copy(update={"text": secret, "id": "private"})
        hit = found.hits[0].model_copy(update={"passage": private})
        return found.model_copy(update={"hits": (hit, *found.hits)})

    hers = questions(("stamp",))[0].model_copy(update={"id": "hers", "audience": "channel:C1"})
    arms = [arm(servers.reading, "reader"), arm(servers.inventing, "inventor")]
    result = await compare(arms, [*questions(), hers], find=finding)
    assert result["left_out"] == 1
    assert "hers" not in {case["id"] for case in result["cases"]}
    assert "Canary-4711" not in json.dumps(result) + page(result).html()
    private = await compare(arms, [*questions(), hers], find=finding, audience="channel:C1")
    assert private["left_out"] == 0 and "Canary-4711" in json.dumps(private)


async def test_nearest_examples_are_shown_but_never_the_question_itself(servers: Servers) -> None:
    """Nor one that may not be read where the report is."""

    def example(question: str, answer: str, audience: str = "workspace") -> Example:
        return Example(
            id=question,
            team_id="T",
            question_id="q",
            question=question,
            answer=answer,
            passages=(passage("ledger"),),
            audience=audience,
            status="approved",
            produced_by="human",
            created_at=datetime.now(UTC),
        )

    examples = [
        example("Where is it?", "Hidden one [1].", "channel:C9"),
        example("How big is a ledger?", "Shown one [1]."),
        example("what is the STAMP limit?", "The very answer [1]."),
        example("And what is the limit of the stamp, please?", "The very answer [1]."),
    ]

    def nearest(count: int) -> Demonstrate:
        async def show(question: Question, found: Found) -> list[Example]:
            return examples[-count:]

        return show

    await compare([arm(servers.reading, "shown", nearest=2)], questions(("stamp",)), nearest=nearest)
    prompts = [json.dumps(one["messages"]) for one in servers.reading.requests[1:]]
    assert prompts and all("Shown one" in prompt for prompt in prompts)
    assert not any("The very answer" in prompt or "Hidden one" in prompt for prompt in prompts)


async def test_no_tuned_arm_is_asked_what_it_was_trained_on(servers: Servers) -> None:
    """It would know that by heart; the page says how many questions that leaves out."""
    taught = held_out(1).model_copy(update={"question": "And what is the limit of the stamp?"})
    result = await compare(
        [arm(servers.reading, "reader", tuned=True)], questions(("stamp", "ledger")), taught=[taught]
    )
    assert result["trained_on"] == 1
    assert {case["id"].split("~")[0] for case in result["cases"]} == {"ledger"}
    assert "nearly the same: 1." in page(result).html()
    with pytest.raises(TellUser, match="trained on each"):
        await compare([arm(servers.reading, "reader", tuned=True)], questions(("stamp",)), taught=[taught])


async def test_an_answer_to_other_demonstrations_is_another_one(servers: Servers, tmp_path: Path) -> None:
    """An example was corrected: its id is the same, and what a model makes of it is not."""
    shown = held_out(1)

    def nearest(count: int) -> Demonstrate:
        async def show(question: Question, found: Found) -> list[Example]:
            return [shown]

        return show

    async def asked() -> int:
        kept = tmp_path / "kept.jsonl"
        asking = [arm(servers.reading, "shown", nearest=1)]
        result = await compare(asking, questions(("stamp",)), nearest=nearest, kept=kept)
        return sum(not one["was_kept"] for one in result["answers"])

    first = await asked()
    assert first and await asked() == 0
    shown = shown.model_copy(update={"answer": "It is another one [1]."})
    assert await asked() == first


async def test_what_is_no_question_for_the_documents_is_not_asked(servers: Servers) -> None:
    """Small talk, and what is to be asked back about."""
    more = [
        Asked(id="hi", question="hello there"),
        Asked(id="vague", question="Is the stamp limit fine?", expected_behavior="clarify"),
        Asked(id="no", question="Who painted the stamp limit?", answerable=False),
    ]
    result = await compare([arm(servers.reading, "reader")], [*questions(("stamp",)), *more])
    assert result["left_out"] == 2
    assert {case["id"]: case["sort"] for case in result["cases"]}["no"] == "refusal"


async def test_the_page_and_the_shell_show_arms_figures_plots_and_claims(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the recommendation first, and the same bytes for the same result."""
    result = await compare([arm(servers.reading, "reader"), arm(servers.inventing, "inventor")], questions(TOPICS[:4]))
    shown = page(result, note="A note on reading this.").html()
    assert shown == page(result, note="A note on reading this.").html()
    assert shown.index("Which arm for which question") < shown.index("commonly said") < shown.index("Figures")
    assert shown.count("<svg") >= 5 and "A note on reading this." in shown
    for words in ("inventor", "not measurable here", "What is the envelope limit?", "Barnaby"):
        assert words in shown
    print_matrix(result)
    told = capsys.readouterr().out
    assert "quality posted" in told and "inventor" in told


async def test_one_arm_is_shown_by_its_figures_alone(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is compared, so nothing is recommended, no claim judged, and no plot drawn."""
    result = await compare([arm(servers.reading, "reader")], questions(TOPICS[:2]))
    shown = page(result, measured="Measured on 1 May 2030 with the questions of mine.jsonl.").html()
    assert "nothing is compared" in shown and "mine.jsonl" in shown and "groundedness" in shown
    assert "commonly said" not in shown and "<svg" not in shown
    print_matrix(result)
    assert "not measurable here" not in capsys.readouterr().out
    (said,) = lines(result)
    assert "nothing is compared" in said and "--arms" in said


async def in_shell(folder: Path, *arguments: str | Path, **environment: str) -> tuple[int | None, str, str]:
    """Runs `python -m bot …` on a folder of pages as an operator would, and gives status, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "bot", *map(str, arguments)),
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], "DATA_DIR": str(folder / "data"), "COLUMNS": "200", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 100)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose library holds the pages; its questions are in `questions.jsonl`."""
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "pages").mkdir()
    for topic in TOPICS:
        (folder / "pages" / f"{topic}.md").write_text(f"# About {topic}s\n\n{passage(topic).text}\n")
    asked = "".join(one.model_dump_json() + "\n" for one in questions())
    (folder / "questions.jsonl").write_text(asked, encoding="utf-8")
    done, _, problem = asyncio.run(in_shell(folder, "ingest", folder / "pages"))
    assert done == 0, problem
    end_all_on(folder / "data")
    return folder


@pytest.fixture
def library(ingested: Path, tmp_path: Path, data_dir: Path) -> Path:
    """A copy of that folder for one test."""
    return shutil.copytree(ingested, tmp_path, dirs_exist_ok=True)


async def test_an_operator_compares_arms_of_a_file_in_the_shell(servers: Servers, library: Path) -> None:
    """A page, JSON, and the answers beside it; the key is in none of them. The limit counts questions."""
    key = "sk-canary-4711"
    arms = [{"name": "reader", "model": "m", "base_url": servers.reading.base_url, "api_key_env": "MY_KEY"}]
    (library / "arms.json").write_text(json.dumps([*arms, {"name": "quoting", "model": "quoting"}]))
    status, out, problem = await in_shell(
        library,
        *("matrix", library / "questions.jsonl", "--arms", library / "arms.json", "--limit", "4"),
        *("--report", library / "page.html", "--json", library / "figures.json"),
        MY_KEY=key,
    )
    assert status == 0, problem
    result = json.loads((library / "figures.json").read_text())
    assert [case["id"] for case in result["cases"] if case["sort"] == "answer"] == list(TOPICS[:4])
    assert value(result, "reader", "quality") == 1
    assert "reader" in out and "page.html" in problem
    assert f"{len(result['cases'])} questions to each of 2 arms: {2 * len(result['cases'])} answers" in problem
    assert "with the questions of questions.jsonl" in (library / "page.html").read_text()
    written = [out, problem, *((library / name).read_text() for name in ("page.html", "page.answers.jsonl"))]
    assert key not in "".join(written) + (library / "figures.json").read_text()
    assert set(servers.reading.keys) == {f"Bearer {key}"}


async def test_without_a_file_the_configured_model_is_compared(servers: Servers, library: Path) -> None:
    """With each prompt that it can be given, and with the quoting persona; JSON alone goes to stdout."""
    configured = {"PERSONA_MODEL": "m", "OPENAI_BASE_URL": servers.reading.base_url}
    arguments = ("matrix", library / "questions.jsonl", "--limit", "2", "--json", "-")
    status, out, problem = await in_shell(library, *arguments, **configured)
    assert status == 0, problem
    assert [one["name"] for one in json.loads(out)["arms"]] == ["full prompt", "plain", "grammar", "quoting"]
    assert (library / "data" / "matrix.html").exists()


async def test_what_not_everyone_may_read_is_for_the_operators_eyes(library: Path) -> None:
    """The page and the answers of a channel's matrix can be read by no other user of the machine."""
    files = [library / f"page.{ending}" for ending in ("html", "answers.jsonl", "json")]
    files[0].write_text("an older page that everybody could read")
    arguments = ("--report", files[0], "--json", files[2], "--audience", "channel:C1", "--limit", "1")
    status, _, problem = await in_shell(library, "matrix", library / "questions.jsonl", *arguments)
    assert status == 0, problem
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3


async def test_a_wrong_file_of_arms_ends_with_a_sentence(library: Path) -> None:
    """And with exit status 2, before anything is asked."""
    (library / "arms.yaml").write_text("- {name: a, model: m, prompt: sonnet}")
    arguments = ("matrix", library / "questions.jsonl", "--arms", library / "arms.yaml")
    status, out, problem = await in_shell(library, *arguments)
    assert (status, out) == (2, "")
    assert "arm 1 (“a”): prompt" in problem and "Traceback" not in problem
