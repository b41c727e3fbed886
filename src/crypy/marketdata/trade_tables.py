"""Trades in the columns of `TradeBatch` from Parquet, Arrow, Feather and NPZ files: what `crypy data export` writes, read back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from crypy.domain.errors import DataError
from crypy.marketdata.frames import trades_from
from crypy.marketdata.trades import TradeBatch

COLUMNS: Final = tuple(field.name for field in fields(TradeBatch))
_ROWS: Final = 131_072
_BROKEN: Final = (pa.ArrowInvalid, OSError, ValueError, EOFError, BadZipFile)


def is_trade_table(path: Path) -> bool:
    """Whether the file has the columns of trades."""
    try:
        return set(COLUMNS) <= {"time_us" if name == "time" else name for name in _names(path)}
    except _BROKEN:
        return False  # whoever reads the file as what it is says what is wrong with it


def read_trade_table(path: Path) -> Iterator[TradeBatch]:
    """The trades of such a file, a group at a time (an NPZ file at once). Raises `DataError` for a damaged one."""
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(_ROWS):
                    yield trades_from(pa.Table.from_batches([batch]))
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                yield TradeBatch(**{name: file[name] for name in COLUMNS})
        else:
            with ipc.open_file(path) as reader:
                for index in range(reader.num_record_batches):
                    yield trades_from(pa.Table.from_batches([reader.get_batch(index)]))
    except _BROKEN as fault:
        raise DataError(f"{path.name}: cannot be read ({fault}); it is damaged") from fault


def _names(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return pq.read_schema(path).names
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return list(file.files)
    with ipc.open_file(path) as reader:
        schema: Any = reader.schema
        return schema.names
