"""The simulated REST API: the venue's shapes, rules, weights and errors; nothing from after now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import pytest
from binance_kit import DAY_US, FIRST, NOW_US, clock_in_the_third_day, small_market, small_source

from crypy.domain.events import format_e8, parse_e8
from crypy.simulator.binance_limits import WeightRules
from crypy.simulator.binance_rest import TARGET, RestServer
from crypy.simulator.faults import Fault, Faults
from crypy.simulator.folded_candles import quote_e8
from crypy.testing.clock import ManualClock


class Rest:
    """A running REST server and a client for it."""

    def __init__(self, clock: ManualClock, faults: Faults, session: aiohttp.ClientSession, port: int) -> None:
        self.clock, self.faults, self._session, self._port = clock, faults, session, port

    async def ask(self, path: str, **headers: str) -> tuple[int, Any, Any]:
        url = f"http://127.0.0.1:{self._port}/api/v3/{path}"
        async with self._session.get(url, headers=headers) as response:
            return response.status, await response.json(content_type=None), response.headers

    async def get(self, path: str, **headers: str) -> Any:
        status, body, _ = await self.ask(path, **headers)
        assert status == 200, body
        return body


@pytest.fixture
async def rest() -> AsyncIterator[Rest]:
    clock, faults = clock_in_the_third_day(), Faults(1, (TARGET,))
    server = RestServer(small_source(), clock, faults, WeightRules(limit=200, patience=3, ban_s=120))
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        yield Rest(clock, faults, session, port)
    await server.close()


async def test_time_is_the_clock_s_in_either_unit(rest: Rest) -> None:
    assert await rest.get("ping") == {}
    assert await rest.get("time") == {"serverTime": NOW_US // 1_000}
    assert await rest.get("time", **{"X-MBX-TIME-UNIT": "MICROSECOND"}) == {"serverTime": NOW_US}
    assert await rest.get("time", **{"X-MBX-TIME-UNIT": "microsecond"}) == {"serverTime": NOW_US}
    status, body, _ = await rest.ask("time", **{"X-MBX-TIME-UNIT": "HOUR"})
    assert (status, body["code"]) == (400, -1194)


async def test_exchange_info_tells_the_grid(rest: Rest) -> None:
    info = await rest.get("exchangeInfo?symbols=%5B%22BTCUSDT%22%5D")
    (symbol,) = info["symbols"]
    filters = {row["filterType"]: row for row in symbol["filters"]}
    assert (symbol["baseAsset"], symbol["quoteAsset"], symbol["status"]) == ("BTC", "USDT", "TRADING")
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert info["rateLimits"][0]["limit"] == 200
    assert len((await rest.get("exchangeInfo"))["symbols"]) == 2


async def test_aggregates_by_id_have_every_field(rest: Rest) -> None:
    batch = small_market().trades("BTCUSDT", FIRST * DAY_US, FIRST * DAY_US + 3_600_000_000)
    rows = await rest.get("aggTrades?symbol=BTCUSDT&fromId=3400000011&limit=3", **{"X-MBX-TIME-UNIT": "MICROSECOND"})
    assert rows == [
        {
            "a": int(batch.id[k]),
            "p": format_e8(int(batch.price_e8[k])),
            "q": format_e8(int(batch.quantity_e8[k])),
            "f": int(batch.first_id[k]),
            "l": int(batch.last_id[k]),
            "T": int(batch.time_us[k]),
            "m": bool(batch.buyer_is_maker[k]),
            "M": True,
        }
        for k in (10, 11, 12)
    ]


async def test_without_bounds_the_newest_come_and_none_from_after_now(rest: Rest) -> None:
    rows = await rest.get("aggTrades?symbol=BTCUSDT&limit=1000")
    assert len(rows) == 1_000
    assert [row["a"] for row in rows] == list(range(rows[0]["a"], rows[0]["a"] + 1_000))
    assert NOW_US // 1_000 - 60_000 < rows[-1]["T"] <= NOW_US // 1_000
    beyond = await rest.get(f"aggTrades?symbol=BTCUSDT&fromId={rows[-1]['a'] + 1}")
    assert beyond == []
    await rest.clock.advance(60)
    later = await rest.get(f"aggTrades?symbol=BTCUSDT&fromId={rows[-1]['a'] + 1}")
    assert later[0]["a"] == rows[-1]["a"] + 1


async def test_bounds_of_time_are_inclusive(rest: Rest) -> None:
    batch = small_market().trades("BTCUSDT", (FIRST + 1) * DAY_US, (FIRST + 1) * DAY_US + 3_600_000_000)
    start_us, end_us = int(batch.time_us[5]), int(batch.time_us[9])
    rows = await rest.get(f"aggTrades?symbol=BTCUSDT&startTime={start_us}&endTime={end_us}")
    assert [row["a"] for row in rows] == batch.id[5:10].tolist()
    in_ms = await rest.get(f"aggTrades?symbol=BTCUSDT&startTime={start_us // 1000}&endTime={end_us // 1000}")
    expected = batch.id[(batch.time_us // 1000 >= start_us // 1000) & (batch.time_us // 1000 <= end_us // 1000)]
    assert [row["a"] for row in in_ms] == expected.tolist()
    newest = await rest.get(f"aggTrades?symbol=BTCUSDT&endTime={end_us}&limit=3")
    assert [row["a"] for row in newest] == batch.id[7:10].tolist()


async def test_single_trades_by_id_and_newest(rest: Rest) -> None:
    rows = await rest.get("historicalTrades?symbol=XRPUSDT&fromId=600000101&limit=50")
    assert [row["id"] for row in rows] == list(range(600_000_101, 600_000_151))
    row = rows[0]
    assert parse_e8(row["quoteQty"]) == parse_e8(row["price"]) * parse_e8(row["qty"]) // 10**8
    assert set(row) == {"id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch"}
    newest = await rest.get("trades?symbol=XRPUSDT&limit=5")
    assert [r["id"] for r in newest] == list(range(newest[0]["id"], newest[0]["id"] + 5))


@pytest.mark.parametrize(("interval", "length_s"), [("1s", 1), ("1m", 60), ("15m", 900), ("1h", 3_600), ("1d", 86_400)])
async def test_klines_are_those_of_the_trades(rest: Rest, interval: str, length_s: int) -> None:
    rows = await rest.get(f"klines?symbol=BTCUSDT&interval={interval}&limit=3")
    assert len(rows) == 3
    market = small_market()
    close = None
    for row in rows:
        open_us, close_ms = row[0] * 1_000, row[6]
        assert close_ms == row[0] + length_s * 1_000 - 1
        batch = market.trades("BTCUSDT", open_us, min(open_us + length_s * 1_000_000, NOW_US + 1))
        price = batch.price_e8
        if len(batch) == 0:
            assert row[8] == 0
            assert row[1] == row[2] == row[3] == row[4]
            assert close is None or row[4] == close
        else:
            ohlc = (price[0], price.max(), price.min(), price[-1])
            assert tuple(row[1:5]) == tuple(format_e8(int(value)) for value in ohlc)
            assert row[5] == format_e8(int(batch.quantity_e8.sum()))
            exact = sum(p * q for p, q in zip(price.tolist(), batch.quantity_e8.tolist(), strict=True)) // 10**8
            assert row[7] == format_e8(exact)
            assert row[8] == int((batch.last_id - batch.first_id + 1).sum())
            assert row[9] == format_e8(int(batch.quantity_e8[~batch.buyer_is_maker].sum()))
        close = row[4]


async def test_klines_of_a_span_follow_its_bounds(rest: Rest) -> None:
    start_ms = (FIRST * DAY_US + 3_600_000_000) // 1_000
    rows = await rest.get(f"klines?symbol=XRPUSDT&interval=5m&startTime={start_ms + 1}&endTime={start_ms + 1_800_000}")
    assert [row[0] for row in rows] == [start_ms + 300_000 * k for k in range(1, 7)]
    before = await rest.get("klines?symbol=XRPUSDT&interval=1h&startTime=0&limit=2")
    assert before[0][0] == FIRST * DAY_US // 1_000


def test_quote_quantities_are_exact_where_64_bits_end() -> None:
    price, quantity = 12_345_678_987_654, 987_654_321_987
    assert quote_e8(np.array([price]), np.array([quantity]))[0] == price * quantity // 10**8


async def test_depth_is_ordered_and_agrees_with_the_book_ticker(rest: Rest) -> None:
    depth = await rest.get("depth?symbol=BTCUSDT&limit=20")
    bids, asks = ([float(price) for price, _ in depth[side]] for side in ("bids", "asks"))
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert len(bids) == len(asks) == 20
    assert bids[0] < asks[0]
    ticker = await rest.get("ticker/bookTicker?symbol=BTCUSDT")
    assert [ticker["bidPrice"], ticker["bidQty"]] == depth["bids"][0]
    assert [ticker["askPrice"], ticker["askQty"]] == depth["asks"][0]
    assert len(await rest.get("ticker/bookTicker")) == 2


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("aggTrades", -1102),
        ("aggTrades?symbol=DOGEUSDT", -1121),
        ("aggTrades?symbol=BTCUSDT&limit=x", -1100),
        ("aggTrades?symbol=BTCUSDT&limit=0", -1100),
        ("aggTrades?symbol=BTCUSDT&fromId=1&startTime=1", -1128),
        ("aggTrades?symbol=BTCUSDT&startTime=2&endTime=1", -1127),
        ("klines?symbol=BTCUSDT", -1102),
        ("klines?symbol=BTCUSDT&interval=1M5", -1120),
        ("klines?symbol=BTCUSDT&interval=1h&timeZone=%2B08:00", -1130),
        ("exchangeInfo?symbol=DOGEUSDT", -1121),
        ("exchangeInfo?symbols=DOGEUSDT", -1100),
        ("depth?symbol=BTCUSDT&limit=-1", -1100),
    ],
)
async def test_mistakes_have_the_venue_s_codes(rest: Rest, path: str, code: int) -> None:
    status, body, _ = await rest.ask(path)
    assert (status, body["code"]) == (400, code)
    assert body["msg"]


async def test_weights_add_up_within_a_minute(rest: Rest) -> None:
    used = []
    for path in (
        "ping",
        "depth?symbol=BTCUSDT&limit=100",
        "depth?symbol=BTCUSDT&limit=500",
        "aggTrades?symbol=BTCUSDT",
    ):
        _, _, headers = await rest.ask(path)
        used.append(int(headers["X-MBX-USED-WEIGHT-1M"]))
    assert used == [1, 6, 31, 35]
    await rest.clock.advance(60)
    assert (await rest.ask("ping"))[2]["X-MBX-USED-WEIGHT-1M"] == "1"


async def test_who_spends_too_much_waits_and_who_goes_on_is_banned(rest: Rest) -> None:
    await rest.clock.advance(10)
    for _ in range(8):
        await rest.get("historicalTrades?symbol=BTCUSDT&limit=1")
    status, body, headers = await rest.ask("historicalTrades?symbol=BTCUSDT&limit=1")
    assert (status, body["code"], headers["Retry-After"]) == (429, -1003, "50")
    for _ in range(3):
        status, body, headers = await rest.ask("ping")
    assert (status, body["code"], headers["Retry-After"]) == (418, -1003, "120")
    await rest.clock.advance(60)
    assert (await rest.ask("ping"))[0] == 418
    await rest.clock.advance(60)
    assert (await rest.ask("ping"))[0] == 200


@pytest.mark.parametrize("status", [418, 429, 500, 503])
async def test_a_status_can_be_provoked_with_its_wait(rest: Rest, status: int) -> None:
    rest.faults.add(Fault(target=TARGET, kind="status", status=status, retry_after_s=7, match="time", count=1))
    got, body, headers = await rest.ask("time")
    assert (got, headers["Retry-After"], body["code"]) == (status, "7", -1003 if status < 500 else -1000)
    assert (await rest.ask("time"))[0] == 200


async def test_a_late_answer_waits_by_the_clock(rest: Rest) -> None:
    import asyncio

    number = rest.faults.add(Fault(target=TARGET, kind="delay", delay_s=30, count=1))
    answer = asyncio.create_task(rest.get("ping"))
    while rest.faults.hits(number) == 0:  # noqa: ASYNC110  the server gives no sign but its count
        await asyncio.sleep(0)
    assert not answer.done()
    await rest.clock.advance(30)
    assert await answer == {}


async def test_rubbish_and_a_torn_answer(rest: Rest) -> None:
    rest.faults.add(Fault(target=TARGET, kind="rubbish", count=1))
    with pytest.raises(ValueError):  # noqa: PT011
        await rest.ask("time")
    rest.faults.add(Fault(target=TARGET, kind="truncate", count=1))
    with pytest.raises(aiohttp.ClientError):
        await rest.ask("time")
