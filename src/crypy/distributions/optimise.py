"""A small quasi-Newton minimiser, so that fitting needs no scipy at run time.

BFGS with a backtracking line search (Nocedal and Wright, 2nd ed., algorithms 6.1 and 3.1). The caller hands in a first
guess of the inverse Hessian, for likelihoods the inverse of the scores' outer products: with it a fit takes
about ten evaluations. Deterministic: same input, same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Objective = Callable[[Floats], tuple[float, Floats]]


@dataclass(frozen=True, slots=True)
class Minimum:
    """Where the search ended. `converged` is false when it ran out of steps or could not descend any further."""

    x: Floats
    value: float
    gradient: Floats
    evaluations: int
    converged: bool


def minimise(
    objective: Objective,
    start: Floats,
    inverse_hessian: Floats | None = None,
    tolerance: float = 1e-9,
    max_steps: int = 200,
) -> Minimum:
    """The minimum near `start` of a smooth function that returns its value and gradient.

    Ends when the decrease that the gradient still promises, g' H g / 2, is below `tolerance` times (1 + |value|). A value
    that is not finite is taken as a step too far, never as an answer.
    """
    x = start.astype(np.float64, copy=True)
    inverse = np.eye(len(x)) if inverse_hessian is None else inverse_hessian.copy()
    value, gradient = objective(x)
    evaluations = 1
    for _ in range(max_steps):
        direction = -inverse @ gradient
        slope = float(gradient @ direction)
        if slope >= 0.0:
            inverse = np.eye(len(x)) / max(1.0, float(np.abs(gradient).max()))
            direction = -inverse @ gradient
            slope = float(gradient @ direction)
        if -0.5 * slope <= tolerance * (1.0 + abs(value)):
            return Minimum(x, value, gradient, evaluations, True)
        length = 1.0
        while True:
            candidate = x + length * direction
            new_value, new_gradient = objective(candidate)
            evaluations += 1
            if np.isfinite(new_value) and new_value <= value + 1e-4 * length * slope:
                break
            length *= 0.5
            if length < 1e-10:
                return Minimum(x, value, gradient, evaluations, False)
        inverse = _updated(inverse, candidate - x, new_gradient - gradient)
        x, value, gradient = candidate, new_value, new_gradient
    return Minimum(x, value, gradient, evaluations, False)


def _updated(inverse: Floats, step: Floats, change: Floats) -> Floats:
    """The BFGS update of the inverse Hessian; left as it is where the curvature along the step is not positive."""
    curvature = float(step @ change)
    if curvature <= 1e-12 * float(np.linalg.norm(step) * np.linalg.norm(change)):
        return inverse
    left = np.eye(len(step)) - np.outer(step, change) / curvature
    return left @ inverse @ left.T + np.outer(step, step) / curvature
