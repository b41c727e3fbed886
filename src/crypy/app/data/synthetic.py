"""What `crypy data simulate` does: fit a market, compare it with a real one, write its trades and its truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from crypy.app.data.stores import VENUE, chosen_symbols, store_of
from crypy.app.folders import data_folder
from crypy.app.settings import Settings, load_settings
from crypy.app.world import World, WorldCard
from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import DAY_S, US_PER_S, iso, parse_time_us
from crypy.marketdata.bars import Bars
from crypy.marketdata.source_files import Source, open_source
from crypy.marketdata.store import TradeStore
from crypy.marketdata.synthetic import DAY_US, HOUR_US, SyntheticMarket
from crypy.marketdata.synthetic_facts import efficient_bars, facts
from crypy.marketdata.synthetic_files import keep_card, write_truth
from crypy.marketdata.synthetic_fit import fit_profile
from crypy.marketdata.synthetic_profile import MarketProfile, default_profile, read_profile
from crypy.marketdata.synthetic_tape import single_trades
from crypy.marketdata.trades import TradeBatch

WORLD_KIND: Final = "simulated"
_COMPARED_SEEDS: Final = 2


@dataclass(frozen=True, slots=True)
class Laws:
    """What the market is made of: a profile's file or the default, fitted to symbols of a source or of a world, parts left out."""

    profile: Path | None = None
    like: str = ""
    source: Path | None = None
    like_world: str = "live"
    without: str = ""
    halts_per_day: float | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which trades to make, and where they go: into a store at `out`, or that of a new world."""

    symbols: str
    seed: int
    start: str
    end: str
    trades_per_day: float
    out: Path | None
    world: str


def made_profile(laws: Laws, data_dir: Path | None, config: Path | None) -> tuple[MarketProfile, dict[str, Any]]:
    """The profile of these laws, and what a fit says of itself."""
    profile = read_profile(laws.profile) if laws.profile is not None else default_profile()
    said: dict[str, Any] = {}
    if laws.like:
        settings = load_settings(config)
        named = chosen_symbols(laws.like, settings)
        with _candles(named, laws, settings, data_dir) as bars:
            source = str(laws.source) if laws.source is not None else f"the store of {laws.like_world}"
            first = max(one.start_s for one in bars.values())
            last = min(one.end_s for one in bars.values())
            about = f"fitted to {', '.join(bars)} of {source}, {iso(first * US_PER_S)} to {iso(last * US_PER_S)}"
            fit = fit_profile(bars, profile, about)
        profile, said = fit.profile, {"symbols": list(named), "days": round(fit.days, 2), "kept": list(fit.kept)}
    parts = tuple(part.strip() for part in laws.without.split(",") if part.strip())
    profile = profile.without(parts)
    if laws.halts_per_day is not None:
        profile = msgspec.structs.replace(
            profile, halts=msgspec.structs.replace(profile.halts, per_day=laws.halts_per_day)
        )
    return profile, said


def compared(
    profile: MarketProfile, symbols: str, seed: int, laws: Laws, data_dir: Path | None, config: Path | None
) -> dict[str, Any]:
    """Facts of real candles beside those of the market over as many days, as the mean of two seeds."""
    settings = load_settings(config)
    named = chosen_symbols(symbols or laws.like, settings)
    with _candles(named, laws, settings, data_dir) as bars:
        real = facts(bars)
        first_s = max(one.start_s for one in bars.values())
        days = int(min(one.end_s for one in bars.values()) - first_s) // DAY_S
        step_s = max(60, next(iter(bars.values())).step_s)
    if days < 1:
        raise Incomplete(f"{', '.join(named)}: less than a day of candles to compare with", named)
    made: list[dict[str, float]] = []
    for number in range(_COMPARED_SEEDS):
        market = _market(profile, named, seed + number, first_s // DAY_S, 1_000_000.0)
        made.append(facts(efficient_bars(market, first_s // DAY_S, days, step_s)))
    rows = [
        {"fact": name, "real": value, "synthetic": float(np.mean([one[name] for one in made]))}
        for name, value in real.items()
        if all(name in one for one in made)
    ]
    return {"symbols": list(named), "days": days, "seeds": _COMPARED_SEEDS, "facts": rows}


def simulate(
    profile: MarketProfile,
    wanted: Wanted,
    data_dir: Path | None,
    config: Path | None,
    on_day: Callable[[str, int], None] = lambda _day, _rows: None,
) -> dict[str, Any]:
    """Write trades with their coverage proved, and the truth beside them. Goes on where it stopped, and says what is stored."""
    settings = load_settings(config)
    named = _symbols(wanted, profile, settings)
    start_us, end_us = parse_time_us(wanted.start), parse_time_us(wanted.end)
    if end_us <= start_us:
        raise ConfigError(f"--end {wanted.end} is not after --start {wanted.start}")
    if start_us < 0 or not 0.0 < wanted.trades_per_day <= 1e9:
        raise ConfigError(f"--trades-per-day {wanted.trades_per_day:g} is not in 0 .. 1e9, or the start is before 1970")
    market = _market(profile, named, wanted.seed, start_us // DAY_US, wanted.trades_per_day)
    root = _root(wanted, market, data_folder(data_dir))
    store = TradeStore(root, "trades" if settings.data.kind == "trades" else "aggTrades")
    keep_card(root, market)
    began, rows = time.perf_counter(), 0
    for day in range(market.first_day, -(-end_us // DAY_US)):
        for symbol in named:
            rows += store.ingest(VENUE, symbol, _hours(market, symbol, day, start_us, end_us, store.kind == "trades"))
            write_truth(root, VENUE, market, symbol, day)
        on_day(iso(day * DAY_US)[:10], rows)
    took_s = time.perf_counter() - began
    coverages = {symbol: store.coverage(VENUE, symbol, verify=True) for symbol in named}
    return {
        "seed": wanted.seed,
        "store": str(root),
        "truth": str(root / "truth"),
        "profile": profile.fingerprint(),
        "trades": rows,
        "trades_per_s": round(rows / took_s) if took_s > 0 else 0,
        "whole": all(coverage.is_whole for coverage in coverages.values()),
        "symbols": {symbol: coverage.to_json() for symbol, coverage in coverages.items()},
    }


def _symbols(wanted: Wanted, profile: MarketProfile, settings: Settings) -> tuple[str, ...]:
    """Those asked for; else those of the settings that the profile has; else all that it has."""
    if wanted.symbols:
        return chosen_symbols(wanted.symbols, settings)
    there = [coin.symbol for coin in profile.coins]
    return tuple(symbol for symbol in settings.data.symbols if symbol in there) or tuple(there)


def _market(
    profile: MarketProfile, symbols: tuple[str, ...], seed: int, first_day: int, trades_per_day: float
) -> SyntheticMarket:
    there = {coin.symbol: coin.coin for coin in profile.coins}
    missing = [symbol for symbol in symbols if symbol not in there]
    if missing:
        raise ConfigError(
            f"no synthetic market for {', '.join(missing)}; the profile has {', '.join(there)}, and --like fits others"
        )
    if not 0 <= seed < 2**63:
        raise ConfigError(f"--seed {seed} is not in 0 .. 2^63 - 1")
    coins = [there[symbol] for symbol in symbols]
    return SyntheticMarket(
        seed, coins, first_day, trades_per_day, profile=profile.of(coins), days_kept=1, hours_kept=2
    )  # fmt: skip


def _root(wanted: Wanted, market: SyntheticMarket, folder: Path) -> Path:
    """Where the store lies; makes a world's card."""
    if (wanted.out is None) == (not wanted.world):
        raise ConfigError("say where the trades go: --out FOLDER, or --world NAME for a new world")
    if wanted.out is not None:
        return wanted.out
    if wanted.world == "live" or "/" in wanted.world or wanted.world.startswith("."):
        raise ConfigError(f"--world {wanted.world}: a simulated world needs a name of its own, such as calm-7")
    fresh = WorldCard(WORLD_KIND, market.seed, round(market.trades_per_day), market.first_day)
    return World.open(folder / wanted.world, fresh).store_dir


def _hours(
    market: SyntheticMarket, symbol: str, day: int, start_us: int, end_us: int, single: bool
) -> Generator[TradeBatch]:
    lot_e8 = market.coin_profile(symbol).lot_e8
    for hour in range(day * 24, (day + 1) * 24):
        batch = market.trades(symbol, max(start_us, hour * HOUR_US), min(end_us, (hour + 1) * HOUR_US))
        if len(batch):
            yield single_trades(batch, lot_e8) if single else batch


@contextmanager
def _candles(
    symbols: tuple[str, ...], laws: Laws, settings: Settings, data_dir: Path | None
) -> Generator[dict[str, Bars]]:
    """Candles of each symbol out of files, or of the store of a world, seconds put together to minutes."""
    with ExitStack() as stack:
        out: dict[str, Bars] = {}
        for symbol in symbols:
            if laws.source is not None:
                found = stack.enter_context(open_source(laws.source, symbol))
            else:
                store = store_of(settings, data_dir, laws.like_world)
                if not store.day_names(VENUE, symbol):
                    raise Incomplete(
                        f"nothing is stored of {symbol}; `crypy data sync --symbols {symbol}` fetches it, --source reads files",
                        (symbol,),
                    )
                found = Source(symbol, VENUE, store=store)
            out[symbol] = _minutes(found)
        yield out


def _minutes(found: Source) -> Bars:
    """Candles as they are; of trades one row a minute, a day at a time, in bounded memory."""
    if found.candles is not None:
        return found.bars()
    start_s, end_s = found.span_s()
    start_s, end_s = -(-start_s // 60) * 60, end_s // 60 * 60
    parts: list[tuple[np.ndarray[Any, Any], ...]] = []
    for begin in range(start_s, end_s, DAY_S):
        bars = found.bars(begin, min(begin + DAY_S, end_s))
        sums = [column.reshape(-1, 60).sum(axis=1) for column in (bars.volume, bars.quote_volume, bars.count)]
        parts.append((bars.close[59::60], *sums))
    close, volume, quote_volume, count = (
        (np.concatenate(columns) for columns in zip(*parts, strict=True)) if parts else (np.empty(0),) * 4
    )
    none = np.zeros(len(close))
    return Bars(
        found.symbol, start_s, 60, close, close, close, close, volume, quote_volume, count.astype(np.int64), none
    )  # fmt: skip
