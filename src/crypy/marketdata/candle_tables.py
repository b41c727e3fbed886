"""One candle file as a table with the names and units of crypy: `time_s`, prices, volumes, count.

Knows formats and spellings, and nothing of steps, gaps or several files: that is `candle_files`.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl
from isal import igzip
from numpy.typing import NDArray

from crypy.domain.errors import DataError

Ints = NDArray[np.int64]

# The layout of Binance's kline archives (spot ones have no header) and of its REST arrays.
KLINE_COLUMNS: Final = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count", "taker_buy_volume",
    "taker_buy_quote_volume", "ignore",
)  # fmt: skip
_NAMES: Final[dict[str, str]] = {
    **dict.fromkeys(("opentime", "opentimems", "opentimeus", "timestamp", "timestampms", "time", "date", "datetime", "ts", "starttime"), "time"),
    **dict.fromkeys(("open", "o"), "open"),
    **dict.fromkeys(("high", "h"), "high"),
    **dict.fromkeys(("low", "l"), "low"),
    **dict.fromkeys(("close", "c"), "close"),
    **dict.fromkeys(("volume", "v", "vol", "basevolume"), "volume"),
    **dict.fromkeys(("quotevolume", "quoteassetvolume", "turnover"), "quote_volume"),
    **dict.fromkeys(("count", "trades", "tradecount", "numberoftrades", "numtrades"), "count"),
    **dict.fromkeys(("takerbuyvolume", "takerbuybase", "takerbuybasevolume", "takerbuybaseassetvolume"), "taker_buy_volume"),
}  # fmt: skip
_NEEDED: Final = ("time", "open", "high", "low", "close", "volume")
_BROKEN: Final = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, pl.exceptions.PolarsError)


def read_table(path: Path) -> pl.DataFrame:
    """Rows of one file, in its order: `time_s` (start of the candle, seconds UTC) and float columns.

    Raises `DataError` naming the file for an unknown format, a damaged file, or columns that are missing or not numbers.
    """
    try:
        raw = _frame(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"{path.name}: cannot be read ({error}); fetch it again") from error
    return _renamed(raw, path.name)


def _frame(path: Path) -> pl.DataFrame:
    name = path.name.lower()
    if name.endswith((".feather", ".arrow")):
        return pl.read_ipc(path)
    if name.endswith(".parquet"):
        return pl.read_parquet(path)
    content = path.read_bytes()
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = sorted(member for member in archive.namelist() if member.lower().endswith((".csv", ".json")))
            if not members:
                raise DataError(f"{path.name}: neither .csv nor .json inside")
            # Reading a member to its end checks its CRC.
            return pl.concat([_text(archive.read(member), member) for member in members], how="vertical_relaxed")
    if name.endswith(".gz"):
        return _text(igzip.decompress(content), name[:-3])
    return _text(content, name)


def _text(content: bytes, name: str) -> pl.DataFrame:
    if name.lower().endswith(".json"):
        return _rest_rows(content, name)
    if not name.lower().endswith(".csv"):
        raise DataError(f"{name}: not a candle format; use .csv, .csv.gz, .feather, .parquet, .zip or .json")
    first = content[: content.find(b"\n") if b"\n" in content else None].decode("utf-8", "replace").strip()
    fields = [field.strip() for field in first.split(",")]
    if not _is_number(fields[0]):
        return pl.read_csv(content, infer_schema_length=None)
    columns = KLINE_COLUMNS[: len(fields)]
    if len(fields) not in (6, len(KLINE_COLUMNS)):
        raise DataError(f"{name}: {len(fields)} columns without a header; expected 6 or {len(KLINE_COLUMNS)}")
    return pl.read_csv(content, has_header=False, new_columns=list(columns), infer_schema_length=None)


def _rest_rows(content: bytes, name: str) -> pl.DataFrame:
    """The arrays of Binance's `/api/v3/klines`."""
    rows = msgspec.json.decode(content, type=list[list[int | float | str]])
    if any(len(row) != len(KLINE_COLUMNS) for row in rows):
        raise DataError(f"{name}: rows of a kline answer have {len(KLINE_COLUMNS)} fields")
    columns = zip(*rows, strict=True) if rows else ([] for _ in KLINE_COLUMNS)
    return pl.DataFrame({key: list(values) for key, values in zip(KLINE_COLUMNS, columns, strict=True)}, strict=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _renamed(raw: pl.DataFrame, file: str) -> pl.DataFrame:
    """The columns that crypy knows, by its names; others are left out."""
    names: dict[str, str] = {}
    for column in raw.columns:
        known = _NAMES.get(column.lower().replace("_", "").replace(" ", "").replace("-", ""))
        if known is not None and known not in names.values():
            names[column] = known
    missing = [name for name in _NEEDED if name not in names.values()]
    if missing:
        raise DataError(f"{file}: no column for {', '.join(missing)} among {', '.join(raw.columns)}")
    table = raw.select(names.keys()).rename(names)
    values = [name for name in table.columns if name != "time"]
    try:
        seconds = _seconds(table["time"], file)
        return table.select(pl.Series("time_s", seconds), *(pl.col(name).cast(pl.Float64) for name in values))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{file}: a value is not a number ({error})") from error


def _seconds(times: pl.Series, file: str) -> Ints:
    """Whole seconds of times in s, ms, us or ns (told apart by size, row by row) or of dates."""
    if times.dtype == pl.String:
        texts = times
        times = texts.cast(pl.Int64, strict=False)
        if times.null_count():
            times = texts.str.to_datetime(time_zone="UTC", time_unit="us", strict=True)
    if times.dtype.is_temporal():
        micros = times.cast(pl.Datetime("us")).cast(pl.Int64)
    elif times.dtype.is_numeric():
        # Any instant from 1973 to 5138 has 9 to 11 digits in seconds, and three more in each finer unit.
        value = pl.col("time")
        scaled = (
            pl.when(value < 10**11).then(value * 10**6)
            .when(value < 10**14).then(value * 10**3)
            .when(value < 10**17).then(value)
            .otherwise(value // 10**3)
        )  # fmt: skip
        micros = times.cast(pl.Int64).rename("time").to_frame().select(scaled).to_series()
    else:
        raise DataError(f"{file}: times of type {times.dtype} are not understood")
    if micros.null_count():
        raise DataError(f"{file}: row {int(micros.is_null().arg_max() or 0) + 1} has no time")
    column = micros.to_numpy()
    broken = np.flatnonzero((column % 1_000_000 != 0) | (column <= 0))
    if len(broken):
        raise DataError(
            f"{file}: the candle in row {int(broken[0]) + 1} does not start on a whole second ({times[int(broken[0])]})"
        )
    return column // 1_000_000
