"""Direction out of a density forecast: what a model of the whole distribution says of the next candle's sign.

    p_up = P(r > ln(1 + tick / 2 close))    p_down = P(r < ln(1 - tick / 2 close))    the rest is a tie

with r the log return over the candle to come, under the model's skewed Student t (Hansen 1994). That law has mean zero: it knows nothing of
where the price goes on average, and what direction there is comes from its skew alone (a law whose left tail is longer has its median
above zero). So little is to be expected of it against a model that was fitted on signs. Its ties are those of a continuous price that is
rounded to ticks; a last price that rests on one side of a narrow spread ties far more often.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.skew_t import skew_t_cdf_many
from crypy.domain.errors import ConfigError, DataError, SchemaMismatch
from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import Channel
from crypy.marketdata.sequence import bars_needed
from crypy.models.dataset import Dataset
from crypy.models.direction.market import STEP_S, Market
from crypy.models.direction.port import TIMEFRAMES_S, Probabilities
from crypy.models.direction.ticks import WINDOW, seen_ticks
from crypy.models.hindcast import hindcasts
from crypy.models.port import Model

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A market of candles holds no count of trades and no side of them.
_UNKNOWN_CHANNELS: frozenset[Channel] = frozenset({"trade_count", "taker_imbalance"})


class DensityDirection:
    """A density model as a `Member`. It tells where all the history that the model looks at is there, and not before.

    `ticks` gives each symbol's step of the price; without it, it is the one seen in the closes (`seen_ticks`).
    """

    def __init__(self, model: Model, timeframe_s: int, ticks: Mapping[str, float] | None = None) -> None:
        """Raises `ConfigError` for a timeframe that there is none of, a model that minutes cannot feed, or a tick that is none."""
        schema = model.schema
        if timeframe_s not in TIMEFRAMES_S:
            known = ", ".join(f"{each} s" for each in TIMEFRAMES_S)
            raise ConfigError(f"there are no candles of {timeframe_s} s to forecast; choose from {known}")
        asked = {channel for block in schema.blocks for channel in block.channels}
        if schema.base_step_s % STEP_S or asked & _UNKNOWN_CHANNELS:
            raise ConfigError(
                f"{model.name} looks at {', '.join(sorted(asked))} of {schema.base_step_s} s; candles of {STEP_S} s cannot give that,"
                " a density model that was fitted on minutes can"
            )
        if ticks is not None and any(not ticks.get(symbol, 0.0) > 0.0 for symbol in schema.symbols):
            raise ConfigError(f"a tick above zero is needed of each of {', '.join(schema.symbols)}, got {dict(ticks)}")
        self.model = model
        self._timeframe_s = timeframe_s
        self._ticks = None if ticks is None else dict(ticks)
        needed = bars_needed(schema, STEP_S)
        self.rows_needed = needed if ticks is not None else max(needed, WINDOW)

    @property
    def name(self) -> str:
        """Of the timeframe, too: one model serves several."""
        return f"density-{self.model.name}-{self.timeframe_s}s"

    @property
    def symbols(self) -> tuple[str, ...]:
        """Those of the model."""
        return self.model.schema.symbols

    @property
    def timeframe_s(self) -> int:
        return self._timeframe_s

    def prepare(self, market: Market) -> None:
        """Nothing is wanted beyond candles. Raises `SchemaMismatch` for a market that lacks the model's symbols or has another step."""
        if market.step_s != STEP_S or not set(self.symbols) <= set(market.symbols):
            raise SchemaMismatch(
                f"{self.name} looks at candles of {STEP_S} s of {', '.join(self.symbols)}; the market has {market.step_s} s of"
                f" {', '.join(market.symbols)}"
            )

    def ask(self, market: Market, rows: Ints) -> Probabilities:
        """See `Member`. Raises `SchemaMismatch` for another market, `DataError` for rows it does not hold, or where it has let go of so much
        that no row has its history."""
        self.prepare(market)
        rows = np.asarray(rows, np.int64)
        told = np.full((2, len(rows), len(self.symbols)), np.nan)
        if not len(rows):
            return Probabilities(told[0], told[1])
        self._require(market, rows)
        # The model sees what it needs of the past and not more, so that one row is not as dear as a year.
        first = max(market.first_row, int(rows.min()) + 1 - self.rows_needed)
        bars = {symbol: _bars(market, symbol, first, int(rows.max()) + 1) for symbol in self.symbols}
        wanted, back = np.unique(rows - first, return_inverse=True)
        ends_s = market.start_s + (first + wanted + 1) * STEP_S
        whole = Dataset.of(bars).has_history(self.model.schema, ends_s)
        chances = np.full((2, len(wanted), len(self.symbols)), np.nan)
        if whole.any():
            chances[:, whole] = self._chances(bars, wanted[whole], ends_s[whole])
        told[:] = chances[:, back]
        return Probabilities(told[0], told[1])

    def _chances(self, bars: Mapping[str, Bars], at: Ints, ends_s: Ints) -> Floats:
        """p_up and p_down [2, origin, symbol] at ascending rows of the bars, which end at `ends_s`."""
        gap_s = int(np.gcd.reduce(np.diff(ends_s))) if len(ends_s) > 1 else STEP_S
        dataset = Dataset.of(
            bars, int(ends_s[0]), int(ends_s[-1]) + gap_s, spacing_s=gap_s, horizons_s=(self.timeframe_s,)
        ).every(gap_s, int(ends_s[0]) % gap_s)
        casts = hindcasts(self.model, dataset, np.array([self.timeframe_s], np.float64))
        among = (ends_s - ends_s[0]) // gap_s
        out = np.empty((2, len(at), len(self.symbols)))
        for index, symbol in enumerate(self.symbols):
            closes, cast = bars[symbol].close, casts[symbol]
            half = 0.5 * self._tick(symbol, closes, at) / closes[at]
            out[:, :, index] = move_chances(half, cast.scale[among, 0], cast.skew[among, 0], cast.tail[among, 0])
        return out

    def _require(self, market: Market, rows: Ints) -> None:
        if not market.first_row <= rows.min() <= rows.max() < market.rows:
            raise DataError(
                f"rows {rows.min()} to {rows.max()} are asked for, the market holds {market.first_row} to {market.rows - 1}"
            )
        if market.first_row and market.rows - market.first_row < self.rows_needed:
            raise DataError(
                f"{self.name} looks back {self.rows_needed} minutes, the market keeps {market.rows - market.first_row}; keep more"
            )

    def _tick(self, symbol: str, closes: Floats, at: Ints) -> Floats | float:
        """The step of the price at these rows of `closes`; NaN where the closes do not tell."""
        if self._ticks is not None:
            return self._ticks[symbol]
        # The first window may begin before the closes do.
        first = int(at[0]) + 1 - WINDOW
        before = np.full(max(0, -first), np.nan)
        return seen_ticks(np.concatenate((before, closes[max(0, first) :])))[at - at[0]]


def move_chances(half: Floats, scale: Floats, skew: Floats, tail: Floats) -> Floats:
    """P(r > ln(1 + half)) and P(r < ln(1 - half)) [2, n] of Hansen's law with mean zero; NaN where `half`, half a tick over the price, is NaN."""
    known = np.isfinite(half)
    up_from, down_from = np.log1p(half[known]), np.log1p(-half[known])
    scale, skew, tail = (np.ascontiguousarray(each[known]) for each in (scale, skew, tail))
    found = np.empty((2, int(known.sum())))
    # The upper tail is the lower one of the law turned round: exact where 1 - cdf would cancel.
    skew_t_cdf_many(-up_from, scale, -skew, tail, found[0])
    skew_t_cdf_many(down_from, scale, skew, tail, found[1])
    out = np.full((2, len(half)), np.nan)
    out[:, known] = found
    return out


def _bars(market: Market, symbol: str, first: int, stop: int) -> Bars:
    """Rows `[first, stop)` of a symbol as dense bars; a candle that was missing is one without trades."""
    opened, high, low, close, volume, quote_volume = (
        market.column(symbol, name, first, stop) for name in ("open", "high", "low", "close", "volume", "quote_volume")
    )
    counts, bought = np.zeros(stop - first, np.int64), np.zeros(stop - first)
    start_s = market.start_s + first * market.step_s
    return Bars(symbol, start_s, market.step_s, opened, high, low, close, volume, quote_volume, counts, bought)
