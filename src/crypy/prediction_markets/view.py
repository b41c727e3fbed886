"""Everything a market engine may know at one moment, frozen.

The manager builds it, `decide` reads it, nothing else goes in. It is made of few parts, each replaced only when its own
source changes, so that a price change costs one small struct per market. Floats are for deciding; the
exact amounts beside them are for the order.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from crypy.distributions.curve import HorizonCurve
from crypy.distributions.settlement import UpQuestion, question
from crypy.domain.errors import DataError
from crypy.domain.instruments import ONE, ZERO, Instrument
from crypy.domain.markets import PredictionMarket, ReferenceSource
from crypy.marketdata.book import Book, Level
from crypy.prediction_markets.plans import Token

# Levels of each side that an engine looks at: "nearby" depth.
LEVELS = 5


class MarketRules(msgspec.Struct, frozen=True):
    """What does not change while a market lives, in the form that decisions need.

    `obstacle` says why the market can never be traded; empty if it can. `asked` is `None` where the rule is unknown.
    """

    market: PredictionMarket
    obstacle: str
    asked: UpQuestion | None
    start_us: int
    end_us: int
    fee_rate: float
    fee_exponent: float
    delay_s: float

    @classmethod
    def of(cls, market: PredictionMarket) -> MarketRules:
        """Constants of a market, and whether it may be traded at all: a rule that asks nothing sensible is an obstacle too."""
        fees, obstacle, asked = market.fees, _obstacle(market), None
        try:
            asked = None if market.settlement is None else question(market.window, market.settlement)
        except DataError as error:
            obstacle = str(error)
        return cls(
            market=market,
            obstacle=obstacle,
            asked=asked,
            start_us=market.window.start_us,
            end_us=market.window.end_us,
            fee_rate=0.0 if fees is None else float(fees.rate),
            fee_exponent=1.0 if fees is None else float(fees.exponent),
            delay_s=market.taker_delay_us / 1e6,
        )


class TokenBook(msgspec.Struct, frozen=True):
    """The best levels of one token's book as `(price, size)`, best first, and how far they can be believed."""

    valid: bool
    why: str
    epoch: int
    updated_us: int
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, book: Book) -> TokenBook:
        return cls(
            book.valid, book.reason, book.epoch, book.updated_us, _levels(book.bids(LEVELS)), _levels(book.asks(LEVELS))
        )


NO_BOOK = TokenBook(False, "no snapshot yet", 0, 0, (), ())


class Holding(msgspec.Struct, frozen=True):
    """Shares of one token and what they cost with fees; exact, and as floats."""

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    shares: float = 0.0
    at_risk: float = 0.0

    @classmethod
    def of(cls, quantity: Decimal, cost: Decimal) -> Holding:
        return cls(quantity, cost, float(quantity), float(cost))


NOTHING_HELD = Holding()


class ReferencePrice(msgspec.Struct, frozen=True):
    """What the window is measured against.

    `price` is in the units of its source and is what people see. `comparable` is the same in the units of our own price, with the
    basis between the two sources taken out; `sd` is the standard deviation, in logs, of what that leaves unknown at both ends.
    """

    price: float
    source: ReferenceSource
    comparable: float
    sd: float


class RestingOrder(msgspec.Struct, frozen=True):
    """An own order that is live at the venue."""

    client_id: str
    symbol: str
    buys: bool
    price: float


class TokenView(msgspec.Struct, frozen=True):
    """One of a market's two tokens: what it is, its book, and what we hold of it."""

    token: Token
    instrument: Instrument
    book: TokenBook = NO_BOOK
    held: Holding = NOTHING_HELD


class MarketView(msgspec.Struct, frozen=True):
    """One market now. `None` means not known yet.

    `known_average` is of our price since the running average began (see `UpQuestion.averaging_from_us`), `None` while none
    runs. `history_s` is what the forecast rests on. `cash` is what is free to spend; `at_risk` is what all open positions and orders cost together, this market's included.
    `ahead_sd` is the `sd` of a window that has not begun. `cooling_until_us` is when the pause after the last order ends.
    """

    rules: MarketRules
    now_us: int
    price: float | None
    price_time_us: int
    curve: HorizonCurve | None
    dist_end_us: int
    history_s: float
    reference: ReferencePrice | None
    known_average: float | None
    ahead_sd: float
    up: TokenView
    down: TokenView
    cash: Decimal
    at_risk: float
    in_flight: bool = False
    cooling_until_us: int = 0
    resting: tuple[RestingOrder, ...] = ()


def _obstacle(market: PredictionMarket) -> str:
    if market.settlement is None:
        return "settlement rule not recognised"
    if market.fees is None:
        return "fee not known"
    if not market.accepting_orders:
        return "market takes no orders"
    if not all(ZERO < token.tick_size < ONE and token.lot_size > ZERO for token in (market.up, market.down)):
        return "grid of prices or sizes not known"
    return ""


def _levels(levels: list[Level]) -> tuple[tuple[float, float], ...]:
    return tuple((float(price), float(size)) for price, size in levels)
