"""Where the market stands at a close, in a few numbers: what the pattern memory compares.

Made by hand: how far the coin and the others went over one candle and over several, each in units of its own volatility; where they closed in their
ranges; and how unusual the volume is, with the sign of the candle. All are bounded, so that no single minute is far from everything, and all change
their sign when every price p becomes 1 / p, which is what a mirrored memory rests on. The memory divides each number by its own running deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crypy.features.feature import Feature
from crypy.features.indicators import (
    ClosePosition,
    LogReturn,
    LogVolume,
    Product,
    Ratio,
    RealisedVolatility,
    Sign,
    Tanh,
    ZScore,
)
from crypy.models.direction.inputs import Column, DirectionInputs
from crypy.models.direction.market import Market

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_VOLATILITY_MINUTES: Final = 240
_VOLUME_MINUTES: Final = 240
_AT_ONCE: Final = 4_096


class Situation:
    """The situation of each symbol for candles of one timeframe."""

    def __init__(self, symbols: Sequence[str], timeframe_s: int) -> None:
        minutes = timeframe_s // 60
        own = (_went(minutes), _went(4 * minutes), _stands(minutes), _stands(4 * minutes), _stands(16 * minutes))
        volume = Product(Sign(LogReturn(minutes)), Tanh(ZScore(LogVolume(), _VOLUME_MINUTES), 2.0))
        columns = (
            *(Column.of(one, odd=True) for one in (*own, volume)),
            *(Column.of(one, "others", odd=True) for one in (_went(minutes), _stands(minutes))),
        )
        self.inputs = DirectionInputs(tuple(symbols), timeframe_s, columns)

    @property
    def dimensions(self) -> int:
        """Numbers in a situation."""
        return self.inputs.width

    def prepare(self, market: Market) -> None:
        """Say what it needs of a market (`Market.want`), before anything is asked."""
        market.want(self.inputs.wanted())

    def ask(self, market: Market, rows: Ints) -> Floats:
        """Situations [n, symbol, dimension] at the closes of these rows of the market; NaN where one is not known whole."""
        x, known = self.inputs.x(market, rows)
        return np.where(known[:, :, None], x.astype(np.float64), np.nan)


class _Block(NamedTuple):
    """Situations [n, symbol, dimension] of every `step`-th row from `first` on."""

    first: int
    step: int
    values: Floats


class Situations:
    """The situations of several timeframes, one close at a time, as the predictor and the judge ask. A market that was not seen before is
    prepared first; of a long one, some days are computed at once."""

    def __init__(self, timeframes_s: Sequence[int]) -> None:
        self._timeframes_s = tuple(timeframes_s)
        self._of: dict[int, Situation] = {}
        self._market: Market | None = None
        self._blocks: dict[int, _Block] = {}

    def prepare(self, market: Market) -> None:
        """Say what is needed of a market; asking does it, too."""
        self._of = {timeframe_s: Situation(market.symbols, timeframe_s) for timeframe_s in self._timeframes_s}
        for situation in self._of.values():
            situation.prepare(market)
        self._market, self._blocks = market, {}

    def __call__(self, market: Market, symbol: str, timeframe_s: int, row: int) -> Floats | None:
        """The situation [dimension] of a symbol at the close of a row; `None` where it is not known whole."""
        if self._market is not market:
            self.prepare(market)
        block = self._blocks.get(timeframe_s)
        at, rest = (-1, 0) if block is None else divmod(row - block.first, block.step)
        if block is None or rest or not 0 <= at < len(block.values):
            step = timeframe_s // market.step_s
            rows = np.arange(row, min(row + _AT_ONCE * step, market.rows), step)
            block, at = _Block(row, step, self._of[timeframe_s].ask(market, rows)), 0
            self._blocks[timeframe_s] = block
        values = block.values[at, market.symbols.index(symbol)]
        return None if np.isnan(values).any() else values


def _went(minutes: int) -> Feature:
    """The return over some minutes in units of its deviation by the volatility of the last hours."""
    return Tanh(
        Ratio(LogReturn(minutes), RealisedVolatility(_VOLATILITY_MINUTES)), 2.0 * (minutes / _VOLATILITY_MINUTES) ** 0.5
    )


def _stands(minutes: int) -> Feature:
    return ClosePosition(minutes)
