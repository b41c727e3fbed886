"""The gates: noise never passes however often it is tried, what is truly better does, and each fault is found by the gate that looks for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.fitting import fit_baseline, fit_on
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.volatility import VolatilityBaseline
from crypy.training.judging import Candidate, Terms, judge
from crypy.training.promotion import GATES, Case, Failed, Passed, answers, better
from crypy.training.registry_journal import ROAD

SYMBOL = "BTCUSDT"
START_S = 1_735_689_600
DAY_S = 86_400
DAYS, FIT_DAYS = 80, 40
HORIZONS_S = (300, 3_600)
REFERENCE = "volatility-baseline"


def market(seed: int = 5) -> tuple[Bars, np.ndarray]:
    """Minutes whose log volatility wanders over a day, and the true standard deviation of each minute's return."""
    rng = np.random.default_rng(seed)
    count = DAYS * 1_440
    log_sd = np.empty(count)
    level, memory = 0.0, np.exp(-1.0 / 300.0)
    shocks = rng.normal(0.0, 0.6 * np.sqrt(1.0 - memory**2), count)
    for minute in range(count):
        level = memory * level + shocks[minute]
        log_sd[minute] = level
    sd = 3e-4 * np.exp(log_sd)
    close = 100.0 * np.exp(np.cumsum(sd * rng.standard_t(6, count) * np.sqrt(4.0 / 6.0)))
    ones = np.ones(count)
    return Bars(SYMBOL, START_S, 60, close, close, close, close, ones, close, ones.astype(np.int64), 0.5 * ones), sd


BARS, TRUE_SD = market()
DATASET = Dataset.of({SYMBOL: BARS}, spacing_s=900, horizons_s=HORIZONS_S)
TEST_S = START_S + FIT_DAYS * DAY_S
BASELINE = fit_baseline({SYMBOL: BARS}, None, TEST_S)


class Altered:
    """The baseline with another scale at each origin: what `factor` says of origins [n]."""

    def __init__(self, name: str, factor: object, model: VolatilityBaseline = BASELINE) -> None:
        self.name = name
        self.schema = model.schema
        self._factor = factor
        self._model = model

    def predict(self, sequence, horizons_s):
        grid = self._model.predict(sequence, horizons_s)
        return replace(grid, scale=grid.scale * self._factor(np.array([sequence.end_s]))[0])  # type: ignore[operator]

    def hindcasts(self, dataset: Dataset, horizons_s: np.ndarray) -> dict[str, Hindcast]:
        cast = hindcasts(self._model, dataset, horizons_s)
        factor = self._factor(dataset.origins_s())[:, None]  # type: ignore[operator]
        return {symbol: replace(one, scale=one.scale * factor) for symbol, one in cast.items()}

    def save(self, path: Path) -> None:
        self._model.save(path)


def noise(seed: int, spread: float):
    """A factor that has nothing to do with the market, the same for an origin whenever it is asked."""

    def factor(origins_s: np.ndarray) -> np.ndarray:
        minutes = (origins_s - START_S) // 60
        return np.exp(np.random.default_rng(seed).normal(0.0, spread, DAYS * 1_440 + 1)[minutes])

    return factor


SAID = hindcasts(BASELINE, DATASET, np.array([300.0]))[SYMBOL]
# By origin: half of the way, in logs, from the baseline's scale over five minutes to the true one.
BETTER = dict(
    zip(
        SAID.origins_s.tolist(),
        np.sqrt(np.sqrt(5.0) * TRUE_SD[(SAID.origins_s - START_S) // 60] / SAID.scale[:, 0]).tolist(),
        strict=True,
    )
)


def truth(origins_s: np.ndarray) -> np.ndarray:
    """Knows more of the volatility than anything that sees prices alone."""
    return np.nan_to_num(np.array([BETTER.get(origin, 1.0) for origin in origins_s.tolist()]), nan=1.0)


def case(model: object, trials: int = 1, champion: Candidate | None = None, **changes: object) -> Case:
    rival = champion or Candidate(REFERENCE, model=BASELINE)
    found = judge([Candidate("it", model=model), rival], DATASET, (rival.name,), Terms(start_s=TEST_S))  # type: ignore[arg-type]
    ready = Case(
        model=model, dataset=DATASET.between(TEST_S, DATASET.end_s), judged=found.of("it"), champion=rival.name, trials=trials,  # type: ignore[arg-type]
    )  # fmt: skip
    return replace(ready, **changes)


def failed(found) -> dict[str, str]:
    return {each.gate: each.verdict.reason for each in found if isinstance(each.verdict, Failed)}


def passed_on_noise(seeds: range) -> list[str]:
    """Names of noise models that count as better, put to the gate one after the other."""
    tried = 0
    passed: list[str] = []
    for seed in seeds:
        for spread in (0.01, 0.05, 0.2):
            tried += 1
            found = case(Altered(f"noise {seed} {spread}", noise(seed, spread)), trials=tried)
            if isinstance(better(found), Passed):
                passed.append(found.model.name)
    return passed


def test_on_noise_nothing_is_promoted() -> None:
    assert passed_on_noise(range(3)) == []


@pytest.mark.slow
def test_on_noise_nothing_is_promoted_however_often_it_is_tried() -> None:
    assert passed_on_noise(range(30)) == []


def test_luck_is_paid_for_by_the_number_of_trials() -> None:
    truly = case(Altered("truth", truth))
    one = next(each for each in answers(truly, "shadow") if each.gate == "better").verdict
    many = next(each for each in answers(replace(truly, trials=10_000), "shadow") if each.gate == "better").verdict
    assert isinstance(one, Passed)
    assert many.numbers["p_value"] == one.numbers["p_value"]
    assert many.numbers["p_spent"] == min(1.0, 10_000 * 10_001 * one.numbers["p_value"])


def test_what_is_truly_better_passes_though_forty_were_tried() -> None:
    found = answers(case(Altered("truth", truth), trials=40), "deployed")
    # Its artefact is the baseline's, and its tails are: the gates that look for that say so, and no other does.
    assert set(failed(found)) <= {"round-trip", "calibrated"}
    numbers = next(each.verdict.numbers for each in found if each.gate == "better")
    assert numbers["gain"] > 0.002
    assert numbers["bootstrap_low"] > 0.0


def test_the_baseline_beats_a_champion_that_errs_and_passes_all_gates() -> None:
    worse = Altered("worse", lambda origins_s: np.full(len(origins_s), 1.25))
    found = answers(case(BASELINE, trials=5, champion=Candidate("worse", model=worse)), "deployed")  # type: ignore[arg-type]
    assert failed(found) == {}
    assert [each.gate for each in found] == [gate.name for gate in GATES]


def test_gates_are_asked_up_to_the_stage_and_no_further() -> None:
    ready = case(BASELINE, champion=Candidate("worse", model=Altered("worse", noise(1, 0.3))))  # type: ignore[arg-type]
    for stage in ROAD[1:]:
        assert {each.stage for each in answers(ready, stage)} == set(ROAD[1 : ROAD.index(stage) + 1])


def test_a_model_that_is_too_narrow_is_not_calibrated() -> None:
    found = failed(answers(case(Altered("narrow", lambda origins_s: np.full(len(origins_s), 0.8))), "candidate"))
    assert "coverage is off: BTCUSDT 300 s below_5" in found["calibrated"]


def test_a_hindcast_that_looks_ahead_is_caught() -> None:
    class Cheat(Altered):
        def hindcasts(self, dataset: Dataset, horizons_s: np.ndarray) -> dict[str, Hindcast]:
            cast = hindcasts(self._model, dataset, horizons_s)[SYMBOL]
            ahead = np.abs(np.nan_to_num(dataset.returns(SYMBOL, dataset.origins_s(), np.array([60]))))
            return {SYMBOL: replace(cast, scale=cast.scale * (1.0 + 100.0 * ahead))}

    found = failed(answers(case(Cheat("cheat", truth)), "candidate"))
    assert "changes with what comes after" in found["look-ahead"]

    # One that says in bulk what it would not say singly is caught too.
    class Other(Altered):
        def predict(self, sequence, horizons_s):
            return self._model.predict(sequence, horizons_s)

    found = failed(answers(case(Other("other", noise(2, 0.01))), "candidate"))
    assert "is not what `predict` gives" in found["look-ahead"]


def test_an_artefact_that_comes_back_otherwise_is_caught() -> None:
    found = failed(answers(case(Altered("unkept", noise(3, 0.01))), "candidate"))
    assert "gives other numbers" in found["round-trip"]


def test_a_model_that_falls_with_the_horizon_raises_or_changes_its_input_is_no_candidate() -> None:
    class Falling(Altered):
        def predict(self, sequence, horizons_s):
            grid = self._model.predict(sequence, horizons_s)
            return replace(grid, scale=grid.scale[:, ::-1].copy())

    class Raising(Altered):
        def predict(self, sequence, horizons_s):
            raise ValueError("no such cell")

    class Scribbling(Altered):
        def predict(self, sequence, horizons_s):
            grid = self._model.predict(sequence, horizons_s)
            sequence.values[0][:] += 1.0
            return grid

    reasons = {
        kind: failed(answers(case(kind("it", noise(4, 0.0))), "candidate"))["lawful"]
        for kind in (Falling, Raising, Scribbling)
    }
    assert "falls" in reasons[Falling] or "below" in reasons[Falling] or "scale" in reasons[Falling]
    assert reasons[Raising] == "ValueError: no such cell"
    assert "other numbers" in reasons[Scribbling] or "changes the sequence" in reasons[Scribbling]


def test_a_slow_model_and_a_short_range_keep_a_model_from_deployment() -> None:
    ready = case(BASELINE, champion=Candidate("worse", model=Altered("worse", noise(1, 0.3))))  # type: ignore[arg-type]
    late = failed(answers(replace(ready, latency_ms=1e-6), "deployed"))
    assert "at the 99th percentile" in late["quick"]
    week = replace(ready, dataset=DATASET.between(TEST_S, TEST_S + 7 * DAY_S))
    assert "7.0 days and 0.0 as a shadow" in failed(answers(week, "deployed"))["long-enough"]
    assert "long-enough" not in failed(answers(replace(week, shadow_days=3.5), "deployed"))


def test_worse_at_one_horizon_is_not_deployed_though_better_on_the_whole() -> None:
    class Lopsided(Altered):
        """The truth at five minutes, far too wide at an hour."""

        def hindcasts(self, dataset: Dataset, horizons_s: np.ndarray) -> dict[str, Hindcast]:
            cast = super().hindcasts(dataset, horizons_s)[SYMBOL]
            wide = np.where(horizons_s > 300.0, 1.3, 1.0)
            return {SYMBOL: replace(cast, scale=cast.scale * wide)}

    found = failed(answers(case(Lopsided("lopsided", truth)), "deployed"))
    assert "BTCUSDT 3600 s" in found["nowhere-worse"]
    assert "300 s -" not in found["nowhere-worse"].replace("3600 s -", "")


def test_too_short_a_range_tells_nothing() -> None:
    short = Dataset.of({SYMBOL: BARS}, None, TEST_S + 6 * DAY_S, spacing_s=900, horizons_s=HORIZONS_S)
    rival = Candidate(REFERENCE, model=BASELINE)
    found = judge([Candidate("it", model=Altered("truth", truth)), rival], short, (REFERENCE,), Terms(start_s=TEST_S))  # type: ignore[arg-type]
    ready = Case(BASELINE, short.between(TEST_S, short.end_s), found.of("it"), REFERENCE, 1)
    assert "10 days" in failed(answers(ready, "shadow"))["better"]


def test_the_baseline_is_what_a_first_model_has_to_beat() -> None:
    """`fit_on` before the range, as the verb does it: the fitted baseline does not beat itself."""
    found = judge(
        [Candidate("it", model=BASELINE), Candidate(REFERENCE, fit=fit_on)], DATASET, (REFERENCE,), Terms(start_s=TEST_S)
    )  # fmt: skip
    ready = Case(BASELINE, DATASET.between(TEST_S, DATASET.end_s), found.of("it"), REFERENCE, 1)
    assert "not better than volatility-baseline" in failed(answers(ready, "shadow"))["better"]
