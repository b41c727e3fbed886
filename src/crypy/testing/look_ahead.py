"""Where and how to look for look-ahead: which moments, which bars around them, and how two answers are compared.

Everything from a moment on is changed by `training.look_ahead.changed_from`. `delicate_origins` are the moments at which code that looks a bar too far is likely
to show it: borders of a schema's blocks, midnights, changes of New York's clocks, and some at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.times import DAY_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.clocks import new_york_offsets
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.models.dataset import Dataset

Ints = NDArray[np.int64]
_COLUMNS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")
_AHEAD_S: Final = 2 * DAY_S


def until(bars: Mapping[str, Bars], at_s: int) -> dict[str, Bars]:
    """The bars that ended by `at_s` and no others, as a live model has them."""
    return {symbol: _rows(one, 0, _row(one, at_s)) for symbol, one in bars.items()}


def near(bars: Mapping[str, Bars], at_s: int, before_s: int, after_s: int = _AHEAD_S) -> dict[str, Bars]:
    """The bars of `[at_s - before_s, at_s + after_s)`, as far as there are any."""
    return {symbol: _rows(one, _row(one, at_s - before_s), _row(one, at_s + after_s)) for symbol, one in bars.items()}


def delicate_origins(dataset: Dataset, schema: FeatureSchema, rng: np.random.Generator, count: int = 40) -> Ints:
    """About `count` moments of the dataset, ascending, each a multiple of the bars' step."""
    step_s, start_s, end_s = dataset.step_s, dataset.start_s, dataset.end_s
    middle_s = (start_s + end_s) // 2
    borders = {end_s - step_s, -(-start_s // step_s) * step_s, (middle_s // DAY_S) * DAY_S}
    borders |= {(middle_s // block.step_s) * block.step_s for block in schema.blocks}
    borders |= {moment for moment in new_york_offsets(start_s, end_s)[0].tolist() if start_s < moment < end_s}
    # What counts days in New York has its border at the local midnight.
    borders |= {border + 5 * 3_600 for border in borders if border % DAY_S == 0}
    around = {border + shift * step_s for border in borders for shift in (-1, 0, 1)}
    chosen = {each for each in around if start_s <= each < end_s and each % step_s == 0}
    first, last = -(-start_s // step_s), end_s // step_s
    drawn = rng.integers(first, last, max(4, count - len(chosen))) * step_s
    return np.array(sorted(chosen | set(drawn.tolist())), np.int64)


def sequence_at(bars: Mapping[str, Bars], schema: FeatureSchema, at_s: int, *, spacing_s: int = 0) -> FeatureSequence:
    """The sequence at one moment, cut from all the bars by the way that training takes."""
    step_s = next(iter(bars.values())).step_s
    return Dataset.of(bars, spacing_s=spacing_s or step_s, horizons_s=(step_s,)).windows(schema, np.array([at_s]))[0]


def bits(value: Any) -> bytes:
    """The bytes of a grid's or a sequence's arrays, to compare them to the last bit."""
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value).tobytes()
    if isinstance(value, tuple):
        return b"|".join(bits(one) for one in value)
    if isinstance(value, FeatureSequence):
        return bits((value.values, value.known, value.clocks, value.close))
    return bits((value.scale, value.skew, value.tail))


def _row(bars: Bars, at_s: int) -> int:
    """The first row that does not end by `at_s`."""
    return max(0, min(len(bars), (at_s - bars.start_s) // bars.step_s))


def _rows(bars: Bars, first: int, last: int) -> Bars:
    columns = {name: getattr(bars, name)[first:last] for name in _COLUMNS}
    return replace(bars, start_s=bars.start_s + first * bars.step_s, **columns)
