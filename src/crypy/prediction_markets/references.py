"""The price a window is measured against, from the best that is known so far, and how far our prices are from it.

Three things may tell it. The venue publishes a price to beat some seconds to minutes after the start. It also publishes each window's final
price, which is the price to beat of whatever window starts then by the same rule. Until then our own second closes give an
estimate: the 60 s average for the average rule, the last close for the others.

The venue's prices are of another source (Chainlink's BTC/USD against Binance's BTC/USDT), and a few basis points between the two would be
mistaken for a move. So each published price is compared with our own for the same instant; the mean of those logs over the last windows is the
basis, and it is taken out before anything is compared. One week of BTC windows: our closes at both ends give the right winner
86 % (point) and 98 % (60 s averages) of the time for 5m, which is an error of 4 bp and of 0.5 bp over a window's
standard deviation of 8 bp (1/pi arctan of their ratio).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.markets import ReferenceSource
from crypy.domain.settlement import Settlement
from crypy.domain.times import US_PER_S
from crypy.domain.windows import Window
from crypy.prediction_markets.averages import RunningAverage
from crypy.prediction_markets.view import ReferencePrice

# A 1d window lasts 25 h when the clocks go back, and its start must still be known at its end.
_KEEP_S = 27 * 3_600
_OURS = "binance"


class Uncertainty(msgspec.Struct, frozen=True):
    """Standard deviations in log price of what our source does not tell about the settlement's.

    `average`, `point`: over both ends of a window, per statistic of another source. `same`: where the market settles on our own
    source (a midprice against the last trade). `offset`: of the basis before any window has shown it. `half_life` of a window's
    evidence on the basis, in windows. `implausible`: a published price further from ours than this, in logs, is no reference at all.
    """

    average: float = 0.6e-4
    point: float = 4e-4
    same: float = 0.2e-4
    offset: float = 5e-4
    half_life: float = 3.0
    implausible: float = 0.02

    def of(self, rule: Settlement) -> float:
        if rule.source == _OURS:
            return self.same
        return self.average if rule.statistic == "average" else self.point


class Basis:
    """Mean and spread of log(venue's price / ours), the newest windows weighing most."""

    __slots__ = ("_decay", "_prior_sd", "_square", "_unknown_sd", "_weight", "mean")

    # How many windows' worth of belief the prior spread has.
    _PRIOR_WEIGHT = 4.0

    def __init__(self, prior_sd: float, unknown_sd: float, half_life: float) -> None:
        self._prior_sd = prior_sd
        self._unknown_sd = unknown_sd
        self._decay = 0.5 ** (1.0 / half_life)
        self._weight = 0.0
        self._square = 0.0
        self.mean = 0.0

    def update(self, log_ratio: float) -> None:
        """Take in one window's evidence (West 1979, weighted mean and squares about it)."""
        weight = self._decay * self._weight + 1.0
        step = log_ratio - self.mean
        self._square = self._decay * (self._square + self._weight * step * step / weight)
        self.mean += step / weight
        self._weight = weight

    @property
    def sd(self) -> float:
        """Standard deviation of a window's log ratio about the mean."""
        if self._weight == 0.0:
            return self._unknown_sd
        spread = self._PRIOR_WEIGHT * self._prior_sd * self._prior_sd + self._square
        return math.sqrt(spread / (self._PRIOR_WEIGHT + self._weight - 1.0))


@dataclass(slots=True)
class _Published:
    """Values the venue gave for instants of one coin and rule, and what they say of the basis."""

    basis: Basis
    starts: dict[int, float] = field(default_factory=dict[int, float])
    ends: dict[int, float] = field(default_factory=dict[int, float])
    compared: set[int] = field(default_factory=set[int])


class References:
    """Reference prices of all coins: a fold over sealed seconds and published prices.

    What it answers for an instant uses only closes before that instant, whatever it has been fed since.
    """

    def __init__(self, uncertainty: Uncertainty | None = None) -> None:
        self._uncertainty = uncertainty or Uncertainty()
        self._closes: dict[str, RunningAverage] = {}
        self._published: dict[tuple[str, str, str, int], _Published] = {}

    def on_close(self, coin: str, time_s: int, close: float) -> None:
        """The second `[time_s, time_s + 1)` of the coin is sealed and closed at this price. Older seconds than the last are ignored."""
        closes = self._closes.get(coin)
        if closes is None:
            closes = self._closes[coin] = RunningAverage(_KEEP_S)
        if closes.time_us is None or time_s * US_PER_S >= closes.time_us:
            closes.update(time_s * US_PER_S, close)

    def seed(self, coin: str, start_s: int, closes: NDArray[np.float64]) -> None:
        """History: closes of consecutive seconds from `start_s` on; NaN where there was none yet."""
        for offset, close in enumerate(closes[-_KEEP_S:].tolist(), start_s + max(0, len(closes) - _KEEP_S)):
            if close == close:
                self.on_close(coin, offset, close)

    def on_price_to_beat(self, coin: str, rule: Settlement, window: Window, price: float) -> None:
        """The venue has published the window's price to beat. Raises `DataError` for what is no price."""
        _check(coin, price)
        self._of(coin, rule).starts[window.start_s] = price

    def on_final_price(self, coin: str, rule: Settlement, window: Window, price: float) -> None:
        """The venue has published the price the window ended at. Raises `DataError` for what is no price."""
        _check(coin, price)
        if rule.statistic != "candle":  # a candle's close and the next one's open are different trades
            self._of(coin, rule).ends[window.end_s] = price

    def reference(self, coin: str, rule: Settlement, window: Window, now_us: int) -> ReferencePrice | None:
        """The best reference known now; `None` before the window's start is fixed, when nothing tells it, or when the venue's price and
        ours cannot both be right."""
        fixed_us = window.start_us + (rule.lag_s * US_PER_S if rule.statistic == "closes" else 0)
        if now_us < fixed_us:
            return None
        own = self.own_estimate(coin, rule, fixed_us)
        published = self._of(coin, rule)
        value = published.starts.get(window.start_s)
        source: ReferenceSource = "venue"
        if value is None:
            value, source = published.ends.get(window.start_s), "previous-window"
        if value is not None:
            if own is not None and abs(math.log(value / own)) > self._uncertainty.implausible:
                return None
            self._compare(published, window.start_s, value, own)
            return ReferencePrice(value, source, value * math.exp(-published.basis.mean), published.basis.sd)
        if own is None:
            return None
        source = "binance-average" if rule.statistic == "average" else "binance-close"
        return ReferencePrice(own, source, own, self._uncertainty.of(rule))

    def own_estimate(self, coin: str, rule: Settlement, fixed_us: int) -> float | None:
        """The rule's statistic of our closes at the instant; `None` where they do not cover it or have not reached it."""
        closes = self._closes.get(coin)
        # A second's close arrives at its end: with the second before the instant sealed, everything before the instant is known.
        if closes is None or closes.time_us is None or closes.time_us + US_PER_S < fixed_us:
            return None
        if rule.statistic == "average":
            return closes.average(fixed_us - rule.lookback_s * US_PER_S, fixed_us)
        return closes.average(fixed_us - US_PER_S, fixed_us)

    def ahead_sd(self, rule: Settlement) -> float:
        """Standard deviation of a window that has not begun: both its ends will be of one source, the basis cancels."""
        return self._uncertainty.of(rule)

    def prune(self, before_s: int) -> None:
        """Forget what was published for instants before this second."""
        for published in self._published.values():
            for values in (published.starts, published.ends):
                for start_s in [start_s for start_s in values if start_s < before_s]:
                    del values[start_s]
            published.compared = {start_s for start_s in published.compared if start_s >= before_s}

    def _of(self, coin: str, rule: Settlement) -> _Published:
        key = (coin, rule.source, rule.statistic, rule.lookback_s)
        if key not in self._published:
            known = self._uncertainty
            sd = known.of(rule)
            offset = known.same if rule.source == _OURS else known.offset
            self._published[key] = _Published(Basis(sd, max(sd, offset), known.half_life))
        return self._published[key]

    @staticmethod
    def _compare(published: _Published, start_s: int, value: float, own: float | None) -> None:
        """Learn the basis from an instant of which both prices are known, once."""
        if own is not None and start_s not in published.compared:
            published.compared.add(start_s)
            published.basis.update(math.log(value / own))


def _check(coin: str, price: float) -> None:
    if not 0.0 < price < math.inf:
        raise DataError(f"{coin}: the venue published {price} as a price")
