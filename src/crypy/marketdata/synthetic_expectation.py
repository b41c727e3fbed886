"""What the true model expects of variance: the standard deviation of a return over any horizon, given the true state.

Returns of the seconds are uncorrelated, so the variance over a horizon is the sum of the seconds' expected variances. Each is a product,
for the parts of log volatility are independent of one another:

    E[scale**2] = exp(2 level) * season**(2 seasonality) * E[(regime * burst)**2] * product over factors E[exp(2 x)]
    E[exp(2 x(t + h)) | x(t)] = exp(2 x(t) k + 2 v (1 - k**2)),  k = exp(-h / memory), v = size**2

to which jumps add their chance times their variance. The sum is taken on 64 spans that are short near now: exact sums of the season, the rest at
each span's middle.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S
from crypy.marketdata.synthetic_factors import SLOW_FROM_S
from crypy.marketdata.synthetic_season import season_sums
from crypy.marketdata.synthetic_truth import DayTruth, TruthModel
from crypy.runtime.kernels import inlined, kernel

Floats = NDArray[np.float64]


def expected_scale(model: TruthModel, truth: DayTruth, coin: int, second: int, horizon_s: float) -> float:
    """Standard deviation of the log return over `(second, second + horizon_s]`, given the true state at a second's start."""
    days = int((second + horizon_s) // DAY_S) + 1
    sums = season_sums(model.profile.season, truth.day, days, 2.0 * model.profile.coins[coin].seasonality)
    sensitivity = model.sensitivity[coin]
    regime = int(truth.regime[second // 60])
    quiet = (1.0 - model.jump_chance) * np.exp(2.0 * model.chain.log_volatility)
    return math.sqrt(
        _expected_variance(
            np.concatenate([sensitivity * truth.shared.at(second)[0], truth.own.at(second)[coin]]),
            np.concatenate([model.shared.memory_s, model.own.memory_s]),
            np.concatenate([sensitivity * model.shared.size, model.own.size]) ** 2,
            model.chain.expectation(quiet)[regime],
            model.chain.expectation(model.jump_chance)[regime] * model.jump_scale[coin] ** 2,
            model.chain.powers,
            sums,
            math.exp(2.0 * model.level[coin]),
            SLOW_FROM_S,
            second,
            horizon_s,
        )
    )


@inlined
def _season_sum(sums: Floats, second: float) -> float:
    """The season's running sum up to a moment, in seconds."""
    minute = min(int(second // 60.0), len(sums) - 2)
    return 60.0 * sums[minute] + (second - 60.0 * minute) * (sums[minute + 1] - sums[minute])


@kernel
def _expected_variance(
    state: Floats,
    memory: Floats,
    variance: Floats,
    regime: Floats,
    jumps: Floats,
    powers: Floats,
    season_sums: Floats,
    level: float,
    slow_from: float,
    second: int,
    horizon_s: float,
) -> float:
    spans = 64
    total = 0.0
    for i in range(spans):
        left, right = horizon_s * (i / spans) ** 2, horizon_s * ((i + 1) / spans) ** 2
        # Steps are taken at the starts of seconds and, by slow factors and regimes, of minutes.
        ahead = math.floor(0.5 * (left + right))
        minutes = (second + ahead) // 60 - second // 60
        log_power = 0.0
        for k in range(len(state)):
            keep = math.exp(-(ahead if memory[k] < slow_from else 60.0 * minutes) / memory[k])
            log_power += 2.0 * (state[k] * keep + variance[k] * (1.0 - keep * keep))
        calm, jumped = 0.0, 0.0
        for j in range(len(powers)):
            power = powers[j] ** minutes
            calm += regime[j] * power
            jumped += jumps[j] * power
        season = _season_sum(season_sums, second + right) - _season_sum(season_sums, second + left)
        total += level * math.exp(log_power) * calm * season + jumped * (right - left)
    return total
