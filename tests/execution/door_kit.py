"""A desk over a real ledger and the real paper venue, and a port that can fail, for the tests of the door."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from crypy.domain.errors import Unavailable
from crypy.domain.instruments import Instrument, Side
from crypy.domain.markets import FeeSchedule, PredictionMarket
from crypy.domain.orders import Fill, OrderRequest, OrderState
from crypy.domain.settlement import Settlement
from crypy.domain.windows import Window
from crypy.execution.desk import Desk
from crypy.execution.limits import Limits
from crypy.execution.stamp import Stamp, StampIssuer
from crypy.ledger.ledger import Ledger
from crypy.ledger.values import Listing, market_listings
from crypy.marketdata.book import Book
from crypy.simulator.paper import PaperExchange
from crypy.simulator.paper_rules import Terms, market_terms
from crypy.testing.clock import ManualClock

T = TypeVar("T")
D = Decimal
ACCOUNT = "paper"
KEY = b"the holder's key of this process"
START_S = 1_770_000_000
WINDOW = Window(START_S, START_S + 300, "5m")
WIDE = Limits(
    order_notional=D(10_000), instrument_notional=D(10_000), market_notional=D(10_000), coin_notional=D(10_000), total_notional=D(10_000),
    open_orders=10_000, orders_per_minute=100_000, daily_loss=D(10_000), drawdown=D(10_000),
)  # fmt: skip


def token(symbol: str) -> Instrument:
    return Instrument(
        venue="pm", symbol=symbol, kind="outcome", base=f"{symbol}-id", quote="pUSD", settle="pUSD", tick_size=D("0.01"),
        lot_size=D("0.01"), min_quantity=D(5), min_notional=D(1),
    )  # fmt: skip


def market(name: str = "m", coin: str = "BTC") -> PredictionMarket:
    return PredictionMarket(
        venue="pm", slug=name, condition_id=f"0x{name}", coin=coin, window=WINDOW, up=token(f"{name}:up"), down=token(f"{name}:down"),
        settlement=Settlement("average", "chainlink", 60), fees=FeeSchedule(rate=D("0.07"), exponent=D(1)), accepting_orders=True,
        taker_delay_us=150_000, link="", simulated=True,
    )  # fmt: skip


def request(
    client_id: str, side: Side, quantity: str, price: str | None, symbol: str = "m:up", **changes: Any
) -> OrderRequest:
    values: dict[str, Any] = {
        "client_id": client_id, "account": ACCOUNT, "venue": "pm", "symbol": symbol, "side": side, "strategy": "s",
        "type": "limit" if price else "market", "quantity": D(quantity), "price": D(price) if price else None,
        "time_in_force": "ioc",
    }  # fmt: skip
    return OrderRequest(**(values | changes))


class FlakyPort:
    """The paper venue behind a line that can be cut: before the order arrives, or after it was done."""

    def __init__(self, paper: PaperExchange) -> None:
        self.paper = paper
        self.cut: str = ""  # "before": nothing arrives; "after": done, but the answer is lost; "all": nothing answers
        self.submitted: list[str] = []

    async def submit(self, request: OrderRequest) -> OrderState:
        self.submitted.append(request.client_id)
        return await self._over_the_line(self.paper.submit(request))

    async def cancel(self, client_id: str) -> OrderState:
        return await self._over_the_line(self.paper.cancel(client_id))

    async def query(self, client_id: str) -> OrderState | None:
        return await self._ask(self.paper.query(client_id))

    async def open_orders(self) -> tuple[OrderState, ...]:
        return await self._ask(self.paper.open_orders())

    async def fills(self, since_us: int) -> tuple[Fill, ...]:
        return await self._ask(self.paper.fills(since_us))

    async def balances(self) -> Mapping[str, Decimal]:
        return await self._ask(self.paper.balances())

    async def _over_the_line(self, call: Coroutine[Any, Any, T]) -> T:
        if self.cut in ("before", "all"):
            call.close()
            raise Unavailable("the line is cut")
        answer = await call
        if self.cut == "after":
            raise Unavailable("the answer was lost")
        return answer

    async def _ask(self, call: Coroutine[Any, Any, T]) -> T:
        if self.cut == "all":
            call.close()
            raise Unavailable("the line is cut")
        return await call


class Door:
    """Everything from the request to the paper venue, on a clock that stands still."""

    def __init__(
        self, folder: Path | None = None, limits: Limits = WIDE, deposit: str = "1000", at_us: int = WINDOW.start_us
    ) -> None:
        self.clock = ManualClock(at_us)
        self.markets = [market("m"), market("n"), market("e", "ETH")]
        symbols = [each.symbol for m in self.markets for each in (m.up, m.down)]
        self.books = {symbol: Book(symbol) for symbol in symbols}
        for symbol in symbols:
            self.show(symbol, {"0.48": "100", "0.47": "500"}, {"0.50": "100", "0.52": "400"})
        listings = [each for m in self.markets for each in market_listings(m)]
        self.listings: dict[str, Listing] = {each.symbol: each for each in listings}
        self.terms: dict[str, Terms] = {t.instrument.symbol: t for m in self.markets for t in market_terms(m)}
        urls = [f"sqlite:///{folder / name}" if folder else "sqlite://" for name in ("paper.db", "ledger.db")]
        self.paper = PaperExchange(urls[0], self.clock, self.books.get, self.terms.get, {"pUSD": D(deposit)})
        self.port = FlakyPort(self.paper)
        self.ledger = Ledger.open(urls[1], self.clock, "paper")
        self.issuer = StampIssuer(ACCOUNT, KEY, self.clock)
        self.desk = self.new_desk(limits)
        self.paper.on_fill = self.desk.nudge

    def new_desk(self, limits: Limits = WIDE, **changes: Any) -> Desk:
        values: dict[str, Any] = {
            "account": ACCOUNT, "ledger": self.ledger, "port": self.port, "limits": limits, "clock": self.clock,
            "listing_of": self.listings.get, "mid_of": self.mid_of, "stamp_key": KEY, "redeemer": self.paper,
        }  # fmt: skip
        return Desk(**(values | changes))

    def show(self, symbol: str, bids: Mapping[str, str], asks: Mapping[str, str]) -> None:
        both = [[(D(price), D(size)) for price, size in side.items()] for side in (bids, asks)]
        self.books[symbol].replace(both[0], both[1], self.clock.now_us())

    def mid_of(self, symbol: str) -> Decimal | None:
        bid, ask = self.books[symbol].best_bid, self.books[symbol].best_ask
        return (bid[0] + ask[0]) / 2 if bid and ask else None

    def stamp(self, symbol: str = "m:up", side: Side = "buy", amount: str = "1000", **changes: Any) -> Stamp:
        values: dict[str, Any] = {"trader": "t", "strategy": "s", "lifetime_s": 600.0} | changes
        return self.issuer.issue(pair=symbol, side=side, amount=D(amount), **values)

    async def now(self, doing: Awaitable[T]) -> T:
        """Do it, letting time pass until it is done."""
        task = asyncio.ensure_future(doing)
        while not task.done():
            await self.clock.advance(0.01)
            await asyncio.sleep(0.0005)
        return await task

    async def submit(
        self, client_id: str, side: Side, quantity: str, price: str | None, symbol: str = "m:up", **changes: Any
    ) -> Any:
        order = request(client_id, side, quantity, price, symbol, **changes)
        return await self.now(self.desk.submit(order, self.stamp(symbol, side) if side == "buy" else None))

    def close(self) -> None:
        self.paper.close()
        self.ledger.close()
