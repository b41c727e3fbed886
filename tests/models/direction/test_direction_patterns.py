"""The pattern memory against one of ten lines, and what is kept of it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.models.direction.nearest import sums_of_nearest
from crypy.models.direction.patterns import Patterns, PatternSettings, PatternsState, row_type

Floats = NDArray[np.float64]
SMALL = PatternSettings(size=64, k=8, half_life_days=1.0, doubt=4.0, least=16)


def taught(count: int, settings: PatternSettings = SMALL, seed: int = 3, fold: Patterns | None = None) -> Patterns:
    """A memory of situations whose first number tells what follows."""
    generator = np.random.default_rng(seed)
    fold = fold or Patterns(settings, 3)
    for _ in range(count):
        situation = generator.standard_normal(3)
        fold.learn(60 * (fold.state.added + 1), situation, int(np.sign(np.round(situation[0]))))
    return fold


def test_the_kernel_finds_what_a_sort_finds() -> None:
    generator = np.random.default_rng(5)
    rows, k = 500, 40
    vectors = generator.standard_normal((4, rows)).astype(np.float32)
    ends_s = np.arange(rows, dtype=np.int64) * 60
    ends_s[::7] = -1
    outcomes = generator.integers(-1, 2, rows).astype(np.int8)
    wanted, scale = np.array([0.3, -1.0, 0.0, 0.5], np.float32), np.array([1.0, 2.0, 0.0, 0.5], np.float32)
    found = sums_of_nearest(
        vectors, ends_s, outcomes, rows, np.zeros(rows, np.float32), wanted, scale, k, 60 * rows, 7_200.0
    )
    far = (((vectors - wanted[:, None]) * scale[:, None]) ** 2).sum(axis=0)
    kth = np.sort(far[ends_s >= 0])[k - 1]
    within = [
        by_hand(far, ends_s, outcomes, radius, 60 * rows, 7_200.0) for radius in np.linspace(kth, 1.02 * kth, 2_001)[1:]
    ]
    assert any(found == pytest.approx(one, rel=1e-4) for one in within)


def by_hand(
    far: Floats, ends_s: NDArray[np.int64], outcomes: NDArray[np.int8], radius: float, now_s: int, half_life_s: float
) -> tuple[float, ...]:
    inside = (far < radius) & (ends_s >= 0)
    weight = np.where(inside, 1.0 - far / radius, 0.0) * 0.5 ** ((now_s - ends_s) / half_life_s)
    return (
        float(weight.sum()), float((weight**2).sum()), float(weight[outcomes > 0].sum()), float(weight[outcomes < 0].sum()),
    )  # fmt: skip


def test_it_says_what_followed_situations_like_this_one() -> None:
    memory = taught(64)
    now_s = 60 * 70
    up, down = memory.recall(now_s, np.array([2.0, 0.0, 0.0])), memory.recall(now_s, np.array([-2.0, 0.0, 0.0]))
    assert up is not None
    assert down is not None
    assert up.p_up > 0.6 > 0.3 > up.p_down
    assert down.p_down > 0.6 > 0.3 > down.p_up
    assert 1.0 < up.evidence < 64.0


def test_mirrored_it_learns_from_both_sides() -> None:
    """Only rises were seen after situations above zero; of their mirror images a mirrored memory expects falls, a plain one knows nothing."""
    told: list[float] = []
    for mirrored in (True, False):
        memory = Patterns(PatternSettings(size=64, k=8, half_life_days=1.0, doubt=4.0, least=16, mirrored=mirrored), 1)
        for at in range(32):
            memory.learn(60 * (at + 1), np.array([1.0 + at % 8 / 8]), 1)
        said = memory.recall(60 * 40, np.array([-1.5]))
        assert said is not None
        told.append(said.p_down)
    assert told[0] > 0.4
    assert told[1] == 0.0


def test_a_mirrored_memory_is_as_sure_of_the_mirror_image() -> None:
    memory = taught(64)
    memory.state.up = memory.state.down
    there, back = (memory.recall(60 * 70, sign * np.array([1.0, 0.2, -0.3])) for sign in (1.0, -1.0))
    assert there is not None
    assert back is not None
    assert (there.p_up, there.p_down, there.evidence) == pytest.approx((back.p_down, back.p_up, back.evidence))


def test_little_evidence_says_little_more_than_the_base_rate() -> None:
    sceptic = taught(64, PatternSettings(size=64, k=8, half_life_days=1.0, doubt=1e6, least=16))
    said = sceptic.recall(60 * 70, np.array([2.0, 0.0, 0.0]))
    assert said is not None
    state = sceptic.state
    assert (said.p_up, said.p_down) == pytest.approx((state.up / state.facts, state.down / state.facts), abs=1e-4)


def test_older_neighbours_count_less() -> None:
    memory = Patterns(PatternSettings(size=64, k=8, half_life_days=0.01, doubt=1e-6, least=16, mirrored=False), 1)
    for at in range(32):
        memory.learn(60 * (at + 1), np.array([float(at % 2)]), 1 if at < 16 else -1)
    said = memory.recall(60 * 33, np.array([0.5]))
    assert said is not None
    assert said.p_down > 0.6


def test_nothing_is_said_before_enough_is_remembered_or_of_a_situation_not_known_whole() -> None:
    memory = taught(15)
    assert memory.recall(60_000, np.zeros(3)) is None
    taught(1, fold=memory)
    assert memory.recall(60_000, np.zeros(3)) is not None
    assert memory.recall(60_000, np.array([0.0, np.nan, 0.0])) is None
    memory.learn(60_000, np.array([0.0, np.nan, 0.0]), 1)
    assert memory.state.added == 16


def test_the_oldest_give_way_and_the_store_stays_its_size() -> None:
    memory = taught(200)
    assert memory.held == 64
    assert memory.state.first == 136
    rows = np.frombuffer(memory.rows_since(0), row_type(3))
    assert rows["number"].tolist() == list(range(136, 200))
    assert rows["end_s"].tolist() == [60 * (number + 1) for number in range(136, 200)]


def test_a_situation_of_another_size_is_refused_and_changes_nothing() -> None:
    memory = taught(20)
    before = memory.rows_since(0)
    with pytest.raises(DataError, match="4 numbers"):
        memory.learn(6_000, np.zeros(4), 1)
    with pytest.raises(DataError, match="4 numbers"):
        memory.recall(6_000, np.zeros(4))
    assert memory.rows_since(0) == before


def test_equal_situations_have_no_deviation_and_do_no_harm() -> None:
    memory = Patterns(PatternSettings(size=64, k=8, least=16, mirrored=False), 2)
    for at in range(40):
        memory.learn(60 * (at + 1), np.array([1.0, 1.0]), 1)
    said = memory.recall(60 * 50, np.array([1.0, 1.0]))
    assert said is not None
    assert said.p_up == pytest.approx(1.0)


@given(st.integers(0, 150), st.lists(st.integers(0, 150), max_size=4), st.integers(0, 20))
def test_rows_appended_in_any_parts_restore_it_bit_for_bit(count: int, cuts: list[int], torn: int) -> None:
    memory, parts, since = taught(0), b"", 0
    for cut in sorted({min(cut, count) for cut in cuts} | {count}):
        taught(cut - memory.state.added, seed=cut, fold=memory)
        parts += memory.rows_since(since)
        since = memory.state.added
    state = kept_and_read(memory)
    ahead = row_type(3).itemsize
    later = taught(0)
    later.state.added = memory.state.added
    taught(1, seed=9, fold=later)
    parts += later.rows_since(memory.state.added) + b"\x01" * min(torn, ahead - 1)
    restored = Patterns.of_kept(SMALL, state, parts)
    assert restored.rows_since(0) == memory.rows_since(0)
    for fold in (memory, restored):
        taught(10, seed=11, fold=fold)
    now_s = 60 * 500
    assert restored.recall(now_s, np.array([0.4, 0.0, 1.0])) == memory.recall(now_s, np.array([0.4, 0.0, 1.0]))
    assert restored.state == memory.state


def kept_and_read(memory: Patterns) -> PatternsState:
    return msgspec.json.decode(msgspec.json.encode(memory.state), type=PatternsState)


def test_rows_that_are_missing_are_told() -> None:
    memory = taught(100)
    rows = memory.rows_since(0)
    with pytest.raises(DataError, match="63 of the 64"):
        Patterns.of_kept(SMALL, memory.state, rows[: -row_type(3).itemsize])


@pytest.mark.parametrize("size", [32, 200])
def test_a_memory_of_another_size_takes_what_fits(size: int) -> None:
    memory = taught(100)
    settings = PatternSettings(size=size, k=8, half_life_days=1.0, doubt=4.0, least=16)
    other = Patterns.of_kept(settings, memory.state, memory.rows_since(0))
    assert other.held == min(size, 64)
    taught(80, seed=4, fold=other)
    assert other.held == min(size, 144)
    assert other.recall(60 * 300, np.zeros(3)) is not None


@pytest.mark.parametrize("wrong", [{"k": 1}, {"k": 2_000}, {"least": 30_000}, {"half_life_days": 0.0}, {"doubt": 0.0}])
def test_pattern_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        PatternSettings(**wrong)  # pyright: ignore[reportArgumentType]
