"""Missing trades asked for by their ids, a page at a time and a few pages at once.

The store decides what is missing and takes the rows in any order, so pages need no order among themselves. A
venue may skip ids that it no longer has: it answers with later ones. Those stay missing and are seen as
a gap afterwards; nobody asks for them for ever.
"""

from __future__ import annotations

import asyncio
from typing import Final

from crypy.domain.errors import Unreadable
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_merge import concatenated, is_ascending
from crypy.marketdata.trade_plan import Span
from crypy.marketdata.trade_progress import Meter
from crypy.marketdata.trade_source import HistorySource
from crypy.marketdata.trade_tasks import together
from crypy.marketdata.trades import TradeBatch

_PAGES_AT_ONCE: Final = 4
# What a kill can cost: so many rows are held until they are stored, a minute's worth of the venue's limit at most.
_ROWS_HELD: Final = 65_536


async def fill_by_rest(store: TradeStore, source: HistorySource, symbol: str, span: Span, meter: Meter) -> None:
    """Fetch and store the ids of the span. What has come is stored even when the venue fails later."""
    meter.expect(rows=span.ids)
    starts = iter(range(span.first_id, span.last_id + 1, source.page_rows))
    shelf = _Shelf(store, source.venue, symbol)

    async def work() -> None:
        for start in starts:
            last_id = min(start + source.page_rows - 1, span.last_id)
            next_id = start
            while next_id <= last_id:
                page = await _page(source, symbol, next_id)
                rows = _up_to(page, last_id)
                await shelf.put(rows)
                if len(page) == 0 or len(rows) < len(page):
                    break
                next_id = int(page.id[-1]) + 1
            meter.count(f"{symbol} by REST", rows=last_id - start + 1)

    try:
        await together(work() for _ in range(_PAGES_AT_ONCE))
    finally:
        await shelf.store()


class _Shelf:
    """Rows on their way into the store."""

    def __init__(self, store: TradeStore, venue: str, symbol: str) -> None:
        self._store = store
        self._venue = venue
        self._symbol = symbol
        self._held: list[TradeBatch] = []
        self._rows = 0

    async def put(self, rows: TradeBatch) -> None:
        self._held.append(rows)
        self._rows += len(rows)
        if self._rows >= _ROWS_HELD:
            await self.store()

    async def store(self) -> None:
        held, self._held, self._rows = self._held, [], 0
        if any(len(rows) for rows in held):
            await asyncio.to_thread(self._store.append, self._venue, self._symbol, concatenated(held))


async def _page(source: HistorySource, symbol: str, first_id: int) -> TradeBatch:
    page = await source.trades_from(symbol, first_id)
    if len(page) and (page.id[0] < first_id or not is_ascending(page)):
        raise Unreadable(
            f"{symbol}: asked for trades from id {first_id}, answered with {page.id[0]} to {page.id[-1]} out of order"
        )
    return page


def _up_to(page: TradeBatch, last_id: int) -> TradeBatch:
    return page[: int(page.id.searchsorted(last_id, side="right"))]
