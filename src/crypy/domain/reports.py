"""Rows of reports: what the dashboard, the terminals and `--json` show, already computed.

They are values. Whoever shows them needs neither the engines nor the nexus.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from crypy.domain.durations import Duration
from crypy.domain.markets import ReferenceSource


class DistributionRow(msgspec.Struct, frozen=True):
    """Parameters of a return's distribution: scale per horizon (not annualised), skew, tail; its horizon in seconds."""

    scale: float
    skew: float
    tail: float
    horizon_s: float


class MarketRow(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction market as shown; `None` where a thing is not known or does not apply.

    Prices of tokens and money are floats here because they are for the eye; the exact ones are in the ledger.
    Ages are in seconds. `probability` is of Up. `stale` says why a row must not be trusted, empty if it may be.
    """

    link: str
    slug: str
    coin: str
    duration: Duration
    open: bool
    in_interval: bool
    start_us: int
    end_us: int
    reference_price: float | None
    reference_source: ReferenceSource
    price: float | None
    probability: float | None
    best_bid: float | None
    best_ask: float | None
    own_bid: float | None
    own_ask: float | None
    tokens_up: float
    tokens_down: float
    value_up: float | None
    value_down: float | None
    net_profit: float
    taker_fee: float | None
    maker_fee: float | None
    fee_exponent: float | None
    maker_reward: float | None
    dist: DistributionRow | None
    extra_dist: DistributionRow | None
    price_age_s: float | None
    dist_age_s: float | None
    book_age_s: float | None
    simulated: bool
    tradable: bool
    stale: str
    decision: str


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened since the start."""

    forecasts: int = 0
    markets: int = 0
    decisions: int = 0
    orders: int = 0
    refused: int = 0
    fills: int = 0
    settled: int = 0
    errors: int = 0


class SymbolRow(msgspec.Struct, frozen=True, kw_only=True):
    """One coin's price, and how much is known about it."""

    symbol: str
    price: float | None
    price_age_s: float | None
    trades: int
    last_id: int | None
    history_s: int
    volatility_1h: float | None
    note: str = ""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The paper or live account at a glance."""

    name: str
    mode: Literal["paper", "live"]
    cash: float
    positions_value: float
    realised: float
    fees: float


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the dashboard shows at one moment. `faults` are sentences about what does not work right now."""

    made_us: int
    clock_speed: float
    counters: Counters
    account: Account | None
    symbols: tuple[SymbolRow, ...]
    rows: tuple[MarketRow, ...]
    faults: tuple[str, ...] = ()
