"""The training loop of one symbol's ensemble: all members at once, some steps in one compiled call. Equal seeds give equal bits on one machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.models.direction.modules import TwoHeads, arrays_of
from crypy.training.direction.trainer_settings import DirectionTrainer
from crypy.training.progress import Meter
from crypy.training.train_step import optimiser

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Tree = Any

# Steps that one compiled call takes.
_STEPS: Final = 16
_SCORED_AT_ONCE: Final = 4_096


@dataclass(frozen=True, slots=True)
class Lesson:
    """Rows of `table` [row, width] that an example reads: `at` [n], and so many rows before it as `offsets` [length] say (`None`: the row itself);
    what happened, 1, -1 or 0 [n, timeframe]; what that weighs [n, timeframe]."""

    table: Singles
    at: Ints
    outcomes: NDArray[np.int8]
    weights: Singles
    offsets: Ints | None = None

    def __len__(self) -> int:
        return len(self.at)

    def inputs(self, chosen: Ints) -> Singles:
        """[..., width], or [..., length, width] with offsets."""
        at = self.at[chosen]
        return self.table[at] if self.offsets is None else self.table[at[..., None] - self.offsets]

    def classes(self) -> NDArray[np.int32]:
        """0 for up, 1 for down, 2 for a tie [n, timeframe]."""
        return np.where(self.outcomes > 0, 0, np.where(self.outcomes < 0, 1, 2)).astype(np.int32)


def fit_ensemble(
    make: Callable[[Array], TwoHeads],
    members: int,
    lesson: Lesson,
    held_out: Lesson | None,
    settings: DirectionTrainer,
    meter: Meter,
    doing: str,
) -> dict[str, NDArray[Any]]:
    """Weights by name [member, ...]: the last ones, or where something is held out those of the epoch that did best on it.

    Raises `ConfigError` for too few examples, `DataError` where training leaves all bounds.
    """
    batch = min(settings.batch, len(lesson))
    if not batch or not float(lesson.weights.sum()):
        raise ConfigError(f"{doing}: nothing is known to learn from; take a longer range")
    run = _Run(make, members, settings, (len(lesson) // batch) * settings.epochs)
    rng = np.random.default_rng(settings.seed)
    classes = lesson.classes()
    best: tuple[float, Tree] | None = None
    for epoch in range(settings.epochs):
        orders = np.stack([rng.permutation(len(lesson)) for _ in range(members)], axis=1)
        steps = orders[: len(lesson) // batch * batch].reshape(-1, batch, members).swapaxes(1, 2)
        for first in range(0, len(steps), _STEPS):
            chosen = steps[first : first + _STEPS]
            loss = run.take(lesson.inputs(chosen), classes[chosen], lesson.weights[chosen])
            for _ in chosen:
                meter.stepped()
            if meter.is_due:
                meter.report(doing, 0, epoch * len(steps) + first + len(chosen), float(loss))
        if not run.is_sound():
            raise DataError(
                f"{doing}: training left all bounds; take a smaller learning_rate than {settings.learning_rate}"
            )
        if held_out is not None:
            score = run.score(held_out)
            if best is None or score < best[0]:
                best = score, run.parameters
    return run.arrays(run.parameters if best is None else best[1])


class _Run:
    """Members in training: their parameters are stacked along the first axis."""

    def __init__(self, make: Callable[[Array], TwoHeads], members: int, settings: DirectionTrainer, steps: int) -> None:
        first, self._key = jax.random.split(jax.random.key(np.uint32(settings.seed % 2**32)))
        modules = [make(key) for key in jax.random.split(first, members)]
        self._module = modules[0]
        trees = [eqx.partition(module, eqx.is_array) for module in modules]
        self.parameters: Tree = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(tree for tree, _ in trees))
        rest = trees[0][1]
        optimise = optimiser(
            steps, settings.learning_rate, settings.warm_up_share, settings.weight_decay, settings.clip_norm
        )
        self._state: Tree = jax.vmap(optimise.init)(self.parameters)

        def heads_of(parameters: Tree, x: Array, key: Array | None) -> Array:
            module: TwoHeads = eqx.combine(parameters, rest)
            if key is None:
                return jax.vmap(lambda one: module(one))(x)
            return jax.vmap(module)(x, jax.random.split(key, len(x)))

        def loss_of(parameters: Tree, x: Array, happened: Array, weights: Array, key: Array) -> Array:
            logs = _log_chances(heads_of(parameters, x, key))
            told = jnp.take_along_axis(logs, happened[..., None], -1)[..., 0]
            return -jnp.sum(told * weights) / jnp.sum(weights)

        def step(parameters: Tree, state: Tree, *given: Array) -> tuple[Tree, Tree, Array]:
            loss, gradient = jax.value_and_grad(loss_of)(parameters, *given)
            updates, state = optimise.update(gradient, state, parameters)
            return optax.apply_updates(parameters, updates), state, loss

        def steps_of(
            parameters: Tree, state: Tree, x: Array, happened: Array, weights: Array, key: Array
        ) -> tuple[Tree, Tree, Array]:
            def body(carried: tuple[Tree, Tree], given: tuple[Array, ...]) -> tuple[tuple[Tree, Tree], Array]:
                *examples, now = given
                parameters, state, loss = jax.vmap(step)(*carried, *examples, jax.random.split(now, members))
                return (parameters, state), loss

            keys = jax.random.split(key, len(x))
            (parameters, state), losses = jax.lax.scan(body, (parameters, state), (x, happened, weights, keys))
            return parameters, state, jnp.mean(losses)

        def chances_of(parameters: Tree, x: Array) -> Array:
            return jnp.mean(jnp.exp(_log_chances(jax.vmap(lambda one: heads_of(one, x, None))(parameters))), axis=0)

        self._steps = jax.jit(steps_of, donate_argnums=1)
        self._chances = jax.jit(chances_of)

    def take(self, x: Singles, happened: NDArray[np.int32], weights: Singles) -> Array:
        """Some steps: x [step, member, example, ...], classes and weights [step, member, example, timeframe]; their mean loss."""
        self._key, now = jax.random.split(self._key)
        self.parameters, self._state, loss = self._steps(self.parameters, self._state, x, happened, weights, now)
        return loss

    def is_sound(self) -> bool:
        """Whether all parameters are finite."""
        return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(self.parameters))

    def score(self, lesson: Lesson) -> float:
        """Weighted mean log loss of the ensemble, nats."""
        classes, total = lesson.classes(), 0.0
        for first in range(0, len(lesson), _SCORED_AT_ONCE):
            chosen = np.arange(first, min(len(lesson), first + _SCORED_AT_ONCE))
            x = lesson.inputs(chosen)
            full = np.zeros((_SCORED_AT_ONCE, *x.shape[1:]), np.float32)
            full[: len(x)] = x
            chances = np.asarray(self._chances(self.parameters, full), np.float64)[: len(x)]
            happened = np.take_along_axis(chances, classes[chosen][..., None], -1)[..., 0]
            total -= float(np.sum(np.log(np.maximum(happened, 1e-12)) * lesson.weights[chosen]))
        return total / float(lesson.weights.sum())

    def arrays(self, parameters: Tree) -> dict[str, NDArray[Any]]:
        """Parameters by name [member, ...]."""
        module: TwoHeads = eqx.combine(parameters, eqx.partition(self._module, eqx.is_array)[1])
        return {name: np.asarray(array, np.float32) for name, array in arrays_of(module).items()}


def _log_chances(heads: Array) -> Array:
    """Logs of p_up, p_down and the chance of a tie out of (u, d) [..., 2]; [..., 3]."""
    return jax.nn.log_softmax(jnp.concatenate([heads, jnp.zeros_like(heads[..., :1])], axis=-1), axis=-1)
