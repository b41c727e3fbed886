"""The best settings of a kind of model, by trial: Optuna proposes, forward folds inside the range judge, a ledger counts.

This process alone proposes, prunes and writes; workers score one fold of one trial at a time (`training.workers`), so a study has one writer
wherever the work is done. A study is a folder: `journal.log` (Optuna's, JSON lines), and `best.toml`, the settings for
`crypy model train --settings`. Killed at any moment, it goes on where it was: what was under way counts as a failed trial. With one worker
the proposals follow from the seed and the scores alone; several workers finish in an order of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from crypy.domain.errors import DataError, Unavailable
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.models.dataset import Dataset
from crypy.models.kinds import kind_of
from crypy.models.plugin_code import code_hash
from crypy.training.fold_scores import FoldScore, FoldTask
from crypy.training.search_space import Space, nested, settings_toml, suggest
from crypy.training.study import StudyTask, ended, open_study, propose
from crypy.training.trials import Trial, TrialLedger, settings_fingerprint
from crypy.training.tuned import Tuned, tuned
from crypy.training.tuning_settings import Progress, TuningSettings
from crypy.training.walk_forward import split
from crypy.training.workers import Workers, workers

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial as OptunaTrial

BASELINE: Final = "volatility-baseline"
BEST: Final = "best.toml"
# So many first trials that all fail are no bad luck.
_HOPELESS: Final = 5


@dataclass(slots=True)
class _Running:
    trial: OptunaTrial
    options: dict[str, Any]
    ledger_id: str
    gains: list[np.ndarray[Any, np.dtype[np.float64]]] = field(default_factory=list)


def tune(
    kind: str,
    dataset: Dataset,
    space: Space,
    folder: Path,
    ledger: TrialLedger,
    clock: Clock,
    settings: TuningSettings,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Tuned:
    """Run the study in `folder` to its number of trials, and say what is best and what of that is luck.

    The score of a trial is the mean, over the days of all folds, of the daily mean log score of all symbols and horizons, less that of the
    volatility baseline fitted on the same past. Blocks. Raises `ConfigError` for a study begun with another task or folds that are too short,
    `DataError` where trial after trial fails, `Unavailable` when the workers are lost: what is done stays, and a second call goes on.
    """
    chosen = kind_of(kind)
    embargo_s = settings.embargo_s or dataset.horizons_s[-1]
    folds = split(dataset, settings.folds, embargo_s=embargo_s)
    judged = folds[0].test.start_s, folds[-1].test.end_s
    task = StudyTask(
        kind=chosen.name, code=code_hash(chosen.name), data=dataset.fingerprint(), spacing_s=dataset.spacing_s, horizons_s=dataset.horizons_s,
        folds=settings.folds, embargo_s=embargo_s, seed=settings.seed, pruner=settings.pruner, space=space,
    )  # fmt: skip
    with open_study(folder, task) as study, workers(dataset, settings.processes, settings.scheduler) as hands:
        _Run(kind, task, judged, study, ledger, hands, clock, settings, on_progress).go()
        result = tuned(study, chosen.name, ledger, judged)
        _write(folder / BEST, settings_toml(result.settings))
    return result


@dataclass(slots=True)
class _Run:
    """`kind` is what was asked for: of a class of the user's, with the path to its file."""

    kind: str
    task: StudyTask
    judged: tuple[int, int]
    study: Study
    ledger: TrialLedger
    hands: Workers
    clock: Clock
    settings: TuningSettings
    on_progress: Callable[[Progress], None]
    under_way: dict[Future[FoldScore], _Running] = field(default_factory=dict[Future[FoldScore], _Running])
    begun_us: int = 0
    begun_with: int = 0

    def go(self) -> None:
        self.begun_us = self.clock.now_us()
        self.begun_with = len(ended(self.study))
        self._close_what_was_left()
        baseline = self._baseline()
        while True:
            while len(self.under_way) < self.hands.count and self._may_begin():
                self._begin()
            if not self.under_way:
                return
            for future in wait(self.under_way, return_when=FIRST_COMPLETED).done:
                self._scored(self.under_way.pop(future), future, baseline)

    def _may_begin(self) -> bool:
        late = 0.0 < self.settings.timeout_s <= (self.clock.now_us() - self.begun_us) / US_PER_S
        return not late and len(self.study.get_trials(deepcopy=False)) < self.settings.trials

    def _close_what_was_left(self) -> None:
        """Trials of a run that died: the study knows them as failed, the ledger learns it here."""
        left = {entry.trial.id() for entry in self.ledger.entries() if entry.state == "begun"}
        for trial in ended(self.study):
            if trial.user_attrs.get("ledger") in left:
                self.ledger.end(trial.user_attrs["ledger"], "failed", None)

    def _baseline(self) -> list[FoldScore]:
        """The baseline's score of each fold, made once for a study."""
        known = self.study.user_attrs.get("baseline")
        if known is None:
            scores = [_result(self._score(BASELINE, {}, fold)) for fold in range(self.task.folds)]
            known = msgspec.to_builtins(scores)
            self.study.set_user_attr("baseline", known)
        return msgspec.convert(known, list[FoldScore])

    def _begin(self) -> None:
        trial = propose(self.study, self.task.seed, parallel=self.hands.count > 1)
        values = suggest(trial, self.task.space)
        options = nested(values)
        start_s, end_s = self.judged
        counted = Trial(
            what="trial", kind=self.task.kind, settings=self._fingerprint(options), data=self.task.data,
            start_s=start_s, end_s=end_s, study=self.study.study_name,
        )  # fmt: skip
        # The study knows the ledger's id before the ledger knows the trial: a kill between the two leaves nothing uncounted.
        trial.set_user_attr("values", values)
        trial.set_user_attr("ledger", counted.id())
        running = _Running(trial, options, self.ledger.begin(counted))
        self._ask(running)

    def _fingerprint(self, options: dict[str, Any]) -> str:
        """Of the settings and of how they are judged: on other folds the same settings are tried anew."""
        task = self.task
        how = {
            "folds": task.folds,
            "embargo_s": task.embargo_s,
            "horizons_s": task.horizons_s,
            "spacing_s": task.spacing_s,
        }
        return settings_fingerprint({"options": options, "code": task.code, **how})

    def _ask(self, running: _Running) -> None:
        self.under_way[self._score(self.kind, running.options, len(running.gains))] = running

    def _score(self, kind: str, options: dict[str, Any], fold: int) -> Future[FoldScore]:
        return self.hands.score(
            FoldTask(kind=kind, options=options, folds=self.task.folds, embargo_s=self.task.embargo_s, fold=fold)
        )

    def _scored(self, running: _Running, future: Future[FoldScore], baseline: list[FoldScore]) -> None:
        try:
            score = _result(future)
            running.gains.append(_gains(score, baseline[len(running.gains)]))
        except (Unavailable, KeyboardInterrupt):
            raise
        except Exception as error:
            # A trial is somebody's model with settings that nobody has tried: whatever it does, the study goes on.
            self._fail(running, error)
            return
        mean = float(np.concatenate(running.gains).mean())
        if len(running.gains) == self.task.folds:
            self._end(running, "done", mean)
            return
        running.trial.report(mean, len(running.gains))
        if running.trial.should_prune():
            self._end(running, "pruned", mean)
        else:
            self._ask(running)

    def _fail(self, running: _Running, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        running.trial.set_user_attr("error", reason)
        self._end(running, "failed", None)
        over = ended(self.study)
        if len(over) >= _HOPELESS and all(trial.state.name == "FAIL" for trial in over):
            raise DataError(f"all of the first {len(over)} trials failed; the last one: {reason}") from error

    def _end(self, running: _Running, state: Any, score: float | None) -> None:
        from optuna.trial import TrialState

        states = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        if running.gains:
            running.trial.set_user_attr("gains", np.concatenate(running.gains).tolist())
        self.study.tell(running.trial, score if state == "done" else None, state=states[state])
        self.ledger.end(running.ledger_id, state, score)
        self.on_progress(self._progress())

    def _progress(self) -> Progress:
        over = ended(self.study)
        scores = [trial.value for trial in over if trial.state.name == "COMPLETE" and trial.value is not None]
        spent_s = (self.clock.now_us() - self.begun_us) / US_PER_S
        left = max(0, self.settings.trials - len(over))
        eta_s = left * spent_s / max(1, len(over) - self.begun_with)
        if self.settings.timeout_s:
            eta_s = min(eta_s, max(0.0, self.settings.timeout_s - spent_s))
        return Progress(
            ended=len(over), of=self.settings.trials,
            pruned=sum(trial.state.name == "PRUNED" for trial in over),
            failed=sum(trial.state.name == "FAIL" for trial in over),
            best=max(scores, default=None), eta_s=eta_s,
        )  # fmt: skip


def _result(future: Future[FoldScore]) -> FoldScore:
    try:
        return future.result()
    except (BrokenExecutor, CancelledError) as error:
        raise Unavailable(
            f"the workers were lost ({type(error).__name__}); what was done is kept, start the same study again to go on"
        ) from error


def _gains(score: FoldScore, baseline: FoldScore) -> Any:
    if score.day_s != baseline.day_s:
        raise DataError("the model was judged on other days than the baseline: it left origins out")
    return np.array(baseline.nll) - np.array(score.nll)


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, "utf-8")
    beside.replace(path)
