"""The feed against the simulated venue over real sockets, in good weather and bad."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from polymarket_kit import QUICK, WALL, Recorder, Venue, running, venue

from crypy.domain.instruments import ONE
from crypy.domain.times import US_PER_S
from crypy.simulator.faults import Fault
from crypy.simulator.polymarket_exchange import SimMarket
from crypy.venues.patience import Patience
from crypy.venues.polymarket.feed import MarketFeed

STREAM = "polymarket.stream"


def running_market(at: Venue, duration: str = "5m") -> SimMarket:
    now_us = at.clock.now_us()
    return next(
        market
        for market in at.server.exchange.markets()
        if market.listing.window.contains(now_us) and market.listing.window.duration == duration
    )


def tokens_of(market: SimMarket) -> tuple[str, str]:
    return market.listing.up_token, market.listing.down_token


def feed_of(at: Venue, seen: Recorder, patience: Patience = QUICK, room: int = 200) -> MarketFeed:
    return MarketFeed(
        at.transport,
        at.clock,
        at.stream_url,
        seen.callbacks(),
        clob=at.clob,
        patience=patience,
        random=np.random.default_rng(1),
        tokens_per_connection=room,
    )


def is_whole(seen: Recorder, *tokens: str) -> bool:
    return all(token in seen.books and seen.books[token].valid for token in tokens)


async def test_books_of_both_tokens_are_kept_and_mirror_each_other() -> None:
    async with venue() as at:
        seen, market = Recorder(), running_market(at)
        up, down = tokens_of(market)
        feed = feed_of(at, seen)
        feed.subscribe([up, down])
        async with running(feed.run):
            await seen.until(lambda: len(seen.validity) > 40 and is_whole(seen, up, down))
            ours, theirs = seen.books[up], seen.books[down]
            assert [(ONE - p, s) for p, s in ours.asks()] == theirs.bids()
            assert [(ONE - p, s) for p, s in ours.bids()] == theirs.asks()
            assert len(ours.bids()) > 3
            # Nothing was lost: the book is still that of the first snapshot, changed step by step.
            assert ours.epoch == 1
            assert feed.book(up) is ours
            assert feed.heard_us(up) >= ours.updated_us > 0
            assert feed.problems == ()


async def test_the_kept_book_is_the_venues_own() -> None:
    async with venue(running=False) as at:
        seen, market = Recorder(), running_market(at)
        up, down = tokens_of(market)
        feed = feed_of(at, seen)
        feed.subscribe([up, down])
        async with running(feed.run):
            await seen.until(lambda: is_whole(seen, up, down))
            for _ in range(50):
                at.server.act()
                await at.clock.sleep(0.3)
            bids, asks = decimals(market.book.bids), decimals(market.book.asks)
            await seen.until(lambda: seen.books[up].bids() == bids[::-1] and seen.books[up].asks() == asks)
            await seen.until(lambda: seen.books[down].asks() == [(ONE - price, size) for price, size in bids[::-1]])
            assert seen.books[up].epoch == 1


def decimals(ladder: dict[int, int]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price) / 1_000, Decimal(ladder[price]) / 100) for price in sorted(ladder)]


async def test_trades_are_told_with_their_price_inside_the_book() -> None:
    async with venue(speed=30.0) as at:
        seen = Recorder()
        feed = feed_of(at, seen, WALL.times(30.0))
        for duration in ("1h", "4h", "1d"):
            feed.subscribe(tokens_of(running_market(at, duration)))
        async with running(feed.run):
            await seen.until(lambda: len(seen.trades) >= 5)
            assert all(0 < trade.price < 1 and trade.quantity > 0 for trade in seen.trades)
            assert {trade.token_id for trade in seen.trades} <= set(seen.books)
            now_us = at.clock.now_us()
            assert all(now_us - 120 * US_PER_S < trade.time_us <= trade.received_us <= now_us for trade in seen.trades)


@pytest.mark.parametrize("kind", ["close", "close_mid_frame", "rubbish", "stall"])
async def test_a_broken_connection_is_made_anew_and_its_books_with_it(kind: str) -> None:
    async with venue() as at:
        seen = Recorder()
        up, down = tokens_of(running_market(at))
        feed = feed_of(at, seen)
        feed.subscribe([up, down])
        async with running(feed.run):
            await seen.until(lambda: is_whole(seen, up, down))
            at.faults.add(Fault(target=STREAM, kind=kind, count=1))
            await seen.until(lambda: (up, False) in seen.validity and (down, False) in seen.validity)
            assert seen.books[up].best_bid is None or seen.books[up].valid
            await seen.until(lambda: is_whole(seen, up, down))
            assert seen.books[up].epoch == 2
            assert feed.reconnects == 1


async def test_a_lost_change_is_noticed_and_the_book_made_whole_on_the_same_connection() -> None:
    async with venue() as at:
        seen = Recorder()
        up, down = tokens_of(running_market(at))
        feed = feed_of(at, seen)
        feed.subscribe([up, down])
        async with running(feed.run):
            await seen.until(lambda: is_whole(seen, up, down))
            at.faults.add(Fault(target=STREAM, kind="drop", share=0.5))
            await seen.until(lambda: (up, False) in seen.validity)
            at.faults.clear()
            await seen.until(lambda: is_whole(seen, up, down))
            assert feed.reconnects == 0


async def test_repeated_and_late_frames_leave_the_book_right() -> None:
    async with venue() as at:
        seen = Recorder()
        up, down = tokens_of(running_market(at))
        feed = feed_of(at, seen)
        feed.subscribe([up, down])
        async with running(feed.run):
            await seen.until(lambda: is_whole(seen, up, down))
            at.faults.add(Fault(target=STREAM, kind="duplicate", count=20))
            before = len(seen.validity)
            await seen.until(lambda: len(seen.validity) > before + 60)
            assert is_whole(seen, up, down)
            assert seen.books[up].epoch == 1
            at.faults.add(Fault(target=STREAM, kind="reorder", share=0.3, count=20))
            before = len(seen.validity)
            await seen.until(lambda: len(seen.validity) > before + 200)
            at.faults.clear()
            await seen.until(lambda: is_whole(seen, up, down))


async def test_a_venue_that_refuses_is_asked_again_later() -> None:
    async with venue() as at:
        seen = Recorder()
        up, down = tokens_of(running_market(at))
        refused = at.faults.add(Fault(target=STREAM, kind="refuse", count=3, status=503))
        feed = feed_of(at, seen)
        feed.subscribe([up, down])
        async with running(feed.run):
            await seen.until(lambda: is_whole(seen, up, down))
            assert at.faults.hits(refused) == 3
            assert feed.reconnects == 3


async def test_a_book_that_does_not_come_is_fetched_by_rest() -> None:
    async with venue() as at:
        seen = Recorder()
        up, down = tokens_of(running_market(at))
        withheld = at.faults.add(Fault(target=STREAM, kind="drop", match="books"))
        feed = feed_of(at, seen)
        feed.subscribe([up, down])
        async with running(feed.run):
            await seen.until(lambda: is_whole(seen, up, down))
            assert at.faults.hits(withheld) >= 1
            assert feed.reconnects == 0


async def test_without_the_stream_and_rest_the_feed_says_so_and_goes_on() -> None:
    async with venue() as at:
        seen = Recorder()
        up, _ = tokens_of(running_market(at))
        at.faults.add(Fault(target=STREAM, kind="drop", match="books"))
        broken = at.faults.add(Fault(target="polymarket.clob", kind="status", status=503))
        feed = feed_of(at, seen)
        feed.subscribe([up])
        async with running(feed.run):
            while at.faults.hits(broken) < 2:
                await at.clock.sleep(0.1)
            assert "503" in feed.problems[0]
            at.faults.clear()
            await seen.until(lambda: is_whole(seen, up))
            await seen.until(lambda: feed.problems == ())


async def test_tokens_spread_over_connections_and_are_dropped_again() -> None:
    async with venue() as at:
        seen = Recorder()
        tokens = [token for market in at.server.exchange.markets() for token in tokens_of(market)][:30]
        feed = feed_of(at, seen, room=8)
        feed.subscribe(tokens[:10])
        async with running(feed.run):
            feed.subscribe(tokens)
            open_tokens = {t for t in tokens if not at.server.exchange.by_token(t).is_closed}  # type: ignore[union-attr]
            await seen.until(lambda: is_whole(seen, *open_tokens))
            assert at.server.stream.counts.connections == 4
            feed.unsubscribe(tokens[8:])
            assert feed.book(tokens[9]) is None
            assert feed.book(tokens[0]) is not None
            before = len(seen.validity)
            await seen.until(lambda: len(seen.validity) > before + 20)
            feed.subscribe(tokens[8:10])
            assert feed.book(tokens[9]) is not None


async def test_a_market_that_pays_is_told() -> None:
    async with venue(speed=120.0, durations=("5m",)) as at:
        seen = Recorder()
        market = running_market(at)
        feed = feed_of(at, seen, WALL.times(120.0))
        feed.subscribe(tokens_of(market))
        async with running(feed.run):
            await seen.until(lambda: bool(seen.resolved))
            condition, outcome, time_us = seen.resolved[0]
            assert condition == market.listing.condition_id
            assert outcome == market.outcome
            assert time_us >= market.listing.window.end_us


async def test_the_grid_becomes_finer_near_certainty() -> None:
    async with venue(speed=120.0, durations=("5m",)) as at:
        seen = Recorder()
        market = running_market(at)
        feed = feed_of(at, seen, WALL.times(120.0))
        feed.subscribe(tokens_of(market))
        async with running(feed.run):
            await seen.until(lambda: len(seen.ticks) == 2)
            assert set(seen.ticks) == {(token, Decimal("0.001")) for token in tokens_of(market)}


async def test_a_stopped_feed_leaves_no_book_to_be_believed() -> None:
    async with venue() as at:
        seen = Recorder()
        up, down = tokens_of(running_market(at))
        feed = feed_of(at, seen)
        feed.subscribe([up, down])
        async with running(feed.run):
            await seen.until(lambda: is_whole(seen, up, down))
        assert not seen.books[up].valid
        assert not seen.books[down].valid
