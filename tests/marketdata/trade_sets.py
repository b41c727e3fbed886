"""Random trades for tests of folds, and slow bars to compare with."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from crypy.domain.events import Trade
from crypy.marketdata.bars import Bars
from crypy.marketdata.trades import TradeBatch

START_S = 1_735_689_600
COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")


@st.composite
def trade_lists(draw: st.DrawFn, seconds: int = 40, most: int = 60, backwards: bool = False) -> list[Trade]:
    """Single trades with consecutive ids; times ascend, or now and then go back by up to two seconds."""
    count = draw(st.integers(0, most))
    steps = draw(st.lists(st.integers(0, 3_000_000), min_size=count, max_size=count))
    trades: list[Trade] = []
    at_us = START_S * 1_000_000
    for index, step in enumerate(steps):
        at_us = min(at_us + step, (START_S + seconds) * 1_000_000 - 1)
        back = draw(st.integers(0, 2_000_000)) if backwards and draw(st.integers(0, 4)) == 0 else 0
        price = draw(st.integers(1, 10**13))
        quantity = draw(st.integers(0, 10**12))
        time_us = max(START_S * 1_000_000, at_us - back)
        trades.append(
            Trade("BTCUSDT", 100 + index, price, quantity, 100 + index, 100 + index, time_us, draw(st.booleans()))
        )
    return trades


def aggregated(trades: list[Trade]) -> list[Trade]:
    """What the venue makes of single trades: neighbours of one taker order (same time, price and side) in one."""
    groups: list[list[Trade]] = []
    for trade in trades:
        last = groups[-1][-1] if groups else None
        if last and (last.time_us, last.price_e8, last.buyer_is_maker) == (
            trade.time_us,
            trade.price_e8,
            trade.buyer_is_maker,
        ):
            groups[-1].append(trade)
        else:
            groups.append([trade])
    return [
        Trade(
            group[0].symbol, 7 + index, group[0].price_e8, sum(t.quantity_e8 for t in group), group[0].id, group[-1].id,
            group[0].time_us, group[0].buyer_is_maker,
        )
        for index, group in enumerate(groups)
    ]  # fmt: skip


def chunks(trades: list[Trade], sizes: list[int]) -> list[TradeBatch]:
    """The trades in batches of the given sizes, the rest in one."""
    batches: list[TradeBatch] = []
    at = 0
    for size in sizes:
        batches.append(TradeBatch.of(trades[at : at + size]))
        at += size
    return [*batches, TradeBatch.of(trades[at:])]


def slow_bars(trades: list[Trade], start_s: int, end_s: int) -> dict[str, list[float]]:
    """Second bars by definition, in exact fractions, rounded once."""
    rows: dict[str, list[float]] = {name: [] for name in COLUMNS}
    close = float("nan")
    for second in range(start_s, end_s):
        here = [t for t in sorted(trades, key=lambda t: t.id) if t.time_us // 1_000_000 == second and t.first_id >= 0]
        prices = [t.price_e8 / 1e8 for t in here] or [close]
        close = prices[-1]
        bar = (
            prices[0], max(prices), min(prices), prices[-1],
            float(Fraction(sum(t.quantity_e8 for t in here), 10**8)),
            float(Fraction(sum(t.quantity_e8 * t.price_e8 for t in here), 10**16)),
            sum(t.last_id - t.first_id + 1 for t in here),
            float(Fraction(sum(t.quantity_e8 for t in here if not t.buyer_is_maker), 10**8)),
        )  # fmt: skip
        for name, value in zip(COLUMNS, bar, strict=True):
            rows[name].append(value)
    return rows


def same_bits(one: Bars, other: Bars) -> bool:
    """Whether two stretches of bars are equal to the last bit, NaN included."""
    return (one.symbol, one.start_s, one.step_s) == (other.symbol, other.start_s, other.step_s) and all(
        np.array_equal(
            np.ascontiguousarray(getattr(one, name)).view(np.int64),
            np.ascontiguousarray(getattr(other, name)).view(np.int64),
        )
        for name in COLUMNS
    )


def random_bars(symbol: str, start_s: int, seconds: int, seed: int, step_s: int = 1, unknown: int = 0) -> Bars:
    """Bars of a random walk in which two of five seconds have no trade; the first `unknown` have no price."""
    random = np.random.default_rng(seed)
    traded = random.random(seconds) < 0.6
    if seconds > unknown:
        traded[:unknown] = False
        traded[unknown] = True
    walk = 100.0 * np.exp(np.cumsum(random.normal(scale=1e-3, size=seconds) * traded))
    last = np.maximum.accumulate(np.where(traded, np.arange(seconds), -1))
    close = np.where(last >= 0, walk[last], np.nan)
    high = np.where(traded, close * (1 + random.random(seconds) * 1e-3), close)
    low = np.where(traded, close * (1 - random.random(seconds) * 1e-3), close)
    volume = np.where(traded, np.round(random.exponential(size=seconds), 8), 0.0)
    quote = np.where(traded, volume * np.nan_to_num(close), 0.0)
    bought = np.round(volume * random.random(seconds), 8)
    return Bars(
        symbol, start_s, step_s, close, high, low, close, volume, quote, random.integers(1, 9, seconds) * traded, bought
    )


def cut(bars: Bars, start_s: int, end_s: int) -> Bars:
    """The bars of `[start_s, end_s)`."""
    rows = slice((start_s - bars.start_s) // bars.step_s, (end_s - bars.start_s) // bars.step_s)
    return Bars(bars.symbol, start_s, bars.step_s, *(getattr(bars, name)[rows] for name in COLUMNS))
