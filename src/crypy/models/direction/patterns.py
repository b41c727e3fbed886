"""Pattern memory: past situations, what followed each, and the chances of now by its nearest neighbours.

The store is a ring of `size` rows: a vector (float32), the end of its candle in seconds, and what the next candle did (1, -1, 0). A row is
added when its fact is known, so nothing can be found that has not happened. Distances are Euclidean after each dimension is divided by
its own running deviation. A neighbour counts 1 - (distance / distance of the k-th)^2 (Epanechnikov's kernel, after Cover & Hart,
IEEE Trans. Inf. Theory 13, 1967), and half as much when it is `half_life_days` older; how many neighbours that makes is Kish's effective
number (sum w)^2 / sum w^2, the `evidence`. The chances are shrunk to the base rates by `doubt` pseudo-neighbours.

A year of rows is too much to write after each candle, and needs not be: rows never change. What is kept is a small `PatternsState`, and rows in
order, to be appended (`rows_since`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.models.direction.nearest import sums_of_nearest

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

_EMPTY: Final = -1
_DAY_S: Final = 86_400
# Deviations are running ones of about this many rows.
_SPREAD_ROWS: Final = 10_000
_RATE_ROWS: Final = 10_000


class PatternSettings(msgspec.Struct, frozen=True):
    """`size` rows are held, `k` neighbours asked, from `least` rows on. `mirrored`: what followed the situation's mirror image counts turned round, `k`
    neighbours more; every number of a situation has to change its sign with the market's. Raises `ConfigError` for values that make no sense."""

    on: bool = True
    size: int = 20_000
    k: int = 500
    half_life_days: float = 365.0
    doubt: float = 400.0
    least: int = 1_000
    mirrored: bool = True

    def __post_init__(self) -> None:
        if not (1 < self.k <= self.least <= self.size and self.half_life_days > 0.0 and self.doubt > 0.0):
            raise ConfigError(
                f"a pattern memory needs 1 < k <= least <= size and a positive half_life_days and doubt, got k {self.k}, least {self.least}, "
                f"size {self.size}, half_life_days {self.half_life_days}, doubt {self.doubt}"
            )


class PatternsState(msgspec.Struct):
    """All but the rows. Rows `first` up to `added` are held; `mean` and `square` are the dimensions' faded moments with weight `weight`,
    `up`, `down` and `facts` the faded counts behind the base rates."""

    first: int = 0
    added: int = 0
    weight: float = 0.0
    mean: list[float] = []
    square: list[float] = []
    up: float = 0.0
    down: float = 0.0
    facts: float = 0.0


class Recollection(NamedTuple):
    """What the neighbours say, and how many they are worth."""

    p_up: float
    p_down: float
    evidence: float


class Patterns:
    """The fold over (situation, fact) of one symbol and timeframe."""

    def __init__(self, settings: PatternSettings, dimensions: int) -> None:
        self.settings = settings
        self.state = PatternsState(mean=[0.0] * dimensions, square=[0.0] * dimensions)
        self._vectors = np.zeros((dimensions, settings.size), np.float32)
        self._ends_s = np.full(settings.size, _EMPTY, np.int64)
        self._outcomes = np.zeros(settings.size, np.int8)
        self._distances = np.zeros(settings.size, np.float32)

    @property
    def dimensions(self) -> int:
        """Numbers in a situation."""
        return len(self._vectors)

    @property
    def held(self) -> int:
        """Rows in the store."""
        return self.state.added - self.state.first

    def recall(self, end_s: int, situation: Floats) -> Recollection | None:
        """The chances after a situation [dimension]; `None` where it is not known whole, or too little is remembered."""
        self._require(situation)
        if self.held < self.settings.least or not np.isfinite(situation).all():
            return None
        state = self.state
        variance = np.array(state.square) / state.weight
        scale = np.where(variance > 0.0, 1.0 / np.sqrt(np.where(variance > 0.0, variance, 1.0)), 0.0)
        here, scale = situation.astype(np.float32), scale.astype(np.float32)
        total, squares, up, down = self._sums(here, scale, end_s)
        if self.settings.mirrored:
            more, more_squares, mirrored_down, mirrored_up = self._sums(-here, scale, end_s)
            total, squares, up, down = total + more, squares + more_squares, up + mirrored_up, down + mirrored_down
        if not total > 0.0:
            return None
        evidence, doubt = total * total / squares, self.settings.doubt
        return Recollection(
            (evidence * up / total + doubt * state.up / state.facts) / (evidence + doubt),
            (evidence * down / total + doubt * state.down / state.facts) / (evidence + doubt),
            evidence,
        )

    def learn(self, end_s: int, situation: Floats, outcome: int) -> None:
        """What followed a situation; one that is not known whole is left."""
        self._require(situation)
        if not np.isfinite(situation).all():
            return
        state, slot = self.state, self.state.added % self.settings.size
        row = situation.astype(np.float32)
        self._vectors[:, slot], self._ends_s[slot], self._outcomes[slot] = row, end_s, outcome
        fading = 0.5 ** (1.0 / _SPREAD_ROWS)
        state.weight = fading * state.weight + 1.0
        for at, value in enumerate(row.tolist()):
            off = value - state.mean[at]
            state.mean[at] += off / state.weight
            state.square[at] = fading * state.square[at] + off * (value - state.mean[at])
        fading = 0.5 ** (1.0 / _RATE_ROWS)
        state.up, state.down = fading * state.up + (outcome > 0), fading * state.down + (outcome < 0)
        state.facts = fading * state.facts + 1.0
        state.added += 1
        state.first = max(state.first, state.added - self.settings.size)

    def _sums(self, wanted: Singles, scale: Singles, now_s: int) -> tuple[float, float, float, float]:
        rows = min(self.state.added, self.settings.size)
        return sums_of_nearest(
            self._vectors, self._ends_s, self._outcomes, rows, self._distances, wanted, scale, self.settings.k, now_s,
            self.settings.half_life_days * _DAY_S,
        )  # fmt: skip

    def _require(self, situation: Floats) -> None:
        if len(situation) != self.dimensions:
            raise DataError(
                f"a situation of {len(situation)} numbers for a pattern memory of {self.dimensions}; remove what was kept to begin a new one"
            )

    def rows_since(self, added: int) -> bytes:
        """The rows held from number `added` on, oldest first, each of `row_type(dimensions)`."""
        numbers = np.arange(max(added, self.state.first), self.state.added)
        slots = numbers % self.settings.size
        rows = np.empty(len(numbers), row_type(self.dimensions))
        rows["number"], rows["end_s"] = numbers, self._ends_s[slots]
        rows["outcome"], rows["vector"] = self._outcomes[slots], self._vectors[:, slots].T
        return rows.tobytes()

    @classmethod
    def of_kept(cls, settings: PatternSettings, state: PatternsState, rows: bytes) -> Patterns:
        """The memory as it was when the state was kept. `rows` are those appended, in any number of parts; rows that the state does not know of
        are left (they were written just before a crash), of two with one number the later counts, a torn last row is none.

        Raises `DataError` where a row that the state names is not there.
        """
        memory = cls(settings, len(state.mean))
        kind = row_type(memory.dimensions)
        found = np.frombuffer(rows, kind, len(rows) // kind.itemsize)
        first = max(state.first, state.added - settings.size)
        found = found[(found["number"] >= first) & (found["number"] < state.added)]
        slots = found["number"] % settings.size
        memory._ends_s[slots], memory._outcomes[slots] = found["end_s"], found["outcome"]
        memory._vectors[:, slots] = found["vector"].T
        there = len(np.unique(found["number"]))
        if there != state.added - first:
            raise DataError(
                f"the pattern memory has {there} of the {state.added - first} situations that its state names; restore the file of "
                "situations, or remove the state to begin anew"
            )
        memory.state = msgspec.structs.replace(state, first=first)
        return memory


def row_type(dimensions: int) -> np.dtype[np.void]:
    """A row as it is kept: little-endian, packed; `number` counts situations from 0 on."""
    return np.dtype([("number", "<i8"), ("end_s", "<i8"), ("outcome", "i1"), ("vector", "<f4", (dimensions,))])
