"""The decision: a pure function from what is known of one market to a plan.

Doing nothing is the default. An order is made only if nothing stands in its way (freshness, rules, time) and if each share of it is
worth more than its price, fee, the move that may happen while the order travels, and the error of the probability itself. What a
share is worth is pulled towards the book's mid, because the book is the best public forecast there is. Both tokens are never
bought in one market; a position on the wrong side is sold if the bid pays more than it is worth.
"""

from __future__ import annotations

import math
from decimal import Decimal

from crypy.distributions.settlement import UpForecast, forecast_up
from crypy.domain.instruments import ceil_to, floor_to
from crypy.prediction_markets.fees import fee_per_share
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
    Plan,
    Reason,
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
from crypy.prediction_markets.sizing import Stake, exact_quantity, stake_at_levels
from crypy.prediction_markets.view import MarketRules, MarketView, TokenBook, TokenView

_IN_FLIGHT = Wait(InFlight())
_NO_REFERENCE = NoReference()
_NO_AVERAGE = NoAverage()
_SECONDS = 1e-6
# Standard normal density at the quantile of p is within 10 % of 1.6 p (1 - p) from 3 % to 97 %.
_DENSITY = 1.6


def decide(view: MarketView, parameters: Parameters) -> Plan:
    """What to do in this market now."""
    if view.in_flight:
        return _IN_FLIGHT
    obstacle = find_obstacle(view, parameters)
    if obstacle is not None:
        return _stand_aside(view, obstacle)
    forecast = probability_of_up(view)
    if not isinstance(forecast, UpForecast):
        return _stand_aside(view, forecast)
    quoted = quoted_up(view.up.book, view.down.book)
    if isinstance(quoted, StaleBook):
        return _stand_aside(view, quoted)
    mid, spread = quoted
    if spread > parameters.max_spread:
        return _stand_aside(view, WideSpread(spread, parameters.max_spread))
    worth = pooled(forecast.probability, mid, parameters)
    penalty = uncertainty_penalty(view, forecast, parameters)
    return _exit(view, worth, penalty, parameters) or _enter(view, worth, penalty, parameters)


def find_obstacle(view: MarketView, parameters: Parameters) -> Reason | None:
    """Why nothing may be decided from this view, `None` if it may: rules, time, freshness; the commonest and cheapest first."""
    rules, now_us = view.rules, view.now_us
    if rules.obstacle:
        return NotTradable(rules.obstacle)
    left_s = (rules.end_us - now_us) * _SECONDS
    if left_s <= parameters.min_time_left_s:
        return TooLate(left_s, parameters.min_time_left_s)
    starts_in_s = (rules.start_us - now_us) * _SECONDS
    if starts_in_s > parameters.enter_before_start_s:
        return TooEarly(starts_in_s)
    if now_us < view.cooling_until_us:
        return CoolingDown((view.cooling_until_us - now_us) * _SECONDS)
    return _stale_input(view, parameters)


def probability_of_up(view: MarketView) -> UpForecast | Reason:
    """The model's own P(Up), untouched by the book; or what it still lacks."""
    asked, price, curve, reference = view.rules.asked, view.price, view.curve, view.reference
    if asked is None:
        return NotTradable("settlement rule not recognised")
    if price is None:
        return StalePrice(None, 0.0)
    if curve is None:
        return StaleForecast(None, 0.0)
    if view.known_average is None and asked.averaging_from_us(view.now_us) is not None:
        return _NO_AVERAGE
    if view.now_us < asked.start_us:
        return forecast_up(asked, curve, view.now_us, price, None, view.known_average, view.ahead_sd)
    if reference is None:
        return _NO_REFERENCE
    return forecast_up(asked, curve, view.now_us, price, reference.comparable, view.known_average, reference.sd)


def quoted_up(up: TokenBook, down: TokenBook) -> tuple[float, float] | StaleBook:
    """Mid and spread of Up over both books: a share of Down offered at d is one of Up bid at 1 - d.

    A missing side counts as the end of the scale, which makes the spread wide. Books that contradict each other are not believed.
    """
    bid = max(up.bids[0][0] if up.bids else 0.0, 1.0 - down.asks[0][0] if down.asks else 0.0)
    ask = min(up.asks[0][0] if up.asks else 1.0, 1.0 - down.bids[0][0] if down.bids else 1.0)
    # Prices of the two books differ by rounding only where they are equal: by less than any tick.
    if bid > ask - 1e-9:
        return StaleBook(None, 0.0, f"bid {bid:.3f} at or above ask {ask:.3f}")
    return 0.5 * (bid + ask), ask - bid


def pooled(model: float, mid: float, parameters: Parameters) -> float:
    """The model's P(Up), kept off the ends, averaged with the book's.

    Linear and not in log odds: only so does a dearer ask, which moves the mid, never make a larger order.
    """
    kept = min(max(model, parameters.probability_floor), 1.0 - parameters.probability_floor)
    return (1.0 - parameters.book_weight) * kept + parameters.book_weight * mid


def uncertainty_penalty(view: MarketView, forecast: UpForecast, parameters: Parameters) -> float:
    """What a share may be worth less than it seems: the probability's own error, its move until the order stands, and what the basis hides.

    p = Phi(z), dp = phi(z) dz. Over the delay, z moves by sqrt(delay / left) in a standard deviation; the part of the basis is its share
    in the deviation p was made with. A forecast blurred by a badly known basis would otherwise bet against every book that knows it.
    """
    delay_s = view.rules.delay_s + parameters.latency_s
    left_s = (view.rules.end_us - view.now_us) * _SECONDS
    moved = math.sqrt(delay_s / left_s) if left_s > delay_s else 1.0
    basis_sd = view.ahead_sd if view.reference is None else view.reference.sd
    hidden = basis_sd / forecast.deviation if forecast.deviation > basis_sd else 1.0
    density = _DENSITY * forecast.probability * (1.0 - forecast.probability)
    blur = parameters.delay_aversion * moved + parameters.basis_aversion * hidden
    return parameters.probability_error + density * blur


def _stale_input(view: MarketView, parameters: Parameters) -> Reason | None:
    now_us = view.now_us
    limit_s = parameters.max_price_age_s
    if view.price is None:
        return StalePrice(None, limit_s)
    if now_us - view.price_time_us > limit_s * 1e6:
        return StalePrice((now_us - view.price_time_us) * _SECONDS, limit_s)
    limit_s = parameters.max_forecast_age_s
    if view.curve is None:
        return StaleForecast(None, limit_s)
    if now_us - view.dist_end_us > limit_s * 1e6:
        return StaleForecast((now_us - view.dist_end_us) * _SECONDS, limit_s)
    if view.history_s < parameters.min_history_s:
        return ThinHistory(view.history_s, parameters.min_history_s)
    limit_s = parameters.max_book_age_s
    up, down = view.up.book, view.down.book
    if not (up.valid and down.valid):
        return StaleBook(None, limit_s, down.why if up.valid else up.why)
    # Both books come by one stream and mirror each other: the younger one tells whether it is alive.
    updated_us = max(up.updated_us, down.updated_us)
    return StaleBook((now_us - updated_us) * _SECONDS, limit_s) if now_us - updated_us > limit_s * 1e6 else None


def _stand_aside(view: MarketView, reason: Reason) -> Plan:
    """Wait, and leave nothing of ours in a book that we no longer understand."""
    if view.resting and not isinstance(reason, CoolingDown):
        return Cancel(tuple(order.client_id for order in view.resting), reason)
    return Wait(reason)


def _exit(view: MarketView, up: float, penalty: float, parameters: Parameters) -> Sell | None:
    """Sell what the bid pays more for than it is worth."""
    for side, worth in ((view.up, up), (view.down, 1.0 - up)):
        if side.held.shares > 0.0 and side.book.bids:
            price = side.book.bids[0][0]
            edge = price - _fee(view.rules, price) - worth - penalty
            plan = _sell(side, worth, edge) if edge >= parameters.exit_edge and edge > 0.0 else None
            if plan is not None:
                return plan
    return None


def _sell(side: TokenView, worth: float, edge: float) -> Sell | None:
    """As much as the best bid takes; `None` where that is less than the market allows."""
    instrument = side.instrument
    best, size = (Decimal(repr(number)) for number in side.book.bids[0])
    price = ceil_to(best, instrument.tick_size)
    quantity = floor_to(min(side.held.quantity, size), instrument.lot_size)
    least = max(instrument.min_quantity, instrument.min_notional / price, instrument.lot_size)
    return None if quantity < least else Sell(side.token, price, quantity, worth, edge)


def _enter(view: MarketView, up: float, penalty: float, parameters: Parameters) -> Plan:
    """Buy the token with the larger edge, if there is one and room for it."""
    edge_up = _entry_edge(view.rules, view.up.book, up - penalty)
    edge_down = _entry_edge(view.rules, view.down.book, 1.0 - up - penalty)
    side, other, worth, edge = (
        (view.up, view.down, up, edge_up) if edge_up >= edge_down else (view.down, view.up, 1.0 - up, edge_down)
    )
    if edge < parameters.min_edge or edge <= 0.0:
        return Wait(ThinEdge(side.token, edge, parameters.min_edge))
    if other.held.shares > 0.0:
        return Wait(HoldsOther(other.token))
    bankroll = float(view.cash) + view.at_risk
    room = _room(view, bankroll, parameters)
    if not isinstance(room, (float, int)):
        return Wait(room)
    stake = stake_at_levels(
        side.book.asks,
        worth - penalty,
        view.rules.fee_rate,
        view.rules.fee_exponent,
        parameters.min_edge,
        parameters.kelly_fraction * bankroll,
        side.held.at_risk,
        room,
        parameters.depth_share,
    )
    if stake is None or stake.shares <= 0.0:
        return Wait(LimitReached("kelly", side.held.at_risk, side.held.at_risk))
    return _buy(view, side, stake, room, worth)


def _entry_edge(rules: MarketRules, book: TokenBook, worth: float) -> float:
    """What a share at the best ask brings; minus infinity where none is offered."""
    return worth - book.asks[0][0] - _fee(rules, book.asks[0][0]) if book.asks else -math.inf


def _fee(rules: MarketRules, price: float) -> float:
    return fee_per_share(rules.fee_rate, rules.fee_exponent, price)


def _room(view: MarketView, bankroll: float, parameters: Parameters) -> float | LimitReached:
    """Money that the caps and cash leave for this market."""
    in_market, market_cap = view.up.held.at_risk + view.down.held.at_risk, parameters.market_bankroll * bankroll
    if in_market >= market_cap:
        return LimitReached("market_bankroll", in_market, market_cap)
    total_cap = parameters.total_bankroll * bankroll
    if view.at_risk >= total_cap:
        return LimitReached("total_bankroll", view.at_risk, total_cap)
    cash = float(view.cash)
    if cash <= 0.0:
        return LimitReached("cash", 0.0, cash)
    return min(market_cap - in_market, total_cap - view.at_risk, cash)


def _buy(view: MarketView, side: TokenView, stake: Stake, room: float, worth: float) -> Plan:
    """The order, exact; or why it is too small to be one."""
    instrument, fees = side.instrument, view.rules.market.fees
    if fees is None:
        return Wait(NotTradable("fee not known"))
    # A level may still be displayed on a grid that has changed since: rounded, the order is never worse than decided.
    price = floor_to(Decimal(repr(stake.price)), instrument.tick_size)
    if price == 0:
        return Wait(TooSmall(side.token, 0.0, float(instrument.min_quantity)))
    budget = min(Decimal(repr(room)), view.cash)
    quantity = exact_quantity(stake.shares, price, budget, instrument, fees)
    least = max(instrument.min_quantity, instrument.min_notional / price, instrument.lot_size)
    if quantity < least:
        return Wait(TooSmall(side.token, float(quantity), float(least)))
    return Buy(side.token, price, quantity, worth, stake.edge)
