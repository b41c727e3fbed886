"""Asset-centred candles: one coin over every venue that is stored, beside the exchange-centred candles they are made of.

How the venues become one row:

* Only markets in one quote currency and of one kind are put together: those of the leading market (spot before derivatives, Binance first,
  USDT before USD before USDC). A dollar stablecoin is not a dollar. Whoever names `quotes` or `venues` gets just these, mixed at par.
  What is left out is named, with the reason.
* Volumes and counts are sums over the members.
* The price is by default the leading member's: one at which something traded. Where that member lacks a part of the candle, it is the next one's that
  lacks nothing; `price_from` says whose. With `weighted`, open, high, low and close are means over the members that lack nothing, weighted by
  their base volume in the candle.
* A row is closed when it is closed at every member, and complete when no member lacks anything; `whole` says which do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_S
from crypy.marketdata.candles import COLUMNS, Candles
from crypy.marketdata.intervals import Interval
from crypy.marketdata.listings import Listing, in_rank, listing
from crypy.marketdata.stored_candles import StoredCandles

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
PriceRule = Literal["leading", "weighted"]

PRICE_RULES: Final[tuple[PriceRule, ...]] = ("leading", "weighted")
_PRICES: Final = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class AssetCandles:
    """One coin's candles: `total` over the `members`, which stand on the same rows, the leading one first.

    `whole` [members, rows] is true where a member lacks nothing of the candle so far. `price_from` [rows] is the index of the member whose price the
    total has (of the leading one where weighted). `spread_bps` [rows] is the distance between the highest and the lowest close of whole
    members over the total's close, in basis points, NaN with fewer than two. `left_out` names stored markets of the coin that are not
    in it, each with the reason.
    """

    total: Candles
    members: tuple[Candles, ...]
    quotes: tuple[str, ...]
    whole: Bools
    price_from: Ints
    spread_bps: Floats
    left_out: tuple[tuple[str, str], ...]


def asset_candles(
    stored: StoredCandles,
    coin: str,
    interval: Interval,
    start_s: int | None = None,
    end_s: int | None = None,
    *,
    quotes: Sequence[str] = (),
    venues: Sequence[str] = (),
    price: PriceRule = "leading",
) -> AssetCandles:
    """Candles of a coin that open in `[start_s, end_s)`; as `StoredCandles.candles` of each member, which see for what counts when.

    Raises `Incomplete` where nothing is stored of the coin in the range, `ConfigError` for an unknown price rule or a venue or quote that is not stored.
    """
    if price not in PRICE_RULES:
        raise ConfigError(f"{price!r} is not a rule for the price; choose from {', '.join(PRICE_RULES)}")
    chosen, left_out = _chosen(stored, coin, tuple(quotes), tuple(venues))
    members: list[Candles] = []
    for each in chosen:
        try:
            members.append(stored.candles(each.venue, each.symbol, interval, start_s, end_s))
        except Incomplete as lack:
            left_out.append((each.name, str(lack)))
    if not members:
        raise Incomplete(f"{coin}: {left_out[-1][1]}", tuple(name for name, _ in left_out))
    used = {member.name: member for member in members}
    rows = _on_one_grid(members)
    whole = _whole(rows)
    leading = np.where(whole.any(axis=0), whole.argmax(axis=0), _first_priced(rows))
    total = _total(coin, rows, leading, whole, price)
    named = tuple(dict.fromkeys(each.quote for each in chosen if each.name in used))
    return AssetCandles(total, tuple(rows), named, whole, leading, _spread_bps(total, rows, whole), tuple(left_out))


def _chosen(
    stored: StoredCandles, coin: str, quotes: tuple[str, ...], venues: tuple[str, ...]
) -> tuple[list[Listing], list[tuple[str, str]]]:
    """The markets to put together, the leading one first, and the others with the reason why not."""
    found = in_rank((each for each in (listing(*pair) for pair in stored.instruments()) if each.coin == coin), venues)
    if not found:
        coins = sorted({listing(*pair).coin for pair in stored.instruments()})
        raise Incomplete(f"nothing is stored of {coin}; stored are {', '.join(coins) or 'no coins'}", (coin,))
    for what, wanted, known in (
        ("venue", venues, {each.venue for each in found}),
        ("quote", quotes, {each.quote for each in found}),
    ):
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise ConfigError(
                f"{what} {', '.join(unknown)}: nothing of {coin} is stored there; choose from {', '.join(sorted(known))}"
            )
    chosen: list[Listing] = []
    left_out: list[tuple[str, str]] = []
    for each in found:
        first = chosen[0] if chosen else each
        if venues and each.venue not in venues:
            left_out.append((each.name, f"its venue is not among {', '.join(venues)}"))
        elif quotes and each.quote not in quotes:
            left_out.append((each.name, f"priced in {each.quote or 'an unknown currency'}, not in {', '.join(quotes)}"))
        elif not quotes and each.quote != first.quote:
            left_out.append((each.name, f"priced in {each.quote or 'an unknown currency'}, not in {first.quote}"))
        elif not venues and each.is_spot != first.is_spot:
            left_out.append((each.name, "a derivative, not spot" if first.is_spot else "spot, not a derivative"))
        else:
            chosen.append(each)
    return chosen, left_out


def _on_one_grid(members: list[Candles]) -> list[Candles]:
    """The members with rows from the first open of any to the last, in which rows of a member's own lack everything."""
    interval = members[0].interval
    first_us = min(int(member.open_time_us[0]) for member in members)
    last_us = max(int(member.close_time_us[-1]) for member in members)
    edges = interval.edges(first_us // US_PER_S, last_us // US_PER_S)
    return [_spread_over(member, edges * US_PER_S) for member in members]


def _spread_over(member: Candles, edges: Ints) -> Candles:
    before = int(np.searchsorted(edges, member.open_time_us[0]))
    after = len(edges) - 1 - before - len(member)
    if not before and not after:
        return member
    lengths = np.diff(edges) // US_PER_S

    def padded(name: str) -> NDArray[Any]:
        column = getattr(member, name)
        if name == "open_time_us":
            return edges[:-1]
        if name == "close_time_us":
            return edges[1:]
        if name == "missing_s":
            return np.concatenate([lengths[:before], column, lengths[len(lengths) - after :]])
        if name in _PRICES:
            return np.concatenate([np.full(before, np.nan), column, np.full(after, member.close[-1])])
        # What comes before a member's first row is not going to change; what comes after its last has yet to come.
        return np.concatenate([np.full(before, name == "closed", column.dtype), column, np.zeros(after, column.dtype)])

    return member.of_columns(padded(name) for name in COLUMNS)


def _whole(members: list[Candles]) -> Bools:
    """Which members [members, rows] lack nothing; one that still runs where another is closed has stopped telling."""
    closed = np.array([member.closed for member in members])
    return (np.array([member.missing_s for member in members]) == 0) & (closed | ~closed.any(axis=0))


def _first_priced(members: list[Candles]) -> Ints:
    """The first member with any price, of each row."""
    return np.array([np.isfinite(member.close) for member in members]).argmax(axis=0)


def _total(coin: str, members: list[Candles], leading: Ints, whole: Bools, price: PriceRule) -> Candles:
    first = members[0]
    rows = np.arange(len(first))

    def picked(name: str) -> Floats:
        return np.array([getattr(member, name) for member in members])[leading, rows]

    def summed(name: str) -> NDArray[Any]:
        return np.sum([getattr(member, name) for member in members], axis=0)

    prices = {name: picked(name) for name in _PRICES}
    if price == "weighted":
        prices = _weighted(members, prices, whole)
    return Candles(
        coin,
        first.interval,
        first.open_time_us,
        first.close_time_us,
        **prices,
        volume=summed("volume"),
        quote_volume=summed("quote_volume"),
        count=summed("count"),
        taker_buy_volume=summed("taker_buy_volume"),
        missing_s=np.max([member.missing_s for member in members], axis=0),
        closed=np.all([member.closed for member in members], axis=0),
        source=", ".join(dict.fromkeys(member.source for member in members)),
    )


def _weighted(members: list[Candles], leading: dict[str, Floats], whole: Bools) -> dict[str, Floats]:
    """Means by volume, as the leading price and the mean distance from it: with one member its price, to the bit."""
    weights = np.where(whole, [member.volume for member in members], 0.0)
    total = weights.sum(axis=0)
    means = {
        name: leading[name]
        + np.sum(weights * np.nan_to_num([getattr(member, name) - leading[name] for member in members]), axis=0)
        / np.where(total > 0, total, 1.0)
        for name in _PRICES
    }
    # Rounding must not put a price outside the candle.
    means["high"] = np.maximum(means["high"], np.maximum(means["open"], means["close"]))
    means["low"] = np.minimum(means["low"], np.minimum(means["open"], means["close"]))
    return means


def _spread_bps(total: Candles, members: list[Candles], whole: Bools) -> Floats:
    closes = np.array([member.close for member in members])
    seen = whole & np.isfinite(closes)
    highest, lowest = np.where(seen, closes, -np.inf).max(axis=0), np.where(seen, closes, np.inf).min(axis=0)
    known = seen.sum(axis=0) > 1
    with np.errstate(invalid="ignore"):
        return np.where(known, (highest - lowest) / total.close * 1e4, np.nan)
