"""A study on disk: Optuna's journal in a folder, one writer, and what a killed run left behind put right."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.trade_locks import only_one
from crypy.runtime.durable import cut_torn_line
from crypy.training.search_space import Dimension

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial, Trial

JOURNAL: Final = "journal.log"
PRUNERS: Final = ("median", "hyperband", "none")
# Trials that are drawn blindly, and never pruned, before the first guess is made.
_START_UP: Final = 8


class StudyTask(msgspec.Struct, frozen=True, kw_only=True):
    """What a study is about. It can only be gone on with under the same task: scores of another one cannot be compared.

    `code` is the SHA-256 of the file of a class of the user's, empty for other kinds.
    """

    kind: str
    code: str
    data: str
    spacing_s: int
    horizons_s: tuple[int, ...]
    folds: int
    embargo_s: int
    seed: int
    pruner: str
    space: Mapping[str, Dimension]


@contextmanager
def open_study(folder: Path, task: StudyTask) -> Generator[Study]:
    """Begin the study in this folder, or go on with it; trials that a dead process left under way are failed ones.

    Raises `ConfigError` where Optuna is missing, another process has the study, or it was begun with another task; `DataError` for a
    journal that is damaged.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    except ModuleNotFoundError as error:
        raise ConfigError(f"tuning needs {error.name}; install it with `pip install 'crypy[train]'`") from error

    class Held(JournalFileOpenLock):
        """The study's own lock is held all the while, and dies with its holder; Optuna's would outlive a kill."""

        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            return None

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / JOURNAL
    with only_one(folder / "lock", "this study"), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        cut_torn_line(path)
        try:
            storage = JournalStorage(JournalFileBackend(str(path), Held(str(path))))
            known = optuna.get_all_study_names(storage)
            if known and known != [folder.name]:
                raise ConfigError(
                    f"{folder} holds the study {known[0]}: give it its name back, or take another --study"
                )
            begin = optuna.load_study if known else partial(optuna.create_study, direction="maximize")
            study = begin(study_name=folder.name, storage=storage, pruner=_pruner(task.pruner, task.folds))
        except (ValueError, KeyError) as error:
            raise DataError(f"{path} is damaged: {error}; move the study's folder away or take another name") from error
        _same_task(study, task)
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        yield study


def propose(study: Study, seed: int, *, parallel: bool) -> Trial:
    """The next trial. Its randomness follows from seed and number, so that a study that was interrupted goes on as it would have."""
    from optuna.samplers import TPESampler

    number = len(study.get_trials(deepcopy=False))
    drawn = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    study.sampler = TPESampler(seed=drawn, n_startup_trials=_START_UP, constant_liar=parallel)
    return study.ask()


def ended(study: Study) -> tuple[FrozenTrial, ...]:
    """The trials that are over, in the order of their numbers."""
    return tuple(trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished())


def _same_task(study: Study, task: StudyTask) -> None:
    wanted: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(task))
    begun = study.user_attrs.get("task")
    if begun is None:
        study.set_user_attr("task", wanted)
        return
    for name, value in wanted.items():
        if begun.get(name) != value:
            raise ConfigError(
                f"study {study.study_name} was begun with {name} = {_short(begun.get(name))}, now it is {_short(value)};"
                " go on with the same, or begin another study by --study"
            )


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:60]}..."


def _pruner(name: str, folds: int) -> BasePruner:
    from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

    match name:
        case "median":
            return MedianPruner(n_startup_trials=_START_UP)
        case "hyperband":
            return HyperbandPruner(min_resource=1, max_resource=folds, reduction_factor=2)
        case "none":
            return NopPruner()
        case _:
            raise ConfigError(f"there is no pruner {name!r}; choose from {', '.join(PRUNERS)}")
