"""Lines of the forecaster's files with the place where each stands, and whether a line can be true by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_MS, iso
from crypy.forecasting.direction.recorder import Kind, files_of
from crypy.forecasting.direction.records import SECONDS, CandleRecord, FactRecord, PredictionRecord, Timeframe
from crypy.models.direction.port import Direction
from crypy.runtime.durable import whole_lines

R = TypeVar("R", CandleRecord, FactRecord, PredictionRecord)

SIGNS: Final[Mapping[Direction, int]] = {"UP": 1, "DOWN": -1, "FLAT": 0}
# The venue's clock and ours may differ so much before a forecast counts as made before its candle closed.
CLOCK_SLACK_US: Final = 5 * 1_000_000
_ROUNDING: Final = 1e-9
# Milliseconds of the years 2001 to 2286; seconds are below, microseconds above.
_FIRST_MS: Final = 10**12
_LAST_MS: Final = 10**13

_CANDLES: Final = msgspec.json.Decoder(CandleRecord)
_PREDICTIONS: Final = msgspec.json.Decoder(PredictionRecord)
_FACTS: Final = msgspec.json.Decoder(FactRecord)


class Line(NamedTuple, Generic[R]):
    """A record, and where it stands: `predictions.jsonl, line 7`."""

    where: str
    record: R


def candle_lines(folder: Path) -> Iterator[Line[CandleRecord]]:
    """All of a folder's files in the order they were written; a last line without its end is not there yet.

    Raises `DataError` naming file and line of one that cannot be read. So do the other two.
    """
    return _lines(folder, "candles", _CANDLES.decode)


def prediction_lines(folder: Path) -> Iterator[Line[PredictionRecord]]:
    """As `candle_lines`, of forecasts."""
    return _lines(folder, "predictions", _PREDICTIONS.decode)


def fact_lines(folder: Path) -> Iterator[Line[FactRecord]]:
    """As `candle_lines`, of facts."""
    return _lines(folder, "facts", _FACTS.decode)


def _lines(folder: Path, kind: Kind, decode: Callable[[bytes], R]) -> Iterator[Line[R]]:
    for path in files_of(folder, kind):
        for number, line in enumerate(whole_lines(path), 1):
            where = f"{path}, line {number}"
            try:
                yield Line(where, decode(line))
            except msgspec.MsgspecError as error:
                raise DataError(f"{where} is no line of {kind}: {error}; mend or remove the line") from None


def check_candle(line: Line[CandleRecord]) -> None:
    """Raise `DataError` for a candle off its grid or without a price."""
    where, record = line
    _check_time(where, "ts_start", record.ts_start, record.timeframe)
    if not (math.isfinite(record.c) and record.c > 0):
        raise DataError(f"{where}: the candle {at(record.ts_start)} closes at {record.c}; prices are above zero")


def at(ts: int) -> str:
    """A candle's start, milliseconds, for people."""
    return iso(ts * US_PER_MS)


def check_prediction(line: Line[PredictionRecord]) -> None:
    """Raise `DataError` for one that contradicts itself: its times, its horizon, its chances."""
    where, record = line
    _check_time(where, "candle_ts", record.candle_ts, record.timeframe)
    step_s = SECONDS[record.timeframe]
    if record.horizon_s != step_s:
        raise DataError(
            f"{where}: horizon_s is {record.horizon_s}, and a candle of {record.timeframe} has {step_s} seconds"
        )
    for name, up, down in (("p", record.p_up, record.p_down), ("raw_p", record.raw_p_up, record.raw_p_down)):
        if not (up >= 0.0 and down >= 0.0 and up + down <= 1.0 + _ROUNDING):
            raise DataError(
                f"{where}: {name}_up is {up} and {name}_down {down}; chances are within 0 and 1, and both together at most 1"
            )
    if (record.p_up - record.p_down) * SIGNS[record.direction] < 0.0:
        raise DataError(f"{where}: direction is {record.direction} with p_up {record.p_up} and p_down {record.p_down}")
    close_us = (record.candle_ts + step_s * 1_000) * US_PER_MS
    if not record.intra and record.made_us < close_us - CLOCK_SLACK_US:
        raise DataError(
            f"{where}: the forecast of candle {at(record.candle_ts)} was made {iso(record.made_us)}, before the candle's close at"
            f" {iso(close_us)}, and is not marked intra: its time is misaligned or its clock wrong"
        )


def check_fact(line: Line[FactRecord]) -> None:
    """Raise `DataError` for one that is not of two neighbours, or contradicts its own prices."""
    where, record = line
    _check_time(where, "candle_ts", record.candle_ts, record.timeframe)
    if record.candle_ts - record.prev_ts != SECONDS[record.timeframe] * 1_000:
        raise DataError(
            f"{where}: the fact goes from candle {at(record.prev_ts)} to {at(record.candle_ts)}, which are no neighbours of {record.timeframe}"
        )
    old, new = record.close_prev, record.close_curr
    if not (old > 0.0 and new > 0.0 and math.isfinite(old + new)):
        raise DataError(f"{where}: closes are {old} and {new}; prices are above zero")
    ret_bps = 1e4 * (new / old - 1.0)
    agrees = abs(record.delta - (new - old)) <= 1e-9 * old and abs(record.ret_bps - ret_bps) <= 1e-4 + 1e-6 * abs(
        ret_bps
    )
    if not agrees or SIGNS[record.direction] != (new > old) - (new < old):
        raise DataError(
            f"{where}: {record.direction}, delta {record.delta} and ret_bps {record.ret_bps} contradict the closes {old} and {new}"
        )


def _check_time(where: str, name: str, ts: int, timeframe: Timeframe) -> None:
    if not _FIRST_MS <= ts < _LAST_MS:
        raise DataError(f"{where}: {name} is {ts}, which is no time in milliseconds of this age")
    if ts % (SECONDS[timeframe] * 1_000):
        raise DataError(f"{where}: {name} is {at(ts)}, where no candle of {timeframe} starts")
