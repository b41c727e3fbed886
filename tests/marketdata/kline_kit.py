"""A small true venue for the tests of candles: rows made from a seed, an archive and a REST interface over them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from history_kit import Answer, FakeVenue, zip_of

from crypy.domain.events import format_e8
from crypy.domain.times import US_PER_S
from crypy.marketdata.candle_rows import CandleRows, interval_text
from crypy.marketdata.trade_days import day_of

FIRST_MICROSECOND_US = 1_735_689_600 * US_PER_S


def make_candles(count: int, start_us: int, interval_s: int, seed: int = 5) -> CandleRows:
    """Candles without a hole, a fifth of them without trades."""
    rng = np.random.default_rng(seed)
    close = (9_459_179 + np.cumsum(rng.integers(-30, 31, count))) * 1_000_000
    open_ = np.concatenate([close[:1], close[:-1]])
    spread = rng.integers(0, 50, (2, count)) * 1_000_000
    high, low = np.maximum(open_, close) + spread[0], np.minimum(open_, close) - spread[1]
    volume = rng.integers(1, 10**10, count)
    taker = (volume * rng.random(count)).astype(np.int64)
    quote = volume * (close // 10**8)
    taker_quote = np.minimum(quote, taker * (close // 10**8))
    trades = rng.integers(1, 5_000, count)
    quiet = rng.random(count) < 0.2
    quiet[0] = False
    for column in (volume, taker, quote, taker_quote, trades):
        column[quiet] = 0
    source = np.maximum.accumulate(np.where(quiet, -1, np.arange(count)))
    for column in (open_, high, low, close):
        column[quiet] = close[source[quiet]]
    times = start_us + np.arange(count, dtype=np.int64) * interval_s * US_PER_S
    return CandleRows(times, open_, high, low, close, volume, quote, trades, taker, taker_quote)


def same(left: CandleRows, right: CandleRows) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left.columns(), right.columns(), strict=True))


def fields(rows: CandleRows, row: int, interval_s: int, unit_us: int) -> list[str]:
    """The twelve texts of one line of the archive."""
    at = int(rows.open_time_us[row])
    decimals = [format_e8(int(column[row])) for column in rows.columns()[1:7]]
    taker = [format_e8(int(column[row])) for column in rows.columns()[8:]]
    end = (at + interval_s * US_PER_S) // unit_us - 1
    return [str(at // unit_us), *decimals[:5], str(end), decimals[5], str(rows.count[row]), *taker, "0"]


def csv_of_candles(rows: CandleRows, interval_s: int, unit_us: int | None = None) -> bytes:
    """Archive lines; milliseconds before 2025, microseconds from then on, unless a unit is given."""
    unit = [1_000 if at < FIRST_MICROSECOND_US else 1 for at in rows.open_time_us.tolist()]
    lines = [",".join(fields(rows, row, interval_s, unit_us or unit[row])) for row in range(len(rows))]
    return "".join(line + "\n" for line in lines).encode()


class FakeKlines(FakeVenue):
    """The past candles of some symbols, of one length. `unfiled` and `untold` are open times that archive and REST leave out."""

    def __init__(self, rows: Mapping[str, CandleRows], interval_s: int, now_us: int) -> None:
        super().__init__({}, now_us)
        self.rows = dict(rows)
        self.interval_s = interval_s
        self.unfiled: set[int] = set()
        self.untold: set[int] = set()

    def _archive(self, path: str) -> Answer:
        name = path.rsplit("/", 1)[1].removesuffix(".CHECKSUM")
        symbol, interval, period = name.removesuffix(".zip").split("-", 2)
        length = len(period)
        rows = self.rows.get(symbol)
        if rows is None or interval != interval_text(self.interval_s) or period >= day_of(self.now_us)[:length]:
            return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        keep = np.array([day_of(at)[:length] == period and at not in self.unfiled for at in rows.open_time_us.tolist()])
        if not keep.any():
            return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if name not in self._zips:
            self._zips[name] = zip_of(name, csv_of_candles(rows[keep], self.interval_s))
        body = self._zips[name]
        if path.endswith(".CHECKSUM"):
            return Answer(200, f"{hashlib.sha256(body).hexdigest()}  {name}\n".encode())
        return Answer(200, body)

    def _rest(self, path: str, parameters: Mapping[str, str | int]) -> Answer:
        if path.endswith("/time"):
            return Answer(200, b'{"serverTime":%d}' % (self.now_us // 1_000))
        rows = self.rows.get(str(parameters["symbol"]))
        if rows is None:
            return Answer(400, b'{"code":-1121,"msg":"Invalid symbol."}')
        # The candle that runs now is told too, as it stands.
        told = [row for row, at in enumerate(rows.open_time_us.tolist()) if at <= self.now_us and at not in self.untold]
        times = rows.open_time_us // 1_000
        if "startTime" in parameters:
            told = [row for row in told if times[row] >= int(parameters["startTime"])]
        if "endTime" in parameters:
            told = [row for row in told if times[row] <= int(parameters["endTime"])]
        limit = int(parameters.get("limit", 500))
        told = told[:limit] if "startTime" in parameters else told[-limit:]
        answer: list[list[str | int]] = []
        for row in told:
            texts: list[str | int] = [*fields(rows, row, self.interval_s, 1_000)]
            answer.append([int(text) if k in (0, 6, 8) else text for k, text in enumerate(texts)])
        return Answer(200, json.dumps(answer).encode())


def files_of(root: Path) -> dict[str, str]:
    """Hashes of everything stored of candles, by path."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "candles").rglob("*.parquet"))
    }


def unzipped(body: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as file:
        return file.read(file.namelist()[0])
