"""Evaluation of hindcasts of a known law: what is right is called right, what is worse is told from it, and what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from crypy.distributions.scores import score
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.errors import DataError
from crypy.models.hindcast import Hindcast
from crypy.training.evaluation import NOMINAL, Evaluation
from crypy.training.scoring import evaluate, judged_range

START_S = 1_735_689_600
DAYS = 60
LAW = ZeroMeanSkewStudentT(1.0, -0.1, 5.0)
HORIZONS = np.array([300.0, 900.0])


def truth(seed: int) -> Hindcast:
    """Independent returns of a law whose scale changes from day to day and hour to hour."""
    rng = np.random.default_rng(seed)
    origins_s = START_S + 900 * np.arange(DAYS * 96, dtype=np.int64)
    level = np.repeat(rng.normal(size=DAYS) * 0.5, 96) + np.sin(2 * np.pi * origins_s / 86_400)
    scale = 1e-3 * np.exp(level)[:, None] * np.sqrt(HORIZONS / 300.0)
    z = np.column_stack([LAW.sample(rng, len(origins_s)) for _ in HORIZONS])
    return Hindcast(origins_s, HORIZONS, scale * z, scale, np.full_like(scale, LAW.skew), np.full_like(scale, LAW.tail))


@pytest.fixture(scope="module")
def cast() -> dict[str, dict[str, Hindcast]]:
    right = {"AUSDT": truth(1), "BUSDT": truth(2)}
    constant = {
        symbol: replace(one, scale=np.broadcast_to(np.sqrt(np.square(one.returns).mean(axis=0)), one.scale.shape))
        for symbol, one in right.items()
    }
    narrow = {symbol: replace(one, scale=one.scale * 0.8) for symbol, one in right.items()}
    return {"right": right, "constant": constant, "narrow": narrow}


RANGE = judged_range(START_S, START_S + DAYS * 86_400, 900)


@pytest.fixture(scope="module")
def result(cast: dict[str, dict[str, Hindcast]]) -> Evaluation:
    return evaluate(cast, ("constant", "right"), RANGE, regime_model="right")


def test_the_truth_is_calibrated_and_the_narrow_law_is_not(result: Evaluation) -> None:
    for one in result.of("right").scores:
        assert one.n == DAYS * 96
        assert one.pit_ks < 1.63 / np.sqrt(one.n)
        for name, nominal in NOMINAL.items():
            error = one.coverage_se[name]
            assert error is not None
            assert abs(one.coverage[name] - nominal) < 4 * np.sqrt(nominal * (1 - nominal) / one.n)
            # Independent rows: the bootstrap over days finds the binomial error.
            assert error == pytest.approx(np.sqrt(nominal * (1 - nominal) / one.n), rel=0.6)
        assert sum(one.pit) == pytest.approx(1.0)
        assert max(one.pit) < 0.062
    assert result.of("narrow").score("AUSDT", 300).coverage["inside_90"] < 0.86


def test_scores_are_those_of_the_rows(result: Evaluation, cast: dict[str, dict[str, Hindcast]]) -> None:
    one = cast["right"]["BUSDT"]
    plain = score(one.returns[:, 1], one.scale[:, 1], LAW.skew, LAW.tail)
    found = result.of("right").score("BUSDT", 900)
    assert (found.nll, found.crps_bp) == pytest.approx((plain.nll, plain.crps * 1e4), rel=1e-12)
    assert [found.coverage[name] for name in ("below_5", "below_25", "below_75", "below_95")] == [
        part for _, part in plain.coverage
    ]
    widths = np.mean(one.scale[:, 1]) * 1e4 * (LAW.ppf(0.95) - LAW.ppf(0.05))
    assert found.sharpness_bp["inside_90"] == pytest.approx(widths)


def test_gains_are_over_the_reference_and_sure(result: Evaluation) -> None:
    for symbol in ("AUSDT", "BUSDT"):
        found = result.of("right").score(symbol, 300)
        gain = found.vs["constant"]["nll"]
        assert list(found.vs) == ["constant"]
        assert gain.gain == pytest.approx(result.of("constant").score(symbol, 300).nll - found.nll)
        assert gain.low is not None
        assert gain.low > 0.05
        narrow = result.of("narrow").score(symbol, 300)
        assert set(narrow.vs) == {"constant", "right"}
        worse = narrow.vs["right"]["nll"]
        assert worse.high is not None
        assert worse.dm is not None
        assert worse.high < 0.0
        assert worse.dm < -3.0


def test_groups_and_days_add_up_to_the_whole(result: Evaluation) -> None:
    found = result.of("narrow").score("AUSDT", 300)
    assert [group.group for group in found.by_regime] == ["calm", "usual", "wild"]
    for groups in (found.by_hour, found.by_month):
        assert sum(group.n for group in groups) == found.n
        assert sum(group.n * group.nll for group in groups) / found.n == pytest.approx(found.nll)
        gains = sum(group.n * (group.gain or 0.0) for group in groups) / found.n
        assert gains == pytest.approx(found.vs["constant"]["nll"].gain)
    assert [group.group for group in found.by_month] == ["2025-01", "2025-02", "2025-03"]
    assert len(found.daily.day_s) == DAYS
    assert np.average(found.daily.gain, weights=found.daily.n) == pytest.approx(found.vs["constant"]["nll"].gain)
    assert result.of("constant").score("AUSDT", 300).daily.gain == ()


def test_results_go_to_json_and_back(result: Evaluation) -> None:
    assert msgspec.json.decode(msgspec.json.encode(result), type=Evaluation) == result
    shown = result.as_json()
    assert shown["model"] == "right"
    assert set(shown["range"]) >= {"start", "end"}
    assert set(shown["scores"][0]) >= {"symbol", "horizon_s", "n", "nll", "crps_bp", "coverage", "pit_ks", "vs"}
    assert [one["model"] for one in shown["beside"]] == ["constant", "narrow"]


def test_a_row_without_a_return_is_left_out_for_all(cast: dict[str, dict[str, Hindcast]]) -> None:
    right = cast["right"]["AUSDT"]
    returns = right.returns.copy()
    returns[-50:, 1] = np.nan
    one = {"AUSDT": replace(right, returns=returns)}
    found = evaluate({"x": one, "y": one}, ("x",), RANGE)
    assert [score.n for score in found.of("y").scores] == [DAYS * 96, DAYS * 96 - 50]
    same = found.of("y").score("AUSDT", 900).vs["x"]["nll"]
    assert (same.gain, same.dm, same.p_value) == (0.0, None, None)


def test_what_cannot_be_compared_is_refused(cast: dict[str, dict[str, Hindcast]]) -> None:
    one = cast["right"]["AUSDT"]
    other = replace(one, origins_s=one.origins_s + 300)
    with pytest.raises(DataError, match="other origins"):
        evaluate({"x": {"A": one}, "y": {"A": other}}, ("x",), RANGE)
    with pytest.raises(DataError, match="not among"):
        evaluate({"x": {"A": one}}, ("y",), RANGE)
    with pytest.raises(DataError, match="was asked about"):
        evaluate({"x": {"A": one}, "y": {"B": one}}, ("x",), RANGE)
    scale = one.scale.copy()
    scale[7, 0] = np.nan
    with pytest.raises(DataError, match=r"y, A at 300 s.*row 7"):
        evaluate({"x": {"A": one}, "y": {"A": replace(one, scale=scale)}}, ("x",), RANGE)
    nothing = replace(one, returns=np.full_like(one.returns, np.nan))
    with pytest.raises(DataError, match="no origin"):
        evaluate({"x": {"A": nothing}}, ("x",), RANGE)


def test_a_bootstrap_per_day_sees_what_rows_hide(cast: dict[str, dict[str, Hindcast]]) -> None:
    # The constant law errs for whole days: its error is far above that of independent rows.
    one = evaluate({"c": cast["constant"]}, ("c",), RANGE).of("c").score("AUSDT", 300)
    error = one.coverage_se["inside_50"]
    assert error is not None
    assert error > 2.0 * np.sqrt(0.25 / one.n)
