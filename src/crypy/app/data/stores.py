"""Which store a verb means, and which symbols of it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crypy.app.folders import data_folder
from crypy.app.settings import Settings
from crypy.domain.errors import ConfigError, Incomplete
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.shelf import Shelf, open_shelf
from crypy.marketdata.source_files import Source, open_source
from crypy.marketdata.store import TradeStore

VENUE: Final = "binance"


@dataclass(frozen=True, slots=True)
class Place:
    """Where history is: the store of a world, or files."""

    data_dir: Path | None
    config: Path | None
    world: str = "live"
    source: Path | None = None


@contextmanager
def history_of(settings: Settings, symbol: str, place: Place) -> Generator[Source]:
    """What is there of a symbol, from its store or from files. Raises `Incomplete` where nothing is stored."""
    if place.source is not None:
        with open_source(place.source, symbol) as found:
            yield found
        return
    store = store_of(settings, place.data_dir, place.world)
    if not store.day_names(VENUE, symbol):
        raise Incomplete(f"nothing is stored of {symbol}; `crypy data sync --symbols {symbol}` fetches it", (symbol,))
    yield Source(symbol, VENUE, store=store)


def store_of(settings: Settings, data_dir: Path | None, world: str = "live") -> TradeStore:
    """The store of a world. Raises `ConfigError` naming the worlds there are for one that is not."""
    kinds: dict[str, TradeKind] = {"aggTrades": "aggTrades", "trades": "trades"}
    if settings.data.kind not in kinds:
        raise ConfigError(f"data.kind = {settings.data.kind!r}: choose from {', '.join(kinds)}")
    folder = data_folder(data_dir)
    root = folder / world / "store"
    if world == "live":
        return TradeStore(store_place(settings, world, root), kinds[settings.data.kind])
    there = sorted(str(card.parent.relative_to(folder)) for card in folder.rglob("world.json"))
    if world not in there:
        raise ConfigError(f"{folder} holds no world {world!r}; there are {', '.join(there) or 'none'}")
    # A recording of single trades has no aggregates: its store is of that kind, whatever the settings say.
    kept = {path.name for path in root.glob("trades/*/*/*")}
    return TradeStore(root, "trades" if kept == {"trades"} else kinds[settings.data.kind])


def store_place(settings: Settings, world: str, folder: Path) -> Path | Shelf:
    """Where the trades of a kind of world lie: real ones where data.store says, simulated ones in their own folder always.

    `folder` is the world's own, for this machine's files in any case.
    """
    return open_shelf(settings.data.store, folder) if world == "live" and settings.data.store else folder


def chosen_symbols(text: str, settings: Settings) -> tuple[str, ...]:
    """The symbols named, separated by commas; those of the settings where none is."""
    named = tuple(symbol.strip().upper() for symbol in text.split(",") if symbol.strip())
    return named or settings.data.symbols
