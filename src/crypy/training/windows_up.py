"""Does the window end Up? The questions of the prediction markets, asked of past windows at fixed shares of their length.

Windows start on the grids of FORECAST_BASELINES: 5m, 15m and 1h on their own UTC grid, 4h and 1d every hour, so that there are enough of them. Two
rules are asked. `point`: the last bar's close against the first bar's open, a tie is Up. `settlement`: what the market pays by (`RULES`),
with the arithmetic of `distributions.settlement`, for all windows at once (a test ties the two):

    candle    close of the window against its open: the same as `point`
    closes    closes of the bars that end at both instants; a tie pays half
    average   time-weighted average over the 60 s before both instants. Bars know no path inside themselves: the average over one bar is taken as
              (high + low) / 2, whose error has an eighth of the bar's own deviation (correlation 0.98 with the true average for a
              Brownian path). On second bars that is nothing; on minute bars it is the whole average. Bars longer than 60 s cannot tell, and the
              rule is left out.

The source is the one whose bars these are, also where the market settles by another feed: its basis is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.skew_t import skew_t_cdf_many
from crypy.domain.durations import DURATIONS, NOMINAL_S, Duration
from crypy.domain.settlement import Settlement
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.port import Model

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Rule = Literal["point", "settlement"]

ELAPSED_PERCENT: Final = (10, 25, 50, 75, 90)
STARTS_EVERY_S: Final[dict[Duration, int]] = {"5m": 300, "15m": 900, "1h": 3_600, "4h": 3_600, "1d": 3_600}
POINT: Final = Settlement("candle", "binance")
_AVERAGE: Final = Settlement("average", "chainlink", lookback_s=60)
RULES: Final[dict[Duration, Settlement]] = {
    "5m": _AVERAGE,
    "15m": _AVERAGE,
    "1h": POINT,
    "4h": _AVERAGE,
    "1d": Settlement("closes", "binance", tie="half"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """Asked `elapsed_s` after the start of each window of a duration."""

    duration: Duration
    elapsed_s: int

    @property
    def length_s(self) -> int:
        return NOMINAL_S[self.duration]

    @property
    def left_s(self) -> int:
        """From the question to the window's end."""
        return self.length_s - self.elapsed_s

    @property
    def horizons_s(self) -> Floats:
        """What a model is asked for: the time left, and where an average settles, the time to its beginning."""
        before = self.left_s - RULES[self.duration].lookback_s
        return np.array([before, self.left_s] if 0 < before < self.left_s else [self.left_s], np.float64)


# By question, then by symbol.
WindowCasts = Mapping[Question, Mapping[str, Hindcast]]


@dataclass(frozen=True, slots=True)
class Answers:
    """P(Up) and what came (1, 0, or one half for a tie that pays half) of windows asked at `origins_s` [n]; only windows whose prices are known."""

    origins_s: Ints
    rows: Ints
    probability: Floats
    outcome: Floats


def questions(step_s: int, durations: Sequence[Duration] = DURATIONS) -> tuple[Question, ...]:
    """At 10, 25, 50, 75 and 90 % of each duration, rounded to whole bars of `step_s`; at every bar where the window has no more than five."""
    out: list[Question] = []
    for duration in durations:
        length_s = NOMINAL_S[duration]
        bars = length_s // step_s
        if length_s % step_s or bars < 2:
            continue
        if bars <= len(ELAPSED_PERCENT):
            places = set(range(1, bars))
        else:
            # Halves are rounded up.
            places = {min(bars - 1, max(1, (2 * percent * bars + 100) // 200)) for percent in ELAPSED_PERCENT}
        out.extend(Question(duration, place * step_s) for place in sorted(places))
    return tuple(out)


def ask(model: Model, dataset: Dataset, asked: Sequence[Question]) -> WindowCasts:
    """What the model would have said at each question, at origins inside the dataset's range."""
    out: dict[Question, Mapping[str, Hindcast]] = {}
    for question in asked:
        grid_s = STARTS_EVERY_S[question.duration]
        moments = dataset.every(grid_s, question.elapsed_s % grid_s)
        out[question] = hindcasts(model, moments, question.horizons_s)
    return out


def answers(question: Question, cast: Hindcast, bars: Bars, start_s: int, end_s: int, rule: Rule) -> Answers | None:
    """Probabilities and outcomes of the windows inside `[start_s, end_s)`; `None` where the bars cannot tell the rule's statistic."""
    settlement = POINT if rule == "point" else RULES[question.duration]
    lookback_s = settlement.lookback_s if settlement.statistic == "average" else 0
    if lookback_s % bars.step_s:
        return None
    starts_s = cast.origins_s - question.elapsed_s
    inside = (starts_s >= start_s) & (starts_s + question.length_s <= min(end_s, bars.end_s))
    rows = np.flatnonzero(inside)
    begun = _statistic(bars, starts_s[rows], settlement, ends=False)
    ended = _statistic(bars, starts_s[rows] + question.length_s, settlement, ends=True)
    price = _close(bars, cast.origins_s[rows])
    expected, deviation = _end_ahead(question, lookback_s, cast, rows, bars, price)
    known = np.isfinite(begun) & np.isfinite(ended) & np.isfinite(expected) & np.isfinite(deviation)
    rows, begun, ended = rows[known], begun[known], ended[known]
    probability = np.empty(len(rows))
    skew_t_cdf_many(
        np.log(begun / expected[known]),
        deviation[known],
        np.ascontiguousarray(cast.skew[rows, -1]),
        np.ascontiguousarray(cast.tail[rows, -1]),
        probability,
    )
    tie = 1.0 if settlement.tie == "up" else 0.5
    outcome = np.where(ended == begun, tie, (ended > begun).astype(np.float64))
    return Answers(cast.origins_s[rows], rows, 1.0 - probability, outcome)


def _end_ahead(
    question: Question, lookback_s: int, cast: Hindcast, rows: Ints, bars: Bars, price: Floats
) -> tuple[Floats, Floats]:
    """Expected value of the end's statistic, and the standard deviation of its log; the formulas of `distributions.settlement`."""
    whole = np.square(cast.scale[rows, -1])
    left_s = question.left_s
    if lookback_s == 0:
        return price, np.sqrt(whole)
    if left_s >= lookback_s:
        before = np.square(cast.scale[rows, 0]) if left_s > lookback_s else np.zeros(len(rows))
        return price, np.sqrt(before + (whole - before) / 3.0)
    passed_s = lookback_s - left_s
    known = _average(bars, cast.origins_s[rows], passed_s)
    expected = (known * passed_s + price * left_s) / lookback_s
    weight = price * left_s / (lookback_s * expected)
    return expected, np.sqrt(weight * weight * whole / 3.0)


def _statistic(bars: Bars, instants_s: Ints, settlement: Settlement, *, ends: bool) -> Floats:
    """The rule's statistic at each instant; NaN where the bars do not reach."""
    if settlement.statistic == "average":
        return _average(bars, instants_s, settlement.lookback_s)
    if settlement.statistic == "candle" and not ends:
        opens = _at(bars.open, (instants_s - bars.start_s) // bars.step_s)
        # Memory-mapped seconds keep no opens: there the close a second before stands in.
        return np.where(np.isnan(opens), _close(bars, instants_s), opens)
    return _close(bars, instants_s)


def _close(bars: Bars, instants_s: Ints) -> Floats:
    """Close of the bar that ends at each instant."""
    return _at(bars.close, (instants_s - bars.start_s) // bars.step_s - 1)


def _average(bars: Bars, instants_s: Ints, span_s: int) -> Floats:
    """Average price over the `span_s` before each instant."""
    count = span_s // bars.step_s
    last = (instants_s - bars.start_s) // bars.step_s - 1
    places = last[:, None] - np.arange(count)
    return ((_at(bars.high, places) + _at(bars.low, places)) / 2.0).mean(axis=1)


def _at(column: Floats, places: Ints) -> Floats:
    inside = (places >= 0) & (places < len(column))
    return np.where(inside, column[np.where(inside, places, 0)], np.nan)
