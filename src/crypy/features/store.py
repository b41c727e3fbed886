"""Which features are computed, in which order: each once, whoever needs it, and only over rows that are new."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from crypy.domain.errors import ConfigError
from crypy.features.column import FeatureColumn
from crypy.features.dense_rows import DenseRows
from crypy.features.feature import Feature
from crypy.features.history import COLUMNS, CandleHistory
from crypy.features.state import Plan, State


class FeatureStore:
    """Features and all that they need, ordered so that each comes after its inputs. It holds no values: these are the state's."""

    def __init__(self, features: Iterable[Feature]) -> None:
        """Raises `ConfigError` for an input that is no column, and for a feature without inputs."""
        self.features = tuple(dict.fromkeys(features))
        order: dict[Feature, None] = {}
        for feature in self.features:
            _add(feature, order)
        self.order = tuple(order)

    def compute(self, state: State) -> State:
        """Fold what is new of every symbol; the same state is returned."""
        plans = state.plans.get(self)
        if plans is None:
            plans = state.plans[self] = {}
        for symbol, history in state.raw.items():
            plan = plans.get(symbol)
            if plan is None:
                plan = plans[symbol] = self._plan(state, symbol, history)
            rows = history.rows
            if plan.done != (rows, state.turn):
                for column in plan.columns:
                    column.fold_to(rows)
                plan.done = (rows, state.turn)
        return state

    def _plan(self, state: State, symbol: str, history: CandleHistory) -> Plan:
        columns = state.features.setdefault(symbol, {})
        new = [feature for feature in self.order if feature not in columns]
        block = DenseRows(len(new), history.first_row)
        for at, feature in enumerate(new):
            columns[feature] = FeatureColumn(feature, history, columns, block, at)
        return Plan(tuple(columns[feature] for feature in self.order))


@lru_cache(maxsize=1_024)
def store_of(feature: Feature) -> FeatureStore:
    """The store of one feature and what it needs, the same for equal features."""
    return FeatureStore([feature])


def _add(feature: Feature, order: dict[Feature, None]) -> None:
    if feature in order:
        return
    if not feature.inputs:
        raise ConfigError(f"{feature.name} names no inputs; candles have {', '.join(COLUMNS)}")
    for one in feature.inputs:
        if isinstance(one, Feature):
            _add(one, order)
        elif one not in COLUMNS:
            raise ConfigError(f"{feature.name} asks for the column {one!r}; candles have {', '.join(COLUMNS)}")
    order.setdefault(feature)
