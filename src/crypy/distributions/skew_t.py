"""`ZeroMeanSkewStudentT`: the law of a log return over a horizon, as everything in crypy passes it around.

Hansen's (1994) skewed Student t with mean zero. The numbers agree with `arch`'s `SkewStudent` to 1e-10.
The scalar kernels are for code that is compiled or counts microseconds; the class is for everything else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crypy.distributions.kernels import (
    shape_constants,
    skew_t_cdf,
    skew_t_cdf_many,
    skew_t_cdf_of,
    skew_t_logpdf,
    skew_t_logpdf_of,
    skew_t_pdf,
    skew_t_ppf,
    skew_t_ppf_of,
)
from crypy.domain.errors import DataError

__all__ = [
    "ZeroMeanSkewStudentT",
    "skew_t_cdf",
    "skew_t_cdf_many",
    "skew_t_logpdf",
    "skew_t_pdf",
    "skew_t_ppf",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ZeroMeanSkewStudentT:
    """Skewed Student t with mean zero; values are log returns.

    `scale` is the standard deviation, `skew` Hansen's lambda in (-1, 1) (negative: the left tail is longer), `tail`
    his eta > 2 (the smaller, the heavier; towards infinity a skewed normal). Methods take a number or an array.

    >>> law = ZeroMeanSkewStudentT(scale=0.01, skew=-0.05, tail=4.0)
    >>> round(law.cdf(law.ppf(0.975)), 12)
    0.975

    Raises `DataError` when a parameter is not finite or out of its range.
    """

    scale: float
    skew: float
    tail: float

    def __post_init__(self) -> None:
        if not 0.0 < self.scale < math.inf:
            raise DataError(f"scale {self.scale} of a skewed t is not a positive number")
        if not -1.0 < self.skew < 1.0:
            raise DataError(f"skew {self.skew} of a skewed t is not between -1 and 1")
        if not 2.0 < self.tail < math.inf:
            raise DataError(f"tail {self.tail} of a skewed t is not a number above 2")

    @overload
    def pdf(self, x: float) -> float: ...
    @overload
    def pdf(self, x: Floats) -> Floats: ...
    def pdf(self, x: float | Floats) -> float | Floats:
        """Density at x."""
        if isinstance(x, np.ndarray):
            return np.exp(self.logpdf(x))
        return skew_t_pdf(float(x), self.scale, self.skew, self.tail)

    @overload
    def logpdf(self, x: float) -> float: ...
    @overload
    def logpdf(self, x: Floats) -> Floats: ...
    def logpdf(self, x: float | Floats) -> float | Floats:
        """Log density at x."""
        if not isinstance(x, np.ndarray):
            return skew_t_logpdf(float(x), self.scale, self.skew, self.tail)
        values, out = _flat(x)
        skew_t_logpdf_of(values, self.scale, self.skew, self.tail, out)
        return out.reshape(x.shape)

    @overload
    def cdf(self, x: float) -> float: ...
    @overload
    def cdf(self, x: Floats) -> Floats: ...
    def cdf(self, x: float | Floats) -> float | Floats:
        """Probability of a return at or below x."""
        if not isinstance(x, np.ndarray):
            return skew_t_cdf(float(x), self.scale, self.skew, self.tail)
        values, out = _flat(x)
        skew_t_cdf_of(values, self.scale, self.skew, self.tail, out)
        return out.reshape(x.shape)

    @overload
    def ppf(self, q: float) -> float: ...
    @overload
    def ppf(self, q: Floats) -> Floats: ...
    def ppf(self, q: float | Floats) -> float | Floats:
        """Quantile of q in [0, 1]; NaN outside."""
        if not isinstance(q, np.ndarray):
            return skew_t_ppf(float(q), self.scale, self.skew, self.tail)
        values, out = _flat(q)
        skew_t_ppf_of(values, self.scale, self.skew, self.tail, out)
        return out.reshape(q.shape)

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Independent draws. The side is drawn first (left with chance (1 - skew) / 2), then half a Student t on it."""
        a, b, _, _ = shape_constants(self.skew, self.tail)
        size_of_y = np.abs(rng.standard_t(self.tail, size)) * math.sqrt((self.tail - 2.0) / self.tail)
        left = rng.random(size) < 0.5 * (1.0 - self.skew)
        y = np.where(left, -(1.0 - self.skew) * size_of_y, (1.0 + self.skew) * size_of_y)
        return self.scale * (y - a) / b

    @classmethod
    def fit(cls, returns: ArrayLike) -> Self:
        """Maximum likelihood of all three parameters; the tail is kept between 2.05 and 500.

        Raises `DataError` for fewer than 10 values, values that are not finite, or values that are all alike.
        """
        from crypy.distributions.likelihood import fit_shape

        values = np.ascontiguousarray(returns, np.float64).ravel()
        return cls(*fit_shape(values))


def _flat(values: Floats) -> tuple[Floats, Floats]:
    """The values as one contiguous row, and room for the answers."""
    row = np.ascontiguousarray(values, np.float64).ravel()
    return row, np.empty_like(row)
