"""Closed candles as columns of exact integers: the form in which they are parsed, compared and stored.

A candle is known by its open time, which is a whole multiple of its length. One open time told twice must tell the same candle;
anything else raises `DataError` that shows both, because one of the sources is wrong and nobody can say which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import E8, Candle, format_e8
from crypy.domain.times import DAY_S, US_PER_S, iso

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_PRICES: Final = ("open", "high", "low", "close")
_AMOUNTS: Final = ("volume", "quote_volume", "taker_buy_volume")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": DAY_S}
# From it on a value in units of 1e-8 does not fit 64 bits.
_MOST_WHOLE: Final = 92_233_720_368


@dataclass(frozen=True, slots=True)
class CandleRows:
    """Closed candles of one symbol and length, one array a column, all of one length.

    `open_time_us` is in microseconds UTC, prices and volumes in units of 1e-8 of the quote or base asset. `count` is the number of single trades.
    What a venue does not tell (see its `CandleSource`) is 0. Not to be written to.
    """

    open_time_us: Ints
    open_e8: Ints
    high_e8: Ints
    low_e8: Ints
    close_e8: Ints
    volume_e8: Ints
    quote_volume_e8: Ints
    count: Ints
    taker_buy_volume_e8: Ints
    taker_buy_quote_volume_e8: Ints

    def __len__(self) -> int:
        return len(self.open_time_us)

    def __getitem__(self, rows: slice | Ints | Bools) -> CandleRows:
        return CandleRows(*(column[rows] for column in self.columns()))

    def columns(self) -> tuple[Ints, ...]:
        """The arrays in the order of `COLUMNS`."""
        return tuple(getattr(self, name) for name in COLUMNS)

    def candles(self, symbol: str, interval_s: int) -> tuple[Candle, ...]:
        """The rows as events, prices and volumes as floats."""
        step_us = interval_s * US_PER_S
        return tuple(
            Candle(symbol, at, at + step_us, o / E8, h / E8, low / E8, c / E8, v / E8, True, q / E8, n, b / E8)
            for at, o, h, low, c, v, q, n, b in zip(*(column.tolist() for column in self.columns()[:-1]), strict=True)
        )


COLUMNS: Final = tuple(field.name for field in fields(CandleRows))


def interval_text(interval_s: int) -> str:
    """A length of candle as venues write it: `1s`, `1m`, `4h`, `1d`.

    >>> interval_text(60), interval_text(14_400)
    ('1m', '4h')
    """
    unit = next(unit for unit in ("d", "h", "m", "s") if interval_s % _UNITS_S[unit] == 0)
    return f"{interval_s // _UNITS_S[unit]}{unit}"


def kline_kind(interval_s: int) -> str:
    """The mark of a venue's own candles in coverage, reports and bars: `klines:1s`."""
    return f"klines:{interval_text(interval_s)}"


def require_interval(interval_s: int) -> int:
    """The same length. Raises `ConfigError` for one that does not divide a UTC day: its candles would have no fixed grid."""
    if not 0 < interval_s <= DAY_S or DAY_S % interval_s:
        raise ConfigError(f"candles of {interval_s} s do not divide a day; stored candles are of 1 s to 1 day and do")
    return interval_s


def no_candles() -> CandleRows:
    """No rows."""
    return CandleRows(*(np.empty(0, np.int64) for _ in COLUMNS))


def joined(parts: Iterable[CandleRows]) -> CandleRows:
    """All rows in the order given."""
    found = [part for part in parts if len(part)]
    if len(found) == 1:
        return found[0]
    if not found:
        return no_candles()
    return CandleRows(*(np.concatenate(columns) for columns in zip(*(part.columns() for part in found), strict=True)))


def in_open_order(what: str, rows: CandleRows) -> CandleRows:
    """The rows ascending by open time, each once; `what` names them in the `DataError` of a candle told in two ways."""
    times = rows.open_time_us
    if np.all(times[1:] > times[:-1]):
        return rows
    rows = rows[np.argsort(times, kind="stable")]
    repeated = np.flatnonzero(rows.open_time_us[1:] == rows.open_time_us[:-1])
    if not len(repeated):
        return rows
    same = np.logical_and.reduce([column[repeated] == column[repeated + 1] for column in rows.columns()])
    if not same.all():
        row = int(repeated[int(np.argmin(same))])
        raise DataError(
            f"{what}: the candle of {iso(int(rows.open_time_us[row]))} is told in two ways, ({_told(rows, row)}) and "
            f"({_told(rows, row + 1)}); one of the sources is wrong, and neither was stored over the other"
        )
    keep = np.ones(len(rows), np.bool_)
    keep[repeated] = False
    return rows[keep]


def require_candles(what: str, rows: CandleRows, interval_s: int) -> None:
    """Raises `DataError` naming the first row that is no candle of this length: off the grid, a price of zero, one outside low and high,
    a negative volume or count, more bought than traded."""
    if not len(rows):
        return
    low, high = rows.low_e8, rows.high_e8
    good = rows.open_time_us % (interval_s * US_PER_S) == 0
    good &= (
        (low > 0) & (low <= rows.open_e8) & (low <= rows.close_e8) & (rows.open_e8 <= high) & (rows.close_e8 <= high)
    )
    good &= (rows.count >= 0) & (rows.taker_buy_volume_e8 >= 0) & (rows.taker_buy_volume_e8 <= rows.volume_e8)
    good &= (rows.taker_buy_quote_volume_e8 >= 0) & (rows.taker_buy_quote_volume_e8 <= rows.quote_volume_e8)
    if good.all():
        return
    row = int(np.argmin(good))
    at = iso(int(rows.open_time_us[row]))
    if rows.open_time_us[row] % (interval_s * US_PER_S):
        raise DataError(f"{what}: a candle opens at {at}, where none of {interval_text(interval_s)} can open")
    raise DataError(
        f"{what}: the candle of {at} is none ({_told(rows, row)}); prices must be positive and between low and high, volumes and "
        "counts not negative, and no more bought than traded"
    )


def rows_of(candles: Sequence[Candle]) -> CandleRows:
    """Columns of candle events. Prices must be decimals of at most eight places; volumes, which some venues derive, are rounded to that.

    Raises `DataError` for a candle that is not closed, and for a number that does not fit.
    """
    for candle in candles:
        if not candle.closed:
            raise DataError(
                f"{candle.symbol}: the candle of {iso(candle.open_time_us)} is still open; only closed ones are stored"
            )
    prices = [[_price_e8(candle, getattr(candle, name)) for candle in candles] for name in _PRICES]
    amounts = [[_amount_e8(candle, getattr(candle, name)) for candle in candles] for name in _AMOUNTS]
    times, counts = [candle.open_time_us for candle in candles], [candle.count for candle in candles]
    columns = [times, *prices, *amounts[:2], counts, amounts[2], [0] * len(candles)]
    return CandleRows(*(np.array(column, np.int64) for column in columns))


def _price_e8(candle: Candle, price: float) -> int:
    # The shortest decimal that names the float is what the venue wrote, up to fifteen digits.
    exact = Decimal(repr(price)) * E8
    if not exact.is_finite() or exact != exact.to_integral_value() or abs(exact) >= _MOST_WHOLE * E8:
        raise DataError(
            f"{candle.symbol}: the candle of {iso(candle.open_time_us)} has a price of {price!r}; stored prices have at most eight "
            f"decimals and are below {_MOST_WHOLE:,}"
        )
    return int(exact)


def _amount_e8(candle: Candle, amount: float) -> int:
    exact = Decimal(repr(amount)) * E8
    if not exact.is_finite() or abs(exact) >= _MOST_WHOLE * E8:
        raise DataError(
            f"{candle.symbol}: the candle of {iso(candle.open_time_us)} has a volume of {amount!r}; stored volumes are below "
            f"{_MOST_WHOLE:,}"
        )
    return int(exact.to_integral_value(ROUND_HALF_EVEN))


def _told(rows: CandleRows, row: int) -> str:
    values = {name: int(column[row]) for name, column in zip(COLUMNS, rows.columns(), strict=True)}
    return ", ".join(
        f"{name.removesuffix('_e8').replace('_', ' ')} {_shown(name, value)}"
        for name, value in values.items()
        if name != "open_time_us"
    )


def _shown(name: str, value: int) -> str:
    if name == "count":
        return str(value)
    return format_e8(value) if value >= 0 else f"-{format_e8(-value)}"
