"""Candles by REST alone into the store: resumable, confirmed ones only, and gaps named."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from kline_kit import files_of, make_candles, same

from crypy.domain.errors import ConfigError, DataError, Unavailable
from crypy.domain.events import Candle
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata.candle_rows import CandleRows
from crypy.marketdata.candle_source import CandleSource
from crypy.marketdata.candle_store import CandleStore
from crypy.marketdata.candle_sync import sync_candles
from crypy.marketdata.sync_report import SyncReport
from crypy.marketdata.trade_locks import only_one
from crypy.testing.clock import ManualClock
from crypy.venues.binance.klines import BinanceKlines
from crypy.venues.bitmex.history import BitmexCandles
from crypy.venues.bybit.history import BybitCandles
from crypy.venues.kraken.history import KrakenCandles

BEGIN_US = parse_time_us("2025-01-20")
MINUTE_US = 60 * US_PER_S
EVER = (0, 2**62)
ROWS = make_candles(25_000, BEGIN_US, 60)
NOW_US = int(ROWS.open_time_us[-1]) + MINUTE_US + 30 * US_PER_S


class FakeSource:
    """A venue that gives its candles, the newest `newest_only` or all; `lacks` are open times that it does not have."""

    venue = "kraken"
    intervals_s: tuple[int, ...] = (60, 300)

    def __init__(self, newest_only: int | None = None, rows: CandleRows = ROWS) -> None:
        self.asked: list[tuple[int, int]] = []
        self.lacks: set[int] = set()
        self.fails_after: int | None = None
        self._candles = rows.candles("XBTUSD", 60)[-newest_only if newest_only else 0 :]
        self._venue_us = NOW_US

    async def candles(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> tuple[Candle, ...]:
        assert (symbol, interval_s) == ("XBTUSD", 60)
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise Unavailable("kraken answered 503; gave up after 6 tries")
        self.asked.append((start_us, end_us))
        return tuple(
            candle
            for candle in self._candles
            if start_us <= candle.open_time_us < end_us
            and candle.close_time_us <= self._venue_us
            and candle.open_time_us not in self.lacks
        )


async def filled(
    root: Path,
    source: FakeSource,
    start_us: int = BEGIN_US,
    end_us: int | None = None,
    newest_only: int | None = None,
    now_us: int = NOW_US,
) -> SyncReport:
    clock = ManualClock(now_us)
    return await sync_candles(source, CandleStore(root), clock, "XBTUSD", 60, start_us, end_us, newest_only)


def stored(root: Path) -> CandleRows:
    return CandleStore(root).candles("kraken", "XBTUSD", 60, *EVER)


def told(rows: CandleRows) -> CandleRows:
    """What a venue's candle events tell of rows: not how much of the quote volume was bought."""
    return CandleRows(*rows.columns()[:-1], rows.taker_buy_quote_volume_e8 * 0)


async def test_all_that_is_closed_is_stored_and_not_asked_for_again(tmp_path: Path) -> None:
    source = FakeSource()
    report = await filled(tmp_path, source)
    assert (report.problems, report.unfinished, report.is_whole) == ((), (), True)
    assert same(stored(tmp_path), told(ROWS))
    assert [(end - start) // MINUTE_US for start, end in source.asked] == [10_000, 10_000, 5_000]
    source.asked.clear()
    again = await filled(tmp_path, source)
    assert (again.is_whole, source.asked) == (True, [])
    assert again.to_json()["kind"] == "klines:1m"
    assert again.to_json()["symbols"]["XBTUSD"]["rows"] == 25_000


async def test_a_sync_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    source = FakeSource()
    source.fails_after = 1
    report = await filled(tmp_path, source)
    assert report.unfinished == ("XBTUSD",)
    assert "XBTUSD: kraken answered 503; gave up after 6 tries" in report.problems
    assert same(stored(tmp_path), told(ROWS[:10_000]))
    source.fails_after = None
    assert (await filled(tmp_path, source)).is_whole
    assert same(stored(tmp_path), told(ROWS))
    assert source.asked[1][0] == ROWS.open_time_us[10_000]


async def test_the_candle_that_runs_now_is_neither_stored_nor_missed(tmp_path: Path) -> None:
    source = FakeSource()
    source._venue_us = NOW_US - 2 * MINUTE_US  # the venue's clock is behind ours
    assert (await filled(tmp_path, source)).is_whole
    assert len(stored(tmp_path)) == 24_998
    source._venue_us = NOW_US
    assert (await filled(tmp_path, source, now_us=NOW_US + 20 * US_PER_S)).is_whole
    assert same(stored(tmp_path), told(ROWS))


async def test_a_venue_that_gives_its_newest_only_is_asked_for_no_more(tmp_path: Path) -> None:
    source = FakeSource(newest_only=720)
    report = await filled(tmp_path, source, newest_only=720)
    assert [(end - start) // MINUTE_US for start, end in source.asked] == [720]
    assert same(stored(tmp_path), told(ROWS[-720:]))
    assert report.unfinished == ("XBTUSD",)
    [problem] = report.problems
    assert problem == (
        "XBTUSD: kraken gives only its newest 720 candles of 1m; of those from 2025-01-20T00:00:00Z to 2025-02-05T20:40:00Z some are "
        "not stored and must be made from trades"
    )


async def test_a_gap_that_has_become_too_old_for_such_a_venue_stays_a_named_gap(tmp_path: Path) -> None:
    CandleStore(tmp_path).append("kraken", "XBTUSD", 60, told(ROWS[20_000:22_000]))
    report = await filled(tmp_path, FakeSource(newest_only=720), int(ROWS.open_time_us[20_000]), newest_only=720)
    assert not report.is_whole
    [gap] = report.coverage["XBTUSD"].gaps
    assert gap.missing == 25_000 - 720 - 22_000
    assert any("gives only its newest 720" in problem for problem in report.problems)
    assert any("2,280 candles of 1m missing" in problem for problem in report.problems)


async def test_what_the_venue_does_not_have_is_a_halt_and_asked_for_again_while_it_is_young(tmp_path: Path) -> None:
    source = FakeSource()
    old, young = set(ROWS.open_time_us[500:505].tolist()), set(ROWS.open_time_us[24_000:24_003].tolist())
    source.lacks = old | young
    report = await filled(tmp_path, source)
    assert report.is_whole
    assert [span.count for span in CandleStore(tmp_path).missing("kraken", "XBTUSD", 60)] == [5, 3]
    assert all("kraken has none" in problem for problem in report.problems)
    source.asked.clear()
    source.lacks = set()
    assert (await filled(tmp_path, source)).is_whole
    assert source.asked == [(min(young), max(young) + MINUTE_US)]
    assert [span.count for span in CandleStore(tmp_path).missing("kraken", "XBTUSD", 60)] == [5]


async def test_the_time_before_a_listing_is_no_gap(tmp_path: Path) -> None:
    source = FakeSource()
    report = await filled(tmp_path, source, BEGIN_US - 2_000 * MINUTE_US)
    assert (report.is_whole, report.problems) == (True, ())


async def test_start_and_end_are_kept(tmp_path: Path) -> None:
    source = FakeSource()
    report = await filled(tmp_path, source, BEGIN_US + 1, BEGIN_US + 5 * MINUTE_US + 1)
    assert report.is_whole
    assert same(stored(tmp_path), told(ROWS[1:6]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda candle: msgspec.structs.replace(candle, closed=False), "is still open"),
        (lambda candle: msgspec.structs.replace(candle, high=candle.low / 2), "between low and high"),
        (lambda candle: msgspec.structs.replace(candle, close=candle.close / 3), "at most eight decimals"),
        (lambda candle: msgspec.structs.replace(candle, open_time_us=candle.open_time_us + 1), "can open"),
    ],
)
async def test_what_is_no_closed_candle_is_told_and_not_stored(
    tmp_path: Path, change: Callable[[Candle], Candle], words: str
) -> None:
    source = FakeSource()
    candles = list(source._candles)
    candles[3] = change(candles[3])
    source._candles = tuple(candles)
    report = await filled(tmp_path, source)
    assert report.unfinished == ("XBTUSD",)
    assert words in report.problems[0]
    assert files_of(tmp_path) == {}


async def test_two_tellings_of_one_candle_are_told(tmp_path: Path) -> None:
    part = told(ROWS[10:20])
    CandleStore(tmp_path).append("kraken", "XBTUSD", 60, replace(part, count=part.count + (np.arange(10) == 3)))
    source = FakeSource()
    assert (await filled(tmp_path, source)).is_whole  # what is stored is not asked for
    with pytest.raises(DataError, match="told in two ways"):
        CandleStore(tmp_path).append("kraken", "XBTUSD", 60, part)


async def test_a_mistake_of_the_asker_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    source, store, clock = FakeSource(), CandleStore(tmp_path), ManualClock(NOW_US)
    with pytest.raises(ConfigError, match="kraken has no candles of 15m; choose from 1m, 5m"):
        await sync_candles(source, store, clock, "XBTUSD", 900, BEGIN_US)
    with pytest.raises(ConfigError, match="not before now"):
        await sync_candles(source, store, clock, "XBTUSD", 60, NOW_US)
    with pytest.raises(ConfigError, match="'BTC/USD' cannot name stored candles"):
        await sync_candles(source, store, clock, "BTC/USD", 60, BEGIN_US)
    with only_one(tmp_path / ".sync-candles.lock", "x"), pytest.raises(ConfigError, match="another sync of candles"):
        await filled(tmp_path, source)
    assert source.asked == []


@pytest.mark.parametrize("venue", [BinanceKlines, BybitCandles, KrakenCandles, BitmexCandles])
def test_the_venues_candles_are_sources(venue: type[CandleSource]) -> None:
    wanted = list(inspect.signature(CandleSource.candles).parameters)
    assert list(inspect.signature(venue.candles).parameters) == wanted
    assert inspect.iscoroutinefunction(venue.candles)
    assert all(86_400 % interval_s == 0 for interval_s in venue.intervals_s)  # type: ignore[attr-defined]
