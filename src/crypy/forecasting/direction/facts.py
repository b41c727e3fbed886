"""Facts: what a candle's close did against the close before it. Nothing else ever judges a forecast."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from decimal import Decimal

from crypy.domain.errors import NotMonotonic
from crypy.domain.events import Candle
from crypy.domain.times import US_PER_MS, US_PER_S, iso
from crypy.forecasting.direction.records import TIMEFRAMES, FactRecord
from crypy.models.direction.port import Direction

MS_PER_S = US_PER_S // US_PER_MS


def outcome_of(close_prev: float, close_curr: float) -> int:
    """1 where the close is higher, -1 where it is lower, 0 where it is the same."""
    return (close_curr > close_prev) - (close_curr < close_prev)


def fact_of(
    symbol: str, timeframe_s: int, start_s: int, close_prev: float, close_curr: float, *, corrected: bool = False
) -> FactRecord:
    """The fact of the candle that starts at `start_s`, after the one before it closed at `close_prev`.

    >>> fact_of("BTCUSDT", 60, 1_735_689_660, 0.1, 0.3).delta
    0.2

    `delta` is the difference of the prices as they are printed (`0.3 - 0.1` of floats is not 0.2), so it is 0 exactly where they are equal.
    """
    directions: dict[int, Direction] = {1: "UP", -1: "DOWN", 0: "FLAT"}
    return FactRecord(
        symbol=symbol,
        timeframe=TIMEFRAMES[timeframe_s],
        prev_ts=(start_s - timeframe_s) * MS_PER_S,
        candle_ts=start_s * MS_PER_S,
        close_prev=close_prev,
        close_curr=close_curr,
        delta=float(Decimal(repr(close_curr)) - Decimal(repr(close_prev))),
        ret_bps=1e4 * (close_curr / close_prev - 1.0),
        direction=directions[outcome_of(close_prev, close_curr)],
        corrected=corrected,
    )


class FactWindow:
    """The last `last` facts of one symbol and timeframe, from closed candles in order; `take` gives only what is new.

    A candle that comes again gives nothing where it says the same and its fact again, `corrected`, where it says something else; so does the
    fact behind it, if it is known. After a hole the first candle has no fact: there is no close before it.
    """

    def __init__(self, symbol: str, timeframe_s: int, last: int = 5) -> None:
        self.symbol = symbol
        self.timeframe_s = timeframe_s
        self._closes: dict[int, float] = {}
        self._facts: deque[int] = deque(maxlen=last)

    @property
    def facts(self) -> list[FactRecord]:
        """The window, oldest first."""
        return [self._fact(start_s) for start_s in self._facts]

    def take(self, candle: Candle) -> list[FactRecord]:
        """A closed candle. Raises `NotMonotonic` for one older than all that are kept."""
        start_s = candle.open_time_us // US_PER_S
        if self._closes and start_s < next(iter(self._closes)):
            raise NotMonotonic(f"{self.symbol}: the candle of {iso(candle.open_time_us)} is older than the facts shown")
        known = self._closes.get(start_s)
        if known == candle.close:
            return []
        self._closes[start_s] = candle.close
        if known is not None:
            behind = (start_s, start_s + self.timeframe_s)
            return [self._fact(one, corrected=True) for one in behind if self._has(one)]
        # A late candle goes to its place, so that the oldest stays the first.
        self._closes = dict(sorted(self._closes.items())[-(self._facts.maxlen or 0) - 2 :])
        new = [one for one in (start_s, start_s + self.timeframe_s) if self._has(one) and one not in self._facts]
        self._facts = deque(sorted((*self._facts, *new)), maxlen=self._facts.maxlen)
        return [self._fact(one) for one in new]

    def _has(self, start_s: int) -> bool:
        return start_s in self._closes and start_s - self.timeframe_s in self._closes

    def _fact(self, start_s: int, *, corrected: bool = False) -> FactRecord:
        before, close = self._closes[start_s - self.timeframe_s], self._closes[start_s]
        return fact_of(self.symbol, self.timeframe_s, start_s, before, close, corrected=corrected)


def facts_of(symbol: str, timeframe_s: int, candles: Iterable[Candle], last: int) -> list[FactRecord]:
    """The last facts of candles in order."""
    window = FactWindow(symbol, timeframe_s, last)
    for candle in candles:
        window.take(candle)
    return window.facts


def fact_lines(facts: Sequence[FactRecord]) -> list[str]:
    """Each fact as a line for people: time, both closes, their difference, and the direction."""
    return [
        f"{iso(fact.candle_ts * US_PER_MS)}  {fact.symbol} {fact.timeframe}  {fact.close_prev!r} -> {fact.close_curr!r}  "
        f"delta {fact.delta:+.12g}  {fact.ret_bps:+.3f} bp  {fact.direction}{'  corrected' if fact.corrected else ''}"
        for fact in facts
    ]
