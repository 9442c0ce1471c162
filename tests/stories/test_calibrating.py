"""An operator teaches the bot when to answer, with questions of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bot.calibrating import Search, area, calibrate, search_all
from bot.calibration import Calibration, Signs, about_calibration, calibration_file, load_calibration, save_calibration
from bot.calibration_command import page
from bot.errors import TellUser
from bot.evaluating import Asked
from bot.settings import Settings
from bot.vocabulary import Found, Hit, Passage, Question
from retrieval.library import open_library
from retrieval.sufficiency import signs

ROOT = Path(__file__).parents[2]
NAMES = ("cosine", "covered", "covered_by_one", "agreement", "margin", "words")


def searches(count: int = 60, *, telling: str = "covered_by_one", seed: int = 3) -> list[Search]:
    """Questions of which one sign tells the outcome nearly always, and the cosine hardly ever."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        for holds in (True, False):
            given = dict.fromkeys(NAMES, 0.5) | {"cosine": float(random.uniform(0.3, 0.7))}
            given[telling] = float(np.clip((0.8 if holds else 0.3) + random.normal(0, 0.12), 0, 1))
            made.append(Search(str(number), given, holds))
    return made


def learn(some: Sequence[Search], most_risk: float | None = None) -> Calibration:
    return calibrate(
        some, form="f", alpha=0.7, plain_threshold=0.75, fitted_on="q.jsonl", most_risk=most_risk
    ).calibration


def hit(document_id: str, text: str, certainty: float, score: float = 1.0, **fields: str) -> Hit:
    named = {"title": document_id, **fields}
    passage = Passage(id=document_id, document_id=document_id, source="s", text=text, audience="public", **named)
    return Hit(passage=passage, score=score, certainty=certainty)


def test_it_makes_fewer_mistakes_than_the_threshold_alone() -> None:
    """On questions that it has not seen: both kinds of mistake, and the area under risk against coverage."""
    calibration = learn(searches())
    for figure in ("wrongly_declined", "wrongly_answered", "risk", "area_under_risk_coverage", "brier"):
        assert calibration.after[figure].value < calibration.before[figure].value, figure
        assert calibration.after[figure].low <= calibration.after[figure].value <= calibration.after[figure].high


def test_what_is_told_is_a_probability() -> None:
    """Of other questions of the same kind, told nine times of ten, about nine of ten are answered."""
    calibration, others = learn(searches(300)), searches(3_000, seed=9)
    told = np.array([calibration.probability(search.signs) for search in others])
    holds = np.array([search.holds for search in others])
    for low in (0.0, 0.25, 0.5, 0.75):
        some = (told >= low) & (told <= low + 0.25)
        assert abs(told[some].mean() - holds[some].mean()) < 0.12


def test_an_operator_says_how_much_risk_is_fine() -> None:
    """Less risk declines more; and no more answers are wrong than was said, on unseen questions give or take noise."""
    some = searches(150)
    careful, bold = learn(some, most_risk=0.02), learn(some, most_risk=0.3)
    assert careful.threshold > bold.threshold
    assert careful.after["risk"].value <= 0.05 < bold.after["risk"].value <= 0.35
    assert careful.after["wrongly_declined"].value > bold.after["wrongly_declined"].value


def test_signs_that_tell_nothing_are_not_learned() -> None:
    """Where the cosine alone tells everything, it is taken alone: few signs mislead less."""
    assert learn(searches(12, telling="cosine")).signs == ("cosine",)
    assert "covered_by_one" in learn(searches()).signs


def test_the_same_questions_teach_the_same() -> None:
    """Nothing is drawn without a seed."""
    one, other = learn(searches()), learn(searches())
    assert one.model_copy(update={"at": other.at}) == other


def test_too_few_questions_teach_nothing() -> None:
    """Neither do many of one kind; the operator is told what is missing."""
    with pytest.raises(TellUser, match="9 searches found the answer and 9 did not; 10 of each"):
        learn(searches(9))
    with pytest.raises(TellUser, match="0 did not"):
        learn([search for search in searches(60) if search.holds])
    with pytest.raises(TellUser, match=r"0 searches found the answer and 0 did not.*`gold_doc_ids`"):
        learn([])


def test_the_area_counts_risk_at_every_coverage() -> None:
    """Right ones first is best, wrong ones first is worst."""
    holds = np.array([True, True, False, False])
    assert area(np.array([0.9, 0.8, 0.2, 0.1]), holds) == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert area(np.array([0.1, 0.2, 0.8, 0.9]), holds) == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)


async def test_each_question_is_searched_with_and_without_its_pages() -> None:
    """With them the passages hold the answer, without them, and without parts and copies of them, they do not; what
    is known to be unanswerable is searched once, and small talk never."""
    pages = {"keys": "Keys", "keys#reset": "Reset", "keys-old": "Keys", "billing": "Billing"}
    asked: list[tuple[str, frozenset[str]]] = []

    async def find(question: Question, k: int, hidden: frozenset[str]) -> Found:
        asked.append((question.text, hidden))
        hits = [
            hit(id, "text", 0.9, title=title, url=f"https://x/{id.partition('#')[0]}#a") for id, title in pages.items()
        ]
        left = [each for each in hits if each.passage.document_id not in hidden]
        return Found(hits=tuple(left), query=question.text)

    def count(found: Found) -> Signs:
        return {"cosine": float(len(found.hits))}

    made = await search_all(
        [
            Asked(id="1", question="a", gold_doc_ids=("keys",)),
            Asked(id="2", question="b", answerable=False),
            Asked(id="3", question="c", answerable=False, expected_behavior="clarify"),
            Asked(id="4", question="d", answerable=True),
        ],
        find=find,
        signs=count,
        team_id="T",
        readable=lambda place: frozenset({place}),
    )
    assert asked == [("a", frozenset()), ("a", frozenset({"keys", "keys#reset", "keys-old"})), ("b", frozenset())]
    assert made == [
        Search("1", {"cosine": 4.0}, True),
        Search("1", {"cosine": 1.0}, False),
        Search("2", {"cosine": 4.0}, False),
    ]


def test_signs_are_read_from_question_and_hits() -> None:
    """Shares of the question's words, in any form; the cosine; how far the nearest page is from the next."""
    hits = [
        hit("keys", "Reset keys under Settings.", 0.8, score=0.9),
        hit("tokens", "A token expires.", 0.7),
        hit("far", "Something else.", 0.6),
    ]
    told = signs("How do I reset the key of an expired token?", hits)
    assert told["cosine"] == pytest.approx(0.6) and told["agreement"] == 0.9
    assert told["margin"] == pytest.approx(0.2)
    assert told["covered"] == pytest.approx(1.0) and told["covered_by_one"] == pytest.approx(0.5)
    assert set(signs("anything", [])) == set(told)
    assert signs("reset", hits * 3) == signs("reset", (hits * 3)[:5])


def test_a_calibration_is_for_one_way_of_searching(tmp_path: Path) -> None:
    """It comes back as it was written; for another model, chunker or alpha, or damaged, it is refused, and then the
    threshold decides."""
    file, calibration = calibration_file(tmp_path), learn(searches())
    assert load_calibration(file, "f", 0.7) is None
    save_calibration(file, calibration)
    assert load_calibration(file, "f", 0.7) == calibration
    assert load_calibration(file, "g", 0.7) is None
    assert load_calibration(file, "f", 0.5) is None
    file.write_bytes(file.read_bytes()[:-20])
    assert load_calibration(file, "f", 0.7) is None


def test_an_operator_is_told_whether_a_calibration_is_in_use(tmp_path: Path) -> None:
    """It may be for another model, or damaged; where there is none there is nothing to say."""
    file, calibration = calibration_file(tmp_path), learn(searches())
    assert about_calibration(file, "f", 0.7) == ""
    save_calibration(file, calibration)
    assert about_calibration(file, "f", 0.7) == f"in use (q.jsonl, {calibration.at:%Y-%m-%d})"
    assert "another embedding model (q.jsonl" in about_calibration(file, "g", 0.7)
    assert "another HYBRID_ALPHA" in about_calibration(file, "f", 0.5)
    file.write_bytes(file.read_bytes()[:-20])
    assert about_calibration(file, "f", 0.7).startswith("unreadable (calibration.json), not in use")


async def test_the_library_answers_by_what_was_learned(tmp_path: Path) -> None:
    """Its confidence is the probability then, and its threshold the learned one; without a calibration the confidence
    is the best certainty."""
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "billing.md").write_text("# Billing\n\nInvoices are issued on the third day of each month.\n")
    settings = Settings(data_dir=tmp_path / "data")
    question = Question(id="q", team_id="T1", text="when is an invoice issued", readable=frozenset({"workspace"}))
    async with open_library(settings) as library:
        await library.ingest("T1", folder)
        plain = await library.find(question)
        form = library.form
    assert plain.confidence == max(one.certainty for one in plain.hits)
    for threshold in (0.1, 0.99):
        learned = learn(searches()).model_copy(update={"form": form, "threshold": threshold})
        save_calibration(calibration_file(settings.data_dir), learned)
        async with open_library(settings) as library:
            found = await library.find(question)
            assert (await library.status("T1")).calibration.startswith("in use (q.jsonl")
            assert found.confidence == pytest.approx(learned.probability(library.signs(found)))
            assert found.is_sufficient == (found.confidence >= threshold)


def test_it_is_one_command(tmp_path: Path) -> None:
    """It shows what changes, keeps the calibration and draws it; a dry run keeps nothing."""

    def run(*arguments: object) -> str:
        environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        command = [sys.executable, "-m", "bot", *map(str, arguments)]
        environment["DATA_DIR"] = str(tmp_path / "data")
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pages, questions = tmp_path / "pages", tmp_path / "questions.jsonl"
    pages.mkdir()
    things = (
        "invoices",
        "backups",
        "webhooks",
        "passwords",
        "exports",
        "reports",
        "channels",
        "emoji",
        "guests",
        "bots",
    )
    for thing in (*things, "calendars", "themes"):
        (pages / f"{thing}.md").write_text(f"# {thing}\n\nAn administrator changes {thing} in the settings.\n")
    lines = [{"id": t, "question": f"Who can change {t}?", "gold_doc_ids": [t]} for t in things]
    questions.write_text("\n".join(map(json.dumps, lines)))
    run("ingest", pages)
    file = calibration_file(tmp_path / "data")
    tried = json.loads(run("calibrate", questions, "--dry-run", "--json"))
    assert not file.exists() and (tried["answered"], tried["unanswered"]) == (10, 10)
    said = run("calibrate", questions, "--report", tmp_path / "page.html")
    assert "found, but declined" in said and "calibrated" in said
    assert Calibration.model_validate_json(file.read_bytes()).fitted_on == "questions.jsonl"
    drawn = (tmp_path / "page.html").read_text()
    assert drawn.count("<svg") == 2 and "http://www.w3.org/2000/svg" in drawn


def test_the_page_shows_both_ways() -> None:
    """Figures of the threshold alone beside those of what was learned."""
    learned = calibrate(searches(), form="f", alpha=0.7, plain_threshold=0.75, fitted_on="<b>.jsonl")
    html = page(learned).html()
    assert "Threshold alone" in html and "&lt;b&gt;.jsonl" in html
    assert f"{learned.calibration.after['risk'].value:.3f}" in html
