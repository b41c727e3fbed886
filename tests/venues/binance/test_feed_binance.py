"""The real feed over real sockets against a venue that drops, repeats, reorders, stalls, cuts and lies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import aiohttp
import loopback_venue
import msgspec
import numpy as np
import pytest
from aiohttp import web
from binance_fake import FakeVenue, ticker
from loopback_venue import running

from crypy.domain.events import Trade
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport
from crypy.venues.binance.feed import BINANCE_PATIENCE, BinanceFeed
from crypy.venues.patience import Patience


def waits(**changed: float) -> Patience:
    """The venue's usual waits but for those named."""
    return msgspec.structs.replace(BINANCE_PATIENCE, **{"look_s": 0.05, **changed})


QUICK = waits(
    reorder_s=0.01,
    give_up_s=0.5,
    silence_s=5.0,
    max_age_s=1_000.0,
    first_backoff_s=0.01,
    backoff_s=0.01,
    most_backoff_s=0.05,
)


class Seen(loopback_venue.Seen):
    """As every feed's, and each change of wholeness."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: list[tuple[str, bool]] = []

    def note_whole(self, symbol: str, whole: bool) -> None:
        self.note(self.whole)((symbol, whole))

    def ids(self, symbol: str = "BTCUSDT") -> list[int]:
        return [trade.id for trade in self.trades if trade.symbol == symbol]


class Running:
    def __init__(self, venue: FakeVenue, feed: BinanceFeed, seen: Seen, task: asyncio.Task[None]) -> None:
        self.venue, self.feed, self.seen, self.task = venue, feed, seen, task

    async def until(self, condition: Callable[[], bool]) -> None:
        await loopback_venue.until(condition)


@asynccontextmanager
async def feed_at(
    venue: FakeVenue, symbols: tuple[str, ...] = ("BTCUSDT",), patience: Patience = QUICK, **options: Any
) -> AsyncIterator[Running]:
    seen = Seen()
    clock = SystemClock()
    async with NetTransport(clock) as transport:
        feed = BinanceFeed(
            transport, clock, symbols, venue.root_url, venue.rest_url,
            options.pop("on_trade", seen.note(seen.trades)), seen.note(seen.quotes),
            random=np.random.default_rng(1), on_gap=seen.note(seen.gaps), on_whole=seen.note_whole, patience=patience,
            **options,
        )  # fmt: skip
        async with running(feed.run) as task:
            await venue.connected(1)
            yield Running(venue, feed, seen, task)


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    async with FakeVenue() as fake:
        yield fake


async def test_trades_and_quotes_are_handed_on_as_they_come(venue: FakeVenue) -> None:
    async with feed_at(venue) as run:
        await venue.tell(ticker("BTCUSDT", 5))
        await venue.trades("BTCUSDT", 10, 11, 12)
        await run.seen.until(lambda: len(run.seen.trades) == 3)
        quote, trade = run.seen.quotes[0], run.seen.trades[0]
    assert (quote.bid_e8, quote.ask_e8, quote.mid) == (10_000_000_000, 10_001_000_000, 100.005)
    assert (trade.id, trade.price_e8, trade.first_id, trade.last_id, trade.buyer_is_maker) == (
        10,
        10_300_000_000,
        20,
        21,
        True,
    )
    assert trade.time_us == 1_735_689_600_100_000
    assert trade.received_us == quote.received_us or trade.received_us > quote.received_us > 0
    assert venue.pages == ["/stream?streams=btcusdt@aggTrade/btcusdt@bookTicker&timeUnit=MICROSECOND"]
    assert venue.asked == []


async def test_dropped_trades_are_fetched_before_later_ones_go_on(venue: FakeVenue) -> None:
    venue.past["BTCUSDT"] = 100
    async with feed_at(venue) as run:
        await venue.trades("BTCUSDT", 10, 11)
        await run.seen.until(lambda: run.feed.statistics().whole["BTCUSDT"] and len(run.seen.trades) == 2)
        await venue.trades("BTCUSDT", 40, 41)
        await run.seen.until(lambda: len(run.seen.trades) == 32)
        assert run.seen.ids() == list(range(10, 42))
        assert venue.asked == [{"symbol": "BTCUSDT", "fromId": "12", "limit": "28"}]
        await run.seen.until(lambda: run.feed.statistics().whole["BTCUSDT"])
        assert run.seen.whole == [("BTCUSDT", True), ("BTCUSDT", False), ("BTCUSDT", True)]
        told = run.feed.statistics()
    assert (told.gaps_found, told.gaps_lost, told.fetched, told.waiting) == (1, 0, 28, 0)


async def test_repeated_and_reordered_trades_come_out_once_and_in_order(venue: FakeVenue) -> None:
    async with feed_at(venue, patience=waits(reorder_s=5.0)) as run:
        await venue.trades("BTCUSDT", 10, 10, 12, 11, 12, 14, 15, 13, 10)
        await run.seen.until(lambda: len(run.seen.trades) == 6)
        await run.until(lambda: run.feed.statistics().frames == 9)
        assert run.seen.ids() == [10, 11, 12, 13, 14, 15]
        assert run.feed.statistics().duplicates == 3
    assert venue.asked == []


async def test_old_and_empty_quotes_are_not_handed_on(venue: FakeVenue) -> None:
    async with feed_at(venue) as run:
        await venue.tell(ticker("BTCUSDT", 5), ticker("BTCUSDT", 5), ticker("BTCUSDT", 4))
        await venue.tell(ticker("BTCUSDT", 6, bid="0.00000000"), ticker("BTCUSDT", 7))
        await run.seen.until(lambda: len(run.seen.quotes) == 2)
        assert [quote.update_id for quote in run.seen.quotes] == [5, 7]


async def test_what_was_missed_while_the_line_was_cut_mid_frame_is_fetched(venue: FakeVenue) -> None:
    async with feed_at(venue) as run:
        await venue.trades("BTCUSDT", 10, 11)
        await run.seen.until(lambda: len(run.seen.trades) == 2)
        venue.past["BTCUSDT"] = 2_500
        # The head of a text frame of 100 bytes, and ten of them.
        venue.cut(b"\x81\x64" + b'{"stream":')
        await venue.connected(2)
        # Nothing new comes on the stream: a new connection asks for what it may have missed.
        await run.seen.until(lambda: len(run.seen.trades) == 2_491)
        await venue.trades("BTCUSDT", 2_501)
        await run.seen.until(lambda: len(run.seen.trades) == 2_492)
        assert run.seen.ids() == list(range(10, 2_502))
        assert run.seen.gaps == []


async def test_a_feed_that_is_told_the_last_stored_id_begins_behind_it(venue: FakeVenue) -> None:
    venue.past["BTCUSDT"] = 1_234
    async with feed_at(venue, last_ids={"BTCUSDT": 99}) as run:
        await venue.trades("BTCUSDT", 1_240)
        venue.past["BTCUSDT"] = 1_240
        await run.seen.until(lambda: len(run.seen.trades) == 1_141)
        assert run.seen.ids() == list(range(100, 1_241))


async def test_a_gap_that_cannot_be_filled_is_named_and_passed(venue: FakeVenue) -> None:
    venue.answers = [lambda: web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)] * 50
    async with feed_at(venue) as run:
        await venue.trades("BTCUSDT", 10, 20, 21)
        await run.seen.until(lambda: len(run.seen.trades) == 3)
        assert run.seen.ids() == [10, 20, 21]
        (gap,) = run.seen.gaps
        assert (gap.symbol, gap.first_id, gap.last_id) == ("BTCUSDT", 11, 19)
        assert str(gap).startswith("BTCUSDT: 9 trades missing, ids 11 to 19")
        assert "-1121 Invalid symbol" in gap.reason
        await run.seen.until(lambda: run.feed.statistics().whole["BTCUSDT"])
        assert run.feed.statistics().gaps_lost == 1


async def test_past_trades_that_begin_late_leave_a_named_gap(venue: FakeVenue) -> None:
    venue.past["BTCUSDT"], venue.first["BTCUSDT"] = 20, 15
    async with feed_at(venue) as run:
        await venue.trades("BTCUSDT", 10, 20)
        await run.seen.until(lambda: len(run.seen.trades) == 7)
        assert run.seen.ids() == [10, 15, 16, 17, 18, 19, 20]
        assert [(gap.first_id, gap.last_id) for gap in run.seen.gaps] == [(11, 14)]


async def test_a_busy_venue_is_left_alone_for_as_long_as_it_asks(venue: FakeVenue) -> None:
    busy = [(429, "0.3"), (503, ""), (418, "0.2")]
    for status, wait in busy:
        headers = {"Retry-After": wait} if wait else {}
        venue.answers.append(lambda s=status, h=headers: web.json_response({"code": -1003}, status=s, headers=h))
    venue.past["BTCUSDT"] = 100
    async with feed_at(
        venue, patience=waits(reorder_s=0.0, give_up_s=20.0, first_backoff_s=0.01, backoff_s=0.01)
    ) as run:
        before = asyncio.get_running_loop().time()
        await venue.trades("BTCUSDT", 10, 20)
        await run.seen.until(lambda: len(run.seen.trades) == 11)
        assert asyncio.get_running_loop().time() - before >= 0.5
        assert run.seen.ids() == list(range(10, 21))
        assert len(venue.asked) == 4


async def test_a_venue_that_stays_busy_past_our_patience_leaves_a_named_gap(venue: FakeVenue) -> None:
    venue.answers = [lambda: web.json_response({"code": -1003}, status=418, headers={"Retry-After": "120"})]
    async with feed_at(venue) as run:
        await venue.trades("BTCUSDT", 10, 20)
        await run.seen.until(lambda: len(run.seen.trades) == 2)
        assert "418" in run.seen.gaps[0].reason
        # The next hole does not make it ask again before the venue's time is over.
        await venue.trades("BTCUSDT", 30)
        await run.seen.until(lambda: len(run.seen.trades) == 3)
        assert "silence" in run.seen.gaps[1].reason
    assert len(venue.asked) == 1


async def test_rubbish_is_counted_and_does_no_harm(venue: FakeVenue) -> None:
    async with feed_at(venue) as run:
        await venue.trades("BTCUSDT", 10)
        for data in (
            b"",
            b"{",
            b"[1]",
            b'{"stream":"btcusdt@aggTrade","data":{"a":"x"}}',
            b'{"stream":"ethusdt@aggTrade","data":{}}',
        ):
            await venue.send(data)
        await venue.trades("BTCUSDT", 11)
        await run.seen.until(lambda: len(run.seen.trades) == 2)
        told = run.feed.statistics()
    assert (told.rubbish, venue.connections) == (5, 1)
    assert "ethusdt@aggTrade" in told.last_rubbish


async def test_a_stream_of_nothing_but_rubbish_is_left(venue: FakeVenue) -> None:
    async with feed_at(venue):
        for _ in range(20):
            await venue.send(b"rubbish")
        await venue.connected(2)


async def test_a_stalled_connection_is_made_anew(venue: FakeVenue) -> None:
    async with feed_at(venue, patience=waits(silence_s=0.2, first_backoff_s=0.01, backoff_s=0.01)) as run:
        await venue.connected(2)
        assert run.seen.whole[:2] == [("BTCUSDT", True), ("BTCUSDT", False)]


async def test_a_connection_is_made_anew_before_it_is_too_old_and_when_the_venue_announces_it(venue: FakeVenue) -> None:
    async with feed_at(
        venue, patience=waits(silence_s=0.2, max_age_s=0.3, first_backoff_s=0.01, backoff_s=0.01)
    ) as run:
        # Frames keep coming, so that only age can end the connection; the last one may meet it closing.
        with contextlib.suppress(aiohttp.ClientConnectionResetError):
            for update in count():
                await venue.tell(ticker("BTCUSDT", update))
                await asyncio.sleep(0.02)
                if venue.connections > 1:
                    break
        await venue.connected(2)
        assert run.feed.statistics().fault in ("", "the connection had grown old")
        assert venue.connections == 2
    async with feed_at(venue):
        await venue.connected(3)
        await venue.send(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}')
        await venue.connected(4)


async def test_refused_connections_are_tried_again(venue: FakeVenue) -> None:
    venue.refuse = [503, 404, 500]
    async with feed_at(venue) as run:
        await venue.trades("BTCUSDT", 1)
        await run.seen.until(lambda: len(run.seen.trades) == 1)
    assert venue.refuse == []


async def test_what_a_reader_raises_ends_the_feed(venue: FakeVenue) -> None:
    def broken(trade: Trade) -> None:
        raise ZeroDivisionError(trade.id)

    async with feed_at(venue, on_trade=broken) as run:
        await venue.trades("BTCUSDT", 7)
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(run.task, 10)
    assert caught.group_contains(ZeroDivisionError, match="7")
