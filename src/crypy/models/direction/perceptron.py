"""Two heads, up and down, on a small perceptron: served without JAX, one arithmetic for one row and for a year.

    (u, d) = perceptron(z)        p_up, p_down = softmax over (u, d, 0): what is left is the chance of a tie

Where `mirrored`, one head serves both: u = f(z) and d = f(z with its odd columns turned round), so that the forecast for the mirrored market is
the mirrored forecast. Members of an ensemble are averaged as probabilities. Without hidden layers it is a multinomial logistic regression.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.models.artefact import ArraySpec
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.network.serving import dense
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Rows that share one pass over the weights.
_TOGETHER = 8


class PerceptronSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Widths of the hidden layers; networks in an ensemble; whether one ensemble serves all symbols (`shared`: a column for each then says which it is)
    and one head both directions (`mirrored`); the share of hidden units that training leaves out; how many deviations an input may reach."""

    hidden: tuple[int, ...] = (64, 32)
    members: int = 4
    shared: bool = True
    mirrored: bool = True
    dropout: float = 0.1
    clip: float = 4.0

    def __post_init__(self) -> None:
        if self.members < 1 or any(width < 1 for width in self.hidden):
            raise ConfigError(f"hidden = {self.hidden}, members = {self.members}: each is 1 or more")
        if not 0.0 <= self.dropout < 1.0 or not self.clip > 0.0:
            raise ConfigError(f"dropout = {self.dropout} lies in [0, 1), clip = {self.clip} above 0")


def layer_sizes(settings: PerceptronSettings, inputs: DirectionInputs, timeframes: int = 1) -> tuple[int, ...]:
    """From the inputs, with the columns that name the symbol, to the heads of so many timeframes."""
    marks = len(inputs.symbols) if settings.shared else 0
    return (inputs.width + marks, *settings.hidden, timeframes * (1 if settings.mirrored else 2))


def perceptron_specs(settings: PerceptronSettings, inputs: DirectionInputs) -> dict[str, ArraySpec]:
    """Names and shapes of the weights, in the kernel's order: [symbol, member, ...], one row for all symbols where they share it."""
    sizes = layer_sizes(settings, inputs)
    front = (1 if settings.shared else len(inputs.symbols), settings.members)
    specs: dict[str, ArraySpec] = {}
    for layer, (size, after) in enumerate(pairwise(sizes)):
        specs[f"perceptron.weights.{layer}"] = ArraySpec((*front, size, after), "float32")
        specs[f"perceptron.biases.{layer}"] = ArraySpec((*front, after), "float32")
    return specs


class Perceptrons:
    """The weights of all symbols in the order that the kernel reads them."""

    def __init__(
        self, settings: PerceptronSettings, inputs: DirectionInputs, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        """`arrays` as `perceptron_specs` tells."""
        specs = perceptron_specs(settings, inputs)
        self._weights: Singles = np.ascontiguousarray(
            np.concatenate([arrays[name].reshape(*specs[name].shape[:2], -1) for name in specs], axis=2), np.float32
        )
        self._sizes: Ints = np.array(layer_sizes(settings, inputs), np.int64)
        self._symbols = len(inputs.symbols) if settings.shared else 0
        self._odd = np.append(inputs.odd, np.zeros(self._symbols, np.bool_))
        self._marks = np.stack([symbol_marks(symbol, self._symbols) for symbol in range(self._symbols)] or [[]])
        self._mirrored = settings.mirrored

    def chances(self, z: Singles, known: Bools) -> Floats:
        """p_up and p_down [n, symbol, 2] at scaled inputs z [n, symbol, width]; NaN where they are not `known` [n, symbol]."""
        out = np.full((*known.shape, 2), np.nan)
        if self._symbols:
            # All symbols are rows of one pass.
            width = z.shape[2]
            marked = np.empty((*known.shape, width + self._symbols), np.float32)
            marked[:, :, :width] = z
            marked[:, :, width:] = self._marks
            out[known] = self._of(marked[known], 0)
        else:
            for symbol in range(known.shape[1]):
                told = known[:, symbol]
                out[told, symbol] = self._of(z[told, symbol], symbol)
        return out

    def _of(self, z: Singles, network: int) -> Floats:
        """[row, 2] of one network at z [row, width]."""
        out = np.zeros((len(z), 2))
        fill_chances(z, self._weights[network], self._sizes, self._odd, self._mirrored, out)
        return out


def symbol_marks(symbol: int, symbols: int) -> Singles:
    """The columns [symbols] that say which symbol it is: 1 for it, 0 for others."""
    return np.eye(symbols, dtype=np.float32)[symbol]


@kernel
def fill_chances(z: Singles, weights: Singles, sizes: Ints, odd: Bools, mirrored: bool, out: Floats) -> None:
    """Mean of the members' p_up and p_down into `out` [row, 2], which begins as zeros; weights [member, parameters]."""
    members, layers = len(weights), len(sizes) - 1
    widest = 2
    for size in sizes:
        widest = max(widest, size)
    now = np.empty((_TOGETHER, widest), np.float32)
    after = np.empty((_TOGETHER, widest), np.float32)
    heads = np.empty((_TOGETHER, 2), np.float32)
    passes = 2 if mirrored else 1
    for first in range(0, len(z), _TOGETHER):
        rows = min(_TOGETHER, len(z) - first)
        for member in range(members):
            for turn in range(passes):
                for row in range(rows):
                    for k in range(sizes[0]):
                        value = z[first + row, k]
                        now[row, k] = -value if turn == 1 and odd[k] else value
                at = 0
                for layer in range(layers):
                    at = dense(weights[member], at, now, rows, sizes[layer], sizes[layer + 1], after)
                    if layer < layers - 1:
                        for row in range(rows):
                            for j in range(sizes[layer + 1]):
                                value = after[row, j]
                                now[row, j] = value / (np.float32(1.0) + math.exp(-value))
                for row in range(rows):
                    if mirrored:
                        heads[row, turn] = after[row, 0]
                    else:
                        heads[row, 0] = after[row, 0]
                        heads[row, 1] = after[row, 1]
            for row in range(rows):
                up, down = np.float64(heads[row, 0]), np.float64(heads[row, 1])
                top = max(up, down, 0.0)
                rise, fall = math.exp(up - top), math.exp(down - top)
                total = rise + fall + math.exp(-top)
                out[first + row, 0] += rise / total
                out[first + row, 1] += fall / total
        for row in range(rows):
            out[first + row, 0] /= members
            out[first + row, 1] /= members
