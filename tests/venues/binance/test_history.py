"""Binance's archive names, REST answers and manners."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from crypy.domain.errors import DataError, Rejected, Unavailable, Unreadable
from crypy.domain.ports import HttpResponse
from crypy.domain.times import parse_time_us
from crypy.testing.jumping import JumpingClock, run_jumping
from crypy.venues.binance.history import BinanceHistory, WeightBudget, decode_aggregates, decode_singles

# From the documents of the venue, see section 6 of its notes: a live answer of 2021, and one of historicalTrades.
AGGREGATES = b"""[{"a":966492862,"p":"60759.60000000","q":"0.00841000","f":1111480471,"l":1111480471,"T":1634944096633,"m":false,"M":true}]"""
SINGLES = b"""[{"id":1111471896,"price":"60814.78000000","qty":"0.00034000","quoteQty":"20.67702520","time":1634943219887,"isBuyerMaker":true,"isBestMatch":true}]"""
START_US = parse_time_us("2025-01-01T00:00:10Z")
OK = HttpResponse(200, {}, AGGREGATES)


class Script:
    """A transport that gives the answers of a list, in order, and remembers what it was asked and when."""

    def __init__(self, clock: JumpingClock, answers: list[HttpResponse | Exception]) -> None:
        self._clock = clock
        self._answers = answers
        self.asked: list[tuple[int, str, str, dict[str, str | int], Mapping[str, str] | None]] = []

    async def connect(self, url: str, on_frame: object) -> object:
        raise AssertionError(url)

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 10.0,
    ) -> HttpResponse:
        self.asked.append((self._clock.elapsed_us // 1_000_000, method, url, dict(params or {}), headers))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def download(self, url: str, offset: int = 0, timeout_s: float = 60.0) -> AsyncIterator[bytes]:
        yield f"{url}@{offset}".encode()

    async def close(self) -> None: ...


def scripted(
    answers: list[HttpResponse | Exception], act: Callable[[BinanceHistory], object], kind: str = "aggTrades"
) -> tuple[object, Script]:
    kept: list[Script] = []

    async def main(clock: JumpingClock) -> object:
        script = Script(clock, answers)
        kept.append(script)
        chosen = "trades" if kind == "trades" else "aggTrades"
        return await act(BinanceHistory(script, clock, "http://archive/", "http://rest/", chosen))  # type: ignore[arg-type, misc]

    return run_jumping(main, START_US), kept[0]


def test_archive_names_are_the_venues(tmp_path: Path) -> None:
    async def both(source: BinanceHistory) -> object:
        return source.month_file("BTCUSDT", "2024-12"), source.day_file("BTCUSDT", "2024-12-31")

    (month, day), _ = scripted([OK], both)  # type: ignore[misc]
    assert month.url == "http://archive/data/spot/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-12.zip"
    assert (month.start_us, month.end_us) == (parse_time_us("2024-12-01"), parse_time_us("2025-01-01"))
    assert day.url == "http://archive/data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-12-31.zip"
    assert (day.start_us, day.end_us) == (parse_time_us("2024-12-31"), parse_time_us("2025-01-01"))


def test_answers_become_exact_columns() -> None:
    batch = decode_aggregates("BTCUSDT", AGGREGATES)
    assert [column.tolist() for column in (batch.id, batch.price_e8, batch.quantity_e8, batch.time_us)] == [
        [966_492_862], [6_075_960_000_000], [841_000], [1_634_944_096_633_000],
    ]  # fmt: skip
    single = decode_singles("BTCUSDT", SINGLES)
    assert (single.first_id.tolist(), single.last_id.tolist()) == ([1_111_471_896], [1_111_471_896])
    assert single.buyer_is_maker.tolist() == [True]
    assert len(decode_aggregates("BTCUSDT", b"[]")) == 0


def test_recorded_answers_of_the_venue_are_read(shared_data: Path) -> None:
    paths = sorted((shared_data / "payloads" / "binance").rglob("*agg_trades*.json"))
    if not paths:
        pytest.skip("no recorded aggTrades answer among the payloads")
    for path in paths:
        rows = json.loads(path.read_bytes())
        if isinstance(rows, list):
            assert decode_aggregates("BTCUSDT", path.read_bytes()).id.tolist() == [row["a"] for row in rows]


def test_a_void_aggregate_is_kept() -> None:
    batch = decode_aggregates(
        "BTCUSDT", b'[{"a":5,"p":"0","q":"0","f":-1,"l":-1,"T":1500000000000,"m":false,"M":true}]'
    )
    assert (batch.price_e8.tolist(), batch.first_id.tolist()) == ([0], [-1])


@pytest.mark.parametrize("price", ["0", "0.00000000", "-1", "NaN", "1e5", ""])
def test_an_impossible_price_is_an_error(price: str) -> None:
    with pytest.raises(DataError, match="BTCUSDT"):
        decode_aggregates("BTCUSDT", AGGREGATES.replace(b"60759.60000000", price.encode()))


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", AGGREGATES[:-2], AGGREGATES.replace(b'"a":', b'"b":')])
def test_what_is_no_answer_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_aggregates("BTCUSDT", body)


def test_pages_are_asked_for_by_id_and_in_microseconds() -> None:
    _, script = scripted([OK], lambda source: source.trades_from("BTCUSDT", 42))
    _, method, url, parameters, headers = script.asked[0]
    assert (method, url) == ("GET", "http://rest/api/v3/aggTrades")
    assert parameters == {"symbol": "BTCUSDT", "fromId": 42, "limit": 1000}
    assert headers == {"X-MBX-TIME-UNIT": "MICROSECOND"}
    _, script = scripted([HttpResponse(200, {}, SINGLES)], lambda source: source.trades_from("BTCUSDT", 42), "trades")
    assert script.asked[0][2] == "http://rest/api/v3/historicalTrades"


def test_the_first_trade_after_an_instant_is_asked_for_from_the_next_millisecond() -> None:
    edge, script = scripted([OK], lambda source: source.first_from("BTCUSDT", 1_634_944_096_632_001))
    assert script.asked[0][3]["startTime"] == 1_634_944_096_633
    assert (edge.id, edge.time_us) == (966_492_862, 1_634_944_096_633_000)  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [429, 418])
def test_the_venue_says_how_long_to_stay_away(status: int) -> None:
    _, script = scripted(
        [HttpResponse(status, {"retry-after": "17"}, b""), OK], lambda source: source.newest("BTCUSDT")
    )
    assert [asked[0] for asked in script.asked] == [0, 17]


def test_failures_are_repeated_with_growing_waits_and_then_told() -> None:
    for failure in (HttpResponse(502, {}, b""), Unavailable("connection lost")):
        _, script = scripted([failure, failure, failure, OK], lambda source: source.newest("BTCUSDT"))
        assert [asked[0] for asked in script.asked] == [0, 1, 3, 7]
    with pytest.raises(Unavailable, match="gave up after 8 tries"):
        scripted([HttpResponse(500, {}, b"")], lambda source: source.newest("BTCUSDT"))


def test_a_long_ban_is_told_and_not_waited_for() -> None:
    with pytest.raises(Unavailable, match=r"no requests until 2025-01-01T02:00:10Z"):
        scripted([HttpResponse(418, {"retry-after": "7200"}, b"")], lambda source: source.newest("BTCUSDT"))


def test_a_refusal_carries_the_venues_code() -> None:
    refusal = HttpResponse(400, {}, b'{"code":-1121,"msg":"Invalid symbol."}')
    with pytest.raises(Rejected, match="Invalid symbol") as told:
        scripted([refusal], lambda source: source.newest("NOPE"))
    assert told.value.code == "-1121"


def test_requests_keep_to_the_minutes_budget() -> None:
    """1,200 aggTrades of weight 4 fit the 4,800 kept for us; the next one waits for the venue's next minute."""

    async def many(source: BinanceHistory) -> None:
        for _ in range(1_201):
            await source.newest("BTCUSDT")

    _, script = scripted([OK], many)
    times = [asked[0] for asked in script.asked]
    assert times[1_199] == 0
    assert times[1_200] == 50


def test_what_others_on_the_address_use_counts() -> None:
    budget = WeightBudget(100)
    minute_us = 60_000_000
    assert budget.take(5 * minute_us, 4) == 0
    budget.told(5 * minute_us, 98)
    assert budget.take(5 * minute_us + 45_000_000, 4) == 15.0
    assert budget.take(6 * minute_us, 4) == 0


@pytest.mark.parametrize(
    ("answer", "size"),
    [
        (HttpResponse(200, {"content-length": "123"}, b""), 123),
        (HttpResponse(404, {}, b""), None),
        (HttpResponse(405, {}, b""), 0),
        (HttpResponse(501, {}, b""), 0),
    ],
)
def test_the_size_of_a_file_or_its_absence(answer: HttpResponse, size: int | None) -> None:
    found, script = scripted([answer], lambda source: source.size(source.day_file("BTCUSDT", "2025-01-01")))
    assert found == size
    assert len(script.asked) == 1


def test_a_checksum_is_a_line_of_sha256sum() -> None:
    name, digits = "BTCUSDT-aggTrades-2025-01-01.zip", "0123456789abcdef" * 4

    def checksum(source: BinanceHistory) -> object:
        return source.checksum(source.day_file("BTCUSDT", "2025-01-01"))

    found, script = scripted([HttpResponse(200, {}, f"{digits}  {name}\n".encode())], checksum)
    assert found == digits
    assert script.asked[0][2].endswith(f"{name}.CHECKSUM")
    for body in (f"{digits}  other.zip\n", f"{digits[1:]}  {name}\n", f"{digits.upper()}  {name}\n", "<html>", ""):
        with pytest.raises(Unreadable):
            scripted([HttpResponse(200, {}, body.encode())], checksum)
    with pytest.raises(Rejected) as told:
        scripted([HttpResponse(404, {}, b"")], checksum)
    assert told.value.code == "404"
