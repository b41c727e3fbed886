"""Multinomial logistic regression by Newton's method, in double precision; served by the network's kernel as a perceptron without layers.

    p_up, p_down = softmax over (u, d, 0),  u = a . (z, 1)    d = b . (z, 1), or mirrored a . (z with odd columns turned round, 1)

The penalty is `ridge` / 2 times the number of examples times the squared length of the coefficients, constants left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.ports import Clock
from crypy.models.direction.inputs import Column, DirectionInputs
from crypy.models.direction.kinds import FitRange
from crypy.models.direction.network import LOGISTIC, DirectionNetwork
from crypy.models.direction.perceptron import PerceptronSettings
from crypy.models.direction.scaling import fit_scaling
from crypy.models.volatility import FitRecord
from crypy.runtime.clocks import SystemClock
from crypy.training.direction.examples import Examples, cut_of, spread_over
from crypy.training.direction.recipes import network_columns, trainer_settings
from crypy.training.direction.recording import recorded
from crypy.training.direction.trainer_settings import DirectionTrainer, laid_over
from crypy.training.progress import TrainingProgress

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Bools = NDArray[np.bool_]

_CHUNK: Final = 32_768
# The curvature needs no more examples than these: the gradient has all of them.
_CURVED: Final = 60_000
_MOST_STEPS: Final = 60
_CLOSE: Final = 1e-6


class LogisticSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ridge` shrinks coefficients of columns of unit deviation; `mirrored` and `clip` as for the network."""

    ridge: float = 1e-3
    mirrored: bool = True
    clip: float = 4.0

    def __post_init__(self) -> None:
        if not self.ridge >= 0.0 or not self.clip > 0.0:
            raise ConfigError(f"ridge = {self.ridge} is not below 0, clip = {self.clip} above it")


def fit_direction_logistics(
    fit: FitRange,
    timeframes_s: tuple[int, ...],
    *,
    columns: tuple[Column, ...] | None = None,
    network: LogisticSettings | dict[str, Any] | None = None,
    trainer: DirectionTrainer | dict[str, Any] | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    clock: Clock | None = None,
) -> Iterator[DirectionNetwork]:
    """The logistic regressions of each timeframe, one a symbol, as they are done. Of the trainer's settings those of what is drawn count.

    Raises `ConfigError` for what cannot be asked or too little history, `DataError` where no minimum is found.
    """
    tell, watch = on_progress or _nobody, clock or SystemClock()
    settings = laid_over(LogisticSettings(), network)
    for each_s in timeframes_s:
        inputs = DirectionInputs(fit.symbols, each_s, columns or network_columns())
        yield _fitted(fit, inputs, settings, laid_over(trainer_settings(each_s), trainer), tell, watch)


def _fitted(
    fit: FitRange,
    inputs: DirectionInputs,
    settings: LogisticSettings,
    how: DirectionTrainer,
    tell: Callable[[TrainingProgress], None],
    clock: Clock,
) -> DirectionNetwork:
    market, symbols = fit.market, fit.symbols
    tell(TrainingProgress("computing the columns", 1, 1, 0.0, 1, 0, 0))
    examples = Examples.of(market, inputs, fit.start_s, fit.end_s, how.spacing_s, how.flat_bps)
    learnt, held_out = examples.split(cut_of(fit.start_s, fit.end_s, how.validation_share))
    market.want(inputs.wanted())
    x, seen = inputs.x(market, learnt.rows)
    scaling = fit_scaling(inputs, x, seen, settings.clip)
    z = scaling.scaled(x)
    weights, biases = [], []
    for at, symbol in enumerate(symbols):
        tell(TrainingProgress(f"fitting {symbol}", 1, 1, 0.0, 1, at, len(symbols)))
        known = seen[:, at] & learnt.known[:, at]
        odd = inputs.odd if settings.mirrored else None
        found = logistic(z[known, at], learnt.outcomes[known, at], odd, settings.ridge, symbol)
        weights.append(found[:-1])
        biases.append(found[-1])
    arrays: dict[str, NDArray[Any]] = {
        "perceptron.weights.0": np.stack(weights)[:, None].astype(np.float32),
        "perceptron.biases.0": np.stack(biases)[:, None].astype(np.float32),
    }
    shape = PerceptronSettings(
        hidden=(), members=1, shared=False, mirrored=settings.mirrored, dropout=0.0, clip=settings.clip
    )
    model = DirectionNetwork(LOGISTIC, shape, scaling, arrays, FitRecord())
    return recorded(market, model, learnt, held_out, how, (fit.start_s, fit.end_s), clock.now_us())


def logistic(z: Singles, outcomes: NDArray[np.int8], odd: Bools | None, ridge: float, what: str = "") -> Floats:
    """Coefficients [width + 1, heads], the constant last: one head where `odd` [width] says how the second is its mirror, else two.

    Raises `ConfigError` for no examples, `DataError` where Newton's method does not settle.
    """
    if not len(z):
        raise ConfigError(f"{what}: nothing is known to learn from; take a longer range")
    heads = 2 if odd is None else 1
    turned = None if odd is None else np.append(np.where(odd, -1.0, 1.0), 1.0)
    width = z.shape[1] + 1
    found = np.zeros((heads, width))
    penalty = np.full((heads, width), ridge)
    penalty[:, -1] = 1e-9
    sample = z[spread_over(len(z), _CURVED)]
    for _ in range(_MOST_STEPS):
        gradient = _gradient(z, outcomes, found, turned) / len(z) + penalty * found
        curvature = _curvature(sample, found, turned) + np.diag(penalty.ravel())
        step = np.linalg.solve(curvature, gradient.ravel()).reshape(found.shape)
        found = found - step
        if not np.isfinite(found).all():
            break
        if float(np.abs(step).max()) < _CLOSE:
            return found.T
    raise DataError(f"{what}: the logistic regression does not settle; take a larger ridge than {ridge}")


def _chances(x: Floats, found: Floats, turned: Floats | None) -> tuple[Floats, Floats, Floats]:
    """p_up, p_down and the design of d, at designs x [n, width + 1] of u."""
    other = x if turned is None else x * turned
    u, d = x @ found[0], other @ found[-1]
    top = np.maximum(np.maximum(u, d), 0.0)
    rise, fall = np.exp(u - top), np.exp(d - top)
    total = rise + fall + np.exp(-top)
    return rise / total, fall / total, other


def _gradient(z: Singles, outcomes: NDArray[np.int8], found: Floats, turned: Floats | None) -> Floats:
    """Of the summed log loss [heads, width + 1]."""
    out = np.zeros_like(found)
    for first in range(0, len(z), _CHUNK):
        x, happened = _design(z[first : first + _CHUNK]), outcomes[first : first + _CHUNK]
        up, down, other = _chances(x, found, turned)
        out[0] += x.T @ (up - (happened > 0))
        out[-1] += other.T @ (down - (happened < 0))
    return out


def _curvature(z: Singles, found: Floats, turned: Floats | None) -> Floats:
    """Mean second derivative of the log loss."""
    width = z.shape[1] + 1
    blocks = np.zeros((3, width, width))
    for first in range(0, len(z), _CHUNK):
        x = _design(z[first : first + _CHUNK])
        up, down, other = _chances(x, found, turned)
        blocks[0] += x.T @ (x * (up * (1.0 - up))[:, None])
        blocks[1] += other.T @ (other * (down * (1.0 - down))[:, None])
        blocks[2] -= x.T @ (other * (up * down)[:, None])
    blocks /= len(z)
    if turned is not None:
        return blocks[0] + blocks[1] + blocks[2] + blocks[2].T
    return np.block([[blocks[0], blocks[2]], [blocks[2].T, blocks[1]]])


def _design(z: Singles) -> Floats:
    return np.column_stack([z.astype(np.float64), np.ones(len(z))])


def _nobody(_: TrainingProgress) -> None:
    pass
