"""`check_model` names what is wrong; a model that is right passes, however it is handed in."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from check_kit import Honest, small_dataset, subject

import crypy.testing
from crypy.domain.errors import ConfigError
from crypy.models.dataset import Dataset
from crypy.models.fitting import fit_on
from crypy.models.plugin import PlugIn, fitted
from crypy.models.volatility import VolatilityBaseline
from crypy.testing import model_behaviour as behaviour
from crypy.testing.check_subject import Subject
from crypy.testing.model_calibration import Judged, calibration, unit
from crypy.testing.model_checks import CHECKS, check_model, judge
from crypy.testing.model_fit import fitting, keeps_data, round_trip
from crypy.testing.model_history import warm_up


def answering(change: Callable[[np.ndarray, np.ndarray], Any]) -> type[Honest]:
    """The honest model with another answer made of its scale and the horizons."""

    class Changed(Honest):
        def predict(self, features: Any, horizons: np.ndarray) -> Any:
            return change(super().predict(features, horizons), horizons)

    return Changed


def test_an_honest_model_has_nothing_wrong() -> None:
    report = check_model(Honest, small_dataset())
    assert report.ok, str(report)
    assert report.model == "Honest"
    assert {check.name for check in report.checks} == {"fits", *CHECKS}
    assert "nothing is wrong" in str(report)
    assert report["round trip"].outcome == "ok"
    assert json.loads(json.dumps(report.as_json()))["ok"] is True


@pytest.mark.parametrize(
    "handed_in",
    [
        Honest(),
        lambda: Honest(),
        lambda dataset: fitted(Honest(), "mine", dataset),
        lambda dataset: fit_on(dataset),
        VolatilityBaseline.prior(("ETHUSDT",), 60),
    ],
    ids=["object", "factory", "fit", "baseline", "fitted"],
)
def test_a_model_may_be_handed_in_in_several_ways(handed_in: Any) -> None:
    report = check_model(handed_in, small_dataset())
    assert report.ok, str(report)
    came_fitted = isinstance(handed_in, VolatilityBaseline)
    assert (report["fit look-ahead"].outcome == "skipped") == came_fitted


def test_options_go_to_the_fit() -> None:
    class Scaled(Honest):
        def __init__(self, factor: float = 1.0) -> None:
            self.factor = factor

        def predict(self, features: Any, horizons: np.ndarray) -> Any:
            return self.factor * super().predict(features, horizons)

    report = check_model(Scaled, small_dataset(), factor=300.0)
    assert report["unit"].outcome == "wrong"


def test_something_that_is_no_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no model"):
        check_model(3)
    with pytest.raises(ConfigError, match="there is no kind of model"):
        check_model("no-such-kind")


def test_it_is_found_where_data_scientists_look() -> None:
    assert crypy.testing.check_model is check_model
    with pytest.raises(AttributeError):
        _ = crypy.testing.nothing


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda scale, _: scale[0], r"scale has shape \[9\], expected \[2, 9\]"),
        (lambda scale, _: scale * np.nan, "scale of BTCUSDT at 1 s is nan"),
        (lambda scale, _: -scale, "must be a positive number"),
        (lambda scale, _: (scale, 0.0, 2.0), "tail of BTCUSDT at 1 s is 2.0, must be a number above 2"),
        (lambda scale, _: (scale, -1.0, 5.0), "skew of BTCUSDT at 1 s is -1.0"),
        (lambda scale, _: scale[:, ::-1], "scale of BTCUSDT falls from"),
        (lambda scale, _: (scale, 0.0), "predict gave 2 values"),
    ],
)
def test_an_answer_that_is_no_forecast_is_told_with_its_reason(change: Any, words: str) -> None:
    report = check_model(answering(change), small_dataset())
    assert report["shape"].outcome == "wrong"
    assert re.search(words, report["shape"].sentence)
    # One error is told once, not by each check that meets it.
    assert len(report.wrong) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda scale, _: 100 * scale, "per cent"),
        (lambda scale, _: 1e4 * scale, "basis points"),
        (lambda scale, horizons: scale / np.sqrt(horizons / 60), "one scale for every horizon"),
        (lambda scale, _: scale**2, "a variance in place of a standard deviation"),
        (lambda scale, _: 10 * scale, "times the standard deviation"),
    ],
)
def test_a_scale_in_another_unit_is_told_with_a_guess(change: Any, words: str) -> None:
    found = unit(Judged(subject(answering(change))))
    assert found.outcome == "wrong"
    assert words in found.sentence


@pytest.mark.parametrize(("factor", "words"), [(0.4, "too narrow"), (3.0, "too wide")])
def test_a_law_that_is_far_off_is_told(factor: float, words: str) -> None:
    one = subject(answering(lambda scale, _: factor * scale))
    found = calibration(Judged(one), one)
    assert found.outcome == "wrong"
    assert words in found.sentence
    honest = subject(Honest)
    assert [check.outcome for check in judge(honest)] == ["ok", "ok"]


def test_a_model_that_writes_into_its_input_is_told() -> None:
    class Writes(Honest):
        def predict(self, features: Any, horizons: np.ndarray) -> Any:
            features.values[0][:] = 0.0
            return super().predict(features, horizons)

    found = behaviour.keeps_inputs(subject(Writes))
    assert (found.outcome, "writes into the arrays" in found.sentence) == ("wrong", True)


def test_a_model_of_another_making_that_writes_is_told_too() -> None:
    class Bare:
        """Not adapted, so its arrays are not locked."""

        name = "bare"

        def __init__(self, model: PlugIn) -> None:
            self.model, self.schema = model, model.schema

        def predict(self, sequence: Any, horizons_s: np.ndarray) -> Any:
            sequence.known[0][:] = False
            return self.model.predict(sequence, horizons_s)

    found = behaviour.keeps_inputs(subject(Bare(fitted(Honest(), "mine", small_dataset()))))
    assert found.outcome == "wrong"


def test_a_fit_that_writes_into_its_data_is_told() -> None:
    class Scales(Honest):
        def fit(self, dataset: Dataset) -> None:
            super().fit(dataset)
            dataset.bars["BTCUSDT"].volume[:] /= 2.0

    one = subject(Scales, small_copy())
    assert keeps_data(one).outcome == "wrong"


def test_random_answers_and_random_fits_are_told() -> None:
    class Draws(Honest):
        def predict(self, features: Any, horizons: np.ndarray) -> Any:
            return super().predict(features, horizons) * (1.0 + 1e-9 * np.random.default_rng().random())

    class FitsAnew(Honest):
        def fit(self, dataset: Dataset) -> None:
            super().fit(dataset)
            self.level = self.level * (1.0 + 1e-9 * np.random.default_rng().random())

    assert behaviour.no_memory(subject(Draws)).outcome == "wrong"
    ahead, repeats = fitting(subject(FitsAnew))
    assert (ahead.outcome, repeats.outcome) == ("skipped", "wrong")


def test_horizons_that_influence_each_other_are_told() -> None:
    found = behaviour.horizons(subject(answering(lambda scale, horizons: scale * (1.0 + 0.1 * len(horizons)))))
    assert (found.outcome, "asked alone" in found.sentence) == ("wrong", True)


def test_what_is_lost_on_the_way_to_disk_is_told() -> None:
    class Forgets(Honest):
        def load(self, folder: Path) -> None:
            self.level = np.load(folder / "level.npy").round(4)

    assert round_trip(subject(Forgets)).outcome == "wrong"


def test_a_model_for_research_alone_is_said_to_be_one() -> None:
    class Research:
        fit, predict = Honest.fit, Honest.predict

    found = round_trip(subject(Research))
    assert (found.outcome, "cannot be promoted" in found.sentence) == ("skipped", True)


def test_threads_are_asked_of_those_who_claim_them() -> None:
    class Safe(Honest):
        thread_safe = True

    class Unsafe(Safe):
        def predict(self, features: Any, horizons: np.ndarray) -> Any:
            self.now = features.end_s
            for _ in range(50):
                time.sleep(0)
            return super().predict(features, horizons) * (1.0 + (self.now == features.end_s))

    assert behaviour.threads(subject(Honest)).outcome == "skipped"
    assert behaviour.threads(subject(Safe)).outcome == "ok"
    assert behaviour.threads(subject(Unsafe)).outcome == "wrong"


def test_a_fit_that_fails_is_a_finding() -> None:
    class Fails(Honest):
        def fit(self, dataset: Dataset) -> None:
            raise ValueError("no such column")

    report = check_model(Fails, small_dataset())
    assert not report.ok
    assert "ValueError: no such column (at test_model_checks.py" in report["fits"].sentence
    assert report["calibration"].outcome == "skipped"


def test_the_history_that_matters_is_told() -> None:
    """The baseline weighs a week, the honest model asks for a day and answers with nothing less."""
    asks = warm_up(subject(Honest))
    assert asks.numbers["stable_s"] == 86_460
    weighs = warm_up(subject(VolatilityBaseline.prior(("BTCUSDT",), 60)))
    assert weighs.numbers["stable_s"] > 6 * 86_400


def test_latency_is_measured() -> None:
    found = behaviour.latency(subject(Honest))
    assert found.outcome == "told"
    assert 0.0 < found.numbers["p50_ms"] <= found.numbers["p99_ms"]


def test_a_dataset_that_is_too_short_is_told() -> None:
    whole = small_dataset()
    one: Subject = subject(Honest, whole.between(whole.start_s, whole.start_s + 2 * 86_400))
    assert one.judged.end_s - one.judged.start_s < 86_400
    found = check_model(Honest, whole.between(whole.start_s, whole.start_s + 3_600))
    assert not found.ok
    assert "bring a longer dataset" in found["shape"].sentence


def small_copy() -> Dataset:
    """The small dataset with arrays of its own."""
    whole = small_dataset()
    bars = {symbol: replace(one, volume=one.volume.copy()) for symbol, one in whole.bars.items()}
    return Dataset.of(bars, horizons_s=whole.horizons_s)
