"""The fold over closes: the same bits live, in a replay and after a crash at any moment."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, DataError
from crypy.models.direction.calibration import CalibrationSettings
from crypy.models.direction.ensemble import Rewards
from crypy.models.direction.learner import Learner, LearnerSettings
from crypy.models.direction.online import Answer, OnlinePort
from crypy.models.direction.patterns import PatternSettings

NAMES = ("network", "logistic", "constant")
NAN = (math.nan, math.nan)
SMALL = LearnerSettings(
    Rewards(half_life=20.0, rate=0.5),
    CalibrationSettings(half_life=30.0, shift_deviation=0.3, slope_deviation=0.5),
    PatternSettings(size=24, k=3, half_life_days=0.5, doubt=3.0, least=4),
)
ISOTONIC = msgspec.structs.replace(SMALL, calibration=CalibrationSettings("isotonic", half_life=30.0, doubt=3.0))


@dataclass(frozen=True)
class Step:
    """A close: how many candles after the last one, what members say, where the market stands, and what followed (`None`: never known)."""

    after: int
    asked: dict[str, tuple[float, float]]
    situation: tuple[float, ...] | None
    outcome: int | None


@st.composite
def chances(draw: st.DrawFn) -> tuple[float, float]:
    move, up = draw(st.floats(0.0, 1.0)), draw(st.floats(0.0, 1.0))
    return (move * up, move * (1.0 - up)) if draw(st.integers(0, 9)) else NAN


SITUATIONS = st.tuples(*[st.floats(-5.0, 5.0) | st.just(math.nan)] * 2)
STEPS = st.lists(
    st.builds(
        Step,
        st.integers(1, 3) | st.just(5_000),
        st.dictionaries(st.sampled_from(NAMES), chances(), max_size=3),
        st.none() | SITUATIONS,
        st.sampled_from([1, -1, 0, None]),
    ),
    max_size=40,
)


def walked(
    learner: Learner, steps: list[Step], cut: int | None = None, parts: LearnerSettings = SMALL
) -> tuple[Learner, list[Any]]:
    """Go through the steps in the order of live; at `cut` the learner is kept, dropped and restored."""
    answers: list[Any] = []
    rows, since, end_s = b"", 0, 0
    waiting: tuple[int, int | None] | None = None
    for at, step in enumerate(steps):
        end_s += 60 * step.after
        situation = None if step.situation is None else np.array(step.situation)
        answers.append(learner.answer(end_s, step.asked, situation))
        if at == cut:
            rows += learner.kept_patterns(since)
            learner = Learner.of_kept(learner.kept(), parts, rows)
        if waiting is not None and waiting[1] is not None:
            learner.learn(waiting[0], waiting[1])
            if at % 2:
                learner.settle()
            rows += learner.kept_patterns(since)
            since = learner.patterns_added
        waiting = end_s, step.outcome
    return learner, answers


def bits(answers: list[Any]) -> list[str]:
    return [repr(asdict(one)) if isinstance(one, Answer) else "None" for one in answers]


@given(STEPS, st.integers(0, 40), st.sampled_from([SMALL, ISOTONIC]))
def test_killed_and_restored_anywhere_it_goes_on_bit_for_bit(
    steps: list[Step], cut: int, parts: LearnerSettings
) -> None:
    whole, told = walked(Learner(parts), steps)
    other, again = walked(Learner(parts), steps, min(cut, len(steps) - 1), parts)
    assert bits(told) == bits(again)
    assert whole.kept() == other.kept()
    assert whole.kept_patterns() == other.kept_patterns()


@given(STEPS)
def test_what_it_says_are_chances(steps: list[Step]) -> None:
    _, answers = walked(Learner(SMALL), steps)
    for step, answer in zip(steps, answers, strict=True):
        known = [name for name, said in step.asked.items() if not math.isnan(said[0])]
        if answer is None:
            assert not known
            continue
        assert answer.p_up >= 0.0
        assert answer.p_down >= 0.0
        assert answer.p_up + answer.p_down <= 1.0
        assert answer.raw_p_up >= 0.0
        assert answer.raw_p_down >= 0.0
        assert answer.raw_p_up + answer.raw_p_down <= 1.0
        assert set(known) <= set(answer.members) <= {*known, "patterns"}
        assert sum(weight for *_, weight in answer.members.values()) == pytest.approx(1.0)


@given(STEPS, st.permutations(NAMES))
def test_the_order_in_which_members_are_named_changes_no_bit(steps: list[Step], order: list[str]) -> None:
    turned = [
        Step(one.after, {name: one.asked[name] for name in order if name in one.asked}, one.situation, one.outcome)
        for one in steps
    ]
    first, second = walked(Learner(SMALL), steps), walked(Learner(SMALL), turned)
    assert [None if a is None else (a.p_up, a.p_down, dict(a.members)) for a in first[1]] == [
        None if a is None else (a.p_up, a.p_down, dict(a.members)) for a in second[1]
    ]
    assert first[0].kept_patterns() == second[0].kept_patterns()


@given(STEPS, st.sampled_from([1, -1, 0]))
def test_a_fact_that_comes_twice_or_was_never_asked_about_changes_nothing(steps: list[Step], outcome: int) -> None:
    learner, _ = walked(Learner(SMALL), steps)
    learned = sum(60 * one.after for one in steps[:-1])
    last = learned + 60 * steps[-1].after if steps else 0
    before = learner.kept(), learner.kept_patterns()
    if len(steps) > 1 and steps[-2].outcome is not None:
        learner.learn(learned, outcome)
    learner.learn(last + 60, outcome)
    assert (learner.kept(), learner.kept_patterns()) == before


@given(STEPS)
def test_a_look_and_the_quiet_time_change_no_bit(steps: list[Step]) -> None:
    learner, _ = walked(Learner(SMALL), steps)
    before = learner.kept()
    end_s = sum(60 * one.after for one in steps) + 60
    asked = {"network": (0.5, 0.4)}
    looked = learner.look(end_s, asked, np.array([0.1, 0.2]))
    learner.settle()
    assert learner.kept() == before
    assert looked == learner.answer(end_s, asked, np.array([0.1, 0.2]))


def test_an_answer_uses_no_fact_that_is_learned_behind_it() -> None:
    """The fact of t is learned after the answer at t + 1: only t + 2 may differ."""
    told: list[list[Any]] = []
    for outcome in (1, -1):
        steps = [Step(1, {"a": (0.6, 0.3), "b": (0.3, 0.6)}, (0.1, 0.2), one) for one in (1, -1, 1, outcome, 1, 1)]
        told.append(bits(walked(Learner(SMALL), steps)[1]))
    assert told[0][:5] == told[1][:5]
    assert told[0][5] != told[1][5]


def test_a_fact_that_comes_late_is_learned_as_long_as_its_forecast_waits() -> None:
    learner = Learner(SMALL)
    asked = {"a": (0.6, 0.3), "b": (0.3, 0.6)}
    for end_s in (60, 120, 180):
        learner.answer(end_s, asked, None)
    learner.learn(120, 1)
    before = learner.kept()
    learner.learn(60, 1)
    assert learner.kept() != before
    for at in range(4, 60):
        learner.answer(60 * at, asked, None)
    before = learner.kept()
    learner.learn(180, 1)
    assert learner.kept() == before


def test_a_close_asked_about_again_is_learned_once() -> None:
    once, twice = Learner(SMALL), Learner(SMALL)
    asked = {"a": (0.6, 0.3), "b": (0.3, 0.6)}
    once.answer(60, asked, None)
    assert twice.answer(60, asked, None) == twice.answer(60, asked, None)
    for learner in (once, twice):
        learner.learn(60, 1)
    assert twice.answer(60, asked, None) is not None
    twice.learn(60, 1)
    assert once.kept() == twice.kept()


def test_a_member_that_is_always_wrong_loses_its_weight() -> None:
    learner = Learner(LearnerSettings(Rewards(rate=1.0)))
    generator = np.random.default_rng(2)
    weights = {"right": 0.5, "wrong": 0.5}
    for at in range(1, 301):
        up = bool(generator.random() < 0.5)
        asked = {"right": (0.55, 0.4) if up else (0.4, 0.55), "wrong": (0.4, 0.55) if up else (0.55, 0.4)}
        answer = learner.answer(60 * at, asked, None)
        learner.learn(60 * at, 1 if up else -1)
        assert answer is not None
        weights = {name: weight for name, (_, _, weight) in answer.members.items()}
    assert weights["wrong"] < 0.001
    assert weights["right"] > 0.999


def test_a_member_is_not_believed_about_the_direction_for_knowing_ties() -> None:
    learner = Learner(LearnerSettings(Rewards(rate=1.0)))
    for at in range(1, 201):
        tie = at % 2 == 0
        learner.answer(60 * at, {"ties": (0.01, 0.01) if tie else (0.49, 0.49), "plain": (0.25, 0.25)}, None)
        learner.learn(60 * at, 0 if tie else 1 if at % 4 == 1 else -1)
    answer = learner.answer(60_000, {"ties": (0.01, 0.01), "plain": (0.25, 0.25)}, None)
    assert answer is not None
    assert answer.members["plain"][2] == pytest.approx(0.5, abs=1e-3)
    assert answer.raw_p_up + answer.raw_p_down == pytest.approx(0.02, abs=1e-3)


@settings(max_examples=30)
@given(STEPS)
def test_switched_off_it_is_the_plain_mean_of_its_members(steps: list[Step]) -> None:
    off = LearnerSettings(Rewards(on=False), CalibrationSettings("off"), PatternSettings(on=False))
    _, answers = walked(Learner(off), steps, parts=off)
    for step, answer in zip(steps, answers, strict=True):
        said = {name: one for name, one in step.asked.items() if not math.isnan(one[0])}
        if answer is None:
            assert not said
            continue
        moves = [min(max(up + down, 1e-6), 1.0 - 1e-6) for up, down in said.values()]
        assert answer.p_up + answer.p_down == pytest.approx(np.mean(moves))
        assert (answer.p_up, answer.p_down) == pytest.approx((answer.raw_p_up, answer.raw_p_down))
        assert set(answer.members) == set(said)
        assert answer.evidence == 0.0


def test_the_memory_is_a_member_with_its_own_evidence() -> None:
    learner = Learner(LearnerSettings(patterns=PatternSettings(size=400, k=40, least=100, doubt=10.0)))
    generator = np.random.default_rng(4)
    for at in range(1, 600):
        situation = generator.standard_normal(3)
        learner.answer(60 * at, {"constant": (0.5, 0.5)}, situation)
        learner.learn(60 * at, 1 if situation[0] > 0 else -1)
    answer = learner.answer(60 * 600, {"constant": (0.5, 0.5)}, np.array([1.5, 0.0, 0.0]))
    assert answer is not None
    p_up, p_down, weight = answer.members["patterns"]
    assert p_up > 0.7 > 0.3 > p_down
    assert weight > 0.5
    assert 10.0 < answer.evidence <= 400.0


def test_nobody_can_tell_is_no_answer_and_bad_chances_are_refused_before_anything_changes() -> None:
    learner = Learner(SMALL)
    assert learner.answer(60, {"a": NAN}, None) is None
    before = learner.kept()
    with pytest.raises(DataError, match=r"a says p_up 0\.8"):
        learner.answer(120, {"a": (0.8, 0.3)}, None)
    with pytest.raises(DataError, match="at least 0"):
        learner.answer(120, {"a": (-0.1, 0.3)}, None)
    with pytest.raises(ConfigError, match="another name"):
        learner.answer(120, {"patterns": (0.4, 0.3)}, None)
    with pytest.raises(DataError, match="got 2"):
        learner.learn(60, 2)
    assert learner.kept() == before


def test_a_state_that_is_none_is_told() -> None:
    with pytest.raises(DataError, match="remove it"):
        Learner.of_kept(b'{"asked_s": "x"}', SMALL)


def test_what_the_settings_switch_off_is_left_behind_and_another_kind_begins_anew() -> None:
    learner, _ = walked(Learner(SMALL), [Step(1, {"a": (0.6, 0.3)}, (0.1, 0.2), 1)] * 10)
    off = msgspec.structs.replace(
        SMALL, patterns=PatternSettings(on=False), calibration=CalibrationSettings("isotonic")
    )
    restored = Learner.of_kept(learner.kept(), off, learner.kept_patterns())
    answer = restored.answer(6_000, {"a": (0.6, 0.3)}, np.array([0.1, 0.2]))
    assert answer is not None
    assert set(answer.members) == {"a"}
    assert answer.p_up == pytest.approx(answer.raw_p_up)
    assert restored.kept_patterns() == b""


def port(learner: OnlinePort) -> OnlinePort:
    return learner


def test_it_is_an_online_port() -> None:
    assert port(Learner(LearnerSettings())).answer(60, {}, None) is None
