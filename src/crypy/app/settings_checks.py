"""What settings may be beyond their types: ranges, addresses, names. One sentence for each mistake, none left for the next run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from crypy.domain.errors import ConfigError
from crypy.domain.instruments import coin_of
from crypy.domain.times import parse_time_us
from crypy.marketdata.object_address import parse_address, without_secrets

Check = Callable[[Any], str]


def between(least: float, most: float) -> Check:
    """Bounds that belong to the range; NaN is in none."""
    return lambda value: "" if least <= value <= most else f"must be between {least:g} and {most:g}"


def above(least: float, most: float = float("inf")) -> Check:
    """A lower bound that does not belong to the range; infinity is in none."""
    told = f"must be above {least:g}" + (f" and at most {most:g}" if most < float("inf") else "")
    return lambda value: "" if least < value <= most and value < float("inf") else told


def address(*schemes: str) -> Check:
    """A URL of one of the schemes, with a host and a port that there can be."""

    def check(value: str) -> str:
        try:
            parts = urlsplit(value)
            known = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        return "" if known else f"must be an address that begins with {' or '.join(f'{each}://' for each in schemes)}"

    return check


def distinct(values: Sequence[str]) -> str:
    if not values:
        return "names nothing; at least one is needed"
    twice = sorted({value for value in values if list(values).count(value) > 1})
    return f"names {', '.join(twice)} twice" if twice else ""


def symbols(values: Sequence[str]) -> str:
    odd = [
        value
        for value in values
        if not (value.isascii() and value.isalnum()) or coin_of(value) in (value, value.upper())
    ]
    odd += [value for value in values if value != value.upper()]
    if odd:
        return f"{', '.join(map(repr, sorted(set(odd))))}: write symbols as the venue does, such as BTCUSDT"
    of_coin = {coin_of(value): value for value in values}
    shared = [f"{value} and {of_coin[coin_of(value)]}" for value in values if of_coin[coin_of(value)] != value]
    return f"{shared[0]} are of one coin; choose one of them" if shared else distinct(values)


def moment(value: str) -> str:
    try:
        parse_time_us(value or "2025-01-01")
    except ConfigError as error:
        return str(error)
    return ""


def store(value: str) -> str:
    try:
        parse_address(value)
    except ConfigError as error:
        return str(error)
    return ""


def one_of(*values: str) -> Check:
    return lambda value: "" if value in values else f"choose from {', '.join(values)}"


def each_of(*values: str) -> Check:
    """Every one of these words, none twice."""

    def check(given: Sequence[str]) -> str:
        odd = [value for value in given if value not in values]
        return f"choose from {', '.join(values)}" if odd else distinct(given)

    return check


_PORT: Final = between(0, 65_535)
_CHECKS: Final[Mapping[str, Check]] = {
    "data.symbols": symbols,
    "data.durations": distinct,
    "data.history_start": moment,
    "data.history_days": above(0, 10_000),
    "data.kind": one_of("aggTrades", "trades"),
    "data.seal_grace_s": between(0, 60),
    "data.store": store,
    "binance.rest_url": address("https", "http"),
    "binance.stream_url": address("wss", "ws"),
    "binance.archive_url": address("https", "http"),
    "polymarket.gamma_url": address("https", "http"),
    "polymarket.clob_url": address("https", "http"),
    "polymarket.market_ws_url": address("wss", "ws"),
    "paper.cash": above(0),
    "paper.latency_ms": between(0, 60_000),
    "model.use": one_of("deployed", "baseline"),
    "model.false_alarms_a_year": between(1e-6, 0.5),
    "dashboard.port": _PORT,
    "terminal.port": _PORT,
    "bybit.rest_url": address("https", "http"),
    "bybit.stream_url": address("wss", "ws"),
    "bybit.category": one_of("spot", "linear"),
    # The venue ends a connection that was silent for ten minutes.
    "bybit.ping_s": between(1, 300),
    "forecast.symbols": symbols,
    "forecast.timeframes": each_of("1m", "5m", "15m", "60m"),
    "forecast.wait_s": between(0, 30),
    # A week of minutes are eleven requests a symbol.
    "forecast.warm_up_minutes": between(180, 10_080),
    "forecast.min_probability": between(0, 1),
    "forecast.min_margin": between(0, 1),
    "forecast.intra_s": between(1, 60),
    "simulator.seed": between(0, 2**63 - 1),
    "simulator.trades_per_day": between(1, 100_000_000),
}
# Sections in which every value is above zero.
_POSITIVE: Final = ("limits",)


def mistakes(section: str, settings: msgspec.Struct) -> Iterator[str]:
    """One sentence for each value of a section that cannot be."""
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        check = above(0) if section in _POSITIVE else _CHECKS.get(f"{section}.{name}")
        if check is not None and (wrong := check(value)):
            shown = value if isinstance(value, int | float) else without_secrets(str(value))
            yield f"{section}.{name} = {shown!r}: {wrong}"


def port_in_range(option: str, port: int | None) -> None:
    """Raises `ConfigError` for a port given on the command line that cannot be."""
    if port is not None and (wrong := _PORT(port)):
        raise ConfigError(f"{option} {port}: {wrong} (0 takes a free one)")
