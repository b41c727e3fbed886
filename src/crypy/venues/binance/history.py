"""Binance's past: the archive's file names, REST by id, and how both want to be asked.

Facts are from Binance's own documents (spot REST API, commit a5e0bc3 of 2026-07-21; public data README of 2025-01-09).
REST answers are asked for in microseconds. Weights: `aggTrades` 4, `historicalTrades` 25, out of 6,000 a minute per address, in
minutes of the venue's clock; what other programs on the address use is seen in `X-MBX-USED-WEIGHT-1M`. 429 and 418
say how long to stay away; after 5xx and lost connections the wait doubles from one second to a minute.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import date, timedelta
from typing import Final, TypeVar

import msgspec

from crypy.domain.errors import Rejected, Unavailable, Unreadable
from crypy.domain.ports import Clock, HttpResponse, Transport
from crypy.domain.times import US_PER_S, iso, parse_time_us, venue_time_us
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.trade_source import ArchiveFile, Edge
from crypy.marketdata.trades import TradeBatch
from crypy.venues.binance.messages import RestAggTrade, RestTrade
from crypy.venues.binance.protocol import read_past

ARCHIVE_URL: Final = "https://data.binance.vision"
REST_URL: Final = "https://data-api.binance.vision"
# The data-only host does not serve historicalTrades.
REST_URL_FOR_TRADES: Final = "https://api.binance.com"
PAGE_ROWS: Final = 1_000

_WEIGHTS: Final[Mapping[str, int]] = {"aggTrades": 4, "historicalTrades": 25, "trades": 25}
_MINUTE_US: Final = 60 * US_PER_S
_MOST_TRIES: Final = 8
_ANSWER_S: Final = 30.0
_NOT_IMPLEMENTED: Final = 501  # an archive that knows no HEAD will not learn it
_LONGEST_WAIT_S: Final = 60.0
# A ban longer than this is told instead of waited for.
_LONGEST_BAN_S: Final = 600.0


Row = TypeVar("Row")


class _Refusal(msgspec.Struct, frozen=True):
    code: int
    msg: str


class WeightBudget:
    """Request weight used in the venue's running minute, kept below a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._minute = -1
        self._used = 0

    def take(self, now_us: int, weight: int) -> float:
        """Seconds to wait before asking again, 0 when the weight was taken now."""
        self._turn(now_us)
        if self._used and self._used + weight > self._limit:
            return ((self._minute + 1) * _MINUTE_US - now_us) / US_PER_S
        self._used += weight
        return 0.0

    def told(self, now_us: int, used: int) -> None:
        """The venue's own count of this minute."""
        self._turn(now_us)
        self._used = max(self._used, used)

    def _turn(self, now_us: int) -> None:
        if now_us // _MINUTE_US != self._minute:
            self._minute, self._used = now_us // _MINUTE_US, 0


class BinanceHistory:
    """Binance spot as a `HistorySource`. `weight_limit` leaves the rest of the minute's 6,000 to others on the address."""

    venue = "binance"
    page_rows = PAGE_ROWS

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        archive_url: str = ARCHIVE_URL,
        rest_url: str | None = None,
        kind: TradeKind = "aggTrades",
        weight_limit: int = 4_800,
    ) -> None:
        self.kind: TradeKind = kind
        self._transport = transport
        self._clock = clock
        self._archive_url = archive_url.rstrip("/")
        self._rest_url = (rest_url or (REST_URL if kind == "aggTrades" else REST_URL_FOR_TRADES)).rstrip("/")
        self._budget = WeightBudget(weight_limit)
        self._away_until_us = 0

    def month_file(self, symbol: str, month: str) -> ArchiveFile:
        """`data/spot/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-01.zip`."""
        first = date.fromisoformat(f"{month}-01")
        after = (first + timedelta(days=31)).replace(day=1)
        return self._file("monthly", symbol, month, first, after)

    def day_file(self, symbol: str, day: str) -> ArchiveFile:
        """`data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-01-15.zip`."""
        first = date.fromisoformat(day)
        return self._file("daily", symbol, day, first, first + timedelta(days=1))

    async def size(self, file: ArchiveFile) -> int | None:
        answer = await self._ask("HEAD", file.url, {}, 0)
        if answer.status == 404:
            return None
        length = answer.headers.get("content-length", "0")
        return int(length) if answer.status == 200 and length.isdigit() else 0

    async def checksum(self, file: ArchiveFile) -> str:
        """From `<file>.CHECKSUM`, which is in the format of `sha256sum`: digits, two spaces, name."""
        answer = await self._ask("GET", f"{file.url}.CHECKSUM", {}, 0)
        if answer.status != 200:
            raise Rejected(f"{file.url}.CHECKSUM: HTTP {answer.status}", str(answer.status))
        digits, _, name = answer.body.decode("ascii", "replace").strip().partition("  ")
        if len(digits) != 64 or set(digits) - set("0123456789abcdef") or name.lstrip("*") != file.name:
            raise Unreadable(f"{file.url}.CHECKSUM: {answer.body[:120]!r} is not a line of sha256sum for {file.name}")
        return digits

    def download(self, file: ArchiveFile, offset: int) -> AsyncIterator[bytes]:
        return self._transport.download(file.url, offset)

    async def first_from(self, symbol: str, start_us: int) -> Edge | None:
        parameters: dict[str, str | int] = {"symbol": symbol, "startTime": -(-start_us // 1_000), "limit": 1}
        while rows := _decoded(await self._rest("aggTrades", parameters), RestAggTrade):
            for row in rows:
                # A void aggregate has an id of its own but no trade, and so tells nothing of where trades begin.
                if self.kind == "aggTrades" or row.f >= 0:
                    return Edge(row.a if self.kind == "aggTrades" else row.f, venue_time_us(row.T))
            parameters = {"symbol": symbol, "fromId": rows[-1].a + 1, "limit": PAGE_ROWS}
        return None

    async def newest(self, symbol: str) -> Edge | None:
        if self.kind == "aggTrades":
            aggregates = _decoded(await self._rest("aggTrades", {"symbol": symbol, "limit": 1}), RestAggTrade)
            return Edge(aggregates[-1].a, venue_time_us(aggregates[-1].T)) if aggregates else None
        rows = _decoded(await self._rest("trades", {"symbol": symbol, "limit": 1}), RestTrade)
        return Edge(rows[-1].id, venue_time_us(rows[-1].time)) if rows else None

    async def trades_from(self, symbol: str, first_id: int) -> TradeBatch:
        endpoint = "aggTrades" if self.kind == "aggTrades" else "historicalTrades"
        body = await self._rest(endpoint, {"symbol": symbol, "fromId": first_id, "limit": PAGE_ROWS})
        return decode_aggregates(symbol, body) if self.kind == "aggTrades" else decode_singles(symbol, body)

    def _file(self, span: str, symbol: str, period: str, first: date, after: date) -> ArchiveFile:
        name = f"{symbol}-{self.kind}-{period}.zip"
        url = f"{self._archive_url}/data/spot/{span}/{self.kind}/{symbol}/{name}"
        return ArchiveFile(
            symbol, name, url, period, parse_time_us(first.isoformat()), parse_time_us(after.isoformat())
        )

    async def _rest(self, endpoint: str, parameters: Mapping[str, str | int]) -> bytes:
        answer = await self._ask("GET", f"{self._rest_url}/api/v3/{endpoint}", parameters, _WEIGHTS[endpoint])
        if answer.status == 200:
            return answer.body
        try:
            refusal = msgspec.json.decode(answer.body, type=_Refusal)
        except msgspec.DecodeError:
            raise Rejected(f"{endpoint} {dict(parameters)}: HTTP {answer.status}", str(answer.status)) from None
        raise Rejected(f"{endpoint} {dict(parameters)}: {refusal.msg} ({refusal.code})", str(refusal.code))

    async def _ask(self, method: str, url: str, parameters: Mapping[str, str | int], weight: int) -> HttpResponse:
        """The answer, once it is one: waits for the budget, and repeats what may be repeated."""
        wait_s = 1.0
        fault: Unavailable | None = None
        for _ in range(_MOST_TRIES):
            await self._stay_away(weight)
            try:
                answer = await self._transport.request(
                    method,
                    url,
                    parameters,
                    headers={"X-MBX-TIME-UNIT": "MICROSECOND"} if weight else None,
                    timeout_s=_ANSWER_S,
                )
            except Unavailable as lost:
                fault = lost
            else:
                used = answer.headers.get("x-mbx-used-weight-1m", "")
                if used.isdigit():
                    self._budget.told(self._clock.now_us(), int(used))
                if answer.status not in (418, 429) and (answer.status < 500 or answer.status == _NOT_IMPLEMENTED):
                    return answer
                fault = Unavailable(f"{method} {url}: HTTP {answer.status}", _retry_after_s(answer))
            asked_s = fault.retry_after_s
            if asked_s is not None and asked_s > _LONGEST_BAN_S:
                until = iso(self._clock.now_us() + int(asked_s * US_PER_S))
                raise Unavailable(f"{fault}: the venue wants no requests until {until}; sync again then", asked_s)
            pause_s = wait_s if asked_s is None else asked_s
            if asked_s is not None:
                self._away_until_us = max(self._away_until_us, self._clock.now_us() + int(pause_s * US_PER_S))
            await self._clock.sleep(pause_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
        raise Unavailable(f"{fault}; gave up after {_MOST_TRIES} tries", None)

    async def _stay_away(self, weight: int) -> None:
        """Wait until the venue wants to hear from us, and this request fits the minute."""
        while (left_us := self._away_until_us - self._clock.now_us()) > 0:
            await self._clock.sleep(left_us / US_PER_S)
        while weight and (wait_s := self._budget.take(self._clock.now_us(), weight)) > 0:
            await self._clock.sleep(wait_s)


def decode_aggregates(symbol: str, body: bytes) -> TradeBatch:
    """An answer of `aggTrades`. Raises `Unreadable` for what is none, `DataError` for a row that can be no trade."""
    return TradeBatch.of(read_past(body, symbol, "aggTrade"))


def decode_singles(symbol: str, body: bytes) -> TradeBatch:
    """An answer of `historicalTrades` or `trades`; errors as above."""
    return TradeBatch.of(read_past(body, symbol, "trade"))


def _decoded(body: bytes, row: type[Row]) -> list[Row]:
    try:
        return msgspec.json.decode(body, type=list[row])
    except msgspec.DecodeError as fault:
        raise Unreadable(f"trades by REST: {fault}: {body[:120]!r}") from None


def _retry_after_s(answer: HttpResponse) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.replace(".", "", 1).isdigit() else None
