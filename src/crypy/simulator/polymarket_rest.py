"""Polymarket's two public REST services on loopback: Gamma (which markets there are) and the CLOB (their books)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from aiohttp import web

from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.simulator.faults import Faults
from crypy.simulator.http_faults import fault_middleware
from crypy.simulator.polymarket_book import WHOLE
from crypy.simulator.polymarket_exchange import PolymarketExchange, SimMarket
from crypy.simulator.polymarket_gamma import gamma_event, gamma_market
from crypy.simulator.polymarket_wire import (
    book_object,
    clob_market,
    long_market,
    price_text,
    token_ladders,
)
from crypy.simulator.sockets import serve_app

GAMMA: Final = "polymarket.gamma"
CLOB: Final = "polymarket.clob"
_NO_BOOK: Final = "No orderbook exists for the requested token id"
# What a listing gives without a limit, and at most.
_PAGE: Final = 20
_MOST: Final = 500

Found = Callable[[SimMarket, str], Any]


class _RefusedError(Exception):
    """A request that is answered with an error body."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _HttpServer:
    """What both services share: the application, its faults and errors, and its life."""

    def __init__(self, target: str, what: str, clock: Clock, faults: Faults) -> None:
        self._what = what
        self._clock = clock
        self._app = web.Application(middlewares=[fault_middleware(target, faults, clock, _refusal), _errors])
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken. Raises `ConfigError` when it is in use."""
        self._runner, taken = await serve_app(self._app, self._what, host, port)
        return taken

    async def close(self) -> None:
        """Stop listening and end what is under way."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


class GammaServer(_HttpServer):
    """Events and markets by slug, series, condition or token; closed ones only for those who ask."""

    def __init__(self, exchange: PolymarketExchange, clock: Clock, faults: Faults) -> None:
        super().__init__(GAMMA, "Polymarket's Gamma", clock, faults)
        self._exchange = exchange
        self._app.add_routes(
            [
                web.get("/events", self._events),
                web.get("/events/slug/{slug}", self._event),
                web.get("/markets", self._markets),
                web.get("/markets/slug/{slug}", self._market),
            ]
        )

    async def _events(self, request: web.Request) -> web.Response:
        series = request.query.getall("series_id", [])
        found = self._listed(request, lambda market: not series or str(market.listing.series_id) in series)
        return _json([gamma_event(market, self._clock.now_us()) for market in found])

    async def _event(self, request: web.Request) -> web.Response:
        return _json(gamma_event(self._one(request), self._clock.now_us()))

    async def _markets(self, request: web.Request) -> web.Response:
        conditions = request.query.getall("condition_ids", [])
        tokens = set(request.query.getall("clob_token_ids", []))

        def is_asked(market: SimMarket) -> bool:
            listing = market.listing
            has_token = not tokens or not tokens.isdisjoint((listing.up_token, listing.down_token))
            return has_token and (not conditions or listing.condition_id in conditions)

        return _json([gamma_market(market, self._clock.now_us()) for market in self._listed(request, is_asked)])

    async def _market(self, request: web.Request) -> web.Response:
        return _json(gamma_market(self._one(request), self._clock.now_us()))

    def _one(self, request: web.Request) -> SimMarket:
        market = self._exchange.by_slug(request.match_info["slug"], self._clock.now_us())
        if market is None:
            raise _RefusedError(404, "not found")
        return market

    def _listed(self, request: web.Request, is_asked: Callable[[SimMarket], bool]) -> list[SimMarket]:
        """Markets by the query's filters; `closed` is false unless it says otherwise."""
        slugs = request.query.getall("slug", [])
        closed = _flag(request, "closed", False)
        start, limit = _count(request, "offset", 0), min(_count(request, "limit", _PAGE), _MOST)
        pool = self._named(slugs) if slugs else self._exchange.markets()
        found = [market for market in pool if market.is_closed == closed and is_asked(market)]
        return found[start : start + limit]

    def _named(self, slugs: Iterable[str]) -> Iterable[SimMarket]:
        now_us = self._clock.now_us()
        named = (self._exchange.by_slug(slug, now_us) for slug in dict.fromkeys(slugs))
        return (market for market in named if market is not None)


class ClobServer(_HttpServer):
    """Time, parameters and books. Orders are not taken here."""

    def __init__(self, exchange: PolymarketExchange, clock: Clock, faults: Faults) -> None:
        super().__init__(CLOB, "Polymarket's CLOB", clock, faults)
        self._exchange = exchange
        by_token: dict[str, Found] = {
            "book": book_object,
            "midpoint": lambda market, token: {"mid": _middle(market, token)},
            "spread": lambda market, _: {"spread": price_text(market.book.best_ask - market.book.best_bid)},
            "last-trade-price": _last_trade,
            "tick-size": lambda market, _: {"minimum_tick_size": market.tick / WHOLE},
            "neg-risk": lambda *_: {"neg_risk": False},
            "fee-rate": lambda *_: {"base_fee": 1000},
        }
        self._app.add_routes([web.get(f"/{path}", self._by_token(answer)) for path, answer in by_token.items()])
        self._app.add_routes(
            [
                web.get("/time", self._time),
                web.get("/ok", self._ok),
                web.get("/version", self._version),
                web.get("/price", self._price),
                web.post("/books", self._books),
                web.get("/clob-markets/{condition}", self._clob_market),
                web.get("/markets/{condition}", self._long_market),
                web.get("/markets-by-token/{token}", self._market_of_token),
            ]
        )

    def _by_token(self, answer: Found) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            token = request.query.get("token_id", "")
            return _json(answer(self._booked(token), token))

        return handle

    async def _time(self, _: web.Request) -> web.Response:
        return _json(self._clock.now_us() // US_PER_S)

    async def _ok(self, _: web.Request) -> web.Response:
        return _json("OK")

    async def _version(self, _: web.Request) -> web.Response:
        return _json({"version": 2})

    async def _price(self, request: web.Request) -> web.Response:
        """Best bid for BUY, best ask for SELL."""
        token, side = request.query.get("token_id", ""), request.query.get("side", "").upper()
        if side not in ("BUY", "SELL"):
            raise _RefusedError(400, "Invalid side")
        bids, asks = token_ladders(self._booked(token), token)
        best = max(bids, default=0) if side == "BUY" else min(asks, default=WHOLE)
        return _json({"price": price_text(best)})

    async def _books(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=list[dict[str, str]])
        except msgspec.DecodeError:
            raise _RefusedError(400, "Invalid payload") from None
        tokens = [row.get("token_id", "") for row in asked]
        found = [(self._exchange.by_token(token), token) for token in tokens]
        return _json([book_object(market, token) for market, token in found if market is not None])

    async def _clob_market(self, request: web.Request) -> web.Response:
        return _json(clob_market(self._conditioned(request)))

    async def _long_market(self, request: web.Request) -> web.Response:
        return _json(long_market(self._conditioned(request)))

    async def _market_of_token(self, request: web.Request) -> web.Response:
        market = self._exchange.by_token(request.match_info["token"])
        if market is None:
            raise _RefusedError(404, "market not found")
        listing = market.listing
        tokens = {"primary_token_id": listing.up_token, "secondary_token_id": listing.down_token}
        return _json({"condition_id": listing.condition_id} | tokens)

    def _booked(self, token: str) -> SimMarket:
        market = self._exchange.by_token(token)
        if market is None or market.is_closed:
            raise _RefusedError(404, _NO_BOOK)
        return market

    def _conditioned(self, request: web.Request) -> SimMarket:
        market = self._exchange.by_condition(request.match_info["condition"])
        if market is None:
            raise _RefusedError(404, "market not found")
        return market


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)
    except _RefusedError as refused:
        return _json({"error": refused.message}, refused.status)


def _json(content: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")


def _refusal(status: int) -> bytes:
    return msgspec.json.encode({"error": "Too Many Requests" if status == 429 else f"status {status}"})


def _middle(market: SimMarket, token: str) -> str:
    bids, asks = token_ladders(market, token)
    return f"{(max(bids, default=0) + min(asks, default=WHOLE)) / 2 / WHOLE:g}"


def _last_trade(market: SimMarket, token: str) -> dict[str, str]:
    last = market.book.last_price
    if last is None:
        return {"price": "0.5", "side": ""}
    return {
        "price": price_text(last if token == market.listing.up_token else WHOLE - last),
        "side": market.book.last_side,
    }


def _flag(request: web.Request, name: str, default: bool) -> bool:
    text = request.query.get(name, "").lower()
    if text not in ("", "true", "false"):
        raise _RefusedError(422, f"invalid {name}")
    return default if not text else text == "true"


def _count(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise _RefusedError(422, f"invalid {name}")
    return int(text)
