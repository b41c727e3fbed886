"""BitMEX's past: pages, stamps, limits told by headers, refusals. In memory and in virtual time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from bitmex_wire import SYMBOL, candle

from crypy.domain.errors import ConfigError, CrypyError, Rejected, Unavailable, Unreadable
from crypy.domain.ports import HttpResponse
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.bitmex.history import BitmexCandles
from crypy.venues.candle_keeping import PastCandles

MINUTE_US = 60 * US_PER_S
START_US = 1_760_000_000 * US_PER_S
MINUTE = START_US // MINUTE_US


def answer(body: object, status: int = 200, **headers: str) -> HttpResponse:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, text)


class Rest:
    """`trade/bucketed` with minutes that end as time goes on; what is in `first` comes before."""

    def __init__(self, clock: JumpingClock, *first: HttpResponse) -> None:
        self.clock = clock
        self.first = list(first)
        self.asked: list[dict[str, str | int]] = []
        self.at_s: list[float] = []
        self.headers: dict[str, str] = {}

    async def request(
        self, method: str, url: str, params: Mapping[str, str | int] | None = None, **_: Any
    ) -> HttpResponse:
        assert (method, url) == ("GET", "http://bitmex.test/api/v1/trade/bucketed")
        assert params is not None
        self.asked.append(dict(params))
        self.at_s.append((self.clock.now_us() - START_US) / US_PER_S)
        if self.first:
            return self.first.pop(0)
        length = {"1m": 1, "5m": 5, "1h": 60, "1d": 1_440}[str(params["binSize"])]
        begin, stop = (parse_time_us(str(params[key])) // MINUTE_US for key in ("startTime", "endTime"))
        now = self.clock.now_us() // MINUTE_US
        stamps = [stamp for stamp in range(begin, stop + 1) if stamp % length == 0 and stamp <= now]
        start, count = int(params["start"]), int(params["count"])
        rows = [candle(stamp - length, length, str(params["symbol"])) for stamp in stamps[start : start + count]]
        return HttpResponse(200, self.headers, json.dumps(rows).encode())


def in_virtual_time(main: Callable[[JumpingClock], Awaitable[Any]]) -> Any:
    async def run(clock: JumpingClock) -> Any:
        return await main(clock)

    return run_jumping(run, START_US)


def ask(
    *first: HttpResponse, interval_s: int = 60, start: int = MINUTE - 10, end: int = MINUTE, **headers: str
) -> tuple[Any, Rest]:
    """The candles between two minutes since 1970, or the error, and the wire."""
    rests: list[Rest] = []

    async def main(clock: JumpingClock) -> object:
        rests.append(Rest(clock, *first))
        rests[0].headers = {name.replace("_", "-"): value for name, value in headers.items()}
        source = BitmexCandles(rests[0], clock, "http://bitmex.test/")  # type: ignore[arg-type]
        try:
            return await source.candles(SYMBOL, interval_s, start * MINUTE_US, end * MINUTE_US)
        except CrypyError as error:
            return error

    return in_virtual_time(main), rests[0]


def test_candles_are_asked_for_by_their_ends_and_told_by_their_opens() -> None:
    candles, rest = ask(start=MINUTE - 3)
    assert rest.asked == [
        {
            "symbol": SYMBOL, "binSize": "1m", "partial": "false", "reverse": "false", "count": 1_000, "start": 0,
            "startTime": "2025-10-09T08:51:00.000Z", "endTime": "2025-10-09T08:53:00.000Z",
        }
    ]  # fmt: skip
    assert [one.open_time_us // MINUTE_US for one in candles] == [MINUTE - 3, MINUTE - 2, MINUTE - 1]
    assert all(one.closed and one.close_time_us - one.open_time_us == MINUTE_US for one in candles)


def test_a_range_off_the_grid_holds_the_opens_inside_it() -> None:
    async def main(clock: JumpingClock) -> Any:
        source = BitmexCandles(Rest(clock), clock, "http://bitmex.test")  # type: ignore[arg-type]
        return await source.candles(SYMBOL, 300, (MINUTE - 31) * MINUTE_US + 1, (MINUTE - 10) * MINUTE_US + 1)

    first = -(-(MINUTE - 31) // 5) * 5
    candles = in_virtual_time(main)
    assert [one.open_time_us // MINUTE_US for one in candles] == [
        k for k in range(first, MINUTE - 9, 5) if k > MINUTE - 31
    ]


def test_long_ranges_come_by_pages_once_each_at_the_venues_pace() -> None:
    candles, rest = ask(start=MINUTE - 2_500)
    assert [one.open_time_us // MINUTE_US for one in candles] == list(range(MINUTE - 2_500, MINUTE))
    assert [params["start"] for params in rest.asked] == [0, 1_000, 2_000]
    assert rest.at_s == pytest.approx([0, 2, 4], abs=0.01)


def test_very_long_ranges_are_cut_so_that_offsets_stay_small() -> None:
    candles, rest = ask(start=MINUTE - 51_000)
    assert len(candles) == 51_000
    assert max(int(params["start"]) for params in rest.asked) <= 50_000
    assert rest.asked[-1]["start"] == 1_000 or rest.asked[-1]["start"] == 0


def test_what_has_not_ended_is_not_asked_for() -> None:
    candles, rest = ask(start=MINUTE - 1, end=MINUTE + 500)
    assert [one.open_time_us // MINUTE_US for one in candles] == [MINUTE - 1]
    assert rest.asked[0]["endTime"] == "2025-10-09T08:53:00.000Z"
    assert ask(start=MINUTE, end=MINUTE + 5)[1].asked == []


def test_a_nearly_empty_bucket_is_left_to_fill() -> None:
    _, rest = ask(
        start=MINUTE - 2_500,
        x_ratelimit_remaining="1",
        x_ratelimit_reset=str(START_US // US_PER_S + 30),
        x_ratelimit_limit="30",
    )
    assert rest.at_s == pytest.approx([0, 30, 32], abs=0.01)
    _, rest = ask(start=MINUTE - 2_500, x_ratelimit_remaining="20", x_ratelimit_reset=str(START_US // US_PER_S + 30))
    assert rest.at_s == pytest.approx([0, 2, 4], abs=0.01)


def test_a_busy_venue_is_asked_again_when_it_said() -> None:
    busy = {"error": {"message": "The system is currently overloaded. Please try again later.", "name": "HTTPError"}}
    candles, rest = ask(answer(busy, 503), answer(busy, 429, retry_after="7"), answer(b"", 502))
    assert len(candles) == 10
    assert rest.at_s == pytest.approx([0, 2, 9, 13], abs=0.01)


def test_a_refusal_comes_out_at_once_with_the_venues_words() -> None:
    error, rest = ask(answer({"error": {"message": "symbol is invalid", "name": "HTTPError"}}, 400))
    assert isinstance(error, Rejected)
    assert (str(error), error.code, len(rest.asked)) == ("BitMEX answered 400: symbol is invalid (HTTPError)", "400", 1)


def test_a_ban_is_told_instead_of_waited_for() -> None:
    error, rest = ask(answer(b"", 429, retry_after="3600"))
    assert isinstance(error, Unavailable)
    assert (error.retry_after_s, len(rest.asked)) == (3_600.0, 1)


def test_the_closed_venues_own_host_is_told_to_be_closed() -> None:
    class Nobody:
        async def request(self, *_: Any, **__: Any) -> HttpResponse:
            raise Unavailable("no route to host")

    async def main(clock: JumpingClock) -> Any:
        source = BitmexCandles(Nobody(), clock)  # type: ignore[arg-type]
        try:
            return await source.candles(SYMBOL, 60, START_US - 10 * MINUTE_US, START_US)
        except Unavailable as error:
            return str(error)

    assert "reported closed since 2026-09-23" in in_virtual_time(main)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        {"rows": []},
        [candle(MINUTE - 5, symbol="ETHUSD")],
        [candle(MINUTE - 5), candle(MINUTE - 6)],
        [candle(MINUTE - 5), candle(MINUTE - 5)],
        [candle(MINUTE - 5, timestamp="2025-10-09T08:50:30.000Z")],
        [candle(MINUTE - 5, close=105.0)],
    ],
)
def test_an_answer_that_cannot_be_is_refused(body: object) -> None:
    error, _ = ask(answer(body))
    assert isinstance(error, Unreadable), error


def test_rows_outside_of_the_range_are_left_out() -> None:
    candles, _ = ask(answer([candle(MINUTE - 12), candle(MINUTE - 10), candle(MINUTE - 1)]))
    assert [one.open_time_us // MINUTE_US for one in candles] == [MINUTE - 10, MINUTE - 1]


def test_a_length_that_the_venue_does_not_have_is_refused() -> None:
    error, rest = ask(interval_s=900)
    assert isinstance(error, ConfigError)
    assert rest.asked == []


def test_it_satisfies_what_live_feeds_ask_for() -> None:
    clock = JumpingClock(START_US)
    past: PastCandles = BitmexCandles(Rest(clock), clock).candles  # type: ignore[arg-type]
    assert callable(past)
    assert (BitmexCandles.venue, BitmexCandles.intervals_s) == ("bitmex", (60, 300, 3_600, 86_400))
