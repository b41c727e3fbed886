"""Kraken's past: the recorded answer, ranges, refusals, and manners under load. In memory and in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from kraken_wire import rest_trades, trade_us

from crypy.domain.errors import ConfigError, CrypyError, Rejected, Unavailable, Unreadable
from crypy.domain.ports import HttpResponse
from crypy.domain.times import US_PER_S
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.candle_keeping import PastCandles
from crypy.venues.kraken.history import KrakenCandles, KrakenTrades

START_US = 1_762_820_230 * US_PER_S
Answer = Callable[[Mapping[str, str | int]], HttpResponse]


def answer(body: object, status: int = 200, **headers: str) -> HttpResponse:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, text)


class Rest:
    """A transport that answers from a list, the last one for ever, and remembers questions with their time."""

    def __init__(self, clock: JumpingClock, *answers: HttpResponse | Exception | Answer) -> None:
        self.clock = clock
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, str | int]]] = []
        self.at_s: list[float] = []

    async def request(
        self, method: str, url: str, params: Mapping[str, str | int] | None = None, **_: Any
    ) -> HttpResponse:
        assert method == "GET"
        self.asked.append((url, dict(params or {})))
        self.at_s.append((self.clock.now_us() - START_US) / US_PER_S)
        told = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(told, Exception):
            raise told
        return told if isinstance(told, HttpResponse) else told(dict(params or {}))


def in_virtual_time(main: Callable[[JumpingClock], Awaitable[Any]]) -> Any:
    async def run(clock: JumpingClock) -> Any:
        return await main(clock)

    return run_jumping(run, START_US)


def ask(
    *answers: HttpResponse | Exception,
    symbol: str = "BTC/USDT",
    interval_s: int = 60,
    start_us: int = 0,
    end_us: int = 2**62,
) -> tuple[Any, Rest]:
    """The candles, or the error, and the wire."""
    rests: list[Rest] = []

    async def main(clock: JumpingClock) -> object:
        rests.append(Rest(clock, *answers))
        source = KrakenCandles(rests[0], clock, "http://kraken.test/")  # type: ignore[arg-type]
        try:
            return await source.candles(symbol, interval_s, start_us, end_us)
        except CrypyError as error:
            return error

    return in_virtual_time(main), rests[0]


def rows(*minutes: int) -> HttpResponse:
    """Candles that open at those minutes since 1970; the last one is running."""
    told = [[minute * 60, "100.0", "101.0", "99.0", "100.5", "100.2", "0.5", 3] for minute in minutes]
    return answer({"error": [], "result": {"XXBTZUSD": told, "last": minutes[-2] * 60 if len(minutes) > 1 else 0}})


def test_the_recorded_answer_gives_its_720_closed_candles(shared_data: Path) -> None:
    body = (shared_data / "payloads" / "kraken" / "nautilus_crates" / "http_ohlc.json").read_bytes()
    candles, rest = ask(answer(body))
    assert len(candles) == 720
    assert rest.asked == [("http://kraken.test/0/public/OHLC", {"pair": "XBTUSDT", "interval": 1})]
    assert all(candle.closed and candle.symbol == "BTC/USDT" for candle in candles)
    opens = [candle.open_time_us for candle in candles]
    assert opens == list(range(1_762_777_020 * US_PER_S, 1_762_820_220 * US_PER_S, 60 * US_PER_S))
    busy = candles[3]
    assert (busy.open, busy.high, busy.low, busy.close) == (106038.1, 106044.3, 106038.1, 106040.1)
    assert (busy.volume, busy.count, busy.quote_volume) == (0.08317981, 3, 0.08317981 * 106039.6)
    assert (candles[0].count, candles[0].volume, candles[0].quote_volume) == (0, 0.0, 0.0)


def test_a_range_is_cut_to_its_opens() -> None:
    minute_us = 60 * US_PER_S
    candles, _ = ask(rows(100, 101, 102, 103, 104), start_us=101 * minute_us, end_us=103 * minute_us + 1)
    assert [candle.open_time_us // minute_us for candle in candles] == [101, 102, 103]
    candles, rest = ask(rows(100, 101), start_us=5, end_us=5)
    assert (candles, rest.asked) == ((), [])


def test_the_running_candle_is_never_told() -> None:
    candles, _ = ask(rows(100))
    assert candles == ()
    # A row that the venue itself does not count as closed yet, though another follows.
    told = json.loads(rows(100, 101, 102).body)
    told["result"]["last"] = 6_000
    candles, _ = ask(answer(told))
    assert [candle.open_time_us for candle in candles] == [6_000 * US_PER_S]
    # And the last row, though the venue counts it.
    told["result"]["last"] = 6_120
    candles, _ = ask(answer(told))
    assert [candle.open_time_us for candle in candles] == [6_000 * US_PER_S, 6_060 * US_PER_S]


def test_a_length_that_the_venue_does_not_have_is_refused() -> None:
    error, rest = ask(rows(100), interval_s=120)
    assert isinstance(error, ConfigError)
    assert "no candles of 120 s; choose from 60, 300" in str(error)
    assert rest.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        {"error": []},
        {"error": [], "result": {"last": 1}},
        {"error": [], "result": {"A": [], "B": [], "last": 1}},
        {"error": [], "result": {"A": []}},
        {"error": [], "result": {"A": [[60, "1", "1", "1", "1", "1", "1"]], "last": 60}},
        {"error": [], "result": {"A": [[61, "1", "1", "1", "1", "1", "1", 1]] * 2, "last": 99}},
        {"error": [], "result": {"A": [[60, "1", "1", "1", "1", "1", "1", 1]] * 3, "last": 99}},
        {"error": [], "result": {"A": [[60, "nan", "1", "1", "1", "1", "1", 1]] * 2, "last": 99}},
        {"error": [], "result": {"A": [[60, "2", "1", "1", "1", "1", "1", 1]] * 2, "last": 99}},
        {"error": [], "result": {"A": [[60, "1", "inf", "1", "1", "1", "1", 1]] * 2, "last": 99}},
        {"error": [], "result": {"A": [[60, "1", "1", "1", "x", "1", "1", 1]] * 2, "last": 99}},
    ],
)
def test_an_answer_that_cannot_be_is_refused(body: object) -> None:
    error, _ = ask(answer(body))
    assert isinstance(error, Unreadable), error


def test_a_refusal_comes_out_at_once_with_the_venues_code() -> None:
    error, rest = ask(answer({"error": ["EQuery:Unknown asset pair"]}), symbol="NO/PAIR")
    assert isinstance(error, Rejected)
    assert (error.code, len(rest.asked)) == ("EQuery:Unknown asset pair", 1)
    error, _ = ask(answer(b"blocked", 403))
    assert isinstance(error, Rejected)
    assert error.code == "403"


def test_a_warning_is_no_refusal() -> None:
    told = json.loads(rows(100, 101).body) | {"error": ["WGeneral:Deprecated"]}
    candles, _ = ask(answer(told))
    assert len(candles) == 1


def test_a_busy_venue_is_asked_again_with_growing_waits() -> None:
    candles, rest = ask(
        answer({"error": ["EAPI:Rate limit exceeded"]}),
        answer(b"", 520),
        Unavailable("the road failed"),
        answer({"error": ["EGeneral:Too many requests"]}),
        rows(100, 101),
    )
    assert len(candles) == 1
    assert rest.at_s == pytest.approx([0, 1, 3, 7, 15], abs=0.01)


def test_the_venues_own_wait_is_kept() -> None:
    _, rest = ask(answer(b"", 429, retry_after="12.5"), rows(100, 101))
    assert rest.at_s == pytest.approx([0, 12.5], abs=0.01)
    _, rest = ask(answer({"error": [f"EService:Throttled:{START_US // US_PER_S + 40}"]}), rows(100, 101))
    assert rest.at_s == pytest.approx([0, 40], abs=0.01)


def test_patience_ends_and_a_long_ban_is_told_instead_of_waited_for() -> None:
    error, rest = ask(answer({"error": ["EService:Busy"]}))
    assert isinstance(error, Unavailable)
    assert (str(error), len(rest.asked)) == ("Kraken: EService:Busy; gave up after 6 tries", 6)
    error, rest = ask(answer(b"", 429, retry_after="3600"))
    assert isinstance(error, Unavailable)
    assert (error.retry_after_s, len(rest.asked)) == (3600.0, 1)


def test_questions_of_many_keep_the_venues_pace() -> None:
    async def main(clock: JumpingClock) -> list[float]:
        rest = Rest(clock, rows(100, 101))
        source = KrakenCandles(rest, clock, "http://kraken.test")  # type: ignore[arg-type]
        await asyncio.gather(*(source.candles(f"A{k}/USD", 60, 0, 2**62) for k in range(4)))
        return rest.at_s

    assert in_virtual_time(main) == pytest.approx([0, 1, 2, 3], abs=0.01)


class Tape:
    """`/0/public/Trades` with ids up to `newest`, asked by nanosecond."""

    def __init__(self, newest: int) -> None:
        self.newest = newest

    def __call__(self, params: Mapping[str, str | int]) -> HttpResponse:
        since_ns = int(params["since"])
        first = next((id_ for id_ in range(1, self.newest + 1) if trade_us(id_) * 1_000 > since_ns), self.newest + 1)
        return answer(rest_trades(first, int(params["count"]), self.newest))


def test_trades_come_by_pages_once_each_and_exactly() -> None:
    async def main(clock: JumpingClock) -> list[list[int]]:
        rest = Rest(clock, Tape(2_345))
        source = KrakenTrades(rest, clock, "http://kraken.test")  # type: ignore[arg-type]
        return [[trade.id for trade in page] async for page in source.pages("BTC/USD", trade_us(5), trade_us(2_300))]

    pages = in_virtual_time(main)
    assert [len(page) for page in pages] == [1_000, 1_000, 295]
    assert [id_ for page in pages for id_ in page] == list(range(5, 2_300))


def test_a_trade_of_rest_is_the_streams_trade() -> None:
    async def main(clock: JumpingClock) -> Any:
        row = ["105433.60000", "0.00027625", 1762795433.9717445, "s", "l", "", 10218208]
        told = answer({"error": [], "result": {"XBTUSDT": [row], "last": "1762820035982277754"}})
        rest = Rest(clock, told)
        source = KrakenTrades(rest, clock, "http://kraken.test")  # type: ignore[arg-type]
        page = await source.page("BTC/USDT", 0)
        assert rest.asked[0][1] == {"pair": "XBTUSDT", "since": "0", "count": 1_000}
        return page

    page = in_virtual_time(main)
    (trade,) = page.trades
    assert (trade.symbol, trade.id, trade.price_e8, trade.quantity_e8) == (
        "BTC/USDT",
        10218208,
        10_543_360_000_000,
        27_625,
    )
    assert (trade.time_us, trade.buyer_is_maker, page.next_ns) == (1_762_795_433_971_744, True, 1762820035982277754)


def test_it_satisfies_what_live_feeds_ask_for() -> None:
    past: PastCandles = KrakenCandles(Rest(JumpingClock(START_US)), JumpingClock(START_US)).candles  # type: ignore[arg-type]
    assert callable(past)
    assert (KrakenCandles.venue, KrakenCandles.intervals_s[0]) == ("kraken", 60)
