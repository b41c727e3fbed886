"""Candles of bars: by definition, whatever the pieces; against the venue's own; nothing after the moment counts."""

from __future__ import annotations

import gzip
import json
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from candle_kit import START_S, cut, intervals, markets, same, slow_candles
from hypothesis import given
from hypothesis import strategies as st
from trade_sets import random_bars

from crypy.domain.errors import DataError
from crypy.domain.events import Trade, parse_e8
from crypy.domain.times import US_PER_MS, US_PER_S, parse_time_us
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_files import read_candles
from crypy.marketdata.candle_fold import CandleSums, candles_of, regrouped
from crypy.marketdata.candles import Candles, joined
from crypy.marketdata.intervals import Interval, parse_interval
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.trades import TradeBatch

VALUES = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume", "missing_s", "closed")


@given(markets(), intervals())
def test_candles_are_what_the_definition_says(bars: Bars, interval: Interval) -> None:
    found, slow = candles_of("binance:BTCUSDT", bars, interval), slow_candles(bars, interval)
    edges = interval.edges(bars.start_s, bars.end_s) * US_PER_S
    assert (found.open_time_us.tolist(), found.close_time_us.tolist()) == (edges[:-1].tolist(), edges[1:].tolist())
    for name in VALUES:
        np.testing.assert_array_equal(getattr(found, name), [row[name] for row in slow], name)


@given(markets(), intervals(), st.lists(st.integers(0, 200), max_size=6))
def test_any_pieces_give_the_same_bits(bars: Bars, interval: Interval, cuts: list[int]) -> None:
    whole = candles_of("x", bars, interval)
    sums = CandleSums("x", interval, bars.start_s)
    borders = [0, *sorted(min(each, len(bars)) for each in cuts), len(bars)]
    pieces = [sums.add(cut(bars, first, stop)) for first, stop in pairwise(borders)]
    assert same(joined([*pieces, sums.running()]), whole)


@given(
    markets(), st.sampled_from((("1s", "1m"), ("10s", "1h"), ("1m", "1d"), ("2s", "10s"), ("1m", "1w"), ("1d", "1mo")))
)
def test_candles_of_candles_are_candles_of_their_seconds(bars: Bars, lengths: tuple[str, str]) -> None:
    shorter, longer = (parse_interval(length) for length in lengths)
    assert same(regrouped(candles_of("x", bars, shorter), longer), candles_of("x", bars, longer))


@given(markets(), intervals(), st.data())
def test_nothing_after_a_moment_changes_what_was_known_then(
    bars: Bars, interval: Interval, data: st.DataObject
) -> None:
    at = data.draw(st.integers(1, len(bars)))
    rest = np.arange(len(bars)) >= at
    other = replace(
        bars,
        **{name: np.where(rest, getattr(bars, name) * 3 + 1, getattr(bars, name)) for name in VALUES[:8]},
    )
    known = candles_of("x", cut(bars, 0, at), interval)
    sums = CandleSums("x", interval, bars.start_s)
    early = joined([sums.add(cut(other, 0, at)), sums.running()])
    assert same(early, known)
    later = candles_of("x", other, interval)
    closed = int(known.closed.sum())
    assert same(later[:closed], known[:closed])
    assert known.closed[:closed].all()


@given(markets(most=120), st.lists(st.tuples(st.integers(0, 150), st.integers(1, 60)), max_size=4), intervals())
def test_seconds_that_are_unknown_are_counted_once(bars: Bars, gaps: list[tuple[int, int]], interval: Interval) -> None:
    unknown = [(bars.start_s + at, bars.start_s + at + length) for at, length in gaps]
    found = candles_of("x", bars, interval, unknown)
    seconds = {bars.start_s + i for i in np.flatnonzero(np.isnan(bars.close)).tolist()}
    seconds |= {each for begin, end in unknown for each in range(begin, end)}
    for row in range(len(found)):
        begin, end = int(found.open_time_us[row]) // US_PER_S, int(found.close_time_us[row]) // US_PER_S
        told = seconds | set(range(begin, bars.start_s))
        assert found.missing_s[row] == len(told & set(range(begin, min(end, bars.end_s))))
    np.testing.assert_array_equal(found.complete, found.closed & (found.missing_s == 0))


def test_a_hole_between_bars_is_missing_and_the_close_is_carried_through_it() -> None:
    bars = random_bars("X", START_S, 60, 1)
    sums = CandleSums("x", parse_interval("10s"), START_S)
    first = sums.add(cut(bars, 0, 25))
    later = sums.add(cut(bars, 52, 60))
    assert first.missing_s.tolist() == [0, 0]
    assert later.missing_s.tolist() == [5, 10, 10, 2]
    assert later.count[1:3].tolist() == [0, 0]
    assert later.open[1] == later.close[1] == later.high[2] == later.low[2] == bars.close[24]


def test_volumes_are_exact_where_floats_tell_and_close_by_beyond() -> None:
    volume = np.array([0.1, 0.2, 19_999_999.99999999, 1e12 + 0.25, 0.0])
    bars = replace(random_bars("X", 0, 5, 2), volume=volume, count=np.ones(5, np.int64))
    found = candles_of("x", bars, parse_interval("5s"))
    assert found.volume[0] == float("1000020000000.54999999")
    assert candles_of("x", cut(bars, 0, 2), parse_interval("2s")).volume[0] == 0.3


@pytest.mark.parametrize("name", ["volume", "quote_volume", "taker_buy_volume"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_volume_that_is_none_is_refused_and_nothing_is_taken(name: str, value: float) -> None:
    bars = random_bars("X", START_S, 40, 3)
    sums = CandleSums("binance:X", parse_interval("10s"), START_S)
    sums.add(cut(bars, 0, 15))
    broken = cut(bars, 15, 40)
    column = getattr(broken, name).copy()
    column[3] = value
    with pytest.raises(DataError, match=r"binance:X: the bar of 2025-03-09T06:00:18Z .* finite and not negative"):
        sums.add(replace(broken, **{name: column}))
    again = joined([sums.add(cut(bars, 15, 40)), sums.running()])
    assert same(again, candles_of("binance:X", bars, parse_interval("10s"))[1:])


def test_what_does_not_fit_is_refused_with_the_reason() -> None:
    minutes = random_bars("X", START_S, 120, 4, step_s=60)
    with pytest.raises(DataError, match=r"a candle of 90s begins at 2025-03-09T06:01:30Z, inside one of 60 s"):
        candles_of("x", minutes, parse_interval("90s"))
    hours = candles_of("x", minutes, parse_interval("1h"))
    with pytest.raises(DataError, match=r"a candle of 1d begins .*, inside one of 1h"):
        regrouped(hours, parse_interval("1d", "6h30m"))
    sums = CandleSums("x", parse_interval("1h"), START_S)
    sums.add(minutes)
    with pytest.raises(DataError, match="came after those up to"):
        sums.add(minutes)


def test_nothing_gives_nothing() -> None:
    sums = CandleSums("x", parse_interval("1h"), START_S)
    assert len(sums.add(cut(random_bars("X", START_S, 5, 1), 0, 0))) == len(sums.running()) == 0
    assert len(regrouped(sums.running(), parse_interval("1d"))) == 0


@pytest.mark.parametrize(
    ("length", "offset", "zone", "freq", "pandas_offset"),
    [
        ("15m", "", "UTC", "15min", None), ("4h", "1h", "UTC", "4h", "1h"), ("1d", "16h", "UTC", "24h", "16h"),
        ("1w", "", "UTC", "W-MON", None), ("1mo", "", "UTC", "MS", None), ("7h", "", "UTC", "7h", None),
        ("1d", "", "America/New_York", "D", None), ("1w", "", "America/New_York", "W-MON", None), ("1mo", "", "Europe/Berlin", "MS", None),
    ],
)  # fmt: skip
def test_candles_are_those_of_pandas_resample(
    length: str, offset: str, zone: str, freq: str, pandas_offset: str | None
) -> None:
    start_s = parse_time_us("2025-02-20") // US_PER_S
    bars = random_bars("X", start_s, 60 * 24 * 60, 5, step_s=60)
    bars = replace(bars, quote_volume=np.round(bars.quote_volume, 8))
    found = candles_of("x", bars, parse_interval(length, offset, zone))
    index = pd.to_datetime(start_s + np.arange(len(bars)) * 60, unit="s", utc=True).tz_convert(zone)
    frame = pd.DataFrame({name: getattr(bars, name) for name in VALUES[:8]}, index=index)
    traded = frame["count"] > 0
    origin = {"origin": "epoch", "offset": pandas_offset} if freq[0].isdigit() else {}
    groups = frame.where(traded).resample(freq, closed="left", label="left", **origin)
    theirs = groups.agg(
        {
            "open": "first",
            "high": "max",
            "low": "min",
            "close": "last",
            "volume": "sum",
            "quote_volume": "sum",
            "count": "sum",
        }
    )
    ours_at = pd.to_datetime(found.open_time_us, unit="us", utc=True).tz_convert(zone)
    assert ours_at.equals(theirs.index.as_unit("us"))
    for name in ("open", "high", "low", "close", "count"):
        np.testing.assert_array_equal(getattr(found, name), theirs[name], name)
    for name in ("volume", "quote_volume"):
        np.testing.assert_allclose(getattr(found, name), theirs[name], rtol=1e-12)


def recorded_trades(path: Path) -> TradeBatch:
    """The `@trade` messages of a recorded combined stream."""
    trades: list[Trade] = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            message = json.loads(line[line.index("{") :])
            data = message.get("data", message)
            if data.get("e") == "trade":
                price, quantity = parse_e8(data["p"]), parse_e8(data["q"])
                trades.append(
                    Trade(data["s"], data["t"], price, quantity, data["t"], data["t"], data["T"] * US_PER_MS, data["m"])
                )
    return TradeBatch.of(trades)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_candles_of_recorded_trades_are_the_venues_own(shared_data: Path, symbol: str) -> None:
    batch = recorded_trades(shared_data / f"raw_ws/binance_spot/{symbol.lower()}_20240808.gz")
    start_s, end_s = (parse_time_us(f"2024-08-{at}Z") // US_PER_S for at in ("08T23:54:00", "09T00:00:00"))
    ours = candles_of(f"binance:{symbol}", second_bars(symbol, [batch], start_s, end_s), parse_interval("1m"))
    history = read_candles(shared_data / f"klines_1m/binance_spot/{symbol}_1m_2024Q3.csv.gz", symbol).bars
    first = (start_s - history.start_s) // 60
    for minute in range(1, 6):
        for name in ("open", "high", "low", "close", "volume"):
            assert getattr(ours, name)[minute] == getattr(history, name)[first + minute], (minute, name)
    assert ours.count[1:].sum() > 4_000


def test_recorded_minutes_make_the_venues_quarter_hours(shared_data: Path) -> None:
    minutes = read_candles(shared_data / "klines_1m/binance_spot/BTCUSDT_1m_2025Q1.csv.gz", "BTCUSDT").bars
    ours = candles_of("binance:BTCUSDT", minutes, parse_interval("15m"))
    with zipfile.ZipFile(
        shared_data / "klines_15m/binance_spot_api/BTCUSDT_15m_20241230_20250928_weekly_json.zip"
    ) as archive:
        rows = [row for name in sorted(archive.namelist()) for row in json.loads(archive.read(name))]
    theirs = {row[0] * US_PER_MS: row for row in rows}
    assert len(ours) == 90 * 96
    for index, open_us in enumerate(ours.open_time_us.tolist()):
        row = theirs[open_us]
        assert [float(text) for text in row[1:6]] == [
            getattr(ours, name)[index] for name in ("open", "high", "low", "close", "volume")
        ]


def test_archived_minutes_make_hours_and_days_whose_sums_agree(shared_data: Path) -> None:
    """Quote volume and counts of a whole month, added up in exact decimals, apart from the fold."""
    path = shared_data / "archive_layout/binance_usdm_futures_klines/NEARUSDT-1m-2024-11.csv.gz"
    found = candles_of("binance:NEARUSDT", read_candles(path, "NEARUSDT").bars, parse_interval("1d"))
    days: dict[int, list[int]] = {}
    with gzip.open(path, "rt") as lines:
        next(lines)
        for line in lines:
            cells = line.split(",")
            sums = days.setdefault(int(cells[0]) // 86_400_000 * 86_400_000_000, [0, 0, 0, 0])
            for column, cell in enumerate((cells[5], cells[7], cells[8], cells[9])):
                sums[column] += parse_e8(cell)
    assert found.open_time_us.tolist() == sorted(days)
    columns = (found.volume, found.quote_volume, found.count, found.taker_buy_volume)
    for row, at in enumerate(sorted(days)):
        assert [float(column[row]) for column in columns] == [total / 1e8 for total in days[at]]


def test_a_row_is_a_candle_event() -> None:
    found = candles_of("binance:X", random_bars("X", START_S, 15, 6), parse_interval("10s"))
    events = [found.row(index) for index in range(2)]
    assert [event.closed for event in events] == [True, False]
    assert (events[0].symbol, events[0].open_time_us, events[0].count) == (
        "binance:X",
        START_S * US_PER_S,
        found.count[0],
    )
    assert isinstance(found, Candles)
