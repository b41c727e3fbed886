"""Kline archives: every byte counts, real files read exactly, and damage told by file and line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from history_kit import zip_of
from hypothesis import given, settings
from hypothesis import strategies as st
from kline_kit import csv_of_candles, make_candles, same

from crypy.domain.errors import DataError
from crypy.domain.times import parse_time_us
from crypy.marketdata.candle_files import read_candles
from crypy.marketdata.candle_rows import CandleRows, joined
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.kline_archive import KlineParser, read_klines

START_US = parse_time_us("2024-12-31T23:59:00Z")
ROWS = make_candles(300, START_US, 1)
CSV = csv_of_candles(ROWS, 1)


def parsed(pieces: list[bytes], interval_s: int = 1, batch_rows: int = 64) -> CandleRows:
    parser = KlineParser("X-1s-2025-01-01.csv", interval_s, batch_rows)

    def batches() -> Iterator[CandleRows]:
        for piece in pieces:
            yield from parser.feed(piece)
        yield from parser.finish()

    return joined(batches())


@settings(max_examples=40)
@given(st.lists(st.integers(0, len(CSV)), max_size=8), st.integers(1, 400))
def test_a_file_cut_anywhere_gives_the_same_rows(cuts: list[int], batch_rows: int) -> None:
    edges = [0, *sorted(cuts), len(CSV)]
    pieces = [CSV[begin:end] for begin, end in pairwise(edges)]
    assert same(parsed(pieces, batch_rows=batch_rows), ROWS)


@pytest.mark.parametrize(
    "text",
    [
        CSV.replace(b"\n", b"\r\n"),
        CSV.rstrip(b"\n"),
        b"open_time,open,high,low,close,volume,close_time,quote_volume,count,tb,tbq,ignore\n" + CSV,
        b"\xef\xbb\xbfopen_time,open,high\n" + CSV,
        CSV.replace(b"\n", b"\n\n"),
        CSV.replace(b".00000000,", b","),
        csv_of_candles(ROWS, 1, 1_000),
        csv_of_candles(ROWS, 1, 1),
    ],
)
def test_what_files_may_do_otherwise_is_no_difference(text: bytes) -> None:
    assert same(parsed([text]), ROWS)


LINE = CSV.split(b"\n")[100]
CELLS = LINE.split(b",")


def with_cell(column: int, cell: bytes) -> bytes:
    return b",".join([*CELLS[:column], cell, *CELLS[column + 1 :]])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (with_cell(0, b"17356896000"), "open time is neither milliseconds"),
        (with_cell(0, b"x"), "open time is neither milliseconds"),
        (with_cell(1, b"-1.0"), "open is not a non-negative number"),
        (with_cell(2, b"NaN"), "high is not a non-negative number"),
        (with_cell(3, b""), "low is not a non-negative number"),
        (with_cell(4, b"1e5"), "close is not a non-negative number"),
        (with_cell(4, b"1."), "close is not a non-negative number"),
        (with_cell(5, b"92233720369.0"), "volume is too large"),
        (with_cell(5, b"1.123456789"), "volume has more than eight decimals"),
        (with_cell(6, b"12"), "close time is neither milliseconds"),
        (with_cell(8, b"1.5"), "count is not a non-negative number"),
        (with_cell(10, b"+1"), "taker buy quote volume is not a non-negative number"),
        (b",".join(CELLS[:7]), "close time ends the line too early"),
        (LINE + b",9", "line has too many fields"),
        (b"\x00" * 50, "open time is neither milliseconds"),
    ],
)
def test_a_damaged_line_is_told_by_file_and_number(line: bytes, words: str) -> None:
    lines = CSV.split(b"\n")
    lines[100] = line
    with pytest.raises(DataError, match=rf"X-1s-2025-01-01\.csv line 101: {words}"):
        parsed([b"\n".join(lines)])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([5, 6, 6, 7], "2024-12-31T23:59:06Z comes again"),
        ([5, 7, 6], "2024-12-31T23:59:06Z comes again, or after a later one"),
    ],
)
@pytest.mark.parametrize("batch_rows", [1, 64])
def test_rows_out_of_order_are_told(lines: list[int], words: str, batch_rows: int) -> None:
    text = CSV.split(b"\n")
    with pytest.raises(DataError, match=words):
        parsed([b"\n".join(text[line] for line in lines)], batch_rows=batch_rows)


def test_candles_of_another_length_are_not_read_as_these() -> None:
    minutes = csv_of_candles(make_candles(5, parse_time_us("2025-01-01"), 60), 60)
    with pytest.raises(DataError, match="ends at 2025-01-01T00:01:00Z; a file of 1s was expected"):
        parsed([minutes])
    with pytest.raises(DataError, match="where none of 1m can open"):
        parsed([CSV], interval_s=60)


def test_no_line_end_is_no_archive() -> None:
    with pytest.raises(DataError, match="no line ends within 4096 bytes"):
        parsed([b"1" * 5_000])


def test_an_empty_file_has_no_candles() -> None:
    assert len(parsed([b""])) == 0


@pytest.mark.parametrize("cut", [30, 2_000, -1])
def test_a_torn_zip_is_told(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "BTCUSDT-1s-2025-01.zip"
    path.write_bytes(zip_of(path.name, CSV)[:cut])
    with pytest.raises(DataError, match=r"BTCUSDT-1s-2025-01\.zip"):
        list(read_klines(path, 1))


def test_zip_gzip_and_plain_files_give_the_same_rows(tmp_path: Path) -> None:
    contents = {"a-1s.zip": zip_of("a-1s.zip", CSV), "a-1s.csv.gz": gzip.compress(CSV), "a-1s.csv": CSV}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        assert same(joined(read_klines(tmp_path / name, 1)), ROWS)


ARCHIVES = (
    ("AVAXUSDT-1m-2024-02.csv.gz", 41_760),
    ("FILUSDT-1m-2024-10.csv.gz", 44_640),
    ("NEARUSDT-1m-2024-11.csv.gz", 43_200),
    ("NEARUSDT-1m-2025-11.csv.gz", 43_200),
)


@pytest.mark.parametrize(("name", "count"), ARCHIVES)
def test_real_archive_files_are_read_exactly(shared_data: Path, tmp_path: Path, name: str, count: int) -> None:
    """The reference is the csv module and decimal arithmetic, line by line."""
    path = shared_data / "archive_layout" / "binance_usdm_futures_klines" / name
    rows = joined(read_klines(path, 60))
    assert len(rows) == count
    with gzip.open(path, "rt") as file:
        lines = list(csv.reader(file))[1:]
    wanted = [
        [int(line[0]) * 1_000 for line in lines],
        *([int(Decimal(line[k]) * 10**8) for line in lines] for k in (1, 2, 3, 4, 5, 7)),
        [int(line[8]) for line in lines],
        *([int(Decimal(line[k]) * 10**8) for line in lines] for k in (9, 10)),
    ]
    assert [column.tolist() for column in rows.columns()] == wanted
    store = CandleStore(tmp_path)
    symbol = name.split("-")[0]
    assert store.ingest("binance", symbol, 60, read_klines(path, 60)) == count
    assert store.coverage("binance", symbol, 60, verify=True).is_whole
    start_s = wanted[0][0] // 1_000_000
    ours, theirs = store.bars("binance", symbol, start_s, start_s + count * 60, 60), read_candles(path, symbol, 60)
    assert ours.missing == ()
    for column in ("open", "high", "low", "close", "volume", "count", "taker_buy_volume"):
        assert np.array_equal(getattr(ours.bars, column), getattr(theirs.bars, column))
    assert np.allclose(ours.bars.quote_volume, theirs.bars.quote_volume, rtol=1e-15, atol=0)


@pytest.mark.parametrize("coin", ["BTC", "ETH", "SOL", "XRP"])
def test_minutes_of_one_recording_add_up_to_the_quarters_of_another(
    shared_data: Path, tmp_path: Path, coin: str
) -> None:
    """Real REST answers, stored; and where there are real minutes, their exact fold is the stored quarters."""
    folder = shared_data / "klines_15m" / "binance_spot_api"
    store = CandleStore(tmp_path)
    with zipfile.ZipFile(folder / f"{coin}USDT_15m_20241230_20250928_weekly_json.zip") as archive:
        weeks = [json.loads(archive.read(name)) for name in archive.namelist()]
    text = "".join(",".join(str(cell) for cell in row) + "\n" for week in weeks for row in week)
    parser = KlineParser(f"{coin}USDT", 900)
    store.ingest("binance", f"{coin}USDT", 900, [*parser.feed(text.encode()), *parser.finish()])
    coverage = store.coverage("binance", f"{coin}USDT", 900, verify=True)
    assert (coverage.rows, coverage.gaps) == (26_208, ())
    minutes_file = shared_data / "klines_1m" / "binance_spot" / f"{coin}USDT_1m_2025Q1.csv.gz"
    if not minutes_file.exists():
        return
    quarters = store.candles("binance", f"{coin}USDT", 900, parse_time_us("2025-01-01"), parse_time_us("2025-04-01"))
    with gzip.open(minutes_file, "rt") as file:
        rows = list(csv.reader(io.StringIO(file.read())))[1:]
    open_, high, low, close, volume = (
        np.array([int(Decimal(row[k]) * 10**8) for row in rows], np.int64).reshape(-1, 15) for k in range(1, 6)
    )
    assert np.array_equal(quarters.open_e8, open_[:, 0])
    assert np.array_equal(quarters.high_e8, high.max(axis=1))
    assert np.array_equal(quarters.low_e8, low.min(axis=1))
    assert np.array_equal(quarters.close_e8, close[:, -1])
    assert np.array_equal(quarters.volume_e8, volume.sum(axis=1))
