"""Compiled skewed Student t: density, distribution function, quantile, and the score for fitting.

Hansen (1994), "Autoregressive conditional density estimation", with mean zero and standard
deviation one before scaling:

    f(z) = b c (1 + y^2 / (eta - 2)) ^ (-(eta + 1) / 2),   y = (b z + a) / (1 -+ lambda)
    c = G((eta + 1) / 2) / (G(eta / 2) sqrt(pi (eta - 2))),   a = 4 lambda c (eta - 2) / (eta - 1),
    b^2 = 1 + 3 lambda^2 - a^2,   minus for z < -a / b, plus otherwise.

Nothing here calls lgamma: only the ratio G(x + 1/2) / G(x) is needed, and the difference of two large
lgammas would lose up to 1e-12 of it. Arguments are not checked; `ZeroMeanSkewStudentT` does that.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]

_SQRT_PI = math.sqrt(math.pi)
_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
# Above this the continued fraction needs hundreds of steps and the expansion in 1/eta is exact to 1e-14.
_NORMAL_FROM = 10_000.0


@kernel
def gamma_ratio(x: float) -> float:
    """G(x + 1/2) / G(x) for x > 0, to the last bits: asymptotic series from 10 on, recurrence below."""
    shift = 1.0
    while x < 10.0:
        shift *= x / (x + 0.5)
        x += 1.0
    u = 1.0 / (x * x)
    series = 17.0 / 14336.0 + u * (-31.0 / 18432.0 + u * (691.0 / 180224.0))
    series = (-0.125 + u * (1.0 / 192.0 + u * (-1.0 / 640.0 + u * series))) / x
    return shift * math.sqrt(x) * math.exp(series)


@kernel
def gamma_ratio_slope(x: float) -> float:
    """Derivative of log(G(x + 1/2) / G(x)), that is psi(x + 1/2) - psi(x)."""
    shift = 0.0
    while x < 10.0:
        shift += 1.0 / x - 1.0 / (x + 0.5)
        x += 1.0
    u = 1.0 / (x * x)
    series = -7.0 * 17.0 / 14336.0 + u * (9.0 * 31.0 / 18432.0 + u * (-11.0 * 691.0 / 180224.0))
    series = u * (0.125 + u * (-3.0 / 192.0 + u * (5.0 / 640.0 + u * series)))
    return shift + 0.5 / x + series


@kernel
def _beta_fraction(a: float, b: float, x: float, y: float) -> float:
    """Continued fraction of the incomplete beta function I_x(a, b), y = 1 - x, by Lentz's method.

    I_x(a, b) = x^a y^b / B(a, b) / fraction. Even part of the usual fraction, so half as many steps
    (Didonato and Morris 1992, ACM TOMS 18, eq. 9).
    """
    value = a * (a * y - b * x + 1.0) / (a + 1.0)
    if value == 0.0:
        value = 1e-300
    c = value
    d = 0.0
    for step in range(1, 10_000):
        m = float(step)
        k = 1.0 / (a + 2.0 * m - 1.0)
        part = m * (b - m) * x * k
        top = (a + m - 1.0) * (a + b + m - 1.0) * k * part * x
        bottom = m + part + (a + m) * (a * y - b * x + 1.0 + m * (2.0 - x)) / (a + 2.0 * m + 1.0)
        d = bottom + top * d
        if d == 0.0:
            d = 1e-300
        c = bottom + top / c
        if c == 0.0:
            c = 1e-300
        d = 1.0 / d
        change = c * d
        value *= change
        if abs(change - 1.0) < 4e-16:
            break
    return value


@kernel
def _lower_tail(t: float, nu: float, ratio: float) -> float:
    """P(T < -t) of Student's t with nu degrees of freedom, t >= 0; `ratio` = `gamma_ratio(nu / 2)`."""
    if nu > _NORMAL_FROM:
        return _lower_tail_near_normal(t, nu)
    t2 = t * t
    total = nu + t2
    if not total < math.inf:
        return 0.0
    front = t / math.sqrt(total) * math.exp(-0.5 * nu * math.log1p(t2 / nu)) * ratio / _SQRT_PI
    if front == 0.0:
        return 0.5 if t < 1.0 else 0.0
    half = 0.5 * nu
    w = t2 / total
    # Near zero the complement: 1/2 - I/2 keeps every digit where the direct form cancels.
    if w * (half + 2.5) < 1.5:
        return 0.5 - 0.5 * front / _beta_fraction(0.5, half, w, nu / total)
    return 0.5 * front / _beta_fraction(half, 0.5, nu / total, w)


@kernel
def _lower_tail_near_normal(t: float, nu: float) -> float:
    """Fisher's expansion of Student's t in 1/nu (Johnson, Kotz and Balakrishnan, vol. 2, 28.15)."""
    s = t * t
    first = (s + 1.0) / 4.0
    second = (((3.0 * s - 7.0) * s - 5.0) * s - 3.0) / 96.0
    third = (((((s - 11.0) * s + 14.0) * s + 6.0) * s - 3.0) * s - 15.0) / 384.0
    density = _INV_SQRT_2PI * math.exp(-0.5 * s)
    if density == 0.0:
        return 0.0
    tail = 0.5 * math.erfc(t * _SQRT_HALF) + density * t * (first + (second + third / nu) / nu) / nu
    return max(0.0, tail)


@kernel
def shape_constants(skew: float, tail: float) -> tuple[float, float, float, float]:
    """Hansen's (a, b, c) of a shape, and the gamma ratio they were made from."""
    ratio = gamma_ratio(0.5 * tail)
    c = ratio / math.sqrt(math.pi * (tail - 2.0))
    a = 4.0 * skew * c * (tail - 2.0) / (tail - 1.0)
    b = math.sqrt(1.0 + 3.0 * skew * skew - a * a)
    return a, b, c, ratio


@kernel
def skew_t_logpdf(x: float, scale: float, skew: float, tail: float) -> float:
    """Log density at x."""
    a, b, c, _ = shape_constants(skew, tail)
    y = b * (x / scale) + a
    y /= 1.0 - skew if y < 0.0 else 1.0 + skew
    return math.log(b * c / scale) - 0.5 * (tail + 1.0) * math.log1p(y * y / (tail - 2.0))


@kernel
def skew_t_pdf(x: float, scale: float, skew: float, tail: float) -> float:
    """Density at x."""
    return math.exp(skew_t_logpdf(x, scale, skew, tail))


@kernel
def skew_t_cdf(x: float, scale: float, skew: float, tail: float) -> float:
    """Probability of a value at or below x, within 1e-13 of scipy's incomplete beta function."""
    a, b, _, ratio = shape_constants(skew, tail)
    y = b * (x / scale) + a
    stretch = math.sqrt(tail / (tail - 2.0))
    if y < 0.0:
        return (1.0 - skew) * _lower_tail(-y / (1.0 - skew) * stretch, tail, ratio)
    return 1.0 - (1.0 + skew) * _lower_tail(y / (1.0 + skew) * stretch, tail, ratio)


@kernel
def _student_quantile(q: float, nu: float, ratio: float) -> float:
    """The t >= 0 with P(T < -t) = q for 0 < q <= 1/2. Newton, monotone from the start, hence safe.

    Centre: the distribution function is convex below zero, so Newton in t from t = 0 never passes the root.
    Tail: log P against log t is concave, so Newton from the power law's root never passes it either.
    """
    log_front = math.log(ratio / _SQRT_PI)
    if q > 0.05:
        t = 0.0
        for _ in range(100):
            slope = math.exp(log_front - 0.5 * math.log(nu) - 0.5 * (nu + 1.0) * math.log1p(t * t / nu))
            step = (_lower_tail(t, nu, ratio) - q) / slope
            t += step
            if abs(step) <= 1e-15 * t:
                break
        return t
    log_t = max(0.0, (log_front + 0.5 * (nu - 1.0) * math.log(nu) - 0.5 * math.log(nu) - math.log(q)) / nu)
    log_t = min(log_t, 700.0)
    for _ in range(200):
        t = math.exp(log_t)
        below = _lower_tail(t, nu, ratio)
        if below <= 0.0:
            log_t -= 0.5
            continue
        log_slope = log_front - 0.5 * math.log(nu) - 0.5 * (nu + 1.0) * math.log1p(t * t / nu) + log_t
        step = (math.log(below) - math.log(q)) * below / math.exp(log_slope)
        log_t += step
        if abs(step) <= 1e-15 * max(1.0, abs(log_t)):
            break
    return math.exp(log_t)


@kernel
def skew_t_ppf(q: float, scale: float, skew: float, tail: float) -> float:
    """Quantile: the x below which a share q lies; -inf at 0, inf at 1, NaN outside [0, 1]."""
    if not 0.0 <= q <= 1.0:
        return math.nan
    if q == 0.0:
        return -math.inf
    if q == 1.0:
        return math.inf
    a, b, _, ratio = shape_constants(skew, tail)
    shrink = math.sqrt((tail - 2.0) / tail)
    if q < 0.5 * (1.0 - skew):
        y = -(1.0 - skew) * shrink * _student_quantile(q / (1.0 - skew), tail, ratio)
    else:
        y = (1.0 + skew) * shrink * _student_quantile(min(0.5, (1.0 - q) / (1.0 + skew)), tail, ratio)
    return scale * (y - a) / b


@kernel
def skew_t_cdf_many(x: Floats, scale: Floats, skew: Floats, tail: Floats, out: Floats) -> None:
    """`skew_t_cdf` element by element; all arrays of one length, the answer goes into `out`."""
    for i in range(len(x)):
        out[i] = skew_t_cdf(x[i], scale[i], skew[i], tail[i])


@kernel
def skew_t_cdf_of(x: Floats, scale: float, skew: float, tail: float, out: Floats) -> None:
    """`skew_t_cdf` of many values under one distribution."""
    for i in range(len(x)):
        out[i] = skew_t_cdf(x[i], scale, skew, tail)


@kernel
def skew_t_ppf_of(q: Floats, scale: float, skew: float, tail: float, out: Floats) -> None:
    """`skew_t_ppf` of many shares under one distribution."""
    for i in range(len(q)):
        out[i] = skew_t_ppf(q[i], scale, skew, tail)


@kernel
def skew_t_logpdf_of(x: Floats, scale: float, skew: float, tail: float, out: Floats) -> None:
    """`skew_t_logpdf` of many values under one distribution."""
    for i in range(len(x)):
        out[i] = skew_t_logpdf(x[i], scale, skew, tail)


@kernel
def skew_t_logpdf_many(x: Floats, scale: Floats, skew: float, tail: float, out: Floats) -> None:
    """Log density of values with a scale each and one shape."""
    a, b, c, _ = shape_constants(skew, tail)
    level = math.log(b * c)
    for i in range(len(x)):
        y = b * (x[i] / scale[i]) + a
        y /= 1.0 - skew if y < 0.0 else 1.0 + skew
        out[i] = level - math.log(scale[i]) - 0.5 * (tail + 1.0) * math.log1p(y * y / (tail - 2.0))
