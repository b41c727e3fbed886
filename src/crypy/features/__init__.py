"""Features: numbers folded from candles, written once for live, replay and research."""

from crypy.features.column import FeatureColumn
from crypy.features.feature import Feature
from crypy.features.history import CandleHistory
from crypy.features.state import State
from crypy.features.store import FeatureStore

__all__ = ["CandleHistory", "Feature", "FeatureColumn", "FeatureStore", "State"]
