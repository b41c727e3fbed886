"""The score of one return under a skewed t and the Fisher information of the law, in the terms that recalibration moves.

These are (log scale, log(tail - 2), skew) of Hansen's law with standard deviation `scale`; `distributions.kernels` has the law itself.
The information is that of the symmetric law, in closed form, where skew is independent of the other two: for Student's t it is known
(Lange, Little and Taylor 1989, JASA 84, app. B), and log sd = log scale of Student + log(tail / (tail - 2)) / 2.
"""

from __future__ import annotations

import math

from crypy.distributions.kernels import gamma_ratio_slope, shape_constants
from crypy.runtime.kernels import kernel


@kernel
def trigamma_drop(x: float) -> float:
    """psi'(x) - psi'(x + 1/2) for x > 0, by the recurrence up to 10 and the asymptotic series beyond."""
    total = 0.0
    while x < 10.0:
        total += 1.0 / (x * x) - 1.0 / ((x + 0.5) * (x + 0.5))
        x += 1.0
    drop = 0.0
    for side in range(2):
        at = x + 0.5 * side
        u = 1.0 / (at * at)
        value = 1.0 / at + 0.5 * u + u / at * (1.0 / 6.0 - u * (1.0 / 30.0 - u * (1.0 / 42.0 - u / 30.0)))
        drop += value if side == 0 else -value
    return total + drop


@kernel
def information(tail: float) -> tuple[float, float, float, float]:
    """Fisher information of the symmetric law in (log scale, log(tail - 2), skew): (scale, scale), (scale, tail), (tail, tail), (skew, skew)."""
    over = (tail + 1.0) * (tail + 3.0)
    own = 2.0 * tail / (tail + 3.0)
    cross = -2.0 / over
    shape = 0.25 * trigamma_drop(0.5 * tail) - (tail + 5.0) / (2.0 * tail * over)
    # Student's own scale is sd sqrt((tail - 2) / tail): its log moves by 1 / tail with log(tail - 2).
    slope = tail - 2.0
    mixed = own / tail + cross * slope
    tails = own / (tail * tail) + 2.0 * cross * slope / tail + shape * slope * slope
    _, _, c, _ = shape_constants(0.0, tail)
    a_skew = 4.0 * c * slope / (tail - 1.0)
    each = (tail + 1.0) / (tail + 3.0)
    skews = each * (a_skew * a_skew * tail / slope - 8.0 * a_skew * c + 3.0)
    return own, mixed, tails, skews


@kernel
def gradient(z: float, skew: float, tail: float) -> tuple[float, float, float]:
    """Slopes of the log density of a return of z scales in (log scale, log(tail - 2), skew)."""
    a, b, c, _ = shape_constants(skew, tail)
    slope = tail - 2.0
    slope_c = 0.5 * gamma_ratio_slope(0.5 * tail) - 0.5 / slope
    shared = c * slope / (tail - 1.0)
    a_skew = 4.0 * shared
    a_tail = 4.0 * skew * shared * (slope_c + 1.0 / slope - 1.0 / (tail - 1.0))
    b_skew = (3.0 * skew - a * a_skew) / b
    b_tail = -a * a_tail / b
    y = b * z + a
    sign = -1.0 if y < 0.0 else 1.0
    side = 1.0 + sign * skew
    y /= side
    w = y * y / slope
    pull = (tail + 1.0) * y / slope / (1.0 + w)
    by_scale = z * pull * b / side - 1.0
    by_tail = (
        slope_c
        + b_tail / b
        - 0.5 * math.log1p(w)
        + 0.5 * (tail + 1.0) * w / slope / (1.0 + w)
        - pull * (b_tail * z + a_tail) / side
    )
    by_skew = b_skew / b - pull * (b_skew * z + a_skew - sign * y) / side
    return by_scale, by_tail * slope, by_skew
