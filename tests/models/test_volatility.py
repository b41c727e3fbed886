"""The baseline's forecasts: equal to the batch, blind to the future, sane from the first minute, refused where wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from crypy.domain.errors import ConfigError, DataError, SchemaMismatch
from crypy.marketdata.bars import Bars
from crypy.marketdata.sequence import feature_sequence
from crypy.models.fitting import FitSettings, fit_baseline
from crypy.models.hindcast import hindcast, score_baseline
from crypy.models.memory import Memory
from crypy.models.volatility import VolatilityBaseline

Market = Callable[..., Bars]
HORIZONS = np.array([1.0, 30.0, 60.0, 100.0, 300.0, 900.0, 3_600.0, 7_000.0, 14_400.0, 86_400.0, 172_800.0])
FIT = FitSettings(spacing_s=300)


@pytest.fixture(scope="module")
def bars(make_market: Market) -> dict[str, Bars]:
    return {symbol: make_market(30, seed, symbol=symbol) for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT"))}


@pytest.fixture(scope="module")
def model(bars: dict[str, Bars]) -> VolatilityBaseline:
    return fit_baseline(bars, settings=FIT)


@pytest.mark.parametrize("late_s", [0, 60, 180])
def test_one_sequence_gives_the_bits_of_the_batch(
    model: VolatilityBaseline, bars: dict[str, Bars], late_s: int
) -> None:
    end_s = bars["BTCUSDT"].start_s + 12 * 86_400 + late_s
    grid = model.predict(feature_sequence(bars, end_s, model.schema), HORIZONS)
    for row, symbol in enumerate(model.symbols):
        batch = hindcast(model, bars[symbol], np.array([end_s - 3_600, end_s]), HORIZONS)
        assert batch.scale[1].tolist() == grid.scale[row].tolist()
        assert batch.tail[1].tolist() == grid.tail[row].tolist()
        assert batch.skew[1].tolist() == grid.skew[row].tolist()


def test_seconds_give_the_bits_of_the_batch_too(make_market: Market) -> None:
    bars = {"BTCUSDT": make_market(2.0, 4, step_s=1)}
    model = VolatilityBaseline.prior(("BTCUSDT",), 1)
    end_s = bars["BTCUSDT"].start_s + 86_400 + 3_677
    grid = model.predict(feature_sequence(bars, end_s, model.schema), HORIZONS)
    batch = hindcast(model, bars["BTCUSDT"], np.array([end_s]), HORIZONS)
    assert batch.scale[0].tolist() == grid.scale[0].tolist()
    assert 86_400 <= grid.history_s[0] < 172_800


@pytest.mark.parametrize("step_s", [4, 300, 900])
def test_other_base_steps_give_the_bits_of_the_batch_as_well(make_market: Market, step_s: int) -> None:
    bars = {"BTCUSDT": make_market(9, 5, step_s=step_s)}
    fitted = fit_baseline(bars, settings=FitSettings(spacing_s=900))
    end_s = bars["BTCUSDT"].start_s + 8 * 86_400 + 7 * step_s
    grid = fitted.predict(feature_sequence(bars, end_s, fitted.schema), HORIZONS)
    batch = hindcast(fitted, bars["BTCUSDT"], np.array([end_s]), HORIZONS)
    assert batch.scale[0].tolist() == grid.scale[0].tolist()
    assert grid.history_s[0] == 604_800


def test_minutes_can_be_the_base_of_bars_of_seconds(make_market: Market) -> None:
    bars = {"BTCUSDT": make_market(2, 5, step_s=1)}
    fitted = fit_baseline(bars, settings=FitSettings(base_step_s=60))
    end_s = bars["BTCUSDT"].start_s + 86_400 + 17
    grid = fitted.predict(feature_sequence(bars, end_s, fitted.schema), HORIZONS)
    batch = hindcast(fitted, bars["BTCUSDT"], np.array([end_s]), HORIZONS)
    assert batch.scale[0].tolist() == grid.scale[0].tolist()


@pytest.mark.parametrize("base_step_s", [0, 7, 450, 86_400])
def test_a_base_step_that_fits_no_window_is_refused(base_step_s: int) -> None:
    with pytest.raises(ConfigError, match="base step"):
        Memory.of(base_step_s)


def test_bars_of_two_steps_cannot_be_fitted_together(make_market: Market) -> None:
    with pytest.raises(ConfigError, match="common step"):
        fit_baseline({"BTCUSDT": make_market(1, 1), "ETHUSDT": make_market(1, 1, step_s=300)})


def test_nothing_at_or_after_the_end_matters(model: VolatilityBaseline, bars: dict[str, Bars]) -> None:
    end_s = bars["BTCUSDT"].start_s + 15 * 86_400
    before = model.predict(feature_sequence(bars, end_s, model.schema), HORIZONS)
    changed = {symbol: _changed_from(one, end_s) for symbol, one in bars.items()}
    after = model.predict(feature_sequence(changed, end_s, model.schema), HORIZONS)
    assert before.scale.tolist() == after.scale.tolist()
    assert before.tail.tolist() == after.tail.tolist()


def test_a_fit_sees_nothing_outside_its_range(bars: dict[str, Bars]) -> None:
    start_s = bars["BTCUSDT"].start_s + 86_400
    end_s = start_s + 20 * 86_400
    clean = fit_baseline(bars, start_s, end_s, FIT)
    dirty = fit_baseline({symbol: _changed_from(one, end_s) for symbol, one in bars.items()}, start_s, end_s, FIT)
    cut = fit_baseline({symbol: _cut(one, start_s, end_s) for symbol, one in bars.items()}, None, None, FIT)
    for other in (dirty, cut):
        assert other.record == clean.record
        for symbol in clean.symbols:
            assert other.coefficients[symbol].weights.tolist() == clean.coefficients[symbol].weights.tolist()
            assert other.coefficients[symbol].season.utc.tolist() == clean.coefficients[symbol].season.utc.tolist()


def test_forecasts_are_calibrated_where_the_law_is_known(make_market: Market) -> None:
    bars = {"BTCUSDT": make_market(70, 21)}
    middle_s = bars["BTCUSDT"].start_s + 45 * 86_400
    fitted = fit_baseline(bars, None, middle_s, FIT)
    horizons = np.array([60.0, 300.0, 3_600.0])
    scores = score_baseline(fitted, bars, middle_s, bars["BTCUSDT"].end_s, horizons, 300)["BTCUSDT"]
    for one in scores:
        assert one.pit_ks < 0.025
        assert all(abs(part - share) < 0.02 for share, part in one.coverage), one.coverage
    constant = replace(fitted.coefficients["BTCUSDT"], weights=np.zeros_like(fitted.coefficients["BTCUSDT"].weights))
    blind = VolatilityBaseline({"BTCUSDT": constant}, 60, fitted.horizons_s, fitted.record)
    without = score_baseline(blind, bars, middle_s, bars["BTCUSDT"].end_s, horizons, 300)["BTCUSDT"]
    assert all(seen.nll < flat.nll - 0.02 for seen, flat in zip(scores, without, strict=True))


def test_without_history_there_is_a_wide_prior_that_says_so(bars: dict[str, Bars]) -> None:
    model = VolatilityBaseline.prior(("BTCUSDT", "NEWUSDT"), 60)
    start_s = bars["BTCUSDT"].start_s
    pair = {"BTCUSDT": bars["BTCUSDT"], "NEWUSDT": bars["ETHUSDT"]}
    none = model.predict(feature_sequence(pair, start_s, model.schema), HORIZONS)
    week = model.predict(feature_sequence(pair, start_s + 8 * 86_400, model.schema), HORIZONS)
    assert model.name.endswith("(prior)")
    assert none.history_s.tolist() == [0.0, 0.0]
    assert week.history_s.tolist() == [604_800.0, 604_800.0]
    assert (none.tail < week.tail).all()
    # An unknown coin may be anything from a stable one to a wild one: wider than a known one, heavier too.
    assert (none.scale[1] > none.scale[0]).all()
    assert (none.tail[1] < none.tail[0]).all()
    assert 0.2 < none.scale[0, 9] * np.sqrt(365) < 1.2  # a day of BTC, as a yearly volatility


def test_minutes_of_history_move_the_forecast_towards_what_was_seen(make_market: Market) -> None:
    calm, wild = (make_market(0.5, 9, step_s=1, level=level, deviation=0.0) for level in (-10.5, -8.0))
    model = VolatilityBaseline.prior(("BTCUSDT",), 1)
    truth = float(np.exp(-10.5 + 8.0))
    ratios = []
    for minutes in (0.25, 2, 20, 360):
        end_s = calm.start_s + int(60 * minutes) + 1
        seen = [
            model.predict(feature_sequence({"BTCUSDT": one}, end_s, model.schema), np.array([300.0]))
            for one in (calm, wild)
        ]
        ratios.append(seen[0].scale[0, 0] / seen[1].scale[0, 0])
        assert 0 < seen[0].history_s[0] <= 60 * minutes
    assert 0.9 > ratios[0] > ratios[1] > ratios[2] > ratios[3]
    assert truth * 0.8 < ratios[3] < truth * 1.5


def test_a_fit_on_hours_stays_near_the_prior_and_no_symbol_breaks_another(make_market: Market) -> None:
    short = _cut(make_market(1, 3), 0, make_market(1, 3).start_s + 4 * 3_600)
    fitted = fit_baseline({"BTCUSDT": short}).coefficients["BTCUSDT"]
    prior = VolatilityBaseline.prior(("BTCUSDT",), 60).coefficients["BTCUSDT"]
    horizons = VolatilityBaseline.prior(("BTCUSDT",), 60).horizons_s
    kept = horizons % 60 == 0
    assert np.abs(fitted.weights - prior.weights[kept]).max() < 0.25
    assert np.abs(fitted.tail / prior.tail[kept] - 1).max() < 0.6
    empty = replace(short, symbol="ETHUSDT", close=np.full(len(short), np.nan))
    both = fit_baseline({"BTCUSDT": short, "ETHUSDT": empty})
    assert both.coefficients["BTCUSDT"].weights.tolist() == fitted.weights.tolist()
    known = VolatilityBaseline.prior(("ETHUSDT",), 60).coefficients["ETHUSDT"]
    assert both.coefficients["ETHUSDT"].level == known.level


def test_the_scale_never_falls_with_the_horizon(model: VolatilityBaseline, bars: dict[str, Bars]) -> None:
    horizons = np.unique(np.round(np.logspace(0, np.log10(172_800), 400)))
    for hours in range(200, 224):
        end_s = bars["BTCUSDT"].start_s + hours * 3_600
        grid = model.predict(feature_sequence(bars, end_s, model.schema), horizons)
        assert (np.diff(grid.scale, axis=1) >= 0).all()
        assert np.isfinite(grid.scale).all()
        assert (grid.tail > 2).all()


@pytest.mark.parametrize("horizons", [[], [0.0, 1.0], [2.0, 1.0], [1.0, 1.0], [200_000.0], [float("nan")]])
def test_horizons_that_are_none_are_refused(
    model: VolatilityBaseline, bars: dict[str, Bars], horizons: list[float]
) -> None:
    sequence = feature_sequence(bars, bars["BTCUSDT"].start_s + 86_400, model.schema)
    with pytest.raises(DataError, match="horizons"):
        model.predict(sequence, np.array(horizons))


def test_another_models_sequence_is_refused(model: VolatilityBaseline, bars: dict[str, Bars]) -> None:
    other = VolatilityBaseline.prior(("ETHUSDT", "BTCUSDT"), 60)
    with pytest.raises(SchemaMismatch, match="schema"):
        model.predict(feature_sequence(bars, bars["BTCUSDT"].start_s + 86_400, other.schema), HORIZONS)


def test_the_windows_are_those_of_the_page() -> None:
    assert Memory.of(60).windows_s == tuple(60 * minutes for minutes in (5, 15, 60, 240, 1_440, 10_080))
    assert Memory.of(1).windows_s[:4] == (10, 30, 60, 300)
    assert Memory.of(900).windows_s == (900, 3_600, 14_400, 86_400, 604_800)


def _cut(bars: Bars, start_s: int, end_s: int) -> Bars:
    rows = slice(max(0, (start_s - bars.start_s) // bars.step_s), (end_s - bars.start_s) // bars.step_s)
    start = bars.start_s + rows.start * bars.step_s
    return Bars(
        bars.symbol, start, bars.step_s, bars.open[rows], bars.high[rows], bars.low[rows], bars.close[rows],
        bars.volume[rows], bars.quote_volume[rows], bars.count[rows], bars.taker_buy_volume[rows],
    )  # fmt: skip


def _changed_from(bars: Bars, from_s: int) -> Bars:
    """The same until `from_s`, wild noise from there on."""
    first = (from_s - bars.start_s) // bars.step_s
    close = bars.close.copy()
    close[first:] *= np.exp(np.random.default_rng(0).normal(0, 0.05, len(close) - first))
    return replace(bars, open=close, high=close, low=close, close=close)
