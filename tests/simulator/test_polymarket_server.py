"""The simulated Polymarket's three servers, spoken to with plain HTTP and websockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S
from crypy.domain.windows import Window, next_window, previous_window, window_at
from crypy.simulator.faults import Fault, Faults
from crypy.simulator.polymarket_exchange import SimMarket
from crypy.simulator.polymarket_listing import slug_for
from crypy.simulator.polymarket_server import POLYMARKET_TARGETS, PolymarketServer, QuotePace
from crypy.testing.clock import ManualClock
from crypy.testing.path_world import PathWorld, wandering

START_US = 1_767_103_350 * US_PER_S
ALL_IN_A_ROUND = QuotePace(round_s=0.1, short_s=0.1, running_s=0.1, idle_s=0.1, most=60)


@dataclass
class Place:
    """The servers, a clock that the test moves, and a plain HTTP client."""

    server: PolymarketServer
    clock: ManualClock
    faults: Faults
    http: aiohttp.ClientSession
    gamma: str
    clob: str
    stream: str

    async def get(self, url: str, status: int = 200) -> Any:
        async with self.http.get(url) as response:
            assert response.status == status, await response.text()
            return json.loads(await response.read())

    def window(self, duration: str = "5m") -> Window:
        return window_at(duration, self.clock.now_us())  # type: ignore[arg-type]

    def market(self, duration: str = "5m") -> SimMarket:
        found = self.server.exchange.by_slug(slug_for("BTC", self.window(duration)), self.clock.now_us())
        assert found is not None
        return found

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        self.server.act()


@pytest.fixture
async def at() -> AsyncIterator[Place]:
    clock = ManualClock(START_US)
    world = PathWorld(clock, {"BTC": wandering(60_000.0), "ETH": wandering(3_000.0)})
    faults = Faults(1, POLYMARKET_TARGETS)
    server = PolymarketServer(world, clock, faults, 7, world.coins, pace=ALL_IN_A_ROUND)
    ports = await server.start()
    base = "127.0.0.1"
    try:
        async with aiohttp.ClientSession() as http:
            yield Place(
                server,
                clock,
                faults,
                http,
                f"http://{base}:{ports.gamma}",
                f"http://{base}:{ports.clob}",
                f"ws://{base}:{ports.stream}/ws/market",
            )
    finally:
        await server.close()


# ---- Gamma


async def test_several_events_are_found_by_name_in_one_question(at: Place) -> None:
    slugs = [slug_for("BTC", at.window(d)) for d in ("5m", "15m", "1h", "4h", "1d")]
    events = await at.get(f"{at.gamma}/events?" + "&".join(f"slug={slug}" for slug in slugs))
    assert [event["slug"] for event in events] == slugs
    assert all(len(event["markets"]) == 1 for event in events)
    assert await at.get(f"{at.gamma}/events?slug=will-it-rain") == []


async def test_closed_events_are_shown_only_to_who_asks(at: Place) -> None:
    slug = slug_for("BTC", previous_window(at.window()))
    assert await at.get(f"{at.gamma}/events?slug={slug}") == []
    (event,) = await at.get(f"{at.gamma}/events?slug={slug}&closed=true")
    (market,) = event["markets"]
    assert event["closed"] is market["closed"] is True
    assert market["acceptingOrders"] is False
    assert sorted(json.loads(market["outcomePrices"])) == ["0", "1"]
    metadata = event["eventMetadata"]
    won = json.loads(market["outcomes"])[json.loads(market["outcomePrices"]).index("1")]
    assert won == ("Up" if metadata["finalPrice"] >= metadata["priceToBeat"] else "Down")
    assert await at.get(f"{at.gamma}/events?slug={slug_for('BTC', at.window())}&closed=true") == []


async def test_a_page_has_twenty_events_unless_more_are_asked_for(at: Place) -> None:
    assert len(await at.get(f"{at.gamma}/events")) == 20
    every = await at.get(f"{at.gamma}/events?limit=100")
    closed = await at.get(f"{at.gamma}/events?limit=100&closed=true")
    assert (len(every), len(closed)) == (20, 10)
    assert len(await at.get(f"{at.gamma}/events?limit=7&offset=15")) == 5
    assert (await at.get(f"{at.gamma}/events?limit=all", 422))["error"] == "invalid limit"


async def test_a_series_is_found_by_its_number(at: Place) -> None:
    events = await at.get(f"{at.gamma}/events?series_id=10684&closed=false")
    window = at.window()
    assert [event["slug"] for event in events] == [slug_for("BTC", w) for w in (window, next_window(window))]
    assert events[0]["series"][0] == {"id": "10684", "slug": "btc-up-or-down-5m", "recurrence": "5m"}


async def test_markets_are_found_by_name_condition_and_token(at: Place) -> None:
    listing = at.market().listing
    for query in (
        f"slug={listing.slug}",
        f"condition_ids={listing.condition_id}",
        f"clob_token_ids={listing.down_token}",
    ):
        (market,) = await at.get(f"{at.gamma}/markets?{query}")
        assert market["conditionId"] == listing.condition_id
        assert market["events"][0]["slug"] == listing.slug
    one = await at.get(f"{at.gamma}/markets/slug/{listing.slug}")
    assert json.loads(one["clobTokenIds"]) == [listing.up_token, listing.down_token]
    assert (await at.get(f"{at.gamma}/events/slug/{listing.slug}"))["slug"] == listing.slug
    await at.get(f"{at.gamma}/events/slug/nothing", 404)


async def test_metadata_have_the_fields_of_recorded_ones(at: Place, shared_data: Path) -> None:
    recorded = json.loads((shared_data / "payloads/polymarket/nautilus_crates/gamma_market.json").read_bytes())
    ours = await at.get(f"{at.gamma}/markets/slug/{at.market().listing.slug}")
    shared = set(ours) & set(recorded)
    assert len(shared) >= 26
    # What recorded markets of March did not have yet.
    assert set(ours) - set(recorded) == {"feeSchedule", "version", "cryptoMarketConfig", "cryptoMarketConfigId"}
    for key in shared - {"events"}:
        assert isinstance(ours[key], (type(recorded[key]), int, float)), key
    assert set(ours["events"][0]) - set(recorded["events"][0]) == {"eventMetadata"}


async def test_times_of_a_window_are_not_those_of_its_listing(at: Place) -> None:
    market = at.market()
    told = await at.get(f"{at.gamma}/markets/slug/{market.listing.slug}")
    assert told["eventStartTime"] == "2025-12-30T14:00:00Z"
    assert told["endDate"] == "2025-12-30T14:05:00Z"
    assert told["startDate"].startswith("2025-12-29T14:00:00.")


async def test_the_price_to_beat_appears_after_the_start(at: Place) -> None:
    await at.pass_time(next_window(at.window()).start_s - START_US / US_PER_S)
    url = f"{at.gamma}/events/slug/{slug_for('BTC', at.window())}"
    assert "eventMetadata" not in await at.get(url)
    await at.pass_time(21)
    assert (await at.get(url))["eventMetadata"] == {"priceToBeat": at.market().strike}


# ---- CLOB


async def test_both_tokens_books_mirror_each_other(at: Place) -> None:
    listing = at.market().listing
    up = await at.get(f"{at.clob}/book?token_id={listing.up_token}")
    down = await at.get(f"{at.clob}/book?token_id={listing.down_token}")

    def mirrored(levels: list[dict[str, str]]) -> list[tuple[int, str]]:
        return [(1_000 - round(float(level["price"]) * 1_000), level["size"]) for level in levels]

    def plain(levels: list[dict[str, str]]) -> list[tuple[int, str]]:
        return [(round(float(level["price"]) * 1_000), level["size"]) for level in levels]

    assert mirrored(up["bids"]) == plain(down["asks"])
    assert mirrored(up["asks"]) == plain(down["bids"])
    assert plain(up["bids"]) == sorted(plain(up["bids"])), "the best bid is last"
    assert plain(up["asks"]) == sorted(plain(up["asks"]), reverse=True), "the best ask is last"
    assert up["tick_size"] == "0.01"
    assert up["min_order_size"] == "5"


async def test_prices_agree_with_the_book(at: Place) -> None:
    token = at.market("4h").listing.down_token
    book = await at.get(f"{at.clob}/book?token_id={token}")
    bid, ask = book["bids"][-1]["price"], book["asks"][-1]["price"]
    assert (await at.get(f"{at.clob}/price?token_id={token}&side=BUY"))["price"] == bid
    assert (await at.get(f"{at.clob}/price?token_id={token}&side=SELL"))["price"] == ask
    mid = float((await at.get(f"{at.clob}/midpoint?token_id={token}"))["mid"])
    assert mid == pytest.approx((float(bid) + float(ask)) / 2)
    spread = float((await at.get(f"{at.clob}/spread?token_id={token}"))["spread"])
    assert spread == pytest.approx(float(ask) - float(bid))
    await at.get(f"{at.clob}/price?token_id={token}&side=HOLD", 400)


async def test_parameters_of_a_market(at: Place) -> None:
    listing = at.market().listing
    told = await at.get(f"{at.clob}/clob-markets/{listing.condition_id}")
    assert told["t"] == [{"t": listing.up_token, "o": "Up"}, {"t": listing.down_token, "o": "Down"}]
    assert (told["mos"], told["mts"], told["itode"], told["nr"]) == (5, 0.01, True, False)
    assert told["fd"] == {"r": 0.07, "e": 1, "to": True}
    long = await at.get(f"{at.clob}/markets/{listing.condition_id}")
    assert long["market_slug"] == listing.slug
    assert long["minimum_tick_size"] == 0.01
    token = listing.up_token
    assert await at.get(f"{at.clob}/tick-size?token_id={token}") == {"minimum_tick_size": 0.01}
    assert await at.get(f"{at.clob}/neg-risk?token_id={token}") == {"neg_risk": False}
    assert await at.get(f"{at.clob}/fee-rate?token_id={token}") == {"base_fee": 1000}
    assert (await at.get(f"{at.clob}/markets-by-token/{token}"))["condition_id"] == listing.condition_id


async def test_the_venue_tells_the_simulated_time(at: Place) -> None:
    assert await at.get(f"{at.clob}/time") == START_US // US_PER_S
    await at.pass_time(3_600)
    assert await at.get(f"{at.clob}/time") == START_US // US_PER_S + 3_600
    assert await at.get(f"{at.clob}/ok") == "OK"
    assert await at.get(f"{at.clob}/version") == {"version": 2}


async def test_unknown_things_are_refused_in_the_venues_words(at: Place) -> None:
    assert await at.get(f"{at.clob}/book?token_id=5", 404) == {
        "error": "No orderbook exists for the requested token id"
    }
    assert await at.get(f"{at.clob}/clob-markets/0xdead", 404) == {"error": "market not found"}
    closed = at.server.exchange.by_slug(slug_for("BTC", previous_window(at.window())), at.clock.now_us())
    assert closed is not None
    await at.get(f"{at.clob}/book?token_id={closed.listing.up_token}", 404)


async def test_several_books_in_one_question(at: Place) -> None:
    tokens = [at.market(d).listing.up_token for d in ("5m", "1d")]
    asked = [{"token_id": token} for token in [*tokens, "5"]]
    async with at.http.post(f"{at.clob}/books", json=asked) as response:
        assert [book["asset_id"] for book in await response.json()] == tokens
    async with at.http.post(f"{at.clob}/books", data=b"{") as response:
        assert response.status == 400


async def test_faults_strike_both_services(at: Place) -> None:
    at.faults.add(Fault(target="polymarket.gamma", kind="status", status=429, retry_after_s=3, count=1))
    async with at.http.get(f"{at.gamma}/events") as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "3")
        assert await response.json() == {"error": "Too Many Requests"}
    at.faults.add(Fault(target="polymarket.clob", kind="rubbish", count=1))
    async with at.http.get(f"{at.clob}/time") as response, asyncio.timeout(5):
        with pytest.raises(ValueError, match="utf-8"):
            (await response.read()).decode()


# ---- the market channel


async def hear(socket: aiohttp.ClientWebSocketResponse) -> Any:
    return json.loads(await socket.receive_str(timeout=5))


async def test_a_subscription_is_answered_with_the_books(at: Place) -> None:
    listing = at.market().listing
    async with at.http.ws_connect(at.stream) as socket:
        await socket.send_json({"type": "market", "assets_ids": [listing.up_token, listing.down_token, "5"]})
        books = await hear(socket)
        assert [(book["event_type"], book["asset_id"]) for book in books] == [
            ("book", listing.up_token),
            ("book", listing.down_token),
        ]
        assert books[0]["bids"] == (await at.get(f"{at.clob}/book?token_id={listing.up_token}"))["bids"]
        await socket.send_json({"operation": "subscribe", "assets_ids": [at.market("1d").listing.up_token]})
        assert len(await hear(socket)) == 1


async def test_the_venue_answers_ping_and_complains_about_rubbish(at: Place) -> None:
    async with at.http.ws_connect(at.stream) as socket:
        await socket.send_str("PING")
        assert await socket.receive_str(timeout=5) == "PONG"
        for rubbish in ("hello", "[]", '{"operation":"dance"}'):
            await socket.send_str(rubbish)
            assert await socket.receive_str(timeout=5) == "INVALID OPERATION"


async def test_changes_name_both_tokens_with_absolute_sizes_and_best_prices(at: Place) -> None:
    market = at.market()
    up, down = market.listing.up_token, market.listing.down_token
    async with at.http.ws_connect(at.stream) as socket:
        await socket.send_json({"type": "market", "assets_ids": [up]})
        books = await hear(socket)
        bids = {level["price"]: level["size"] for level in books[0]["bids"]}
        changes = 0
        for _ in range(10):
            await at.pass_time(1)
        await socket.send_str("PING")
        while (text := await socket.receive_str(timeout=5)) != "PONG":
            event = json.loads(text)
            if isinstance(event, list) or event["event_type"] != "price_change":
                continue
            changes += 1
            rows = event["price_changes"]
            for ours, theirs in zip(rows[::2], rows[1::2], strict=True):
                assert (ours["asset_id"], theirs["asset_id"]) == (up, down)
                assert ours["size"] == theirs["size"]
                assert {ours["side"], theirs["side"]} == {"BUY", "SELL"}
                assert float(ours["price"]) + float(theirs["price"]) == pytest.approx(1.0)
                assert float(ours["best_bid"]) + float(theirs["best_ask"]) == pytest.approx(1.0)
            bids |= {row["price"]: row["size"] for row in rows if row["asset_id"] == up and row["side"] == "BUY"}
            bids = {price: size for price, size in bids.items() if size != "0"}
            assert max(bids, key=float) == rows[0]["best_bid"]
        assert changes > 5
        book = await at.get(f"{at.clob}/book?token_id={up}")
        assert {level["price"]: level["size"] for level in book["bids"]} == bids


async def test_only_who_asks_for_more_gets_more(at: Place) -> None:
    market = at.market()
    tokens = [market.listing.up_token, market.listing.down_token]
    async with at.http.ws_connect(at.stream) as plain, at.http.ws_connect(at.stream) as curious:
        await plain.send_json({"type": "market", "assets_ids": tokens})
        await curious.send_json({"type": "market", "assets_ids": tokens, "custom_feature_enabled": True})
        await hear(plain)
        await hear(curious)
        await at.pass_time(market.listing.window.end_s - START_US / US_PER_S + 1)
        await at.pass_time(60)
        for socket in (plain, curious):
            await socket.send_str("PING")
        heard = {"plain": await until_pong(plain), "curious": await until_pong(curious)}
        assert {"best_bid_ask", "new_market", "market_resolved"}.isdisjoint(heard["plain"])
        assert {"best_bid_ask", "new_market", "market_resolved"} <= heard["curious"].keys()
        resolved = heard["curious"]["market_resolved"]
        assert resolved["assets_ids"] == tokens
        assert resolved["winning_outcome"] == ("Up" if market.outcome == "up" else "Down")
        assert resolved["winning_asset_id"] == tokens[0 if market.outcome == "up" else 1]


async def until_pong(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    heard: dict[str, Any] = {}
    while (text := await socket.receive_str(timeout=5)) != "PONG":
        told = json.loads(text)
        for event in told if isinstance(told, list) else [told]:
            heard[event["event_type"]] = event
    return heard


async def test_a_trade_is_changes_a_print_and_fresh_books(at: Place) -> None:
    market = at.market("1d")
    up = market.listing.up_token
    async with at.http.ws_connect(at.stream) as socket:
        await socket.send_json({"type": "market", "assets_ids": [up]})
        await hear(socket)
        heard: list[Any] = []
        while not any(isinstance(e, dict) and e["event_type"] == "last_trade_price" for e in heard):
            await at.pass_time(5)
            await socket.send_str("PING")
            while (text := await socket.receive_str(timeout=5)) != "PONG":
                heard.append(json.loads(text))
        place = next(i for i, e in enumerate(heard) if isinstance(e, dict) and e["event_type"] == "last_trade_price")
        assert heard[place - 1]["event_type"] == "price_change"
        assert [book["event_type"] for book in heard[place + 1]] == ["book", "book"]
        assert heard[place + 1][0]["last_trade_price"] == heard[place]["price"]


async def test_who_unsubscribes_hears_no_more(at: Place) -> None:
    tokens = [at.market(d).listing.up_token for d in ("5m", "15m")]
    async with at.http.ws_connect(at.stream) as socket:
        await socket.send_json({"type": "market", "assets_ids": tokens})
        await hear(socket)
        await socket.send_json({"operation": "unsubscribe", "assets_ids": tokens[:1]})
        await socket.send_str("PING")
        assert await socket.receive_str(timeout=5) == "PONG"
        for _ in range(5):
            await at.pass_time(3)
        await socket.send_str("PING")
        markets = set()
        while (text := await socket.receive_str(timeout=5)) != "PONG":
            told = json.loads(text)
            markets |= {event["market"] for event in (told if isinstance(told, list) else [told])}
        assert markets == {at.market("15m").listing.condition_id}


async def test_another_path_is_no_market_channel(at: Place) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await at.http.ws_connect(at.stream.replace("/ws/market", "/ws/user"))


async def test_a_port_in_use_is_named(at: Place) -> None:
    port = int(at.gamma.rpartition(":")[2])
    world = PathWorld(at.clock, {"BTC": wandering(1.0)})
    other = PolymarketServer(world, at.clock, Faults(1), 7, ["BTC"])
    with pytest.raises(ConfigError, match=f"port {port} .* in use"):
        await other.start(gamma_port=port)


async def test_a_round_quotes_no_more_than_its_share(at: Place) -> None:
    world = PathWorld(at.clock, {"BTC": wandering(60_000.0), "ETH": wandering(3_000.0)})
    server = PolymarketServer(world, at.clock, Faults(1), 7, world.coins, pace=QuotePace(most=3))
    server.exchange.step(at.clock.now_us())
    for _ in range(20):
        before = {m.listing.slug: m.quoted_us for m in server.exchange.markets()}
        await at.clock.advance(0.1)
        server.act()
        assert sum(m.quoted_us != before[m.listing.slug] for m in server.exchange.markets()) <= 3
    open_markets = [m for m in server.exchange.markets() if m.listing.window.end_us > at.clock.now_us()]
    assert all(m.quoted_us for m in open_markets), "every market has its turn"
