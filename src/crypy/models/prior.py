"""What the baseline believes of a coin before its own history speaks; the numbers are in `prior.json`.

They are the coefficients of FORECAST_BASELINES' model (d) on BTC and ETH, rounded, with a season by the hour. The file says what in it is
measured and what assumed. A fit starts from here and is pulled back to here as far as its data are few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.distributions.likelihood import GaussianPrior, to_free
from crypy.domain.instruments import coin_of
from crypy.models.memory import NOISE, Memory
from crypy.models.season import SLOTS, Season

Floats = NDArray[np.float64]
_HOURS: Final = 168
_TABLE_STEP_S: Final = 60
# Returns over seconds of a calm coin are often zero; likelihood would answer with a tail near 2 and a scale without bound.
LOWEST_TAIL: Final = 2.5


class Deviations(msgspec.Struct, frozen=True):
    """How far a coefficient may be from the prior's, as a standard deviation; that of a weight for each horizon, for
    coins differ more in their long ones."""

    constant: float
    weight: tuple[float, ...]
    season_gain: float
    free_skew: float
    free_tail: float


class Prior(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`prior.json`. Tables of one row per `horizons_s`; weights have one column per `windows_s`."""

    about: str
    assumed: str
    log_volatility_per_root_s: dict[str, float]
    other_log_volatility_per_root_s: float
    level_deviation: float
    other_level_deviation: float
    memory_s: tuple[float, ...]
    memory_shift: tuple[float, ...]
    memory_variance: tuple[float, ...]
    horizons_s: tuple[float, ...]
    windows_s: tuple[int, ...]
    weights_on_seconds: tuple[tuple[float, ...], ...]
    weights_on_minutes: tuple[tuple[float, ...], ...]
    constant: tuple[float, ...]
    season_gain: tuple[float, ...]
    skew: tuple[float, ...]
    tail: tuple[float, ...]
    deviations: Deviations
    season_utc_hours: tuple[float, ...]
    season_new_york_hours: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Of one symbol; tables over the horizon grid [g]. `weights` has shape [g, window].

    log sigma(h) = log(h) / 2 + level + constant + weights . regressors + season_gain S(h)
    """

    level: float
    level_variance: float
    weights: Floats
    constant: Floats
    season_gain: Floats
    skew: Floats
    tail: Floats
    season: Season


# Made before any thread needs it: see `marketdata.trade_files`.
_PRIOR: Final = msgspec.json.Decoder(Prior)


@lru_cache(maxsize=1)
def default_prior() -> Prior:
    """The numbers that come with crypy."""
    return _PRIOR.decode(files("crypy.models").joinpath("prior.json").read_bytes())


def prior_coefficients(prior: Prior, symbol: str, memory: Memory, horizons_s: Floats) -> Coefficients:
    """The prior of one symbol on a horizon grid, linear in the log of the horizon."""
    at = np.log(horizons_s)
    grid = np.log(prior.horizons_s)
    known = prior.log_volatility_per_root_s.get(coin_of(symbol))
    deviation = prior.level_deviation if known is not None else prior.other_level_deviation
    weights = np.array(prior.weights_on_seconds if memory.base_step_s < 30 else prior.weights_on_minutes)
    return Coefficients(
        level=prior.other_log_volatility_per_root_s if known is None else known,
        level_variance=deviation**2,
        weights=_on_windows(np.column_stack([np.interp(at, grid, column) for column in weights.T]), prior, memory),
        constant=np.interp(at, grid, prior.constant),
        season_gain=np.interp(at, grid, prior.season_gain),
        skew=np.interp(at, grid, prior.skew),
        tail=np.interp(at, grid, prior.tail),
        season=_season(prior),
    )


def gaussian_prior(
    prior: Prior, horizon_s: float, row: int, coefficients: Coefficients, strength: float
) -> GaussianPrior:
    """Beliefs about (constant, weights, season gain, free skew, free tail) at one horizon, row `row` of the coefficients.

    `strength` 1 is the file's; 4 halves the deviations.
    """
    windows = coefficients.weights.shape[1]
    free = to_free(float(coefficients.skew[row]), float(coefficients.tail[row]), LOWEST_TAIL)
    mean = (coefficients.constant[row], *coefficients.weights[row], coefficients.season_gain[row], *free)
    scale = prior.deviations
    weight = float(np.interp(math.log(horizon_s), np.log(prior.horizons_s), scale.weight))
    deviation = (scale.constant, *[weight] * windows, scale.season_gain, scale.free_skew, scale.free_tail)
    return GaussianPrior(np.array(mean, np.float64), np.array(deviation) / math.sqrt(strength))


def _on_windows(weights: Floats, prior: Prior, memory: Memory) -> Floats:
    """The weights of the windows that this memory has; a window it lacks gives its weight to the next longer one.

    The tables are for steps of a second and of a minute. With longer steps a window holds fewer returns, says less, and
    gives on what it has lost in reliability, signal / (signal + noise), in the same way.
    """
    out = np.zeros((len(weights), len(memory.windows_s)))
    for column, window in enumerate(prior.windows_s):
        heir = next(index for index, own in enumerate(memory.windows_s) if own >= window)
        out[:, heir] += weights[:, column]
    for column, window in enumerate(memory.windows_s[:-1]):
        signal = float(np.interp(math.log(window), np.log(prior.memory_s), prior.memory_variance))
        noise = NOISE / window
        kept = min(1.0, (signal + noise * _TABLE_STEP_S) / (signal + noise * memory.base_step_s))
        out[:, column + 1] += (1.0 - kept) * out[:, column]
        out[:, column] *= kept
    return out


def _season(prior: Prior) -> Season:
    """The hours' values joined by straight lines around the week's circle."""
    slots = (np.arange(SLOTS) + 0.5) / 12.0
    hours = np.arange(_HOURS) + 0.5

    def table(values: tuple[float, ...]) -> Floats:
        curve = np.interp(slots, hours, values, period=_HOURS)
        return curve - curve.mean()

    return Season(table(prior.season_utc_hours), table(prior.season_new_york_hours))
