"""What must hold of a replay: whole, lawful, equal to the batch computation bit for bit, blind to what comes after, true to its candles, in time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from crypy.domain.times import US_PER_MS, US_PER_S, iso
from crypy.forecasting.direction.records import SECONDS, TIMEFRAMES, FactRecord, PredictionRecord
from crypy.forecasting.direction.replaying import Recipe, Replayed, common_time, cut, replay
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_fold import candles_of
from crypy.marketdata.intervals import Interval
from crypy.models.direction.market import Market
from crypy.training.direction.calls import Floats
from crypy.training.direction.evaluation import DirectionEvaluation
from crypy.training.direction.judging import online_answers

_MS_PER_S: Final = 1_000
_MINUTE_US: Final = 60 * US_PER_S
# A tenth of the minute, for the slowest of a hundred: what is left is for the road there and for other work.
MOST_P99_US: Final = _MINUTE_US / 10
# Nats over an even chance. The best that was ever measured on real minutes is below 0.01: more is a look ahead, or a market that nobody knows.
MOST_GAIN: Final = 0.1
_ENOUGH: Final = 200


class Check(msgspec.Struct, frozen=True):
    """One thing that must hold; `detail` says what was looked at, or the first thing that was wrong."""

    name: str
    passed: bool
    detail: str


def check_replay(recipe: Recipe, bars: Mapping[str, Bars], done: Replayed, seed: int) -> list[Check]:
    """Everything but what needs scores (`check_plausible`). `seed` chooses the moment after which the market is changed to look for look-ahead."""
    return [
        check_complete(recipe, bars, done),
        check_lawful(done),
        check_batch(recipe, bars, done),
        check_blind(recipe, bars, done, seed),
        check_facts(bars, done),
        check_time(done),
    ]


def check_complete(recipe: Recipe, bars: Mapping[str, Bars], done: Replayed) -> Check:
    """Each closed candle has exactly one forecast per symbol and timeframe; one whose last minute is missing has none."""
    made = Counter((one.symbol, SECONDS[one.timeframe], one.candle_ts) for one in done.predictions)
    wanted: set[tuple[str, int, int]] = set()
    for symbol, timeframe_s in recipe.pairs:
        one = bars[symbol]
        first_s = -(-(done.start_s + 60) // timeframe_s) * timeframe_s
        for end_s in range(first_s, done.end_s + 1, timeframe_s):
            if not math.isnan(one.close[(end_s - one.start_s) // one.step_s - 1]):
                wanted.add((symbol, timeframe_s, (end_s - timeframe_s) * _MS_PER_S))
    wrong = sorted(key for key in wanted | set(made) if made[key] != (key in wanted))
    if not wrong:
        return Check("complete", True, f"{len(wanted):,} candles, one forecast each")
    symbol, timeframe_s, ts = wrong[0]
    reasons = {(one.symbol, one.timeframe_s, one.candle_ts): one.reason for one in done.skipped}
    why = reasons.get(wrong[0]) or "; ".join(done.faults.values()) or "no reason told"
    return Check(
        "complete",
        False,
        f"{len(wrong):,} of {len(wanted):,} candles, first {symbol} {TIMEFRAMES[timeframe_s]} {_at(ts)}: {made[wrong[0]]} forecasts ({why})",
    )


def check_lawful(done: Replayed) -> Check:
    """Chances within 0 and 1, with a sum of at most 1, before and after calibration."""
    for one in done.predictions:
        for up, down in ((one.p_up, one.p_down), (one.raw_p_up, one.raw_p_down)):
            if not (up >= 0.0 and down >= 0.0 and up + down <= 1.0 + 1e-9):
                return Check(
                    "lawful", False, f"{one.symbol} {one.timeframe} {_at(one.candle_ts)}: p_up {up}, p_down {down}"
                )
    return Check("lawful", True, f"{len(done.predictions):,} forecasts")


def check_batch(recipe: Recipe, bars: Mapping[str, Bars], done: Replayed) -> Check:
    """Asked about all closes at once, the same models give the same bits: live equals offline."""
    differing, total = _unlike(recipe, bars, done, done.end_s)
    if differing is None:
        return Check("batch", True, f"{total:,} forecasts equal bit for bit")
    return Check("batch", False, f"replayed one by one, {differing}")


def check_blind(recipe: Recipe, bars: Mapping[str, Bars], done: Replayed, seed: int) -> Check:
    """The minutes after a moment drawn by the seed are changed: replayed and in batch, what was said up to then stays as it was."""
    rng = np.random.default_rng(seed)
    minutes = (done.end_s - done.start_s) // 60
    at_s = done.start_s + 60 * int(rng.integers(max(1, minutes // 4), max(2, 3 * minutes // 4)))
    changed = {symbol: _changed(one, at_s, rng) for symbol, one in bars.items()}
    where = f"minutes from {iso(at_s * US_PER_S)} on were changed, and"
    again = replay(recipe, changed, done.start_s, done.end_s, lambda: 0.0)
    first, second = (_until(one.predictions, at_s) for one in (done, again))
    if first != second:
        other = (
            next(a for a, b in zip(first, second, strict=False) if a != b) if len(first) == len(second) else first[-1]
        )
        return Check(
            "blind",
            False,
            f"{where} the replay's forecast of {other.symbol} {other.timeframe} {_at(other.candle_ts)} with them",
        )
    differing, _ = _unlike(recipe, changed, done, at_s)
    if differing is not None:
        return Check("blind", False, f"{where} in batch {differing}")
    return Check("blind", True, f"{where} {len(first):,} forecasts before stayed as they were")


def check_facts(bars: Mapping[str, Bars], done: Replayed) -> Check:
    """Facts and candles say what the minutes say."""
    for fact in done.facts:
        one = bars[fact.symbol]
        closes = [
            float(one.close[(ts // _MS_PER_S + SECONDS[fact.timeframe] - one.start_s) // one.step_s - 1])
            for ts in (fact.prev_ts, fact.candle_ts)
        ]
        if [fact.close_prev, fact.close_curr] != closes or _direction(closes) != fact.direction:
            return Check(
                "facts",
                False,
                f"{fact.symbol} {fact.timeframe} {_at(fact.candle_ts)}: {_shown(fact)}, and the minutes say {closes}",
            )
    for candle in done.candles:
        one, start_s = bars[candle.symbol], candle.ts_start // _MS_PER_S
        whole = cut(one, start_s, start_s + SECONDS[candle.timeframe])
        folded = candles_of(candle.symbol, whole, Interval(SECONDS[candle.timeframe], "s")).row(0)
        if (candle.o, candle.h, candle.l, candle.c) != (folded.open, folded.high, folded.low, folded.close):
            return Check(
                "facts",
                False,
                f"the candle {candle.symbol} {candle.timeframe} {_at(candle.ts_start)} is not that of its minutes",
            )
    return Check("facts", True, f"{len(done.facts):,} facts, {len(done.candles):,} candles")


def check_time(done: Replayed) -> Check:
    """A minute's work is far below the minute."""
    p50, p99, most = (float(value) for value in np.quantile(done.took_us, (0.5, 0.99, 1.0)))
    detail = f"a minute takes {p50 / 1e3:.2f} ms, one of a hundred over {p99 / 1e3:.2f} ms, at most {most / 1e3:.2f} ms"
    return Check("time", p99 < MOST_P99_US, detail)


def check_plausible(evaluation: DirectionEvaluation) -> Check:
    """No series gains more than anybody ever has on real minutes."""
    for part in evaluation.parts:
        gain = part.score.gain
        if gain is not None and gain > MOST_GAIN and part.score.n - part.score.ties >= _ENOUGH:
            return Check(
                "plausible",
                False,
                f"{part.symbol} {part.timeframe} gains {gain:.3f} nats over an even chance, more than {MOST_GAIN}: a model sees what it cannot know, or"
                " these minutes are no market",
            )
    return Check("plausible", True, f"no series gains more than {MOST_GAIN} nats")


def _unlike(recipe: Recipe, bars: Mapping[str, Bars], done: Replayed, until_s: int) -> tuple[str | None, int]:
    """The first forecast made by `until_s` that a batch computation on these minutes gives otherwise, and how many were compared."""
    first_s, _ = common_time(bars)
    market = Market(bars, first_s)
    for member in recipe.members.values():
        member.prepare(market)
    situation = recipe.situation_of()
    if situation is not None:
        situation.prepare(market)
    market.extend({symbol: cut(one, first_s, done.end_s) for symbol, one in bars.items()})
    said: dict[tuple[str, str, int], Floats] = {}
    for timeframe_s in recipe.timeframes_s:
        group = {name: one for name, one in recipe.members.items() if one.timeframe_s == timeframe_s}
        rows = market.rows_ending(timeframe_s)
        ends_s = market.start_s + (rows + 1) * market.step_s
        rows = rows[(ends_s > done.start_s) & (ends_s <= until_s)]
        if not group or not len(rows):
            continue
        for symbol, answers in online_answers(market, group, recipe.learner_of, rows, situation).items():
            for at, row in enumerate(rows.tolist()):
                ts = (market.start_s + (row + 1) * market.step_s - timeframe_s) * _MS_PER_S
                if not math.isnan(answers[0, at]):
                    said[symbol, TIMEFRAMES[timeframe_s], ts] = answers[:, at]
    made = _until(done.predictions, until_s)
    for one in made:
        told = (one.p_up, one.p_down, one.raw_p_up, one.raw_p_down)
        batch = said.pop((one.symbol, one.timeframe, one.candle_ts), None)
        where = f"{one.symbol} {one.timeframe} {_at(one.candle_ts)}"
        if batch is None:
            return f"{where} was forecast, and all at once it is not", len(made)
        if tuple(batch.tolist()) != told:
            return f"{where} was given p_up {told[0]!r}, and all at once {float(batch[0])!r}", len(made)
    if said:
        symbol, timeframe, ts = next(iter(said))
        return f"{symbol} {timeframe} {_at(ts)} was not forecast, and all at once it is", len(made)
    return None, len(made)


def _until(predictions: list[PredictionRecord], until_s: int) -> list[PredictionRecord]:
    """Those made at closes up to the second."""
    return [one for one in predictions if one.candle_ts // _MS_PER_S + SECONDS[one.timeframe] <= until_s]


def _changed(bars: Bars, from_s: int, rng: np.random.Generator) -> Bars:
    """The bars with another market from a second on: prices walk elsewhere, volumes are shuffled."""
    first = (from_s - bars.start_s) // bars.step_s
    count = len(bars) - first
    away = np.concatenate((np.ones(first), np.exp(np.cumsum(rng.normal(0.0, 1e-3, count)))))
    order = np.concatenate((np.arange(first), first + rng.permutation(count)))
    prices: dict[str, Floats] = {name: getattr(bars, name) * away for name in ("open", "high", "low", "close")}
    # Each open, high and low belongs to its own close still.
    return replace(bars, **prices, volume=bars.volume[order], quote_volume=bars.quote_volume[order])


def _direction(closes: list[float]) -> str:
    return "UP" if closes[1] > closes[0] else "DOWN" if closes[1] < closes[0] else "FLAT"


def _shown(fact: FactRecord) -> str:
    return f"{fact.direction} from {fact.close_prev!r} to {fact.close_curr!r}"


def _at(ts: int) -> str:
    return iso(ts * US_PER_MS)
