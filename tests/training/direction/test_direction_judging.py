"""Walk-forward of direction models: who is asked when, what is learned when, and what baselines may know."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, StateError
from crypy.domain.times import DAY_S
from crypy.marketdata.bars import Bars
from crypy.models.direction.kinds import FitRange, direction_kind
from crypy.models.direction.market import Market
from crypy.models.direction.online import Answer
from crypy.models.direction.port import FlatRule, Member, Probabilities
from crypy.training.direction.baselines import MAKERS, constant, last, logistic
from crypy.training.direction.folds import Folds, Span, fold_edges
from crypy.training.direction.judging import baseline_calls, common, decided, member_calls, online_calls
from crypy.training.direction.recipes import network_columns

Floats = NDArray[np.float64]
START_S = 1_735_689_600


def bars(symbol: str, n: int, seed: int = 1, holes: tuple[int, ...] = ()) -> Bars:
    rng = np.random.default_rng(seed)
    close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 3e-4, n))), 2)
    close[list(holes)] = np.nan
    ones = np.ones(n)
    return Bars(symbol, START_S, 60, close, close, close, close, ones, ones, np.ones(n, np.int64), ones)


def market(n: int = 600, holes: tuple[int, ...] = ()) -> Market:
    return Market.of({"A": bars("A", n, 1, holes), "B": bars("B", n, 2)})


class Fixed:
    """One chance for all; tells which rows it was asked about."""

    def __init__(self, p_up: float, timeframe_s: int = 300, symbols: tuple[str, ...] = ("A", "B")) -> None:
        self.name, self.symbols, self.timeframe_s, self.p_up = f"fixed {p_up}", symbols, timeframe_s, p_up
        self.rows: list[int] = []

    def prepare(self, market: Market) -> None: ...

    def ask(self, market: Market, rows: NDArray[np.int64]) -> Probabilities:
        self.rows += rows.tolist()
        shape = (len(rows), len(self.symbols))
        return Probabilities(np.full(shape, self.p_up), np.full(shape, 0.9 - self.p_up))


class Diary:
    """A learner that writes down what it is told, and says what the first member says."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def answer(self, end_s: int, asked: Mapping[str, tuple[float, float]], situation: Floats | None) -> Answer:
        self.told.append(("asked", end_s, 0))
        up, down = next(iter(asked.values()))
        return Answer(end_s, up, down, 0.5 * up, 0.5 * down, {})

    def learn(self, end_s: int, outcome: int) -> None:
        self.told.append(("fact", end_s, outcome))

    def kept(self) -> msgspec.Raw:
        return msgspec.Raw(b"{}")


@given(st.integers(1, 6), st.integers(0, 50), st.integers(2, 900))
def test_folds_fill_the_span_without_gap_or_overlap(folds: int, start: int, hours: int) -> None:
    span = Span(START_S + 3_600 * start, START_S + 3_600 * (start + hours))
    if hours < folds:
        with pytest.raises(ConfigError, match="folds cannot be cut"):
            fold_edges(span, folds)
        return
    edges = fold_edges(span, folds)
    assert (edges[0], edges[-1], len(edges)) == (span.start_s, span.end_s, folds + 1)
    assert all(early < late for early, late in itertools.pairwise(edges))


def test_each_fold_is_fitted_on_what_ended_an_embargo_before_it_and_asked_only_inside() -> None:
    span = Span(START_S + 10 * 3_600, START_S + 16 * 3_600)
    ends: list[int] = []
    parts: list[Fixed] = []

    def fit(end_s: int) -> Fixed:
        ends.append(end_s)
        parts.append(Fixed(0.1 * len(ends)))
        return parts[-1]

    walked = Folds.fitted("fixed", fit, span, 3, 1_800)
    assert ends == [START_S + hours * 3_600 - 1_800 for hours in (10, 12, 14)]
    minutes = market(16 * 60)
    told = walked.ask(minutes, span.rows(minutes, 300))
    closes = START_S + 60 * (span.rows(minutes, 300) + 1)
    assert told.p_up[closes < START_S + 12 * 3_600].tolist() == [[0.1, 0.1]] * 24
    assert [min(part.rows) for part in parts] == [
        (start_s - START_S) // 60 - 1 for start_s in (span.start_s, ends[1] + 1_800, ends[2] + 1_800)
    ]
    assert np.unique(told.p_up[closes >= START_S + 14 * 3_600]) == pytest.approx([0.3])
    early = walked.ask(minutes, np.array([4], np.int64))
    assert np.isnan(early.p_up).all()


def test_timeframes_fitted_together_are_fitted_once_a_fold_and_each_is_as_if_fitted_alone() -> None:
    held = {symbol: bars(symbol, 6 * 1_440, seed) for seed, symbol in enumerate(("A", "B"))}
    minutes, span = Market.of(held), Span(START_S + 3 * DAY_S, START_S + 6 * DAY_S)
    kind = direction_kind("direction-last")
    ends: list[int] = []

    def fit(end_s: int) -> Iterator[Member]:
        ends.append(end_s)
        return kind.fit_all()(FitRange(minutes, ("A", "B"), START_S, end_s), (300, 900, 3_600))

    together = Folds.fitted_together("last", fit, span, 3, 3_600)
    assert ends == [START_S + days * DAY_S - 3_600 for days in (3, 4, 5)]
    assert list(together) == [300, 900, 3_600]
    for timeframe_s, member in together.items():
        alone = Folds.fitted(
            "last",
            lambda end_s, each_s=timeframe_s: kind.fit_function()(minutes, ("A", "B"), each_s, START_S, end_s),
            span,
            3,
            3_600,
        )
        rows = span.rows(minutes, timeframe_s)
        assert (member.name, member.timeframe_s) == ("last", timeframe_s)
        told, said = member.ask(minutes, rows), alone.ask(minutes, rows)
        assert np.isfinite(told.p_up).all()
        assert told.p_up.tobytes() + told.p_down.tobytes() == said.p_up.tobytes() + said.p_down.tobytes()


def test_a_span_holds_closes_whose_next_candle_ends_inside() -> None:
    minutes = market()
    rows = Span(START_S + 600, START_S + 3_000).rows(minutes, 300)
    assert (START_S + 60 * (rows + 1)).tolist() == list(range(START_S + 600, START_S + 2_701, 300))
    # The market's own end ends every span.
    assert Span(START_S, START_S + 10 * DAY_S).rows(minutes, 300)[-1] == 600 - 5 - 1


def test_a_member_is_judged_by_the_close_a_candle_later() -> None:
    minutes = market()
    calls = member_calls(minutes, Fixed(0.6), Span(START_S + 600, START_S + 3_000), FlatRule())["A"]
    close = minutes.column("A", "close", 0, 600)
    at = (calls.origins_s - START_S) // 60 - 1
    assert calls.outcome.tolist() == np.sign(close[at + 5] - close[at]).tolist()
    assert calls.move_bp.tolist() == (1e4 * (close[at + 5] / close[at] - 1.0)).tolist()
    assert calls.decided.tolist() == [1] * len(calls)


def test_closes_that_are_missing_at_either_end_are_no_facts() -> None:
    minutes = market(holes=(14, 30, 31))
    calls = member_calls(minutes, Fixed(0.6), Span(START_S + 300, START_S + 3_000), FlatRule())["A"]
    gone = {START_S + 900, START_S + 600}
    assert not gone & set(calls.origins_s.tolist())
    assert len(calls) == len(Span(START_S + 300, START_S + 3_000).rows(minutes, 300)) - 2


def test_what_learns_online_answers_first_and_learns_the_fact_of_the_close_behind_it() -> None:
    diaries: dict[str, Diary] = {}

    def learner_of(symbol: str, _: int) -> Diary:
        return diaries.setdefault(symbol, Diary())

    minutes = market()
    calls = online_calls(
        minutes, {"m": Fixed(0.6)}, learner_of, Span(START_S + 600, START_S + 1_800), FlatRule(), warm_s=300
    )
    close = minutes.column("A", "close", 0, 600)

    def fact(end_s: int) -> tuple[str, int, int]:
        row = (end_s - START_S) // 60 - 1
        return ("fact", end_s, int(np.sign(close[row + 5] - close[row])))

    expected: list[tuple[str, int, int]] = []
    for end_s in range(START_S + 300, START_S + 1_501, 300):
        expected.append(("asked", end_s, 0))
        if end_s > START_S + 300:
            expected.append(fact(end_s - 300))
    assert [one for one in diaries["A"].told if one[1] > START_S] == expected
    assert calls["A"].origins_s[0] == START_S + 600
    assert calls["A"].raw_up.tolist() == pytest.approx([2 / 3] * len(calls["A"]))


def test_members_of_two_timeframes_are_not_joined() -> None:
    both = {"a": Fixed(0.6), "b": Fixed(0.6, 60)}
    with pytest.raises(StateError, match="join those of one"):
        online_calls(market(), both, lambda *_: Diary(), Span(START_S, START_S + 3_600), FlatRule())


def test_common_origins_are_those_that_all_have() -> None:
    minutes = market(holes=(14,))
    span = Span(START_S + 300, START_S + 3_000)
    ways = {
        "a": member_calls(minutes, Fixed(0.6), span, FlatRule())["A"],
        "b": member_calls(minutes, Fixed(0.6), span, FlatRule())["B"],
    }
    shared = common(ways)
    assert shared["a"].origins_s.tolist() == shared["b"].origins_s.tolist()
    assert len(shared["b"]) == len(ways["a"]) < len(ways["b"])


def test_the_rule_for_abstaining_is_that_of_live() -> None:
    flat = FlatRule(0.5, 0.04)
    up, down = np.array([0.53, 0.51, 0.3, 0.49]), np.array([0.46, 0.48, 0.6, 0.1])
    assert decided(up, down, flat).tolist() == [1, 0, -1, 0]


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_baseline_knows_nothing_of_later_closes(name: str) -> None:
    make: Callable[[Floats], tuple[Floats, Floats]] = MAKERS[name]
    close = bars("A", 800, 3).close
    whole = make(close)
    changed = close.copy()
    changed[500:] *= np.exp(np.cumsum(np.random.default_rng(9).normal(0.0, 0.01, 300)))
    other = make(changed)
    for side in (0, 1):
        assert whole[side][:500].tobytes() == other[side][:500].tobytes()
        assert not np.array_equal(whole[side][500:], other[side][500:])


def test_baselines_count_what_they_saw() -> None:
    close = np.array([10.0, 11.0, 12.0, 12.0, 11.0, np.nan, 13.0])
    p_up, p_down = constant(close)
    # Two ups and a down among three moves, one tie among four changes known.
    assert p_up[4] + p_down[4] == pytest.approx(1.0 - 1 / 6)
    assert p_up[4] / (p_up[4] + p_down[4]) == pytest.approx((1 + 2) / (2 + 3))
    again_up, again_down = last(close)
    # Up was followed by up once, and nothing else followed a move at once.
    assert again_up[2] / (again_up[2] + again_down[2]) == pytest.approx(2 / 3)
    assert again_up[4] / (again_up[4] + again_down[4]) == pytest.approx(1 - 2 / 3)
    assert again_up[3] == again_down[3]


def test_the_online_logistic_finds_a_reversal() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(0.0, 1e-3, 20_000)
    returns = noise.copy()
    for at in range(1, len(returns)):
        returns[at] -= 0.4 * noise[at - 1]
    close = 100.0 * np.exp(np.cumsum(returns))
    p_up, p_down = logistic(close)
    up = p_up / (p_up + p_down)
    rises = close[1:] > close[:-1]
    losses = -np.log(np.where(rises, up[:-1], 1.0 - up[:-1]))
    assert np.log(2.0) - losses[5_000:].mean() > 0.03


def test_baselines_stand_at_the_origins_of_the_forecasts() -> None:
    minutes = market(900, holes=(200,))
    calls = member_calls(minutes, Fixed(0.6), Span(START_S + 6_000, START_S + 40_000), FlatRule())["A"]
    for one in baseline_calls(minutes, "A", 300, calls, FlatRule()).values():
        assert one.origins_s.tolist() == calls.origins_s.tolist()
        assert one.outcome.tolist() == calls.outcome.tolist()


@pytest.mark.parametrize(
    "kind", ["direction-constant", "direction-last", pytest.param("direction-logistic", marks=pytest.mark.slow)]
)
def test_a_fold_is_fitted_alike_whatever_comes_behind_it(kind: str) -> None:
    fit = direction_kind(kind).fit_function()
    end_s = START_S + 8 * DAY_S
    rows = np.arange(8 * 1_440 - 600, 8 * 1_440, 60)
    said: list[bytes] = []
    for away in (1.0, 1.7):
        held = {symbol: bars(symbol, 9 * 1_440, seed) for seed, symbol in enumerate(("A", "B"))}
        for one in held.values():
            # Minutes after the end of the fold: its last candle has closed. All four prices are one array here.
            one.close[8 * 1_440 :] *= away
        minutes = Market.of(held)
        options = {"columns": network_columns()[:4]} if kind == "direction-logistic" else {}
        member = fit(minutes, ("A", "B"), 3_600, START_S, end_s, **options)
        member.prepare(minutes)
        said.append(member.ask(minutes, rows).p_up.tobytes())
    assert said[0] == said[1]
