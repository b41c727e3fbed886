"""One prediction market's engine: the state around the pure decision, and nothing that waits.

It holds what changes at its own pace (rules, books, positions, orders, reference), each part ready in the form the decision reads, so that a
price change builds one small view and calls `decide`. It sends nothing itself: its manager carries the plan out.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from crypy.distributions.curve import HorizonCurve
from crypy.domain.instruments import ZERO
from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import LIVE, Fill, OrderRequest, OrderState, Position
from crypy.domain.settlement import Outcome
from crypy.ledger.books import trade_position
from crypy.ledger.values import payout
from crypy.marketdata.book import Book
from crypy.prediction_markets.averages import RunningAverage
from crypy.prediction_markets.engine import decide
from crypy.prediction_markets.fees import taker_fee
from crypy.prediction_markets.parameters import Parameters
from crypy.prediction_markets.plans import Buy, Plan, Sell, Token
from crypy.prediction_markets.view import (
    Holding,
    MarketRules,
    MarketView,
    ReferencePrice,
    RestingOrder,
    TokenBook,
    TokenView,
)


class CoinNow(msgspec.Struct, frozen=True):
    """What all engines of a coin share at one evaluation; `None` where it is not known yet."""

    now_us: int
    price: float | None
    price_time_us: int
    curve: HorizonCurve | None
    dist_end_us: int
    history_s: float


@dataclass(slots=True)
class OrderInFlight:
    """The one order that is on its way. `ended` is how much was filled in all, once the order is over; `None` while it lives."""

    client_id: str
    reserved: Decimal
    seen: Decimal = ZERO
    ended: Decimal | None = None

    @property
    def is_over(self) -> bool:
        """Over, and every fill of it has reached us: only then are the positions true again."""
        return self.ended is not None and self.seen >= self.ended


class MarketEngine:
    """Engine of one market. `average` is the running average of the coin's price; `heard_us` of a token id tells when its stream last lived."""

    def __init__(
        self,
        market: PredictionMarket,
        parameters: Parameters,
        account: str,
        average: RunningAverage,
        ahead_sd: float,
        heard_us: Callable[[str], int] | None = None,
    ) -> None:
        self.market = market
        self.rules = MarketRules.of(market)
        self.parameters = parameters
        self.reference: ReferencePrice | None = None
        self.plan: Plan | None = None
        self.order: OrderInFlight | None = None
        self.outcome: Outcome | None = None
        # Why this engine was stopped: an error of ours that must not cost the other markets theirs. Empty while all is well.
        self.fault = ""
        self.own: dict[str, OrderState] = {}
        self.positions: dict[Token, Position] = {
            "up": Position(account=account, venue=market.venue, symbol=market.up.symbol),
            "down": Position(account=account, venue=market.venue, symbol=market.down.symbol),
        }
        self._average = average
        self._ahead_sd = ahead_sd
        self._heard_us = heard_us
        self._tokens: dict[Token, TokenView] = {
            "up": TokenView("up", market.up),
            "down": TokenView("down", market.down),
        }
        self._max_book_age_us = parameters.max_book_age_s * 1e6
        self._cooling_until_us = 0
        self._resting: tuple[RestingOrder, ...] = ()

    def use(self, parameters: Parameters) -> None:
        """Decide by these parameters from now on."""
        self.parameters = parameters
        self._max_book_age_us = parameters.max_book_age_s * 1e6

    def update_market(self, market: PredictionMarket) -> None:
        """The venue describes the market anew."""
        if market == self.market:
            return
        self.market = market
        self.rules = MarketRules.of(market)
        self._tokens["up"] = replace(self._tokens["up"], instrument=market.up)
        self._tokens["down"] = replace(self._tokens["down"], instrument=market.down)

    def on_book(self, token: Token, book: Book) -> None:
        """One of the two books has changed."""
        known = self._tokens[token]
        self._tokens[token] = TokenView(token, known.instrument, TokenBook.of(book), known.held)

    def eval_action(self, now: CoinNow, cash: Decimal, at_risk: float) -> Plan:
        """Look at everything known and decide (the specification's `pm_engine_eval_action`). Nothing is sent."""
        plan = self.plan = decide(self.view(now, cash, at_risk), self.parameters)
        return plan

    def view(self, now: CoinNow, cash: Decimal, at_risk: float) -> MarketView:
        """All that the decision may know."""
        now_us = now.now_us
        asked = self.rules.asked
        known = None
        if asked is not None and asked.lookback_s:
            from_us = asked.averaging_from_us(now_us)
            if from_us is not None:
                # Our clock may be behind the venue's stamps: the average then runs to the newest price.
                known = self._average.average(from_us, max(now_us, self._average.time_us or 0))
        up, down = self._tokens["up"], self._tokens["down"]
        if now_us - up.book.updated_us > self._max_book_age_us:
            up = self._hear(up)
        return MarketView(
            self.rules,
            now_us,
            now.price,
            now.price_time_us,
            now.curve,
            now.dist_end_us,
            now.history_s,
            self.reference,
            known,
            self._ahead_sd,
            up,
            down,
            cash,
            at_risk,
            self.order is not None,
            self._cooling_until_us,
            self._resting,
        )

    def send(self, client_id: str, plan: Buy | Sell, now_us: int) -> OrderRequest:
        """The plan as an order that is now on its way; nothing else is decided until it is over and its fills have come."""
        buys, position = isinstance(plan, Buy), self.positions[plan.token]
        reserved = ZERO
        if buys and self.market.fees is not None:
            reserved = plan.quantity * plan.price + taker_fee(self.market.fees, plan.price, plan.quantity)
        self.order = OrderInFlight(client_id, reserved)
        self._cooling_until_us = now_us + round(self.parameters.cooldown_s * 1e6)
        return OrderRequest(
            client_id=client_id,
            account=position.account,
            venue=position.venue,
            symbol=position.symbol,
            side="buy" if buys else "sell",
            type="limit",
            quantity=plan.quantity,
            price=plan.price,
            time_in_force="ioc",
            reduce_only=not buys,
            strategy=f"market:{self.market.slug}",
            created_us=now_us,
        )

    def on_order_state(self, state: OrderState) -> None:
        """An own order of this market is now like this."""
        client_id = state.request.client_id
        if state.status in LIVE:
            self.own[client_id] = state
        else:
            self.own.pop(client_id, None)
        self._resting = tuple(
            RestingOrder(client_id, own.request.symbol, own.request.side == "buy", float(own.request.price))
            for client_id, own in self.own.items()
            if own.request.price is not None and own.request.time_in_force in ("gtc", "gtd")
        )
        if self.order is not None and self.order.client_id == client_id and state.status not in LIVE:
            self.order.ended = state.filled
            self._land()

    def on_fill(self, fill: Fill) -> None:
        """Part of an own order was done."""
        token = self.token_of(fill.symbol)
        signed = fill.quantity if fill.side == "buy" else -fill.quantity
        traded = trade_position(self.positions[token], signed, fill.price)
        self.restore(token, replace(traded, fees=traded.fees + fill.fee))
        if self.order is not None and self.order.client_id == fill.client_id:
            self.order.seen += fill.quantity
            self.order.reserved = max(ZERO, self.order.reserved - fill.quantity * fill.price - fill.fee)
            self._land()

    def restore(self, token: Token, position: Position) -> None:
        """Hold exactly this of a token."""
        self.positions[token] = position
        held = Holding.of(position.quantity, position.cost)
        self._tokens[token] = replace(self._tokens[token], held=held)

    def forget_orders(self, living: Container[str]) -> None:
        """Give up every order that is not among the living: nothing of it will ever be told any more."""
        if self.order is not None and self.order.client_id not in living:
            self.order = None
        for client_id in [client_id for client_id in self.own if client_id not in living]:
            del self.own[client_id]
        self._resting = tuple(order for order in self._resting if order.client_id in living)

    def settle(self, outcome: Outcome) -> bool:
        """The market has paid: turn the tokens into what they pay. True if there were any."""
        self.outcome = outcome
        paid = False
        for token, position in list(self.positions.items()):
            if position.quantity:
                self.restore(token, trade_position(position, -position.quantity, payout(outcome, token)))
                paid = True
        return paid

    def token_of(self, symbol: str) -> Token:
        return "up" if symbol == self.market.up.symbol else "down"

    @property
    def holds(self) -> bool:
        return any(position.quantity for position in self.positions.values())

    @property
    def at_risk(self) -> Decimal:
        """What the positions have cost and what the order in flight may cost."""
        cost = self.positions["up"].cost + self.positions["down"].cost
        return cost if self.order is None else cost + self.order.reserved

    def _land(self) -> None:
        if self.order is not None and self.order.is_over:
            self.order = None

    def _hear(self, token: TokenView) -> TokenView:
        """A quiet book on a lively stream is a true one: it is as young as the stream's last word."""
        heard_us = 0 if self._heard_us is None else self._heard_us(token.instrument.base)
        if not token.book.valid or heard_us <= token.book.updated_us:
            return token
        fresher = self._tokens[token.token] = replace(token, book=replace(token.book, updated_us=heard_us))
        return fresher
