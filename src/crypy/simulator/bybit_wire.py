"""Bybit v5's JSON, built by hand and not from the clients' structs: one mistake shall not hide the other.

Shapes follow the venue's documentation (bybit-exchange/docs, commit 072c197 of 2026-07-24) and recorded messages. Numbers are texts without
trailing zeros; times are milliseconds, as texts in REST's rows and as numbers in streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import NAMESPACE_OID, uuid5

import msgspec

from crypy.domain.events import E8
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.binance_source import Depth, Levels, Listing
from crypy.simulator.folded_candles import CLOSE, HIGH, LOW, OPEN, QUOTE, VOLUME

Category = Literal["spot", "linear"]
CATEGORIES: Final[tuple[Category, ...]] = ("spot", "linear")
# The venue's word for each length in seconds; weeks and months are not simulated.
INTERVALS: Final = {
    "1": 60, "3": 180, "5": 300, "15": 900, "30": 1_800, "60": 3_600, "120": 7_200, "240": 14_400, "360": 21_600, "720": 43_200, "D": 86_400,
}  # fmt: skip
_FIRST_SPOT_ID: Final = 2_290_000_000_000_000_000
Bar = Sequence[int]


def category_named(name: str) -> Category | None:
    """The category of that name, `None` for others of the venue's and for none of them."""
    return "spot" if name == "spot" else "linear" if name == "linear" else None


def text_of(value_e8: int) -> str:
    """A value in units of 1e-8 as the venue writes it: no zeros at the end.

    >>> text_of(1705550000000), text_of(2_200_000_000)
    ('17055.5', '22')
    """
    whole, part = divmod(value_e8, E8)
    return f"{whole}.{part:08d}".rstrip("0") if part else str(whole)


def answer(result: str, now_us: int) -> bytes:
    """A success, around its result in JSON."""
    return f'{{"retCode":0,"retMsg":"OK","result":{result},"retExtInfo":{{}},"time":{now_us // 1_000}}}'.encode()


def refusal(code: int, words: str, now_us: int) -> bytes:
    """A business error; HTTP says 200."""
    body = {"retCode": code, "retMsg": words, "result": {}, "retExtInfo": {}, "time": now_us // 1_000}
    return msgspec.json.encode(body)


def time_result(now_us: int) -> str:
    return f'{{"timeSecond":"{now_us // 1_000_000}","timeNano":"{now_us}000"}}'


def kline_result(category: Category, symbol: str, rows: Sequence[tuple[int, Bar]]) -> str:
    """Open time and columns of bars, in the order in which they are told."""
    told = ",".join(
        f'["{start_us // 1_000}","{text_of(bar[OPEN])}","{text_of(bar[HIGH])}","{text_of(bar[LOW])}","{text_of(bar[CLOSE])}"'
        f',"{text_of(bar[VOLUME])}","{text_of(bar[QUOTE])}"]'
        for start_us, bar in rows
    )
    return f'{{"category":"{category}","symbol":"{symbol}","list":[{told}]}}'


def kline_event(topic: str, word: str, start_us: int, end_us: int, bar: Bar, confirm: bool, told_us: int) -> bytes:
    """`kline.<interval>.<symbol>`, as it stands at `told_us`."""
    at_ms = told_us // 1_000
    return (
        f'{{"topic":"{topic}","data":[{{"start":{start_us // 1_000},"end":{end_us // 1_000 - 1},"interval":"{word}"'
        f',"open":"{text_of(bar[OPEN])}","close":"{text_of(bar[CLOSE])}","high":"{text_of(bar[HIGH])}"'
        f',"low":"{text_of(bar[LOW])}","volume":"{text_of(bar[VOLUME])}","turnover":"{text_of(bar[QUOTE])}"'
        f',"confirm":{"true" if confirm else "false"},"timestamp":{min(at_ms, end_us // 1_000 - 1)}}}],"ts":{at_ms},"type":"snapshot"}}'
    ).encode()


def trade_result(category: Category, symbol: str, batch: TradeBatch) -> str:
    """The list of `/v5/market/recent-trade`, newest first."""
    told = ",".join(
        f'{{"execId":"{_trade_id(category, symbol, number)}","symbol":"{symbol}","price":"{text_of(price)}"'
        f',"size":"{text_of(quantity)}","side":"{_side(maker)}","time":"{time_us // 1_000}","isBlockTrade":false'
        f',"isRPITrade":false,"seq":"{number + 1}"}}'
        for number, price, quantity, time_us, maker in reversed(_rows(batch))
    )
    return f'{{"category":"{category}","list":[{told}]}}'


def trade_event(category: Category, symbol: str, batch: TradeBatch, ticks: Sequence[str] = ()) -> bytes:
    """`publicTrade.<symbol>`: trades of one moment, ascending. `ticks` are their directions, which only derivatives tell."""
    told = ",".join(
        f'{{"T":{time_us // 1_000},"s":"{symbol}","S":"{_side(maker)}","v":"{text_of(quantity)}","p":"{text_of(price)}"{tick}'
        f',"i":"{_trade_id(category, symbol, number)}","BT":false,"RPI":false,"seq":{number + 1}}}'
        for (number, price, quantity, time_us, maker), tick in zip(
            _rows(batch), [f',"L":"{word}"' for word in ticks] or [""] * len(batch), strict=True
        )
    )
    at_ms = int(batch.time_us[-1]) // 1_000
    return f'{{"topic":"publicTrade.{symbol}","type":"snapshot","ts":{at_ms},"data":[{told}]}}'.encode()


def book_result(symbol: str, depth: Depth | None, now_us: int) -> str:
    """The result of `/v5/market/orderbook`; a market without a book has an empty one."""
    told = Depth(0, [], []) if depth is None else depth
    at_ms, number = now_us // 1_000, told.last_update_id
    return (
        f'{{"s":"{symbol}","b":{_levels(told.bids)},"a":{_levels(told.asks)},"ts":{at_ms}'
        f',"u":{number},"seq":{number},"cts":{at_ms}}}'
    )


def book_event(
    topic: str, symbol: str, whole: bool, bids: Levels, asks: Levels, numbers: tuple[int, int], at_us: int
) -> bytes:
    """`orderbook.<depth>.<symbol>`: the whole book or changed levels; `numbers` are the topic's update and the engine's sequence."""
    kind, at_ms = "snapshot" if whole else "delta", at_us // 1_000
    return (
        f'{{"topic":"{topic}","ts":{at_ms},"type":"{kind}","data":{{"s":"{symbol}","b":{_levels(bids)},"a":{_levels(asks)}'
        f',"u":{numbers[0]},"seq":{numbers[1]}}},"cts":{at_ms}}}'
    ).encode()


def instrument(category: Category, listing: Listing) -> dict[str, Any]:
    """A row of `/v5/market/instruments-info`."""
    tick, lot = _decimal(listing.tick_size), _decimal(listing.lot_size)
    common = {"symbol": listing.symbol, "baseCoin": listing.base, "quoteCoin": listing.quote, "status": "Trading"}
    if category == "spot":
        return common | {
            "innovation": "0",
            "marginTrading": "none",
            "stTag": "0",
            "lotSizeFilter": {
                "basePrecision": lot, "quotePrecision": "0.00000001", "minOrderQty": lot, "maxOrderQty": "9000000", "minOrderAmt": "5",
                "maxOrderAmt": "8000000", "maxLimitOrderQty": "9000000", "maxMarketOrderQty": "9000000", "postOnlyMaxLimitOrderSize": "9000000",
            },
            "priceFilter": {"tickSize": tick},
            "riskParameters": {"priceLimitRatioX": "0.05", "priceLimitRatioY": "0.05"},
            "symbolType": "",
        }  # fmt: skip
    return common | {
        "contractType": "LinearPerpetual",
        "launchTime": "0",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(max(0, -int(listing.tick_size.normalize().as_tuple().exponent))),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": tick, "maxPrice": "1999999.8", "tickSize": tick},
        "lotSizeFilter": {
            "maxOrderQty": "9000000", "minOrderQty": lot, "qtyStep": lot, "postOnlyMaxOrderQty": "9000000", "maxMktOrderQty": "9000000",
            "minNotionalValue": "5",
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": listing.quote,
        "copyTrading": "none",
        "isPreListing": False,
    }  # fmt: skip


def _rows(batch: TradeBatch) -> list[tuple[int, int, int, int, bool]]:
    columns = (batch.id, batch.price_e8, batch.quantity_e8, batch.time_us, batch.buyer_is_maker)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _side(buyer_is_maker: bool) -> str:
    """The taker's."""
    return "Sell" if buyer_is_maker else "Buy"


def _trade_id(category: Category, symbol: str, number: int) -> str:
    """A number on spot, a UUID on derivatives."""
    return str(_FIRST_SPOT_ID + number) if category == "spot" else str(uuid5(NAMESPACE_OID, f"{symbol} {number}"))


def _levels(levels: Levels) -> str:
    told = ",".join(f'["{text_of(price)}","{text_of(quantity)}"]' for price, quantity in levels)
    return f"[{told}]"


def _decimal(value: Decimal) -> str:
    return format(value.normalize(), "f")
