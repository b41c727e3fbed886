"""What a venue's symbol stands for: which coin, priced in what, spot or a derivative.

Stores know venues and symbols alone; a view over a coin has to tell which of them belong together. Venue names carry the kind of their
instruments where a venue has several (`bybit` is spot, `bybit_linear` are its perpetuals).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

# BitMEX and Kraken's older names call these by letters of their own.
_ALIASES: Final = {"XBT": "BTC", "XDG": "DOGE"}
_DERIVATIVES: Final = ("bitmex",)
# Where a symbol has no separator, its end is one of these, the first that fits. Only Binance has pairs in the currencies whose names
# end in another's: elsewhere DOTUSD is DOT in dollars, and not DO in TUSD.
_QUOTES: Final = ("USDT", "USDC", "USD", "EUR", "GBP", "BTC", "XBT", "ETH")
_BINANCE_QUOTES: Final = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", *_QUOTES)
_QUOTE_ORDER: Final = ("USDT", "USD", "USDC")
_FIRST_VENUE: Final = "binance"


class Listing(msgspec.Struct, frozen=True):
    """One symbol of one venue. `quote` is empty where the symbol does not tell it."""

    venue: str
    symbol: str
    coin: str
    quote: str
    is_spot: bool

    @property
    def name(self) -> str:
        """`venue:symbol`, as an instrument's id."""
        return f"{self.venue}:{self.symbol}"


def listing(venue: str, symbol: str) -> Listing:
    """What is known of a symbol by its name.

    >>> listing("bitmex", "XBTUSD")
    Listing(venue='bitmex', symbol='XBTUSD', coin='BTC', quote='USD', is_spot=False)
    """
    base, quote = _halves(venue, symbol.upper())
    is_spot = "_" not in venue and venue not in _DERIVATIVES
    return Listing(venue, symbol, _ALIASES.get(base, base), _ALIASES.get(quote, quote), is_spot)


def _halves(venue: str, symbol: str) -> tuple[str, str]:
    for separator in ("/", "-"):
        if separator in symbol:
            base, _, quote = symbol.partition(separator)
            return base, quote
    for quote in _BINANCE_QUOTES if venue == _FIRST_VENUE else _QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol.removesuffix(quote), quote
    return symbol, ""


def in_rank(listings: Iterable[Listing], venues: tuple[str, ...] = ()) -> list[Listing]:
    """The listings, the first one to lead: by the order of `venues` where given, else spot first, Binance first, then by name; USDT, USD, USDC first."""

    def rank(found: Listing) -> tuple[int, bool, bool, str, int, str, str]:
        named = venues.index(found.venue) if found.venue in venues else len(venues)
        quote = _QUOTE_ORDER.index(found.quote) if found.quote in _QUOTE_ORDER else len(_QUOTE_ORDER)
        by_kind = not found.is_spot and not venues
        return named, by_kind, found.venue != _FIRST_VENUE, found.venue, quote, found.quote, found.symbol

    return sorted(listings, key=rank)
