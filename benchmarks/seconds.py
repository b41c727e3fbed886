"""Trades in memory to second bars, by the one kernel of history and live, against NumPy, Polars and a Python loop.

A day of 3 M aggregates as columns; all eight columns of the bars are made, dense over the day. NumPy's form is the usual one: one
`reduceat` a column over the seconds' borders, then spread over the day. It and Polars are allowed floats, ids in order and no checks.
Live, trades are taken one by one and sealed every hundred; the Python loop beside it keeps the same eight numbers in a dict.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Row
from benchmarks.timing import loops_s, scaled
from crypy.domain.events import Trade
from crypy.marketdata.bars import Bars
from crypy.marketdata.sealing import SecondFold
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.trades import TradeBatch

SYMBOL = "BTCUSDT"
START_S = 1_735_689_600
DAY_S = 86_400
TRADES = 3_000_000
LIVE_TRADES = 50_000
SEAL_EVERY = 100
US = 1_000_000
Columns = tuple[NDArray[np.float64], ...]


def day(trades: int) -> TradeBatch:
    """Made-up aggregates over one day, times ascending."""
    rng = np.random.default_rng(1)
    fills = 1 + (rng.random(trades) < 0.3) * rng.integers(1, 4, trades)
    last = 4_359_283_111 + np.cumsum(fills)
    return TradeBatch(
        id=3_357_431_023 + np.arange(trades),
        price_e8=(9_459_179 + np.cumsum(rng.integers(-3, 4, trades))) * 1_000_000,
        quantity_e8=np.maximum(1, (rng.lognormal(-5, 2, trades) * 1e5).astype(np.int64)) * 1_000,
        first_id=last - fills + 1,
        last_id=last,
        time_us=START_S * US + np.sort(rng.integers(0, DAY_S * US, trades)),
        buyer_is_maker=rng.random(trades) < 0.5,
    )


def by_numpy(batch: TradeBatch) -> Columns:
    """Open, high, low, close, volume, quote volume, count, taker-buy volume of each second of the day."""
    second = batch.time_us // US - START_S
    starts = np.flatnonzero(np.diff(second, prepend=-1))
    traded = second[starts]
    price, quantity = batch.price_e8 / 1e8, batch.quantity_e8 / 1e8
    ends = np.append(starts[1:], len(second)) - 1
    filled = np.zeros(DAY_S, np.int64)
    filled[traded] = np.arange(len(traded))
    row = np.maximum.accumulate(filled)
    empty = np.ones(DAY_S, np.bool_)
    empty[traded] = False
    close = price[ends][row]
    prices = [np.where(empty, close, column[row]) for column in (
        price[starts], np.maximum.reduceat(price, starts), np.minimum.reduceat(price, starts))]  # fmt: skip
    sums = (
        quantity, price * quantity, (batch.last_id - batch.first_id + 1).astype(np.float64),
        np.where(batch.buyer_is_maker, 0.0, quantity),
    )  # fmt: skip
    spread = []
    for column in sums:
        dense = np.zeros(DAY_S)
        dense[traded] = np.add.reduceat(column, starts)
        spread.append(dense)
    return (*prices, close, *spread)


def by_polars(batch: TradeBatch) -> int:
    """The same groups by Polars on columns that are in memory; not made dense."""
    import polars as pl

    frame = pl.DataFrame(
        {
            "second": batch.time_us, "price": batch.price_e8, "quantity": batch.quantity_e8,
            "fills": batch.last_id - batch.first_id + 1, "maker": batch.buyer_is_maker,
        }
    )  # fmt: skip
    price, quantity = pl.col("price") / 1e8, pl.col("quantity") / 1e8
    bars = (
        frame.lazy()
        .with_columns(second=pl.col("second") // US, price=price, quantity=quantity)
        .group_by("second")
        .agg(
            open=pl.col("price").first(), high=pl.col("price").max(), low=pl.col("price").min(),
            close=pl.col("price").last(), volume=pl.col("quantity").sum(),
            quote=(pl.col("price") * pl.col("quantity")).sum(), count=pl.col("fills").sum(),
            bought=pl.col("quantity").filter(~pl.col("maker")).sum(),
        )
        .sort("second")
        .collect()
    )  # fmt: skip
    return bars.height


def live(trades: list[Trade]) -> int:
    """One by one, sealed every hundred: the form of the feed."""
    fold = SecondFold(SYMBOL, START_S)
    sealed = 0
    for number, trade in enumerate(trades):
        fold.update(trade)
        if number % SEAL_EVERY == 0:
            sealed += sum(len(piece) for piece in fold.seal(trade.time_us))
    return sealed


def by_python(trades: list[Trade]) -> int:
    """The same eight numbers of each second in a dict, in floats."""
    bars: dict[int, list[float]] = {}
    for trade in trades:
        price, quantity = trade.price_e8 / 1e8, trade.quantity_e8 / 1e8
        bar = bars.get(trade.time_us // US)
        if bar is None:
            bar = bars[trade.time_us // US] = [price, price, price, price, 0.0, 0.0, 0.0, 0.0]
        bar[1] = max(bar[1], price)
        bar[2] = min(bar[2], price)
        bar[3] = price
        bar[4] += quantity
        bar[5] += price * quantity
        bar[6] += trade.last_id - trade.first_id + 1
        if not trade.buyer_is_maker:
            bar[7] += quantity
    return len(bars)


def _agree(bars: Bars, columns: Columns) -> None:
    ours = (
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        bars.quote_volume,
        bars.count,
        bars.taker_buy_volume,
    )
    for mine, theirs in zip(ours, columns, strict=True):
        np.testing.assert_allclose(mine[60:], theirs[60:], rtol=1e-9, atol=1e-9)


def measure(effort: float) -> list[Row]:
    """Rows a second of the batch form, and nanoseconds a trade of the live one."""
    batch = day(scaled(TRADES, effort, 200_000))
    rounds = scaled(7, effort, 3)
    _agree(second_bars(SYMBOL, [batch], START_S, START_S + DAY_S), by_numpy(batch))
    many = len(batch) / 1e6
    ways = {
        "crypy": lambda: second_bars(SYMBOL, [batch], START_S, START_S + DAY_S),
        "NumPy reduceat (floats)": lambda: by_numpy(batch),
        "Polars group_by (floats)": lambda: by_polars(batch),
    }
    found = {name: seconds.per(many) for name, seconds in loops_s(ways, rounds).items()}
    rows = [
        Row(what="columns to dense second bars", ours=found["crypy"], unit="M rows/s", more_is_better=True, peer=name, theirs=speed)
        for name, speed in found.items()
        if name != "crypy"
    ]  # fmt: skip
    few = [
        Trade(SYMBOL, *(column[i].item() for column in (
            batch.id, batch.price_e8, batch.quantity_e8, batch.first_id, batch.last_id, batch.time_us, batch.buyer_is_maker)))
        for i in range(min(len(batch), scaled(LIVE_TRADES, effort, 5_000)))
    ]  # fmt: skip
    one_by_one = loops_s({"crypy": lambda: live(few), "python": lambda: by_python(few)}, rounds)
    ours, python = (one_by_one[name].times(1e9 / len(few)) for name in ("crypy", "python"))
    what = "live, one by one, sealed every 100"
    return [*rows, Row(what=what, ours=ours, unit="ns/trade", peer="Python dict (floats)", theirs=python)]
