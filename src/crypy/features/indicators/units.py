"""Units of what an indicator is made of."""

from __future__ import annotations

from typing import Final

from crypy.features.feature import Feature, Source

_UNITS: Final = {"volume": "base asset", "quote_volume": "quote asset", "missing": "1", "end_s": "s"}


def unit_of(source: Source) -> str:
    """What a column or a feature is in: prices are in the quote asset per base asset."""
    return source.unit if isinstance(source, Feature) else _UNITS.get(source, "price")
