"""The words of the simulated order book: the CLOB's answers and the market channel's events. Pure.

Numbers are texts where the venue writes texts. Built here by hand, without the client's structs, so that a mistake there does not hide behind the same one here.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from crypy.domain.times import US_PER_MS, iso
from crypy.simulator.polymarket_book import WHOLE, Ladder, LevelChange, Taken, mirrored
from crypy.simulator.polymarket_exchange import SimMarket

Json = dict[str, Any]
_encode: Final = msgspec.json.Encoder().encode
_PRICES: Final = tuple(
    "0" if p == 0 else "1" if p == WHOLE else f"{p / WHOLE:.3f}".rstrip("0") for p in range(WHOLE + 1)
)
_OPPOSITE: Final = {"BUY": "SELL", "SELL": "BUY"}
MIN_SIZE: Final = 5
FEES: Final[Json] = {"exponent": 1, "rate": 0.07, "takerOnly": True, "rebateRate": 0.2}


def price_text(thousandths: int) -> str:
    """A price as the venue writes it: `0.5`, `0.07`, `0.003`."""
    return _PRICES[thousandths]


def size_text(hundredths: int) -> str:
    """A size as the venue writes it: `12`, `12.5`, `12.57`."""
    whole, rest = divmod(hundredths, 100)
    return f"{whole}.{rest:02d}".rstrip("0") if rest else str(whole)


def tick_text(market: SimMarket) -> str:
    return price_text(market.tick)


# ---- the market channel


def book_event(market: SimMarket, token: str) -> Json:
    """A token's whole book; bids ascending and asks descending, best last."""
    return {"event_type": "book"} | book_object(market, token)


def level_frames(market: SimMarket, changes: tuple[LevelChange, ...], time_us: int) -> bytes:
    """A `price_change` event: each level of Up and its mirror of Down."""
    up, down = market.listing.up_token, market.listing.down_token
    bid, ask = market.book.best_bid, market.book.best_ask
    hashes = {token: _change_hash(token, time_us) for token in (up, down)}
    rows: list[Json] = []
    for change in changes:
        size, opposite = size_text(change.size), _OPPOSITE[change.side]
        rows.append(_change(up, change.price, size, change.side, hashes[up], bid, ask))
        rows.append(_change(down, WHOLE - change.price, size, opposite, hashes[down], WHOLE - ask, WHOLE - bid))
    event = {"event_type": "price_change", "market": market.listing.condition_id, "price_changes": rows}
    return _encode(event | {"timestamp": _ms(time_us)})


def trade_event(market: SimMarket, taken: Taken, time_us: int) -> bytes:
    """A `last_trade_price` event; every trade of the simulation is told on the Up token."""
    listing = market.listing
    return _encode(
        {
            "event_type": "last_trade_price",
            "market": listing.condition_id,
            "asset_id": listing.up_token,
            "price": price_text(taken.price),
            "size": size_text(taken.size),
            "side": taken.side,
            "fee_rate_bps": "0",
            "transaction_hash": "0x" + hashlib.sha256(f"{listing.up_token}{time_us}".encode()).hexdigest(),
            "timestamp": _ms(time_us),
        }
    )


def tick_events(market: SimMarket, time_us: int) -> list[Json]:
    """`tick_size_change` of both tokens, from cents to tenths."""
    return [
        {
            "event_type": "tick_size_change",
            "market": market.listing.condition_id,
            "asset_id": token,
            "old_tick_size": "0.01",
            "new_tick_size": tick_text(market),
            "timestamp": _ms(time_us),
        }
        for token in (market.listing.up_token, market.listing.down_token)
    ]


def best_events(market: SimMarket, time_us: int) -> list[Json]:
    """`best_bid_ask` of both tokens."""
    bid, ask = market.book.best_bid, market.book.best_ask
    up, down = market.listing.up_token, market.listing.down_token
    return [
        {
            "event_type": "best_bid_ask",
            "market": market.listing.condition_id,
            "asset_id": token,
            "best_bid": price_text(best_bid),
            "best_ask": price_text(best_ask),
            "spread": price_text(ask - bid),
            "timestamp": _ms(time_us),
        }
        for token, best_bid, best_ask in ((up, bid, ask), (down, WHOLE - ask, WHOLE - bid))
    ]


def new_market_event(market: SimMarket, time_us: int) -> Json:
    listing = market.listing
    return {
        "event_type": "new_market",
        "id": str(listing.number),
        "question": listing.title,
        "market": listing.condition_id,
        "slug": listing.slug,
        "assets_ids": [listing.up_token, listing.down_token],
        "outcomes": ["Up", "Down"],
        "timestamp": _ms(time_us),
    }


def resolved_event(market: SimMarket, time_us: int) -> Json:
    """`market_resolved`; no winner where both sides get half."""
    listing = market.listing
    winner = {"up": (listing.up_token, "Up"), "down": (listing.down_token, "Down")}.get(market.outcome or "", ("", ""))
    return {
        "event_type": "market_resolved",
        "id": str(listing.number),
        "market": listing.condition_id,
        "assets_ids": [listing.up_token, listing.down_token],
        "winning_asset_id": winner[0],
        "winning_outcome": winner[1],
        "timestamp": _ms(time_us),
        "tags": ["crypto"],
    }


# ---- CLOB


def book_object(market: SimMarket, token: str) -> Json:
    """A token's book as REST and the channel have it."""
    bids, asks = token_ladders(market, token)
    last = market.book.last_price
    if last is not None and token != market.listing.up_token:
        last = WHOLE - last
    book: Json = {
        "market": market.listing.condition_id,
        "asset_id": token,
        "timestamp": _ms(market.updated_us),
        "hash": "",
        "bids": [{"price": price_text(p), "size": size_text(bids[p])} for p in sorted(bids)],
        "asks": [{"price": price_text(p), "size": size_text(asks[p])} for p in sorted(asks, reverse=True)],
        "min_order_size": str(MIN_SIZE),
        "tick_size": tick_text(market),
        "neg_risk": False,
        "last_trade_price": "" if last is None else price_text(last),
    }
    # The venue's hash is of this very text, with an empty hash in it.
    return book | {"hash": hashlib.sha1(_encode(book), usedforsecurity=False).hexdigest()}


def token_ladders(market: SimMarket, token: str) -> tuple[Ladder, Ladder]:
    """Bids and asks as the token's holder sees them."""
    book = market.book
    if token == market.listing.up_token:
        return book.bids, book.asks
    return mirrored(book.asks), mirrored(book.bids)


def clob_market(market: SimMarket) -> Json:
    """`/clob-markets/{condition}`: the order book's parameters in short keys."""
    listing, fees = market.listing, FEES
    return {
        "c": listing.condition_id,
        "t": [{"t": listing.up_token, "o": "Up"}, {"t": listing.down_token, "o": "Down"}],
        "mos": MIN_SIZE,
        "mts": market.tick / WHOLE,
        "mbf": 1000,
        "tbf": 1000,
        "nr": False,
        "itode": True,
        "ibce": True,
        "rfqe": False,
        "ao": not market.is_closed,
        "aot": iso(listing.listed_us),
        "gst": None,
        "sd": 0,
        "oas": 0,
        "cbos": True,
        "v": "v1",
        "fd": {"r": fees["rate"], "e": fees["exponent"], "to": fees["takerOnly"]},
        "r": {"mi": 50, "ma": 4.5, "moas": 30},
    }


def long_market(market: SimMarket) -> Json:
    """`/markets/{condition}`: the same in long words."""
    listing = market.listing
    paid = paid_prices(market)
    middle = (market.book.best_bid + market.book.best_ask) / 2 / WHOLE
    prices = (middle, 1 - middle) if paid is None else paid
    return {
        "condition_id": listing.condition_id,
        "question": listing.title,
        "market_slug": listing.slug,
        "end_date_iso": iso(listing.window.end_us),
        "accepting_orders": not market.is_closed,
        "active": True,
        "closed": market.is_closed,
        "enable_order_book": True,
        "minimum_order_size": MIN_SIZE,
        "minimum_tick_size": market.tick / WHOLE,
        "neg_risk": False,
        "seconds_delay": 0,
        "maker_base_fee": 1000,
        "taker_base_fee": 1000,
        "tokens": [
            {"token_id": token, "outcome": label, "price": price, "winner": market.outcome == label.lower()}
            for token, label, price in zip((listing.up_token, listing.down_token), ("Up", "Down"), prices, strict=True)
        ],
    }


def paid_prices(market: SimMarket) -> tuple[float, float] | None:
    """What one token of each side pays, `None` before the market is resolved."""
    match market.outcome:
        case "up":
            return 1.0, 0.0
        case "down":
            return 0.0, 1.0
        case "half":
            return 0.5, 0.5
        case None:
            return None


def _change(token: str, price: int, size: str, side: str, digest: str, best_bid: int, best_ask: int) -> Json:
    return {
        "asset_id": token,
        "price": price_text(price),
        "size": size,
        "side": side,
        "hash": digest,
        "best_bid": price_text(best_bid),
        "best_ask": price_text(best_ask),
    }


def _change_hash(token: str, time_us: int) -> str:
    # The venue's hash is of the book after the change, with fields that no reader can know; here it only has to differ from state to state.
    return hashlib.sha1(f"{token}:{time_us}".encode(), usedforsecurity=False).hexdigest()


def _ms(time_us: int) -> str:
    return str(time_us // US_PER_MS)
