"""Which bars a verb of `crypy model` learns from or judges on: files that a person has, or the audited store of a world."""

from __future__ import annotations

from pathlib import Path

from crypy.app.data.stores import VENUE, Place, chosen_symbols, store_of
from crypy.app.folders import data_folder
from crypy.app.settings import Settings, load_settings
from crypy.domain.errors import Incomplete
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata.audited import audited_bars
from crypy.marketdata.bars import Bars
from crypy.marketdata.source_files import open_source
from crypy.marketdata.store import TradeStore
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
    bars = {symbol: _bars(settings, place, symbol, end_s) for symbol in chosen_symbols(symbols, settings)}
    # All symbols are judged over the same time: the common part, where no moment is named.
    first = max(one.start_s for one in bars.values()) if start_s is None else start_s
    last = min(one.end_s for one in bars.values()) if end_s is None else end_s
    return Dataset.of(bars, first, last, spacing_s=spacing_s, horizons_s=horizons_s)


def models_folder(data_dir: Path | None) -> Path:
    """Where models are kept that no single world owns."""
    return data_folder(data_dir) / "models"


def _bars(settings: Settings, place: Place, symbol: str, end_s: int | None) -> Bars:
    if place.source is not None:
        with open_source(place.source, symbol) as found:
            return found.bars(None, end_s)
    store = store_of(settings, place.data_dir, place.world)
    first_s, last_s = _stored_span(store, symbol)
    return audited_bars(store, VENUE, symbol, first_s, last_s if end_s is None else min(last_s, end_s))


def _stored_span(store: TradeStore, symbol: str) -> tuple[int, int]:
    facts = store.facts(VENUE, symbol)
    if not facts.rows:
        raise Incomplete(f"nothing is stored of {symbol}; `crypy data sync --symbols {symbol}` fetches it", (symbol,))
    return -(-facts.first_time_us // US_PER_S), facts.last_time_us // US_PER_S
