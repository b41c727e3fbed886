"""What `crypy model eval` does: named models and the baselines beside them, judged on one range."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from crypy.app.data.stores import Place
from crypy.app.model.data import dataset_of, models_folder
from crypy.app.model.named import Named, named
from crypy.domain.durations import DURATIONS
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.models.dataset import Dataset
from crypy.models.kinds import Kind
from crypy.models.recalibration import Recalibration
from crypy.runtime.clocks import SystemClock
from crypy.training.evaluation import Evaluation, ModelEvaluation
from crypy.training.judging import Candidate, Terms, first_origin_s, judge
from crypy.training.report import require_drawing, write_report
from crypy.training.trials import Trial, TrialLedger, settings_fingerprint
from crypy.training.walk_forward import Scheme

REFERENCE: Final = "volatility-baseline"
BESIDE: Final = (
    REFERENCE, "climatology", "climatology-normal", "seasonal", "ewma", "ewma-normal", "har", "har-season-normal", "garch",
)  # fmt: skip
_FOLDS: Final = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """The verb's arguments, read. `folds` 0: as many as suit (`evaluate_models`)."""

    models: Sequence[str]
    symbols: str
    start: str
    end: str
    horizons_s: tuple[int, ...]
    spacing_s: int
    folds: int = 0
    embargo_s: int | None = None
    scheme: Scheme = "expanding"
    against: str = ""
    beside: Sequence[str] = BESIDE
    windows: bool = False
    calibrated: bool = False
    in_sample: bool = False
    report: Path | None = None


def evaluate_models(asked: Asked, place: Place, told: Callable[[str], None]) -> Evaluation:
    """Judge the models named, `against` and the baselines `beside`; kinds walk forward over 4 folds, or are fitted once before the range
    where a fitted model is among those named, for that is not fitted anew either. With `calibrated` those named, `against` and the reference are judged
    with self-calibration besides.

    Each look at a range is counted in the trial ledger of the data folder. Raises `ConfigError`, `DataError` or `Incomplete` in words for the user.
    """
    first = [named(text, place) for text in dict.fromkeys(asked.models)]
    against = [named(asked.against, place)] if asked.against else []
    beside = [named(text, place) for text in dict.fromkeys((REFERENCE, *asked.beside)) if _usable(text)]
    chosen = {one.name: one for one in (*first, *against, *beside)}
    if asked.report is not None:
        # Before the work begins: an extra may be missing.
        require_drawing()
    dataset = dataset_of(place, asked.symbols, "", asked.end, spacing_s=asked.spacing_s, horizons_s=asked.horizons_s)
    must = {one.name for one in (*first, *against)}
    fitted = any(one.fit_end_s or not isinstance(one.what, Kind) for one in first)
    terms = Terms(
        start_s=parse_time_us(asked.start) // US_PER_S if asked.start else None,
        folds=asked.folds or (1 if fitted else _FOLDS),
        embargo_s=asked.embargo_s,
        scheme=asked.scheme,
        durations=DURATIONS if asked.windows else (),
        in_sample=asked.in_sample,
    )
    references = tuple(dict.fromkeys([REFERENCE, *(one.name for one in against)]))
    again = must | {REFERENCE} if asked.calibrated else set[str]()
    candidates = [
        replace(_candidate(one, one.name not in must), recalibration=Recalibration() if one.name in again else None)
        for one in chosen.values()
    ]
    terms = replace(terms, start_s=first_origin_s(candidates, dataset, terms))
    with _counted(first, dataset, terms, models_folder(place.data_dir)) as scores:
        result = judge(candidates, dataset, references, terms, told)
        scores.update({one.name: _mean_nll(result.of(one.name)) for one in first})
    if asked.report is not None:
        write_report(result, asked.report)
    return result


def _candidate(one: Named, optional: bool) -> Candidate:
    what = one.what
    if isinstance(what, Kind):
        return Candidate(one.name, fit=what.fit_on, optional=optional)
    return Candidate(one.name, model=what, fit_end_s=one.fit_end_s, optional=optional)


def _usable(text: str) -> bool:
    """GARCH stands beside only where its extra is installed; asked for by name it says what to install."""
    return text != "garch" or find_spec("arch") is not None


def _mean_nll(one: ModelEvaluation) -> float:
    return sum(score.nll for score in one.scores) / len(one.scores)


@contextmanager
def _counted(models: Sequence[Named], dataset: Dataset, terms: Terms, folder: Path) -> Generator[dict[str, float]]:
    """Each model's look at the range stands in the trial ledger before it happens; the dictionary takes their scores."""
    ledger = TrialLedger(folder, SystemClock())
    fingerprint = dataset.fingerprint()
    begun: dict[str, str] = {}
    for one in models:
        look = Trial(
            what="look",
            kind=one.kind,
            settings=one.fingerprint or settings_fingerprint({}),
            data=fingerprint,
            start_s=dataset.start_s if terms.start_s is None else terms.start_s,
            end_s=dataset.end_s,
            study="eval",
        )
        begun[one.name] = ledger.begin(look)
    scores: dict[str, float] = {}
    try:
        yield scores
    finally:
        for name, trial_id in begun.items():
            ledger.end(trial_id, "done" if name in scores else "failed", scores.get(name))
