"""Weights of members: what theory guarantees on any sequence, and what a trader would see."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError
from crypy.models.direction.ensemble import Rewards, Weights, pooled, sure

NAMES = ("a", "b", "c")
CHANCES = st.floats(0.0, 1.0).map(sure)
# A member that is not in the dictionary had no answer.
ROUNDS = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(NAMES), CHANCES, min_size=1), st.booleans()), min_size=1, max_size=60
)
REWARDS = st.builds(
    Rewards,
    half_life=st.floats(0.5, 1e4),
    rate=st.floats(0.01, 1.0),
    share=st.floats(0.0, 0.3),
    prior=st.dictionaries(st.sampled_from(NAMES), st.floats(0.1, 10.0)),
)


def loss(chance: float, yes: bool) -> float:
    return -math.log(chance if yes else 1.0 - chance)


@given(ROUNDS, REWARDS)
def test_no_sequence_makes_the_pool_worse_than_its_best_member_by_more_than_the_bound(
    rounds: list[tuple[dict[str, float], bool]], rewards: Rewards
) -> None:
    weights, fading = Weights(rewards), rewards.fading
    regret = dict.fromkeys(NAMES, 0.0)
    priors = {name: rewards.prior.get(name, 1.0) for name in NAMES}
    effective = 0.0
    for chances, yes in rounds:
        said = pooled(weights.shares(chances), chances)
        effective = fading * effective + 1.0
        for name in NAMES:
            lost = loss(said, yes) - loss(chances[name], yes) if name in chances else 0.0
            regret[name] = fading * regret[name] + lost
            bound = math.log(sum(priors.values()) / priors[name]) - effective * math.log1p(-rewards.share)
            assert regret[name] <= bound / rewards.rate + 1e-9
        weights.learn(chances, yes)


def test_without_forgetting_it_is_bayes_rule() -> None:
    rounds = [({"a": 0.7, "b": 0.2, "c": 0.5}, True), ({"a": 0.6, "b": 0.9, "c": 0.5}, False)] * 5
    weights = Weights(Rewards(half_life=1e12, rate=1.0, share=0.0))
    likelihood = dict.fromkeys(NAMES, 1.0)
    for chances, yes in rounds:
        weights.learn(chances, yes)
        likelihood = {name: likelihood[name] * (chances[name] if yes else 1.0 - chances[name]) for name in NAMES}
    expected = {name: one / sum(likelihood.values()) for name, one in likelihood.items()}
    assert weights.shares(NAMES) == pytest.approx(expected, rel=1e-9)


def test_a_member_that_is_always_wrong_is_penalised_and_comes_back_when_it_is_right() -> None:
    weights = Weights(Rewards(half_life=500.0, rate=0.1, share=1e-4))
    shares: list[float] = []
    for fact in range(2_000):
        yes = fact % 2 == 0
        right, wrong = (0.6, 0.4) if yes else (0.4, 0.6)
        turned = fact >= 1_000
        weights.learn({"steady": 0.5, "turning": right if turned else wrong}, yes)
        shares.append(weights.shares(("steady", "turning"))["turning"])
    assert shares[0] < 0.5
    assert shares[99] < 0.2
    assert shares[999] < 0.01
    assert max(shares[:1_000]) == shares[0]
    assert shares[1_999] > 0.9


def test_no_weight_is_ever_lost_beyond_recall() -> None:
    weights = Weights(Rewards(half_life=1e6, rate=1.0, share=1e-3))
    for _ in range(10_000):
        weights.learn({"good": 0.9, "bad": 0.1}, yes=True)
    assert weights.shares(("good", "bad"))["bad"] > 4e-4


def test_a_new_member_begins_at_its_prior_weight_and_the_absent_are_left_out() -> None:
    weights = Weights(Rewards(rate=1.0, prior={"new": 3.0}))
    weights.learn({"a": 0.5, "b": 0.5}, yes=True)
    assert weights.shares(("a", "b", "new")) == pytest.approx({"a": 0.2, "b": 0.2, "new": 0.6}, rel=1e-3)
    assert weights.shares(("a",)) == {"a": 1.0}


def test_a_silent_member_fades_to_its_prior_and_is_forgotten() -> None:
    weights = Weights(Rewards(half_life=2.0, rate=1.0, share=0.0))
    weights.learn({"a": 0.9, "gone": 0.1}, yes=True)
    assert weights.shares(("a", "gone"))["gone"] < 0.3
    for _ in range(100):
        weights.learn({"a": 0.5, "b": 0.5}, yes=True)
    assert "gone" not in weights.log_ratios
    assert weights.shares(("a", "gone"))["gone"] == pytest.approx(0.5)


@given(ROUNDS, st.permutations(NAMES))
def test_the_order_of_members_changes_no_bit(rounds: list[tuple[dict[str, float], bool]], order: list[str]) -> None:
    one, other = Weights(Rewards(rate=0.7)), Weights(Rewards(rate=0.7))
    for chances, yes in rounds:
        one.learn(chances, yes)
        other.learn({name: chances[name] for name in order if name in chances}, yes)
    assert one.log_ratios == other.log_ratios
    assert one.shares(NAMES) == other.shares(order)


def test_switched_off_the_weights_are_the_prior_ones_whatever_was_learned() -> None:
    learned = Weights(Rewards(rate=1.0))
    learned.learn({"a": 0.9, "b": 0.1}, yes=True)
    off = Weights(Rewards(on=False, prior={"a": 3.0}), learned.log_ratios)
    off.learn({"a": 0.9, "b": 0.1}, yes=True)
    assert off.shares(("a", "b")) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize(
    "wrong",
    [{"half_life": 0.0}, {"half_life": math.inf}, {"rate": 0.0}, {"rate": 1.5}, {"share": 1.0}, {"prior": {"a": 0.0}}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Rewards(**wrong)  # pyright: ignore[reportArgumentType]
