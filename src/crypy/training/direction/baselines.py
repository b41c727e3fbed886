"""What costs nothing: baselines that forecast the next direction from the closes so far, each row from what had happened before it.

`constant` says how often it went up so far; `last` says that the last direction comes again, as often as it has so far; `logistic` is a
logistic regression on the last returns, kept up to date row by row. All three learn as they go, so that nothing has to be fitted first and
nothing later can be seen. Their chance of a tie is the share of ties so far.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from crypy.training.direction.calls import Floats, Signs, volatility_known

BASELINES: Final = ("constant", "last", "logistic")
LAGS: Final = 5
# Variance of the regression's weights before any row: they are small against one, for returns are scaled to a variance near it.
_PRIOR: Final = 0.01
_CLIP: Final = 4.0

Chances = tuple[Floats, Floats]


def directions(closes: Floats) -> Signs:
    """Of each close against the one before, 0 for the first and where either is unknown."""
    change = np.diff(closes, prepend=closes[:1])
    return np.sign(np.where(np.isfinite(change), change, 0.0)).astype(np.int8)


def constant(closes: Floats) -> Chances:
    """p_up and p_down [row] of the candle after each row: the share of ups among the moves so far (Laplace: one of each to begin with)."""
    signs = directions(closes)
    return _with_ties(closes, (1.0 + np.cumsum(signs > 0)) / (2.0 + np.cumsum(signs != 0)))


def last(closes: Floats) -> Chances:
    """As `constant`: the last direction again, with the chance at which moves that followed moves have repeated them so far."""
    signs = directions(closes)
    before = np.concatenate(([0], signs[:-1]))
    told = (signs != 0) & (before != 0)
    again = (1.0 + np.cumsum(told & (signs == before))) / (2.0 + np.cumsum(told))
    return _with_ties(closes, np.where(signs == 0, 0.5, np.where(signs > 0, again, 1.0 - again)))


def logistic(closes: Floats) -> Chances:
    """As `constant`: regression on the last 5 log returns over their usual size, updated after each row.

    Rows are taken one by one by an extended Kalman step: the Laplace approximation of Spiegelhalter and Lauritzen (1990), eq. 14 and 15.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        returns = np.diff(np.log(closes), prepend=np.nan)
        scaled = np.clip(np.nan_to_num(returns / volatility_known(returns), nan=0.0), -_CLIP, _CLIP)
    shifted = [np.concatenate((np.zeros(lag), scaled[: len(scaled) - lag])) for lag in range(LAGS)]
    inputs = np.stack([np.ones(len(closes)), *shifted], axis=1)
    return _with_ties(closes, _online(inputs, directions(closes)))


def _online(inputs: Floats, signs: Signs) -> Floats:
    """Chance of up behind each row; a row's inputs are learned with the sign of the row after it, when that has come."""
    weights = np.zeros(inputs.shape[1])
    spread = _PRIOR * np.eye(len(weights))
    out = np.empty(len(inputs))
    for row in range(len(inputs)):
        if row and signs[row]:
            given = inputs[row - 1]
            wide = spread @ given
            said = 1.0 / (1.0 + np.exp(-float(given @ weights)))
            slope = said * (1.0 - said)
            spread -= np.outer(wide, wide) * (slope / (1.0 + slope * float(given @ wide)))
            weights = weights + spread @ given * (float(signs[row] > 0) - said)
        out[row] = 1.0 / (1.0 + np.exp(-float(inputs[row] @ weights)))
    return out


def _with_ties(closes: Floats, up: Floats) -> Chances:
    """The chance of up given a move, and the share of ties so far."""
    known = np.isfinite(np.diff(closes, prepend=np.nan))
    ties = np.cumsum(known & (directions(closes) == 0)) / (2.0 + np.cumsum(known))
    return up * (1.0 - ties), (1.0 - up) * (1.0 - ties)


MAKERS: Final = {"constant": constant, "last": last, "logistic": logistic}
