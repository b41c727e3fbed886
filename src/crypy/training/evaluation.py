"""What an evaluation found: frozen structs that go to JSON as they are, and nothing else.

Bottom up: `Difference` and `GroupScore` are parts of `HorizonScore`, one per symbol and horizon; `WindowScore` is one question of the
prediction markets; `ModelEvaluation` has all of one model, and `Evaluation` the models that were judged on the same origins.

Scores are means over origins that overlap. Every standard error says how it was made: `hac_se` by Newey and West, all others by
a bootstrap of blocks of whole days (`training.differences`). They are `None` where the range is too short to tell. A `gain` is always
the reference's score less the model's, so that above zero the model is better.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

# Names in `coverage`, and what each should be: the share of returns at or below a quantile, or inside a central interval.
NOMINAL: Final[dict[str, float]] = {
    "below_5": 0.05,
    "below_25": 0.25,
    "below_75": 0.75,
    "below_95": 0.95,
    "inside_50": 0.50,
    "inside_80": 0.80,
    "inside_90": 0.90,
    "inside_95": 0.95,
    "inside_99": 0.99,
}
PIT_BINS: Final = 20


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A model against the reference on the same n origins: the mean of the reference's score less the model's, in the score's unit.

    `dm` is the statistic of Diebold and Mariano (1995), gain / hac_se, and `p_value` its two-sided p under the normal law. `low` and `high` hold
    95 % of the bootstrap's gains. `hac_se` rests on `hac_lag` lags of origins.
    """

    n: int
    gain: float
    se: float | None
    low: float | None
    high: float | None
    hac_se: float | None
    hac_lag: int
    dm: float | None
    p_value: float | None


class GroupScore(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of the origins of one hour of the day (`0` to `23`, UTC), regime (`calm`, `usual`, `wild`) or month (`2025-07`).

    `gain` is in nats over the reference, `None` for the reference itself. `inside_90` and `pit_ks` as in `HorizonScore`.
    """

    group: str
    n: int
    nll: float
    crps_bp: float
    inside_90: float
    pit_ks: float
    gain: float | None
    gain_se: float | None


class Daily(msgspec.Struct, frozen=True, kw_only=True):
    """Means of each UTC day that has origins, for plots over time: `day_s` is its midnight; `gain` is empty for the reference."""

    day_s: tuple[int, ...]
    n: tuple[int, ...]
    nll: tuple[float, ...]
    crps_bp: tuple[float, ...]
    gain: tuple[float, ...]


class HorizonScore(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol at one horizon.

    `nll` in nats, `crps_bp`, `pinball_bp` (keys `5`, `25`, `75`, `95`) and `sharpness_bp` (mean widths of the central intervals, keys `inside_50`,
    `inside_90`) in basis points of the log return. `coverage` has the keys of `NOMINAL`, `coverage_se` the standard errors of its values.
    `pit_ks` is the largest distance of the empirical PIT from the uniform law, `pit` the share of it in each of 20 equal bins.
    `vs` has one entry per reference: its name, then `nll` and `crps_bp`; none for the reference itself.
    """

    symbol: str
    horizon_s: int
    n: int
    nll: float
    crps_bp: float
    pinball_bp: dict[str, float]
    coverage: dict[str, float]
    coverage_se: dict[str, float | None]
    pit_ks: float
    pit: tuple[float, ...]
    sharpness_bp: dict[str, float]
    vs: dict[str, dict[str, Difference]]
    by_hour: tuple[GroupScore, ...]
    by_regime: tuple[GroupScore, ...]
    by_month: tuple[GroupScore, ...]
    daily: Daily


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    """Questions whose forecast fell into one tenth: how many, the mean forecast, the share that ended Up, and 95 % of the bootstrap's shares."""

    n: int
    forecast: float
    up: float
    low: float | None
    high: float | None


class WindowScore(msgspec.Struct, frozen=True, kw_only=True):
    """One question: windows of `duration`, asked `elapsed_s` after their start, decided by `rule`.

    `rule` is `settlement` (what the market pays by, as far as the bars can tell) or `point` (last close against first open). A
    tie that pays half counts one half. `vs` has one entry per reference: its name, then `log_loss` and `brier`.
    """

    symbol: str
    duration: str
    rule: str
    elapsed_s: int
    n: int
    up: float
    log_loss: float
    brier: float
    reliability: tuple[ReliabilityBin, ...]
    vs: dict[str, dict[str, Difference]]


class Fan(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast in full at one origin, for plots: quantiles over the horizons, and the returns that came (`None`: not known), in basis points."""

    symbol: str
    origin_s: int
    horizons_s: tuple[int, ...]
    quantiles_bp: dict[str, tuple[float, ...]]
    returns_bp: tuple[float | None, ...]


class EvaluatedRange(msgspec.Struct, frozen=True, kw_only=True):
    """Origins in `[start, end)`, ISO 8601 UTC, `spacing_s` apart, whose returns end by `end`; `in_sample` where the model has seen them."""

    start: str
    end: str
    spacing_s: int
    in_sample: bool = False


class FittedPart(msgspec.Struct, frozen=True, kw_only=True):
    """One fold: fitted on what ends by `fit_end`, judged from `test_start` to `test_end`; ISO 8601 UTC."""

    fit_start: str
    fit_end: str
    test_start: str
    test_end: str


class ModelEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All of one model. `folds` is empty where it was not fitted anew but read from an artefact."""

    model: str
    range: EvaluatedRange
    scores: tuple[HorizonScore, ...]
    windows: tuple[WindowScore, ...] = ()
    fans: tuple[Fan, ...] = ()
    folds: tuple[FittedPart, ...] = ()

    def score(self, symbol: str, horizon_s: int) -> HorizonScore:
        """Raises `KeyError` where it was not judged."""
        for one in self.scores:
            if (one.symbol, one.horizon_s) == (symbol, horizon_s):
                return one
        raise KeyError(f"{self.model} was not judged on {symbol} at {horizon_s} s")


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Models judged on the same origins of the same symbols; `reference` names the one that the others are compared with."""

    reference: str
    models: tuple[ModelEvaluation, ...]

    def of(self, model: str) -> ModelEvaluation:
        """Raises `KeyError` for a model that was not judged."""
        for one in self.models:
            if one.model == model:
                return one
        raise KeyError(f"{model!r} was not judged; there are {', '.join(each.model for each in self.models)}")

    def as_json(self) -> dict[str, Any]:
        """The first model's keys at the top, the others under `beside`, as `crypy model eval --json` prints it."""
        first, *others = (msgspec.to_builtins(one) for one in self.models)
        return {**first, "reference": self.reference, "beside": others}
