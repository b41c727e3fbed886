"""A small true venue for the tests of history: trades made from a seed, an archive and a REST interface over them.

`FakeVenue` answers requests as Binance does; `MemoryTransport` carries them without a socket. Faults are functions
put on a path: they get the answer that would have been given, and give the one that is.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from crypy.domain.errors import Rejected, Unavailable
from crypy.domain.events import format_e8
from crypy.domain.ports import HttpResponse
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata.trade_days import DAY_US, day_of
from crypy.marketdata.trade_merge import concatenated, taken
from crypy.marketdata.trades import TradeBatch

START_US = parse_time_us("2025-01-01")
ARCHIVE = "http://archive.test"
REST = "http://rest.test"
COLUMNS = ("id", "price_e8", "quantity_e8", "first_id", "last_id", "time_us", "buyer_is_maker")


def make_trades(
    rows: int, start_us: int = START_US, seconds: float = 86_400.0, seed: int = 7, first_id: int = 3_000_000_000
) -> TradeBatch:
    """Aggregates with consecutive ids, times ascending over the span, one to four trades each."""
    rng = np.random.default_rng(seed)
    ids = first_id + np.arange(rows, dtype=np.int64)
    price = (9_459_179 + np.cumsum(rng.integers(-3, 4, rows))) * 1_000_000
    quantity = np.maximum(1, rng.lognormal(-5, 3, rows) * 1e5).astype(np.int64) * 1_000
    last = 4_000_000_000 + np.cumsum(rng.integers(1, 5, rows))
    first = np.concatenate([[4_000_000_000], last[:-1]]) + 1
    times = start_us + np.sort(rng.integers(0, int(seconds * US_PER_S), rows))
    return TradeBatch(ids, price, quantity, first, last, times, rng.random(rows) < 0.5)


def equal(left: TradeBatch, right: TradeBatch) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in COLUMNS)


def csv_of(batch: TradeBatch, milliseconds: bool = False, end: str = "\n", header: bool = False) -> bytes:
    lines = [
        f"{i},{format_e8(p)},{format_e8(q)},{f},{last},{t // 1000 if milliseconds else t},{bool(m)},True"
        for i, p, q, f, last, t, m in zip(*(getattr(batch, name).tolist() for name in COLUMNS), strict=True)
    ]
    if header:
        lines.insert(0, "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,best")
    return "".join(line + end for line in lines).encode()


def singles_of(batch: TradeBatch) -> TradeBatch:
    """The single trades inside aggregates: one unit of quantity each, the rest in the last; void aggregates have none."""
    counts = np.where(batch.first_id < 0, 0, batch.last_id - batch.first_id + 1)
    owner = np.repeat(np.arange(len(batch)), counts)
    ids = batch.first_id[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    rest = batch.quantity_e8[owner] - (counts[owner] - 1)
    quantity = np.where(ids == batch.last_id[owner], rest, 1)
    return TradeBatch(ids, batch.price_e8[owner], quantity, ids, ids, batch.time_us[owner], batch.buyer_is_maker[owner])


def singles_csv(batch: TradeBatch, milliseconds: bool = False) -> bytes:
    """Single trades in the archive's layout of `trades`; the quote quantity is left at nothing, for nobody reads it."""
    lines = [
        f"{i},{format_e8(p)},{format_e8(q)},0.00000000,{t // 1000 if milliseconds else t},{bool(m)},True\n"
        for i, p, q, _, _, t, m in zip(*(getattr(batch, name).tolist() for name in COLUMNS), strict=True)
    ]
    return "".join(lines).encode()


def zip_of(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(
            zipfile.ZipInfo(name.replace(".zip", ".csv"), (2025, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED
        )
    return out.getvalue()


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    # A download breaks off after so many bytes.
    cut: int | None = None


Fault = Callable[[Answer], Answer]


class FakeVenue:
    """The whole past of some symbols, as aggregates and as single trades. `now_us` says which days and months are over.

    `without` are ids that no REST answer has. Days without a trade have an empty file where `empty_files`, else none.
    """

    def __init__(self, trades: Mapping[str, TradeBatch], now_us: int, page_rows: int = 1_000) -> None:
        self.trades = dict(trades)
        self.now_us = now_us
        self.page_rows = page_rows
        self.asked: list[str] = []
        self._zips: dict[str, bytes] = {}
        self._gone: set[str] = set()
        self.without: set[int] = set()
        self.empty_files = False
        self._faults: list[tuple[str, Fault]] = []

    def fault(self, path_part: str, fault: Fault, times: int = 1) -> None:
        """Spoil the next `times` answers to paths that contain `path_part`."""
        self._faults.extend([(path_part, fault)] * times)

    def answer(self, method: str, path: str, parameters: Mapping[str, str | int]) -> Answer:
        self.asked.append(f"{method} {path}")
        answer = self._rest(path, parameters) if path.startswith("/api/") else self._archive(path)
        for k, (part, fault) in enumerate(self._faults):
            if part in path:
                del self._faults[k]
                return fault(answer)
        return answer

    def publish(self, name: str, rows: TradeBatch) -> None:
        """Put other rows into an archive file than those that belong there; its checksum follows."""
        self._zips[name] = self._zip(name, rows)

    def publish_bytes(self, name: str, data: bytes) -> None:
        """The same with bytes that need be no zip at all."""
        self._zips[name] = data

    def withdraw(self, name: str) -> None:
        """Have the venue forget a file."""
        self._gone.add(name)

    def rows_of(self, symbol: str, period: str) -> TradeBatch:
        """The aggregates of a day or a month."""
        rows = self.trades[symbol]
        days = rows.time_us // DAY_US
        inside = [day for day in np.unique(days).tolist() if day_of(day * DAY_US).startswith(period)]
        return taken(rows, np.isin(days, inside))

    def _archive(self, path: str) -> Answer:
        name = path.rsplit("/", 1)[1].removesuffix(".CHECKSUM")
        symbol, _, period = name.removesuffix(".zip").split("-", 2)
        rows = self.rows_of(symbol, period)
        is_over = period < day_of(self.now_us)[: len(period)]
        if name in self._gone or not is_over or (not len(rows) and not self.empty_files):
            return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if name not in self._zips:
            self._zips[name] = self._zip(name, rows)
        body = self._zips[name]
        if path.endswith(".CHECKSUM"):
            return Answer(200, f"{hashlib.sha256(body).hexdigest()}  {name}\n".encode())
        return Answer(200, body)

    def _zip(self, name: str, rows: TradeBatch) -> bytes:
        _, kind, period = name.removesuffix(".zip").split("-", 2)
        milliseconds = period < "2025"
        return zip_of(
            name, singles_csv(singles_of(rows), milliseconds) if kind == "trades" else csv_of(rows, milliseconds)
        )

    def _rest(self, path: str, parameters: Mapping[str, str | int]) -> Answer:
        single = not path.endswith("aggTrades")
        rows = self.trades[str(parameters["symbol"])]
        rows = taken(rows, (rows.time_us < self.now_us) & ~np.isin(rows.id, list(self.without)))
        rows = singles_of(rows) if single else rows
        limit = min(int(parameters.get("limit", 500)), self.page_rows)
        if "fromId" in parameters:
            rows = taken(rows, rows.id >= int(parameters["fromId"]))[:limit]
        elif "startTime" in parameters:
            rows = taken(rows, rows.time_us >= int(parameters["startTime"]) * 1_000)[:limit]
        else:
            rows = rows[len(rows) - limit :] if len(rows) > limit else rows
        columns = zip(*(getattr(rows, name).tolist() for name in COLUMNS), strict=True)
        body = [
            {"id": i, "price": format_e8(p), "qty": format_e8(q), "time": t, "isBuyerMaker": bool(m)}
            if single
            else {"a": i, "p": format_e8(p), "q": format_e8(q), "f": f, "l": last, "T": t, "m": bool(m), "M": True}
            for i, p, q, f, last, t, m in columns
        ]
        return Answer(200, json.dumps(body).encode(), {"x-mbx-used-weight-1m": "4"})


class MemoryTransport:
    """Requests straight to a `FakeVenue`."""

    def __init__(self, venue: FakeVenue) -> None:
        self._venue = venue

    async def connect(self, url: str, on_frame: object) -> object:
        raise Unavailable(f"{url}: history needs no websocket")

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 10.0,
    ) -> HttpResponse:
        answer = self._venue.answer(method, urlsplit(url).path, params or {})
        size = {"content-length": str(len(answer.body))}
        return HttpResponse(answer.status, size | answer.headers, b"" if method == "HEAD" else answer.body)

    async def download(self, url: str, offset: int = 0, timeout_s: float = 60.0) -> AsyncIterator[bytes]:
        answer = self._venue.answer("GET", urlsplit(url).path, {})
        if answer.status >= 500:
            raise Unavailable(f"{url}: {answer.status}")
        if answer.status >= 400:
            raise Rejected(f"{url}: {answer.status}", str(answer.status))
        end = len(answer.body) if answer.cut is None else answer.cut
        for at in range(offset, end, 4_096):
            yield answer.body[at : min(at + 4_096, end)]
        if answer.cut is not None and offset < len(answer.body):
            raise Unavailable(f"{url}: connection lost")

    async def close(self) -> None: ...


def split(batch: TradeBatch, pieces: list[np.ndarray[tuple[int], np.dtype[np.int64]]]) -> list[TradeBatch]:
    return [taken(batch, rows) for rows in pieces]


__all__ = [
    "ARCHIVE",
    "COLUMNS",
    "REST",
    "START_US",
    "Answer",
    "FakeVenue",
    "MemoryTransport",
    "concatenated",
    "csv_of",
    "equal",
    "make_trades",
    "singles_csv",
    "singles_of",
    "split",
    "zip_of",
]
