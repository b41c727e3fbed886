"""What goes wrong around one market must stay with that market: metadata, engines, orders, rows."""

from __future__ import annotations

from decimal import Decimal

import pytest
from markets_kit import AVERAGE, FEES, WINDOW, book, forecast, market
from msgspec.structs import replace
from test_market_manager import World

from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import Fill, OrderState
from crypy.domain.windows import next_window
from crypy.prediction_markets.plans import Plan
from crypy.prediction_markets.view import MarketRules


def show(world: World, *markets: PredictionMarket) -> None:
    world.manager.on_markets({each.slug: each for each in markets})


def quote(world: World, of: PredictionMarket, bid: str = "0.30", ask: str = "0.32") -> None:
    """Both books of a market, mirrored; the Up side looks cheap at a price of 100."""
    now_us = world.clock.now_us()
    mirrored = {str(1 - Decimal(ask)): 1_000.0}, {str(1 - Decimal(bid)): 1_000.0}
    world.manager.on_book(of.down.base, book(*mirrored, now_us))
    world.manager.on_book(of.up.base, book({bid: 1_000.0}, {ask: 1_000.0}, now_us))


def ready(world: World) -> None:
    """Prices and forecasts of now."""
    now_us = world.clock.now_us()
    world.nexus.update_dists(forecast(now_us, ("BTC", "ETH")))
    for coin in ("BTC", "ETH"):
        world.nexus.update_price(coin, 100.0, now_us)


def test_a_rule_that_cannot_be_asked_stops_its_own_market_only() -> None:
    """An average longer than its window raised out of discovery: no market was found any more."""
    world = World.at(100)
    odd = market(settlement=replace(AVERAGE, lookback_s=600))
    good = market(coin="ETH")
    show(world, odd, good)
    assert world.manager.engine(good.condition_id) is not None
    rows = {row.slug: row for row in world.manager.report()}
    assert not rows[odd.slug].tradable
    assert rows[good.slug].tradable
    assert "longer than its window" in MarketRules.of(odd).obstacle


def test_an_engine_that_fails_stops_and_says_so_and_costs_no_other_its_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World.at(100)
    bad, good = market(), market(next_window(WINDOW))
    show(world, bad, good)

    def fail(*_: object) -> Plan:
        raise ZeroDivisionError("nothing to divide by")

    engine = world.manager.engine(bad.condition_id)
    assert engine is not None
    monkeypatch.setattr(engine, "eval_action", fail)
    ready(world)
    quote(world, bad)
    other = world.manager.engine(good.condition_id)
    assert other is not None
    assert other.plan is not None
    assert world.manager.counters.errors == 1
    (row,) = [row for row in world.manager.report() if row.slug == bad.slug]
    assert "nothing to divide by" in row.decision
    assert not row.tradable


def test_orders_that_the_ledger_does_not_know_are_over_after_a_restart_of_the_desk() -> None:
    """A send that was cancelled before it was written down left its market waiting for an answer for ever."""
    world = World.at(100)
    lost, living = market(), market(coin="ETH")
    show(world, lost, living)
    ready(world)
    quote(world, lost)
    quote(world, living)
    assert {request.symbol for request in world.requests} == {lost.up.symbol, living.up.symbol}
    kept = next(request for request in world.requests if request.symbol == living.up.symbol)
    world.manager.restore((), live=(OrderState(request=kept, status="sent"),))
    first, second = world.manager.engine(lost.condition_id), world.manager.engine(living.condition_id)
    assert first is not None
    assert second is not None
    assert first.order is None
    assert second.order is not None


def test_a_holding_that_nobody_bids_for_is_not_called_a_loss() -> None:
    """Between a window's end and its payout the books are empty; each winner was shown as lost whole."""
    world = World.at(100)
    of = market()
    show(world, of)
    ready(world)
    quote(world, of)
    fill = Fill(
        id="f", client_id=world.requests[0].client_id, venue="polymarket", symbol=of.up.symbol, side="buy",
        price=Decimal("0.32"), quantity=Decimal(10), fee=Decimal("0.15232"), fee_asset="pUSD", liquidity="taker",
        time_us=world.clock.now_us(),
    )  # fmt: skip
    world.manager.on_fill(fill)
    world.manager.on_book(of.up.base, book({}, {}, world.clock.now_us()))
    (row,) = world.manager.report()
    assert row.value_up is None
    assert row.net_profit == pytest.approx(-0.15232)


async def test_the_distributions_of_a_row_are_those_to_its_own_ends_even_as_windows_change() -> None:
    """For the seconds between a window's start and the next forecast, the last window's distribution stood in its row."""
    world = World.at(299)
    running, following = market(), market(next_window(WINDOW))
    show(world, running, following)
    now_us = world.clock.now_us()
    world.nexus.update_dists(forecast(now_us, ("BTC", "ETH")))
    world.nexus.update_price("BTC", 100.0, now_us)
    before = {row.slug: row for row in world.manager.report()}[following.slug]
    await world.clock.advance(2.0)
    after = {row.slug: row for row in world.manager.report()}[following.slug]
    assert before.dist is not None
    assert after.dist is not None
    assert after.extra_dist is not None
    assert after.dist.horizon_s == before.dist.horizon_s == 301.0
    assert after.dist.scale == pytest.approx(before.dist.scale)
    assert after.extra_dist.scale == pytest.approx(after.dist.scale * (601 / 301) ** 0.5)


def test_a_price_off_the_grid_is_rounded_for_us_before_it_is_sent() -> None:
    """The grid can change while a level of the old one is still displayed."""
    world = World.at(100)
    of = market(fees=FEES)
    show(world, of)
    ready(world)
    quote(world, of, "0.305", "0.315")
    (request,) = world.requests
    assert request.price == Decimal("0.31")
