"""Memory-mapped second bars: made and extended from the store, and refused when they are not its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from history_kit import START_US, concatenated, make_trades
from hypothesis import given, settings
from hypothesis import strategies as st
from mapped_kit import audited, going_on, mapped_of

from crypy.domain.errors import ConfigError, DataError, Incomplete, SchemaMismatch
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.mapped_bars import MappedBars, mapped_folder, open_mapped_bars, update_mapped_bars
from crypy.marketdata.mapped_file import HEAD, Hole
from crypy.marketdata.ring import CLOSE, COUNT, HIGH, LOW, Ring
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_merge import taken
from crypy.marketdata.trades import TradeBatch

START_S = START_US // US_PER_S
SYMBOL = "BTCUSDT"


def store_with(folder: Path, trades: TradeBatch) -> TradeStore:
    store = TradeStore(folder)
    store.append("binance", SYMBOL, trades)
    return store


def before(trades: TradeBatch, seconds: float) -> TradeBatch:
    return taken(trades, trades.time_us < START_US + round(seconds * US_PER_S))


def same_rows(one: MappedBars, other: MappedBars) -> bool:
    """Whether both tell of the same seconds with the same bits."""
    rows = len(one)
    return (one.start_s, one.end_s, one.known_s, one.holes) == (other.start_s, other.end_s, other.known_s, other.holes) and all(
        np.array_equal(a, b)
        for a, b in (
            (one.columns.sums[:rows], other.columns.sums[:rows]),
            (one.columns.squares[:, :rows], other.columns.squares[:, :rows]),
            (one.columns.extremes[: rows // 64], other.columns.extremes[: rows // 64]),
        )
    )  # fmt: skip


def test_columns_are_those_of_a_ring_over_the_same_bars(tmp_path: Path) -> None:
    store = store_with(tmp_path, make_trades(30_000, seconds=1.4 * DAY_S))
    mapped = mapped_of(store, SYMBOL, base_steps_s=(60, 1))
    bars = store.bars("binance", SYMBOL, mapped.start_s, mapped.end_s)
    ring = Ring.of(bars, (1, 60))
    assert mapped.base_steps_s == (1, 60)
    numbers = np.arange(mapped.start_s, mapped.end_s) % ring.length
    for column in (CLOSE, HIGH, LOW):
        np.testing.assert_array_equal(mapped.columns.rows[: len(mapped), column], ring.rows[numbers, column])
    counts = np.diff(mapped.columns.sums[: len(mapped), COUNT], prepend=0)
    np.testing.assert_array_equal(counts, bars.count)
    known = mapped.known_s - mapped.start_s
    for k in range(2):
        ours = np.diff(mapped.columns.squares[k, known : len(mapped) : 60])
        np.testing.assert_array_equal(ours, np.diff(ring.squares[k, numbers[known::60]]))


def test_rows_end_before_the_second_of_the_newest_trade(tmp_path: Path) -> None:
    trades = make_trades(2_000, seconds=5_000)
    mapped = mapped_of(store_with(tmp_path, trades), SYMBOL)
    assert mapped.end_s == int(trades.time_us[-1]) // US_PER_S
    assert mapped.start_s == START_S
    assert mapped.known_s == int(trades.time_us[0]) // US_PER_S


@settings(max_examples=8)
@given(cuts=st.lists(st.floats(0.01, 3.2), min_size=1, max_size=4), seed=st.integers(0, 3))
def test_rows_are_the_same_however_the_store_grew(
    cuts: list[float], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    trades = make_trades(3_000, seconds=3.1 * DAY_S, seed=seed)
    folder = tmp_path_factory.mktemp("grown")
    store = TradeStore(folder / "grown")
    for cut in (*sorted(cuts), 4.0):
        some = before(trades, cut * DAY_S)
        if len(some) and int(some.time_us[-1]) // US_PER_S > START_S:
            store.append("binance", SYMBOL, some)
            mapped_of(store, SYMBOL)
    at_once = store_with(folder / "whole", trades)
    assert same_rows(mapped_of(store, SYMBOL), mapped_of(at_once, SYMBOL))


def test_growth_is_appended_to_the_same_file_and_leaves_open_readers_alone(tmp_path: Path) -> None:
    trades = make_trades(5_000, seconds=2.5 * DAY_S)
    store = store_with(tmp_path, before(trades, 1.2 * DAY_S))
    early = mapped_of(store, SYMBOL)
    seen = early.columns.sums[: len(early)].copy()
    store.append("binance", SYMBOL, trades)
    late = mapped_of(store, SYMBOL)
    assert late.head.file == early.head.file
    assert len(late) > len(early)
    np.testing.assert_array_equal(early.columns.sums[: len(early)], seen)
    folder = mapped_folder(store, "binance", SYMBOL)
    head = (folder / HEAD).stat()
    update_mapped_bars(store, SYMBOL)
    assert (folder / HEAD).stat().st_mtime_ns == head.st_mtime_ns, "nothing new: nothing is written"


def test_what_a_crash_left_behind_the_rows_that_count_is_written_over(tmp_path: Path) -> None:
    trades = make_trades(5_000, seconds=2.5 * DAY_S)
    store = store_with(tmp_path, before(trades, 1.2 * DAY_S))
    early = mapped_of(store, SYMBOL)
    path = mapped_folder(store, "binance", SYMBOL) / early.head.file
    with path.open("r+b") as file:
        for offset, length in early.head.places(len(early), len(early) + 5_000):
            file.seek(offset)
            file.write(b"\x7f" * length)
    assert same_rows(open_mapped_bars(path.parent), early), "no row that counts was touched"
    store.append("binance", SYMBOL, trades)
    late = mapped_of(store, SYMBOL)
    assert late.head.file == early.head.file
    assert same_rows(late, mapped_of(store, SYMBOL, folder=tmp_path / "anew"))


def test_a_correction_makes_a_new_file_and_old_readers_keep_theirs(tmp_path: Path) -> None:
    trades = make_trades(4_000, seconds=2.5 * DAY_S)
    lost = np.ones(len(trades), np.bool_)
    lost[100:120] = False
    store = store_with(tmp_path, taken(trades, lost))
    early = mapped_of(store, SYMBOL)
    seen = early.columns.sums[: len(early)].copy()
    store.append("binance", SYMBOL, trades)
    with pytest.raises(DataError, match="other trades of BTCUSDT on 2025-01-01"):
        open_mapped_bars(mapped_folder(store, "binance", SYMBOL), store)
    late = mapped_of(store, SYMBOL)
    assert late.head.file != early.head.file
    np.testing.assert_array_equal(early.columns.sums[: len(early)], seen)
    assert not np.array_equal(late.columns.sums[: len(early)], seen)
    assert [path.name for path in mapped_folder(store, "binance", SYMBOL).glob("bars-*")] == [late.head.file]
    assert same_rows(late, mapped_of(store_with(tmp_path / "whole", trades), SYMBOL))


def test_missing_trades_leave_a_hole_and_a_missing_day_another(tmp_path: Path) -> None:
    trades = make_trades(9_000, seconds=3 * DAY_S)
    at_s = trades.time_us // US_PER_S - START_S
    keep = ~((at_s >= 5_000) & (at_s < 6_000)) & (at_s // DAY_S != 1)
    mapped = mapped_of(store_with(tmp_path, taken(trades, keep)), SYMBOL)
    kept_s = at_s[keep] + START_S
    expected = []
    for from_s, to_s in ((5_000, 6_000), (DAY_S, 2 * DAY_S)):
        last = int(kept_s[kept_s < START_S + from_s].max())
        after = int(trades.time_us[keep][kept_s >= START_S + to_s].min())
        expected.append(Hole(last, after // US_PER_S + 1))
    assert mapped.holes == tuple(expected)
    assert [bool(day.fingerprint) for day in mapped.head.days] == [True, False, True]


def test_damage_is_told(tmp_path: Path) -> None:
    store = store_with(tmp_path, make_trades(3_000, seconds=1.5 * DAY_S))
    mapped = mapped_of(store, SYMBOL)
    folder = mapped_folder(store, "binance", SYMBOL)
    path = folder / mapped.head.file
    whole = path.read_bytes()

    flipped = bytearray(whole)
    flipped[4_096 + 8 * (DAY_S + 100)] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DataError, match="the rows of 2025-01-02 are damaged"):
        open_mapped_bars(folder)
    assert len(open_mapped_bars(folder, verify=False)) == len(mapped)

    path.write_bytes(whole[:-8])
    with pytest.raises(DataError, match="cut short"):
        open_mapped_bars(folder)

    path.write_bytes(b"x" * 4_096 + whole[4_096:])
    with pytest.raises(SchemaMismatch, match=r"not the file that head\.json beside it is of"):
        open_mapped_bars(folder)

    path.unlink()
    with pytest.raises(DataError, match="names a file that is not there"):
        open_mapped_bars(folder)
    assert same_rows(
        mapped_of(store, SYMBOL), mapped_of(store_with(tmp_path / "2", make_trades(3_000, seconds=1.5 * DAY_S)), SYMBOL)
    )


@pytest.mark.parametrize(("change", "says"), [
    (lambda head: {**head, "symbol": "ETHUSDT"}, "checksum does not fit"),
    (lambda head: {**head, "format": "other-1"}, "format 'other-1'"),
    (lambda head: {}, "not a head of mapped bars"),
])  # fmt: skip
def test_a_changed_head_is_refused(tmp_path: Path, change: object, says: str) -> None:
    store = store_with(tmp_path, make_trades(500, seconds=2_000))
    mapped_of(store, SYMBOL)
    path = mapped_folder(store, "binance", SYMBOL) / HEAD
    path.write_text(json.dumps(change(json.loads(path.read_text()))))  # type: ignore[operator]
    with pytest.raises(DataError, match=says):
        open_mapped_bars(path.parent)


def test_nothing_stored_and_nothing_mapped_are_told(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    with pytest.raises(Incomplete, match="nothing is stored of BTCUSDT; `crypy data sync"):
        update_mapped_bars(store, SYMBOL)
    with pytest.raises(Incomplete, match="no mapped bars are there"):
        open_mapped_bars(tmp_path / "nowhere")
    store.append("binance", SYMBOL, make_trades(500, seconds=2_000))
    with pytest.raises(ConfigError, match="at least one, each from 1 s to a day"):
        mapped_of(store, SYMBOL, base_steps_s=())
    mapped_of(store, SYMBOL)
    with pytest.raises(SchemaMismatch, match="made from aggTrades, the store holds trades"):
        open_mapped_bars(mapped_folder(store, "binance", SYMBOL), TradeStore(tmp_path, "trades"))


def test_a_file_that_is_full_is_copied_into_a_larger_one(tmp_path: Path) -> None:
    first = make_trades(2_000, seconds=1.5 * DAY_S)
    store = store_with(tmp_path, first)
    small = mapped_of(store, SYMBOL)
    later_us = START_US + 40 * DAY_S * US_PER_S
    more = going_on(first, make_trades(2_000, start_us=later_us, seconds=DAY_S, seed=3))
    store.append("binance", SYMBOL, more)
    large = mapped_of(store, SYMBOL)
    assert large.head.capacity > small.head.capacity
    np.testing.assert_array_equal(large.columns.sums[: len(small)], small.columns.sums[: len(small)])
    whole = store_with(tmp_path / "whole", concatenated([first, more]))
    assert same_rows(large, mapped_of(whole, SYMBOL))


def test_another_process_reads_the_same_rows(tmp_path: Path) -> None:
    store = store_with(tmp_path, make_trades(500, seconds=2_000))
    mapped = mapped_of(store, SYMBOL)
    program = (
        "import sys\nfrom pathlib import Path\nfrom crypy.marketdata.mapped_bars import open_mapped_bars\n"
        "bars = open_mapped_bars(Path(sys.argv[1]))\nprint(len(bars), int(bars.columns.sums[: len(bars)].sum()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(mapped_folder(store, "binance", SYMBOL))],
        capture_output=True, text=True, check=True, timeout=60.0,
    )  # fmt: skip
    assert told.stdout.split() == [str(len(mapped)), str(int(mapped.columns.sums[: len(mapped)].sum()))]


def test_mapped_rows_cannot_be_written_to(tmp_path: Path) -> None:
    mapped = mapped_of(store_with(tmp_path, make_trades(500, seconds=2_000)), SYMBOL)
    with pytest.raises(ValueError, match="read-only"):
        mapped.columns.rows[0, CLOSE] = 1.0


def test_what_was_not_audited_is_not_mapped_and_the_newest_day_waits(tmp_path: Path) -> None:
    trades = make_trades(5_000, seconds=2.5 * DAY_S)
    store = store_with(tmp_path, before(trades, 1.5 * DAY_S))
    with pytest.raises(
        DataError, match=r"2025-01-01 and 1 more days in .*: not audited.*crypy data audit --symbols BTCUSDT"
    ):
        update_mapped_bars(store, SYMBOL)
    audited(store, SYMBOL)
    early = update_mapped_bars(store, SYMBOL)
    store.append("binance", SYMBOL, before(trades, 1.6 * DAY_S))
    assert same_rows(update_mapped_bars(store, SYMBOL), early), "its last day stays as it was when it was audited"
    fresh = update_mapped_bars(store, SYMBOL, folder=tmp_path / "fresh")
    assert [(day.day, day.rows) for day in fresh.head.days] == [("2025-01-01", DAY_S)], "changed since: it waits"
    store.append("binance", SYMBOL, trades)
    with pytest.raises(DataError, match=r"2025-01-02 and 1 more days in .*: not audited"):
        update_mapped_bars(store, SYMBOL)
    late = mapped_of(store, SYMBOL)
    assert late.head.file == early.head.file
    assert same_rows(late, mapped_of(store, SYMBOL, folder=tmp_path / "anew"))
