"""Batches of examples: inputs, the baseline's laws and what came, at rows of a range's origins.

Inputs of all origins are kept in memory where they fit; else each batch makes its own from the bars, which may be mapped from files of any
size. Both ways give the same bits.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crypy.distributions.scores import nll
from crypy.domain.errors import Incomplete
from crypy.domain.times import US_PER_S, iso
from crypy.models.dataset import Dataset
from crypy.models.network.head import fade, horizon_basis
from crypy.models.network.inputs import Inputs
from crypy.models.volatility import VolatilityBaseline
from crypy.training.base_laws import BaseLaws
from crypy.training.train_step import Batch

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

_CHUNK: Final = 2_048
_AHEAD: Final = 2


@dataclass(frozen=True, slots=True)
class Examples:
    """Origins of a dataset at which all history is known, and everything that a batch is made of. `kept` [n, symbol, ...] is `None` where inputs are made
    batch by batch. `faded` examples are judged as the model is served; what is learned from is not, lest the network undo the shrinking."""

    dataset: Dataset
    origins_s: Ints
    laws: BaseLaws
    inputs: Inputs
    kept: Singles | None
    faded: bool = False

    @classmethod
    def of(
        cls, dataset: Dataset, baseline: VolatilityBaseline, inputs: Inputs, keep_bytes: int, *, faded: bool = False
    ) -> Examples:
        """Raises `Incomplete` where no origin has the history that the inputs want."""
        origins_s = dataset.origins_s()
        origins_s = origins_s[dataset.has_history(inputs.schema, origins_s)]
        if not len(origins_s):
            wanted_s = inputs.schema.history_s
            raise Incomplete(
                f"no origin between {iso(dataset.start_s * US_PER_S)} and {iso(dataset.end_s * US_PER_S)} has the"
                f" {wanted_s:,} s of unbroken history that the network looks at; use earlier bars or a shorter history"
            )
        laws = BaseLaws.of(baseline, dataset, origins_s)
        return cls(dataset, origins_s, laws, inputs, _kept(dataset, origins_s, inputs, keep_bytes), faded)

    def __len__(self) -> int:
        return len(self.origins_s)

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.inputs.symbols

    def batch(self, rows: Ints, horizons_s: Ints, weights: Floats) -> Batch:
        """All symbols at these rows, row by row; `horizons_s` and `weights` are [row, h], horizons ascend. Arrays are NumPy's."""
        origins_s, count = self.origins_s[rows], len(self.symbols)
        shape = (len(rows) * count, horizons_s.shape[1])
        if self.kept is None:
            inputs = self.inputs.of(self.dataset.windows(self.inputs.schema, origins_s))
        else:
            inputs = self.kept[rows]
        scale, skew, tail = self.laws.at(rows, horizons_s)
        came = np.stack([self.dataset.returns(symbol, origins_s, horizons_s) for symbol in self.symbols], axis=1)
        known = np.isfinite(came)
        came = np.where(known, came, 0.0) / scale
        base = nll(came.ravel(), 1.0, skew.ravel(), tail.ravel())
        weight = np.where(known, weights[:, None, :], 0.0)
        flat = horizons_s.ravel().astype(np.float64)
        basis = horizon_basis(flat, self.inputs.settings).reshape(*horizons_s.shape, -1)
        fading = fade(flat, self.inputs.settings) if self.faded else np.ones(len(flat))
        fading = fading.reshape(horizons_s.shape)
        return Batch(
            np.asarray(inputs, np.float32).reshape(shape[0], *inputs.shape[2:]),
            np.tile(np.arange(count, dtype=np.int32), len(rows)),
            np.repeat(np.asarray(basis, np.float32), count, axis=0),
            np.repeat(np.asarray(fading, np.float32), count, axis=0),
            skew.reshape(shape).astype(np.float32),
            tail.reshape(shape).astype(np.float32),
            came.reshape(shape).astype(np.float32),
            base.reshape(shape).astype(np.float32),
            weight.reshape(shape).astype(np.float32),
        )


def in_chunks(rows: int, size: int = _CHUNK) -> list[slice]:
    """Slices of at most `size` that cover `rows`."""
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def made_ahead(make: Any, steps: range) -> Generator[Any]:
    """`make(step)` for each step, made in a thread while the one before is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: list[Future[Any]] = []
        try:
            for step in steps:
                waiting.append(pool.submit(make, step))
                if len(waiting) > _AHEAD:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _kept(dataset: Dataset, origins_s: Ints, inputs: Inputs, keep_bytes: int) -> Singles | None:
    """Inputs of all origins, made some thousand windows at a time; `None` where they would take more than `keep_bytes`."""
    first = inputs.of(dataset.windows(inputs.schema, origins_s[:1]))
    if first.nbytes * len(origins_s) > keep_bytes:
        return None
    out = np.empty((len(origins_s), *first.shape[1:]), np.float32)
    for rows in in_chunks(len(origins_s)):
        out[rows] = inputs.of(dataset.windows(inputs.schema, origins_s[rows]))
    return out
