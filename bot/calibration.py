"""When to answer: signs that passages hold the answer, weighed into one probability. What an operator's own questions
taught is kept in a small file; it holds for one way of searching, and is refused for any other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from bot.log import log
from bot.vocabulary import Frozen

Signs = Mapping[str, float]
"""What speaks for passages, by name."""


class Figure(Frozen):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Calibration(Frozen):
    """How signs become a probability, and from which one on the bot answers. It holds for one way of searching."""

    form: str
    """The embedding model and chunker that it was fitted with, as a hash."""
    alpha: float
    signs: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    threshold: float
    fitted_on: str
    """The file of questions, by its name."""
    answered: int
    """Searches that found the answer."""
    unanswered: int
    at: datetime
    before: dict[str, Figure]
    """Figures of the plain threshold on the same questions."""
    after: dict[str, Figure]
    """The same figures of this calibration, cross-validated."""

    def probability(self, signs: Signs) -> float:
        """Gives how likely it is that the passages hold the answer, 0 to 1."""
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, self.bias + sum(self._shares(signs))))))

    def _shares(self, signs: Signs) -> list[float]:
        parts = zip(self.signs, self.means, self.scales, self.weights, strict=True)
        return [weight * (signs[name] - mean) / scale for name, mean, scale, weight in parts]


def calibration_file(data_dir: Path) -> Path:
    """Where the calibration of a data folder lies."""
    return data_dir / "calibration.json"


def load_calibration(file: Path, form: str, alpha: float) -> Calibration | None:
    """Reads a calibration; None where there is none, or where it was fitted for another way of searching, which is
    logged."""
    try:
        calibration = Calibration.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("calibration_unreadable", file=str(file), cause=type(error).__name__)
        return None
    if (calibration.form, calibration.alpha) == (form, alpha):
        return calibration
    log.warning(
        "calibration_refused",
        file=str(file),
        fitted_for=f"{calibration.form}, alpha {calibration.alpha}",
        searching_with=f"{form}, alpha {alpha}",
        advice="run `python -m bot calibrate` again",
    )
    return None


def about_calibration(file: Path, form: str, alpha: float) -> str:
    """Says in a few words whether a calibration is in use for a way of searching; empty where there is none."""
    try:
        calibration = Calibration.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, ValidationError):
        return f"unreadable ({file.name}), not in use: run `python -m bot calibrate` again"
    made = f"{calibration.fitted_on}, {calibration.at:%Y-%m-%d}"
    if (calibration.form, calibration.alpha) == (form, alpha):
        return f"in use ({made})"
    other = "HYBRID_ALPHA" if calibration.form == form else "embedding model"
    return f"made with another {other} ({made}), not in use: run `python -m bot calibrate` again"


def save_calibration(file: Path, calibration: Calibration) -> None:
    """Writes a calibration in place of the one before, at once and whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")
    new.replace(file)
