"""Missing candles asked for by their open times, a page at a time and a few pages at once.

A page is a span that one answer holds whole; a candle that is not in the answer, although there are later ones, is one that
the venue does not have, and is noted as that.
"""

from __future__ import annotations

import asyncio
from typing import Final

from crypy.domain.times import US_PER_S
from crypy.marketdata.candle_gaps import MissingCandles, uncovered
from crypy.marketdata.candle_rows import CandleRows, interval_text, joined
from crypy.marketdata.candle_source import KlineSource
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.trade_progress import Meter
from crypy.marketdata.trade_tasks import together

_PAGES_AT_ONCE: Final = 4
# What a kill can cost: so many rows are held until they are stored, some seconds' worth of requests.
_ROWS_HELD: Final = 32_768


async def fill_candles(
    store: CandleStore, source: KlineSource, symbol: str, hole: MissingCandles, meter: Meter
) -> None:
    """Fetch and store the candles of a hole, all of which are closed. What has come is stored even when the venue fails later."""
    meter.expect(rows=hole.count)
    page_us = source.page_rows * hole.interval_s * US_PER_S
    starts = iter(range(hole.first_open_us, hole.end_us, page_us))
    held: list[CandleRows] = []
    absent: list[MissingCandles] = []

    async def keep() -> None:
        rows, spans = joined(held), absent.copy()
        held.clear()
        absent.clear()
        if len(rows):
            await asyncio.to_thread(store.append, source.venue, symbol, hole.interval_s, rows)
        await asyncio.to_thread(store.note_absent, source.venue, symbol, hole.interval_s, spans)

    async def work() -> None:
        for start_us in starts:
            end_us = min(start_us + page_us, hole.end_us)
            rows = await source.rows(symbol, hole.interval_s, start_us, end_us)
            held.append(rows)
            absent.extend(uncovered(rows.open_time_us, start_us, end_us, hole.interval_s, f"{source.venue} has none"))
            if sum(len(page) for page in held) >= _ROWS_HELD:
                await keep()
            done = (end_us - start_us) // (hole.interval_s * US_PER_S)
            meter.count(f"{symbol} {interval_text(hole.interval_s)} by REST", rows=done)

    try:
        await together(work() for _ in range(_PAGES_AT_ONCE))
    finally:
        await keep()
