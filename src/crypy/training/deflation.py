"""What is left of the best of many trials, once the luck of having tried many is taken out.

The test value is the t-statistic of the mean daily score difference to the baseline, its error by Newey and West over some days. Under the null, that no trial is any better, the best of N
independent trials is expected at `expected_maximum(N)`, not at nought; trials that resemble each other count as fewer. Sources:
D. H. Bailey and M. Lopez de Prado, "The deflated Sharpe ratio", Journal of Portfolio Management 40(5), 2014 (below: BLP), whose
Sharpe ratio of T returns is our t-statistic over sqrt(T); Z. Sidak, JASA 62, 1967, for the p-value of a maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.kernels import skew_t_cdf
from crypy.domain.errors import Incomplete
from crypy.domain.times import DAY_S
from crypy.training.differences import hac_error

Floats = NDArray[np.float64]

FEWEST_DAYS: Final = 10
# Lags of days over which differences are taken to hang together: horizons overlap by a day, volatility's misjudgement lasts for some.
LAGS_DAYS: Final = 5
_EULER: Final = 0.5772156649015329
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Deflated:
    """The best of `trials`, of which `effective_trials` are independent ones.

    `gain` is its raw mean daily difference to the baseline (nats, higher is better) and `error` the standard error of it; `deflated_gain` is the
    gain less what the best of so many is expected to show by luck. `probability` that it truly beats the baseline is BLP's deflated
    one, and cautious; `p_value` is the chance that luck alone gives a best as good as this.
    """

    days: int
    trials: int
    effective_trials: float
    gain: float
    error: float
    t: float
    expected_t: float
    deflated_gain: float
    probability: float
    p_value: float


def deflate(best: Floats, trials: int, effective: float) -> Deflated:
    """Deflate a trial's daily differences [day] for the number of trials that it was chosen from.

    Raises `Incomplete` below ten days: no standard error can be trusted then.
    """
    days = len(best)
    if days < FEWEST_DAYS or not np.isfinite(best).all():
        raise Incomplete(
            f"a deflated score needs {FEWEST_DAYS} days of finite differences, got {days}; judge over a longer range"
        )
    gain = float(best.mean())
    # Taking the mean out first makes the sum of products too small by about 1 - S/T.
    span = _span_days(days)
    hac = hac_error(np.arange(days, dtype=np.int64) * DAY_S, best, DAY_S, span - 1)
    error = 0.0 if hac is None else hac / math.sqrt(1.0 - span / days)
    if error == 0.0:
        # The trial is the baseline, or a constant away from it: nothing tells luck from skill.
        return Deflated(days, trials, effective, gain, 0.0, 0.0, expected_maximum(effective), gain, 0.0, 1.0)
    t = gain / error
    expected = expected_maximum(effective)
    alone = upper_tail(t, degrees_of_freedom(days))
    z = -_NORMAL.inv_cdf(min(max(alone, 1e-300), 1.0 - 1e-16))
    return Deflated(
        days, trials, effective, gain, error, t, expected,
        deflated_gain=gain - expected * error,
        probability=_NORMAL.cdf(z - expected),
        p_value=-math.expm1(max(1.0, effective) * math.log1p(-alone)) if alone < 1.0 else 1.0,
    )  # fmt: skip


def expected_maximum(trials: float) -> float:
    """Expected largest of N independent standard normals: (1 - g) F^-1(1 - 1/N) + g F^-1(1 - 1/(N e)), g Euler's constant.

    BLP's equation 1 (there times the spread of the trials' ratios, which is one here: they are t-statistics). 0 for one trial; below two,
    where the formula runs to minus infinity, never under 0.

    >>> round(expected_maximum(100), 3)
    2.531
    """
    if trials <= 1.0:
        return 0.0
    high = _NORMAL.inv_cdf(1.0 - 1.0 / trials)
    higher = _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return max(0.0, (1.0 - _EULER) * high + _EULER * higher)


def effective_trials(differences: Floats) -> float:
    """How many independent trials M correlated ones [trial, day] amount to: r + (1 - r) M, r their mean correlation, not below 0.

    BLP, appendix A.3. Correlations are over the days that two trials share (NaN: not judged on that day, as after pruning). A pair that
    shares too few, or a trial that never differs from the baseline, counts as uncorrelated: in doubt there were more trials, not fewer.
    """
    count = len(differences)
    if count <= 1:
        return float(count)
    known = np.isfinite(differences)
    filled = np.where(known, differences, 0.0)
    ones = known.astype(np.float64)
    shared = ones @ ones.T
    usable = shared >= FEWEST_DAYS
    over = np.maximum(shared, 1.0)
    # Moments of each pair over the days that both know.
    mean = (filled @ ones.T) / over
    square = (filled**2 @ ones.T) / over
    variance = np.maximum(square - mean**2, 0.0)
    covariance = (filled @ filled.T) / over - mean * mean.T
    spread = np.sqrt(variance * variance.T)
    usable &= spread > 1e-12 * np.maximum(square, square.T)
    correlation = np.where(usable, covariance / np.where(usable, spread, 1.0), 0.0)
    off_diagonal = correlation[~np.eye(count, dtype=bool)]
    r = min(1.0, max(0.0, float(off_diagonal.mean())))
    return r + (1.0 - r) * count


def degrees_of_freedom(days: int) -> float:
    """Of the Student t that the statistic follows with T days, few as they are: 1.5 T/S for Bartlett weights below lag S.

    E. Lazarus, D. Lewis, J. Stock and M. Watson, Journal of Business & Economic Statistics 36(4), 2018. A normal law here would call the best of
    200 noise trials over 60 days significant a quarter of the time.
    """
    return 1.5 * days / _span_days(days)


def upper_tail(t: float, nu: float) -> float:
    """P(T > t) of Student's t with nu > 2 degrees of freedom."""
    return skew_t_cdf(-t * math.sqrt((nu - 2.0) / nu), 1.0, 0.0, nu)


def _span_days(days: int) -> int:
    return min(LAGS_DAYS, days // 4) + 1
