"""Checks of what the numbers mean: the unit of the scale, and how often returns fall where they are said to."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.scores import pit
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.testing.check_report import Check, fine, skipped, told, wrong
from crypy.testing.check_subject import Subject
from crypy.training.differences import DayBlocks

Floats = NDArray[np.float64]

_ORIGINS: Final = 700
_FEWEST: Final = 50
# The scale of a forecast is within this factor of what returns turned out to be, whatever the market did meanwhile.
_FACTOR: Final = 4.0
_SLOPE: Final = 0.25
_NOMINAL: Final = (0.5, 0.9)
# Far off: by more than ten points and three standard errors.
_POINTS: Final = 0.10
_ERRORS: Final = 3.0
_UNITS: Final = (
    (100.0, 2.0, "per cent in place of log returns would look so"),
    (1e4, 2.0, "basis points in place of log returns would look so"),
)


class Judged:
    """The model's forecasts over the judged range, made once for both checks."""

    def __init__(self, subject: Subject) -> None:
        judged = subject.judged
        self.dataset = judged.between(int(subject.origins_s[0]), judged.end_s)
        rows = (self.dataset.end_s - self.dataset.start_s) // judged.spacing_s
        self.dataset = self.dataset.every(judged.spacing_s * max(1, rows // _ORIGINS))
        self.horizons_s = np.array(judged.horizons_s, np.float64)
        self.casts: dict[str, Hindcast] = hindcasts(subject.model, self.dataset, self.horizons_s)


def unit(judged: Judged) -> Check:
    """The scale against the size of the returns that came, by horizon."""
    ratios: dict[str, list[float]] = {}
    for symbol, cast in judged.casts.items():
        known = np.isfinite(cast.returns)
        if known.sum(axis=0).min() < _FEWEST:
            return skipped(
                "unit",
                f"fewer than {_FEWEST} returns of {symbol} are known at the longest horizon; bring a longer dataset",
            )
        with np.errstate(invalid="ignore"):
            size = np.sqrt(np.nanmean(cast.returns**2, axis=0))
        if not (size > 0.0).all():
            return skipped("unit", f"{symbol} did not move at all")
        ratios[symbol] = (np.median(cast.scale, axis=0) / size).tolist()
    logs = np.log(np.array(list(ratios.values())))
    level = math.exp(float(logs.mean()))
    slope = _slope(np.log(judged.horizons_s), logs.mean(axis=0))
    known = {"ratios": ratios, "slope": slope}
    if abs(slope) > _SLOPE:
        return wrong("unit", _growth(slope, judged), **known)
    if not 1.0 / _FACTOR < level < _FACTOR:
        hints = [words for factor, width, words in _UNITS if factor / width < level < factor * width]
        words = hints[0] if hints else "scale is the standard deviation of the log return over the whole horizon"
        return wrong(
            "unit", f"the scale is {level:.3g} times the standard deviation that returns have; {words}", **known
        )
    return fine(
        "unit",
        f"the scale is {level:.2f} times the standard deviation of the returns that came, at all horizons alike",
        **known,
    )


def calibration(judged: Judged, subject: Subject) -> Check:
    """Shares of returns inside the central 50 and 90 %, with errors from a bootstrap of whole days."""
    found: dict[str, dict[str, list[float | None]]] = {}
    far: list[str] = []
    for column, horizon in enumerate(judged.horizons_s.tolist()):
        origins, inside = _inside(judged, column)
        if len(origins) < _FEWEST:
            continue
        shares = inside.mean(axis=0)
        errors = DayBlocks.over(origins, block_days=1, seed=subject.seed).errors(origins, inside)
        found[f"{horizon:g}"] = {"coverage": shares.tolist(), "error": list(errors)}
        for nominal, share, error in zip(_NOMINAL, shares.tolist(), errors, strict=True):
            if abs(share - nominal) > max(_POINTS, _ERRORS * (error or 0.0)):
                far.append(f"{share:.0%} of the returns over {horizon:g} s lie in the central {nominal:.0%}")
    if not found:
        return skipped("calibration", "too few returns are known; bring a longer dataset")
    summary = "; ".join(
        f"{horizon} s: {row['coverage'][0]:.0%} and {row['coverage'][1]:.0%}" for horizon, row in found.items()
    )
    words = f"inside the central 50 % and 90 %: {summary}"
    if subject.synthetic and subject.refit is None:
        return told(
            "calibration",
            f"on a market that it was not fitted on, {words}; bring a dataset to have this judged",
            horizons=found,
        )
    if far:
        return wrong("calibration", f"{far[0]}: too {'narrow' if _too_narrow(found) else 'wide'} a law", horizons=found)
    return fine("calibration", words, horizons=found)


def _inside(judged: Judged, column: int) -> tuple[NDArray[np.int64], Floats]:
    """Origins of all symbols in one row, and whether their returns lie in each central part [n, part]."""
    origins: list[NDArray[np.int64]] = []
    parts: list[Floats] = []
    for cast in judged.casts.values():
        rows = np.isfinite(cast.returns[:, column])
        if not rows.any():
            continue
        share = pit(
            *(np.ascontiguousarray(one[rows, column]) for one in (cast.returns, cast.scale, cast.skew, cast.tail))
        )
        origins.append(cast.origins_s[rows])
        parts.append(np.column_stack([np.abs(share - 0.5) < nominal / 2 for nominal in _NOMINAL]).astype(np.float64))
    if not origins:
        return np.empty(0, np.int64), np.empty((0, len(_NOMINAL)))
    order = np.argsort(np.concatenate(origins), kind="stable")
    return np.concatenate(origins)[order], np.concatenate(parts)[order]


def _too_narrow(found: dict[str, dict[str, list[float | None]]]) -> bool:
    return sum(float(row["coverage"][0] or 0.0) - _NOMINAL[0] for row in found.values()) < 0.0


def _growth(slope: float, judged: Judged) -> str:
    first, last = judged.horizons_s[0], judged.horizons_s[-1]
    if slope < 0.0:
        hint = "one scale for every horizon, such as the standard deviation of a bar, would look so"
    else:
        hint = "a variance in place of a standard deviation, or a deviation multiplied by the time, would look so"
    return f"from {first:g} to {last:g} s the scale grows with the horizon to the power of {0.5 + slope:.2f}, returns with about 0.5; {hint}"


def _slope(x: Floats, y: Floats) -> float:
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 1 else 0.0
