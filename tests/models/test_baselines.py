"""Every baseline: batch and single forecasts are the same bits, blind to the future, kept on disk, refused where wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypy.distributions.scores import NORMAL_TAIL
from crypy.domain.errors import ConfigError, DataError, Incomplete, SchemaMismatch
from crypy.marketdata.bars import Bars
from crypy.marketdata.sequence import feature_sequence
from crypy.models import load_model
from crypy.models.baselines.fitting import BaselineSettings
from crypy.models.baselines.model import ScaleBaseline
from crypy.models.baselines.recipes import RECIPES
from crypy.models.dataset import Dataset
from crypy.models.hindcast import hindcasts, one_by_one
from crypy.models.kinds import kind_of, kinds

Market = Callable[..., Bars]
HORIZONS = np.array([1.0, 30.0, 60.0, 100.0, 300.0, 700.0, 3_600.0, 14_400.0, 86_400.0, 172_800.0])
DAY_S = 86_400


def with_ranges(bars: Bars, seed: int = 5) -> Bars:
    """Highs and lows that lie apart, as ranges need."""
    width = np.random.default_rng(seed).exponential(2e-4, (2, len(bars)))
    return replace(bars, high=bars.close * np.exp(width[0]), low=bars.close * np.exp(-width[1]))


@pytest.fixture(scope="module")
def bars(make_market: Market) -> dict[str, Bars]:
    return {
        symbol: with_ranges(make_market(30, seed, symbol=symbol)) for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT"))
    }


@pytest.fixture(scope="module")
def dataset(bars: dict[str, Bars]) -> Dataset:
    return Dataset.of(bars, spacing_s=900)


@pytest.fixture(scope="module")
def models(dataset: Dataset) -> dict[str, ScaleBaseline]:
    return {kind: fitted(kind, dataset) for kind in RECIPES}


def fitted(kind: str, dataset: Dataset, horizons_s: tuple[int, ...] = ()) -> ScaleBaseline:
    model = kind_of(kind).fit_on(dataset, settings=BaselineSettings(horizons_s=horizons_s))
    assert isinstance(model, ScaleBaseline)
    return model


def test_every_recipe_is_a_kind() -> None:
    assert set(RECIPES) < set(kinds())
    assert all(kind_of(kind).model_class() is ScaleBaseline for kind in RECIPES)


@pytest.mark.parametrize("kind", RECIPES)
def test_many_origins_at_once_give_the_bits_of_each(
    models: dict[str, ScaleBaseline], dataset: Dataset, kind: str
) -> None:
    start_s = dataset.start_s
    # From the first minute, on and off the grid of the blocks, with little history and with all of it.
    for first_s, spacing_s in ((60, 60), (20 * DAY_S + 60, 420)):
        some = dataset.between(start_s + first_s, start_s + first_s + 12 * spacing_s).every(spacing_s)
        fast, slow = hindcasts(models[kind], some, HORIZONS), one_by_one(models[kind], some, HORIZONS)
        for symbol, cast in fast.items():
            assert cast.scale.tolist() == slow[symbol].scale.tolist()
            assert cast.skew.tolist() == slow[symbol].skew.tolist()
            assert cast.tail.tolist() == slow[symbol].tail.tolist()
            assert np.isfinite(cast.scale).all()
            assert (cast.scale > 0).all()
            assert (np.diff(cast.scale, axis=1) >= 0).all()


@pytest.mark.parametrize("step_s", [1, 4, 300, 900])
@pytest.mark.parametrize("kind", ["ewma-season", "har", "har-ranges", "garch-season"])
def test_other_steps_give_the_bits_of_each_as_well(make_market: Market, kind: str, step_s: int) -> None:
    bars = {"BTCUSDT": with_ranges(make_market(1.5 if step_s == 1 else 12, 3, step_s=step_s))}
    if (kind, step_s) == ("garch-season", 1):
        pytest.skip("a day and a half has too few five-minute returns for a GARCH")
    whole = Dataset.of(bars, spacing_s=max(60, step_s), horizons_s=(900, 3_600))
    model = fitted(kind, whole, horizons_s=(900, 3_600))
    late_s = whole.end_s - 7 * step_s
    some = Dataset.of(bars, late_s, spacing_s=step_s, horizons_s=(900,))
    fast, slow = hindcasts(model, some, HORIZONS), one_by_one(model, some, HORIZONS)
    assert fast["BTCUSDT"].scale.tolist() == slow["BTCUSDT"].scale.tolist()


@pytest.mark.parametrize("kind", RECIPES)
def test_an_artefact_says_the_same_to_the_last_bit(
    models: dict[str, ScaleBaseline], bars: dict[str, Bars], kind: str, tmp_path: Path
) -> None:
    model = models[kind]
    model.save(tmp_path / "model")
    kept = load_model(tmp_path / "model")
    assert isinstance(kept, ScaleBaseline)
    assert (kept.name, kept.record, kept.schema) == (model.name, model.record, model.schema)
    sequence = feature_sequence(bars, bars["BTCUSDT"].start_s + 17 * DAY_S + 60, model.schema)
    before, after = model.predict(sequence, HORIZONS), kept.predict(sequence, HORIZONS)
    assert before.scale.tolist() == after.scale.tolist()
    assert before.skew.tolist() == after.skew.tolist()
    assert before.tail.tolist() == after.tail.tolist()
    assert before.history_s.tolist() == after.history_s.tolist()


@pytest.mark.parametrize("kind", RECIPES)
def test_nothing_at_or_after_the_origin_matters(
    models: dict[str, ScaleBaseline], bars: dict[str, Bars], kind: str
) -> None:
    end_s = bars["BTCUSDT"].start_s + 25 * DAY_S
    changed = {symbol: changed_from(one, end_s) for symbol, one in bars.items()}
    casts = [
        hindcasts(models[kind], Dataset.of(each, end_s - 1_200, end_s + 600, spacing_s=300), HORIZONS)["BTCUSDT"]
        for each in (bars, changed)
    ]
    assert casts[0].scale[:5].tolist() == casts[1].scale[:5].tolist()


@pytest.mark.parametrize("kind", RECIPES)
def test_a_fit_sees_nothing_beyond_its_range(bars: dict[str, Bars], kind: str) -> None:
    start_s = bars["BTCUSDT"].start_s
    end_s = start_s + 20 * DAY_S
    changed = {symbol: changed_from(one, end_s) for symbol, one in bars.items()}
    clean, dirty = (
        fitted(kind, Dataset.of({"BTCUSDT": each["BTCUSDT"]}, None, end_s), horizons_s=(300, 3_600))
        for each in (bars, changed)
    )
    assert clean.record == dirty.record
    one, other = (model.laws["BTCUSDT"] for model in (clean, dirty))
    assert one.coefficients.weights.tolist() == other.coefficients.weights.tolist()
    assert one.coefficients.constant.tolist() == other.coefficients.constant.tolist()
    assert one.coefficients.season.utc.tolist() == other.coefficients.season.utc.tolist()
    assert one.garch == other.garch


def test_without_history_the_usual_volatility_is_forecast(
    models: dict[str, ScaleBaseline], bars: dict[str, Bars]
) -> None:
    start_s = bars["BTCUSDT"].start_s
    for model in models.values():
        none = model.predict(feature_sequence(bars, start_s, model.schema), HORIZONS)
        much = model.predict(feature_sequence(bars, start_s + 20 * DAY_S, model.schema), HORIZONS)
        assert none.history_s.tolist() == [0.0, 0.0]
        assert much.history_s.min() >= 7 * DAY_S
        # The market's own volatility stays within a factor of about three of its mean.
        assert (np.abs(np.log(none.scale / much.scale)) < 1.5).all(), model.name


def test_normal_ones_are_normal_and_the_others_have_the_tail_of_the_law(models: dict[str, ScaleBaseline]) -> None:
    for model in models.values():
        for law in model.laws.values():
            if model.recipe.normal:
                assert (law.coefficients.skew == 0.0).all()
                assert (law.coefficients.tail == NORMAL_TAIL).all()
            else:
                # The market's minutes have a tail of 5; long horizons of a few weeks tell nothing of theirs.
                assert 2.5 < law.coefficients.tail[0] < 8


def test_between_fitted_horizons_logs_are_joined_by_straight_lines(
    models: dict[str, ScaleBaseline], bars: dict[str, Bars]
) -> None:
    model = models["ewma"]
    sequence = feature_sequence(bars, bars["BTCUSDT"].start_s + 20 * DAY_S, model.schema)
    low, high = 900.0, 3_600.0
    grid = model.predict(sequence, np.array([low, 1_800.0, high]))
    per_root = np.log(grid.scale / np.sqrt(grid.horizons_s))
    assert per_root[:, 1] == pytest.approx((per_root[:, 0] + per_root[:, 2]) / 2, abs=1e-12)
    assert grid.skew[:, 1] == pytest.approx((grid.skew[:, 0] + grid.skew[:, 2]) / 2, abs=1e-12)


def test_a_gap_in_the_bars_is_left_out_of_the_past(models: dict[str, ScaleBaseline], bars: dict[str, Bars]) -> None:
    close = bars["BTCUSDT"].close.copy()
    close[20 * 1_440 : 20 * 1_440 + 30] = np.nan
    holed = {"BTCUSDT": replace(bars["BTCUSDT"], close=close), "ETHUSDT": bars["ETHUSDT"]}
    start_s = bars["BTCUSDT"].start_s + 20 * DAY_S + 3_600
    for kind in ("ewma", "har", "har-ranges", "garch"):
        whole, lacking = (
            hindcasts(models[kind], Dataset.of(each, start_s, start_s + 300), HORIZONS) for each in (bars, holed)
        )
        ratio = lacking["BTCUSDT"].scale / whole["BTCUSDT"].scale
        assert np.isfinite(ratio).all()
        assert (ratio != 1.0).any()
        assert (np.abs(np.log(ratio)) < 0.7).all()


@pytest.mark.parametrize("horizons", [[], [0.0, 1.0], [2.0, 1.0], [1.0, 1.0], [200_000.0], [float("nan")]])
def test_horizons_that_are_none_are_refused(
    models: dict[str, ScaleBaseline], bars: dict[str, Bars], horizons: list[float]
) -> None:
    model = models["climatology"]
    sequence = feature_sequence(bars, bars["BTCUSDT"].start_s + DAY_S, model.schema)
    with pytest.raises(DataError, match="horizons"):
        model.predict(sequence, np.array(horizons))


def test_another_models_sequence_is_refused(models: dict[str, ScaleBaseline], bars: dict[str, Bars]) -> None:
    sequence = feature_sequence(bars, bars["BTCUSDT"].start_s + DAY_S, models["ewma"].schema)
    with pytest.raises(SchemaMismatch, match="schema"):
        models["har"].predict(sequence, HORIZONS)


def test_bars_of_other_coins_are_refused(models: dict[str, ScaleBaseline], dataset: Dataset) -> None:
    alone = Dataset.of({"ETHUSDT": dataset.bars["ETHUSDT"]})
    with pytest.raises(DataError, match="BTCUSDT"):
        models["ewma"].hindcasts(alone, HORIZONS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base_step_s": 90}, "base step"),
        ({"horizons_s": (90,)}, "multiples"),
        ({"half_lives_s": ()}, "half-lives"),
        ({"season_smoothing_s": 1e6}, "smoothed"),
        ({"half_lives_s": (-1.0,)}, "half-lives"),
    ],
)
def test_options_that_cannot_be_are_refused(dataset: Dataset, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        kind_of("ewma").fit_on(dataset, settings=BaselineSettings(**options))


def test_too_little_to_fit_is_refused(make_market: Market) -> None:
    short = Dataset.of({"BTCUSDT": make_market(0.1, 1)})
    with pytest.raises(Incomplete, match="returns over"):
        kind_of("ewma").fit_on(short)
    with pytest.raises(Incomplete, match="GARCH"):
        kind_of("garch").fit_on(short)


@pytest.mark.parametrize("kind", ["climatology", "ewma", "har", "garch"])
def test_a_price_that_stands_still_is_refused(make_market: Market, kind: str) -> None:
    still = replace(make_market(20, 1), close=np.full(20 * 1_440, 100.0))
    with pytest.raises(DataError, match=r"zero|alike"):
        kind_of(kind).fit_on(Dataset.of({"BTCUSDT": still}))


def changed_from(bars: Bars, from_s: int) -> Bars:
    """The same until `from_s`, wild noise from there on."""
    first = (from_s - bars.start_s) // bars.step_s
    factor = np.ones(len(bars))
    factor[first:] = np.exp(np.random.default_rng(0).normal(0, 0.05, len(bars) - first))
    columns = ("open", "high", "low", "close")
    return replace(bars, **{name: getattr(bars, name) * factor for name in columns})
