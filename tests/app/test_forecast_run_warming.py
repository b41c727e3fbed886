"""The start of a forecaster: which minutes are only looked back on, and which have to be written down."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, cast

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "forecasting" / "direction"))
from direction_kit import START_S, SYMBOLS, minute

from crypy.app.forecast.bybit import minutes_since
from crypy.app.forecast.lines import ForecastLines, forecast_line
from crypy.app.forecast.warming import minutes_needed, warmth_of
from crypy.domain.events import Candle
from crypy.features.indicators import LogReturn
from crypy.features.indicators.ewm_deviation import EwmDeviation
from crypy.features.indicators.ratio import Ratio
from crypy.forecasting.direction.records import PredictionRecord

TIMEFRAMES_S = (60, 300)
PAIRS = [(symbol, timeframe_s) for symbol in SYMBOLS for timeframe_s in TIMEFRAMES_S]


def had(first: int, stop: int, without: tuple[int, ...] = ()) -> dict[str, tuple[Candle, ...]]:
    return {
        symbol: tuple(minute(one, symbol) for one in range(first, stop) if one not in without) for symbol in SYMBOLS
    }


def start_ms(number: int) -> int:
    return (START_S + 60 * number) * 1_000


def last(one: int, five: int) -> dict[tuple[str, int], int]:
    return {(symbol, timeframe_s): start_ms(one if timeframe_s == 60 else five) for symbol, timeframe_s in PAIRS}


def test_a_first_start_writes_the_last_minute_and_nothing_of_the_past() -> None:
    warmth = warmth_of(had(0, 100), TIMEFRAMES_S, {})
    assert [len(bars) for bars in warmth.bars.values()] == [99, 99]
    assert [row["BTCUSDT"] for row in warmth.rows] == [minute(99)]
    assert warmth.recorded["candles"] == {pair: start_ms(98 if pair[1] == 60 else 94) for pair in PAIRS}


def test_what_closed_while_nobody_was_there_is_taken_minute_by_minute() -> None:
    warmth = warmth_of(had(0, 100), TIMEFRAMES_S, {"candles": last(89, 85), "facts": last(89, 85)})
    assert len(warmth.bars["BTCUSDT"]) == 90
    assert [row["ETHUSDT"] for row in warmth.rows] == [minute(one, "ETHUSDT") for one in range(90, 100)]
    # Five minutes that had not ended begin earlier than the first minute that is missing; its minutes are in the market all the same.
    assert warmth.recorded["facts"]["BTCUSDT", 300] == start_ms(85)


def test_a_crash_between_two_files_is_made_up_for() -> None:
    warmth = warmth_of(had(0, 100), TIMEFRAMES_S, {"candles": last(99, 95), "facts": last(96, 90)})
    assert len(warmth.rows) == 3


def test_a_missing_minute_is_a_hole_and_a_short_past_is_all_there_is() -> None:
    warmth = warmth_of(had(0, 100, without=(50, 98)), TIMEFRAMES_S, {"candles": last(10, 5), "facts": last(10, 5)})
    assert warmth.rows[-2]["BTCUSDT"] is None
    none = [row for row in warmth.rows if row["BTCUSDT"] is None]
    assert len(none) == 2
    long_away = warmth_of(had(400, 500), TIMEFRAMES_S, {"candles": last(10, 5), "facts": last(10, 5)})
    assert len(long_away.bars["BTCUSDT"]) == 1
    assert len(long_away.rows) == 99


def test_symbols_that_end_apart_are_cut_where_both_are() -> None:
    minutes = {"BTCUSDT": had(0, 100)["BTCUSDT"], "ETHUSDT": had(0, 99)["ETHUSDT"]}
    warmth = warmth_of(minutes, TIMEFRAMES_S, {})
    assert [row["BTCUSDT"] for row in warmth.rows] == [minute(98)]


async def test_symbols_that_are_answered_apart_begin_together() -> None:
    """A venue whose clock goes on between two answers: asked for the last minutes, the second symbol would begin later."""

    class Venue:
        category = "spot"
        number = 100

        async def candles(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> tuple[Candle, ...]:
            self.number += 1
            first, stop = (-(-(edge_us // 1_000_000 - START_S) // interval_s) for edge_us in (start_us, end_us))
            return had(first, min(stop, self.number))[symbol]

    found = await minutes_since(cast(Any, Venue()), SYMBOLS, START_S + 60, START_S + 6_030)
    assert {symbol: (one[0], one[-1]) for symbol, one in found.items()} == {
        "BTCUSDT": (minute(1), minute(100)), "ETHUSDT": (minute(1, "ETHUSDT"), minute(100, "ETHUSDT"))
    }  # fmt: skip


def test_so_many_minutes_are_fetched_as_features_and_absence_need() -> None:
    now_s = START_S + 6_000
    assert minutes_needed({}, now_s, 1_440, 10_080) == 1_440
    assert minutes_needed({"candles": last(50, 45)}, now_s, 1_440, 10_080) == 1_440 + 55 + 120
    assert minutes_needed({"candles": last(50, 45)}, now_s + 10**8, 1_440, 10_080) == 10_080
    slow = EwmDeviation(LogReturn(5), 60.0)
    assert LogReturn(5).rows_needed == 6
    assert Ratio(LogReturn(1), slow).rows_needed == slow.warm_up + 5


def test_a_reader_that_goes_away_stops_no_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        tries = 0

        def write(self, text: str) -> int:
            self.tries += 1
            raise BrokenPipeError

    record = PredictionRecord(
        symbol="BTCUSDT", timeframe="1m", candle_ts=start_ms(0), p_up=0.5, p_down=0.4, direction="UP", raw_p_up=0.5, raw_p_down=0.4,
        model="m", version="1", horizon_s=60, made_us=0, latency_us=1_500, missing=2,
    )  # fmt: skip
    assert (
        forecast_line(record)
        == "2025-01-01T00:00:00Z  BTCUSDT 1m   up 0.5000  down 0.4000  UP    1.5 ms  2 minutes missing"
    )
    lines, gone = ForecastLines(), Gone()
    monkeypatch.setattr(sys, "stdout", gone)
    lines(record)
    lines(record)
    assert gone.tries == 1
