"""The decision as a table: one view, one plan."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from markets_kit import AVERAGE, BOLD, CURVE, FEES, POINT, WINDOW, levels, market, view
from msgspec.structs import replace

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.errors import ConfigError
from crypy.prediction_markets.engine import decide, pooled, probability_of_up, quoted_up
from crypy.prediction_markets.fees import fee_per_share, maker_reward, taker_fee
from crypy.prediction_markets.parameters import Parameters
from crypy.prediction_markets.plans import (
    Buy,
    Cancel,
    CoolingDown,
    HoldsOther,
    InFlight,
    LimitReached,
    NoAverage,
    NoReference,
    NotTradable,
    Sell,
    StaleBook,
    StaleForecast,
    StalePrice,
    ThinEdge,
    ThinHistory,
    TooEarly,
    TooLate,
    TooSmall,
    Wait,
    WideSpread,
)
from crypy.prediction_markets.view import Holding, MarketView, RestingOrder

CAUTIOUS = Parameters()
# Price well above the reference: the model gives Up some 87 %, the book 50 %.
BARGAIN: dict[str, Any] = {"price": 100.15}


def invalid(token_view: Any) -> Any:
    return replace(token_view, book=replace(token_view.book, valid=False, why="lost a message"))


WAITS: list[tuple[str, MarketView, type]] = [
    ("a fair book", view(), ThinEdge),
    ("an order on its way", view(**BARGAIN, in_flight=True), InFlight),
    ("just traded", view(**BARGAIN, cooling_until_us=WINDOW.end_us), CoolingDown),
    ("the last second", view(**BARGAIN, left_s=1.0), TooLate),
    ("after the end", view(**BARGAIN, left_s=-1.0), TooLate),
    ("before the start", view(left_s=301.0, reference=None), TooEarly),
    ("no price", view(price_time_us=0, price=None), StalePrice),
    ("an old price", view(**BARGAIN, price_time_us=WINDOW.end_us - 211_000_000), StalePrice),
    ("no forecast", view(**BARGAIN, curve=None), StaleForecast),
    ("an old forecast", view(**BARGAIN, dist_end_us=WINDOW.end_us - 206_000_000), StaleForecast),
    ("a forecast from nothing", view(**BARGAIN, history_s=10.0), ThinHistory),
    ("no reference", view(**BARGAIN, reference=None), NoReference),
    ("inside the average, not seen from its start", view(**BARGAIN, left_s=30.0), NoAverage),
    ("an unknown rule", view(**BARGAIN, of=market(settlement=None)), NotTradable),
    ("an unknown fee", view(**BARGAIN, of=market(fees=None)), NotTradable),
    ("a closed market", view(**BARGAIN, of=market(accepting_orders=False)), NotTradable),
    ("a wide spread", view(**BARGAIN, up_bid=0.40, up_ask=0.55), WideSpread),
    ("one side only", view(**BARGAIN, up_bid=None, up_ask=0.55), WideSpread),
    ("no cash", view(**BARGAIN, cash="0", at_risk=100.0), LimitReached),
    ("too little cash", view(**BARGAIN, cash="30"), TooSmall),
    ("enough in this market", view(**BARGAIN, held_up="120", cost_up="60"), LimitReached),
    ("enough in all markets", view(**BARGAIN, at_risk=1_000.0), LimitReached),
    ("the other token is held", view(**BARGAIN, held_down="4", cost_down="2"), HoldsOther),
]


@pytest.mark.parametrize(("seen", "reason"), [case[1:] for case in WAITS], ids=[case[0] for case in WAITS])
def test_it_waits_and_says_why(seen: MarketView, reason: type):
    plan = decide(seen, CAUTIOUS)
    assert isinstance(plan, Wait)
    assert isinstance(plan.reason, reason)
    assert str(plan)


def test_a_book_that_lost_a_message_or_contradicts_itself_is_not_believed():
    seen = view(**BARGAIN)
    for broken in (replace(seen, up=invalid(seen.up)), replace(seen, down=invalid(seen.down))):
        plan = decide(broken, CAUTIOUS)
        assert plan == Wait(StaleBook(None, CAUTIOUS.max_book_age_s, "lost a message"))
    crossed = replace(seen, down=replace(seen.down, book=replace(seen.down.book, asks=levels((0.40, 10.0)))))
    plan = decide(crossed, CAUTIOUS)
    assert isinstance(plan, Wait)
    assert isinstance(plan.reason, StaleBook)


def test_a_book_is_as_young_as_the_younger_of_both_tokens():
    seen = view(**BARGAIN)
    old = replace(seen.up, book=replace(seen.up.book, updated_us=seen.now_us - 31_000_000))
    assert isinstance(decide(replace(seen, up=old), CAUTIOUS), Buy)
    both = replace(seen, up=old, down=replace(seen.down, book=replace(seen.down.book, updated_us=1)))
    plan = decide(both, CAUTIOUS)
    assert isinstance(plan, Wait)
    assert isinstance(plan.reason, StaleBook)


def test_it_buys_what_is_worth_more_than_it_costs():
    plan = decide(view(**BARGAIN), CAUTIOUS)
    assert isinstance(plan, Buy)
    assert (plan.token, plan.price) == ("up", Decimal("0.51"))
    # 5 % of a bankroll of 1,000, fee included.
    spent = plan.quantity * plan.price + taker_fee(FEES, plan.price, plan.quantity)
    assert Decimal("49.98") < spent <= 50


def test_down_is_the_mirror_of_up():
    up = decide(view(price=100.0 * math.exp(1e-3), reference=100.0, of=market(settlement=POINT)), BOLD)
    down = decide(view(price=100.0 * math.exp(-1e-3), reference=100.0, of=market(settlement=POINT)), BOLD)
    assert isinstance(up, Buy)
    assert isinstance(down, Buy)
    assert (up.token, down.token) == ("up", "down")
    assert up.quantity == down.quantity
    assert up.edge == pytest.approx(down.edge)


def test_the_stake_is_kellys():
    # P(Up) of a point price: the model's; no fee, no doubt: f = (p - a) / (1 - a) of the bankroll.
    free = market(settlement=POINT, fees=replace(FEES, rate=Decimal(0)))
    seen = view(price=100.05, of=free, size=1e6)
    law = ZeroMeanSkewStudentT(CURVE.scale_at(200.0), 0.0, 5.0)
    p = 1.0 - law.cdf(math.log(100.0 / 100.05))
    plan = decide(seen, BOLD)
    assert isinstance(plan, Buy)
    assert plan.probability == pytest.approx(p, abs=1e-12)
    assert float(plan.quantity) == pytest.approx(1_000 * (p - 0.51) / 0.49 / 0.51, abs=0.01)
    half = decide(seen, replace(BOLD, kelly_fraction=0.5))
    assert isinstance(half, Buy)
    assert float(half.quantity) == pytest.approx(float(plan.quantity) / 2, abs=0.01)


def test_what_is_held_already_counts_against_the_stake():
    seen = view(price=100.05, of=market(settlement=POINT), size=1e6)
    first = decide(seen, BOLD)
    assert isinstance(first, Buy)
    cost = first.quantity * first.price + taker_fee(FEES, first.price, first.quantity)
    left = replace(
        seen,
        up=replace(seen.up, held=Holding.of(first.quantity, cost)),
        cash=seen.cash - cost,
        at_risk=float(cost),
    )
    second = decide(left, BOLD)
    assert isinstance(second, Wait)
    assert isinstance(second.reason, (LimitReached, TooSmall))


def test_size_is_capped_by_the_depth_at_acceptable_prices():
    thin = levels((0.51, 10.0), (0.52, 10.0), (0.85, 1_000.0))
    plan = decide(view(**BARGAIN, up_asks=thin), CAUTIOUS)
    assert plan == Buy("up", Decimal("0.52"), Decimal("10.00"), plan.probability, plan.edge)  # type: ignore[union-attr]
    all_of_it = decide(view(**BARGAIN, up_asks=thin), replace(CAUTIOUS, depth_share=1.0))
    assert isinstance(all_of_it, Buy)
    assert all_of_it.quantity == Decimal("20.00")


def test_a_level_that_is_too_dear_is_not_reached_for():
    plan = decide(view(price=100.15, up_asks=levels((0.51, 20.0), (0.80, 1_000.0))), replace(CAUTIOUS, max_spread=1.0))
    assert isinstance(plan, Buy)
    assert plan.price == Decimal("0.51")


def test_the_book_pulls_the_probability():
    assert pooled(0.8, 0.6, Parameters(book_weight=0.25)) == pytest.approx(0.75)
    assert pooled(1.0, 0.5, Parameters(book_weight=0.0, probability_floor=0.03)) == pytest.approx(0.97)
    # A model that is alone against a liquid book does not trade if the book has all the weight.
    plan = decide(view(**BARGAIN), replace(CAUTIOUS, book_weight=1.0))
    assert isinstance(plan, Wait)


def test_a_badly_known_basis_does_not_bet_against_the_book():
    # The price is far above the reference with little time left: Up is as good as sure, and the book says so. Not knowing the
    # basis blurs our own answer to some 75 %, which is no reason to buy Down at 4 cents.
    seen = view(price=100.10, left_s=62.0, up_bid=0.96, up_ask=0.97, sd=15e-4)
    assert isinstance(decide(seen, CAUTIOUS), Wait)
    assert isinstance(decide(seen, replace(CAUTIOUS, basis_aversion=0.0)), Buy)


def test_delay_costs_more_the_less_time_is_left():
    # The same chance of Up, a third of a standard deviation above the reference, with 3 s and with 200 s left.
    def plan(left_s: float, aversion: float) -> object:
        price = 100.0 * math.exp(0.33e-4 * math.sqrt(left_s))
        seen = view(left_s=left_s, price=price, up_bid=0.49, up_ask=0.50, of=market(settlement=POINT))
        return decide(seen, replace(CAUTIOUS, book_weight=0.0, delay_aversion=aversion))

    assert isinstance(plan(3.0, 0.0), Buy)
    assert isinstance(plan(3.0, 2.0), Wait)
    assert isinstance(plan(200.0, 2.0), Buy)


def test_it_sells_what_the_bid_overpays():
    seen = view(price=99.85, up_bid=0.49, up_ask=0.51, held_up="40", cost_up="20")
    plan = decide(seen, CAUTIOUS)
    assert isinstance(plan, Sell)
    assert (plan.token, plan.price, plan.quantity) == ("up", Decimal("0.49"), Decimal(40))
    # No more than the bid takes, and dust stays.
    few = decide(view(price=99.85, held_up="40", cost_up="20", size=12.34), CAUTIOUS)
    assert isinstance(few, Sell)
    assert few.quantity == Decimal("12.34")
    dust = decide(view(price=99.85, held_up="3", cost_up="1.5"), CAUTIOUS)
    assert dust == Wait(HoldsOther("up"))


def test_resting_orders_are_taken_back_when_their_ground_is_gone():
    resting = (RestingOrder("a1", "x", True, 0.4),)
    stale = view(**BARGAIN, dist_end_us=1, resting=resting)
    plan = decide(stale, CAUTIOUS)
    assert isinstance(plan, Cancel)
    assert plan.client_ids == ("a1",)
    assert isinstance(plan.reason, StaleForecast)
    cooling = view(**BARGAIN, cooling_until_us=WINDOW.end_us, resting=resting)
    assert isinstance(decide(cooling, CAUTIOUS), Wait)


def test_the_average_that_is_running_is_part_of_the_probability():
    seen = view(left_s=10.0, price=100.0, known_average=100.05)
    forecast = probability_of_up(seen)
    assert not isinstance(forecast, (NoAverage, NoReference))
    assert forecast.probability > 0.99  # type: ignore[union-attr]


def test_both_books_make_one_quote():
    seen = view(up_bid=0.40, up_ask=0.60)
    tighter = replace(seen.down.book, bids=levels((0.45, 1.0)), asks=levels((0.52, 1.0)))
    assert quoted_up(seen.up.book, tighter) == (pytest.approx((0.48 + 0.55) / 2), pytest.approx(0.07))


def test_parameters_out_of_range_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"engine\.kelly_fraction = 1\.5"):
        Parameters(kelly_fraction=1.5)
    with pytest.raises(ConfigError, match=r"engine\.cooldown_s"):
        Parameters(cooldown_s=float("nan"))


def test_fees_are_exact_and_their_twin_is_near():
    assert taker_fee(FEES, Decimal("0.50"), Decimal(100)) == Decimal("1.75000")
    assert maker_reward(FEES, Decimal("0.50"), Decimal(100)) == Decimal("0.35")
    assert maker_reward(replace(FEES, rebate_rate=Decimal(0)), Decimal("0.50"), Decimal(100)) == 0
    steep = replace(FEES, rate=Decimal("0.25"), exponent=Decimal(2))
    for schedule, exponent in ((FEES, 1.0), (steep, 2.0)):
        for cents in range(1, 100):
            price = Decimal(cents) / 100
            exact = float(taker_fee(schedule, price, Decimal(10_000))) / 10_000
            assert fee_per_share(float(schedule.rate), exponent, cents / 100) == pytest.approx(exact, abs=1e-9)


# Properties. A view at random: any price, book, holding and purse.

cents = st.integers(1, 99)


@st.composite
def views(draw: st.DrawFn) -> MarketView:
    bid, ask = sorted((draw(cents), draw(cents)))
    assume(bid < ask)
    step = draw(st.integers(1, 3))
    asks = tuple(((ask + i * step) / 100, draw(st.floats(0.5, 500.0))) for i in range(3) if ask + i * step < 100)
    held = draw(st.sampled_from(["none", "up", "down"]))
    shares, cost = draw(st.integers(1, 200)), draw(st.integers(1, 90))
    holding = {} if held == "none" else {f"held_{held}": str(shares), f"cost_{held}": str(cost)}
    return view(
        left_s=draw(st.floats(61.0, 299.0)),
        price=100.0 * math.exp(draw(st.floats(-4e-3, 4e-3))),
        up_bid=bid / 100,
        up_asks=asks,
        size=draw(st.floats(0.5, 2_000.0)),
        cash=str(draw(st.integers(0, 3_000))),
        sd=draw(st.sampled_from([0.0, 1e-4, 1e-3])),
        of=market(fees=replace(FEES, rate=Decimal(draw(st.sampled_from(["0", "0.07", "0.25"]))))),
        **holding,
    )


parameters = st.builds(
    Parameters,
    book_weight=st.floats(0.0, 1.0),
    min_edge=st.floats(0.0, 0.2),
    kelly_fraction=st.floats(0.0, 1.0),
    market_bankroll=st.floats(0.0, 1.0),
    total_bankroll=st.floats(0.0, 1.0),
    depth_share=st.floats(0.0, 1.0),
    probability_floor=st.floats(0.0, 0.1),
    max_spread=st.just(1.0),
    delay_aversion=st.floats(0.0, 2.0),
)


@given(seen=views(), limits=parameters)
def test_it_never_buys_without_an_edge_after_fees_nor_beyond_any_limit(seen: MarketView, limits: Parameters):
    plan = decide(seen, limits)
    if not isinstance(plan, Buy):
        return
    side, other = (seen.up, seen.down) if plan.token == "up" else (seen.down, seen.up)
    fees = seen.rules.market.fees
    assert fees is not None
    cost = plan.quantity * plan.price + taker_fee(fees, plan.price, plan.quantity)
    assert plan.probability > float(cost / plan.quantity) + limits.min_edge - 1e-6
    assert cost <= seen.cash
    bankroll = float(seen.cash) + seen.at_risk
    assert float(cost) + side.held.at_risk <= limits.market_bankroll * bankroll + 1e-6
    assert float(cost) + seen.at_risk <= limits.total_bankroll * bankroll + 1e-6
    shown = sum(size for price, size in side.book.asks if price <= float(plan.price))
    assert float(plan.quantity) <= limits.depth_share * shown + 1e-9
    assert other.held.shares == 0.0
    assert plan.quantity >= side.instrument.min_quantity
    assert plan.quantity % side.instrument.lot_size == 0
    assert plan.price % side.instrument.tick_size == 0
    assert plan.quantity * plan.price >= side.instrument.min_notional


@given(seen=views(), limits=parameters)
def test_it_never_sells_more_than_is_held_or_bid_nor_below_its_worth(seen: MarketView, limits: Parameters):
    plan = decide(seen, limits)
    if not isinstance(plan, Sell):
        return
    side = seen.up if plan.token == "up" else seen.down
    fees = seen.rules.market.fees
    assert fees is not None
    assert 0 < plan.quantity <= side.held.quantity
    assert float(plan.quantity) <= side.book.bids[0][1] + 1e-9
    got = plan.quantity * plan.price - taker_fee(fees, plan.price, plan.quantity)
    assert float(got / plan.quantity) >= plan.probability + limits.exit_edge - 1e-6


@given(seen=views(), limits=parameters, dearer=st.integers(1, 40))
def test_a_dearer_ask_never_makes_a_larger_order(seen: MarketView, limits: Parameters, dearer: int):
    """All of Up's asks rise together, and the bids of Down that mirror them fall; depth stays."""
    assume(seen.up.book.asks[-1][0] + dearer / 100 < 0.995)
    assume(seen.up.held.shares == 0.0 and seen.down.held.shares == 0.0)
    asks = tuple((round(price + dearer / 100, 2), size) for price, size in seen.up.book.asks)
    mirrored = tuple((round(1.0 - price, 2), size) for price, size in asks)
    then = replace(
        seen,
        up=replace(seen.up, book=replace(seen.up.book, asks=asks)),
        down=replace(seen.down, book=replace(seen.down.book, bids=mirrored)),
    )
    before, after = decide(seen, limits), decide(then, limits)
    if isinstance(after, Buy) and after.token == "up":
        assert isinstance(before, Buy)
        # The grid of shares may round the two differently by one step.
        assert after.quantity <= before.quantity + Decimal("0.01")


@given(
    seen=views(),
    limits=parameters,
    which=st.sampled_from(["price_time_us", "dist_end_us", "book"]),
    late_s=st.floats(0.001, 1e6),
)
def test_stale_input_always_waits(seen: MarketView, limits: Parameters, which: str, late_s: float):
    now_us = seen.now_us
    if which == "book":
        at_us = now_us - round((limits.max_book_age_s + late_s) * 1e6)
        old = [replace(side, book=replace(side.book, updated_us=at_us)) for side in (seen.up, seen.down)]
        seen = replace(seen, up=old[0], down=old[1])
    else:
        age_s = limits.max_price_age_s if which == "price_time_us" else limits.max_forecast_age_s
        seen = replace(seen, **{which: now_us - round((age_s + late_s) * 1e6)})
    plan = decide(seen, limits)
    assert isinstance(plan, Wait)
    assert isinstance(plan.reason, (StalePrice, StaleForecast, StaleBook))


@given(seen=views(), limits=parameters)
def test_the_same_view_gives_the_same_plan(seen: MarketView, limits: Parameters):
    assert decide(seen, limits) == decide(seen, limits)


def test_the_rule_is_the_markets_own():
    averaged, point = view(price=100.05, of=market(settlement=AVERAGE)), view(price=100.05, of=market(settlement=POINT))
    for_average, for_point = probability_of_up(averaged), probability_of_up(point)
    assert for_average.probability > for_point.probability > 0.5  # type: ignore[union-attr]
