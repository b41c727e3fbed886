"""How long an order is under way. A model that sleeps would need a clock: these only say how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from crypy.domain.errors import ConfigError


class Latency(Protocol):
    """Microseconds from sending to arrival, drawn anew for each order."""

    def delay_us(self) -> int: ...


class FixedLatency:
    """Always the same delay. Raises `ConfigError` when it is negative."""

    def __init__(self, delay_us: int) -> None:
        if delay_us < 0:
            raise ConfigError(f"a latency of {delay_us} us is negative; give 0 or more")
        self._delay_us = delay_us

    def delay_us(self) -> int:
        return self._delay_us


class SampledLatency:
    """Delays drawn, with replacement, from measured ones: the tail that was seen is the tail that is simulated.

    Raises `ConfigError` for no samples or a negative one.
    """

    def __init__(self, samples_us: Sequence[int], generator: np.random.Generator) -> None:
        self._samples_us = np.asarray(samples_us, np.int64)
        self._generator = generator
        if self._samples_us.size == 0 or int(self._samples_us.min()) < 0:
            raise ConfigError("measured latencies must be at least one, and none negative")

    def delay_us(self) -> int:
        return int(self._samples_us[self._generator.integers(self._samples_us.size)])
