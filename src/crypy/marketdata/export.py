"""Stored trades, bars and candles written to files that others read, in constant memory.

    trades           csv: Binance's archive layout with its header, exact; parquet, arrow, feather, npz: columns of `TradeBatch`;
                     hftbacktest: its events in an NPZ file
    bars, candles    csv: Binance's names of kline columns, times in microseconds; feather: `date, open, high, low, close, volume`, as freqtrade
                     keeps them; parquet, arrow, npz: columns of `Bars` or `Candles`

In Parquet, Arrow and Feather instants have a type that knows them (`crypy.marketdata.frames`).
A file appears whole under its name or not at all. `--source` reads back all but NPZ files of bars and candles, and hftbacktest's, which
have no ids.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.candles import Candles
from crypy.marketdata.frames import to_arrow, to_numpy
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.trade_files import whole_file
from crypy.marketdata.trades import TradeBatch

Format = Literal["csv", "parquet", "arrow", "feather", "npz", "hftbacktest"]
FORMATS: Final[tuple[Format, ...]] = ("csv", "parquet", "arrow", "feather", "npz", "hftbacktest")
Table = Any

# hftbacktest: py-hftbacktest/hftbacktest/types.py, `event_dtype` and its flags; times in nanoseconds.
_EVENT: Final = np.dtype(
    [("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"), ("order_id", "u8"), ("ival", "i8"), ("fval", "f8")],
    align=True,
)  # fmt: skip
_TRADE_EVENT, _SELL, _BUY, _LOCAL, _EXCHANGE = 2, 1 << 28, 1 << 29, 1 << 30, 1 << 31
_KLINE_NAMES: Final = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    path: Path
    rows: int
    size: int


def export_trades(
    batches: Iterable[TradeBatch],
    kind: TradeKind,
    form: Format,
    path: Path,
    *,
    force: bool = False,
    latency_us: int = 0,
) -> Exported:
    """Write trades that ascend by id. `latency_us` is how much later hftbacktest's local side sees each.

    Raises `ConfigError` where the file exists and `force` is not set, and `Incomplete` where there are no trades: nothing is written then.
    """
    if form == "hftbacktest":
        return _export(
            path, force, lambda place: _write_npz(place, ({"data": _events(batch, latency_us)} for batch in batches))
        )
    if form == "npz":
        return _export(path, force, lambda place: _write_npz(place, map(to_numpy, batches)))
    layout = _archive_rows if kind == "aggTrades" else _single_rows
    tables = (layout(batch) if form == "csv" else to_arrow(batch) for batch in batches)
    return _export(path, force, lambda place: _WRITERS[form](place, tables))


def export_bars(pieces: Iterable[Bars | Candles], form: Format, path: Path, *, force: bool = False) -> Exported:
    """Write second bars or candles; pieces follow each other. Candles that still run are left out, and in CSV and Feather rows without a price, too.

    Errors as `export_trades`; `ConfigError` for a format that has no bars.
    """
    if form == "hftbacktest":
        raise ConfigError(
            "hftbacktest's format holds trades; choose csv, parquet, arrow, feather or npz for bars and candles"
        )
    closed = (piece[: _closed(piece)] if isinstance(piece, Candles) else piece for piece in pieces)
    if form == "npz":
        return _export(path, force, lambda place: _write_npz(place, map(to_numpy, closed)))
    layout = {"csv": _kline_rows, "feather": _freqtrade_rows}.get(form, to_arrow)
    return _export(path, force, lambda place: _WRITERS[form](place, map(layout, closed)))


def _closed(candles: Candles) -> int:
    """How many rows are final: all but those at the end that still run."""
    return len(candles) - int(np.argmax(candles.closed[::-1])) if candles.closed.any() else 0


def _export(path: Path, force: bool, write: Callable[[Path], int]) -> Exported:
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name the file to write")
    if path.exists() and not force:
        raise ConfigError(f"{path} exists; add --force to replace it, or name another file")
    with whole_file(path) as temporary:
        rows = write(temporary)
        if not rows:
            raise Incomplete(f"nothing is stored in that span; {path} was not written")
    return Exported(path, rows, path.stat().st_size)


def _write_tables(writer_of: Callable[[Path, Any], Any]) -> Callable[[Path, Iterable[Table]], int]:
    def write(path: Path, tables: Iterable[Table]) -> int:
        rows = 0
        writer: Any = None
        with ExitStack() as stack:
            for table in tables:
                if writer is None:
                    writer = stack.enter_context(writer_of(path, table.schema))
                writer.write_table(table)
                rows += len(table)
        return rows

    return write


def _parquet_writer(path: Path, schema: Any) -> Any:
    open_writer: Any = pq.ParquetWriter
    return open_writer(path, schema, compression="zstd", compression_level=3, write_page_checksum=True)


@contextmanager
def _csv_writer(path: Path, schema: Any) -> Generator[Any]:
    """Without quotes anywhere, which Arrow would put around the names."""
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        file.write(",".join(schema.names).encode() + b"\n")
        with csv.CSVWriter(file, schema, write_options=options) as writer:
            yield writer


_WRITERS: Final[dict[str, Callable[[Path, Iterable[Table]], int]]] = {
    "csv": _write_tables(_csv_writer),
    "parquet": _write_tables(_parquet_writer),
    "arrow": _write_tables(lambda path, schema: ipc.new_file(path, schema)),
    "feather": _write_tables(
        lambda path, schema: ipc.new_file(path, schema, options=ipc.IpcWriteOptions(compression="lz4"))
    ),
}


def _write_npz(path: Path, pieces: Iterable[dict[str, NDArray[Any]]]) -> int:
    """Columns as one array each. Their length is known at the end, so the bytes go to files of their own first."""
    rows = 0
    kinds: dict[str, np.dtype[Any]] = {}
    parts: dict[str, Path] = {}
    try:
        with ExitStack() as stack:
            files: dict[str, Any] = {}
            for piece in pieces:
                for name, column in piece.items():
                    if name not in files:
                        kinds[name], parts[name] = column.dtype, path.with_name(f"{path.name}.{name}")
                        files[name] = stack.enter_context(parts[name].open("wb"))
                    files[name].write(np.ascontiguousarray(column).data)
                rows += len(next(iter(piece.values())))
        with ZipFile(path, "w", ZIP_STORED, allowZip64=True) as archive:
            for name, part in parts.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as target, part.open("rb") as source:
                    header = {
                        "descr": np.lib.format.dtype_to_descr(kinds[name]),
                        "fortran_order": False,
                        "shape": (rows,),
                    }
                    np.lib.format.write_array_header_2_0(target, cast(Any, header))
                    while piece_bytes := source.read(1 << 20):
                        target.write(piece_bytes)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return rows


def _decimals(values: NDArray[np.int64]) -> Any:
    """Integers in 1e-8 as exact decimals of eight places: Arrow keeps a decimal as a 128-bit integer, so they need only be widened."""
    wide = np.empty((len(values), 2), np.int64)
    wide[:, 0] = values
    wide[:, 1] = values >> 63
    return pa.Array.from_buffers(pa.decimal128(19, 8), len(values), [None, pa.py_buffer(wide)])


def _truth(values: NDArray[np.bool_]) -> Any:
    """As Binance's archives write it."""
    return pa.array(np.where(values, "True", "False"))


def _archive_rows(batch: TradeBatch) -> Table:
    return pa.table(
        {
            "agg_trade_id": batch.id,
            "price": _decimals(batch.price_e8),
            "quantity": _decimals(batch.quantity_e8),
            "first_trade_id": batch.first_id,
            "last_trade_id": batch.last_id,
            "transact_time": batch.time_us,
            "is_buyer_maker": _truth(batch.buyer_is_maker),
        }
    )


def _single_rows(batch: TradeBatch) -> Table:
    quotes = [
        price * quantity // 10**8
        for price, quantity in zip(batch.price_e8.tolist(), batch.quantity_e8.tolist(), strict=True)
    ]
    return pa.table(
        {
            "id": batch.id,
            "price": _decimals(batch.price_e8),
            "qty": _decimals(batch.quantity_e8),
            "quote_qty": _decimals(np.array(quotes, np.int64)),
            "time": batch.time_us,
            "is_buyer_maker": _truth(batch.buyer_is_maker),
        }
    )


def _kline_rows(piece: Bars | Candles) -> Table:
    known, open_us, close_us = _priced(piece)
    columns = {name: getattr(piece, name)[known] for name in _KLINE_NAMES if hasattr(piece, name)}
    # Binance writes the last microsecond of a candle, not the first behind it.
    columns |= {"open_time": open_us, "close_time": close_us - 1}
    return pa.table({name: pa.array(columns[name]) for name in _KLINE_NAMES})


def _freqtrade_rows(piece: Bars | Candles) -> Table:
    known, open_us, _ = _priced(piece)
    columns: dict[str, Any] = {"date": pa.array((open_us // 1_000).view("datetime64[ms]"), pa.timestamp("ms", "UTC"))}
    columns |= {name: pa.array(getattr(piece, name)[known]) for name in ("open", "high", "low", "close", "volume")}
    return pa.table(columns)


def _priced(piece: Bars | Candles) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows that have a price, and the microseconds at which each begins and ends."""
    known = np.flatnonzero(np.isfinite(piece.close))
    if isinstance(piece, Candles):
        return known, piece.open_time_us[known], piece.close_time_us[known]
    open_us = (piece.start_s + known * piece.step_s) * US_PER_S
    return known, open_us, open_us + piece.step_s * US_PER_S


def _events(batch: TradeBatch, latency_us: int) -> NDArray[Any]:
    """Trades as hftbacktest's events; void aggregates, which carry no trades, are left out."""
    real = batch.first_id >= 0
    events = np.zeros(int(real.sum()), _EVENT)
    side = np.where(batch.buyer_is_maker[real], _SELL, _BUY)
    events["ev"] = (side | _TRADE_EVENT | _LOCAL | _EXCHANGE).astype(np.uint64)
    events["exch_ts"] = batch.time_us[real] * 1_000
    events["local_ts"] = (batch.time_us[real] + latency_us) * 1_000
    events["px"] = batch.price_e8[real] / 1e8
    events["qty"] = batch.quantity_e8[real] / 1e8
    return events
