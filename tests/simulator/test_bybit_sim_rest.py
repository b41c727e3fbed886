"""The simulated Bybit's REST, asked over real sockets: what it tells, what it refuses, and never anything from after now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from binance_kit import NOW_US, small_source
from bybit_sim_kit import MINUTE_US, MINUTES, START_US, SYMBOLS, BybitVenue, made_bars, made_source, served, truth

from crypy.simulator.binance_source import Span
from crypy.simulator.bybit_limits import AddressRules
from crypy.simulator.bybit_wire import INTERVALS
from crypy.simulator.faults import Fault
from crypy.simulator.minutes_source import MinutesSource
from crypy.testing.clock import ManualClock

# In the 121st minute, between its second and its third trade.
MID_US = START_US + 120 * MINUTE_US + 30_000_000


@pytest.fixture
def source() -> MinutesSource:
    return made_source()


@pytest.fixture
async def venue(source: MinutesSource) -> AsyncIterator[BybitVenue]:
    async with served(source, ManualClock(MID_US)) as venue:
        yield venue


async def rows(venue: BybitVenue, **params: str | int) -> list[list[str]]:
    told = await venue.get("kline", **({"category": "spot", "symbol": "BTCUSDT", "interval": "1"} | params))
    assert (told["retCode"], told["retMsg"]) == (0, "OK")
    return told["result"]["list"]


def minutes(found: list[list[str]]) -> list[int]:
    return [(int(row[0]) * 1_000 - START_US) // MINUTE_US for row in found]


def values(row: list[str]) -> list[float]:
    return [float(text) for text in row[1:]]


async def test_the_time_is_the_clock_s(venue: BybitVenue) -> None:
    told = await venue.get("time")
    assert told["result"] == {"timeSecond": str(MID_US // 1_000_000), "timeNano": f"{MID_US}000"}
    assert told["time"] == MID_US // 1_000


@pytest.mark.parametrize(("word", "length_s"), INTERVALS.items())
async def test_closed_candles_are_the_source_s_at_every_length(
    venue: BybitVenue, source: MinutesSource, word: str, length_s: int
) -> None:
    found = await rows(venue, interval=word)
    closed = found[1:]
    expected = truth(source, "BTCUSDT", [int(row[0]) * 1_000 for row in closed], length_s * 1_000_000)
    assert [values(row) for row in closed] == [
        [one.open, one.high, one.low, one.close, one.volume, one.quote_volume] for one in expected
    ]
    assert int(found[0][0]) * 1_000 == MID_US - MID_US % (length_s * 1_000_000)


async def test_the_newest_comes_first_and_the_one_that_runs_holds_what_has_happened(
    venue: BybitVenue, source: MinutesSource
) -> None:
    found = await rows(venue, limit=3)
    assert minutes(found) == [120, 119, 118]
    batch = source.trades_between("BTCUSDT", START_US + 120 * MINUTE_US, MID_US + 1, MID_US)
    told = values(found[0])
    assert told[:4] == [
        price / 1e8 for price in (batch.price_e8[0], max(batch.price_e8), min(batch.price_e8), batch.price_e8[-1])
    ]
    assert told[4] == sum(batch.quantity_e8) / 1e8


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"limit": 2}, [120, 119]),
        ({}, range(120, -1, -1)),
        ({"start": START_US // 1_000, "limit": 2}, [1, 0]),
        ({"start": 9_999, "limit": 1}, [0]),
        ({"start": START_US // 1_000 + 59_999, "limit": 1}, [0]),
        ({"end": START_US // 1_000 + 300_000, "limit": 2}, [5, 4]),
        ({"start": START_US // 1_000 + 120_000, "end": START_US // 1_000 + 300_000}, [5, 4, 3, 2]),
        ({"start": START_US // 1_000 + 120_000, "end": START_US // 1_000 + 300_000, "limit": 2}, [5, 4]),
        ({"start": START_US // 1_000 + 7_140_000, "end": START_US // 1_000 + 9_000_000}, [120, 119]),
        ({"start": START_US // 1_000 + 9_000_000}, []),
        ({"end": START_US // 1_000 - 1}, []),
    ],
)
async def test_start_end_and_limit_choose_as_the_venue_does(
    venue: BybitVenue, params: dict[str, int], expected: Any
) -> None:
    assert minutes(await rows(venue, **params)) == list(expected)


async def test_no_answer_holds_anything_from_after_now(source: MinutesSource) -> None:
    clock = ManualClock(MID_US)
    async with served(source, clock) as venue:
        seen: set[str] = set()
        for _ in range(12):
            now_us = clock.now_us()
            (running, *_), known = await rows(venue), source.trades("BTCUSDT", "trades", Span(1), now_us)
            assert int(running[0]) * 1_000 <= now_us
            assert float(running[4]) == known.price_e8[-1] / 1e8
            trades = (await venue.get("recent-trade", category="spot", symbol="BTCUSDT"))["result"]["list"]
            assert all(int(trade["time"]) * 1_000 <= now_us for trade in trades)
            ticker = (await venue.get("tickers", category="spot", symbol="BTCUSDT"))["result"]["list"][0]
            assert float(ticker["lastPrice"]) == known.price_e8[-1] / 1e8
            seen.add(ticker["lastPrice"])
            await clock.advance(13)
        assert len(seen) > 6


async def test_a_minute_without_trades_stands_still_and_an_unknown_one_is_not_there() -> None:
    source = made_source(made_bars("BTCUSDT", quiet=(10,), unknown=(20, 21)))
    async with served(source, ManualClock(MID_US)) as venue:
        told = await rows(venue)
        found = dict(zip(minutes(told), told, strict=True))
        assert set(range(121)) - set(found) == {20, 21}
        assert found[10][1:] == [found[9][4]] * 4 + ["0", "0"]
        five = await rows(venue, interval="5")
    assert len(five) == 25


async def test_after_the_end_of_the_market_no_candles_are_made_up(source: MinutesSource) -> None:
    async with served(source, ManualClock(START_US + (MINUTES + 50) * MINUTE_US)) as venue:
        assert minutes(await rows(venue, limit=1_000))[0] == MINUTES - 1


async def test_instruments_name_the_grid_that_prices_lie_on(venue: BybitVenue) -> None:
    told = (await venue.get("instruments-info", category="spot"))["result"]
    assert [row["symbol"] for row in told["list"]] == list(SYMBOLS)
    row = told["list"][0]
    assert (row["baseCoin"], row["quoteCoin"], row["status"]) == ("BTC", "USDT", "Trading")
    assert row["priceFilter"] == {"tickSize": "0.01"}
    assert row["lotSizeFilter"]["basePrecision"] == "0.00001"
    linear = (await venue.get("instruments-info", category="linear", symbol="ETHUSDT"))["result"]["list"]
    assert [(row["symbol"], row["contractType"], row["settleCoin"]) for row in linear] == [
        ("ETHUSDT", "LinearPerpetual", "USDT")
    ]
    assert (await venue.get("instruments-info", category="option"))["result"]["list"] == []


async def test_a_book_is_told_where_the_market_has_one(venue: BybitVenue) -> None:
    assert (await venue.get("orderbook", category="spot", symbol="BTCUSDT"))["result"]["b"] == []
    async with served(small_source(), ManualClock(NOW_US)) as made:
        told = (await made.get("orderbook", category="spot", symbol="BTCUSDT", limit=25))["result"]
        assert len(told["b"]) == len(told["a"]) == 25
        assert float(told["b"][0][0]) < float(told["a"][0][0])
        trades = (await made.get("recent-trade", category="linear", symbol="BTCUSDT", limit=80))["result"]["list"]
    assert [int(trade["seq"]) for trade in trades] == list(range(int(trades[0]["seq"]), int(trades[0]["seq"]) - 80, -1))


@pytest.mark.parametrize(
    ("path", "params", "words"),
    [
        ("kline", {"symbol": "NOPEUSDT", "interval": "1"}, "Not supported symbols"),
        ("kline", {"symbol": "BTCUSDT", "interval": "2"}, "Invalid period!"),
        ("kline", {"symbol": "BTCUSDT", "interval": "M"}, "Invalid period!"),
        ("kline", {"interval": "1"}, "params error: Symbol Is Invalid"),
        ("kline", {"symbol": "BTCUSDT", "interval": "1", "category": "margin"}, "params error: Category is invalid"),
        (
            "kline",
            {"symbol": "BTCUSDT", "interval": "1", "limit": 1_001},
            "params error: limit is 1001, it must be from 1 to 1000",
        ),
        ("kline", {"symbol": "BTCUSDT", "interval": "1", "limit": "x"}, "params error: limit is invalid"),
        ("kline", {"symbol": "BTCUSDT", "interval": "1", "start": 2, "end": 1}, "params error: start is after end"),
        ("tickers", {}, "params error: Category is invalid"),
        (
            "recent-trade",
            {"category": "spot", "symbol": "BTCUSDT", "limit": 61},
            "params error: limit is 61, it must be from 1 to 60",
        ),
        ("orderbook", {"category": "spot"}, "params error: Symbol Is Invalid"),
    ],
)
async def test_bad_parameters_are_answered_with_a_code_and_http_200(
    venue: BybitVenue, path: str, params: dict[str, Any], words: str
) -> None:
    told = await venue.get(path, **params)
    assert (told["retCode"], told["retMsg"], told["result"]) == (10_001, words, {})


async def test_klines_are_linear_where_no_category_is_named(venue: BybitVenue) -> None:
    told = await venue.get("kline", symbol="BTCUSDT", interval="1", limit=1)
    assert told["result"]["category"] == "linear"


async def test_who_asks_too_often_is_refused_until_the_ban_is_over(source: MinutesSource) -> None:
    clock = ManualClock(MID_US)
    async with served(source, clock, rules=AddressRules(most=5, ban_s=60.0)) as venue:
        statuses = [(await venue.status("time"))[0] for _ in range(5)]
        await clock.advance(5.1)
        statuses += [(await venue.status("time"))[0] for _ in range(5)]
        assert set(statuses) == {200}
        assert await venue.status("time") == (403, "access too frequent")
        await clock.advance(58)
        assert (await venue.status("time"))[0] == 403
        await clock.advance(2)
        assert (await venue.status("time"))[0] == 200


async def test_unknown_paths_are_not_there(venue: BybitVenue) -> None:
    assert (await venue.status("no-such"))[0] == 404


async def test_faults_strike_requests(venue: BybitVenue) -> None:
    venue.faults.add(Fault(target="bybit.rest", kind="status", status=502, count=1))
    assert (await venue.status("time"))[0] == 502
    venue.faults.add(Fault(target="bybit.rest", kind="status", status=403, count=1))
    assert await venue.status("time") == (403, "access too frequent")
    venue.faults.add(Fault(target="bybit.rest", kind="absent", match="kline.1.BTCUSDT", count=2))
    assert minutes(await rows(venue, limit=4)) == [118, 117]
    venue.faults.add(Fault(target="bybit.rest", kind="delay", delay_s=7.0, count=1))
    waiting = asyncio.create_task(venue.status("time"))
    while venue.faults.rows():  # noqa: ASYNC110  until the request has come
        await asyncio.sleep(0.001)
    assert not waiting.done()
    assert isinstance(venue.clock, ManualClock)
    await venue.clock.advance(7.0)
    assert (await waiting)[0] == 200
