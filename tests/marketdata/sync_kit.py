"""Syncs from a `FakeVenue` in a moment of virtual time, and looks at what they left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from history_kit import ARCHIVE, REST, FakeVenue, MemoryTransport, make_trades

from crypy.domain.times import parse_time_us
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.store import TradeStore
from crypy.marketdata.sync import sync
from crypy.marketdata.sync_report import SyncReport
from crypy.marketdata.trade_progress import Progress
from crypy.marketdata.trades import TradeBatch
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.binance.history import BinanceHistory

DAY_US = 86_400 * 10**6
EVER = (0, 2**62)
# From 28 January 2025 on: the end of a month, a whole one and the beginning of the next.
BEGIN_US = parse_time_us("2025-01-28")
NOW_US = parse_time_us("2025-03-03T05:00:00Z")
TRADES = make_trades(9_000, BEGIN_US, (NOW_US - BEGIN_US) / 1e6)


def synced(
    root: Path,
    venue: FakeVenue,
    start_us: int = BEGIN_US,
    end_us: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    kind: TradeKind = "aggTrades",
    our_now_us: int | None = None,
) -> SyncReport:
    """A sync of all the venue's symbols. Our clock shows the venue's time unless `our_now_us` is given."""

    async def main(clock: JumpingClock) -> SyncReport:
        source = BinanceHistory(MemoryTransport(venue), clock, ARCHIVE, REST, kind)  # type: ignore[arg-type]
        return await sync(TradeStore(root, kind), source, clock, list(venue.trades), start_us, end_us, on_progress)

    return run_jumping(main, venue.now_us if our_now_us is None else our_now_us)


def stored(root: Path, symbol: str = "BTCUSDT", kind: TradeKind = "aggTrades") -> TradeBatch:
    """Every stored trade."""
    return TradeStore(root, kind).trades("binance", symbol, *EVER)


def gets(venue: FakeVenue, part: str) -> list[str]:
    """Paths with this part that were fetched, without those of checksums."""
    return [asked for asked in venue.asked if asked.startswith("GET") and part in asked and "CHECKSUM" not in asked]


def contents(root: Path) -> dict[str, str]:
    """SHA-256 of each file of trades."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "trades").rglob("*.parquet"))
    }
