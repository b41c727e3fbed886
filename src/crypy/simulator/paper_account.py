"""The paper venue's account and matching, without clock, file or waiting.

Each method is one thing that happens at one moment: it changes the account and returns the `Change` to be written. An
order that is refused raises `Rejected` and moves nothing. Cash and holdings are finite: what resting orders could
need is set aside.

A prediction market's two tokens are two views of the same orders, so levels and queues are kept in the view
of one of them (`canonical`): what was bought as Up cannot be sold to again as Down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Literal

from msgspec.structs import replace

from crypy.domain.errors import Rejected
from crypy.domain.instruments import ZERO, Side
from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import LIVE, Fill, OrderRequest, OrderState, OrderStatus
from crypy.domain.settlement import Outcome
from crypy.ledger.values import Listing, Redemption, listing, payout
from crypy.marketdata.book import Book
from crypy.simulator.models.fees import FeeModel
from crypy.simulator.models.liquidity import Level, LevelKey, Liquidity, Part, walk
from crypy.simulator.models.queue import Place, advance
from crypy.simulator.paper_rules import BAD_REQUEST, Terms, check_marketable, check_rules, rests
from crypy.simulator.paper_store import Change, PaperOrder, PaperState

NO_BALANCE = "not enough balance / allowance"
NO_MATCH = "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found."
NOT_WHOLE = "order couldn't be fully filled. FOK orders are fully filled or killed."


class PaperAccount:
    """Balances by asset (outcome tokens by symbol), resting orders, and what was taken from displayed levels."""

    def __init__(self, state: PaperState, terms_of: Callable[[str], Terms | None]) -> None:
        self.balances = dict(state.balances)
        self.resting: dict[str, PaperOrder] = {order.state.request.client_id: order for order in state.resting}
        self._terms_of = terms_of
        self._liquidity = Liquidity(state.levels)
        self._prefix = f"paper-{state.created_us:x}"
        self._number = state.number
        self._time_us = state.time_us

    def time_us(self, clock_us: int) -> int:
        """The venue's time: the clock's, but never before what has happened already, even in an earlier process."""
        self._time_us = max(self._time_us, clock_us)
        return self._time_us

    def available(self, asset: str) -> Decimal:
        """What is owned and not set aside for resting orders."""
        set_aside = (self._set_aside(order) for order in self.resting.values())
        return self.balances.get(asset, ZERO) - sum((amount for of, amount in set_aside if of == asset), ZERO)

    def takes(self, request: OrderRequest, terms: Terms, book: Book | None, now_us: int) -> bool:
        """Whether the order would take from the book as it stands. Raises `Rejected` if the venue would refuse it."""
        check_rules(request, terms, now_us)
        levels = _opposite(request, book)
        crosses = bool(levels) and _reaches(request, levels[0][0])
        if crosses and request.post_only:
            raise Rejected("invalid post-only order: order crosses book", BAD_REQUEST)
        if crosses:
            check_marketable(request, terms, levels[0][0])
        traded = listing(terms.instrument)
        needed = request.quantity if request.side == "sell" else request.quantity * (request.price or ZERO)
        self._check_balance(traded.asset if request.side == "sell" else traded.cash, needed)
        return crosses

    def place(self, request: OrderRequest, terms: Terms, book: Book | None, now_us: int) -> Change:
        """The order arrives: it takes what it can; the rest of it rests, or is over."""
        self.takes(request, terms, book, now_us)
        fees = check_rules(request, terms, now_us)
        parts, gone = self._match(request, terms, book)
        filled = sum((part.quantity for part in parts), ZERO)
        if not rests(request) and filled == 0:
            raise Rejected(NO_MATCH, BAD_REQUEST)
        if request.time_in_force == "fok" and filled < request.quantity:
            raise Rejected(NOT_WHOLE, BAD_REQUEST)
        self._check_cost(request, listing(terms.instrument), fees, parts)
        number = self._next_number()
        state = OrderState(
            request=request,
            status=_status(request, filled),
            filled=filled,
            venue_id=f"{self._prefix}-{number}",
            reason="" if rests(request) or filled == request.quantity else "the rest found no match",
            updated_us=now_us,
        )
        ahead = _displayed(request, book) if rests(request) else ZERO
        order = PaperOrder(state, listing(terms.instrument), number, ahead, now_us, terms.mirror_of)
        self._keep(order)
        fills = [
            self._fill(order, part, fees.fee(part.price, part.quantity, "taker"), "taker", now_us) for part in parts
        ]
        levels = dict.fromkeys(gone, ZERO) | self._take(request, terms, parts)
        return self._change(now_us, (order,), fills, levels=levels)

    def cancel(self, client_id: str, now_us: int, reason: str = "") -> Change:
        """Take a resting order out. Raises `KeyError` where it does not rest."""
        order = self.resting[client_id]
        after = replace(order, state=replace(order.state, status="cancelled", reason=reason, updated_us=now_us))
        self._keep(after)
        return self._change(now_us, (after,))

    def trade(
        self, symbol: str, terms: Terms, taker: Side, price: Decimal, quantity: Decimal, traded_us: int, now_us: int
    ) -> Change | None:
        """A real trade: our resting orders move on in their queue and fill when it is their turn.

        `None` where it touched none of them.
        """
        here = _canonical(LevelKey(symbol, taker, price), terms.mirror_of)
        ours = [o for o in self.resting.values() if o.since_us <= traded_us and _own_level(o).symbol == here.symbol]
        steps = advance([_place(order) for order in ours], here.side, here.price, quantity)
        moved: list[PaperOrder] = []
        fills: list[Fill] = []
        for order, step in zip(ours, steps, strict=True):
            request, filled = order.state.request, order.state.filled + step.filled
            if step.filled == 0 and step.ahead == order.ahead:
                continue
            state = replace(order.state, filled=filled, status=_status(request, filled), updated_us=now_us)
            after = replace(order, ahead=step.ahead, state=state)
            self._keep(after)
            moved.append(after)
            if step.filled and request.price is not None:
                fee = self._maker_fee(request, step.filled)
                fills.append(self._fill(after, Part(request.price, step.filled), fee, "maker", now_us))
        return self._change(now_us, moved, fills) if moved else None

    def redeem(self, market: PredictionMarket, outcome: Outcome, now_us: int) -> Change:
        """Pay out both tokens and take their resting orders away."""
        symbols = (market.up.symbol, market.down.symbol)
        over = [order for order in self.resting.values() if order.state.request.symbol in symbols]
        orders = [order for each in over for order in self.cancel(_id(each), now_us, "market resolved").orders]
        up, down = (self.balances.get(symbol, ZERO) for symbol in symbols)
        redemption = Redemption(
            venue=market.venue,
            condition_id=market.condition_id,
            outcome=outcome,
            up_symbol=market.up.symbol,
            down_symbol=market.down.symbol,
            up_quantity=up,
            down_quantity=down,
            cash=market.up.settle,
            paid=up * payout(outcome, "up") + down * payout(outcome, "down"),
            time_us=now_us,
        )
        for symbol, quantity in zip(symbols, (up, down), strict=True):
            self._move(symbol, -quantity)
        self._move(redemption.cash, redemption.paid)
        sides: tuple[Literal["buy"], Literal["sell"]] = ("buy", "sell")
        gone = [key for side in sides for key in self._liquidity.keep_only(market.up.symbol, side, ())]
        return self._change(
            now_us, orders, assets=(*symbols, redemption.cash), levels=dict.fromkeys(gone, ZERO), redemption=redemption
        )

    def _match(
        self, request: OrderRequest, terms: Terms, book: Book | None
    ) -> tuple[tuple[Part, ...], tuple[LevelKey, ...]]:
        """What the order gets, and the remembered levels that are displayed no more."""
        levels = _opposite(request, book)
        keys = [_taken_from(request, price, terms) for price, _ in levels]
        somewhere = _taken_from(request, ZERO, terms)
        gone = self._liquidity.keep_only(somewhere.symbol, somewhere.side, {key.price for key in keys})
        left = [(price, self._liquidity.available(key, size)) for key, (price, size) in zip(keys, levels, strict=True)]
        return walk(left, request.side, request.price, request.quantity), gone

    def _take(self, request: OrderRequest, terms: Terms, parts: Iterable[Part]) -> dict[LevelKey, Decimal]:
        keys = [(_taken_from(request, part.price, terms), part.quantity) for part in parts]
        return {key: self._liquidity.take(key, quantity) for key, quantity in keys}

    def _check_cost(self, request: OrderRequest, traded: Listing, fees: FeeModel, parts: Sequence[Part]) -> None:
        """Cash for what was matched, its fees, and what is left to rest."""
        fee = sum((fees.fee(part.price, part.quantity, "taker") for part in parts), ZERO)
        notional = sum((part.price * part.quantity for part in parts), ZERO)
        left = request.quantity - sum((part.quantity for part in parts), ZERO)
        if request.side == "sell":
            self._check_balance(traded.cash, fee - notional)
        elif rests(request) and request.price is not None:
            set_aside = left * request.price + fees.fee(request.price, left, "maker")
            self._check_balance(traded.cash, notional + fee + set_aside)
        else:
            self._check_balance(traded.cash, notional + fee)

    def _check_balance(self, asset: str, needed: Decimal) -> None:
        available = self.available(asset)
        if available < needed:
            raise Rejected(f"{NO_BALANCE}: {available} of {needed} {asset}", BAD_REQUEST)

    def _set_aside(self, order: PaperOrder) -> tuple[str, Decimal]:
        request, remaining = order.state.request, order.state.remaining
        if request.side == "sell" or request.price is None:
            return order.traded.asset, remaining
        return order.traded.cash, remaining * request.price + self._maker_fee(request, remaining)

    def _maker_fee(self, request: OrderRequest, quantity: Decimal) -> Decimal:
        terms = self._terms_of(request.symbol)
        if terms is None or terms.fees is None or request.price is None:
            return ZERO
        return terms.fees.fee(request.price, quantity, "maker")

    def _fill(
        self, order: PaperOrder, part: Part, fee: Decimal, liquidity: Literal["maker", "taker"], now_us: int
    ) -> Fill:
        """Book one fill on the balances: a buyer pays notional and fee, a seller gets notional less fee."""
        request, traded = order.state.request, order.traded
        sign = 1 if request.side == "buy" else -1
        self._move(traded.asset, sign * part.quantity)
        self._move(traded.cash, -sign * part.price * part.quantity - fee)
        return Fill(
            id=f"{self._prefix}-{self._next_number()}",
            client_id=request.client_id,
            venue=request.venue,
            symbol=request.symbol,
            side=request.side,
            price=part.price,
            quantity=part.quantity,
            fee=fee,
            fee_asset=traded.cash,
            liquidity=liquidity,
            time_us=now_us,
        )

    def _change(
        self,
        now_us: int,
        orders: Sequence[PaperOrder],
        fills: Sequence[Fill] = (),
        *,
        assets: Iterable[str] = (),
        levels: Mapping[LevelKey, Decimal] | None = None,
        redemption: Redemption | None = None,
    ) -> Change:
        touched = {asset for order in orders for asset in (order.traded.asset, order.traded.cash)} | set(assets)
        return Change(
            number=self._number,
            time_us=now_us,
            balances={asset: self.balances.get(asset, ZERO) for asset in touched},
            orders=tuple(orders),
            fills=tuple(fills),
            levels=levels or {},
            redemption=redemption,
        )

    def _keep(self, order: PaperOrder) -> None:
        if order.state.status in LIVE:
            self.resting[_id(order)] = order
        else:
            self.resting.pop(_id(order), None)

    def _move(self, asset: str, amount: Decimal) -> None:
        self.balances[asset] = self.balances.get(asset, ZERO) + amount
        if not self.balances[asset]:
            del self.balances[asset]

    def _next_number(self) -> int:
        self._number += 1
        return self._number


def _id(order: PaperOrder) -> str:
    return order.state.request.client_id


def _status(request: OrderRequest, filled: Decimal) -> OrderStatus:
    if filled == request.quantity:
        return "filled"
    if not rests(request):
        return "cancelled"
    return "partly_filled" if filled else "open"


def _opposite(request: OrderRequest, book: Book | None) -> list[Level]:
    """The side of the book the order would take from, best first. Raises `Rejected` while there is no book to
    believe.
    """
    if book is None or not book.valid:
        reason = "there is none" if book is None else book.reason
        raise Rejected(f"{request.symbol}: no valid order book ({reason}), so nothing is taken on paper", BAD_REQUEST)
    return book.asks() if request.side == "buy" else book.bids()


def _reaches(request: OrderRequest, best: Decimal) -> bool:
    if request.price is None:
        return True
    return request.price >= best if request.side == "buy" else request.price <= best


def _displayed(request: OrderRequest, book: Book | None) -> Decimal:
    """What stands at the order's own price before it."""
    levels = [] if book is None else book.bids() if request.side == "buy" else book.asks()
    return next((size for price, size in levels if price == request.price), ZERO)


def _taken_from(request: OrderRequest, price: Decimal, terms: Terms) -> LevelKey:
    key = LevelKey(request.symbol, "sell" if request.side == "buy" else "buy", price)
    return _canonical(key, terms.mirror_of)


def _own_level(order: PaperOrder) -> LevelKey:
    request = order.state.request
    return _canonical(LevelKey(request.symbol, request.side, request.price or ZERO), order.mirror_of)


def _place(order: PaperOrder) -> Place:
    level = _own_level(order)
    return Place(level.side, level.price, order.ahead, order.state.remaining)


def _canonical(key: LevelKey, mirror_of: str) -> LevelKey:
    return key.mirrored(mirror_of) if mirror_of else key
