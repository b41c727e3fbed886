"""A market, books and orders for the tests of the paper venue."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from crypy.domain.instruments import Instrument
from crypy.domain.markets import FeeSchedule, PredictionMarket
from crypy.domain.orders import OrderRequest
from crypy.domain.settlement import Settlement
from crypy.domain.windows import Window
from crypy.marketdata.book import Book
from crypy.simulator.paper import PaperExchange
from crypy.simulator.paper_rules import Terms, market_terms
from crypy.testing.clock import ManualClock

T = TypeVar("T")
D = Decimal
START_S = 1_770_000_000
WINDOW = Window(START_S, START_S + 300, "5m")


def token(symbol: str) -> Instrument:
    return Instrument(
        venue="pm", symbol=symbol, kind="outcome", base=f"{symbol}-id", quote="pUSD", settle="pUSD", tick_size=D("0.01"),
        lot_size=D("0.01"), min_quantity=D(5), min_notional=D(1),
    )  # fmt: skip


def market(**changes: Any) -> PredictionMarket:
    values: dict[str, Any] = {
        "venue": "pm", "slug": "btc-5m", "condition_id": "0xm", "coin": "BTC", "window": WINDOW, "up": token("up"),
        "down": token("down"), "settlement": Settlement("average", "chainlink", 60),
        "fees": FeeSchedule(rate=D("0.07"), exponent=D(1)), "accepting_orders": True, "taker_delay_us": 150_000,
        "link": "", "simulated": True,
    }  # fmt: skip
    return PredictionMarket(**(values | changes))


def request(client_id: str, side: str, quantity: str, price: str | None, **changes: Any) -> OrderRequest:
    values: dict[str, Any] = {
        "client_id": client_id, "account": "paper", "venue": "pm", "symbol": "up", "side": side,
        "type": "limit" if price else "market", "quantity": D(quantity), "price": D(price) if price else None,
    }  # fmt: skip
    return OrderRequest(**(values | changes))


def levels(texts: Mapping[str, str]) -> list[tuple[Decimal, Decimal]]:
    return [(D(price), D(size)) for price, size in texts.items()]


class Scene:
    """A paper venue with the books of one market and a clock that stands still."""

    def __init__(self, url: str = "sqlite://", deposit: str = "1000", **changes: Any) -> None:
        self.clock = ManualClock(WINDOW.start_us)
        self.market = market(**changes)
        self.books = {"up": Book("up"), "down": Book("down")}
        self.show({"0.48": "100", "0.47": "50"}, {"0.50": "100", "0.52": "40"})
        self.fills_heard = 0
        self.paper = PaperExchange(
            url, self.clock, self.books.get, self.terms, {"pUSD": D(deposit)}, on_fill=self._hear
        )

    def _hear(self) -> None:
        self.fills_heard += 1

    def terms(self, symbol: str) -> Terms | None:
        return {each.instrument.symbol: each for each in market_terms(self.market)}.get(symbol)

    def show(self, bids: Mapping[str, str], asks: Mapping[str, str]) -> None:
        """Set the book of Up, and Down's as its mirror."""
        up_bids, up_asks = levels(bids), levels(asks)
        self.books["up"].replace(up_bids, up_asks, self.clock.now_us())
        mirrored = [(1 - price, size) for price, size in up_asks], [(1 - price, size) for price, size in up_bids]
        self.books["down"].replace(*mirrored, self.clock.now_us())

    async def now(self, doing: Coroutine[Any, Any, T]) -> T:
        """Do it, letting time pass until it is done."""
        task = asyncio.ensure_future(doing)
        while not task.done():
            await self.clock.advance(0.01)
            await asyncio.sleep(0.0005)
        return await task

    async def submit(self, client_id: str, side: str, quantity: str, price: str | None, **changes: Any):
        return await self.now(self.paper.submit(request(client_id, side, quantity, price, **changes)))
