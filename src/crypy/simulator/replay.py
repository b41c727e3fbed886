"""Recordings of Binance's spot streams, read for replay: our own recorder's (`recorded_own`) and those that others publish.

The latter are folders of gzipped files. Each line is `<receive time in ns> <JSON as received>`: frames of the
combined stream, and REST depth snapshots (which name no symbol: they belong to the symbol of their file). Events are
ordered by receive time across files, because that is the order in which the recorder saw them; the
recorder's clock may differ from the venue's.

Frames are kept as received, in memory: about 300 bytes each.
"""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import Trade, parse_e8
from crypy.domain.times import venue_time_us
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.binance_wire import uncombined
from crypy.simulator.recorded_csv import csv_lines, csv_symbol
from crypy.simulator.recorded_own import holds_own, own_lines

Ints = NDArray[np.int64]
_PREFIX = b'{"stream":"'


class _Event(msgspec.Struct):
    """The fields that trades, aggregates and quotes need of any recorded event; numbers stay text until they are exact."""

    e: str = ""
    s: str = ""
    t: int = -1
    f: int = -1
    l: int = -1  # noqa: E741
    p: str = ""
    q: str = ""
    T: int = 0
    m: bool = False
    u: int = 0
    a: str | int | list[list[str]] = ""
    A: str = ""
    b: str | int | list[list[str]] = ""
    B: str = ""
    U: int = 0


class _Snapshot(msgspec.Struct):
    lastUpdateId: int  # noqa: N815
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class DepthEvent:
    """A recorded change of the book, or a snapshot of it (`first_update_id` -1); levels in units of 1e-8, quantity absolute."""

    received_us: int
    first_update_id: int
    last_update_id: int
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class RecordedSymbol:
    """What was recorded of one symbol.

    `trades` and `aggregates` with the receive time of each row (ascending); `quotes` [row, 6] = receive time, bid, bid
    quantity, ask, ask quantity, update id; `depth` in the order of reception.
    """

    symbol: str
    trades: TradeBatch
    trades_received_us: Ints
    aggregates: TradeBatch
    aggregates_received_us: Ints
    quotes: Ints
    depth: tuple[DepthEvent, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """All frames in the order of reception: `received_us` [n], `streams` names and `stream_of` [n] their index, `data` [n]."""

    received_us: Ints
    streams: tuple[str, ...]
    stream_of: NDArray[np.int32]
    data: tuple[bytes, ...]
    symbols: dict[str, RecordedSymbol]

    @property
    def start_us(self) -> int:
        """Receive time of the first frame: where the clock of a replay begins."""
        return int(self.received_us[0])

    @property
    def end_us(self) -> int:
        """Receive time of the last frame."""
        return int(self.received_us[-1])


def load_recording(folder: Path, symbols: Collection[str]) -> Recording:
    """Read the files of these symbols in a folder.

    Raises `ConfigError` when the folder has none of them, `DataError` naming file and line for what is no recording.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder to replay")
    lines: list[tuple[int, str, bytes]] = []
    builders = {symbol: _SymbolBuilder(symbol) for symbol in symbols}
    seen: list[str] = []
    for path in sorted(folder.glob("*.gz")):
        symbol = csv_symbol(path) if path.name.endswith(".csv.gz") else _symbol_of(path)
        seen.append(symbol)
        if symbol in builders:
            lines += list(csv_lines(path) if path.name.endswith(".csv.gz") else _lines(path, builders[symbol]))
    if holds_own(folder):
        lines += _own_lines(folder, builders, seen)
    if not lines:
        raise ConfigError(
            f"{folder}: no recording of {', '.join(symbols)}; it holds {', '.join(sorted(set(seen))) or 'no recorded streams'}"
        )
    lines.sort(key=_received)
    for received_ns, stream, data in lines:
        builders[stream.partition("@")[0].upper()].add(received_ns // 1_000, stream, data)
    names = tuple(sorted({stream for _, stream, _ in lines}))
    number = {name: row for row, name in enumerate(names)}
    return Recording(
        np.array([ns // 1_000 for ns, _, _ in lines], np.int64),
        names,
        np.array([number[stream] for _, stream, _ in lines], np.int32),
        tuple(data for _, _, data in lines),
        {symbol: builder.build() for symbol, builder in builders.items() if builder.frames},
    )


def _own_lines(folder: Path, builders: dict[str, _SymbolBuilder], seen: list[str]) -> Iterator[tuple[int, str, bytes]]:
    """Frames of our own recording as (receive ns, stream, inner JSON); snapshots go to the builders at once."""
    for read in own_lines(folder):
        seen.append(read.symbol)
        builder = builders.get(read.symbol)
        if builder is not None and read.stream:
            yield read.received_ns, read.stream, read.data
        elif builder is not None:
            builder.add_snapshot(read.received_ns // 1_000, read.data, str(folder))


def _received(line: tuple[int, str, bytes]) -> int:
    return line[0]


def _symbol_of(path: Path) -> str:
    """The symbol of the first stream frame of a file; files hold one symbol each."""
    with gzip.open(path) as file:
        for line in file:
            _, _, text = line.partition(b" ")
            if text.startswith(_PREFIX):
                return text[len(_PREFIX) : text.index(b"@")].decode().upper()
    return ""


def _lines(path: Path, builder: _SymbolBuilder) -> Iterator[tuple[int, str, bytes]]:
    """Frames of a file as (receive ns, stream, inner JSON); snapshots go to the builder at once."""
    try:
        with gzip.open(path) as file:
            for number, line in enumerate(file, 1):
                stamp, _, text = line.rstrip(b"\n").partition(b" ")
                if not stamp.isdigit():
                    raise DataError(f"{path}:{number}: no receive time at the start of the line")
                if text.startswith(_PREFIX):
                    inside = uncombined(text)
                    if inside is None:
                        raise DataError(f"{path}:{number}: not a frame of a combined stream")
                    yield int(stamp), *inside
                else:
                    builder.add_snapshot(int(stamp) // 1_000, text, f"{path}:{number}")
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise DataError(f"{path}: cannot be read as gzip to its end: {error}") from None


class _SymbolBuilder:
    """Collects one symbol's events while its frames are read."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.frames = 0
        self._trades: list[Trade] = []
        self._aggregates: list[Trade] = []
        self._quotes: list[tuple[int, int, int, int, int, int]] = []
        self._depth: list[DepthEvent] = []
        self._decoder = msgspec.json.Decoder(_Event)
        self._snapshots = msgspec.json.Decoder(_Snapshot)

    def add(self, received_us: int, stream: str, data: bytes) -> None:
        self.frames += 1
        kind = stream.partition("@")[2]
        try:
            event = self._decoder.decode(data)
        except msgspec.DecodeError as error:
            raise DataError(f"{stream}: a recorded frame of {received_us} cannot be read: {error}") from None
        if kind == "trade":
            self._trades.append(_trade(event, event.t, event.t, event.t, received_us))
        elif kind == "aggTrade" and isinstance(event.a, int):
            self._aggregates.append(_trade(event, event.a, event.f, event.l, received_us))
        elif kind == "bookTicker" and isinstance(event.a, str) and isinstance(event.b, str):
            self._quotes.append(
                (received_us, parse_e8(event.b), parse_e8(event.B), parse_e8(event.a), parse_e8(event.A), event.u)
            )
        elif kind.startswith("depth") and isinstance(event.a, list) and isinstance(event.b, list):
            self._depth.append(DepthEvent(received_us, event.U, event.u, _levels(event.b), _levels(event.a)))

    def add_snapshot(self, received_us: int, text: bytes, where: str) -> None:
        try:
            snapshot = self._snapshots.decode(text)
        except msgspec.DecodeError as error:
            raise DataError(f"{where}: neither a stream's frame nor a depth snapshot: {error}") from None
        self._depth.append(
            DepthEvent(received_us, -1, snapshot.lastUpdateId, _levels(snapshot.bids), _levels(snapshot.asks))
        )

    def build(self) -> RecordedSymbol:
        trades, received = _ascending(self._trades)
        aggregates, aggregates_received = _ascending(self._aggregates)
        return RecordedSymbol(
            self.symbol,
            trades,
            received,
            aggregates,
            aggregates_received,
            np.array(self._quotes, np.int64).reshape(-1, 6),
            tuple(sorted(self._depth, key=_depth_received)),
        )


def _trade(event: _Event, number: int, first: int, last: int, received_us: int) -> Trade:
    return Trade(
        event.s,
        number,
        parse_e8(event.p),
        parse_e8(event.q),
        first,
        last,
        venue_time_us(event.T),
        event.m,
        received_us,
    )


def _ascending(trades: list[Trade]) -> tuple[TradeBatch, Ints]:
    """By id, once each; and the time from which each row and all before it had been received."""
    unique = sorted({trade.id: trade for trade in reversed(trades)}.values(), key=_id)
    received = np.array([trade.received_us for trade in unique], np.int64)
    return TradeBatch.of(unique), np.maximum.accumulate(received) if len(received) else received


def _id(trade: Trade) -> int:
    return trade.id


def _depth_received(event: DepthEvent) -> int:
    return event.received_us


def _levels(levels: Collection[Collection[str]]) -> tuple[tuple[int, int], ...]:
    return tuple((parse_e8(price), parse_e8(quantity)) for price, quantity in levels)
