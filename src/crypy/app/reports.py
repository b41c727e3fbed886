"""What the page and the summary are made of: one snapshot from all sides. It reads; it changes nothing."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from crypy.app.data_side import DataSide
from crypy.app.directions import Directions
from crypy.app.market_side import MarketSide
from crypy.app.road import Road
from crypy.domain.reports import Counters, Snapshot
from crypy.domain.times import US_PER_S
from crypy.runtime.supervisor import Supervisor


class ProcessReports:
    """The dashboard's `Reports` of a whole process, with the directions of one that runs their forecaster."""

    def __init__(
        self,
        road: Road,
        data: DataSide,
        markets: MarketSide,
        supervisor: Supervisor,
        directions: Directions | None = None,
    ) -> None:
        self._road = road
        self._data = data
        self._markets = markets
        self._supervisor = supervisor
        self._directions = directions

    def snapshot(self) -> Snapshot:
        """Everything as it is now."""
        return Snapshot(
            made_us=self._road.clock.now_us(),
            clock_speed=self._road.speed,
            counters=self.counters(),
            account=self._markets.account_now(),
            symbols=self._data.rows(),
            rows=self._markets.manager.report(),
            directions=() if self._directions is None else self._directions.reports(),
            faults=self.faults(),
        )

    def counters(self) -> Counters:
        """What has happened since the start."""
        own = 0 if self._directions is None else self._directions.counters().errors
        crashes = sum(agent.crash.count for agent in self._supervisor.agents if agent.crash is not None)
        return replace(
            self._markets.manager.counters,
            forecasts=self._markets.nexus.forecasts,
            errors=self._markets.errors + self._markets.manager.counters.errors + own + crashes,
        )

    def faults(self) -> tuple[str, ...]:
        """One sentence for each thing that does not work now."""
        found = [
            f"{agent.name}: {agent.reason or agent.state}"
            for agent in self._supervisor.agents
            if agent.state in ("degraded", "failed")
        ]
        feed, runner, desk = self._data.feed, self._data.runner, self._markets.desk.status()
        found += [feed.statistics().fault] if feed is not None else []
        found += [self._data.journal.fault, self._markets.discovery.problem, *self._markets.feed.problems]
        # The runner keeps its last error for the terminal; it is a fault only for as long as forecasts are missing.
        forecast_us = self._markets.nexus.dist_end_us or 0
        limit_us = self._markets.manager.parameters.max_forecast_age_s * US_PER_S
        is_late = self._road.clock.now_us() - forecast_us > limit_us
        if runner is not None and runner.status.last_error and is_late:
            found.append(f"model: {runner.status.last_error}")
        found.append(f"desk: {desk.halted}" if desk.halted else "")
        return tuple(fault for fault in found if fault)

    def summary(self, dashboard: str) -> dict[str, Any]:
        """The result of `crypy up --for`: counts, the account and each symbol."""
        counters, account = self.counters(), self._markets.account_now()
        return {
            "forecasts": counters.forecasts,
            "directions": 0 if self._directions is None else self._directions.counters().forecasts,
            "markets": counters.markets,
            "decisions": counters.decisions,
            "orders": counters.orders,
            "refused": counters.refused,
            "fills": counters.fills,
            "settled": counters.settled,
            "errors": counters.errors,
            "dashboard": dashboard,
            "clock_speed": self._road.speed,
            "account": {
                "name": account.name,
                "mode": account.mode,
                "cash": account.cash,
                "positions": account.positions_value,
            },
            "symbols": {
                row.symbol: {
                    "price": row.price,
                    "trades": row.trades,
                    "last_id": row.last_id,
                    "history_s": row.history_s,
                    "volatility_1h": row.volatility_1h,
                }
                for row in self._data.rows()
            },
            "faults": list(self.faults()),
        }
