"""A venue's own candles are fetched over a socket, stored, and shown; what does not fit is said before anything is asked."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "venues"))
sys.path.insert(0, str(Path(__file__).parents[1] / "venues" / "bybit"))
from bybit_fake import MINUTE_MS, START_MS, START_US, FakeBybit, texts

from crypy.app.data.candle_fetch import candle_source, fetch_from
from crypy.app.settings import Settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.intervals import parse_interval
from crypy.marketdata.store import TradeStore
from crypy.marketdata.stored_candles import StoredCandles
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport
from crypy.venues.bybit.history import BybitCandles

START_S = START_US // US_PER_S


@pytest.fixture
async def venue() -> AsyncIterator[FakeBybit]:
    async with FakeBybit() as fake:
        fake.now_ms = START_MS + 601 * MINUTE_MS
        yield fake


async def test_fetched_candles_are_stored_and_shown(tmp_path: Path, venue: FakeBybit) -> None:
    """Hours are asked for where hours fit, and minutes where an hour does not."""
    clock, store = SystemClock(), CandleStore(tmp_path)
    async with NetTransport(clock) as transport:
        source = BybitCandles(transport, clock, "spot", venue.rest_url)
        bounds = (START_S, START_S + 600 * 60)
        report = await fetch_from(source, store, clock, "BTCUSDT", parse_interval("5h"), bounds, 5)
        assert (report.kind, report.is_whole) == ("klines:1h", True)
        odd = await fetch_from(source, store, clock, "BTCUSDT", parse_interval("7m"), bounds, 5)
        assert (odd.kind, odd.is_whole) == ("klines:1m", True)
    assert {query["interval"] for query in venue.asked} == {"60", "1"}
    found = StoredCandles(TradeStore(tmp_path)).candles("bybit", "BTCUSDT", parse_interval("1m"), *bounds)
    assert found.source == "klines:1m"
    assert len(found) == 600
    assert [float(texts(77)[name]) for name in ("open", "high", "low", "close", "volume", "turnover")] == [
        getattr(found, name)[77] for name in ("open", "high", "low", "close", "volume", "quote_volume")
    ]


async def test_a_length_that_no_candle_of_the_venue_fits_is_refused_before_it_is_asked(
    tmp_path: Path, venue: FakeBybit
) -> None:
    clock = SystemClock()
    async with NetTransport(clock) as transport:
        source = BybitCandles(transport, clock, "spot", venue.rest_url)
        with pytest.raises(ConfigError, match="bybit has no candles that those of 90s could be made of"):
            await fetch_from(source, CandleStore(tmp_path), clock, "BTCUSDT", parse_interval("90s"), (START_S, None), 5)
    assert venue.asked == []


async def test_every_venue_with_candles_is_known_and_others_are_not() -> None:
    clock = SystemClock()
    async with NetTransport(clock) as transport:
        known = {
            name: candle_source(name, transport, clock, Settings())
            for name in ("binance", "bybit", "bybit_linear", "kraken", "bitmex")
        }
        assert {name: source.venue for name, (source, _) in known.items()} == {name: name for name in known}
        assert [name for name, (_, newest) in known.items() if newest] == ["kraken"]
        with pytest.raises(ConfigError, match="'okx' has no candles to fetch; choose from binance, bybit"):
            candle_source("okx", transport, clock, Settings())
