"""A feature: one number per candle, folded from columns of the candles or from other features.

It is written once. `fold` takes any number of rows with the memory of those before them, and the same compiled code runs over a year at
once, in chunks, or over the one candle that just closed: the bits are equal by construction, and no value can depend on a later row. A
feature is a frozen dataclass whose fields are its parameters; equal features are one.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crypy.features.parameters import settle_parameters

if TYPE_CHECKING:
    from crypy.features.state import State

Floats = NDArray[np.float64]
Source: TypeAlias = "str | Feature"


@dataclass(frozen=True)
class Feature(ABC):
    """A feature's inputs, memory and arithmetic. Subclasses are dataclasses (frozen), one to a file."""

    def __post_init__(self) -> None:
        """Raises `ConfigError` for a parameter outside the limits that its field declares (`features.parameters`)."""
        settle_parameters(self)

    @property
    @abstractmethod
    def inputs(self) -> tuple[Source, ...]:
        """Columns of `history.COLUMNS`, and features of the same symbol, in the order that `fold` gets them."""

    @property
    def warm_up(self) -> int:
        """Rows of its inputs that the first value which means something needs, its own row among them; the store gives NaN until then."""
        return 1

    @property
    @abstractmethod
    def unit(self) -> str:
        """What the number is in, such as `log return` or `1`."""

    @property
    def memory_size(self) -> int:
        """Floats that are carried from row to row; they begin as NaN."""
        return 0

    @abstractmethod
    def fold(self, memory: Floats, inputs: tuple[Floats, ...], out: Floats) -> None:
        """Fill `out` [row] for the next rows of `inputs` (each [row]), and carry `memory` [memory_size] on."""

    @property
    def rows_needed(self) -> int:
        """Rows of candles before the first value that means something: its own warm-up, behind those of the features it is made of."""
        below = max((one.rows_needed for one in self.inputs if isinstance(one, Feature)), default=1)
        return self.warm_up + below - 1

    @property
    def name(self) -> str:
        """The feature with its parameters, as columns and reports show it: `log_return(lag=5)`."""
        given = (f"{one.name}={_told(getattr(self, one.name))}" for one in fields(self))
        return f"{kind_of(type(self))}({','.join(given)})"

    def compute(self, state: State) -> State:
        """Fold what is new in the state, this feature and those that it needs; the same state is returned."""
        from crypy.features.store import store_of

        return store_of(self).compute(state)


def kind_of(feature: type[Feature]) -> str:
    """How a kind of feature is called in names and specs: `ClosePosition` is `close_position`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", feature.__name__).lower()


def _told(value: object) -> str:
    return value.name if isinstance(value, Feature) else f"{value}"
