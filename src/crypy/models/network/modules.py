"""The networks in Equinox: one coin's x in, corrections of the baseline's law out; `vmap` outside.

    corrections = basis @ (scale W e + b + skip x)       e = encoder(x, coin)

W, b and the skip start at zero: the untrained network is the baseline. What is trained here serves the segments without JAX, by
`serving`, from the arrays of `arrays_of`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.models.network.head import basis_size
from crypy.models.network.inputs import TIMES, Inputs, input_width
from crypy.models.network.law import LIMIT, TAIL_FLOOR
from crypy.models.network.readers import READERS, Reader
from crypy.models.network.settings import NetworkSettings
from crypy.models.segments import SEASONS

CORRECTIONS: Final = 3
_COIN: Final = "encoder.perceptron.coin"


class Encoder(eqx.Module):
    """x of one coin to what the head reads: a code, and the vector that the linear skip takes."""

    perceptron: eqx.AbstractVar[Perceptron]

    @abstractmethod
    def __call__(self, x: Array, symbol: Array | int, key: Array | None) -> tuple[Array, Array]:
        """`symbol` is the coin's index; a key switches dropout on."""


class Perceptron(eqx.Module):
    """Dense layers with SiLU and dropout; the coin shifts the first one."""

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    coin: Array
    dropout: float = eqx.field(static=True)

    def __init__(self, width: int, settings: NetworkSettings, symbols: int, key: Array) -> None:
        hidden = settings.hidden
        sizes = (width, *hidden)
        keys = jax.random.split(key, len(hidden))
        gains = (1.0, *[2.0] * (len(hidden) - 1))
        self.weights = tuple(
            jax.random.normal(each, (size, after)) * (gain / size) ** 0.5
            for each, size, after, gain in zip(keys, sizes[:-1], sizes[1:], gains, strict=True)
        )
        self.biases = tuple(jnp.zeros(after) for after in hidden)
        self.coin = jnp.zeros((symbols, hidden[0]))
        self.dropout = settings.dropout

    def __call__(self, x: Array, symbol: Array | int, key: Array | None) -> Array:
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            x = jax.nn.silu(x + self.coin[symbol] if layer == 0 else x)
            if key is not None and self.dropout > 0.0:
                key, now = jax.random.split(key)
                x = x * jax.random.bernoulli(now, 1.0 - self.dropout, x.shape) / (1.0 - self.dropout)
        return x


class SegmentEncoder(Encoder):
    """The perceptron on summaries that are made by hand."""

    perceptron: Perceptron

    def __call__(self, x: Array, symbol: Array | int, key: Array | None) -> tuple[Array, Array]:
        return self.perceptron(x, symbol, key), x


class SequenceEncoder(Encoder):
    """One reader for each block, which runs over the block's windows, own and the others' beside each other; then the perceptron on what the
    readers say, the seasons and the time."""

    readers: tuple[Reader, ...]
    perceptron: Perceptron
    shapes: tuple[tuple[int, int], ...] = eqx.field(static=True)

    def __init__(self, settings: NetworkSettings, symbols: int, key: Array) -> None:
        width = len(settings.channels)
        *keys, last = jax.random.split(key, len(settings.blocks) + 1)
        reader = READERS[settings.encoder]
        self.shapes = tuple((block.length, width) for block in settings.blocks)
        self.readers = tuple(
            reader(2 * width, settings.state, block.length, each)
            for block, each in zip(settings.blocks, keys, strict=True)
        )
        said = settings.state * len(settings.blocks) + 2 * SEASONS + TIMES
        self.perceptron = Perceptron(said, settings, symbols, last)

    def __call__(self, x: Array, symbol: Array | int, key: Array | None) -> tuple[Array, Array]:
        own = sum(length * width for length, width in self.shapes) + SEASONS
        said: list[Array] = []
        at = 0
        for (length, width), reader in zip(self.shapes, self.readers, strict=True):
            cells = length * width
            path = [x[start : start + cells].reshape(length, width) for start in (at, own + at)]
            said.append(reader(jnp.concatenate(path, axis=1)))
            at += cells
        seen = jnp.concatenate((*said, x[at:own], x[own + at :]))
        return self.perceptron(seen, symbol, key), seen


class Network(eqx.Module):
    """Encoder and head. `head` [code, B, 3], `bias` [B, 3], `skip` [seen, B] (log scale only) act on the basis of horizons."""

    encoder: Encoder
    head: Array
    bias: Array
    skip: Array
    scale: float = eqx.field(static=True)

    def table(self, x: Array, symbol: Array | int, key: Array | None = None) -> Array:
        """Corrections by basis function, [B, 3]."""
        code, seen = self.encoder(x, symbol, key)
        table = self.scale * (jnp.tensordot(code, self.head, 1) + self.bias)
        return table.at[:, 0].add(seen @ self.skip)

    def __call__(self, x: Array, symbol: Array | int, basis: Array, key: Array | None = None) -> Array:
        """Corrections [h, 3] of one coin: to the log scale, to atanh of the skew, to the log of the tail above its floor.

        `x` [width] as `Inputs.of` makes it, `symbol` the coin's index, `basis` [h, B] of `horizon_basis`. A key switches dropout on.
        """
        return basis @ self.table(x, symbol, key)


def build(settings: NetworkSettings, inputs: Inputs, key: Array) -> Network:
    """An untrained network: its corrections are zero whatever it sees."""
    return _built(settings, len(inputs.symbols), key)


def _built(settings: NetworkSettings, symbols: int, key: Array) -> Network:
    basis = basis_size(settings)
    encoder: Encoder
    if settings.encoder == "segments":
        encoder = SegmentEncoder(Perceptron(input_width(settings), settings, symbols, key))
    else:
        encoder = SequenceEncoder(settings, symbols, key)
    return Network(
        encoder,
        jnp.zeros((settings.hidden[-1], basis, CORRECTIONS)),
        jnp.zeros((basis, CORRECTIONS)),
        jnp.zeros((encoder.perceptron.weights[0].shape[0], basis)),
        settings.correction_scale,
    )


def corrected(
    log_scale: Array, skew: Array, tail: Array, corrections: Array, fade: Array
) -> tuple[Array, Array, Array]:
    """The baseline's law [h] moved by corrections [h, 3]: log scale, skew, tail. The training twin of `law.correct`, but for the
    rule that a scale never falls with the horizon, which needs all horizons at once.
    """
    moved = jnp.clip(corrections, -LIMIT, LIMIT) * fade[..., None]
    turn = jnp.tanh(moved[..., 1])
    return (
        log_scale + moved[..., 0],
        (skew + turn) / (1.0 + skew * turn),
        tail + jnp.maximum(tail - TAIL_FLOOR, 0.0) * jnp.expm1(moved[..., 2]),
    )


def arrays_of(modules: Sequence[Network]) -> dict[str, NDArray[np.float32]]:
    """Their parameters by name, members stacked along the first axis."""
    trees = [jax.tree_util.tree_flatten_with_path(eqx.filter(module, eqx.is_array))[0] for module in modules]
    return {
        _name(path): np.stack([np.asarray(tree[row][1], np.float32) for tree in trees])
        for row, (path, _) in enumerate(trees[0])
    }


def modules_of(settings: NetworkSettings, arrays: Mapping[str, NDArray[Any]]) -> list[Network]:
    """The inverse of `arrays_of`. Raises `DataError` for an array that is missing or of another shape."""
    symbols = arrays[_COIN].shape[1] if _COIN in arrays else 0
    parameters, rest = eqx.partition(_shaped(settings, symbols), _is_shape)

    def filled(member: int) -> Network:
        def take(path: Any, leaf: jax.ShapeDtypeStruct) -> Array:
            found = arrays.get(_name(path))
            if found is None or found.shape != (settings.members, *leaf.shape):
                raise DataError(f"the network's {_name(path)} should be of shape {(settings.members, *leaf.shape)}")
            return jnp.asarray(found[member])

        return eqx.combine(jax.tree_util.tree_map_with_path(take, parameters), rest)

    return [filled(member) for member in range(settings.members)]


def parameter_shapes(settings: NetworkSettings, symbols: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter of one network by the name that `arrays_of` gives it."""
    parameters = eqx.filter(_shaped(settings, symbols), _is_shape)
    return {_name(path): tuple(leaf.shape) for path, leaf in jax.tree_util.tree_flatten_with_path(parameters)[0]}


def _shaped(settings: NetworkSettings, symbols: int) -> Network:
    """A network of shapes: nothing is drawn."""
    return eqx.filter_eval_shape(_built, settings, symbols, jax.random.key(0))


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _name(path: Any) -> str:
    """`encoder.weights.0` of a leaf."""
    return ".".join(str(getattr(part, "name", getattr(part, "idx", part))) for part in path)
