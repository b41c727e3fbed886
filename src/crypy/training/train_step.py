"""One step of training: loss, gradient and update in one compiled function. No file, no loop, no log, no clock.

The loss is the negative log likelihood of returns under the baseline's law, moved by the network's corrections. Returns come in units of the baseline's own scale, so that 32 bits are enough, and zero corrections give the baseline's loss.
Examples lie along the first axis of a batch, which is spread over all devices; parameters are on each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Array = jax.Array
# A module or its parameters: a tree of arrays whose shape is the encoder's own affair.
Tree = Any
_FREE: Final = ("bias", "coin", "log_rates")
# Negative log likelihood [h] of returns under laws of scale 1: (corrections [h, 3], fade, skew, tail, returns [h]).
Likelihood = Callable[[Array, Array, Array, Array, Array], Array]


class Batch(NamedTuple):
    """Examples, an origin and a symbol each: inputs [e, ...], symbol [e], basis [e, h, B] and fade [e, h] of their horizons; the baseline's skew and
    tail [e, h]; returns over its scale [e, h], the baseline's loss of them, and their weights, 0 where the return is unknown."""

    inputs: Any
    symbol: Any
    basis: Any
    fade: Any
    skew: Any
    tail: Any
    returns: Any
    base: Any
    weight: Any


class Sums(NamedTuple):
    """Weighted sums over a batch: the loss, that of the baseline, the weights."""

    loss: Array
    base: Array
    weight: Array


def optimiser(
    steps: int, learning_rate: float, warm_up_share: float, weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
    """AdamW with decoupled decay of matrices (not of biases), behind a clip by the global norm; linear warm-up, then a cosine to zero."""
    warm_up = min(round(warm_up_share * steps), steps - 1)
    schedule = optax.warmup_cosine_decay_schedule(0.0 if warm_up else learning_rate, learning_rate, warm_up, steps)
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(schedule, weight_decay=weight_decay, mask=_decaying),
    )


def make_step(
    static: Tree, likelihood: Likelihood, optimise: optax.GradientTransformation
) -> Callable[[Tree, Tree, Batch, Array], tuple[Tree, Tree, Sums]]:
    """The compiled step: parameters, optimiser's state, batch and key to the next two and the batch's sums."""

    def loss_of(parameters: Tree, batch: Batch, key: Array) -> tuple[Array, Sums]:
        module = eqx.combine(parameters, static)
        keys = jax.random.split(key, batch.symbol.shape[0])
        loss = jax.vmap(lambda one, own: _loss(likelihood, module, one, own))(batch, keys)
        sums = Sums(jnp.sum(loss * batch.weight), jnp.sum(batch.base * batch.weight), jnp.sum(batch.weight))
        return sums.loss / jnp.maximum(sums.weight, 1e-12), sums

    def step(parameters: Tree, state: Tree, batch: Batch, key: Array) -> tuple[Tree, Tree, Sums]:
        gradient, sums = jax.grad(loss_of, has_aux=True)(parameters, batch, key)
        updates, state = optimise.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, sums

    return jax.jit(step)


def make_losses(static: Tree, likelihood: Likelihood) -> Callable[[Tree, Batch], Array]:
    """Compiled: parameters and batch to the loss of each return [e, h], without dropout."""

    def losses(parameters: Tree, batch: Batch) -> Array:
        module = eqx.combine(parameters, static)
        return jax.vmap(lambda one: _loss(likelihood, module, one, None))(batch)

    return jax.jit(losses)


def step_key(seed: int, member: int, step: int) -> Array:
    """The key of a step's dropout."""
    return jax.random.fold_in(jax.random.fold_in(member_key(seed, member), 1), step)


def member_key(seed: int, member: int) -> Array:
    """The key that a member's weights are drawn with."""
    return jax.random.fold_in(jax.random.key(np.uint32(seed % 2**32)), member)


class Devices:
    """All devices that JAX has, in a row along the batch."""

    def __init__(self) -> None:
        mesh = Mesh(np.array(jax.devices()), ("example",))
        self.count = int(mesh.size)
        self._along = NamedSharding(mesh, PartitionSpec("example"))
        self._everywhere = NamedSharding(mesh, PartitionSpec())

    @property
    def about(self) -> str:
        """Such as `1 cpu` or `8 gpu`."""
        return f"{self.count} {jax.devices()[0].platform}"

    def spread(self, batch: Batch) -> Batch:
        """A batch with its examples dealt out; their number is a multiple of `count`."""
        return jax.device_put(batch, self._along)

    def copied(self, tree: Tree) -> Tree:
        """A tree of arrays on each device."""
        return jax.device_put(tree, self._everywhere)


def _loss(likelihood: Likelihood, module: Tree, one: Batch, key: Array | None) -> Array:
    """Negative log likelihood of one example's returns [h]."""
    corrections = module(one.inputs, one.symbol, one.basis, key=key)
    return likelihood(corrections, one.fade, one.skew, one.tail, one.returns)


def _decaying(parameters: Tree) -> Tree:
    """Which leaves decay: weights. Biases do not, nor what stands for one: a coin's own shift, the logs of rates of decay."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim >= 2 and not any(word in jax.tree_util.keystr(path) for word in _FREE), parameters
    )
