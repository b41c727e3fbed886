"""Repair: what the audit set aside and what is missing between stored ids, fetched again.

Daily archives for whole days, REST by id for the rest: the very sync that made the history, kept to the span that is stored. A time
without trades whose ids are consecutive is a pause (the venue halted, or nobody traded) and nothing to repair. What cannot be
filled is told with its ids and stays a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import msgspec

from crypy.domain.errors import ConfigError
from crypy.domain.ports import Clock
from crypy.marketdata.audit import SymbolAudit, audit, set_aside
from crypy.marketdata.audit_marks import AuditMarks, audited_days
from crypy.marketdata.coverage import Coverage
from crypy.marketdata.store import TradeStore
from crypy.marketdata.sync import sync
from crypy.marketdata.trade_days import DAY_US, day_start_us
from crypy.marketdata.trade_facts import fingerprint
from crypy.marketdata.trade_progress import Progress
from crypy.marketdata.trade_source import HistorySource

_DAY_LENGTH: Final = len("2025-01-15")
_DAY_FILE: Final = ".parquet."


class SymbolRepair(msgspec.Struct, frozen=True):
    """One symbol after a repair: what was set aside on the way, how many trades came back, and what in words could not be mended."""

    audit: SymbolAudit
    set_aside: tuple[str, ...]
    filled: int
    left: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing or doubted any more."""
        return self.audit.is_sound and not self.left

    def to_json(self) -> dict[str, Any]:
        """What `crypy data repair --json` prints for a symbol."""
        return self.audit.to_json() | {
            "set_aside": list(self.set_aside),
            "filled": self.filled,
            "left": list(self.left),
        }


async def repair(
    store: TradeStore,
    source: HistorySource,
    clock: Clock,
    symbols: Sequence[str],
    *,
    again: Collection[str] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, SymbolRepair]:
    """Audit what is not audited yet, fill what is missing of each stored symbol, and audit what came. Asks the venue nothing where all is well.

    `again` names days that are set aside and fetched anew although nothing is known to be wrong with them.
    Raises `ConfigError` when a sync works on the same store, or one of these days is not stored.
    """
    report: dict[str, SymbolRepair] = {}
    for symbol in symbols:
        report[symbol] = await _repair_one(store, source, clock, symbol, again, on_progress)
    return report


async def _repair_one(
    store: TradeStore,
    source: HistorySource,
    clock: Clock,
    symbol: str,
    again: Collection[str],
    on_progress: Callable[[Progress], None] | None,
) -> SymbolRepair:
    venue = source.venue
    if again:
        await asyncio.to_thread(_set_aside_again, store, venue, symbol, again, clock)
    before = await asyncio.to_thread(audit, store, venue, symbol, clock, only_new=True)
    aside = tuple(str(bad) for bad in before.bad if bad.fate == "set aside")
    span = await asyncio.to_thread(_span, store, venue, symbol, before.coverage)
    if span is None:
        return SymbolRepair(before, aside, 0, _doubted(before))
    start_us, end_us = span[0], min(span[1], clock.now_us())
    synced = await sync(store, source, clock, [symbol], start_us, end_us, on_progress)
    after = await asyncio.to_thread(audit, store, venue, symbol, clock, only_new=True)
    filled = max(0, after.coverage.rows - before.coverage.rows)
    return SymbolRepair(after, aside, filled, tuple(dict.fromkeys((*synced.problems, *_doubted(after)))))


def _doubted(found: SymbolAudit) -> tuple[str, ...]:
    return tuple(f"{found.coverage.symbol}: {bad}" for bad in found.bad)


def _set_aside_again(store: TradeStore, venue: str, symbol: str, again: Collection[str], clock: Clock) -> None:
    if unknown := sorted(set(again) - set(store.day_names(venue, symbol))):
        raise ConfigError(f"{symbol}: {', '.join(unknown)} cannot be fetched again, for nothing is stored of it")
    for day in sorted(again):
        set_aside(store, venue, symbol, day, "a person asked for it to be fetched again", clock)


def _span(store: TradeStore, venue: str, symbol: str, covered: Coverage) -> tuple[int, int] | None:
    """From where to where something is to be fetched, `None` where all is well.

    A day that was set aside at either end of what is stored is no gap between ids: it is found by the note in quarantine.
    """
    days = _days_to_bring_back(store, venue, symbol, covered)
    if covered.is_whole and not days:
        return None
    starts = [day_start_us(day) for day in days]
    if covered.first_time_us is not None and covered.last_time_us is not None:
        return min([covered.first_time_us, *starts]), max(
            [covered.last_time_us + 1, *(start_us + DAY_US for start_us in starts)]
        )
    return min(starts), max(starts) + DAY_US


def _days_to_bring_back(store: TradeStore, venue: str, symbol: str, covered: Coverage) -> list[str]:
    """Days that were set aside and have not been proved sound since."""
    marks, sound = AuditMarks(store, venue, symbol).read(), audited_days(store, venue, symbol)
    stored = set(store.day_names(venue, symbol))
    wanted: list[str] = []
    for note in covered.quarantined:
        name = note.file.rpartition("/")[2]
        day = name[:_DAY_LENGTH]
        if _DAY_FILE not in name or not day[:4].isdecimal():
            continue
        if day in stored and day in sound and marks.marks[day].audited_us >= note.time_us:
            continue
        doubt = marks.doubts.get(day)
        if day in stored and doubt and doubt.fingerprint == fingerprint(store.day_facts(venue, symbol, day)):
            continue
        wanted.append(day)
    return sorted(set(wanted))
