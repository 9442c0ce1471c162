"""Whether what is commonly said of retrieval and fine-tuning holds here: the rows of the usual decision matrix and the
claims made for using both together, each held against the figures of the arms that can decide it. A claim *held* or
*not held* when the 95 % interval of the difference leaves out zero; everything else is *not measurable here*, with the
reason: an arm that is missing, too few questions, figures too close for them, or days of people's work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from bot.learning.matrix.arms import Arm
from bot.learning.matrix.figures import FIGURES
from bot.vocabulary import Frozen

if TYPE_CHECKING:
    from bot.learning.matrix.figures import Board

FEWEST = 6
"""Questions to judge by: that five differ the same way by chance happens in one case of sixteen."""

MOST_FAILED = 0.1
"""Share of an arm's answers that may fail: a server that is down says nothing about an approach."""

Verdict = Literal["held", "not held", "not measurable here"]


class Claim(Frozen):
    """A claim and what became of it."""

    claim: str
    verdict: Verdict
    why: str
    """With the figures that decide it."""


class _Roles:
    """Which arm stands for which approach."""

    def __init__(self, arms: list[Arm]) -> None:
        tuned = [arm for arm in arms if arm.tuned]
        untuned = [arm for arm in arms if not arm.tuned and arm.retrieval and not arm.is_quoting]
        self.hybrid = next((arm for arm in tuned if arm.retrieval), None)
        self.alone = next((arm for arm in tuned if not arm.retrieval), None)
        whole = [arm for arm in untuned if arm.prompt == "full" and not arm.nearest]
        # The model that was tuned is the fair opponent; it is the last of the untuned ones in what is configured.
        self.retrieval = next(reversed(whole or untuned), None)
        self.grammar = next((arm for arm in untuned if arm.prompt == "grammar"), None)


def claims(board: Board) -> list[Claim]:
    """Judges every claim."""
    return [*_rows(board, _Roles(board.arms)), *_of_both_together(board, _Roles(board.arms))]


def _rows(board: Board, roles: _Roles) -> Iterator[Claim]:
    rag, alone = roles.retrieval, roles.alone
    yield _setup(roles)
    yield _cost(board, roles)
    yield _compared(
        board,
        "Knowledge is as fresh as the index with retrieval; a tuned model tells what it learnt.",
        rag,
        alone,
        "fresh",
    )
    yield _compared(
        board,
        "Sources come by themselves with retrieval, and hardly from a tuned model.",
        rag,
        alone,
        "citation_recall",
    )
    yield _format(board, roles, "A tuned model keeps to a format better than a prompted one.")
    yield _compared(
        board, "With retrieval a model invents less than a tuned one by itself.", rag, alone, "hallucinating", less=True
    )
    yield _compared(
        board, "Retrieval takes longer than a tuned model by itself.", alone, roles.hybrid or rag, "total_ms", less=True
    )


def _of_both_together(board: Board, roles: _Roles) -> Iterator[Claim]:
    hybrid, rag, alone = roles.hybrid, roles.retrieval, roles.alone
    yield _best(board, hybrid)
    yield _compared(
        board,
        "Tuned and with retrieval a model is faster than untuned with retrieval.",
        hybrid,
        rag,
        "total_ms",
        less=True,
    )
    yield Claim(
        claim="Both together cost less than tuning on all the knowledge.",
        verdict="not measurable here",
        why="No arm was trained on the documents themselves, on purpose: training on facts is what this bot avoids.",
    )
    yield _compared(board, "Both together tell what the pages say now.", hybrid, alone, "fresh")
    yield _format(board, roles, "Both together keep the format consistently.")
    yield _compared(
        board, "A tuned model by itself gets facts wrong that retrieval gets right.", rag, alone, "key_facts"
    )


def _compared(
    board: Board, claim: str, better: Arm | None, worse: Arm | None, figure: str, *, less: bool = False
) -> Claim:
    """Judges that one arm has more of a figure than another, or less."""
    if missing := _missing(better, worse):
        return Claim(claim=claim, verdict="not measurable here", why=missing)
    assert better is not None and worse is not None
    for arm in (better, worse):
        if (board.summary(arm.name)["failed"]["value"] or 0) > MOST_FAILED:
            why = f"“{arm.name}” failed in {_shown(board, arm, 'failed')} of its answers."
            return Claim(claim=claim, verdict="not measurable here", why=why)
    difference = board.difference(better.name, worse.name, figure)
    low, high, value = difference["low"], difference["high"], difference["value"]
    if low is None or high is None or value is None:
        return Claim(claim=claim, verdict="not measurable here", why=f"No question counts for {figure}.")
    sign = -1 if less else 1
    told = (
        f"{_told(figure)}: “{better.name}” {_shown(board, better, figure)}, “{worse.name}” "
        f"{_shown(board, worse, figure)}; difference {_number(figure, value)} "
        f"({_number(figure, low)} to {_number(figure, high)}, n = {difference['n']})."
    )
    if (difference["n"] or 0) < FEWEST:
        return Claim(claim=claim, verdict="not measurable here", why=f"Too few questions count for both. {told}")
    if min(sign * low, sign * high) > 0:
        return Claim(claim=claim, verdict="held", why=told)
    if max(sign * low, sign * high) < 0:
        return Claim(claim=claim, verdict="not held", why=told)
    return Claim(claim=claim, verdict="not measurable here", why=f"Too close for this many questions. {told}")


def _format(board: Board, roles: _Roles, claim: str) -> Claim:
    judged = _compared(board, claim, roles.hybrid, roles.retrieval, "raw_format")
    if roles.grammar is None or roles.hybrid is None:
        return judged
    held = f" Without any tuning, a grammar reaches {_shown(board, roles.grammar, 'raw_format')}."
    return judged.model_copy(update={"why": judged.why + held})


def _best(board: Board, hybrid: Arm | None) -> Claim:
    """Judges that the tuned arm with retrieval posts better answers than every other arm."""
    claim = "Both together give the best answers."
    others = [arm for arm in board.arms if hybrid is not None and arm.name != hybrid.name]
    if hybrid is None or not others:
        return Claim(claim=claim, verdict="not measurable here", why=_missing(hybrid, hybrid) or "It is the only arm.")
    each = [_compared(board, claim, hybrid, other, "quality_posted") for other in others]
    return min(each, key=lambda one: ("not held", "not measurable here", "held").index(one.verdict))


def _setup(roles: _Roles) -> Claim:
    told = [f"“{arm.name}”: {arm.setup_effort}." for arm in (roles.retrieval, roles.hybrid) if arm and arm.setup_effort]
    if roles.hybrid and roles.hybrid.training_seconds is not None:
        examples = f" on {roles.hybrid.training_examples:,} examples" if roles.hybrid.training_examples else ""
        told.append(f"Training took {roles.hybrid.training_seconds:,.0f} s{examples}.")
    return Claim(
        claim="Retrieval is set up in days, tuning in weeks.",
        verdict="not measurable here",
        why=" ".join(
            [*told, "Collecting and reviewing examples is days of people's work, which no figure here holds."]
        ),
    )


def _cost(board: Board, roles: _Roles) -> Claim:
    """Judges what answers cost, by prices where both arms have them, else by tokens; training is told beside it."""
    claim = "Retrieval is cheap; a tuned model costs its training, and answers on top."
    rag, tuned = roles.retrieval, roles.alone or roles.hybrid
    if missing := _missing(rag, tuned):
        return Claim(claim=claim, verdict="not measurable here", why=missing)
    assert rag is not None and tuned is not None
    cost = [board.summary(arm.name)["cost_per_1000"]["value"] for arm in (rag, tuned)]
    if cost[0] is None or cost[1] is None or tuned.training_cost is None:
        tokens = " and ".join(
            f"“{arm.name}” {_shown(board, arm, 'tokens_in')} tokens in, {_shown(board, arm, 'tokens_out')} out"
            for arm in (rag, tuned)
        )
        return Claim(
            claim=claim, verdict="not measurable here", why=f"Prices are not given. One answer takes {tokens}."
        )
    told = f"1,000 answers cost {cost[0]:,.2f} with retrieval, {cost[1]:,.2f} tuned;"
    told += f" training cost {tuned.training_cost:,.2f}."
    if cost[1] >= cost[0]:
        return Claim(claim=claim, verdict="held", why=told)
    even = tuned.training_cost / (cost[0] - cost[1]) * 1_000
    return Claim(
        claim=claim, verdict="not held", why=f"{told} The training has paid for itself after {even:,.0f} answers."
    )


def _missing(one: Arm | None, other: Arm | None) -> str:
    if one is None or other is None:
        return "It takes an untuned arm with retrieval and tuned ones with and without it; one of these is missing."
    return ""


def _told(figure: str) -> str:
    title = FIGURES[figure].title
    return title[0].upper() + title[1:]


def _shown(board: Board, arm: Arm, figure: str) -> str:
    value = board.summary(arm.name)[figure]["value"]
    return "–" if value is None else _number(figure, value)


def _number(figure: str, value: float) -> str:
    unit = FIGURES[figure].unit
    if unit == "share":
        return f"{100 * value:.0f} %"
    return f"{value:,.0f} ms" if unit == "ms" else f"{value:,.0f}"
