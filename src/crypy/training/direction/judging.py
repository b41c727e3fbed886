"""Direction models judged on minutes of the past, in the order of time, with or without what learns from each fact.

Members that were fitted are asked at every close of their timeframe in a range; kinds are fitted anew for each fold on what ended before it (`Folds`).
The fold over closes (weights, calibration, pattern memory) is run as it runs live: it answers at a close and learns, behind it, the fact
that this close has brought. It may begin before the range, for live it has a past as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from crypy.domain.errors import StateError
from crypy.models.direction.market import Market
from crypy.models.direction.online import OnlinePort
from crypy.models.direction.plain import moves
from crypy.models.direction.port import FlatRule, Member
from crypy.training.direction.baselines import MAKERS
from crypy.training.direction.calls import Bools, Calls, Floats, Ints, Signs, up_given_move, volatility_known
from crypy.training.direction.folds import Span

# Where the market stands at a row, for the pattern memory: market, symbol, timeframe_s, row.
Situation = Callable[[Market, str, int, int], "Floats | None"]

SIGNS: Final = {"UP": 1, "DOWN": -1, "FLAT": 0}


def member_calls(market: Market, member: Member, span: Span, flat: FlatRule) -> dict[str, Calls]:
    """What a member says at every close of the span where it can, and what came, by symbol."""
    rows = span.rows(market, member.timeframe_s)
    told = member.ask(market, rows)
    out: dict[str, Calls] = {}
    for at, symbol in enumerate(member.symbols):
        p_up, p_down = told.p_up[:, at], told.p_down[:, at]
        facts = facts_of(market, symbol, rows, member.timeframe_s)
        out[symbol] = _calls(facts, p_up, p_down, p_up, p_down, flat)
    return out


def online_calls(
    market: Market,
    members: Mapping[str, Member],
    learner_of: Callable[[str, int], OnlinePort],
    span: Span,
    flat: FlatRule,
    *,
    warm_s: int = 0,
    situation: Situation | None = None,
) -> dict[str, Calls]:
    """What the fold over closes makes of members of one timeframe, by symbol; it learns from `warm_s` before the span on.

    The order is that of `forecasting.direction.predictor`: the answer at a close knows the facts of all closes before it, and not its own.
    """
    timeframe_s = _one_timeframe(members.values())
    rows = Span(span.start_s - warm_s, span.end_s).rows(market, timeframe_s)
    out: dict[str, Calls] = {}
    for symbol, told in online_answers(market, members, learner_of, rows, situation).items():
        calls = _calls(facts_of(market, symbol, rows, timeframe_s), told[0], told[1], told[2], told[3], flat)
        out[symbol] = calls.at(calls.origins_s >= span.start_s)
    return out


def online_answers(
    market: Market,
    members: Mapping[str, Member],
    learner_of: Callable[[str, int], OnlinePort],
    rows: Ints,
    situation: Situation | None = None,
) -> dict[str, Floats]:
    """p_up, p_down and the same before calibration [4, n] at the closes of rows that follow each other, by symbol; NaN where nobody can tell.

    A row that is not known (its minute is missing) is not asked about, and so it is live.
    """
    timeframe_s = _one_timeframe(members.values())
    told = {name: member.ask(market, rows) for name, member in members.items()}
    out: dict[str, Floats] = {}
    for symbol in dict.fromkeys(symbol for member in members.values() for symbol in member.symbols):
        learner = learner_of(symbol, timeframe_s)
        asked = {
            name: (told[name].p_up[:, at], told[name].p_down[:, at])
            for name, member in members.items()
            for at, one in enumerate(member.symbols)
            if one == symbol
        }
        ends_s = market.start_s + (rows + 1) * market.step_s
        # Of the candle that ends with the row, which is the fact of the row before.
        outcome, fact_known = moves(market, symbol, rows - timeframe_s // market.step_s, rows)
        is_there = moves(market, symbol, rows, rows)[1]
        answers = np.full((4, len(rows)), np.nan)
        for at, end_s in enumerate(ends_s.tolist()):
            if is_there[at]:
                where = None if situation is None else situation(market, symbol, timeframe_s, int(rows[at]))
                given = {name: (float(up[at]), float(down[at])) for name, (up, down) in asked.items()}
                answer = learner.answer(end_s, given, where)
                if answer is not None:
                    answers[:, at] = answer.p_up, answer.p_down, answer.raw_p_up, answer.raw_p_down
            if fact_known[at]:
                learner.learn(end_s - timeframe_s, int(outcome[at]))
        out[symbol] = answers
    return out


def baseline_calls(market: Market, symbol: str, timeframe_s: int, calls: Calls, flat: FlatRule) -> dict[str, Calls]:
    """`constant`, `last` and `logistic` at the origins of the calls, learned from every candle of the market before each."""
    rows = market.rows_ending(timeframe_s)
    closes = market.column(symbol, "close", market.first_row, market.rows)[rows - market.first_row].copy()
    closes[market.column(symbol, "missing", market.first_row, market.rows)[rows - market.first_row] > 0] = np.nan
    ends_s = market.start_s + (rows + 1) * market.step_s
    return beside(closes, (calls.origins_s - int(ends_s[0])) // timeframe_s, calls, flat)


def beside(closes: Floats, at: Ints, calls: Calls, flat: FlatRule) -> dict[str, Calls]:
    """The baselines out of a series of closes, told at its rows `at`, about the facts of the calls."""
    out: dict[str, Calls] = {}
    for name, make in MAKERS.items():
        p_up, p_down = (one[at] for one in make(closes))
        out[name] = Calls(
            calls.origins_s, p_up, p_down, decided(p_up, p_down, flat), calls.outcome, calls.move_bp,
            up_given_move(p_up, p_down), calls.volatility,
        )  # fmt: skip
    return out


def common(calls: Mapping[str, Calls]) -> dict[str, Calls]:
    """All of them at the origins that all have, so that differences are of the same questions."""
    first, *others = calls.values()
    shared = first.origins_s
    for one in others:
        shared = np.intersect1d(shared, one.origins_s, assume_unique=True)
    return {name: one.at(np.isin(one.origins_s, shared)) for name, one in calls.items()}


def decided(p_up: Floats, p_down: Floats, flat: FlatRule) -> Signs:
    """`FlatRule.direction` of each, as 1, -1 and 0 for FLAT."""
    return np.array(
        [SIGNS[flat.direction(up, down)] for up, down in zip(p_up.tolist(), p_down.tolist(), strict=True)], np.int8
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """What came behind some closes [n]: `known` where both closes are."""

    ends_s: Ints
    outcome: Signs
    known: Bools
    move_bp: Floats
    volatility: Floats


def facts_of(market: Market, symbol: str, rows: Ints, timeframe_s: int) -> Facts:
    """The facts of the candles behind these rows, which end candles of the timeframe."""
    step = timeframe_s // market.step_s
    outcome, known = moves(market, symbol, rows, rows + step)
    closes = market.column(symbol, "close", market.first_row, market.rows)
    before, after = closes[rows - market.first_row], closes[rows + step - market.first_row]
    with np.errstate(invalid="ignore", divide="ignore"):
        returns = np.diff(np.log(before), prepend=np.nan)
        move_bp = 1e4 * (after / before - 1.0)
    ends_s = market.start_s + (rows + 1) * market.step_s
    return Facts(ends_s, outcome, known, move_bp, volatility_known(returns))


def _calls(facts: Facts, p_up: Floats, p_down: Floats, raw_up: Floats, raw_down: Floats, flat: FlatRule) -> Calls:
    """Those whose fact is known and about which something was said."""
    there = facts.known & np.isfinite(p_up) & np.isfinite(p_down)
    return Calls(
        facts.ends_s[there],
        p_up[there],
        p_down[there],
        decided(p_up[there], p_down[there], flat),
        facts.outcome[there],
        facts.move_bp[there],
        up_given_move(raw_up[there], raw_down[there]),
        facts.volatility[there],
    )


def _one_timeframe(members: Iterable[Member]) -> int:
    found = {member.timeframe_s for member in members}
    if len(found) != 1:
        raise StateError(f"members of timeframes {sorted(found)} s cannot be joined; join those of one")
    return found.pop()
