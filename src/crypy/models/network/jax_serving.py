"""Sequence encoders served through JAX: compiled once for one moment, at whatever horizons.

The network gives a table over the basis of horizons, so nothing of it depends on how many are asked for. Many moments are served one by one by
the same compiled step: a batch of its own would have other bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from crypy.models.network.inputs import Inputs
from crypy.models.network.modules import Network, modules_of
from crypy.models.network.settings import NetworkSettings

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


class ModuleTables:
    """An ensemble of modules, compiled when it is made."""

    def __init__(self, settings: NetworkSettings, inputs: Inputs, arrays: Mapping[str, NDArray[Any]]) -> None:
        """`arrays` as `modules.arrays_of` gives them. Raises `DataError` where they do not fit."""
        split = [eqx.partition(module, eqx.is_array) for module in modules_of(settings, arrays)]
        # Members and coins are two axes of one computation: a few large steps instead of many small ones.
        members = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(parameters for parameters, _ in split))
        rest = split[0][1]
        symbols = jnp.arange(len(inputs.symbols))

        def tables(x: Array) -> Array:
            def of(parameters: Network) -> Array:
                module: Network = eqx.combine(parameters, rest)
                return jax.vmap(module.table)(x, symbols)

            return jnp.mean(jax.vmap(of)(members), axis=0)

        self._tables = jax.jit(tables)
        self.tables(np.zeros((1, len(inputs.symbols), inputs.width), np.float32))

    def tables(self, x: Singles) -> Floats:
        """Corrections by basis function [n, symbol, B, 3], mean of the members; x [n, symbol, width], n at least 1."""
        return np.stack([np.asarray(self._tables(row), np.float64) for row in x])
