"""What direction forecasts are worth: one `DirectionScore` out of `Calls`, beside the same scores of references.

Ties are treated as `training.direction.calls` says. Errors are of means of dependent scores: a bootstrap of blocks of days where
there are twelve days or more, else Newey and West (`training.differences`); `None` where neither can be had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import Incomplete
from crypy.training.differences import SEED, DayBlocks, difference
from crypy.training.direction.calls import Calls
from crypy.training.direction.curves import (
    CalibrationBin,
    Coverage,
    area_under_risk,
    calibration_error,
    calibration_noise,
    reliability,
    risk_coverage,
    surest_first,
)
from crypy.training.direction.groups import GroupDirection, groups_of
from crypy.training.direction.uncertainty import Uncertainty
from crypy.training.evaluation import Difference

Floats = NDArray[np.float64]

NAMES: Final[Mapping[int, str]] = {1: "UP", -1: "DOWN", 0: "FLAT"}
TOPS: Final = (50, 25, 10)
_SPANS: Final = 200
# A chance of 0 that came true costs a finite amount: as in scikit-learn, what a float next to one can tell.
_LEAST: Final = float(np.finfo(np.float64).eps)


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """Gains over time, for plots: sums in nats over at most 200 equal spans, each told by its end; `n` counts forecasts whose fact moved."""

    end_s: tuple[int, ...]
    n: tuple[int, ...]
    gain: tuple[float, ...]


class DirectionScore(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of n forecasts whose facts are known.

    `ties` facts were FLAT. `decided` forecasts told UP or DOWN, `flat_share` of all told FLAT. `accuracy` is the share of the decided that were
    right, a tie being a miss; `accuracy_moved` leaves ties out. `sign_accuracy` is of all forecasts, decided or not, whose fact moved.
    `confusion[told][fact]` counts.

    Given a move: `log_loss` and `gain` (ln 2 less it) in nats, `brier`, `ece` over ten bins of equal mass, `ece_raw` the same before
    calibration, `ece_noise` what a forecast without fault would have by chance. `log_loss_three` and `brier_three` (0 to 2) are of up, down and tie
    over all facts. `top` has the sign accuracy of the surest 50, 25 and 10 %; `signed_move_bp` is what the surest tenth
    earned a call, `mean_move_bp` how far the price went there. `se` and `interval` (95 %) have the keys `accuracy`, `sign_accuracy`, `gain`, `brier`,
    `top_50`, `top_25`, `top_10`, `signed_move_bp`. `vs` has one entry per reference: `log_loss` and `brier`.
    """

    n: int
    ties: int
    decided: int
    flat_share: float
    accuracy: float | None
    accuracy_moved: float | None
    sign_accuracy: float | None
    confusion: dict[str, dict[str, int]]
    log_loss: float | None
    gain: float | None
    brier: float | None
    log_loss_three: float
    brier_three: float
    ece: float | None
    ece_raw: float | None
    ece_noise: float | None
    reliability: tuple[CalibrationBin, ...] = ()
    top: dict[str, float] = {}
    risk_coverage: tuple[Coverage, ...] = ()
    aurc: float | None = None
    signed_move_bp: float | None = None
    mean_move_bp: float | None = None
    se: dict[str, float | None] = {}
    interval: dict[str, tuple[float, float] | None] = {}
    by_hour: tuple[GroupDirection, ...] = ()
    by_regime: tuple[GroupDirection, ...] = ()
    by_week: tuple[GroupDirection, ...] = ()
    course: Course | None = None
    vs: dict[str, dict[str, Difference]] = {}

    def plain(self) -> dict[str, Any]:
        """As JSON shows it."""
        return msgspec.to_builtins(self)


def score(calls: Calls, spacing_s: int, references: Mapping[str, Calls] | None = None) -> DirectionScore:
    """Judge forecasts; `references` were asked at the same origins about the same facts. `spacing_s` is the length of their candles.

    Several series at once (`pooled`) have no `vs`. Raises `Incomplete` where there is no fact yet.
    """
    if not len(calls):
        raise Incomplete("no forecast has its fact yet: the candle after it has to close first", ())
    decided = calls.decided != 0
    right = calls.decided == calls.outcome
    three_log, three_brier = _three_way(calls)
    told: dict[str, Any] = {
        "n": len(calls),
        "ties": int((~calls.moved).sum()),
        "decided": int(decided.sum()),
        "flat_share": float(1.0 - decided.mean()),
        "accuracy": _mean(right[decided]),
        "accuracy_moved": _mean(right[decided & calls.moved]),
        "confusion": confusion(calls),
        "log_loss_three": three_log,
        "brier_three": three_brier,
    }
    errors = Uncertainty(calls, spacing_s)
    errors.add("accuracy", calls.at(decided), right[decided].astype(np.float64))
    moved = calls.at(calls.moved)
    if not len(moved):
        nothing: dict[str, Any] = dict.fromkeys(
            ("sign_accuracy", "log_loss", "gain", "brier", "ece", "ece_raw", "ece_noise")
        )
        return DirectionScore(**told, **nothing, se=errors.se, interval=errors.interval)
    return DirectionScore(
        **told,
        **_given_a_move(moved, errors),
        **_groups(calls, errors.blocks),
        se=errors.se,
        interval=errors.interval,
        vs=_against(moved, spacing_s, references or {}, errors.blocks),
    )


def confusion(calls: Calls) -> dict[str, dict[str, int]]:
    """Counts by what was told and what came."""
    return {
        NAMES[told]: {NAMES[came]: int(((calls.decided == told) & (calls.outcome == came)).sum()) for came in NAMES}
        for told in NAMES
    }


def log_losses(moved: Calls) -> Floats:
    """Minus the log of the chance given to what came, of each; nats."""
    return -np.log(np.clip(np.where(moved.outcome > 0, moved.up, 1.0 - moved.up), _LEAST, 1.0))


def brier_losses(moved: Calls) -> Floats:
    """Squared distance between the chance of up and what came."""
    return np.square(moved.up - (moved.outcome > 0))


def hits(moved: Calls) -> Floats:
    """1 where the greater chance was right, 0 where not, a half for even chances."""
    return np.where(moved.signs == 0, 0.5, moved.signs == moved.outcome).astype(np.float64)


def _given_a_move(moved: Calls, errors: Uncertainty) -> dict[str, Any]:
    """The scores that leave ties out; their errors are added to `errors`."""
    up, right, went_up = moved.up, hits(moved), (moved.outcome > 0).astype(np.float64)
    losses, briers = log_losses(moved), brier_losses(moved)
    errors.add("sign_accuracy", moved, right)
    errors.add("gain", moved, -losses, math.log(2.0))
    errors.add("brier", moved, briers)
    surest = _surest(up)
    ordered = surest_first(up, right)
    counts = {percent: max(1, round(len(up) * percent / 100)) for percent in TOPS}
    for percent, n in counts.items():
        rows = np.sort(surest[:n])
        errors.add(f"top_{percent}", moved.at(rows), right[rows])
    best = np.sort(surest[: counts[10]])
    signed = moved.signs * moved.move_bp
    errors.add("signed_move_bp", moved.at(best), signed[best])
    return {
        "sign_accuracy": float(right.mean()),
        "log_loss": float(losses.mean()),
        "gain": math.log(2.0) - float(losses.mean()),
        "brier": float(briers.mean()),
        "ece": calibration_error(up, went_up),
        "ece_raw": calibration_error(moved.raw_up, went_up),
        "ece_noise": calibration_noise(up),
        "reliability": reliability(up, went_up),
        "top": {str(percent): float(ordered[:n].mean()) for percent, n in counts.items()},
        "risk_coverage": risk_coverage(up, right),
        "aurc": area_under_risk(up, right),
        "course": _course(moved, math.log(2.0) - losses),
        "signed_move_bp": float(surest_first(up, signed)[: counts[10]].mean()),
        "mean_move_bp": float(surest_first(up, np.abs(moved.move_bp))[: counts[10]].mean()),
    }


def _surest(up: Floats) -> NDArray[np.int64]:
    """Rows, the surest first; equally sure ones in an order that has nothing to do with time."""
    drawn = np.random.default_rng(SEED).permutation(len(up))
    return drawn[np.argsort(-np.abs(up[drawn] - 0.5), kind="stable")]


def _course(moved: Calls, gains: Floats) -> Course:
    first, last = int(moved.origins_s[0]), int(moved.origins_s[-1]) + 1
    spans = min(_SPANS, last - first)
    edges = first + (last - first) * np.arange(1, spans + 1) // spans
    span = np.searchsorted(edges, moved.origins_s, "right")
    return Course(
        end_s=tuple(edges.tolist()),
        n=tuple(np.bincount(span, minlength=spans).tolist()),
        gain=tuple(np.bincount(span, gains, spans).tolist()),
    )


def _three_way(calls: Calls) -> tuple[float, float]:
    """Log loss and Brier (sum over the three, 1950) of up, down and tie."""
    chances = np.stack([calls.p_up, calls.p_down, np.maximum(0.0, 1.0 - calls.p_up - calls.p_down)])
    came = np.stack([calls.outcome == sign for sign in (1, -1, 0)])
    given = np.clip((chances * came).sum(axis=0), _LEAST, 1.0)
    return float(-np.log(given).mean()), float(np.square(chances - came).sum(axis=0).mean())


def _groups(calls: Calls, blocks: DayBlocks) -> dict[str, Any]:
    moved = calls.at(calls.moved)
    gains = math.log(2.0) - log_losses(moved)
    return groups_of(calls, moved, gains, hits(moved), blocks)


def _against(
    moved: Calls, spacing_s: int, references: Mapping[str, Calls], blocks: DayBlocks
) -> dict[str, dict[str, Difference]]:
    if (np.diff(moved.origins_s) <= 0).any():
        return {}
    out: dict[str, dict[str, Difference]] = {}
    for name, other in references.items():
        beside = other.at(other.moved)
        out[name] = {
            what: difference(moved.origins_s, loss(beside), loss(moved), spacing_s, spacing_s, blocks)
            for what, loss in (("log_loss", log_losses), ("brier", brier_losses))
        }
    return out


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
