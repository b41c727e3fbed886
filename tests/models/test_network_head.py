"""How corrections go with the horizon, and what they do to a law."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.models.network.head import basis_size, fade, horizon_basis
from crypy.models.network.law import LIMIT, correct
from crypy.models.network.modules import corrected
from crypy.models.network.settings import NetworkSettings

SETTINGS = NetworkSettings.for_step(60)
HORIZONS = np.unique(np.concatenate((np.logspace(0, np.log10(172_800), 300), SETTINGS.knots_s)))
NUMBERS = st.floats(-9.0, 9.0)


def test_hats_are_one_at_their_knots_and_sum_to_one() -> None:
    knots = np.array(SETTINGS.knots_s)
    basis = horizon_basis(knots, SETTINGS)
    assert basis.shape == (len(knots), basis_size(SETTINGS))
    np.testing.assert_allclose(basis[:, : len(knots)], np.eye(len(knots)), atol=1e-12)
    whole = horizon_basis(HORIZONS, SETTINGS)
    np.testing.assert_allclose(whole[:, : len(knots)].sum(axis=1), 1.0)
    assert np.abs(whole).max() <= 1.0 + 1e-12
    assert whole[0].tolist() == basis[0].tolist()
    assert whole[-1].tolist() == basis[-1].tolist()


def test_a_horizon_between_knots_is_between_them_in_its_log() -> None:
    middle = horizon_basis(np.array([np.sqrt(300.0 * 900.0)]), SETTINGS)[0]
    np.testing.assert_allclose(middle[:5], [0.0, 0.5, 0.5, 0.0, 0.0], atol=1e-12)


def test_corrections_hold_in_full_at_first_and_shrink_with_the_log_of_the_horizon() -> None:
    """Defaults: in full up to five minutes, gone from a day on."""
    middle_s = (300.0 * 86_400.0) ** 0.5
    values = fade(np.array([1.0, 300.0, middle_s, 86_399.0, 86_400.0, 172_800.0]), SETTINGS)
    assert values[:2].tolist() == [1.0, 1.0]
    assert values[2] == pytest.approx(0.5)
    assert 0.0 < values[3] < 1e-3
    assert values[4:].tolist() == [0.0, 0.0]


@given(
    d=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    skew=st.floats(-0.95, 0.95),
    tail=st.floats(2.01, 400.0),
    share=st.floats(0.0, 1.0),
)
def test_both_twins_move_a_law_alike_and_keep_it_lawful(
    d: tuple[float, float, float], skew: float, tail: float, share: float
) -> None:
    scale, skews, tails = np.array([0.01]), np.array([skew]), np.array([tail])
    correct(np.array([d]), np.array([share]), scale, skews, tails)
    ours = [float(scale[0]), float(skews[0]), float(tails[0])]
    single = [jnp.float32(part) for part in (np.log(0.01), skew, tail)]
    log_scale, *rest = corrected(*single, jnp.asarray(d, jnp.float32), jnp.float32(share))
    assert ours == pytest.approx([float(np.exp(log_scale)), *map(float, rest)], rel=2e-4, abs=2e-5)
    assert 0.01 * np.exp(-LIMIT) * 0.999 <= ours[0] <= 0.01 * np.exp(LIMIT) * 1.001
    assert -1.0 < ours[1] < 1.0
    assert ours[2] > 2.0
    inside = np.clip(d, -LIMIT, LIMIT)
    assert np.arctanh(ours[1]) == pytest.approx(np.arctanh(skew) + inside[1] * share, abs=1e-6)
    if tail > 2.31:
        assert np.log(ours[2] - 2.3) == pytest.approx(np.log(tail - 2.3) + inside[2] * share, abs=1e-6)


@given(corrections=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=2, max_size=12))
def test_the_scale_never_falls_with_the_horizon(corrections: list[tuple[float, float, float]]) -> None:
    count = len(corrections)
    scale = np.linspace(0.01, 0.02, count)
    before = scale.copy()
    correct(np.array(corrections), np.linspace(1.0, 0.0, count), scale, np.zeros(count), np.full(count, 5.0))
    assert (np.diff(scale) >= 0.0).all()
    assert scale[-1] >= before[-1]


def test_no_correction_leaves_every_bit() -> None:
    rng = np.random.default_rng(1)
    scale, skew, tail = np.sort(rng.random(50)), rng.uniform(-0.99, 0.99, 50), 2.0 + rng.exponential(5.0, 50)
    law = [scale.copy(), skew.copy(), tail.copy()]
    correct(np.zeros((50, 3)), np.ones(50), *law)
    assert [part.tobytes() for part in law] == [part.tobytes() for part in (scale, skew, tail)]
