"""What is drawn in training: the order of origins in an epoch, and horizons for each. Pure functions of (seed, member, epoch or step).

So a run that was killed draws what an undisturbed one does, and no state of a generator has to be kept.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.training.trainer_settings import LONGEST_S, TrainerSettings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ORDER: Final = 0
_HORIZONS: Final = 1


def epoch_order(seed: int, member: int, epoch: int, origins: int) -> Ints:
    """All rows `0 .. origins - 1` in a fresh order."""
    return np.random.default_rng((seed, member, _ORDER, epoch)).permutation(origins)


def draw_horizons(settings: TrainerSettings, member: int, step: int, rows: int, step_s: int) -> tuple[Ints, Floats]:
    """Horizons [row, draw] in seconds, whole bars, ascending in each row, and their weights in the loss."""
    durations, weights = durations_of(settings, step_s)
    durations, weights = np.repeat(durations, settings.draws), np.repeat(weights / settings.draws, settings.draws)
    random = np.random.default_rng((settings.seed, member, _HORIZONS, step))
    shape = (rows, len(durations))
    longest = np.minimum(2 * durations, LONGEST_S)
    drawn = np.exp(math.log(step_s) + random.random(shape) * np.log(longest / step_s))
    whole = np.clip(np.rint(drawn / step_s).astype(np.int64), 1, longest // step_s) * step_s
    horizons = np.where(random.random(shape) < settings.random_share, whole, durations)
    order = np.argsort(horizons, axis=1, kind="stable")
    return np.take_along_axis(horizons, order, axis=1), weights[order]


def durations_of(settings: TrainerSettings, step_s: int) -> tuple[Ints, Floats]:
    """The durations that bars of this step can tell, and their weights. Raises `ConfigError` where there is none."""
    pairs = [
        (duration, weight)
        for duration, weight in zip(settings.durations_s, settings.duration_weights, strict=True)
        if duration % step_s == 0
    ]
    if not any(weight > 0.0 for _, weight in pairs):
        raise ConfigError(
            f"no duration of {settings.durations_s} s with a weight is a multiple of the bars' {step_s} s"
        )
    return np.array([duration for duration, _ in pairs], np.int64), np.array([weight for _, weight in pairs])
