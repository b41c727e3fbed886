"""What can be traded, and the grid its prices and sizes live on.

Everything here is exact: `Decimal` in, `Decimal` out. Prices and sizes that are sent to a venue are
rounded by these functions and nowhere else.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Literal

import msgspec

from crypy.domain.errors import ConfigError

Kind = Literal["spot", "linear", "inverse", "outcome"]
Side = Literal["buy", "sell"]

ZERO = Decimal(0)
ONE = Decimal(1)


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One tradable thing at one venue.

    `tick_size` and `lot_size` are the steps of price and quantity, `min_quantity` and
    `min_notional` the least an order may carry (0 where the venue sets none). `multiplier` is the
    amount of base (linear) or quote (inverse) that one contract stands for. An outcome token of a
    prediction market has `base` = its token id and pays one `settle` or nothing.
    """

    venue: str
    symbol: str
    kind: Kind
    base: str
    quote: str
    settle: str
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal = ZERO
    min_notional: Decimal = ZERO
    multiplier: Decimal = ONE

    @property
    def id(self) -> str:
        """`venue:symbol`, unique in crypy."""
        return f"{self.venue}:{self.symbol}"


def on_grid(value: Decimal, step: Decimal) -> bool:
    """Whether `value` is a whole number of steps."""
    return value % step == 0


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above `value`."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below `value`."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def round_price(price: Decimal, side: Side, instrument: Instrument) -> Decimal:
    """The price on the instrument's grid that is never worse for us than the one asked for."""
    return floor_to(price, instrument.tick_size) if side == "buy" else ceil_to(price, instrument.tick_size)


def round_quantity(quantity: Decimal, instrument: Instrument) -> Decimal:
    """The quantity on the instrument's grid, never more than asked for."""
    return floor_to(quantity, instrument.lot_size)


def exact(text: str | int | Decimal) -> Decimal:
    """A finite Decimal from what a wire or a person wrote. Floats are refused: they are not exact."""
    value = Decimal(text)
    if not value.is_finite():
        raise ConfigError(f"{text!r} is not a finite number")
    return value


def coin_of(symbol: str) -> str:
    """The coin behind a symbol such as `BTCUSDT`, `BTC/USDT` or `BTC-USD`.

    >>> coin_of("BTCUSDT")
    'BTC'
    """
    for separator in ("/", "-"):
        if separator in symbol:
            return symbol.split(separator, 1)[0].upper()
    for quote in ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR", "BTC"):
        if symbol.upper().endswith(quote) and len(symbol) > len(quote):
            return symbol.upper()[: -len(quote)]
    return symbol.upper()
