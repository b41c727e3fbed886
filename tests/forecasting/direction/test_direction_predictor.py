"""The closed-candle handler: what it asks, what it refuses, what it learns and when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from direction_kit import START_S, SYMBOLS, Momentum, Now, minute, predictor_of, row
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import Candle
from crypy.forecasting.direction.minute_rows import bars_of_minutes
from crypy.forecasting.direction.predictor import Close, Predictor
from crypy.forecasting.direction.records import PredictionRecord
from crypy.marketdata.candle_fold import candles_of
from crypy.marketdata.intervals import Interval
from crypy.models.direction.market import Market
from crypy.models.direction.online import Answer
from crypy.models.direction.port import FlatRule, Probabilities


class Order:
    """A learner that only says what the first member says, and keeps the order of what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def answer(self, end_s: int, asked: Mapping[str, tuple[float, float]], situation: Any) -> Answer | None:
        self.calls.append(("answer", end_s))
        return self.look(end_s, asked, situation)

    def look(self, end_s: int, asked: Mapping[str, tuple[float, float]], situation: Any) -> Answer | None:
        known = [one for one in asked.values() if not math.isnan(one[0])]
        return Answer(end_s, *known[0], *known[0], {}) if known else None

    def learn(self, end_s: int, outcome: int) -> None:
        self.calls.append((f"learn {outcome}", end_s))

    def settle(self) -> None:
        """Nothing to compute."""

    def kept(self) -> msgspec.Raw:
        return msgspec.Raw(b"{}")


def drive(predictor: Predictor, now: Now, numbers: range, missing: Mapping[int, str] | None = None) -> list[Close]:
    closes: list[Close] = []
    for number in numbers:
        at_us = now.at_close(number, 0.1)
        absent = [missing[number]] if missing and number in missing else []
        closes.append(predictor.close_minute(row(number, absent), at_us))
        predictor.settle()
    return closes


def forecasts(closes: list[Close]) -> list[PredictionRecord]:
    return [one for close in closes for one in close.predictions]


def test_every_timeframe_that_ends_is_forecast_for_every_symbol() -> None:
    now = Now()
    closes = drive(predictor_of(now), now, range(10))
    counted = [(len([one for one in close.predictions if one.timeframe == "5m"])) for close in closes]
    assert [len(close.predictions) for close in closes[:2]] == [0, 2], "one close has no return yet"
    assert counted == [0, 0, 0, 0, 0, 0, 0, 0, 0, 2], "the first five minutes have no five minutes before them"
    one = closes[9].predictions[0]
    assert one.candle_ts == (START_S + 9 * 60) * 1_000
    assert one.made_us >= (START_S + 600) * 1_000_000
    assert one.horizon_s == 60
    assert 0.0 < one.p_up + one.p_down <= 1.0
    assert (one.model, one.version) == ("momentum-60", "1")


def test_what_an_answer_takes_is_told_in_the_time_of_the_wall_however_fast_the_clock_runs() -> None:
    now = Now()

    class Slow(Momentum):
        def ask(self, market: Market, rows: NDArray[np.int64]) -> Probabilities:
            now.now_us += 600_000
            return super().ask(market, rows)

    predictor = predictor_of(now, (60,), members={"slow:1": Slow(60)}, speed=60.0)
    drive(predictor, now, range(1))
    arrived_us = now.at_close(1, 0.3)
    close = predictor.close_minute(row(1), arrived_us)
    assert [one.latency_us for one in close.predictions] == [10_000, 10_000]
    assert close.took_us == 10_000
    assert close.predictions[0].made_us == arrived_us + 600_000


def test_an_answer_stands_before_the_fact_of_its_close_is_learned() -> None:
    now, order = Now(), Order()
    predictor = predictor_of(now, (60,), {("BTCUSDT", 60): order})
    predictor.close_minute(row(0), now.at_close(0))
    predictor.close_minute(row(1), now.at_close(1))
    assert order.calls == [("answer", START_S + 60), ("answer", START_S + 120)], (
        "the fact of minute 1 is known and not yet learned"
    )
    predictor.settle()
    assert order.calls[-1] == ("learn -1", START_S + 60)
    predictor.settle()
    assert len(order.calls) == 3
    predictor.close_minute(row(2), now.at_close(2))
    predictor.close_minute(row(3), now.at_close(3))
    assert [call[0].split()[0] for call in order.calls[3:]] == ["answer", "learn", "answer"], (
        "a close settles the one before"
    )


def test_no_forecast_sees_anything_behind_its_close() -> None:
    """The same past with two futures gives the same forecasts up to where they part."""
    made: list[list[PredictionRecord]] = []
    for future in (100.0, 500.0):
        now = Now()
        predictor = predictor_of(now)
        closes = drive(predictor, now, range(12))
        for number in range(12, 15):
            at_us = now.at_close(number)
            changed = {
                symbol: minute(number, symbol, open=future, close=future, high=future, low=1.0) for symbol in SYMBOLS
            }
            closes.append(predictor.close_minute(changed, at_us))
        made.append(forecasts(closes))
    until = START_S + 12 * 60
    same = [[one for one in each if one.candle_ts / 1_000 + one.horizon_s <= until] for each in made]
    assert same[0] == same[1]
    assert made[0] != made[1]


def test_candles_of_longer_timeframes_are_the_folds_of_the_minutes_and_facts_their_closes() -> None:
    now = Now()
    closes = drive(predictor_of(now), now, range(15))
    fives = [one for close in closes for one in close.candles if one.timeframe == "5m" and one.symbol == "ETHUSDT"]
    bars = bars_of_minutes("ETHUSDT", START_S, START_S + 900, [minute(number, "ETHUSDT") for number in range(15)])
    folded = candles_of("ETHUSDT", bars, Interval(300, "s"))
    assert [one.c for one in fives] == folded.close.tolist()
    assert [one.h for one in fives] == folded.high.tolist()
    assert [one.volume for one in fives] == folded.volume.tolist()
    facts = [one for close in closes for one in close.facts if one.timeframe == "5m" and one.symbol == "ETHUSDT"]
    assert [(one.close_prev, one.close_curr) for one in facts] == [(fives[0].c, fives[1].c), (fives[1].c, fives[2].c)]


def test_a_missing_minute_is_counted_and_nothing_is_forecast_from_it() -> None:
    now = Now()
    predictor = predictor_of(now)
    closes = drive(predictor, now, range(10), {4: "ETHUSDT", 7: "BTCUSDT"})
    assert [one.symbol for one in closes[4].predictions] == ["BTCUSDT"]
    assert {(one.symbol, one.timeframe_s) for one in closes[4].skipped} >= {("ETHUSDT", 60), ("ETHUSDT", 300)}
    assert {one.reason for one in closes[4].skipped if one.symbol == "ETHUSDT"} == {
        "its last minute could not be had in time"
    }
    assert [one.missing for one in closes[5].predictions] == [1, 1]
    assert {one.missing for one in closes[9].predictions} == {2}
    candles = {(one.symbol, one.timeframe, one.ts_start // 1_000) for close in closes for one in close.candles}
    assert ("ETHUSDT", "5m", START_S) not in candles, "a candle with a hole is nobody's"
    facts = {(one.symbol, one.timeframe, one.candle_ts // 1_000) for close in closes for one in close.facts}
    assert ("BTCUSDT", "5m", START_S + 300) in facts, "both closes are known, whatever is missing between them"
    assert ("ETHUSDT", "5m", START_S + 300) not in facts
    assert ("ETHUSDT", "1m", START_S + 5 * 60) not in facts


def test_nothing_is_forecast_that_is_over_or_was_forecast_before() -> None:
    now = Now()
    predictor = predictor_of(now, answered={("BTCUSDT", 60): (START_S + 12 * 60) * 1_000})
    closes: list[Close] = []
    now.at_close(12, 30.0)
    for number in range(13):
        closes.append(predictor.close_minute(row(number), now.now_us))
    made = {(one.symbol, one.timeframe) for one in forecasts(closes)}
    assert made == {("BTCUSDT", "5m"), ("ETHUSDT", "5m"), ("ETHUSDT", "1m")}
    assert len(forecasts(closes)) == 3
    assert {one.reason for close in closes for one in close.skipped} >= {"the candle to forecast was over"}


def test_minutes_come_in_order_and_once() -> None:
    now = Now()
    predictor = predictor_of(now)
    drive(predictor, now, range(3))
    for wrong in (1, 2, 5):
        with pytest.raises(DataError, match="follow"):
            predictor.close_minute(row(wrong), now.now_us)
    assert predictor.market.rows == 3
    assert predictor.close_minute(row(3), now.at_close(3)).predictions


def test_a_correction_changes_candles_and_facts_and_later_forecasts_but_no_earlier_one() -> None:
    now = Now()
    predictor = predictor_of(now)
    drive(predictor, now, range(12))
    told = predictor.correct([minute(8, close=150.0, high=151.0)])
    assert {(one.timeframe, (one.ts_start // 1_000 - START_S) // 60) for one in told.candles} == {("1m", 8), ("5m", 5)}
    assert {(one.timeframe, (one.candle_ts // 1_000 - START_S) // 60) for one in told.facts} == {("1m", 8), ("1m", 9)}
    assert all(one.corrected for one in (*told.candles, *told.facts))
    assert (told.late, told.corrected, told.predictions) == (0, 1, ())
    assert predictor.correct([minute(8, close=150.0, high=151.0)]) == Close(predictor.market.end_s), "said already"
    assert predictor.correct([minute(40)]).candles == (), "not here yet"


def test_a_late_minute_fills_its_hole_as_if_it_had_never_been() -> None:
    whole_now, now = Now(), Now()
    whole, holed = predictor_of(whole_now), predictor_of(now)
    drive(whole, whole_now, range(12))
    drive(holed, now, range(12), {6: "ETHUSDT"})
    told = holed.correct([minute(6, "ETHUSDT")])
    assert told.late == 1
    assert {(one.timeframe, (one.candle_ts // 1_000 - START_S) // 60) for one in told.facts} == {("1m", 6), ("1m", 7)}
    want = whole.close_minute(row(12), whole_now.at_close(12)).predictions
    have = holed.close_minute(row(12), now.at_close(12)).predictions
    assert [(one.raw_p_up, one.missing) for one in have if one.symbol == "BTCUSDT"] == [
        (one.raw_p_up, 0) for one in want if one.symbol == "BTCUSDT"
    ]
    last = whole.market.values("ETHUSDT", Momentum(60)._feature, 0, 13)  # the column that the member reads
    assert last.tobytes() == holed.market.values("ETHUSDT", Momentum(60)._feature, 0, 13).tobytes()


def test_a_member_that_fails_costs_its_own_voice_only() -> None:
    now = Now()
    broken, sound = Momentum(60), Momentum(60, weight=-10.0)
    predictor = predictor_of(now, (60,), members={"broken": broken, "sound": sound})
    drive(predictor, now, range(3))
    broken.broken = True
    close = predictor.close_minute(row(3), now.at_close(3))
    assert [set(one.members) for one in close.predictions] == [{"sound"}, {"sound"}]
    assert "no number" in predictor.faults["broken"]
    broken.broken = False
    predictor.close_minute(row(4), now.at_close(4))
    assert predictor.faults == {}


def test_a_running_candle_is_forecast_from_without_a_trace() -> None:
    now, still = Now(), Now()
    predictor, untouched = predictor_of(now), predictor_of(still)
    drive(predictor, now, range(10))
    drive(untouched, still, range(10))
    running = {symbol: minute(10, symbol, close=103.0, high=104.0, closed=False) for symbol in SYMBOLS}
    made = predictor.intra(running, now.now_us)
    assert [(one.symbol, one.timeframe, one.intra) for one in made] == [
        ("BTCUSDT", "1m", True),
        ("ETHUSDT", "1m", True),
    ]
    assert made[0].candle_ts == (START_S + 600) * 1_000
    assert predictor.market.rows == 10
    want = untouched.close_minute(row(10), still.at_close(10)).predictions
    have = predictor.close_minute(row(10), now.at_close(10)).predictions
    assert [(one.p_up, one.p_down) for one in have] == [(one.p_up, one.p_down) for one in want]


def test_the_market_forgets_and_forecasts_as_before() -> None:
    now, other = Now(), Now()
    small, large = predictor_of(now, keep=64), predictor_of(other)
    few, many = drive(small, now, range(400)), drive(large, other, range(400))
    assert small.market.rows == 400
    assert small.market.first_row > 0
    assert [one.p_up for one in forecasts(few)] == [one.p_up for one in forecasts(many)]


def test_members_of_what_is_not_followed_are_refused() -> None:
    with pytest.raises(ConfigError, match="SOLUSDT"):
        predictor_of(Now(), (60,), members={"sol": Momentum(60, ("SOLUSDT",))})
    with pytest.raises(ConfigError, match="1m"):
        predictor_of(Now(), (60,), members={"hour": Momentum(3_600)})


def test_thresholds_decide_what_is_flat() -> None:
    now = Now()
    predictor = predictor_of(now, (60,), flat=FlatRule(0.99, 0.0))
    assert {one.direction for one in forecasts(drive(predictor, now, range(8)))} == {"FLAT"}
    predictor.flat = FlatRule(0.0, 0.0)
    assert {one.direction for one in predictor.close_minute(row(8), now.at_close(8)).predictions} <= {"UP", "DOWN"}


def test_replayed_minutes_give_the_bits_of_live_ones() -> None:
    """One by one, and behind a history that came at once: what a restart does."""
    now, again = Now(), Now()
    live = drive(predictor_of(now), now, range(60))
    restarted = predictor_of(again)
    bars = {
        symbol: bars_of_minutes(symbol, START_S, START_S + 1_800, [minute(number, symbol) for number in range(30)])
        for symbol in SYMBOLS
    }
    restarted.market.extend(bars)
    later = drive(restarted, again, range(30, 60))
    raw = {(one.symbol, one.timeframe, one.candle_ts): one.raw_p_up for one in forecasts(live[30:])}
    members = {(one.symbol, one.timeframe, one.candle_ts): one.raw_p_up for one in forecasts(later)}
    assert raw == members
    assert np.all(np.isfinite(list(raw.values())))


def test_a_candle_of_another_length_is_refused() -> None:
    predictor = predictor_of(Now())
    odd = Candle("BTCUSDT", START_S * 10**6, (START_S + 300) * 10**6, 1.0, 1.0, 1.0, 1.0, 1.0, True)
    with pytest.raises(DataError):
        predictor.close_minute({"BTCUSDT": odd, "ETHUSDT": None}, 0)
