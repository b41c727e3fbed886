"""The manager among a real nexus, a clock that is moved by hand, and a desk that only writes down."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from markets_kit import AVERAGE, POINT, WINDOW, book, forecast, market
from msgspec.structs import replace

from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import Fill, OrderRequest, OrderState, OrderStatus, Position
from crypy.domain.settlement import Outcome
from crypy.domain.windows import next_window, previous_window
from crypy.nexus.nexus import Nexus
from crypy.prediction_markets.manager import MarketManager
from crypy.prediction_markets.parameters import Parameters
from crypy.prediction_markets.plans import Buy, InFlight, StaleBook, StaleForecast, Wait
from crypy.prediction_markets.references import References
from crypy.testing.clock import ManualClock

COINS = ("BTC", "ETH")


@dataclass
class World:
    """Everything around one manager; `requests` is what reached the desk."""

    clock: ManualClock
    manager: MarketManager
    nexus: Nexus
    cash: Decimal = Decimal(1_000)
    requests: list[OrderRequest] = field(default_factory=list[OrderRequest])
    cancelled: list[str] = field(default_factory=list[str])
    settled: list[tuple[str, Outcome]] = field(default_factory=list[tuple[str, Outcome]])
    heard: dict[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def at(cls, seconds_in: float, parameters: Parameters | None = None) -> World:
        """A world that many seconds after the window's start, with history, forecasts and prices of 100."""
        clock = ManualClock(WINDOW.start_us + round(seconds_in * 1e6))
        nexus = Nexus(COINS, clock, lambda *_: None)
        ids, world = count(1), cls.__new__(cls)
        manager = MarketManager(
            nexus, clock, account="paper", parameters=parameters or Parameters(), references=References(),
            cash=lambda: world.cash, next_id=lambda: f"order-{next(ids)}",
            submit=lambda request: world.requests.append(request), cancel=lambda client_id: world.cancelled.append(client_id),
            settle=lambda settled, outcome: world.settled.append((settled.slug, outcome)),
            heard_us=lambda token: world.heard.get(token, 0),
        )  # fmt: skip
        world.__init__(clock, manager, nexus)
        nexus.on_change = manager.eval_actions
        for coin in COINS:
            for second in range(WINDOW.start_s - 400, int(clock.now_us() // 1_000_000)):
                manager.references.on_close(coin, second, 100.0)
        return world

    def describe(self, *markets: PredictionMarket) -> None:
        self.manager.on_markets({one.slug: one for one in markets})

    def quote(self, one: PredictionMarket, bid: int = 49, ask: int = 51, size: float = 1_000) -> None:
        """Mirrored books of both tokens, in cents."""
        self.manager.on_book(one.up.base, book({_price(bid): size}, {_price(ask): size}, self.clock.now_us()))
        self.manager.on_book(
            one.down.base, book({_price(100 - ask): size}, {_price(100 - bid): size}, self.clock.now_us())
        )

    def refresh(self, price: float = 100.0, coin: str = "BTC") -> None:
        self.nexus.update_price(coin, price, self.clock.now_us())
        self.nexus.update_dists(forecast(self.clock.now_us(), COINS))

    def answer(self, request: OrderRequest, status: OrderStatus, filled: str = "0", reason: str = "") -> None:
        state = OrderState(request=request, status=status, filled=Decimal(filled), reason=reason)
        self.manager.on_order_state(state)

    def fill(self, request: OrderRequest, quantity: str, fee: str = "0.1", number: int = 1) -> None:
        assert request.price is not None
        self.manager.on_fill(
            Fill(
                id=f"f{number}", client_id=request.client_id, venue="polymarket", symbol=request.symbol, side=request.side,
                price=request.price, quantity=Decimal(quantity), fee=Decimal(fee), fee_asset="pUSD", liquidity="taker",
                time_us=self.clock.now_us(),
            )
        )  # fmt: skip

    def plan(self, one: PredictionMarket) -> Any:
        engine = self.manager.engine(one.condition_id)
        assert engine is not None
        return engine.plan

    def row(self, one: PredictionMarket) -> Any:
        return next(row for row in self.manager.report() if row.slug == one.slug)


def _price(cents: int) -> str:
    return f"{cents / 100:.2f}"


@pytest.fixture
def world() -> World:
    """A hundred seconds into the window: one market described and quoted around one half, everything fresh."""
    made = World.at(100.0)
    made.describe(market())
    made.quote(market())
    made.refresh()
    return made


def test_a_price_becomes_an_order_within_the_same_call(world: World):
    assert world.requests == []
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    (request,) = world.requests
    assert (request.client_id, request.account, request.venue) == ("order-1", "paper", "polymarket")
    assert (request.symbol, request.side, request.type) == (market().up.symbol, "buy", "limit")
    assert (request.price, request.time_in_force) == (Decimal("0.51"), "ioc")
    assert request.strategy == f"market:{market().slug}"
    assert request.created_us == world.clock.now_us()
    assert world.manager.counters.orders == 1


def test_a_book_change_decides_in_its_market_at_once(world: World):
    world.quote(market(), bid=30, ask=32)
    assert [request.price for request in world.requests] == [Decimal("0.32")]


def test_one_order_at_a_time_and_none_until_its_fills_have_come(world: World):
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    (request,) = world.requests
    for status in ("sent", "unknown", "partly_filled"):
        world.answer(request, status)
        world.nexus.update_price("BTC", 100.2, world.clock.now_us())
        assert isinstance(world.plan(market()).reason, InFlight)
    # It ended with ten shares done, of which the desk has told six so far.
    world.fill(request, "6", number=1)
    world.answer(request, "cancelled", filled="10")
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    assert world.plan(market()) == Wait(InFlight())
    world.fill(request, "4", number=2)
    assert world.manager.positions[request.symbol].quantity == 10
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    assert "cooling" in str(world.plan(market()))
    assert world.manager.counters.fills == 2


async def test_after_cooling_down_it_may_act_again(world: World):
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    world.answer(world.requests[0], "rejected", reason="limit")
    assert world.manager.counters.refused == 1
    await world.clock.advance(4.0)
    world.refresh(100.2)
    assert len(world.requests) == 1
    await world.clock.advance(1.0)
    world.refresh(100.2)
    assert [request.client_id for request in world.requests] == ["order-1", "order-2"]


def test_money_reserved_for_one_market_is_not_spent_on_another():
    world = World.at(100.0, Parameters(market_bankroll=0.6, total_bankroll=0.8, kelly_fraction=1.0))
    quarter = market(window=replace(WINDOW, end_s=WINDOW.end_s + 600, duration="15m"), settlement=POINT)
    world.describe(market(), quarter)
    for one in (market(), quarter):
        world.quote(one)
    world.refresh(100.25)
    first, second = world.requests
    spent = [request.quantity * (request.price or 0) for request in (first, second)]
    assert spent[0] + spent[1] <= 800
    assert 100 < spent[1] < 250
    # A refusal sets the money free again.
    world.answer(first, "rejected")
    assert world.manager.engine(market().condition_id).at_risk == 0  # type: ignore[union-attr]


def test_it_fills_in_what_is_held_and_earned(world: World):
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    (request,) = world.requests
    world.fill(request, "20", fee="0.35")
    world.answer(request, "filled", filled="20")
    row = world.row(market())
    assert (row.tokens_up, row.tokens_down) == (20.0, 0.0)
    assert row.value_up == pytest.approx(20 * 0.49)
    assert row.net_profit == pytest.approx(20 * (0.49 - 0.51) - 0.35)


def test_an_outcome_told_before_the_end_is_not_believed(world: World):
    one = market()
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    world.fill(world.requests[0], "20", fee="0.35")
    world.manager.on_resolved(one.condition_id, "up", 0)
    assert world.settled == []
    assert world.manager.positions[one.up.symbol].quantity == 20


async def test_the_venues_outcome_settles_after_the_end_and_shows_the_profit(world: World):
    one = market()
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    (request,) = world.requests
    world.fill(request, "20", fee="0.35")
    world.answer(request, "filled", filled="20")
    world.describe(replace(one, outcome="up"))
    assert world.settled == []
    await world.clock.advance(200.0)
    world.manager.on_resolved(one.condition_id, None, 0)
    assert world.settled == []
    world.describe(replace(one, outcome="up", accepting_orders=False))
    world.manager.on_resolved(one.condition_id, "up", 0)
    assert world.settled == [(one.slug, "up")]
    row = world.row(one)
    assert (row.tokens_up, row.open, row.in_interval, row.tradable) == (0.0, False, False, False)
    assert row.net_profit == pytest.approx(20 * (1.0 - 0.51) - 0.35)
    assert row.decision == "settled: up"
    assert world.manager.counters.settled == 1
    assert world.manager.positions == {}
    assert world.manager.tokens == ()


async def test_a_fill_that_is_told_after_the_market_paid_is_paid_too(world: World):
    one = market()
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    (request,) = world.requests
    world.answer(request, "unknown")
    await world.clock.advance(200.0)
    world.manager.on_resolved(one.condition_id, "down", 0)
    assert world.settled == []
    world.fill(request, "20", fee="0")
    world.answer(request, "filled", filled="20")
    assert world.settled == [(one.slug, "down")]
    assert world.row(one).net_profit == pytest.approx(-20 * 0.51)


def test_after_a_restart_positions_find_their_markets():
    reborn = World.at(310.0)
    one = market()
    held = Position(account="paper", venue="polymarket", symbol=one.down.symbol, quantity=Decimal(10), cost=Decimal(4))
    reborn.manager.restore([held])
    reborn.describe(replace(one, outcome="down", accepting_orders=False))
    assert reborn.settled == [(one.slug, "down")]
    assert reborn.row(one).net_profit == pytest.approx(6.0)


def test_positions_that_come_after_their_market_paid_are_settled_too():
    reborn = World.at(310.0)
    one = replace(market(), outcome="up", accepting_orders=False)
    reborn.describe(one)
    assert reborn.settled == []
    held = Position(account="paper", venue="polymarket", symbol=one.up.symbol, quantity=Decimal(10), cost=Decimal(4))
    reborn.manager.restore([held])
    assert reborn.settled == [(one.slug, "up")]
    assert reborn.row(one).net_profit == pytest.approx(6.0)


def test_reconciled_positions_replace_what_was_believed(world: World):
    one = market()
    held = Position(account="paper", venue="polymarket", symbol=one.up.symbol, quantity=Decimal(10), cost=Decimal(4))
    world.manager.restore([held])
    assert world.manager.positions == {one.up.symbol: held}
    world.manager.restore([])
    assert world.manager.positions == {}


def test_markets_come_and_go_but_not_those_that_are_held(world: World):
    one, other = market(), market(coin="ETH")
    foreign = market(coin="DOGE")
    world.describe(one, other, foreign)
    assert world.manager.counters.markets == 2
    assert set(world.manager.tokens) == {token.base for found in (one, other) for token in (found.up, found.down)}
    held = Position(account="paper", venue="polymarket", symbol=one.up.symbol, quantity=Decimal(1), cost=Decimal(1))
    world.manager.restore([held])
    world.describe()
    assert world.manager.counters.markets == 1
    world.manager.restore([replace(held, quantity=Decimal(0), cost=Decimal(0))])
    world.describe()
    assert world.manager.report() == ()
    world.manager.on_book(one.up.base, book({}, {}, 0))


def test_a_new_grid_is_used_at_once(world: World):
    finer = replace(market(), up=replace(market().up, tick_size=Decimal("0.001")))
    world.describe(finer)
    world.manager.on_book(finer.up.base, book({"0.505": 900}, {"0.507": 900}, world.clock.now_us()))
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    assert world.requests[0].price == Decimal("0.507")


def test_the_nexus_learns_each_better_reference(world: World):
    seen = world.nexus.view("BTC", "5m")
    assert (seen.reference_price, seen.reference_source) == (100.0, "binance-average")
    world.describe(replace(market(), price_to_beat=100.01))
    seen = world.nexus.view("BTC", "5m")
    assert (seen.reference_price, seen.reference_source) == (100.01, "venue")
    assert world.row(market()).reference_source == "venue"
    # And takes it back where the venue contradicts everything we know: nothing is traded on that.
    world.describe(replace(market(), price_to_beat=200.0))
    assert world.row(market()).reference_price is None
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    assert world.requests == []


async def test_a_windows_reference_comes_with_its_first_sealed_second():
    world = World.at(-20.0)
    world.describe(market())
    await world.clock.advance(21.0)
    assert world.row(market()).reference_price is None
    for second in range(WINDOW.start_s - 20, WINDOW.start_s):
        world.manager.on_close("BTC", second, 101.2)
    row = world.row(market())
    assert row.reference_price == pytest.approx((40 * 100.0 + 20 * 101.2) / 60)
    assert row.reference_source == "binance-average"


async def test_inside_the_settlement_average_its_known_part_counts(world: World):
    await world.clock.advance(139.0)
    world.refresh(100.0)  # the price just before the average begins, 60 s before the end
    for _ in range(50):
        world.nexus.update_price("BTC", 100.1, world.clock.now_us())
        await world.clock.advance(1.0)
    world.refresh(100.0)
    row = world.row(market())
    # 49 of 60 seconds stood 10 bp above the reference; the price is back at it, and that is too late.
    assert row.probability > 0.999


def test_a_window_ahead_is_shown_with_a_probability_and_not_traded(world: World):
    ahead = market(window=next_window(WINDOW))
    world.describe(market(), ahead)
    world.quote(ahead, bid=20, ask=22)
    world.nexus.update_price("BTC", 100.0, world.clock.now_us())
    row = world.row(ahead)
    assert row.probability == pytest.approx(0.5, abs=1e-6)
    assert row.decision == "starts in 200 s"
    assert row.dist is not None
    assert row.dist.horizon_s == pytest.approx(500.0)
    assert world.requests == []


def test_pausing_stops_decisions_and_nothing_else(world: World):
    world.manager.paused = True
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    world.quote(market(), bid=30, ask=32)
    assert world.requests == []
    world.manager.paused = False
    assert world.manager.eval_actions("BTC", "clock") == 1
    assert len(world.requests) == 1


async def test_silence_is_seen_by_the_clock(world: World):
    await world.clock.advance(6.0)
    world.manager.eval_actions(None, "clock")
    assert isinstance(world.plan(market()).reason, StaleForecast)
    assert "forecast" in world.row(market()).stale


async def test_a_quiet_book_on_a_living_stream_is_believed(world: World):
    await world.clock.advance(40.0)
    world.refresh(100.2)
    assert isinstance(world.plan(market()).reason, StaleBook)
    assert world.row(market()).stale == "book"
    world.heard[market().up.base] = world.clock.now_us() - 1_000_000
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    assert isinstance(world.plan(market()), Buy)
    assert world.row(market()).book_age_s == pytest.approx(1.0)


def test_a_book_that_lost_a_message_stops_its_market(world: World):
    broken = book({"0.49": 1}, {"0.51": 1}, world.clock.now_us())
    broken.invalidate("connection lost")
    world.manager.on_book(market().up.base, broken)
    world.nexus.update_price("BTC", 100.2, world.clock.now_us())
    assert world.requests == []
    assert str(world.plan(market()).reason) == "book invalid: connection lost"


async def test_own_orders_show_as_own_quotes_and_are_taken_back_when_stale(world: World):
    one = market()
    resting = OrderRequest(
        client_id="mine", account="paper", venue="polymarket", symbol=one.down.symbol, side="buy", type="limit",
        quantity=Decimal(10), price=Decimal("0.40"),
    )  # fmt: skip
    world.answer(resting, "open")
    assert (world.row(one).own_bid, world.row(one).own_ask) == (None, pytest.approx(0.60))
    world.manager.eval_actions("BTC", "clock")
    assert world.cancelled == []
    await world.clock.advance(20.0)
    world.manager.eval_actions("BTC", "clock")
    assert world.cancelled == ["mine"]
    world.answer(resting, "cancelled")
    assert world.row(one).own_ask is None


def test_the_report_has_every_column(world: World):
    row = world.row(market())
    assert (row.link, row.coin, row.duration) == (market().link, "BTC", "5m")
    assert (row.open, row.in_interval, row.tradable, row.simulated) == (True, True, True, True)
    assert (row.start_us, row.end_us) == (WINDOW.start_us, WINDOW.end_us)
    assert (row.price, row.reference_price, row.reference_source) == (100.0, 100.0, "binance-average")
    assert row.probability == pytest.approx(0.5, abs=1e-9)
    assert (row.best_bid, row.best_ask, row.own_bid, row.own_ask) == (0.49, 0.51, None, None)
    assert (row.taker_fee, row.maker_fee, row.fee_exponent, row.maker_reward) == (0.07, 0.0, 1.0, 0.2)
    assert (row.tokens_up, row.tokens_down, row.value_up, row.value_down, row.net_profit) == (0.0,) * 5
    assert (row.price_age_s, row.dist_age_s, row.book_age_s, row.stale) == (0.0, 0.0, 0.0, "")
    assert row.dist.horizon_s == pytest.approx(200.0)
    assert row.extra_dist.horizon_s == pytest.approx(500.0)
    assert row.decision.startswith("up edge -0.0")


def test_a_report_before_anything_is_known():
    world = World.at(100.0)
    world.describe(market(settlement=None, fees=None), market(window=previous_window(WINDOW), settlement=AVERAGE))
    past, running = world.manager.report()
    assert running.probability is None
    assert (running.taker_fee, running.dist, running.price, running.book_age_s) == (None,) * 4
    assert not running.tradable
    assert running.stale == "price, forecast, book"
    assert (past.in_interval, past.stale, past.probability) == (False, "", None)


def test_reporting_changes_nothing(world: World):
    assert world.manager.report() == world.manager.report()
    before = world.manager.counters
    world.manager.report()
    assert world.manager.counters == before
