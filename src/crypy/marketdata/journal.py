"""Live trades on their way to the store: durable within a second, in the store within five.

Trades are appended to a file per symbol and forced to disk every `sync_s`; every `drain_s`, at the end and at the
next start the files are emptied into the store, which drops what it knows. So kill -9 at any moment loses at most the last
`sync_s`, and the venue still has those by id. A store that is slow, far away or refuses something costs nothing that was written
here. Writing happens in a thread; `add` is a list append on the price path.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import Trade
from crypy.domain.ports import Clock
from crypy.marketdata.journal_file import batch_of, decode, encode
from crypy.marketdata.trades import TradeBatch
from crypy.runtime.durable import sync_path

_SUFFIX = ".journal"
# Trades of a symbol that are kept in memory while the disk takes none; the venue has the older ones.
_MOST_UNWRITTEN = 500_000


class Recovered(msgspec.Struct, frozen=True):
    """What a journal file gave back: trades that went to the store, and bytes that no sound record could be read from."""

    symbol: str
    trades: int
    torn_bytes: int


class TradeJournal:
    """Journal files of some symbols in `folder`; `sink(symbol, batch)` stores trades durably and may see one twice.

    `fault` says in words why trades are not durable now, empty while they are. `sync_s` and `drain_s` are seconds of the clock given
    to `run`; a store at the other end of a network is better drained by the minute.
    """

    def __init__(
        self, folder: Path, sink: Callable[[str, TradeBatch], None], *, sync_s: float = 1.0, drain_s: float = 3.0
    ) -> None:
        self.folder = folder
        self.fault = ""
        self.written = self.dropped = self.stored = 0
        self._sink = sink
        self._sync_s = sync_s
        self._writes_a_drain = max(1, round(drain_s / sync_s))
        self._fresh: dict[str, list[Trade]] = {}
        self._handed: deque[dict[str, list[Trade]]] = deque()
        self._unwritten: dict[str, list[Trade]] = {}
        self._files: dict[str, _OpenFile] = {}
        self._number = 0
        self._writing = threading.Lock()
        self._draining = threading.Lock()

    def add(self, trade: Trade) -> None:
        """Take a trade; it is durable after the next `flush`. Called by the event loop's thread only."""
        fresh = self._fresh.get(trade.symbol)
        if fresh is None:
            fresh = self._fresh[trade.symbol] = []
        fresh.append(trade)

    async def run(self, clock: Clock) -> None:
        """Flush and drain until cancelled; what came until then is durable when this ends.

        Only how long things take is read off the clock, so that one that is set while this runs puts nothing off.
        """
        try:
            while True:
                for _ in range(self._writes_a_drain):
                    await clock.sleep(self._sync_s)
                    self._hand_over()
                    await asyncio.to_thread(self._write)
                await asyncio.to_thread(self.drain)
        finally:
            self.flush()

    def flush(self) -> None:
        """Write everything and force it to disk. A disk that takes nothing is a `fault`, and it is tried again."""
        self._hand_over()
        self._write()

    def drain(self) -> list[Recovered]:
        """Move what is in the files to the store, and remove them. Blocks, but not the writing of new trades."""
        with self._draining:
            with self._writing:
                for file in self._files.values():
                    file.close()
                self._files.clear()
                self._number += 1
                paths = sorted(self.folder.glob(f"*{_SUFFIX}"))
            return [self._move(path) for path in paths]

    def close(self) -> list[Recovered]:
        """Flush and drain: the clean end."""
        self.flush()
        return self.drain()

    def _hand_over(self) -> None:
        """Give what has come to the writer: a swap without a lock, so that the price path never waits for the disk."""
        fresh, self._fresh = self._fresh, {}
        if fresh:
            self._handed.append(fresh)

    def _write(self) -> None:
        with self._writing:
            while self._handed:
                for symbol, trades in self._handed.popleft().items():
                    self._unwritten.setdefault(symbol, []).extend(trades)
            for symbol, trades in self._unwritten.items():
                if trades and not self._write_one(symbol, trades):
                    return
            self.fault = ""

    def _write_one(self, symbol: str, trades: list[Trade]) -> bool:
        """Append one symbol's trades; false, with them kept for the next time, when the disk does not take them."""
        try:
            if symbol not in self._files:
                self._files[symbol] = _OpenFile(self.folder / f"{symbol}.{self._number}{_SUFFIX}")
            self._files[symbol].append(encode(trades))
        except OSError as error:
            self.fault = f"live trades of {symbol} cannot be written to {self.folder}: {error.strerror or error}"
            self.dropped += len(trades[:-_MOST_UNWRITTEN])
            del trades[:-_MOST_UNWRITTEN]
            return False
        self.written += len(trades)
        trades.clear()
        return True

    def _move(self, path: Path) -> Recovered:
        """One file's trades into the store. A file that the store calls wrong is kept aside, one it has no room for stays."""
        symbol = path.name[: -len(_SUFFIX)].rpartition(".")[0]
        rows, torn = decode(path.read_bytes())
        if len(rows):
            try:
                self._sink(symbol, batch_of(rows))
            except DataError as error:
                aside = _aside(path)
                path.rename(aside)
                self.fault = f"the store refused live trades of {symbol}, they are kept in {aside}: {error}"
                return Recovered(symbol, 0, torn)
            except (ConfigError, OSError) as error:
                self.fault = f"live trades of {symbol} stay in {path}: {error}"
                return Recovered(symbol, 0, torn)
        path.unlink()
        self.stored += len(rows)
        return Recovered(symbol, len(rows), torn)


class _OpenFile:
    """A file that is appended to. After a failed write it is as it was before."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._length = os.fstat(self._file).st_size
        sync_path(path.parent)

    def append(self, record: bytes) -> None:
        try:
            written = 0
            while written < len(record):
                written += os.write(self._file, memoryview(record)[written:])
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self._length)
            raise
        self._length += len(record)

    def close(self) -> None:
        os.close(self._file)


def _aside(path: Path) -> Path:
    """A name that is free, for a file that the store refused."""
    number = 1
    while (other := path.with_name(f"{path.name}.refused-{number}")).exists():
        number += 1
    return other
