"""The part of a range that no weight is fitted on: how it is cut off, and what a network in training gains there over the baseline."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Final

import jax
import numpy as np

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_S, iso
from crypy.models.dataset import Dataset
from crypy.training.checkpoints import Evaluation
from crypy.training.examples import Examples, in_chunks, made_ahead
from crypy.training.sampling import durations_of
from crypy.training.train_step import Batch, Devices
from crypy.training.trainer_settings import TrainerSettings

_EVALUATED_AT_ONCE: Final = 4_096


def split(dataset: Dataset, share: float, embargo_s: int) -> tuple[Dataset, Dataset | None]:
    """What is learnt from, and the last `share` of the range behind an embargo; `None` for no share.

    Raises `ConfigError` where the range is too short for that.
    """
    if share <= 0.0:
        return dataset, None
    step_s = dataset.step_s
    border_s = dataset.end_s - int(share * (dataset.end_s - dataset.start_s)) // step_s * step_s
    learnt_s = border_s - embargo_s
    if learnt_s <= dataset.start_s or border_s >= dataset.end_s:
        raise ConfigError(
            f"{iso(dataset.start_s * US_PER_S)} to {iso(dataset.end_s * US_PER_S)} is too short to hold out {share:.0%} behind an embargo of"
            f" {embargo_s:,} s; take a longer range, shorter durations_s, or validation_share 0"
        )
    return dataset.between(dataset.start_s, learnt_s), dataset.between(border_s, dataset.end_s)


def evaluated(
    held_out: Examples,
    settings: TrainerSettings,
    devices: Devices,
    losses: Callable[[Batch], jax.Array],
    step: int,
) -> Evaluation:
    """Mean gains over the baseline at all durations over all held-out origins. Raises `Incomplete` where no return is known there."""
    durations, weights = durations_of(settings, held_out.dataset.step_s)
    count = len(held_out.symbols)
    size = max(devices.count, _EVALUATED_AT_ONCE // count // devices.count * devices.count)
    total, seen = np.zeros((count, len(durations))), np.zeros((count, len(durations)))
    chunks = [np.arange(len(held_out))[rows] for rows in in_chunks(len(held_out), size)]

    def make(index: int) -> Batch:
        # The last chunk is filled up, so that one compiled function serves all.
        rows = np.resize(chunks[index], size)
        shape = (size, len(durations))
        return held_out.batch(rows, np.broadcast_to(durations, shape), np.ones(shape))

    with closing(made_ahead(make, range(len(chunks)))) as batches:
        for rows, batch in zip(chunks, batches, strict=True):
            loss = np.asarray(losses(devices.spread(batch)), np.float64)
            known = batch.weight > 0.0
            gain = np.where(known, batch.base - loss, 0.0).reshape(size, count, -1)[: len(rows)]
            total += gain.sum(axis=0)
            seen += known.reshape(size, count, -1)[: len(rows)].sum(axis=0)
    told = seen.sum(axis=0) > 0
    if not (told & (weights > 0.0)).any():
        raise Incomplete(
            f"no return of {durations.tolist()} s is known in the held-out range; hold out more, or nothing"
        )
    means = total / np.maximum(seen, 1.0)
    share = np.where(told, weights, 0.0)
    gain = float((means.mean(axis=0) * share).sum() / share.sum())
    return Evaluation(
        step, gain, {name: tuple(row.tolist()) for name, row in zip(held_out.symbols, means, strict=True)}
    )
