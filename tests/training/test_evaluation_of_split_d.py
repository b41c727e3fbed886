"""FORECAST_BASELINES reproduced through the evaluation: rows a and d, their calibration and errors, and the window questions of row d.

Windows of a 5m length end on the clock's own five-minute grid, and the minutes inside five minutes differ: the first is wilder than the last. The
page fits its models on the questions' own origins and so knows; the baseline, fitted on all five-minute origins, does not. `at_phase` fits its
level and shape anew on the questions' origins of the fit range, which is the page's way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crypy.distributions.likelihood import fit_scale, to_free
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.times import DAY_S, US_PER_S, parse_time_us
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_files import read_candles
from crypy.models.dataset import HORIZONS_S, Dataset
from crypy.models.fitting import FitSettings, fit_baseline
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.volatility import VolatilityBaseline
from crypy.training.evaluation import Evaluation
from crypy.training.scoring import evaluate, judged_range
from crypy.training.window_scores import score_windows
from crypy.training.windows_up import WindowCasts, ask, questions

START, SPLIT, END = (parse_time_us(day) // US_PER_S for day in ("2024-04-01", "2025-07-01", "2025-10-01"))
SYMBOLS = ("BTCUSDT", "ETHUSDT")
HORIZONS = np.array(HORIZONS_S, np.float64)
N = (26_496, 26_494, 26_485, 26_449, 26_209)
NLL = {
    ("a", "BTCUSDT"): (-5.5840, -5.0371, -4.3690, -3.6544, -2.6685),
    ("a", "ETHUSDT"): (-4.9696, -4.4291, -3.7482, -3.0247, -1.9833),
    ("d", "BTCUSDT"): (-5.7791, -5.2177, -4.5347, -3.8060, -2.8048),
    ("d", "ETHUSDT"): (-5.0659, -4.5182, -3.8254, -3.0913, -2.0123),
}
CRPS_BP = {
    ("a", "BTCUSDT"): (4.958, 8.564, 16.838, 34.033, 88.292),
    ("a", "ETHUSDT"): (9.557, 16.414, 32.532, 66.292, 183.560),
    ("d", "BTCUSDT"): (4.598, 7.991, 15.782, 32.175, 83.754),
    ("d", "ETHUSDT"): (9.263, 15.942, 31.712, 64.929, 182.075),
}
# Of d: below 5, 25, 75, 95 %, KS, pinball at 5 and 95 %, and the error of the gain over a.
CALIBRATION = {
    "BTCUSDT": (
        (0.047, 0.044, 0.038, 0.036, 0.026), (0.250, 0.255, 0.254, 0.236, 0.195), (0.751, 0.745, 0.748, 0.762, 0.781),
        (0.951, 0.950, 0.951, 0.946, 0.953), (0.008, 0.012, 0.014, 0.022, 0.058), (0.92, 1.58, 3.22, 6.61, 16.44),
        (0.95, 1.66, 3.45, 7.29, 18.12), (0.0187, 0.0168, 0.0186, 0.0241, 0.0324),
    ),
    "ETHUSDT": (
        (0.046, 0.046, 0.039, 0.036, 0.024), (0.256, 0.255, 0.252, 0.227, 0.211), (0.736, 0.734, 0.734, 0.733, 0.681),
        (0.951, 0.952, 0.946, 0.940, 0.912), (0.016, 0.018, 0.016, 0.025, 0.074), (1.87, 3.21, 6.48, 12.97, 34.00),
        (1.89, 3.32, 6.99, 14.25, 39.77), (0.0096, 0.0089, 0.0111, 0.0158, 0.0179),
    ),
}  # fmt: skip
WINDOWS_D = {
    "5m": ((0.6164, 0.2140), (0.5308, 0.1776), (0.4232, 0.1363), (0.2882, 0.0885)),
    "1h": ((0.6660, 0.2370), (0.6200, 0.2161), (0.5185, 0.1731), (0.3623, 0.1159), (0.2105, 0.0641)),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bars(shared_data: Path) -> dict[str, Bars]:
    folder = shared_data / "klines_1m" / "binance_spot"
    return {symbol: read_candles(folder, symbol).bars for symbol in SYMBOLS}


@pytest.fixture(scope="module")
def result(bars: dict[str, Bars]) -> Evaluation:
    model = fit_baseline(bars, START, SPLIT, FitSettings(horizons_s=HORIZONS_S, prior_strength=0.0))
    judged, fit = Dataset.of(bars, SPLIT, END), Dataset.of(bars, START + 8 * DAY_S, SPLIT)
    cast = {
        "d": hindcasts(model, judged, HORIZONS),
        "a": {symbol: climatology(symbol, fit, judged) for symbol in SYMBOLS},
    }
    history = hindcasts(model, fit.every(3_600), HORIZONS)
    return evaluate(cast, ("a",), judged_range(SPLIT, END, 300), regime_model="d", history=history)


def climatology(symbol: str, fit: Dataset, judged: Dataset) -> Hindcast:
    """Row a: one law per horizon, by maximum likelihood on the fit range."""
    past = fit.returns(symbol, fit.origins_s(), HORIZONS)
    laws = [ZeroMeanSkewStudentT.fit(column[np.isfinite(column)]) for column in past.T]
    origins_s = judged.origins_s()
    tables = (
        np.broadcast_to([getattr(law, name) for law in laws], (len(origins_s), len(laws)))
        for name in ("scale", "skew", "tail")
    )
    return Hindcast(origins_s, HORIZONS, judged.returns(symbol, origins_s, HORIZONS), *tables)


@pytest.mark.parametrize("row", ["a", "d"])
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_rows_a_and_d(result: Evaluation, row: str, symbol: str) -> None:
    for column, horizon_s in enumerate(HORIZONS_S):
        found = result.of(row).score(symbol, horizon_s)
        assert found.n == N[column]
        assert found.nll == pytest.approx(NLL[row, symbol][column], abs=0.001)
        assert found.crps_bp == pytest.approx(CRPS_BP[row, symbol][column], rel=0.001)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_calibration_of_d_and_the_errors_of_its_gain(result: Evaluation, symbol: str) -> None:
    for column, horizon_s in enumerate(HORIZONS_S):
        found = result.of("d").score(symbol, horizon_s)
        page = [table[column] for table in CALIBRATION[symbol]]
        below = [found.coverage[f"below_{share}"] for share in (5, 25, 75, 95)]
        assert below == pytest.approx(page[:4], abs=0.0016)
        assert found.pit_ks == pytest.approx(page[4], abs=0.0011)
        assert [found.pinball_bp["5"], found.pinball_bp["95"]] == pytest.approx(page[5:7], rel=0.002, abs=0.006)
        gain = found.vs["a"]["nll"]
        assert gain.gain == pytest.approx(NLL["a", symbol][column] - NLL["d", symbol][column], abs=0.0015)
        assert gain.se == pytest.approx(page[7], rel=0.05)
        assert gain.hac_se == pytest.approx(page[7], rel=0.3)
        assert sum(group.n for group in found.by_regime) == found.n


def at_phase(past: Hindcast, judged: Hindcast) -> Hindcast:
    """The judged forecasts with level, skew and tail that are most likely for the past ones."""
    column = past.scale.shape[1] - 1
    rows = np.isfinite(past.returns[:, column])
    ones = np.ones((int(rows.sum()), 1))
    start = np.array([0.0, *to_free(0.0, 5.0)])
    fit = fit_scale(ones, np.log(past.scale[rows, column]), past.returns[rows, column], start)
    shape = judged.scale.shape
    return replace(
        judged, scale=judged.scale * np.exp(fit.beta[0]), skew=np.full(shape, fit.skew), tail=np.full(shape, fit.tail)
    )


def asked_of(model: VolatilityBaseline, fit: Dataset, judged: Dataset, duration: str, anew: bool) -> WindowCasts:
    asked = questions(60, (duration,))  # type: ignore[arg-type]
    said = ask(model, judged, asked)
    if not anew:
        return said
    past = ask(model, fit, asked)
    return {
        question: {symbol: at_phase(past[question][symbol], one) for symbol, one in by.items()}
        for question, by in said.items()
    }


@pytest.mark.parametrize("duration", ["5m", "1h"])
def test_windows_up_of_row_d(bars: Mapping[str, Bars], duration: str) -> None:
    only = {"BTCUSDT": bars["BTCUSDT"]}
    asked = questions(60, (duration,))  # type: ignore[arg-type]
    horizons = tuple(sorted({int(horizon) for one in asked for horizon in one.horizons_s}))
    model = fit_baseline(only, START, SPLIT, FitSettings(horizons_s=horizons, prior_strength=0.0))
    judged, fit = Dataset.of(only, SPLIT, END), Dataset.of(only, START + 8 * DAY_S, SPLIT)
    # Hours begin on five-minute origins as the fit's do: there the baseline's own level is the page's.
    said = asked_of(model, fit, judged, duration, anew=duration == "5m")
    found = score_windows({"d": said}, ("d",), judged, rules=("point",))["d"]
    assert [one.n for one in found] == [(END - SPLIT) // (300 if duration == "5m" else 3_600)] * len(found)
    assert [one.log_loss for one in found] == pytest.approx([loss for loss, _ in WINDOWS_D[duration]], abs=0.002)
    assert [one.brier for one in found] == pytest.approx([brier for _, brier in WINDOWS_D[duration]], abs=0.001)
