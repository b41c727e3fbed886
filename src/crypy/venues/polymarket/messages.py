"""What the venue sends, as it sends it: Gamma's metadata, the CLOB's answers and the market channel's events.

These structs end at this package's border; nothing above knows them. Prices and sizes are texts on the wire and
`Decimal` from here on. Fields that the venue may leave out have defaults; unknown fields are ignored, because the venue adds some every month.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

from crypy.domain.errors import Unreadable

# ---- Gamma: which markets there are and by which rules they pay


class GammaFees(msgspec.Struct, frozen=True, rename="camel"):
    """`feeSchedule`: the fee is shares x rate x (price x (1 - price)) ** exponent."""

    rate: Decimal
    exponent: Decimal
    taker_only: bool = True
    rebate_rate: Decimal = Decimal(0)


class GammaCryptoConfig(msgspec.Struct, frozen=True, rename="camel"):
    """`cryptoMarketConfig`, there since August 2026: which average a market settles on."""

    asset: str = ""
    duration: str = ""
    twap_enabled: bool = False
    twap_lookback_seconds: int | None = None


class GammaEventMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """`eventMetadata`: the price to beat appears seconds to minutes after the start, the final price after the end."""

    price_to_beat: float | str | None = None
    final_price: float | str | None = None


class GammaMarket(msgspec.Struct, frozen=True, rename="camel"):
    """One market. `start_date` is when it was listed, about a day before `event_start_time`.

    `outcomes`, `outcome_prices` and `clob_token_ids` are JSON inside a text. Absent and `null` both mean that the venue says nothing.
    """

    slug: str
    condition_id: str
    outcomes: str | None = None
    outcome_prices: str | None = None
    clob_token_ids: str | None = None
    event_start_time: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    description: str | None = None
    resolution_source: str | None = None
    active: bool | None = None
    closed: bool | None = None
    accepting_orders: bool | None = None
    enable_order_book: bool | None = None
    neg_risk: bool | None = None
    order_price_min_tick_size: Decimal | None = None
    order_min_size: Decimal | None = None
    fees_enabled: bool | None = None
    fee_schedule: GammaFees | None = None
    crypto_market_config: GammaCryptoConfig | None = None


class GammaEvent(msgspec.Struct, frozen=True, rename="camel"):
    """An event; those of Up/Down series have exactly one market, of the same slug."""

    slug: str
    start_time: str | None = None
    closed: bool | None = None
    event_metadata: GammaEventMetadata | None = None
    markets: tuple[GammaMarket, ...] = ()


# ---- CLOB: the parameters and books of one market


class ClobFees(msgspec.Struct, frozen=True):
    """`fd`: rate, exponent, taker only."""

    r: Decimal | None = None
    e: Decimal | None = None
    to: bool | None = None


class ClobMarket(msgspec.Struct, frozen=True):
    """`/clob-markets/{condition}`: minimum size, tick, fee and whether takers are held back (`itode`)."""

    c: str
    mos: Decimal | None = None
    mts: Decimal | None = None
    itode: bool = False
    ao: bool | None = None
    fd: ClobFees | None = None


class WireLevel(msgspec.Struct, frozen=True):
    """A level of a book: absolute size."""

    price: Decimal
    size: Decimal


class ClobBook(msgspec.Struct, frozen=True):
    """`/book`: bids ascending and asks descending, so that the best ones are last."""

    market: str
    asset_id: str
    timestamp: str
    bids: tuple[WireLevel, ...]
    asks: tuple[WireLevel, ...]
    hash: str = ""
    min_order_size: Decimal | None = None
    tick_size: Decimal | None = None
    neg_risk: bool | None = None
    last_trade_price: str | None = None


# ---- the market channel


class BookMessage(msgspec.Struct, frozen=True, tag_field="event_type", tag="book"):
    """The whole book of one token."""

    market: str
    asset_id: str
    timestamp: str
    bids: tuple[WireLevel, ...]
    asks: tuple[WireLevel, ...]
    tick_size: Decimal | None = None


class WireChange(msgspec.Struct, frozen=True):
    """One level of one token now holds `size`; best prices are those after the message."""

    asset_id: str
    price: Decimal
    size: Decimal
    side: str
    best_bid: Decimal | None = None
    best_ask: Decimal | None = None


class PriceChangeMessage(msgspec.Struct, frozen=True, tag_field="event_type", tag="price_change"):
    """Levels that changed; normally both tokens of a market, mirrored."""

    market: str
    timestamp: str
    price_changes: tuple[WireChange, ...]


class LastTradeMessage(msgspec.Struct, frozen=True, tag_field="event_type", tag="last_trade_price"):
    """A trade; `side` is the taker's."""

    market: str
    asset_id: str
    price: Decimal
    size: Decimal
    side: str
    timestamp: str


class TickSizeMessage(msgspec.Struct, frozen=True, tag_field="event_type", tag="tick_size_change"):
    """The token's price grid changed; a book on the new grid follows."""

    market: str
    asset_id: str
    new_tick_size: Decimal
    timestamp: str


class BestBidAskMessage(msgspec.Struct, frozen=True, tag_field="event_type", tag="best_bid_ask"):
    """Best prices; the books tell the same, so this only shows that the stream lives."""

    market: str
    asset_id: str
    timestamp: str


class ResolvedMessage(msgspec.Struct, frozen=True, tag_field="event_type", tag="market_resolved"):
    """The market has paid. `winning_asset_id` is empty where both sides got half."""

    market: str
    assets_ids: tuple[str, ...]
    timestamp: str
    winning_asset_id: str = ""
    winning_outcome: str = ""


class NewMarketMessage(msgspec.Struct, frozen=True, tag_field="event_type", tag="new_market"):
    """A market was listed; discovery finds it on its own."""


MarketMessage = (
    BookMessage
    | PriceChangeMessage
    | LastTradeMessage
    | TickSizeMessage
    | BestBidAskMessage
    | ResolvedMessage
    | NewMarketMessage
)


class _Tag(msgspec.Struct, frozen=True):
    event_type: str


PING: Final = "PING"
PONG: Final = b"PONG"

_market_message: Final = msgspec.json.Decoder(MarketMessage)
_market_messages: Final = msgspec.json.Decoder(list[MarketMessage])
_raw_messages: Final = msgspec.json.Decoder(list[msgspec.Raw])
_tag: Final = msgspec.json.Decoder(_Tag)
_KNOWN: Final = frozenset(
    ("book", "price_change", "last_trade_price", "tick_size_change", "best_bid_ask", "market_resolved", "new_market")
)


def decode_market_frame(frame: bytes | memoryview) -> list[MarketMessage]:
    """The events of a frame, which is one event or an array of them; events of kinds we do not know are left out.

    Raises `Unreadable` for everything else.
    """
    try:
        return _market_messages.decode(frame) if frame[:1] == b"[" else [_market_message.decode(frame)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _known_only(frame, error)


def subscription(tokens: Iterable[str]) -> str:
    """The first frame of a connection. It also asks for resolutions."""
    return _frame({"type": "market", "assets_ids": list(tokens), "custom_feature_enabled": True})


def subscribe(tokens: Iterable[str]) -> str:
    """Ask for further tokens; the venue answers with the whole book of each."""
    return _frame({"operation": "subscribe", "assets_ids": list(tokens), "custom_feature_enabled": True})


def unsubscribe(tokens: Iterable[str]) -> str:
    """Ask for no more of these tokens."""
    return _frame({"operation": "unsubscribe", "assets_ids": list(tokens)})


def _frame(content: dict[str, object]) -> str:
    return msgspec.json.encode(content).decode()


def _known_only(frame: bytes | memoryview, error: Exception) -> list[MarketMessage]:
    """Decode event by event, so that a new kind of event beside known ones does not cost the known ones."""
    data = bytes(frame)
    try:
        parts = _raw_messages.decode(data) if data[:1] == b"[" else [msgspec.Raw(data)]
        return [_market_message.decode(part) for part in parts if _is_known(part)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable(f"market channel: {error} in {data[:120]!r}") from None


def _is_known(part: msgspec.Raw) -> bool:
    return _tag.decode(part).event_type in _KNOWN
