"""What the simulated venues know about prices: one world, asked by all of them; and how they are run.

The world is either made (`synthetic`) or replayed from a recording. Whoever asks gets nothing from
after the clock's now: a question about the future is answered with `None`, so that a simulated
venue cannot leak what its own market will do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class PriceWorld(Protocol):
    """Prices of the coins as far as the clock has come. Prices are floats in quote units."""

    @property
    def coins(self) -> tuple[str, ...]:
        """The coins there are, in order; `BTC`, `ETH`, ..."""
        ...

    def symbol(self, coin: str) -> str:
        """The pair a coin is traded as, such as `BTCUSDT`. Raises `ConfigError` for a coin that is not there."""
        ...

    def mid(self, coin: str, time_us: int) -> float | None:
        """Midprice at the instant; `None` before the first quote and after now."""
        ...

    def close_at(self, coin: str, time_s: int) -> float | None:
        """Price of the last trade before the second `time_s` began; `None` where none is known, or after now."""
        ...

    def average(self, coin: str, start_us: int, end_us: int) -> float | None:
        """Time-weighted average price over `[start_us, end_us)`; `None` unless the whole span is known and past."""
        ...

    def scale(self, coin: str, time_us: int, horizon_s: float) -> float:
        """Standard deviation of the log return from the instant (not after now) over the horizon.

        Synthetic: the expectation under the true model, given its true state. Replay: realised volatility of
        the replay so far, shrunk to a prior while little is known.
        """
        ...


class SimulatedVenue(Protocol):
    """A venue's servers inside the simulator's process."""

    async def start(self, host: str, ports: Mapping[str, int]) -> dict[str, int]:
        """Listen; the port of each server by its name (`gamma`, `clob`, ...). `ports` asks for some by name; the rest take any."""
        ...

    async def run(self) -> None:
        """Do what the venue does by itself until cancelled."""
        ...

    async def close(self) -> None:
        """Close connections and ports."""
        ...
