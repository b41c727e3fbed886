"""Binance's JSON, built by hand and not from the clients' structs: one mistake shall not hide the other.

Shapes follow the venue's documentation (web-socket-streams, rest-api) and recorded messages. Times are
given in microseconds and printed in `unit_us` (1,000 for milliseconds, 1 for microseconds).
"""

from __future__ import annotations

from crypy.domain.events import format_e8
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.binance_source import Depth, Levels

MILLISECOND_US = 1_000
MICROSECOND_US = 1
# The venue stamps an event when it sends it, here one millisecond after the trade, as in recorded streams.
SEND_DELAY_US = 1_000


def combined(stream: str, data: bytes) -> bytes:
    """An event as the combined stream wraps it."""
    return b'{"stream":"' + stream.encode() + b'","data":' + data + b"}"


def uncombined(frame: bytes) -> tuple[str, bytes] | None:
    """Stream and event of a combined stream's frame, `None` where it is none as the venue writes them."""
    name, middle, rest = frame.removeprefix(b'{"stream":"').partition(b'","data":')
    if not middle or not name.isascii():
        return None
    stream, data = name.decode(), rest[:-1]
    return (stream, data) if combined(stream, data) == frame else None


def trade_events(symbol: str, batch: TradeBatch, unit_us: int) -> list[bytes]:
    """`@trade` events; `batch` holds single trades."""
    return [
        f'{{"e":"trade","E":{(time_us + SEND_DELAY_US) // unit_us},"s":"{symbol}","t":{number},"p":"{format_e8(price)}"'
        f',"q":"{format_e8(quantity)}","T":{time_us // unit_us},"m":{_bool(maker)},"M":true}}'.encode()
        for number, price, quantity, _, _, time_us, maker in _rows(batch)
    ]


def aggregate_events(symbol: str, batch: TradeBatch, unit_us: int) -> list[bytes]:
    """`@aggTrade` events."""
    return [
        f'{{"e":"aggTrade","E":{(time_us + SEND_DELAY_US) // unit_us},"s":"{symbol}","a":{number}'
        f',"p":"{format_e8(price)}","q":"{format_e8(quantity)}","f":{first},"l":{last}'
        f',"T":{time_us // unit_us},"m":{_bool(maker)},"M":true}}'.encode()
        for number, price, quantity, first, last, time_us, maker in _rows(batch)
    ]


def book_ticker_event(
    symbol: str, update_id: int, bid_e8: int, bid_quantity_e8: int, ask_e8: int, ask_quantity_e8: int
) -> bytes:
    """A `@bookTicker` event: no type and no time, as spot sends it."""
    return (
        f'{{"u":{update_id},"s":"{symbol}","b":"{format_e8(bid_e8)}","B":"{format_e8(bid_quantity_e8)}"'
        f',"a":"{format_e8(ask_e8)}","A":"{format_e8(ask_quantity_e8)}"}}'
    ).encode()


def rest_aggregates(batch: TradeBatch, unit_us: int) -> bytes:
    """The answer of `/api/v3/aggTrades`."""
    rows = (
        f'{{"a":{number},"p":"{format_e8(price)}","q":"{format_e8(quantity)}","f":{first},"l":{last}'
        f',"T":{time_us // unit_us},"m":{_bool(maker)},"M":true}}'
        for number, price, quantity, first, last, time_us, maker in _rows(batch)
    )
    return f"[{','.join(rows)}]".encode()


def rest_trades(batch: TradeBatch, unit_us: int) -> bytes:
    """The answer of `/api/v3/trades` and `/api/v3/historicalTrades`."""
    rows = (
        f'{{"id":{number},"price":"{format_e8(price)}","qty":"{format_e8(quantity)}"'
        f',"quoteQty":"{format_e8(price * quantity // 100_000_000)}","time":{time_us // unit_us}'
        f',"isBuyerMaker":{_bool(maker)},"isBestMatch":true}}'
        for number, price, quantity, _, _, time_us, maker in _rows(batch)
    )
    return f"[{','.join(rows)}]".encode()


def rest_depth(depth: Depth) -> bytes:
    """The answer of `/api/v3/depth`."""
    return (
        f'{{"lastUpdateId":{depth.last_update_id},"bids":{_levels(depth.bids)},"asks":{_levels(depth.asks)}}}'
    ).encode()


def rest_book_ticker(symbol: str, depth: Depth) -> str:
    """One row of `/api/v3/ticker/bookTicker`."""
    bid, ask = (levels[0] if levels else (0, 0) for levels in (depth.bids, depth.asks))
    return (
        f'{{"symbol":"{symbol}","bidPrice":"{format_e8(bid[0])}","bidQty":"{format_e8(bid[1])}"'
        f',"askPrice":"{format_e8(ask[0])}","askQty":"{format_e8(ask[1])}"}}'
    )


def _levels(levels: Levels) -> str:
    rows = (f'["{format_e8(price)}","{format_e8(quantity)}"]' for price, quantity in levels)
    return f"[{','.join(rows)}]"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _rows(batch: TradeBatch) -> zip[tuple[int, int, int, int, int, int, bool]]:
    """Rows as plain Python numbers; `tolist` is several times faster than reading array cells."""
    return zip(
        batch.id.tolist(),
        batch.price_e8.tolist(),
        batch.quantity_e8.tolist(),
        batch.first_id.tolist(),
        batch.last_id.tolist(),
        batch.time_us.tolist(),
        batch.buyer_is_maker.tolist(),
        strict=True,
    )
