"""What a model eats: the layout of a feature sequence, its values, and the port a model declares it by.

A sequence is a value. It says where it ends, how it is laid out, and which cells are known. Layout has
a fingerprint; a model refuses any other. Values are raw: each model normalises them by its own
statistics (`normalise`), so one fold serves all models.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Channel = Literal["returns", "volume", "realised_variance", "range", "trade_count", "taker_imbalance"]
CHANNELS: Final[tuple[Channel, ...]] = (
    "returns", "volume", "realised_variance", "range", "trade_count", "taker_imbalance",
)  # fmt: skip
CLOCKS: Final[tuple[str, ...]] = ("utc_sin", "utc_cos", "new_york_sin", "new_york_cos")


class Block(msgspec.Struct, frozen=True):
    """`length` windows of `step_s` seconds, the last of which ends at the sequence's end; its channels in order."""

    step_s: int
    length: int
    channels: tuple[Channel, ...]


class FeatureSchema(msgspec.Struct, frozen=True):
    """Symbols in order, the base step that returns are squared at, and the blocks.

    With `allow_missing` a sequence with too little history comes with a mask; without it, asking for
    one raises `Incomplete`.
    """

    symbols: tuple[str, ...]
    base_step_s: int
    blocks: tuple[Block, ...]
    allow_missing: bool = False

    def fingerprint(self) -> str:
        """SHA-256 of the layout, the same on every machine."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    @property
    def history_s(self) -> int:
        """Seconds of bars before `end` that fill every cell; one base step more than the longest block, because the
        first return starts from the close before it."""
        return max(block.step_s * block.length for block in self.blocks) + self.base_step_s


@dataclass(frozen=True, slots=True)
class FeatureSequence:
    """Raw feature values of all symbols up to `end_s` (seconds since 1970 UTC; nothing at or after it counts).

    Per block b: `values[b]` has shape [symbol, length, channel] and `known[b]` [symbol, length]; the last
    index along `length` is the window that ends at `end_s`. Unknown cells hold 0. `clocks[b]` has shape [length, 4]:
    sine and cosine of the time of week of each window's end, UTC and New York. `close` [symbol] is the last
    close before `end_s`, NaN where there is none.
    """

    end_s: int
    schema: FeatureSchema
    values: tuple[Floats, ...]
    known: tuple[NDArray[np.bool_], ...]
    clocks: tuple[Floats, ...]
    close: Floats
