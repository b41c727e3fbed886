"""Which features are computed, in which order: each once, whoever needs it, and only over rows that are new."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from crypy.domain.errors import ConfigError
from crypy.features.feature import Feature
from crypy.features.history import COLUMNS, CandleHistory
from crypy.features.state import FeatureColumn, State


class FeatureStore:
    """Features and all that they need, ordered so that each comes after its inputs. It holds no values: these are the state's."""

    def __init__(self, features: Iterable[Feature]) -> None:
        """Raises `ConfigError` for an input that is no column."""
        self.features = tuple(dict.fromkeys(features))
        order: dict[Feature, None] = {}
        for feature in self.features:
            _add(feature, order)
        self.order = tuple(order)

    def compute(self, state: State) -> State:
        """Fold what is new of every symbol; the same state is returned."""
        for symbol, history in state.raw.items():
            columns = state.features.setdefault(symbol, {})
            for feature in self.order:
                if feature not in columns:
                    columns[feature] = FeatureColumn(feature, history.first_row)
                _fold(columns[feature], columns, history)
        return state


def _add(feature: Feature, order: dict[Feature, None]) -> None:
    for one in feature.inputs:
        if isinstance(one, Feature):
            _add(one, order)
        elif one not in COLUMNS:
            raise ConfigError(f"{feature.name} asks for the column {one!r}; candles have {', '.join(COLUMNS)}")
    order.setdefault(feature)


def _fold(column: FeatureColumn, columns: dict[Feature, FeatureColumn], history: CandleHistory) -> None:
    first, stop = column.rows, history.rows
    if first == stop:
        return
    feature = column.feature
    given = tuple(
        history.column(one, first, stop) if isinstance(one, str) else columns[one].values(first, stop)
        for one in feature.inputs
    )
    out = column.room(stop - first)
    # What is unknown at the beginning is never folded: a memory that has taken NaN keeps it.
    unknown = 0 if column.seen else _unknown(given)
    out[:unknown] = np.nan
    if unknown < len(out):
        feature.fold(column.memory, tuple(one[unknown:] for one in given), out[unknown:])
        cold = min(max(0, feature.warm_up - 1 - column.seen), len(out) - unknown)
        out[unknown : unknown + cold] = np.nan
        column.seen += len(out) - unknown


def _unknown(given: tuple[np.ndarray, ...]) -> int:
    """Rows before all inputs are known."""
    known = np.logical_and.reduce([~np.isnan(one) for one in given])
    return int(known.argmax()) if known.any() else len(known)
