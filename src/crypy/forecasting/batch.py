"""One inference's result for all coins and durations, and the port it is handed to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.durations import Duration
from crypy.domain.windows import Window
from crypy.models.port import DistributionGrid


@dataclass(frozen=True, slots=True)
class WindowForecast:
    """Of one coin and duration: the return from the batch's end to the end of the window that runs then
    (`dist`), and to the end of the one after it (`extra_dist`)."""

    window: Window
    dist: ZeroMeanSkewStudentT
    extra_dist: ZeroMeanSkewStudentT


@dataclass(frozen=True, slots=True)
class ForecastBatch:
    """Everything one tick forecast. `grid` holds the whole horizon grid, for those who need another horizon.

    `end_us` is the moment forecast from (only data before it was used), `made_us` when the answer stood. `raw` is the grid as the model gave
    it, where self-calibration has made `grid` of it.
    """

    end_us: int
    made_us: int
    model: str
    grid: DistributionGrid
    windows: Mapping[tuple[str, Duration], WindowForecast]
    raw: DistributionGrid | None = None

    @property
    def by_model(self) -> DistributionGrid:
        """The grid as the model gave it: what models are compared by."""
        return self.grid if self.raw is None else self.raw


class DistributionSink(Protocol):
    """Takes a batch whole or raises `DataError` and keeps the one before."""

    def update_dists(self, batch: ForecastBatch) -> None: ...
