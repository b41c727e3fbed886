"""Binance's klines over real sockets: the simulator's, and what becomes of them in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from crypy.domain.errors import ConfigError, Rejected
from crypy.domain.times import US_PER_S
from crypy.marketdata.candle_rows import rows_of
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.kline_sync import sync_klines
from crypy.marketdata.store import TradeStore
from crypy.marketdata.sync import sync
from crypy.marketdata.synthetic import SyntheticMarket
from crypy.runtime.clocks import SimClock, wall_us
from crypy.runtime.transport import NetTransport
from crypy.simulator.binance_archive import TARGET, ArchiveServer
from crypy.simulator.binance_limits import WeightRules
from crypy.simulator.binance_rest import TARGET as REST_TARGET
from crypy.simulator.binance_rest import RestServer
from crypy.simulator.faults import Faults
from crypy.simulator.synthetic_source import SyntheticSource
from crypy.venues.binance.history import BinanceHistory
from crypy.venues.binance.klines import SETTLE_US, BinanceKlines

FIRST_DAY = 20_100
DAY_US = 86_400 * US_PER_S
BEGIN_US = FIRST_DAY * DAY_US
# Two hours into the second day.
NOW_US = BEGIN_US + DAY_US + 7_200 * US_PER_S
COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")


@dataclass
class Venue:
    clock: SimClock
    transport: NetTransport
    archive_url: str
    rest_url: str

    def klines(self) -> BinanceKlines:
        return BinanceKlines(self.transport, self.clock, self.archive_url, self.rest_url)


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    market = SyntheticMarket(11, ("BTC", "XRP"), FIRST_DAY, 20_000.0)
    clock, faults = SimClock(NOW_US, wall_us()), Faults(1, (TARGET, REST_TARGET))
    archive = ArchiveServer(SyntheticSource(market.twin()), clock, faults)
    rest = RestServer(SyntheticSource(market.twin()), clock, faults, WeightRules())
    ports = (await archive.start("127.0.0.1", 0), await rest.start("127.0.0.1", 0))
    async with NetTransport(clock) as transport:
        yield Venue(clock, transport, *(f"http://127.0.0.1:{port}" for port in ports))
    await archive.close()
    await rest.close()


@pytest.mark.slow
async def test_second_bars_from_klines_are_those_from_trades_bit_for_bit(tmp_path: Path, venue: Venue) -> None:
    symbols, klines, trades = ["BTCUSDT", "XRPUSDT"], CandleStore(tmp_path), TradeStore(tmp_path)
    history = BinanceHistory(venue.transport, venue.clock, venue.archive_url, venue.rest_url)
    end_us = NOW_US - 60 * US_PER_S
    found = await sync_klines(klines, venue.klines(), venue.clock, symbols, 1, BEGIN_US, end_us)
    assert (found.problems, found.is_whole, found.kind) == ((), True, "klines:1s")
    assert (await sync(trades, history, venue.clock, symbols, BEGIN_US, end_us)).is_whole
    start_s, end_s = BEGIN_US // US_PER_S, end_us // US_PER_S
    for symbol in symbols:
        ours = klines.bars("binance", symbol, start_s, end_s)
        theirs = trades.bars("binance", symbol, start_s, end_s)
        assert (ours.kind, len(ours.bars)) == ("klines:1s", end_s - start_s)
        # Before the first trade there is no kline, and no price either way.
        silent = int(np.isnan(theirs.close).sum())
        assert [(span.first_open_us, span.count) for span in ours.missing] == [(BEGIN_US, silent)][: silent > 0]
        for column in COLUMNS:
            left, right = getattr(ours.bars, column), getattr(theirs, column)
            assert left.tobytes() == right.tobytes(), column


async def test_rest_gives_closed_candles_only_and_pages_of_a_thousand(venue: Venue) -> None:
    source = venue.klines()
    noon_us = BEGIN_US + DAY_US // 2
    rows = await source.rows("BTCUSDT", 1, noon_us, NOW_US)
    assert rows.open_time_us.tolist() == list(range(noon_us, noon_us + 1_000 * US_PER_S, US_PER_S))
    minutes = await source.candles("BTCUSDT", 60, noon_us + 1, NOW_US + DAY_US)
    assert minutes[0].open_time_us == noon_us + 60 * US_PER_S
    assert all(candle.closed for candle in minutes)
    last_us = minutes[-1].open_time_us
    assert last_us + 60 * US_PER_S + SETTLE_US <= venue.clock.now_us()
    assert len(minutes) == (last_us - noon_us) // (60 * US_PER_S)
    page = await source.rows("BTCUSDT", 60, noon_us, NOW_US)
    assert [column.tolist() for column in rows_of(minutes[:100]).columns()[:9]] == [
        column[1:101].tolist() for column in page.columns()[:9]
    ]
    assert await source.first_open_us("BTCUSDT", 60, 0) == BEGIN_US
    assert await source.last_open_us("BTCUSDT", 60, noon_us) == noon_us - 60 * US_PER_S
    assert await source.last_open_us("BTCUSDT", 60, BEGIN_US) is None
    assert await source.first_open_us("BTCUSDT", 60, NOW_US + DAY_US) is None


async def test_what_binance_does_not_have_is_refused(venue: Venue) -> None:
    source = venue.klines()
    with pytest.raises(Rejected, match=r"Invalid symbol\. \(-1121\)"):
        await source.rows("DOGEUSDT", 60, BEGIN_US, NOW_US)
    with pytest.raises(ConfigError, match="Binance has no candles of 7 s"):
        await source.rows("BTCUSDT", 7, BEGIN_US, NOW_US)
    with pytest.raises(ConfigError, match="choose from 1s, 1m, 3m"):
        source.day_file("BTCUSDT", 604_800, "2025-01-01")


def test_files_are_named_as_the_archive_names_them() -> None:
    source = BinanceKlines(None, None, "https://archive.test/", "https://rest.test")  # type: ignore[arg-type]
    month, day = source.month_file("BTCUSDT", 1, "2025-01"), source.day_file("ETHUSDT", 14_400, "2024-12-31")
    assert month.url == "https://archive.test/data/spot/monthly/klines/BTCUSDT/1s/BTCUSDT-1s-2025-01.zip"
    assert (month.end_us - month.start_us) // DAY_US == 31
    assert day.url == "https://archive.test/data/spot/daily/klines/ETHUSDT/4h/ETHUSDT-4h-2024-12-31.zip"
    assert (day.end_us - day.start_us, day.period) == (DAY_US, "2024-12-31")
