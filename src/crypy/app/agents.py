"""The agents of `crypy up`, in the order they are started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from crypy.app.console import Console
from crypy.app.data_side import DataSide
from crypy.app.directions import Directions
from crypy.app.market_side import MarketSide
from crypy.app.recording import lag_status, recorder_agent
from crypy.app.repairing import Repairing
from crypy.app.road import Road
from crypy.app.world import World
from crypy.dashboard.server import DashboardServer
from crypy.domain.times import US_PER_S
from crypy.marketdata.recorder import Recorder
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.commands import Argument, Command
from crypy.runtime.knobs import Knob, number
from crypy.runtime.terminal import Terminal

# Months of a busy symbol come over a line in hours, and every one of them is kept: only a sync that stands still for days is given up.
_HISTORY_S = 7 * 86_400.0


def process_agents(
    data: DataSide,
    markets: MarketSide,
    dashboard: DashboardServer,
    terminal: Terminal,
    world: World,
    road: Road,
    console: Console,
    recorder: Recorder | None = None,
    directions: Directions | None = None,
) -> Iterator[Agent]:
    """All long-running parts. The page and the terminal come first: whoever starts crypy can look in while history loads. Directions come last:
    nothing of what trades waits for them."""

    async def history(context: AgentContext) -> None:
        with console.progress() as on_progress:
            await data.load_history(on_progress)
        console.say("fitting the volatility baseline")
        await data.make_model()
        context.ready()

    period_s = 5.0 * road.speed

    async def keep_time(context: AgentContext) -> None:
        # Ahead of the clock by what may pass until the next time: killed in between, the world's time still never runs backwards.
        ahead_us = round(2 * period_s * US_PER_S)
        world.reached(road.clock.now_us() + ahead_us)
        context.ready()
        async for now_us in context.every(period_s):
            try:
                world.reached(now_us + ahead_us)
                context.recover()
            except OSError as error:
                context.degrade(f"{world.folder} cannot be written: {error.strerror or error}")

    yield dashboard.agent()
    yield Agent("terminal", terminal.main, status=terminal.status)
    if recorder is not None:
        yield recorder_agent(recorder)
    yield Agent("history", history, start_s=_HISTORY_S)
    yield Agent("journal", data.run_journal)
    yield Agent("binance", data.run_feed, status=lambda: _feed_status(data))
    yield Repairing(data, road).agent()
    yield Agent("model", data.run_model, status=lambda: _model_status(data), pausable=True)
    if data.models is not None:
        yield data.models.agent()
    yield Agent("discovery", markets.run_discovery, status=lambda: {"markets": str(len(markets.discovery.markets))})
    yield Agent("polymarket", markets.run_feed, status=lambda: _books_status(markets))
    yield Agent("desk", markets.run_desk, status=lambda: _desk_status(markets), commands=_desk_commands(markets))
    yield Agent(
        "engines",
        markets.run_engines,
        status=lambda: _engines_status(markets),
        knobs=_engine_knobs(markets),
        pausable=True,
    )
    if road.simulated and road.end_us is None:
        yield Agent("world", keep_time)
    if directions is not None:
        yield from directions.agents()


def _feed_status(data: DataSide) -> Mapping[str, str]:
    if data.feed is None:
        return {}
    told = data.feed.statistics()
    return {
        "connected": str(told.connected).lower(),
        "connects": str(told.connects),
        "trades": str(told.trades),
        "quotes": str(told.quotes),
        "gaps": f"{told.gaps_found} found, {told.gaps_lost} lost",
        "lag": f"{told.lag_us / 1e3:.1f} ms",
        **lag_status(data.lag),
    }


def _model_status(data: DataSide) -> Mapping[str, str]:
    if data.runner is None:
        return {}
    status = data.runner.status
    learned: Mapping[str, str] = {}
    if data.calibrator is not None and status.forecasts:
        learned = data.calibrator.status(status.last_end_us // US_PER_S)
    return {
        "model": data.runner.name,
        "forecasts": str(status.forecasts),
        "skipped": str(status.skipped),
        "failed": str(status.failed),
        "latency": f"{status.latency_us / 1e3:.2f} ms",
        "last error": status.last_error or "none",
        **learned,
    }


def _books_status(markets: MarketSide) -> Mapping[str, str]:
    return {
        "tokens": str(len(markets.manager.tokens)),
        "reconnects": str(markets.feed.reconnects),
        **lag_status(markets.lag),
    }


def _desk_status(markets: MarketSide) -> Mapping[str, str]:
    status, account = markets.desk.status(), markets.account_now()
    return {
        "account": f"{account.name} ({account.mode})",
        "mode": status.mode,
        "halted": status.halted or "no",
        "submitted": str(status.submitted),
        "refused": ", ".join(f"{limit} {times}" for limit, times in status.refusals.items()) or "none",
        "open orders": str(status.open_orders),
        "cash": f"{account.cash:.2f}",
    }


def _desk_commands(markets: MarketSide) -> tuple[Command, ...]:
    reason = Argument("reason", "why, kept in the ledger")

    async def kill(text: str) -> str:
        cancelled = await markets.desk.kill(text)
        return f"nothing is sent any more; {len(cancelled)} orders taken back"

    async def no_new_entries(text: str) -> str:
        await markets.desk.no_new_entries(text)
        return "only orders that reduce a position are sent"

    async def release(text: str) -> str:
        await markets.desk.release(text)
        return "orders are sent again"

    async def reconcile() -> str:
        return (await markets.desk.reconcile()).halted or "ledger and venue agree"

    return (
        Command("kill", "stop sending and take back what rests; survives a restart", kill, (reason,)),
        Command("no-new-entries", "send only what reduces a position; survives a restart", no_new_entries, (reason,)),
        Command("release", "end kill or no-new-entries", release, (reason,)),
        Command("reconcile", "compare ledger and venue now", reconcile),
    )


def _engines_status(markets: MarketSide) -> Mapping[str, str]:
    counters = markets.manager.counters
    return {
        "markets": str(counters.markets),
        "decisions": str(counters.decisions),
        "orders": str(counters.orders),
        "fills": str(counters.fills),
        "settled": str(counters.settled),
    }


_TURNABLE = {
    "min_edge": "least edge after all costs to enter, per share",
    "exit_edge": "edge at which a position is sold",
    "book_weight": "how far probabilities are pulled towards the book's, 0 to 1",
    "kelly_fraction": "share of the full Kelly stake",
    "market_bankroll": "share of the cash at risk in one market",
    "total_bankroll": "share of the cash at risk in all markets",
}


def _engine_knobs(markets: MarketSide) -> tuple[Knob[float], ...]:
    return tuple(_knob(markets, name, text) for name, text in _TURNABLE.items())


def _knob(markets: MarketSide, name: str, text: str) -> Knob[float]:
    def turn(value: float) -> None:
        markets.manager.use(replace(markets.manager.parameters, **{name: value}))

    return Knob(name, lambda: getattr(markets.manager.parameters, name), turn, number(0.0, 1.0), text)
