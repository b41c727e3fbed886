"""The candle store: whole, exact, closed candles only, and no trace of how they came."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kline_kit import files_of, make_candles, same

from crypy.domain.errors import ConfigError, DataError, NotMonotonic, SchemaMismatch
from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata import candle_parquet
from crypy.marketdata.candle_gaps import MissingCandles
from crypy.marketdata.candle_rows import CandleRows, in_open_order, interval_text, joined, require_interval, rows_of
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.trade_files import disk_fault

START_US = parse_time_us("2024-12-31T20:00:00Z")
MINUTES = make_candles(600, START_US, 60)
SECONDS = make_candles(20_000, START_US, 1)
EVER = (0, 2**62)


def filled(root: Path, rows: CandleRows, interval_s: int = 60) -> CandleStore:
    store = CandleStore(root)
    store.append("binance", "BTCUSDT", interval_s, rows)
    return store


def everything(store: CandleStore, interval_s: int = 60) -> CandleRows:
    return store.candles("binance", "BTCUSDT", interval_s, *EVER)


@pytest.mark.parametrize(
    ("rows", "interval_s", "files"),
    [
        (SECONDS, 1, ["2024-12-31.parquet", "2025-01-01.parquet"]),
        (MINUTES, 60, ["2024-12.parquet", "2025-01.parquet"]),
    ],
)
def test_what_is_stored_comes_back_exactly(tmp_path: Path, rows: CandleRows, interval_s: int, files: list[str]) -> None:
    store = filled(tmp_path, rows, interval_s)
    assert same(everything(CandleStore(tmp_path), interval_s), rows)
    assert sorted(path.name for path in tmp_path.rglob("*.parquet")) == files
    middle = START_US + 5 * 3_600 * US_PER_S
    wanted = (rows.open_time_us >= START_US + 60_000_000) & (rows.open_time_us < middle)
    part = store.candles("binance", "BTCUSDT", interval_s, START_US + 60_000_000, middle)
    assert same(part, rows[wanted])
    assert store.series() == (("binance", "BTCUSDT", interval_s),)
    assert len(everything(store, 300)) == 0


@settings(max_examples=12)
@given(st.data())
def test_order_grouping_and_repetition_leave_no_trace(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows = MINUTES[210:270]
    once = filled(tmp_path_factory.mktemp("once"), rows)
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(len(rows))
    again = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    shuffled = rows[np.concatenate([order, np.array(again, np.int64)])]
    pieces = CandleStore(tmp_path_factory.mktemp("pieces"))
    for begin, end in zip([0, *cuts], [*cuts, len(shuffled)], strict=True):
        part = shuffled[begin:end]
        if data.draw(st.booleans()):
            pieces.append("binance", "BTCUSDT", 60, part)
        else:
            pieces.ingest("binance", "BTCUSDT", 60, [in_open_order("these", part)])
    assert files_of(pieces.root) == files_of(once.root)
    for store in (once, pieces):
        assert store.coverage("binance", "BTCUSDT", 60, verify=True).gaps == ()
    assert pieces.facts("binance", "BTCUSDT", 60) == once.facts("binance", "BTCUSDT", 60)


def test_a_stream_that_ends_in_an_error_stores_nothing(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)

    def broken() -> object:
        yield SECONDS[:15_000]
        yield SECONDS[15_000:]
        raise DataError("the file is torn")

    with pytest.raises(DataError, match="torn"):
        store.ingest("binance", "BTCUSDT", 1, broken())  # type: ignore[arg-type]
    assert files_of(tmp_path) == {}
    assert not list((tmp_path / "staging").iterdir())


def test_gaps_are_named_by_open_time_and_a_halt_is_told_apart(tmp_path: Path) -> None:
    keep = np.ones(len(MINUTES), np.bool_)
    keep[[10, 11, 12, 300]] = False
    store = filled(tmp_path, MINUTES[keep])
    step_us = 60 * US_PER_S
    halt = MissingCandles(START_US + 11 * step_us, START_US + 13 * step_us, 60, "binance has none")
    store.note_absent("binance", "BTCUSDT", 60, [halt])
    found = store.missing("binance", "BTCUSDT", 60)
    assert [(span.first_open_us, span.count, span.reason) for span in found] == [
        (START_US + 10 * step_us, 1, ""),
        (START_US + 11 * step_us, 2, "binance has none"),
        (START_US + 300 * step_us, 1, ""),
    ]
    assert str(found[1]) == ("2 candles of 1m missing, 2024-12-31T20:11:00Z to 2024-12-31T20:13:00Z: binance has none")
    coverage = store.coverage("binance", "BTCUSDT", 60)
    assert [(gap.missing, gap.after_time_us) for gap in coverage.gaps] == [
        (1, START_US + 9 * step_us),
        (1, START_US + 299 * step_us),
    ]
    assert [(pause.from_us, pause.to_us) for pause in coverage.pauses] == [(START_US + 10 * step_us, halt.end_us)]
    assert not coverage.is_whole
    store.append("binance", "BTCUSDT", 60, MINUTES[~keep])
    assert CandleStore(tmp_path).missing("binance", "BTCUSDT", 60) == ()
    assert CandleStore(tmp_path).coverage("binance", "BTCUSDT", 60).is_whole


def test_minutes_between_long_candles_are_no_pauses(tmp_path: Path) -> None:
    store = filled(tmp_path, make_candles(400, START_US, 14_400), 14_400)
    coverage = store.coverage("binance", "BTCUSDT", 14_400)
    assert (coverage.rows, coverage.gaps, coverage.pauses, coverage.kind) == (400, (), (), "klines:4h")


def test_one_candle_told_in_two_ways_is_refused_and_the_period_stays(tmp_path: Path) -> None:
    store = filled(tmp_path, MINUTES)
    before = files_of(tmp_path)
    other = replace(MINUTES, count=MINUTES.count + (np.arange(len(MINUTES)) == 333))
    with pytest.raises(DataError, match=r"binance BTCUSDT 1m: the candle of 2025-01-01T01:33:00Z is told in two ways"):
        store.append("binance", "BTCUSDT", 60, other)
    with pytest.raises(DataError, match="told in two ways"):
        store.ingest("binance", "BTCUSDT", 60, [other])
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"open_time_us": MINUTES.open_time_us + 1}, "where none of 1m can open"),
        ({"low_e8": MINUTES.low_e8 * 0}, "prices must be positive"),
        ({"high_e8": MINUTES.low_e8 - 1}, "between low and high"),
        ({"count": MINUTES.count - 10_000}, "counts not negative"),
        ({"volume_e8": MINUTES.taker_buy_volume_e8 - 1}, "no more bought than traded"),
        ({"taker_buy_quote_volume_e8": MINUTES.quote_volume_e8 + 1}, "no more bought than traded"),
    ],
)
def test_what_is_no_candle_is_refused_before_anything_changes(
    tmp_path: Path, changed: dict[str, object], words: str
) -> None:
    store = CandleStore(tmp_path)
    with pytest.raises(DataError, match=words):
        store.append("binance", "BTCUSDT", 60, replace(MINUTES, **changed))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interval_s", [0, -60, 7, 86_401, 604_800])
def test_a_length_without_a_grid_in_the_day_is_refused(tmp_path: Path, interval_s: int) -> None:
    with pytest.raises(ConfigError, match="do not divide a day"):
        CandleStore(tmp_path).append("binance", "BTCUSDT", interval_s, MINUTES)


def test_lengths_are_written_as_venues_do() -> None:
    assert [interval_text(s) for s in (1, 15, 60, 90, 900, 3_600, 14_400, 86_400)] == [
        "1s", "15s", "1m", "90s", "15m", "1h", "4h", "1d",
    ]  # fmt: skip
    assert require_interval(900) == 900


def event(**changed: object) -> Candle:
    candle = Candle("XBTUSD", START_US, START_US + 60_000_000, 1.5, 2.0, 1.25, 1.75, 3.0, True, 5.1, 7, 1.0)
    return msgspec.structs.replace(candle, **changed)


def test_candle_events_become_exact_rows_and_come_back() -> None:
    candle = event(open=0.1 + 0.2, high=67_123.45, volume=92.123456789123)
    with pytest.raises(DataError, match=r"a price of 0\.30000000000000004; stored prices have at most eight decimals"):
        rows_of([candle])
    exact = event(open=0.3, high=67_123.45, low=0.00001234, volume=92.123456789123, quote_volume=6_183_000.12345678)
    rows = rows_of([exact])
    assert (rows.high_e8[0], rows.low_e8[0], rows.volume_e8[0]) == (6_712_345_000_000, 1_234, 9_212_345_679)
    [back] = rows.candles("XBTUSD", 60)
    assert back == msgspec.structs.replace(exact, volume=92.12345679)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"closed": False}, "is still open; only closed ones are stored"),
        ({"close": float("nan")}, "a price of nan"),
        ({"close": 1e12}, "are below 92,233,720,368"),
        ({"volume": float("inf")}, "a volume of inf"),
        ({"quote_volume": 1e11}, "a volume of 100000000000.0"),
    ],
)
def test_a_candle_event_that_cannot_be_stored_is_told(changed: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        rows_of([event(), event(**changed)])


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(bytes(data))


def test_damage_on_the_disk_is_found_and_named(tmp_path: Path) -> None:
    store = filled(tmp_path, MINUTES)
    [_, path] = sorted(tmp_path.rglob("*.parquet"))
    spoil(path)
    with pytest.raises(DataError, match=r"2025-01\.parquet: damaged .* run `crypy data sync`"):
        everything(store)
    with pytest.raises(DataError, match=r"2025-01\.parquet"):
        CandleStore(tmp_path).coverage("binance", "BTCUSDT", 60, verify=True)
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"2025-01\.parquet: damaged"):
        CandleStore(tmp_path).coverage("binance", "BTCUSDT", 60)


def test_rows_that_are_not_what_the_footer_says_are_found(tmp_path: Path) -> None:
    filled(tmp_path, MINUTES)
    [_, path] = sorted(tmp_path.rglob("*.parquet"))
    table = pq.read_table(path)
    column = table.schema.get_field_index("count")
    changed = table.set_column(column, table.schema.field(column), [table.column("count").to_numpy() + 1])
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    store = CandleStore(tmp_path)
    assert store.coverage("binance", "BTCUSDT", 60).is_whole
    with pytest.raises(DataError, match="its footer says"):
        store.coverage("binance", "BTCUSDT", 60, verify=True)


def test_a_parquet_file_of_somebody_else_is_not_taken_for_one_of_ours(tmp_path: Path) -> None:
    store = filled(tmp_path, MINUTES)
    [path, _] = sorted(tmp_path.rglob("*.parquet"))
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)
    with pytest.raises(SchemaMismatch, match="not a file of crypy's candle store"):
        store.coverage("binance", "BTCUSDT", 60)


def test_a_damaged_note_of_halts_says_what_to_do(tmp_path: Path) -> None:
    store = filled(tmp_path, MINUTES)
    next(tmp_path.rglob("*.lock")).with_name("absent.json").write_text("[[")
    with pytest.raises(DataError, match=r"absent\.json: damaged .* delete it"):
        store.coverage("binance", "BTCUSDT", 60)


def test_a_file_whose_rows_do_not_ascend_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(NotMonotonic, match="comes after"):
        candle_parquet.write_candles(tmp_path / "x.parquet", MINUTES[::-1], 60)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, MINUTES[:300])
    before = files_of(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(candle_parquet.pq, "write_table", full)
    with pytest.raises(ConfigError, match="no space left on its disk"):
        store.append("binance", "BTCUSDT", 60, MINUTES)
    assert files_of(tmp_path) == before
    assert not list(tmp_path.rglob("*.tmp"))
    assert "no space left" in str(disk_fault(tmp_path, OSError(errno.ENOSPC, "")))


def test_bars_carry_closes_name_holes_and_never_reach_past_their_end(tmp_path: Path) -> None:
    keep = np.ones(len(MINUTES), np.bool_)
    keep[50:60] = False
    store = filled(tmp_path, MINUTES[keep])
    start_s = START_US // US_PER_S
    found = store.bars("binance", "BTCUSDT", start_s - 60, start_s + 6_059, 60)
    assert found.kind == "klines:1m"
    assert (found.bars.start_s, found.bars.end_s, found.bars.step_s) == (start_s - 60, start_s + 6_000, 60)
    assert np.isnan(found.bars.close[0])
    assert found.bars.close[51:61].tolist() == [MINUTES.close_e8[49] / 1e8] * 10
    assert found.bars.count[51:61].tolist() == [0] * 10
    assert [(span.first_open_us // US_PER_S, span.count) for span in found.missing] == [
        (start_s - 60, 1),
        (start_s + 3_000, 10),
    ]
    later = store.bars("binance", "BTCUSDT", start_s + 3_300, start_s + 3_600, 60)
    assert later.bars.close.tolist() == [MINUTES.close_e8[49] / 1e8] * 5
    with pytest.raises(DataError, match="no candle of 1m lies between"):
        store.bars("binance", "BTCUSDT", start_s + 1, start_s + 119, 60)


def test_joined_rows_of_nothing_are_nothing() -> None:
    assert len(joined([])) == 0
    assert same(joined([MINUTES[:3], MINUTES[:0], MINUTES[3:]]), MINUTES)
