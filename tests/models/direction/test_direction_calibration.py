"""Calibration by facts: harmless to those who are calibrated, a cure for those who are not."""

from __future__ import annotations

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.models.direction.calibration import (
    Affine,
    AffineState,
    CalibrationSettings,
    Calibrator,
    Identity,
    IsotonicState,
    Kind,
    calibrator,
    expit,
    logit,
)
from crypy.models.direction.ensemble import sure

Floats = NDArray[np.float64]
KINDS: tuple[Kind, ...] = ("affine", "isotonic")


def world(count: int, spread: float, shift: float = 0.0, seed: int = 1) -> tuple[Floats, NDArray[np.bool_]]:
    """True chances of up, about as different as those of real minutes, and what happened."""
    generator = np.random.default_rng(seed)
    chances = 1.0 / (1.0 + np.exp(-(shift + spread * generator.standard_normal(count))))
    return chances, generator.random(count) < chances


def losses(fold: Calibrator, said: Floats, yes: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Log losses of each forecast before and after calibration, the fold learning behind each."""
    after = np.empty(len(said))
    for at, (chance, fact) in enumerate(zip(said.tolist(), yes.tolist(), strict=True)):
        now = sure(fold.calibrated(chance))
        after[at] = -math.log(now if fact else 1.0 - now)
        fold.learn(chance, fact)
    return -np.log(np.where(yes, said, 1.0 - said)), after


def bent(chances: Floats, factor: float, shift: float) -> Floats:
    margins = factor * np.log(chances / (1.0 - chances)) + shift
    return 1.0 / (1.0 + np.exp(-margins))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("spread", "shift"), [(0.1, 0.0), (0.3, 0.0), (1.0, 2.5)])
def test_a_calibrated_forecaster_loses_next_to_nothing(kind: Kind, spread: float, shift: float) -> None:
    said, yes = world(20_000, spread, shift)
    before, after = losses(calibrator(CalibrationSettings(kind)), said, yes)
    assert np.mean(after - before) < 2e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("factor", "shift", "repaired"), [(3.0, 0.0, 0.75), (3.0, 0.3, 0.75), (1.0, 0.3, 0.75), (0.3, 0.0, 0.5)]
)
def test_a_bold_a_timid_and_a_shifted_forecaster_are_repaired(
    kind: Kind, factor: float, shift: float, repaired: float
) -> None:
    chances, yes = world(20_000, 0.3)
    before, after = losses(calibrator(CalibrationSettings(kind)), bent(chances, factor, shift), yes)
    best = -np.log(np.where(yes, chances, 1.0 - chances))
    late = slice(10_000, None)
    assert np.mean((before - after)[late]) > repaired * np.mean((before - best)[late])


def test_isotonic_repairs_what_no_line_can() -> None:
    chances, yes = world(40_000, 1.0)
    said = np.where(chances > 0.5, np.sqrt(chances), chances)
    late = slice(20_000, None)
    line = losses(calibrator(CalibrationSettings("affine")), said, yes)[1][late].mean()
    curve = losses(calibrator(CalibrationSettings("isotonic")), said, yes)[1][late].mean()
    assert curve < line - 5e-4


def test_the_line_is_that_of_penalised_logistic_regression() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    settings = CalibrationSettings("affine", half_life=1e12)
    chances, yes = world(20_000, 0.5)
    said = bent(chances, 1.5, 0.1)
    margins = np.log(said / (1.0 - said))
    fold = Affine(settings)
    for chance, fact in zip(said.tolist(), yes.tolist(), strict=True):
        fold.learn(chance, fact)

    def penalised(line: Floats) -> float:
        margin = line[0] + line[1] * margins
        prior = (line[0] / settings.shift_deviation) ** 2 + ((line[1] - 1.0) / settings.slope_deviation) ** 2
        return float(np.sum(np.logaddexp(0.0, np.where(yes, -margin, margin))) + 0.5 * prior)

    best = optimize.minimize(penalised, np.array([0.0, 1.0])).x
    # Each fact was linearised at the line of its time: within a fifth of a standard error (0.015, 0.03) of the optimum.
    assert fold.line() == pytest.approx(tuple(best), abs=4e-3)


@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), max_size=200), st.sampled_from(KINDS))
def test_a_higher_chance_is_never_made_the_lower_one(facts: list[tuple[float, bool]], kind: Kind) -> None:
    fold = calibrator(CalibrationSettings(kind, doubt=5.0, shift_deviation=1.0, slope_deviation=1.0, half_life=50.0))
    for chance, yes in facts:
        fold.learn(chance, yes)
    found = [fold.calibrated(chance) for chance in np.linspace(0.0005, 0.9995, 101).tolist()]
    assert all(0.0 < one < 1.0 for one in found)
    assert all(below <= above + 1e-12 for below, above in itertools.pairwise(found))


@given(
    st.lists(st.tuples(st.floats(1e-6, 1 - 1e-6), st.booleans()), max_size=60),
    st.integers(0, 60),
    st.sampled_from(KINDS),
)
def test_kept_and_restored_anywhere_it_goes_on_bit_for_bit(
    facts: list[tuple[float, bool]], cut: int, kind: Kind
) -> None:
    settings = CalibrationSettings(kind, half_life=30.0)
    whole, part = calibrator(settings), calibrator(settings)
    for chance, yes in facts:
        whole.learn(chance, yes)
    for chance, yes in facts[:cut]:
        part.learn(chance, yes)
    kept = msgspec.json.encode(part.state)
    restored = calibrator(settings, msgspec.json.decode(kept, type=AffineState | IsotonicState))
    for chance, yes in facts[cut:]:
        restored.settle()
        restored.learn(chance, yes)
    for chance in (1e-6, 0.3, 0.5, 0.62, 1 - 1e-6):
        assert restored.calibrated(chance) == whole.calibrated(chance)


@pytest.mark.parametrize("kind", KINDS)
def test_without_evidence_nothing_is_changed(kind: Kind) -> None:
    fold = calibrator(CalibrationSettings(kind))
    assert fold.calibrated(0.61) == pytest.approx(0.61, rel=1e-12)


def test_off_is_the_chance_itself_and_a_state_of_another_kind_is_left() -> None:
    assert isinstance(calibrator(CalibrationSettings("off"), AffineState()), Identity)
    fold = calibrator(CalibrationSettings("isotonic"), AffineState(1.0, 0.0, 1.0, 5.0, 5.0))
    assert fold.calibrated(0.4) == pytest.approx(0.4)


def test_logit_and_expit_undo_each_other() -> None:
    assert expit(logit(0.037)) == pytest.approx(0.037, rel=1e-12)


@pytest.mark.parametrize("wrong", [{"half_life": 0.0}, {"slope_deviation": -1.0}, {"doubt": math.nan}])
def test_calibration_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        CalibrationSettings(**wrong)  # pyright: ignore[reportArgumentType]
