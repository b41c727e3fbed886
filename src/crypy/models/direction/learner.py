"""The learner of one symbol and timeframe: members weighed, their pool calibrated, situations remembered. See `online.py` for the order of calls.

It is a fold: equal calls give equal bits, live, in a replay, and after a restart from what was kept. What is kept has two parts, because one is
small and changes with every fact, and the other is large and only grows:

- `kept()`: a few kB of JSON, to be written whole after each `learn`;
- `kept_patterns(since)`: rows of the pattern memory from number `since` on, to be appended to a file *before* `kept()` is written, with
  `since` the `patterns_added` of last time. When the file has become long, it is replaced by `kept_patterns(0)`, which is what `size` allows.

`Learner.of_kept(kept, settings, patterns)` with the whole file restores it bit for bit, also when the file has a few rows more than `kept` knows
of, or is cut in its last row. Several processes must not share one learner's files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.models.direction.calibration import CalibrationSettings, CalibratorState, calibrator
from crypy.models.direction.ensemble import Rewards, Weights, pooled, sure
from crypy.models.direction.online import Answer
from crypy.models.direction.patterns import Patterns, PatternSettings, PatternsState

Floats = NDArray[np.float64]

PATTERNS: Final = "patterns"
# Forecasts that wait for their fact; beyond that the oldest is given up.
_WAITING: Final = 32
_ROUNDING: Final = 1e-9


class LearnerSettings(msgspec.Struct, frozen=True):
    """What is learned from facts; each part can be switched off (`rewards.on`, `patterns.on`, `calibration.kind = "off"`). The defaults were chosen on forward
    folds of real minutes (`benchmarks/direction_online.py`)."""

    rewards: Rewards = Rewards()
    calibration: CalibrationSettings = CalibrationSettings()
    patterns: PatternSettings = PatternSettings()


class Waiting(msgspec.Struct, frozen=True):
    """An answer whose fact is not known: the members' chances of up given a move, and of a move; those of the pool; the situation."""

    end_s: int
    ups: dict[str, float]
    moves: dict[str, float]
    up: float
    move: float
    situation: list[float] | None


class Kept(msgspec.Struct):
    """The small part of what is kept."""

    asked_s: int
    up_log_ratios: dict[str, float]
    move_log_ratios: dict[str, float]
    up_calibration: CalibratorState
    move_calibration: CalibratorState
    patterns: PatternsState | None
    waiting: list[Waiting]


_KEPT: Final = msgspec.json.Decoder(Kept)
_ENCODER: Final = msgspec.json.Encoder()


class Learner:
    """The fold over closes; satisfies `online.OnlinePort`.

    >>> learner = Learner(LearnerSettings())
    >>> answer = learner.answer(60, {"a": (0.5, 0.4), "b": (0.6, 0.3)}, None)
    >>> round(answer.p_up, 3), round(answer.p_down, 3)
    (0.55, 0.35)
    >>> learner.learn(60, 1)
    >>> learner.answer(120, {"a": (0.5, 0.4), "b": (0.6, 0.3)}, None).members["b"][2] > 0.5
    True
    """

    def __init__(self, settings: LearnerSettings) -> None:
        self.settings = settings
        self._ups, self._moves = Weights(settings.rewards), Weights(settings.rewards)
        self._calibrate_up = calibrator(settings.calibration)
        self._calibrate_move = calibrator(_of_moves(settings.calibration))
        self._patterns: Patterns | None = None
        self._waiting: dict[int, Waiting] = {}
        self._asked_s = -1

    def answer(self, end_s: int, asked: Mapping[str, tuple[float, float]], situation: Floats | None) -> Answer | None:
        """See `OnlinePort.answer`. Times ascend; one that was asked about before is answered, and remembered anew only while its fact is
        unknown and nothing later was asked. Raises `DataError` for chances that are none, or a member called `patterns`."""
        answer, waiting = self._considered(end_s, asked, situation)
        if waiting is not None and (end_s > self._asked_s or (end_s == self._asked_s and end_s in self._waiting)):
            self._asked_s = end_s
            self._waiting[end_s] = waiting
            if len(self._waiting) > _WAITING:
                del self._waiting[min(self._waiting)]
        return answer

    def look(self, end_s: int, asked: Mapping[str, tuple[float, float]], situation: Floats | None) -> Answer | None:
        """As `answer`, but nothing is remembered: for forecasts within a candle."""
        return self._considered(end_s, asked, situation)[0]

    def learn(self, end_s: int, outcome: int) -> None:
        """See `OnlinePort.learn`. Raises `DataError` for an outcome other than 1, -1 and 0."""
        if outcome not in (1, -1, 0):
            raise DataError(f"the candle after {end_s} went up (1), down (-1) or nowhere (0), got {outcome}")
        waiting = self._waiting.pop(end_s, None)
        if waiting is None:
            return
        self._moves.learn(waiting.moves, outcome != 0)
        self._calibrate_move.learn(waiting.move, outcome != 0)
        if outcome:
            self._ups.learn(waiting.ups, outcome > 0)
            self._calibrate_up.learn(waiting.up, outcome > 0)
        if waiting.situation is not None:
            self._patterns = self._patterns or Patterns(self.settings.patterns, len(waiting.situation))
            self._patterns.learn(end_s, np.array(waiting.situation), outcome)

    def settle(self) -> None:
        """What the next answer needs and can be computed now, between candles. Without it, the answer computes it, to the same bits."""
        self._calibrate_up.settle()
        self._calibrate_move.settle()

    def kept(self) -> msgspec.Raw:
        """The small part of what was learned (see the module)."""
        patterns = None if self._patterns is None else self._patterns.state
        return msgspec.Raw(
            _ENCODER.encode(
                Kept(
                    self._asked_s, self._ups.log_ratios, self._moves.log_ratios, self._calibrate_up.state, self._calibrate_move.state,
                    patterns, list(self._waiting.values()),
                )
            )
        )  # fmt: skip

    @property
    def patterns_added(self) -> int:
        """How many situations were ever remembered: the number of the next."""
        return 0 if self._patterns is None else self._patterns.state.added

    def kept_patterns(self, since: int = 0) -> bytes:
        """Rows of the pattern memory from number `since` on, to be appended; empty where there is none."""
        return b"" if self._patterns is None else self._patterns.rows_since(since)

    @classmethod
    def of_kept(cls, kept: msgspec.Raw | bytes, settings: LearnerSettings, patterns: bytes = b"") -> Learner:
        """The learner as it was. A part that the settings have changed to another kind begins anew, one that they switch off is left behind.
        Raises `DataError` for what is no learner's, or rows that are missing."""
        try:
            found = _KEPT.decode(kept)
        except msgspec.MsgspecError as error:
            raise DataError(f"the learner's state cannot be read: {error}; remove it to begin anew") from error
        learner = cls(settings)
        learner._ups = Weights(settings.rewards, found.up_log_ratios)
        learner._moves = Weights(settings.rewards, found.move_log_ratios)
        learner._calibrate_up = calibrator(settings.calibration, found.up_calibration)
        learner._calibrate_move = calibrator(_of_moves(settings.calibration), found.move_calibration)
        if settings.patterns.on and found.patterns is not None:
            learner._patterns = Patterns.of_kept(settings.patterns, found.patterns, patterns)
        learner._asked_s = found.asked_s
        learner._waiting = {one.end_s: one for one in found.waiting}
        return learner

    def _considered(
        self, end_s: int, asked: Mapping[str, tuple[float, float]], situation: Floats | None
    ) -> tuple[Answer | None, Waiting | None]:
        said = {name: _checked(name, chances) for name, chances in asked.items() if not math.isnan(sum(chances))}
        if PATTERNS in asked:
            raise ConfigError(f"a member is called {PATTERNS!r}, the name of the pattern memory; give it another name")
        known = situation if self.settings.patterns.on else None
        if known is not None and not np.isfinite(known).all():
            known = None
        evidence = 0.0
        if known is not None and self._patterns is not None and (found := self._patterns.recall(end_s, known)):
            said[PATTERNS] = (found.p_up, found.p_down)
            evidence = found.evidence
        if not said:
            return None, None
        ups, moves = _questions(said)
        shares = self._ups.shares(ups)
        up, move = pooled(shares, ups), pooled(self._moves.shares(moves), moves)
        sure_up, sure_move = sure(self._calibrate_up.calibrated(up)), sure(self._calibrate_move.calibrated(move))
        members = {name: (*said[name], shares[name]) for name in shares}
        answer = Answer(
            end_s, sure_move * sure_up, sure_move * (1.0 - sure_up), move * up, move * (1.0 - up), members, evidence
        )
        return answer, Waiting(end_s, ups, moves, up, move, None if known is None else known.tolist())


def _of_moves(settings: CalibrationSettings) -> CalibrationSettings:
    """How often candles tie drifts with the price in ticks, so the level is free; where ties are rare, hardly any fact tells of the slope, and a
    free one cost 2e-4 nats at 60m."""
    return msgspec.structs.replace(settings, shift_deviation=0.2, slope_deviation=0.02)


def _checked(name: str, chances: tuple[float, float]) -> tuple[float, float]:
    p_up, p_down = float(chances[0]), float(chances[1])
    if not (p_up >= 0.0 and p_down >= 0.0 and p_up + p_down <= 1.0 + _ROUNDING):
        raise DataError(f"{name} says p_up {p_up} and p_down {p_down}; both are at least 0, and their sum at most 1")
    return p_up, p_down


def _questions(said: Mapping[str, tuple[float, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Of each member, the chance of up given a move, and of a move."""
    ups = {name: sure(up / (up + down) if up + down > 0.0 else 0.5) for name, (up, down) in said.items()}
    moves = {name: sure(up + down) for name, (up, down) in said.items()}
    return ups, moves
