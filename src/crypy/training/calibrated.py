"""What a model would have said with self-calibration on, beside what it said: of hindcasts and of window questions alike.

The model is asked once more, every minute and at the horizons that are learned at, from weeks before the range; the laws that are judged are those
it gave already, corrected by what had ended by their origins. So nothing is fitted twice, and both are judged at the same origins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crypy.domain.durations import Duration
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast
from crypy.models.port import Model
from crypy.models.recalibration import Recalibration, corrected_by, teaching_hindcasts
from crypy.training.windows_up import Question, WindowCasts


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Corrected hindcasts by symbol, and corrected answers to window questions."""

    hindcasts: Mapping[str, Hindcast]
    windows: WindowCasts


def calibrated_name(model: str) -> str:
    """What a model is called in results where it was judged with self-calibration."""
    return f"{model}, calibrated"


def calibrate(
    model: Model, test: Dataset, cast: Mapping[str, Hindcast], windows: WindowCasts, settings: Recalibration
) -> Calibrated:
    """`cast` and `windows` are what the model said over the range of `test`. Raises `ConfigError` where its bars are too long to learn from."""
    teaching = teaching_hindcasts(model, test, settings)
    corrected = {symbol: corrected_by(teaching[symbol], [one], settings)[0] for symbol, one in cast.items()}
    by_question: dict[Question, dict[str, Hindcast]] = {question: {} for question in windows}
    # One duration at a time: all at once would need as many columns as there are questions.
    for asked in _by_duration(windows).values():
        for symbol, learned in teaching.items():
            found = corrected_by(learned, [windows[question][symbol] for question in asked], settings)
            for question, one in zip(asked, found, strict=True):
                by_question[question][symbol] = one
    return Calibrated(corrected, by_question)


def _by_duration(windows: WindowCasts) -> dict[Duration, list[Question]]:
    out: dict[Duration, list[Question]] = {}
    for question in windows:
        out.setdefault(question.duration, []).append(question)
    return out
