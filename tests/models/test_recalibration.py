"""Recalibration offline: nothing from the future, nothing without evidence, bounded, and right where the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.distributions.kernels import skew_t_cdf_many
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.recalibration import Recalibration, fold, recalibrate, recalibrated_hindcasts
from crypy.models.volatility import VolatilityBaseline

START_S = 1_735_689_600  # 2025-01-01
HORIZONS = (300, 900, 3_600, 14_400)


def cast_of(
    days: float, *, wrong: float = 1.0, truth: tuple[float, float] = (0.0, 5.0), said: tuple[float, float] = (0.0, 5.0),
    seed: int = 1, clock: np.ndarray | None = None, horizons: tuple[int, ...] = HORIZONS,
) -> Hindcast:  # fmt: skip
    """Independent five-minute returns of scale one (times `clock` by slot of the hour), and a model that says `wrong` times their scale.

    `truth` and `said` are (skew, tail); of longer horizons the law said is right in its scale only.
    """
    n = int(days * 288)
    origins = START_S + 300 * np.arange(n)
    steps = ZeroMeanSkewStudentT(1.0, *truth).sample(np.random.default_rng(seed), n + horizons[-1] // 300)
    if clock is not None:
        steps = steps * np.resize(clock, len(steps))
    path = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.arange(n)
    returns = np.column_stack([path[at + h // 300] - path[at] for h in horizons])
    for column, horizon in enumerate(horizons):
        returns[origins + horizon > origins[-1] + 300, column] = np.nan
    scale = np.tile(wrong * np.sqrt(np.array(horizons) / 300), (n, 1))
    return Hindcast(
        origins, np.array(horizons, float), returns, scale, np.full_like(scale, said[0]), np.full_like(scale, said[1])
    )


def same(one: Hindcast, other: Hindcast, rows: slice) -> bool:
    tables = ("scale", "skew", "tail")
    return all(np.array_equal(getattr(one, name)[rows], getattr(other, name)[rows]) for name in tables)


def test_without_a_return_that_has_ended_the_laws_keep_their_bits() -> None:
    cast = cast_of(1.0, said=(-0.0371, 5.123456789))
    unknown = replace(cast, returns=np.full_like(cast.returns, np.nan))
    assert same(recalibrate(unknown), cast, slice(None))
    assert same(recalibrate(cast), cast, slice(0, 1))
    assert not same(recalibrate(cast), cast, slice(1, None))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nothing_that_ends_after_an_origin_changes_its_laws(data: st.DataObject) -> None:
    cast = cast_of(0.7)
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, 200), min_size=3, max_size=150))))
    cast = replace(
        cast, origins_s=cast.origins_s[kept],
        **{name: getattr(cast, name)[kept] for name in ("returns", "scale", "skew", "tail")},
    )  # fmt: skip
    row = data.draw(st.integers(0, len(kept) - 1))
    now_s = cast.origins_s[row]
    ends_s = cast.origins_s[:, None] + cast.horizons_s.astype(int)
    shaken = replace(cast, returns=np.where(ends_s > now_s, data.draw(st.floats(-50, 50)), cast.returns))
    settings_ = Recalibration(horizons_s=(300, 900, 3_600), persistence_s=60)
    before, after = recalibrate(cast, settings_), recalibrate(shaken, settings_)
    assert same(before, after, slice(0, row + 1))
    # And later laws of the model itself.
    louder = cast.scale.copy()
    louder[row + 1 :] *= 3.0
    assert same(before, recalibrate(replace(cast, scale=louder), settings_), slice(0, row + 1))


def test_a_return_that_ends_at_the_origin_counts_and_one_that_ends_later_does_not() -> None:
    cast = cast_of(0.5)
    for ends_late_by, counts in ((0, True), (1, False)):
        origins = cast.origins_s.copy()
        # The origin after ten: 300 s after the tenth, or a second less.
        origins[11:] -= ends_late_by
        base = replace(cast, origins_s=origins)
        shaken = base.returns.copy()
        shaken[10, 0] += 5.0
        changed = not same(recalibrate(base), recalibrate(replace(base, returns=shaken)), slice(0, 12))
        assert changed is counts


@pytest.mark.parametrize("wrong", [0.75, 1.3])
def test_a_scale_that_is_wrong_is_put_right_at_every_learned_horizon(wrong: float) -> None:
    out = recalibrate(cast_of(60, wrong=wrong), Recalibration(clock=False))
    right = np.sqrt(np.array(HORIZONS) / 300)
    # Sums of returns have a lighter tail than was said: their scale is known less well.
    assert out.scale[-2000:, :2].mean(axis=0) == pytest.approx(right[:2], rel=0.05)
    assert out.scale[-2000:, 2].mean() == pytest.approx(right[2], rel=0.1)
    # Beyond the last learned horizon, half of its correction holds.
    assert np.log(out.scale[-1, 3] / wrong / right[3]) == pytest.approx(0.5 * -np.log(wrong), abs=0.03)


def test_tail_and_skew_go_to_the_truth_and_coverage_with_them() -> None:
    # Far enough from the truth for coverage to miss it, as far as the bounds allow.
    cast = cast_of(120, truth=(-0.1, 3.0), said=(0.0, 5.0), horizons=(300, 900))
    loose = Recalibration(horizons_s=(300, 900), clock=False, skew_deviation=0.1, persistence_s=300)
    out = recalibrate(cast, loose)
    late = slice(-5_000, None)
    assert out.tail[late, 0].mean() == pytest.approx(3.0, abs=0.35)
    assert out.skew[late, 0].mean() == pytest.approx(-0.1, abs=0.03)

    def miss(one: Hindcast) -> float:
        known = np.isfinite(one.returns[:, 0]) & (one.origins_s > START_S + 30 * 86_400)
        shares = np.empty(known.sum())
        rows = [np.ascontiguousarray(table[known, 0]) for table in (one.returns, one.scale, one.skew, one.tail)]
        skew_t_cdf_many(rows[0], rows[1], rows[2], rows[3], shares)
        return max(abs(float(np.mean(shares <= q)) - q) for q in (0.05, 0.25, 0.75, 0.95))

    assert miss(out) < 0.01 < miss(cast)


def test_the_clock_of_the_hour_is_learned_and_long_horizons_are_left_alone() -> None:
    hour = np.exp(np.array([0.3, 0.1, -0.2, 0.2, 0.0, -0.1, 0.2, 0.0, -0.2, 0.1, 0.0, -0.4]))
    hour /= np.sqrt(np.mean(hour**2))
    out = recalibrate(cast_of(120, clock=hour), Recalibration(clock_deviation=0.3))
    late = slice(-12, None)
    slots = out.origins_s[late] // 300 % 12
    assert out.scale[late, 0] == pytest.approx(hour[slots], rel=0.08)
    # Over whole hours the clock cancels.
    assert out.scale[late, 2] == pytest.approx(np.sqrt(12.0), rel=0.05)
    ahead = np.array([np.sqrt(np.sum(np.take(hour, range(slot, slot + 3), mode="wrap") ** 2)) for slot in slots])
    assert out.scale[late, 1] == pytest.approx(ahead, rel=0.08)


def test_corrections_stay_within_their_bounds_and_come_back_at_once() -> None:
    mad = cast_of(30, wrong=1e-3)
    settings_ = Recalibration(most_scale=0.2, most_tail=0.5, most_skew=0.02, clock=False)
    out = recalibrate(mad, settings_)
    assert np.max(np.abs(np.log(out.scale[:, :3] / mad.scale[:, :3]))) == pytest.approx(0.2)
    assert np.max(np.abs(np.log((out.tail - 2) / 3))) <= 0.5 + 1e-12
    assert np.max(np.abs(out.skew)) <= 0.02
    # Evidence does not pile up beyond the bound: right again, the model is believed within days.
    turned = replace(mad, scale=np.where(mad.origins_s[:, None] > START_S + 10 * 86_400, 1e3 * mad.scale, mad.scale))
    ratio = np.log(recalibrate(turned, settings_).scale[-1] / turned.scale[-1])
    assert abs(ratio[0]) < 0.12


def test_tails_stay_between_the_lightest_and_the_heaviest_that_are_believed() -> None:
    heavy = recalibrate(
        cast_of(40, truth=(0.0, 2.1), said=(0.0, 2.4)), Recalibration(most_tail=9.0, tail_deviation=5.0)
    )
    assert heavy.tail.min() >= 2.2
    light = recalibrate(
        cast_of(40, truth=(0.0, 400.0), said=(0.0, 30.0)), Recalibration(most_tail=9.0, tail_deviation=5.0)
    )
    assert light.tail.max() <= 60.0
    # A model's own tail beyond them is not pulled in.
    unknown = cast_of(1.0, said=(0.0, 100.0))
    assert recalibrate(replace(unknown, returns=unknown.returns * np.nan)).tail.max() == 100.0


def test_evidence_fades_by_its_half_life() -> None:
    cast = cast_of(40, wrong=0.7)
    silent = cast.returns.copy()
    silent[cast.origins_s + 300 > START_S + 20 * 86_400, :] = np.nan
    short = Recalibration(half_life_days=1.0, clock=False)
    out = np.log(recalibrate(replace(cast, returns=silent), short).scale[:, 0] / 0.7)
    assert out[20 * 288] > 0.15
    assert abs(out[-1]) < 1e-3


def test_overlapping_returns_count_by_what_they_are_worth() -> None:
    spans = {}
    for horizon, persistence in ((3_600, 300.0), (300, 300.0), (300, 3_600.0)):
        cast = cast_of(10, horizons=(300, 3_600))
        chosen = Recalibration(horizons_s=(horizon,), persistence_s=persistence, half_life_days=1e6, clock=False)
        _, beliefs = fold(cast, chosen.rules(cast.horizons_s, 300))
        spans[horizon, persistence] = beliefs.evidence[0, 0]
    one_return = 2 * 5.0 / (5.0 + 3.0)
    # Ten days hold 240 hours: 1.5 returns each, whether they overlap or are said to last so long.
    assert spans[3_600, 300.0] == pytest.approx(240 * 1.5 * one_return, rel=0.1)
    assert spans[300, 3_600.0] == pytest.approx(240 * 1.5 * one_return, rel=0.1)
    assert spans[300, 300.0] == pytest.approx(2_880 * one_return, rel=0.1)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.3, 3.0), st.floats(2.3, 40.0), st.integers(0, 10_000))
def test_a_scale_that_does_not_fall_with_the_horizon_never_does(wrong: float, tail: float, seed: int) -> None:
    cast = cast_of(3.0, wrong=wrong, said=(0.05, tail), seed=seed)
    # Wrong in opposite directions from one horizon to the next, and flat: the worst for the order of the scales.
    flat = np.maximum.accumulate(cast.scale * np.array([1.0, 0.2, 0.9, 0.1]), axis=1)
    out = recalibrate(replace(cast, scale=flat), Recalibration(persistence_s=60, scale_deviation=1.0))
    assert (np.diff(out.scale, axis=1) >= 0).all()
    assert (out.tail > 2).all()
    assert (np.abs(out.skew) < 1).all()
    assert np.isfinite(out.scale).all()


def test_forecasts_from_before_the_range_are_learned_from() -> None:
    whole = cast_of(20, wrong=0.8)
    rows = {name: getattr(whole, name) for name in ("origins_s", "returns", "scale", "skew", "tail")}
    before = replace(whole, **{name: table[:4_000] for name, table in rows.items()})
    cast = replace(whole, **{name: table[4_000:] for name, table in rows.items()})
    warmed = recalibrate(cast, before=before)
    assert np.array_equal(warmed.scale, recalibrate(whole).scale[4_000:])
    assert abs(np.log(warmed.scale[0, 0])) < abs(np.log(recalibrate(cast).scale[0, 0]))
    with pytest.raises(DataError, match="reach into the range"):
        recalibrate(before, before=cast)
    with pytest.raises(DataError, match="have horizons"):
        recalibrate(cast, before=replace(before, horizons_s=before.horizons_s + 1))


def test_after_volatility_doubles_unknown_to_the_model_a_week_is_enough() -> None:
    days = 40
    cast = cast_of(days)
    change_s = START_S + 20 * 86_400
    doubled = np.where(cast.origins_s[:, None] >= change_s, 2.0, 1.0) * cast.returns
    out = recalibrate(replace(cast, returns=doubled))
    day = (cast.origins_s - change_s) // 86_400
    ratio = out.scale[:, 0] / cast.scale[:, 0]
    assert ratio[day == -1].mean() == pytest.approx(1.0, abs=0.05)
    assert ratio[day == 7].mean() > 1.3
    assert ratio[day == 19].mean() > 1.55


def test_origins_out_of_order_and_settings_without_sense_are_refused() -> None:
    cast = cast_of(0.2)
    with pytest.raises(DataError, match="do not ascend"):
        fold(replace(cast, origins_s=cast.origins_s[::-1].copy()), Recalibration().rules(cast.horizons_s, 300))
    with pytest.raises(ConfigError, match="none of them is forecast"):
        recalibrate(replace(cast, horizons_s=cast.horizons_s + 1))
    with pytest.raises(DataError, match="lack"):
        fold(cast, Recalibration().rules(np.array([60.0, 300.0]), 60))
    for wrong in (
        {"half_life_days": 0.0}, {"scale_deviation": float("nan")}, {"horizons_s": ()}, {"horizons_s": (900, 300)},
        {"beyond_s": 3_600}, {"share_beyond": 1.5}, {"most_scale": float("inf")},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            Recalibration(**wrong)  # type: ignore[arg-type]


def test_recalibrated_hindcasts_begin_with_what_was_learned_before_the_range(make_market: Callable[..., Bars]) -> None:
    bars = make_market(20, seed=3)
    model = VolatilityBaseline.prior(("BTCUSDT",), 60)
    data = Dataset.of({"BTCUSDT": bars}, bars.start_s + 15 * 86_400)
    asked = np.array([900.0, 7_200.0])
    found = recalibrated_hindcasts(model, data, asked)["BTCUSDT"]
    plain = hindcasts(model, data, asked)["BTCUSDT"]
    assert found.origins_s.tolist() == plain.origins_s.tolist()
    assert found.horizons_s.tolist() == asked.tolist()
    assert np.array_equal(found.returns, plain.returns, equal_nan=True)
    whole = replace(data, start_s=data.start_s - 5 * 86_400)
    every = np.array([60.0, 300.0, 900.0, 3_600.0, 7_200.0])
    longer = recalibrate(hindcasts(model, whole, every)["BTCUSDT"])
    late = longer.origins_s >= data.start_s
    five_days = recalibrated_hindcasts(model, data, asked, warm_up_s=5 * 86_400)["BTCUSDT"]
    assert np.array_equal(five_days.scale, longer.scale[late][:, [2, 4]])
    # A warm-up is cut where the model's history would be.
    assert same(found, recalibrated_hindcasts(model, data, asked, warm_up_s=10**8)["BTCUSDT"], slice(None))
    assert not np.array_equal(found.scale[0], plain.scale[0])


def test_prices_after_an_origin_do_not_reach_its_recalibrated_laws(make_market: Callable[..., Bars]) -> None:
    bars = make_market(12, seed=4)
    model = VolatilityBaseline.prior(("BTCUSDT",), 60)
    asked = np.array([300.0, 900.0])

    def cast(close: np.ndarray) -> Hindcast:
        data = Dataset.of({"BTCUSDT": replace(bars, close=close)}, bars.start_s + 9 * 86_400)
        return recalibrated_hindcasts(model, data, asked)["BTCUSDT"]

    known = cast(bars.close)
    for row in (0, 1, 137, 500):
        first_unknown = (known.origins_s[row] - bars.start_s) // 60
        shaken = bars.close.copy()
        shaken[first_unknown:] *= np.exp(np.random.default_rng(row).normal(0, 0.01, len(shaken) - first_unknown))
        assert same(cast(shaken), known, slice(0, row + 1))
        assert not same(cast(shaken), known, slice(row + 1, row + 2))


def test_sparse_origins_can_learn_from_forecasts_of_every_minute(make_market: Callable[..., Bars]) -> None:
    bars = make_market(10, seed=5)
    model = VolatilityBaseline.prior(("BTCUSDT",), 60)
    data = Dataset.of({"BTCUSDT": bars}, bars.start_s + 9 * 86_400)
    asked = np.array([120.0])
    minutes = recalibrated_hindcasts(model, data.every(60), asked)["BTCUSDT"]
    # Two minutes before the end of each quarter of an hour.
    ends = recalibrated_hindcasts(model, data.every(900, 780), asked, every_s=60)["BTCUSDT"]
    rows = np.flatnonzero((minutes.origins_s + 120) % 900 == 0)
    assert ends.origins_s.tolist() == minutes.origins_s[rows].tolist()
    assert ends.scale.tolist() == minutes.scale[rows].tolist()
    with pytest.raises(ConfigError, match="do not meet"):
        recalibrated_hindcasts(model, data.every(900, 780), asked, every_s=300)
