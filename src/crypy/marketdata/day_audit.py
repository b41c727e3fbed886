"""One stored day proved from its bytes: what it holds, and everything that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from crypy.domain.errors import DataError
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.audit_marks import Mark
from crypy.marketdata.bars import Bars
from crypy.marketdata.seconds import SecondSums
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_checks import RowChecks
from crypy.marketdata.trade_days import day_start_us
from crypy.marketdata.trade_facts import FileFacts, fingerprint

_TRIES_WHILE_IT_GROWS: Final = 20
# Bitcoin's first block is of this day: a trade of an earlier one was written in the wrong unit of time.
_FIRST_DAY: Final = "2009-01-03"
# A recording that begins anew, or a simulated market that ran faster, holds days that are still to come.
_FAR_AHEAD_US: Final = 366 * DAY_S * US_PER_S
_BAR_COLUMNS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")


@dataclass(frozen=True, slots=True)
class DayProof:
    """What the bytes of a day say. `facts` is `None` where they cannot be believed at all, `mark` also where they still change.

    `reasons` is empty for a sound day. `wrong_bars`: the bars that are kept of it are not those of its trades.
    """

    day: str
    facts: FileFacts | None = None
    mark: Mark | None = None
    reasons: tuple[str, ...] = ()
    wrong_bars: bool = False


def prove_day(store: TradeStore, venue: str, symbol: str, day: str, now_us: int) -> DayProof:
    """Read every row of a day and check it. A day that is written to meanwhile is read again."""
    for _ in range(_TRIES_WHILE_IT_GROWS):
        try:
            files = store.day_versions(venue, symbol).get(day, "")
            proof = _prove(store, venue, symbol, day, files, now_us)
            if store.day_versions(venue, symbol).get(day, "") == files:
                return proof
        except FileNotFoundError:  # merged by a writer since it was listed
            continue
        except DataError as fault:
            return DayProof(day, reasons=(str(fault),))
    return DayProof(day)


def _prove(store: TradeStore, venue: str, symbol: str, day: str, files: str, now_us: int) -> DayProof:
    facts, start_us = store.day_facts(venue, symbol, day), day_start_us(day)
    checks = RowChecks(start_us, store.kind == "trades")
    kept = store.kept_bars(venue, symbol, day)
    sums = None if kept is None else SecondSums(symbol, start_us // US_PER_S, DAY_S)
    for batch in store.prove_day(venue, symbol, day):
        checks.add(batch)
        if sums is not None and not checks.findings():
            sums.add(batch)
    reasons = [str(finding) for finding in checks.findings()]
    if day < _FIRST_DAY or start_us > now_us + _FAR_AHEAD_US:
        reasons.append("nothing was traded on such a day: times were written in another unit")
    wrong_bars = not reasons and kept is not None and sums is not None and not _equal(kept, sums.into_bars())
    mark = Mark(fingerprint(facts), files, facts.rows, checks.first_single, checks.last_single, now_us)
    return DayProof(day, facts, mark, tuple(reasons), wrong_bars)


def _equal(one: Bars, other: Bars) -> bool:
    """Whether two days of bars are the same bits, NaN included."""
    return all(
        np.array_equal(
            np.ascontiguousarray(getattr(one, name)).view(np.int64),
            np.ascontiguousarray(getattr(other, name)).view(np.int64),
        )
        for name in _BAR_COLUMNS
    )
