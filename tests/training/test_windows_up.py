"""Window questions: the batch form against the live arithmetic and the settlement fold, and calibration where the law is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crypy.distributions.curve import HorizonCurve
from crypy.distributions.settlement import forecast_up, question
from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_S
from crypy.domain.windows import Window
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast
from crypy.prediction_markets.settle import Settled, SettlementFeed
from crypy.training.window_scores import log_loss, score_windows
from crypy.training.windows_up import POINT, RULES, STARTS_EVERY_S, Question, Rule, answers, questions

START_S = 1_735_689_600
SIGMA = 2e-5
TAIL = 30.0


def walk(days: float, step_s: int, seed: int = 0, inside: int = 10) -> Bars:
    """A Brownian path seen as bars; each bar has `inside` steps of its own."""
    rng = np.random.default_rng(seed)
    n = int(days * 86_400 / step_s)
    steps = rng.normal(size=(n, inside)) * SIGMA * np.sqrt(step_s / inside)
    path = np.concatenate(([0.0], np.cumsum(steps.ravel())))
    price = 50_000.0 * np.exp(path)
    whole = price[1:].reshape(n, inside)
    before = price[:-1].reshape(n, inside)[:, 0]
    high, low = np.maximum(whole.max(axis=1), before), np.minimum(whole.min(axis=1), before)
    ones = np.ones(n)
    return Bars("BTCUSDT", START_S, step_s, before, high, low, whole[:, -1], ones, ones, ones.astype(np.int64), ones)


def cast(asked: Question, bars: Bars, scale: float = 1.0) -> Hindcast:
    """The path's own law at the question's origins; nearly normal, for the tail has no say in what is tested."""
    grid_s = STARTS_EVERY_S[asked.duration]
    origins_s = Dataset.of({"BTCUSDT": bars}).every(grid_s, asked.elapsed_s % grid_s).origins_s()
    horizons = asked.horizons_s
    shape = (len(origins_s), len(horizons))
    scales = np.broadcast_to(scale * SIGMA * np.sqrt(horizons), shape)
    return Hindcast(origins_s, horizons, np.zeros(shape), scales, np.full(shape, 0.0), np.full(shape, TAIL))


def test_questions_lie_on_the_pages_minutes() -> None:
    minutes = {duration: [one.elapsed_s // 60 for one in questions(60, (duration,))] for duration in RULES}
    assert minutes == {
        "5m": [1, 2, 3, 4],
        "15m": [2, 4, 8, 11, 14],
        "1h": [6, 15, 30, 45, 54],
        "4h": [24, 60, 120, 180, 216],
        "1d": [144, 360, 720, 1080, 1296],
    }
    assert [one.elapsed_s for one in questions(1, ("5m",))] == [30, 75, 150, 225, 270]
    assert [one.duration for one in questions(900, ("5m", "15m", "1h"))] == ["1h"] * 3


@pytest.mark.parametrize(
    "asked", [Question("5m", 30), Question("5m", 240), Question("5m", 270), Question("15m", 810), Question("1h", 1_800)]
)
def test_the_batch_says_what_the_live_arithmetic_says(asked: Question) -> None:
    bars = walk(0.4, 10)
    said = cast(asked, bars)
    rule = RULES[asked.duration]
    found = answers(asked, said, bars, START_S, bars.end_s, "settlement")
    assert found is not None
    assert len(found.rows) > 5
    mid = (bars.high + bars.low) / 2
    for row, probability in zip(found.rows, found.probability, strict=True):
        origin_s = int(said.origins_s[row])
        start_s = origin_s - asked.elapsed_s
        window = Window(start_s, start_s + asked.length_s, asked.duration)
        at = lambda instant_s: (instant_s - START_S) // 10  # noqa: E731
        curve = HorizonCurve(said.horizons_s, said.scale[row], said.skew[row], said.tail[row])
        known = reference = None
        if rule.statistic == "average":
            reference = float(mid[at(start_s) - 6 : at(start_s)].mean())
            if asked.left_s < 60:
                known = float(mid[at(window.end_s - 60) : at(origin_s)].mean())
        else:
            reference = float(bars.open[at(start_s)])
        live = forecast_up(
            question(window, rule), curve, origin_s * US_PER_S, float(bars.close[at(origin_s) - 1]), reference, known
        )
        assert probability == pytest.approx(live.probability, abs=1e-12)


@pytest.mark.parametrize(
    ("duration", "elapsed_s", "rule"), [("1h", 1_800, "point"), ("1d", 43_200, "settlement"), ("5m", 150, "settlement")]
)
def test_outcomes_are_those_of_the_settlement_fold(duration: str, elapsed_s: int, rule: Rule) -> None:
    bars = walk(3 if duration == "1d" else 0.2, 10, inside=1)
    asked = Question(duration, elapsed_s)  # type: ignore[arg-type]
    settlement = POINT if rule == "point" else RULES[asked.duration]
    found = answers(asked, cast(asked, bars), bars, START_S, bars.end_s, rule)
    assert found is not None
    assert set(found.outcome) == {0.0, 1.0}
    disagreed = 0
    for origin_s, outcome in zip(found.origins_s, found.outcome, strict=True):
        start_s = int(origin_s) - elapsed_s
        feed = SettlementFeed(settlement)
        first = max(0, (start_s - START_S) // 10 - 7)
        for i in range(first, min(len(bars), (start_s + asked.length_s - START_S) // 10 + 1)):
            # One trade at each bar's open and one just before its end.
            feed.update((START_S + 10 * i) * US_PER_S, float(bars.open[i]))
            feed.update((START_S + 10 * i + 10) * US_PER_S - 1, float(bars.close[i]))
        if START_S + 10 * (i + 1) <= start_s + asked.length_s:
            feed.update((start_s + asked.length_s) * US_PER_S, float(bars.close[i]))
        settled = feed.settle(Window(start_s, start_s + asked.length_s, asked.duration))
        assert isinstance(settled, Settled)
        disagreed += {"up": 1.0, "down": 0.0, "half": 0.5}[settled.outcome] != outcome
    # Averages over bars are approximate, and differ where it is a close thing.
    assert disagreed == 0 if duration != "5m" else disagreed < 0.15 * len(found.outcome)


def test_a_tie_pays_as_the_rule_says() -> None:
    bars = walk(3, 300)
    flat = np.full(len(bars), 50_000.0)
    still = replace(bars, open=flat, high=flat, low=flat, close=flat)
    day = Question("1d", 43_200)
    tied = answers(day, cast(day, still), still, START_S, still.end_s, "settlement")
    up = answers(day, cast(day, still), still, START_S, still.end_s, "point")
    assert tied is not None
    assert up is not None
    assert set(tied.outcome) == {0.5}
    assert set(up.outcome) == {1.0}
    assert log_loss(np.array([0.5, 0.25]), np.array([0.5, 1.0])).tolist() == pytest.approx([np.log(2.0), np.log(4.0)])


@pytest.mark.parametrize("rule", ["settlement", "point"])
def test_the_truth_is_reliable_and_beats_a_law_that_is_too_wide(rule: Rule) -> None:
    bars = walk(90, 60)
    dataset = Dataset.of({"BTCUSDT": bars})
    asked = questions(60, ("5m",))
    right = {one: {"BTCUSDT": cast(one, bars)} for one in asked}
    wide = {one: {"BTCUSDT": cast(one, bars, 1.5)} for one in asked}
    found = score_windows({"right": right, "wide": wide}, ("wide",), dataset, rules=(rule,))
    assert [one.elapsed_s for one in found["right"]] == [60, 120, 180, 240]
    for one in found["right"]:
        assert one.n >= 25_900
        assert one.up == pytest.approx(0.5, abs=0.015)
        gain = one.vs["wide"]["log_loss"]
        assert gain.low is not None
        assert gain.low > 0.0
        for bin_ in one.reliability:
            error = np.sqrt(0.25 / bin_.n)
            # On minutes the average is half known: (high + low) / 2 stands in for it.
            assert bin_.up == pytest.approx(bin_.forecast, abs=4 * error + (0.02 if rule == "settlement" else 0.0))
            assert bin_.low is not None
            assert bin_.high is not None
            assert bin_.low <= bin_.up <= bin_.high
        assert sum(bin_.n for bin_ in one.reliability) == one.n
    assert found["wide"][0].vs == {}


def test_nothing_after_the_question_changes_its_probability() -> None:
    bars = walk(0.2, 10)
    asked = Question("5m", 270)
    whole = answers(asked, cast(asked, bars), bars, START_S, bars.end_s, "settlement")
    assert whole is not None
    row = len(whole.rows) // 2
    cut = (int(whole.origins_s[row]) - START_S) // 10
    wild = np.random.default_rng(1).uniform(0.5, 2.0, len(bars) - cut)
    later = {
        name: np.concatenate((getattr(bars, name)[:cut], getattr(bars, name)[cut:] * wild))
        for name in ("open", "high", "low", "close")
    }
    changed = answers(asked, cast(asked, bars), replace(bars, **later), START_S, bars.end_s, "settlement")
    assert changed is not None
    assert changed.probability[: row + 1].tolist() == whole.probability[: row + 1].tolist()
    assert changed.probability[row + 1 :].tolist() != whole.probability[row + 1 :].tolist()


def test_bars_longer_than_the_average_leave_its_rule_out() -> None:
    bars = walk(30, 300)
    asked = Question("15m", 300)
    both = score_windows({"x": {asked: {"BTCUSDT": cast(asked, bars)}}}, ("x",), Dataset.of({"BTCUSDT": bars}))
    assert [one.rule for one in both["x"]] == ["point"]
    other = {Question("15m", 600): {"BTCUSDT": cast(asked, bars)}}
    with pytest.raises(DataError, match="same questions"):
        score_windows({"x": {asked: {"BTCUSDT": cast(asked, bars)}}, "y": other}, ("x",), Dataset.of({"BTCUSDT": bars}))
