"""One symbol and horizon in parts: scores by hour of the day, by regime, by month and by day, and forecasts in full at a few origins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.scores import RowScores, quantiles, uniform_distance
from crypy.domain.times import DAY_S
from crypy.models.hindcast import Hindcast
from crypy.training.differences import DayBlocks
from crypy.training.evaluation import Daily, Fan, GroupScore
from crypy.training.regimes import REGIMES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FAN: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_FANS: Final = 3
_HOUR_S: Final = 3_600
_HOURS: Final = tuple(str(hour) for hour in range(24))


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Rows of one model at one symbol and horizon: their origins, scores, gains over the reference (`None`: it is the reference) and the bootstrap."""

    origins_s: Ints
    rows: RowScores
    gains: Floats | None
    blocks: DayBlocks

    def by_hour(self) -> tuple[GroupScore, ...]:
        return self._groups(self.origins_s // _HOUR_S % 24, _HOURS)

    def by_regime(self, regime: NDArray[np.int8]) -> tuple[GroupScore, ...]:
        """`regime` [n] as `training.regimes` labels; rows of an unknown one are left out."""
        return self._groups(regime.astype(np.int64), REGIMES)

    def by_month(self) -> tuple[GroupScore, ...]:
        months = self.origins_s.astype("datetime64[s]").astype("datetime64[M]")
        names, index = np.unique(months, return_inverse=True)
        return self._groups(index.astype(np.int64), tuple(str(name) for name in names))

    def daily(self) -> Daily:
        days, index, counts = np.unique(self.origins_s // DAY_S, return_inverse=True, return_counts=True)

        def means(values: Floats) -> tuple[float, ...]:
            return tuple((np.bincount(index, values) / counts).tolist())

        return Daily(
            day_s=tuple((days * DAY_S).tolist()),
            n=tuple(counts.tolist()),
            nll=means(self.rows.nll),
            crps_bp=means(self.rows.crps * 1e4),
            gain=() if self.gains is None else means(self.gains),
        )

    def _groups(self, labels: Ints, names: tuple[str, ...]) -> tuple[GroupScore, ...]:
        """Scores of the rows of each label; labels without rows are left out."""
        return tuple(
            self._group(name, rows) for label, name in enumerate(names) if len(rows := np.flatnonzero(labels == label))
        )

    def _group(self, name: str, rows: NDArray[np.intp]) -> GroupScore:
        pit = self.rows.pit[rows]
        gain = None if self.gains is None else self.gains[rows]
        return GroupScore(
            group=name,
            n=len(rows),
            nll=float(self.rows.nll[rows].mean()),
            crps_bp=float(self.rows.crps[rows].mean()) * 1e4,
            inside_90=float((np.abs(pit - 0.5) <= 0.45).mean()),
            pit_ks=uniform_distance(pit),
            gain=None if gain is None else float(gain.mean()),
            gain_se=None if gain is None else self.blocks.errors(self.origins_s[rows], gain[:, None])[0],
        )


def fans(symbol: str, one: Hindcast) -> tuple[Fan, ...]:
    """Forecasts in full at the middle of each third of the origins."""
    n = len(one.origins_s)
    picked = sorted({(2 * third + 1) * n // (2 * _FANS) for third in range(_FANS)}) if n else []
    return tuple(_fan(symbol, one, row) for row in picked)


def _fan(symbol: str, one: Hindcast, row: int) -> Fan:
    found = quantiles(_FAN, one.scale[row], one.skew[row], one.tail[row], len(one.horizons_s)) * 1e4
    return Fan(
        symbol=symbol,
        origin_s=int(one.origins_s[row]),
        horizons_s=tuple(int(horizon) for horizon in one.horizons_s),
        quantiles_bp={f"{100 * share:g}": tuple(found[:, k].tolist()) for k, share in enumerate(_FAN)},
        returns_bp=tuple(None if np.isnan(each) else float(each) * 1e4 for each in one.returns[row]),
    )
