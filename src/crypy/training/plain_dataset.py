"""A dataset as plain data, for tasks in other processes and on other machines: numbers, names and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np

from crypy.domain.errors import ConfigError
from crypy.marketdata.bars import Bars
from crypy.models.dataset import Dataset

_COLUMNS: Final = {
    "open": "<f8", "high": "<f8", "low": "<f8", "close": "<f8",
    "volume": "<f8", "quote_volume": "<f8", "count": "<i8", "taker_buy_volume": "<f8",
}  # fmt: skip


class PlainBars(msgspec.Struct, frozen=True):
    """`Bars`; columns as bytes, little endian."""

    start_s: int
    step_s: int
    columns: Mapping[str, bytes]


class PlainDataset(msgspec.Struct, frozen=True):
    """`Dataset`. The fingerprint names it, so that a worker unpacks it once."""

    fingerprint: str
    bars: Mapping[str, PlainBars]
    start_s: int
    end_s: int
    spacing_s: int
    horizons_s: tuple[int, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> PlainDataset:
        """Raises `ConfigError` for memory-mapped bars: months of seconds do not travel."""
        if dataset.mapped is not None:
            raise ConfigError("memory-mapped seconds stay on their machine: work with one process, or on coarser bars")
        bars = {
            symbol: PlainBars(one.start_s, one.step_s, {
                name: np.ascontiguousarray(getattr(one, name), dtype).tobytes() for name, dtype in _COLUMNS.items()
            })
            for symbol, one in dataset.bars.items()
        }  # fmt: skip
        return cls(dataset.fingerprint(), bars, dataset.start_s, dataset.end_s, dataset.spacing_s, dataset.horizons_s)

    def dataset(self) -> Dataset:
        """The dataset again, bit for bit; the same object for the same contents."""
        return _unpacked(_Key(self))


class _Key:
    """Equal for equal contents, told by the fingerprint rather than by comparing megabytes."""

    def __init__(self, plain: PlainDataset) -> None:
        self.plain = plain
        self._told = (plain.fingerprint, plain.spacing_s, plain.horizons_s)

    def __hash__(self) -> int:
        return hash(self._told)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._told == other._told


@lru_cache(maxsize=1)
def _unpacked(key: _Key) -> Dataset:
    plain = key.plain
    bars = {
        symbol: Bars(symbol, one.start_s, one.step_s, **{
            name: np.frombuffer(one.columns[name], dtype) for name, dtype in _COLUMNS.items()
        })
        for symbol, one in plain.bars.items()
    }  # fmt: skip
    return Dataset.of(bars, plain.start_s, plain.end_s, spacing_s=plain.spacing_s, horizons_s=plain.horizons_s)
