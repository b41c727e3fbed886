"""Which bars a verb of `crypy model` learns from or judges on: files that a person has, or the audited store of a world.

A store's seconds are read from its memory-mapped bars, which are brought up to it first: they hold audited days only, and gaps as holes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from crypy.app.data.stores import VENUE, Place, chosen_symbols, store_of
from crypy.app.folders import data_folder
from crypy.app.settings import load_settings
from crypy.domain.times import US_PER_S, parse_time_us
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
) -> Dataset:
    """Origins in `[start, end)` (ISO 8601 UTC, empty for all there is); everything before `start` is at hand as warm-up.

    Raises `Incomplete` where nothing is there, `DataError` naming stored days that were not audited.
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
    bars = {symbol: _bars(place.source, symbol, end_s) for symbol in named}
    first, last = _shared_range(bars.values(), start_s, end_s)
    return Dataset.of(bars, first, last, spacing_s=spacing_s, horizons_s=horizons_s)


def models_folder(data_dir: Path | None) -> Path:
    """Where models are kept that no single world owns."""
    return data_folder(data_dir) / "models"


def _shared_range(bars: Iterable[Bars | MappedBars], start_s: int | None, end_s: int | None) -> tuple[int, int]:
    """The moments that are named, else the time that all symbols have: all are judged over the same."""
    known = list(bars)
    first = max(one.start_s for one in known) if start_s is None else start_s
    return first, min(one.end_s for one in known) if end_s is None else end_s


def _bars(source: Path, symbol: str, end_s: int | None) -> Bars:
    with open_source(source, symbol) as found:
        return found.bars(None, end_s)
