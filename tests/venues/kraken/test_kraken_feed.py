"""The real feed over real sockets against a Kraken that stalls, closes, drops, refuses and sends wrong checksums."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from kraken_wire import SlowBook, book, candle_row, candles, golden_book, instruments, rest_trades, trade_us, trades
from loopback_venue import LoopbackVenue, Seen, running, until

from crypy.domain.events import Trade
from crypy.domain.times import US_PER_S
from crypy.runtime.clocks import SimClock, wall_us
from crypy.runtime.transport import NetTransport
from crypy.venues.kraken.feed import KrakenCallbacks, KrakenFeed, Wanted
from crypy.venues.kraken.history import KrakenCandles, KrakenTrades
from crypy.venues.patience import Patience

# The clock stands at twenty seconds past a minute; it runs as fast as the wall, so no minute ends unless a test wants it.
START_US = 1_760_000_000_000_000
MINUTE = START_US // (60 * US_PER_S)
QUICK = Patience(
    ping_s=2.0, silence_s=5.0, look_s=0.02, answer_s=5.0, resync_s=0.02, reorder_s=0.01, grace_s=0.0, give_up_s=1.0,
    first_backoff_s=0.01, backoff_s=0.02, most_backoff_s=0.05,
)  # fmt: skip


class Kraken:
    """What the venue holds: a book, candles by minute, trades by id; and its side of the conversation."""

    def __init__(self) -> None:
        self.book: SlowBook = golden_book()
        self.snapshot_rows: list[dict[str, Any]] = []
        self.newest_trade = 0
        self.last_minute = MINUTE - 1
        self.refused: dict[str, str] = {}
        self.rest_faults: list[web.Response] = []
        self.bad_snapshots = 0

    def on_message(self, text: str) -> list[str]:
        frame = json.loads(text)
        if frame["method"] == "ping":
            return [json.dumps({"method": "pong", "req_id": frame["req_id"]})]
        params = frame["params"]
        channel = params["channel"]
        answers: list[str] = []
        for symbol in params.get("symbol", [""]):
            done: dict[str, Any] = {"method": frame["method"], "req_id": frame["req_id"], "success": True}
            if channel in self.refused:
                done |= {"success": False, "error": self.refused[channel], "symbol": symbol}
            else:
                done["result"] = {"channel": channel, "symbol": symbol}
            answers.append(json.dumps(done))
        if frame["method"] == "subscribe" and channel not in self.refused:
            answers += self._first(channel)
        return answers

    def on_get(self, path: str, query: dict[str, str]) -> web.Response:
        if self.rest_faults:
            return self.rest_faults.pop(0)
        if path.endswith("/OHLC"):
            rows = [
                [minute * 60, "100.0", "101.0", "99.0", "100.5", "100.2", "0.5", 3]
                for minute in range(self.last_minute - 20, self.last_minute + 2)
            ]
            return web.json_response({"error": [], "result": {"XXBTZUSD": rows, "last": self.last_minute * 60}})
        since_ns = int(query["since"])
        first = next(id_ for id_ in range(1, self.newest_trade + 2) if trade_us(id_) * 1_000 > since_ns)
        return web.json_response(rest_trades(first, int(query["count"]), self.newest_trade))

    def _first(self, channel: str) -> list[str]:
        if channel == "instrument":
            return [json.dumps(instruments(BTC_USD=(1, 8), ETH_USD=(2, 8)))]
        if channel == "book":
            if self.bad_snapshots:
                self.bad_snapshots -= 1
                return [book("snapshot", "BTC/USD", [("1.0", "1.0")], [("2.0", "1.0")], 7)]
            return [self.book.snapshot()]
        if channel == "ohlc":
            return [json.dumps(candles(*self.snapshot_rows, type_="snapshot"))]
        return [json.dumps(trades(*range(max(1, self.newest_trade - 49), self.newest_trade + 1), type_="snapshot"))]


class Running:
    def __init__(
        self, kraken: Kraken, venue: LoopbackVenue, feed: KrakenFeed, seen: Seen, clock: SimClock, task: Any
    ) -> None:
        self.kraken, self.venue, self.feed, self.seen, self.clock, self.task = kraken, venue, feed, seen, clock, task

    def subscribed(self, channel: str) -> int:
        """How often the client has asked for the channel."""
        frames = [json.loads(text) for text in self.venue.said]
        return sum(frame["method"] == "subscribe" and frame["params"]["channel"] == channel for frame in frames)


STATUS = '{"channel":"status","type":"update","data":[{"system":"online","version":"2.0.10","api_version":"v2"}]}'


@asynccontextmanager
async def feed_at(kraken: Kraken | None = None, *, speed: float = 1.0, **options: Any) -> AsyncIterator[Running]:
    kraken, seen, clock = kraken or Kraken(), Seen(), SimClock(START_US, wall_us(), speed)
    wanted = Wanted(**{"symbols": ("BTC/USD",), "intervals_s": (), **options.pop("wanted", {})})
    callbacks = KrakenCallbacks(
        seen.note(seen.candles), options.pop("on_trade", seen.note(seen.trades)), seen.note_book, seen.note(seen.gaps)
    )
    mute, refuse = options.pop("mute", False), options.pop("refuse", [])
    async with LoopbackVenue(kraken.on_message, kraken.on_get, (STATUS,)) as venue, NetTransport(clock) as transport:
        venue.mute, venue.refuse = mute, refuse
        feed = KrakenFeed(
            transport, clock, venue.url, wanted, callbacks, random=np.random.default_rng(1),
            past_candles=KrakenCandles(transport, clock, venue.rest_url).candles,
            past_trades=KrakenTrades(transport, clock, venue.rest_url),
            **{"patience": QUICK, **options},
        )  # fmt: skip
        async with running(feed.run) as task:
            yield Running(kraken, venue, feed, seen, clock, task)


BOOK = {"depth": 10}
TRADES = {"trades": True}
MINUTES = {"intervals_s": (60,)}


async def test_a_proved_book_is_handed_on_with_every_change() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        await run.venue.send(run.kraken.book.update([("bids", "45283.5", "0.50000000")]))
        await run.venue.send(
            run.kraken.book.update([("asks", "45285.0", "0.25000000"), ("asks", "45285.2", "0.00000000")])
        )
        await run.seen.until(lambda: len(run.seen.books) == 3)
        told = run.feed.statistics()
        assert run.feed.book("BTC/USD") is not None
    assert run.seen.books[1] == ("BTC/USD", True, 1, (4_528_350_000_000, 50_000_000), (4_528_520_000_000, 100_000))
    assert run.seen.books[2][4] == (4_528_500_000_000, 25_000_000)
    assert (told.proved, told.books_lost, told.books_valid, told.system) == (3, 0, {"BTC/USD": True}, "online")
    assert (told.connected, told.fault, told.rubbish) == (True, "", 0)


async def test_a_wrong_checksum_is_told_and_the_book_won_back() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        await run.venue.send(book("update", "BTC/USD", [("45283.5", "0.2")], [], 1))
        await run.seen.until(lambda: len(run.seen.books) == 3)
        assert [(valid, epoch) for _, valid, epoch, *_ in run.seen.books] == [(True, 1), (False, 1), (True, 2)]
        assert run.seen.books[1][3:] == (None, None)
        told = run.feed.statistics()
    assert (told.books_lost, told.connects, run.subscribed("book")) == (1, 1, 2)


async def test_a_dropped_update_is_found_out_by_the_next_one() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        run.kraken.book.update([("bids", "45283.5", "0.50000000")])
        await run.venue.send(run.kraken.book.update([("asks", "45286.4", "0.25000000")]))
        await run.seen.until(lambda: len(run.seen.books) == 3)
        assert [valid for _, valid, *_ in run.seen.books] == [True, False, True]
        assert run.feed.book("BTC/USD").asks(2)[1] == (4_528_640_000_000, 25_000_000)  # type: ignore[union-attr]


async def test_snapshots_that_are_wrong_themselves_are_asked_for_until_one_is_right() -> None:
    kraken = Kraken()
    kraken.bad_snapshots = 3
    async with feed_at(kraken, wanted=BOOK) as run:
        await run.seen.until(lambda: any(valid for _, valid, *_ in run.seen.books))
        assert [valid for _, valid, *_ in run.seen.books] == [False, False, False, True]
        assert run.feed.statistics().books_lost == 3


async def test_a_closed_connection_makes_the_book_invalid_and_a_new_one_whole() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        await run.venue.close()
        await run.seen.until(lambda: len(run.seen.books) == 3)
    assert [(valid, epoch) for _, valid, epoch, *_ in run.seen.books[:3]] == [(True, 1), (False, 1), (True, 2)]


async def test_a_line_cut_in_the_middle_of_a_frame_is_made_anew() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        run.venue.cut(b"\x81\x64" + b'{"channel":')
        await run.seen.until(lambda: len(run.seen.books) == 3)
        assert run.feed.statistics().rubbish == 0


async def test_a_stalled_connection_is_made_anew() -> None:
    patience = Patience(ping_s=0.1, silence_s=0.3, look_s=0.02, first_backoff_s=0.01, backoff_s=0.02)
    async with feed_at(wanted=BOOK, mute=True, patience=patience) as run:
        await run.venue.connected(3)
        assert '"method":"ping"' in "".join(run.venue.said)
        run.venue.mute = False
        await run.seen.until(lambda: bool(run.seen.books))


async def test_a_connection_that_answers_pings_but_brings_no_data_is_made_anew() -> None:
    patience = Patience(
        ping_s=0.05, silence_s=5.0, data_silence_s=0.4, look_s=0.02, first_backoff_s=0.01, backoff_s=0.02
    )
    async with feed_at(wanted=BOOK, patience=patience) as run:
        await run.venue.connected(3)
        assert run.subscribed("book") >= 2


async def test_a_connection_that_leaves_subscriptions_unanswered_is_made_anew() -> None:
    patience = Patience(answer_s=0.1, look_s=0.02, first_backoff_s=0.01, backoff_s=0.02)
    async with feed_at(wanted=TRADES, mute=True, patience=patience) as run:
        await run.venue.connected(2)
        run.venue.mute = False
        run.kraken.newest_trade = 3
        await run.seen.until(lambda: len(run.seen.trades) == 3)


async def test_refused_connections_are_tried_again() -> None:
    async with feed_at(wanted=BOOK, refuse=[503, 404, 500]) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        assert run.venue.refuse == []


async def test_rubbish_is_counted_and_does_no_harm_and_a_flood_of_it_ends_the_connection() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        await run.venue.send("{", "[]", '{"channel":"ticker"}')
        await run.venue.send(run.kraken.book.update([("bids", "45283.5", "0.50000000")]))
        await run.seen.until(lambda: len(run.seen.books) == 2)
        assert (run.feed.statistics().rubbish, run.venue.connections) == (3, 1)
        await run.venue.send(*["rubbish"] * 20)
        await run.venue.connected(2)


async def test_what_the_venue_refuses_is_shown_and_the_rest_goes_on() -> None:
    kraken = Kraken()
    kraken.refused = {"trade": "Currency pair not supported BTC/USD"}
    async with feed_at(kraken, wanted=BOOK | TRADES) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        await until(lambda: "trade BTC/USD: Currency pair not supported BTC/USD" in run.feed.statistics().fault)
        assert run.venue.connections == 1


async def test_a_complaint_of_the_venue_ends_the_connection() -> None:
    async with feed_at(wanted=BOOK) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        await run.venue.send('{"Error":"Exceeded msg rate"}')
        await run.venue.connected(2)
        await run.seen.until(lambda: run.seen.books[-1][1])


async def test_only_confirmed_candles_are_handed_on() -> None:
    async with feed_at(wanted=MINUTES) as run:
        await run.venue.connected(1)
        await run.venue.send(candles(candle_row(MINUTE, close=100.1)), candles(candle_row(MINUTE, close=100.2)))
        await until(lambda: run.feed.statistics().frames >= 3)
        assert run.seen.candles == []
        await run.venue.send(candles(candle_row(MINUTE + 1)))
        await run.seen.until(lambda: len(run.seen.candles) == 1)
    (over,) = run.seen.candles
    assert (over.symbol, over.close, over.closed, over.open_time_us) == ("BTC/USD", 100.2, True, MINUTE * 60 * US_PER_S)


async def test_running_candles_are_handed_on_when_asked_for() -> None:
    async with feed_at(wanted=MINUTES, running=True) as run:
        await run.venue.connected(1)
        await run.venue.send(candles(candle_row(MINUTE, close=100.1)), candles(candle_row(MINUTE + 1, close=100.3)))
        await run.seen.until(lambda: len(run.seen.candles) == 3)
    assert [(one.close, one.closed) for one in run.seen.candles] == [(100.1, False), (100.1, True), (100.3, False)]


async def test_candles_missed_before_the_stream_began_are_fetched_first() -> None:
    kraken = Kraken()
    known = {("BTC/USD", 60): (MINUTE - 6) * 60 * US_PER_S}
    async with feed_at(kraken, wanted=MINUTES, last_open_us=known) as run:
        await run.seen.until(lambda: len(run.seen.candles) == 5)
        await run.venue.send(candles(candle_row(MINUTE)), candles(candle_row(MINUTE + 1)))
        await run.seen.until(lambda: len(run.seen.candles) == 6)
    assert [one.open_time_us // (60 * US_PER_S) for one in run.seen.candles] == list(range(MINUTE - 5, MINUTE + 1))
    assert all(one.closed for one in run.seen.candles)
    assert run.seen.gaps == []


async def test_minutes_that_nobody_traded_are_confirmed_by_rest() -> None:
    # A minute takes a third of a second here.
    async with feed_at(
        wanted=MINUTES, speed=180.0, patience=Patience(grace_s=1.0, reorder_s=1.0, silence_s=900.0)
    ) as run:
        await run.venue.connected(1)
        for minute in (MINUTE, MINUTE + 1, MINUTE + 2):
            run.kraken.last_minute = minute
            await run.seen.until(lambda minute=minute: len(run.seen.candles) == minute - MINUTE + 1)
    assert [one.open_time_us // (60 * US_PER_S) for one in run.seen.candles[:3]] == [MINUTE, MINUTE + 1, MINUTE + 2]


async def test_a_minute_that_cannot_be_had_is_named_and_passed() -> None:
    kraken = Kraken()
    kraken.rest_faults = [web.json_response({"error": ["EQuery:Unknown asset pair"]})]
    async with feed_at(kraken, wanted=MINUTES) as run:
        await run.venue.connected(1)
        await run.venue.send(candles(candle_row(MINUTE + 1)), candles(candle_row(MINUTE + 2)))
        await run.seen.until(lambda: len(run.seen.candles) == 1)
    (gap,) = run.seen.gaps
    assert (gap.first_open_us, gap.last_open_us) == (MINUTE * 60 * US_PER_S,) * 2
    assert "Unknown asset pair" in gap.reason
    assert run.seen.candles[0].open_time_us == (MINUTE + 1) * 60 * US_PER_S


async def test_trades_come_once_and_in_order() -> None:
    kraken = Kraken()
    kraken.newest_trade = 10
    async with feed_at(kraken, wanted=TRADES) as run:
        await run.seen.until(lambda: len(run.seen.trades) == 10)
        await run.venue.send(trades(9, 10, 11), trades(12), trades(14), trades(13), trades(12))
        await run.seen.until(lambda: len(run.seen.trades) == 14)
        told = run.feed.statistics()
    assert [one.id for one in run.seen.trades] == list(range(1, 15))
    assert (told.trades, told.duplicates, told.gaps_lost) == (14, 3, 0)


async def test_trades_missed_while_the_line_was_down_are_fetched() -> None:
    async with feed_at(wanted=TRADES) as run:
        await run.venue.connected(1)
        await run.venue.send(trades(1, 2))
        await run.seen.until(lambda: len(run.seen.trades) == 2)
        # More than the fifty that a new subscription tells, and more than one page of the past.
        run.kraken.newest_trade = 1_300
        run.venue.cut()
        await run.seen.until(lambda: len(run.seen.trades) == 1_300)
    assert [one.id for one in run.seen.trades] == list(range(1, 1_301))
    assert run.seen.gaps == []


async def test_trades_that_cannot_be_had_are_named_and_passed() -> None:
    kraken = Kraken()
    kraken.rest_faults = [web.json_response({"error": ["EGeneral:Permission denied"]})]
    last = Trade("BTC/USD", 4, 1, 1, 4, 4, trade_us(4), False)
    async with feed_at(kraken, wanted=TRADES, last_trades={"BTC/USD": last}) as run:
        await run.venue.connected(1)
        await run.venue.send(trades(5, 9))
        await run.seen.until(lambda: len(run.seen.trades) == 2)
    assert [one.id for one in run.seen.trades] == [5, 9]
    (gap,) = run.seen.gaps
    assert str(gap) == "BTC/USD: 3 trades missing, ids 6 to 8: Kraken: EGeneral:Permission denied"


async def test_what_a_reader_raises_ends_the_feed() -> None:
    def broken(trade: Trade) -> None:
        raise ZeroDivisionError(trade.id)

    async with feed_at(wanted=TRADES, on_trade=broken) as run:
        await run.venue.connected(1)
        await run.venue.send(trades(7))
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(run.task, 10)
    assert caught.group_contains(ZeroDivisionError, match="7")


async def test_a_cancelled_feed_leaves_nothing_behind() -> None:
    async with feed_at(wanted=BOOK | TRADES | MINUTES) as run:
        await run.seen.until(lambda: len(run.seen.books) == 1)
        run.task.cancel()
        await asyncio.wait({run.task})
        assert run.task.cancelled()
        assert not run.feed.statistics().connected
        assert not run.feed.book("BTC/USD").valid  # type: ignore[union-attr]
        mine = {task for task in asyncio.all_tasks() if "Kraken" in task.get_name()}
        assert mine == set()
