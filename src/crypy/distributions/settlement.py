"""The probability that a window ends Up, for the statistic that its market really settles by.

A market compares a statistic of the price at the window's start with the same at its end: the price at an instant,
an average over the `L` seconds before it, or a candle's open and close. Prices move as a martingale in logs whose variance over a
horizon h is v(h), read from the forecast's `HorizonCurve`. With tau the time left and sigma(u)^2 du the variance that falls
on the instant u, a weighted path W = int w(u) dX(u) has variance int w(u)^2 dv(u). All formulas below are this one sum:

    point                     w = 1 until the end                                    v(tau)
    average, not begun        w falls from 1 to 0 over the last L seconds            v(tau - L) + (v(tau) - v(tau - L)) / 3
    average, e s of L known   the rest, tau = L - e, weighs tau / L of the whole     (tau / L)^2 v(tau) / 3
    start still ahead by s    w rises from 0 to 1 over the L seconds before start    (v(s) - v(s - L)) / 3 at the start's side
    start's average running   w = 1 - (s - u) / L on (0, s)                          v(s) L / (3 s) (1 - (1 - s / L)^3)

(variance spread evenly inside each averaging interval). What differs from the mean of a log and the log of a mean is of the order of
v(L), some 1e-7, and left out. The law's shape (skew, tail) is the forecast's over the time left. What is not known of the settlement source
itself (`basis_sd`) adds in quadrature. Pure functions of a few microseconds.
"""

from __future__ import annotations

import math

import msgspec

from crypy.distributions.curve import HorizonCurve
from crypy.distributions.kernels import skew_t_cdf
from crypy.domain.errors import DataError
from crypy.domain.settlement import Settlement
from crypy.domain.times import US_PER_S
from crypy.domain.windows import Window

# Of a window's own variance v(end - start): the least that v(end) - v(start) may come to. A curve that hardly rises
# would otherwise make a window that has not begun look certain.
_FLOOR_SHARE = 0.1
_SECONDS = 1.0 / US_PER_S


class UpQuestion(msgspec.Struct, frozen=True):
    """What must be known to answer "does it end Up": the instants at which both statistics are fixed.

    `start_us` and `end_us` include the rule's lag; `lookback_s` is 0 except for averages.
    """

    start_us: int
    end_us: int
    lookback_s: float
    tie_up: bool

    def averaging_from_us(self, now_us: int) -> int | None:
        """Start of the average that is running at `now_us` (of the start's or of the end's statistic), `None` if none is."""
        lookback_us = int(self.lookback_s * US_PER_S)
        for instant in (self.start_us, self.end_us):
            if instant - lookback_us < now_us < instant:
                return instant - lookback_us
        return None


def question(window: Window, rule: Settlement) -> UpQuestion:
    """The question a market asks, from its window and rule.

    Raises `DataError` when an average reaches back to before the window began: no rule known does.
    """
    lookback = float(rule.lookback_s) if rule.statistic == "average" else 0.0
    if lookback > window.end_s - window.start_s:
        raise DataError(
            f"an average over {lookback:g} s is longer than its window of {window.end_s - window.start_s} s"
        )
    # The closes of the minutes that open at both instants are known `lag_s` after them; a candle's and an average's are not late.
    lag_us = rule.lag_s * US_PER_S if rule.statistic == "closes" else 0
    return UpQuestion(
        start_us=window.start_us + lag_us,
        end_us=window.end_us + lag_us,
        lookback_s=lookback,
        tie_up=rule.tie == "up",
    )


class UpForecast(msgspec.Struct, frozen=True):
    """P(Up), and the standard deviation of the log of end over start that it was made with, `basis_sd` included."""

    probability: float
    deviation: float


def forecast_up(
    asked: UpQuestion,
    curve: HorizonCurve,
    now_us: int,
    price: float,
    reference: float | None,
    known: float | None = None,
    basis_sd: float = 0.0,
) -> UpForecast:
    """The chance of Up at `now_us`, when our source's price is `price`.

    `reference` is the start's statistic in our source's units, `None` before it is fixed. `known` is the average from
    `asked.averaging_from_us(now_us)` to `now_us`; it is needed only while an average runs. `basis_sd` is the
    standard deviation, in log price, of what our prices cannot tell about the settlement's.

    Raises `DataError` when a reference or a running average is needed and not given.
    """
    left_s = max(0.0, (asked.end_us - now_us) * _SECONDS)
    if now_us < asked.start_us:
        expected_start, variance = _start_ahead(asked, curve, now_us, price, left_s, known)
        expected_end = price
    elif reference is None:
        raise DataError("the window's reference price is fixed but was not given")
    else:
        expected_start = reference
        expected_end, variance = _end_ahead(asked, curve, price, left_s, known)
    threshold = math.log(expected_start / expected_end)
    deviation = math.sqrt(variance + basis_sd * basis_sd)
    if deviation == 0.0:
        return UpForecast(_certain(threshold, asked.tie_up), 0.0)
    _, skew, tail = curve.parameters_at(max(left_s, 1e-3))
    return UpForecast(1.0 - skew_t_cdf(threshold, deviation, skew, tail), deviation)


def _end_ahead(
    asked: UpQuestion, curve: HorizonCurve, price: float, left_s: float, known: float | None
) -> tuple[float, float]:
    """Expected value and log variance of the end's statistic."""
    lookback = asked.lookback_s
    if lookback == 0.0:
        return price, _variance(curve, left_s)
    if left_s >= lookback:
        before = _variance(curve, left_s - lookback)
        return price, before + (_variance(curve, left_s) - before) / 3.0
    if known is None:
        raise DataError(f"the average that settles the window has run for {lookback - left_s:.1f} s and was not given")
    expected = (known * (lookback - left_s) + price * left_s) / lookback
    # How far the whole average moves, in logs, when the rest moves by one: its share of the time and of the level.
    weight = price * left_s / (lookback * expected)
    return expected, weight * weight * _variance(curve, left_s) / 3.0


def _start_ahead(
    asked: UpQuestion, curve: HorizonCurve, now_us: int, price: float, left_s: float, known: float | None
) -> tuple[float, float]:
    """Expected value of the start's statistic, and the log variance of end over start."""
    start_s = (asked.start_us - now_us) * _SECONDS
    lookback = asked.lookback_s
    to_start = _variance(curve, start_s)
    floor = _FLOOR_SHARE * _variance(curve, left_s - start_s)
    if lookback == 0.0:
        return price, max(_variance(curve, left_s) - to_start, floor)
    before_end = _variance(curve, left_s - lookback)
    between = before_end - to_start + (_variance(curve, left_s) - before_end) / 3.0
    if start_s >= lookback:
        around_start = (to_start - _variance(curve, start_s - lookback)) / 3.0
        return price, max(around_start + between, floor)
    if known is None:
        raise DataError(
            f"the average that the window starts from has run for {lookback - start_s:.1f} s and was not given"
        )
    share = start_s / lookback
    around_start = to_start * (1.0 - (1.0 - share) ** 3) / (3.0 * share)
    expected_start = (known * (lookback - start_s) + price * start_s) / lookback
    return expected_start, max(around_start + between, floor)


def _variance(curve: HorizonCurve, horizon_s: float) -> float:
    if horizon_s <= 0.0:
        return 0.0
    scale = curve.scale_at(horizon_s)
    return scale * scale


def _certain(threshold: float, tie_up: bool) -> float:
    """The answer when nothing is left to chance."""
    if threshold == 0.0:
        return 1.0 if tie_up else 0.5
    return 1.0 if threshold < 0.0 else 0.0
