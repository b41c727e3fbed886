"""Walk-forward with self-calibration: it learns from what had ended, changes nothing of what was said without it, and mends what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crypy.domain.errors import ConfigError
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.recalibration import Recalibration, recalibrated_hindcasts
from crypy.models.volatility import VolatilityBaseline
from crypy.training.calibrated import calibrate, calibrated_name
from crypy.training.judging import Candidate, Terms, judge
from crypy.training.walk_forward import WalkForward, walk_forward
from crypy.training.windows_up import Question, ask, questions

START_S = 1_735_689_600
DAY_S = 86_400
HORIZONS = (300, 3_600)
SYMBOL = "BTCUSDT"


def bars_of(days: int, step_s: int = 300) -> Bars:
    n = days * DAY_S // step_s
    close = 50_000.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(size=n) * 1e-3))
    ones = np.ones(n)
    return Bars(SYMBOL, START_S, step_s, close, close, close, close, ones, close, ones.astype(np.int64), ones)


def dataset_of(bars: Bars) -> Dataset:
    return Dataset.of({SYMBOL: bars}, spacing_s=300, horizons_s=HORIZONS)


def fit(dataset: Dataset) -> VolatilityBaseline:
    """The prior's volatility, with a level that depends on what it is shown."""
    prior = VolatilityBaseline.prior((SYMBOL,), 300)
    shift = float(np.nanstd(dataset.returns(SYMBOL, dataset.origins_s(), np.array([300])))) * 100.0
    rows = {symbol: replace(row, constant=row.constant + shift) for symbol, row in prior.coefficients.items()}
    return VolatilityBaseline(rows, 300, prior.horizons_s, prior.record)


def walked(bars: Bars, recalibration: Recalibration | None = Recalibration()) -> WalkForward:  # noqa: B008
    asked = questions(300, ("15m", "1h"))
    return walk_forward(fit, dataset_of(bars), 2, asked=asked, recalibration=recalibration)


def casts_of(found: WalkForward) -> dict[Question | None, Hindcast]:
    assert found.calibrated is not None
    return {None: found.calibrated.hindcasts[SYMBOL]} | {
        question: by[SYMBOL] for question, by in found.calibrated.windows.items()
    }


@pytest.mark.parametrize("day", [11, 17])
def test_prices_after_an_origin_do_not_reach_its_calibrated_laws(day: int) -> None:
    bars = bars_of(20)
    # Inside the first fold's test part, and inside the second's.
    now_s = START_S + day * DAY_S + 7 * 3_600 + 300
    row = (now_s - START_S) // 300
    moved = np.exp(np.random.default_rng(3).normal(0, 0.01, len(bars) - row))
    shaken = {name: getattr(bars, name).copy() for name in ("open", "high", "low", "close")}
    for column in shaken.values():
        column[row:] *= moved
    before, after = casts_of(walked(bars)), casts_of(walked(replace(bars, **shaken)))
    for question, cast in before.items():
        early = cast.origins_s <= now_s
        assert early.any()
        for name in ("scale", "skew", "tail"):
            known, changed = getattr(cast, name), getattr(after[question], name)
            assert known[early].tolist() == changed[early].tolist()
            assert known[~early].tolist() != changed[~early].tolist()


def test_each_fold_learns_anew_from_the_weeks_before_it_and_leaves_what_was_said_without() -> None:
    bars = bars_of(20)
    found, plain = walked(bars), walked(bars, None)
    assert plain.calibrated is None
    assert found.hindcasts[SYMBOL].scale.tolist() == plain.hindcasts[SYMBOL].scale.tolist()
    assert found.calibrated is not None
    corrected = found.calibrated.hindcasts[SYMBOL]
    assert corrected.origins_s.tolist() == plain.hindcasts[SYMBOL].origins_s.tolist()
    assert np.array_equal(corrected.returns, plain.hindcasts[SYMBOL].returns, equal_nan=True)
    for model, fold in zip(found.models, found.folds, strict=True):
        # What the batch form gives for the same model and range, its first origin corrected already.
        expected = recalibrated_hindcasts(model, fold.test, np.array(HORIZONS, float))[SYMBOL]
        rows = np.isin(corrected.origins_s, expected.origins_s)
        for name in ("scale", "skew", "tail"):
            assert getattr(corrected, name)[rows].tolist() == getattr(expected, name).tolist()
        raw = hindcasts(model, fold.test, np.array(HORIZONS, float))[SYMBOL]
        assert expected.scale[0, 0] != raw.scale[0, 0]


def test_windows_of_seconds_are_corrected_between_the_minutes() -> None:
    bars = bars_of(1, 1)
    model = VolatilityBaseline.prior((SYMBOL,), 1)
    test = Dataset.of({SYMBOL: bars}, START_S + 20 * 3_600, spacing_s=300, horizons_s=(300,))
    # A tenth of five minutes: half a minute past.
    question = Question("5m", 30)
    windows = ask(model, test, [question])
    plain = hindcasts(model, test, np.array([300.0]))
    found = calibrate(model, test, plain, windows, Recalibration())
    cast = found.windows[question][SYMBOL]
    assert (cast.origins_s % 60 == 30).all()
    changed = cast.scale != windows[question][SYMBOL].scale
    # Nothing had ended at the first one.
    assert changed[1:].all()
    # The same moments' laws of five minutes are corrected alike whether or not windows were asked about.
    alone = calibrate(model, test, plain, {}, Recalibration()).hindcasts[SYMBOL]
    assert alone.scale.tolist() == found.hindcasts[SYMBOL].scale.tolist()


def test_a_model_that_is_too_wide_is_judged_twice_and_better_the_second_time() -> None:
    dataset = dataset_of(bars_of(20))
    prior = VolatilityBaseline.prior((SYMBOL,), 300)
    rows = {symbol: replace(row, constant=row.constant + 1.0) for symbol, row in prior.coefficients.items()}
    wide = VolatilityBaseline(rows, 300, prior.horizons_s, prior.record)
    candidates = [
        Candidate("wide", model=wide, recalibration=Recalibration()),
        Candidate("kind", fit=fit, recalibration=Recalibration()),
        Candidate("plain", fit=fit),
    ]
    result = judge(candidates, dataset, ["plain"], Terms(durations=("1h",)))
    names = ["wide", calibrated_name("wide"), "kind", calibrated_name("kind")]
    assert [one.model for one in result.models if one.model != "plain"] == names
    for name in ("wide", "kind"):
        before, after = result.of(name), result.of(calibrated_name(name))
        assert before.folds == after.folds
        assert before.range == after.range
    before, after = result.of("wide"), result.of(calibrated_name("wide"))
    assert after.scores[0].nll < before.scores[0].nll - 0.02
    assert abs(after.scores[0].coverage["inside_90"] - 0.9) < abs(before.scores[0].coverage["inside_90"] - 0.9)
    # The windows are corrected too.
    assert [one.log_loss for one in after.windows] != [one.log_loss for one in before.windows]
    with pytest.raises(ConfigError, match="judged twice"):
        judge([*candidates, Candidate("wide, calibrated", fit=fit)], dataset, ["plain"], Terms())
