"""The two that everything else has to beat: the frequencies of the past, and the last direction with the chance that it repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from crypy.models.artefact import ArraySpec, read_arrays, write_artefact
from crypy.models.direction.artefact import direction_card, read_direction, record_of
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.market import Market
from crypy.models.direction.port import Probabilities
from crypy.models.volatility import FitRecord

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PlainKind = Literal["direction-constant", "direction-last"]

CONSTANT: Final[PlainKind] = "direction-constant"
LAST: Final[PlainKind] = "direction-last"
VERSION: Final = "1"
_KINDS: Final[dict[str, PlainKind]] = {CONSTANT: CONSTANT, LAST: LAST}


class DirectionTable:
    """p_up and p_down by what the candle that just closed did; implements `Member`.

    `chances` [symbol, before, 2], before = 0 for a candle that went nowhere, 1 for up, 2 for down. The constant has the same three times.
    """

    def __init__(self, kind: PlainKind, inputs: DirectionInputs, chances: Floats, record: FitRecord) -> None:
        self.kind: PlainKind = kind
        self.inputs = inputs
        self.chances = chances
        self.record = record

    @property
    def name(self) -> str:
        return f"{self.kind}-{VERSION}"

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.inputs.symbols

    @property
    def timeframe_s(self) -> int:
        return self.inputs.timeframe_s

    @property
    def rows_needed(self) -> int:
        """Minutes of history until it can tell."""
        return self.inputs.timeframe_rows + 1

    def with_record(self, record: FitRecord) -> DirectionTable:
        """The same model with what its fit rests on."""
        return DirectionTable(self.kind, self.inputs, self.chances, record)

    def prepare(self, market: Market) -> None:
        """Raises `SchemaMismatch` for a market that does not hold the symbols."""
        self.inputs.fit(market)

    def ask(self, market: Market, rows: Ints) -> Probabilities:
        """See `Member`; NaN where the candle before cannot be told. Raises `SchemaMismatch` for another market."""
        self.inputs.fit(market)
        rows = np.asarray(rows, np.int64)
        found = np.full((2, len(rows), len(self.symbols)), np.nan)
        for at, symbol in enumerate(self.symbols):
            if self.kind == CONSTANT:
                found[:, :, at] = self.chances[at, 0][:, None]
                continue
            before, known = moves(market, symbol, rows - self.inputs.timeframe_rows, rows)
            found[:, known, at] = self.chances[at, before[known]].T
        return Probabilities(found[0], found[1])

    def save(self, path: Path) -> None:
        """Write the artefact's folder. Raises `DataError` when `path` is something else."""
        write_artefact(
            path, direction_card(self.kind, VERSION, self.inputs, {}, self.record), {"chances": self.chances}
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises `DataError` for an artefact that is damaged, or of another kind."""
        card, inputs = read_direction(path, tuple(_KINDS), VERSION)
        arrays = read_arrays(path, card, {"chances": ArraySpec((len(inputs.symbols), 3, 2))})
        return cls(_KINDS[card.kind], inputs, arrays["chances"], record_of(card))


def moves(
    market: Market, symbol: str, first: Ints, then: Ints, flat_bps: float = 0.0
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """What closes did from rows `first` to rows `then`: 1 up, -1 down, 0 not at all (or by `flat_bps` basis points at most), and where that is known.

    Closes are compared exactly. A row that is not held, or whose candle is missing, is unknown.
    """
    held = (first >= market.first_row) & (then < market.rows)
    found = np.zeros(len(first), np.int8)
    close = market.column(symbol, "close", market.first_row, market.rows)
    missing = market.column(symbol, "missing", market.first_row, market.rows)
    begin, end = first[held] - market.first_row, then[held] - market.first_row
    before, after = close[begin], close[end]
    found[held] = np.sign(after - before)
    if flat_bps > 0.0:
        found[held] = np.where(np.abs(after / before - 1.0) <= flat_bps * 1e-4, 0, found[held])
    known = held.copy()
    known[held] = (missing[begin] == 0.0) & (missing[end] == 0.0) & (before > 0.0) & (after > 0.0)
    return found, known
