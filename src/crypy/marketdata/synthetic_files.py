"""The truth of a synthetic market on disk, beside the trades that were drawn from it.

    <root>/truth/market.json                             seed, first day, trades a day and the whole profile: makes the market again
    <root>/truth/<venue>/<symbol>/2025-01-15.parquet     one row for each second of a UTC day

Columns: `time_us`, the second's start; `mid`, the efficient price then, and `log_return`, its log return over the second; the law that this was
drawn from, known at the second's start: `scale`, `skew`, `tail` of Hansen's skewed t, `jump_chance` and `jump_scale` of the Laplace
jump that may come instead; `regime` and `burst`, the names of the states; and what happened: `jump`, `halt`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.synthetic import SyntheticMarket
from crypy.marketdata.synthetic_profile import MarketProfile
from crypy.marketdata.trade_days import DAY_US, day_of
from crypy.marketdata.trade_files import whole_file

COLUMNS: Final = (
    "time_us", "mid", "log_return", "scale", "skew", "tail", "jump_chance", "jump_scale", "regime", "burst", "jump", "halt",
)  # fmt: skip


class MarketCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `market.json` says; with it `open_market` makes the market again."""

    seed: int
    first_day: int
    trades_per_day: float
    profile: MarketProfile


# Made before any thread needs it: see `marketdata.trade_files`.
_CARD: Final = msgspec.json.Decoder(MarketCard)


def keep_card(root: Path, market: SyntheticMarket) -> None:
    """Write the market's card, before any trade of it. Raises `ConfigError` where another market's trades lie."""
    path = root / "truth" / "market.json"
    card = MarketCard(market.seed, market.first_day, float(market.trades_per_day), market.profile)
    if path.exists():
        kept = read_card(root)
        if kept != card:
            raise ConfigError(
                f"{root} holds a synthetic market of seed {kept.seed} from day {day_of(kept.first_day * DAY_US)} on, not the one "
                "asked for; choose another place, or the same seed, start, symbols, trades a day and profile"
            )
        return
    if (root / "trades").exists() and any((root / "trades").iterdir()):
        raise ConfigError(f"{root} holds trades that are of no synthetic market; choose another place")
    with whole_file(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")


def read_card(root: Path) -> MarketCard:
    """The card of a store of synthetic trades. Raises `DataError` where there is none or it is damaged."""
    path = root / "truth" / "market.json"
    try:
        return _CARD.decode(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{root} holds no synthetic market: {path} is not there") from None
    except (msgspec.DecodeError, ConfigError) as error:
        raise DataError(
            f"{path} is damaged: {error}; `crypy data simulate` into another place makes it again"
        ) from None


def open_market(root: Path) -> SyntheticMarket:
    """The market that a store's trades were drawn from, to ask it for the truth at any moment (`SyntheticMarket.law`)."""
    card = read_card(root)
    coins = [coin.coin for coin in card.profile.coins]
    return SyntheticMarket(card.seed, coins, card.first_day, card.trades_per_day, profile=card.profile)


def write_truth(root: Path, venue: str, market: SyntheticMarket, symbol: str, day: int) -> Path:
    """Write one day of one symbol; the file's path."""
    truth, row = market.truth(day), market.symbols.index(symbol)
    states = np.repeat(truth.regime, 60)
    regimes, bursts = market.states
    columns: dict[str, object] = {
        "time_us": (day * DAY_S + np.arange(DAY_S, dtype=np.int64)) * US_PER_S,
        "mid": np.exp(truth.log_mid[row, :-1]),
        "log_return": np.diff(truth.log_mid[row]),
        "scale": truth.scale[row],
        "skew": truth.skew[row],
        "tail": truth.tail,
        "jump_chance": truth.jump_chance,
        "jump_scale": np.full(DAY_S, market.jump_scale(symbol)),
        "regime": _names(states // len(bursts), regimes),
        "burst": _names(states % len(bursts), bursts),
        "jump": truth.jump[row],
        "halt": truth.halt,
    }
    path = root / "truth" / venue / symbol / f"{day_of(day * DAY_US)}.parquet"
    with whole_file(path) as temporary:
        pq.write_table(
            pa.table({name: columns[name] for name in COLUMNS}), temporary, compression="zstd", write_page_checksum=True
        )
    return path


def read_truth(root: Path, venue: str, symbol: str, day: str) -> pa.Table:
    """One day's truth, `day` such as 2025-01-15. Raises `DataError` where it is not there."""
    path = root / "truth" / venue / symbol / f"{day}.parquet"
    if not path.exists():
        raise DataError(f"{symbol}: no truth of {day} in {root}; `crypy data simulate` writes it with the trades")
    return pq.read_table(path, page_checksum_verification=True)


def _names(states: NDArray[np.integer], names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(states.astype(np.int8)), pa.array(list(names)))
