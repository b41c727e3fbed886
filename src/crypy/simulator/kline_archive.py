"""Kline zips of a source, folded from the very trades that its archive and REST give.

    open time, open, high, low, close, volume, close time, quote volume, count, taker-buy volume, taker-buy quote volume, 0

A row for each interval from the market's first trade on, traded or not, as the venue writes them; times in milliseconds for days before 2025,
in microseconds from then on. Files are made on first demand, those of all symbols in one pass, and kept until the simulator stops.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.archive_files import ArchiveName, ZipWriter, parse_name, read_csv
from crypy.simulator.archive_rows import spoiled
from crypy.simulator.binance_klines import INTERVALS, length_us
from crypy.simulator.binance_source import BinanceSource, Span
from crypy.simulator.folded_candles import CLOSE, COUNT, HIGH, LOW, OPEN, VOLUME, fold_trades

Ints = NDArray[np.int64]

_DAY_US: Final = DAY_S * US_PER_S
# 2025-01-01.
_FIRST_MICROSECOND_DAY: Final = 20_089
# Longer ones cross days, and the archive spells a month in another way than REST.
_LENGTHS: Final = frozenset(interval for interval in INTERVALS if interval[-1] in "smh" or interval == "1d")
_HEADER: Final = b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
_AMOUNTS: Final = (OPEN, HIGH, LOW, CLOSE, VOLUME)


@dataclass(frozen=True, slots=True)
class KlineName:
    """What a path of the archive names: klines of one length over the span of a file of trades."""

    span: ArchiveName
    interval: str

    @property
    def stem(self) -> str:
        """`BTCUSDT-1s-2025-01-15`."""
        return self.span.stem.replace(f"-{self.span.kind}-", f"-{self.interval}-")

    @property
    def end_us(self) -> int:
        """The first instant after what the file covers."""
        return self.span.end_us


class KlineFiles:
    """Makes and keeps the zips. Not for several threads at once: it draws from its own twin of the source."""

    def __init__(self, source: BinanceSource, folder: Path) -> None:
        self._source = source.twin()
        self._symbols = tuple(listing.symbol for listing in source.listings)
        self._folder = folder

    def path(self, name: KlineName, rows_fault: str = "") -> Path | None:
        """The zip of a name, `None` where the source has nothing of that time. `rows_fault` spoils its rows."""
        path = self.ready(name, rows_fault)
        if not path.exists():
            if rows_fault:
                whole = self.path(name)
                if whole is not None:
                    _write(path, name.stem, [_spoiled(read_csv(whole), rows_fault)])
            else:
                self._make(name)
        return path if path.exists() else None

    def ready(self, name: KlineName, rows_fault: str = "") -> Path:
        """Where the zip of a name is, or will be once it is made."""
        return self._folder / f"{name.span.period}-{name.stem}{rows_fault and '.' + rows_fault}.zip"

    def _make(self, name: KlineName) -> None:
        """Write the files of all symbols that have trades in the span."""
        days: dict[str, list[bytes]] = {}
        for day in name.span.days:
            for symbol in self._symbols:
                rows = self._day(symbol, name.interval, day)
                if rows is not None:
                    days.setdefault(symbol, []).append(rows)
        for symbol, chunks in days.items():
            span = ArchiveName(name.span.period, name.span.kind, symbol, name.span.first)
            other = KlineName(span, name.interval)
            _write(self.ready(other), other.stem, chunks)

    def _day(self, symbol: str, interval: str, day: int) -> bytes | None:
        """A day's rows as CSV, `None` where the source has no such day."""
        batch = self._source.day_trades(symbol, "aggTrades", day)
        if batch is None:
            batch = self._source.day_trades(symbol, "trades", day)
        if batch is None:
            return None
        opens = np.arange(day * _DAY_US, (day + 1) * _DAY_US + 1, length_us(interval), dtype=np.int64)
        bars = fold_trades(batch, opens)
        known = _with_closes(bars, self._close_before(symbol, day * _DAY_US))
        unit_us = 1_000 if day < _FIRST_MICROSECOND_DAY else 1
        return _csv(opens[:-1][known] // unit_us, opens[1:][known] // unit_us - 1, bars[known])

    def _close_before(self, symbol: str, start_us: int) -> int:
        """The last price before an instant, 0 where there is none."""
        span = Span(1, end_us=start_us - 1)
        found: list[TradeBatch] = [
            self._source.trades(symbol, kind, span, start_us) for kind in ("aggTrades", "trades")
        ]
        return next((int(batch.price_e8[-1]) for batch in found if len(batch)), 0)


def parse_kline_name(period: str, symbol: str, interval: str, file: str) -> KlineName | None:
    """The name behind a path's parts and its file `{symbol}-{interval}-{date}.zip`; `None` for what the archive does not have."""
    head = f"{symbol}-{interval}-"
    if interval not in _LENGTHS or not file.startswith(head):
        return None
    span = parse_name(period, "aggTrades", symbol, f"{symbol}-aggTrades-{file.removeprefix(head)}")
    return None if span is None else KlineName(span, interval)


def _with_closes(bars: Ints, close: int) -> NDArray[np.bool_]:
    """Give bars without trades the close before them, in place; which bars have prices then."""
    traded = bars[:, COUNT] > 0
    source = np.maximum.accumulate(np.where(traded, np.arange(len(bars)), -1))
    carried = np.where(source >= 0, bars[np.maximum(source, 0), CLOSE], close)
    for column in (OPEN, HIGH, LOW, CLOSE):
        bars[~traded, column] = carried[~traded]
    return carried > 0


def _csv(opens: Ints, last: Ints, bars: Ints) -> bytes:
    import polars as pl  # heavy, and most simulators are never asked for a kline file

    prices = [_decimals(bars[:, column]) for column in _AMOUNTS]
    quote, buy, buy_quote = (_decimals(bars[:, column]) for column in (5, 7, 8))
    columns = [opens, *prices, last, quote, bars[:, COUNT], buy, buy_quote, np.zeros(len(bars), np.int64)]
    table = pa.table({str(number): pa.array(column) for number, column in enumerate(columns)})
    out = io.BytesIO()
    # Arrow's own writer would put 0E-8 for zero.
    pl.DataFrame(table).write_csv(out, include_header=False)
    return out.getvalue()


def _decimals(values_e8: Ints) -> pa.Array:
    """Values with eight decimals, made of their integers without a text or a float between."""
    words = np.zeros((len(values_e8), 2), np.int64)
    words[:, 0] = values_e8
    return pa.Array.from_buffers(pa.decimal128(38, 8), len(values_e8), [None, pa.py_buffer(words)])


def _spoiled(csv: bytes, fault: str) -> bytes:
    """The file's rows with one thing wrong; see `archive_rows` for what the faults are."""
    if fault == "header":
        return _HEADER + csv
    if fault != "mixed_units":
        return spoiled(csv, fault)
    rows = csv.splitlines(keepends=True)
    middle = len(rows) // 2
    return b"".join(rows[:middle] + [_other_unit(row) for row in rows[middle:]])


def _other_unit(row: bytes) -> bytes:
    """Both times of a row, cut to milliseconds or told to the microsecond."""
    cells = row.split(b",")
    micro = len(cells[0]) == 16
    cells[0] = cells[0][:-3] if micro else cells[0] + b"000"
    cells[6] = cells[6][:-3] if micro else cells[6] + b"999"
    return b",".join(cells)


def _write(path: Path, stem: str, chunks: list[bytes]) -> None:
    writer = ZipWriter(path, stem + ".csv")
    try:
        writer.write(chunks)
        writer.finish()
    finally:
        writer.discard()
