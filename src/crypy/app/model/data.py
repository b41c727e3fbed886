"""Which bars a verb of `crypy model` learns from or judges on: files that a person has, or the audited store of a world.

A store's seconds are read from its memory-mapped bars, which are brought up to it first: they hold audited days only, and gaps as holes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from crypy.app.data.stores import VENUE, Place, chosen_symbols, store_of
from crypy.app.folders import data_folder
from crypy.app.settings import load_settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S, iso, parse_time_us
from crypy.marketdata.bars import Bars
from crypy.marketdata.mapped_bars import MappedBars, update_mapped_bars
from crypy.marketdata.source_files import open_source
from crypy.models.dataset import HORIZONS_S, SPACING_S, Dataset


def dataset_of(
    place: Place,
    symbols: str,
    start: str,
    end: str,
    *,
    spacing_s: int = SPACING_S,
    horizons_s: tuple[int, ...] = HORIZONS_S,
    history_s: int | None = None,
) -> Dataset:
    """Origins in `[start, end)` (ISO 8601 UTC, empty for all there is); everything before `start` is at hand as warm-up.

    The usual spacing and horizons suit bars of any step: the horizons that such bars can have, and no origins closer than the bars. Any others
    have to be multiples of the step. With `history_s` and an `end`, files give the bars of that time before the end, and no others.

    Raises `ConfigError` for a spacing or horizons that cannot be, `Incomplete` where nothing is there, `DataError` naming stored days that were not audited.
    """
    settings = load_settings(place.config)
    start_s = parse_time_us(start) // US_PER_S if start else None
    end_s = parse_time_us(end) // US_PER_S if end else None
    named = chosen_symbols(symbols, settings)
    if place.source is None:
        store = store_of(settings, place.data_dir, place.world)
        mapped = {symbol: update_mapped_bars(store, symbol, venue=VENUE) for symbol in named}
        first, last = _shared_range(mapped.values(), start_s, end_s)
        return Dataset.of_mapped(mapped, first, last, spacing_s=spacing_s, horizons_s=horizons_s)
    begin_s = None if history_s is None or end_s is None else end_s - history_s
    bars = {symbol: _bars(place.source, symbol, begin_s, end_s) for symbol in named}
    first, last = _shared_range(bars.values(), start_s, end_s)
    spacing_s, horizons_s = _suited(max(one.step_s for one in bars.values()), spacing_s, horizons_s)
    return Dataset.of(bars, first, last, spacing_s=spacing_s, horizons_s=horizons_s)


def models_folder(data_dir: Path | None) -> Path:
    """Where models are kept that no single world owns."""
    return data_folder(data_dir) / "models"


def _shared_range(bars: Iterable[Bars | MappedBars], start_s: int | None, end_s: int | None) -> tuple[int, int]:
    """The moments that are named, else the time that all symbols have: all are judged over the same."""
    known = list(bars)
    begin_s, stop_s = max(one.start_s for one in known), min(one.end_s for one in known)
    first, last = begin_s if start_s is None else start_s, stop_s if end_s is None else end_s
    if first >= last:
        there = f"begin {iso(begin_s * US_PER_S)}" if last <= begin_s else f"end {iso(stop_s * US_PER_S)}"
        raise ConfigError(f"nothing lies between {iso(first * US_PER_S)} and {iso(last * US_PER_S)}: the data {there}")
    return first, last


def _suited(step_s: int, spacing_s: int, horizons_s: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The usual spacing and the usual horizons as bars of this step can have them; others as they are."""
    spacing_s = math.lcm(spacing_s, step_s) if spacing_s == SPACING_S else spacing_s
    fitting = tuple(each for each in horizons_s if each % step_s == 0)
    return spacing_s, fitting if fitting and horizons_s == HORIZONS_S else horizons_s


def _bars(source: Path, symbol: str, begin_s: int | None, end_s: int | None) -> Bars:
    with open_source(source, symbol) as found:
        first_s = found.span_s()[0]
        return found.bars(first_s if begin_s is None else max(first_s, begin_s), end_s)
