"""Candles from files into `Bars`: CSV, Feather, Parquet, zipped JSON as venues' REST returns it, archive layouts.

Columns are recognised by name, the unit of times by their size, the step by the distance of the rows. A bar
that no row gives is unknown: its prices are NaN, and the gap is named in the answer. That differs from a second without
trades on purpose: venues write a candle for those too, so a missing row means missing data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_tables import read_table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUFFIXES: Final = (".csv", ".csv.gz", ".feather", ".arrow", ".parquet", ".zip", ".json", ".json.gz")
_PRICES: Final = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class CandleGap:
    """No row covers `[start_s, end_s)`."""

    start_s: int
    end_s: int

    def __str__(self) -> str:
        return f"{iso(self.start_s * US_PER_S)} to {iso(self.end_s * US_PER_S)}"


@dataclass(frozen=True, slots=True)
class CandleHistory:
    """What the files say about one symbol.

    `absent` names columns that no file has (they are 0), `estimated` those that were filled in (quote_volume as volume times
    the mean of high, low and close).
    """

    bars: Bars
    gaps: tuple[CandleGap, ...]
    files: tuple[Path, ...]
    absent: tuple[str, ...]
    estimated: tuple[str, ...]

    def carried(self) -> Bars:
        """The bars with the last close carried through gaps, for rings, which take no holes.

        Returns over a gap are then zeros and one jump: look at `gaps` before believing a volatility near them.
        """
        bars = self.bars
        if not self.gaps:
            return bars
        known = np.isfinite(bars.close)
        source = np.maximum.accumulate(np.where(known, np.arange(len(bars)), 0))
        close = bars.close[source]
        return replace(
            bars,
            open=np.where(known, bars.open, close),
            high=np.where(known, bars.high, close),
            low=np.where(known, bars.low, close),
            close=close,
        )


def read_candles(source: Path | Sequence[Path], symbol: str, step_s: int | None = None) -> CandleHistory:
    """Candles of one symbol from a file, files, or the files of a folder that are named after the symbol.

    A folder's `BTCUSDT_1m_2024Q2.csv.gz`, `BTC_USDT-1m.feather` and `BTC-USDT.csv` are all BTCUSDT. Rows may come in any order and
    more than once. Raises `DataError` naming file and row for what is torn, contradictory or not a candle, and when the
    step found is not `step_s`.
    """
    files = _files(source, symbol)
    table = pl.concat([read_table(path) for path in files], how="diagonal").sort("time_s", maintain_order=True)
    _check_values(table, files)
    table = _without_repeats(table, files)
    times = table["time_s"].to_numpy()
    step = _step(times, files, step_s)
    absent = tuple(name for name in ("count", "taker_buy_volume") if name not in table.columns)
    estimated = () if "quote_volume" in table.columns else ("quote_volume",)
    if estimated:
        typical = (pl.col("high") + pl.col("low") + pl.col("close")) / 3.0
        table = table.with_columns(quote_volume=pl.col("volume") * typical)
    return CandleHistory(_dense(table, times, symbol, step), _gaps(times, step), files, absent, estimated)


def _files(source: Path | Sequence[Path], symbol: str) -> tuple[Path, ...]:
    if not isinstance(source, Path):
        found = tuple(source)
    elif source.is_dir():
        found = tuple(path for path in sorted(source.iterdir()) if _is_of(path, symbol))
    else:
        found = (source,)
    if not found:
        raise DataError(f"{source}: no candle file of {symbol}; looked for names such as {symbol}_1m.csv.gz")
    return found


def _is_of(path: Path, symbol: str) -> bool:
    """Whether the file name begins with the symbol, however its halves are joined."""
    name = path.name.upper().replace("_", "").replace("-", "").replace("/", "")
    wanted = symbol.upper().replace("/", "").replace("-", "").replace("_", "")
    return path.is_file() and path.name.lower().endswith(SUFFIXES) and name.startswith(wanted)


def _check_values(table: pl.DataFrame, files: tuple[Path, ...]) -> None:
    prices = table.select(_PRICES).to_numpy()
    volume = table["volume"].to_numpy()
    with np.errstate(invalid="ignore"):
        wrong = ~(np.isfinite(prices).all(axis=1) & (prices > 0).all(axis=1))
        wrong |= (prices[:, 1] < prices.max(axis=1)) | (prices[:, 2] > prices.min(axis=1))
        wrong |= ~(np.isfinite(volume) & (volume >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = ", ".join(f"{name}={table[name][row]}" for name in (*_PRICES, "volume"))
        raise DataError(
            f"{_names(files)}: the candle of {iso(int(table['time_s'][row]) * US_PER_S)} is not one ({shown}); "
            f"prices must be positive and between low and high, volumes not negative"
        )


def _without_repeats(table: pl.DataFrame, files: tuple[Path, ...]) -> pl.DataFrame:
    """One row a time; rows of one time must agree in prices and volume."""
    times = table["time_s"].to_numpy()
    repeated = np.flatnonzero(np.diff(times) == 0)
    if len(repeated) == 0:
        return table
    values = table.select((*_PRICES, "volume")).to_numpy()
    torn = repeated[(values[repeated] != values[repeated + 1]).any(axis=1)]
    if len(torn):
        raise DataError(
            f"{_names(files)}: two different candles of {iso(int(times[torn[0]]) * US_PER_S)}; remove one of the sources"
        )
    return table.unique("time_s", keep="last", maintain_order=True)


def _step(times: Ints, files: tuple[Path, ...], wanted: int | None) -> int:
    """The step that all rows keep. Raises `DataError` when there is none, or another one than wanted."""
    if len(times) < 2:
        if wanted is None:
            raise DataError(f"{_names(files)}: one candle tells no step; give the step")
        return wanted
    distances = np.diff(times)
    step = int(distances.min())
    odd = np.flatnonzero(distances % step)
    if len(odd):
        raise DataError(
            f"{_names(files)}: rows are {step} s apart, but {iso(int(times[odd[0]]) * US_PER_S)} and the next are "
            f"{int(distances[odd[0]])} s apart; candles of two lengths cannot be joined"
        )
    if wanted is not None and step != wanted:
        raise DataError(f"{_names(files)}: candles of {step} s, asked for {wanted} s")
    return step


def _gaps(times: Ints, step: int) -> tuple[CandleGap, ...]:
    holes = np.flatnonzero(np.diff(times) > step)
    return tuple(CandleGap(int(times[hole]) + step, int(times[hole + 1])) for hole in holes)


def _dense(table: pl.DataFrame, times: Ints, symbol: str, step: int) -> Bars:
    start = int(times[0])
    rows = (times - start) // step
    length = int(rows[-1]) + 1

    def spread(name: str, unknown: float) -> Floats:
        column = np.full(length, unknown)
        if name in table.columns:
            column[rows] = table[name].cast(pl.Float64).fill_null(unknown).to_numpy()
        return column

    return Bars(
        symbol,
        start,
        step,
        open=spread("open", np.nan),
        high=spread("high", np.nan),
        low=spread("low", np.nan),
        close=spread("close", np.nan),
        volume=spread("volume", 0.0),
        quote_volume=spread("quote_volume", 0.0),
        count=spread("count", 0.0).astype(np.int64),
        taker_buy_volume=spread("taker_buy_volume", 0.0),
    )


def _names(files: tuple[Path, ...]) -> str:
    return files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
