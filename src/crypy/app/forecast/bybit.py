"""The direction forecaster's road to Bybit: the real hosts on the wall's time, or a simulator on its own. Public data only, no keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
import numpy as np

from crypy.app.settings import BybitSettings
from crypy.domain.errors import ConfigError, Incomplete, Rejected, Unavailable
from crypy.domain.events import Candle
from crypy.domain.ports import Transport
from crypy.domain.times import US_PER_S
from crypy.runtime.clocks import SimClock, SystemClock
from crypy.runtime.transport import NetTransport
from crypy.simulator.settings import Ready
from crypy.venues.bybit.capabilities import Category
from crypy.venues.bybit.feed import BYBIT_PATIENCE, BybitFeed, Gap
from crypy.venues.bybit.history import BybitCandles
from crypy.venues.patience import Patience

AnyClock = SystemClock | SimClock
_MINUTE_S = 60


class SimulatorStatus(msgspec.Struct, frozen=True):
    """What of a simulator's `/status` is needed here."""

    ready: Ready


@dataclass(frozen=True, slots=True)
class BybitRoad:
    """Where Bybit is and what time it is there, `speed` times as fast as the wall's."""

    clock: AnyClock
    speed: float
    rest_url: str
    stream_url: str
    category: Category
    patience: Patience

    @classmethod
    def to_venue(cls, settings: BybitSettings) -> BybitRoad:
        """The hosts named in the settings, on the wall's time."""
        return cls.on(SystemClock(), 1.0, settings.rest_url, settings.stream_url, settings)

    @classmethod
    def on(cls, clock: AnyClock, speed: float, rest_url: str, stream_url: str, settings: BybitSettings) -> BybitRoad:
        """A Bybit at these addresses on a clock that somebody has."""
        category = cast(Category, settings.category)  # the settings' check has seen to that
        return cls(clock, speed, rest_url, stream_url, category, patience_of(settings.ping_s, speed))

    @classmethod
    async def to_simulator(cls, control_url: str, settings: BybitSettings) -> BybitRoad:
        """The Bybit of a running simulator, on its clock. Raises `ConfigError` where there is none."""
        async with NetTransport(SystemClock()) as transport:
            try:
                answer = await transport.request("GET", f"{control_url.rstrip('/')}/status")
                ready = msgspec.json.decode(answer.body, type=SimulatorStatus).ready
            except (Unavailable, msgspec.MsgspecError) as error:
                raise ConfigError(f"no simulator answers at {control_url}: {error}") from None
        if "bybit_rest" not in ready.urls:
            raise ConfigError(f"the simulator at {control_url} does not serve Bybit; start it with --venues bybit")
        clock = SimClock(ready.epoch_us, ready.wall_us, ready.speed)
        return cls.on(clock, ready.speed, ready.urls["bybit_rest"], ready.urls["bybit_stream"], settings)

    def candles(self, transport: Transport) -> BybitCandles:
        """Bybit's past."""
        return BybitCandles(transport, self.clock, self.category, self.rest_url)

    def feed(
        self,
        transport: Transport,
        candles: BybitCandles,
        symbols: Sequence[str],
        on_candle: Callable[[Candle], object],
        on_correction: Callable[[Candle], object],
        on_gap: Callable[[Gap], object],
        known: Mapping[tuple[str, int], int],
        *,
        only_closed: bool,
    ) -> BybitFeed:
        """The live minutes of some symbols, behind those that are known."""
        return BybitFeed(
            transport, self.clock, symbols, self.stream_url, candles, on_candle, (_MINUTE_S,),
            random=np.random.default_rng(), on_correction=on_correction, on_gap=on_gap, only_closed=only_closed, known=known,
            patience=self.patience,
        )  # fmt: skip


def patience_of(ping_s: float, speed: float) -> Patience:
    """The venue's waits with pings so often, on the wall however fast the clock runs."""
    pinging = msgspec.structs.replace(BYBIT_PATIENCE, ping_s=ping_s, keep_alive_s=ping_s, silence_s=ping_s + 10.0)
    return pinging.times(speed)


async def last_candles(candles: BybitCandles, symbol: str, interval_s: int, count: int) -> tuple[Candle, ...]:
    """The last closed candles of a symbol, at least one. Raises `ConfigError` for a symbol that the venue does not know, `Incomplete` for one without a
    past, `Unavailable` where the venue stays away."""
    return await _some(candles, symbol, candles.latest(symbol, interval_s, count))


async def minutes_since(
    candles: BybitCandles, symbols: Sequence[str], start_s: int, end_s: int
) -> dict[str, tuple[Candle, ...]]:
    """The closed minutes in `[start_s, end_s)` of each symbol; errors as `last_candles`.

    One range for all: a symbol that is answered a minute later would begin a minute later, behind a hole that is none.
    """
    start_us, end_us = start_s * US_PER_S, end_s * US_PER_S
    found = await asyncio.gather(
        *(_some(candles, symbol, candles.candles(symbol, _MINUTE_S, start_us, end_us)) for symbol in symbols)
    )
    return dict(zip(symbols, found, strict=True))


async def _some(candles: BybitCandles, symbol: str, answer: Awaitable[tuple[Candle, ...]]) -> tuple[Candle, ...]:
    try:
        found = await answer
    except Rejected as error:
        raise ConfigError(f"Bybit ({candles.category}) refuses {symbol}: {error}") from error
    if not found:
        raise Incomplete(f"Bybit ({candles.category}) has no candles of {symbol}", (symbol,))
    return found
