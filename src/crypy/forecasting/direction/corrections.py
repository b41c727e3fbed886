"""Closed minutes that came late or say something else now: put into a market, and told as the candles and facts that are others by it. Pure.

The market is then as if it had always been so. One minute is part of a candle of each timeframe, and its close may begin the fact of the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S
from crypy.forecasting.direction.minute_rows import candle_at, fact_at, same_minute
from crypy.forecasting.direction.records import CandleRecord, FactRecord
from crypy.models.direction.market import Market


class Corrected(msgspec.Struct, frozen=True):
    """Candles and facts that are others now. `late` minutes were unknown before, `corrected` ones said something else."""

    candles: tuple[CandleRecord, ...]
    facts: tuple[FactRecord, ...]
    late: int
    corrected: int


def correct(market: Market, timeframes_s: Iterable[int], candles: Iterable[Candle]) -> Corrected:
    """Take minutes into the market. What is older than the rows held, or says nothing new, is left out."""
    followed = tuple(timeframes_s)
    found = {one: _known(market, one) for one in candles if _holds(market, one)}
    late = [one for one, known in found.items() if known is None or not same_minute(one, known)]
    touched = dict.fromkeys(each for one in late for each in _touched(market, followed, one))
    before = {each: _told(market, *each) for each in touched}
    for candle in late:
        market.state.corrected(candle.symbol, candle)
    changed = [(_told(market, *each), before[each]) for each in touched]
    unknown = sum(found[one] is None for one in late)
    return Corrected(
        tuple(told[0] for told, was in changed if told[0] is not None and told[0] != was[0]),
        tuple(told[1] for told, was in changed if told[1] is not None and told[1] != was[1]),
        late=unknown,
        corrected=len(late) - unknown,
    )


def _holds(market: Market, candle: Candle) -> bool:
    row = market.row_ending(candle.close_time_us // US_PER_S)
    return market.first_row <= row < market.rows and candle.symbol in market.symbols


def _known(market: Market, candle: Candle) -> CandleRecord | None:
    return candle_at(market, candle.symbol, 60, market.row_ending(candle.close_time_us // US_PER_S))


def _touched(market: Market, timeframes_s: Iterable[int], candle: Candle) -> Iterator[tuple[str, int, int]]:
    """Symbol, timeframe and last row of each closed candle that a minute is part of, and of the one behind it, whose fact begins at its close."""
    end_s = candle.close_time_us // US_PER_S
    for timeframe_s in timeframes_s:
        first_s = -(-end_s // timeframe_s) * timeframe_s
        for at_s in (first_s, first_s + timeframe_s):
            if at_s <= market.end_s:
                yield candle.symbol, timeframe_s, market.row_ending(at_s)


def _told(market: Market, symbol: str, timeframe_s: int, row: int) -> tuple[CandleRecord | None, FactRecord | None]:
    return (
        candle_at(market, symbol, timeframe_s, row, corrected=True),
        fact_at(market, symbol, timeframe_s, row, corrected=True),
    )
