"""Forecast(t) meets the fact of t + 1 and nothing else; lines that cannot be true are refused by file and number."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import DataError
from crypy.forecasting.direction.facts import fact_of
from crypy.forecasting.direction.matching import Key, Series, matched
from crypy.forecasting.direction.record_lines import Line, candle_lines, fact_lines, prediction_lines
from crypy.forecasting.direction.records import CandleRecord, FactRecord, PredictionRecord

START_MS = 1_735_689_600_000
MINUTE_MS = 60_000
KEY = Key("BTCUSDT", "1m")


def close(number: int) -> float:
    return 100.0 + (number * 5 % 11)


def told(number: int, **changed: Any) -> PredictionRecord:
    """A forecast made one second after candle `number` closed."""
    ts = START_MS + number * MINUTE_MS
    values: dict[str, Any] = {
        "symbol": "BTCUSDT", "timeframe": "1m", "candle_ts": ts, "p_up": 0.5, "p_down": 0.4, "direction": "UP", "raw_p_up": 0.6,
        "raw_p_down": 0.3, "model": "m", "version": "1", "horizon_s": 60, "made_us": (ts + MINUTE_MS + 1_000) * 1_000, "latency_us": 5,
    }  # fmt: skip
    return PredictionRecord(**(values | changed))


def came(number: int, **changed: Any) -> FactRecord:
    """What candle `number` did against the one before."""
    fact = fact_of("BTCUSDT", 60, (START_MS + number * MINUTE_MS) // 1_000, close(number - 1), close(number))
    return msgspec.structs.replace(fact, **changed)


def lines(records: Sequence[Any], name: str) -> list[Line[Any]]:
    return [Line(f"{name}, line {number}", record) for number, record in enumerate(records, 1)]


def join(predictions: Sequence[PredictionRecord], facts: Sequence[FactRecord]) -> dict[Key, Series]:
    return matched(lines(predictions, "predictions.jsonl"), lines(facts, "facts.jsonl"))


def test_each_forecast_meets_the_fact_of_the_next_candle() -> None:
    series = join([told(number) for number in range(10)], [came(number) for number in range(1, 10)])[KEY]
    assert len(series.calls) == 9
    assert series.waiting == 1
    assert series.models == ("m 1",)
    expected = [np.sign(close(number + 1) - close(number)) for number in range(9)]
    assert series.calls.outcome.tolist() == expected
    assert series.calls.origins_s.tolist() == [(START_MS + (number + 1) * MINUTE_MS) // 1_000 for number in range(9)]
    assert series.calls.raw_up.tolist() == pytest.approx([2 / 3] * 9)
    # The row of a forecast is the candle at whose close it was made.
    assert series.closes[series.rows].tolist() == [close(number) for number in range(9)]


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(1, 42), min_size=1))
def test_whatever_is_missing_no_forecast_meets_another_fact(forecasts: set[int], facts: set[int]) -> None:
    series = join([told(number) for number in sorted(forecasts)], [came(number) for number in sorted(facts)])[KEY]
    both = sorted(number for number in forecasts if number + 1 in facts)
    assert series.calls.origins_s.tolist() == [START_MS // 1_000 + 60 * (number + 1) for number in both]
    assert series.calls.move_bp.tolist() == [came(number + 1).ret_bps for number in both]
    assert series.waiting == len(forecasts) - len(both)


def test_symbols_and_timeframes_do_not_meet() -> None:
    five = told(0, timeframe="5m", horizon_s=300, made_us=(START_MS + 301_000) * 1_000)
    eth = told(0, symbol="ETHUSDT")
    found = join([told(0), five, eth], [came(1)])
    assert [(key, len(one.calls)) for key, one in found.items()] == [
        (("BTCUSDT", "1m"), 1),
        (("BTCUSDT", "5m"), 0),
        (("ETHUSDT", "1m"), 0),
    ]


def test_what_is_told_twice_counts_once_whatever_the_clock_said() -> None:
    again = told(1, made_us=told(1).made_us + 900, latency_us=77)
    series = join([told(0), told(1), again, told(2)], [came(1), came(2), came(2), came(3)])[KEY]
    assert len(series.calls) == 3


def test_a_corrected_fact_replaces_the_one_before() -> None:
    mended = fact_of("BTCUSDT", 60, (START_MS + MINUTE_MS) // 1_000, close(0), close(0) - 1.0, corrected=True)
    series = join([told(0), told(1)], [came(1), came(2), mended])[KEY]
    assert series.calls.outcome.tolist()[0] == -1
    assert series.closes[1] == close(0) - 1.0


def test_forecasts_within_a_candle_are_left_out() -> None:
    within = told(1, intra=True, made_us=(START_MS + MINUTE_MS + 30_000) * 1_000, p_up=0.2, direction="DOWN")
    series = join([told(0), within, told(1)], [came(1), came(2)])[KEY]
    assert (len(series.calls), series.intra) == (2, 1)


def test_a_forecast_made_when_its_fact_was_known_is_no_forecast() -> None:
    late = told(1, made_us=(START_MS + 3 * MINUTE_MS) * 1_000)
    series = join([told(0), late, told(2)], [came(1), came(2), came(3)])[KEY]
    assert (len(series.calls), series.late) == (2, 1)


def test_times_that_are_off_by_a_candle_are_refused() -> None:
    early = [told(number, made_us=told(number - 1).made_us) for number in range(5)]
    with pytest.raises(DataError, match=r"predictions.jsonl, line 1: .* before the candle's close .* not marked intra"):
        join(early, [came(1)])
    behind = [told(number, made_us=told(number + 1).made_us) for number in range(5)]
    with pytest.raises(DataError, match=r"predictions.jsonl, line 1: .* their times are off by a candle or more"):
        join(behind, [came(number) for number in range(1, 6)])


BAD_PREDICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"candle_ts": START_MS + 2 * MINUTE_MS + 1}, "where no candle of 1m starts"),
    ({"candle_ts": (START_MS + 2 * MINUTE_MS) // 1_000}, "no time in milliseconds"),
    ({"candle_ts": (START_MS + 2 * MINUTE_MS) * 1_000}, "no time in milliseconds"),
    ({"horizon_s": 300}, "horizon_s is 300, and a candle of 1m has 60 seconds"),
    ({"p_up": 0.7, "p_down": 0.4}, "p_up is 0.7 and p_down 0.4"),
    ({"p_up": 1.5, "p_down": -0.5}, "p_up is 1.5"),
    ({"raw_p_up": -0.1}, "raw_p_up is -0.1"),
    ({"direction": "DOWN"}, "direction is DOWN with p_up 0.5 and p_down 0.4"),
    (
        {"candle_ts": START_MS, "made_us": (START_MS + 61_000) * 1_000, "p_up": 0.45},
        "another forecast of BTCUSDT 1m .* line 1",
    ),
    (
        {"candle_ts": START_MS - MINUTE_MS, "made_us": (START_MS + 1_000) * 1_000},
        "comes after .* line 2; lines .* go forward",
    ),
]


@pytest.mark.parametrize(("changed", "said"), BAD_PREDICTIONS)
def test_a_forecast_that_cannot_be_is_refused_by_its_line(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=rf"^predictions\.jsonl, line 3: .*{said}"):
        join([told(0), told(1), told(2, **changed)], [came(1)])


BAD_FACTS: list[tuple[dict[str, Any], str]] = [
    ({"prev_ts": START_MS}, "no neighbours of 1m"),
    ({"candle_ts": START_MS + 2 * MINUTE_MS + 7}, "no candle of 1m starts"),
    ({"direction": "FLAT"}, "contradict the closes"),
    ({"delta": 3.5}, "contradict the closes"),
    ({"ret_bps": 1.0}, "contradict the closes"),
    ({"close_curr": 0.0}, "prices are above zero"),
    ({"close_prev": float("nan")}, "prices are above zero"),
]


@pytest.mark.parametrize(("changed", "said"), BAD_FACTS)
def test_a_fact_that_cannot_be_is_refused_by_its_line(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=rf"^facts\.jsonl, line 2: .*{said}"):
        join([told(0)], [came(1), came(2, **changed)])


def test_two_facts_of_one_candle_need_a_mark() -> None:
    other = fact_of("BTCUSDT", 60, (START_MS + MINUTE_MS) // 1_000, close(0), close(0) - 1.0)
    with pytest.raises(
        DataError, match=r"facts\.jsonl, line 2: another fact of BTCUSDT 1m .* line 1, and neither is marked corrected"
    ):
        join([told(0)], [came(1), other])


def test_facts_that_go_back_in_time_are_refused() -> None:
    with pytest.raises(DataError, match=r"facts\.jsonl, line 2: candle .* comes after .* line 1"):
        join([told(0)], [came(2), came(1)])


def test_files_are_read_in_order_and_a_damaged_line_is_named(tmp_path: Path) -> None:
    encode: Callable[[Any], bytes] = msgspec.json.encode
    (tmp_path / "predictions-2025-01-01.jsonl").write_bytes(encode(told(0)) + b"\n" + encode(told(1)) + b"\n")
    (tmp_path / "predictions.jsonl").write_bytes(encode(told(2)) + b"\n" + encode(told(3))[:40])
    (tmp_path / "facts.jsonl").write_bytes(b"".join(encode(came(number)) + b"\n" for number in (1, 2, 3)))
    candle = CandleRecord(
        symbol="BTCUSDT",
        timeframe="1m",
        ts_start=START_MS - MINUTE_MS,
        ts_end=START_MS - 1,
        o=1,
        h=1,
        l=1,
        c=99.0,
        volume=1,
        turnover=1,
        confirmed=True,
    )
    (tmp_path / "candles.jsonl").write_bytes(encode(candle) + b"\n")
    found = matched(prediction_lines(tmp_path), fact_lines(tmp_path), candle_lines(tmp_path))[KEY]
    assert len(found.calls) == 3
    assert found.closes[0] == 99.0
    with (tmp_path / "facts.jsonl").open("ab") as file:
        file.write(b'{"symbol": "BTCUSDT"}\n')
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'facts.jsonl'}, line 4 is no line of facts")):
        matched(prediction_lines(tmp_path), fact_lines(tmp_path))
