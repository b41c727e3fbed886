"""Averages and reference prices: what is known, from where, and never from the future."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markets_kit import AVERAGE, CANDLE, CLOSES, POINT, WINDOW

from crypy.domain.errors import DataError, NotMonotonic
from crypy.domain.settlement import Settlement
from crypy.domain.windows import Window, next_window
from crypy.prediction_markets.averages import RunningAverage
from crypy.prediction_markets.references import Basis, References, Uncertainty

START = WINDOW.start_s
LATER_US = WINDOW.start_us + 10_000_000


def slow_average(updates: list[tuple[int, float]], from_us: int, to_us: int) -> float:
    """Ten lines of the same: the step function's integral, piece by piece."""
    total = 0.0
    for (since_us, price), (until_us, _) in zip(
        updates, [*updates[1:], (max(to_us, updates[-1][0]), 0.0)], strict=True
    ):
        low, high = max(since_us, from_us), min(until_us, to_us)
        total += price * max(0, high - low)
    return total / (to_us - from_us)


ticks = st.lists(st.tuples(st.integers(0, 2_500_000), st.floats(50.0, 200.0)), min_size=2, max_size=60)


@given(ticks=ticks, begin=st.integers(0, 40), length=st.integers(1, 60), ahead_us=st.integers(0, 3_000_000))
def test_the_running_average_is_the_step_functions_integral(
    ticks: list[tuple[int, float]], begin: int, length: int, ahead_us: int
):
    average, time_us, updates = RunningAverage(keep_s=1_000), 5_000_000, list[tuple[int, float]]()
    for gap_us, price in ticks:
        time_us += gap_us
        updates.append((time_us, price))
        average.update(time_us, price)
    first_us = updates[0][0]
    from_us = (first_us // 1_000_000 + 1 + begin) * 1_000_000
    for to_us in (from_us + length * 1_000_000, max(time_us, from_us) + ahead_us + 1):
        # Two integrals since the first price are subtracted: their own rounding is spread over the span asked for.
        rounding = 2.0**-50 * 200.0 * (to_us - first_us) / (to_us - from_us)
        wanted = slow_average(updates, from_us, to_us)
        assert average.average(from_us, to_us) == pytest.approx(wanted, rel=1e-10, abs=rounding)


def test_an_average_that_began_before_the_first_price_is_not_known():
    average = RunningAverage(keep_s=60)
    assert average.average(0, 1_000_000) is None
    average.update(1_500_000, 100.0)
    assert average.average(1_000_000, 3_000_000) is None
    assert average.average(2_000_000, 3_000_000) == 100.0
    assert average.average(2_000_000, 2_000_000) is None


def test_it_forgets_what_is_older_than_it_keeps():
    average = RunningAverage(keep_s=60)
    for second in range(200):
        average.update(second * 1_000_000, 100.0 + second)
    assert average.average(139 * 1_000_000, 199 * 1_000_000) == pytest.approx(100.0 + (139 + 198) / 2)
    assert average.average(138 * 1_000_000, 199 * 1_000_000) is None


def test_a_silence_is_no_price():
    average = RunningAverage(keep_s=600, max_gap_s=10.0)
    average.update(0, 100.0)
    average.update(5_000_000, 100.0)
    average.update(20_000_000, 110.0)
    assert average.average(4_000_000, 21_000_000) is None
    assert average.average(20_000_000, 21_000_000) == 110.0


def test_time_runs_forwards_and_prices_are_positive():
    average = RunningAverage(keep_s=60)
    average.update(2_000_000, 100.0)
    with pytest.raises(NotMonotonic):
        average.update(1_999_999, 100.0)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(DataError):
            average.update(3_000_000, bad)


# References


def fed(closes: dict[int, float], last_s: int, references: References | None = None) -> References:
    """A price of 100 in each of the last 200 seconds but for those given."""
    references = references or References()
    for second in range(START - 200, last_s + 1):
        references.on_close("BTC", second, closes.get(second, 100.0))
    return references


@pytest.mark.parametrize(
    ("rule", "closes", "expected", "source"),
    [
        (AVERAGE, {START - 60: 106.0, START - 61: 500.0, START: 500.0}, 100.1, "binance-average"),
        (POINT, {START - 1: 101.0, START: 500.0}, 101.0, "binance-close"),
        (CANDLE, {START - 1: 101.0, START: 500.0}, 101.0, "binance-close"),
        (CLOSES, {START + 59: 102.0, START + 60: 500.0}, 102.0, "binance-close"),
    ],
)
def test_our_own_estimate_is_the_rules_statistic_of_second_closes(
    rule: Settlement, closes: dict[int, float], expected: float, source: str
):
    reference = fed(closes, START + 100).reference("BTC", rule, WINDOW, WINDOW.start_us + 101_000_000)
    assert reference is not None
    assert reference.price == reference.comparable == pytest.approx(expected, rel=1e-12)
    assert reference.source == source


def test_there_is_none_before_the_start_is_fixed_nor_before_its_last_second_is_sealed():
    references = fed({}, START + 100)
    assert references.reference("BTC", AVERAGE, WINDOW, WINDOW.start_us - 1) is None
    assert references.reference("BTC", CLOSES, WINDOW, WINDOW.start_us + 59_999_999) is None
    behind = fed({}, START - 2)
    assert behind.reference("BTC", AVERAGE, WINDOW, LATER_US) is None
    behind.on_close("BTC", START - 1, 100.0)
    assert behind.reference("BTC", AVERAGE, WINDOW, LATER_US) is not None
    assert behind.reference("ETH", AVERAGE, WINDOW, LATER_US) is None


@pytest.mark.parametrize("rule", [AVERAGE, POINT, CANDLE, CLOSES])
def test_later_prices_change_no_reference(rule: Settlement):
    fixed_s = START + rule.lag_s
    answers: list[object] = []
    for later in (50.0, 100.0, 300.0):
        references = fed({}, fixed_s - 1)
        for second in range(fixed_s, fixed_s + 120):
            references.on_close("BTC", second, later)
        answers.append(references.reference("BTC", rule, WINDOW, (fixed_s + 120) * 1_000_000))
    assert answers[0] is not None
    assert answers[0] == answers[1] == answers[2]


def test_the_venues_price_wins_and_the_basis_is_taken_out():
    references = fed({}, START + 100)
    own = references.reference("BTC", AVERAGE, WINDOW, LATER_US)
    references.on_price_to_beat("BTC", AVERAGE, WINDOW, 100.05)
    venue = references.reference("BTC", AVERAGE, WINDOW, LATER_US)
    assert own is not None
    assert venue is not None
    assert (own.source, venue.source) == ("binance-average", "venue")
    assert venue.price == 100.05
    # The only window seen says that the venue is 5 bp above us; by that the windows ahead are put right.
    assert venue.comparable == pytest.approx(100.0, rel=1e-9)


def test_a_window_starts_from_its_predecessors_final_price_whatever_their_durations():
    references = fed({}, START + 100)
    quarter = Window(START - 900, START, "15m")
    references.on_final_price("BTC", AVERAGE, quarter, 100.02)
    reference = references.reference("BTC", AVERAGE, WINDOW, LATER_US)
    assert reference is not None
    assert (reference.price, reference.source) == (100.02, "previous-window")
    references.on_price_to_beat("BTC", AVERAGE, WINDOW, 100.02)
    assert references.reference("BTC", AVERAGE, WINDOW, LATER_US).source == "venue"  # type: ignore[union-attr]
    # Not by another rule, not for another coin, and not from candle to candle.
    assert references.reference("BTC", POINT, WINDOW, LATER_US).source == "binance-close"  # type: ignore[union-attr]
    references.on_final_price("BTC", CANDLE, quarter, 100.02)
    assert references.reference("BTC", CANDLE, WINDOW, LATER_US).source == "binance-close"  # type: ignore[union-attr]


def test_without_our_own_price_the_venues_is_believed_with_a_wide_error():
    references = References()
    references.on_price_to_beat("BTC", AVERAGE, WINDOW, 100.05)
    reference = references.reference("BTC", AVERAGE, WINDOW, LATER_US)
    assert reference is not None
    assert reference.comparable == 100.05
    assert reference.sd == Uncertainty().offset


def test_a_published_price_far_from_ours_is_no_reference():
    references = fed({}, START + 100)
    references.on_price_to_beat("BTC", AVERAGE, WINDOW, 110.0)
    assert references.reference("BTC", AVERAGE, WINDOW, LATER_US) is None
    with pytest.raises(DataError):
        references.on_price_to_beat("BTC", AVERAGE, WINDOW, 0.0)


def test_the_basis_follows_and_its_spread_is_learnt():
    rng = np.random.default_rng(3)
    basis = Basis(prior_sd=1e-4, unknown_sd=5e-4, half_life=3.0)
    assert (basis.mean, basis.sd) == (0.0, 5e-4)
    for _ in range(200):
        basis.update(8e-4 + rng.normal(0.0, 3e-4))
    assert basis.mean == pytest.approx(8e-4, abs=4e-4)
    assert 1e-4 < basis.sd < 4e-4
    for _ in range(30):
        basis.update(-2e-4)
    assert basis.mean == pytest.approx(-2e-4, abs=2e-5)


def test_a_basis_that_moved_is_learnt_from_window_to_window():
    references, window, errors = References(), WINDOW, list[float]()
    rng = np.random.default_rng(5)
    for second in range(START - 100, START + 40 * 300 + 1):
        references.on_close("BTC", second, 100.0)
        if second == window.start_s:
            truth = 100.0 * math.exp(7e-4 + rng.normal(0.0, 0.2e-4))
            references.on_price_to_beat("BTC", AVERAGE, window, truth)
            found = references.reference("BTC", AVERAGE, window, second * 1_000_000 + 1)
            assert found is not None
            errors.append(abs(math.log(found.comparable / 100.0)))
            window = next_window(window)
    assert max(errors[3:]) < 1e-4


def test_history_seeds_the_references():
    references = References()
    closes = np.full(400, 100.0)
    closes[:50] = np.nan
    references.seed("BTC", START - 300, closes)
    reference = references.reference("BTC", AVERAGE, WINDOW, LATER_US)
    assert reference is not None
    assert reference.price == 100.0
    # A second that is older than the last one changes nothing.
    references.on_close("BTC", START - 200, 500.0)
    assert references.reference("BTC", AVERAGE, WINDOW, LATER_US) == reference


def test_what_was_published_long_ago_is_forgotten():
    references = fed({}, START + 100)
    references.on_price_to_beat("BTC", AVERAGE, WINDOW, 100.05)
    references.prune(WINDOW.start_s + 1)
    assert references.reference("BTC", AVERAGE, WINDOW, LATER_US).source == "binance-average"  # type: ignore[union-attr]
