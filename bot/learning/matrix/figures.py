"""From the answers of a decision matrix to its figures: what each answer is worth, the means of each arm with their
95 % bootstrap intervals, the paired differences between arms, and which arm to take for which kind of question. The
answers go out beside the figures, so that anybody can compute them again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bot.claims import STOP, Claims, read, stem
from bot.evaluating import interval
from bot.learning.matrix.arms import Arm
from bot.learning.matrix.cases import Case
from bot.learning.versions.measures import MEASURES, Measure, Outcome, Prices, Trial, measure
from bot.persona import Persona, format_problems
from bot.sentences import MARK
from bot.vocabulary import Passage

if TYPE_CHECKING:
    from bot.learning.matrix.running import Given

FIGURES: Mapping[str, Measure] = {
    "quality_posted": Measure("of what is posted: mean of evidence covered and key facts"),
    "quality": Measure("of what the model wrote: mean of evidence covered and key facts"),
    "evidence_covered": Measure("words of the gold evidence that the model's text holds"),
    "key_facts": Measure("numbers, dates and names of the gold answer that the model's text holds"),
    "hallucinating": Measure("answers with a number or name that stands in no passage", less_is_better=True),
    "hallucinated": Measure("such numbers and names in an answer", "words", less_is_better=True),
    "groundedness": MEASURES["groundedness"],
    "citation_precision": Measure("citations that lead to a passage which supports their sentence"),
    "citation_recall": Measure("factual sentences with such a citation"),
    "raw_format": MEASURES["raw_format"],
    "format": MEASURES["format"],
    "fresh": Measure("tells the new number after a page was changed, and not the old one"),
    "stale": Measure("tells the old number after a page was changed", less_is_better=True),
    "right_refusals": Measure("declines where the passages do not answer"),
    "raw_refusals": Measure("the same, of what the model wrote"),
    "answers": Measure("answers where the passages do"),
    "failed": Measure("answers that failed", less_is_better=True),
    "words": MEASURES["words"],
    "first_token_ms": Measure("time to the first token, finding included", "ms", less_is_better=True),
    "total_ms": Measure("time to the whole answer, finding and checks included", "ms", less_is_better=True),
    "tokens_in": MEASURES["tokens_in"],
    "tokens_out": MEASURES["tokens_out"],
    "cost_per_1000": Measure("price of 1,000 answers", "money", less_is_better=True),
}
"""In the order of the report. Of a time, `_p50` and `_p95` are given too."""

AS_GOOD = 0.02
"""Arms within two points of the best are taken for equally good; the faster one is recommended."""

_RESAMPLES, _SEED = 1_000, 20
_STEP = re.compile(r"(?m)^\s*\d{1,3}[.)]\s")


class Board:
    """What every arm scored in every case, and what follows."""

    def __init__(self, cases: Sequence[Case], arms: Sequence[Arm], given: Sequence[Given], persona: Persona) -> None:
        self.cases, self.arms = {case.id: case for case in cases}, list(arms)
        self._summaries: dict[str, dict[str, dict[str, float | None]]] = {}
        by_name = {arm.name: arm for arm in arms}
        self.scores: dict[tuple[str, str], dict[str, float]] = {
            (one.arm, one.case): scores(self.cases[one.case], one, by_name[one.arm], persona) for one in given
        }

    def values(self, arm: str, figure: str, ids: Iterable[str] | None = None) -> dict[str, float]:
        """Gives an arm's values of a figure, by case."""
        return {
            id: score[figure]
            for id in (self.cases if ids is None else ids)
            if figure in (score := self.scores[arm, id])
        }

    def summary(self, arm: str) -> dict[str, dict[str, float | None]]:
        """Gives every figure of an arm."""
        if arm not in self._summaries:
            self._summaries[arm] = self._summary(arm)
        return self._summaries[arm]

    def _summary(self, arm: str) -> dict[str, dict[str, float | None]]:
        found = {}
        for figure, kind in FIGURES.items():
            values = list(self.values(arm, figure).values())
            found[figure] = interval(values)
            if kind.unit == "ms":
                found |= {f"{figure}_p{percent}": quantile(values, percent) for percent in (50, 95)}
        return found

    def difference(self, arm: str, other: str, figure: str) -> dict[str, float | None]:
        """Gives how much more `arm` has of a figure than `other`, over the cases that count for both."""
        ours, theirs = self.values(arm, figure), self.values(other, figure)
        return interval(ours[id] - theirs[id] for id in ours if id in theirs)

    def recommend(self) -> list[dict[str, Any]]:
        """Names for each kind of question the arm to take, the fastest of those that are as good as the best, and how
        sure that is: the share of resamples of the questions in which no arm is better than it by two points."""
        kinds: dict[str, list[str]] = {}
        for id, case in self.cases.items():
            if case.sort != "changed":
                kinds.setdefault(case.kind, []).append(id)
        return [found for kind, ids in sorted(kinds.items()) if (found := self._recommended(kind, ids))]

    def _recommended(self, kind: str, ids: Sequence[str]) -> dict[str, Any] | None:
        import numpy

        is_refusal = all(self.cases[id].sort == "refusal" for id in ids)
        figure = "right_refusals" if is_refusal else "quality_posted"
        names = [arm.name for arm in self.arms]
        columns = [self.values(name, figure, ids) for name in names]
        shared = [id for id in ids if all(id in column for column in columns)]
        if not shared:
            return None
        table = numpy.array([[column[id] for column in columns] for id in shared])
        means = table.mean(axis=0)
        if is_refusal:
            means = numpy.where([self._is_silent(name) for name in names], 0.0, means)
        good = [index for index in range(len(names)) if means[index] >= means.max() - AS_GOOD]
        chosen = min(good, key=lambda index: (self._pace(names[index]), -means[index]))
        drawn = numpy.random.default_rng(_SEED).integers(0, len(shared), (_RESAMPLES, len(shared)))
        resampled = table[drawn].mean(axis=1) * (means > 0)
        sureness = float((resampled[:, chosen] >= resampled.max(axis=1) - AS_GOOD).mean())
        others = [float(mean) for index, mean in enumerate(means) if index != chosen]
        return {
            "kind": kind,
            "arm": names[chosen],
            "figure": figure,
            "value": round(float(means[chosen]), 4),
            "next_best": round(max(others), 4) if others else None,
            "n": len(shared),
            "sureness": round(sureness, 3),
            "how_sure": how_sure(sureness, len(shared), len(names)),
        }

    def _is_silent(self, arm: str) -> bool:
        """Whether an arm declines most of what it should answer: then it is no merit to decline the rest."""
        answered = self.values(arm, "answers").values()
        return sum(answered) < len(answered) / 2

    def _pace(self, arm: str) -> float:
        median = quantile(self.values(arm, "total_ms").values(), 50)["value"]
        return float("inf") if median is None else median


def how_sure(sureness: float, n: int, arms: int) -> str:
    """Says how sure a recommendation is."""
    if arms == 1:
        return "nothing to compare"
    if n < 10:
        return "a hint only: fewer than 10 questions"
    return "sure" if sureness >= 0.95 else "likely" if sureness >= 0.8 else "open: the arms cannot be told apart"


def figures(
    cases: Sequence[Case], arms: Sequence[Arm], given: Sequence[Given], persona: Persona, *, asked: int
) -> dict[str, Any]:
    """Gives `{"arms", "summary": {arm: {figure: {value, low, high, n}}}, "differences": the same against the first arm,
    "claims", "recommendations", "answers", "cases", "left_out": questions that were not asked}`."""
    from bot.learning.matrix.claims import claims

    board = Board(cases, arms, given, persona)
    first, *others = [arm.name for arm in arms]
    return {
        "arms": [arm.told for arm in arms],
        "summary": {arm.name: board.summary(arm.name) for arm in arms},
        "differences": {
            other: {figure: board.difference(other, first, figure) for figure in FIGURES} for other in others
        },
        "claims": [claim.model_dump() for claim in claims(board)],
        "recommendations": board.recommend(),
        "answers": [_answer_json(one, board.scores[one.arm, one.case]) for one in given],
        "cases": [_case_json(case) for case in cases],
        "left_out": asked - sum("~" not in case.id for case in cases),
    }


def _answer_json(one: Given, score: Mapping[str, float]) -> dict[str, Any]:
    answer = one.answer
    fields = {"number", "document_id", "title", "url", "quote"}
    return {
        "case": one.case,
        "arm": one.arm,
        "status": answer.status,
        "completion": answer.completion,
        "text": answer.text,
        "citations": [citation.model_dump(include=fields) for citation in answer.citations],
        "timings_ms": answer.timings_ms,
        **one.model_dump(include={"tokens_in", "tokens_out", "tokens_are_counted", "problem", "was_kept"}),
        "scores": {name: round(value, 4) for name, value in score.items()},
    }


def _case_json(case: Case) -> dict[str, Any]:
    passages = [one.model_dump(include={"document_id", "title", "section", "text"}) for one in case.passages]
    return case.model_dump(mode="json", exclude={"passages"}) | {"passages": passages}


def _prices(arm: Arm) -> Prices | None:
    if arm.is_quoting:
        return Prices(tokens_in=0, tokens_out=0)
    if arm.price_per_million_in is None or arm.price_per_million_out is None:
        return None
    return Prices(tokens_in=arm.price_per_million_in, tokens_out=arm.price_per_million_out)


def scores(case: Case, given: Given, arm: Arm, persona: Persona) -> dict[str, float]:
    """Gives what one answer says about each figure that it counts for. A failed answer is worth nothing, and says
    nothing of times and costs."""
    answer = given.answer
    failed = {"failed": float(answer.status == "failed")}
    bare = _bare(answer.completion, persona)
    if case.sort == "changed":
        told = {number for number, _ in read(bare).numbers} if not failed["failed"] else set()
        old, new = (number.replace(",", "") in told for number in (case.old, case.new))
        return {"fresh": float(new and not old), "stale": float(old)} | failed
    if case.sort == "refusal":
        refuses = persona.refusal in answer.completion or _refuses(answer.completion, persona)
        return {"right_refusals": float(answer.status == "declined"), "raw_refusals": float(refuses)} | failed
    if failed["failed"]:
        nothing = dict.fromkeys(("raw_format", "format", "answers"), 0.0)
        return failed | nothing | _quality(case, "", "") | _quality(case, "", "", "_posted")
    trial = Trial(id=case.id, question=f"{case.question}\n{case.query}", passages=case.passages)
    outcome = Outcome(answer=answer, tokens_in=given.tokens_in, tokens_out=given.tokens_out)
    found = failed | measure(trial, outcome, persona, _prices(arm))
    if not arm.retrieval and "citation_recall" in found:
        found |= {"citation_precision": 0.0, "citation_recall": 0.0}  # it was shown nothing that a mark could lead to
    found["answers"] = found.pop("right_refusals", 0.0)
    if "cost" in found:
        found["cost_per_1000"] = 1_000 * found.pop("cost")
    quotes = "\n".join(citation.quote for citation in answer.citations)
    posted = _bare(answer.text, persona) if answer.status == "answered" else ""
    found |= _quality(case, bare, bare) | _quality(case, quotes, f"{posted}\n{quotes}", "_posted")
    if bare.strip():
        strange = invented(bare, case.passages, "\n".join([case.question, case.query, *_earlier(case)]), persona)
        found |= {"hallucinated": float(len(strange)), "hallucinating": float(bool(strange))}
    return {name: value for name, value in found.items() if name in FIGURES}


def _earlier(case: Case) -> list[str]:
    return [turn.text for turn in case.history]


def _bare(text: str, persona: Persona) -> str:
    """A text without marks, numbers of steps, and the sentences that are the persona's own."""
    for own in (persona.refusal, persona.human, persona.opening):
        text = text.replace(own, " ") if own else text
    return _STEP.sub("\n", re.sub(MARK, "", text))


def _refuses(completion: str, persona: Persona) -> bool:
    return any(problem.startswith("it refuses") for problem in format_problems(completion, persona))


def _quality(case: Case, covering: str, telling: str, suffix: str = "") -> dict[str, float]:
    """How much of the gold evidence and of the gold answer's facts a text holds, as `evaluate` counts it."""
    parts: dict[str, float] = {}
    if wanted := _words("\n".join(case.evidence)):
        parts["evidence_covered"] = len(wanted & _words(covering)) / len(wanted)
    if keys := _facts(read(case.answer or "")):
        parts["key_facts"] = len(keys & _facts(read(telling))) / len(keys)
    if not parts:
        return {}
    quality = {f"quality{suffix}": sum(parts.values()) / len(parts)}
    return quality if suffix else quality | parts


def _words(text: str) -> set[str]:
    return {stem(token) for token in read(text).tokens if token not in STOP}


def _facts(claims: Claims) -> set[str]:
    return {number for number, _ in claims.numbers} | claims.dates | claims.identifiers | claims.names


def invented(text: str, passages: Sequence[Passage], question: str, persona: Persona) -> set[str]:
    """Gives the numbers, dates, identifiers and names of a text that stand nowhere in the passages or the question,
    whatever they say there."""
    known = "\n".join([question, persona.name, persona.company, *(_whole(passage) for passage in passages)])
    there, flat = _read(known), " ".join(known.split()).lower()
    words = there.words | there.tokens | {stem(token) for token in there.tokens}
    told = read(text)
    numbers = {number for number, _ in told.numbers} - {number for number, _ in there.numbers} - there.date_parts
    dates = told.dates - there.dates
    identifiers = {one for one in told.identifiers if one not in words and one not in flat}
    return (numbers - words) | dates | identifiers | (told.names - words)


def _whole(passage: Passage) -> str:
    return f"{passage.title}\n{passage.section}\n{passage.text}"


@lru_cache(maxsize=500)
def _read(text: str) -> Claims:
    return read(text)


def quantile(values: Iterable[float], percent: float) -> dict[str, float | None]:
    """Gives a quantile with its 95 % interval from 1,000 seeded resamples."""
    import numpy

    sample = numpy.array(list(values), dtype=float)
    if not len(sample):
        return {"value": None, "low": None, "high": None, "n": 0}
    drawn = numpy.random.default_rng(_SEED).integers(0, len(sample), (_RESAMPLES, len(sample)))
    between = numpy.percentile(numpy.percentile(sample[drawn], percent, axis=1), [2.5, 97.5])
    value, low, high = (round(float(number), 4) for number in (numpy.percentile(sample, percent), *between))
    return {"value": value, "low": low, "high": high, "n": len(sample)}
