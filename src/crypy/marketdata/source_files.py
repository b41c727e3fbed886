"""History from files that a person has: what lies at a path, and how it is read.

    the project's own store          its folder, a world's folder, or a data folder
    trades                           Binance archives (zip, CSV, gzip), and files of `crypy data export` (Parquet, Arrow, Feather, NPZ)
    candles                          CSV, Feather, Parquet, archives and REST answers (`crypy.marketdata.candle_files`)

Trades are taken into a store of their own in a temporary folder, so that files may overlap, come in any order and be larger than
memory, and everything that reads a store reads them. Nothing is believed of a file that can be checked: checksums inside it and
beside it (`.CHECKSUM`), the symbol in its name, its columns.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crypy.domain.errors import ConfigError, DataError, Incomplete
from crypy.domain.times import US_PER_S
from crypy.marketdata.archive import archive_name, inflate, read_trades
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_files import CandleHistory, read_candles
from crypy.marketdata.parse import TradeKind
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_tables import is_trade_table, read_trade_table
from crypy.marketdata.trades import TradeBatch

VENUE: Final = "binance"
_TABLES: Final = (".parquet", ".arrow", ".feather", ".npz")
_TEXTS: Final = (".csv", ".csv.gz", ".zip")
_TRADE_WORDS: Final = ("isbuyermaker", "buyerismaker", "aggtradeid", "firsttradeid")


@dataclass(frozen=True, slots=True)
class TradesFile:
    """A file of trades of `kind`; `symbol` is what its name tells, empty where it tells none."""

    path: Path
    kind: TradeKind
    symbol: str = ""

    def batches(self) -> Iterator[TradeBatch]:
        """Its trades in order. Raises `DataError` for what is damaged, at the latest behind the last."""
        if self.path.suffix in _TABLES:
            return read_trade_table(self.path)
        return read_trades(self.path, self.kind)


@dataclass(frozen=True, slots=True)
class Source:
    """History of `symbol` from a path: a store that holds its trades, or candles."""

    symbol: str
    venue: str
    store: TradeStore | None = None
    candles: CandleHistory | None = None

    def trades_store(self) -> TradeStore:
        """The store. Raises `ConfigError` where the path holds candles, which trades cannot be made of."""
        if self.store is None:
            raise ConfigError(f"this needs trades of {self.symbol}; the source holds candles")
        return self.store

    def span_s(self) -> tuple[int, int]:
        """The first second, and the one after the last that is complete."""
        if self.candles is not None:
            return self.candles.bars.start_s, self.candles.bars.end_s
        facts = self.trades_store().facts(self.venue, self.symbol)
        if not facts.rows:
            raise Incomplete(f"the source holds no trades of {self.symbol}", (self.symbol,))
        return facts.first_time_us // US_PER_S, facts.last_time_us // US_PER_S

    def bars(self, start_s: int | None = None, end_s: int | None = None) -> Bars:
        """Second bars of the trades, or the candles as they are (`step_s` is theirs), within `[start_s, end_s)`."""
        first_s, last_s = self.span_s()
        start_s, end_s = first_s if start_s is None else start_s, last_s if end_s is None else end_s
        if self.candles is None:
            return self.trades_store().bars(self.venue, self.symbol, start_s, end_s)
        bars = self.candles.bars
        begin = max(0, -(-(start_s - bars.start_s) // bars.step_s))
        rows = slice(begin, max(begin, min(len(bars), (end_s - bars.start_s) // bars.step_s)))
        return Bars(
            bars.symbol, bars.start_s + begin * bars.step_s, bars.step_s,
            bars.open[rows], bars.high[rows], bars.low[rows], bars.close[rows],
            bars.volume[rows], bars.quote_volume[rows], bars.count[rows], bars.taker_buy_volume[rows],
        )  # fmt: skip


@contextmanager
def open_source(path: Path, symbol: str, venue: str = VENUE) -> Generator[Source]:
    """What lies at `path` about a symbol; it is there until the block ends.

    Raises `ConfigError` where nothing is there or it is about another symbol, `DataError` naming file and line for what is damaged.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    if (root := own_store(path)) is not None:
        yield Source(symbol, venue, store=_own(root, venue, symbol))
        return
    files = trade_files(path, symbol)
    if not files:
        yield Source(symbol, venue, candles=read_candles(path, symbol))
        return
    with tempfile.TemporaryDirectory(prefix="crypy-source-") as folder:
        store = TradeStore(Path(folder), files[0].kind)
        for file in files:
            store.ingest(venue, symbol, file.batches())
        yield Source(symbol, venue, store=store)


def own_store(path: Path) -> Path | None:
    """The root of the project's own store at a path: the store's folder, a world's, or a data folder with a live world."""
    return next((root for root in (path, path / "store", path / "live" / "store") if (root / "trades").is_dir()), None)


def trade_files(path: Path, symbol: str) -> list[TradesFile]:
    """The files of a symbol's trades at a path, in the order of their names; none where it holds candles.

    A folder's files are those whose names begin with the symbol. Raises `ConfigError` where a file's name tells another symbol, or
    trades of both kinds lie there; `DataError` where a checksum beside a file does not fit.
    """
    if path.is_dir():
        named = sorted(one for one in path.iterdir() if one.is_file() and one.name.upper().startswith(f"{symbol}-"))
        found = [file for one in named if (file := _trades_file(one)) is not None]
    else:
        file = _trades_file(path)
        found = [] if file is None else [file]
    for file in found:
        if file.symbol and file.symbol != symbol:
            raise ConfigError(f"{file.path.name} holds trades of {file.symbol}, asked for {symbol}")
    if len({file.kind for file in found}) > 1:
        raise ConfigError(f"{path} holds aggTrades and trades of {symbol}: name the files of one kind")
    for file in found:
        check_sum(file.path)
    return found


def check_sum(path: Path) -> bool:
    """Whether a `.CHECKSUM` of the file lies beside it. Raises `DataError` where it says another SHA-256 than the file has."""
    beside = path.with_name(f"{path.name}.CHECKSUM")
    try:
        said = beside.read_text("ascii", "replace").split()[:1]
    except FileNotFoundError:
        return False
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if said != [found]:
        raise DataError(
            f"{path.name}: SHA-256 is {found}, {beside.name} says {''.join(said) or 'nothing'}; fetch the file again"
        )
    return True


def _own(root: Path, venue: str, symbol: str) -> TradeStore:
    kinds: tuple[TradeKind, ...] = ("aggTrades", "trades")
    for kind in kinds:
        store = TradeStore(root, kind)
        if store.day_names(venue, symbol):
            return store
    there = sorted({one for kind in kinds for _, one in TradeStore(root, kind).symbols()})
    raise ConfigError(f"the store {root} holds no trades of {symbol}; there are {', '.join(there) or 'none'}")


def _trades_file(path: Path) -> TradesFile | None:
    """The file as one of trades, `None` where it is none."""
    name = path.name.lower()
    if name.endswith(_TABLES):
        return TradesFile(path, _kind_of(path), _symbol_of(path)) if is_trade_table(path) else None
    if not name.endswith(_TEXTS):
        return None
    if (told := archive_name(path)) is not None:
        return TradesFile(path, told[1], told[0])
    kind = _kind_in(_first_line(path))
    return None if kind is None else TradesFile(path, kind)


def _symbol_of(path: Path) -> str:
    told = archive_name(path)
    return told[0] if told else ""


def _kind_of(path: Path) -> TradeKind:
    told = archive_name(path)
    return told[1] if told else "aggTrades"


def _first_line(path: Path) -> str:
    pieces = inflate(path)
    try:
        return next(pieces, b"").split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    except DataError:
        return ""  # whoever reads the file as what it is says what is wrong with it
    finally:
        pieces.close()


def _kind_in(line: str) -> TradeKind | None:
    """The kind of trades that the first line of a CSV shows, header or row; `None` where it shows none."""
    cells = [cell.strip(' "').lower().replace("_", "") for cell in line.split(",")]
    if any(word in cells for word in _TRADE_WORDS):
        return "aggTrades" if any("first" in cell for cell in cells) else "trades"
    if len(cells) in (7, 8) and cells[6] in ("true", "false") and cells[5].isdigit():
        return "aggTrades"
    return "trades" if len(cells) in (6, 7) and cells[5] in ("true", "false") and cells[4].isdigit() else None
