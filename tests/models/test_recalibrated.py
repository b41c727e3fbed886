"""Recalibration as time goes on: the bits of the batch form, whatever the pauses, and bounded memory."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import DataError
from crypy.models.hindcast import Hindcast
from crypy.models.recalibrated import Learned, Recalibrated, rehearse
from crypy.models.recalibration import Recalibration, fold
from crypy.models.recalibration_beliefs import Rules

START_S = 1_735_689_600
HORIZONS = np.array([5.0, 60.0, 90.0, 300.0, 3_600.0])
SETTINGS = Recalibration(persistence_s=60.0, scale_deviation=0.5)
RULES = SETTINGS.rules(HORIZONS, 1)


def world(seconds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Prices at START_S + 0, 1, 2 ... and a model's scales at each moment."""
    rng = np.random.default_rng(seed)
    prices = 100.0 * np.exp(np.cumsum(1e-4 * rng.standard_t(4, seconds)))
    scales = 1e-4 * np.exp(rng.normal(0, 0.2, seconds))[:, None] * np.sqrt(HORIZONS)
    return prices, scales


def cast_of(prices: np.ndarray, scales: np.ndarray, moments: np.ndarray) -> Hindcast:
    logs = np.log(prices)
    ends = moments[:, None] + HORIZONS.astype(int)
    returns = np.where(ends < len(logs), logs[np.minimum(ends, len(logs) - 1)] - logs[moments][:, None], np.nan)
    scale = scales[moments]
    return Hindcast(START_S + moments, HORIZONS, returns, scale, np.full_like(scale, -0.03), np.full_like(scale, 4.2))


def run(one: Recalibrated, cast: Hindcast, prices: np.ndarray, rows: range) -> list[tuple[np.ndarray, ...]]:
    """Feed the forecasts of these rows live: prices since the last moment seen, then the laws."""
    out: list[tuple[np.ndarray, ...]] = []
    for row in rows:
        at_s = int(cast.origins_s[row])
        from_s = one.seen_s or at_s
        one.see(at_s, from_s, prices[from_s - START_S : at_s - START_S + 1])
        out.append(one.correct(at_s, HORIZONS, cast.scale[row], cast.skew[row], cast.tail[row]))
    return out


def assert_same(live: list[tuple[np.ndarray, ...]], batch: Hindcast, rows: range) -> None:
    for found, row in zip(live, rows, strict=True):
        for ours, theirs in zip(found, (batch.scale[row], batch.skew[row], batch.tail[row]), strict=True):
            assert ours.tolist() == theirs.tolist()


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_live_gives_the_bits_of_the_batch_with_pauses_and_restarts(data: st.DataObject) -> None:
    prices, scales = world(9_000, data.draw(st.integers(0, 1_000)))
    steps = data.draw(st.lists(st.sampled_from([1, 1, 1, 5, 60, 61, 700]), min_size=10, max_size=400))
    moments = np.cumsum([0, *steps])
    cast = cast_of(prices, scales, moments[moments < len(prices)])
    rows = range(len(cast.origins_s))
    batch, beliefs = fold(cast, RULES)
    stop = data.draw(st.integers(0, len(rows)))
    one = Recalibrated(RULES)
    live = run(one, cast, prices, rows[:stop])
    # Written down, read, and gone on with.
    again = msgspec.json.decode(msgspec.json.encode(one.learned()), type=Learned)
    one = Recalibrated.of(again, RULES)
    live += run(one, cast, prices, rows[stop:])
    assert_same(live, batch, rows)
    for ours, theirs in zip(one.beliefs, beliefs, strict=True):
        assert np.array_equal(ours, theirs) or one.waiting
    assert not one.is_fresh or not beliefs.evidence.any()


def test_every_second_of_three_hours_gives_the_bits_of_the_batch() -> None:
    prices, scales = world(10_800, 7)
    cast = cast_of(prices, scales, np.arange(10_800))
    batch, _ = fold(cast, RULES)
    one = Recalibrated(RULES)
    rows = range(10_800)
    assert_same(run(one, cast, prices, rows), batch, rows)
    assert np.abs(np.log(batch.scale[-1] / cast.scale[-1])).max() > 0.01
    # What waits is bounded: 16 of an hour, five of five minutes, one of each that is a minute and less, one of the slot.
    assert one.waiting <= 16 + 5 + 1 + 1 + 1


def test_what_ended_while_no_price_was_known_is_forgotten() -> None:
    prices, scales = world(1_000, 3)
    cast = cast_of(prices, scales, np.arange(1_000))
    one = Recalibrated(RULES)
    run(one, cast, prices, range(100))
    # The history reaches back less far than the pause was long, or has holes.
    holes = prices.copy()
    holes[100:900] = np.nan
    before = one.beliefs.evidence.copy()
    one.see(START_S + 950, START_S + 940, holes[940:951])
    assert one.beliefs.evidence.tolist() == before.tolist()
    run(one, cast, holes, range(951, 1_000))
    assert np.isfinite(one.beliefs.evidence).all()
    unknown = Recalibrated(RULES)
    unknown.see(START_S, START_S, np.array([np.nan]))
    unknown.correct(START_S, HORIZONS, cast.scale[0], cast.skew[0], cast.tail[0])
    assert unknown.waiting == 0


def test_a_moment_is_learned_from_once() -> None:
    prices, scales = world(200, 5)
    cast = cast_of(prices, scales, np.arange(200))
    one = Recalibrated(RULES)
    run(one, cast, prices, range(150))
    known, waiting = one.learned(), one.waiting
    for at in (149, 120):
        one.see(START_S + at, START_S, prices)
        one.correct(START_S + at, HORIZONS, cast.scale[at], cast.skew[at], cast.tail[at])
    assert one.learned() == known
    assert one.waiting == waiting


def test_what_is_corrected_is_told() -> None:
    prices, scales = world(7_200, 9)
    cast = cast_of(prices, scales, np.arange(7_200))
    one = Recalibrated(RULES)
    assert [each.trust for each in one.corrections(START_S)] == [0.0] * 4
    assert one.hour(START_S).tolist() == [1.0] * 60
    run(one, cast, prices, range(7_200))
    told = one.corrections(START_S + 7_200)
    assert [each.horizon_s for each in told] == [5, 60, 300, 3_600]
    assert told[0].scale > 1.05
    assert 0.5 < told[0].trust < 1.0
    assert np.mean(one.hour(START_S + 7_200) ** 2) == pytest.approx(1.0)
    without = replace(SETTINGS, clock=False).rules(HORIZONS, 1)
    assert Recalibrated(without).hour(START_S).tolist() == []
    rehearse(without)


def with_evidence(learned: Learned, value: float) -> Learned:
    return msgspec.structs.replace(learned, evidence=[[value] * 9 for _ in learned.evidence])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda learned: msgspec.structs.replace(learned, evidence=learned.evidence[1:]),
        lambda learned: msgspec.structs.replace(learned, evidence=[[1.0], [1.0, 2.0]]),
        lambda learned: msgspec.structs.replace(learned, slots=[[1.0]]),
        lambda learned: msgspec.structs.replace(learned, waiting=learned.waiting[1:]),
        lambda learned: msgspec.structs.replace(learned, horizons_s=(5, 60, 300, 900)),
        lambda learned: with_evidence(learned, float("nan")),
    ],
)
def test_what_does_not_fit_is_refused(spoil: object) -> None:
    rules: Rules = RULES
    learned = Recalibrated(rules).learned()
    with pytest.raises(DataError, match="learned"):
        Recalibrated.of(spoil(learned), rules)  # type: ignore[operator]
