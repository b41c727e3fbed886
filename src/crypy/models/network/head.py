"""How corrections depend on the horizon: a fixed basis, so that the network gives one table for all horizons, and the fade.

corrections(h) = fade(h) x basis(h) . table, where the table [basis, 3] comes from the network. The basis are hat functions over the log of
the horizon, one for each knot, which sum to one, and beside them the log and the square root of the horizon; outside the
knots it is that of the nearest one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypy.models.network.settings import NetworkSettings

Floats = NDArray[np.float64]


def basis_size(settings: NetworkSettings) -> int:
    """Columns of `horizon_basis`."""
    return len(settings.knots_s) + 2


def horizon_basis(horizons_s: Floats, settings: NetworkSettings) -> Floats:
    """The basis [h, B] at these horizons: hats, then log and square root of the horizon, scaled to [-1, 1] over the knots."""
    knots = np.asarray(settings.knots_s, np.float64)
    inside = np.clip(np.asarray(horizons_s, np.float64), knots[0], knots[-1])
    log_h, grid = np.log(inside), np.log(knots)
    hats = np.stack([np.interp(log_h, grid, unit) for unit in np.eye(len(knots))], axis=-1)
    root, ends = np.sqrt(inside), np.sqrt(knots[[0, -1]])
    scaled = (
        2.0 * (log_h - grid[0]) / (grid[-1] - grid[0]) - 1.0,
        2.0 * (root - ends[0]) / (ends[1] - ends[0]) - 1.0,
    )
    return np.concatenate((hats, np.stack(scaled, axis=-1)), axis=-1)


def fade(horizons_s: Floats, settings: NetworkSettings) -> Floats:
    """How much of a correction holds [h]: 1 up to `fade_from_s`, linear in the log of the horizon, exactly 0 from `fade_to_s` on."""
    span = np.log([settings.fade_from_s, settings.fade_to_s])
    left = (span[1] - np.log(np.asarray(horizons_s, np.float64))) / (span[1] - span[0])
    return np.where(np.asarray(horizons_s) >= settings.fade_to_s, 0.0, np.clip(left, 0.0, 1.0))
