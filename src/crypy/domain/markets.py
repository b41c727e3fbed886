"""A prediction market as crypy sees it: who settles what when, and the two tokens that pay."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from crypy.domain.instruments import ZERO, Instrument
from crypy.domain.settlement import Outcome, Settlement
from crypy.domain.windows import Window


class FeeSchedule(msgspec.Struct, frozen=True):
    """Fee of a fill: shares x rate x (price x (1 - price)) ** exponent, in collateral.

    Taken from the taker; from the maker too where `taker_only` is false. `rebate_rate` is the share of
    the takers' fee that goes back to makers. A market whose schedule is unknown has none, and no order.
    """

    rate: Decimal
    exponent: Decimal
    taker_only: bool = True
    rebate_rate: Decimal = ZERO


class PredictionMarket(msgspec.Struct, frozen=True, kw_only=True):
    """One Up/Down market.

    `settlement` is `None` where the rule was not recognised, `fees` where the venue told none: such a
    market is shown and not traded. `price_to_beat` is the venue's own reference price once it has published it.
    `outcome` is set only after resolution, and reading it before `window.end_us` is a look-ahead.
    """

    venue: str
    slug: str
    condition_id: str
    coin: str
    window: Window
    up: Instrument
    down: Instrument
    settlement: Settlement | None
    fees: FeeSchedule | None
    accepting_orders: bool
    taker_delay_us: int
    link: str
    simulated: bool
    price_to_beat: float | None = None
    final_price: float | None = None
    outcome: Outcome | None = None


# Where a reference price is from, best first: the venue's own, our average of the settlement
# source, our stand-in from another source (with a basis), the last close of a candle.
ReferenceSource = Literal["venue", "settlement", "binance-average", "binance-close", "previous-window", "none"]
