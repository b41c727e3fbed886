"""What is fitted is what was true: scale, skew and tail of bars whose conditional law is known exactly; and nothing is found where nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from truth_kit import DAY_S, SKEW, START_S, STEP_S, TAIL, Known, har_market

from crypy.distributions.likelihood import scores
from crypy.distributions.scores import nll
from crypy.models.baselines.fitting import BaselineSettings
from crypy.models.dataset import Dataset
from crypy.models.fitting import FitSettings
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.kinds import kind_of
from crypy.models.network.settings import NetworkSettings
from crypy.training.network_fitting import fit_network
from crypy.training.trainer_settings import TrainerSettings

HORIZONS = np.array([float(STEP_S)])
SEEDS = (1, 2, 3)
AHEAD_DAYS = 100


def parts(known: Known, days: int) -> tuple[Dataset, Dataset]:
    """What is fitted on, and what comes after it."""
    bars = {known.bars.symbol: known.bars}
    middle_s = START_S + (days - AHEAD_DAYS) * DAY_S
    options: dict[str, Any] = {"spacing_s": STEP_S, "horizons_s": (STEP_S,)}
    return Dataset.of(bars, None, middle_s, **options), Dataset.of(bars, **options).between(middle_s, known.bars.end_s)


def forecasts(kind: str, fit: Dataset, ahead: Dataset) -> Hindcast:
    settings: FitSettings | BaselineSettings = BaselineSettings(horizons_s=(STEP_S,))
    if kind == "volatility-baseline":
        settings = FitSettings(horizons_s=(STEP_S,), prior_strength=0.0, spacing_s=STEP_S)
    return hindcasts(kind_of(kind).fit_on(fit, settings=settings), ahead, HORIZONS)["BTCUSDT"]


def shape_errors(known: Known, origins: int) -> tuple[float, float]:
    """Standard errors of skew and tail from so many returns of this law: the inverse of the information, the scale being fitted as well."""
    z = np.diff(np.log(known.bars.close)) / known.scale[1:]
    gradient, outer, none = np.zeros(3), np.zeros((3, 3)), np.zeros(len(z))
    scores(np.ones((len(z), 1)), none, z, np.zeros(1), SKEW, TAIL, gradient, outer)
    full = (outer + np.triu(outer, 1).T) / len(z) * origins
    errors = np.sqrt(np.diag(np.linalg.inv(full)))
    return float(errors[1]), float(errors[2])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["volatility-baseline", "har"])
def test_scale_skew_and_tail_are_recovered(kind: str) -> None:
    """Months of quarter hours; three markets, so that the errors can be held against their standard deviation."""
    days = 600
    off: list[tuple[float, float]] = []
    for seed in SEEDS:
        known = har_market(days, seed)
        fit, ahead = parts(known, days)
        cast = forecasts(kind, fit, ahead)
        ratio = np.log(cast.scale[:, 0] / known.true_scale(cast.origins_s))
        assert abs(ratio.mean()) < 0.02
        # The baseline also learns a season of 4,032 slots that is not there; that is its noise.
        assert ratio.std() < (0.08 if kind == "volatility-baseline" else 0.02)
        errors = shape_errors(known, len(fit.origins_s()))
        off.append(((cast.skew[-1, 0] - SKEW) / errors[0], (cast.tail[-1, 0] - TAIL) / errors[1]))
    assert np.abs(off).max() < 2.6, off
    assert np.sqrt(np.mean(np.square(off))) < 1.7, off


@pytest.mark.slow
def test_a_season_is_recovered_with_the_scale() -> None:
    days = 600
    known = har_market(days, 4, seasonal=True)
    fit, ahead = parts(known, days)
    cast = forecasts("volatility-baseline", fit, ahead)
    ratio = np.log(cast.scale[:, 0] / known.true_scale(cast.origins_s))
    assert abs(ratio.mean()) < 0.02
    assert ratio.std() < 0.08
    blind = forecasts("har", fit, ahead)
    assert np.log(blind.scale[:, 0] / known.true_scale(blind.origins_s)).std() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["seasonal", "ewma", "har", "volatility-baseline", "garch"])
def test_on_pure_noise_nothing_is_gained(kind: str) -> None:
    """A random walk of one law: climatology is the truth, and what looks for more pays a little for it."""
    days = 400
    known = har_market(days, 5, moving=False)
    fit, ahead = parts(known, days)
    plain, other = (forecasts(each, fit, ahead) for each in ("climatology", kind))
    rows = np.isfinite(plain.returns[:, 0])
    gain = score_rows(plain, rows) - score_rows(other, rows)
    error = float(gain.std() / np.sqrt(len(gain)))
    assert gain.mean() < 2.0 * error + 1e-4
    assert gain.mean() > -0.005


def score_rows(cast: Hindcast, rows: np.ndarray) -> np.ndarray:
    return nll(cast.returns[rows, 0], cast.scale[rows, 0], cast.skew[rows, 0], cast.tail[rows, 0])


NETWORK = NetworkSettings.for_step(STEP_S, hidden=(32,), members=1, dropout=0.1)
TRAINER = TrainerSettings(
    durations_s=(STEP_S,), duration_weights=(1.0,), random_share=0.0, epochs=2, batch=1_024, validation_share=0.0
)


@pytest.mark.slow
@pytest.mark.parametrize("moving", [True, False], ids=["moving", "noise"])
def test_a_small_network_keeps_to_the_truth_and_finds_nothing_in_noise(moving: bool) -> None:
    days = 400
    known = har_market(days, 6, moving=moving)
    fit, ahead = parts(known, days)
    model = fit_network(fit, network=NETWORK, trainer=TRAINER)
    cast = hindcasts(model, ahead, HORIZONS)["BTCUSDT"]
    base = hindcasts(model.baseline, ahead, HORIZONS)["BTCUSDT"]
    assert not np.array_equal(cast.scale, base.scale)
    ratio = np.log(cast.scale[:, 0] / known.true_scale(cast.origins_s))
    assert abs(ratio.mean()) < 0.02
    assert ratio.std() < 0.12
    errors = shape_errors(known, len(fit.origins_s()))
    assert abs(cast.skew[:, 0].mean() - SKEW) < 3 * errors[0]
    assert abs(cast.tail[:, 0].mean() - TAIL) < 3 * errors[1]
    rows = np.isfinite(cast.returns[:, 0])
    gain = score_rows(base, rows) - score_rows(cast, rows)
    assert -0.004 < gain.mean() < 2.0 * gain.std() / np.sqrt(len(gain)) + 1e-4
