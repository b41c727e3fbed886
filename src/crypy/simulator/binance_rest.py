"""Binance's public REST API on loopback: paths, parameters, weights, headers and errors as the venue has them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from crypy.domain.ports import Clock
from crypy.domain.times import venue_time_us
from crypy.simulator.binance_klines import INTERVALS, Klines
from crypy.simulator.binance_limits import Verdict, WeightMeter, WeightRules
from crypy.simulator.binance_rules import exchange_info
from crypy.simulator.binance_source import BinanceSource, Span, TradeKind
from crypy.simulator.binance_wire import (
    MICROSECOND_US,
    MILLISECOND_US,
    rest_aggregates,
    rest_book_ticker,
    rest_depth,
    rest_trades,
)
from crypy.simulator.faults import Faults
from crypy.simulator.http_faults import fault_middleware
from crypy.simulator.sockets import serve_app

TARGET = "binance.rest"
_WEIGHTS: Final = {
    "ping": 1, "time": 1, "exchangeInfo": 20, "aggTrades": 4, "trades": 25, "historicalTrades": 25, "klines": 2,
    "ticker/bookTicker": 2,
}  # fmt: skip
_NUMBER = "^[0-9]{1,20}$"


class _RequestError(Exception):
    """A request that the venue answers with an error body."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class RestServer:
    """The REST server of one source."""

    def __init__(self, source: BinanceSource, clock: Clock, faults: Faults, rules: WeightRules) -> None:
        self._source = source
        self._clock = clock
        self._rules = rules
        self._meter = WeightMeter(clock, rules)
        self._symbols = {listing.symbol: listing for listing in source.listings}
        # Klines may need hours of trades: they are folded beside the loop, from a market of their own.
        self._klines = Klines(source.twin())
        self._folding = asyncio.Lock()
        app = web.Application(middlewares=[fault_middleware(TARGET, faults, clock, _fault_body), self._metered])
        routes: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {
            "ping": _ping,
            "time": self._time,
            "exchangeInfo": self._exchange_info,
            "aggTrades": self._agg_trades,
            "trades": self._recent_trades,
            "historicalTrades": self._historical_trades,
            "klines": self._answer_klines,
            "depth": self._depth,
            "ticker/bookTicker": self._book_ticker,
        }
        app.add_routes([web.get(f"/api/v3/{path}", handler) for path, handler in routes.items()])
        self._app = app
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken. Raises `ConfigError` when it is in use."""
        self._runner, taken = await serve_app(self._app, "Binance's REST", host, port)
        return taken

    async def close(self) -> None:
        """Finish running requests and free the port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _metered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            verdict = self._meter.spend(_weight(request))
            if verdict.status:
                return _over_limit(verdict, self._rules.limit)
            response = await handler(request)
        except _RequestError as refused:
            response = _error(400, refused.code, refused.message)
            verdict = self._meter.spend(0)
        except web.HTTPNotFound:
            return web.Response(status=404, text="<html><body>404 Not Found</body></html>", content_type="text/html")
        response.headers["X-MBX-USED-WEIGHT-1M"] = response.headers["X-MBX-USED-WEIGHT"] = str(verdict.used)
        return response

    async def _time(self, request: web.Request) -> web.Response:
        return _json(b'{"serverTime":%d}' % (self._clock.now_us() // _unit_us(request)))

    async def _exchange_info(self, request: web.Request) -> web.Response:
        wanted = self._wanted(request) or tuple(self._symbols)
        listings = [self._symbols[symbol] for symbol in wanted]
        return _json(exchange_info(listings, self._clock.now_us() // _unit_us(request), self._rules.limit))

    async def _agg_trades(self, request: web.Request) -> web.Response:
        span = _span(request, 500)
        if span.from_id is not None and (span.start_us is not None or span.end_us is not None):
            raise _RequestError(-1128, "Combination of optional parameters invalid.")
        batch = self._source.trades(self._symbol(request), "aggTrades", span, self._clock.now_us())
        return _json(rest_aggregates(batch, _unit_us(request)))

    async def _recent_trades(self, request: web.Request) -> web.Response:
        return self._single_trades(request, Span(_limit(request, 500, 1_000)))

    async def _historical_trades(self, request: web.Request) -> web.Response:
        return self._single_trades(request, Span(_limit(request, 500, 1_000), _number(request, "fromId")))

    def _single_trades(self, request: web.Request, span: Span) -> web.Response:
        kind: TradeKind = "trades"
        batch = self._source.trades(self._symbol(request), kind, span, self._clock.now_us())
        return _json(rest_trades(batch, _unit_us(request)))

    async def _answer_klines(self, request: web.Request) -> web.Response:
        symbol, interval = self._symbol(request), request.query.get("interval", "")
        if not interval:
            raise _missing("interval")
        if interval not in INTERVALS:
            raise _RequestError(-1120, "Invalid interval.")
        if request.query.get("timeZone", "0") not in ("0", "0:00", "00:00", "+00:00"):
            raise _RequestError(-1130, "Data sent for parameter 'timeZone' is not valid.")
        span, now_us, unit_us = _span(request, 500), self._clock.now_us(), _unit_us(request)
        async with self._folding:
            return _json(await asyncio.to_thread(self._klines.answer, symbol, interval, span, now_us, unit_us))

    async def _depth(self, request: web.Request) -> web.Response:
        depth = self._source.depth(self._symbol(request), _limit(request, 100, 5_000), self._clock.now_us())
        if depth is None:
            return _error(503, -1008, "Request throttled by system-level protection: no book yet.")
        return _json(rest_depth(depth))

    async def _book_ticker(self, request: web.Request) -> web.Response:
        wanted = self._wanted(request)
        rows: list[str] = []
        for symbol in wanted or tuple(self._symbols):
            depth = self._source.depth(symbol, 1, self._clock.now_us())
            if depth is not None:
                rows.append(rest_book_ticker(symbol, depth))
        single = "symbol" in request.query and len(rows) == 1
        return _json((rows[0] if single else f"[{','.join(rows)}]").encode())

    def _symbol(self, request: web.Request) -> str:
        symbol = request.query.get("symbol", "")
        if not symbol:
            raise _missing("symbol")
        if symbol not in self._symbols:
            raise _RequestError(-1121, "Invalid symbol.")
        return symbol

    def _wanted(self, request: web.Request) -> tuple[str, ...]:
        """The symbols asked for by `symbol` or `symbols`; empty where neither is given."""
        if "symbols" in request.query:
            try:
                wanted = tuple(msgspec.json.decode(request.query["symbols"], type=list[str]))
            except msgspec.DecodeError:
                raise _RequestError(-1100, "Illegal characters found in parameter 'symbols'.") from None
        else:
            wanted = (request.query["symbol"],) if "symbol" in request.query else ()
        if any(symbol not in self._symbols for symbol in wanted):
            raise _RequestError(-1121, "Invalid symbol.")
        return wanted


async def _ping(_: web.Request) -> web.Response:
    return _json(b"{}")


def _weight(request: web.Request) -> int:
    path = request.path.removeprefix("/api/v3/")
    if path != "depth":
        return _WEIGHTS.get(path, 1)
    limit = _limit(request, 100, 5_000)
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1_000 else 250


def _span(request: web.Request, default: int) -> Span:
    start, end = _number(request, "startTime"), _number(request, "endTime")
    if start is not None and end is not None and venue_time_us(start) > venue_time_us(end):
        raise _RequestError(-1127, "Start time is greater than end time.")
    return Span(
        _limit(request, default, 1_000),
        _number(request, "fromId"),
        None if start is None else venue_time_us(start),
        # A bound in milliseconds is inclusive of that whole millisecond.
        None if end is None else venue_time_us(end) + (MILLISECOND_US - 1 if venue_time_us(end) != end else 0),
    )


def _limit(request: web.Request, default: int, most: int) -> int:
    limit = _number(request, "limit")
    if limit == 0:
        raise _RequestError(-1100, f"Illegal characters found in parameter 'limit'; legal range is '{_NUMBER}'.")
    return min(default if limit is None else limit, most)


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise _RequestError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{_NUMBER}'.")
    return int(text)


def _unit_us(request: web.Request) -> int:
    unit = request.headers.get("X-MBX-TIME-UNIT", "MILLISECOND").upper()
    if unit not in ("MILLISECOND", "MICROSECOND"):
        raise _RequestError(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return MICROSECOND_US if unit == "MICROSECOND" else MILLISECOND_US


def _missing(name: str) -> _RequestError:
    return _RequestError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def _over_limit(verdict: Verdict, limit: int) -> web.Response:
    advice = "Please use WebSocket Streams for live updates to avoid"
    message = (
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. {advice} polling the API."
        if verdict.status == 429
        else f"Way too much request weight used; IP banned until {verdict.banned_until_ms}. {advice} bans."
    )
    response = _error(verdict.status, -1003, message)
    response.headers["Retry-After"] = str(verdict.retry_after_s)
    response.headers["X-MBX-USED-WEIGHT-1M"] = str(verdict.used)
    return response


def _fault_body(status: int) -> bytes:
    code, message = {
        418: (-1003, "Way too much request weight used; IP banned."),
        429: (-1003, "Too many requests queued."),
    }.get(status, (-1000, "An unknown error occurred while processing the request."))
    return msgspec.json.encode({"code": code, "msg": message})


def _error(status: int, code: int, message: str) -> web.Response:
    body = msgspec.json.encode({"code": code, "msg": message})
    return web.Response(status=status, body=body, content_type="application/json")


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
