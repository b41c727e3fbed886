"""The live page of directions: the dashboard over what the service tells, without markets."""

from __future__ import annotations

import aiohttp
import msgspec

from crypy.app.forecast.page import DirectionReports
from crypy.dashboard.server import DashboardServer
from crypy.domain.reports import Counters, DirectionReport, Snapshot
from crypy.runtime.clocks import SystemClock
from crypy.runtime.supervisor import Supervisor
from crypy.testing.clock import ManualClock
from crypy.testing.direction_reports import START_S, MadeUpDirections


async def test_the_page_serves_what_the_service_tells_at_this_moment() -> None:
    made_up, clock, wall = MadeUpDirections(), ManualClock(START_S * 1_000_000), SystemClock()
    counters, faults = [Counters(forecasts=8)], ["", "feed silent for 71 s"]
    reports = DirectionReports(
        clock, made_up.directions, counters=lambda: counters[0], faults=lambda: faults, speed=60.0
    )
    async with Supervisor(wall) as supervisor, aiohttp.ClientSession() as session:
        server = DashboardServer(reports, wall, port=0)
        await supervisor.start(server.agent())

        async def told() -> Snapshot:
            async with session.get(server.url + "api/snapshot") as response:
                return msgspec.json.decode(await response.read(), type=Snapshot)

        first = await told()
        assert first.directions == made_up.directions()
        assert (first.made_us, first.clock_speed) == (START_S * 1_000_000, 60.0)
        assert (first.rows, first.symbols, first.account) == ((), (), None)
        assert (first.counters, first.faults) == (Counters(forecasts=8), ("feed silent for 71 s",))
        made_up.advance(5)
        counters[0], faults[:] = Counters(forecasts=10), []
        await clock.advance(300.0)
        later = await told()
        assert later.directions == made_up.directions() != first.directions
        assert (later.counters.forecasts, later.faults) == (10, ())
        assert later.made_us == first.made_us + 300_000_000


def test_a_snapshot_of_before_directions_is_still_one() -> None:
    """Whoever stores or sends snapshots without the field reads them back with none."""
    snapshot = DirectionReports(ManualClock(), lambda: (DirectionReport(symbol="BTCUSDT", timeframe="1m"),)).snapshot()
    fields = msgspec.to_builtins(snapshot)
    del fields["directions"]
    assert msgspec.convert(fields, Snapshot).directions == ()
