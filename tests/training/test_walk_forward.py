"""Walk-forward with a spy for a model: what each fold is shown, and that nothing it is judged on is among it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, StateError
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast
from crypy.training.evaluation import FittedPart
from crypy.training.judging import Candidate, Terms, judge
from crypy.training.walk_forward import require_blind, split, walk_forward
from crypy.training.windows_up import questions

START_S = 1_735_689_600
DAY_S = 86_400
HORIZONS = (900, 3_600, 86_400)


def bars_of(days: int, symbol: str = "BTCUSDT", seed: int = 1) -> Bars:
    n = days * 96
    close = 50_000.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(size=n) * 1e-3))
    ones = np.ones(n)
    return Bars(symbol, START_S, 900, close, close, close, close, ones, close, ones.astype(np.int64), ones)


def dataset_of(days: int = 60, *symbols: str) -> Dataset:
    bars = {symbol: bars_of(days, symbol, seed) for seed, symbol in enumerate(symbols or ("BTCUSDT",))}
    return Dataset.of(bars, spacing_s=900, horizons_s=HORIZONS)


class Spy:
    """Learns the standard deviation of the returns it is shown, and remembers what it was shown and asked."""

    def __init__(self, shown: Dataset) -> None:
        self.shown = shown
        self.asked: list[Dataset] = []
        self.deviation: dict[str, float] = {}
        for symbol in shown.symbols:
            returns = shown.returns(symbol, shown.origins_s(), np.array([900]))
            self.deviation[symbol] = float(np.nanstd(returns))

    def hindcasts(self, dataset: Dataset, horizons_s: np.ndarray) -> dict[str, Hindcast]:
        self.asked.append(dataset)
        origins_s = dataset.origins_s()
        shape = (len(origins_s), len(horizons_s))
        return {
            symbol: Hindcast(
                origins_s, horizons_s, np.zeros(shape), np.broadcast_to(deviation * np.sqrt(horizons_s / 900.0), shape),
                np.zeros(shape), np.full(shape, 8.0),
            )
            for symbol, deviation in self.deviation.items()
        }  # fmt: skip


def walked(dataset: Dataset, **options: Any) -> Any:
    return walk_forward(Spy, dataset, **options)  # type: ignore[arg-type]


def test_no_fold_is_shown_its_test_range_or_the_embargo_before_it() -> None:
    dataset = dataset_of()
    found = walked(dataset, folds=4, embargo_s=2 * DAY_S)
    assert len(found.models) == 4
    for spy, fold in zip(found.models, found.folds, strict=True):
        assert spy.shown.end_s + 2 * DAY_S <= fold.test.start_s
        assert max(one.end_s for one in spy.shown.bars.values()) <= spy.shown.end_s
        # Purged: no return that it could learn from ends in the embargo or beyond.
        origins_s = spy.shown.origins_s()
        for horizon in HORIZONS:
            returns = spy.shown.returns("BTCUSDT", origins_s, np.array([horizon]))[:, 0]
            assert (origins_s[np.isfinite(returns)] + horizon <= spy.shown.end_s).all()
        for asked in spy.asked:
            assert asked.end_s == fold.test.end_s
    assert found.models[3].shown.start_s == found.models[0].shown.start_s


def test_what_comes_after_a_fold_changes_nothing_of_it() -> None:
    dataset = dataset_of()
    whole = walked(dataset, folds=3)
    later_s = whole.folds[1].test.start_s - DAY_S
    bars = dataset.bars["BTCUSDT"]
    row = (later_s - START_S) // 900
    close = bars.close.copy()
    close[row:] *= np.random.default_rng(3).uniform(0.5, 2.0, len(close) - row)
    changed = walked(Dataset.of({"BTCUSDT": replace(bars, close=close)}, spacing_s=900, horizons_s=HORIZONS), folds=3)
    rows = whole.hindcasts["BTCUSDT"].origins_s < whole.folds[1].test.start_s
    scales = [found.hindcasts["BTCUSDT"].scale[rows] for found in (whole, changed)]
    assert scales[0].tolist() == scales[1].tolist()
    assert whole.models[2].deviation != changed.models[2].deviation


def test_hindcasts_are_joined_without_gap_and_returns_reach_over_the_seams() -> None:
    dataset = dataset_of()
    found = walked(dataset, folds=4, embargo_s=DAY_S)
    cast = found.hindcasts["BTCUSDT"]
    assert (np.diff(cast.origins_s) == 900).all()
    assert int(cast.origins_s[0]) == found.folds[0].test.start_s
    assert int(cast.origins_s[-1]) == dataset.end_s - 900
    expected = dataset.returns("BTCUSDT", cast.origins_s, cast.horizons_s)
    assert np.array_equal(cast.returns, expected, equal_nan=True)
    assert np.isnan(cast.returns[:, 2]).sum() == 95
    levels = [spy.deviation["BTCUSDT"] for spy in found.models]
    assert sorted(set(cast.scale[:, 0].tolist())) == pytest.approx(sorted(levels))


def test_a_rolling_walk_forgets_and_stays_as_long_as_the_first_fold() -> None:
    found = walked(dataset_of(), folds=3, scheme="rolling")
    lengths = {spy.shown.end_s - spy.shown.start_s for spy in found.models}
    assert len(lengths) == 1
    for spy in found.models:
        assert spy.shown.bars["BTCUSDT"].start_s == spy.shown.start_s
    assert found.models[1].shown.start_s > found.models[0].shown.start_s


@given(st.integers(30, 80), st.integers(1, 6), st.integers(0, 3 * DAY_S), st.sampled_from(["expanding", "rolling"]))
def test_folds_fill_the_range_in_order(days: int, folds: int, embargo_s: int, scheme: Any) -> None:
    dataset = dataset_of(days)
    parts = split(dataset, folds, embargo_s=embargo_s, scheme=scheme)
    assert len(parts) == folds
    assert parts[-1].test.end_s == dataset.end_s
    for part in parts:
        assert part.fit.end_s == part.test.start_s - embargo_s
        assert part.fit.start_s < part.fit.end_s
    for before, after in pairwise(parts):
        assert before.test.end_s == after.test.start_s
        assert after.test.start_s % DAY_S == 0
    lengths = [part.test.end_s - part.test.start_s for part in parts]
    assert max(lengths) - min(lengths) <= 2 * DAY_S


def test_window_questions_are_walked_with_the_same_models() -> None:
    dataset = dataset_of(60)
    asked = questions(900, ("1h",))
    told: list[FittedPart] = []
    found = walked(dataset, folds=2, asked=asked, told=told.append)
    assert [part.fit_end for part in told] == [fold.part().fit_end for fold in found.folds]
    for one in asked:
        origins_s = found.windows[one]["BTCUSDT"].origins_s
        assert (origins_s % 3_600 == one.elapsed_s).all()
        assert (np.diff(origins_s) == 3_600).all()


def test_a_fold_that_could_see_ahead_is_stopped() -> None:
    dataset = dataset_of()
    fold = split(dataset, 1, embargo_s=DAY_S)[0]
    require_blind(fold, DAY_S)
    with pytest.raises(StateError, match="was to be fitted on data up to"):
        require_blind(fold, DAY_S + 900)
    # A range that ends in time, over bars that do not.
    longer = replace(fold.fit, bars=dataset.bars)
    with pytest.raises(StateError, match="was to be fitted on data up to 2025-03-02"):
        require_blind(replace(fold, fit=longer), DAY_S)


def test_ranges_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="too little is left to learn"):
        split(dataset_of(4), 1, embargo_s=3 * DAY_S)
    with pytest.raises(ConfigError, match="0 folds"):
        split(dataset_of(), 0)
    with pytest.raises(ConfigError, match="folds"):
        split(dataset_of(), 2, embargo_s=-1)


def candidates(dataset: Dataset, fit_end_s: int) -> list[Candidate]:
    fitted: Any = Spy(dataset.between(dataset.start_s, fit_end_s))
    fitted.schema = type("Schema", (), {"symbols": dataset.symbols})()
    spy: Any = Spy
    return [Candidate("fitted", model=fitted, fit_end_s=fit_end_s), Candidate("kind", fit=spy)]


def test_a_fitted_model_is_judged_after_what_it_has_seen_and_nowhere_else() -> None:
    dataset = dataset_of()
    seen_s = START_S + 40 * DAY_S
    both = candidates(dataset, seen_s)
    found = judge(both, dataset, ("kind",), Terms(embargo_s=0))
    assert found.of("fitted").range.start == "2025-02-10T00:00:00Z"
    assert not found.of("fitted").range.in_sample
    assert found.of("fitted").folds == ()
    assert [part.fit_end for part in found.of("kind").folds] == ["2025-02-10T00:00:00Z"]
    # Fitted on the same returns, they say the same: the two ways to be judged agree.
    assert found.of("fitted").score("BTCUSDT", 900).vs["kind"]["nll"].gain == 0.0
    with pytest.raises(ConfigError, match="have seen what they are to be judged on"):
        judge(both, dataset, ("kind",), Terms(start_s=seen_s - 900))
    marked = judge(both, dataset, ("kind",), Terms(start_s=seen_s - DAY_S, in_sample=True))
    assert [one.range.in_sample for one in marked.models] == [True, False]


def test_names_and_symbols_that_cannot_be_are_refused() -> None:
    dataset = dataset_of(60, "BTCUSDT", "ETHUSDT")
    both = candidates(dataset, START_S + 40 * DAY_S)
    with pytest.raises(ConfigError, match="twice"):
        judge([*both, both[0]], dataset, ("kind",), Terms())
    with pytest.raises(ConfigError, match="nothing called x"):
        judge(both, dataset, ("x",), Terms())
    alone = dataset_of(60, "BTCUSDT")
    with pytest.raises(ConfigError, match="looks at ETHUSDT as well"):
        judge(both, alone, ("kind",), Terms())


def test_an_optional_model_that_fails_is_left_out_and_told_of() -> None:
    dataset = dataset_of()

    def fails(shown: Dataset) -> Any:
        raise ConfigError("this needs arch")

    told: list[str] = []
    many = [*candidates(dataset, START_S + 40 * DAY_S), Candidate("garch", fit=fails, optional=True)]
    found = judge(many, dataset, ("kind",), Terms(), told.append)
    assert [one.model for one in found.models] == ["fitted", "kind"]
    assert "garch is left out: this needs arch" in told
    with pytest.raises(ConfigError, match="arch"):
        judge([*many[:2], replace(many[2], optional=False)], dataset, ("kind",), Terms())
