"""Candles of venues that have no files of them (Bybit, Kraken, BitMEX): by REST into the store, resumable, confirmed ones only.

What is missing is worked out from what is stored, and stored as it comes; a run that was stopped goes on by being started again. A venue that gives only
its newest candles (Kraken: 720 of each length) is asked for those, and what lies before them stays a gap that is named.
"""

from __future__ import annotations

import asyncio
from typing import Final

from crypy.domain.errors import ConfigError, DataError, VenueError
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.candle_gaps import MENDED_WITHIN_US, MissingCandles, spans_missing, uncovered, without
from crypy.marketdata.candle_rows import interval_text, kline_kind, require_candles, require_interval, rows_of
from crypy.marketdata.candle_source import CandleSource
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.sync_report import SyncReport
from crypy.marketdata.trade_locks import only_one

# Stored at once: some ten pages of a venue's, a few seconds' worth of requests.
_CANDLES_AT_ONCE: Final = 10_000


async def sync_candles(
    source: CandleSource,
    store: CandleStore,
    clock: Clock,
    symbol: str,
    interval_s: int,
    start_us: int,
    end_us: int | None = None,
    newest_only: int | None = None,
) -> SyncReport:
    """Store the closed candles of a symbol that open in `[start_us, end_us)`, or up to now where no end is given.

    `newest_only` is how many of its newest candles the venue gives at all (Kraken's `candle_rows`), `None` where it gives all. What cannot be had is a
    line of the report; what was stored before a fault stays. Raises `ConfigError` for a length that the venue does not have, for a start in the
    future, when another sync of candles works on the same store, and when the disk is full.
    """
    if require_interval(interval_s) not in source.intervals_s:
        known = ", ".join(interval_text(known_s) for known_s in source.intervals_s)
        raise ConfigError(f"{source.venue} has no candles of {interval_text(interval_s)}; choose from {known}")
    now_us = clock.now_us()
    if start_us >= now_us:
        raise ConfigError(f"candles are to begin at {iso(start_us)}, which is not before now, {iso(now_us)}")
    run = _Run(source, store, symbol, interval_s, newest_only)
    with only_one(store.root / ".sync-candles.lock", "another sync of candles"):
        try:
            await run.fill(start_us, now_us if end_us is None else min(end_us, now_us), now_us)
        except (VenueError, DataError) as fault:
            run.fail(str(fault))
        coverage = await asyncio.to_thread(store.coverage, source.venue, symbol, interval_s)
        holes = await asyncio.to_thread(store.missing, source.venue, symbol, interval_s)
    problems = run.problems + [f"{symbol}: {hole}" for hole in holes]
    return SyncReport(kline_kind(interval_s), {symbol: coverage}, tuple(problems), (symbol,) if run.unfinished else ())


class _Run:
    """One symbol and length in progress."""

    def __init__(
        self, source: CandleSource, store: CandleStore, symbol: str, interval_s: int, newest_only: int | None
    ) -> None:
        self._source = source
        self._store = store
        self._symbol = symbol
        self._interval_s = interval_s
        self._newest_only = newest_only
        self._step_us = interval_s * US_PER_S
        self.problems: list[str] = []
        self.unfinished = False

    def fail(self, words: str) -> None:
        """Something that was asked for is not stored."""
        self.problems.append(f"{self._symbol}: {words}")
        self.unfinished = True

    async def fill(self, start_us: int, end_us: int, now_us: int) -> None:
        """Store what is missing in `[start_us, end_us)` and can be had."""
        first_us = -(-start_us // self._step_us) * self._step_us
        last_us = -(-end_us // self._step_us) * self._step_us - self._step_us
        if now_us < last_us + self._step_us:
            last_us -= self._step_us  # it is still open
        if last_us < first_us:
            return
        holes = await self._missing(first_us, last_us, now_us)
        reach_us = self._reach_us(now_us)
        for hole in holes:
            if hole.end_us <= reach_us:
                continue
            at_us = max(hole.first_open_us, reach_us)
            while at_us < hole.end_us:
                until_us = min(hole.end_us, at_us + _CANDLES_AT_ONCE * self._step_us)
                await self._ask(at_us, until_us)
                at_us = until_us
        beyond = [hole for hole in await self._missing(first_us, last_us, now_us) if hole.first_open_us < reach_us]
        if beyond:
            self.fail(
                f"{self._source.venue} gives only its newest {self._newest_only} candles of {interval_text(self._interval_s)}; "
                f"of those from {iso(beyond[0].first_open_us)} to {iso(min(reach_us, beyond[-1].end_us))} some are not stored and "
                "must be made from trades"
            )

    def _reach_us(self, now_us: int) -> int:
        """Open time of the oldest candle that the venue gives; the one that is open now is among its newest."""
        if self._newest_only is None:
            return 0
        return now_us // self._step_us * self._step_us - self._newest_only * self._step_us

    async def _missing(self, first_us: int, last_us: int, now_us: int) -> list[MissingCandles]:
        venue, interval_s = self._source.venue, self._interval_s
        facts = await asyncio.to_thread(self._store.facts, venue, self._symbol, interval_s)
        absent = await asyncio.to_thread(self._store.absent, venue, self._symbol, interval_s)
        old = [span for span in absent if span.end_us <= now_us - MENDED_WITHIN_US]
        return without(spans_missing(facts, interval_s, first_us, last_us), old)

    async def _ask(self, start_us: int, end_us: int) -> None:
        """Store what the venue has of a span, and note what it does not have although it has later ones."""
        venue, interval_s = self._source.venue, self._interval_s
        candles = await self._source.candles(self._symbol, interval_s, start_us, end_us)
        if not candles:
            return
        rows = rows_of(candles)
        require_candles(f"{venue} {self._symbol}", rows, interval_s)
        await asyncio.to_thread(self._store.append, venue, self._symbol, interval_s, rows)
        last_us = int(rows.open_time_us.max())
        absent = uncovered(rows.open_time_us, start_us, last_us, interval_s, f"{venue} has none")
        await asyncio.to_thread(self._store.note_absent, venue, self._symbol, interval_s, absent)
