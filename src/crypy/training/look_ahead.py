"""Whether a model's hindcasts look ahead: everything after a moment is changed, and what was said until then must keep its bits.

`predict` is handed nothing but the past; the fast way of many origins at once is the one that could see more, so each origin is compared with
`predict` on its own sequence as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast, hindcasts, one_by_one
from crypy.models.port import Model

Floats = NDArray[np.float64]

_COLUMNS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")
_LAWS: Final = ("scale", "skew", "tail")
_ORIGINS: Final = 4


def sees_ahead(model: Model, dataset: Dataset, horizons_s: Floats, rng: np.random.Generator, moments: int = 3) -> str:
    """What gives the model away, empty where nothing does: at some moments of the dataset, the last origins before each.

    Raises whatever the model raises.
    """
    origins_s = dataset.origins_s()
    for at in sorted(rng.choice(np.arange(_ORIGINS, len(origins_s)), moments, replace=False).tolist()):
        moment_s = int(origins_s[at])
        few = dataset.between(int(origins_s[at - _ORIGINS + 1]), moment_s + dataset.step_s)
        longer = Dataset.of(
            changed_from(dataset.bars, moment_s, rng), few.start_s, dataset.end_s,
            spacing_s=dataset.spacing_s, horizons_s=dataset.horizons_s,
        )  # fmt: skip
        other = hindcasts(model, longer, horizons_s)
        for symbol, row, said in _unlike(
            hindcasts(model, _until_end(dataset, few.start_s), horizons_s), other, _ORIGINS
        ):
            return f"{symbol} at {iso(row * US_PER_S)}: {said} changes with what comes after {iso(moment_s * US_PER_S)}"
        for symbol, row, said in _unlike(
            hindcasts(model, few, horizons_s), one_by_one(model, few, horizons_s), _ORIGINS
        ):
            return f"{symbol} at {iso(row * US_PER_S)}: {said} of many origins at once is not what `predict` gives"
    return ""


def changed_from(bars: Mapping[str, Bars], moment_s: int, rng: np.random.Generator) -> dict[str, Bars]:
    """The same bars up to a moment, and other lawful ones from there on: a jump, a wild walk, other volumes."""
    return {symbol: _changed(one, moment_s, rng) for symbol, one in bars.items()}


def _until_end(dataset: Dataset, start_s: int) -> Dataset:
    return dataset.between(start_s, dataset.end_s)


def _unlike(one: Mapping[str, Hindcast], other: Mapping[str, Hindcast], rows: int) -> list[tuple[str, int, str]]:
    """Symbol, origin and law of what differs in the first rows; NaN equals NaN."""
    return [
        (symbol, int(cast.origins_s[row]), name)
        for symbol, cast in one.items()
        for row in range(min(rows, len(cast.origins_s)))
        for name in _LAWS
        if getattr(cast, name)[row].tobytes() != getattr(other[symbol], name)[row].tobytes()
    ]


def _changed(bars: Bars, moment_s: int, rng: np.random.Generator) -> Bars:
    columns = {name: getattr(bars, name).copy() for name in _COLUMNS}
    first = max(0, min(len(bars), (moment_s - bars.start_s) // bars.step_s))
    count = len(bars) - first
    if count:
        close = (bars.close[first - 1] if first else bars.close[0]) * np.exp(
            0.2 + np.cumsum(rng.normal(0.0, 1e-3, count))
        )
        columns["open"][first:] = columns["close"][first:] = close
        columns["high"][first:], columns["low"][first:] = 1.001 * close, 0.999 * close
        columns["volume"][first:] = volume = np.round(rng.uniform(500.0, 900.0, count), 8)
        columns["quote_volume"][first:] = volume * close
        columns["count"][first:] = rng.integers(5_000, 9_000, count)
        columns["taker_buy_volume"][first:] = np.round(0.05 * volume, 8)
    return replace(bars, **columns)
