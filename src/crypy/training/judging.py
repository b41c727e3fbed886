"""Judge models on a range: kinds walk forward over it, models that are fitted already forecast it, all at the same origins.

The `model_trainer_eval(eval_start, eval_end)` of the specification. A model that has seen the range is refused, or marked, where that is
wanted: a score in sample says how well something was learned by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from crypy.domain.durations import Duration
from crypy.domain.errors import ConfigError, CrypyError
from crypy.domain.times import DAY_S, US_PER_S, iso
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.port import Model
from crypy.models.recalibration import Recalibration
from crypy.training.calibrated import calibrate, calibrated_name
from crypy.training.evaluation import EvaluatedRange, Evaluation, FittedPart
from crypy.training.scoring import evaluate
from crypy.training.walk_forward import FitOn, Scheme, WalkForward, walk_forward
from crypy.training.window_scores import score_windows
from crypy.training.windows_up import Question, WindowCasts, ask, questions

_HOUR_S: Final = 3_600
_WARM_UP_S: Final = 8 * DAY_S


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is judged: a way to fit (`fit`) or a model that was fitted on what ends by `fit_end_s` (0: on nothing).

    One that is `optional` and cannot be fitted or asked is left out and the reason told. With `recalibration` it is judged a second time with
    self-calibration, as `NAME, calibrated`.
    """

    name: str
    fit: FitOn | None = None
    model: Model | None = None
    fit_end_s: int = 0
    optional: bool = False
    recalibration: Recalibration | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """As what it stands in the results."""
        return (self.name,) if self.recalibration is None else (self.name, calibrated_name(self.name))


@dataclass(frozen=True, slots=True)
class Terms:
    """How it is judged: `start_s` is the first origin (by default where the last fitted model's data end, else the middle), then `walk_forward`'s
    own, and the durations whose windows are asked about. `in_sample` lets models be judged on what they have seen."""

    start_s: int | None = None
    folds: int = 1
    embargo_s: int | None = None
    scheme: Scheme = "expanding"
    durations: tuple[Duration, ...] = ()
    in_sample: bool = False


@dataclass(frozen=True, slots=True)
class _Cast:
    """What one candidate said."""

    hindcasts: Mapping[str, Hindcast]
    windows: WindowCasts
    walk: WalkForward | None = None


def judge(
    candidates: Sequence[Candidate],
    dataset: Dataset,
    references: Sequence[str],
    terms: Terms,
    told: Callable[[str], None] = lambda line: None,  # noqa: ARG005
) -> Evaluation:
    """Judge candidates from `terms.start_s` to the dataset's end on its horizons, compared with each of `references` (names of candidates).

    Regimes are the first reference's, cut on what its first fold was fitted on. Symbols that a candidate does not know are left out for all; `told`
    gets lines on progress and on what is left out. Raises `ConfigError` for ranges, names and symbols that cannot be, `DataError` where
    nothing can be judged, and whatever a fit raises.
    """
    _require_names(candidates, references)
    start_s = first_origin_s(candidates, dataset, terms)
    test = dataset.between(start_s, dataset.end_s)
    asked = questions(dataset.step_s, terms.durations)
    cast: dict[str, _Cast] = {}
    for candidate in candidates:
        try:
            found = _cast(candidate, dataset, test, asked, terms, told)
            cast |= dict(zip(candidate.names, found, strict=True))
        except CrypyError as error:
            if not candidate.optional or candidate.name in references:
                raise
            told(f"{candidate.name} is left out: {error}")
    symbols = _shared_symbols(cast, told)
    judged = EvaluatedRange(
        start=iso(start_s * US_PER_S), end=iso(dataset.end_s * US_PER_S), spacing_s=dataset.spacing_s
    )
    result = evaluate(
        {name: {symbol: one.hindcasts[symbol] for symbol in symbols} for name, one in cast.items()},
        references,
        judged,
        history=_history(cast[references[0]].walk, start_s, symbols),
    )
    windows = {
        name: {question: {symbol: by[symbol] for symbol in symbols} for question, by in one.windows.items()}
        for name, one in cast.items()
    }
    scored = score_windows(windows, references, test)
    seen = {name for one in candidates if one.fit_end_s > start_s for name in one.names}
    models = tuple(
        msgspec.structs.replace(
            one,
            range=msgspec.structs.replace(judged, in_sample=one.model in seen),
            windows=scored[one.model],
            folds=_parts(cast[one.model].walk),
        )
        for one in result.models
    )
    return Evaluation(reference=result.reference, models=models)


def _require_names(candidates: Sequence[Candidate], references: Sequence[str]) -> None:
    names = [name for one in candidates for name in one.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{', '.join(twice)} would be judged twice; name each model once")
    unknown = [name for name in references if name not in names]
    if unknown or not references:
        raise ConfigError(
            f"nothing called {', '.join(unknown) or '(nothing)'} is judged, so nothing can be compared with it"
        )


def first_origin_s(candidates: Sequence[Candidate], dataset: Dataset, terms: Terms) -> int:
    """Where judging begins. Raises `ConfigError` where a fitted model has seen what lies behind it."""
    ends = {one.name: one.fit_end_s for one in candidates if one.fit_end_s}
    start_s = terms.start_s
    if start_s is None:
        middle_s = dataset.start_s + (dataset.end_s - dataset.start_s) // 2
        start_s = max(ends.values()) if ends and not terms.in_sample else middle_s - middle_s % DAY_S
    seen = [f"{name} up to {iso(end_s * US_PER_S)}" for name, end_s in ends.items() if end_s > start_s]
    if seen and not terms.in_sample:
        raise ConfigError(
            f"models have seen what they are to be judged on from {iso(start_s * US_PER_S)}: {'; '.join(seen)}; begin later, or ask for"
            " a score in sample"
        )
    if start_s >= dataset.end_s:
        raise ConfigError(
            f"nothing is left to judge on: the data end {iso(dataset.end_s * US_PER_S)}, judging would begin"
            f" {iso(start_s * US_PER_S)}"
        )
    return start_s


def _cast(
    candidate: Candidate,
    dataset: Dataset,
    test: Dataset,
    asked: Sequence[Question],
    terms: Terms,
    told: Callable[[str], None],
) -> list[_Cast]:
    """What it said, and where that is asked for what it would have said calibrated."""
    if candidate.fit is not None:

        def fold_told(part: FittedPart) -> None:
            told(f"{candidate.name}: fitted up to {part.fit_end}, judged {part.test_start} to {part.test_end}")

        walk = walk_forward(
            candidate.fit, dataset, terms.folds, embargo_s=terms.embargo_s, scheme=terms.scheme,
            test_start_s=test.start_s, asked=asked, recalibration=candidate.recalibration, told=fold_told,
        )  # fmt: skip
        again = walk.calibrated
        plain = _Cast(walk.hindcasts, walk.windows, walk)
        return [plain] if again is None else [plain, _Cast(again.hindcasts, again.windows, walk)]
    model = candidate.model
    if model is None:
        raise ConfigError(f"{candidate.name} is neither a model nor a way to fit one")
    missing = [symbol for symbol in model.schema.symbols if symbol not in dataset.symbols]
    if missing:
        raise ConfigError(f"{candidate.name} looks at {', '.join(missing)} as well; give it their bars by --symbols")
    told(f"{candidate.name}: judged {iso(test.start_s * US_PER_S)} to {iso(test.end_s * US_PER_S)}")
    horizons = np.array(dataset.horizons_s, np.float64)
    plain = _Cast(hindcasts(model, test, horizons), ask(model, test, asked))
    if candidate.recalibration is None:
        return [plain]
    found = calibrate(model, test, plain.hindcasts, plain.windows, candidate.recalibration)
    return [plain, _Cast(found.hindcasts, found.windows)]


def _shared_symbols(cast: Mapping[str, _Cast], told: Callable[[str], None]) -> tuple[str, ...]:
    known = [list(one.hindcasts) for one in cast.values()]
    shared = tuple(symbol for symbol in known[0] if all(symbol in one for one in known))
    others = sorted({symbol for one in known for symbol in one} - set(shared))
    if not shared:
        raise ConfigError(f"the models have no symbol in common: {'; '.join(', '.join(one) for one in known)}")
    if others:
        told(f"left out, for not every model forecasts them: {', '.join(others)}")
    return shared


def _history(walk: WalkForward | None, start_s: int, symbols: Sequence[str]) -> dict[str, Hindcast] | None:
    """Hourly hindcasts of the first fold's model over what it was fitted on, its warm-up left out; `None` where there is none."""
    if walk is None:
        return None
    fit = walk.folds[0].fit
    begin_s = fit.start_s + min(_WARM_UP_S, (fit.end_s - fit.start_s) // 4)
    horizons = next(iter(walk.hindcasts.values())).horizons_s
    past = fit.between(begin_s, min(fit.end_s, start_s))
    found = hindcasts(walk.models[0], past.every(max(_HOUR_S, fit.spacing_s)), horizons)
    return {symbol: found[symbol] for symbol in symbols}


def _parts(walk: WalkForward | None) -> tuple[FittedPart, ...]:
    return () if walk is None else tuple(fold.part() for fold in walk.folds)
