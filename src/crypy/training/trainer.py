"""Train the members of an ensemble: batches in, weights out, with looks at the held-out range, checkpoints and reports on the way.

What a step does depends on seed, member and step alone, so a run that goes on from a checkpoint ends with the very bits of an undisturbed one
on the same machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from crypy.domain.errors import ConfigError, DataError, Incomplete
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S
from crypy.training.checkpoints import Arrays, Checkpoint, MemberRecord, keep_checkpoint, read_checkpoint
from crypy.training.examples import Examples, made_ahead
from crypy.training.held_out import evaluated
from crypy.training.progress import Meter
from crypy.training.sampling import draw_horizons, epoch_order
from crypy.training.train_step import (
    Batch,
    Devices,
    Likelihood,
    Sums,
    make_losses,
    make_step,
    member_key,
    optimiser,
    step_key,
)
from crypy.training.trainer_settings import TrainerSettings

Tree = Any


@dataclass(frozen=True, slots=True)
class Member:
    """A trained network and how it came to be."""

    module: Tree
    record: MemberRecord


@dataclass(frozen=True, slots=True)
class Plan:
    """What all members share. `build` gives an untrained module from a key; `run` says what a checkpoint must agree with."""

    settings: TrainerSettings
    members: int
    examples: Examples
    held_out: Examples | None
    build: Callable[[jax.Array], Tree]
    likelihood: Likelihood
    run: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Standing:
    """A member after a step; replaced whole, so that an interrupt finds either this step or the one before."""

    parameters: Tree
    state: Tree
    record: MemberRecord = field(default_factory=MemberRecord)
    best: Tree | None = None


class Trainer:
    """Trains the members of a plan one after another, from the checkpoint in `folder` on where there is one."""

    def __init__(self, plan: Plan, meter: Meter, clock: Clock, folder: Path | None = None) -> None:
        self._plan = plan
        self._meter = meter
        self._clock = clock
        self._folder = folder
        self._devices = Devices()
        examples, settings = plan.examples, plan.settings
        self._rows = rows_per_batch(examples, settings, self._devices.count)
        self._per_epoch = len(examples) // self._rows
        self._steps = settings.epochs * self._per_epoch
        self._static = eqx.partition(plan.build(member_key(0, 0)), eqx.is_inexact_array)[1]
        self._optimiser = optimiser(
            self._steps, settings.learning_rate, settings.warm_up_share, settings.weight_decay, settings.clip_norm
        )
        self._step = make_step(self._static, plan.likelihood, self._optimiser)
        self._losses = make_losses(self._static, plan.likelihood)
        self._order = (-1, -1, np.empty(0, np.int64))
        self._finished: list[tuple[MemberRecord, Arrays]] = []

    def run(self) -> list[Member]:
        """All members, trained. `KeyboardInterrupt` leaves a checkpoint behind.

        Raises `ConfigError` for a checkpoint of another run, `DataError` where the loss is not a number any more.
        """
        found = None if self._folder is None else read_checkpoint(self._folder, self._plan.run)
        if found is not None:
            self._finished = list(found.finished)
        while len(self._finished) < self._plan.members:
            member = len(self._finished)
            standing = self._begin(member)
            if found is not None and found.parameters:
                standing = self._resumed(standing, found)
            found = None
            done = self._train(member, standing)
            self._finished.append((done.record, _leaves(done.parameters if done.best is None else done.best)))
            self._keep(None)
        like = self._begin(0).parameters
        return [Member(eqx.combine(_restored(like, arrays), self._static), record) for record, arrays in self._finished]

    def _begin(self, member: int) -> _Standing:
        module = self._plan.build(member_key(self._plan.settings.seed, member))
        parameters = self._devices.copied(eqx.partition(module, eqx.is_inexact_array)[0])
        # The untrained network is the baseline: what never gets better than that on the held-out range stays it.
        best = None if self._plan.held_out is None else parameters
        return _Standing(parameters, self._devices.copied(self._optimiser.init(parameters)), best=best)

    def _resumed(self, begun: _Standing, found: Checkpoint) -> _Standing:
        return _Standing(
            self._devices.copied(_restored(begun.parameters, found.parameters)),
            self._devices.copied(_restored(begun.state, found.optimiser)),
            found.record,
            self._devices.copied(_restored(begun.parameters, found.best)) if found.best else None,
        )

    def _train(self, member: int, standing: _Standing) -> _Standing:
        settings = self._plan.settings
        steps = range(standing.record.steps, self._steps)
        saved_us, since = self._clock.now_us(), _nothing()
        if self._is_over(standing):
            return standing
        try:
            with closing(made_ahead(lambda step: self._batch(member, step), steps)) as batches:
                for step, batch in zip(steps, batches, strict=True):
                    parameters, state, sums = self._step(
                        standing.parameters, standing.state, self._devices.spread(batch), step_key(settings.seed, member, step)
                    )  # fmt: skip
                    since = Sums(*(left + right for left, right in zip(since, sums, strict=True)))
                    after = replace(standing, parameters=parameters, state=state, record=_stepped(standing.record))
                    # Whole with its look, or not at all: an interrupt between the two would skip the look for good.
                    standing = self._looked(member, after)
                    self._meter.stepped()
                    if self._meter.is_due or step + 1 == self._steps:
                        since = self._told(member, step + 1, since)
                    if self._is_over(standing):
                        break
                    elapsed_s = (self._clock.now_us() - saved_us) / US_PER_S
                    if (step + 1) % settings.checkpoint_steps == 0 or elapsed_s >= settings.checkpoint_s:
                        self._keep(standing)
                        saved_us = self._clock.now_us()
        except KeyboardInterrupt:
            self._keep(standing)
            raise
        _require_finite(standing.parameters, member, standing.record.steps, settings)
        return standing

    def _batch(self, member: int, step: int) -> Batch:
        epoch, at = divmod(step, self._per_epoch)
        rows = self._epoch(member, epoch)[at * self._rows : (at + 1) * self._rows]
        horizons_s, weights = draw_horizons(
            self._plan.settings, member, step, len(rows), self._plan.examples.dataset.step_s
        )
        return self._plan.examples.batch(rows, horizons_s, weights)

    def _epoch(self, member: int, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        if self._order[:2] != (member, epoch):
            order = epoch_order(self._plan.settings.seed, member, epoch, len(self._plan.examples))
            self._order = (member, epoch, order)
        return self._order[2]

    def _looked(self, member: int, standing: _Standing) -> _Standing:
        """The standing with one more evaluation where one is due: several in an epoch, the last behind the last step."""
        held_out, settings = self._plan.held_out, self._plan.settings
        every = max(1, self._per_epoch // settings.evaluations_per_epoch)
        done = standing.record.steps
        if held_out is None or (done % every and done != self._steps):
            return standing
        self._meter.report("looking at the held-out range", member, done)
        seen = evaluated(
            held_out, settings, self._devices, lambda batch: self._losses(standing.parameters, batch), done
        )
        self._meter.evaluated(seen)
        record = standing.record
        best = record.evaluations[record.best].gain if record.best >= 0 else 0.0
        is_best = seen.gain > best
        record = MemberRecord(done, (*record.evaluations, seen), len(record.evaluations) if is_best else record.best)
        return replace(standing, record=record, best=standing.parameters if is_best else standing.best)

    def _is_over(self, standing: _Standing) -> bool:
        record = standing.record
        impatient = bool(record.evaluations) and record.since_best >= self._plan.settings.patience
        return impatient or record.steps >= self._steps

    def _told(self, member: int, step: int, since: Sums) -> Sums:
        loss, base, weight = (float(value) for value in since)
        if not math.isfinite(loss):
            raise _diverged(member, step, self._plan.settings)
        if weight > 0.0:
            self._meter.report("training", member, step, loss / weight, (base - loss) / weight)
        return _nothing()

    def _keep(self, standing: _Standing | None) -> None:
        if self._folder is None:
            return
        if standing is None:
            checkpoint = Checkpoint(MemberRecord(), [], [], [], tuple(self._finished))
        else:
            _require_finite(standing.parameters, len(self._finished), standing.record.steps, self._plan.settings)
            best = [] if standing.best is None else _leaves(standing.best)
            checkpoint = Checkpoint(
                standing.record, _leaves(standing.parameters), _leaves(standing.state), best, tuple(self._finished)
            )
        keep_checkpoint(self._folder, self._plan.run, checkpoint)


def rows_per_batch(examples: Examples, settings: TrainerSettings, devices: int) -> int:
    """Origins in a batch, so that its examples can be dealt out evenly. Raises `Incomplete` where there are too few origins."""
    symbols = len(examples.symbols)
    even = devices // math.gcd(devices, symbols)
    rows = min(max(1, settings.batch // symbols), len(examples)) // even * even
    if not rows:
        raise Incomplete(
            f"{len(examples)} origins of {symbols} symbols in batches of {settings.batch} examples cannot be spread over"
            f" {devices} devices; take more origins or larger batches"
        )
    return rows


def _nothing() -> Sums:
    return Sums(*(jax.numpy.zeros(()) for _ in range(3)))


def _stepped(record: MemberRecord) -> MemberRecord:
    return MemberRecord(record.steps + 1, record.evaluations, record.best)


def _leaves(tree: Tree) -> Arrays:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _restored(like: Tree, arrays: Arrays) -> Tree:
    """A tree of this form out of its leaves."""
    leaves, form = jax.tree.flatten(like)
    if [leaf.shape for leaf in leaves] != [array.shape for array in arrays]:
        raise ConfigError("the checkpoint's arrays are not those of this network; begin anew (--restart)")
    return jax.tree.unflatten(form, [jax.numpy.asarray(array) for array in arrays])


def _require_finite(parameters: Tree, member: int, step: int, settings: TrainerSettings) -> None:
    if not all(np.isfinite(leaf).all() for leaf in _leaves(parameters)):
        raise _diverged(member, step, settings)


def _diverged(member: int, step: int, settings: TrainerSettings) -> DataError:
    return DataError(
        f"training of member {member + 1} left all bounds by step {step}: its loss is not a number any more. Take a learning_rate below"
        f" {settings.learning_rate}, or look for returns that cannot be in the data"
    )
