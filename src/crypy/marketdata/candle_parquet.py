"""One Parquet file of closed candles, telling what is in it.

Columns are those of `CandleRows`, all 64-bit integers. Rows ascend by open time and no time comes twice. The footer's key
`crypy.candles` holds `FileFacts` as JSON, with the numbers of the candles (`open_time // length`) in the place of ids. Equal rows make equal
files. Pages carry checksums.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crypy.domain.errors import DataError, NotMonotonic, SchemaMismatch
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.candle_rows import COLUMNS, CandleRows
from crypy.marketdata.trade_facts import NO_FACTS, FileFacts, Run

Words = NDArray[np.uint64]

_FACTS_KEY: Final = b"crypy.candles"
_SCHEMA: Final = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in COLUMNS])
_PRICES: Final = ["open_e8", "high_e8", "low_e8", "close_e8"]
# Measured on real minutes and made seconds: 28 to 32 bytes a row, a tenth less than plain volumes and written in half the time.
_ENCODINGS: Final = dict.fromkeys(("open_time_us", "count"), "DELTA_BINARY_PACKED") | {
    name: "BYTE_STREAM_SPLIT" for name in COLUMNS if "volume" in name
}
# Made once and here: msgspec works a type out at its first use, and two threads that do so at once bring the process down (0.22).
_FACTS: Final = msgspec.json.Decoder(FileFacts)
# Odd constants of SplitMix64 (Steele, Lea, Flood 2014): each output bit depends on every input bit.
_MIX_A: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B: Final = np.uint64(0x94D049BB133111EB)
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)


def write_candles(path: Path, rows: CandleRows, interval_s: int) -> FileFacts:
    """Write rows that ascend by open time straight to `path`, for whoever makes it whole; gives what it holds."""
    facts = facts_of(str(path), rows, interval_s)
    table = pa.Table.from_arrays([pa.array(column) for column in rows.columns()], schema=_SCHEMA)
    write: Any = pq.write_table  # its annotations leave out the lists that it takes
    write(
        table.replace_schema_metadata({_FACTS_KEY: msgspec.json.encode(facts)}),
        path,
        compression="zstd",
        compression_level=1,
        use_dictionary=_PRICES,
        column_encoding=_ENCODINGS,
        write_page_checksum=True,
    )
    return facts


def read_candle_facts(path: Path) -> FileFacts:
    """What the file says it holds, from its footer alone. Raises `DataError` for a file that is none of the store's."""
    return _facts_in(path, str(path))


def facts_in_tail(tail: bytes, what: str) -> FileFacts:
    """The same from the last bytes of a file, its footer among them."""
    return _facts_in(pa.BufferReader(tail), what)


def read_candles_file(path: Path) -> CandleRows:
    """All rows of the file, its pages' checksums checked. Raises `DataError` for a damaged one."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as fault:
        raise _damaged(path, fault) from None
    if table.schema.names != list(COLUMNS):
        raise SchemaMismatch(f"{path}: columns {table.schema.names}, expected {list(COLUMNS)}")
    return CandleRows(*(table.column(name).to_numpy(zero_copy_only=False) for name in COLUMNS))


def verify_candles_file(path: Path, interval_s: int) -> FileFacts:
    """What the rows themselves say; raises `DataError` where the footer says otherwise."""
    said = read_candle_facts(path)
    found = facts_of(str(path), read_candles_file(path), interval_s)
    if found != said:
        raise DataError(
            f"{path}: holds {found.rows:,} candles with digest {found.digest}, its footer says {said.rows:,} with {said.digest}; "
            "move it away and run `crypy data sync` for it again"
        )
    return found


def facts_of(what: str, rows: CandleRows, interval_s: int) -> FileFacts:
    """Runs of consecutive candles and digest of rows that ascend by open time. Raises `NotMonotonic` where they do not."""
    if not len(rows):
        return NO_FACTS
    times = rows.open_time_us
    numbers = times // (interval_s * US_PER_S)
    steps = np.diff(numbers)
    if not (steps > 0).all():
        row = int(np.argmin(steps > 0))
        raise NotMonotonic(f"{what}: {iso(int(times[row + 1]))} comes after {iso(int(times[row]))}")
    ends = np.append(np.flatnonzero(steps != 1), len(rows) - 1)
    starts = np.append(0, ends[:-1] + 1)
    columns = (numbers[starts].tolist(), numbers[ends].tolist(), times[starts].tolist(), times[ends].tolist())
    runs = tuple(Run(*run) for run in zip(*columns, strict=True))
    return FileFacts(len(rows), int(times[0]), int(times[-1]), runs, (), _digest(rows))


def _digest(rows: CandleRows) -> str:
    """Two sums over the rows of 64-bit mixes, as `trade_facts` makes them: of the set of rows, however it is spread over files."""
    whole: Words = np.zeros(len(rows), np.uint64)
    for column in rows.columns():
        whole = _mixed((whole ^ column.astype(np.uint64)) + _STEP)
    sums = (np.add.reduce(whole), np.add.reduce(_mixed(whole ^ _STEP)))
    return "".join(f"{int(total):016x}" for total in sums)


def _mixed(x: Words) -> Words:
    x = (x ^ (x >> _S30)) * _MIX_A
    x = (x ^ (x >> _S27)) * _MIX_B
    return x ^ (x >> _S31)


def _facts_in(source: Any, what: str) -> FileFacts:
    try:
        metadata = pq.read_metadata(source).metadata or {}
        if _FACTS_KEY not in metadata:
            raise SchemaMismatch(f"{what}: not a file of crypy's candle store")
        return _FACTS.decode(metadata[_FACTS_KEY])
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError, msgspec.DecodeError) as fault:
        raise _damaged(what, fault) from None


def _damaged(path: Path | str, fault: Exception) -> DataError:
    return DataError(f"{path}: damaged ({fault}); move it away and run `crypy data sync` for it again")
