"""The wiring of the prediction markets' side, where a wrong wire would cost money."""

from __future__ import annotations

from pathlib import Path

from crypy.app.market_side import MarketSide
from crypy.app.road import Road
from crypy.app.trading_settings import TradingSettings
from crypy.app.world import World, WorldCard
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport


async def test_nobody_decides_before_the_desk_has_reconciled(tmp_path: Path) -> None:
    """Books arrive as soon as the feed runs. Deciding on them then gave orders to a desk that was not there."""
    settings = TradingSettings()
    async with NetTransport(SystemClock()) as transport:
        side = MarketSide(
            settings, Road.to_real_venues(settings, 0), World.open(tmp_path / "w", WorldCard("live")), transport
        )
        side.nexus.update_price("BTC", 100_000.0, SystemClock().now_us())
        assert side.manager.paused
        side.close()
