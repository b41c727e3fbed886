"""What a forecaster counts while it runs, and how long its answers take."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

import msgspec
import numpy as np


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
