"""The probability of a settlement statistic, against paths drawn from a law that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crypy.distributions.curve import HorizonCurve
from crypy.distributions.settlement import UpQuestion, forecast_up, question
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.errors import DataError
from crypy.domain.settlement import Settlement
from crypy.domain.windows import Window

WINDOW = Window(1_770_000_000, 1_770_000_300, "5m")
POINT = Settlement("point", "chainlink")
AVERAGE = Settlement("average", "chainlink", lookback_s=60)
CANDLE = Settlement("candle", "binance")
CLOSES = Settlement("closes", "binance", tie="half", lag_s=60)

SIGMA = 1e-4  # of the log return over one second
GRID = [1.0, 5.0, 30.0, 120.0, 600.0]
# As good as normal, so that sums of its returns are of the same kind.
BROWNIAN = HorizonCurve(GRID, [SIGMA * math.sqrt(h) for h in GRID], [0.0] * 5, [10_000.0] * 5)
PATHS = 40_000
STEPS_PER_S = 2


def before_end(seconds: float) -> int:
    return WINDOW.end_us - round(seconds * 1e6)


def paths(seconds: int) -> NDArray[np.float64]:
    """Log returns since now, [path, step], step k at (k + 1) / STEPS_PER_S seconds."""
    rng = np.random.default_rng(seconds)
    steps = rng.normal(0.0, SIGMA / math.sqrt(STEPS_PER_S), (PATHS, seconds * STEPS_PER_S))
    return np.cumsum(steps, axis=1)


def mean_over(levels: NDArray[np.float64], from_s: int, to_s: int) -> NDArray[np.float64]:
    """Time-weighted average price over `(from_s, to_s]` of each path, by the trapezoid rule."""
    start, end = from_s * STEPS_PER_S, to_s * STEPS_PER_S
    whole = np.concatenate([np.zeros((len(levels), 1)), levels], axis=1)[:, start : end + 1]
    prices = np.exp(whole)
    return (prices[:, 1:-1].sum(axis=1) + 0.5 * (prices[:, 0] + prices[:, -1])) / (end - start)


def agrees(probability: float, happened: NDArray[np.bool_]) -> None:
    error = math.sqrt(0.25 / len(happened))
    assert probability == pytest.approx(float(happened.mean()), abs=4.0 * error)


@pytest.mark.parametrize("offset", [-1e-3, 0.0, 4e-4])
def test_a_point_price_is_the_share_of_paths_that_end_above_the_reference(offset: float):
    reference = 100.0 * math.exp(offset)
    forecast = forecast_up(question(WINDOW, POINT), BROWNIAN, before_end(100), 100.0, reference)
    agrees(forecast.probability, 100.0 * np.exp(paths(100)[:, -1]) >= reference)


@pytest.mark.parametrize("offset", [-8e-4, 2e-4])
@pytest.mark.parametrize("left_s", [60, 75, 200])
def test_an_average_that_has_not_begun_is_less_certain_than_its_start_and_more_than_its_end(left_s: int, offset: float):
    reference = 100.0 * math.exp(offset)
    forecast = forecast_up(question(WINDOW, AVERAGE), BROWNIAN, before_end(left_s), 100.0, reference)
    agrees(forecast.probability, 100.0 * mean_over(paths(left_s), left_s - 60, left_s) >= reference)
    assert forecast.deviation == pytest.approx(SIGMA * math.sqrt(left_s - 40), rel=1e-6)


@pytest.mark.parametrize(("known", "reference"), [(99.98, 100.0), (100.05, 100.02), (100.0, 100.0)])
@pytest.mark.parametrize("left_s", [50, 20, 3])
def test_inside_the_average_only_the_rest_is_open(left_s: int, known: float, reference: float):
    forecast = forecast_up(question(WINDOW, AVERAGE), BROWNIAN, before_end(left_s), 100.0, reference, known)
    whole = (known * (60 - left_s) + 100.0 * mean_over(paths(left_s), 0, left_s) * left_s) / 60
    agrees(forecast.probability, whole >= reference)


def test_once_the_average_is_over_it_decides():
    asked = question(WINDOW, AVERAGE)
    assert forecast_up(asked, BROWNIAN, WINDOW.end_us, 90.0, 100.0, known=100.01).probability == 1.0
    assert forecast_up(asked, BROWNIAN, WINDOW.end_us, 110.0, 100.0, known=99.99).probability == 0.0
    assert forecast_up(asked, BROWNIAN, WINDOW.end_us, 110.0, 100.0, known=100.0).probability == 1.0


# A law whose variance does not grow in proportion to time: what falls inside a window differs from its length's.
UNEVEN = HorizonCurve([1.0, 100.0, 1_000.0], [2e-4, 1e-3, 5e-3], [0.0] * 3, [10_000.0] * 3)


def test_a_window_that_has_not_begun_has_the_variance_between_its_ends():
    now_us = WINDOW.start_us - 100_000_000
    forecast = forecast_up(question(WINDOW, POINT), UNEVEN, now_us, 100.0, None)
    assert forecast.deviation**2 == pytest.approx(UNEVEN.scale_at(400.0) ** 2 - UNEVEN.scale_at(100.0) ** 2)
    assert forecast.probability == pytest.approx(0.5, abs=1e-9)


def test_a_flat_curve_never_makes_a_window_ahead_certain():
    flat = HorizonCurve([1.0, 1_000.0], [1e-4, 1e-4], [0.0, 0.0], [5.0, 5.0])
    forecast = forecast_up(question(WINDOW, POINT), flat, WINDOW.start_us - 100_000_000, 100.0, None)
    assert forecast.deviation == pytest.approx(math.sqrt(0.1) * 1e-4)


@pytest.mark.parametrize(("ahead_s", "known"), [(90, None), (60, None), (40, 100.03), (5, 99.99)])
def test_both_ends_of_a_window_ahead_are_averages(ahead_s: int, known: float | None):
    now_us = WINDOW.start_us - ahead_s * 1_000_000
    forecast = forecast_up(question(WINDOW, AVERAGE), BROWNIAN, now_us, 100.0, None, known)
    levels = paths(ahead_s + 300)
    start = 100.0 * mean_over(levels, max(0, ahead_s - 60), ahead_s)
    if known is not None:
        start = (known * (60 - ahead_s) + start * ahead_s) / 60
    agrees(forecast.probability, 100.0 * mean_over(levels, ahead_s + 240, ahead_s + 300) >= start)


def test_the_closes_of_minutes_are_a_minute_later():
    asked = question(WINDOW, CLOSES)
    assert (asked.start_us - WINDOW.start_us, asked.end_us - WINDOW.end_us) == (60_000_000, 60_000_000)
    at_end = forecast_up(asked, BROWNIAN, WINDOW.end_us, 100.0, 100.1)
    agrees(at_end.probability, 100.0 * np.exp(paths(60)[:, -1]) >= 100.1)
    pending = forecast_up(asked, BROWNIAN, WINDOW.start_us + 30_000_000, 100.0, None)
    assert pending.deviation == pytest.approx(SIGMA * math.sqrt(300), rel=1e-6)


def test_a_candle_is_a_point_price_at_its_close():
    now_us = before_end(42)
    candle = forecast_up(question(WINDOW, CANDLE), BROWNIAN, now_us, 100.0, 100.02)
    assert candle == forecast_up(question(WINDOW, POINT), BROWNIAN, now_us, 100.0, 100.02)


def test_a_tie_is_up_or_half_as_the_rule_says():
    half = UpQuestion(0, 1_000_000, 0.0, tie_up=False)
    assert forecast_up(half, BROWNIAN, 1_000_000, 100.0, 100.0).probability == 0.5
    assert forecast_up(question(WINDOW, POINT), BROWNIAN, WINDOW.end_us, 100.0, 100.0).probability == 1.0


def test_a_point_price_has_the_forecasts_own_tail_and_skew():
    curve = HorizonCurve([1.0, 100.0], [1e-4, 1e-3], [-0.2, -0.2], [3.5, 3.5])
    law = ZeroMeanSkewStudentT(1e-3, -0.2, 3.5)
    for threshold in (-2e-3, -1e-4, 3e-3):
        forecast = forecast_up(question(WINDOW, POINT), curve, before_end(100), 100.0, 100.0 * math.exp(threshold))
        assert forecast.probability == pytest.approx(1.0 - law.cdf(threshold), abs=1e-12)


def test_an_unknown_basis_adds_in_quadrature():
    forecast = forecast_up(question(WINDOW, POINT), BROWNIAN, before_end(100), 100.0, 100.1, basis_sd=2e-3)
    assert forecast.deviation == pytest.approx(math.hypot(2e-3, 1e-3), rel=1e-9)
    returns = paths(100)[:, -1] + np.random.default_rng(1).normal(0.0, 2e-3, PATHS)
    agrees(forecast.probability, returns >= math.log(1.001))


def test_what_is_needed_and_missing_is_named():
    asked = question(WINDOW, AVERAGE)
    with pytest.raises(DataError, match="reference price"):
        forecast_up(asked, BROWNIAN, before_end(100), 100.0, None)
    with pytest.raises(DataError, match="has run for 35"):
        forecast_up(asked, BROWNIAN, before_end(25), 100.0, 100.0)
    with pytest.raises(DataError, match="starts from has run for 35"):
        forecast_up(asked, BROWNIAN, WINDOW.start_us - 25_000_000, 100.0, None)
    with pytest.raises(DataError, match="longer than its window"):
        question(WINDOW, Settlement("average", "chainlink", lookback_s=301))


@given(
    left_s=st.floats(0.01, 299.0),
    price=st.floats(95.0, 105.0),
    reference=st.floats(95.0, 105.0),
    known=st.floats(95.0, 105.0),
    basis_sd=st.floats(0.0, 1e-3),
)
def test_it_is_a_probability_that_rises_with_the_price(
    left_s: float, price: float, reference: float, known: float, basis_sd: float
):
    now_us = before_end(left_s)
    asked = question(WINDOW, AVERAGE)
    low, high = (
        forecast_up(asked, BROWNIAN, now_us, at, reference, known, basis_sd).probability for at in (price, price * 1.01)
    )
    assert 0.0 <= low <= high + 1e-12 <= 1.0 + 1e-12


def test_the_average_is_continuous_where_it_begins_and_where_the_window_begins():
    asked = question(WINDOW, AVERAGE)
    instants = [(WINDOW.end_us - 60_000_000, 100.01), (WINDOW.start_us - 60_000_000, None)]
    for instant, reference in instants:
        before = forecast_up(asked, BROWNIAN, instant, 100.0, reference)
        after = forecast_up(asked, BROWNIAN, instant + 1, 100.0, reference, known=100.0)
        assert before.deviation == pytest.approx(after.deviation, rel=1e-5)
        assert before.probability == pytest.approx(after.probability, abs=1e-6)
