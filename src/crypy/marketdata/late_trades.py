"""Which trades live did not know when it sealed their second: what `as_of` needs, kept beside the store for good.

A second's bar is a function of the set of its trades. So what live saw at a moment follows from the stored trades and from which of
them came later than their second was sealed: folding without these gives back the bar of then, bit for bit. They are few, and
each is one line of `<root>/late/<venue>/<symbol>/<kind>.jsonl`: `[id, time_us, applied_us]`. The last line may be torn by a crash.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from crypy.domain.times import US_PER_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_files import disk_fault
from crypy.marketdata.trade_merge import taken

_PRICES: Final = ("open", "high", "low", "close")
_AMOUNTS: Final = ("volume", "quote_volume", "count", "taker_buy_volume")


class LateTrade(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A trade that live knew from `applied_us` on (our clock), when the second of `time_us` had been sealed."""

    id: int
    time_us: int
    applied_us: int


# Made before any thread needs it: see `marketdata.trade_files`.
_LATE: Final = msgspec.json.Decoder(LateTrade)


class LateTrades:
    """The late trades of one symbol and kind. Plain calls that block; one process writes."""

    def __init__(self, store: TradeStore, venue: str, symbol: str) -> None:
        self.path = store.root / "late" / venue / symbol / f"{store.kind}.jsonl"

    def add(self, late: Sequence[LateTrade]) -> None:
        """Append, durably. Raises `ConfigError` when the disk is full."""
        if not late:
            return
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in late)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                # A line that a crash tore is closed, so that it does not take the next one with it.
                file.write(b"" if self._ends_well() else b"\n")
                file.write(lines)
                file.flush()
                os.fdatasync(file.fileno())
        except OSError as fault:
            raise disk_fault(self.path, fault) from fault

    def read(self) -> tuple[LateTrade, ...]:
        """All of them in the order of ids, each once, as it was first known."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return ()
        first: dict[int, LateTrade] = {}
        for line in lines:
            try:
                late = _LATE.decode(line)
            except msgspec.DecodeError:
                continue
            first.setdefault(late.id, late)
        return tuple(sorted(first.values()))

    def _ends_well(self) -> bool:
        size = self.path.stat().st_size
        if not size:
            return True
        with self.path.open("rb") as file:
            file.seek(size - 1)
            return file.read() == b"\n"


def bars_as_of(store: TradeStore, venue: str, symbol: str, start_s: int, end_s: int, seen_us: int) -> Bars:
    """Second bars of `[start_s, end_s)` as live had sealed them at `seen_us`, out of the store: bit for bit what it saw. Blocks.

    For seconds that were sealed by then. Trades that were brought later by another road (a sync of days when nothing ran live) were never
    late: they are in.
    """
    unseen = [late for late in LateTrades(store, venue, symbol).read() if late.applied_us > seen_us]
    unseen = [late for late in unseen if late.time_us < end_s * US_PER_S]
    if not unseen:
        return store.bars(venue, symbol, start_s, end_s)
    # A late trade before the range may have changed the close that is carried into it.
    from_s = min(start_s, *(late.time_us // US_PER_S for late in unseen))
    bars = store.bars(venue, symbol, from_s, end_s)
    columns = {name: getattr(bars, name).copy() for name in (*_PRICES, *_AMOUNTS)}
    ids = np.array([late.id for late in unseen], np.int64)
    for second in sorted({late.time_us // US_PER_S for late in unseen}):
        trades = store.trades(venue, symbol, second * US_PER_S, (second + 1) * US_PER_S)
        seen = second_bars(symbol, [taken(trades, ~np.isin(trades.id, ids))], second, second + 1)
        for name, column in columns.items():
            column[second - from_s] = getattr(seen, name)[0]
    _carry_closes(columns, float(store.bars(venue, symbol, from_s - 1, from_s).close[0]))
    rows = slice(start_s - from_s, None)
    return replace(bars, start_s=start_s, **{name: column[rows] for name, column in columns.items()})


def _carry_closes(columns: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]], before: float) -> None:
    """Let seconds without trades carry the last close; `before` where there was none in the range."""
    traded = columns["count"] > 0
    source = np.maximum.accumulate(np.where(traded, np.arange(len(traded)), -1))
    carried = np.where(source >= 0, columns["close"][source], before)
    for name in _PRICES:
        columns[name] = np.where(traded, columns[name], carried)
