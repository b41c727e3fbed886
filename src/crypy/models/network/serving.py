"""The segments' network without JAX: dense layers in numba, a few rows at a time, one arithmetic for live and for batches.

A row's sums run over its inputs in order whatever rows stand beside it, so that a forecast has the same bits alone and among a hundred
thousand. Weights are single precision, as they were trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.models.network.head import basis_size
from crypy.models.network.inputs import input_width
from crypy.models.network.settings import NetworkSettings
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

_CORRECTIONS: Final = 3
# Rows that share one pass over the weights: they stay in the processor's near cache with it.
_TOGETHER: Final = 8


class PerceptronTables:
    """The ensemble's weights in the order that the kernel reads them."""

    def __init__(self, settings: NetworkSettings, symbols: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """`arrays` as `parameter_shapes` tells. Raises `DataError` for one of another shape."""
        shapes = parameter_shapes(settings, symbols)
        for name, shape in shapes.items():
            if name not in arrays or arrays[name].shape != (settings.members, *shape):
                found = arrays[name].shape if name in arrays else None
                raise DataError(
                    f"the network's {name} has shape {found}, its settings want {(settings.members, *shape)}"
                )
        self._basis = basis_size(settings)
        self._sizes: Ints = np.array((input_width(settings), *settings.hidden), np.int64)
        self._scale = settings.correction_scale
        self._weights: Singles = np.ascontiguousarray(
            np.concatenate([arrays[name].reshape(settings.members, -1) for name in shapes], axis=1), np.float32
        )
        self._symbols = symbols

    def tables(self, x: Singles) -> Floats:
        """Corrections by basis function [n, symbol, B, 3], mean of the members; x [n, symbol, width]."""
        out = np.zeros((len(x), self._symbols, self._basis, _CORRECTIONS))
        fill_tables(
            x.reshape(-1, x.shape[-1]), self._symbols, self._weights, self._sizes, self._basis, self._scale,
            out.reshape(-1, self._basis * _CORRECTIONS),
        )  # fmt: skip
        return out


def parameter_shapes(settings: NetworkSettings, symbols: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter of one perceptron by the name that `modules.arrays_of` gives it, in the kernel's order."""
    basis, width = basis_size(settings), input_width(settings)
    sizes = (width, *settings.hidden)
    shapes: dict[str, tuple[int, ...]] = {"encoder.perceptron.coin": (symbols, sizes[1])}
    for layer in range(len(settings.hidden)):
        shapes[f"encoder.perceptron.weights.{layer}"] = (sizes[layer], sizes[layer + 1])
        shapes[f"encoder.perceptron.biases.{layer}"] = (sizes[layer + 1],)
    shapes["head"] = (sizes[-1], basis, _CORRECTIONS)
    shapes["bias"] = (basis, _CORRECTIONS)
    shapes["skip"] = (width, basis)
    return shapes


@kernel
def fill_tables(x: Singles, symbols: int, weights: Singles, sizes: Ints, basis: int, scale: float, out: Floats) -> None:
    """Add each member's table to `out` [row, B x 3] and divide by their number; row r is of coin r modulo `symbols`."""
    members = len(weights)
    widest = 0
    for size in sizes:
        widest = max(widest, size)
    heads = basis * _CORRECTIONS
    now = np.empty((_TOGETHER, widest), np.float32)
    after = np.empty((_TOGETHER, max(widest, heads)), np.float32)
    for first in range(0, len(x), _TOGETHER):
        rows = min(_TOGETHER, len(x) - first)
        for member in range(members):
            parameters = weights[member]
            at = symbols * sizes[1]
            now[:rows, : sizes[0]] = x[first : first + rows]
            for layer in range(len(sizes) - 1):
                at = dense(parameters, at, now, rows, sizes[layer], sizes[layer + 1], after)
                for row in range(rows):
                    coin = (first + row) % symbols * sizes[1]
                    for j in range(sizes[layer + 1]):
                        value = after[row, j]
                        if layer == 0:
                            value += parameters[coin + j]
                        now[row, j] = value / (np.float32(1.0) + math.exp(-value))
            at = dense(parameters, at, now, rows, sizes[len(sizes) - 1], heads, after)
            for row in range(rows):
                for j in range(heads):
                    out[first + row, j] += scale * after[row, j]
            now[:rows, : sizes[0]] = x[first : first + rows]
            product(parameters, at, now, rows, sizes[0], basis, after)
            for row in range(rows):
                for j in range(basis):
                    out[first + row, j * _CORRECTIONS] += after[row, j]
        for row in range(rows):
            for j in range(heads):
                out[first + row, j] /= members


@kernel
def product(parameters: Singles, at: int, x: Singles, rows: int, size: int, width: int, out: Singles) -> int:
    """x W for some rows, W [size, width] from place `at` on; returns the place behind it."""
    for row in range(rows):
        for j in range(width):
            out[row, j] = 0.0
    for k in range(size):
        weight = parameters[at + k * width : at + (k + 1) * width]
        for row in range(rows):
            value = x[row, k]
            target = out[row]
            for j in range(width):
                target[j] += value * weight[j]
    return at + size * width


@kernel
def dense(parameters: Singles, at: int, x: Singles, rows: int, size: int, width: int, out: Singles) -> int:
    """x W + b for some rows, W and then b from place `at` on; returns the place behind them."""
    at = product(parameters, at, x, rows, size, width, out)
    for row in range(rows):
        for j in range(width):
            out[row, j] += parameters[at + j]
    return at + width
