"""Are the recorded facts what the venue says? Its candles are fetched anew: local files are no source of truth."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from crypy.app.settings import Settings
from crypy.domain.ports import Clock, Transport
from crypy.domain.times import US_PER_MS, iso
from crypy.forecasting.direction.matching import Key
from crypy.forecasting.direction.records import SECONDS, FactRecord
from crypy.marketdata.candle_source import CandleSource

_MS_PER_S = 1_000


class OtherFact(msgspec.Struct, frozen=True):
    """A fact that the venue tells otherwise: closes before and at the candle, `None` where it has no such candle."""

    symbol: str
    timeframe: str
    candle: str
    recorded: tuple[float, float]
    venue: tuple[float | None, float | None]
    turned: bool  # whether the direction is another


class Verification(msgspec.Struct, frozen=True):
    """`checked` facts, and those that differ."""

    venue: str
    checked: int
    differing: tuple[OtherFact, ...]


def verify_facts(facts: Mapping[Key, Sequence[FactRecord]], settings: Settings) -> Verification:
    """Ask Bybit by REST, as the settings say. Raises `VenueError` where it does not answer."""

    async def ask() -> Verification:
        from crypy.runtime.clocks import SystemClock
        from crypy.runtime.transport import NetTransport

        clock = SystemClock()
        async with NetTransport(clock) as transport:
            return await compare(facts, bybit_candles(transport, clock, settings))

    return asyncio.run(ask())


def bybit_candles(transport: Transport, clock: Clock, settings: Settings) -> CandleSource:
    """Bybit's candles by REST, of the category and at the address of the settings."""
    from crypy.venues.bybit.history import BybitCandles

    category = "linear" if settings.bybit.category == "linear" else "spot"
    return BybitCandles(transport, clock, category, settings.bybit.rest_url)


async def compare(facts: Mapping[Key, Sequence[FactRecord]], source: CandleSource) -> Verification:
    """Every fact against the source's candles of its timeframe."""
    differing: list[OtherFact] = []
    for key, known in facts.items():
        step_ms = SECONDS[key.timeframe] * _MS_PER_S
        first_us = min(fact.prev_ts for fact in known) * US_PER_MS
        stop_us = (max(fact.candle_ts for fact in known) + step_ms) * US_PER_MS
        candles = await source.candles(key.symbol, SECONDS[key.timeframe], first_us, stop_us)
        closes = {candle.open_time_us // US_PER_MS: candle.close for candle in candles}
        for fact in known:
            there = closes.get(fact.prev_ts), closes.get(fact.candle_ts)
            recorded = fact.close_prev, fact.close_curr
            if there != recorded:
                differing.append(
                    OtherFact(
                        key.symbol, key.timeframe, iso(fact.candle_ts * US_PER_MS), recorded, there,
                        _turned(recorded, there),
                    )
                )  # fmt: skip
    return Verification(source.venue, sum(len(known) for known in facts.values()), tuple(differing))


def _turned(recorded: tuple[float, float], there: tuple[float | None, float | None]) -> bool:
    before, after = there
    if before is None or after is None:
        return True
    return (recorded[1] > recorded[0]) - (recorded[1] < recorded[0]) != (after > before) - (after < before)
