"""What a study has found: the best settings, and what is left of their gain after deflation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from crypy.domain.errors import DataError, Incomplete
from crypy.training.deflation import Deflated, deflate, effective_trials
from crypy.training.search_space import nested
from crypy.training.study import ended
from crypy.training.trials import TrialLedger

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """The best complete trial. `gain` is raw, in nats over the baseline; `deflated` is `None`, and `why` says why, where days are too few.

    `done`, `pruned` and `failed` are this study's; `counted` are the different trials and looks that have seen its folds, other studies' included.
    """

    kind: str
    study: str
    done: int
    pruned: int
    failed: int
    counted: int
    best_trial: int
    settings: dict[str, Any]
    gain: float
    deflated: Deflated | None
    why: str = ""


def tuned(study: Study, kind: str, ledger: TrialLedger, judged: tuple[int, int]) -> Tuned:
    """Of a study whose folds lie in `judged`, seconds. Raises `DataError` where no trial is complete."""
    over = ended(study)
    complete = [trial for trial in over if trial.state.name == "COMPLETE"]
    if not complete:
        raise DataError(
            f"study {study.study_name} has no complete trial among {len(over)}; more --trials, or a longer --timeout, go on with it"
        )
    # Of equal scores the first: a study that goes on does not change its mind without reason.
    best = max(complete, key=lambda trial: (trial.value or 0.0, -trial.number))
    counted = ledger.count(*judged)
    deflated, why = _deflated(best, over, counted)
    return Tuned(
        kind=kind,
        study=study.study_name,
        done=len(complete),
        pruned=sum(trial.state.name == "PRUNED" for trial in over),
        failed=sum(trial.state.name == "FAIL" for trial in over),
        counted=counted,
        best_trial=best.number,
        settings=nested(best.user_attrs["values"]),
        gain=float(best.value or 0.0),
        deflated=deflated,
        why=why,
    )


def _deflated(best: FrozenTrial, over: tuple[FrozenTrial, ...], counted: int) -> tuple[Deflated | None, str]:
    """What the ledger has counted beyond this study's scored trials is taken as independent of them, and of each other."""
    gains = {trial.user_attrs["ledger"]: trial.user_attrs["gains"] for trial in over if "gains" in trial.user_attrs}
    days = max(len(each) for each in gains.values())
    table = np.full((len(gains), days), np.nan)
    for row, each in enumerate(gains.values()):
        table[row, : len(each)] = each
    effective = effective_trials(table) + max(0, counted - len(gains))
    try:
        return deflate(np.array(best.user_attrs["gains"]), counted, effective), ""
    except Incomplete as error:
        return None, str(error)
