"""The log density of Hansen's skewed t in JAX: what networks are trained on. `kernels` says the formula and serves.

Right to single precision for any tail above 2, and so are its derivatives: no difference of large gamma functions, no square that
overflows within 1e18 scales.
"""

from __future__ import annotations

import math
from typing import Final

import jax.numpy as jnp
from jax import Array

_LOG_PI: Final = math.log(math.pi)
_SHIFTS: Final = 8


def log_density(returns: Array, log_scale: Array, skew: Array, tail: Array) -> Array:
    """Log density in nats of each return under a law of mean zero, elementwise; `log_scale` is the log of its standard deviation.

    Skew lies in (-1, 1) and tail above 2: nothing is checked inside a compiled step.
    """
    log_c = _log_gamma_ratio(0.5 * tail) - 0.5 * (_LOG_PI + jnp.log(tail - 2.0))
    a = 4.0 * skew * jnp.exp(log_c) * (tail - 2.0) / (tail - 1.0)
    b2 = 1.0 + 3.0 * skew * skew - a * a
    y = jnp.sqrt(b2) * returns * jnp.exp(-log_scale) + a
    y = y / jnp.where(y < 0.0, 1.0 - skew, 1.0 + skew)
    return 0.5 * jnp.log(b2) + log_c - log_scale - 0.5 * (tail + 1.0) * jnp.log1p(y * y / (tail - 2.0))


def _log_gamma_ratio(x: Array) -> Array:
    """log G(x + 1/2) - log G(x) for x > 0: `kernels.gamma_ratio`, a fixed number of steps up and then the series."""
    shift = jnp.ones_like(x)
    for _ in range(_SHIFTS):
        shift = shift * (x / (x + 0.5))
        x = x + 1.0
    u = 1.0 / (x * x)
    series = (-0.125 + u * (1.0 / 192.0 + u * (-1.0 / 640.0))) / x
    return jnp.log(shift) + 0.5 * jnp.log(x) + series
