"""Bars and candles for the tests of candles: small markets with quiet seconds, and the definition of a candle, slowly."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from trade_sets import COLUMNS as BAR_COLUMNS

from crypy.marketdata.bars import Bars
from crypy.marketdata.candles import COLUMNS, Candles
from crypy.marketdata.intervals import Interval, parse_interval

# A Sunday morning in New York, one hour before its clocks change.
START_S = 1_741_503_600 - 3_600


def same(left: Candles, right: Candles) -> bool:
    """Whether two sets of candles are equal to the bit, NaN included."""
    return (left.name, left.interval) == (right.name, right.interval) and all(
        getattr(left, column).dtype == getattr(right, column).dtype
        and np.ascontiguousarray(getattr(left, column)).tobytes()
        == np.ascontiguousarray(getattr(right, column)).tobytes()
        for column in COLUMNS
    )


def cut(bars: Bars, first: int, stop: int) -> Bars:
    """Rows `[first, stop)`."""
    columns = (getattr(bars, name)[first:stop] for name in BAR_COLUMNS)
    return Bars(bars.symbol, bars.start_s + first * bars.step_s, bars.step_s, *columns)


def intervals() -> st.SearchStrategy[Interval]:
    """Short ones of which a few minutes hold many, and some that do not divide an hour."""
    return st.builds(
        parse_interval, st.sampled_from(("1s", "2s", "7s", "10s", "1m", "90s", "1h", "1d")), st.sampled_from(("", "0s"))
    )


@st.composite
def markets(draw: st.DrawFn, most: int = 200) -> Bars:
    """Second bars: exact volumes from dust to whales, seconds without trades, NaN before the first and in holes."""
    seconds = draw(st.integers(1, most))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    traded = rng.random(seconds) < draw(st.sampled_from((0.02, 0.5, 1.0)))
    unit = 10 ** draw(st.integers(0, 15))
    volume = np.where(traded, rng.integers(1, unit + 1, seconds), 0)
    bought = np.minimum(volume, rng.integers(0, unit + 1, seconds))
    walk = 100.0 + np.cumsum(rng.integers(-3, 4, seconds) * traded) / 100
    last = np.maximum.accumulate(np.where(traded, np.arange(seconds), -1))
    close = np.where(last >= 0, walk[last], np.nan)
    wide = np.where(traded, rng.integers(0, 5, seconds) / 100, 0.0)
    open_ = np.where(traded, np.clip(np.roll(walk, 1), close - wide, close + wide), close)
    quote = rng.integers(1, unit + 1, seconds) * traded
    return Bars(
        "BTCUSDT", START_S + draw(st.integers(0, 7_200)), 1, open_, close + wide, close - wide, close,
        volume / 1e8, quote / 1e8, rng.integers(1, 9, seconds) * traded, bought / 1e8,
    )  # fmt: skip


def slow_candles(bars: Bars, interval: Interval) -> list[dict[str, float]]:
    """Candles by definition, in exact fractions, rounded once."""
    edges = interval.edges(bars.start_s, bars.end_s).tolist()
    rows: list[dict[str, float]] = []
    close = float("nan")
    for begin, end in pairwise(edges):
        inside = [i for i in range(len(bars)) if begin <= bars.start_s + i < end]
        traded = [i for i in inside if bars.count[i] > 0]
        if traded:
            close = float(bars.close[traded[-1]])
        known = [i for i in inside if not np.isnan(bars.close[i])]
        if known:
            close = float(bars.close[known[-1]])

        def total(name: str, rows: list[int] = traded) -> float:
            return float(sum((Fraction(round(getattr(bars, name)[i] * 1e8), 10**8) for i in rows), Fraction(0)))  # fmt: skip

        rows.append(
            {
                "open": float(bars.open[traded[0]]) if traded else close,
                "high": max((float(bars.high[i]) for i in traded), default=close),
                "low": min((float(bars.low[i]) for i in traded), default=close),
                "close": close,
                "volume": total("volume"),
                "quote_volume": total("quote_volume"),
                "count": sum(int(bars.count[i]) for i in traded),
                "taker_buy_volume": total("taker_buy_volume"),
                "missing_s": min(end, bars.end_s) - begin - len(known),
                "closed": end <= bars.end_s,
            }
        )
    return rows
