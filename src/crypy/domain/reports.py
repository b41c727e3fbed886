"""Rows of reports: what the dashboard, the terminals and `--json` show, already computed.

They are values. Whoever shows them needs neither the engines nor the nexus.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from crypy.domain.durations import Duration
from crypy.domain.markets import ReferenceSource

DirectionName = Literal["UP", "DOWN", "FLAT"]


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


class CandleMark(msgspec.Struct, frozen=True, array_like=True):
    """A candle as drawn; as JSON an array in this order, because there are many. `volume` is in base units, `confirmed` is False
    while it may still change."""

    start_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    confirmed: bool


class DirectionForecast(msgspec.Struct, frozen=True, kw_only=True):
    """The forecast of the candle that follows the one beginning at `candle_us`. What p_up and p_down leave of one is the chance of a tie.

    `raw_p_up` and `raw_p_down` stand before calibration. `made_us` is the clock's time of the answer, `latency_us` what it took from the
    candle's arrival; `missing` counts candles that could not be had among those just before.
    """

    candle_us: int
    p_up: float
    p_down: float
    direction: DirectionName
    raw_p_up: float
    raw_p_down: float
    made_us: int
    latency_us: int
    missing: int = 0


class DirectionOutcome(msgspec.Struct, frozen=True, array_like=True):
    """A forecast and the fact of its candle; as JSON an array in this order. `hit` is `None` where the forecast abstained or the candle
    tied."""

    candle_us: int
    forecast: DirectionName
    fact: DirectionName
    hit: bool | None


class DirectionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Forecasts with a fact: all, those that were decided and whose candle moved, of these the right ones, and those that abstained (FLAT)."""

    n: int = 0
    decided: int = 0
    hits: int = 0
    flat: int = 0


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Forecasts of about one chance of up given a move: their mean, the share that went up, and how many."""

    mean_p: float
    share_up: float
    count: int


class MemberWeight(msgspec.Struct, frozen=True):
    """What one member of an ensemble says, and how much it counts (weights sum to one)."""

    name: str
    weight: float
    p_up: float | None = None
    p_down: float | None = None


class DirectionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol and timeframe of the direction forecaster; `None` or empty where nothing is known yet.

    `candles` and `outcomes` are the last ones, oldest first. Scores are over the forecasts counted, ties left out: `log_loss` in nats,
    `log_loss_gain` that of always saying a half less it (above zero is better than that), `brier` of the chance of up. `evidence` is
    how many situations stand behind the pattern memory's answer. `note` says why the row must not be trusted, empty if it may be.
    """

    symbol: str
    timeframe: str
    candles: tuple[CandleMark, ...] = ()
    forecast: DirectionForecast | None = None
    outcomes: tuple[DirectionOutcome, ...] = ()
    counts: DirectionCounts = DirectionCounts()
    log_loss: float | None = None
    log_loss_gain: float | None = None
    brier: float | None = None
    raw_bins: tuple[ReliabilityBin, ...] = ()
    bins: tuple[ReliabilityBin, ...] = ()
    members: tuple[MemberWeight, ...] = ()
    evidence: float | None = None
    note: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the dashboard shows at one moment. `faults` are sentences about what does not work right now."""

    made_us: int
    clock_speed: float
    counters: Counters
    account: Account | None
    symbols: tuple[SymbolRow, ...]
    rows: tuple[MarketRow, ...]
    directions: tuple[DirectionReport, ...] = ()
    faults: tuple[str, ...] = ()
