"""When to answer, learned from an operator's own questions: how likely it is that the passages found hold the answer.
Each question with known pages counts twice, once as it is and once with those pages hidden, so that a file of
answerable questions also teaches when to decline. Whatever is reported of a calibration was measured on questions that
it had not seen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.calibration import Calibration, Figure, Signs
from bot.errors import TellUser
from bot.progress import Progress
from bot.vocabulary import WORKSPACE, Found, Hit, Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from bot.evaluating import Asked

    Numbers = NDArray[np.float64]

CANDIDATES: tuple[tuple[str, ...], ...] = (
    ("cosine",),
    ("cosine", "covered_by_one"),
    ("cosine", "covered", "covered_by_one", "agreement", "margin", "words"),
)
"""Signs to learn from, the fewest first: few questions bear few signs."""
FEWEST = 10
"""Searches of each kind, answered and not, below which nothing is learned."""
FOLDS = 5
READ = 5
"""Passages that an answer is written from."""
_SEARCHED_FOR_KIN = 50
_SPLITS = 5
_RIDGE = 1.0
_RESAMPLES = 500


@dataclass(frozen=True)
class Search:
    """One search whose right outcome is known."""

    question_id: str
    signs: Signs
    holds: bool
    """Whether the passages found hold the answer."""


@dataclass(frozen=True)
class Learned:
    """A calibration, with what it was drawn from: one entry for each search."""

    calibration: Calibration
    holds: NDArray[np.bool_]
    certainty: Numbers
    told: Numbers
    """The probability, by a model that had not seen the question."""


async def search_all(
    questions: Sequence[Asked],
    *,
    find: Callable[[Question, int, frozenset[str]], Awaitable[Found]],
    signs: Callable[[Found], Signs],
    team_id: str,
    readable: Callable[[str], frozenset[str]],
    audience: str = WORKSPACE,
    progress: Progress = lambda done, total, label: None,
) -> list[Search]:
    """Searches every question whose answer's pages are known, or of which it is known that there is none.

    `find` gives the best passages without those of hidden documents; an answer is written from the first five. With
    the known pages hidden, pages of the same title or address go too: they are parts of the same page, or copies.
    """
    searches: list[Search] = []

    def add(asked: Asked, found: Found, gold: frozenset[str]) -> None:
        if found.hits:
            holds = any(hit.passage.document_id in gold for hit in found.hits[:READ])
            searches.append(Search(asked.id, signs(found), holds))

    for done, asked in enumerate(questions):
        progress(done, len(questions), asked.question[:40])
        gold = frozenset(asked.gold_doc_ids)
        if not gold and asked.behaviour not in ("abstain", "decline"):
            continue
        question = Question(
            id=f"{team_id}:calibrate:{asked.id}",
            team_id=team_id,
            text=asked.question,
            readable=readable(asked.audience or audience),
            history=asked.history,
        )
        found = await find(question, _SEARCHED_FOR_KIN if gold else READ, frozenset())
        add(asked, found, gold)
        if gold:
            add(asked, await find(question, READ, gold | _kin(found.hits, gold)), frozenset())
    progress(len(questions), len(questions), "")
    return searches


def _kin(hits: Sequence[Hit], gold: frozenset[str]) -> frozenset[str]:
    """The documents that are parts or copies of the gold ones: of the same title, or the same address before its #."""

    def names(hit: Hit) -> set[str]:
        return set(filter(None, (hit.passage.title.casefold(), (hit.passage.url or "").partition("#")[0])))

    known = set().union(*(names(hit) for hit in hits if hit.passage.document_id in gold))
    return frozenset(hit.passage.document_id for hit in hits if names(hit) & known)


def calibrate(
    searches: Sequence[Search],
    *,
    form: str,
    alpha: float,
    plain_threshold: float,
    fitted_on: str,
    most_risk: float | None = None,
) -> Learned:
    """Learns from searches. Raises TellUser when there are too few of either kind.

    The signs are the candidates with the least cross-validated loss. The threshold is the lowest at which no more
    than `most_risk` of the answers come from passages that do not hold them; without `most_risk`, the one with the
    fewest mistakes of both kinds among those that make no more of either than the plain threshold, a certainty.
    """
    import numpy as np

    holds = np.array([search.holds for search in searches], dtype=bool)  # of none it would be of floats
    answered, unanswered = int(holds.sum()), int((~holds).sum())
    if min(answered, unanswered) < FEWEST:
        raise TellUser(
            f"{answered} searches found the answer and {unanswered} did not; {FEWEST} of each are needed at least. "
            "Give questions with `gold_doc_ids`, and some with `answerable: false`."
        )
    every = {names: _cross_validated(searches, names) for names in CANDIDATES}
    chosen = min(CANDIDATES, key=lambda names: _loss(every[names], holds))
    told, folds = every[chosen], _folds(searches, 0)
    certainty = np.array([(1 + search.signs["cosine"]) / 2 for search in searches])
    plain = certainty >= plain_threshold
    decided = np.zeros(len(searches), dtype=bool)
    for fold in range(FOLDS):  # each fold is decided by a threshold that was chosen on the others
        mine = folds == fold
        decided[mine] = told[mine] >= _threshold(told[~mine], holds[~mine], plain[~mine], most_risk)
    model = _fit(_matrix(searches, chosen), holds)
    calibration = Calibration(
        form=form,
        alpha=alpha,
        signs=chosen,
        means=tuple(model.means.tolist()),
        scales=tuple(model.scales.tolist()),
        weights=tuple(model.weights[1:].tolist()),
        bias=float(model.weights[0]),
        threshold=_threshold(told, holds, plain, most_risk),
        fitted_on=fitted_on,
        answered=answered,
        unanswered=unanswered,
        at=datetime.now(UTC),
        before=figures(searches, certainty, plain),
        after=figures(searches, told, decided),
    )
    return Learned(calibration, holds, certainty, told)


def figures(searches: Sequence[Search], confidence: Numbers, decided: NDArray[np.bool_]) -> dict[str, Figure]:
    """Gives what a confidence and the decisions by it are worth: the shares `wrongly_declined` (of what was found) and
    `wrongly_answered` (of what was not), `risk` (the share of the answers that is wrong), the area under `risk` against
    `coverage`, and the `brier` score."""
    import numpy as np

    holds = np.array([search.holds for search in searches])
    measures: dict[str, Callable[[NDArray[np.intp]], float]] = {
        "wrongly_declined": lambda some: _mean(~decided[some][holds[some]]),
        "wrongly_answered": lambda some: _mean(decided[some][~holds[some]]),
        "risk": lambda some: _mean(~holds[some][decided[some]]),
        "area_under_risk_coverage": lambda some: area(confidence[some], holds[some]),
        "brier": lambda some: _mean((confidence[some] - holds[some]) ** 2),
    }
    drawn = _resamples(searches)
    found = {}
    for name, measure in measures.items():
        low, high = np.percentile([measure(some) for some in drawn], [2.5, 97.5])
        value = measure(np.arange(len(searches)))
        found[name] = Figure(value=round(value, 4), low=round(float(low), 4), high=round(float(high), 4))
    return found


def area(confidence: Numbers, holds: NDArray[np.bool_]) -> float:
    """Gives the area under risk against coverage, answering in the order of confidence; 0 is best."""
    return float(risks(confidence, holds).mean())


def risks(confidence: ArrayLike, holds: ArrayLike) -> Numbers:
    """Gives the share of wrong answers among the most confident 1, 2, … searches."""
    import numpy as np

    wrong = ~np.asarray(holds, dtype=bool)[np.argsort(-np.asarray(confidence, dtype=float), kind="stable")]
    shares: Numbers = np.cumsum(wrong) / np.arange(1, len(wrong) + 1)
    return shares


@dataclass(frozen=True)
class _Model:
    means: Numbers
    scales: Numbers
    weights: Numbers
    """The bias first."""

    def probabilities(self, matrix: Numbers) -> Numbers:
        import numpy as np

        logits = self.weights[0] + ((matrix - self.means) / self.scales) @ self.weights[1:]
        told: Numbers = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        return told


def _fit(matrix: Numbers, holds: NDArray[np.bool_]) -> _Model:
    """Logistic regression with a ridge, by Newton's method."""
    import numpy as np

    means, scales = matrix.mean(axis=0), np.maximum(matrix.std(axis=0), 1e-6)
    design = np.column_stack([np.ones(len(matrix)), (matrix - means) / scales])
    ridge = np.diag([1e-6, *[_RIDGE] * matrix.shape[1]])
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        told = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        slope = design.T @ (told - holds) + ridge @ weights
        curve = (design.T * (told * (1 - told))) @ design + ridge
        step = np.linalg.solve(curve, slope)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return _Model(means, scales, weights)


def _cross_validated(searches: Sequence[Search], names: Sequence[str]) -> Numbers:
    """The probability of each search, told by models that were fitted on other questions: the mean of some splits."""
    import numpy as np

    matrix, holds = _matrix(searches, names), np.array([search.holds for search in searches])
    told = np.zeros(len(searches))
    for split in range(_SPLITS):
        folds = _folds(searches, split)
        for fold in range(FOLDS):
            mine = folds == fold
            if mine.any():
                told[mine] += _fit(matrix[~mine], holds[~mine]).probabilities(matrix[mine]) / _SPLITS
    return told


def _folds(searches: Sequence[Search], split: int) -> NDArray[np.intp]:
    """Both searches of a question fall into one fold."""
    import numpy as np

    ids = sorted({search.question_id for search in searches})
    order = np.random.default_rng(split).permutation(len(ids))
    fold_of = {id: int(place) % FOLDS for id, place in zip(ids, order, strict=True)}
    return np.array([fold_of[search.question_id] for search in searches])


def _resamples(searches: Sequence[Search]) -> list[NDArray[np.intp]]:
    """Bootstrap samples, drawn by question."""
    import numpy as np

    rows: dict[str, list[int]] = {}
    for row, search in enumerate(searches):
        rows.setdefault(search.question_id, []).append(row)
    groups = [np.array(group) for group in rows.values()]
    random = np.random.default_rng(1)
    return [
        np.concatenate([groups[each] for each in random.integers(0, len(groups), len(groups))])
        for _ in range(_RESAMPLES)
    ]


def _threshold(told: Numbers, holds: NDArray[np.bool_], plain: NDArray[np.bool_], most_risk: float | None) -> float:
    """The threshold as `calibrate` says; 1 when no answer is safe enough."""
    import numpy as np

    values: Numbers = np.unique(told)
    between = (values[:-1] + values[1:]) / 2
    options: list[float] = [float(values[0]) / 2, *between.tolist(), 1.0]
    if most_risk is not None:
        return min((one for one in options if _mean(~holds[told >= one]) <= most_risk), default=1.0)
    declined, answered = _mean(~plain[holds]), _mean(plain[~holds])

    def mistakes(threshold: float) -> tuple[bool, float]:
        decided = told >= threshold
        more_declined, more_answered = _mean(~decided[holds]) - declined, _mean(decided[~holds]) - answered
        return max(more_declined, more_answered) > 1e-9, more_declined + more_answered

    return min(options, key=mistakes)


def _matrix(searches: Sequence[Search], names: Sequence[str]) -> Numbers:
    import numpy as np

    return np.array([[search.signs[name] for name in names] for search in searches])


def _loss(told: Numbers, holds: NDArray[np.bool_]) -> float:
    import numpy as np

    right = np.clip(np.where(holds, told, 1 - told), 1e-6, 1)
    return float(-np.log(right).mean())


def _mean(values: NDArray[np.bool_] | Numbers) -> float:
    import numpy as np

    return float(np.mean(values)) if len(values) else 0.0
