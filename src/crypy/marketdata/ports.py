"""What market data needs from outside, and what it gives on.

A venue satisfies `HistorySource` and `LiveFeed`; the nexus satisfies `PriceSink`.
"""

from __future__ import annotations

from typing import Protocol


class PriceSink(Protocol):
    """Takes each change of a midprice, by a straight call on the price path."""

    def update_price(self, coin: str, price: float, time_us: int) -> None: ...


class LiveFeed(Protocol):
    """A venue's live stream of trades and quotes; runs until cancelled and reconnects by itself."""

    async def run(self) -> None: ...
