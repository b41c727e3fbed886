"""What the baselines compute, against independent ways of a few lines: plain loops, `arch`, SciPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from arch import arch_model
from scipy import stats

from crypy.distributions.scores import NORMAL_TAIL, crps, nll, pit
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.marketdata.bars import Bars
from crypy.models.baselines.fitting import NO_SEASON, BaselineSettings
from crypy.models.baselines.garch_fitting import flat_returns, garch_of
from crypy.models.baselines.horizon_law import fit_normal
from crypy.models.baselines.model import ScaleBaseline
from crypy.models.baselines.recipes import HALF_LIVES_S
from crypy.models.dataset import Dataset
from crypy.models.hindcast import hindcasts
from crypy.models.kinds import kind_of
from crypy.models.season import SLOT_S

Market = Callable[..., Bars]
DAY_S = 86_400
MINUTES = 60
FLOOR = 0.3e-4**2 / 60


@pytest.fixture(scope="module")
def bars(make_market: Market) -> Bars:
    one = make_market(40, 8)
    width = np.random.default_rng(1).exponential(3e-4, (2, len(one)))
    return replace(one, high=one.close * np.exp(width[0]), low=one.close * np.exp(-width[1]))


@pytest.fixture(scope="module")
def dataset(bars: Bars) -> Dataset:
    return Dataset.of({"BTCUSDT": bars}, spacing_s=900, horizons_s=(900, 3_600))


@pytest.fixture(scope="module")
def origins(dataset: Dataset) -> Dataset:
    return dataset.between(dataset.start_s + 20 * DAY_S, dataset.start_s + 20 * DAY_S + 2 * 3_600)


def fitted(kind: str, dataset: Dataset, half_lives_s: tuple[float, ...] = HALF_LIVES_S) -> ScaleBaseline:
    settings = BaselineSettings(horizons_s=(900, 3_600), half_lives_s=half_lives_s)
    model = kind_of(kind).fit_on(dataset, settings=settings)
    assert isinstance(model, ScaleBaseline)
    return model


def scales(model: ScaleBaseline, origins: Dataset) -> np.ndarray:
    return hindcasts(model, origins, np.array([900.0, 3_600.0]))["BTCUSDT"].scale


def minute_squares(bars: Bars, end_s: int) -> np.ndarray:
    """Squared log returns of all minutes before a moment, the newest first."""
    known = np.log(bars.close[: (end_s - bars.start_s) // MINUTES])
    return np.diff(known)[::-1] ** 2


def test_an_ewma_is_a_mean_with_halving_weights(bars: Bars, dataset: Dataset, origins: Dataset) -> None:
    half_life_s = 7_200.0
    model = fitted("ewma", dataset, half_lives_s=(half_life_s,))
    level = np.exp(model.laws["BTCUSDT"].coefficients.constant)
    found = scales(model, origins)
    for row, end_s in enumerate(origins.origins_s()):
        squares = minute_squares(bars, int(end_s))[: 14 * 1_440]
        weights = 0.5 ** (np.arange(len(squares)) * MINUTES / half_life_s)
        variance = (weights @ squares) / weights.sum() / MINUTES
        expected = level * np.sqrt((variance + FLOOR) * np.array([900.0, 3_600.0]))
        # Within a block of five minutes, all but the newest, the weights are those of its mean age.
        assert found[row] == pytest.approx(expected, rel=0.002)


def test_a_season_is_taken_out_of_the_past_and_put_into_the_future(
    bars: Bars, dataset: Dataset, origins: Dataset
) -> None:
    half_life_s = 7_200.0
    law = (model := fitted("ewma-season", dataset, half_lives_s=(half_life_s,))).laws["BTCUSDT"].coefficients
    found = scales(model, origins)
    for row, end_s in enumerate(origins.origins_s()):
        squares = minute_squares(bars, int(end_s))[: 14 * 1_440]
        ends = int(end_s) - np.arange(len(squares)) * MINUTES
        first = (int(end_s) - 15 * DAY_S) // SLOT_S
        season = law.season.variance(first, 15 * 288 + 300)
        weights = 0.5 ** (np.arange(len(squares)) * MINUTES / half_life_s)
        flat = squares / season[(ends - MINUTES) // SLOT_S - first]
        variance = (weights @ flat) / weights.sum() / MINUTES
        for column, horizon in enumerate((900, 3_600)):
            slots = np.arange(int(end_s), int(end_s) + horizon, MINUTES) // SLOT_S - first
            ahead = season[slots].mean()
            expected = np.exp(law.constant[column]) * np.sqrt((variance + FLOOR) * ahead * horizon)
            assert found[row, column] == pytest.approx(expected, rel=0.003)


@pytest.mark.parametrize("kind", ["har", "har-ranges"])
def test_a_har_is_linear_in_logs_of_means_over_windows(
    bars: Bars, dataset: Dataset, origins: Dataset, kind: str
) -> None:
    model = fitted(kind, dataset)
    law = model.laws["BTCUSDT"].coefficients
    law = replace(law, season=NO_SEASON)
    model = ScaleBaseline(model.regression, {"BTCUSDT": replace(model.laws["BTCUSDT"], coefficients=law)}, model.record)
    found = scales(model, origins)
    for row, end_s in enumerate(origins.origins_s()):
        until = (int(end_s) - bars.start_s) // MINUTES
        ranges = np.log(bars.high[:until] / bars.low[:until])[::-1] ** 2 / (4 * np.log(2))
        variance = ranges if kind == "har-ranges" else minute_squares(bars, int(end_s))
        windows = [variance[:minutes].mean() / MINUTES for minutes in (5, 15, 60, 240, 1_440, 10_080)]
        logs = 0.5 * np.log(np.array(windows) + FLOOR)
        expected = np.exp(law.constant + law.weights @ logs) * np.sqrt([900.0, 3_600.0])
        assert found[row] == pytest.approx(expected, rel=1e-9)


def test_a_garch_sums_the_variances_that_arch_forecasts(bars: Bars, dataset: Dataset, origins: Dataset) -> None:
    model = fitted("garch", dataset)
    law = model.laws["BTCUSDT"]
    assert law.garch is not None
    found = scales(model, origins)
    for row, end_s in enumerate(origins.origins_s()):
        cut = Dataset.of({"BTCUSDT": bars}, None, int(end_s)).bars["BTCUSDT"]
        returns = flat_returns(cut, NO_SEASON, SLOT_S)[-2_016:]
        unit = 1e-3
        theirs = arch_model(returns / unit, mean="Zero", vol="GARCH", p=1, q=1, rescale=False)
        fixed = theirs.fix([law.garch.omega / unit**2, law.garch.alpha, law.garch.beta])
        variance = fixed.forecast(horizon=12, reindex=False).variance.to_numpy()[-1] * unit**2
        for column, steps in enumerate((3, 12)):
            expected = np.exp(law.coefficients.constant[column]) * np.sqrt(variance[:steps].sum())
            assert found[row, column] == pytest.approx(expected, rel=1e-6)


def test_the_parameters_of_a_garch_are_found_again() -> None:
    rng = np.random.default_rng(3)
    omega, alpha, beta = 2e-8, 0.08, 0.9
    z = ZeroMeanSkewStudentT(1.0, -0.05, 6.0).sample(rng, 60_000)
    returns, variance = np.empty(len(z)), omega / (1 - alpha - beta)
    for i in range(len(z)):
        returns[i] = np.sqrt(variance) * z[i]
        variance = omega + alpha * returns[i] ** 2 + beta * variance
    close = 100.0 * np.exp(np.cumsum(returns))
    none = np.zeros(len(close))
    bars = Bars("BTCUSDT", 1_735_689_600, SLOT_S, close, close, close, close, none, none, none.astype(np.int64), none)
    found = garch_of(bars, NO_SEASON, SLOT_S)
    # Three standard errors of the estimates at this length.
    assert found.alpha == pytest.approx(alpha, abs=0.012)
    assert found.beta == pytest.approx(beta, abs=0.015)
    assert found.omega == pytest.approx(omega, rel=0.25)


def test_the_normal_ones_say_what_scipy_s_normal_says(dataset: Dataset) -> None:
    returns = dataset.returns("BTCUSDT", dataset.origins_s(), np.array([900]))[:, 0]
    returns = returns[np.isfinite(returns)]
    scale = np.full(len(returns), float(np.sqrt(np.mean(returns**2))))
    # Far out is where a heavy tail would differ.
    assert np.abs(returns / scale).max() > 4
    assert nll(returns, scale, 0.0, NORMAL_TAIL) == pytest.approx(
        -stats.norm.logpdf(returns, 0, scale), rel=1e-6, abs=1e-6
    )
    assert pit(returns, scale, 0.0, NORMAL_TAIL) == pytest.approx(stats.norm.cdf(returns, 0, scale), abs=1e-8)
    z = returns / scale
    closed = scale * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert crps(returns, scale, 0.0, NORMAL_TAIL) == pytest.approx(closed, rel=1e-6)
    fit = fit_normal(np.ones((len(returns), 1)), np.zeros(len(returns)), returns, np.array([-5.0]))
    assert fit.converged
    assert np.exp(fit.beta[0]) == pytest.approx(scale[0], rel=1e-5)


def test_climatology_is_one_law_fitted_to_all_returns(dataset: Dataset) -> None:
    model = fitted("climatology", dataset)
    origins = dataset.origins_s()
    past = dataset.returns("BTCUSDT", origins[origins >= dataset.start_s + 8 * DAY_S], np.array([900]))[:, 0]
    law = ZeroMeanSkewStudentT.fit(past[np.isfinite(past)])
    row = model.laws["BTCUSDT"].coefficients
    assert np.exp(row.constant[0]) * 30.0 == pytest.approx(law.scale, rel=1e-4)
    assert row.skew[0] == pytest.approx(law.skew, abs=1e-3)
    assert row.tail[0] == pytest.approx(law.tail, rel=1e-2)


def test_a_season_alone_moves_the_scale_by_the_time_of_the_week(dataset: Dataset) -> None:
    model = fitted("seasonal", dataset)
    cast = hindcasts(
        model, dataset.between(dataset.start_s + 20 * DAY_S, dataset.start_s + 27 * DAY_S), np.array([900.0])
    )
    # The market's season has a factor exp(0.6) in variance up and down, and the same each week.
    assert 1.8 < cast["BTCUSDT"].scale.max() / cast["BTCUSDT"].scale.min() < 4.5
    later = hindcasts(
        model, dataset.between(dataset.start_s + 27 * DAY_S, dataset.start_s + 34 * DAY_S), np.array([900.0])
    )
    assert later["BTCUSDT"].scale == pytest.approx(cast["BTCUSDT"].scale, rel=1e-12)
