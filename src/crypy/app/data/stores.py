"""Which store a verb means, and which symbols of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from crypy.app.folders import data_folder
from crypy.app.settings import Settings
from crypy.domain.errors import ConfigError
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.store import TradeStore

VENUE: Final = "binance"


def store_of(settings: Settings, data_dir: Path | None, world: str = "live") -> TradeStore:
    """The store of a world. Raises `ConfigError` naming the worlds there are for one that is not."""
    kinds: dict[str, TradeKind] = {"aggTrades": "aggTrades", "trades": "trades"}
    if settings.data.kind not in kinds:
        raise ConfigError(f"data.kind = {settings.data.kind!r}: choose from {', '.join(kinds)}")
    folder = data_folder(data_dir)
    root = folder / world / "store"
    if world == "live":
        return TradeStore(root, kinds[settings.data.kind])
    there = sorted(str(card.parent.relative_to(folder)) for card in folder.rglob("world.json"))
    if world not in there:
        raise ConfigError(f"{folder} holds no world {world!r}; there are {', '.join(there) or 'none'}")
    # A recording of single trades has no aggregates: its store is of that kind, whatever the settings say.
    kept = {path.name for path in root.glob("trades/*/*/*")}
    return TradeStore(root, "trades" if kept == {"trades"} else kinds[settings.data.kind])


def chosen_symbols(text: str, settings: Settings) -> tuple[str, ...]:
    """The symbols named, separated by commas; those of the settings where none is."""
    named = tuple(symbol.strip().upper() for symbol in text.split(",") if symbol.strip())
    return named or settings.data.symbols
