"""One Parquet file of trades: written whole or not at all, and telling what is in it.

Columns (all 64-bit integers but the last): `id`; `price_e8` and `quantity_e8` in units of 1e-8; `first_id` and `last_id` of the
single trades inside, -1 for a void aggregate; `time_us`, microseconds since 1970 UTC; `buyer_is_maker`. Rows
ascend by id and no id comes twice. The footer's key `crypy.trades` holds `FileFacts` as JSON, found from the rows as they were
written. Pages carry checksums. Compression is zstd level 1; ids and times as differences, prices and quantities by dictionary:
measured 6.3 bytes a row, twice the writing speed and a quarter less space than plain columns.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crypy.domain.errors import ConfigError, DataError, SchemaMismatch
from crypy.marketdata.trade_facts import FactFinder, FileFacts
from crypy.marketdata.trade_merge import concatenated
from crypy.marketdata.trades import TradeBatch
from crypy.runtime.durable import sync_path

# Rows held until they are written as one group; readers of a span skip whole groups.
GROUP_ROWS: Final = 131_072
_FACTS_KEY: Final = b"crypy.trades"
_COLUMNS: Final = ("id", "price_e8", "quantity_e8", "first_id", "last_id", "time_us", "buyer_is_maker")
_SCHEMA: Final = pa.schema(
    [pa.field(name, pa.bool_() if name == "buyer_is_maker" else pa.int64(), nullable=False) for name in _COLUMNS]
)
# What pyarrow raises of a file with a flipped bit, wherever that is.
_UNREADABLE: Final = (pa.ArrowException, OSError, UnicodeDecodeError)
# Made once and here: msgspec works a type out at its first use, and two threads that do so at once bring the process down (0.22).
_FACTS: Final = msgspec.json.Decoder(FileFacts)
_temporary_number = count()


@contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """A temporary path beside `path` to write to; when the block ends well it becomes `path`, durably, else it is gone.

    Raises `ConfigError` in plain words when the disk is full.
    """
    with temporary_file(path) as temporary:
        yield temporary
        settle(temporary, path)


@contextmanager
def temporary_file(path: Path) -> Generator[Path]:
    """A path beside `path` to write to; what is still there behind the block is removed.

    Raises `ConfigError` in plain words when the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}-{next(_temporary_number)}.tmp")
    try:
        _make_folder(path.parent)
        yield temporary
    except OSError as fault:
        raise disk_fault(path, fault) from fault
    finally:
        temporary.unlink(missing_ok=True)


def disk_fault(path: Path, fault: OSError) -> Exception:
    """The same fault in words for the person who owns the disk; faults of another kind as they are."""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return ConfigError(
            f"{path}: no space left on its disk; nothing half-written is in the store. Free some space or set another --data-dir, "
            "then run the same command again: it goes on where it stopped"
        )
    return fault


def write_trades(path: Path, batches: Iterable[TradeBatch]) -> FileFacts:
    """Write rows that ascend by id as a file at `path`, whole or not at all; gives what it holds.

    Raises `NotMonotonic` when the ids do not ascend.
    """
    with whole_file(path) as temporary:
        return write_rows(temporary, batches, str(path))


def write_rows(path: Path, batches: Iterable[TradeBatch], what: str) -> FileFacts:
    """The same straight to `path`, for whoever makes it whole; `what` names the rows in errors."""
    finder = FactFinder(what)
    with _writer(path) as writer:
        for group in _regrouped(batches):
            finder.add(group)
            writer.write_table(_table(group))
        facts = finder.facts()
        writer.add_key_value_metadata({_FACTS_KEY.decode(): msgspec.json.encode(facts).decode()})
    return facts


def settle(staged: Path, path: Path) -> None:
    """Move a file that was written whole to its place, durably."""
    try:
        _make_folder(path.parent)
        sync_path(staged)
        staged.replace(path)
        sync_path(path.parent)
    except OSError as fault:
        raise disk_fault(path, fault) from fault


def read_facts(path: Path) -> FileFacts:
    """What the file says it holds, from its footer alone."""
    return _facts_in(path, path)


def facts_in_tail(tail: bytes, what: str) -> FileFacts:
    """The same from the last bytes of a file, of which there must be `footer_bytes(tail)`."""
    return _facts_in(pa.BufferReader(tail), what)


def footer_bytes(tail: bytes) -> int:
    """How many of a file's last bytes its footer takes, told by the very last ones; 0 where this is no Parquet file's end."""
    # Footer, its length as four bytes, magic: https://parquet.apache.org/docs/file-format/
    return int.from_bytes(tail[-8:-4], "little") + 8 if tail[-4:] == b"PAR1" else 0


def _facts_in(source: Any, what: Path | str) -> FileFacts:
    try:
        metadata = pq.read_metadata(source).metadata or {}
        if _FACTS_KEY not in metadata:
            raise SchemaMismatch(f"{what}: not a file of crypy's trade store")
        return _FACTS.decode(metadata[_FACTS_KEY])
    except (*_UNREADABLE, msgspec.DecodeError) as fault:
        if isinstance(fault, FileNotFoundError):
            raise
        raise DataError(
            f"{what}: not a readable Parquet file ({fault}); move it away and run `crypy data sync`"
        ) from None


def read_trades_file(
    path: Path,
    first_id: int | None = None,
    last_id: int | None = None,
    start_us: int | None = None,
    end_us: int | None = None,
) -> Iterator[TradeBatch]:
    """Rows with ids in `first_id..last_id` and times in `[start_us, end_us)`, a row group at a time."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                statistics = file.metadata.row_group(group)
                if _outside(statistics, 0, first_id, last_id) or _outside(
                    statistics, 5, start_us, end_us and end_us - 1
                ):
                    continue
                batch = _within(
                    _batch(file.read_row_group(group, use_threads=False)), first_id, last_id, start_us, end_us
                )
                if len(batch):
                    yield batch
    except _UNREADABLE as fault:
        if isinstance(fault, FileNotFoundError):
            raise
        raise DataError(f"{path}: damaged ({fault}); move it away and run `crypy data sync`") from None


def verify_file(path: Path) -> FileFacts:
    """What the rows themselves say; raises `DataError` where the footer says otherwise."""
    for _ in proved_rows(path):
        pass
    return read_facts(path)


def proved_rows(path: Path) -> Iterator[TradeBatch]:
    """Every row as it lies in the file; raises `DataError` behind the last where the footer says otherwise."""
    said = read_facts(path)
    finder = FactFinder(str(path))
    for batch in read_trades_file(path):
        finder.add(batch)
        yield batch
    found = finder.facts()
    if found != said:
        raise DataError(
            f"{path}: holds {found.rows:,} rows with digest {found.digest}, its footer says {said.rows:,} with {said.digest}; "
            "move it away and run `crypy data sync`"
        )


@contextmanager
def _writer(path: Path) -> Generator[Any]:
    differences = dict.fromkeys(("id", "first_id", "last_id", "time_us"), "DELTA_BINARY_PACKED")
    open_writer: Any = pq.ParquetWriter  # its annotations leave out the lists that it takes
    with open_writer(
        path,
        _SCHEMA,
        compression="zstd",
        compression_level=1,
        use_dictionary=["price_e8", "quantity_e8"],
        column_encoding=differences,
        write_statistics=["id", "time_us"],
        write_page_checksum=True,
    ) as writer:
        yield writer


def _regrouped(batches: Iterable[TradeBatch]) -> Iterator[TradeBatch]:
    """The same rows in batches of `GROUP_ROWS`, so that equal rows make equal files."""
    held: list[TradeBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += len(batch)
        while rows >= GROUP_ROWS:
            whole = concatenated(held)
            yield whole[:GROUP_ROWS]
            held, rows = [whole[GROUP_ROWS:]], rows - GROUP_ROWS
    if rows:
        yield concatenated(held)


def _table(batch: TradeBatch) -> Any:
    return pa.Table.from_arrays([pa.array(getattr(batch, name)) for name in _COLUMNS], schema=_SCHEMA)


def _batch(table: Any) -> TradeBatch:
    if table.schema.names != list(_COLUMNS):
        raise SchemaMismatch(f"columns {table.schema.names}, expected {list(_COLUMNS)}")
    columns = [table.column(name).to_numpy(zero_copy_only=False) for name in _COLUMNS]
    return TradeBatch(*columns)


def _outside(statistics: Any, column: int, least: int | None, most: int | None) -> bool:
    known = statistics.column(column).statistics
    if known is None or not known.has_min_max:
        return False
    return (most is not None and known.min > most) or (least is not None and known.max < least)


def _within(
    batch: TradeBatch, first_id: int | None, last_id: int | None, start_us: int | None, end_us: int | None
) -> TradeBatch:
    if first_id is not None or last_id is not None:
        begin = 0 if first_id is None else int(np.searchsorted(batch.id, first_id))
        end = len(batch) if last_id is None else int(np.searchsorted(batch.id, last_id, side="right"))
        batch = batch[begin:end]
    keep = np.ones(len(batch), np.bool_)
    if start_us is not None:
        keep &= batch.time_us >= start_us
    if end_us is not None:
        keep &= batch.time_us < end_us
    if keep.all():
        return batch
    return TradeBatch(*(getattr(batch, name)[keep] for name in _COLUMNS))


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each with its name as durable as what will lie in it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_path(folder.parent)
