"""The past again, minute by minute, through the handler that live uses: what would have been forecast, and how long it takes.

The clock stands at each minute's end while it is answered, so a replay of equal minutes gives equal records. Learners begin anew: nothing that
live has learned is read or written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from crypy.domain.errors import ConfigError
from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S, iso
from crypy.forecasting.direction.ports import LearnerPort, Situation
from crypy.forecasting.direction.predictor import KEEP, Close, Pair, Predictor, Skipped
from crypy.forecasting.direction.records import CandleRecord, FactRecord, PredictionRecord
from crypy.marketdata.bars import Bars
from crypy.models.direction.market import Market
from crypy.models.direction.port import FlatRule, Member


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a forecaster is made of; `learner_of` and `situation_of` make new ones, so that each run begins with nothing learned."""

    members: Mapping[str, Member]
    learner_of: Callable[[str, int], LearnerPort]
    flat: FlatRule
    timeframes_s: tuple[int, ...]
    situation_of: Callable[[], Situation | None] = lambda: None

    @property
    def pairs(self) -> list[Pair]:
        """Every (symbol, timeframe_s) that some member forecasts."""
        found = {(symbol, one.timeframe_s) for one in self.members.values() for symbol in one.symbols}
        return sorted(found, key=lambda pair: (pair[1], pair[0]))


@dataclass(slots=True)
class Replayed:
    """What the minutes in `[start_s, end_s)` gave. `took_us` is the wall's time of each, from the minute in hand to the answers and all that was learned."""

    start_s: int
    end_s: int
    candles: list[CandleRecord] = field(default_factory=list[CandleRecord])
    predictions: list[PredictionRecord] = field(default_factory=list[PredictionRecord])
    facts: list[FactRecord] = field(default_factory=list[FactRecord])
    skipped: list[Skipped] = field(default_factory=list[Skipped])
    faults: dict[str, str] = field(default_factory=dict[str, str])
    took_us: list[float] = field(default_factory=list[float])


def replay(
    recipe: Recipe,
    bars: Mapping[str, Bars],
    start_s: int,
    end_s: int,
    wall_us: Callable[[], float],
    on_close: Callable[[Close], object] = lambda _: None,
) -> Replayed:
    """Take the minutes of `[start_s, end_s)` one by one; those before are the warm-up, taken at once as a start does.

    `bars` are minutes of all symbols over one time. Raises `ConfigError` where they do not reach over the range.
    """
    first_s, last_s = common_time(bars)
    if not first_s <= start_s < end_s <= last_s:
        raise ConfigError(
            f"the minutes reach from {iso(first_s * US_PER_S)} to {iso(last_s * US_PER_S)}, and a replay was to go from"
            f" {iso(start_s * US_PER_S)} to {iso(end_s * US_PER_S)}"
        )
    market = Market(bars, first_s)
    now_us = [start_s * US_PER_S]
    predictor = Predictor(
        market,
        recipe.members,
        {pair: recipe.learner_of(*pair) for pair in recipe.pairs},
        recipe.flat,
        lambda: now_us[0],
        situation=recipe.situation_of(),
        timeframes_s=recipe.timeframes_s,
        # As much as the warm-up: what was enough to begin with is enough to go on.
        keep=max(KEEP, (start_s - first_s) // 60),
    )
    if start_s > first_s:
        market.extend({symbol: cut(one, first_s, start_s) for symbol, one in bars.items()})
        predictor.warm()
    out = Replayed(start_s, end_s)
    for minute in minutes(bars, start_s, end_s):
        now_us[0] = predictor.market.end_s * US_PER_S + 60 * US_PER_S
        begun_us = wall_us()
        close = predictor.close_minute(minute, now_us[0])
        predictor.settle()
        out.took_us.append(wall_us() - begun_us)
        out.candles += close.candles
        out.predictions += close.predictions
        out.facts += close.facts
        out.skipped += close.skipped
        on_close(close)
    out.faults = dict(predictor.faults)
    return out


def minutes(bars: Mapping[str, Bars], start_s: int, end_s: int) -> Iterator[dict[str, Candle | None]]:
    """The candles of each minute, `None` for one without a price."""
    for at_s in range(start_s, end_s, 60):
        yield {symbol: _candle(one, at_s) for symbol, one in bars.items()}


def cut(bars: Bars, start_s: int, end_s: int) -> Bars:
    """The bars inside `[start_s, end_s)`, which they reach over."""
    rows = slice((start_s - bars.start_s) // bars.step_s, (end_s - bars.start_s) // bars.step_s)
    return Bars(
        bars.symbol, start_s, bars.step_s,
        bars.open[rows], bars.high[rows], bars.low[rows], bars.close[rows],
        bars.volume[rows], bars.quote_volume[rows], bars.count[rows], bars.taker_buy_volume[rows],
    )  # fmt: skip


def common_time(bars: Mapping[str, Bars]) -> tuple[int, int]:
    """The seconds between which all of them have rows."""
    return max(one.start_s for one in bars.values()), min(one.end_s for one in bars.values())


def _candle(bars: Bars, at_s: int) -> Candle | None:
    row = (at_s - bars.start_s) // bars.step_s
    if np.isnan(bars.close[row]):
        return None
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    open_, high, low, close, volume = (float(column[row]) for column in columns)
    return Candle(
        bars.symbol,
        at_s * US_PER_S,
        (at_s + bars.step_s) * US_PER_S,
        open_,
        high,
        low,
        close,
        volume,
        True,
        float(bars.quote_volume[row]),
    )
