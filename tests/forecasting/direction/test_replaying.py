"""A replay is what live would have said; members that cheat, and results that were tampered with, are caught by its checks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from direction_kit import START_S, SYMBOLS, Momentum
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.forecasting.direction.predictor import Close
from crypy.forecasting.direction.replay_checks import (
    Check,
    check_batch,
    check_blind,
    check_complete,
    check_facts,
    check_lawful,
    check_plausible,
    check_replay,
    check_time,
)
from crypy.forecasting.direction.replaying import Recipe, Replayed, cut, replay
from crypy.marketdata.bars import Bars
from crypy.models.direction.learner import Learner, LearnerSettings
from crypy.models.direction.market import Market
from crypy.models.direction.patterns import PatternSettings
from crypy.models.direction.port import FlatRule, Probabilities
from crypy.models.direction.situation import Situations
from crypy.training.direction.calls import Calls, up_given_move
from crypy.training.direction.evaluation import Asked, evaluate

WARM, MINUTES = 6_000, 240
FROM_S, END_S = START_S + 60 * WARM, START_S + 60 * (WARM + MINUTES)
HOLE = WARM + 61


def walk(symbol: str, seed: int, *, hole: bool = False) -> Bars:
    """Minutes of a random walk on a grid of cents, so that some are ties."""
    rng = np.random.default_rng(seed)
    n = WARM + MINUTES
    close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 4e-4, n))), 2)
    opened = np.concatenate((close[:1], close[:-1]))
    wide = np.round(np.abs(rng.normal(0.0, 0.02, (2, n))), 2)
    prices = [opened, np.maximum(opened, close) + wide[0], np.minimum(opened, close) - wide[1], close]
    volume = np.round(rng.gamma(2.0, 1.0, n), 3)
    if hole:
        for column in prices:
            column[HOLE] = np.nan
        volume[HOLE] = 0.0
    return Bars(symbol, START_S, 60, *prices, volume, volume * 100.0, np.ones(n, np.int64), volume / 2.0)


BARS = {symbol: walk(symbol, seed) for seed, symbol in enumerate(SYMBOLS)}
LEARNING = LearnerSettings(patterns=PatternSettings(size=400, k=20, least=40))


def recipe(*members: Any, flat: FlatRule | None = None) -> Recipe:
    return Recipe(
        {member.name: member for member in members},
        lambda _symbol, _timeframe_s: Learner(LEARNING),
        flat or FlatRule(),
        (60, 300),
        lambda: Situations((60, 300)),
    )


def run(one: Recipe, bars: dict[str, Bars] | None = None) -> Replayed:
    ticking = iter(range(0, 10**9, 500))
    return replay(one, bars or BARS, FROM_S, END_S, lambda: float(next(ticking)))


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


class Peeking(Momentum):
    """Looks at the close behind the row wherever the market holds it already."""

    def ask(self, market: Market, rows: NDArray[np.int64]) -> Probabilities:
        told = super().ask(market, rows)
        for at, row in enumerate(rows.tolist()):
            if row + 1 < market.rows:
                for column, symbol in enumerate(self.symbols):
                    close = market.column(symbol, "close", row, row + 2)
                    told.p_up[at, column] = 0.9 if close[1] > close[0] else 0.05
                    told.p_down[at, column] = 0.95 - told.p_up[at, column]
        return told


class Counting(Momentum):
    """Keeps a state of its own: each question moves its answers."""

    def ask(self, market: Market, rows: NDArray[np.int64]) -> Probabilities:
        told = super().ask(market, rows)
        return Probabilities(told.p_up * 0.999 ** len(self.asked), told.p_down)


class Crystal(Momentum):
    """Has read the file to its end: it knows each next close, whatever the market shows."""

    def ask(self, market: Market, rows: NDArray[np.int64]) -> Probabilities:
        ends = market.start_s + (rows + 1) * market.step_s
        at = (ends - START_S) // 60 - 1
        step = self.timeframe_s // 60
        p_up = np.full((len(rows), len(self.symbols)), 0.475)
        for column, symbol in enumerate(self.symbols):
            close = BARS[symbol].close
            known = at + step < len(close)
            rises = close[np.minimum(at + step, len(close) - 1)] > close[at]
            p_up[:, column] = np.where(known, np.where(rises, 0.93, 0.02), 0.475)
        return Probabilities(p_up, 0.95 - p_up)


def test_an_honest_replay_passes_every_check() -> None:
    one = recipe(Momentum(60), Momentum(300), _named("reversal"))
    done = run(one)
    assert failed(check_replay(one, BARS, done, 1)) == []
    assert len(done.predictions) == 2 * (MINUTES + MINUTES // 5)
    assert len(done.facts) == len(done.predictions)
    assert {name for made in done.predictions for name in made.members} == {
        "momentum-60",
        "momentum-300",
        "reversal",
        "patterns",
    }


def _named(name: str) -> Momentum:
    member = Momentum(60, symbols=("ETHUSDT",), weight=-10.0)
    member.name = name
    return member


def test_equal_replays_give_equal_records() -> None:
    first, second = (run(recipe(Momentum(60), Momentum(300))) for _ in range(2))
    assert first.predictions == second.predictions
    assert first.facts == second.facts
    assert first.candles == second.candles


def test_a_missing_minute_has_no_forecast_and_breaks_no_check() -> None:
    bars = {"BTCUSDT": walk("BTCUSDT", 0, hole=True), "ETHUSDT": BARS["ETHUSDT"]}
    one = recipe(Momentum(60), Momentum(300))
    done = run(one, bars)
    assert failed(check_replay(one, bars, done, 1)) == []
    hole_ts = (START_S + 60 * HOLE) * 1_000
    assert [skip.symbol for skip in done.skipped] == ["BTCUSDT"]
    assert not [
        made
        for made in done.predictions
        if made.symbol == "BTCUSDT" and made.timeframe == "1m" and made.candle_ts == hole_ts
    ]


def test_a_member_that_looks_behind_the_row_is_caught() -> None:
    one = recipe(Peeking(60))
    done = run(one)
    found = check_batch(one, BARS, done)
    assert not found.passed
    assert "BTCUSDT 1m" in found.detail
    assert not check_blind(one, BARS, done, 1).passed


def test_a_member_with_a_state_of_its_own_is_caught() -> None:
    one = recipe(Counting(60))
    assert "batch" in failed(check_replay(one, BARS, run(one), 1))


def test_a_member_that_has_read_the_future_is_caught_by_what_it_gains() -> None:
    one = recipe(Crystal(60))
    found = check_plausible(_judged(run(one)))
    assert not found.passed
    assert "a model sees what it cannot know" in found.detail
    assert check_plausible(_judged(run(recipe(Momentum(60))))).passed


def test_a_member_that_fails_leaves_holes_that_are_told_with_its_reason() -> None:
    broken = Momentum(60)
    broken.broken = True
    learning = LearnerSettings(patterns=PatternSettings(on=False))
    one = replace(recipe(broken), learner_of=lambda _symbol, _timeframe_s: Learner(learning))
    found = check_complete(one, BARS, run(one))
    assert not found.passed
    assert "0 forecasts (no model can tell yet" in found.detail


def tampered(done: Replayed, **changed: Any) -> Replayed:
    return replace(done, **changed)


def test_a_forecast_too_many_or_too_few_is_caught() -> None:
    one = recipe(Momentum(60))
    done = run(one)
    assert check_complete(one, BARS, done).passed
    assert (
        "2 forecasts"
        in check_complete(one, BARS, tampered(done, predictions=[*done.predictions, done.predictions[5]])).detail
    )
    assert "0 forecasts" in check_complete(one, BARS, tampered(done, predictions=done.predictions[1:])).detail


def test_a_forecast_changed_in_its_last_bit_is_caught() -> None:
    one = recipe(Momentum(60))
    done = run(one)
    changed = msgspec.structs.replace(done.predictions[7], p_up=float(np.nextafter(done.predictions[7].p_up, 1.0)))
    assert not check_batch(
        one, BARS, tampered(done, predictions=[*done.predictions[:7], changed, *done.predictions[8:]])
    ).passed
    wrong = msgspec.structs.replace(done.predictions[7], p_up=0.9, p_down=0.2)
    assert not check_lawful(tampered(done, predictions=[wrong])).passed


def test_facts_and_candles_that_are_not_those_of_the_minutes_are_caught() -> None:
    done = run(recipe(Momentum(60), Momentum(300)))
    assert check_facts(BARS, done).passed
    fact = msgspec.structs.replace(done.facts[3], close_curr=done.facts[3].close_curr + 0.01)
    assert not check_facts(BARS, tampered(done, facts=[fact])).passed
    five = next(candle for candle in done.candles if candle.timeframe == "5m")
    assert not check_facts(BARS, tampered(done, candles=[msgspec.structs.replace(five, h=five.h + 0.01)])).passed


def test_a_minute_that_takes_too_long_is_told() -> None:
    done = run(recipe(Momentum(60)))
    assert check_time(done).passed
    assert not check_time(tampered(done, took_us=[50e6] * 10)).passed


def test_a_replay_beyond_the_minutes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the minutes reach from .* and a replay was to go from"):
        replay(recipe(Momentum(60)), BARS, FROM_S, END_S + 60, lambda: 0.0)


def test_every_close_is_handed_on_as_it_comes() -> None:
    ends: list[int] = []

    def keep(close: Close) -> None:
        ends.append(close.end_s)

    replay(recipe(Momentum(60)), BARS, FROM_S, FROM_S + 600, lambda: 0.0, keep)
    assert ends == list(range(FROM_S + 60, FROM_S + 601, 60))


def test_a_cut_holds_the_rows_of_its_time() -> None:
    part = cut(BARS["BTCUSDT"], START_S + 120, START_S + 300)
    assert (part.start_s, part.end_s) == (START_S + 120, START_S + 300)
    assert part.close.tolist() == BARS["BTCUSDT"].close[2:5].tolist()


def _judged(done: Replayed) -> Any:
    """The 1m forecasts of BTC against its closes."""
    made = [one for one in done.predictions if one.symbol == "BTCUSDT" and one.timeframe == "1m"][:-1]
    facts = {fact.prev_ts: fact for fact in done.facts if fact.symbol == "BTCUSDT" and fact.timeframe == "1m"}
    came = [facts[one.candle_ts] for one in made]
    p_up, p_down = (np.array([getattr(one, name) for one in made]) for name in ("p_up", "p_down"))
    sign = {"UP": 1, "DOWN": -1, "FLAT": 0}
    calls = Calls(
        np.array([one.candle_ts // 1_000 + 60 for one in made]), p_up, p_down, np.array([sign[one.direction] for one in made], np.int8),
        np.array([sign[one.direction] for one in came], np.int8), np.array([one.ret_bps for one in came]), up_given_move(p_up, p_down),
        np.full(len(made), np.nan),
    )  # fmt: skip
    return evaluate("m", [Asked("BTCUSDT", "1m", 60, calls, {})])
