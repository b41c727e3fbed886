"""The real depth feed over real sockets: books become whole, say when they are not, and become whole again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from binance_fake import FakeVenue
from depth_kit import recorded
from loopback_venue import running

from crypy.marketdata.book_source import LiveBook
from crypy.marketdata.depth import Level
from crypy.runtime.clocks import SimClock, SystemClock, wall_us
from crypy.runtime.transport import NetTransport
from crypy.simulator.faults import Fault
from crypy.simulator.server import Simulator
from crypy.simulator.settings import ServeSettings
from crypy.testing.clock import ManualClock
from crypy.venues.asking import RequestPace
from crypy.venues.binance.depth import DepthSync, read_change, read_whole
from crypy.venues.binance.depth_feed import BinanceDepthFeed
from crypy.venues.patience import Patience

QUICK = Patience(look_s=0.01, settled_s=0.0, first_backoff_s=0.01, backoff_s=0.02, most_backoff_s=0.05)
Told = tuple[str, bool, str, Level | None, int]


class Market:
    """A venue's book as it really is: one update at a time, each told in a message or kept back."""

    def __init__(self, venue: FakeVenue, symbol: str = "BTCUSDT") -> None:
        self.venue = venue
        self.symbol = symbol
        self.id = 100
        self.bids = {"100.00000000": "1.00000000"}
        self.late = 0
        venue.depth = self.snapshot

    def snapshot(self, symbol: str) -> web.Response:
        """The book as it was `late` updates ago, in what concerns its id."""
        assert symbol == self.symbol
        bids = sorted(self.bids.items(), reverse=True)
        return web.json_response(
            {"lastUpdateId": self.id - self.late, "bids": bids, "asks": [["200.00000000", "1.00000000"]]}
        )

    async def update(self, price: str, quantity: str, told: bool = True) -> None:
        self.id += 1
        self.bids[price] = quantity
        if told:
            await self.venue.send(self.message(self.id, [[price, quantity]]))

    def message(self, id_: int, bids: list[list[str]]) -> bytes:
        data = {
            "e": "depthUpdate",
            "E": 1_735_689_600_000_000 + id_,
            "s": self.symbol,
            "U": id_,
            "u": id_,
            "b": bids,
            "a": [],
        }
        return json.dumps({"stream": f"{self.symbol.lower()}@depth@100ms", "data": data}).encode()


class Running:
    def __init__(self, venue: FakeVenue, feed: BinanceDepthFeed, told: list[Told], changed: asyncio.Event) -> None:
        self.venue, self.feed, self.told = venue, feed, told
        self.book = feed.books["BTCUSDT"]
        self._changed = changed

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def feed_at(venue: FakeVenue, clock: Any = None, **options: Any) -> AsyncIterator[Running]:
    clock = clock or SystemClock()
    told: list[Told] = []
    changed = asyncio.Event()

    def on_book(book: LiveBook) -> None:
        told.append((book.symbol, book.valid, book.reason, book.levels.best_bid, book.epoch))
        changed.set()

    async with NetTransport(clock) as transport:
        feed = BinanceDepthFeed(
            transport, clock, ["BTCUSDT"], options.pop("on_book", on_book), random=np.random.default_rng(1),
            stream_url=venue.root_url, rest_url=venue.rest_url, patience=QUICK, **options,
        )  # fmt: skip
        async with running(feed.run):
            await venue.connected(1)
            yield Running(venue, feed, told, changed)


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    async with FakeVenue() as fake:
        yield fake


async def test_a_book_is_whole_from_the_first_change_and_a_snapshot_on(venue: FakeVenue) -> None:
    market = Market(venue)
    async with feed_at(venue) as run:
        assert (run.book.valid, venue.asked) == (False, [])
        await market.update("101.00000000", "2.00000000")
        await run.until(lambda: run.book.valid)
        await market.update("102.00000000", "3.00000000")
        await run.until(lambda: run.book.best_bid == (10_200_000_000, 300_000_000))
        assert run.book.bids() == [
            (10_200_000_000, 300_000_000),
            (10_100_000_000, 200_000_000),
            (10_000_000_000, 100_000_000),
        ]
        assert (run.book.last_id, run.book.updated_us) == (102, 1_735_689_600_000_102)
        assert run.book.received_us > run.book.updated_us
        told = run.feed.statistics()
    assert venue.pages == ["/stream?streams=btcusdt@depth@100ms&timeUnit=MICROSECOND"]
    assert venue.asked == [{"symbol": "BTCUSDT", "limit": "5000"}]
    assert (told.connected, told.valid, told.snapshots, told.losses, told.fault) == (True, {"BTCUSDT": True}, 1, 0, "")


async def test_a_lost_change_is_told_and_the_book_comes_back_in_a_new_epoch(venue: FakeVenue) -> None:
    market = Market(venue)
    async with feed_at(venue) as run:
        await market.update("101.00000000", "2.00000000")
        await run.until(lambda: run.book.valid)
        await market.update("102.00000000", "9.00000000", told=False)
        await market.update("103.00000000", "1.00000000")
        await run.until(lambda: run.book.valid and run.book.epoch == 2)
        assert ("BTCUSDT", False, "updates 102 to 102 were lost", None, 1) in run.told
        assert run.book.bids()[:2] == [(10_300_000_000, 100_000_000), (10_200_000_000, 900_000_000)]
        assert run.feed.statistics().losses == 1


async def test_while_the_line_is_gone_the_book_is_invalid_and_the_next_line_brings_it_back(venue: FakeVenue) -> None:
    market = Market(venue)
    async with feed_at(venue) as run:
        await market.update("101.00000000", "2.00000000")
        await run.until(lambda: run.book.valid)
        venue.cut(b"\x81\x7e")
        await run.until(lambda: not run.told[-1][1])
        assert (run.book.valid, run.book.bids()) == (False, [])
        assert run.told[-1][2] != ""
        await venue.connected(2)
        await market.update("104.00000000", "2.00000000")
        await run.until(lambda: run.book.valid)
        assert (run.book.epoch, run.book.best_bid) == (2, (10_400_000_000, 200_000_000))


async def test_a_snapshot_from_before_the_stream_is_asked_for_again(venue: FakeVenue) -> None:
    market = Market(venue)
    market.late = 5
    async with feed_at(venue) as run:
        await market.update("101.00000000", "2.00000000")
        while len(venue.asked) < 3:  # noqa: ASYNC110 - the venue does not tell when it is asked
            await asyncio.sleep(0.005)
        assert not run.book.valid
        market.late = 0
        await run.until(lambda: run.book.valid)


async def test_a_venue_that_refuses_snapshots_is_waited_for_and_says_why(venue: FakeVenue) -> None:
    market = Market(venue)
    refusals = [
        web.Response(status=429, headers={"Retry-After": "2"}), web.Response(status=503), web.Response(body=b"<html>"),
        web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400),
    ]  # fmt: skip
    seen: list[str] = []

    def answer(symbol: str) -> web.Response:
        seen.append(run.feed.statistics().fault)
        return refusals.pop(0) if refusals else market.snapshot(symbol)

    venue.depth = answer
    clock = SimClock(wall_us(), wall_us(), 50.0)
    async with feed_at(venue, clock) as run:
        await market.update("101.00000000", "2.00000000")
        await run.until(lambda: run.book.valid)
        assert run.feed.statistics().fault == ""
    assert len(seen) == 5
    assert "order book" in seen[3]
    assert "Invalid symbol" in seen[4]


async def test_rubbish_in_the_stream_changes_no_book(venue: FakeVenue) -> None:
    market = Market(venue)
    async with feed_at(venue) as run:
        await market.update("101.00000000", "2.00000000")
        await run.until(lambda: run.book.valid)
        for rubbish in (b"{", market.message(102, [["x", "1"]]), market.message(102, [["101.00000000", "-1"]])):
            await venue.send(rubbish)
        await market.update("102.00000000", "1.00000000")
        await run.until(lambda: run.book.last_id == 102)
        assert (run.book.valid, run.book.epoch, run.feed.statistics().rubbish) == (True, 1, 3)


async def test_what_the_reader_raises_ends_the_feed(venue: FakeVenue) -> None:
    market = Market(venue)

    def on_book(book: LiveBook) -> None:
        raise RuntimeError("the reader is broken")

    clock = SystemClock()
    async with NetTransport(clock) as transport:
        feed = BinanceDepthFeed(
            transport, clock, ["BTCUSDT"], on_book, random=np.random.default_rng(1), stream_url=venue.root_url,
            rest_url=venue.rest_url, patience=QUICK,
        )  # fmt: skip
        task = asyncio.create_task(feed.run())
        await venue.connected(1)
        await market.update("101.00000000", "2.00000000")
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.wait_for(task, 10)
    assert raised.group_contains(RuntimeError, match="the reader is broken")


async def test_snapshots_are_asked_for_at_once_until_the_minutes_share_is_used_up() -> None:
    clock = ManualClock()
    budget = RequestPace(3, 60.0)
    taken: list[int] = []
    started_us = clock.now_us()

    async def take() -> None:
        for _ in range(7):
            while wait_s := budget.take(clock.now_us()):
                await clock.sleep(wait_s)
            taken.append((clock.now_us() - started_us) // 1_000_000)

    task = asyncio.create_task(take())
    await clock.advance(130.0)
    await task
    assert taken == [0, 0, 0, 60, 60, 60, 120]


@pytest.mark.timeout(60)
async def test_a_replayed_recording_with_faults_gives_the_recorded_books_or_none(shared_data: Path) -> None:
    folder = shared_data / "raw_ws" / "binance_spot"
    truth: dict[int, tuple[list[Level], list[Level]]] = {}
    clean = DepthSync("BTCUSDT")
    for data, found, at_us in recorded(folder / "btcusdt_20240808.gz"):
        if "lastUpdateId" in found:
            clean.take(read_whole(data, "BTCUSDT", at_us))
        elif found.get("e") == "depthUpdate":
            clean.take(read_change(data, "BTCUSDT", at_us))
        truth[clean.book.last_id] = clean.book.bids(20), clean.book.asks(20)

    settings = ServeSettings(symbols=("BTCUSDT",), speed=60.0, replay=str(folder), venues=())
    states: list[bool] = []

    def on_book(book: LiveBook) -> None:
        states.append(book.valid)
        if book.valid:
            assert (book.levels.bids(20), book.levels.asks(20)) == truth[book.levels.last_id]

    async with Simulator(settings) as simulator, NetTransport(simulator.clock) as transport:
        clock, urls = simulator.clock, simulator.ready.urls
        for kind, share in (("drop", 0.01), ("duplicate", 0.05), ("reorder", 0.01), ("close", 0.001)):
            simulator.faults.add(Fault(target="binance.stream", kind=kind, share=share))
        simulator.faults.add(Fault(target="binance.rest", kind="status", status=503, share=0.3))
        feed = BinanceDepthFeed(
            transport, clock, ["BTCUSDT"], on_book, random=np.random.default_rng(1), stream_url=urls["stream"], rest_url=urls["rest"],
            patience=Patience(silence_s=30.0, settled_s=5.0, backoff_s=1.0, most_backoff_s=2.0),
        )  # fmt: skip
        running = [asyncio.create_task(simulator.run()), asyncio.create_task(feed.run())]
        try:
            begun_us = clock.now_us()
            while clock.now_us() < begun_us + 240_000_000:
                await clock.sleep(5.0)
                assert not any(task.done() for task in running)
            simulator.faults.clear()
            while not feed.books["BTCUSDT"].valid:
                await clock.sleep(1.0)
                assert not any(task.done() for task in running)
            told = feed.statistics()
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            if running[1].done() and not running[1].cancelled():
                running[1].result()
    assert told.losses > 3
    assert told.snapshots > 3
    assert sum(states) > 500
    assert not all(states)
