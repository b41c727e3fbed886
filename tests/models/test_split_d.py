"""The numbers of FORECAST_BASELINES on its split: rows a and d, every cell within 0.002 nats.

Fit 2024-04-01 to 2025-07-01, evaluate to 2025-10-01, origins every five minutes, minutes of Binance spot. The plain
likelihood (prior strength 0) is the page's definition; the shipped default may differ where it shrinks. Rows beside a and d are read from
`benchmarks/published_forecasts.json`; `python -m benchmarks forecasts` shows them all.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypy.distributions.scores import nll, score
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata.candle_files import read_candles
from crypy.models.baselines.fitting import BaselineSettings
from crypy.models.baselines.recipes import RECIPES
from crypy.models.dataset import Dataset
from crypy.models.fitting import FitSettings, fit_baseline
from crypy.models.hindcast import hindcasts, score_baseline
from crypy.models.kinds import kind_of
from crypy.models.origins import Squares

HORIZONS = np.array([300.0, 900.0, 3_600.0, 14_400.0, 86_400.0])
START, SPLIT, END = (parse_time_us(day) // US_PER_S for day in ("2024-04-01", "2025-07-01", "2025-10-01"))
ROW_A = {
    "BTCUSDT": (-5.5840, -5.0371, -4.3690, -3.6544, -2.6685),
    "ETHUSDT": (-4.9696, -4.4291, -3.7482, -3.0247, -1.9833),
}
ROW_D = {
    "BTCUSDT": (-5.7791, -5.2177, -4.5347, -3.8060, -2.8048),
    "ETHUSDT": (-5.0659, -4.5182, -3.8254, -3.0913, -2.0123),
}
CRPS_BP_D = {"BTCUSDT": (4.598, 7.991, 15.782, 32.175, 83.754), "ETHUSDT": (9.263, 15.942, 31.712, 64.929, 182.075)}
ORIGINS = (26_496, 26_494, 26_485, 26_449, 26_209)


def test_a_cell_of_the_page(shared_data: Path) -> None:
    bars = {"BTCUSDT": read_candles(shared_data / "klines_1m" / "binance_spot", "BTCUSDT").bars}
    model = fit_baseline(bars, START, SPLIT, FitSettings(horizons_s=(3_600,), prior_strength=0.0))
    score = score_baseline(model, bars, SPLIT, END, np.array([3_600.0]))["BTCUSDT"][0]
    assert score.n == ORIGINS[2]
    assert score.nll == pytest.approx(ROW_D["BTCUSDT"][2], abs=0.002)


@pytest.mark.slow
@pytest.mark.parametrize("symbol", list(ROW_D))
def test_every_cell_of_rows_a_and_d(shared_data: Path, symbol: str) -> None:
    bars = {symbol: read_candles(shared_data / "klines_1m" / "binance_spot", symbol).bars}
    settings = FitSettings(horizons_s=tuple(int(horizon) for horizon in HORIZONS), prior_strength=0.0)
    model = fit_baseline(bars, START, SPLIT, settings)
    scores = score_baseline(model, bars, SPLIT, END, HORIZONS)[symbol]
    squares = Squares.of(bars[symbol], 60)
    fit_origins = np.arange(START + 8 * 86_400, SPLIT, 300)
    origins = np.arange(SPLIT, END, 300)
    for column, horizon in enumerate(HORIZONS.astype(int)):
        assert scores[column].n == ORIGINS[column]
        assert scores[column].nll == pytest.approx(ROW_D[symbol][column], abs=0.002)
        assert scores[column].crps * 1e4 == pytest.approx(CRPS_BP_D[symbol][column], rel=0.002)
        past = squares.returns(fit_origins[fit_origins + horizon <= SPLIT], horizon)
        constant = ZeroMeanSkewStudentT.fit(past)
        returns = squares.returns(origins[origins + horizon <= END], horizon)
        level = nll(returns, np.full(len(returns), constant.scale), constant.skew, constant.tail).mean()
        assert level == pytest.approx(ROW_A[symbol][column], abs=0.002)


@pytest.mark.slow
def test_the_shipped_default_and_the_bare_prior_lose_little(shared_data: Path) -> None:
    from crypy.models.volatility import VolatilityBaseline

    symbols = tuple(ROW_D)
    bars = {symbol: read_candles(shared_data / "klines_1m" / "binance_spot", symbol).bars for symbol in symbols}
    fitted = score_baseline(fit_baseline(bars, START, SPLIT), bars, SPLIT, END, HORIZONS)
    prior = score_baseline(VolatilityBaseline.prior(symbols, 60), bars, SPLIT, END, HORIZONS)
    for symbol in symbols:
        for column in range(len(HORIZONS)):
            assert fitted[symbol][column].nll == pytest.approx(ROW_D[symbol][column], abs=0.0025)
            assert prior[symbol][column].nll < ROW_D[symbol][column] + 0.015


@pytest.mark.slow
@pytest.mark.parametrize(
    ("symbol", "page"),
    [
        ("SOLUSDT", (-4.2042 - 0.0860, -3.5337 - 0.0754, -2.8267 - 0.0739, -1.8254 - 0.0506)),
        ("XRPUSDT", (-4.2754 - 0.1264, -3.6233 - 0.1067, -2.9280 - 0.0889, -1.9515 - 0.0519)),
    ],
)
def test_quarter_hours_of_sol_and_xrp_come_near_the_page(
    shared_data: Path, symbol: str, page: tuple[float, ...]
) -> None:
    start, end = (parse_time_us(day) // US_PER_S for day in ("2024-12-30", "2025-09-29"))
    bars = {symbol: read_candles(shared_data / "klines_15m" / "binance_spot_api", symbol).bars}
    horizons = np.array([900.0, 3_600.0, 14_400.0, 86_400.0])
    settings = FitSettings(horizons_s=(900, 3_600, 14_400, 86_400), prior_strength=0.0, spacing_s=900)
    scores = score_baseline(fit_baseline(bars, start, SPLIT, settings), bars, SPLIT, end, horizons, 900)[symbol]
    # The page does not say how it smoothed the season of bars longer than its slots.
    assert [score.nll for score in scores] == pytest.approx(page, abs=0.004)


PUBLISHED: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "benchmarks" / "published_forecasts.json").read_text("utf-8")
)
MINUTES, QUARTER_HOURS = PUBLISHED["minutes"], PUBLISHED["quarter_hours"]
# GARCH: BTC's alpha + beta is 1 to the last digit that `arch` finds, where its long forecasts hang on that digit.
TOLERANCE = {"garch": 0.004, "garch-season": 0.004}
# Half-lives of 15 and 30 minutes lie within 0.001 nats of each other in the fit at 15m, and the page's choice there is not the likelier one.
# Its normal row has the half-lives of the other.
AT_HALF_LIVES = ("ewma", "ewma-normal")


@pytest.mark.slow
@pytest.mark.parametrize("symbol", MINUTES["climatology"])
@pytest.mark.parametrize("kind", [kind for kind in RECIPES if kind not in AT_HALF_LIVES])
def test_every_cell_of_the_other_rows(shared_data: Path, kind: str, symbol: str) -> None:
    found = levels(shared_data, MINUTES, symbol, kind, BaselineSettings(horizons_s=tuple(MINUTES["horizons_s"])))
    assert found == pytest.approx(published(MINUTES, kind, symbol), abs=TOLERANCE.get(kind, 0.002))


@pytest.mark.slow
@pytest.mark.parametrize("symbol", MINUTES["climatology"])
@pytest.mark.parametrize("kind", AT_HALF_LIVES)
def test_every_cell_of_an_ewma_at_the_page_s_half_lives(shared_data: Path, kind: str, symbol: str) -> None:
    found: list[float] = []
    for horizon_s, half_life_s in zip(MINUTES["horizons_s"], MINUTES["half_lives_s"][symbol], strict=True):
        settings = BaselineSettings(horizons_s=(horizon_s,), half_lives_s=(half_life_s,))
        found += levels(shared_data, MINUTES, symbol, kind, settings, (horizon_s,))
    assert found == pytest.approx(published(MINUTES, kind, symbol), abs=0.002)


@pytest.mark.slow
def test_half_lives_chosen_by_the_fit_are_no_worse_than_the_page_s(shared_data: Path) -> None:
    symbol = "BTCUSDT"
    found = levels(shared_data, MINUTES, symbol, "ewma", BaselineSettings(horizons_s=tuple(MINUTES["horizons_s"])))
    assert all(ours < theirs + 0.002 for ours, theirs in zip(found, published(MINUTES, "ewma", symbol), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("symbol", QUARTER_HOURS["climatology"])
@pytest.mark.parametrize("kind", ["climatology", "ewma", "har-season-normal", "har-ranges"])
def test_quarter_hours_come_near_the_page_in_the_other_rows(shared_data: Path, kind: str, symbol: str) -> None:
    settings = BaselineSettings(horizons_s=tuple(QUARTER_HOURS["horizons_s"]))
    found = levels(shared_data, QUARTER_HOURS, symbol, kind, settings)
    assert found == pytest.approx(published(QUARTER_HOURS, kind, symbol), abs=0.004)


def published(split: dict[str, Any], kind: str, symbol: str) -> list[float]:
    levels = split["climatology"][symbol]
    gains = split["gain"][kind][symbol] if kind != "climatology" else [0.0] * len(levels)
    return [level - gain for level, gain in zip(levels, gains, strict=True)]


def levels(
    shared_data: Path,
    split: dict[str, Any],
    symbol: str,
    kind: str,
    settings: BaselineSettings,
    horizons: tuple[int, ...] = (),
) -> list[float]:
    """Mean negative log likelihood after the split, at all horizons of the page or some."""
    fit, judged = datasets(shared_data, split["interval"], symbol)
    judged_s = np.array(horizons or split["horizons_s"], np.float64)
    cast = hindcasts(kind_of(kind).fit_on(fit, settings=settings), judged, judged_s)[symbol]
    found: list[float] = []
    for column in range(len(judged_s)):
        rows = np.isfinite(cast.returns[:, column])
        laws = (cast.scale[rows, column], cast.skew[rows, column], cast.tail[rows, column])
        found.append(score(cast.returns[rows, column], *laws).nll)
    return found


@lru_cache(maxsize=2)
def datasets(shared_data: Path, interval: str, symbol: str) -> tuple[Dataset, Dataset]:
    """What is fitted on, and what is judged on."""
    split = MINUTES if interval == "1m" else QUARTER_HOURS
    folder = "klines_1m/binance_spot" if interval == "1m" else "klines_15m/binance_spot_api"
    first, middle, last = (parse_time_us(split[name]) // US_PER_S for name in ("fit", "split", "end"))
    bars = {symbol: read_candles(shared_data / folder, symbol).bars}
    options = {"spacing_s": split["spacing_s"], "horizons_s": tuple(split["horizons_s"])}
    return Dataset.of(bars, first, middle, **options), Dataset.of(bars, first, last, **options).between(middle, last)
