"""What training draws: every origin once an epoch, horizons that can be, and the same again from the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError
from crypy.training.sampling import draw_horizons, durations_of, epoch_order
from crypy.training.trainer_settings import LONGEST_S, TrainerSettings


@given(seed=st.integers(0, 2**40), member=st.integers(0, 9), epoch=st.integers(0, 99), origins=st.integers(1, 300))
def test_an_epoch_sees_each_origin_once_and_in_its_own_order(seed: int, member: int, epoch: int, origins: int) -> None:
    order = epoch_order(seed, member, epoch, origins)
    assert sorted(order.tolist()) == list(range(origins))
    assert np.array_equal(order, epoch_order(seed, member, epoch, origins))
    if origins > 20:
        assert not np.array_equal(order, epoch_order(seed, member, epoch + 1, origins))
        assert not np.array_equal(order, epoch_order(seed, member + 1, epoch, origins))


@given(
    step_s=st.sampled_from((1, 60, 900)),
    draws=st.integers(1, 3),
    share=st.floats(0.0, 1.0),
    step=st.integers(0, 10_000),
)
def test_horizons_are_whole_bars_up_to_twice_the_duration(step_s: int, draws: int, share: float, step: int) -> None:
    settings = TrainerSettings(draws=draws, random_share=share)
    durations, weights = durations_of(settings, step_s)
    horizons, own = draw_horizons(settings, 0, step, 50, step_s)
    assert horizons.shape == own.shape == (50, len(durations) * draws)
    assert (horizons % step_s == 0).all()
    assert (horizons >= step_s).all()
    assert (np.diff(horizons, axis=1) >= 0).all()
    assert horizons.max() <= min(2 * durations[-1], LONGEST_S)
    assert own.sum(axis=1) == pytest.approx(np.full(50, weights.sum()))
    again, _ = draw_horizons(settings, 0, step, 50, step_s)
    assert np.array_equal(horizons, again)


def test_half_of_the_draws_are_the_duration_itself_and_the_rest_is_log_uniform() -> None:
    settings = TrainerSettings(durations_s=(86_400,), duration_weights=(1.0,), random_share=0.5)
    horizons, _ = draw_horizons(settings, 0, 0, 40_000, 1)
    other = horizons[horizons != 86_400]
    assert len(other) / 40_000 == pytest.approx(0.5, abs=0.01)
    logs = np.log(other[other > 100])
    # Log-uniform up to two days: the mean of the logarithm lies in the middle.
    assert logs.mean() == pytest.approx((np.log(100) + np.log(172_800)) / 2, abs=0.05)


def test_without_randomness_every_draw_is_the_duration() -> None:
    horizons, weights = draw_horizons(TrainerSettings(random_share=0.0), 3, 7, 4, 60)
    assert horizons.tolist() == [[300, 900, 3_600, 14_400, 86_400]] * 4
    assert weights[0].tolist() == [1.0, 0.8, 0.5, 0.05, 0.01]


def test_weights_go_with_their_durations() -> None:
    settings = TrainerSettings(durations_s=(300, 3_600), duration_weights=(1.0, 0.25), random_share=1.0)
    horizons, weights = draw_horizons(settings, 0, 0, 5_000, 60)
    # Only the longer duration gives horizons beyond ten minutes; only the shorter one's weight is 1.
    assert set(weights[horizons > 600].tolist()) == {0.25}
    assert (weights.sum(axis=1) == 1.25).all()


def test_durations_that_the_bars_cannot_tell_are_left_out() -> None:
    durations, weights = durations_of(TrainerSettings(), 900)
    assert durations.tolist() == [900, 3_600, 14_400, 86_400]
    assert weights.tolist() == [0.8, 0.5, 0.05, 0.01]
    with pytest.raises(ConfigError, match="no duration"):
        durations_of(TrainerSettings(durations_s=(300,), duration_weights=(1.0,)), 900)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("batch", 0), ("learning_rate", 0.0), ("learning_rate", float("nan")), ("random_share", 1.5), ("validation_share", 0.6),
        ("durations_s", (900, 300)), ("durations_s", (172_801,)), ("duration_weights", (1.0,)), ("seed", -1), ("patience", 0),
        ("duration_weights", (0.0, 0.0, 0.0, 0.0, 0.0)), ("weight_decay", -0.1), ("warm_up_share", -0.1),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name if name != "durations_s" else "duration"):
        TrainerSettings(**{name: value})  # type: ignore[arg-type]
