"""Many two-head networks of one architecture, served as one compiled computation: for graphics cards, and for ensembles of hundreds.

The weights lie on the device, models beside each other, and one call gives the chances of all of them. Few networks are served faster by
`DirectionNetwork` without JAX; its numbers are the ones of record, these agree with them to single precision (about 1e-6), and a row
among others may differ from the row alone in the last bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.models.artefact import read_arrays, read_card
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.market import Market
from crypy.models.direction.modules import probabilities
from crypy.models.direction.network import DirectionNetwork
from crypy.models.direction.perceptron import PerceptronSettings, perceptron_specs
from crypy.models.direction.port import Probabilities
from crypy.models.direction.scaling import scaling_specs

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

# Hidden units computed at once over all models, members and rows: 256 MB of them.
_UNITS_AT_ONCE: Final = 2**26


class ManyNetworks:
    """N networks of the same settings on the same columns; each has its own weights and its own scaling."""

    def __init__(
        self, settings: PerceptronSettings, inputs: DirectionInputs, arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        """`arrays` as `perceptron_specs` and `scaling_specs` tell, with the models as first axis. Raises `DataError` for others."""
        layers = perceptron_specs(settings, inputs)
        specs = {**layers, **scaling_specs(inputs)}
        _require(arrays, {name: spec.shape for name, spec in specs.items()})
        self.settings = settings
        self.inputs = inputs
        self.count = len(arrays["mean"])
        # Models, members and, where each has its own weights, symbols are one axis of one product: XLA is ten times slower on a processor where they are three.
        ordered = [np.asarray(arrays[name], np.float32).reshape(-1, *spec.shape[2:]) for name, spec in layers.items()]
        scaling = [np.asarray(arrays[name], np.float32) for name in ("mean", "deviation")]
        # Weights and biases by turns, from the first layer to the last.
        self._parameters = jax.device_put((tuple(ordered[0::2]), tuple(ordered[1::2]), *scaling))
        self._odd = jnp.asarray(inputs.odd)
        widest = max((inputs.width, *settings.hidden))
        per_row = self.count * len(inputs.symbols) * settings.members * (2 if settings.mirrored else 1) * widest
        self._rows_at_once = max(1, _UNITS_AT_ONCE // per_row)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Self:
        """The networks of these artefact folders, in their order.

        Raises `DataError` for one that is damaged, `ConfigError` where they differ in architecture or columns, or there is none.
        """
        models = [DirectionNetwork.load(path) for path in paths]
        odd = [path for path, model in zip(paths, models, strict=True) if _layout(model) != _layout(models[0])]
        if odd or not models:
            raise ConfigError(
                f"networks that are served together have one architecture and one set of columns; {odd[0]} differs from {paths[0]}"
                if odd
                else "no network was named that could be served"
            )
        settings, inputs = models[0].settings, models[0].inputs
        specs = {**perceptron_specs(settings, inputs), **scaling_specs(inputs)}
        each = [read_arrays(path, read_card(path), specs) for path in paths]
        return cls(settings, inputs, {name: np.stack([arrays[name] for arrays in each]) for name in specs})

    @property
    def device(self) -> str:
        """Where it is computed, such as `cpu:0`."""
        where = next(iter(self._parameters[2].devices()))
        return f"{where.platform}:{where.id}"

    @property
    def megabytes(self) -> float:
        """What the weights take on the device."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self._parameters)) / 1e6

    def prepare(self, market: Market) -> None:
        """Raises `SchemaMismatch` for a market that does not hold the symbols."""
        self.inputs.fit(market)
        market.want(self.inputs.wanted())

    def ask(self, market: Market, rows: Ints) -> Probabilities:
        """p_up and p_down [model, origin, symbol] at the closes of these rows; NaN where history is missing. Raises as `DirectionNetwork.ask` does."""
        x, known = self.inputs.x(market, np.asarray(rows, np.int64))
        told = self.chances(x)
        told[:, :, ~known] = np.nan
        return Probabilities(told[0], told[1])

    def chances(self, x: Singles) -> NDArray[np.float64]:
        """p_up and p_down [2, model, n, symbol] at raw columns x [n, symbol, width]. Compiles once for each n, and for whole chunks of more."""
        parts = [
            np.asarray(self._of(jnp.asarray(x[first : first + self._rows_at_once])), np.float64)
            for first in range(0, len(x), self._rows_at_once)
        ]
        return np.concatenate(parts, axis=2) if parts else np.empty((2, self.count, 0, len(self.inputs.symbols)))

    def _of(self, x: Array) -> Array:
        return _chances(*self._parameters, self._odd, x, self.settings)


@partial(jax.jit, static_argnames="settings")
def _chances(
    weights: tuple[Array, ...], biases: tuple[Array, ...], mean: Array, deviation: Array, odd: Array, x: Array,
    settings: PerceptronSettings,
) -> Array:  # fmt: skip
    """[2, model, n, symbol] of raw columns x [n, symbol, width]; weights [model * network * member, ...], a network for each symbol or for all."""
    models, symbols, _ = mean.shape
    n, members, networks = len(x), settings.members, 1 if settings.shared else symbols
    z = jnp.clip((jnp.swapaxes(x, 0, 1) - mean[:, :, None]) / deviation[:, :, None], -settings.clip, settings.clip)
    turned = jnp.where(odd, -z, z)
    if settings.shared:
        marks = jnp.broadcast_to(jnp.eye(symbols, dtype=z.dtype)[:, None], (models, symbols, n, symbols))
        z, turned = (jnp.concatenate([each, marks], axis=-1) for each in (z, turned))
    # Symbols that share a network are rows of one pass through it, and so are both turns of the market.
    passes = jnp.stack([z, turned], axis=3) if settings.mirrored else z[:, :, :, None]
    rows = passes.reshape(models, networks, 1, -1, passes.shape[-1])
    each = jnp.broadcast_to(rows, (models, networks, members, *rows.shape[3:])).reshape(-1, *rows.shape[3:])
    heads = jax.vmap(_perceptron)(weights, biases, each).reshape(models, networks, members, symbols // networks, n, 2)
    told = jnp.mean(probabilities(heads)[..., :2], axis=2).reshape(models, symbols, n, 2)
    return jnp.transpose(told, (3, 0, 2, 1))


def _perceptron(weights: tuple[Array, ...], biases: tuple[Array, ...], z: Array) -> Array:
    """Heads [n, heads] of scaled inputs [n, width]. At full precision: cards round the factors of a product by default."""
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        z = jnp.matmul(z, weight, precision=jax.lax.Precision.HIGHEST) + bias
        if layer < len(weights) - 1:
            z = jax.nn.silu(z)
    return z


def _layout(model: DirectionNetwork) -> tuple[PerceptronSettings, str]:
    return model.settings, model.inputs.fingerprint()


def _require(arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    counts = {len(arrays[name]) for name in shapes if name in arrays}
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].shape[1:] != shape or len(counts) != 1 or not arrays[name].size:
            found = arrays[name].shape if name in arrays else "nothing"
            raise DataError(
                f"weights of many networks: {name} has to be [model, {', '.join(map(str, shape))}], it is {found}"
            )
