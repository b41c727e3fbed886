"""Our own Bybit feed against the simulated Bybit over real sockets: each candle once, in order and the source's, whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from binance_kit import NOW_US, small_source
from bybit_sim_kit import MINUTE_US, START_US, SYMBOLS, BybitVenue, made_bars, made_source, served, truth

from crypy.domain.events import E8, Candle, Trade
from crypy.marketdata.depth import DepthBook
from crypy.runtime.clocks import SimClock, wall_us
from crypy.runtime.transport import NetTransport
from crypy.simulator.binance_source import BinanceSource
from crypy.simulator.faults import Fault
from crypy.simulator.folded_candles import CLOSE, HIGH, LOW, OPEN, VOLUME, FoldedCandles
from crypy.simulator.replay import load_recording
from crypy.simulator.replay_source import ReplaySource
from crypy.venues.bybit.capabilities import Category
from crypy.venues.bybit.feed import BybitFeed, Gap
from crypy.venues.bybit.history import BybitCandles
from crypy.venues.candle_keeping import CandleGap
from crypy.venues.patience import Patience

SPEED = 3_600.0
# Waits on the wall, whatever the clock does: long where a busy machine could take them for a fault of the venue.
PATIENT = Patience(
    ping_s=0.2, keep_alive_s=0.2, silence_s=20.0, data_silence_s=30.0, answer_s=20.0, resync_s=0.05, reorder_s=0.02, give_up_s=30.0, look_s=0.02,
    grace_s=30.0, first_backoff_s=0.01, backoff_s=0.01, most_backoff_s=0.05,
)  # fmt: skip
# Who gives up soon, and leaves a silent line soon.
HASTY = msgspec.structs.replace(PATIENT, silence_s=1.0, data_silence_s=2.0, give_up_s=0.6)
STREAM, REST = "bybit.stream", "bybit.rest"
BEGIN_US = START_US + 120 * MINUTE_US


class Heard:
    """What a feed has told."""

    def __init__(self) -> None:
        self.candles: list[Candle] = []
        self.corrections: list[Candle] = []
        self.gaps: list[Gap] = []
        self.trades: list[Trade] = []
        self.books: dict[str, tuple[bool, Any, Any]] = {}

    def closed(self, symbol: str, length_us: int = MINUTE_US) -> list[Candle]:
        return [
            one for one in self.candles if one.symbol == symbol and one.close_time_us - one.open_time_us == length_us
        ]

    def on_book(self, symbol: str, book: DepthBook) -> None:
        if book.valid:
            self.books[symbol] = (book.valid, book.bids().copy(), book.asks().copy())


@asynccontextmanager
async def following(
    source: BinanceSource | None = None,
    *,
    faults: tuple[Fault, ...] = (),
    speed: float = SPEED,
    category: Category = "spot",
    begin_us: int = BEGIN_US,
    patience: Patience = PATIENT,
    **options: Any,
) -> AsyncIterator[tuple[BybitVenue, BybitFeed, Heard]]:
    """A feed on a venue whose clock runs from `begin_us`, while the block runs."""
    clock = SimClock(begin_us, wall_us(), speed)
    settle_us = options.pop("settle_us", 0)
    async with (
        served(source or made_source(), clock, speed, settle_us=settle_us) as venue,
        NetTransport(clock) as transport,
    ):
        for fault in faults:
            venue.faults.add(fault)
        heard = Heard()
        feed = BybitFeed(
            transport, clock, options.pop("symbols", SYMBOLS), venue.stream_url, BybitCandles(transport, clock, category, venue.rest_url),
            heard.candles.append, options.pop("intervals_s", (60,)), random=np.random.default_rng(1),
            on_correction=heard.corrections.append, on_gap=heard.gaps.append, patience=patience.times(speed),
            on_trade=heard.trades.append if options.pop("trades", False) else None,
            on_book=heard.on_book if options.pop("books", False) else None, **options,
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            running = group.create_task(feed.run())
            yield venue, feed, heard
            running.cancel()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.005)


def require_true(heard: Heard, source: BinanceSource, symbol: str = "BTCUSDT", length_us: int = MINUTE_US) -> None:
    """Each once, in order, without a hole, and the source's."""
    told = heard.closed(symbol, length_us)
    opens = [candle.open_time_us for candle in told]
    assert opens == list(range(opens[0], opens[-1] + length_us, length_us))
    assert told == truth(source, symbol, opens, length_us)


@pytest.mark.parametrize("category", ["spot", "linear"])
async def test_an_hour_of_candles_comes_once_in_order_and_as_the_source_has_it(category: Category) -> None:
    source = made_source()
    async with following(source, category=category, intervals_s=(60, 300)) as (_, feed, heard):
        await until(lambda: all(len(heard.closed(symbol)) >= 60 for symbol in SYMBOLS))
        told = feed.statistics()
    for symbol in SYMBOLS:
        require_true(heard, source, symbol)
        require_true(heard, source, symbol, 5 * MINUTE_US)
    assert (told.duplicates, told.rubbish, told.gaps_lost, told.corrections) == (0, 0, 0, 0)
    assert not heard.corrections
    assert not heard.gaps


@pytest.mark.parametrize(
    "fault",
    [
        Fault(target=STREAM, kind="duplicate", match="confirm", share=0.3),
        Fault(target=STREAM, kind="reorder", match="confirm", share=0.3),
        Fault(target=STREAM, kind="delay", match="confirm", share=0.2, delay_s=150.0),
        Fault(target=STREAM, kind="drop", match="confirm", share=0.2),
        Fault(target=STREAM, kind="rubbish", share=0.1),
        Fault(target=STREAM, kind="stall", match="kline", count=1),
        Fault(target=STREAM, kind="close", share=0.02),
        Fault(target=STREAM, kind="close_mid_frame", share=0.02),
    ],
    ids=lambda fault: fault.kind,
)
async def test_whatever_the_stream_does_the_hour_is_whole(fault: Fault) -> None:
    source = made_source()
    async with following(source, faults=(fault,), patience=HASTY if fault.kind == "stall" else PATIENT) as (
        venue,
        _,
        heard,
    ):
        await until(lambda: all(len(heard.closed(symbol)) >= 60 for symbol in SYMBOLS))
        assert venue.faults.hits(1) > 0
    for symbol in SYMBOLS:
        require_true(heard, source, symbol)
    assert not heard.gaps


async def test_a_venue_that_refuses_handshakes_and_requests_for_a_while_is_waited_for() -> None:
    source = made_source()
    faults = (
        Fault(target=STREAM, kind="close", match="kline", count=1),
        Fault(target=STREAM, kind="refuse", count=2),
        Fault(target=REST, kind="status", status=503, count=2),
        Fault(target=REST, kind="truncate", match="kline", count=1),
    )
    async with following(source, faults=faults, warm_up=10) as (venue, feed, heard):
        await until(lambda: all(len(heard.closed(symbol)) >= 60 for symbol in SYMBOLS))
        assert [venue.faults.hits(number) for number in (1, 2, 3, 4)] == [1, 2, 2, 1]
        assert feed.statistics().connects == 2
    for symbol in SYMBOLS:
        require_true(heard, source, symbol)


async def test_a_minute_that_nobody_tells_is_named_as_a_gap() -> None:
    source = made_source()
    lost_us = BEGIN_US + 45 * MINUTE_US
    named = f"kline.1.BTCUSDT confirm {lost_us // 1_000}"
    faults = (
        Fault(target=STREAM, kind="drop", match=str(lost_us // 1_000)),
        Fault(target=REST, kind="absent", match=named),
    )
    async with following(source, faults=faults, symbols=("BTCUSDT",), patience=HASTY) as (_, _, heard):
        await until(lambda: bool(heard.gaps) and len(heard.closed("BTCUSDT")) >= 60)
    (gap,) = heard.gaps
    assert isinstance(gap, CandleGap)
    assert (gap.first_open_us, gap.last_open_us) == (lost_us, lost_us)
    opens = [candle.open_time_us for candle in heard.closed("BTCUSDT")]
    whole = range(opens[0], opens[-1] + MINUTE_US, MINUTE_US)
    assert opens == [at for at in whole if at != lost_us]
    assert heard.closed("BTCUSDT") == truth(source, "BTCUSDT", opens)


async def test_a_minute_that_the_market_does_not_know_is_told_by_nobody() -> None:
    unknown = (150, 151)
    source = made_source(made_bars("BTCUSDT", unknown=unknown))
    async with following(source, symbols=("BTCUSDT",), patience=HASTY) as (venue, _, heard):
        await until(lambda: bool(heard.gaps) and len(heard.closed("BTCUSDT")) >= 60)
        rows = (await venue.get("kline", category="spot", symbol="BTCUSDT", interval="1", limit=1_000))["result"][
            "list"
        ]
    (gap,) = heard.gaps
    missing = [START_US + number * MINUTE_US for number in unknown]
    assert isinstance(gap, CandleGap)
    assert [gap.first_open_us, gap.last_open_us] == missing
    told = {int(row[0]) * 1_000 for row in rows}
    assert not told & set(missing)
    assert missing[0] - MINUTE_US in told


async def test_a_candle_that_is_corrected_later_is_told_as_a_correction() -> None:
    source = made_source()
    correct = Fault(target=STREAM, kind="correct", match="BTCUSDT confirm", count=1, delay_s=90.0)
    async with following(source, faults=(correct,), symbols=("BTCUSDT",)) as (_, feed, heard):
        await until(lambda: bool(heard.corrections) and len(heard.closed("BTCUSDT")) >= 10)
        assert feed.statistics().corrections == 1
    (right,) = heard.corrections
    (wrong,) = [candle for candle in heard.candles if candle.open_time_us == right.open_time_us]
    assert [right] == truth(source, "BTCUSDT", [right.open_time_us])
    assert wrong.volume < right.volume


async def test_warm_up_brings_the_past_first() -> None:
    source = made_source()
    async with following(source, warm_up=90) as (_, feed, heard):
        await until(lambda: all(len(heard.closed(symbol)) >= 100 for symbol in SYMBOLS))
        assert feed.statistics().fetched >= 180
    for symbol in SYMBOLS:
        require_true(heard, source, symbol)
        assert heard.closed(symbol)[0].open_time_us <= BEGIN_US - 60 * MINUTE_US


async def test_past_candles_are_paged_without_loss() -> None:
    source = made_source(made_bars("BTCUSDT", 2_500))
    clock = SimClock(START_US + 2_400 * MINUTE_US, wall_us(), 1.0)
    async with served(source, clock) as venue, NetTransport(clock) as transport:
        candles = BybitCandles(transport, clock, "spot", venue.rest_url)
        got = await candles.candles("BTCUSDT", 60, START_US - 10 * MINUTE_US, START_US + 2_500 * MINUTE_US)
        hours = await candles.latest("BTCUSDT", 3_600, 5)
    assert list(got) == truth(source, "BTCUSDT", [START_US + k * MINUTE_US for k in range(len(got))])
    assert len(got) in (2_399, 2_400)
    assert list(hours) == truth(source, "BTCUSDT", [one.open_time_us for one in hours], 60 * MINUTE_US)
    assert len(hours) == 5


async def test_trades_and_books_of_a_made_market_are_the_source_s() -> None:
    source = small_source()
    # The market is drawn up to now once, so that nobody waits for it later.
    source.trades_between("BTCUSDT", NOW_US, NOW_US + 1, NOW_US)
    async with following(
        source, speed=600.0, begin_us=NOW_US, symbols=("BTCUSDT",), trades=True, books=True, book_depth=50
    ) as (_, feed, heard):
        await until(lambda: len(heard.trades) >= 100 and len(heard.closed("BTCUSDT")) >= 2)
        assert feed.statistics().books_lost == 0
    numbers = [trade.id - 2_290_000_000_000_000_000 for trade in heard.trades]
    first_us, last_us = heard.trades[0].time_us, heard.trades[-1].time_us + 1_000
    batch = source.trades_between("BTCUSDT", first_us, last_us, last_us)
    first = batch.id.tolist().index(numbers[0])
    expected = batch[first : first + len(numbers)]
    assert numbers == expected.id.tolist()
    assert [trade.price_e8 for trade in heard.trades] == expected.price_e8.tolist()
    assert [trade.quantity_e8 for trade in heard.trades] == expected.quantity_e8.tolist()
    assert [trade.buyer_is_maker for trade in heard.trades] == expected.buyer_is_maker.tolist()
    valid, bids, asks = heard.books["BTCUSDT"]
    assert valid
    assert len(bids) == len(asks) == 50
    assert bids[0][0] < asks[0][0]
    require_true(heard, source)


@pytest.mark.slow
async def test_a_recording_is_told_as_bybit_candles_whole_although_its_trades_come_late(shared_data: Path) -> None:
    recording = load_recording(shared_data / "raw_ws/binance_spot", ("BTCUSDT",))
    source, begin_us = ReplaySource(recording), recording.start_us
    async with following(source, speed=120.0, begin_us=begin_us, symbols=("BTCUSDT",), settle_us=2_000_000) as (
        _,
        _,
        heard,
    ):
        await until(lambda: len(heard.closed("BTCUSDT")) >= 4)
    told = heard.closed("BTCUSDT")
    opens = np.array([candle.open_time_us for candle in told] + [told[-1].close_time_us])
    expected = FoldedCandles(source).between("BTCUSDT", opens, recording.end_us)
    assert [(one.open, one.high, one.low, one.close, one.volume) for one in told] == [
        tuple(bar[column] / E8 for column in (OPEN, HIGH, LOW, CLOSE, VOLUME)) for _, _, bar in expected
    ]
