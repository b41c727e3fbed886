"""Trades and quotes of one synthetic hour of one coin.

Inside each second the efficient price walks a Brownian bridge between the truth's two ends, sampled at the
moments of trades and of quote changes. Each moment sets a quote on the tick grid around the price; a trade
prints at that moment's ask (taker buys) or bid (taker sells), with the side leaning to the second's return.
Numbers come from Philox keyed by (seed, coin, hour), ids from the day's truth: the hour is the same whether it is
served as history or streamed live.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.synthetic_profile import CoinProfile
from crypy.marketdata.synthetic_truth import DayTruth, generator
from crypy.marketdata.trades import TradeBatch
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
HOUR_S = 3_600
# The archives of 2024 and before have milliseconds, and so have the times of those years here.
FIRST_MICROSECOND_DAY = 20_089
_E8 = 100_000_000.0
_TAPE_STREAM = 1 << 41


@dataclass(frozen=True, slots=True)
class QuoteBatch:
    """Best bids and asks with sizes in units of 1e-8, times ascending; `update_id` strictly ascending for ever."""

    time_us: Ints
    bid_e8: Ints
    ask_e8: Ints
    bid_quantity_e8: Ints
    ask_quantity_e8: Ints
    update_id: Ints

    def __len__(self) -> int:
        return len(self.time_us)

    def __getitem__(self, rows: slice) -> QuoteBatch:
        return QuoteBatch(
            self.time_us[rows],
            self.bid_e8[rows],
            self.ask_e8[rows],
            self.bid_quantity_e8[rows],
            self.ask_quantity_e8[rows],
            self.update_id[rows],
        )


@dataclass(frozen=True, slots=True)
class HourTape:
    """Everything that one coin's stream carries in `[start_us, start_us + 1 h)`."""

    start_us: int
    trades: TradeBatch
    quotes: QuoteBatch


def hour_tape(
    seed: int, profile: CoinProfile, coin: int, truth: DayTruth, hour: int, quotes_per_second: float, origin_us: int
) -> HourTape:
    """Draw hour 0 .. 23 of a day; `origin_us` is the market's first midnight, from which update ids count."""
    rows = slice(hour * HOUR_S, (hour + 1) * HOUR_S)
    start_us = (truth.day * DAY_S + hour * HOUR_S) * US_PER_S
    rng = generator(seed, _TAPE_STREAM | (coin << 32) | (truth.day * 24 + hour))
    counts = truth.trades[coin, rows]
    extra = truth.extra_fills[coin, rows]
    trade_n = int(counts.sum())
    quote_counts = np.where(truth.halt[rows], 0, rng.poisson(quotes_per_second, HOUR_S))
    step_us = 1 if truth.day >= FIRST_MICROSECOND_DAY else 1_000
    trade_us = _times(rng, counts, start_us, step_us)
    quote_us = _times(rng, quote_counts, start_us, step_us)
    points = trade_n + len(quote_us)
    fills = 1 + _spread(rng, counts, extra)
    before = int(truth.trades[coin, : rows.start].sum(dtype=np.int64))
    before_fills = before + int(truth.extra_fills[coin, : rows.start].sum(dtype=np.int64))
    first = truth.start.next_fill_id[coin] + before_fills + np.concatenate([[0], np.cumsum(fills)[:-1]])[:trade_n]
    price, lots, quotes = np.empty(trade_n, np.int64), np.empty(trade_n, np.int64), np.empty((5, points), np.int64)
    seller = np.empty(trade_n, np.bool_)
    _walk(
        start_us,
        truth.log_mid[coin, rows.start : rows.stop + 1],
        truth.scale[coin, rows],
        trade_us,
        quote_us,
        rng.standard_normal(points),
        rng.random(points),
        rng.standard_normal((2, points)),
        rng.random(trade_n),
        rng.standard_normal(trade_n),
        fills,
        profile.tick_e8,
        profile.lot_e8,
        profile.daily_volatility / math.sqrt(DAY_S),
        profile.trade_notional,
        price,
        lots,
        seller,
        quotes,
    )
    trades = TradeBatch(
        id=truth.start.next_id[coin] + before + np.arange(trade_n, dtype=np.int64),
        price_e8=price,
        quantity_e8=lots * profile.lot_e8,
        first_id=first.astype(np.int64),
        last_id=first.astype(np.int64) + fills - 1,
        time_us=trade_us,
        buyer_is_maker=seller,
    )
    return HourTape(start_us, trades, QuoteBatch(*quotes, update_id=_update_ids(quotes[0], origin_us)))


def single_trades(batch: TradeBatch, lot_e8: int) -> TradeBatch:
    """The fills inside aggregates, as Binance's `trades` shows them: an aggregate's quantity in whole lots, the rest in the last."""
    fills = batch.last_id - batch.first_id + 1
    owner = np.repeat(np.arange(len(batch)), fills)
    ids = batch.first_id[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(fills) - fills, fills)
    share = batch.quantity_e8 // lot_e8 // fills * lot_e8
    last = ids == batch.last_id[owner]
    quantity = np.where(last, (batch.quantity_e8 - share * (fills - 1))[owner], share[owner])
    return TradeBatch(
        ids, batch.price_e8[owner], quantity, ids, ids, batch.time_us[owner], batch.buyer_is_maker[owner]
    )  # fmt: skip


def _times(rng: np.random.Generator, counts: NDArray[np.integer], start_us: int, step_us: int) -> Ints:
    """Ascending moments, `counts[t]` of them inside second t."""
    second = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    inside = (rng.random(len(second)) * (US_PER_S // step_us)).astype(np.int64) * step_us
    return np.sort(start_us + second * US_PER_S + inside)


def _spread(rng: np.random.Generator, counts: NDArray[np.int32], extra: NDArray[np.int32]) -> Ints:
    """Hand each second's extra fills to its trades by lot; result [trade]."""
    first = np.cumsum(counts) - counts
    owner = np.repeat(first, extra) + (rng.random(int(extra.sum())) * np.repeat(counts, extra)).astype(np.int64)
    return np.bincount(owner, minlength=int(counts.sum())).astype(np.int64)


def _update_ids(time_us: Ints, origin_us: int) -> Ints:
    """Eight ids to each microsecond, so that ids ascend across hours without counting from the beginning."""
    row = np.arange(len(time_us), dtype=np.int64)
    is_new = np.concatenate([[True], time_us[1:] != time_us[:-1]])[: len(row)]
    repeat = row - np.maximum.accumulate(np.where(is_new, row, 0))
    return np.maximum.accumulate((time_us - origin_us) * 8 + repeat - row) + row + 1


@kernel
def _walk(
    start_us: int,
    log_mid: Floats,
    scale: Floats,
    trade_us: Ints,
    quote_us: Ints,
    bridge: Floats,
    widen: Floats,
    depth: Floats,
    side: Floats,
    size: Floats,
    fills: Ints,
    tick_e8: int,
    lot_e8: int,
    usual: float,
    notional: float,
    price: Ints,
    lots: Ints,
    seller: NDArray[np.bool_],
    quotes: Ints,
) -> None:
    """Merge the moments, walk the bridge, quote and trade. `usual` is the coin's ordinary scale of one second."""
    i, j, second = 0, 0, -1
    x, at = 0.0, 0.0
    for p in range(len(bridge)):
        is_trade = j == len(quote_us) or (i < len(trade_us) and trade_us[i] <= quote_us[j])
        time_us = trade_us[i] if is_trade else quote_us[j]
        t = (time_us - start_us) // 1_000_000
        if t != second:
            second, x, at = t, log_mid[t], 0.0
        now = (time_us - start_us - t * 1_000_000) * 1e-6
        # Brownian bridge from x at `at` to the next second's start at 1.
        left = 1.0 - at
        part = (now - at) / left
        spread = scale[t] * math.sqrt(max(0.0, (now - at) * (1.0 - now) / left))
        x += (log_mid[t + 1] - x) * part + spread * bridge[p]
        at = now
        mid = math.exp(x)
        wide = 1 + int(-math.log(1.0 - widen[p]) * 0.3 * min(scale[t] / usual, 5.0))
        bid = max(1, math.floor(mid * 1e8 / tick_e8 - 0.5 * (wide - 1)))
        typical = 8.0 * notional / mid * 1e8 / lot_e8
        quotes[0, p] = time_us
        quotes[1, p] = bid * tick_e8
        quotes[2, p] = (bid + wide) * tick_e8
        quotes[3, p] = (1 + int(typical * math.exp(depth[0, p]))) * lot_e8
        quotes[4, p] = (1 + int(typical * math.exp(depth[1, p]))) * lot_e8
        if not is_trade:
            j += 1
            continue
        lean = math.tanh((log_mid[t + 1] - log_mid[t]) / scale[t])
        seller[i] = side[i] >= 0.5 + 0.35 * lean
        price[i] = bid * tick_e8 if seller[i] else (bid + wide) * tick_e8
        lots[i] = fills[i] + int(notional / mid * 1e8 / lot_e8 * math.exp(1.5 * size[i]))
        i += 1
