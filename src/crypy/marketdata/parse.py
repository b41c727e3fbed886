"""Bytes of a trade archive to batches of trades, in pieces of any size, with every damaged line told by file and number.

Two layouts are read, with or without a header, with or without their last column (futures archives lack it),
lines ended by LF or CR LF:

    aggTrades   id, price, quantity, first trade id, last trade id, time, buyer is maker[, best match]
    trades      id, price, quantity, quote quantity, time, buyer is maker[, best match]

A time of 13 digits is in milliseconds, one of 16 in microseconds, each line for itself. Void aggregates (price and quantity
0, both trade ids -1) are kept: they hold their place among the ids and carry no trades. Nothing else may
be zero or negative as a price, and no damaged line is ever skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np

from crypy.domain.errors import DataError
from crypy.marketdata.trade_lines import PADDING, Bytes, parse_lines
from crypy.marketdata.trades import TradeBatch

TradeKind = Literal["aggTrades", "trades"]
TRADE_KINDS: Final[tuple[TradeKind, ...]] = ("aggTrades", "trades")

# Columns of a batch of this many rows stay in the second-level cache from parsing to folding.
BATCH_ROWS: Final = 16_384
_LONGEST_LINE: Final = 4_096

# In the order of the constants in `trade_lines`.
_FIELDS: Final = (
    "id", "price", "quantity", "first trade id", "last trade id", "time", "buyer is maker", "best match", "quote quantity", "line",
)  # fmt: skip
_REASONS: Final = (
    "", "is not a non-negative number", "is too large", "has more than eight decimals",
    "is neither milliseconds (13 digits) nor microseconds (16 digits)", "is neither True nor False", "ends too early",
    "has too many fields", "is zero", "marks a void aggregate, but the rest of the line does not", "is below the first trade id",
)  # fmt: skip


class LineParser:
    """Trades from the bytes of one file, fed in pieces cut anywhere.

    >>> parser = LineParser("BTCUSDT-aggTrades-2025-01-01.csv", "aggTrades")
    >>> list(parser.feed(b"7,94591.79000000,0.00100000,11,12,173568960000"))
    []
    >>> [batch] = [*parser.feed(b"0123,True,True"), *parser.finish()]
    >>> batch.price_e8.tolist(), batch.time_us.tolist(), batch.buyer_is_maker.tolist()
    ([9459179000000], [1735689600000123], [True])

    Batches own their columns and hold at most `batch_rows` rows, in the order of the file. Raises `DataError`
    for a damaged line; `line` is then its number, counted from 1.
    """

    def __init__(self, name: str, kind: TradeKind, batch_rows: int = BATCH_ROWS) -> None:
        self.name = name
        self.line = 1
        self._aggregated = kind == "aggTrades"
        self._batch_rows = batch_rows
        self._data: Bytes = np.zeros(1 << 20, np.uint8)
        self._held = 0
        self._batch = _empty(batch_rows)
        self._rows = 0

    def feed(self, piece: bytes) -> Iterator[TradeBatch]:
        """The batches that are full after this piece; the rest is held back."""
        end = self._append(piece)
        last_line_feed = piece.rfind(b"\n")
        if last_line_feed < 0:
            if self._held > _LONGEST_LINE:
                raise DataError(
                    f"{self.name} line {self.line}: no line ends within {_LONGEST_LINE} bytes; this is no trade archive"
                )
            return
        whole = end - len(piece) + last_line_feed + 1
        yield from self._parse(whole)
        self._data[: end - whole] = self._data[whole:end]
        self._held = end - whole

    def finish(self) -> Iterator[TradeBatch]:
        """What is left, a last line without a line feed included."""
        if self._held:
            yield from self._parse(self._append(b"\n"))
            self._held = 0
        if self._rows:
            yield self._batch[: self._rows]
            self._batch, self._rows = _empty(self._batch_rows), 0

    def _append(self, piece: bytes) -> int:
        end = self._held + len(piece)
        if end + PADDING > len(self._data):
            self._data = np.concatenate([self._data, np.zeros(end + PADDING, np.uint8)])
        self._data[self._held : end] = np.frombuffer(piece, np.uint8)
        self._held = end
        return end

    def _parse(self, end: int) -> Iterator[TradeBatch]:
        at = self._behind_header(end) if self.line == 1 else 0
        while at < end:
            batch = self._batch
            self._rows, at, lines, fault = parse_lines(
                self._data, at, end, self._aggregated, self._rows, batch.id, batch.price_e8, batch.quantity_e8,
                batch.first_id, batch.last_id, batch.time_us, batch.buyer_is_maker,
            )  # fmt: skip
            self.line += lines
            if fault:
                raise self._damaged(at, end, fault)
            if self._rows == self._batch_rows:
                self._batch, self._rows = _empty(self._batch_rows), 0
                yield batch

    def _behind_header(self, end: int) -> int:
        """The place of the first line of data; a header is a first line whose first two cells begin with letters."""
        first = bytes(self._data[: min(end, _LONGEST_LINE)]).split(b"\n", 1)[0]
        cells = first.removeprefix(b"\xef\xbb\xbf").split(b",")
        if len(cells) < 2 or not all(cell.strip(b' "')[:1].isalpha() for cell in cells[:2]):
            return 0
        self.line += 1
        return len(first) + 1

    def _damaged(self, at: int, end: int, fault: int) -> DataError:
        text = bytes(self._data[at : min(end, at + 200)]).split(b"\n", 1)[0].decode("ascii", "replace").strip()
        return DataError(f"{self.name} line {self.line}: {_FIELDS[fault >> 8]} {_REASONS[fault & 255]}: {text!r}")


def _empty(rows: int) -> TradeBatch:
    ids, prices, quantities, firsts, lasts, times = (np.empty(rows, np.int64) for _ in range(6))
    return TradeBatch(ids, prices, quantities, firsts, lasts, times, np.empty(rows, np.bool_))
