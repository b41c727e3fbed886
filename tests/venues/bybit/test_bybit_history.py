"""Past candles: whole, ascending and closed only, with the venue's limits kept; on sockets, and in jumping time where waits matter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from bybit_fake import MINUTE_MS, START_MS, START_US, FakeBybit, texts

from crypy.domain.errors import ConfigError, Rejected, Unavailable
from crypy.domain.events import Candle
from crypy.domain.ports import Connection, HttpResponse, OnFrame
from crypy.runtime.clocks import SystemClock
from crypy.runtime.transport import NetTransport
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.asking import RequestPace
from crypy.venues.bybit.history import BybitCandles

MINUTE_US = 60_000_000


@pytest.fixture
async def venue() -> AsyncIterator[FakeBybit]:
    async with FakeBybit() as fake:
        yield fake


@pytest.fixture
async def candles(venue: FakeBybit) -> AsyncIterator[BybitCandles]:
    clock = SystemClock()
    async with NetTransport(clock) as transport:
        yield BybitCandles(transport, clock, "spot", venue.rest_url)


def numbers(found: tuple[Candle, ...]) -> list[int]:
    return [(each.open_time_us - START_US) // MINUTE_US for each in found]


async def test_a_long_range_is_asked_for_in_pages_and_comes_ascending(venue: FakeBybit, candles: BybitCandles) -> None:
    venue.now_ms = START_MS + 2_500 * MINUTE_MS
    found = await candles.candles("BTCUSDT", 60, START_US, START_US + 2_300 * MINUTE_US)
    assert numbers(found) == list(range(2_300))
    assert [int(query["start"]) for query in venue.asked] == [START_MS + n * MINUTE_MS for n in (0, 1_000, 2_000)]
    assert [int(query["end"]) for query in venue.asked] == [START_MS + n * MINUTE_MS for n in (999, 1_999, 2_299)]
    assert {(query["category"], query["interval"]) for query in venue.asked} == {("spot", "1")}
    told = texts(1_234)
    assert found[1_234] == Candle(
        "BTCUSDT", START_US + 1_234 * MINUTE_US, START_US + 1_235 * MINUTE_US, float(told["open"]), float(told["high"]),
        float(told["low"]), float(told["close"]), float(told["volume"]), True, quote_volume=float(told["turnover"]),
    )  # fmt: skip


async def test_the_candle_that_is_still_open_is_left_out_by_the_venues_clock(
    venue: FakeBybit, candles: BybitCandles
) -> None:
    venue.now_ms = START_MS + 5 * MINUTE_MS + 30_000
    assert numbers(await candles.candles("BTCUSDT", 60, START_US, START_US + 900 * MINUTE_US)) == [0, 1, 2, 3, 4]
    # The answer's clock shows that there can be no more: no further page is asked for.
    venue.asked.clear()
    await candles.candles("BTCUSDT", 60, START_US, START_US + 90_000 * MINUTE_US)
    assert len(venue.asked) == 1
    # A candle that ended only just before the answer may lack its last trades.
    venue.now_ms = START_MS + 5 * MINUTE_MS + 999
    assert numbers(await candles.candles("BTCUSDT", 60, START_US, START_US + 9 * MINUTE_US)) == [0, 1, 2, 3]


async def test_only_candles_that_open_in_the_range_are_given(venue: FakeBybit, candles: BybitCandles) -> None:
    venue.now_ms = START_MS + 100 * MINUTE_MS
    found = await candles.candles("BTCUSDT", 60, START_US + 1, START_US + 3 * MINUTE_US + 1)
    assert numbers(found) == [1, 2, 3]
    assert await candles.candles("BTCUSDT", 60, START_US + 1, START_US + 2) == ()
    assert len(venue.asked) == 1


async def test_candles_that_the_venue_lacks_are_absent(venue: FakeBybit, candles: BybitCandles) -> None:
    venue.now_ms, venue.first_ms, venue.absent = START_MS + 100 * MINUTE_MS, START_MS + 3 * MINUTE_MS, {5, 6}
    assert numbers(await candles.candles("BTCUSDT", 60, START_US, START_US + 9 * MINUTE_US)) == [3, 4, 7, 8]


async def test_the_last_candles_are_counted_by_the_venues_clock(venue: FakeBybit, candles: BybitCandles) -> None:
    venue.now_ms = START_MS + 1_700 * MINUTE_MS + 30_000
    assert numbers(await candles.latest("BTCUSDT", 60, 1_500)) == list(range(200, 1_700))
    venue.now_ms = START_MS + 1_700 * MINUTE_MS + 10
    assert numbers(await candles.latest("BTCUSDT", 60, 3)) == [1_696, 1_697, 1_698]
    assert await candles.server_time_us() == venue.now_ms * 1_000


async def test_each_category_is_a_venue_of_its_own(venue: FakeBybit) -> None:
    clock = SystemClock()
    async with NetTransport(clock) as transport:
        linear = BybitCandles(transport, clock, "linear", venue.rest_url + "/")
        venue.now_ms = START_MS + 100 * MINUTE_MS
        assert len(await linear.candles("BTCUSDT", 300, START_US, START_US + 10 * MINUTE_US)) == 2
        assert venue.asked[0]["category"] == "linear"
        assert (linear.venue, BybitCandles(transport, clock).venue) == ("bybit_linear", "bybit")
        with pytest.raises(ConfigError, match="no category 'inverse'"):
            BybitCandles(transport, clock, "inverse")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="no candles of 7 s"):
            await linear.candles("BTCUSDT", 7, START_US, START_US + MINUTE_US)


class ScriptedTransport:
    """Answers in the order of the script; the last one for ever. Notes when it was asked."""

    def __init__(self, clock: JumpingClock, *script: Callable[[Mapping[str, str | int]], HttpResponse]) -> None:
        self.asked_us: list[int] = []
        self._clock = clock
        self._script = list(script)

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 10.0,
    ) -> HttpResponse:
        self.asked_us.append(self._clock.now_us())
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        return step(params or {})

    async def connect(self, url: str, on_frame: OnFrame) -> Connection:
        raise Unavailable("no road")

    def download(self, url: str, offset: int = 0, timeout_s: float = 60.0) -> AsyncIterator[bytes]:
        raise Unavailable("no road")

    async def close(self) -> None: ...


def one_candle(params: Mapping[str, str | int]) -> HttpResponse:
    start = int(params["start"])
    row = [str(start), "5", "6", "4", "5.5", "1", "5"]
    result = {"category": "spot", "symbol": "BTCUSDT", "list": [row]}
    return reply({"retCode": 0, "retMsg": "OK", "result": result, "time": start + 10**9})


def reply(body: dict[str, Any], status: int = 200, **headers: str) -> HttpResponse:
    return HttpResponse(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()
    )


def lost(_: Mapping[str, str | int]) -> HttpResponse:
    raise Unavailable("the road is gone")


def in_jumping_time(
    *script: Callable[[Mapping[str, str | int]], HttpResponse], times: int = 1
) -> tuple[list[float], object]:
    """When requests were made (seconds from the start) and what came of it."""

    async def main(clock: JumpingClock) -> tuple[list[float], object]:
        transport, start_us = ScriptedTransport(clock, *script), clock.now_us()
        candles = BybitCandles(transport, clock, requests_per_window=10)
        outcome: object = None
        try:
            for number in range(times):
                at_us = START_US + number * MINUTE_US
                outcome = await candles.candles("BTCUSDT", 60, at_us, at_us + MINUTE_US)
        except (Unavailable, Rejected) as error:
            outcome = error
        return [(at_us - start_us) / 1e6 for at_us in transport.asked_us], outcome

    return run_jumping(main)


def test_waits_after_failures_double_up_to_a_minute() -> None:
    asked_s, outcome = in_jumping_time(lost, lambda _: reply({}, 502), lambda _: reply({"retCode": 10_016}), one_candle)
    assert asked_s == pytest.approx([0, 1, 3, 7], abs=1e-3)
    assert isinstance(outcome, tuple)
    assert len(outcome) == 1


def test_a_venue_that_names_a_wait_is_left_alone_for_so_long() -> None:
    asked_s, outcome = in_jumping_time(
        lambda _: reply({}, 429, retry_after="20"),
        lambda _: reply({"retCode": 10_006, "time": 1_000}, x_bapi_limit_reset_timestamp="4500"),
        one_candle,
    )
    assert asked_s == pytest.approx([0, 20, 23.5], abs=1e-3)
    assert isinstance(outcome, tuple)


def test_patience_ends_with_the_last_fault_named() -> None:
    asked_s, outcome = in_jumping_time(lost)
    assert len(asked_s) == 8
    assert isinstance(outcome, Unavailable)
    assert str(outcome) == "the road is gone; gave up after 8 tries"


def test_a_ban_is_told_and_not_waited_for() -> None:
    ban = HttpResponse(403, {}, b"access too frequent")
    asked_s, outcome = in_jumping_time(lambda _: ban)
    assert asked_s == [0]
    assert isinstance(outcome, Unavailable)
    assert outcome.retry_after_s == 600
    assert "no requests until 2025-01-01T00:10:00Z" in str(outcome)


def test_nobody_asks_during_the_silence_that_the_venue_asked_for() -> None:
    async def main(clock: JumpingClock) -> None:
        transport = ScriptedTransport(clock, lambda _: reply({}, 429, retry_after="30"), one_candle)
        candles = BybitCandles(transport, clock)
        for wait_s, left_s in ((0, 30), (10, 20)):
            await clock.sleep(wait_s)
            with pytest.raises(Unavailable) as caught:
                await candles.page("BTCUSDT", 60, START_US, START_US + MINUTE_US)
            assert caught.value.retry_after_s == pytest.approx(left_s)
        assert len(transport.asked_us) == 1
        await clock.sleep(20)
        assert len((await candles.page("BTCUSDT", 60, START_US, START_US + MINUTE_US)).candles) == 1

    run_jumping(main)


def test_a_refusal_is_not_repeated() -> None:
    asked_s, outcome = in_jumping_time(lambda _: reply({"retCode": 10_001, "retMsg": "params error: symbol invalid"}))
    assert asked_s == [0]
    assert isinstance(outcome, Rejected)
    assert outcome.code == "10001"


def test_requests_keep_the_pace() -> None:
    asked_s, _ = in_jumping_time(one_candle, times=25)
    assert len(asked_s) == 25
    for first, eleventh in zip(asked_s, asked_s[10:], strict=False):
        assert eleventh - first >= 5.0 - 1e-6
    assert asked_s[-1] < 10.1
    with pytest.raises(ConfigError, match="at least 1"):
        RequestPace(0, 5.0)
