"""What a simulator is started with."""

from __future__ import annotations

import msgspec

from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.errors import ConfigError


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One simulator process.

    The clock stands at `epoch_us` (the wall's now, or a recording's or the minutes' beginning, where it is `None`) until `start_after_s` seconds of
    wall time have passed, and then runs `speed` times as fast as the wall. `replay` is a folder of recordings, `minutes` a file or folder of real
    one-minute candles; without either the market is
    synthetic, begins `history_days` before the epoch's day and trades `trades_per_day` times in each symbol on average; `profile` is a file
    with its laws (as `crypy data simulate --write-profile` writes it), the default's without one. Ports of 0 take any free
    one. `venues` names what is served besides Binance (`polymarket`, `bybit`), `durations` the prediction markets' windows.
    `bybit_request_limit` is how many requests in five seconds Bybit's REST takes from an address.
    """

    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
    seed: int = 7
    trades_per_day: float = 90_000.0
    history_days: int = 10
    profile: str = ""
    replay: str = ""
    minutes: str = ""
    epoch_us: int | None = None
    speed: float = 1.0
    start_after_s: float = 0.0
    host: str = "127.0.0.1"
    archive_port: int = 0
    rest_port: int = 0
    stream_port: int = 0
    control_port: int = 0
    gamma_port: int = 0
    clob_port: int = 0
    market_ws_port: int = 0
    bybit_rest_port: int = 0
    bybit_stream_port: int = 0
    archive_delay_s: float = 0.0
    weight_limit: int = 6_000
    bybit_request_limit: int = 600
    connection_life_s: float = 86_400.0
    venues: tuple[str, ...] = ("polymarket",)
    durations: tuple[Duration, ...] = DURATIONS

    def __post_init__(self) -> None:
        if not self.symbols:
            raise ConfigError("the simulator needs at least one symbol, such as BTCUSDT")
        if not self.speed > 0.0:
            raise ConfigError(f"speed is {self.speed}; it must be above 0 (1 is real time)")
        if self.replay and self.minutes:
            raise ConfigError("the market is either a recording (replay) or real minutes (minutes); name one of them")
        if self.history_days < 0 or self.trades_per_day <= 0:
            raise ConfigError(
                f"history_days is {self.history_days} and trades_per_day {self.trades_per_day:g}; neither may be negative or zero"
            )


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What the simulator tells once it listens: the clock's three numbers, every URL, and what there is.

    `urls` has `archive`, `rest`, `stream`, `control`, and `gamma`, `clob`, `market_ws` where Polymarket is served, `bybit_rest`, `bybit_stream` where Bybit is (clients add `/v5/public/spot` to the latter). `mode` is
    `synthetic`, `replay` or `minutes`. `streams` are the names that carry something;
    a recording of single trades has `@trade` and no `@aggTrade`. `history_start_us` is the first instant of the market.
    """

    epoch_us: int
    wall_us: int
    speed: float
    mode: str
    symbols: tuple[str, ...]
    streams: tuple[str, ...]
    history_start_us: int
    end_us: int | None
    ports: dict[str, int]
    urls: dict[str, str]
