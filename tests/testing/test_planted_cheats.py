"""Each way of looking ahead that has fooled somebody, planted in a model that is else honest, and caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from check_kit import Honest, Whole, rows, small_dataset, squares, subject

from crypy.models.dataset import Dataset
from crypy.testing.model_behaviour import no_memory
from crypy.testing.model_fit import fitting
from crypy.testing.model_history import hindcast_look_ahead, look_ahead

HOUR = 60


class CentredAverage(Whole):
    """A moving average around t in place of one before it."""

    def variance_at(self, dataset: Dataset, symbol: str, origins_s: np.ndarray) -> np.ndarray:
        around = np.convolve(squares(dataset, symbol), np.ones(HOUR + 1), "same")
        return around[rows(dataset, symbol, origins_s) - 1]


class NormalisedOverAll(Whole):
    """What is said of each moment is divided by the mean over all moments asked for."""

    def variance_at(self, dataset: Dataset, symbol: str, origins_s: np.ndarray) -> np.ndarray:
        honest = super().variance_at(dataset, symbol, origins_s)
        return honest / (honest.sum() + 1e-12) * 1e-3


class LabelAmongFeatures(Whole):
    """The return that is to be forecast, as its own regressor."""

    def variance_at(self, dataset: Dataset, symbol: str, origins_s: np.ndarray) -> np.ndarray:
        return np.nan_to_num(dataset.returns(symbol, origins_s, np.array([3_600]))[:, 0]) ** 2


class BarThatOpensNow(Whole):
    """An hour that ends with the bar that opens at t."""

    def variance_at(self, dataset: Dataset, symbol: str, origins_s: np.ndarray) -> np.ndarray:
        sums = np.cumsum(squares(dataset, symbol))
        at = rows(dataset, symbol, origins_s)
        return sums[at] - sums[at - HOUR]


class RightLabels(Whole):
    """Quarters of an hour labelled by their right end and looked up by their left one."""

    def variance_at(self, dataset: Dataset, symbol: str, origins_s: np.ndarray) -> np.ndarray:
        first = dataset.bars[symbol].start_s
        quarters = np.add.reduceat(squares(dataset, symbol), np.arange(0, len(dataset.bars[symbol]), 15))
        return quarters[np.minimum((origins_s - first) // 900, len(quarters) - 1)] * 4


class FilledBackwards(Whole):
    """The next large move, for a column that is known at large moves only and filled from behind."""

    def variance_at(self, dataset: Dataset, symbol: str, origins_s: np.ndarray) -> np.ndarray:
        own = squares(dataset, symbol)
        large = np.flatnonzero(own > np.median(own) * 20)
        following = np.searchsorted(large, rows(dataset, symbol, origins_s))
        return own[large[np.minimum(following, len(large) - 1)]] * HOUR


@pytest.mark.parametrize(
    "cheat", [CentredAverage, NormalisedOverAll, LabelAmongFeatures, BarThatOpensNow, RightLabels, FilledBackwards]
)
def test_a_hindcast_that_looks_ahead_is_caught(cheat: type[Whole]) -> None:
    found = hindcast_look_ahead(subject(cheat(small_dataset())))
    assert found.outcome == "wrong"
    assert "changes when" in found.sentence


def test_the_honest_model_passes_what_the_cheats_fail() -> None:
    for one in (subject(Whole(small_dataset())), subject(Honest)):
        assert hindcast_look_ahead(one).outcome == "ok"
        assert look_ahead(one).outcome == "ok"
        assert no_memory(one).outcome == "ok"
    assert [one.outcome for one in fitting(subject(Honest))] == ["ok", "ok"]


class HindcastOfAnother(Whole):
    """Fast hindcasts that are honest, and not what `predict` says."""

    def variance_at(self, dataset: Dataset, symbol: str, origins_s: np.ndarray) -> np.ndarray:
        return super().variance_at(dataset, symbol, origins_s) * (1.0 + 1e-12)


def test_hindcasts_that_are_not_predictions_are_caught() -> None:
    found = hindcast_look_ahead(subject(HindcastOfAnother(small_dataset())))
    assert found.outcome == "wrong"
    assert "equal to the last bit" in found.sentence


SEEN: dict[int, float] = {}


class RemembersInAGlobal(Honest):
    """The volatility of the latest moment that anybody asked about."""

    def predict(self, features: Any, horizons: np.ndarray) -> Any:
        SEEN[features.end_s] = float(features.values[-1][0, -1, 1])
        return super().predict(features, horizons) * np.exp(SEEN[max(SEEN)])


def test_a_global_that_remembers_later_moments_is_caught() -> None:
    SEEN.clear()
    found = no_memory(subject(RemembersInAGlobal))
    assert found.outcome == "wrong"
    assert "remembers" in found.sentence


class FitBeyondTheEnd(Honest):
    """Bars behind the end of the range: a view knows the array that it was cut from."""

    def fit(self, dataset: Dataset) -> None:
        whole = [np.log(one.close if one.close.base is None else one.close.base) for one in dataset.bars.values()]
        self.level = np.array([np.nanstd(np.diff(one)) for one in whole])


class ScalerOfEverything(Honest):
    """The fit is honest, the mean and deviation that features are scaled by are those of all the data."""

    def fit(self, dataset: Dataset) -> None:
        super().fit(dataset)
        volumes = [
            np.log1p(one.volume if one.volume.base is None else one.volume.base) for one in dataset.bars.values()
        ]
        self.level = self.level * np.array([one.mean() / one.std() for one in volumes])


@pytest.mark.parametrize("cheat", [FitBeyondTheEnd, ScalerOfEverything])
def test_a_fit_that_sees_bars_after_its_range_is_caught(cheat: type[Honest]) -> None:
    ahead, repeats = fitting(subject(cheat))
    assert (ahead.outcome, repeats.outcome) == ("wrong", "ok")
    assert "it looks ahead" in ahead.sentence


class OneMomentAhead(Whole):
    """`predict` itself is handed later bars: what a schema that shifted its windows would do."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self.later: dict[int, float] = {}

    def predict(self, sequence: Any, horizons_s: np.ndarray) -> Any:
        self.later[sequence.end_s] = float(sequence.close[0])
        seen = [value for moment, value in self.later.items() if moment > sequence.end_s]
        return self.grid(sequence.end_s, np.full(len(self.schema.symbols), 1e-5 * (1 + len(seen))), horizons_s)


def test_a_model_that_keeps_what_it_saw_is_caught_by_the_order_of_calls() -> None:
    assert no_memory(subject(OneMomentAhead(small_dataset()))).outcome == "wrong"
