"""One symbol's recalibration as time goes on: a fold over forecasts and prices, the live form of `recalibration.fold`.

Forecasts of the learned horizons wait until they have ended. Few are kept, one a minute or a sixteenth of the horizon, so memory is
bounded. The rows that come out are, bit for bit, those that the batch form gives for the same forecasts and prices.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.models.recalibration import learned_at, nothing_learned
from crypy.models.recalibration_beliefs import Beliefs, Rules, faded
from crypy.models.recalibration_clock import hour_sums, learn_slot
from crypy.models.recalibration_kernel import believed, correct_row, keep, learn

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Waiting(msgspec.Struct, frozen=True, array_like=True):
    """A forecast that has not ended: when it was made, how many returns it stands for, the log price then, and its law."""

    origin_s: int
    weighs: float
    log_price: float
    scale: float
    skew: float
    tail: float


class Correction(msgspec.Struct, frozen=True):
    """What is corrected at one horizon: a factor on the scale, shifts of log(tail - 2) and of the skew.

    `trust` in [0, 1) is what the evidence weighs against the belief in no correction.
    """

    horizon_s: int
    scale: float
    tail: float
    skew: float
    trust: float


class Learned(msgspec.Struct, frozen=True):
    """Everything that `Recalibrated` knows, to be written down: the tables of `Beliefs`, and what waits."""

    seen_s: int
    horizons_s: tuple[int, ...]
    evidence: list[list[float]]
    at_s: list[int]
    kept_s: list[int]
    slots: list[list[float]]
    slots_at_s: list[int]
    waiting: list[list[Waiting]]


class Recalibrated:
    """`see` the prices of new seconds, then `correct` the laws given at the newest; each once a moment, in order of time.

    `beliefs` may come from `recalibration.fold` over forecasts up to `seen_s`, the last moment whose price was seen.
    """

    def __init__(self, rules: Rules, beliefs: Beliefs | None = None, seen_s: int = 0) -> None:
        self.beliefs = nothing_learned(rules) if beliefs is None else beliefs
        self.seen_s = seen_s
        self._rules = rules
        self._log_price = np.nan
        # Of each learned horizon, and last of the clock's slot.
        self._waiting: list[list[Waiting]] = [[] for _ in range(len(rules.horizons_s) + 1)]

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was learned yet."""
        return not (self.beliefs.evidence.any() or self.beliefs.slots.any())

    @property
    def waiting(self) -> int:
        """How many forecasts wait for their end."""
        return sum(len(each) for each in self._waiting)

    def see(self, at_s: int, first_s: int, prices: Floats) -> None:
        """Learn from every forecast that ended by `at_s`. `prices` are those at the moments `first_s`, `first_s` + 1, ...; what
        ended where the price is unknown or left out is forgotten. Does nothing for a moment that was seen."""
        if at_s <= self.seen_s:
            return
        logs = np.log(prices)
        for k, waiting in enumerate(self._waiting):
            is_slot = k == len(self._waiting) - 1
            horizon_s = self._rules.slot_s if is_slot else int(self._rules.horizons_s[k])
            ended = 0
            while ended < len(waiting) and waiting[ended].origin_s + horizon_s <= at_s:
                one = waiting[ended]
                end_s = one.origin_s + horizon_s
                value = _at(logs, end_s - first_s) - one.log_price
                if np.isfinite(value) and is_slot:
                    learn_slot(self.beliefs, self._rules, end_s, value, one.scale, one.skew, one.tail)
                elif np.isfinite(value):
                    law = one.scale, one.skew, one.tail
                    learn(self.beliefs, self._rules, k, end_s, one.weighs, value, *law)
                ended += 1
            del waiting[:ended]
        self.seen_s = at_s
        self._log_price = _at(logs, at_s - first_s)

    def correct(
        self, at_s: int, horizons_s: Floats, scale: Floats, skew: Floats, tail: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Scale, skew and tail of the laws given at `at_s` for ascending horizons, corrected. Where `at_s` is the last moment
        that was seen and its price is known, they are kept to learn from."""
        out = np.empty_like(scale), np.empty_like(skew), np.empty_like(tail)
        clocked = np.empty_like(scale)
        correct_row(self.beliefs, self._rules, at_s, horizons_s, scale, skew, tail, *out, clocked)
        if at_s == self.seen_s and np.isfinite(self._log_price):
            for k, horizon in enumerate(self._rules.horizons_s):
                column = _column(horizons_s, int(horizon))
                weighs = 0.0 if column < 0 else keep(self.beliefs, self._rules, k, at_s)
                if weighs > 0.0:
                    self._wait(k, at_s, weighs, clocked[column], skew[column], tail[column])
            column = _column(horizons_s, self._rules.slot_s) if self._rules.slot_s else -1
            if column >= 0 and at_s % self._rules.slot_s == 0:
                self._wait(-1, at_s, 1.0, out[0][column], out[1][column], out[2][column])
            # One forecast a moment.
            self._log_price = np.nan
        return out

    def corrections(self, at_s: int) -> tuple[Correction, ...]:
        """What is corrected at `at_s` at each learned horizon."""
        rules, beliefs = self._rules, self.beliefs
        out: list[Correction] = []
        for k, horizon in enumerate(rules.horizons_s):
            fade = faded(int(beliefs.at_s[k]), at_s, rules.half_life_s)
            by_scale, by_tail, by_skew = believed(beliefs.evidence[k], fade, rules.precision, rules.bounds)
            evidence = fade * float(beliefs.evidence[k, 0])
            trust = evidence / (evidence + float(rules.precision[0]))
            out.append(Correction(int(horizon), float(np.exp(by_scale)), by_tail, by_skew, trust))
        return tuple(out)

    def hour(self, at_s: int) -> Floats:
        """Factor on the scale of returns over each slot of the hour at `at_s`, the first slot first; none without a clock."""
        if not self._rules.slot_s:
            return np.empty(0)
        sums = np.empty(len(self.beliefs.slots) + 1)
        hour_sums(self.beliefs, self._rules, at_s, sums)
        return np.sqrt(np.diff(sums) / self._rules.slot_s)

    def learned(self) -> Learned:
        """A copy of everything that is known."""
        tables = [table.tolist() for table in self.beliefs]
        return Learned(self.seen_s, learned_at(self._rules), *tables, waiting=[list(each) for each in self._waiting])

    @classmethod
    def of(cls, learned: Learned, rules: Rules) -> Recalibrated:
        """What was written down, to go on with. Raises `DataError` where it was learned under other rules or is damaged."""
        out = cls(rules)
        try:
            tables = Beliefs(
                np.array(learned.evidence, np.float64),
                np.array(learned.at_s, np.int64),
                np.array(learned.kept_s, np.int64),
                np.array(learned.slots, np.float64).reshape(len(learned.slots), 2),
                np.array(learned.slots_at_s, np.int64),
            )
        except ValueError as error:
            raise DataError(f"a table of what was learned has rows of unequal length ({error})") from error
        for name, table, fresh in zip(Beliefs._fields, tables, out.beliefs, strict=True):
            if table.shape != fresh.shape or not np.isfinite(table).all():
                raise DataError(
                    f"{name} of what was learned has the shape {table.shape}, expected {fresh.shape}, or holes"
                )
        if learned.horizons_s != learned_at(rules) or len(learned.waiting) != len(out._waiting):
            raise DataError(f"learned at {learned.horizons_s} s, not at {learned_at(rules)} s")
        out.beliefs = tables
        out._waiting = [list(each) for each in learned.waiting]
        out.seen_s = learned.seen_s
        return out

    def _wait(self, k: int, at_s: int, weighs: float, scale: float, skew: float, tail: float) -> None:
        law = float(scale), float(skew), float(tail)
        self._waiting[k].append(Waiting(at_s, weighs, float(self._log_price), *law))


def rehearse(rules: Rules) -> None:
    """Run everything once on made-up forecasts, so that it is compiled before it is needed."""
    one = Recalibrated(rules)
    horizons_s = np.array(learned_at(rules), np.float64)
    scale, skew, tail = np.sqrt(horizons_s), np.zeros_like(horizons_s), np.full_like(horizons_s, 5.0)
    for at_s in (3_600, 3_600 + learned_at(rules)[-1]):
        one.see(at_s, 3_600, np.ones(at_s - 3_599))
        one.correct(at_s, horizons_s, scale, skew, tail)
    one.corrections(at_s)
    one.hour(at_s)


def _at(logs: Floats, place: int) -> float:
    return float(logs[place]) if 0 <= place < len(logs) else np.nan


def _column(horizons_s: Floats, horizon_s: int) -> int:
    """Where the horizon is among ascending ones, -1 for nowhere."""
    column = int(np.searchsorted(horizons_s, float(horizon_s)))
    return column if column < len(horizons_s) and horizons_s[column] == horizon_s else -1
