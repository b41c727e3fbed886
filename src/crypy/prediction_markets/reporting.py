"""A market engine's row of the report (the specification's `pm_engine_report`): every column of the dashboard, computed here.

`best_bid`, `best_ask`, `own_bid` and `own_ask` are prices of Up; an own order on Down counts at one minus its price. `net_profit` is what the market has
earned after fees, with the tokens still held valued at the best bid, or at their cost where nobody bids (as from a window's end to its payout).
"""

from __future__ import annotations

from collections.abc import Iterable

from crypy.distributions.curve import HorizonCurve
from crypy.distributions.settlement import UpForecast
from crypy.domain.orders import OrderState
from crypy.domain.reports import DistributionRow, MarketRow
from crypy.domain.times import US_PER_S
from crypy.domain.windows import Window, next_window
from crypy.nexus.nexus import NexusView
from crypy.prediction_markets.engine import probability_of_up
from crypy.prediction_markets.market_engine import MarketEngine
from crypy.prediction_markets.plans import Wait
from crypy.prediction_markets.view import MarketView, TokenView


def market_row(engine: MarketEngine, view: MarketView, nexus: NexusView) -> MarketRow:
    """The row of one market. `nexus` is of the same coin and duration."""
    market, now_us = engine.market, view.now_us
    window, fees = market.window, market.fees
    forecast = probability_of_up(view) if now_us < window.end_us and not engine.fault else None
    up, down = view.up, view.down
    own_bid, own_ask = _own_quotes(engine.own.values(), market.up.symbol)
    updated_us = max(up.book.updated_us, down.book.updated_us)
    running = window.contains(now_us)
    dists = _distributions(nexus, window, running)
    return MarketRow(
        link=market.link,
        slug=market.slug,
        coin=market.coin,
        duration=window.duration,
        open=market.accepting_orders and now_us < window.end_us,
        in_interval=running,
        start_us=window.start_us,
        end_us=window.end_us,
        reference_price=None if view.reference is None else view.reference.price,
        reference_source="none" if view.reference is None else view.reference.source,
        price=view.price,
        probability=forecast.probability if isinstance(forecast, UpForecast) else None,
        best_bid=_best(up.book.bids),
        best_ask=_best(up.book.asks),
        own_bid=own_bid,
        own_ask=own_ask,
        tokens_up=up.held.shares,
        tokens_down=down.held.shares,
        value_up=_value(up),
        value_down=_value(down),
        net_profit=_net_profit(engine, view),
        taker_fee=None if fees is None else float(fees.rate),
        maker_fee=None if fees is None else 0.0 if fees.taker_only else float(fees.rate),
        fee_exponent=None if fees is None else float(fees.exponent),
        maker_reward=None if fees is None else float(fees.rebate_rate),
        dist=dists[0],
        extra_dist=dists[1],
        price_age_s=None if view.price is None else _age_s(now_us, view.price_time_us),
        dist_age_s=None if view.curve is None else _age_s(now_us, view.dist_end_us),
        book_age_s=_age_s(now_us, updated_us) if updated_us else None,
        simulated=market.simulated,
        tradable=not view.rules.obstacle and not engine.fault and now_us < window.end_us,
        stale=_stale(engine, view),
        decision=_decision(engine),
    )


def _stale(engine: MarketEngine, view: MarketView) -> str:
    """Why the row must not be trusted; empty if it may be, and for windows that are over."""
    if view.now_us >= engine.market.window.end_us:
        return ""
    limits, faults = engine.parameters, list[str]()
    if view.price is None or _age_s(view.now_us, view.price_time_us) > limits.max_price_age_s:
        faults.append("price")
    if view.curve is None or _age_s(view.now_us, view.dist_end_us) > limits.max_forecast_age_s:
        faults.append("forecast")
    books = view.up.book, view.down.book
    updated_us = max(book.updated_us for book in books)
    if not all(book.valid for book in books) or _age_s(view.now_us, updated_us) > limits.max_book_age_s:
        faults.append("book")
    return ", ".join(faults)


def _decision(engine: MarketEngine) -> str:
    if engine.outcome is not None:
        return f"settled: {engine.outcome}"
    if engine.fault:
        return engine.fault
    return "" if engine.plan is None else str(engine.plan.reason if isinstance(engine.plan, Wait) else engine.plan)


def _own_quotes(orders: Iterable[OrderState], up_symbol: str) -> tuple[float | None, float | None]:
    bids, asks = list[float](), list[float]()
    for order in orders:
        request = order.request
        if request.price is not None:
            is_up = request.symbol == up_symbol
            price = float(request.price) if is_up else 1.0 - float(request.price)
            (bids if (request.side == "buy") == is_up else asks).append(price)
    return max(bids, default=None), min(asks, default=None)


def _distributions(
    nexus: NexusView, window: Window, running: bool
) -> tuple[DistributionRow | None, DistributionRow | None]:
    """Of the running window's row: to its end and to the next one's. Of the next one's: to its own end, as the first.

    Read from the curve: the forecast's own windows are those that ran when it was made, a second or two ago.
    """
    if nexus.curve is None or nexus.dist_end_us is None:
        return None, None
    ahead_s = nexus.dist_end_us / US_PER_S
    following = next_window(window)
    if running:
        return _row(nexus.curve, window.end_s - ahead_s), _row(nexus.curve, following.end_s - ahead_s)
    is_next = window.start_us == nexus.window.end_us
    return (_row(nexus.curve, window.end_s - ahead_s) if is_next else None), None


def _row(curve: HorizonCurve, horizon_s: float) -> DistributionRow | None:
    return DistributionRow(*curve.parameters_at(horizon_s), horizon_s) if horizon_s > 0.0 else None


def _net_profit(engine: MarketEngine, view: MarketView) -> float:
    booked = sum(float(position.realised - position.fees) for position in engine.positions.values())
    values = ((_value(token), token.held.at_risk) for token in (view.up, view.down))
    return booked + sum(value - cost for value, cost in values if value is not None)


def _value(token: TokenView) -> float | None:
    """Shares held at the best bid; `None` where some are held and nobody bids."""
    if token.held.shares == 0.0:
        return 0.0
    return token.held.shares * token.book.bids[0][0] if token.book.bids else None


def _best(levels: tuple[tuple[float, float], ...]) -> float | None:
    return levels[0][0] if levels else None


def _age_s(now_us: int, time_us: int) -> float:
    return (now_us - time_us) / US_PER_S
