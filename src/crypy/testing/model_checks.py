"""`check_model`: what is wrong with a model, told to whoever wrote it, before money finds out.

It shows that nothing of the bars at or after t reaches what is said at t. What it cannot see is a model that reads the future from elsewhere,
a file or a service: no change of the bars moves that.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from crypy.models.dataset import Dataset
from crypy.testing import model_behaviour as behaviour
from crypy.testing.check_report import Check, CheckReport, fine, skipped, wrong
from crypy.testing.check_subject import Subject, subject_of, taken
from crypy.testing.model_calibration import Judged, calibration, unit
from crypy.testing.model_fit import fitting, keeps_data, round_trip
from crypy.testing.model_history import hindcast_look_ahead, look_ahead, warm_up


def judge(subject: Subject) -> list[Check]:
    """Both checks of what the numbers mean, on the same forecasts."""
    judged = Judged(subject)
    return [unit(judged), calibration(judged, subject)]


_CRYPY: Final = Path(__file__).parents[1]
_CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[Subject], Check | list[Check]]], ...]] = (
    (("shape",), behaviour.shape),
    (("numbers",), behaviour.numbers),
    (("horizons",), behaviour.horizons),
    (("inputs kept",), behaviour.keeps_inputs),
    (("no memory",), behaviour.no_memory),
    (("look-ahead",), look_ahead),
    (("hindcast look-ahead",), hindcast_look_ahead),
    (("fit look-ahead", "fit repeats"), fitting),
    (("data kept",), keeps_data),
    (("unit", "calibration"), judge),
    (("round trip",), round_trip),
    (("threads",), behaviour.threads),
    (("warm-up",), warm_up),
    (("latency",), behaviour.latency),
)
CHECKS: Final = tuple(name for names, _ in _CHECKS for name in names)


def check_model(model: object, dataset: Dataset | None = None, *, seed: int = 0, **options: Any) -> CheckReport:
    """Every check of one model, each with a sentence.

    `model` is a class with `fit` and `predict` or an object of it, a function of a dataset (or of nothing) that makes a model, a kind by name,
    `file.py:Class`, a fitted model, or an artefact's folder. Options go to the fit. Without a dataset the synthetic market is used;
    with one the first 60 % are fitted on and the rest is judged. A model that came fitted is judged on all of it.

    Raises `ConfigError` for something that is no model. An error of the model's own is a finding, not an error.
    """
    begun = time.perf_counter()
    named = taken(model, options)
    try:
        subject = subject_of(named, dataset, seed)
    except Exception as error:  # the model is not ours: whatever it raises is what it has to be told
        checks = (
            wrong("fits", f"fit raised {_words(error)}"),
            *(skipped(name, "there is no fitted model") for name in CHECKS),
        )
        return CheckReport(
            named[0], "no data" if dataset is None else "the dataset", checks, time.perf_counter() - begun
        )
    taken_s = time.perf_counter() - begun
    first = (
        skipped("fits", "it came fitted")
        if subject.refit is None
        else fine("fits", f"data and fit took {taken_s:.1f} s", seconds=taken_s)
    )
    found, errors = [first], {}
    for names, work in _CHECKS:
        found += _made(names, work, subject, errors)
    return CheckReport(subject.name, subject.data, tuple(found), time.perf_counter() - begun)


def _made(
    names: tuple[str, ...], work: Callable[[Subject], Check | list[Check]], subject: Subject, errors: dict[str, str]
) -> list[Check]:
    """The checks of one function. An error that an earlier check met is told once; `errors` holds who met which."""
    try:
        found = work(subject)
    except Exception as error:  # as above
        words, place = _words(error), _place(error)
        if place in errors:
            return [skipped(name, f"the same error as in {errors[place]!r}") for name in names]
        errors[place] = names[0]
        return [
            wrong(names[0], f"raised {words}"),
            *(skipped(name, f"{names[0]!r} raised an error") for name in names[1:]),
        ]
    return found if isinstance(found, list) else [found]


def _words(error: Exception) -> str:
    """The error, and the line of the model's own code that it came from, if it came from there."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not _is_library(Path(one.filename))]
    at = f" (at {Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{at}"


def _place(error: Exception) -> str:
    """Kind and line: numbers in the text of an error differ from one check to the next."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {last.filename}:{last.lineno}"


def _is_library(path: Path) -> bool:
    return "site-packages" in path.parts or path.is_relative_to(_CRYPY)
