"""Bybit v5's public market data by REST on loopback: paths, parameters, limits and refusals as the venue has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from crypy.domain.ports import Clock
from crypy.simulator.binance_source import BinanceSource, Span, TradeKind
from crypy.simulator.bybit_limits import AddressLimit, AddressRules
from crypy.simulator.bybit_query import RequestRefused, category_of, interval_of, kline_opens, limit_of, symbol_of
from crypy.simulator.bybit_tickers import ticker
from crypy.simulator.bybit_wire import (
    answer,
    book_result,
    instrument,
    kline_result,
    refusal,
    time_result,
    trade_result,
)
from crypy.simulator.faults import Faults
from crypy.simulator.folded_candles import FoldingApart
from crypy.simulator.http_faults import fault_middleware
from crypy.simulator.sockets import serve_app

TARGET: Final = "bybit.rest"
_RECENT: Final = {"spot": (60, 60), "linear": (500, 1_000)}
_BOOK: Final = {"spot": (1, 1_000), "linear": (25, 1_000)}


class BybitRest:
    """The REST server of one source, for both categories: they show the same market."""

    def __init__(
        self, source: BinanceSource, apart: FoldingApart, clock: Clock, faults: Faults, rules: AddressRules
    ) -> None:
        self._source = source
        self._clock = clock
        self._faults = faults
        self._limit = AddressLimit(clock, rules)
        self._listings = {listing.symbol: listing for listing in source.listings}
        self._apart = apart
        app = web.Application(middlewares=[fault_middleware(TARGET, faults, clock, self._fault_body), self._limited])
        routes: dict[str, Callable[[web.Request, int], Awaitable[str]]] = {
            "time": self._time,
            "instruments-info": self._instruments,
            "kline": self._klines,
            "tickers": self._tickers,
            "recent-trade": self._recent_trades,
            "orderbook": self._book,
        }
        app.add_routes([web.get(f"/v5/market/{path}", self._answering(handler)) for path, handler in routes.items()])
        self._app = app
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken. Raises `ConfigError` when it is in use."""
        self._runner, taken = await serve_app(self._app, "Bybit's REST", host, port)
        return taken

    async def close(self) -> None:
        """Finish running requests and free the port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _limited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._limit.admits(request.remote or ""):
            return web.Response(status=403, text="access too frequent")
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return web.Response(status=404, text="404 page not found")

    def _answering(self, handler: Callable[[web.Request, int], Awaitable[str]]) -> Handler:
        async def respond(request: web.Request) -> web.Response:
            # One moment for rows and stamp: whoever reads that a candle's end has passed must have all of it.
            now_us = self._clock.now_us()
            try:
                return _json(answer(await handler(request, now_us), now_us))
            except RequestRefused as refused:
                return _json(refusal(refused.code, refused.words, now_us))

        return respond

    async def _time(self, _: web.Request, now_us: int) -> str:
        return time_result(now_us)

    async def _instruments(self, request: web.Request, _: int) -> str:
        if request.query.get("category") in ("inverse", "option"):
            return f'{{"category":"{request.query["category"]}","list":[],"nextPageCursor":""}}'
        category = category_of(request.query)
        wanted = [symbol_of(request.query, self._listings)] if "symbol" in request.query else list(self._listings)
        rows = [instrument(category, self._listings[symbol]) for symbol in wanted]
        result = {"category": category, "list": rows} | ({} if category == "spot" else {"nextPageCursor": ""})
        return msgspec.json.encode(result).decode()

    async def _klines(self, request: web.Request, now_us: int) -> str:
        category = category_of(request.query, "linear")
        symbol, word = symbol_of(request.query, self._listings), interval_of(request.query)
        limit = limit_of(request.query, 200, 1_000)
        began_us = await self._apart.do(lambda _, candles: candles.began_us(symbol, now_us))
        if began_us is None:
            return kline_result(category, symbol, [])
        opens = kline_opens(request.query, limit, began_us, now_us)
        bars = await self._apart.do(lambda _, candles: candles.between(symbol, opens, now_us))
        rows = [(start_us, bar) for start_us, _, bar in reversed(bars) if not self._is_absent(word, symbol, start_us)]
        return kline_result(category, symbol, rows)

    def _is_absent(self, word: str, symbol: str, start_us: int) -> bool:
        """Whether a fault takes the candle away; it is named as the stream's confirmed one."""
        subject = f"kline.{word}.{symbol} confirm {start_us // 1_000}"
        return self._faults.pick(TARGET, ("absent",), subject) is not None

    async def _tickers(self, request: web.Request, now_us: int) -> str:
        category = category_of(request.query)
        wanted = [symbol_of(request.query, self._listings)] if "symbol" in request.query else list(self._listings)
        rows = await self._apart.do(
            lambda source, candles: [ticker(source, candles, category, symbol, now_us) for symbol in wanted]
        )
        told = ",".join(row for row in rows if row)
        return f'{{"category":"{category}","list":[{told}]}}'

    async def _recent_trades(self, request: web.Request, now_us: int) -> str:
        category, symbol = category_of(request.query), symbol_of(request.query, self._listings)
        limit = limit_of(request.query, *_RECENT[category])
        kind: TradeKind = await self._apart.do(lambda _, candles: candles.kind(symbol, now_us))
        return trade_result(category, symbol, self._source.trades(symbol, kind, Span(limit), now_us))

    async def _book(self, request: web.Request, now_us: int) -> str:
        category, symbol = category_of(request.query), symbol_of(request.query, self._listings)
        limit = limit_of(request.query, *_BOOK[category])
        return book_result(symbol, self._source.depth(symbol, limit, now_us), now_us)

    def _fault_body(self, status: int) -> bytes:
        if status == 403:
            return b"access too frequent"
        return refusal(10_016, f"Internal System Error ({status})", self._clock.now_us())


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
