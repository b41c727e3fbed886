"""What a forecaster counts while it runs, and how long its answers take."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from typing import Final, Self

import msgspec
import numpy as np

from crypy.forecasting.direction.predictor import Close

_LATENCIES: Final = 100_000


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles in microseconds of the wall; 0 while there is nothing."""

    p50: int
    p99: int
    max: int

    @classmethod
    def of(cls, values: Collection[int]) -> Self:
        """Of microseconds.

        >>> Latency.of([100, 300, 200])
        Latency(p50=200, p99=298, max=300)
        """
        if not values:
            return cls(p50=0, p99=0, max=0)
        p50, p99, most = np.quantile(np.array(values), (0.5, 0.99, 1.0)).astype(int).tolist()
        return cls(p50=p50, p99=p99, max=most)


class Counts(msgspec.Struct, kw_only=True):
    """What has happened since the start. `gaps` are minutes of a symbol that could not be had in time, `late` those of them that came after all,
    `corrections` minutes that said something else later, `skipped` forecasts that were not made."""

    minutes: int = 0
    candles: int = 0
    predictions: int = 0
    intra: int = 0
    facts: int = 0
    gaps: int = 0
    late: int = 0
    corrections: int = 0
    skipped: int = 0
    errors: int = 0


class Tallies:
    """`counts`, how often a forecast was skipped for each reason, and the times of the last hundred thousand answers and closes."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.skips: Counter[str] = Counter()
        self._latencies: deque[int] = deque(maxlen=_LATENCIES)
        self._took: deque[int] = deque(maxlen=_LATENCIES)

    def take_close(self, close: Close) -> None:
        """A minute and its answers."""
        self.counts.minutes += 1
        self.counts.skipped += len(close.skipped)
        self.skips.update(one.reason for one in close.skipped)
        self._took.append(close.took_us)
        self._latencies.extend(one.latency_us for one in close.predictions)

    def take_correction(self, close: Close) -> None:
        """Minutes that came late or say something else now."""
        self.counts.late += close.late
        self.counts.corrections += close.corrected

    def take_lines(self, close: Close) -> None:
        """Candles, facts and forecasts that go to the files."""
        self.counts.candles += len(close.candles)
        self.counts.facts += len(close.facts)
        self.counts.predictions += len(close.predictions)

    def latency(self) -> Latency:
        """From a candle's arrival to the answer."""
        return Latency.of(self._latencies)

    def close_time(self) -> Latency:
        """From a minute's last candle to the answers of all models, symbols and timeframes."""
        return Latency.of(self._took)

    def status(self) -> dict[str, str]:
        """Rows for the terminal."""
        counts, latency, took = self.counts, self.latency(), self.close_time()
        return {
            "forecasts": str(counts.predictions),
            "skipped": ", ".join(f"{count} x {reason}" for reason, count in self.skips.most_common(3)) or "none",
            "facts": str(counts.facts),
            "gaps": f"{counts.gaps} missing, {counts.late} came late, {counts.corrections} corrected",
            "latency": f"p50 {latency.p50 / 1e3:.1f} ms, p99 {latency.p99 / 1e3:.1f} ms from arrival to answer",
            "time per close": f"p50 {took.p50 / 1e3:.2f} ms, p99 {took.p99 / 1e3:.2f} ms",
        }
