"""Mapped bars of stores that tests fill: audited first, for nothing is mapped without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crypy.domain.times import parse_time_us
from crypy.marketdata.audit import audit
from crypy.marketdata.mapped_bars import MappedBars, update_mapped_bars
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trades import TradeBatch
from crypy.testing.clock import ManualClock

AFTER_ALL_US = parse_time_us("2027-01-01")


def audited(store: TradeStore, symbol: str) -> None:
    """Mark what is stored of a symbol; all of it must be sound but for gaps."""
    found = audit(store, "binance", symbol, ManualClock(AFTER_ALL_US), only_new=True)
    assert not found.bad, found.bad


def mapped_of(
    store: TradeStore, symbol: str, base_steps_s: tuple[int, ...] = (1,), folder: Path | None = None
) -> MappedBars:
    """`update_mapped_bars` behind an audit."""
    audited(store, symbol)
    return update_mapped_bars(store, symbol, base_steps_s=base_steps_s, folder=folder)


def going_on(before: TradeBatch, after: TradeBatch) -> TradeBatch:
    """The trades of `after` with ids, of aggregates and of the trades inside, that go on where `before` ends."""
    inside = int(before.last_id[-1]) + 1 - int(after.first_id[0])
    return replace(
        after,
        id=after.id + (int(before.id[-1]) + 1 - int(after.id[0])),
        first_id=after.first_id + inside,
        last_id=after.last_id + inside,
    )
