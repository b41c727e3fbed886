"""The road of a run: whose clock, which addresses, which symbols. The same for real and simulated venues."""

from __future__ import annotations

from dataclasses import dataclass

from crypy.app.settings import Settings
from crypy.domain.instruments import coin_of
from crypy.runtime.clocks import SimClock, SystemClock
from crypy.simulator.settings import Ready

AnyClock = SystemClock | SimClock


@dataclass(frozen=True, slots=True)
class Road:
    """Where the venues are and what time it is there. `kind` is the stream of trades they offer: aggTrade or trade. A simulator that serves no
    Bybit leaves its addresses empty."""

    clock: AnyClock
    speed: float
    simulated: bool
    symbols: tuple[str, ...]
    kind: str
    archive_url: str
    rest_url: str
    stream_url: str
    gamma_url: str
    clob_url: str
    market_ws_url: str
    bybit_rest_url: str
    bybit_stream_url: str
    history_start_us: int | None
    end_us: int | None

    @property
    def coins(self) -> tuple[str, ...]:
        return tuple(coin_of(symbol) for symbol in self.symbols)

    @classmethod
    def to_real_venues(cls, settings: Settings, history_start_us: int) -> Road:
        """The hosts named in the settings, on the wall's time."""
        return cls(
            clock=SystemClock(),
            speed=1.0,
            simulated=False,
            symbols=settings.data.symbols,
            kind="trade" if settings.data.kind == "trades" else "aggTrade",
            archive_url=settings.binance.archive_url,
            rest_url=settings.binance.rest_url,
            stream_url=settings.binance.stream_url,
            gamma_url=settings.polymarket.gamma_url,
            clob_url=settings.polymarket.clob_url,
            market_ws_url=settings.polymarket.market_ws_url,
            bybit_rest_url=settings.bybit.rest_url,
            bybit_stream_url=settings.bybit.stream_url,
            history_start_us=history_start_us,
            end_us=None,
        )

    @classmethod
    def to_simulator(cls, ready: Ready) -> Road:
        """The servers of a simulator that is ready, on its clock."""
        has_aggregates = any(stream.endswith("@aggTrade") for stream in ready.streams)
        return cls(
            clock=SimClock(ready.epoch_us, ready.wall_us, ready.speed),
            speed=ready.speed,
            simulated=True,
            symbols=ready.symbols,
            kind="aggTrade" if has_aggregates else "trade",
            archive_url=ready.urls["archive"],
            rest_url=ready.urls["rest"],
            stream_url=ready.urls["stream"],
            gamma_url=ready.urls["gamma"],
            clob_url=ready.urls["clob"],
            market_ws_url=ready.urls["market_ws"],
            bybit_rest_url=ready.urls.get("bybit_rest", ""),
            bybit_stream_url=ready.urls.get("bybit_stream", ""),
            history_start_us=ready.history_start_us,
            end_us=ready.end_us,
        )
