"""An operator measures the bot on questions of their own, and anybody can compute the figures again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.errors import TellUser
from bot.evaluating import Asked, evaluate, interval, print_summary, read_questions
from bot.evaluating_steps import FIGURES as STEP_FIGURES
from bot.evaluating_steps import measure_steps, misspelt, print_steps
from bot.evaluation_page import page
from bot.persona import load_persona
from bot.vocabulary import Answer, Citation, Found, Hit, Passage, Question, Turn

PERSONA = load_persona()


def passage(document_id: str, number: int = 0) -> Passage:
    return Passage(
        id=f"{document_id}#{number}",
        document_id=document_id,
        source="s",
        title=document_id,
        text="t",
        audience="public",
    )


class Bot:
    """Finds what it was given, in passages of two per document, and answers as it was told."""

    def __init__(self, ranking: list[str], **answers: Answer) -> None:
        self.ranking, self.answers = ranking, answers
        self.asked: list[Question] = []
        self.depths: list[int] = []

    async def find(self, question: Question, k: int) -> Found:
        self.depths.append(k)
        passages = [passage(document_id, number) for document_id in self.ranking for number in range(20)]
        hits = tuple(Hit(passage=each, score=1, certainty=0.9) for each in passages[:k])
        return Found(hits=hits, query=question.text, is_sufficient=True)

    async def answer(self, question: Question) -> Answer:
        self.asked.append(question)
        given = self.answers.get(question.text)
        return given or Answer(question_id=question.id, status="declined", text=PERSONA.refusal)

    async def evaluate(
        self, *questions: Asked, audience: str = "workspace", kept: dict[str, tuple[Hit, ...]] | None = None
    ) -> dict[str, Any]:
        return await evaluate(
            questions,
            find=self.find,
            answer=self.answer,
            persona=PERSONA,
            team_id="T",
            readable=lambda place: frozenset({place}),
            audience=audience,
            kept=kept,
        )

    async def measure(self, *questions: Asked, audience: str = "workspace") -> dict[str, dict[str, object]]:
        result = await self.evaluate(*questions, audience=audience)
        self.questions = result["questions"]
        return dict(result["summary"])


def answered(text: str, *cited: tuple[str, str], confidence: float = 0.9) -> Answer:
    citations = tuple(
        Citation(number=number, document_id=document_id, title="t", quote=quote)
        for number, (document_id, quote) in enumerate(cited, start=1)
    )
    return Answer(
        question_id="q",
        status="answered",
        text=text,
        citations=citations,
        confidence=confidence,
        timings_ms={"total": 12.0},
    )


async def test_hits_and_ranks_are_of_distinct_documents() -> None:
    """The third document is at rank 3, however many passages the first two have; it takes more passages to see ten."""
    bot = Bot([f"d{number}" for number in range(12)])
    summary = await bot.measure(Asked(id="1", question="a", gold_doc_ids=("d2", "d5")))
    assert summary["hit@1"]["value"] == 0 and summary["hit@5"]["value"] == 1
    assert summary["mrr"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert summary["ndcg@10"]["value"] == pytest.approx((1 / 2 + 1 / 2.8074) / (1 + 1 / 1.58496), abs=1e-3)
    assert len(bot.questions[0]["found"]) >= 10
    assert bot.questions[0]["found"][:3] == ["d0", "d1", "d2"]
    assert bot.depths == [40, 80, 160, 320]


async def test_a_document_that_is_not_found_counts_as_a_miss() -> None:
    """Not as a question without an answer."""
    summary = await Bot(["d0"]).measure(Asked(id="1", question="a", gold_doc_ids=("other",)))
    assert [summary[figure]["value"] for figure in ("hit@10", "mrr", "ndcg@10")] == [0, 0, 0]
    assert summary["hit@10"]["n"] == 1


async def test_questions_without_gold_do_not_count_for_hits() -> None:
    """It runs, and answers, when only id, question and history are there."""
    bot = Bot(["d0"], a=answered("Yes it is [1].", ("d0", "t")))
    summary = await bot.measure(Asked(id="1", question="a"), Asked(id="2", question="b"))
    assert summary["hit@5"] == {"value": None, "low": None, "high": None, "n": 0}
    assert summary["right_behaviour"]["n"] == 0
    assert [question["status"] for question in bot.questions] == ["answered", "declined"]
    assert set(bot.questions[0]) == {"id", "found", "status", "text", "citations", "confidence", "timings_ms"}
    assert set(bot.questions[0]["citations"][0]) == {"number", "document_id", "title", "url", "quote"}


async def test_refusals_are_right_or_wrong() -> None:
    """Declining what the documents do not hold is right; declining what they hold is wrong; small talk is neither."""
    bot = Bot(["d0"], a=answered("It is so [1].", ("d0", "t")), b=answered("It is so [1].", ("d0", "t")))
    summary = await bot.measure(
        Asked(id="1", question="a", answerable=True, gold_doc_ids=("d0",)),
        Asked(id="2", question="b", answerable=False),
        Asked(id="3", question="c", answerable=False, expected_behavior="abstain"),
        Asked(id="4", question="d", expected_behavior="answer"),
        Asked(id="5", question="e", answerable=False, expected_behavior="clarify"),
    )
    assert (summary["right_refusals"]["value"], summary["right_refusals"]["n"]) == (0.5, 2)
    assert (summary["wrongly_declined"]["value"], summary["wrongly_declined"]["n"]) == (0.5, 2)
    assert summary["right_behaviour"]["value"] == pytest.approx(2 / 5)
    assert summary["right_behaviour/clarify"]["n"] == 1


async def test_evidence_is_covered_by_quotes() -> None:
    """The share of the evidence's words that the quotes hold; a declined question covers nothing."""
    bot = Bot(["d0"], a=answered("Open it [1].", ("d0", "Select Regenerate next to the key")))
    evidence = ("Select Regenerate beside the secret key",)
    summary = await bot.measure(
        Asked(id="1", question="a", answerable=True, evidence=evidence),
        Asked(id="2", question="b", answerable=True, evidence=evidence),
    )
    assert summary["evidence_covered"]["value"] == pytest.approx((3 / 5 + 0) / 2, abs=1e-3)


async def test_key_numbers_and_names_are_counted() -> None:
    """Of the right answer's numbers, codes and names, those that were said or quoted."""
    bot = Bot(["d0"], a=answered("It takes 5 days [1].", ("d0", "see ERR-4021")))
    asked = Asked(id="1", question="a", answerable=True, answer="It takes 5 days, ERR-4021, and Jane must wait 10 h.")
    summary = await bot.measure(asked)
    assert summary["key_numbers"]["value"] == pytest.approx(2 / 4)


async def test_citations_are_compared_with_the_gold_pages() -> None:
    """Precision: the share that is gold. Recall: whether any is. Format: by code."""
    bot = Bot(
        ["d0"], a=answered("So [1]. And so [2].", ("d0", "t"), ("d1", "t")), b=answered("Sure! No mark.", ("d1", "t"))
    )
    summary = await bot.measure(
        Asked(id="1", question="a", gold_doc_ids=("d0",)), Asked(id="2", question="b", gold_doc_ids=("d0",))
    )
    assert summary["citation_precision"]["value"] == 0.25
    assert summary["citation_recall"]["value"] == 0.5
    assert summary["format"]["value"] == 0.0


async def test_risk_falls_with_confidence() -> None:
    """Among the most confident quarter no answer is wrong, among all of them half are."""
    answers = {
        "a": answered("So [1].", ("d0", "t"), confidence=0.9),
        "b": answered("So [1].", ("d9", "t"), confidence=0.1),
    }
    asked = [Asked(id=each, question=each, gold_doc_ids=("d0",)) for each in "ab"]
    summary = await Bot(["d0"], **answers).measure(*asked)
    assert summary["risk@25"]["value"] == 0
    assert summary["risk@100"]["value"] == 0.5


async def test_each_question_is_asked_where_it_belongs() -> None:
    """At the place of the run, or at its own."""
    bot = Bot(["d0"])
    await bot.measure(
        Asked(id="1", question="a"), Asked(id="2", question="b", audience="channel:C1"), audience="public"
    )
    assert [set(question.readable) for question in bot.asked] == [{"public"}, {"channel:C1"}]


def test_intervals_hold_the_value_and_are_the_same_each_time() -> None:
    """Bootstrap, seeded; narrower with more questions."""
    few, many = interval([0.0, 1.0] * 10), interval([0.0, 1.0] * 500)
    assert few == interval([0.0, 1.0] * 10)
    assert few["low"] < few["value"] == 0.5 < few["high"]  # type: ignore[operator]
    assert many["high"] - many["low"] < few["high"] - few["low"]  # type: ignore[operator]
    assert interval([1.0] * 5) == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 5}


def test_every_form_of_history_is_read(tmp_path: Path) -> None:
    """Strings, `text`, `content`; fields that nobody knows are passed over."""
    lines = [
        {"id": "1", "question": "a", "history": ["hi", "hello"], "tags": ["x"]},
        {
            "id": "2",
            "question": "b",
            "history": [{"role": "user", "text": "hi"}, {"role": "agent", "content": "hello"}],
        },
        {"id": "3", "question": "c", "history": None, "evidence": "e", "gold_doc_ids": None, "answerable": None},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    one, two, three = read_questions(path)
    assert one.history == two.history
    assert [turn.role for turn in one.history] == ["user", "assistant"]
    assert three.evidence == ("e",) and three.history == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"id": "1"}', "line 1: question"),
        ('{"id": "1", "question": "a"}\n{nonsense', "line 2"),
        ('{"id": "1", "question": "a", "expected_behavior": "dance"}', "expected_behavior"),
        ("", "no questions"),
        ("[1]", "line 1"),
    ],
)
def test_a_wrong_file_is_told_by_its_line(text: str, told: str, tmp_path: Path) -> None:
    """So that it can be mended."""
    path = tmp_path / "questions.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TellUser, match=told):
        read_questions(path)


async def test_the_summary_is_shown_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Figures without a question are left out."""
    bot = Bot(["d0"])
    summary = await bot.measure(Asked(id="1", question="a", gold_doc_ids=("d0",)))
    print_summary({"summary": summary, "questions": bot.questions})
    shown = capsys.readouterr().out
    assert "hit@5" in shown and "1.000" in shown
    assert "evidence_covered" not in shown


def test_slips_are_put_into_long_words_only() -> None:
    """As many as asked for, the same each time; what is too short stays as it is."""
    text = "How do I rotate the signing secret of a webhook?"
    slipped = misspelt(text)
    assert slipped == misspelt(text) != text
    changed = [(one, other) for one, other in zip(text.split(), slipped.split(), strict=True) if one != other]
    assert len(changed) <= 2 and all(len(one.strip("?")) >= 5 for one, _ in changed)
    assert misspelt("how is it") == "how is it"


async def test_a_step_is_worth_what_is_missed_without_it() -> None:
    """The gain is paired by question; of a step that changes nothing it is nothing, and questions without gold pages
    are not asked."""
    asked: list[tuple[str, frozenset[str]]] = []

    async def find(question: Question, k: int, /, *, without: frozenset[str]) -> Found:
        asked.append((question.text, without))
        order = ["d1", "d0"] if "words" in without and question.text == "webhooks" else ["d0", "d1"]
        return Found(hits=tuple(Hit(passage=passage(one), score=1, certainty=0.9) for one in order), query="")

    measured = await measure_steps(
        [
            Asked(id="1", question="webhooks", gold_doc_ids=("d0",)),
            Asked(id="2", question="payments", gold_doc_ids=("d0",)),
            Asked(id="3", question="nothing known of it"),
        ],
        find=find,
        steps={"words": "Words beside meaning", "spelling": "Slips are mended"},
        names=lambda text: (),
        team_id="T",
        readable=lambda place: frozenset({place}),
    )
    assert set(measured) == {"words", "spelling", "slips"}
    assert measured["words"]["with"]["hit@1"]["value"] == 1.0
    assert measured["words"]["gain"]["hit@1"]["value"] == 0.5
    assert measured["words"]["gain"]["hit@5"]["value"] == 0.0
    assert measured["slips"]["gain"]["hit@1"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 2}
    slipped = {text for text, without in asked if without in (frozenset(), frozenset({"spelling"}))}
    assert slipped == {"webhooks", "payments", misspelt("webhooks"), misspelt("payments")}


async def test_a_step_may_bring_words_of_the_answer_instead_of_pages() -> None:
    """What is read beside the hits counts; a question without evidence or answer does not."""

    async def find(question: Question, k: int, /, *, without: frozenset[str]) -> Found:
        hits = (Hit(passage=passage("d0").model_copy(update={"text": "Open the valve"}), score=1, certainty=0.9),)
        more = passage("d0", 1).model_copy(update={"text": "and close the door"})
        return Found(hits=hits, query="", around=() if "neighbours" in without else (more,))

    measured = await measure_steps(
        [
            Asked(id="1", question="a", gold_doc_ids=("d0",), answer="Open the valve, close the door."),
            Asked(id="2", question="b", gold_doc_ids=("d0",), answer="Nothing of it", evidence=("Open valve",)),
            Asked(id="3", question="c", gold_doc_ids=("d0",)),
        ],
        find=find,
        steps={"neighbours": "what stands around"},
        names=lambda text: (),
        team_id="T",
        readable=lambda place: frozenset({place}),
    )
    row = measured["neighbours"]
    assert (row["with"]["read"]["value"], row["with"]["read"]["n"]) == (1.0, 2)
    assert row["gain"]["read"]["value"] == 0.25
    assert row["gain"]["hit@1"]["value"] == 0.0


async def test_codes_on_the_pages_are_asked_for() -> None:
    """What the step for codes brings is measured with a question for each code that few of the found pages hold."""
    asked: set[str] = set()

    async def find(question: Question, k: int, /, *, without: frozenset[str]) -> Found:
        asked.add(question.text)
        order = ["d1", "d0"] if "identifiers" in without else ["d0", "d1"]
        texts = {"d0": "ERR-1 and COMMON", "d1": "COMMON"}
        passages = [passage(one).model_copy(update={"text": texts[one]}) for one in order]
        return Found(hits=tuple(Hit(passage=one, score=1, certainty=0.9) for one in passages), query="")

    measured = await measure_steps(
        [Asked(id="1", question="payments", gold_doc_ids=("d0",))],
        find=find,
        steps={"identifiers": "Codes first"},
        names=lambda text: tuple(word for word in text.split() if word.startswith("ERR")),
        team_id="T",
        readable=lambda place: frozenset({place}),
    )
    assert asked == {"payments", "What does ERR-1 mean?"}
    assert measured["codes"]["with"]["hit@1"]["n"] == 1
    assert measured["codes"]["gain"]["hit@1"]["value"] == 1.0


async def test_a_page_shows_what_was_found_instead() -> None:
    """Figures and plots; for each miss the passage that came first beside the right one, wherever that stood, and the
    ids of a right page that was not found. Nothing found is HTML."""
    bot = Bot(["d0", "<i>d1"], a=answered("So [1].", ("d0", "t"), confidence=0.4))
    questions = [
        Asked(id="1", question="a", gold_doc_ids=("<i>d1",)),
        Asked(id="2", question="b", gold_doc_ids=("lost",)),
        Asked(id="3", question="c", gold_doc_ids=("d0",)),
        Asked(id="4", question="d", answerable=False),
    ]
    kept: dict[str, tuple[Hit, ...]] = {}
    result = await bot.evaluate(*questions, kept=kept)
    html = page(result, questions, kept).html()
    assert set(kept) == {"1", "2", "3", "4"}
    assert html.count("<svg") == 4
    assert "For 2 of 3 questions another page came first." in html
    assert "right, at 2: &lt;i&gt;d1" in html and "right, not found: lost" in html
    assert "<h3>c</h3>" not in html
    assert "1.000 (1)" in html, "figures by kind of question"


def test_the_steps_are_shown_on_a_terminal_of_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by its name, with figure, gain and interval whole; what no question counts for is a dash."""
    monkeypatch.setenv("COLUMNS", "80")
    figures = {figure: interval([0.25, 0.75]) for figure in STEP_FIGURES} | {"read": interval([])}
    print_steps({"words": {"title": "words beside meaning", "with": figures, "gain": figures}})
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "words" in shown and "meaning" in shown
    assert shown.count("0.500 +0.500") == 3 and shown.count("+0.25 to +0.75") == 3 and "–" in shown


def test_the_page_draws_what_the_steps_bring() -> None:
    """A point with its interval for each step, and the figures; a miss in a thread is shown with what was asked before,
    without the empty lines of its page."""
    asked = Asked(
        id="1", question="and that?", gold_doc_ids=("d0",), history=(Turn(role="user", text="What is the bill?"),)
    )
    ragged = passage("d1").model_copy(update={"text": "One.\n\n \n\nTwo."})
    hits = tuple(Hit(passage=one, score=1, certainty=0.9) for one in (ragged, passage("d0")))
    none = {figure: interval([]) for figure in STEP_FIGURES}
    row = {"with": {**none, "hit@1": interval([0.0])}, "gain": {**none, "hit@1": interval([-1.0])}}
    result = {
        "summary": {"hit@1": interval([0.0])},
        "questions": [
            {"found": ["d1", "d0"], "status": "declined", "confidence": 0.1, "citations": [], "timings_ms": {}}
        ],
        "steps": {"words": {"title": "words beside meaning", **row}},
    }
    html = page(result, [asked], {"1": hits}).html()
    assert "Gain over leaving out the step" in html and "0.000, -1.000\n-1.000 to -1.000" in html
    assert "and that? (after: What is the bill?)" in html and "One.\nTwo." in html


async def test_a_page_of_questions_without_gold_has_no_empty_plots() -> None:
    """Only what is known is drawn."""
    bot, questions = Bot(["d0"]), [Asked(id="1", question="a")]
    html = page(await bot.evaluate(*questions), questions, {}).html()
    assert "<svg" not in html and "For 0 of 0 questions" in html
