"""How the forecaster stands, for people: last candles and forecasts, hits and misses, scores and reliability since the start. A fold over what closes gave."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from crypy.domain.reports import (
    CandleMark,
    DirectionCounts,
    DirectionForecast,
    DirectionOutcome,
    DirectionReport,
    MemberWeight,
    ReliabilityBin,
)
from crypy.domain.times import US_PER_MS
from crypy.forecasting.direction.records import SECONDS, CandleRecord, FactRecord, PredictionRecord, Timeframe
from crypy.models.direction.learner import PATTERNS

_SHOWN: Final = 120
_BINS: Final = 10
_LEAST: Final = 1e-6


class Reliability:
    """Mean chance of up given a move and the share that went up, in ten bins of equal width."""

    def __init__(self) -> None:
        self._bins = [[0.0, 0.0, 0.0] for _ in range(_BINS)]

    def take(self, up: float, went_up: bool) -> None:
        """A forecast and what came."""
        one = self._bins[min(_BINS - 1, int(up * _BINS))]
        one[0], one[1], one[2] = one[0] + up, one[1] + went_up, one[2] + 1.0

    def bins(self) -> tuple[ReliabilityBin, ...]:
        """Those that have forecasts."""
        return tuple(ReliabilityBin(total / n, ups / n, int(n)) for total, ups, n in self._bins if n)


class Standing:
    """One symbol and timeframe since the start of the process."""

    def __init__(self, symbol: str, timeframe: Timeframe) -> None:
        self.symbol = symbol
        self.timeframe: Timeframe = timeframe
        self._candles: deque[CandleRecord] = deque(maxlen=_SHOWN)
        self._outcomes: deque[DirectionOutcome] = deque(maxlen=_SHOWN)
        self._forecasts: dict[int, PredictionRecord] = {}
        self._last: PredictionRecord | None = None
        self._counts = DirectionCounts()
        self._loss = self._brier = 0.0
        self._moves = 0
        self._raw, self._calibrated = Reliability(), Reliability()

    def take_candle(self, candle: CandleRecord) -> None:
        """A closed candle, or one that says something else now."""
        if candle.corrected:
            self._candles = deque(
                (candle if one.ts_start == candle.ts_start else one for one in self._candles), maxlen=_SHOWN
            )
        else:
            self._candles.append(candle)

    def take_forecast(self, record: PredictionRecord) -> None:
        """A forecast; one made within a candle is shown until the candle closes."""
        self._last = record
        if not record.intra:
            self._forecasts[record.candle_ts] = record
            if len(self._forecasts) > _SHOWN:
                del self._forecasts[min(self._forecasts)]

    def take_fact(self, fact: FactRecord) -> None:
        """What the candle after a forecast did."""
        told = self._forecasts.pop(fact.prev_ts, None)
        if told is None:
            return
        decided = told.direction != "FLAT" and fact.direction != "FLAT"
        hit = told.direction == fact.direction if decided else None
        was = self._counts
        self._counts = DirectionCounts(
            n=was.n + 1, decided=was.decided + decided, hits=was.hits + bool(hit), flat=was.flat + (told.direction == "FLAT")
        )  # fmt: skip
        self._outcomes.append(DirectionOutcome(fact.candle_ts * US_PER_MS, told.direction, fact.direction, hit))
        if fact.direction != "FLAT":
            self._score(told, fact.direction == "UP")

    def report(self, note: str = "") -> DirectionReport:
        """Everything as it is now."""
        return DirectionReport(
            symbol=self.symbol,
            timeframe=self.timeframe,
            candles=tuple(
                CandleMark(one.ts_start * US_PER_MS, one.o, one.h, one.l, one.c, one.volume, one.confirmed)
                for one in self._candles
            ),
            forecast=None if self._last is None else _forecast(self._last),
            outcomes=tuple(self._outcomes),
            counts=self._counts,
            log_loss=self._loss / self._moves if self._moves else None,
            log_loss_gain=math.log(2.0) - self._loss / self._moves if self._moves else None,
            brier=self._brier / self._moves if self._moves else None,
            raw_bins=self._raw.bins(),
            bins=self._calibrated.bins(),
            members=() if self._last is None else _members(self._last),
            evidence=None if self._last is None or PATTERNS not in self._last.members else self._last.evidence,
            note=note,
        )

    def _score(self, told: PredictionRecord, went_up: bool) -> None:
        up, raw = _up(told.p_up, told.p_down), _up(told.raw_p_up, told.raw_p_down)
        self._moves += 1
        self._loss -= math.log(up if went_up else 1.0 - up)
        self._brier += (up - went_up) ** 2
        self._calibrated.take(up, went_up)
        self._raw.take(raw, went_up)


class Standings:
    """All symbols and timeframes that are followed, in order."""

    def __init__(self, symbols: Iterable[str], timeframes: Iterable[Timeframe]) -> None:
        order = sorted(timeframes, key=SECONDS.__getitem__)
        self._of = {(symbol, timeframe): Standing(symbol, timeframe) for symbol in symbols for timeframe in order}

    def take(
        self, candles: Iterable[CandleRecord], facts: Iterable[FactRecord], forecasts: Iterable[PredictionRecord]
    ) -> None:
        """What a close gave: facts judge older forecasts, so they come before the new ones."""
        for candle in candles:
            self._of[candle.symbol, candle.timeframe].take_candle(candle)
        for fact in facts:
            self._of[fact.symbol, fact.timeframe].take_fact(fact)
        for forecast in forecasts:
            self._of[forecast.symbol, forecast.timeframe].take_forecast(forecast)

    def reports(self, notes: Mapping[tuple[str, str], str]) -> tuple[DirectionReport, ...]:
        """A report each; `notes` say why one must not be trusted."""
        return tuple(one.report(notes.get((one.symbol, one.timeframe), "")) for one in self._of.values())


def _up(p_up: float, p_down: float) -> float:
    """The chance of up given a move, away from 0 and 1 so that its logarithm is finite."""
    total = p_up + p_down
    return min(1.0 - _LEAST, max(_LEAST, p_up / total if total > 0.0 else 0.5))


def _forecast(record: PredictionRecord) -> DirectionForecast:
    return DirectionForecast(
        candle_us=record.candle_ts * US_PER_MS,
        p_up=record.p_up,
        p_down=record.p_down,
        direction=record.direction,
        raw_p_up=record.raw_p_up,
        raw_p_down=record.raw_p_down,
        made_us=record.made_us,
        latency_us=record.latency_us,
        missing=record.missing,
    )


def _members(record: PredictionRecord) -> tuple[MemberWeight, ...]:
    named = sorted(record.members.items(), key=lambda one: (one[0] == PATTERNS, one[0]))
    return tuple(MemberWeight(name, weight, p_up, p_down) for name, (p_up, p_down, weight) in named)
