"""The wiring under bad luck: desks that stop, payouts that fail, markets that pass by, engines that are paused."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crypy.app.market_side import MarketSide
from crypy.app.road import Road
from crypy.app.trading_settings import TradingSettings
from crypy.app.world import World, WorldCard
from crypy.domain.errors import Unavailable
from crypy.domain.instruments import Instrument
from crypy.domain.markets import FeeSchedule, PredictionMarket
from crypy.domain.orders import Fill, OrderRequest, OrderState
from crypy.domain.settlement import Outcome, Settlement
from crypy.domain.windows import Window, next_window, window_at
from crypy.ledger.values import Redemption, market_listings
from crypy.prediction_markets.plans import Buy
from crypy.runtime.agent import Agent, AgentContext
from crypy.runtime.clocks import SystemClock
from crypy.runtime.supervisor import Supervisor
from crypy.runtime.transport import NetTransport

CLOCK = SystemClock()
NOW = window_at("5m", CLOCK.now_us())
D = Decimal


def market(window: Window = NOW) -> PredictionMarket:
    slug = f"btc-updown-5m-{window.start_s}"
    up, down = (
        Instrument(
            venue="polymarket", symbol=f"{slug}:{side}", kind="outcome", base=f"{window.start_s}{number}", quote="pUSD",
            settle="pUSD", tick_size=D("0.01"), lot_size=D("0.01"), min_quantity=D(5), min_notional=D(1),
        )
        for side, number in (("up", 1), ("down", 2))
    )  # fmt: skip
    return PredictionMarket(
        venue="polymarket", slug=slug, condition_id=f"0x{slug}", coin="BTC", window=window, up=up, down=down,
        settlement=Settlement("average", "chainlink", 60), fees=FeeSchedule(rate=D("0.07"), exponent=D(1)),
        accepting_orders=True, taker_delay_us=0, link="", simulated=True,
    )  # fmt: skip


def shown(side: MarketSide, *markets: PredictionMarket) -> None:
    side.discovery._on_markets({each.slug: each for each in markets})


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[MarketSide]:
    async with NetTransport(CLOCK) as transport:
        made = MarketSide(
            TradingSettings(),
            Road.to_real_venues(TradingSettings(), 0),
            World.open(tmp_path / "w", WorldCard("live")),
            transport,
        )
        yield made
        await asyncio.to_thread(made.close)


@asynccontextmanager
async def desk_of(side: MarketSide) -> AsyncIterator[None]:
    agent = Agent("desk", side.run_desk)
    agent.state = "starting"
    running = asyncio.create_task(side.run_desk(AgentContext(agent, CLOCK)))
    await asyncio.wait_for(agent.is_ready.wait(), 10.0)
    yield
    running.cancel()
    await asyncio.wait({running})


async def trade(side: MarketSide, of: PredictionMarket, buys: bool, quantity: str, number: int) -> None:
    """An order and its fill, as the desk would have booked them."""
    request = OrderRequest(
        client_id=f"t{number}", account=side.account, venue="polymarket", symbol=of.up.symbol, side="buy" if buys else "sell",
        type="limit", quantity=D(quantity), price=D("0.5"), time_in_force="ioc", created_us=CLOCK.now_us(),
    )  # fmt: skip
    await side.ledger.record_intent(request, market_listings(of)[0])
    fill = Fill(
        id=f"f{number}", client_id=request.client_id, venue="polymarket", symbol=of.up.symbol, side=request.side, price=D("0.5"),
        quantity=D(quantity), fee=D(0), fee_asset="pUSD", liquidity="taker", time_us=CLOCK.now_us(),
    )  # fmt: skip
    await side.ledger.record_answer(OrderState(request=request, status="filled", filled=D(quantity)), (fill,))


def redemption_of(of: PredictionMarket, outcome: Outcome) -> Redemption:
    return Redemption(
        venue=of.venue, condition_id=of.condition_id, outcome=outcome, up_symbol=of.up.symbol, down_symbol=of.down.symbol,
        up_quantity=D(0), down_quantity=D(0), cash="pUSD", paid=D(0), time_us=CLOCK.now_us(),
    )  # fmt: skip


async def until(condition: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  many small conditions, none with an event
            await asyncio.sleep(0.005)


async def test_a_payout_that_the_venue_did_not_answer_is_asked_for_again(
    side: MarketSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was logged and forgotten; the money came with the next start of the process."""
    asked: list[str] = []

    async def settle(of: PredictionMarket, outcome: Outcome) -> Redemption:
        asked.append(of.slug)
        if len(asked) == 1:
            raise Unavailable("the venue sleeps")
        return redemption_of(of, outcome)

    monkeypatch.setattr(side.desk, "settle", settle)
    monkeypatch.setattr("crypy.app.market_side._SETTLE_AGAIN_S", 0.01)
    async with desk_of(side):
        side._settle(market(), "up")
        await until(lambda: len(asked) == 2 and not side._owed)
    assert side.errors == 1


async def test_a_payout_that_the_venue_has_made_is_booked_before_the_desk_has_stopped(
    side: MarketSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The venue had paid, the ledger of a run that was told to stop did not say so until the next one."""
    paid, answer, of = asyncio.Event(), asyncio.Event(), market()
    redeem = side.paper.redeem

    async def slow(asked: PredictionMarket, outcome: Outcome) -> Redemption:
        told = await redeem(asked, outcome)
        paid.set()
        await answer.wait()
        return told

    monkeypatch.setattr(side.paper, "redeem", slow)
    async with desk_of(side):
        monkeypatch.setattr(side.paper, "_now_us", lambda: of.window.end_us + 1)
        side._settle(of, "up")
        await asyncio.wait_for(paid.wait(), 10.0)
        asyncio.get_running_loop().call_later(0.05, answer.set)
    with closing(sqlite3.connect(tmp_path / "w" / "ledger-paper.db")) as ledger:
        assert ledger.execute("select condition_id from redemptions").fetchall() == [(of.condition_id,)]


async def test_a_market_that_pays_while_the_desk_is_down_is_settled_when_it_is_back(
    side: MarketSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def settle(of: PredictionMarket, outcome: Outcome) -> Redemption:
        asked.append(of.slug)
        return redemption_of(of, outcome)

    monkeypatch.setattr(side.desk, "settle", settle)
    side._settle(market(), "up")
    assert not asked
    async with desk_of(side):
        await until(lambda: asked and not side._owed)
    assert asked == [market().slug]


async def test_an_order_that_meets_a_desk_coming_down_is_refused_and_its_market_goes_on(side: MarketSide) -> None:
    """The group of the desk's tasks takes nothing new while it ends: what it raised reached the book's socket."""
    of = market()
    shown(side, of)
    engine = side.manager.engine(of.condition_id)
    assert engine is not None
    side._tasks = asyncio.TaskGroup()  # not entered: it refuses as one that is ending does
    request = engine.send("order-1", Buy("up", D("0.5"), D(10), 0.6, 0.05), CLOCK.now_us())
    side._submit(request)
    side._tasks = None
    assert engine.order is None


async def test_an_order_lost_with_the_desk_is_not_waited_for_after_its_restart(side: MarketSide) -> None:
    of = market()
    shown(side, of)
    engine = side.manager.engine(of.condition_id)
    assert engine is not None
    engine.send("never-written", Buy("up", D("0.5"), D(10), 0.6, 0.05), CLOCK.now_us())
    async with desk_of(side):
        assert engine.order is None


async def test_only_what_is_held_is_followed_from_an_earlier_run(
    side: MarketSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger remembers two thousand flat positions; each of their markets was followed until the process ended."""
    flat, held = market(), market(next_window(NOW))
    await side.ledger.record_deposit(side.account, "opening", {"pUSD": D(1_000)})
    await trade(side, flat, True, "10", 1)
    await trade(side, flat, False, "10", 2)
    await trade(side, held, True, "10", 3)
    watched: set[str] = set()

    async def nothing() -> float:
        return 0.0

    def watch(slugs: Iterable[str]) -> None:
        watched.update(slugs)

    monkeypatch.setattr(side.discovery, "watch", watch)
    monkeypatch.setattr(side.discovery, "refresh", nothing)
    monkeypatch.setattr(side.discovery, "run", nothing)
    agent = Agent("discovery", side.run_discovery)
    agent.state = "starting"
    await side.run_discovery(AgentContext(agent, CLOCK))
    assert watched == {held.slug}


async def test_markets_that_have_passed_are_forgotten_unless_something_of_them_is_held(side: MarketSide) -> None:
    await side.ledger.record_deposit(side.account, "opening", {"pUSD": D(1_000)})
    held = market()
    shown(side, held)
    await trade(side, held, True, "10", 1)
    window = next_window(NOW)
    for _ in range(5):
        shown(side, market(window))
        window = next_window(window)
    kept = {held.up.symbol, held.down.symbol}
    assert len(side._listings) == len(side._terms) == len(side._tokens) == len(side._symbols) == 4
    assert kept <= set(side._listings)


async def test_paused_engines_decide_nothing_whatever_changes(side: MarketSide) -> None:
    """Only the second's tick was held back: prices and books went on to make orders."""
    shown(side, market())
    agent = Agent("engines", side.run_engines, pausable=True)
    async with Supervisor(CLOCK) as supervisor:
        assert await supervisor.start(agent)
        side.nexus.update_price("BTC", 100.0, CLOCK.now_us())
        await until(lambda: side.manager.counters.decisions)
        agent.pause(CLOCK.now_us())
        before = side.manager.counters.decisions
        for price in (101.0, 102.0):
            side.nexus.update_price("BTC", price, CLOCK.now_us())
        assert side.manager.counters.decisions == before
        agent.resume(CLOCK.now_us())
        side.nexus.update_price("BTC", 103.0, CLOCK.now_us())
        assert side.manager.counters.decisions > before
        supervisor.stop()
    assert side.manager.paused
