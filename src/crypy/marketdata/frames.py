"""Trades, bars and candles as pandas, Polars, Arrow or NumPy, and back.

Any frozen dataclass of equally long arrays will do (`TradeBatch`, `Bars`, `Candles`, `CandleRows`). Names and units stay as they are,
with one exception: a column `..._us` that holds instants becomes `...` of a type that knows them, microseconds UTC (`time_us` becomes
`time`). Bars, which know only where they start, get such a column. In NumPy instants stay integers.

Nothing is copied that need not be: Arrow, Polars and NumPy look at the same memory, pandas too where its layout allows
it; booleans are packed into bits. So the arrays are not to be written to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, SchemaMismatch
from crypy.domain.times import US_PER_S, parse_time_us, to_us
from crypy.marketdata.bars import Bars
from crypy.marketdata.trades import TradeBatch

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from crypy.marketdata.store import TradeStore

What = Literal["trades", "bars"]
Form = Literal["polars", "pandas", "arrow", "numpy"]
Instant = str | int | datetime
Columns = dict[str, NDArray[Any]]
V = TypeVar("V")

_E8: Final = 1e8
_INSTANT: Final = "time_us"


def to_numpy(value: object, *, floats: bool = False) -> Columns:
    """The columns by name, as they are. With `floats` each `..._e8` becomes a float under the name without that ending, rounded once."""
    columns: Columns = {}
    if isinstance(value, Bars):
        columns[_INSTANT] = (value.start_s + np.arange(len(value), dtype=np.int64) * value.step_s) * US_PER_S
    for field in fields(cast(Any, value)):
        column = getattr(value, field.name)
        if isinstance(column, np.ndarray):
            columns[field.name] = column
    if floats:
        return {
            name.removesuffix("_e8"): column / _E8 if name.endswith("_e8") else column
            for name, column in columns.items()
        }
    return columns


def to_arrow(value: object, *, floats: bool = False) -> pa.Table:
    """An Arrow table; instants are `timestamp[us, tz=UTC]`."""
    import pyarrow as pa

    arrays: dict[str, Any] = {}
    for name, column in to_numpy(value, floats=floats).items():
        if name.endswith(_INSTANT):
            arrays[name.removesuffix("_us")] = pa.array(column.view("datetime64[us]"), pa.timestamp("us", "UTC"))
        else:
            arrays[name] = pa.array(column)
    return pa.table(arrays)


def to_polars(value: object, *, floats: bool = False) -> pl.DataFrame:
    """A Polars frame; instants are `Datetime("us", "UTC")`."""
    import polars as pl

    return cast(pl.DataFrame, pl.from_arrow(to_arrow(value, floats=floats)))


def to_pandas(value: object, *, floats: bool = False) -> pd.DataFrame:
    """A pandas frame whose index is the first column of instants, in UTC. Raises `ConfigError` where pandas is not installed."""
    pandas = needed("pandas", "sql")
    columns = to_numpy(value, floats=floats)
    frame: dict[str, Any] = {
        name.removesuffix("_us"): pandas.DatetimeIndex(column.view("datetime64[us]"), tz="UTC", copy=False)
        if name.endswith(_INSTANT)
        else column
        for name, column in columns.items()
    }
    index = next((name for name in frame if name.endswith("time")), None)
    times = None if index is None else frame.pop(index).rename(index)
    return pandas.DataFrame(frame, index=times, copy=False)


def trades_from(frame: object) -> TradeBatch:
    """The trades of a frame made from a `TradeBatch`, `floats` not set, in any of the forms.

    Raises `SchemaMismatch` naming columns that are missing or not of whole numbers (`buyer_is_maker`: of truth values).
    """
    columns = _required(_columns(frame), TradeBatch)
    for name, column in columns.items():
        kinds = "b" if name == "buyer_is_maker" else "i"
        if column.dtype.kind not in kinds:
            raise SchemaMismatch(
                f"the column {name} of trades is of {column.dtype}, expected {'bool' if kinds == 'b' else 'int64'}"
            )
    return TradeBatch(**columns)


def bars_from(frame: object, symbol: str) -> Bars:
    """The bars of a frame made from `Bars`. Raises `SchemaMismatch` where columns are missing or the times are not one step apart."""
    columns = _columns(frame)
    times = columns.pop(_INSTANT, None)
    if times is None or not len(times):
        raise SchemaMismatch("a frame of bars needs a column or index `time` and at least one row")
    steps = np.unique(np.diff(times))
    if len(steps) > 1 or (len(steps) and (steps[0] <= 0 or steps[0] % US_PER_S)) or times[0] % US_PER_S:
        raise SchemaMismatch("the times of a frame of bars must be whole seconds and one step apart, without holes")
    step_s = int(steps[0]) // US_PER_S if len(steps) else 1
    return Bars(symbol=symbol, start_s=int(times[0]) // US_PER_S, step_s=step_s, **_required(columns, Bars))


def read(
    store: TradeStore,
    what: What,
    symbol: str,
    start: Instant,
    end: Instant,
    as_: Form = "polars",
    *,
    venue: str = "binance",
    floats: bool = False,
) -> Any:
    """Stored trades or second bars of `[start, end)` as a frame. Instants are ISO 8601, microseconds, or datetimes with a zone. Blocks.

    Raises `ConfigError` for a form or a kind of data that there is not, and where pandas is wanted but not installed.
    """
    forms = {"polars": to_polars, "pandas": to_pandas, "arrow": to_arrow, "numpy": to_numpy}
    if as_ not in forms:
        raise ConfigError(f"as_={as_!r}: choose from {', '.join(forms)}")
    start_us, end_us = instant_us(start), instant_us(end)
    if end_us <= start_us:
        raise ConfigError(f"the end {end} is not after the start {start}")
    if what == "trades":
        return forms[as_](store.trades(venue, symbol, start_us, end_us), floats=floats)
    if what == "bars":
        return forms[as_](store.bars(venue, symbol, start_us // US_PER_S, -(-end_us // US_PER_S)), floats=floats)
    raise ConfigError(f"what={what!r}: choose trades or bars")


def instant_us(instant: Instant) -> int:
    """Microseconds UTC of an instant in any of the forms that people have. Raises `ConfigError` for one without a zone."""
    if isinstance(instant, str):
        return parse_time_us(instant)
    return to_us(instant) if isinstance(instant, datetime) else int(instant)


def needed(module: str, extra: str) -> Any:
    """A module of an optional extra. Raises `ConfigError` saying what to install where it is not there."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise ConfigError(
            f"this needs {module}, which is not installed; `pip install 'crypy[{extra}]'` brings it"
        ) from None


def _required(columns: Mapping[str, NDArray[Any]], kind: type) -> dict[str, NDArray[Any]]:
    scalars = ("symbol", "start_s", "step_s")
    wanted = [field.name for field in fields(kind) if field.name not in scalars]
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise SchemaMismatch(f"no column for {', '.join(missing)} among {', '.join(columns) or 'none'}")
    return {name: columns[name] for name in wanted}


def _columns(frame: object) -> Columns:
    """The columns of a frame in any form, instants as integers under their first name."""
    if isinstance(frame, Mapping):
        return dict(cast(Mapping[str, NDArray[Any]], frame))
    if hasattr(frame, "reset_index"):  # pandas, which need not be installed to ask this
        frame = import_module("pyarrow").Table.from_pandas(cast(Any, frame).reset_index(), preserve_index=False)
    elif hasattr(frame, "to_arrow"):
        frame = cast(Any, frame).to_arrow()
    table: Any = frame
    columns: Columns = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if str(column.type).startswith("timestamp"):
            columns[f"{name}_us"] = (
                column.cast(import_module("pyarrow").timestamp("us", "UTC")).cast("int64").to_numpy()
            )
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return columns
