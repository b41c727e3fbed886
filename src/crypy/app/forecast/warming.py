"""The start of a forecaster: the market of the last minutes, and which of them nobody has written down yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S
from crypy.forecasting.direction.facts import MS_PER_S
from crypy.forecasting.direction.minute_rows import bars_of_minutes
from crypy.marketdata.bars import Bars

Pair = tuple[str, int]
STEP_S = 60


class Warmth(NamedTuple):
    """`bars` [symbol] are history that is only looked back on, `rows` the minutes behind it that are taken one by one. `recorded` has the start of the last
    candle (and of the last fact) that needs no line, in milliseconds."""

    bars: dict[str, Bars]
    rows: list[dict[str, Candle | None]]
    recorded: dict[str, dict[Pair, int]]


def warmth_of(
    minutes: Mapping[str, tuple[Candle, ...]],
    timeframes_s: Iterable[int],
    recorded: Mapping[str, Mapping[Pair, int]],
) -> Warmth:
    """Split the last minutes of each symbol at the first candle that is not in the files; without any files, at the last minute."""
    start_s = min(had[0].open_time_us for had in minutes.values()) // US_PER_S
    end_s = min(had[-1].close_time_us for had in minutes.values()) // US_PER_S
    pairs = [(symbol, timeframe_s) for symbol in minutes for timeframe_s in timeframes_s]
    filled: dict[str, dict[Pair, int]] = {}
    since_s = end_s
    for kind in ("candles", "facts"):
        known = recorded.get(kind, {})
        since_s = min(since_s, *(known[pair] // MS_PER_S + 2 * pair[1] for pair in pairs if pair in known), since_s)
        # What was never written begins with the last minute.
        filled[kind] = {pair: known.get(pair, (end_s - STEP_S - pair[1]) * MS_PER_S) for pair in pairs}
    split_s = min(max(since_s - STEP_S, start_s + STEP_S), end_s - STEP_S)
    bars = {symbol: bars_of_minutes(symbol, start_s, split_s, had) for symbol, had in minutes.items()}
    by_open = {symbol: {one.open_time_us // US_PER_S: one for one in had} for symbol, had in minutes.items()}
    rows = [{symbol: had.get(open_s) for symbol, had in by_open.items()} for open_s in range(split_s, end_s, STEP_S)]
    return Warmth(bars, rows, filled)


def minutes_needed(recorded: Mapping[str, Mapping[Pair, int]], now_s: int, usual: int, most: int) -> int:
    """How many minutes to fetch: the usual number, and more where more have passed since the last line."""
    last_ms = [min(known.values()) for known in recorded.values() if known]
    away = (now_s - min(last_ms) // MS_PER_S) // STEP_S + 120 if last_ms else 0
    return min(most, usual + away)
