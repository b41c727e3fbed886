"""Calibration and selection: does 60 % mean 60 %, and are the surest forecasts the best?

All of it looks at forecasts of up given a move, at facts that moved.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS: Final = 10
# Shares of the surest forecasts at which the curve is told, in percent.
COVERAGES: Final = (100, 90, 80, 70, 60, 50, 40, 30, 25, 20, 15, 10, 5)


class CalibrationBin(msgspec.Struct, frozen=True, kw_only=True):
    """A tenth of the forecasts, from the lowest to the highest: how many, their mean, and the share that went up."""

    n: int
    forecast: float
    up: float


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """The surest `percent` of the forecasts: how many they are, and the share of them that had the sign right."""

    percent: int
    n: int
    accuracy: float


def reliability(up: Floats, went_up: Floats, bins: int = BINS) -> tuple[CalibrationBin, ...]:
    """Forecasts in bins of equal mass, by their order; bins without any are left out. `went_up` is 1 or 0."""
    order = np.argsort(up, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return tuple(
        CalibrationBin(n=len(part), forecast=float(up[part].mean()), up=float(went_up[part].mean())) for part in parts
    )


def calibration_error(up: Floats, went_up: Floats, bins: int = BINS) -> float:
    """Expected calibration error: the mean distance between forecast and share over bins of equal mass.

    Naeini, Cooper and Hauskrecht (2015); equal mass, for near an even chance equal widths put everything into one bin.
    """
    table = reliability(up, went_up, bins)
    return sum(one.n * abs(one.forecast - one.up) for one in table) / len(up)


def calibration_noise(up: Floats, bins: int = BINS) -> float:
    """The `calibration_error` that forecasts without any fault have by chance alone, bins normal: sqrt(2 p (1 - p) / (pi n)) each."""
    parts = [part for part in np.array_split(np.sort(up), bins) if len(part)]
    return sum(
        len(part) * math.sqrt(2.0 * float((part * (1.0 - part)).mean()) / (math.pi * len(part))) for part in parts
    ) / len(up)


def surest_first(up: Floats, values: Floats) -> Floats:
    """Values (hits, say) ordered by |p - 1/2|, greatest first. Forecasts equally sure get the mean of theirs each: no order among them is real."""
    # Chances that differ by rounding alone, such as p and 1 - p, are equally sure.
    sureness, group = np.unique(np.round(np.abs(up - 0.5), 12), return_inverse=True)
    mean = np.bincount(group, values, len(sureness)) / np.bincount(group, minlength=len(sureness))
    return mean[np.sort(group)[::-1]]


def risk_coverage(up: Floats, hits: Floats) -> tuple[Coverage, ...]:
    """Accuracy of the surest forecasts, share by share. El-Yaniv and Wiener (2010)."""
    ordered = np.cumsum(surest_first(up, hits))
    out: list[Coverage] = []
    for percent in COVERAGES:
        n = max(1, round(len(up) * percent / 100))
        out.append(Coverage(percent=percent, n=n, accuracy=float(ordered[n - 1] / n)))
    return tuple(out)


def area_under_risk(up: Floats, hits: Floats) -> float:
    """Mean error rate over all coverages, 0 the best: area under the risk-coverage curve, Geifman and El-Yaniv (2017)."""
    n = len(up)
    return float((1.0 - np.cumsum(surest_first(up, hits)) / np.arange(1, n + 1)).mean())
