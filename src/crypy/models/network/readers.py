"""Readers of a sequence: windows in order of time in, one vector out. Three ways of remembering.

lstm         Hochreiter and Schmidhuber (1997), the last hidden state
convolution  causal convolutions over two windows, dilated by 1, 2, 4, ... until the whole block is in sight (van den Oord et al. 2016)
recurrence   h' = a h + B u with a diagonal a, by an associative scan (Orvieto et al. 2023, with real decays), twice
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Final

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array


class Reader(eqx.Module):
    """Made by `(width, state, length, key)`: channels in, size of the answer, windows."""

    @abstractmethod
    def __call__(self, path: Array) -> Array:
        """`path` [length, width], oldest first, to [state]."""


class Lstm(Reader):
    """The last hidden state of one LSTM."""

    cell: eqx.nn.LSTMCell

    def __init__(self, width: int, state: int, length: int, key: Array) -> None:  # noqa: ARG002  readers are made alike
        self.cell = eqx.nn.LSTMCell(width, state, key=key)

    def __call__(self, path: Array) -> Array:
        nothing = jnp.zeros(self.cell.hidden_size)
        (last, _), _ = jax.lax.scan(lambda state, u: (self.cell(u, state), None), (nothing, nothing), path)
        return last


class Convolution(Reader):
    """Residual causal convolutions; the last window's channels. `taps` [layer, 2, state, state]."""

    entry: Array
    taps: Array
    biases: Array

    def __init__(self, width: int, state: int, length: int, key: Array) -> None:
        layers = max(1, math.ceil(math.log2(max(2, length))))
        first, rest = jax.random.split(key)
        self.entry = jax.random.normal(first, (width, state)) / width**0.5
        self.taps = jax.random.normal(rest, (layers, 2, state, state)) / (2 * state) ** 0.5
        self.biases = jnp.zeros((layers, state))

    def __call__(self, path: Array) -> Array:
        now = path @ self.entry
        for layer in range(len(self.taps)):
            back = min(2**layer, len(path))
            before = jnp.concatenate((jnp.zeros((back, now.shape[1])), now[: len(path) - back]))
            now = now + jax.nn.silu(before @ self.taps[layer, 0] + now @ self.taps[layer, 1] + self.biases[layer])
        return now[-1]


class Recurrence(Reader):
    """Two diagonal linear recurrences with a nonlinear mixing between; the last state.

    Decays start log-spaced from one window to the whole block. Inputs are scaled so that each state begins with unit variance.
    """

    entry: Array
    log_rates: Array
    mixing: Array
    biases: Array

    def __init__(self, width: int, state: int, length: int, key: Array) -> None:
        first, rest = jax.random.split(key)
        self.entry = jax.random.normal(first, (width, state)) / width**0.5
        self.log_rates = jnp.tile(jnp.linspace(0.0, -math.log(max(2, length)), state), (2, 1))
        self.mixing = jax.random.normal(rest, (2, state, state)) / state**0.5
        self.biases = jnp.zeros((2, state))

    def __call__(self, path: Array) -> Array:
        now = path @ self.entry
        for layer in range(len(self.mixing)):
            keep = jnp.exp(-jnp.exp(self.log_rates[layer]))
            fed = now * jnp.sqrt(1.0 - keep * keep)
            _, states = jax.lax.associative_scan(_joined, (jnp.broadcast_to(keep, fed.shape), fed))
            now = now + jax.nn.silu(states @ self.mixing[layer] + self.biases[layer])
        return now[-1]


def _joined(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
    """Two steps of h' = a h + u as one."""
    return earlier[0] * later[0], earlier[1] * later[0] + later[1]


READERS: Final[Mapping[str, Callable[[int, int, int, Array], Reader]]] = {
    "lstm": Lstm,
    "convolution": Convolution,
    "recurrence": Recurrence,
}
