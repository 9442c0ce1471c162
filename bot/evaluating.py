"""Measures finding and answering on an operator's own questions, each figure with its interval, so that a change can be
told from noise. A question needs only an id and a text; what else is known of it (gold pages, evidence, an answer, what
is expected) decides which figures it counts for. The raw results go out beside the figures, so that anybody can compute
them again."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from bot.claims import STOP, read, stem
from bot.errors import TellUser
from bot.persona import Persona, format_problems
from bot.progress import Progress
from bot.vocabulary import WORKSPACE, Answer, Found, Hit, Question, Turn

DEPTH = 10
"""Distinct documents that are looked at for each question."""
_MOST_PASSAGES = 400
_RESAMPLES = 1_000
_SEED = 20

Behaviour = Literal["answer", "answer_partially", "abstain", "decline", "clarify", "chitchat"]
_RIGHT: dict[str, str] = {
    "answer": "answered",
    "answer_partially": "answered",
    "abstain": "declined",
    "decline": "declined",
    "clarify": "clarified",
    "chitchat": "chitchat",
}


class Asked(BaseModel):
    """A line of a questions file; fields that are not named here are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    question: str
    history: tuple[Turn, ...] = ()
    answer: str | None = None
    evidence: tuple[str, ...] = ()
    gold_doc_ids: tuple[str, ...] = ()
    answerable: bool | None = None
    expected_behavior: Behaviour | None = None
    audience: str | None = None
    kind: str | None = None

    @field_validator("history", mode="before")
    @classmethod
    def accept_every_form_of_turn(cls, turns: object) -> object:
        """Strings alternate and end with the bot's; of objects the text may be called `text` or `content`."""
        if not isinstance(turns, list):
            return turns or ()
        return tuple(_turn(turn, len(turns) - index) for index, turn in enumerate(turns))

    @field_validator("evidence", mode="before")
    @classmethod
    def accept_one_or_many(cls, evidence: object) -> object:
        return (evidence,) if isinstance(evidence, str) else evidence or ()

    @field_validator("gold_doc_ids", mode="before")
    @classmethod
    def accept_none(cls, ids: object) -> object:
        return ids or ()

    @property
    def behaviour(self) -> Behaviour | None:
        """What is expected of the bot, as far as the line says it."""
        if self.expected_behavior is not None:
            return self.expected_behavior
        if self.answerable is not None:
            return "answer" if self.answerable else "abstain"
        return "answer" if self.gold_doc_ids or self.evidence else None


def read_questions(path: Path) -> list[Asked]:
    """Reads a file of JSON lines. Raises TellUser, naming the line and what is wrong with it."""
    questions: list[Asked] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TellUser(f"{path} cannot be read as UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            questions.append(Asked.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the line"
            raise TellUser(f"{path}, line {number}: {where}: {first['msg']}") from None
    if not questions:
        raise TellUser(f"{path} holds no questions.")
    return questions


async def evaluate(
    questions: Sequence[Asked],
    *,
    find: Callable[[Question, int], Awaitable[Found]],
    answer: Callable[[Question], Awaitable[Answer]],
    persona: Persona,
    team_id: str,
    readable: Callable[[str], frozenset[str]],
    audience: str = WORKSPACE,
    progress: Progress = lambda done, total, label: None,
    kept: dict[str, tuple[Hit, ...]] | None = None,
) -> dict[str, Any]:
    """Finds and answers every question, as if asked at `audience` (or the question's own), and gives
    `{"summary": {figure: {value, low, high, n}}, "questions": [...]}`; low and high are the 95 % bootstrap interval.

    `find` gives the best k passages, `answer` the whole answer. A figure that no question counts for has n 0 and no
    value. A figure's name may end in `/kind`: it is of the questions of that kind alone. What was found for each
    question is left in `kept`, by its id.
    """
    results: list[dict[str, Any]] = []
    scores: list[dict[str, float]] = []
    for done, asked in enumerate(questions):
        progress(done, len(questions), asked.question[:40])
        question = _question(asked, team_id, readable(asked.audience or audience))
        hits = await _hits(find, question)
        found = _documents(hits)
        if kept is not None:
            kept[asked.id] = hits
        answered = await answer(question)
        results.append(
            {
                "id": asked.id,
                "found": found,
                "status": answered.status,
                "text": answered.text,
                "citations": [
                    citation.model_dump(include={"number", "document_id", "title", "url", "quote"})
                    for citation in answered.citations
                ],
                "confidence": answered.confidence,
                "timings_ms": answered.timings_ms,
            }
        )
        scores.append(_scores(asked, found, answered, persona))
    progress(len(questions), len(questions), "")
    return {"summary": summarize(questions, results, scores), "questions": results}


def _question(asked: Asked, team_id: str, readable: frozenset[str]) -> Question:
    return Question(
        id=f"{team_id}:evaluate:{asked.id}",
        team_id=team_id,
        text=asked.question,
        readable=readable,
        history=asked.history,
    )


async def _hits(find: Callable[[Question, int], Awaitable[Found]], question: Question) -> tuple[Hit, ...]:
    """What is found, best first: passages of at least `DEPTH` documents if there are so many."""
    k = 4 * DEPTH
    while True:
        hits = (await find(question, k)).hits
        if len(_documents(hits)) >= DEPTH or len(hits) < k or k >= _MOST_PASSAGES:
            return hits
        k = min(2 * k, _MOST_PASSAGES)


def _documents(hits: Sequence[Hit]) -> list[str]:
    """The ids of the documents found, best first, each once."""
    return list(dict.fromkeys(hit.passage.document_id for hit in hits))


FIGURES = (
    "hit@1",
    "hit@5",
    "hit@10",
    "mrr",
    "ndcg@10",
    "right_behaviour",
    "right_refusals",
    "wrongly_declined",
    "failed",
    "evidence_covered",
    "key_numbers",
    "citation_precision",
    "citation_recall",
    "format",
    "total_ms",
)


def _scores(asked: Asked, found: Sequence[str], answered: Answer, persona: Persona) -> dict[str, float]:
    """What one question says about each figure that it counts for."""
    scores: dict[str, float] = {"failed": float(answered.status == "failed")}
    gold, behaviour = set(asked.gold_doc_ids), asked.behaviour
    if gold:
        scores |= ranking(gold, found)
    if behaviour is not None:
        scores["right_behaviour"] = float(answered.status == _RIGHT[behaviour])
    if behaviour in ("abstain", "decline"):
        scores["right_refusals"] = float(answered.status == "declined")
    if behaviour in ("answer", "answer_partially"):
        scores["wrongly_declined"] = float(answered.status in ("declined", "clarified", "chitchat"))
        quotes = "\n".join(citation.quote for citation in answered.citations)
        if wanted := content_words("\n".join(asked.evidence)):
            scores["evidence_covered"] = len(wanted & content_words(quotes)) / len(wanted)
        if asked.answer and (keys := _keys(asked.answer)):
            scores["key_numbers"] = len(keys & _keys(f"{answered.text}\n{quotes}")) / len(keys)
    if answered.status == "answered":
        scores["format"] = float(not format_problems(answered.text, persona))
        scores["total_ms"] = answered.timings_ms.get("total", 0.0)
        if gold and answered.citations:
            right = [citation.document_id in gold for citation in answered.citations]
            scores |= {"citation_precision": sum(right) / len(right), "citation_recall": float(any(right))}
    return scores


def ranking(gold: set[str], found: Sequence[str]) -> dict[str, float]:
    """Gives hits, reciprocal rank and nDCG of documents found, best first. Any gold id is a hit; nDCG counts all."""
    ranks = [rank for rank, document_id in enumerate(found, start=1) if document_id in gold]
    best = ranks[0] if ranks else math.inf
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(gold), DEPTH) + 1))
    return {
        **{f"hit@{depth}": float(best <= depth) for depth in (1, 5, 10)},
        "mrr": 1 / best if best <= DEPTH else 0.0,
        "ndcg@10": sum(1 / math.log2(rank + 1) for rank in ranks if rank <= DEPTH) / ideal,
    }


def content_words(text: str) -> set[str]:
    """Gives the words of a text that tell something, as stems."""
    return {stem(token) for token in read(text).tokens if token not in STOP}


def _keys(text: str) -> set[str]:
    """The numbers, dates, identifiers and names of a text."""
    claims = read(text)
    return {number for number, _ in claims.numbers} | claims.dates | claims.identifiers | claims.names


def summarize(
    questions: Sequence[Asked], results: Sequence[dict[str, Any]], scores: Sequence[dict[str, float]]
) -> dict[str, dict[str, float | None]]:
    """Gives every figure over all questions and over each kind of question, and the risk at four coverages."""
    summary = {figure: interval(score[figure] for score in scores if figure in score) for figure in FIGURES}
    summary |= _risk(questions, results)
    kinds: dict[str, list[dict[str, float]]] = {}
    for asked, score in zip(questions, scores, strict=True):
        if asked.behaviour is not None:
            kinds.setdefault(asked.behaviour, []).append(score)
        kinds.setdefault("follow_up" if asked.history else "first", []).append(score)
    for kind, members in sorted(kinds.items()):
        if len(members) == len(scores):
            continue
        for figure in FIGURES:
            if values := [score[figure] for score in members if figure in score]:
                summary[f"{figure}/{kind}"] = interval(values)
    return summary


def _risk(questions: Sequence[Asked], results: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """The share of wrong answers among the most confident half, three quarters … of what could be answered."""
    judged = sorted(judge(questions, results), key=lambda each: -each[0])
    return {
        f"risk@{percent}": interval(wrong for _, wrong in judged[: math.ceil(len(judged) * percent / 100)])
        for percent in (25, 50, 75, 100)
    }


def judge(questions: Sequence[Asked], results: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Gives confidence and whether the answer is wrong, of each question that says so.

    Wrong is an answer to what the documents do not answer, and one that cites no gold page.
    """
    judged = []
    for asked, result in zip(questions, results, strict=True):
        gold = set(asked.gold_doc_ids)
        if asked.behaviour not in ("abstain", "decline") and not gold:
            continue
        cited = {citation["document_id"] for citation in result["citations"]}
        is_wrong = result["status"] == "answered" and not cited & gold
        judged.append((result["confidence"], float(is_wrong)))
    return judged


def interval(values: Iterable[float]) -> dict[str, float | None]:
    """Gives the mean with its 95 % interval from 1,000 seeded resamples."""
    import numpy

    sample = numpy.array(list(values), dtype=float)
    if not len(sample):
        return {"value": None, "low": None, "high": None, "n": 0}
    drawn = numpy.random.default_rng(_SEED).integers(0, len(sample), (_RESAMPLES, len(sample)))
    between = numpy.percentile(sample[drawn].mean(axis=1), [2.5, 97.5])
    value, low, high = (round(float(number), 4) for number in (sample.mean(), *between))
    return {"value": value, "low": low, "high": high, "n": len(sample)}


def print_summary(result: dict[str, Any]) -> None:
    """Shows the figures as a table, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(result['questions'])} questions")
    table.add_column("figure")
    table.add_column("value", justify="right", style="bold")
    table.add_column("95 % interval", justify="right")
    table.add_column("n", justify="right")
    kind = ""
    for name, figure in result["summary"].items():
        if not figure["n"]:
            continue
        if name.partition("/")[2] != kind:
            kind = name.partition("/")[2]
            table.add_section()
        digits = 0 if name.startswith("total_ms") else 3
        value, low, high = (f"{figure[key]:,.{digits}f}" for key in ("value", "low", "high"))
        table.add_row(name, value, f"{low} to {high}", f"{figure['n']:,}")
    Console().print(table)


def _turn(turn: object, from_end: int) -> object:
    if isinstance(turn, str):
        return {"role": "assistant" if from_end % 2 else "user", "text": turn}
    if isinstance(turn, dict):
        role = turn.get("role")
        return {
            "role": "assistant" if role in ("assistant", "agent", "bot", "system") else "user",
            "text": turn.get("text", turn.get("content", "")),
        }
    return turn
