"""The real feed over real sockets against a venue that stalls, cuts, repeats, reorders, corrects and forgets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import loopback_venue
import msgspec
import numpy as np
import pytest
from aiohttp import web
from bybit_fake import MINUTE_MS, START_MS, START_US, FakeBybit, book, kline, trade
from loopback_venue import running

from crypy.domain.errors import ConfigError, Unavailable
from crypy.domain.events import Candle
from crypy.domain.ports import HttpResponse, OnFrame
from crypy.runtime.clocks import SimClock, wall_us
from crypy.runtime.transport import NetTransport
from crypy.testing.clock import ManualClock
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.bybit.feed import BYBIT_PATIENCE, BybitFeed
from crypy.venues.bybit.history import BybitCandles
from crypy.venues.candle_keeping import CandleGap
from crypy.venues.patience import Patience
from crypy.venues.session import TradesMissed

MINUTE_US = 60_000_000


def waits(**changed: float) -> Patience:
    """The venue's usual waits but for those named."""
    return msgspec.structs.replace(BYBIT_PATIENCE, **changed)


QUICK = waits(
    reorder_s=0.02, give_up_s=0.5, first_backoff_s=0.01, backoff_s=0.01, most_backoff_s=0.05, look_s=0.02, resync_s=0.05, grace_s=30.0,
)  # fmt: skip


class Seen(loopback_venue.Seen):
    """As every feed's, and closed candles by their number since the start."""

    def numbers(self, symbol: str = "BTCUSDT", length_us: int = MINUTE_US) -> list[int]:
        return [
            (candle.open_time_us - START_US) // length_us
            for candle in self.candles
            if candle.symbol == symbol and candle.closed and candle.close_time_us - candle.open_time_us == length_us
        ]


class Running:
    def __init__(self, feed: BybitFeed, seen: Seen, task: asyncio.Task[None]) -> None:
        self.feed, self.seen, self.task = feed, seen, task

    async def until(self, condition: Callable[[], bool]) -> None:
        await loopback_venue.until(condition)


@asynccontextmanager
async def feed_at(
    venue: FakeBybit,
    symbols: tuple[str, ...] = ("BTCUSDT",),
    patience: Patience = QUICK,
    clock: Any = None,
    **options: Any,
) -> AsyncIterator[Running]:
    seen = Seen()
    clock = clock or SimClock(START_US, wall_us())
    async with NetTransport(clock, idle_ping_s=100.0) as transport:
        candles = BybitCandles(transport, clock, options.pop("category", "spot"), venue.rest_url)
        if options.pop("trades", False):
            options["on_trade"] = seen.note(seen.trades)
        if options.pop("books", False):
            options["on_book"] = seen.note_book
        on_candle = options.pop("on_candle", seen.note(seen.candles))
        feed = BybitFeed(
            transport, clock, symbols, venue.root_url, candles, on_candle, options.pop("intervals_s", (60,)),
            random=np.random.default_rng(1), on_gap=seen.note(seen.gaps), on_correction=seen.note(seen.corrections),
            patience=patience, **options,
        )  # fmt: skip
        async with running(feed.run) as task:
            await venue.connected()
            yield Running(feed, seen, task)


@pytest.fixture
async def venue() -> AsyncIterator[FakeBybit]:
    async with FakeBybit() as fake:
        yield fake


# ---- candles


async def test_only_closed_candles_are_handed_on(venue: FakeBybit) -> None:
    async with feed_at(venue) as run:
        await venue.tell(kline(0, False), kline(0, False, close="102"), kline(0), kline(1, False), kline(1))
        await run.seen.until(lambda: len(run.seen.candles) == 2)
    assert run.seen.numbers() == [0, 1]
    assert all(candle.closed for candle in run.seen.candles)
    assert venue.pages == ["/v5/public/spot"]
    assert venue.asked == []


async def test_running_candles_are_shown_by_wish_as_they_change_and_in_order(venue: FakeBybit) -> None:
    async with feed_at(venue, only_closed=False) as run:
        late = kline(0, False)
        late["ts"] -= 1_000
        await venue.tell(
            kline(0, False),
            kline(0, False),
            kline(0, False, close="102"),
            late,
            kline(0),
            kline(0, False),
            kline(1, False),
        )
        await run.seen.until(lambda: len(run.seen.candles) == 4)
        await run.until(lambda: run.feed.statistics().frames == 8)
    told = [((c.open_time_us - START_US) // MINUTE_US, c.closed, c.close) for c in run.seen.candles]
    assert told == [(0, False, 101.25), (0, False, 102.0), (0, True, 101.25), (1, False, 102.25)]


async def test_missing_minutes_are_fetched_before_later_ones_are_handed_on(venue: FakeBybit) -> None:
    async with feed_at(venue) as run:
        await venue.tell(kline(0), kline(4))
        await run.seen.until(lambda: len(run.seen.candles) == 5)
        told = run.feed.statistics()
    assert run.seen.numbers() == [0, 1, 2, 3, 4]
    assert [(int(q["start"]) - START_MS, int(q["end"]) - START_MS) for q in venue.asked] == [(MINUTE_MS, 3 * MINUTE_MS)]
    assert (told.gaps_found, told.fetched, told.gaps_lost, told.waiting) == (1, 3, 0, 0)
    assert run.seen.gaps == []


async def test_a_lost_confirmation_is_noticed_by_the_next_running_candle(venue: FakeBybit) -> None:
    async with feed_at(venue) as run:
        await venue.tell(kline(0), kline(1, False), kline(2, False))
        await run.seen.until(lambda: len(run.seen.candles) == 2)
    assert run.seen.numbers() == [0, 1]
    assert len(venue.asked) == 1


async def test_repeated_and_reordered_candles_come_out_once_and_in_order(venue: FakeBybit) -> None:
    async with feed_at(venue, patience=waits(reorder_s=5.0, look_s=0.05)) as run:
        await venue.tell(
            kline(0), kline(0), kline(2), kline(1), kline(2), kline(4), kline(3), kline(0, False), kline(1)
        )
        await run.seen.until(lambda: len(run.seen.candles) == 5)
        await run.until(lambda: run.feed.statistics().frames == 10)
        assert run.feed.statistics().duplicates == 3
    assert run.seen.numbers() == [0, 1, 2, 3, 4]
    assert (venue.asked, run.seen.corrections) == ([], [])


async def test_a_candle_that_is_corrected_later_is_told_as_a_correction_and_not_handed_on_again(
    venue: FakeBybit,
) -> None:
    async with feed_at(venue) as run:
        await venue.tell(kline(0), kline(1), kline(0, close="102.5"), kline(0, close="102.5"), kline(2))
        await run.seen.until(lambda: len(run.seen.candles) == 3)
        assert run.feed.statistics().corrections == 1
    assert run.seen.numbers() == [0, 1, 2]
    (correction,) = run.seen.corrections
    assert (correction.open_time_us, correction.close, run.seen.candles[0].close) == (START_US, 102.5, 101.25)


async def test_the_last_candles_come_first_by_rest_and_join_the_stream_without_a_seam(venue: FakeBybit) -> None:
    async with feed_at(
        venue, warm_up=2_500, patience=waits(reorder_s=0.0, first_backoff_s=0.01, backoff_s=0.01, look_s=0.05)
    ) as run:
        await venue.tell(kline(0, False) | {"ts": START_MS + 500})
        await run.seen.until(lambda: len(run.seen.candles) == 2_499)
        # The minute before this one ended too short a while ago: its last trades may not be in the venue's past.
        await venue.tell(kline(0, False) | {"ts": START_MS + 1_500})
        await run.seen.until(lambda: len(run.seen.candles) == 2_500)
        await venue.tell(kline(0))
        await run.seen.until(lambda: len(run.seen.candles) == 2_501)
    assert run.seen.numbers() == list(range(-2_500, 1))
    assert run.seen.gaps == []


async def test_a_coin_listed_lately_warms_up_with_what_there_is_and_says_so(venue: FakeBybit) -> None:
    venue.first_ms = START_MS - 3 * MINUTE_MS
    async with feed_at(venue, warm_up=10) as run:
        await venue.tell(kline(0, False), kline(0))
        await run.seen.until(lambda: len(run.seen.candles) == 4)
    assert run.seen.numbers() == [-3, -2, -1, 0]
    (gap,) = run.seen.gaps
    assert isinstance(gap, CandleGap)
    assert (gap.first_open_us, gap.last_open_us) == (START_US - 10 * MINUTE_US, START_US - 4 * MINUTE_US)
    assert "7 candles of 60 s missing, 2024-12-31T23:50:00Z to 2024-12-31T23:56:00Z" in str(run.seen.gaps[0])


async def test_a_restart_goes_on_behind_the_last_candle_held(venue: FakeBybit) -> None:
    async with feed_at(venue, known={("BTCUSDT", 60): START_US - 5 * MINUTE_US}) as run:
        await venue.tell(kline(0))
        await run.seen.until(lambda: len(run.seen.candles) == 5)
    assert run.seen.numbers() == [-4, -3, -2, -1, 0]


@pytest.mark.parametrize("last_us", [START_US + 1, START_US + 100 * MINUTE_US])
async def test_a_last_candle_that_cannot_be_is_refused(venue: FakeBybit, last_us: int) -> None:
    with pytest.raises(ConfigError, match=r"kline\.1\.BTCUSDT: `known`"):
        async with feed_at(venue, known={("BTCUSDT", 60): last_us}):
            pass


async def test_several_symbols_and_lengths_are_series_of_their_own(venue: FakeBybit) -> None:
    async with feed_at(venue, ("BTCUSDT", "ETHUSDT"), intervals_s=(60, 300)) as run:
        await venue.tell(
            kline(0), kline(0, symbol="ETHUSDT"), kline(3, symbol="ETHUSDT"), kline(1, length_ms=300_000), kline(1),
        )  # fmt: skip
        await run.seen.until(lambda: len(run.seen.candles) == 7)
        assert run.seen.numbers() == [0, 1]
        assert run.seen.numbers("ETHUSDT") == [0, 1, 2, 3]
        assert run.seen.numbers(length_us=300_000_000) == [1]
    assert venue.commands[0]["args"] == ["kline.1.BTCUSDT", "kline.5.BTCUSDT", "kline.1.ETHUSDT", "kline.5.ETHUSDT"]


async def test_a_candle_that_the_venue_has_lost_is_named_and_passed(venue: FakeBybit) -> None:
    venue.absent = {2}
    async with feed_at(venue) as run:
        await venue.tell(kline(0), kline(4))
        await run.seen.until(lambda: len(run.seen.candles) == 4)
        assert run.seen.numbers() == [0, 1, 3, 4]
        (gap,) = run.seen.gaps
        assert isinstance(gap, CandleGap)
        assert (gap.first_open_us, gap.last_open_us, gap.interval_s) == (
            START_US + 2 * MINUTE_US,
            START_US + 2 * MINUTE_US,
            60,
        )
        assert "the venue has none of them" in str(gap)
        # It comes after all: a correction, for nobody may find it between candles that were handed on.
        await venue.tell(kline(2))
        await run.seen.until(lambda: len(run.seen.corrections) == 1)
        assert run.feed.statistics().gaps_lost == 1
    assert len(venue.asked) > 2


async def test_a_candle_that_rest_has_only_later_is_waited_for(venue: FakeBybit) -> None:
    venue.absent = {2}
    async with feed_at(
        venue, patience=waits(reorder_s=0.0, look_s=0.05, first_backoff_s=0.01, backoff_s=0.01, give_up_s=9.0)
    ) as run:
        await venue.tell(kline(0), kline(4))
        await venue.until(lambda: len(venue.asked) >= 3)
        assert run.seen.numbers() == [0, 1]
        venue.absent = set()
        await run.seen.until(lambda: len(run.seen.candles) == 5)
    assert run.seen.numbers() == [0, 1, 2, 3, 4]
    assert run.seen.gaps == []


async def test_a_busy_venue_is_left_alone_for_as_long_as_it_asks(venue: FakeBybit) -> None:
    def told(status: int, **headers: str) -> Callable[[], web.Response]:
        return lambda: web.Response(
            status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    limited = venue.envelope({}, 10_006, "Too many visits!")
    venue.answers = [told(429, Retry_After="0.3"), told(503), lambda: web.json_response(limited)]
    async with feed_at(
        venue, patience=waits(reorder_s=0.0, give_up_s=20.0, first_backoff_s=0.01, backoff_s=0.01, look_s=0.05)
    ) as run:
        before = asyncio.get_running_loop().time()
        await venue.tell(kline(0), kline(2))
        await run.seen.until(lambda: len(run.seen.candles) == 3)
        assert asyncio.get_running_loop().time() - before >= 0.3
    assert len(venue.asked) == 4


async def test_a_refused_question_leaves_a_named_gap(venue: FakeBybit) -> None:
    venue.answers = [lambda: web.json_response(venue.envelope({}, 10_001, "params error: symbol invalid"))] * 50
    async with feed_at(venue) as run:
        await venue.tell(kline(0), kline(2))
        await run.seen.until(lambda: len(run.seen.candles) == 2)
        assert "symbol invalid (10001)" in run.seen.gaps[0].reason
        assert "symbol invalid" in run.feed.statistics().fault
    assert run.seen.numbers() == [0, 2]


async def test_candles_still_come_by_rest_while_the_stream_says_nothing(venue: FakeBybit) -> None:
    """A topic that has died on a line that lives: overdue candles are asked for."""
    patience = waits(grace_s=0.05, look_s=0.02, first_backoff_s=0.01, backoff_s=0.01, most_backoff_s=0.05)
    async with feed_at(venue, patience=patience, warm_up=3) as run:
        await run.seen.until(lambda: len(run.seen.candles) == 2)
        # Our clock runs on while the venue's stands two minutes ahead.
        venue.now_ms = START_MS + 2 * MINUTE_MS + 2_000
        await venue.tell(kline(2, False) | {"ts": venue.now_ms})
        await run.seen.until(lambda: len(run.seen.candles) == 5)
    assert run.seen.numbers() == [-3, -2, -1, 0, 1]


async def test_candles_come_by_rest_while_no_connection_can_be_made(venue: FakeBybit) -> None:
    clock = SimClock(START_US, wall_us(), speed=600.0)
    async with NetTransport(clock) as transport:
        candles = BybitCandles(transport, clock, "spot", venue.rest_url)
        seen = Seen()
        feed = BybitFeed(
            transport, clock, ["BTCUSDT"], venue.root_url, candles, seen.note(seen.candles), random=np.random.default_rng(1),
            warm_up=2,
        )  # fmt: skip
        venue.refuse = [503] * 10_000
        venue.now_ms = START_MS + 10_000 * MINUTE_MS + 30_000
        task = asyncio.create_task(feed.run())
        # Our clock is a week behind the venue's: what is over is judged by the venue's, as REST tells it.
        for minutes in (2, 5, 9):
            await seen.until(lambda n=minutes: len(seen.candles) >= n)
            venue.now_ms += 2 * minutes * MINUTE_MS
        task.cancel()
        await asyncio.wait({task})
    assert seen.numbers()[:9] == list(range(9_998, 10_007))
    assert feed.statistics().connects == 0


@pytest.mark.parametrize("seed", range(4))
async def test_three_hundred_minutes_of_every_fault_come_out_whole(venue: FakeBybit, seed: int) -> None:
    """Dropped, repeated, delayed and torn messages, cut lines, a REST that fails every third time: each minute once, in order, as it was."""
    rng = np.random.default_rng(seed)
    patience = waits(
        reorder_s=0.0, first_backoff_s=0.001, backoff_s=0.001, most_backoff_s=0.02, look_s=0.01, give_up_s=20.0
    )
    async with feed_at(venue, patience=patience, warm_up=20) as run:
        for number in range(300):
            fault = rng.integers(0, 12)
            if fault == 1:
                await venue.tell(kline(number), kline(number))
            elif fault == 2:
                await venue.tell(kline(number + 1, False), kline(number))
            elif fault == 3:
                await venue.tell(kline(number), kline(max(0, number - 3)))
            elif fault == 4:
                await venue.send(json.dumps(kline(number)).encode()[: rng.integers(1, 200)])
            elif fault == 5 and rng.random() < 0.3:
                connections = venue.connections
                venue.cut(b"\x81\x64half")
                await venue.connected(connections + 1)
            elif fault == 6:
                venue.answers.append(lambda: web.Response(status=503))
            elif fault > 6 or fault == 0:
                await venue.tell(kline(number, False), kline(number))
        await venue.tell(kline(300), kline(301))
        await run.seen.until(lambda: len(run.seen.candles) > 0 and run.seen.numbers()[-1] == 301)
        first = run.seen.numbers()[0]
        assert run.seen.numbers() == list(range(first, 302))
        assert [candle.quote_volume for candle in run.seen.candles] == [abs(n) * 10 + 0.125 for n in range(first, 302)]
        assert (run.seen.gaps, run.seen.corrections) == ([], [])
        assert first <= -15


# ---- connections


async def test_topics_are_subscribed_and_pings_are_sent_and_answered() -> None:
    async with FakeBybit() as venue:
        clock = ManualClock(START_US)
        async with feed_at(venue, patience=BYBIT_PATIENCE, clock=clock) as run:
            assert venue.commands[0]["op"] == "subscribe"
            for count in (1, 2):
                for _ in range(20):
                    await clock.advance(1.0)
                await venue.until(lambda n=count: venue.pings == n)
                await run.until(
                    lambda n=count: run.feed._bybit.talk.pong_us == clock.now_us() and run.feed.statistics().pings == n
                )
            assert venue.connections == 1


async def test_a_line_that_does_not_answer_a_ping_is_made_anew() -> None:
    async with FakeBybit() as venue:
        clock = ManualClock(START_US)
        venue.no_pong = True
        async with feed_at(venue, patience=BYBIT_PATIENCE, clock=clock) as run:
            for _ in range(29):
                await clock.advance(1.0)
            assert run.feed.statistics().connected
            await clock.advance(1.0)
            assert run.feed.statistics().fault == "no message for 30 s"
            await venue.until(lambda: venue.closed == 1)
            await clock.advance(1.0)
            await venue.connected(2)


async def test_a_line_that_answers_pings_and_brings_no_events_is_made_anew() -> None:
    async with FakeBybit() as venue:
        clock = ManualClock(START_US)
        async with feed_at(venue, patience=BYBIT_PATIENCE, clock=clock) as run:
            for second in range(1, 91):
                await clock.advance(1.0)
                if second % 20 == 0:
                    await run.until(lambda: run.feed._bybit.talk.pong_us == clock.now_us())
            assert run.feed.statistics().fault == "no market data for 90 s"
            await clock.advance(1.0)
            await venue.connected(2)


async def test_a_subscription_without_an_answer_is_a_dead_line() -> None:
    async with FakeBybit() as venue:
        clock = ManualClock(START_US)
        venue.unanswered = True
        seen = Seen()
        async with NetTransport(clock, idle_ping_s=100.0) as transport:
            candles = BybitCandles(transport, clock, "spot", venue.rest_url)
            feed = BybitFeed(
                transport,
                clock,
                ["BTCUSDT"],
                venue.root_url,
                candles,
                seen.note(seen.candles),
                random=np.random.default_rng(1),
            )
            task = asyncio.create_task(feed.run())
            await venue.until(lambda: bool(venue.commands))
            for _ in range(10):
                await clock.advance(1.0)
            assert feed.statistics().fault == "no answer to subscribe kline.1.BTCUSDT for 10 s"
            task.cancel()
            await asyncio.wait({task})


async def test_a_held_up_process_does_not_blame_the_venue() -> None:
    async with FakeBybit() as venue:
        clock = ManualClock(START_US)
        async with feed_at(venue, patience=BYBIT_PATIENCE, clock=clock) as run:
            await clock.advance(1.0)
            # Two minutes pass in one step: frames may be lying unread.
            clock._now_us += 120_000_000
            await clock.advance(0.0)
            assert run.feed.statistics().connected
            await venue.until(lambda: venue.pings == 1)
            await run.until(lambda: run.feed._bybit.talk.pong_us == clock.now_us())


async def test_what_was_missed_while_the_line_was_cut_mid_frame_is_fetched(venue: FakeBybit) -> None:
    async with feed_at(venue) as run:
        await venue.tell(kline(0))
        await run.seen.until(lambda: len(run.seen.candles) == 1)
        # The head of a text frame of 100 bytes, and nine of them.
        venue.cut(b"\x81\x64" + b'{"topic":')
        await venue.connected(2)
        await venue.tell(kline(7))
        await run.seen.until(lambda: len(run.seen.candles) == 8)
    assert run.seen.numbers() == list(range(8))
    assert run.seen.gaps == []


async def test_a_closed_line_is_made_anew_and_asked_for_everything_again(venue: FakeBybit) -> None:
    async with feed_at(venue, trades=True) as run:
        await venue.tell(kline(0))
        await run.seen.until(lambda: len(run.seen.candles) == 1)
        await venue.close()
        await venue.connected(2)
        await run.until(lambda: run.feed.statistics().connected)
        assert venue.topics == {"kline.1.BTCUSDT", "publicTrade.BTCUSDT"}
        assert run.feed.statistics().connects == 2


class Road:
    """In memory and in jumping time: `fates` says of each connection in turn for how many seconds it brings candles, `None` that it is refused."""

    def __init__(self, clock: JumpingClock, fates: list[float | None]) -> None:
        self.tried_us: list[int] = []
        self.open = 0
        self._clock = clock
        self._fates = fates

    async def connect(self, url: str, on_frame: OnFrame) -> RoadEnd:
        self.tried_us.append(self._clock.now_us())
        fate = self._fates.pop(0) if self._fates else None
        if fate is None:
            raise Unavailable("no road")
        return RoadEnd(self, self._clock, on_frame, fate)

    async def request(self, *_: Any, **__: Any) -> HttpResponse:
        raise Unavailable("no road")

    def download(self, url: str, offset: int = 0, timeout_s: float = 60.0) -> AsyncIterator[bytes]:
        raise Unavailable("no road")

    async def close(self) -> None: ...


class RoadEnd:
    def __init__(self, road: Road, clock: JumpingClock, on_frame: OnFrame, lasts_s: float) -> None:
        road.open += 1
        self._road, self._clock, self._on_frame, self._lasts_s = road, clock, on_frame, lasts_s

    def send(self, text: str | bytes) -> None:
        told = json.loads(text)
        answer = {"success": True, "ret_msg": "", "req_id": told["req_id"], "op": told["op"]}
        asyncio.get_running_loop().call_soon(self._on_frame, json.dumps(answer).encode(), self._clock.now_us())

    def close(self) -> None:
        self._road.open -= 1

    async def wait_closed(self) -> str:
        for _ in range(round(self._lasts_s)):
            await self._clock.sleep(1.0)
            now_us = self._clock.now_us()
            number = (now_us - START_US) // MINUTE_US
            message = kline(number, False) | {"ts": now_us // 1_000}
            self._on_frame(json.dumps(message).encode(), now_us)
        return "the road is gone"


def attempts(fates: list[float | None], for_s: float) -> tuple[list[float], int]:
    """Seconds at which a feed tried to connect, and connections left open after it was cancelled."""

    async def main(clock: JumpingClock) -> tuple[list[float], int]:
        road = Road(clock, fates)
        feed = BybitFeed(
            road,
            clock,
            ["BTCUSDT"],
            "ws://x",
            BybitCandles(road, clock),
            lambda _: None,
            random=np.random.default_rng(1),
        )
        task = asyncio.create_task(feed.run())
        await clock.sleep(for_s)
        task.cancel()
        await asyncio.wait({task})
        return [(at_us - START_US) / 1e6 for at_us in road.tried_us], road.open

    return run_jumping(main)


def test_waits_between_connections_double_up_to_a_minute() -> None:
    tried_s, _ = attempts([], for_s=1_000.0)
    for number, (one, other) in enumerate(pairwise(tried_s)):
        full_s = min(60.0, 0.5 * 2**number)
        assert full_s / 2 - 1e-3 <= other - one <= full_s + 1e-3
    # Jitter halves a wait at most: a venue that is gone is asked about every 45 s.
    assert 20 < len(tried_s) < 36


def test_waits_begin_anew_after_a_connection_that_was_good_for_a_while_only() -> None:
    tried_s, left_open = attempts([None] * 8 + [5.0, 100.0, 2.0, None], for_s=900.0)
    waits = [other - one for one, other in pairwise(tried_s)]
    # A connection that ended at once does not count as a success, or a venue that cuts every line would be hammered.
    assert 30.0 <= waits[8] - 5.0 <= 60.0 + 1e-3
    assert 0.25 <= waits[9] - 100.0 <= 0.51
    assert 0.5 <= waits[10] - 2.0 <= 1.01
    assert left_open == 0


async def test_cancelling_ends_everything_that_was_begun(venue: FakeBybit) -> None:
    before = asyncio.all_tasks()
    async with feed_at(venue, warm_up=5, trades=True, books=True) as run:
        # In the middle of a question to REST.
        gate = asyncio.Event()

        async def stuck() -> web.StreamResponse:
            await gate.wait()
            return web.Response()

        venue.stuck = stuck
        await venue.tell(book(1, {"99": "1"}, {"101": "1"}, whole=True), kline(0), kline(3))
        await run.seen.until(lambda: bool(run.seen.books))
        run.task.cancel()
        await asyncio.wait({run.task})
        assert run.task.cancelled()
        await venue.until(lambda: venue.closed == 1)
        names = {task.get_name() for task in asyncio.all_tasks() - before}
        assert not names & {"candles BTCUSDT 60", "overdue candles", "Bybit's candles", "Bybit's stream"}
        assert run.seen.books[-1][1] is False
        gate.set()


async def test_rubbish_is_counted_and_does_no_harm(venue: FakeBybit) -> None:
    async with feed_at(venue) as run:
        await venue.tell(kline(0))
        strange = (b"", b"{", b"[1]", b'{"topic":"kline.1.XUSDT","ts":1}', json.dumps(kline(1, low="nan")).encode())
        for data in strange:
            await venue.send(data)
        await venue.tell(kline(1))
        await run.seen.until(lambda: len(run.seen.candles) == 2)
        told = run.feed.statistics()
    assert (told.rubbish, venue.connections) == (5, 1)
    assert "'nan'" in told.last_rubbish


async def test_a_stream_of_nothing_but_rubbish_is_left(venue: FakeBybit) -> None:
    async with feed_at(venue):
        for _ in range(20):
            await venue.send(b"rubbish")
        await venue.connected(2)


async def test_a_wrong_symbol_is_named_and_costs_only_itself(venue: FakeBybit) -> None:
    venue.wrong = {"kline.1.TYPO"}
    async with feed_at(venue, ("TYPO", "BTCUSDT")) as run:
        await run.until(lambda: "kline.1.BTCUSDT" in venue.topics)
        await venue.tell(kline(0))
        await run.seen.until(lambda: len(run.seen.candles) == 1)
        told = run.feed.statistics()
    assert list(told.refused) == ["kline.1.TYPO"]
    assert "kline.1.TYPO: error:handler not found" in told.fault


async def test_many_symbols_are_subscribed_ten_at_a_time(venue: FakeBybit) -> None:
    async with feed_at(venue, tuple(f"C{number}USDT" for number in range(25))) as run:
        await run.until(lambda: len(venue.topics) == 25)
    assert [len(command["args"]) for command in venue.commands] == [10, 10, 5]


async def test_what_a_reader_raises_ends_the_feed(venue: FakeBybit) -> None:
    def broken(candle: Candle) -> None:
        raise ZeroDivisionError(candle.symbol)

    async with feed_at(venue, on_candle=broken) as run:
        await venue.tell(kline(0))
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(run.task, 10)
    assert caught.group_contains(ZeroDivisionError, match="BTCUSDT")


async def test_a_feed_of_nothing_is_refused(venue: FakeBybit) -> None:
    with pytest.raises(ConfigError, match="nothing to follow"):
        async with feed_at(venue, ()):
            pass


# ---- trades and books


async def test_trades_are_handed_on_once_and_a_lost_line_is_named_before_the_next(venue: FakeBybit) -> None:
    async with feed_at(venue, trades=True) as run:
        await venue.tell(trade(1), trade(2), trade(2), trade(1), trade(3, block=True), trade(4))
        await run.seen.until(lambda: len(run.seen.trades) == 3)
        assert run.seen.gaps == []
        venue.cut()
        await venue.connected(2)
        await run.until(lambda: "publicTrade.BTCUSDT" in venue.topics)
        await venue.tell(trade(9), trade(10))
        await run.seen.until(lambda: len(run.seen.trades) == 5)
        told = run.feed.statistics()
    assert [made.price_e8 for made in run.seen.trades] == [(100 + n) * 10**8 + 25 * 10**6 for n in (1, 2, 4, 9, 10)]
    assert (told.trades, told.block_trades) == (5, 1)
    (gap,) = run.seen.gaps
    assert isinstance(gap, TradesMissed)
    assert (gap.after_us, gap.before_us) == (START_US + 4_000, START_US + 9_000)
    assert "trades may be missing" in str(gap)


async def test_a_book_is_kept_and_asked_for_again_when_a_message_is_lost(venue: FakeBybit) -> None:
    whole = book(10, {"99": "1"}, {"101": "1"}, whole=True)
    async with feed_at(venue, books=True) as run:
        await venue.tell(whole, book(11, {"98": "1"}, {}))
        await run.seen.until(lambda: len(run.seen.books) == 2)
        kept = run.feed.book("BTCUSDT")
        assert kept is not None
        assert kept.bids() == [(9_900_000_000, 100_000_000), (9_800_000_000, 100_000_000)]
        await venue.tell(book(13, {"97": "1"}, {}))
        await run.seen.until(lambda: len(run.seen.books) == 3)
        assert (kept.valid, kept.reason) == (False, "1 updates lost after 11")
        await venue.until(lambda: [c["op"] for c in venue.commands] == ["subscribe", "unsubscribe", "subscribe"])
        assert venue.commands[1]["args"] == venue.commands[2]["args"] == ["orderbook.50.BTCUSDT"]
        await venue.tell(whole)
        await run.seen.until(lambda: len(run.seen.books) == 4)
        assert kept.valid
        assert run.feed.statistics().books_lost == 1
        assert venue.connections == 1
    assert [told[1:3] for told in run.seen.books] == [(True, 1), (True, 1), (False, 1), (True, 2), (False, 2)]


async def test_a_book_is_invalid_while_the_line_is_lost(venue: FakeBybit) -> None:
    whole = book(10, {"99": "1"}, {"101": "1"}, whole=True)
    async with feed_at(venue, books=True) as run:
        await venue.tell(whole)
        await run.seen.until(lambda: len(run.seen.books) == 1)
        venue.cut()
        await run.seen.until(lambda: len(run.seen.books) == 2)
        assert run.seen.books[1][1] is False
        await venue.connected(2)
        await run.until(lambda: "orderbook.50.BTCUSDT" in venue.topics)
        await venue.tell(whole)
        await run.seen.until(lambda: len(run.seen.books) == 3)
        assert run.seen.books[2][:3] == ("BTCUSDT", True, 2)
        book_again = run.feed.book("BTCUSDT")
        assert book_again is not None
        assert book_again.last_id == 10
        assert run.feed.book("ETHUSDT") is None
