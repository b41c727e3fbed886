"""Recalibration: a model's laws corrected by its own recent errors, by horizon and by the clock of the hour.

Markets change, and a model that was fitted once becomes overconfident. Two things are learned from forecasts whose horizon has ended:

- per horizon a factor on the scale, a shift of log(tail - 2) and a shift of the skew, joined between the learned horizons
  by straight lines in the log of the horizon, so a law for the time left in a window is corrected as one of that horizon;
- the clock of the hour: how the variance of an hour spreads over its minutes. Prices move most just after each quarter of an hour
  and least just before, so with the horizon alone the last minutes of every window would be forecast too wide (by
  15 to 20 % for BTC and ETH, in each of three quarters). This is what time left in a window means, beyond the horizon. As
  a variance over time it adds up: one curve for all windows that end at the same moment, and none that falls.

All is bounded, fades with a half-life, counts overlapping returns by what they are worth and is nothing where there is no
evidence. No look-ahead: at origin t only returns over (t', t' + h] with t' + h <= t have been folded; the price at t is known
at t, for it is the one forecast from. The arithmetic is in `recalibration_kernel`; live (`forecasting.calibrating`) and offline run the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.times import DAY_S
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.port import Model
from crypy.models.recalibration_beliefs import COLUMNS, HOUR_S, Beliefs, Rules
from crypy.models.recalibration_kernel import recalibrate_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SLOTS_S: Final = (60, 300, 900)
WARM_UP_S: Final = 56 * DAY_S
# Before any forecast was kept; far enough that the first one counts as independent of what came before.
_NEVER_S: Final = -(10**12)
# Of forecasts that overlap more than this, every one tells what its neighbour told.
_OVERLAPS: Final = 16
_CLOSEST_S: Final = 60
_TABLES: Final = ("returns", "scale", "skew", "tail")


@dataclass(frozen=True, slots=True)
class Recalibration:
    """How to recalibrate. The defaults were chosen on forward folds of real minutes (`benchmarks/recalibration.py`).

    It learns at `horizons_s`, as far as a model is asked for them; of the last one's correction `share_beyond` holds from `beyond_s` on (a return of a
    day tells too little of itself). Deviations say how far a correction is believed to lie from none before any evidence (standard deviations of
    the log scale, of log(tail - 2), of the skew), `most_...` where it ends: a scale is at most doubled or halved. A misjudgement lasts: returns
    closer than `persistence_s` share their evidence, however short their horizon. Scales that were wrong in one direction by more
    than `surprise` standard errors over the last days are another market: what was learned before is let go. `clock` False
    leaves the hour alone. Raises `ConfigError` for values that make no sense.
    """

    horizons_s: tuple[int, ...] = (5, 20, 60, 300, 900, 3_600)
    beyond_s: int = 14_400
    share_beyond: float = 0.5
    half_life_days: float = 20.0
    recent_half_life_days: float = 2.0
    surprise: float = 4.0
    persistence_s: float = 1_800.0
    scale_deviation: float = 0.1
    tail_deviation: float = 0.3
    skew_deviation: float = 0.03
    most_scale: float = 0.7
    most_tail: float = 1.0
    most_skew: float = 0.1
    clock: bool = True
    clock_half_life_days: float = 60.0
    clock_deviation: float = 0.1
    most_clock: float = 0.5

    def __post_init__(self) -> None:
        positive = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("horizons_s", "clock", "share_beyond") and not 0.0 < getattr(self, name) < math.inf
        }
        if positive:
            raise ConfigError(f"recalibration needs positive numbers, got {positive}")
        if not self.horizons_s or list(self.horizons_s) != sorted(set(self.horizons_s)) or self.horizons_s[0] <= 0:
            raise ConfigError(f"recalibration learns at horizons that ascend from above zero, got {self.horizons_s}")
        if self.beyond_s <= self.horizons_s[-1] or not 0.0 <= self.share_beyond <= 1.0:
            raise ConfigError(
                f"recalibration keeps a share between 0 and 1 of its last horizon's correction from a longer horizon on, "
                f"got {self.share_beyond} from {self.beyond_s} s on, the last horizon being {self.horizons_s[-1]} s"
            )

    def rules(self, horizons_s: Floats, spacing_s: int) -> Rules:
        """What the kernels need for a model that is asked for these horizons every `spacing_s` seconds.

        The clock has the finest slots that forecasts come often enough for. Raises `ConfigError` where no horizon is one to learn at.
        """
        asked = {int(horizon) for horizon in horizons_s if horizon == int(horizon)}
        knots = [horizon for horizon in self.horizons_s if horizon in asked]
        if not knots:
            raise ConfigError(
                f"recalibration learns at {self.horizons_s} s, and none of them is forecast: {sorted(asked)} s"
            )
        slots = [slot for slot in SLOTS_S if slot in asked and slot >= spacing_s and slot % spacing_s == 0]
        horizons = np.array(knots, np.int64)
        return Rules(
            horizons_s=horizons,
            log_horizons=np.log(horizons.astype(np.float64)),
            span_s=np.maximum(horizons.astype(np.float64), self.persistence_s),
            spacing_s=np.maximum(_CLOSEST_S, horizons // _OVERLAPS),
            precision=np.array([self.scale_deviation, self.tail_deviation, self.skew_deviation]) ** -2.0,
            bounds=np.array([self.most_scale, self.most_tail, self.most_skew]),
            half_life_s=self.half_life_days * DAY_S,
            log_beyond=math.log(self.beyond_s),
            share_beyond=self.share_beyond,
            recent_half_life_s=self.recent_half_life_days * DAY_S,
            surprise=self.surprise,
            slot_s=slots[0] if self.clock and slots else 0,
            slot_precision=self.clock_deviation**-2.0,
            slot_bound=self.most_clock,
            slot_half_life_s=self.clock_half_life_days * DAY_S,
        )


def nothing_learned(rules: Rules) -> Beliefs:
    """The beliefs before any evidence: they correct nothing."""
    knots, slots = len(rules.horizons_s), HOUR_S // rules.slot_s if rules.slot_s else 0
    return Beliefs(
        np.zeros((knots, COLUMNS)),
        np.zeros(knots, np.int64),
        np.full(knots, _NEVER_S, np.int64),
        np.zeros((slots, 2)),
        np.zeros(slots, np.int64),
    )


def recalibrate(cast: Hindcast, settings: Recalibration | None = None, before: Hindcast | None = None) -> Hindcast:
    """The hindcast with each origin's laws corrected by what had ended by then; returns and origins stay.

    `before` holds the model's forecasts of the weeks before, to begin with something learned; its origins end before the first of `cast`.
    Raises `DataError` where the two do not fit or origins do not ascend, `ConfigError` where no horizon is one to learn at.
    """
    whole = cast if before is None else _joined(before, cast)
    steps = np.diff(whole.origins_s)
    rules = (settings or Recalibration()).rules(cast.horizons_s, int(steps.min()) if len(steps) else 1)
    corrected, _ = fold(whole, rules)
    first = len(whole.origins_s) - len(cast.origins_s)
    return replace(cast, scale=corrected.scale[first:], skew=corrected.skew[first:], tail=corrected.tail[first:])


def recalibrated_hindcasts(
    model: Model,
    dataset: Dataset,
    horizons_s: Floats,
    settings: Recalibration | None = None,
    *,
    warm_up_s: int = WARM_UP_S,
    every_s: int | None = None,
) -> dict[str, Hindcast]:
    """`hindcasts` as they would have been with recalibration: of the dataset's origins and these horizons, by symbol.

    It learns from forecasts at the horizons of the settings besides, every `every_s` seconds (the distance of the dataset's origins by default;
    60 gives the clock slots of a minute, which the ends of windows need), and begins `warm_up_s` before the range as far as there are
    bars. Forecasts from where the model was fitted are a little too good to be learned from. Raises `ConfigError` for an `every_s` that the origins are not multiples of.
    """
    chosen = settings or Recalibration()
    if every_s and (dataset.spacing_s % every_s or dataset.offset_s % every_s or every_s % dataset.step_s):
        raise ConfigError(
            f"forecasts every {every_s} s do not meet origins every {dataset.spacing_s} s (and {dataset.offset_s} s) on bars of {dataset.step_s} s"
        )
    every = np.union1d(horizons_s, _teaching_s(chosen, dataset)).astype(np.float64)
    longer = _with_warm_up(model, dataset, warm_up_s, every_s or dataset.spacing_s)
    columns = np.searchsorted(every, horizons_s)
    out: dict[str, Hindcast] = {}
    for symbol, cast in hindcasts(model, longer, every).items():
        corrected = recalibrate(cast, chosen)
        rows = np.flatnonzero(np.isin(cast.origins_s, dataset.origins_s()))
        tables = {name: getattr(corrected, name)[np.ix_(rows, columns)] for name in _TABLES}
        out[symbol] = Hindcast(cast.origins_s[rows], horizons_s, **tables)
    return out


def teaching_hindcasts(
    model: Model, dataset: Dataset, settings: Recalibration | None = None, *, warm_up_s: int = WARM_UP_S
) -> dict[str, Hindcast]:
    """Forecasts to learn from for `corrected_by`, by symbol: at the horizons of the settings, every minute or bar where bars are longer, from
    `warm_up_s` before the dataset's range, as far as there are bars, to its end."""
    chosen = settings or Recalibration()
    apart_s = _CLOSEST_S if _CLOSEST_S % dataset.step_s == 0 else dataset.step_s
    every = np.unique(_teaching_s(chosen, dataset)).astype(np.float64)
    return hindcasts(model, replace(_with_warm_up(model, dataset, warm_up_s, apart_s), offset_s=0), every)


def corrected_by(
    teaching: Hindcast, casts: Sequence[Hindcast], settings: Recalibration | None = None
) -> tuple[Hindcast, ...]:
    """One symbol's hindcasts, at any origins and horizons, each law corrected by what of `teaching` had ended by its origin.

    All are of one model; only `teaching` is learned from, at its regular origins. Raises `ConfigError` where no horizon of it is one to learn at.
    """
    apart_s = int(np.diff(teaching.origins_s[:2]).sum()) or 1
    rules = (settings or Recalibration()).rules(teaching.horizons_s, apart_s)
    origins_s = np.unique(np.concatenate([one.origins_s for one in (teaching, *casts)]))
    horizons_s = np.unique(np.concatenate([one.horizons_s for one in (teaching, *casts)]))
    # Nothing is known of a moment and horizon that nobody asked for, and nothing is learned from it.
    tables = {name: np.full((len(origins_s), len(horizons_s)), np.nan) for name in _TABLES}
    at = [
        np.ix_(np.searchsorted(origins_s, one.origins_s), np.searchsorted(horizons_s, one.horizons_s))
        for one in (*casts, teaching)
    ]
    for one, where in zip((*casts, teaching), at, strict=True):
        for name, table in tables.items():
            table[where] = getattr(one, name)
    found, _ = fold(Hindcast(origins_s, horizons_s, **tables), rules, np.isin(origins_s, teaching.origins_s))
    return tuple(
        replace(one, scale=found.scale[where], skew=found.skew[where], tail=found.tail[where])
        for one, where in zip(casts, at[:-1], strict=True)
    )


def fold(cast: Hindcast, rules: Rules, learns: Bools | None = None) -> tuple[Hindcast, Beliefs]:
    """The corrected hindcast, and what is believed after its last origin. `learns` [n] says which origins are learned from, all by default.

    Raises `DataError` where origins do not ascend or a horizon of the rules is not forecast.
    """
    if (np.diff(cast.origins_s) <= 0).any():
        raise DataError("origins to recalibrate at do not ascend")
    asked = [int(horizon) for horizon in cast.horizons_s]
    missing = [horizon for horizon in learned_at(rules) if horizon not in asked]
    if missing:
        raise DataError(f"forecasts to recalibrate have horizons {asked} s and lack {missing} s")
    beliefs = nothing_learned(rules)
    laws = [np.ascontiguousarray(table, np.float64) for table in (cast.scale, cast.skew, cast.tail)]
    out = [np.empty_like(table) for table in laws]
    recalibrate_rows(
        beliefs, rules, np.array([asked.index(int(horizon)) for horizon in rules.horizons_s], np.int64),
        asked.index(rules.slot_s) if rules.slot_s else -1,
        np.ones(len(cast.origins_s), np.bool_) if learns is None else learns,
        np.ascontiguousarray(cast.origins_s, np.int64), np.ascontiguousarray(cast.horizons_s, np.float64),
        np.ascontiguousarray(cast.returns, np.float64), laws[0], laws[1], laws[2], out[0], out[1], out[2],
    )  # fmt: skip
    return replace(cast, scale=out[0], skew=out[1], tail=out[2]), beliefs


def learned_at(rules: Rules) -> tuple[int, ...]:
    """Every horizon whose forecasts are learned from, the clock's slot among them; ascending."""
    slot = {rules.slot_s} if rules.slot_s else set[int]()
    return tuple(sorted({int(horizon) for horizon in rules.horizons_s} | slot))


def _teaching_s(settings: Recalibration, dataset: Dataset) -> list[int]:
    return [horizon for horizon in (*settings.horizons_s, *SLOTS_S) if horizon % dataset.step_s == 0]


def _with_warm_up(model: Model, dataset: Dataset, warm_up_s: int, apart_s: int) -> Dataset:
    """The range and what lies up to `warm_up_s` before it, as far as there are bars and the model's history before them."""
    held = dataset.mapped or dataset.bars
    first_s = min(held[symbol].start_s for symbol in model.schema.symbols) + model.schema.history_s
    start_s = min(dataset.start_s, max(first_s, dataset.start_s - warm_up_s))
    return replace(dataset, start_s=start_s, spacing_s=apart_s, offset_s=dataset.offset_s % apart_s)


def _joined(before: Hindcast, cast: Hindcast) -> Hindcast:
    if not np.array_equal(before.horizons_s, cast.horizons_s):
        raise DataError(f"forecasts before have horizons {before.horizons_s} s, not {cast.horizons_s} s")
    if len(before.origins_s) and len(cast.origins_s) and before.origins_s[-1] >= cast.origins_s[0]:
        raise DataError("forecasts before reach into the range that is recalibrated")
    names = ("origins_s", *_TABLES)
    return replace(cast, **{name: np.concatenate([getattr(before, name), getattr(cast, name)]) for name in names})
