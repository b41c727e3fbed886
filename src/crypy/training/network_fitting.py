"""Fit a skew-t network on a dataset: the baseline, the inputs' statistics, the members; then the model with its record.

With a held-out share everything is fitted on what lies before it, an embargo of the longest horizon between the two; nothing behind the
training part moves a weight, and the held-out part only says when to stop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import msgspec

from crypy.distributions.training_twin import log_density
from crypy.domain.errors import ConfigError
from crypy.domain.ports import Clock
from crypy.models.dataset import Dataset
from crypy.models.fitting import fit_on
from crypy.models.network.input_statistics import fit_inputs
from crypy.models.network.modules import build, corrected
from crypy.models.network.settings import NetworkSettings
from crypy.models.skew_t_network import SkewTNetwork
from crypy.models.volatility import FitRecord, VolatilityBaseline
from crypy.runtime.clocks import SystemClock
from crypy.training.examples import Examples
from crypy.training.held_out import split
from crypy.training.in_sample import mean_nll
from crypy.training.progress import Meter, TrainingProgress
from crypy.training.run_settings import described, network_settings
from crypy.training.sampling import durations_of
from crypy.training.trainer import Member, Plan, Trainer, rows_per_batch
from crypy.training.trainer_settings import LONGEST_S, TrainerSettings


@dataclass(frozen=True, slots=True)
class ModelTrainer:
    """Trains on any range of one dataset; the specification's `model_trainer_run`."""

    dataset: Dataset
    network: NetworkSettings | None = None
    trainer: TrainerSettings | None = None

    def run(
        self,
        train_start_s: int,
        train_end_s: int,
        *,
        checkpoints: Path | None = None,
        on_progress: Callable[[TrainingProgress], None] | None = None,
    ) -> SkewTNetwork:
        """The network fitted on `[train_start_s, train_end_s)`; see `fit_network`."""
        return fit_network(
            self.dataset.between(train_start_s, train_end_s),
            network=self.network,
            trainer=self.trainer,
            checkpoints=checkpoints,
            on_progress=on_progress,
        )


def fit_network(
    dataset: Dataset,
    *,
    network: NetworkSettings | None = None,
    trainer: TrainerSettings | None = None,
    baseline: VolatilityBaseline | None = None,
    checkpoints: Path | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    clock: Clock | None = None,
) -> SkewTNetwork:
    """A skew-t network fitted on the dataset's range.

    `network` is what is usual for the bars' step where it is not given; a `baseline` that is given must have been fitted before what is held out.
    `checkpoints` is a folder where work is saved and taken up again; `clock` tells when, and measures speed. Needs the extra `train`.

    Raises `ConfigError` for settings that cannot be and for a checkpoint of another run, `Incomplete` for too little history, `DataError` where
    training leaves all bounds.
    """
    settings = trainer or TrainerSettings()
    look = network or NetworkSettings.for_step(dataset.step_s)
    watch = clock or SystemClock()
    chosen = dataset if not settings.spacing_s else _spaced(dataset, settings.spacing_s)
    durations, _ = durations_of(settings, dataset.step_s)
    learnt, held_out = split(chosen, settings.validation_share, min(2 * int(durations[-1]), LONGEST_S))
    tell = on_progress or _nobody
    tell(_stage("fitting the baseline", look, settings))
    base = baseline or fit_on(learnt)
    tell(_stage("fitting the inputs", look, settings))
    inputs = fit_inputs(learnt, base, look)
    tell(_stage("making inputs of all origins", look, settings))
    keep_bytes = settings.keep_mb * 1_000_000
    examples = Examples.of(learnt, base, inputs, keep_bytes)
    seen = None if held_out is None else Examples.of(held_out, base, inputs, keep_bytes, faded=True)
    run = described(dataset, base, look, settings)
    plan = Plan(settings, look.members, examples, seen, lambda key: build(look, inputs, key), _likelihood, run)
    rows = rows_per_batch(examples, settings, jax.device_count())
    meter = Meter(watch, on_progress, look.members, settings.epochs, len(examples) // rows, rows * len(inputs.symbols))
    members = Trainer(plan, meter, watch, checkpoints).run()
    tell(_stage("scoring", look, settings))
    model = SkewTNetwork.of(base, look, inputs, [member.module for member in members], FitRecord())
    return model.with_record(
        FitRecord(
            dataset.start_s,
            dataset.end_s,
            dataset.fingerprint(),
            mean_nll(model, learnt),
            _settings(model, held_out, settings, members),
            seed=settings.seed,
            made_us=watch.now_us(),
        )
    )


def fit_from_options(
    dataset: Dataset,
    *,
    network: dict[str, Any] | None = None,
    trainer: TrainerSettings | None = None,
    checkpoints: Path | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
) -> SkewTNetwork:
    """`fit_network` where `network` has only the fields that differ from what is usual for the bars' step, as settings files and tuning have them."""
    return fit_network(
        dataset,
        network=network_settings(dataset.step_s, network or {}),
        trainer=trainer,
        checkpoints=checkpoints,
        on_progress=on_progress,
    )


def _settings(
    model: SkewTNetwork, held_out: Dataset | None, trainer: TrainerSettings, members: list[Member]
) -> dict[str, Any]:
    """What the card says of the training: settings, steps of each member, and gains over the baseline on the held-out range, symbol by symbol."""
    told: dict[str, Any] = {
        "trainer": msgspec.to_builtins(trainer),
        "trained_steps": [member.record.steps for member in members],
    }
    if held_out is None:
        return told
    gains: dict[str, dict[str, float]] = {}
    for ours, theirs in zip(mean_nll(model, held_out), mean_nll(model.baseline, held_out), strict=True):
        gains.setdefault(ours.symbol, {})[f"{ours.horizon_s:.0f}"] = round(theirs.nll - ours.nll, 6)
    return {**told, "held_out_start_s": held_out.start_s, "held_out_gain": gains}


def _likelihood(
    corrections: jax.Array, fade: jax.Array, skew: jax.Array, tail: jax.Array, returns: jax.Array
) -> jax.Array:
    """Negative log likelihood of returns over the baseline's scale under its law, corrected."""
    log_scale, turned, weighed = corrected(jax.numpy.zeros_like(returns), skew, tail, corrections, fade)
    return -log_density(returns, log_scale, turned, weighed)


def _spaced(dataset: Dataset, spacing_s: int) -> Dataset:
    if spacing_s % dataset.step_s:
        raise ConfigError(f"spacing_s = {spacing_s} is no multiple of the bars' {dataset.step_s} s")
    return dataset.every(spacing_s)


def _stage(doing: str, network: NetworkSettings, trainer: TrainerSettings) -> TrainingProgress:
    return TrainingProgress(doing, 1, network.members, 0.0, trainer.epochs, 0, 0)


def _nobody(_: TrainingProgress) -> None:
    pass
