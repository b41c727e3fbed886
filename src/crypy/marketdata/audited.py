"""The gate to training: bars of stored history that has been audited, and nothing else.

Whatever fits a model on the store takes its bars from here. A day that was never audited, or has changed since, is refused by name.
Seconds inside a gap are not seconds without trades: their prices are NaN, and a model learns nothing from them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

import numpy as np

from crypy.domain.errors import DataError, Incomplete
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.marketdata.audit_marks import audited_days
from crypy.marketdata.bars import Bars
from crypy.marketdata.coverage import gaps_in
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_days import day_of, day_start_us

_PRICES: Final = ("open", "high", "low", "close")
_MOST_NAMED: Final = 6


def audited_bars(
    store: TradeStore, venue: str, symbol: str, start_s: int, end_s: int, *, leave_out: Collection[str] = ()
) -> Bars:
    """Dense second bars of `[start_s, end_s)`, every one from a day that passed the audit as it is now. Blocks.

    Prices are NaN in gaps, before the first trade, and in days of `leave_out`, which need not be audited.
    Raises `DataError` naming the days that were not audited and the command that does it, `Incomplete` where nothing is stored.
    """
    if end_s <= start_s:
        raise Incomplete(f"{symbol}: no second lies between {iso(start_s * US_PER_S)} and {iso(end_s * US_PER_S)}")
    needed = _needed(store, venue, symbol, start_s, end_s)
    if not needed:
        raise Incomplete(
            f"nothing is stored of {symbol} in {store.root}; `crypy data sync --symbols {symbol}` fetches it"
        )
    before = _require_audited(store, venue, symbol, needed, leave_out)
    bars = store.bars(venue, symbol, start_s, end_s)
    if _require_audited(store, venue, symbol, needed, leave_out) != before:
        # Written to between the two looks, and audited in between, too: once more, for the bars may be of both.
        return audited_bars(store, venue, symbol, start_s, end_s, leave_out=leave_out)
    return _without_unknown(store, venue, symbol, bars, leave_out)


def _needed(store: TradeStore, venue: str, symbol: str, start_s: int, end_s: int) -> list[str]:
    """The days that bars of the range depend on: those in it, and the one before, whose last close is carried into it."""
    days = store.day_names(venue, symbol)
    first, last = day_of(start_s * US_PER_S), day_of((end_s - 1) * US_PER_S)
    return [*[day for day in days if day < first][-1:], *[day for day in days if first <= day <= last]]


def _require_audited(
    store: TradeStore, venue: str, symbol: str, days: list[str], leave_out: Collection[str]
) -> dict[str, str]:
    """The files that each day is in. Raises where one of them is not marked as it is now."""
    sound, versions = audited_days(store, venue, symbol), store.day_versions(venue, symbol)
    refused = [day for day in days if day not in leave_out and day not in sound]
    if refused:
        more = f" and {len(refused) - _MOST_NAMED} more" if len(refused) > _MOST_NAMED else ""
        raise DataError(
            f"{symbol}: {', '.join(refused[:_MOST_NAMED])}{more} in {store.root}: not audited, or changed since; "
            f"no model is trained on that. `crypy data audit --symbols {symbol}` proves it"
        )
    return {day: versions.get(day, "") for day in days if day not in leave_out}


def _without_unknown(store: TradeStore, venue: str, symbol: str, bars: Bars, leave_out: Collection[str]) -> Bars:
    """The bars with NaN prices in every second of which trades are missing or not believed."""
    unknown = np.zeros(len(bars), np.bool_)
    for gap in gaps_in(store.facts(venue, symbol)):
        # The second of the last trade before the gap may lack some, and that of the first one behind it, too.
        _note(unknown, bars.start_s, gap.after_time_us // US_PER_S, gap.before_time_us // US_PER_S + 1)
    for day in leave_out:
        start_s = day_start_us(day) // US_PER_S
        _note(unknown, bars.start_s, start_s, start_s + DAY_S)
    # A close that is carried out of an unknown second is none: unknown goes on until the next trade.
    told = np.where(unknown | (bars.count > 0), np.arange(len(bars)), -1)
    source = np.maximum.accumulate(told)
    carried_in = _is_left_out_before(store, venue, symbol, bars, leave_out)
    unknown = np.where(source >= 0, unknown[source], carried_in)
    if not unknown.any():
        return bars
    return replace(bars, **{name: np.where(unknown, np.nan, getattr(bars, name)) for name in _PRICES})


def _is_left_out_before(store: TradeStore, venue: str, symbol: str, bars: Bars, leave_out: Collection[str]) -> bool:
    """Whether the last close before the bars is of a day that is not believed."""
    earlier = [day for day in store.day_names(venue, symbol) if day < day_of(bars.start_s * US_PER_S)]
    return bool(earlier) and earlier[-1] in leave_out


def _note(unknown: np.ndarray[tuple[int], np.dtype[np.bool_]], bars_start_s: int, start_s: int, end_s: int) -> None:
    unknown[max(0, start_s - bars_start_s) : max(0, end_s - bars_start_s)] = True
