"""Between grid points the log variance is linear in the log horizon, and it never falls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.distributions.curve import HorizonCurve
from crypy.domain.errors import DataError

CURVE = HorizonCurve([10.0, 100.0, 1_000.0], [1e-4, 4e-4, 9e-4], [0.0, -0.1, -0.2], [4.0, 6.0, 3.0])


def test_grid_points_are_themselves() -> None:
    assert CURVE.at(100.0).scale == pytest.approx(4e-4, rel=1e-14)
    assert (CURVE.at(100.0).skew, CURVE.at(100.0).tail) == (-0.1, 6.0)


def test_log_variance_is_linear_in_log_horizon() -> None:
    middle = CURVE.at(float(np.sqrt(10.0 * 100.0)))
    assert middle.scale == pytest.approx(np.sqrt(1e-4 * 4e-4))
    assert middle.skew == pytest.approx(-0.05)


def test_below_and_beyond_the_grid_variance_grows_with_time() -> None:
    assert CURVE.at(2.5).scale == pytest.approx(0.5e-4)
    assert CURVE.at(4_000.0).scale == pytest.approx(18e-4)
    assert CURVE.at(2.5).tail == pytest.approx(4.0)


@settings(max_examples=100, deadline=None)
@given(a=st.floats(1e-3, 1e6), b=st.floats(1e-3, 1e6))
def test_variance_never_falls_with_the_horizon(a: float, b: float) -> None:
    near, far = sorted((a, b))
    assert CURVE.at(near).scale <= CURVE.at(far).scale * (1 + 1e-12)


@pytest.mark.parametrize(
    ("horizons", "scales", "words"),
    [
        ([1.0, 2.0], [2e-4, 1e-4], "must not fall"),
        ([2.0, 1.0], [1e-4, 2e-4], "ascend"),
        ([0.0, 1.0], [1e-4, 2e-4], "ascend"),
        ([1.0, 2.0], [1e-4, float("nan")], "scale nan"),
        ([1.0], [1e-4, 2e-4], "as many"),
        ([], [], "at least one"),
    ],
)
def test_a_curve_that_breaks_a_rule_is_refused(horizons: list[float], scales: list[float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        HorizonCurve(horizons, scales, [0.0] * len(scales), [4.0] * len(scales))


@pytest.mark.parametrize("horizon_s", [0.0, -1.0, float("nan"), float("inf")])
def test_no_such_horizon(horizon_s: float) -> None:
    with pytest.raises(DataError, match="horizon"):
        CURVE.at(horizon_s)
