"""Calibration of one chance by its own facts, after each closed candle.

Two ways, both around the identity: without evidence they change nothing, and a forecaster that was calibrated loses next to nothing
(a test holds them to it). `Affine` is a line on the logit, for too bold, too timid and shifted forecasters; `Isotonic` any rising curve.
The chance of up given a move and the chance of a move are calibrated apart, each by its own fold.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Final, Literal

import msgspec

from crypy.domain.errors import ConfigError

Kind = Literal["affine", "isotonic", "off"]
Curve = tuple[list[float], list[float]]

_MOST_SHIFT: Final = 3.0
_MOST_SLOPE: Final = 4.0
# Bins of the isotonic curve: even in asinh of the logit, fine where chances are near a half. The last ones reach to chances of 1e-6.
_BINS: Final = 80
_FINE: Final = 0.02
_FURTHEST: Final = math.asinh(14.0 / _FINE)
_FADED: Final = 1e-6


class CalibrationSettings(msgspec.Struct, frozen=True):
    """`half_life` counts facts. `shift_deviation` and `slope_deviation`: how far the line is believed to lie from the identity before any
    evidence (standard deviations). `doubt` is how many facts the belief in the identity is worth in each bin of the isotonic curve. Raises `ConfigError` for values that make no sense."""

    kind: Kind = "affine"
    half_life: float = 20_000.0
    shift_deviation: float = 0.02
    slope_deviation: float = 0.15
    doubt: float = 200.0

    def __post_init__(self) -> None:
        numbers = (self.half_life, self.shift_deviation, self.slope_deviation, self.doubt)
        if not all(0.0 < number < math.inf for number in numbers):
            raise ConfigError(f"calibration needs positive numbers, got {numbers}")


class AffineState(msgspec.Struct, tag="affine"):
    """Information about (shift, slope - 1), faded: the matrix's three numbers and the vector's two."""

    one: float = 0.0
    cross: float = 0.0
    square: float = 0.0
    shift: float = 0.0
    slope: float = 0.0


class IsotonicState(msgspec.Struct, tag="isotonic"):
    """Per bin, faded: facts, their sum of yes, and the sum of the chances said."""

    facts: list[float]
    yes: list[float]
    said: list[float]


class Affine:
    """logit -> shift + slope * logit, by Newton's recursion with forgetting: each fact adds its Fisher information and its linearised
    response at the line of that time, and the prior stands beside them for good.

    That is the extended Kalman filter of logistic regression (Fahrmeir, "Posterior mode estimation by extended Kalman filtering for
    multivariate dynamic generalized linear models", JASA 87, 1992), with forgetting in the place of a random walk. The line is that of
    Platt (1999); "identity as prior" makes it safe where there is little evidence.
    """

    def __init__(self, settings: CalibrationSettings, state: AffineState | None = None) -> None:
        self.settings = settings
        self.state = state or AffineState()
        self._fading = 0.5 ** (1.0 / settings.half_life)

    def line(self) -> tuple[float, float]:
        """(shift, slope) by what was learned; the slope is not negative, so no direction is turned round."""
        s = self.state
        one, square = s.one + self.settings.shift_deviation**-2.0, s.square + self.settings.slope_deviation**-2.0
        determinant = one * square - s.cross * s.cross
        shift = (square * s.shift - s.cross * s.slope) / determinant
        slope = 1.0 + (one * s.slope - s.cross * s.shift) / determinant
        return min(max(shift, -_MOST_SHIFT), _MOST_SHIFT), min(max(slope, 0.0), _MOST_SLOPE)

    def calibrated(self, chance: float) -> float:
        """The corrected chance of one in (0, 1)."""
        shift, slope = self.line()
        return expit(shift + slope * logit(chance))

    def learn(self, chance: float, yes: bool) -> None:
        """A fact, and the chance that was said before calibration."""
        shift, slope = self.line()
        margin = logit(chance)
        now = expit(shift + slope * margin)
        information = now * (1.0 - now)
        response = information * (shift + (slope - 1.0) * margin) + (float(yes) - now)
        s, a = self.state, self._fading
        self.state = AffineState(
            a * s.one + information, a * s.cross + information * margin, a * s.square + information * margin * margin,
            a * s.shift + response, a * s.slope + response * margin,
        )  # fmt: skip

    def settle(self) -> None:
        """Nothing is left for the quiet time."""


class Isotonic:
    """Pool adjacent violators over bins of the logit, straight lines between the blocks' centres.

    The facts of each bin are joined by `doubt` pseudo-facts that happened as often as was said. Source: Zadrozny &
    Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002; bins and fading make it a fold.
    """

    def __init__(self, settings: CalibrationSettings, state: IsotonicState | None = None) -> None:
        self.settings = settings
        self.state = state or IsotonicState([0.0] * _BINS, [0.0] * _BINS, [0.0] * _BINS)
        self._fading = 0.5 ** (1.0 / settings.half_life)
        self._curve: Curve | None = None

    def calibrated(self, chance: float) -> float:
        """The corrected chance of one in (0, 1)."""
        return _on_curve(self._fit(), chance)

    def learn(self, chance: float, yes: bool) -> None:
        """A fact, and the chance that was said before calibration."""
        s, a = self.state, self._fading
        for column in (s.facts, s.yes, s.said):
            column[:] = [a * value for value in column]
        at = _bin(chance)
        s.facts[at] += 1.0
        s.yes[at] += float(yes)
        s.said[at] += chance
        self._curve = None

    def settle(self) -> None:
        """Fit the curve, where a fact came since."""
        self._fit()

    def _fit(self) -> Curve:
        if self._curve is None:
            self._curve = _fitted(self.state, self.settings.doubt)
        return self._curve


class Identity:
    """No calibration."""

    state = None

    def calibrated(self, chance: float) -> float:
        """The chance itself."""
        return chance

    def learn(self, chance: float, yes: bool) -> None:
        """Nothing is learned."""

    def settle(self) -> None:
        """Nothing to do."""


Calibrator = Affine | Isotonic | Identity
CalibratorState = AffineState | IsotonicState | None


def calibrator(settings: CalibrationSettings, state: CalibratorState = None) -> Calibrator:
    """The fold that the settings name, from what was kept; a state of another kind is left, and the fold begins anew."""
    match settings.kind:
        case "affine":
            return Affine(settings, state if isinstance(state, AffineState) else None)
        case "isotonic":
            return Isotonic(settings, state if isinstance(state, IsotonicState) else None)
        case "off":
            return Identity()


def logit(chance: float) -> float:
    """log(chance / (1 - chance))."""
    return math.log(chance / (1.0 - chance))


def expit(margin: float) -> float:
    """1 / (1 + exp(-margin))."""
    return 1.0 / (1.0 + math.exp(-margin))


def _bin(chance: float) -> int:
    place = math.asinh(logit(chance) / _FINE) / _FURTHEST
    return min(max(int((place + 1.0) * 0.5 * _BINS), 0), _BINS - 1)


def _fitted(state: IsotonicState, doubt: float) -> Curve:
    """Centres of blocks: chances said, and chances found, both rising."""
    blocks: list[tuple[float, float, float]] = []
    for facts, yes, said in zip(state.facts, state.yes, state.said, strict=True):
        # Below this, fading has left nothing to divide by.
        if facts < _FADED:
            continue
        block = (facts + doubt, yes + doubt * said / facts, said + doubt * said / facts)
        while blocks and block[1] * blocks[-1][0] <= blocks[-1][1] * block[0]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    return [said / facts for facts, _, said in blocks], [yes / facts for facts, yes, _ in blocks]


def _on_curve(curve: Curve, chance: float) -> float:
    """Between two blocks a straight line; beyond the outermost, the distance in logit that the outermost has."""
    said, found = curve
    if not said:
        return chance
    above = bisect_left(said, chance)
    if 0 < above < len(said):
        part = (chance - said[above - 1]) / (said[above] - said[above - 1])
        return found[above - 1] + part * (found[above] - found[above - 1])
    end = min(above, len(said) - 1)
    return expit(logit(chance) + logit(found[end]) - logit(said[end]))
