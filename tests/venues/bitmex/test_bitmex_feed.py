"""The real feed over real sockets against a BitMEX that stalls, closes, drops, refuses and contradicts itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from bitmex_wire import SYMBOL, SlowBook, answer, candle, message, quote, refusal, trade
from loopback_venue import LoopbackVenue, Seen, running, until

from crypy.domain.times import US_PER_S, parse_time_us
from crypy.runtime.clocks import SimClock, wall_us
from crypy.runtime.transport import NetTransport
from crypy.venues.bitmex.feed import BitmexCallbacks, BitmexFeed, Wanted
from crypy.venues.bitmex.history import BitmexCandles
from crypy.venues.patience import Patience
from crypy.venues.session import TradesMissed

# The clock stands at twenty seconds past a minute.
START_US = 1_760_000_000_000_000
MINUTE_US = 60 * US_PER_S
MINUTE = START_US // MINUTE_US
WELCOME = '{"info":"Welcome to the BitMEX Realtime API.","version":"2024-06-12T21:37:02.000Z","limit":{"remaining":40}}'
QUICK = Patience(
    ping_s=2.0, silence_s=5.0, look_s=0.02, answer_s=5.0, resync_s=0.02, reorder_s=0.01, grace_s=0.0, give_up_s=1.0,
    first_backoff_s=0.01, backoff_s=0.02, most_backoff_s=0.05,
)  # fmt: skip


class Bitmex:
    """What the venue holds, and its side of the conversation."""

    def __init__(self) -> None:
        self.book = SlowBook()
        self.last_trade = 1
        self.last_minute = MINUTE - 1
        self.rest_faults: list[web.Response] = []
        self.refused: set[str] = set()

    def on_message(self, text: str) -> list[str]:
        if text == "ping":
            return ["pong"]
        frame = json.loads(text)
        refused = [topic for topic in frame["args"] if topic in self.refused]
        if refused:
            return [refusal(400, "Unknown or expired symbol.", frame["op"], *frame["args"])]
        answers: list[str] = []
        for topic in frame["args"]:
            answers.append(answer(frame["op"], topic))
            if frame["op"] == "subscribe":
                answers.append(json.dumps(self._partial(topic.partition(":")[0])))
        return answers

    def on_get(self, path: str, query: dict[str, str]) -> web.Response:
        assert path == "/api/v1/trade/bucketed"
        if self.rest_faults:
            return self.rest_faults.pop(0)
        first, last = (parse_time_us(query[key]) // MINUTE_US - 1 for key in ("startTime", "endTime"))
        return web.json_response([candle(minute) for minute in range(first, min(last, self.last_minute) + 1)])

    def _partial(self, table: str) -> dict[str, Any]:
        if table.startswith("orderBook"):
            return self.book.partial(table)
        rows = {"trade": [trade(self.last_trade)], "quote": [quote(1)]}
        return message(table, "partial", rows.get(table, [candle(self.last_minute)]))


class Running:
    def __init__(self, bitmex: Bitmex, venue: LoopbackVenue, feed: BitmexFeed, seen: Seen, task: Any) -> None:
        self.bitmex, self.venue, self.feed, self.seen, self.task = bitmex, venue, feed, seen, task


@asynccontextmanager
async def feed_at(bitmex: Bitmex | None = None, *, speed: float = 1.0, **options: Any) -> AsyncIterator[Running]:
    bitmex, seen, clock = bitmex or Bitmex(), Seen(), SimClock(START_US, wall_us(), speed)
    wanted = Wanted(**{"symbols": (SYMBOL,), "intervals_s": (), **options.pop("wanted", {})})
    callbacks = BitmexCallbacks(
        seen.note(seen.candles), options.pop("on_trade", seen.note(seen.trades)), seen.note(seen.quotes), seen.note_book,
        seen.note(seen.gaps),
    )  # fmt: skip
    mute, refuse = options.pop("mute", False), options.pop("refuse", [])
    async with LoopbackVenue(bitmex.on_message, bitmex.on_get, (WELCOME,)) as venue, NetTransport(clock) as transport:
        venue.mute, venue.refuse = mute, refuse
        feed = BitmexFeed(
            transport, clock, venue.url, wanted, callbacks, random=np.random.default_rng(1),
            past_candles=BitmexCandles(transport, clock, venue.rest_url, request_pace_s=0.0).candles,
            **{"patience": QUICK, **options},
        )  # fmt: skip
        async with running(feed.run) as task:
            yield Running(bitmex, venue, feed, seen, task)


BOOK = {"book": "orderBookL2"}
TRADES = {"trades": True}
MINUTES = {"intervals_s": (60,)}


async def test_a_book_is_kept_by_ids_and_handed_on_with_every_change() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        slow = run.bitmex.book
        await run.venue.send(slow.update("Buy", 100.0, 7), slow.delete("Sell", 100.5), slow.insert("Sell", 100.5, 3))
        await run.seen.until(lambda: len(run.seen.books) == 4)
        told = run.feed.statistics()
        book = run.feed.book(SYMBOL)
        assert book is not None
        assert (book.bids(), book.asks()) == (slow.levels("Buy"), slow.levels("Sell"))
    assert run.seen.books[1][3] == (10_000_000_000, 7 * 10**8)
    assert (told.books_lost, told.books_valid, told.rubbish, told.fault, told.connected) == (
        0,
        {SYMBOL: True},
        0,
        "",
        True,
    )


async def test_a_row_that_cannot_be_is_told_and_the_book_won_back() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        # An insertion that the venue did and never told: the next change of that level gives it away.
        run.bitmex.book.insert("Buy", 99.9, 11)
        await run.venue.send(run.bitmex.book.update("Buy", 99.9, 12))
        await run.seen.until(lambda: len(run.seen.books) == 3)
        assert [(valid, epoch) for _, valid, epoch, *_ in run.seen.books] == [(True, 1), (False, 1), (True, 2)]
        book = run.feed.book(SYMBOL)
        assert book is not None
        assert book.bids() == run.bitmex.book.levels("Buy")
        assert (run.feed.statistics().books_lost, run.venue.connections) == (1, 1)


async def test_a_closed_connection_makes_the_book_invalid_and_a_new_one_whole() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        await run.venue.close()
        await run.seen.until(lambda: len(run.seen.books) == 3)
        run.venue.cut(b"\x81\x64" + b'{"table":')
        await run.seen.until(lambda: len(run.seen.books) == 5)
    assert [valid for _, valid, *_ in run.seen.books[:5]] == [True, False, True, False, True]


async def test_a_stalled_connection_is_pinged_and_made_anew() -> None:
    patience = Patience(ping_s=0.1, silence_s=0.3, look_s=0.02, first_backoff_s=0.01, backoff_s=0.02)
    async with feed_at(wanted=BOOK, mute=True, patience=patience) as run:
        await run.venue.connected(3)
        assert "ping" in run.venue.said
        run.venue.mute = False
        await run.seen.until(lambda: bool(run.seen.books))


async def test_a_quiet_connection_that_answers_pings_is_kept() -> None:
    patience = Patience(ping_s=0.05, silence_s=0.4, look_s=0.02)
    async with feed_at(wanted=BOOK, patience=patience) as run:
        await run.venue.until(lambda: run.venue.said.count("ping") >= 12)
        assert run.venue.connections == 1
        assert run.feed.statistics().books_valid == {SYMBOL: True}


async def test_refused_connections_are_tried_again() -> None:
    async with feed_at(wanted=BOOK, refuse=[503, 403, 500]) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        assert run.venue.refuse == []


async def test_rubbish_is_counted_and_does_no_harm_and_a_flood_of_it_ends_the_connection() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        await run.venue.send("{", "[]", '{"table":"liquidation","action":"insert","data":[]}', '{"table":"quote"}')
        await run.venue.send(run.bitmex.book.update("Buy", 100.0, 7))
        await run.seen.until(lambda: len(run.seen.books) == 2)
        assert (run.feed.statistics().rubbish, run.venue.connections) == (4, 1)
        await run.venue.send(*["rubbish"] * 20)
        await run.venue.connected(2)


async def test_one_refused_topic_does_not_cost_the_others() -> None:
    bitmex = Bitmex()
    bitmex.refused = {"trade:NOPE"}
    async with feed_at(bitmex, wanted=TRADES | {"symbols": (SYMBOL, "NOPE")}) as run:
        await until(lambda: "trade:NOPE: Unknown or expired symbol." in run.feed.statistics().fault)
        await run.venue.send(message("trade", "insert", [trade(2)]))
        await run.seen.until(lambda: len(run.seen.trades) == 1)
        assert run.venue.connections == 1


async def test_trades_missed_while_the_line_was_down_are_told() -> None:
    async with feed_at(wanted=TRADES) as run:
        await until(lambda: run.feed.statistics().frames >= 3)
        await run.venue.send(message("trade", "insert", [trade(2), trade(3)]))
        await run.seen.until(lambda: len(run.seen.trades) == 2)
        run.bitmex.last_trade = 3
        await run.venue.close()
        await run.venue.connected(2)
        await until(lambda: run.feed.statistics().frames >= 7)
        assert run.seen.gaps == []
        run.bitmex.last_trade = 8
        await run.venue.close()
        await run.seen.until(lambda: len(run.seen.trades) == 3)
    (gap,) = run.seen.gaps
    assert gap == TradesMissed(SYMBOL, START_US + 3_000, START_US + 8_000)


async def test_quotes_are_handed_on() -> None:
    async with feed_at(wanted={"quotes": True}) as run:
        await run.seen.until(lambda: len(run.seen.quotes) == 1)
        await run.venue.send(message("quote", "insert", [quote(2, bid=487.6)]))
        await run.seen.until(lambda: len(run.seen.quotes) == 2)
    assert [one.bid_e8 for one in run.seen.quotes] == [48_755_000_000, 48_760_000_000]


async def test_candles_come_closed_once_and_without_a_hole() -> None:
    known = {(SYMBOL, 60): (MINUTE - 6) * MINUTE_US}
    async with feed_at(wanted=MINUTES, last_open_us=known) as run:
        # The partial tells the newest, the past tells those before it.
        await run.seen.until(lambda: len(run.seen.candles) == 5)
        run.bitmex.last_minute = MINUTE + 2
        await run.venue.send(message("tradeBin1m", "insert", [candle(MINUTE)]))
        await run.venue.send(message("tradeBin1m", "insert", [candle(MINUTE + 2)]))
        await run.venue.send(message("tradeBin1m", "insert", [candle(MINUTE)]))
        await run.seen.until(lambda: len(run.seen.candles) == 6)
        assert run.seen.gaps == []
    assert [one.open_time_us // MINUTE_US for one in run.seen.candles[:6]] == list(range(MINUTE - 5, MINUTE + 1))
    assert all(one.closed for one in run.seen.candles)


async def test_minutes_that_the_stream_does_not_tell_are_asked_for() -> None:
    patience = Patience(grace_s=1.0, reorder_s=1.0, silence_s=900.0, ping_s=400.0)
    async with feed_at(wanted=MINUTES, speed=180.0, patience=patience) as run:
        for minute in (MINUTE, MINUTE + 1):
            run.bitmex.last_minute = minute
            await run.seen.until(lambda minute=minute: len(run.seen.candles) == minute - MINUTE + 1)
    assert [one.open_time_us // MINUTE_US for one in run.seen.candles[:2]] == [MINUTE, MINUTE + 1]


async def test_what_a_reader_raises_ends_the_feed() -> None:
    def broken(told: Any) -> None:
        raise ZeroDivisionError(told.match_id)

    async with feed_at(wanted=TRADES, on_trade=broken) as run:
        await until(lambda: run.feed.statistics().frames >= 3)
        await run.venue.send(message("trade", "insert", [trade(2)]))
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(run.task, 10)
    assert caught.group_contains(ZeroDivisionError)


async def test_a_cancelled_feed_leaves_nothing_behind() -> None:
    async with feed_at(wanted=BOOK | TRADES | MINUTES) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        run.task.cancel()
        await asyncio.wait({run.task})
        assert run.task.cancelled()
        assert not run.feed.statistics().connected
        book = run.feed.book(SYMBOL)
        assert book is not None
        assert not book.valid
        assert {task for task in asyncio.all_tasks() if "BitMEX" in task.get_name()} == set()
