"""The watch: finds a model that goes wrong, leaves one alone that is right or better, and never grows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.errors import ConfigError
from crypy.forecasting.watch import Watch
from crypy.models.port import DistributionGrid

SYMBOLS = ("BTCUSDT", "ETHUSDT")
PER_ROOT_S = 2e-5


def grid(
    end_s: int, scale_factor: float, tail: float = 5.0, horizons_s: tuple[int, ...] = (60, 300)
) -> DistributionGrid:
    horizons = np.array(horizons_s, np.float64)
    shape = (len(SYMBOLS), len(horizons))
    scale = np.broadcast_to(PER_ROOT_S * scale_factor * np.sqrt(horizons), shape)
    return DistributionGrid(
        end_s, SYMBOLS, horizons, scale, np.full(shape, -0.05), np.full(shape, tail), np.zeros(len(SYMBOLS))
    )


class Market:
    """Returns over 60 s drawn from the true law, and a watch that is fed by them: 60 s at a time, closes only where they matter."""

    def __init__(self, watch: Watch, seed: int) -> None:
        self.watch, self.now_s = watch, 0
        self._rng = np.random.default_rng(seed)
        self._prices = dict.fromkeys(SYMBOLS, 100.0)
        self._truth = ZeroMeanSkewStudentT(PER_ROOT_S * math.sqrt(60.0), -0.05, 5.0)
        self._tell()

    def run(self, steps: int, model_factor: float, rival_factor: float, truth_factor: float = 1.0) -> None:
        draws = truth_factor * self._truth.sample(self._rng, steps * len(SYMBOLS)).reshape(steps, -1)
        for row in draws:
            if self.watch.wants():
                self.watch.take(grid(self.now_s, model_factor), grid(self.now_s, rival_factor))
            self.now_s += 60
            for symbol, value in zip(SYMBOLS, row, strict=True):
                self._prices[symbol] *= math.exp(value)
            self._tell()
            if self.watch.alarm is not None:
                return

    def _tell(self) -> None:
        for symbol, price in self._prices.items():
            self.watch.on_close(symbol, self.now_s - 1, price)


def test_a_model_that_becomes_too_narrow_is_found_although_it_was_better_for_long() -> None:
    market = Market(Watch(SYMBOLS, (60,)), 1)
    market.run(3_000, model_factor=1.0, rival_factor=1.3)
    assert market.watch.alarm is None
    before = market.watch.rows()[0]
    assert before.n == 3_000
    assert before.gain > 4 * before.gain_se
    # The market is three times as wild from here on; the rival follows, the model does not.
    market.run(200, model_factor=1.0, rival_factor=3.0, truth_factor=3.0)
    alarm = market.watch.alarm
    assert alarm is not None
    assert alarm.evidence >= alarm.level
    assert alarm.n < 3_060
    assert str(alarm.horizon_s) in str(alarm)


def test_a_model_that_is_too_wide_is_found_too() -> None:
    market = Market(Watch(SYMBOLS, (60,)), 2)
    market.run(2_000, model_factor=2.0, rival_factor=1.0)
    assert market.watch.alarm is not None


@pytest.mark.slow
@pytest.mark.parametrize("rival_factor", [1.0, 1.02, 1.3, 0.7])
def test_a_model_that_is_right_raises_no_alarm_in_a_month_of_minutes(rival_factor: float) -> None:
    market = Market(Watch(SYMBOLS, (60,)), 3)
    market.run(43_200, model_factor=1.0, rival_factor=rival_factor)
    assert market.watch.alarm is None
    assert market.watch.rows()[0].n == 43_200


def test_a_model_that_is_right_raises_no_alarm_and_its_coverage_is_told() -> None:
    market = Market(Watch(SYMBOLS, (60,)), 3)
    market.run(7_200, model_factor=1.0, rival_factor=1.02)
    assert market.watch.alarm is None
    row = market.watch.rows()[0]
    for share, nominal in zip(row.coverage, (0.05, 0.25, 0.75, 0.95), strict=True):
        assert share == pytest.approx(nominal, abs=0.045)


def test_a_model_that_errs_less_than_its_rival_is_left_alone() -> None:
    market = Market(Watch(SYMBOLS, (60,)), 4)
    market.run(20_000, model_factor=1.1, rival_factor=1.3)
    assert market.watch.alarm is None


def test_evidence_against_a_model_that_is_right_grows_by_one_a_return_and_no_faster() -> None:
    """M_n - n is a martingale, which the level rests on: over many lives the mean of M after n returns is n."""
    steps, found = 40, []
    for seed in range(300):
        market = Market(Watch(SYMBOLS, (60,)), seed)
        market.run(steps, model_factor=1.0, rival_factor=1.1)
        found += [math.exp(row.evidence) for row in market.watch.rows()]
    error = float(np.std(found)) / math.sqrt(len(found))
    assert abs(float(np.mean(found)) - steps) < 3 * error
    assert error < 0.05 * steps


def test_one_return_beyond_all_experience_demotes_nobody() -> None:
    watch = Watch(SYMBOLS, (60,))
    watch.on_close("BTCUSDT", -1, 100.0)
    watch.take(grid(0, 1.0, tail=200.0), grid(0, 1.0, tail=3.0))
    watch.on_close("BTCUSDT", 59, 150.0)
    assert watch.alarm is None
    assert watch.rows()[0].evidence == pytest.approx(5.0)


def test_forecasts_of_one_cell_never_overlap_and_a_hole_drops_what_it_hides() -> None:
    watch = Watch(("BTCUSDT",), (60,))
    watch.on_close("BTCUSDT", -1, 100.0)
    watch.take(grid(0, 1.0), grid(0, 1.0))
    for second in range(30):
        watch.on_close("BTCUSDT", second, 100.0)
        watch.take(grid(second + 1, 1.0), grid(second + 1, 1.0))
    assert not watch.wants()
    # Seconds 30 to 99 were never told: the return over 0..60 is not known, and is not made up.
    watch.on_close("BTCUSDT", 99, 100.0)
    assert watch.wants()
    assert watch.rows()[0].n == 0
    watch.take(grid(100, 1.0), grid(100, 1.0))
    watch.on_close("BTCUSDT", 159, math.nan)
    assert watch.rows()[0].n == 0
    # A forecast from a moment whose price is not known is not taken.
    watch.take(grid(160, 1.0), grid(160, 1.0))
    assert watch.wants()


def test_a_watch_that_makes_no_sense_is_refused() -> None:
    for symbols, horizons, rate in (
        ((), (60,), 0.1),
        (SYMBOLS, (), 0.1),
        (SYMBOLS, (60,), 0.0),
        (SYMBOLS, (60,), math.nan),
    ):
        with pytest.raises(ConfigError):
            Watch(symbols, horizons, rate)
