"""The gates on a model's way into use: a table of questions by stage, each answered `Passed` or `Failed` with its numbers.

A model that asks for a stage is put before the gates of all stages up to it. It is judged beside the champion of its line and beside the baseline
fitted before the range, at the same origins of a range that none of them has seen. "Better" means: the mean gain in log score over all symbols and
horizons, weighted by their precision, is above zero by a one-sided test on daily means (`deflation`), and so is the lower end of a bootstrap over blocks of days.
Models come one after the other, so the chance of luck is spent: the k-th that looks at a range has to be significant at 5 % / (k (k + 1)). These sum to
5 %: that is the chance that any of them passes on noise, however many are tried. Each look stands in the trial ledger.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.curve import HorizonCurve
from crypy.domain.errors import CrypyError, DataError, Incomplete
from crypy.domain.times import DAY_S
from crypy.marketdata.schema import FeatureSequence
from crypy.models.dataset import Dataset
from crypy.models.loading import load
from crypy.models.port import DistributionGrid, Model
from crypy.training.deflation import deflate
from crypy.training.differences import BLOCK_DAYS, DRAWS, SEED, DayBlocks
from crypy.training.evaluation import HorizonScore, ModelEvaluation
from crypy.training.look_ahead import sees_ahead
from crypy.training.registry_journal import ROAD, Stage

Floats = NDArray[np.float64]

SIGNIFICANCE: Final = 0.05
LATENCY_MS: Final = 50.0
# Coverage may be off by so much whatever the range says: no use of the forecasts would notice.
COVERAGE_SLACK: Final = 0.015
_COVERAGE_SE: Final = 3.0
_WORSE_SE: Final = 2.0
OFFLINE_DAYS: Final = 28.0
LIVE_DAYS: Final = 3.0
_MARKS: Final = {"below_5": 0.05, "below_25": 0.25, "below_75": 0.75, "below_95": 0.95}
_CALLS: Final = 300
# From a second to two days, as a running process asks.
_HORIZONS_S: Final = np.unique(np.round(np.geomspace(1.0, 172_800.0, 30)))

Numbers = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Passed:
    """A gate that is open, and what it measured."""

    numbers: Numbers = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Failed:
    """A gate that stays shut: why, in a sentence, and what it measured."""

    reason: str
    numbers: Numbers = field(default_factory=dict[str, float])


Verdict = Passed | Failed


@dataclass(frozen=True, slots=True)
class Case:
    """What the gates look at: a loaded model, bars with the range it is judged on, and how it and the champion did there.

    `trials` counts the models that have looked at the range, this one included; `shadow_days` how long it has run as a shadow.
    """

    model: Model
    dataset: Dataset
    judged: ModelEvaluation
    champion: str
    trials: int
    shadow_days: float = 0.0
    latency_ms: float = LATENCY_MS


@dataclass(frozen=True, slots=True)
class Gate:
    """One question; `stage` is the one it guards."""

    name: str
    stage: Stage
    about: str
    ask: Callable[[Case], Verdict]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one gate said."""

    gate: str
    stage: Stage
    verdict: Verdict


def answers(case: Case, stage: Stage) -> tuple[Answer, ...]:
    """All gates up to a stage, each asked whatever the others said. A model that raises fails the gate at which it does."""
    wanted = ROAD[: ROAD.index(stage) + 1]
    return tuple(Answer(gate.name, gate.stage, _ask(gate, case)) for gate in GATES if gate.stage in wanted)


def _ask(gate: Gate, case: Case) -> Verdict:
    try:
        return gate.ask(case)
    except Exception as error:
        # The model may be anybody's code: whatever it raises is the answer.
        return Failed(str(error) if isinstance(error, CrypyError) else f"{type(error).__name__}: {error}")


def round_trip(case: Case) -> Verdict:
    """Saved and loaded again it gives the same bits."""
    sequence = _last_sequence(case)
    with tempfile.TemporaryDirectory(prefix="crypy-") as folder:
        case.model.save(Path(folder) / "model")
        again = load(Path(folder) / "model")
    if again.schema != case.model.schema:
        return Failed("the artefact read back asks for another sequence")
    ours, theirs = case.model.predict(sequence, _HORIZONS_S), again.predict(sequence, _HORIZONS_S)
    return Passed() if _bits(ours) == _bits(theirs) else Failed("the artefact read back gives other numbers")


def lawful(case: Case) -> Verdict:
    """From 1 s to two days its answers are distributions whose spread does not fall with the horizon, and asking changes nothing."""
    sequence = _last_sequence(case)
    before = _sequence_bits(sequence)
    first = case.model.predict(sequence, _HORIZONS_S)
    for row, symbol in enumerate(first.symbols):
        try:
            HorizonCurve(first.horizons_s, first.scale[row], first.skew[row], first.tail[row])
        except DataError as error:
            return Failed(f"{symbol}: {error}")
    if _bits(case.model.predict(sequence, _HORIZONS_S)) != _bits(first):
        return Failed("asked the same twice it gives other numbers")
    return Passed() if _sequence_bits(sequence) == before else Failed("it changes the sequence that it is given")


def look_ahead(case: Case) -> Verdict:
    """What comes after a moment does not change what is said at it."""
    found = sees_ahead(
        case.model, case.dataset, np.array(case.dataset.horizons_s, np.float64), np.random.default_rng(SEED)
    )
    return Failed(found) if found else Passed()


def calibrated(case: Case) -> Verdict:
    """Shares of returns below its quantiles are what they should be, within 1.5 points or three standard errors."""
    off: dict[str, float] = {}
    worst = 0.0
    for score in case.judged.scores:
        for name, nominal in _MARKS.items():
            error, miss = score.coverage_se[name], score.coverage[name] - nominal
            worst = max(worst, abs(miss))
            if abs(miss) > max(COVERAGE_SLACK, _COVERAGE_SE * (error if error is not None else np.inf)):
                off[f"{score.symbol} {score.horizon_s} s {name}"] = score.coverage[name]
    told = ", ".join(f"{where} {100 * share:.1f} %" for where, share in off.items())
    return Failed(f"coverage is off: {told}", off) if off else Passed({"worst_miss": worst})


def better(case: Case) -> Verdict:
    """Its log score is better than the champion's beyond what chance and the number of trials explain."""
    found = pooled_gain(case)
    spent = min(1.0, found.p_value * case.trials * (case.trials + 1))
    numbers = {
        "gain": found.gain, "error": found.error, "bootstrap_low": found.low, "p_value": found.p_value, "p_spent": spent,
        "trials": float(case.trials), "days": float(found.days),
    }  # fmt: skip
    told = (
        f"gain {found.gain:+.5f} +- {found.error:.5f} nats in {found.days} days, p {found.p_value:.2g};"
        f" corrected for being trial {case.trials} on this range, p {spent:.2g}, needed {SIGNIFICANCE:g}"
    )
    if spent > SIGNIFICANCE:
        return Failed(f"not better than {case.champion} beyond chance: {told}", numbers)
    if not found.low > 0.0:
        return Failed(
            f"not better than {case.champion} by the bootstrap (95 % above {found.low:+.5f}): {told}", numbers
        )
    return Passed(numbers)


def nowhere_worse(case: Case) -> Verdict:
    """At no symbol and horizon its log score is worse than the champion's by more than two standard errors."""
    worse: dict[str, float] = {}
    for score in case.judged.scores:
        found = score.vs[case.champion]["nll"]
        errors = [error for error in (found.se, found.hac_se) if error is not None]
        if found.gain < 0.0 and (not errors or found.gain < -_WORSE_SE * max(errors)):
            worse[f"{score.symbol} {score.horizon_s} s"] = found.gain
    told = ", ".join(f"{where} {gain:+.5f}" for where, gain in worse.items())
    return (
        Failed(f"worse than {case.champion} by more than two standard errors: {told} nats", worse)
        if worse
        else Passed()
    )


def quick(case: Case) -> Verdict:
    """99 of 100 answers come within the budget, with nothing left to compile."""
    sequence = _last_sequence(case)
    took_ms = np.empty(_CALLS)
    case.model.predict(sequence, _HORIZONS_S)
    for call in range(_CALLS):
        began = time.perf_counter()
        case.model.predict(sequence, _HORIZONS_S)
        took_ms[call] = 1e3 * (time.perf_counter() - began)
    p50, p99 = np.quantile(took_ms, (0.5, 0.99)).tolist()
    numbers = {"p50_ms": p50, "p99_ms": p99, "budget_ms": case.latency_ms}
    if p99 > case.latency_ms:
        return Failed(f"an answer takes {p99:.1f} ms at the 99th percentile, {case.latency_ms:g} are allowed", numbers)
    return Passed(numbers)


def long_enough(case: Case) -> Verdict:
    """It was judged on four weeks, or has run as a shadow for three days."""
    days = (case.dataset.end_s - case.dataset.start_s) / DAY_S
    numbers = {"judged_days": days, "shadow_days": case.shadow_days}
    if days >= OFFLINE_DAYS or case.shadow_days >= LIVE_DAYS:
        return Passed(numbers)
    return Failed(
        f"judged on {days:.1f} days and {case.shadow_days:.1f} as a shadow; {OFFLINE_DAYS:g} or {LIVE_DAYS:g} are wanted",
        numbers,
    )


GATES: Final = (
    Gate("round-trip", "candidate", "saved and loaded it gives the same bits", round_trip),
    Gate("lawful", "candidate", "distributions at every horizon, repeatable, without side effects", lawful),
    Gate("look-ahead", "candidate", "nothing after a moment changes what is said at it", look_ahead),
    Gate("calibrated", "candidate", "coverage at 5, 25, 75, 95 % within 1.5 points or 3 standard errors", calibrated),
    Gate("better", "shadow", "log score better than the champion's, one-sided at 5 %, deflated for the trials", better),
    Gate("nowhere-worse", "deployed", "no symbol and horizon worse by more than 2 standard errors", nowhere_worse),
    Gate("quick", "deployed", "p99 of an answer within the budget", quick),
    Gate("long-enough", "deployed", "judged on 28 days, or 3 days a shadow", long_enough),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PooledGain:
    """Mean daily gain in nats over `days`, its standard error, the one-sided p of no gain, and the 5 % quantile of its bootstrap over days."""

    days: int
    gain: float
    error: float
    p_value: float
    low: float


def pooled_gain(case: Case) -> PooledGain:
    """The gain over the champion, over all symbols and horizons weighted by precision. Raises `Incomplete` where the range has too few days to tell."""
    days, gains = _daily_gains(case)
    found = deflate(gains, 1, 1.0)
    blocks = DayBlocks.over(days, block_days=BLOCK_DAYS, draws=DRAWS, seed=SEED)
    if not len(blocks.weights):
        raise Incomplete(
            f"a range of {len(days)} days is too short to tell skill from luck; judge over {2 * BLOCK_DAYS} or more"
        )
    low = float(np.nanquantile(blocks.means(days, gains), SIGNIFICANCE))
    return PooledGain(len(days), found.gain, found.error, found.p_value, low)


def _daily_gains(case: Case) -> tuple[NDArray[np.int64], Floats]:
    """Days (s) and their mean gains in nats, over the cells that have the day, weighted by precision."""
    sums: dict[int, float] = {}
    weights: dict[int, float] = {}
    for score in case.judged.scores:
        weight = _precision(score, case.champion)
        for day_s, gain in zip(score.daily.day_s, score.daily.gain, strict=True):
            sums[day_s] = sums.get(day_s, 0.0) + weight * gain
            weights[day_s] = weights.get(day_s, 0.0) + weight
    days = sorted(day_s for day_s, weight in weights.items() if weight > 0.0)
    return np.array(days, np.int64), np.array([sums[day_s] / weights[day_s] for day_s in days])


def _precision(score: HorizonScore, champion: str) -> float:
    """One over the variance of the mean gain, by the bootstrap or else by Newey and West; 0 where neither is known."""
    found = score.vs[champion]["nll"]
    error = found.se or found.hac_se
    return 1.0 / error**2 if error else 0.0


def _last_sequence(case: Case) -> FeatureSequence:
    origins_s = case.dataset.origins_s()
    return case.dataset.windows(case.model.schema, origins_s[-1:])[0]


def _bits(grid: DistributionGrid) -> bytes:
    return b"|".join(np.ascontiguousarray(table).tobytes() for table in (grid.scale, grid.skew, grid.tail))


def _sequence_bits(sequence: FeatureSequence) -> bytes:
    return b"|".join(
        np.ascontiguousarray(each).tobytes()
        for each in (*sequence.values, *sequence.known, *sequence.clocks, sequence.close)
    )
