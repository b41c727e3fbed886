"""Finding and following markets at the simulated Gamma, over real sockets and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal

import pytest
from polymarket_kit import START_US, Recorder, Venue, running, venue

from crypy.domain.durations import DURATIONS
from crypy.domain.errors import ConfigError
from crypy.domain.markets import PredictionMarket
from crypy.domain.ports import Connection, HttpResponse, OnFrame, Transport
from crypy.domain.settlement import Settlement
from crypy.domain.times import US_PER_S
from crypy.domain.windows import next_window, previous_window, window_at
from crypy.simulator.faults import Fault
from crypy.testing.clock import ManualClock
from crypy.venues.polymarket.discovery import MarketDiscovery
from crypy.venues.polymarket.lookup import Pace
from crypy.venues.polymarket.slugs import slug_of

GAMMA = "polymarket.gamma"
COINS = ("BTC", "ETH")


@pytest.fixture
async def at() -> AsyncIterator[Venue]:
    """A venue whose time is the test's."""
    async with venue(ManualClock(START_US), running=False) as place:
        yield place


def discovery_of(at: Venue, seen: Recorder, *, with_clob: bool = True, pace: Pace | None = None) -> MarketDiscovery:
    return MarketDiscovery(
        at.transport,
        at.clock,
        at.gamma_url,
        COINS,
        on_markets=seen.on_markets,
        clob=at.clob if with_clob else None,
        simulated=True,
        pace=pace,
    )


async def pass_time(at: Venue, seconds: float) -> None:
    assert isinstance(at.clock, ManualClock)
    await at.clock.advance(seconds)
    at.server.act()


async def test_three_windows_of_every_coin_and_duration_are_found(at: Venue) -> None:
    seen = Recorder()
    await discovery_of(at, seen).refresh()
    (found,) = seen.snapshots
    wanted = set()
    for coin in COINS:
        for duration in DURATIONS:
            window = window_at(duration, START_US)
            wanted |= {slug_of(coin, w) for w in (previous_window(window), window, next_window(window))}
    assert set(found) == wanted
    assert len(found) == 30


async def test_found_markets_carry_rule_fee_delay_and_state(at: Venue) -> None:
    seen = Recorder()
    await discovery_of(at, seen).refresh()
    rules = {market.window.duration: market.settlement for market in seen.snapshots[0].values()}
    average = Settlement("average", "chainlink", lookback_s=60)
    assert rules == {
        "5m": average,
        "15m": average,
        "4h": average,
        "1h": Settlement("candle", "binance"),
        "1d": Settlement("closes", "binance", tie="half", lag_s=60),
    }
    for market in seen.snapshots[0].values():
        has_ended = market.window.end_us <= START_US
        assert market.simulated
        assert market.link == f"{at.gamma_url}/events/slug/{market.slug}"
        assert market.fees is not None
        assert market.fees.rate == Decimal("0.07")
        assert market.taker_delay_us == 150_000
        assert market.accepting_orders == (not has_ended)
        assert (market.outcome is not None) == has_ended
        assert (market.price_to_beat is not None) == (market.window.start_us < START_US)


async def test_settled_markets_keep_to_their_own_rule(at: Venue) -> None:
    seen = Recorder()
    await discovery_of(at, seen).refresh()
    settled = [market for market in seen.snapshots[0].values() if market.outcome is not None]
    assert len(settled) == 10
    for market in settled:
        assert market.price_to_beat is not None
        assert market.final_price is not None
        assert market.outcome == ("up" if market.final_price >= market.price_to_beat else "down")
        following = next_window(market.window)
        successor = seen.snapshots[0][slug_of(market.coin, following)]
        if market.settlement is not None and market.settlement.statistic == "average":
            # The venue's chain: a window's price to beat is its predecessor's final price.
            assert successor.price_to_beat == market.final_price


async def test_windows_roll_over_and_the_ended_one_is_followed_until_it_has_paid(at: Venue) -> None:
    seen = Recorder()
    discovery = discovery_of(at, seen)
    await discovery.refresh()
    window = window_at("5m", START_US)
    slug = slug_of("BTC", window)
    await pass_time(at, window.end_s - START_US / US_PER_S + 1)
    await discovery.refresh()
    markets = discovery.markets
    assert slug_of("BTC", next_window(next_window(window))) in markets
    assert slug_of("BTC", previous_window(window)) not in markets
    assert markets[slug].outcome is None
    for _ in range(12):
        await pass_time(at, 15)
        await discovery.refresh()
    paid = discovery.markets[slug]
    assert paid.outcome in ("up", "down")
    assert paid.final_price is not None
    assert not paid.accepting_orders
    assert seen.snapshots[0][slug].outcome is None, "an older snapshot must not change"


async def test_the_price_to_beat_is_noticed_when_it_appears(at: Venue) -> None:
    seen = Recorder()
    discovery = discovery_of(at, seen)
    await discovery.refresh()
    following = next_window(window_at("5m", START_US))
    slug = slug_of("ETH", following)
    assert discovery.markets[slug].price_to_beat is None
    await pass_time(at, following.start_s - START_US / US_PER_S + 0.5)
    await discovery.refresh()
    assert discovery.markets[slug].price_to_beat is None
    for _ in range(4):
        await pass_time(at, 10)
        await discovery.refresh()
    beat = discovery.markets[slug].price_to_beat
    assert beat == at.world.average("ETH", following.start_us - 60 * US_PER_S, following.start_us)


async def test_what_is_known_is_not_asked_again(at: Venue) -> None:
    seen = Recorder()
    discovery = discovery_of(at, seen)
    wait_s = await discovery.refresh()
    asked = discovery.requests
    assert asked <= 4
    assert wait_s >= 1.0
    for _ in range(5):
        await pass_time(at, 1)
        await discovery.refresh()
    assert discovery.requests == asked
    assert len(seen.snapshots) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(target=GAMMA, kind="status", status=500, count=2),
        Fault(target=GAMMA, kind="status", status=429, count=2),
        Fault(target=GAMMA, kind="rubbish", count=2),
        Fault(target=GAMMA, kind="truncate", count=2),
        Fault(target=GAMMA, kind="missing", count=2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_a_failing_venue_is_named_waited_for_and_asked_again(at: Venue, fault: Fault) -> None:
    seen = Recorder()
    discovery = discovery_of(at, seen)
    at.faults.add(fault)
    first, second = await discovery.refresh(), await discovery.refresh()
    assert (first, second) == (1.0, 2.0)
    assert at.gamma_url in discovery.problem
    assert seen.snapshots == []
    await discovery.refresh()
    assert discovery.problem == ""
    assert len(discovery.markets) == 30


async def test_the_wait_that_the_venue_asks_for_is_kept(at: Venue) -> None:
    seen = Recorder()
    discovery = discovery_of(at, seen)
    at.faults.add(Fault(target=GAMMA, kind="status", status=429, retry_after_s=37, count=1))
    assert await discovery.refresh() == 37.0


async def test_the_wait_grows_to_a_minute_and_no_further(at: Venue) -> None:
    discovery = discovery_of(at, Recorder())
    at.faults.add(Fault(target=GAMMA, kind="status", status=503))
    waits = [await discovery.refresh() for _ in range(9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_a_market_whose_book_is_unknown_takes_no_orders_yet(at: Venue) -> None:
    seen = Recorder()
    discovery = discovery_of(at, seen)
    number = at.faults.add(Fault(target="polymarket.clob", kind="status", status=503))
    await discovery.refresh()
    assert not any(market.accepting_orders for market in discovery.markets.values())
    assert "503" in discovery.problem
    assert at.faults.hits(number) == 1, "one refusal is enough for a round"
    at.faults.clear()
    await pass_time(at, 11)
    await discovery.refresh()
    assert sum(market.accepting_orders for market in discovery.markets.values()) == 20


async def test_an_old_market_is_found_for_who_holds_it_still(at: Venue) -> None:
    seen = Recorder()
    discovery = discovery_of(at, seen)
    windows = (window_at("5m", START_US - 3 * 86_400 * US_PER_S), window_at("1h", START_US - 40 * 3_600 * US_PER_S))
    slugs = [slug_of("BTC", window) for window in windows]
    discovery.watch(slugs)
    await discovery.refresh()
    assert all(discovery.markets[slug].outcome in ("up", "down") for slug in slugs)
    await pass_time(at, 600)
    await discovery.refresh()
    assert not set(slugs) & set(discovery.markets), "one that has paid is followed no more, or they would pile up"
    with pytest.raises(ConfigError, match="will-it-rain"):
        discovery.watch(["will-it-rain"])


async def test_a_new_grid_is_told_at_once(at: Venue) -> None:
    seen = Recorder()
    discovery = discovery_of(at, seen)
    await discovery.refresh()
    slug, market = next(iter(discovery.markets.items()))
    discovery.update_tick_size(market.down.base, Decimal("0.001"))
    assert seen.snapshots[-1][slug].up.tick_size == Decimal("0.001")
    discovery.update_tick_size("unknown", Decimal("0.001"))
    assert len(seen.snapshots) == 2


class Spoiled:
    """A transport whose answers went through other hands."""

    def __init__(self, inner: Transport, old: bytes, new: bytes) -> None:
        self._inner, self._old, self._new = inner, old, new

    async def connect(self, url: str, on_frame: OnFrame) -> Connection:
        return await self._inner.connect(url, on_frame)

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 10.0,
    ) -> HttpResponse:
        answer = await self._inner.request(method, url, params, headers, body, timeout_s)
        return HttpResponse(answer.status, answer.headers, answer.body.replace(self._old, self._new, 1))

    def download(self, url: str, offset: int = 0, timeout_s: float = 60.0) -> AsyncIterator[bytes]:
        return self._inner.download(url, offset, timeout_s)

    async def close(self) -> None:
        await self._inner.close()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"orderMinSize":5', b'"orderMinSize":"many"'),
        (b'[\\"Up\\", \\"Down\\"]', b'[\\"Yes\\", \\"No\\"]'),
        (b'"eventStartTime":"2', b'"eventStartTime":"1'),
    ],
)
async def test_one_market_that_cannot_be_read_costs_no_other(at: Venue, old: bytes, new: bytes) -> None:
    seen = Recorder()
    spoiled = Spoiled(at.transport, old, new)
    discovery = MarketDiscovery(spoiled, at.clock, at.gamma_url, COINS, on_markets=seen.on_markets)
    await discovery.refresh()
    missing = 30 - len(discovery.markets)
    assert 1 <= missing <= 3, "one in each answer"
    assert discovery.problem


async def test_an_unrecognised_rule_is_shown_without_one(at: Venue) -> None:
    spoiled = Spoiled(at.transport, b'"twapLookbackSeconds":60', b'"twapLookbackSeconds":45')
    discovery = MarketDiscovery(spoiled, at.clock, at.gamma_url, COINS, on_markets=Recorder().on_markets)
    await discovery.refresh()
    rules = [market.settlement for market in discovery.markets.values()]
    assert len(rules) == 30
    assert 1 <= rules.count(None) <= 3


async def test_running_it_follows_windows_as_time_flies() -> None:
    speed = 150.0
    async with venue(coins=("BTC",), durations=("5m",), speed=speed) as at:
        seen = Recorder()
        pace = Pace(most_s=20.0)
        discovery = MarketDiscovery(
            at.transport, at.clock, at.gamma_url, ("BTC",), ("5m",), on_markets=seen.on_markets, clob=at.clob, pace=pace
        )

        def finished() -> set[str]:
            return {m.slug for markets in seen.snapshots for m in markets.values() if m.outcome is not None}

        def opened(market: PredictionMarket) -> bool:
            return market.window.contains(at.clock.now_us()) and market.price_to_beat is not None

        async with running(discovery.run):
            await seen.until(lambda: len(finished()) >= 3)
            await seen.until(lambda: any(opened(market) for market in discovery.markets.values()))
            assert discovery.problem == ""
            assert len(discovery.markets) <= 5
        await asyncio.sleep(0)
