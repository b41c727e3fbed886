"""Dense second bars of one symbol: one row for every second, columns as arrays.

The unit in which history, ring buffers, sequences and models meet. A second without trades has
volume and count 0 and carries the last close in all four prices; seconds before the first
known trade have NaN prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of `step_s` seconds: row i covers `[start_s + i*step_s, start_s + (i+1)*step_s)`.

    `volume` and `taker_buy_volume` are in base, `quote_volume` in quote units. Arrays have one length and
    are not to be written to.
    """

    symbol: str
    start_s: int
    step_s: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    count: Ints
    taker_buy_volume: Floats

    def __len__(self) -> int:
        return len(self.close)

    @property
    def end_s(self) -> int:
        """The first second after the last bar."""
        return self.start_s + len(self.close) * self.step_s
