"""The one synthetic market: seeded trades, quotes and their known truth, from a first day onward.

Everything is a function of (seed, profile, first day, trades per day). What is served as the archive of a
past day, what REST answers and what is streamed live are slices of the same arrays. The market knows the future
of its own day; keeping it from those who ask is the business of whoever serves it (`simulator`).

A market is not safe for use by several threads: each takes its own `twin`, which draws the same numbers and
shares the midnights already reached.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.marketdata.synthetic_expectation import expected_scale
from crypy.marketdata.synthetic_law import SampledLaw, SecondLaw, draw_returns, second_law
from crypy.marketdata.synthetic_profile import CoinProfile, MarketProfile, market_profile
from crypy.marketdata.synthetic_tape import HOUR_S, HourTape, QuoteBatch, hour_tape, single_trades
from crypy.marketdata.synthetic_truth import DayStart, DayTruth, TruthModel
from crypy.marketdata.trade_merge import concatenated
from crypy.marketdata.trades import TradeBatch

Floats = NDArray[np.float64]
DAY_US = DAY_S * US_PER_S
HOUR_US = HOUR_S * US_PER_S


@dataclass(frozen=True, slots=True)
class DayTape:
    """One UTC day of one coin: what it traded and quoted, and the truth behind it.

    `mid` [86401] is the efficient price at each second's start; `scale`, `skew`, `tail` [86400] are the parameters that
    the log return of each second was drawn with.
    """

    day: int
    trades: TradeBatch
    quotes: QuoteBatch
    mid: Floats
    scale: Floats
    skew: Floats
    tail: Floats


class SyntheticMarket:
    """Trades and quotes of correlated coins from midnight of `first_day` (days since 1970 UTC) on.

    `trades_per_day` is the mean number of aggregates of an average coin. Memory is bounded: the last `days_kept`
    days of truth (19 MB each for four coins) and `hours_kept` hours of tape (1 MB each at 100,000 trades a day).
    """

    def __init__(
        self,
        seed: int,
        coins: Sequence[str] = ("BTC", "ETH", "SOL", "XRP"),
        first_day: int = 20_089,
        trades_per_day: float = 90_000.0,
        *,
        profile: MarketProfile | None = None,
        days_kept: int = 3,
        hours_kept: int = 32,
    ) -> None:
        self.seed = seed
        self.first_day = first_day
        self.trades_per_day = trades_per_day
        self.profile = profile if profile is not None else market_profile(coins)
        self.coins = tuple(coin.coin for coin in self.profile.coins)
        self.symbols = tuple(coin.symbol for coin in self.profile.coins)
        self._index = {coin.symbol: row for row, coin in enumerate(self.profile.coins)}
        self._model = TruthModel(seed, self.profile, trades_per_day)
        self._starts: dict[int, DayStart] = {first_day: self._model.first()}
        self._days: OrderedDict[int, DayTruth] = OrderedDict()
        self._hours: OrderedDict[tuple[int, int], HourTape] = OrderedDict()
        self._days_kept, self._hours_kept = days_kept, hours_kept

    @property
    def first_us(self) -> int:
        """The first instant of the market; nothing exists before it."""
        return self.first_day * DAY_US

    @property
    def states(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of regimes and of bursts; state s of `DayTruth.regime` is a pair of them, the burst counting faster."""
        return self._model.chain.regimes, self._model.chain.bursts

    def jump_scale(self, symbol: str) -> float:
        """Standard deviation of a jump's log return."""
        return float(self._model.jump_scale[self._row(symbol)])

    def twin(self, days_kept: int = 3, hours_kept: int = 32) -> SyntheticMarket:
        """The same market with caches of its own, for another thread."""
        other = SyntheticMarket(
            self.seed,
            self.coins,
            self.first_day,
            self.trades_per_day,
            profile=self.profile,
            days_kept=days_kept,
            hours_kept=hours_kept,
        )
        # Shared on purpose: a midnight has one possible value, so two threads that reach it write the same.
        other._starts = self._starts
        return other

    def coin_profile(self, symbol: str) -> CoinProfile:
        """Ticks, lots and habits of a symbol. Raises `ConfigError` for one that is not traded here."""
        return self.profile.coins[self._row(symbol)]

    def truth(self, day: int) -> DayTruth:
        """What all returns of a day were drawn from; reaches the day through all days before it."""
        kept = self._days.get(day)
        if kept is not None:
            self._days.move_to_end(day)
            return kept
        if day < self.first_day:
            raise ConfigError(
                f"the synthetic market begins at {iso(self.first_us)}; {iso(day * DAY_US)} is before it"
            )  # fmt: skip
        nearest = day
        while nearest not in self._starts:
            nearest -= 1
        for reached in range(nearest, day):
            self._starts[reached + 1] = self._model.day(reached, self._starts[reached]).end
        truth = self._model.day(day, self._starts[day])
        self._starts[day + 1] = truth.end
        self._days[day] = truth
        while len(self._days) > self._days_kept:
            self._days.popitem(last=False)
        return truth

    def hour(self, symbol: str, hour: int) -> HourTape:
        """The tape of one hour (hours since 1970 UTC)."""
        row = self._row(symbol)
        kept = self._hours.get((row, hour))
        if kept is not None:
            self._hours.move_to_end((row, hour))
            return kept
        day, of_day = divmod(hour, 24)
        tape = hour_tape(
            self.seed,
            self.profile.coins[row],
            row,
            self.truth(day),
            of_day,
            self.profile.activity.quotes_per_second,
            self.first_us,
        )
        self._hours[(row, hour)] = tape
        while len(self._hours) > self._hours_kept:
            self._hours.popitem(last=False)
        return tape

    def day(self, symbol: str, day: int) -> DayTape:
        """A whole day of one symbol with its truth."""
        row, truth = self._row(symbol), self.truth(day)
        hours = [self.hour(symbol, day * 24 + hour) for hour in range(24)]
        return DayTape(
            day,
            concatenated([hour.trades for hour in hours]),
            _joined_quotes([hour.quotes for hour in hours]),
            np.exp(truth.log_mid[row]),
            truth.scale[row],
            truth.skew[row],
            truth.tail,
        )

    def trades(self, symbol: str, start_us: int, end_us: int) -> TradeBatch:
        """Aggregates in `[start_us, end_us)`, ids ascending; what lies before the market's first day is empty."""
        parts = [
            tape.trades[_rows(tape.trades.time_us, start_us, end_us)] for tape in self._tapes(symbol, start_us, end_us)
        ]
        return concatenated(parts)

    def quotes(self, symbol: str, start_us: int, end_us: int) -> QuoteBatch:
        """Quotes in `[start_us, end_us)`."""
        parts = [
            tape.quotes[_rows(tape.quotes.time_us, start_us, end_us)] for tape in self._tapes(symbol, start_us, end_us)
        ]
        return _joined_quotes(parts)

    def trades_from(self, symbol: str, first_id: int, limit: int, before_us: int) -> TradeBatch:
        """At most `limit` aggregates with id >= `first_id` and time before `before_us`; from the very first if the id is older."""
        return self._from_id(symbol, first_id, limit, before_us, by_fill=False)

    def fills_from(self, symbol: str, first_id: int, limit: int, before_us: int) -> TradeBatch:
        """Single trades with id >= `first_id`, as `trades_from`."""
        batch = self._from_id(symbol, first_id, limit, before_us, by_fill=True)
        single = single_trades(batch, self.coin_profile(symbol).lot_e8)
        at = int(np.searchsorted(single.id, first_id))
        return single[at : at + limit]

    def mid(self, symbol: str, time_us: int) -> float:
        """Midprice of the hour's last quote at or before the instant; the efficient price where the hour has none yet."""
        tape = self.hour(symbol, time_us // HOUR_US)
        at = int(np.searchsorted(tape.quotes.time_us, time_us, "right")) - 1
        if at >= 0:
            return float(tape.quotes.bid_e8[at] + tape.quotes.ask_e8[at]) * 0.5e-8
        day, second = divmod(time_us // US_PER_S, DAY_S)
        return float(np.exp(self.truth(day).log_mid[self._row(symbol), second]))

    def average(self, symbol: str, start_s: int, end_s: int) -> float:
        """Mean of the efficient price at the end of each second of `[start_s, end_s)`."""
        row, total = self._row(symbol), 0.0
        for day in range(start_s // DAY_S, (end_s - 1) // DAY_S + 1):
            first, last = max(start_s - day * DAY_S, 0), min(end_s - day * DAY_S, DAY_S)
            total += float(np.exp(self.truth(day).log_mid[row, first + 1 : last + 1]).sum())
        return total / (end_s - start_s)

    def volatility(self, symbol: str, time_us: int) -> float:
        """True standard deviation of the log return of the second that holds the instant, as long as no jump comes."""
        day, second = divmod(time_us // US_PER_S, DAY_S)
        return float(self.truth(day).scale[self._row(symbol), second])

    def expected_scale(self, symbol: str, time_us: int, horizon_s: float) -> float:
        """Standard deviation of the log return over the horizon, given the true state at the instant."""
        day, second = divmod(time_us // US_PER_S, DAY_S)
        return expected_scale(self._model, self.truth(day), self._row(symbol), second, horizon_s)

    def law(self, symbol: str, at_s: int, horizon_s: int, paths: int = 2_000) -> SecondLaw | SampledLaw:
        """The true law of the log return over `[at_s, at_s + horizon_s)`, given the true state at `at_s` and nothing of what comes.

        Closed for one second, else by `paths` futures drawn from it (see `synthetic_law`); equal for equal arguments. At 2 days
        2,000 futures take half a second.
        """
        day, second = divmod(at_s, DAY_S)
        truth, row = self.truth(day), self._row(symbol)
        if horizon_s == 1:
            return second_law(self._model, truth, row, second)
        drawn = draw_returns(self._model, [(truth, second)], row, horizon_s, paths, self.seed + at_s)
        return SampledLaw(horizon_s, expected_scale(self._model, truth, row, second, horizon_s), np.sort(drawn[0]))

    def futures(self, symbol: str, at_s: Sequence[int], horizon_s: int, paths: int, step_s: int = 0) -> Floats:
        """Futures of many moments at once, shape [moment, path]: what `law` draws, many times as fast."""
        starts = [(self.truth(at // DAY_S), at % DAY_S) for at in at_s]
        return draw_returns(self._model, starts, self._row(symbol), horizon_s, paths, self.seed + at_s[0], step_s)

    def _row(self, symbol: str) -> int:
        row = self._index.get(symbol)
        if row is None:
            raise ConfigError(f"{symbol} is not in the synthetic market; it has {', '.join(self.symbols)}")
        return row

    def _tapes(self, symbol: str, start_us: int, end_us: int) -> list[HourTape]:
        first = max(start_us, self.first_us) // HOUR_US
        return [self.hour(symbol, hour) for hour in range(first, -(-end_us // HOUR_US))]

    def _from_id(self, symbol: str, first_id: int, limit: int, before_us: int, by_fill: bool) -> TradeBatch:
        row = self._row(symbol)
        self.truth(max(self.first_day, (before_us - 1) // DAY_US))
        days = sorted(self._starts)
        firsts = [(self._starts[day].next_fill_id if by_fill else self._starts[day].next_id)[row] for day in days]
        day = days[max(0, bisect_right(firsts, first_id) - 1)]
        hour = self._hour_of(row, day, first_id, by_fill)
        parts: list[TradeBatch] = []
        found = 0
        while hour * HOUR_US < before_us and found < limit:
            trades = self.hour(symbol, hour).trades
            known = trades.last_id if by_fill else trades.id
            rows = slice(int(np.searchsorted(known, first_id)), int(np.searchsorted(trades.time_us, before_us)))
            parts.append(trades[rows][: limit - found])
            found += len(parts[-1])
            hour += 1
        return concatenated(parts)

    def _hour_of(self, row: int, day: int, first_id: int, by_fill: bool) -> int:
        """The hour that holds an id which belongs to this day (or to one before the market began)."""
        truth = self.truth(day)
        counts = truth.trades[row].astype(np.int64)
        if by_fill:
            counts = counts + truth.extra_fills[row]
        start = truth.start.next_fill_id[row] if by_fill else truth.start.next_id[row]
        ends = start + np.cumsum(counts.reshape(24, HOUR_S).sum(axis=1))
        return day * 24 + min(23, int(np.searchsorted(ends, first_id, "right")))


def _rows(time_us: NDArray[np.int64], start_us: int, end_us: int) -> slice:
    return slice(int(np.searchsorted(time_us, start_us)), int(np.searchsorted(time_us, end_us)))


def _joined_quotes(parts: Sequence[QuoteBatch]) -> QuoteBatch:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return QuoteBatch(*(np.empty(0, np.int64) for _ in range(6)))
    return QuoteBatch(
        np.concatenate([part.time_us for part in parts]),
        np.concatenate([part.bid_e8 for part in parts]),
        np.concatenate([part.ask_e8 for part in parts]),
        np.concatenate([part.bid_quantity_e8 for part in parts]),
        np.concatenate([part.ask_quantity_e8 for part in parts]),
        np.concatenate([part.update_id for part in parts]),
    )
