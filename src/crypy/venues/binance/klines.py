"""Binance's past candles: the kline archive's file names, and REST for what has no file yet.

Facts are from Binance's own documents (spot REST API, commit a5e0bc3 of 2026-07-21; public data README of 2025-01-09). `klines` weighs 2 of 6,000 a
minute and address, so that requests 50 ms apart leave more than half of it to others. A candle counts as closed when its end has
passed by the venue's clock, and a short while more: the last trades of a second are written after it is over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import date, timedelta
from typing import Any, Final, TypeVar

import msgspec
import numpy as np

from crypy.domain.errors import ConfigError, DataError, Rejected, Unavailable, Unreadable
from crypy.domain.events import Candle, parse_e8
from crypy.domain.ports import Clock, HttpResponse, Transport
from crypy.domain.times import US_PER_MS, US_PER_S, parse_time_us, venue_time_us
from crypy.marketdata.candle_rows import CandleRows, interval_text, no_candles, require_candles
from crypy.marketdata.trade_source import ArchiveFile
from crypy.venues.asking import Asking
from crypy.venues.binance.history import ARCHIVE_URL, REST_URL, BinanceHistory

PAGE_ROWS: Final = 1_000
# By the archive's and REST's one spelling; longer ones (3d, 1w, 1M) do not divide a day.
INTERVALS_S: Final = (
    1, 60, 180, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 28_800, 43_200, 86_400,
)  # fmt: skip
SETTLE_US: Final = 2 * US_PER_S
_REQUEST_PACE_S: Final = 0.05
_BUSY_STATUS: Final = (418, 429)

# Open time, prices, volume, close time, quote volume, count, both taker-buy volumes, and a field that is ignored.
_Kline = tuple[int, str, str, str, str, str, int, str, int, str, str, Any]


class _Refusal(msgspec.Struct, frozen=True):
    code: int
    msg: str


class _Time(msgspec.Struct, frozen=True):
    serverTime: int  # noqa: N815, the venue's name


# Made before any thread needs them: see `marketdata.trade_files`.
_KLINES: Final = msgspec.json.Decoder(list[_Kline])
_TIME: Final = msgspec.json.Decoder(_Time)
_REFUSAL: Final = msgspec.json.Decoder(_Refusal)

T = TypeVar("T")


class BinanceKlines:
    """Binance spot as a `KlineSource`, and as a `CandleSource`."""

    venue = "binance"
    intervals_s: tuple[int, ...] = INTERVALS_S
    page_rows = PAGE_ROWS

    def __init__(
        self, transport: Transport, clock: Clock, archive_url: str = ARCHIVE_URL, rest_url: str | None = None
    ) -> None:
        self._archive_url = archive_url.rstrip("/")
        self._rest_url = (rest_url or REST_URL).rstrip("/")
        # The archive is one for all kinds of file: sizes, checksums and downloads are asked for as those of trades are.
        self._files = BinanceHistory(transport, clock, archive_url, rest_url)
        self._asking = Asking(transport, clock, _REQUEST_PACE_S)
        self._venue_us = 0

    @property
    def requests(self) -> int:
        """Questions put to REST so far."""
        return self._asking.requests

    def month_file(self, symbol: str, interval_s: int, month: str) -> ArchiveFile:
        """`data/spot/monthly/klines/BTCUSDT/1s/BTCUSDT-1s-2025-01.zip`."""
        first = date.fromisoformat(f"{month}-01")
        return self._file("monthly", symbol, interval_s, month, first, (first + timedelta(days=31)).replace(day=1))

    def day_file(self, symbol: str, interval_s: int, day: str) -> ArchiveFile:
        """`data/spot/daily/klines/BTCUSDT/1s/BTCUSDT-1s-2025-01-15.zip`."""
        first = date.fromisoformat(day)
        return self._file("daily", symbol, interval_s, day, first, first + timedelta(days=1))

    async def size(self, file: ArchiveFile) -> int | None:
        return await self._files.size(file)

    async def checksum(self, file: ArchiveFile) -> str:
        return await self._files.checksum(file)

    def download(self, file: ArchiveFile, offset: int) -> AsyncIterator[bytes]:
        return self._files.download(file, offset)

    async def first_open_us(self, symbol: str, interval_s: int, start_us: int) -> int | None:
        rows = await self._page(symbol, interval_s, {"startTime": _up_to_ms(start_us), "limit": 1})
        if not len(rows):
            return None
        open_us = int(rows.open_time_us[0])
        closed_us = await self._closed_until_us(interval_s, open_us + interval_s * US_PER_S)
        return open_us if open_us < closed_us else None

    async def last_open_us(self, symbol: str, interval_s: int, end_us: int | None = None) -> int | None:
        closed_us = await self._closed_until_us(interval_s)
        end_us = closed_us if end_us is None else min(end_us, closed_us)
        rows = await self._page(symbol, interval_s, {"endTime": _up_to_ms(end_us) - 1, "limit": 1})
        return int(rows.open_time_us[-1]) if len(rows) else None

    async def rows(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> CandleRows:
        """The closed candles that open in `[start_us, end_us)`, of the first thousand that can; one the venue does not have is absent.

        Raises `Rejected` (an unknown symbol), `Unreadable`, `DataError` for a row that is no candle, `ConfigError` (an unknown length), and
        `Unavailable` when patience has run out.
        """
        step_us = self._require_interval(interval_s) * US_PER_S
        first_us = -(-start_us // step_us) * step_us
        end_us = min(end_us, first_us + PAGE_ROWS * step_us)
        end_us = min(end_us, await self._closed_until_us(interval_s, end_us))
        if end_us <= first_us:
            return no_candles()
        span = {"startTime": _up_to_ms(first_us), "endTime": _up_to_ms(end_us) - 1, "limit": PAGE_ROWS}
        rows = await self._page(symbol, interval_s, span)
        return rows[(rows.open_time_us >= first_us) & (rows.open_time_us < end_us)]

    async def candles(self, symbol: str, interval_s: int, start_us: int, end_us: int) -> tuple[Candle, ...]:
        """As `rows`, of any range and as events."""
        found: list[Candle] = []
        step_us = self._require_interval(interval_s) * US_PER_S
        at_us = -(-start_us // step_us) * step_us
        end_us = min(end_us, await self._closed_until_us(interval_s, end_us))
        while at_us < end_us:
            found += (await self.rows(symbol, interval_s, at_us, end_us)).candles(symbol, interval_s)
            at_us += PAGE_ROWS * step_us
        return tuple(found)

    async def _closed_until_us(self, interval_s: int, enough_us: int | None = None) -> int:
        """Candles that open before this instant are over by the venue's clock, which is not asked again where it was past `enough_us` already."""
        step_us = self._require_interval(interval_s) * US_PER_S
        if enough_us is None or self._venue_us - SETTLE_US < enough_us:
            told = await self._asking.get(f"{self._rest_url}/api/v3/time", {}, _read_time)
            self._venue_us = max(self._venue_us, venue_time_us(told.serverTime))
        return (self._venue_us - SETTLE_US) // step_us * step_us

    async def _page(self, symbol: str, interval_s: int, span: Mapping[str, int]) -> CandleRows:
        params = {"symbol": symbol, "interval": interval_text(self._require_interval(interval_s)), **span}
        rows = await self._asking.get(f"{self._rest_url}/api/v3/klines", params, _read_klines)
        return _columns(f"{symbol} {interval_text(interval_s)} by REST", rows, interval_s)

    def _require_interval(self, interval_s: int) -> int:
        if interval_s not in INTERVALS_S:
            known = ", ".join(interval_text(known_s) for known_s in INTERVALS_S)
            raise ConfigError(f"Binance has no candles of {interval_s} s that divide a day; choose from {known}")
        return interval_s

    def _file(self, span: str, symbol: str, interval_s: int, period: str, first: date, after: date) -> ArchiveFile:
        interval = interval_text(self._require_interval(interval_s))
        name = f"{symbol}-{interval}-{period}.zip"
        url = f"{self._archive_url}/data/spot/{span}/klines/{symbol}/{interval}/{name}"
        return ArchiveFile(
            symbol, name, url, period, parse_time_us(first.isoformat()), parse_time_us(after.isoformat())
        )


def _columns(what: str, rows: list[_Kline], interval_s: int) -> CandleRows:
    """Exact columns of REST's rows. Raises `DataError` naming what is none of a candle."""
    if not rows:
        return no_candles()
    times, open_, high, low, close, volume, _, quote, counts, bought, bought_quote, _ = zip(*rows, strict=True)
    try:
        prices = [[parse_e8(text) for text in texts] for texts in (open_, high, low, close, volume, quote)]
        bought_e8 = [[parse_e8(text) for text in texts] for texts in (bought, bought_quote)]
        columns = [[venue_time_us(at) for at in times], *prices, counts, *bought_e8]
        found = CandleRows(*(np.array(column, np.int64) for column in columns))
    except (DataError, OverflowError) as fault:
        raise DataError(f"{what}: {fault}") from None
    require_candles(what, found, interval_s)
    if not (np.diff(found.open_time_us) > 0).all():
        raise Unreadable(f"{what}: candles out of order, from {rows[0][0]} to {rows[-1][0]}")
    return found


def _read_time(answer: HttpResponse) -> _Time:
    return _decoded(answer, _TIME)


def _read_klines(answer: HttpResponse) -> list[_Kline]:
    return _decoded(answer, _KLINES)


def _decoded(answer: HttpResponse, decoder: msgspec.json.Decoder[T]) -> T:
    """The answer's body. Raises `Unavailable` for what may be asked again, `Rejected` for a no, `Unreadable` for what is no answer."""
    if answer.status in _BUSY_STATUS or answer.status >= 500:
        wait = answer.headers.get("retry-after", "")
        raise Unavailable(
            f"Binance answered {answer.status}", float(wait) if wait.replace(".", "", 1).isdigit() else None
        )
    try:
        if answer.status == 200:
            return decoder.decode(answer.body)
        refusal = _REFUSAL.decode(answer.body)
    except msgspec.DecodeError as fault:
        if answer.status != 200:
            raise Rejected(f"Binance answered {answer.status}", str(answer.status)) from None
        raise Unreadable(f"klines by REST: {fault}: {answer.body[:120]!r}") from None
    raise Rejected(f"klines: {refusal.msg} ({refusal.code})", str(refusal.code))


def _up_to_ms(time_us: int) -> int:
    return -(-time_us // US_PER_MS)
