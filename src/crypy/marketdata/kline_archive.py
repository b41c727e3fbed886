"""Candles out of archive files: zip, gzip or plain CSV of Binance's kline layout, with every damaged line told by file and number.

The file is inflated in a thread of its own while the caller's parses (see `archive`), in constant memory. What a kline file promises is
checked line by line: it opens on the grid, ends where the next one begins, and the files are in order. With or without a header,
lines ended by LF or CR LF.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.archive import inflate
from crypy.marketdata.candle_rows import CandleRows, interval_text, require_candles
from crypy.marketdata.kline_lines import COLUMN_COUNT, END_TIME, PADDING, Ints, parse_kline_lines
from crypy.marketdata.trade_ahead import read_ahead

# Columns of a batch of this many rows stay in the second-level cache from parsing to checking.
BATCH_ROWS: Final = 8_192
_LONGEST_LINE: Final = 4_096
# In the order of the constants in `kline_lines`.
_FIELDS: Final = (
    "open time", "open", "high", "low", "close", "volume", "close time", "quote volume", "count", "taker buy volume",
    "taker buy quote volume", "line",
)  # fmt: skip
_REASONS: Final = (
    "", "is not a non-negative number", "is too large", "has more than eight decimals",
    "is neither milliseconds (13 digits) nor microseconds (16 digits)", "ends the line too early", "has too many fields",
)  # fmt: skip


def read_klines(path: Path, interval_s: int, batch_rows: int = BATCH_ROWS) -> Generator[CandleRows]:
    """Batches of the candles of one file, ascending by open time; they own their columns.

    Raises `DataError` naming file and line for a damaged one, and for candles of another length or out of order.
    """
    parser = KlineParser(path.name, interval_s, batch_rows)
    with read_ahead(inflate(path)) as pieces:
        for piece in pieces:
            yield from parser.feed(piece)
    yield from parser.finish()


class KlineParser:
    """Candles from the bytes of one file, fed in pieces cut anywhere.

    >>> parser = KlineParser("BTCUSDT-1s-2025-01-01.csv", 1)
    >>> line = b"1735689600000000,0.316,0.316,0.316,0.316,27.00000000,1735689600999999,8.532,1,0.0,0.0,0"
    >>> [rows] = [*parser.feed(line), *parser.finish()]
    >>> rows.close_e8.tolist(), rows.quote_volume_e8.tolist()
    ([31600000], [853200000])

    Raises `DataError` as `read_klines` does; `line` is then its number, counted from 1.
    """

    def __init__(self, name: str, interval_s: int, batch_rows: int = BATCH_ROWS) -> None:
        self.name = name
        self.line = 1
        self._interval_s = interval_s
        self._batch_rows = batch_rows
        self._held = b""
        self._out: Ints = np.empty((COLUMN_COUNT, batch_rows), np.int64)
        self._rows = 0
        self._last_us = -1

    def feed(self, piece: bytes) -> Iterator[CandleRows]:
        """The batches that are full after this piece; the rest is held back."""
        text = self._held + piece
        whole = text.rfind(b"\n") + 1
        self._held = text[whole:]
        if len(self._held) > _LONGEST_LINE:
            raise DataError(
                f"{self.name} line {self.line}: no line ends within {_LONGEST_LINE} bytes; this is no kline archive"
            )
        yield from self._parse(text[:whole])

    def finish(self) -> Iterator[CandleRows]:
        """What is left, a last line without a line feed included."""
        held, self._held = self._held, b""
        if held:
            yield from self._parse(held + b"\n")
        if self._rows:
            yield self._batch()

    def _parse(self, text: bytes) -> Iterator[CandleRows]:
        data = np.frombuffer(text + bytes(PADDING), np.uint8)
        at = self._behind_header(text) if self.line == 1 else 0
        while at < len(text):
            self._rows, at, lines, fault = parse_kline_lines(data, at, len(text), self._out, self._rows)
            self.line += lines
            if fault:
                shown = text[at : at + 200].split(b"\n", 1)[0].decode("ascii", "replace").strip()
                raise DataError(
                    f"{self.name} line {self.line}: {_FIELDS[fault >> 8]} {_REASONS[fault & 255]}: {shown!r}"
                )
            if self._rows == self._batch_rows:
                yield self._batch()

    def _behind_header(self, text: bytes) -> int:
        """The place of the first line of data; a header is a first line whose first two cells begin with letters."""
        first = text.split(b"\n", 1)[0]
        cells = first.removeprefix(b"\xef\xbb\xbf").split(b",")
        if len(cells) < 2 or not all(cell.strip(b' "')[:1].isalpha() for cell in cells[:2]):
            return 0
        self.line += 1
        return len(first) + 1

    def _batch(self) -> CandleRows:
        found, self._out, rows = self._out, np.empty((COLUMN_COUNT, self._batch_rows), np.int64), self._rows
        self._rows = 0
        columns = [found[field, :rows] for field in range(COLUMN_COUNT)]
        ends = columns.pop(END_TIME)
        batch = CandleRows(*columns)
        self._check(batch, ends)
        return batch

    def _check(self, batch: CandleRows, ends: Ints) -> None:
        require_candles(self.name, batch, self._interval_s)
        opens = batch.open_time_us
        wrong = ends - opens != self._interval_s * US_PER_S
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{self.name}: the candle that opens at {iso(int(opens[row]))} ends at {iso(int(ends[row]))}; a file of "
                f"{interval_text(self._interval_s)} was expected"
            )
        steps = np.diff(opens, prepend=self._last_us)
        if not (steps > 0).all():
            row = int(np.argmin(steps > 0))
            raise DataError(f"{self.name}: the candle of {iso(int(opens[row]))} comes again, or after a later one")
        self._last_us = int(opens[-1])
