"""What a data scientist's own model is fitted on: the sequence that it eats, the origins at which that is whole, and the variance that came.

The model names its sequence by `schema`, a `FeatureSchema` or a function of the symbols, read after `fit`; where it says nothing, `default_schema` holds.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.marketdata.schema import Block, Channel, FeatureSchema
from crypy.marketdata.sequence import bars_needed
from crypy.models.dataset import Dataset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHANNELS: Final[tuple[Channel, ...]] = ("returns", "realised_variance")
# (step, windows): the last minute by seconds, the last hour by minutes, the last day by quarters of an hour.
_SPANS_S: Final = ((1, 60), (60, 60), (900, 96))


def default_schema(symbols: tuple[str, ...], step_s: int) -> FeatureSchema:
    """The last hour by minutes and the last day by quarters of an hour (from bars of seconds also the last minute by seconds),
    each with returns and realised variance. Every cell is known: with less than a day of history there is no forecast."""
    blocks = [
        Block(length_s, windows, _CHANNELS)
        for length_s, windows in _SPANS_S
        if length_s >= step_s and length_s % step_s == 0
    ]
    if not blocks:
        blocks = [Block(step_s, 96, _CHANNELS)]
    return FeatureSchema(symbols, step_s, tuple(blocks))


def whole_origins(dataset: Dataset, schema: FeatureSchema) -> Ints:
    """Origins of the dataset at which all history that the schema asks for is known: what to fit on."""
    first_s = dataset.start_s
    for symbol in schema.symbols:
        bars = dataset.bars[symbol]
        known = np.flatnonzero(np.isfinite(dataset.log_close(symbol)))
        unknown = int(known[0]) if len(known) else len(bars)
        first_s = max(first_s, bars.start_s + (unknown + bars_needed(schema, bars.step_s)) * bars.step_s)
    origins_s = dataset.origins_s()
    return origins_s[origins_s >= first_s]


def variance_ahead(dataset: Dataset, symbol: str, origins_s: Ints, horizons_s: Floats | Ints) -> Floats:
    """Realised variance over each horizon, the sum of squared returns of its bars [n, h]; NaN where the horizon ends beyond the range.

    A target with far less noise than the squared return over the horizon.
    """
    bars = dataset.bars[symbol]
    squares = np.diff(dataset.log_close(symbol), prepend=np.nan) ** 2
    sums = np.cumsum(np.where(np.isfinite(squares), squares, 0.0))
    returns = dataset.returns(symbol, origins_s, horizons_s)
    now = (origins_s - bars.start_s) // bars.step_s - 1
    then = now[:, None] + np.asarray(horizons_s, np.int64) // bars.step_s
    inside = np.isfinite(returns)
    out = np.full(returns.shape, np.nan)
    rows = np.nonzero(inside)
    out[rows] = sums[then[rows]] - sums[now[rows[0]]]
    return out


def schema_of(own: Any, symbols: tuple[str, ...], step_s: int) -> FeatureSchema:
    """What the object says it eats. Raises `ConfigError` where that is no `FeatureSchema`."""
    said = getattr(own, "schema", None)
    if said is None:
        return default_schema(symbols, step_s)
    schema = said(symbols) if callable(said) else said
    if not isinstance(schema, FeatureSchema):
        raise ConfigError(f"{type(own).__name__}.schema gives {type(schema).__name__}; it is to give a FeatureSchema")
    return schema
