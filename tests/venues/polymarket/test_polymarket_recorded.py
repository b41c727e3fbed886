"""A recorded session replayed through the protocol: the books, trades and resolutions that were seen live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from polymarket_kit import QUICK, WALL, Recorder, Venue, running, venue

from crypy.domain.settlement import Outcome
from crypy.marketdata import recorder as recording_of
from crypy.marketdata.book import Book
from crypy.marketdata.recording import Recording
from crypy.runtime.recording_transport import RecordingTransport, Source
from crypy.simulator.faults import Fault
from crypy.simulator.polymarket_exchange import SimMarket
from crypy.venues.patience import Patience
from crypy.venues.polymarket.clob import ClobClient
from crypy.venues.polymarket.events import BookChanged, MarketResolved, MarketTrade, TickSizeChanged
from crypy.venues.polymarket.feed import MarketCallbacks, MarketFeed
from crypy.venues.polymarket.recorded import RecordedMarkets

STREAM = "polymarket.stream"


@dataclass
class Story:
    """Everything that was told, in order, books by value."""

    told: list[tuple[object, ...]] = field(default_factory=list)

    def on_book(self, token: str, book: Book) -> None:
        self.told.append(("book", token, book.valid, book.reason, tuple(book.bids()), tuple(book.asks())))

    def on_trade(self, trade: MarketTrade) -> None:
        self.told.append(("trade", trade))

    def on_resolved(self, condition: str, outcome: Outcome | None, time_us: int) -> None:
        self.told.append(("resolved", condition, outcome, time_us))

    def on_tick(self, token: str, tick: Decimal) -> None:
        self.told.append(("tick", token, tick))


def replayed(folder: Path) -> tuple[Story, RecordedMarkets]:
    story, markets = Story(), RecordedMarkets()
    for _, events in markets.replay(Recording(folder).records()):
        for event in events:
            match event:
                case BookChanged():
                    story.on_book(event.token_id, event.book)
                case MarketTrade():
                    story.on_trade(event)
                case MarketResolved():
                    story.on_resolved(event.condition_id, event.outcome, event.time_us)
                case TickSizeChanged():
                    story.on_tick(event.token_id, event.tick_size)
    return story, markets


@dataclass
class Live:
    """A feed that is recorded, what it told, and a way to wait for it."""

    at: Venue
    feed: MarketFeed
    story: Story
    seen: Recorder


@asynccontextmanager
async def recorded(
    folder: Path,
    patience: Patience = QUICK,
    acting: bool = True,
    speed: float = 10.0,
    durations: tuple[str, ...] = ("5m", "1h"),
) -> AsyncIterator[Live]:
    async with venue(speed=speed, durations=durations, running=acting) as at:  # type: ignore[arg-type]
        keeper = recording_of.Recorder(folder, at.clock, recording_of.RecorderLimits(reserve_bytes=0))
        clob_url = f"http://127.0.0.1:{at.ports.clob}"
        sources = (Source("polymarket.market", at.stream_url), Source("polymarket.book", f"{clob_url}/book"))
        transport = RecordingTransport(at.transport, keeper, sources)
        story, seen = Story(), Recorder()
        both = MarketCallbacks(
            lambda token, book: (story.on_book(token, book), seen.on_book(token, book))[0],
            lambda trade: (story.on_trade(trade), seen.on_trade(trade))[0],
            lambda *told: (story.on_resolved(*told), seen.on_resolved(*told))[0],
            lambda *told: (story.on_tick(*told), seen.on_tick_size(*told))[0],
        )
        feed = MarketFeed(
            transport,
            at.clock,
            at.stream_url,
            both,
            clob=ClobClient(transport, clob_url),
            patience=patience,
            random=np.random.default_rng(1),
        )
        async with running(feed.run):
            yield Live(at, feed, story, seen)
        keeper.close()


def market_of(at: Venue, duration: str = "5m") -> SimMarket:
    now_us = at.clock.now_us()
    return next(
        market
        for market in at.server.exchange.markets()
        if market.listing.window.contains(now_us) and market.listing.window.duration == duration
    )


def tokens_of(market: SimMarket) -> tuple[str, str]:
    return market.listing.up_token, market.listing.down_token


async def whole(live: Live, *tokens: str) -> None:
    await live.seen.until(lambda: all(token in live.seen.books and live.seen.books[token].valid for token in tokens))


async def test_books_and_trades_come_again_step_by_step(tmp_path: Path) -> None:
    async with recorded(tmp_path, WALL.times(30.0), speed=30.0) as live:
        first, second = tokens_of(market_of(live.at)), tokens_of(market_of(live.at, "1h"))
        live.feed.subscribe(first)
        await whole(live, *first)
        live.feed.subscribe(second)
        await live.seen.until(lambda: len(live.seen.validity) > 150 and len(live.seen.trades) >= 1)
        live.feed.unsubscribe(first)
        before = len(live.seen.validity)
        await live.seen.until(lambda: len(live.seen.validity) > before + 30)
    story, markets = replayed(tmp_path)
    assert plain(story) == plain(live.story)
    assert len(story.told) > 150
    assert markets.unreadable == 0
    # The run is over, so no book is to be believed any more, here as there.
    assert not any(book.valid for book in markets.books.values())


@pytest.mark.parametrize("kind", ["close", "close_mid_frame", "rubbish", "stall"])
async def test_a_broken_connection_is_the_same_story_again(tmp_path: Path, kind: str) -> None:
    async with recorded(tmp_path) as live:
        tokens = tokens_of(market_of(live.at))
        live.feed.subscribe(tokens)
        await whole(live, *tokens)
        live.at.faults.add(Fault(target=STREAM, kind=kind, count=1))
        await live.seen.until(lambda: all((token, False) in live.seen.validity for token in tokens))
        await whole(live, *tokens)
        before = len(live.seen.validity)
        await live.seen.until(lambda: len(live.seen.validity) > before + 30)
    story, markets = replayed(tmp_path)
    assert plain(story) == plain(live.story)
    assert markets.unreadable == (1 if kind == "rubbish" else 0)
    assert len(Recording(tmp_path).connections) == 2


def plain(story: Story) -> list[tuple[object, ...]]:
    """Without the reasons of invalid books: at a connection's end the feed says them in other words than the recording."""
    return [(*told[:3], *told[4:]) if told[0] == "book" else told for told in story.told]


async def test_a_book_that_lost_a_change_and_was_asked_for_again_comes_out_the_same(tmp_path: Path) -> None:
    async with recorded(tmp_path) as live:
        tokens = tokens_of(market_of(live.at))
        live.feed.subscribe(tokens)
        await whole(live, *tokens)
        live.at.faults.add(Fault(target=STREAM, kind="drop", share=0.5))
        await live.seen.until(lambda: (tokens[0], False) in live.seen.validity)
        live.at.faults.clear()
        await whole(live, *tokens)
    assert plain(replayed(tmp_path)[0]) == plain(live.story)


async def test_a_book_that_was_fetched_by_rest_comes_from_the_recorded_answer(tmp_path: Path) -> None:
    async with recorded(tmp_path, acting=False) as live:
        live.at.faults.add(Fault(target=STREAM, kind="drop", match="books"))
        tokens = tokens_of(market_of(live.at))
        live.feed.subscribe(tokens)
        await whole(live, *tokens)
        for _ in range(20):
            live.at.server.act()
            await live.at.clock.sleep(0.3)
    told = [one for one in live.story.told if one[0] == "book"]
    assert len(told) > 4
    assert plain(replayed(tmp_path)[0]) == plain(live.story)
    answers = [one for one in Recording(tmp_path).records(["polymarket.book"]) if one.word == "answer"]
    assert len(answers) >= 2


async def test_a_market_that_pays_is_told_again(tmp_path: Path) -> None:
    async with recorded(tmp_path, WALL.times(120.0), speed=120.0, durations=("5m",)) as live:
        live.feed.subscribe(tokens_of(market_of(live.at)))
        await live.seen.until(lambda: bool(live.seen.resolved))
    story, _ = replayed(tmp_path)
    assert [told for told in story.told if told[0] == "resolved"] == [
        ("resolved", *resolved) for resolved in live.seen.resolved
    ]
    assert sum(told[0] == "tick" for told in story.told) == len(live.seen.ticks)


def test_a_hole_in_the_recording_makes_books_invalid_until_they_come_whole(tmp_path: Path) -> None:
    from crypy.testing.clock import ManualClock

    clock = ManualClock()
    keeper = recording_of.Recorder(tmp_path, clock, recording_of.RecorderLimits(reserve_bytes=0))
    channel = keeper.channel("polymarket.market", "wss://venue/ws/market")
    tap = channel.tap(lambda frame, at_us: None)
    channel.opened()
    channel.sent(b'{"type":"market","assets_ids":["7"],"custom_feature_enabled":true}')
    snapshot = (
        b'[{"event_type":"book","market":"m","asset_id":"7","timestamp":"1750428146322","hash":"x",'
        b'"bids":[{"price":"0.4","size":"10"}],"asks":[{"price":"0.6","size":"5"}]}]'
    )
    tap(snapshot, clock.now_us())
    channel.note("lost", b'{"frames":3,"bytes":100}')
    channel.note("other", b"a word of a later version")
    tap(snapshot, clock.now_us())
    keeper.flush()
    keeper.close()
    told = replayed(tmp_path)[0].told
    assert [(one[0], one[2]) for one in told] == [("book", True), ("book", False), ("book", True), ("book", False)]
    assert told[1][3] == "frames were not recorded"
