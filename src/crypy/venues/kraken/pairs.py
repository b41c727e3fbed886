"""Kraken's spellings of one pair: `BTC/USD` on websocket v2, `XBTUSD` and `XXBTZUSD` by REST, `XBT/USD` on websocket v1.

Any of them may be asked for; events and candles carry the name that was asked for. A spelling without a slash is cut at one of the usual quote
currencies.
Source: docs.kraken.com, AssetPairs and websocket v2; that v2 refuses the v1 names is recorded ("Currency pair not supported XBT/USDT").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crypy.domain.errors import ConfigError

# Old names of REST and v1 -> the names of v2.
_MODERN: Final[Mapping[str, str]] = {"XBT": "BTC", "XDG": "DOGE"}
_OLD: Final[Mapping[str, str]] = {modern: old for old, modern in _MODERN.items()}
# Currencies with a letter before them in REST's keys: X for coins, Z for money.
_LETTERED: Final = frozenset({
    "XXBT", "XXDG", "XETH", "XETC", "XLTC", "XMLN", "XREP", "XXLM", "XXMR", "XXRP", "XZEC",
    "ZUSD", "ZEUR", "ZGBP", "ZCAD", "ZJPY", "ZAUD",
})  # fmt: skip
# What a spelling without a slash is cut at; pairs in other currencies (PYUSD, RLUSD ...) need their slash, since ADAUSD could be AD/AUSD.
_QUOTES: Final = ("USDT", "USDC", "USD", "EUR", "GBP", "CAD", "JPY", "AUD", "CHF", "DAI", "XBT", "BTC", "ETH")


def stream_name(symbol: str) -> str:
    """The name on websocket v2.

    >>> [stream_name(name) for name in ("BTC/USD", "XBTUSD", "XXBTZUSD", "XBT/USDT", "ethusdt")]
    ['BTC/USD', 'BTC/USD', 'BTC/USD', 'BTC/USDT', 'ETH/USDT']

    Raises `ConfigError` for what is no pair.
    """
    return "/".join(_split(symbol))


def rest_name(symbol: str) -> str:
    """The alternative name that REST takes.

    >>> [rest_name(name) for name in ("BTC/USD", "DOGE/EUR", "XXBTZUSD", "SOL/USD")]
    ['XBTUSD', 'XDGEUR', 'XBTUSD', 'SOLUSD']

    Raises `ConfigError` as `stream_name`.
    """
    return "".join(_OLD.get(currency, currency) for currency in _split(symbol))


def stream_names(symbols: tuple[str, ...]) -> dict[str, str]:
    """The name that was asked for, by the name on websocket v2. Raises `ConfigError` for two spellings of one pair."""
    names: dict[str, str] = {}
    for symbol in symbols:
        name = stream_name(symbol)
        if name in names:
            raise ConfigError(f"{names[name]} and {symbol} are the same pair at Kraken; ask for one of them")
        names[name] = symbol
    return names


def _split(symbol: str) -> tuple[str, str]:
    text = symbol.strip().upper()
    if "/" in text:
        base, _, quote = text.partition("/")
    else:
        base, quote = _cut(text, symbol)
    base, quote = _MODERN.get(base, base), _MODERN.get(quote, quote)
    if not all(part and part.isascii() and part.replace(".", "").isalnum() for part in (base, quote)):
        raise ConfigError(f"{symbol!r} is no pair of Kraken's; write for example BTC/USD")
    return base, quote


def _cut(text: str, symbol: str) -> tuple[str, str]:
    if len(text) == 8 and text[:4] in _LETTERED and text[4:] in _LETTERED:
        return text[1:4], text[5:]
    quote = next((quote for quote in _QUOTES if text.endswith(quote) and len(text) > len(quote) + 1), "")
    if not quote:
        raise ConfigError(
            f"{symbol!r}: where base ends and quote begins is not clear; write it with a slash, as BTC/USD"
        )
    return text[: -len(quote)], quote
