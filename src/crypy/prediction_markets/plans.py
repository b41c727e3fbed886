"""What an engine decides: wait (and why), buy, sell, or take back its own orders.

Plans and reasons are values: the reason of a wait reaches the screen as it is, and a test can ask for it by type.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

Token = Literal["up", "down"]


class NotTradable(msgspec.Struct, frozen=True):
    """The market cannot be traded, whatever it costs: `why` says so in words."""

    why: str

    def __str__(self) -> str:
        return self.why


class TooEarly(msgspec.Struct, frozen=True):
    starts_in_s: float

    def __str__(self) -> str:
        return f"starts in {self.starts_in_s:.0f} s"


class TooLate(msgspec.Struct, frozen=True):
    left_s: float
    limit_s: float

    def __str__(self) -> str:
        return "ended" if self.left_s <= 0 else f"only {self.left_s:.1f} s left, {self.limit_s:g} s needed"


class StalePrice(msgspec.Struct, frozen=True):
    """`age_s` is `None` before the first price."""

    age_s: float | None
    limit_s: float

    def __str__(self) -> str:
        return _stale("price", self.age_s, self.limit_s)


class StaleForecast(msgspec.Struct, frozen=True):
    """`age_s` is `None` before the first forecast."""

    age_s: float | None
    limit_s: float

    def __str__(self) -> str:
        return _stale("forecast", self.age_s, self.limit_s)


class StaleBook(msgspec.Struct, frozen=True):
    """`why` is empty where only the age is wrong; `age_s` is `None` before the first book."""

    age_s: float | None
    limit_s: float
    why: str = ""

    def __str__(self) -> str:
        return f"book invalid: {self.why}" if self.why else _stale("book", self.age_s, self.limit_s)


class ThinHistory(msgspec.Struct, frozen=True):
    """The forecast rests on too little history to bet on."""

    history_s: float
    limit_s: float

    def __str__(self) -> str:
        return f"forecast rests on {self.history_s:.0f} s of history, {self.limit_s:g} s needed"


class NoReference(msgspec.Struct, frozen=True):
    def __str__(self) -> str:
        return "reference price not known"


class NoAverage(msgspec.Struct, frozen=True):
    """The average that settles the window is running, and its beginning was not seen."""

    def __str__(self) -> str:
        return "beginning of the settlement average not seen"


class WideSpread(msgspec.Struct, frozen=True):
    spread: float
    limit: float

    def __str__(self) -> str:
        return f"spread {self.spread:.3f} above {self.limit:g}"


class ThinEdge(msgspec.Struct, frozen=True):
    """The better side's edge after fee, spread, delay and error."""

    token: Token
    edge: float
    needed: float

    def __str__(self) -> str:
        return f"{self.token} edge {self.edge:+.3f}, {self.needed:g} needed"


class TooSmall(msgspec.Struct, frozen=True):
    """There is an edge, but what may be bought is below the market's minimum."""

    token: Token
    quantity: float
    minimum: float

    def __str__(self) -> str:
        return f"{self.token}: {self.quantity:.2f} shares wanted, the market takes {self.minimum:g} or more"


class LimitReached(msgspec.Struct, frozen=True):
    limit: Literal["market_bankroll", "total_bankroll", "cash", "kelly"]
    value: float
    at: float

    def __str__(self) -> str:
        return f"{self.limit} reached: {self.value:.2f} of {self.at:.2f}"


class HoldsOther(msgspec.Struct, frozen=True):
    """The edge is on one token while the other is held: both at once only pay fees."""

    held: Token

    def __str__(self) -> str:
        return f"holds {self.held}, and neither side is worth a trade against it"


class InFlight(msgspec.Struct, frozen=True):
    def __str__(self) -> str:
        return "order in flight"


class CoolingDown(msgspec.Struct, frozen=True):
    left_s: float

    def __str__(self) -> str:
        return f"cooling down for {self.left_s:.1f} s"


Reason = (
    NotTradable | TooEarly | TooLate | StalePrice | StaleForecast | StaleBook | ThinHistory | NoReference | NoAverage
    | WideSpread | ThinEdge | TooSmall | LimitReached | HoldsOther | InFlight | CoolingDown
)  # fmt: skip


class Wait(msgspec.Struct, frozen=True):
    """Do nothing: the default."""

    reason: Reason

    def __str__(self) -> str:
        return f"wait: {self.reason}"


class Buy(msgspec.Struct, frozen=True):
    """Take up to `quantity` shares at `price` or better. `edge` is what a share brings at that price, after all costs, if `probability` is right."""

    token: Token
    price: Decimal
    quantity: Decimal
    probability: float
    edge: float

    def __str__(self) -> str:
        return f"buy {self.quantity} {self.token} at {self.price}: probability {self.probability:.3f}, edge {self.edge:+.3f}"


class Sell(msgspec.Struct, frozen=True):
    """Give up to `quantity` shares at `price` or better. `edge` is what a share brings more than holding it, after all costs."""

    token: Token
    price: Decimal
    quantity: Decimal
    probability: float
    edge: float

    def __str__(self) -> str:
        return f"sell {self.quantity} {self.token} at {self.price}: probability {self.probability:.3f}, edge {self.edge:+.3f}"


class Cancel(msgspec.Struct, frozen=True):
    """Take back own resting orders: what they were made on no longer holds."""

    client_ids: tuple[str, ...]
    reason: Reason

    def __str__(self) -> str:
        return f"cancel {len(self.client_ids)}: {self.reason}"


Plan = Wait | Buy | Sell | Cancel


def _stale(thing: str, age_s: float | None, limit_s: float) -> str:
    return f"no {thing} yet" if age_s is None else f"{thing} is {age_s:.1f} s old, limit {limit_s:g} s"
