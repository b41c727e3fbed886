"""Which fact belongs to which forecast: prediction(t) and the fact of candle t + 1, and nothing else.

A forecast made at the close of the candle that starts at `candle_ts` is about the one that starts a timeframe later; its fact has
`prev_ts` = the forecast's `candle_ts`. Lines that cannot be true are refused with their file and number, for a score over them would be no score.

Rules: a line told twice with equal content counts once (the clock's times may differ); a fact marked `corrected` replaces the one
before; forecasts marked `intra` are left out; one that was made when its fact was known already (a stalled line, a late start)
is left out and counted as late; one whose fact is not there yet is counted as waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_MS, iso
from crypy.forecasting.direction.record_lines import SIGNS, Line, R, at, check_candle, check_fact, check_prediction
from crypy.forecasting.direction.records import SECONDS, CandleRecord, FactRecord, PredictionRecord, Timeframe
from crypy.training.direction.calls import Calls, up_given_move, volatility_known

Floats = NDArray[np.float64]


class Key(NamedTuple):
    """Whose candles."""

    symbol: str
    timeframe: Timeframe


@dataclass(frozen=True, slots=True)
class Series:
    """Of one symbol and timeframe: forecasts with their facts, and all closes known.

    `closes` [candle] begins with the candle of `start_ts` (milliseconds) and is NaN where none is known; `rows` [n] are the candles at whose close the
    `calls` were made. `models` are the names (with versions) that made them. `waiting` forecasts have no fact yet, `late` ones were made behind it, `intra` ones
    before their candle closed.
    """

    calls: Calls
    start_ts: int
    closes: Floats
    rows: NDArray[np.int64]
    models: tuple[str, ...]
    waiting: int
    late: int
    intra: int


def matched(
    predictions: Iterable[Line[PredictionRecord]],
    facts: Iterable[Line[FactRecord]],
    candles: Iterable[Line[CandleRecord]] = (),
) -> dict[Key, Series]:
    """By symbol and timeframe, all that there are forecasts of. `candles` add closes to those of the facts, for the baselines.

    Raises `DataError` naming file and line.
    """
    told, intra = _predictions(predictions)
    came = _facts(facts)
    closes = _closes(candles, came)
    return {
        key: _series(key, told.get(key, {}), came.get(key, {}), closes.get(key, {}), intra.get(key, 0))
        for key in sorted(told.keys() | intra.keys(), key=lambda one: (one.symbol, SECONDS[one.timeframe]))
    }


def _series(
    key: Key,
    told: Mapping[int, Line[PredictionRecord]],
    came: Mapping[int, Line[FactRecord]],
    closes: Mapping[int, float],
    intra: int,
) -> Series:
    step_ms = SECONDS[key.timeframe] * 1_000
    known = [(line, came[ts + step_ms].record) for ts, line in told.items() if ts + step_ms in came]
    in_time = [(line.record, fact) for line, fact in known if not _is_late(line.record, step_ms)]
    if 2 * len(in_time) < len(known):
        line = next(line for line, _ in known if _is_late(line.record, step_ms))
        raise DataError(
            f"{line.where}: the forecast of candle {at(line.record.candle_ts)} was made {iso(line.record.made_us)}, when the candle it is"
            f" about had closed, and so were most of {key.symbol} {key.timeframe}: their times are off by a candle or more"
        )
    start_ts = min(closes, default=0)
    dense = np.full((max(closes) - start_ts) // step_ms + 1 if closes else 0, np.nan)
    dense[[(ts - start_ts) // step_ms for ts in closes]] = list(closes.values())
    rows = np.array([(record.candle_ts - start_ts) // step_ms for record, _ in in_time], np.int64)
    return Series(
        calls=_calls(in_time, step_ms, dense, rows),
        start_ts=start_ts,
        closes=dense,
        rows=rows,
        models=tuple(sorted({f"{line.record.model} {line.record.version}".strip() for line in told.values()})),
        waiting=len(told) - len(known),
        late=len(known) - len(in_time),
        intra=intra,
    )


def _calls(
    pairs: list[tuple[PredictionRecord, FactRecord]], step_ms: int, closes: Floats, rows: NDArray[np.int64]
) -> Calls:
    def column(values: Iterable[float]) -> Floats:
        return np.array(list(values), np.float64)

    with np.errstate(invalid="ignore", divide="ignore"):
        volatility = volatility_known(np.diff(np.log(closes), prepend=np.nan))
    return Calls(
        origins_s=np.array([(told.candle_ts + step_ms) // 1_000 for told, _ in pairs], np.int64),
        p_up=column(told.p_up for told, _ in pairs),
        p_down=column(told.p_down for told, _ in pairs),
        decided=np.array([SIGNS[told.direction] for told, _ in pairs], np.int8),
        outcome=np.array([SIGNS[fact.direction] for _, fact in pairs], np.int8),
        move_bp=column(fact.ret_bps for _, fact in pairs),
        raw_up=up_given_move(column(told.raw_p_up for told, _ in pairs), column(told.raw_p_down for told, _ in pairs)),
        volatility=volatility[rows],
    )


def _is_late(record: PredictionRecord, step_ms: int) -> bool:
    """Whether the candle that it is about had closed when it was made."""
    return record.made_us >= (record.candle_ts + 2 * step_ms) * US_PER_MS


def _predictions(
    lines: Iterable[Line[PredictionRecord]],
) -> tuple[dict[Key, dict[int, Line[PredictionRecord]]], dict[Key, int]]:
    """By candle, in the order of time; and how many were made between candles."""
    out: dict[Key, dict[int, Line[PredictionRecord]]] = {}
    intra: dict[Key, int] = {}
    for line in lines:
        record = line.record
        key = Key(record.symbol, record.timeframe)
        check_prediction(line)
        if record.intra:
            intra[key] = intra.get(key, 0) + 1
            continue
        kept = out.setdefault(key, {})
        before = kept.get(record.candle_ts)
        if before is None:
            _check_order(line, record.candle_ts, kept)
            kept[record.candle_ts] = line
        elif _content(before.record) != _content(record):
            raise DataError(
                f"{line.where}: another forecast of {key.symbol} {key.timeframe} at candle {at(record.candle_ts)} stands in {before.where};"
                " one candle has one forecast: keep the first, the later one may know more"
            )
    return out, intra


def _facts(lines: Iterable[Line[FactRecord]]) -> dict[Key, dict[int, Line[FactRecord]]]:
    out: dict[Key, dict[int, Line[FactRecord]]] = {}
    for line in lines:
        record = line.record
        kept = out.setdefault(Key(record.symbol, record.timeframe), {})
        check_fact(line)
        before = kept.get(record.candle_ts)
        if before is None:
            if not record.corrected:
                _check_order(line, record.candle_ts, kept)
            kept[record.candle_ts] = line
        elif record.corrected:
            kept[record.candle_ts] = line
        elif msgspec.structs.replace(before.record, corrected=False) != record:
            raise DataError(
                f"{line.where}: another fact of {record.symbol} {record.timeframe} candle {at(record.candle_ts)} stands in {before.where},"
                " and neither is marked corrected; fetch the candle anew"
            )
    return out


def _closes(
    candles: Iterable[Line[CandleRecord]], facts: Mapping[Key, Mapping[int, Line[FactRecord]]]
) -> dict[Key, dict[int, float]]:
    """Closes by candle; where candle and fact differ the fact's counts, for it is what forecasts are judged by."""
    out: dict[Key, dict[int, float]] = {}
    for line in candles:
        record = line.record
        check_candle(line)
        if record.confirmed:
            out.setdefault(Key(record.symbol, record.timeframe), {})[record.ts_start] = record.c
    for key, known in facts.items():
        closes = out.setdefault(key, {})
        for line in known.values():
            closes[line.record.prev_ts] = line.record.close_prev
        for ts, line in known.items():
            closes[ts] = line.record.close_curr
    return out


def _check_order(line: Line[R], ts: int, kept: dict[int, Line[R]]) -> None:
    newest = next(reversed(kept), None)
    if newest is not None and ts < newest:
        raise DataError(
            f"{line.where}: candle {at(ts)} of {line.record.symbol} {line.record.timeframe} comes after {at(newest)} in"
            f" {kept[newest].where}; lines of one symbol and timeframe go forward in time"
        )


def _content(record: PredictionRecord) -> PredictionRecord:
    """The record without the clock's times: a restart may tell the same once more."""
    return msgspec.structs.replace(record, made_us=0, latency_us=0)
