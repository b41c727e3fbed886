"""A batch of trades as columns: the form in which trades are parsed, stored and folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import Trade

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TradeBatch:
    """Trades of one symbol, ids ascending. Prices and quantities in units of 1e-8, times in microseconds UTC.

    Columns are those of `crypy.domain.events.Trade`; all have one length.
    """

    id: Ints
    price_e8: Ints
    quantity_e8: Ints
    first_id: Ints
    last_id: Ints
    time_us: Ints
    buyer_is_maker: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, rows: slice) -> TradeBatch:
        return TradeBatch(
            self.id[rows],
            self.price_e8[rows],
            self.quantity_e8[rows],
            self.first_id[rows],
            self.last_id[rows],
            self.time_us[rows],
            self.buyer_is_maker[rows],
        )

    @classmethod
    def of(cls, trades: Sequence[Trade]) -> TradeBatch:
        """The columns of single trades."""
        return cls(
            np.array([trade.id for trade in trades], np.int64),
            np.array([trade.price_e8 for trade in trades], np.int64),
            np.array([trade.quantity_e8 for trade in trades], np.int64),
            np.array([trade.first_id for trade in trades], np.int64),
            np.array([trade.last_id for trade in trades], np.int64),
            np.array([trade.time_us for trade in trades], np.int64),
            np.array([trade.buyer_is_maker for trade in trades], np.bool_),
        )
