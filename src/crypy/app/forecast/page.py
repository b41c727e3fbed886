"""The live page of a process that only forecasts directions: the dashboard, with directions and without markets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from crypy.domain.ports import Clock
from crypy.domain.reports import Counters, DirectionReport, Snapshot


def _no_faults() -> Iterable[str]:
    return ()


class DirectionReports:
    """The dashboard's `Reports` of directions: asked for at every update, never kept.

    `clock` is that of the forecasts and `speed` how fast it runs against the wall's. Numbers in `reports` are plain Python ones: JSON knows no
    NumPy scalars. Empty faults are left out.
    """

    def __init__(
        self,
        clock: Clock,
        reports: Callable[[], Iterable[DirectionReport]],
        *,
        counters: Callable[[], Counters] = Counters,
        faults: Callable[[], Iterable[str]] = _no_faults,
        speed: float = 1.0,
    ) -> None:
        self._clock = clock
        self._reports = reports
        self._counters = counters
        self._faults = faults
        self._speed = speed

    def snapshot(self) -> Snapshot:
        """Everything as it is now."""
        return Snapshot(
            made_us=self._clock.now_us(),
            clock_speed=self._speed,
            counters=self._counters(),
            account=None,
            symbols=(),
            rows=(),
            directions=tuple(self._reports()),
            faults=tuple(fault for fault in self._faults() if fault),
        )
