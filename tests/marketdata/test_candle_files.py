"""Candles from every format that people have, into the same bars; what is torn is named."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crypy.domain.errors import DataError
from crypy.marketdata.candle_files import read_candles

START = 1_735_689_600
ROWS = [(START + 60 * i, 100.0 + i, 102.0 + i, 99.0 + i, 101.0 + i, 2.0 * i) for i in range(6)]
HEADER = "open_time,open,high,low,close,volume"


def _csv(rows: list[tuple[float, ...]], unit: int = 1_000, header: str = HEADER) -> str:
    lines = [",".join([str(int(row[0] * unit)), *(f"{value}" for value in row[1:])]) for row in rows]
    return "\n".join([header, *lines] if header else lines) + "\n"


def _kline(row: tuple[float, ...], unit: int = 1_000) -> list[object]:
    opened, open_, high, low, close, volume = row
    return [int(opened * unit), f"{open_}", f"{high}", f"{low}", f"{close}", f"{volume}", int((opened + 60) * unit) - 1,
            f"{volume * 100}", 7, f"{volume / 2}", "0", "0"]  # fmt: skip


def _write(folder: Path, kind: str) -> Path:
    path = folder / f"BTCUSDT-1m.{kind}"
    frame = pl.DataFrame(
        {
            "date": [row[0] * 1_000 for row in ROWS],
            **{name: [row[i + 1] for row in ROWS] for i, name in enumerate(HEADER.split(",")[1:])},
        }
    ).with_columns(pl.col("date").cast(pl.Datetime("ms", "UTC")))
    if kind == "csv":
        path.write_text(_csv(ROWS))
    elif kind == "csv.gz":
        path.write_bytes(gzip.compress(_csv(ROWS, 1_000_000).encode()))
    elif kind == "feather":
        frame.write_ipc(path)
    elif kind == "parquet":
        frame.write_parquet(path)
    elif kind == "json":
        path.write_text(json.dumps([_kline(row) for row in ROWS]))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            # The archive's own layout: no header, milliseconds in one file and microseconds in the next.
            for index, unit in ((0, 1_000), (1, 1_000_000)):
                half = ROWS[3 * index : 3 * index + 3]
                text = "\n".join(",".join(str(field) for field in _kline(row, unit)) for row in half)
                archive.writestr(f"BTCUSDT-1m-{index}.csv", text)
    return path


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "feather", "parquet", "json", "zip"])
def test_every_format_gives_the_same_bars(tmp_path: Path, kind: str) -> None:
    history = read_candles(_write(tmp_path, kind), "BTCUSDT")
    bars = history.bars
    assert (bars.start_s, bars.step_s, len(bars)) == (START, 60, 6)
    assert bars.close.tolist() == [101.0 + i for i in range(6)]
    assert bars.volume.tolist() == [2.0 * i for i in range(6)]
    assert history.gaps == ()
    if kind in ("json", "zip"):
        assert (bars.count.tolist(), history.absent, history.estimated) == ([7] * 6, (), ())
        assert bars.quote_volume.tolist() == [200.0 * i for i in range(6)]
    else:
        assert history.absent == ("count", "taker_buy_volume")
        assert history.estimated == ("quote_volume",)
        assert bars.quote_volume[2] == pytest.approx(4.0 * (104.0 + 101.0 + 103.0) / 3)


@pytest.mark.parametrize(
    "header", ["timestamp,Open,High,Low,Close,Volume", "open_time_ms,o,h,l,c,v", "Date,open,high,low,close,base_volume"]
)
@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
def test_names_and_units_are_recognised(tmp_path: Path, header: str, unit: int) -> None:
    path = tmp_path / "BTC.csv"
    path.write_text(_csv(ROWS, unit, header))
    assert read_candles(path, "BTCUSDT").bars.start_s == START


def test_dates_in_words_are_read(tmp_path: Path) -> None:
    path = tmp_path / "BTC.csv"
    lines = [HEADER] + [f"2025-01-01T00:0{i}:00Z,1,2,1,1,1" for i in range(3)]
    path.write_text("\n".join(lines))
    assert read_candles(path, "BTCUSDT").bars.start_s == START


def test_a_folder_is_searched_by_the_symbols_name_and_joined_in_time(tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT_1m_b.csv").write_text(_csv(ROWS[:4]))
    (tmp_path / "BTC_USDT-1m_a.csv").write_text(_csv(ROWS[:1:-1]))  # later, backwards, overlapping
    (tmp_path / "ETHUSDT_1m.csv").write_text(_csv([(START, 1, 2, 1, 1, 1)]))
    history = read_candles(tmp_path, "BTCUSDT")
    assert len(history.files) == 2
    assert history.bars.close.tolist() == [101.0 + i for i in range(6)]


def test_a_gap_is_named_and_left_unknown_unless_carried(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT.csv"
    path.write_text(_csv([ROWS[0], ROWS[1], ROWS[4], ROWS[5]]))
    history = read_candles(path, "BTCUSDT")
    assert [str(gap) for gap in history.gaps] == ["2025-01-01T00:02:00Z to 2025-01-01T00:04:00Z"]
    assert np.isnan(history.bars.close).tolist() == [False, False, True, True, False, False]
    assert history.carried().close.tolist() == [101.0, 102.0, 102.0, 102.0, 105.0, 106.0]
    assert history.carried().volume.tolist() == [0.0, 2.0, 0.0, 0.0, 8.0, 10.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_csv([ROWS[0], (START + 60, 100.0, float("nan"), 99.0, 101.0, 1.0)]), "00:01:00Z is not one"),
        (_csv([ROWS[0], (START + 60, -1.0, 102.0, -2.0, 101.0, 1.0)]), "is not one"),
        (_csv([ROWS[0], (START + 60, 100.0, 90.0, 99.0, 101.0, 1.0)]), "is not one"),
        (_csv([ROWS[0], (START + 60, 100.0, 102.0, 99.0, 101.0, -1.0)]), "is not one"),
        (_csv([ROWS[0], ROWS[1], (START + 60, 100.0, 102.0, 99.0, 101.5, 1.0)]), "two different candles"),
        (_csv([ROWS[0], ROWS[1], (START + 210, 100.0, 102.0, 99.0, 101.0, 1.0)]), "cannot be joined"),
        (_csv(ROWS, header="open_time,open,high,low,close,size"), "no column for volume"),
        ("1,2,3\n", "3 columns without a header"),
        (_csv(ROWS[:1]), "no step"),
        (_csv(ROWS).replace("101.0", "abc", 1), "not a number"),
        (_csv(ROWS).replace(str(START * 1_000), str(START * 1_000 + 1), 1), "whole second"),
    ],
)
def test_what_is_no_candle_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "BTCUSDT.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_candles(path, "BTCUSDT")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("BTCUSDT.csv.gz", gzip.compress(_csv(ROWS).encode())[:-20]),
        ("BTCUSDT.zip", b"PK\x03\x04 torn"),
        ("BTCUSDT.feather", b"ARROW1 no"),
        ("BTCUSDT.parquet", b"PAR1"),
        ("BTCUSDT.json", b"[[1, 2"),
        ("BTCUSDT.csv", b""),
        ("BTCUSDT.txt", b"hello"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"BTCUSDT|btcusdt"):
        read_candles(tmp_path / name, "BTCUSDT")


def test_missing_files_and_other_steps_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_candles(tmp_path / "none.csv", "BTCUSDT")
    with pytest.raises(DataError, match="no candle file of SOLUSDT"):
        read_candles(tmp_path, "SOLUSDT")
    with pytest.raises(DataError, match="candles of 60 s, asked for 900 s"):
        read_candles(_write(tmp_path, "csv"), "BTCUSDT", step_s=900)


def test_the_recordings_are_read_as_their_readme_says(shared_data: Path) -> None:
    minutes = read_candles(shared_data / "klines_1m" / "binance_spot", "BTCUSDT")
    assert (len(minutes.bars), minutes.gaps, len(minutes.files)) == (789_120, (), 6)
    quarters = read_candles(shared_data / "klines_15m" / "binance_spot_api", "BTCUSDT")
    assert (len(quarters.bars), quarters.bars.step_s, quarters.gaps) == (26_208, 900, ())
    first = (quarters.bars.start_s - minutes.bars.start_s) // 60
    sums = minutes.bars.volume[first : first + 15 * 26_112].reshape(-1, 15).sum(axis=1)
    assert np.abs(sums - quarters.bars.volume[:26_112]).max() < 1e-6
    fives = read_candles(shared_data / "klines_5m" / "binance_spot", "SOLUSDT")
    assert len(fives.gaps) == 1
    futures = read_candles(shared_data / "archive_layout" / "binance_usdm_futures_klines", "NEARUSDT")
    assert futures.bars.count[0] > 0
    assert len(futures.gaps) == 1
