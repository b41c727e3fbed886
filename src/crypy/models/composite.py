"""One model made of several: each symbol is forecast by one of them, all are given one sequence.

The schema is the union of what is used, so all members need the same base step; a member that knows more symbols than are asked of it still
gets them all, for its answer may rest on them. Row by row the result is the member's own, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.models.artefact import Card, read_card, require_kind, require_parts, write_artefact
from crypy.models.dataset import Dataset
from crypy.models.hindcast import Hindcast, hindcasts
from crypy.models.loading import load as load_model
from crypy.models.port import DistributionGrid, Model, require_schema
from crypy.models.selection import select, union

Floats = NDArray[np.float64]

KIND: Final = "composite"
VERSION: Final = "1"


class Composite:
    """Implements `Model` and `Hindcaster`. `members` names the model of each symbol, in the order of the answer's rows; symbols that
    a member needs beside its own and that have none are forecast by it as well.

    History that is missing is allowed where any member allows it; one that does not raises `Incomplete` for its part. Raises `ConfigError` for no
    member, members of several base steps, or one that does not know its symbol.
    """

    def __init__(self, members: Mapping[str, Model]) -> None:
        if not members:
            raise ConfigError("a composite needs at least one symbol and its model")
        strange = [
            f"{model.name} of {symbol}" for symbol, model in members.items() if symbol not in model.schema.symbols
        ]
        if strange:
            raise ConfigError(f"these do not know the symbol that they are to forecast: {', '.join(strange)}")
        first = union([model.schema for model in members.values()])
        self.members = dict(members)
        for symbol in first.symbols:
            if symbol not in members:
                self.members[symbol] = next(each for each in members.values() if symbol in each.schema.symbols)
        self._models = tuple({id(model): model for model in self.members.values()}.values())
        self._schema = FeatureSchema(tuple(self.members), first.base_step_s, first.blocks, first.allow_missing)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The rows of the answer."""
        return tuple(self.members)

    @property
    def name(self) -> str:
        """The members' names, the one of most symbols first."""
        counts = {model.name: 0 for model in self.members.values()}
        for model in self.members.values():
            counts[model.name] += 1
        return " + ".join(sorted(counts, key=lambda name: -counts[name]))

    @property
    def schema(self) -> FeatureSchema:
        """What all members together need."""
        return self._schema

    def predict(self, sequence: FeatureSequence, horizons_s: Floats) -> DistributionGrid:
        """Distributions of all symbols; the members' errors."""
        require_schema(self.name, self._schema, sequence)
        grids = {id(model): model.predict(select(sequence, model.schema), horizons_s) for model in self._models}
        rows = [(grids[id(model)], symbol) for symbol, model in self.members.items()]
        at = [(grid, grid.symbols.index(symbol)) for grid, symbol in rows]
        return DistributionGrid(
            sequence.end_s,
            self.symbols,
            at[0][0].horizons_s,
            np.stack([grid.scale[row] for grid, row in at]),
            np.stack([grid.skew[row] for grid, row in at]),
            np.stack([grid.tail[row] for grid, row in at]),
            np.array([grid.history_s[row] for grid, row in at]),
        )

    def hindcasts(self, dataset: Dataset, horizons_s: Floats) -> dict[str, Hindcast]:
        """Each member's own, by its fastest way."""
        found = {id(model): hindcasts(model, dataset, horizons_s) for model in self._models}
        return {symbol: found[id(model)][symbol] for symbol, model in self.members.items()}

    def save(self, path: Path) -> None:
        """An artefact folder whose parts are the members' own artefacts, whole or not at all. Its fit range ends with the latest member's."""
        write_artefact(path, self._card, {}, {_part(number): model for number, model in enumerate(self._models)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an artefact folder and those inside. Raises `DataError` naming what is foreign or damaged."""
        card = read_card(path)
        require_kind(path, card, KIND, VERSION)
        require_parts(path, card, tuple(sorted({str(part) for part in card.settings.values()})))
        loaded = {part: load_model(path / part) for part in card.parts}
        try:
            model = cls({symbol: loaded[str(card.settings[symbol])] for symbol in card.schema.symbols})
        except (ConfigError, KeyError) as error:
            raise DataError(f"{path}: its parts do not belong together ({error})") from error
        if model.schema != card.schema:
            raise DataError(f"{path}: its card asks for a sequence that its parts do not make")
        return model

    def _card(self, cards: tuple[Card, ...]) -> Card:
        numbers = {id(model): number for number, model in enumerate(self._models)}
        return Card(
            kind=KIND,
            version=VERSION,
            schema=self._schema,
            schema_fingerprint=self._schema.fingerprint(),
            fit_start_s=min(card.fit_start_s for card in cards),
            fit_end_s=max(card.fit_end_s for card in cards),
            data_fingerprint=hashlib.sha256("".join(card.data_fingerprint for card in cards).encode()).hexdigest(),
            metrics=tuple(metric for card in cards for metric in card.metrics),
            settings={symbol: _part(numbers[id(model)]) for symbol, model in self.members.items()},
            runtime="jax" if any(card.runtime == "jax" for card in cards) else "numpy",
        )


def fit(_dataset: Dataset, **_options: Any) -> Composite:
    """A composite is not fitted: its members are. Raises `ConfigError` always."""
    raise ConfigError(
        "a composite is put together of models that are fitted: fit these, then `Composite({symbol: model}).save(folder)`"
    )


def _part(number: int) -> str:
    return f"part-{number}"
