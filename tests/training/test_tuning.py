"""Tuning: what is best is really best on the folds, everything tried is counted, and no kill makes it forget."""

from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypy.distributions.scores import nll
from crypy.domain.errors import ConfigError, DataError, Unavailable
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.hindcast import hindcasts
from crypy.models.kinds import kind_of
from crypy.testing.clock import ManualClock
from crypy.training.kind_options import typed_options
from crypy.training.search_space import Choice, Real, Space
from crypy.training.trials import TrialLedger
from crypy.training.tuned import Tuned
from crypy.training.tuning import BEST, tune
from crypy.training.tuning_settings import Progress, TuningSettings
from crypy.training.walk_forward import split
from crypy.training.workers import check_address

START_S = 1_735_689_600  # 2025-01-01
KIND = "volatility-baseline"
SPACE: Space = {
    "settings.prior_strength": Real(0.1, 10.0, log=True),
    "settings.season_smoothing_s": Choice((600.0, 3_600.0)),
}


def quarter_hours(days: int = 36, seed: int = 1) -> Dataset:
    """A market of 15-minute bars whose volatility wanders."""
    rng = np.random.default_rng(seed)
    n = days * 96
    log_volatility = np.cumsum(rng.normal(size=n) * 0.05)
    log_volatility -= np.linspace(0.0, 1.0, n) * log_volatility[-1]
    close = 50_000.0 * np.exp(np.cumsum(2e-3 * np.exp(log_volatility) * rng.standard_t(5, n)))
    bars = Bars(
        "BTCUSDT", START_S, 900, close, close, close, close,
        np.ones(n), close.copy(), np.ones(n, np.int64), np.full(n, 0.5),
    )  # fmt: skip
    return Dataset.of({"BTCUSDT": bars}, spacing_s=900, horizons_s=(900, 3_600))


DATASET = quarter_hours()


def run(
    folder: Path, trials: int, *, space: Space = SPACE, dataset: Dataset = DATASET, told: Any = None, **more: Any
) -> Tuned:
    clock = ManualClock()
    return tune(
        KIND, dataset, space, folder / "study", TrialLedger(folder, clock), clock,
        TuningSettings(trials=trials, folds=2, **more), told or (lambda _: None),
    )  # fmt: skip


def gain_by_hand(options: dict[str, Any]) -> float:
    """Mean over days of the mean gain over the baseline, cell by cell, with nothing of the tuner's."""
    kind = kind_of(KIND)
    days: list[float] = []
    for fold in split(DATASET, 2, embargo_s=3_600):
        tables = []
        for chosen in (options, {}):
            model = kind.fit_on(fold.fit, **typed_options(kind, chosen))
            cast = hindcasts(model, fold.test, np.array([900.0, 3_600.0]))["BTCUSDT"]
            losses = np.full(cast.returns.shape, np.nan)
            for column in range(2):
                rows = np.isfinite(cast.returns[:, column])
                law = (cast.scale[rows, column], cast.skew[rows, column], cast.tail[rows, column])
                losses[rows, column] = nll(cast.returns[rows, column], *law)
            tables.append(losses)
        gains, day = tables[1] - tables[0], cast.origins_s // 86_400
        for each in np.unique(day):
            days.append(float(np.mean([np.nanmean(gains[day == each, column]) for column in range(2)])))
    return float(np.mean(days))


def test_the_best_is_the_best_of_what_was_tried_and_its_gain_is_true(tmp_path: Path) -> None:
    told: list[Progress] = []
    found = run(tmp_path, 4, told=told.append)
    entries = TrialLedger(tmp_path, ManualClock()).entries()
    scores = [entry.score for entry in entries]
    assert found.done == 4
    assert found.gain == max(score for score in scores if score is not None)
    assert found.gain == pytest.approx(gain_by_hand(found.settings), abs=1e-12)
    written = tomllib.loads((tmp_path / "study" / BEST).read_text())
    assert written == found.settings
    assert (
        typed_options(kind_of(KIND), written)["settings"].prior_strength == found.settings["settings"]["prior_strength"]
    )
    assert [(each.ended, each.of) for each in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert told[-1].best == found.gain


def test_the_gain_is_deflated_for_all_trials_on_the_range(tmp_path: Path) -> None:
    first = run(tmp_path / "alone", 4)
    (tmp_path / "both").mkdir()
    run(tmp_path / "both", 3, seed=5)
    (tmp_path / "both" / "study").rename(tmp_path / "both" / "other")
    second = run(tmp_path / "both", 4)
    assert first.deflated is not None
    assert second.deflated is not None
    assert (first.counted, second.counted) == (4, 7)
    assert second.gain == first.gain
    assert second.deflated.effective_trials == pytest.approx(first.deflated.effective_trials + 3)
    assert second.deflated.deflated_gain < first.deflated.deflated_gain < first.gain


def test_a_study_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 5)
    run(tmp_path / "parts", 2)
    run(tmp_path / "parts", 3)
    parts = run(tmp_path / "parts", 5)
    assert parts == whole
    assert run(tmp_path / "parts", 5) == whole, "nothing is left to do, and the result is the same"
    tried = [
        [entry.trial.settings for entry in TrialLedger(tmp_path / name, ManualClock()).entries()]
        for name in ("whole", "parts")
    ]
    assert tried[0] == tried[1]


def test_another_seed_tries_other_settings(tmp_path: Path) -> None:
    assert run(tmp_path / "a", 1).settings != run(tmp_path / "b", 1, seed=1).settings


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"seed": 3}, "seed"),
        ({"pruner": "none"}, "pruner"),
        ({"space": {"settings.prior_strength": Real(1, 2)}}, "space"),
    ],
)
def test_a_study_is_not_gone_on_with_under_another_task(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    run(tmp_path, 1)
    before = (tmp_path / "study" / "journal.log").read_bytes()
    with pytest.raises(ConfigError, match=f"begun with {word}"):
        run(tmp_path, 2, **changes)
    with pytest.raises(ConfigError, match="begun with data"):
        run(tmp_path, 2, dataset=quarter_hours(seed=2))
    assert (tmp_path / "study" / "journal.log").read_bytes() == before


def test_settings_that_cannot_be_are_failed_trials_and_counted(tmp_path: Path) -> None:
    space: Space = {"settings.prior_strength": Choice((1.0, 2.0, "strong"))}
    found = run(tmp_path, 8, space=space, seed=2)
    assert found.failed > 0
    assert found.done + found.failed == 8
    states = {entry.trial.settings: entry.state for entry in TrialLedger(tmp_path, ManualClock()).entries()}
    assert sorted(states.values()) == ["done", "done", "failed"]
    assert found.counted == 3


def test_a_space_without_a_way_out_ends_the_study_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"first 5 trials failed.*str"):
        run(tmp_path, 20, space={"settings.prior_strength": Choice(("weak", "strong"))})


def test_bad_trials_end_after_a_fold_and_are_counted(tmp_path: Path) -> None:
    # A prior that is a hundred times too strong is worse on every fold.
    found = run(tmp_path, 14, space={"settings.prior_strength": Real(0.5, 3e4, log=True)})
    assert found.pruned > 0
    assert found.done + found.pruned == 14
    states = [entry.state for entry in TrialLedger(tmp_path, ManualClock()).entries()]
    assert states.count("pruned") == found.pruned
    assert found.counted == 14


def test_no_trial_begins_after_the_time_is_up(tmp_path: Path) -> None:
    clock = ManualClock()

    class Hasty(ManualClock):
        """Each look at it takes ten minutes."""

        def now_us(self) -> int:
            self._now_us += 600_000_000
            return self._now_us

    hasty = Hasty()
    found = tune(
        KIND, DATASET, SPACE, tmp_path / "study", TrialLedger(tmp_path, clock), hasty,
        TuningSettings(trials=50, folds=2, timeout_s=1_800.0),
    )  # fmt: skip
    assert 1 <= found.done < 5


def test_what_cannot_be_asked_is_said_before_anything_is_made(tmp_path: Path) -> None:
    for wrong in ({"trials": 0}, {"folds": 0}, {"processes": 0}, {"pruner": "axe"}, {"seed": -1}):
        with pytest.raises(ConfigError):
            TuningSettings(**wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError):
        run(tmp_path, 1, embargo_s=30 * 86_400)
    assert not list(tmp_path.iterdir())


def test_a_study_has_one_writer(tmp_path: Path) -> None:
    program = (
        "import fcntl, os, sys\nos.makedirs(sys.argv[1])\nfile = open(sys.argv[1] + '/lock', 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\nprint('held', flush=True)\nsys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "study")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="already running"):
            run(tmp_path, 1)
        holder.communicate()
    assert run(tmp_path, 1).done == 1


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8786", "http://127.0.0.1:8786", "tcp://", "tcp://10.0.0.7:8786", "tcp://cluster:1"]
)
def test_pickles_go_to_this_machine_or_behind_tls_only(address: str) -> None:
    with pytest.raises(ConfigError):
        check_address(address)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:8786", "tls://cluster:8786"]
)
def test_loopback_and_tls_are_allowed(address: str) -> None:
    check_address(address)


def scores_of(folder: Path) -> dict[str, float | None]:
    return {entry.trial.settings: entry.score for entry in TrialLedger(folder, ManualClock()).entries()}


FEW: Space = {"settings.prior_strength": Choice((0.3, 3.0)), "settings.season_smoothing_s": Choice((600.0, 3_600.0))}


@pytest.mark.slow
def test_processes_and_a_dask_cluster_score_as_this_process_does(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    run(tmp_path / "here", 10, space=FEW, pruner="none")
    run(tmp_path / "processes", 10, space=FEW, pruner="none", processes=2)
    here, there = scores_of(tmp_path / "here"), scores_of(tmp_path / "processes")
    shared = here.keys() & there.keys()
    assert len(shared) >= 2
    assert {key: here[key] for key in shared} == {key: there[key] for key in shared}
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        found = run(tmp_path / "dask", 10, space=FEW, pruner="none", scheduler=cluster.scheduler_address)
    dask = scores_of(tmp_path / "dask")
    shared = here.keys() & dask.keys()
    assert found.done == 10
    assert len(shared) >= 2
    assert {key: here[key] for key in shared} == {key: dask[key] for key in shared}


@pytest.mark.slow
def test_where_no_scheduler_answers_it_is_said_and_nothing_is_tried(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="distributed is not installed")
    with pytest.raises(Unavailable, match="no dask scheduler answers"):
        run(tmp_path, 1, scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "trials.jsonl").exists()


@pytest.mark.slow
def test_kill_9_loses_no_count_and_a_second_start_goes_on(tmp_path: Path) -> None:
    program = (
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom test_tuning import run\nrun(Path(sys.argv[1]), 500)\n"
    )
    ledger = TrialLedger(tmp_path, ManualClock())
    for wanted in (2, 5):
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
        deadline = time.monotonic() + 90.0
        while len(ledger.entries()) < wanted:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        process.wait()
    begun = len(ledger.entries())
    found = run(tmp_path, begun + 3)
    states = [entry.state for entry in ledger.entries()]
    assert found.done + found.pruned + found.failed == begun + 3
    assert "begun" not in states
    # A trial that was killed between the study's line and the ledger's had tried nothing yet.
    assert 0 <= found.failed - states.count("failed") <= 2
    assert len(states) == found.counted == begun + 3 - (found.failed - states.count("failed"))


MORTAL = """
import os, signal

class Mortal:
    def __init__(self, wish="live"):
        self.wish = wish

    def fit(self, dataset):
        if self.wish == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        self.scale = 0.002

    def predict(self, features, horizons):
        raise ValueError("has nothing to say")
"""


@pytest.mark.slow
def test_a_worker_that_dies_stops_the_study_and_says_how_to_go_on(tmp_path: Path) -> None:
    file = tmp_path / "mortal.py"
    file.write_text(MORTAL)
    clock = ManualClock()
    ledger = TrialLedger(tmp_path, clock)
    with pytest.raises(Unavailable, match="start the same study again"):
        tune(
            f"{file}:Mortal", DATASET, {"wish": Choice(("die",))}, tmp_path / "study", ledger, clock,
            TuningSettings(trials=4, folds=2, processes=2),
        )  # fmt: skip
    assert {entry.state for entry in ledger.entries()} == {"begun"}
    file.write_text(f"{MORTAL}\n# edited\n")
    with pytest.raises(ConfigError, match="begun with code"):
        tune(
            f"{file}:Mortal", DATASET, {"wish": Choice(("die",))}, tmp_path / "study", ledger, clock,
            TuningSettings(trials=4, folds=2),
        )  # fmt: skip


def test_a_model_that_breaks_fails_its_trials_and_its_words_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "mortal.py"
    file.write_text(MORTAL)
    clock = ManualClock()
    with pytest.raises(DataError, match="has nothing to say"):
        tune(
            f"{file}:Mortal", DATASET, {"wish": Choice(("live",))}, tmp_path / "study", TrialLedger(tmp_path, clock), clock,
            TuningSettings(trials=9, folds=2),
        )  # fmt: skip
    (entry,) = TrialLedger(tmp_path, clock).entries()
    assert (entry.state, entry.times) == ("failed", 5)
