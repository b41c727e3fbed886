"""What the Binance servers ask of a market, made or recorded.

Every question carries `now_us`, and the answer holds nothing from after it: this is the only place where the
future could leak, so each source cuts here and its servers cannot.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from crypy.marketdata.trades import TradeBatch

TradeKind = Literal["aggTrades", "trades"]
Levels = list[tuple[int, int]]


class Frame(NamedTuple):
    """One event of a stream: when it is sent, and its JSON without the combined stream's wrapping.

    `micro` is the same event with times in microseconds, `None` where nobody asked for it.
    """

    time_us: int
    stream: str
    data: bytes
    micro: bytes | None


@dataclass(frozen=True, slots=True)
class Span:
    """Which trades are wanted: `from_id` on, else by inclusive bounds of time; without any, the newest."""

    limit: int
    from_id: int | None = None
    start_us: int | None = None
    end_us: int | None = None


@dataclass(frozen=True, slots=True)
class Depth:
    """A book at one moment; levels (price, quantity) in units of 1e-8, best first."""

    last_update_id: int
    bids: Levels
    asks: Levels


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol's grid as `exchangeInfo` tells it."""

    symbol: str
    base: str
    quote: str
    tick_size: Decimal
    lot_size: Decimal


class BinanceSource(Protocol):
    """A market as Binance would show it."""

    @property
    def listings(self) -> tuple[Listing, ...]: ...

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of all streams that carry something, such as `btcusdt@aggTrade`."""
        ...

    def frames(self, wanted: Collection[str], after_us: int, now_us: int, micro: bool) -> list[Frame]:
        """Events of the wanted streams in `(after_us, now_us]`, in the order in which they are sent."""
        ...

    def next_us(self, after_us: int) -> int | None:
        """A moment before which no further event comes; `None` when the market has ended."""
        ...

    def trades(self, symbol: str, kind: TradeKind, span: Span, now_us: int) -> TradeBatch:
        """Trades by REST's ordering rule, ids ascending."""
        ...

    def trades_between(self, symbol: str, start_us: int, end_us: int, now_us: int) -> TradeBatch:
        """All trades in `[start_us, end_us)`, aggregated where the source has aggregates; for candles."""
        ...

    def covered(self, symbol: str, opens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the bars between the open times the source knows anything of, traded in or not: a venue tells no candle of the others."""
        ...

    def depth(self, symbol: str, limit: int, now_us: int) -> Depth | None:
        """Up to `limit` levels a side; `None` before the first book."""
        ...

    def day_trades(self, symbol: str, kind: TradeKind, day: int) -> TradeBatch | None:
        """A past UTC day (days since 1970) for the archive; `None` where there is no file."""
        ...

    def twin(self) -> BinanceSource:
        """The same market for use in another thread."""
        ...
