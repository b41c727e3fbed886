"""A `PriceWorld` whose prices are a formula of time: small, exact, and known to the test that uses it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from crypy.domain.errors import ConfigError
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S

Path = Callable[[float], float]


class PathWorld:
    """Each coin's price is `path(seconds since 1970)`; trades happen all the time.

    `volatility` is the standard deviation of the log return over one second. Nothing is known before `first_us` or after the clock's now.
    """

    def __init__(self, clock: Clock, paths: Mapping[str, Path], volatility: float = 1e-4, first_us: int = 0) -> None:
        self._clock = clock
        self._paths = dict(paths)
        self._volatility = volatility
        self._first_us = first_us

    @property
    def coins(self) -> tuple[str, ...]:
        return tuple(self._paths)

    def symbol(self, coin: str) -> str:
        if coin not in self._paths:
            raise ConfigError(f"{coin} is not in this world; it has {', '.join(self._paths)}")
        return f"{coin}USDT"

    def mid(self, coin: str, time_us: int) -> float | None:
        return self._paths[coin](time_us / US_PER_S) if self._knows(time_us) else None

    def close_at(self, coin: str, time_s: int) -> float | None:
        """The price one millisecond before the second."""
        return self._paths[coin](time_s - 0.001) if self._knows(time_s * US_PER_S) else None

    def average(self, coin: str, start_us: int, end_us: int) -> float | None:
        """The mean of the prices in the middle of 240 equal parts."""
        if not (self._knows(start_us) and self._knows(end_us) and start_us < end_us):
            return None
        step = (end_us - start_us) / 240
        return sum(self._paths[coin]((start_us + (k + 0.5) * step) / US_PER_S) for k in range(240)) / 240

    def scale(self, coin: str, time_us: int, horizon_s: float) -> float:
        del coin, time_us
        return self._volatility * math.sqrt(horizon_s)

    def _knows(self, time_us: int) -> bool:
        return self._first_us <= time_us <= self._clock.now_us()


def wandering(price: float, swing: float = 0.002, period_s: float = 700.0) -> Path:
    """A price that goes up and down by the share `swing` on two incommensurable waves."""

    def path(time_s: float) -> float:
        wave = math.sin(math.tau * time_s / period_s) + 0.4 * math.sin(math.tau * time_s / (period_s * 0.23))
        return price * (1.0 + swing * wave / 1.4)

    return path
