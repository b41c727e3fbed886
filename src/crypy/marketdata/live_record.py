"""What live knows beyond the trades themselves, made durable every second: which trades were late, and how far it had sealed.

A `Frontier` says: at `at_us` every second before `sealed_s` was final, on the trades up to `last_id` without those in `holes`. A run
that is killed leaves it behind, and the next one finds out which trades came too late for the seconds that were sealed by then.
What was sealed in the last second before a kill is not known.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import msgspec

from crypy.domain.errors import ConfigError
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.marketdata.crypto_data import CryptoData
from crypy.marketdata.late_trades import LateTrade, LateTrades
from crypy.marketdata.live_symbol import left_of
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_merge import taken
from crypy.marketdata.trades import TradeBatch

_EVERY_S: Final = 1.0
# Trades that are late by more were lost at the venue's side, and are in a hole.
_LATE_S: Final = 3_600


class Frontier(msgspec.Struct, frozen=True):
    """How far live had come with one symbol; see the module."""

    at_us: int
    sealed_s: int
    last_id: int
    holes: tuple[tuple[int, int], ...] = ()


# Made before any thread needs it: see `marketdata.trade_files`.
_FRONTIERS: Final = msgspec.json.Decoder(dict[str, Frontier])


class LiveRecord:
    """Keeps `path` and the late trades of the store up to date. `fault` says in words why it cannot, empty while it can."""

    def __init__(self, path: Path, store: TradeStore, venue: str, data: CryptoData, clock: Clock) -> None:
        self.fault = ""
        self._path = path
        self._store = store
        self._venue = venue
        self._data = data
        self._clock = clock
        self._unwritten: dict[str, list[LateTrade]] = {symbol: [] for symbol in data.symbols}
        self._left: dict[str, tuple[tuple[int, int], ...]] = {}
        self._written: dict[str, Frontier] = {}

    def recover(self) -> dict[str, int]:
        """Note which stored trades came too late for what a former run had sealed; how many, by symbol. Blocks; once, before live trades."""
        found: dict[str, int] = {}
        for symbol, frontier in self._read().items():
            if symbol in self._unwritten:
                self._left[symbol] = frontier.holes
                late = self._later_than(symbol, frontier)
                LateTrades(self._store, self._venue, symbol).add(late)
                found[symbol] = len(late) + self.note_filled(symbol)
        return {symbol: count for symbol, count in found.items() if count}

    def note_filled(self, symbol: str) -> int:
        """Note as late what the store has now of the holes that a former run left; how many trades. Blocks."""
        late: list[LateTrade] = []
        left: list[tuple[int, int]] = []
        for first, last in self._left.get(symbol, ()):
            filled = self._store.trades_by_id(self._venue, symbol, first, last)
            late += late_now(filled, self._clock.now_us())
            left += left_of([(first, last)], filled.id)
        LateTrades(self._store, self._venue, symbol).add(late)
        self._left[symbol] = tuple(left)
        return len(late)

    def note(self, symbol: str, batch: TradeBatch) -> None:
        """These trades are known from now on, and live had sealed their seconds. In the event loop's thread; durable within a second."""
        self._unwritten[symbol] += late_now(batch, self._clock.now_us())

    async def run(self, pace: Clock) -> None:
        """Write every second of `pace` until cancelled, and once more then."""
        try:
            while True:
                await pace.sleep(_EVERY_S)
                frontiers = self._look()
                await asyncio.to_thread(self._write, frontiers)
        finally:
            self._write(self._look())

    def _look(self) -> dict[str, Frontier]:
        """Take over what is new in memory: fast, in the event loop's thread."""
        now_us, holes = self._clock.now_us(), self._data.holes()
        for symbol, unwritten in self._unwritten.items():
            for correction in self._data.take_corrections(symbol):
                second_us = correction.after.time_s * US_PER_S
                unwritten += [LateTrade(id_, second_us, correction.applied_us) for id_ in correction.ids]
        return {
            symbol: Frontier(now_us, sealed_s, last_id, (*self._left.get(symbol, ()), *holes[symbol]))
            for symbol, (sealed_s, last_id) in self._data.frontiers().items()
        }

    def _write(self, frontiers: dict[str, Frontier]) -> None:
        try:
            for symbol, unwritten in self._unwritten.items():
                late = unwritten[:]
                LateTrades(self._store, self._venue, symbol).add(late)
                del unwritten[: len(late)]
            if frontiers and frontiers != self._written:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                fresh = self._path.with_suffix(".new")
                # Without forcing it to disk: it is of use after a kill, not worth an fsync a second against a loss of power.
                fresh.write_bytes(msgspec.json.encode(frontiers))
                fresh.replace(self._path)
                self._written = frontiers
            self.fault = ""
        except (ConfigError, OSError) as error:
            self.fault = f"what live has sealed cannot be written to {self._path.parent}: {error}"

    def _read(self) -> dict[str, Frontier]:
        try:
            return _FRONTIERS.decode(self._path.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def _later_than(self, symbol: str, frontier: Frontier) -> list[LateTrade]:
        sealed_us = frontier.sealed_s * US_PER_S
        recent = self._store.trades(self._venue, symbol, sealed_us - _LATE_S * US_PER_S, sealed_us)
        return late_now(taken(recent, recent.id > frontier.last_id), self._clock.now_us())


def late_now(batch: TradeBatch, now_us: int) -> list[LateTrade]:
    """These trades, known from now on."""
    return [LateTrade(id_, at_us, now_us) for id_, at_us in zip(batch.id.tolist(), batch.time_us.tolist(), strict=True)]
