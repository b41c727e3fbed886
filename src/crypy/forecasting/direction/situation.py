"""Where the market stands at a close, as a few numbers: what the pattern memory compares. Made by hand, in units of the market's own recent
volatility, so that a quiet year and a wild one have neighbours in each other. Pure.

    return of the candle, of the last four, over volatility      own
    place of the close in the range of the candle, of the last four      own
    volatility of late over that of long ago      own
    volume against the last hours      own
    return of the candle over volatility, place of the close in its range      mean of the other symbols
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature
from crypy.features.indicators.close_position import ClosePosition
from crypy.features.indicators.ewm_deviation import EwmDeviation
from crypy.features.indicators.log_volume import LogVolume
from crypy.features.indicators.ratio import Ratio
from crypy.features.indicators.z_score import ZScore
from crypy.features.log_return import LogReturn
from crypy.models.direction.market import Market

Floats = NDArray[np.float64]

# Half-lives in minutes: the volatility of late is of at least so many minutes and of four candles, the long one of a day.
_LATE_MINUTES, _LONG_MINUTES = 20.0, 1_440.0
_VOLUME_MINUTES = 240
_STEP_S = 60


class Situations:
    """Vectors [dimension] of some timeframes; `prepare` a market once before it is asked. `None` until the features are warm."""

    def __init__(self, timeframes_s: Iterable[int]) -> None:
        self._own = {timeframe_s: _own(timeframe_s // _STEP_S) for timeframe_s in timeframes_s}

    def prepare(self, market: Market) -> None:
        """Have the market compute what is needed."""
        market.want(feature for features in self._own.values() for feature in features)

    def __call__(self, market: Market, symbol: str, timeframe_s: int, row: int) -> Floats | None:
        """Where a symbol stands at the end of a row."""
        features = self._own[timeframe_s]
        own = [_value(market, symbol, feature, row) for feature in features]
        others = [one for one in market.symbols if one != symbol]
        beside = [np.mean([_value(market, one, feature, row) for one in others]) for feature in features[:2] if others]
        found = np.array([*own, *beside])
        return found if np.isfinite(found).all() else None


def _own(minutes: int) -> tuple[Feature, ...]:
    """The first two are looked at of the other symbols as well."""
    late = EwmDeviation(LogReturn(1), max(_LATE_MINUTES, 4.0 * minutes))
    return (
        Ratio(LogReturn(minutes), late),
        ClosePosition(minutes),
        Ratio(LogReturn(4 * minutes), late),
        ClosePosition(4 * minutes),
        Ratio(late, EwmDeviation(LogReturn(1), _LONG_MINUTES)),
        ZScore(LogVolume(), _VOLUME_MINUTES),
    )


def _value(market: Market, symbol: str, feature: Feature, row: int) -> float:
    return float(market.values(symbol, feature, row, row + 1)[0])
