"""What is trained, in Equinox: scaled inputs of one moment in, (u, d) out; `vmap` outside. Weights carry the names that artefacts have.

`Dense` is the training twin of `perceptron`; `Lstm` reads the last candles in their order and is served as it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


class Reader(eqx.Module):
    """One pass: inputs to heads."""

    perceptron: eqx.AbstractVar[Perceptron]

    @abstractmethod
    def __call__(self, x: Array, key: Array | None) -> Array:
        """`x` [..., width] to [heads]; a key switches dropout on."""


class Perceptron(eqx.Module):
    """Dense layers with SiLU and dropout; the last one has no activation."""

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    dropout: float = eqx.field(static=True)

    def __init__(self, sizes: tuple[int, ...], dropout: float, key: Array) -> None:
        layers = len(sizes) - 1
        keys = jax.random.split(key, layers)
        # The heads begin near zero: an untrained network finds nothing likelier than anything else.
        gains = [0.01 if layer == layers - 1 else 1.0 for layer in range(layers)]
        self.weights = tuple(
            jax.random.normal(each, (size, after)) * (gain / size) ** 0.5
            for each, size, after, gain in zip(keys, sizes[:-1], sizes[1:], gains, strict=True)
        )
        self.biases = tuple(jnp.zeros(after) for after in sizes[1:])
        self.dropout = dropout

    def __call__(self, x: Array, key: Array | None) -> Array:
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            if layer < last:
                x = jax.nn.silu(x)
                if key is not None and self.dropout > 0.0:
                    key, now = jax.random.split(key)
                    x = x * jax.random.bernoulli(now, 1.0 - self.dropout, x.shape) / (1.0 - self.dropout)
        return x


class Dense(Reader):
    """The perceptron alone."""

    perceptron: Perceptron

    def __call__(self, x: Array, key: Array | None) -> Array:
        return self.perceptron(x, key)


class Lstm(Reader):
    """The last hidden state of an LSTM over the path, then a perceptron."""

    cell: eqx.nn.LSTMCell
    perceptron: Perceptron

    def __init__(self, width: int, state: int, heads: int, dropout: float, key: Array) -> None:
        first, rest = jax.random.split(key)
        self.cell = eqx.nn.LSTMCell(width, state, key=first)
        self.perceptron = Perceptron((state, heads), dropout, rest)

    def __call__(self, x: Array, key: Array | None) -> Array:
        nothing = jnp.zeros(self.cell.hidden_size)
        (last, _), _ = jax.lax.scan(lambda state, now: (self.cell(now, state), None), (nothing, nothing), x)
        keep = 1.0 - self.perceptron.dropout
        if key is not None and keep < 1.0:
            last = last * jax.random.bernoulli(key, keep, last.shape) / keep
        return self.perceptron(last, None)


class TwoHeads(eqx.Module):
    """A reader with two heads for each timeframe that it is trained on: its own, or where `mirrored` one head asked twice."""

    reader: Reader
    odd: tuple[bool, ...] = eqx.field(static=True)
    mirrored: bool = eqx.field(static=True)

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """(u, d) [timeframe, 2] at scaled inputs [..., width]."""
        if not self.mirrored:
            return self.reader(x, key).reshape(-1, 2)
        turned = jnp.where(jnp.asarray(self.odd), -x, x)
        return jnp.stack([self.reader(x, key), self.reader(turned, key)], axis=-1)


def beginning_at(module: TwoHeads, chances: NDArray[np.float64]) -> TwoHeads:
    """The untrained module so that it says p_up and p_down `chances` [timeframe, 2] whatever it sees, nearly; mirrored, their mean."""
    tie = np.log(1.0 - chances.sum(axis=1, keepdims=True))
    heads = (np.log(chances.mean(axis=1, keepdims=True) if module.mirrored else chances) - tie).ravel()
    return eqx.tree_at(lambda one: one.reader.perceptron.biases[-1], module, jnp.asarray(heads, jnp.float32))


def probabilities(heads: Array) -> Array:
    """p_up, p_down and the chance of a tie out of (u, d) [..., 2]."""
    return jax.nn.softmax(jnp.concatenate([heads, jnp.zeros_like(heads[..., :1])], axis=-1), axis=-1)


def arrays_of(module: TwoHeads) -> dict[str, Array]:
    """Parameters by name, such as `perceptron.weights.0`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(module.reader, eqx.is_array))
    return {_name(path): leaf for path, leaf in leaves}


def with_arrays(module: TwoHeads, arrays: Mapping[str, Array] | Mapping[str, NDArray[Any]]) -> TwoHeads:
    """The module with these parameters in place of its own."""
    parameters, rest = eqx.partition(module.reader, eqx.is_array)
    leaves, shape = jax.tree_util.tree_flatten_with_path(parameters)
    taken = [jnp.asarray(arrays[_name(path)]) for path, _ in leaves]
    return TwoHeads(eqx.combine(jax.tree.unflatten(shape, taken), rest), module.odd, module.mirrored)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
