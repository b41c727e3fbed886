"""Settings: frozen, read once, checked whole.

They come from `crypy.toml` (or the file named by `--config`), over the defaults below. Every mistake in the file is told in one message, by
its section and key, so that nobody mends them one run at a time. The sections of what trades stand in `trading_settings`: what only
forecasts reads the same file without loading them.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

import msgspec

from crypy.app import settings_checks
from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.errors import ConfigError
from crypy.domain.instruments import coin_of


class DataSettings(msgspec.Struct, frozen=True):
    """What is followed, and from when. `history_start` wins over `history_days` where it is set (ISO 8601, UTC).

    `store` is where the trades of the live world lie: a folder, or an address such as `s3://bucket/prefix`; empty for the data folder.
    """

    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
    durations: tuple[Duration, ...] = DURATIONS
    history_start: str = ""
    history_days: float = 10.0
    kind: str = "aggTrades"
    seal_grace_s: float = 1.5
    store: str = ""


class BinanceSettings(msgspec.Struct, frozen=True):
    """Where Binance is."""

    rest_url: str = "https://api.binance.com"
    stream_url: str = "wss://stream.binance.com:9443"
    archive_url: str = "https://data.binance.vision"


class PolymarketSettings(msgspec.Struct, frozen=True):
    """Where Polymarket is."""

    gamma_url: str = "https://gamma-api.polymarket.com"
    clob_url: str = "https://clob.polymarket.com"
    market_ws_url: str = "wss://ws-subscriptions-clob.polymarket.com/ws/market"


class PaperSettings(msgspec.Struct, frozen=True):
    """The paper account. `cash` is what it is opened with, once; `latency_ms` is how long an order travels before the venue's own delay."""

    account: str = "paper"
    cash: Decimal = Decimal(1000)
    latency_ms: int = 50


class DashboardSettings(msgspec.Struct, frozen=True):
    """The page. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8700


class TerminalSettings(msgspec.Struct, frozen=True):
    """The line terminal of the agents. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8701


class ModelSettings(msgspec.Struct, frozen=True):
    """Which model forecasts. `use` is `deployed` (what the registry has promoted for the world, the baseline where it has none) or `baseline`.

    With `demote` a model whose live forecasts are worse than the baseline's is taken out of service; one that is right loses its place within a
    year with a chance of at most `false_alarms_a_year`. With `calibrate` what forecasts is corrected by its own recent errors.
    """

    use: str = "deployed"
    calibrate: bool = True
    demote: bool = True
    false_alarms_a_year: float = 0.01


class SimulatorSettings(msgspec.Struct, frozen=True):
    """The synthetic market: `trades_per_day` is for each symbol."""

    seed: int = 7
    trades_per_day: int = 90_000


class BybitSettings(msgspec.Struct, frozen=True):
    """Where Bybit is; public data, no keys. `category` is spot or linear. `ping_s` is how often the stream is told that we are there: the venue
    ends a connection that says nothing."""

    rest_url: str = "https://api.bybit.com"
    stream_url: str = "wss://stream.bybit.com"
    category: str = "spot"
    ping_s: float = 20.0


class ForecastSettings(msgspec.Struct, frozen=True):
    """The direction forecaster. `models` are names of the registry or folders, empty for all direction models of the registry that suit.

    `wait_s` is how long a minute waits for the other symbols' candles. `warm_up_minutes` are fetched at the start. A forecast is FLAT where the
    greater chance is below `min_probability` or both are closer than `min_margin`. `weigh`, `calibrate` and `remember` switch what learns online: weights of
    the models, calibration, pattern memory. `intra_s` is how often the running candle is forecast from where that is asked for. With `in_up`, `crypy up` runs it beside the markets.
    """

    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    timeframes: tuple[str, ...] = ("1m", "5m", "15m", "60m")
    models: tuple[str, ...] = ()
    wait_s: float = 2.0
    warm_up_minutes: int = 1_440
    min_probability: float = 0.5
    min_margin: float = 0.04
    weigh: bool = True
    calibrate: bool = True
    remember: bool = True
    intra_s: float = 10.0
    in_up: bool = False


class Settings(msgspec.Struct, frozen=True):
    """Everything that can be set, by section, but for what trades."""

    data: DataSettings = DataSettings()
    binance: BinanceSettings = BinanceSettings()
    polymarket: PolymarketSettings = PolymarketSettings()
    paper: PaperSettings = PaperSettings()
    dashboard: DashboardSettings = DashboardSettings()
    terminal: TerminalSettings = TerminalSettings()
    model: ModelSettings = ModelSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    bybit: BybitSettings = BybitSettings()
    forecast: ForecastSettings = ForecastSettings()

    @property
    def coins(self) -> dict[str, str]:
        """Symbol by coin, in the order of the settings."""
        return {coin_of(symbol): symbol for symbol in self.data.symbols}


S = TypeVar("S", bound=Settings)

# Sections that `trading_settings` knows; whoever does not trade leaves them unread.
TRADING_SECTIONS: Final = ("limits", "engine")


def load_settings(path: Path | None) -> Settings:
    """Settings from a TOML file, the defaults where it says nothing; sections of what trades are passed over.

    Without a path, `crypy.toml` in the working folder is read if it is there. Raises `ConfigError` with every mistake in the file.
    """
    return read_settings(path, Settings)


def read_settings(path: Path | None, kind: type[S]) -> S:
    """As `load_settings`, with the sections of a kind of settings."""
    if path is None:
        path = Path("crypy.toml")
        if not path.is_file():
            return kind()
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; leave --config away for the defaults") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return checked(tables, str(path), kind)


def checked(tables: dict[str, Any], where: str, kind: type[S]) -> S:
    """Settings of a file's tables. Raises `ConfigError` with every mistake in them."""
    mistakes: list[str] = []
    sections = get_type_hints(kind)
    built: dict[str, Any] = {}
    for name, table in tables.items():
        if name not in sections:
            if name not in TRADING_SECTIONS:
                mistakes.append(
                    f"[{name}] is no section; there are {', '.join(dict.fromkeys((*sections, *TRADING_SECTIONS)))}"
                )
        elif not isinstance(table, dict):
            mistakes.append(f"{name} must be a section: write [{name}]")
        else:
            built[name] = _section(sections[name], name, table, mistakes)
    if mistakes:
        raise ConfigError(f"{where}: " + "; ".join(mistakes))
    return kind(**built)


def _section(kind: type[Any], name: str, table: dict[str, Any], mistakes: list[str]) -> Any:
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in types:
            mistakes.append(f"{name}.{key} is no setting; there are {', '.join(types)}")
            continue
        try:
            # A number for money would already have passed through a float: only its text is exact.
            given = str(value) if types[key] is Decimal and isinstance(value, int | float) else value
            values[key] = msgspec.convert(given, types[key])
        except msgspec.ValidationError as error:
            mistakes.append(f"{name}.{key} = {value!r}: {error}")
    try:
        made = kind(**values)
    except ConfigError as error:
        mistakes.append(str(error))
        return None
    mistakes += settings_checks.mistakes(name, made)
    return made
