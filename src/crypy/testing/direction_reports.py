"""Made-up reports of directions whose chances are true by construction: for tests and benchmarks of whoever shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from crypy.domain.reports import (
    CandleMark,
    Counters,
    DirectionCounts,
    DirectionForecast,
    DirectionName,
    DirectionOutcome,
    DirectionReport,
    MemberWeight,
    ReliabilityBin,
    Snapshot,
)
from crypy.domain.times import US_PER_S

START_S: Final = 1_784_901_600
TIMEFRAMES_S: Final = {"1m": 60, "5m": 300, "15m": 900, "60m": 3_600}
_FIRST_PRICES: Final = {"BTCUSDT": 61_837.6, "ETHUSDT": 2_418.27}
_TICKS: Final = {"BTCUSDT": 0.1, "ETHUSDT": 0.01}
_SHOWN: Final = 60
_JUDGED: Final = 1_500


@dataclass(frozen=True)
class _Past:
    """Candles and what was said at each close; the chance of up of candle i was `up[i]`, given a move."""

    candles: tuple[CandleMark, ...]
    up: np.ndarray
    tie: np.ndarray
    facts: np.ndarray


class MadeUpDirections:
    """Satisfies the dashboard's `Reports` without markets. `advance` moves on by minutes; equal seeds give equal snapshots.

    Raw chances are twice as far from a half as the true ones, calibrated ones are true, so a page can be checked by eye.
    """

    def __init__(self, seed: int = 5, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")) -> None:
        self._seed = seed
        self.symbols = symbols
        self.minutes = 0
        self.note = ""
        self.faults: tuple[str, ...] = ()
        self.timeframes = tuple(TIMEFRAMES_S)

    def advance(self, minutes: int = 1) -> None:
        """Let minutes pass."""
        self.minutes += minutes

    def snapshot(self) -> Snapshot:
        """What the page shows; no markets, symbols or account."""
        return Snapshot(
            made_us=(START_S + 60 * self.minutes) * US_PER_S + 350_000,
            clock_speed=1.0,
            counters=Counters(forecasts=_JUDGED * len(self.symbols) * len(self.timeframes) + self.minutes),
            account=None,
            symbols=(),
            rows=(),
            directions=self.directions(),
            faults=self.faults,
        )

    def directions(self) -> tuple[DirectionReport, ...]:
        """A report of each symbol and timeframe."""
        return tuple(self._report(symbol, timeframe) for symbol in self.symbols for timeframe in self.timeframes)

    def _report(self, symbol: str, timeframe: str) -> DirectionReport:
        length_s = TIMEFRAMES_S[timeframe]
        past = self._past(symbol, length_s)
        up, tie = past.up, past.tie
        raw_up = np.clip(0.5 + 2.0 * (up - 0.5), 0.01, 0.99)
        said = np.where(np.abs(up - 0.5) * 2 < 0.04, 0, np.where(up > 0.5, 1, -1))
        # The last chance is of a candle that is not there yet.
        facts, judged = past.facts, said[:-1]
        moved = facts != 0
        decided = moved & (judged != 0)
        p, y = up[:-1][moved], facts[moved] > 0
        loss = float(-np.mean(np.where(y, np.log(p), np.log(1.0 - p))))
        last = past.candles[-1]
        chances = _chances(up[-1], tie[-1])
        raw = _chances(raw_up[-1], tie[-1])
        return DirectionReport(
            symbol=symbol,
            timeframe=timeframe,
            candles=past.candles[-_SHOWN:],
            forecast=DirectionForecast(
                candle_us=last.start_us, p_up=chances[0], p_down=chances[1], direction=_name(int(said[-1])),
                raw_p_up=raw[0], raw_p_down=raw[1], made_us=last.start_us + length_s * US_PER_S + 4_210, latency_us=4_210,
            ),
            outcomes=tuple(
                DirectionOutcome(
                    last.start_us - (_SHOWN - index) * length_s * US_PER_S,
                    _name(int(one)),
                    _name(int(fact)),
                    None if one == 0 or fact == 0 else bool(one == fact),
                )
                for index, (one, fact) in enumerate(zip(judged[-_SHOWN:], facts[-_SHOWN:], strict=True))
            ),
            counts=DirectionCounts(
                n=len(facts), decided=int(decided.sum()), hits=int((decided & (judged == facts)).sum()),
                flat=int((judged == 0).sum()),
            ),
            log_loss=loss,
            log_loss_gain=float(np.log(2.0)) - loss,
            brier=float(np.mean((p - y) ** 2)),
            raw_bins=_bins(raw_up[:-1][moved], y),
            bins=_bins(p, y),
            members=(
                MemberWeight("two-head 20250601", 0.46, chances[0] + 0.006, chances[1] - 0.006),
                MemberWeight("lstm 20250601", 0.31, chances[0] - 0.004, chances[1] + 0.004),
                MemberWeight("patterns", 0.15, chances[0] - 0.011, chances[1] + 0.011),
                MemberWeight("density minutes", 0.08),
            ),
            evidence=212.4,
            note=self.note if timeframe == "15m" else "",
        )  # fmt: skip

    def _past(self, symbol: str, length_s: int) -> _Past:
        rng = np.random.default_rng((self._seed, *symbol.encode(), length_s))
        closed = _JUDGED + 1 + (60 * self.minutes) // length_s
        up = np.clip(0.5 + 0.035 * rng.standard_t(6, closed + 1), 0.05, 0.95)
        tie = rng.uniform(0.0, 0.08 if length_s == 60 else 0.01, closed + 1)
        draw, tied = rng.random(closed), rng.random(closed) < tie[:-1]
        facts = np.where(tied, 0, np.where(draw < up[:-1], 1, -1))
        scale = 5e-4 * np.sqrt(length_s / 60)
        steps = facts * np.abs(rng.standard_t(4, closed)) * scale
        tick = _TICKS[symbol]
        closes = np.round(_FIRST_PRICES[symbol] * np.exp(np.cumsum(steps) - np.cumsum(steps)[-1]) / tick) * tick
        reach = np.abs(rng.normal(0.0, 0.6 * scale, (2, closed)))
        volumes = rng.gamma(2.0, 6.0, closed) * (1 + 80 * np.abs(steps) / scale / 40)
        first_us = (START_S + 60 * self.minutes) // length_s * length_s * US_PER_S - (closed - 1) * length_s * US_PER_S
        candles = tuple(
            _candle(first_us + (i - 1) * length_s * US_PER_S, closes[i - 1], closes[i], reach[:, i], volumes[i], tick)
            for i in range(closed - _SHOWN, closed)
        )
        return _Past(candles, up, tie, facts)


def _candle(start_us: int, before: float, close: float, reach: np.ndarray, volume: float, tick: float) -> CandleMark:
    high = np.round(max(before, close) * np.exp(reach[0]) / tick) * tick
    low = np.round(min(before, close) * np.exp(-reach[1]) / tick) * tick
    return CandleMark(start_us, float(before), float(high), float(low), float(close), float(volume), True)


def _chances(up: float, tie: float) -> tuple[float, float]:
    """p_up and p_down."""
    return float(up * (1 - tie)), float((1 - up) * (1 - tie))


def _bins(p: np.ndarray, y: np.ndarray, count: int = 10) -> tuple[ReliabilityBin, ...]:
    """Bins of equal count."""
    order = np.argsort(p, kind="stable")
    return tuple(
        ReliabilityBin(float(p[rows].mean()), float(y[rows].mean()), len(rows)) for rows in np.array_split(order, count)
    )


def _name(sign: int) -> DirectionName:
    names: dict[int, DirectionName] = {1: "UP", -1: "DOWN", 0: "FLAT"}
    return names[sign]
