"""What `crypy data sql|export|import` do."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from crypy.app.data.stores import VENUE, Place, chosen_symbols, history_of, store_of
from crypy.app.settings import load_settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S, iso, parse_time_us
from crypy.marketdata.archive import archive_name
from crypy.marketdata.export import FORMATS, Exported, Format, export_bars, export_trades
from crypy.marketdata.intervals import parse_interval
from crypy.marketdata.source_files import Source, open_source, own_store, trade_files
from crypy.marketdata.store import TradeStore

if TYPE_CHECKING:
    from crypy.marketdata.bars import Bars
    from crypy.marketdata.candles import Candles
    from crypy.marketdata.sql import SqlResult

What = Literal["trades", "bars", "candles"]
_BY_SUFFIX: Final[dict[str, Format]] = {
    ".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".feather": "feather", ".npz": "npz",
}  # fmt: skip
_PIECE_S: Final = 31 * DAY_S


@contextmanager
def sql_result(statement: str, symbols: str, start: str, end: str, place: Place) -> Generator[SqlResult]:
    """Rows of a SELECT over a store, or over files."""
    from crypy.marketdata.frames import to_arrow
    from crypy.marketdata.sql import query
    from crypy.marketdata.sql_files import Bounds

    settings = load_settings(place.config)
    named = chosen_symbols(symbols, settings) if symbols else ()
    bounds = Bounds(named, parse_time_us(start) if start else None, parse_time_us(end) if end else None)
    if place.source is None:
        with query(store_of(settings, place.data_dir, place.world), statement, bounds) as result:
            yield result
        return
    root = own_store(place.source)
    if root is not None:
        with query(_store_at(root), statement, bounds) as result:
            yield result
        return
    symbol = _only_symbol(named, place.source)
    with open_source(place.source, symbol) as found, _scratch() as scratch:
        tables = {} if found.candles is None else {"candles": to_arrow(found.candles.bars)}
        with query(found.store or scratch, statement, bounds, tables) as result:
            yield result


def export(
    symbol: str,
    what: str,
    form: str,
    out: Path,
    start: str,
    end: str,
    interval: str,
    force: bool,
    latency_ms: float,
    place: Place,
) -> dict[str, Any]:
    """Write stored history to a file that others read; says what was written."""
    if what not in ("trades", "bars", "candles"):
        raise ConfigError(f"--what {what}: choose from trades, bars, candles")
    chosen = _format(form, out)
    settings, symbol = load_settings(place.config), symbol.strip().upper()
    with history_of(settings, symbol, place) as found:
        first_s, last_s = found.span_s()
        start_us = parse_time_us(start) if start else first_s * US_PER_S
        end_us = parse_time_us(end) if end else last_s * US_PER_S
        if end_us <= start_us:
            raise ConfigError(f"the end {iso(end_us)} is not after the start {iso(start_us)}")
        if what == "trades":
            store = found.trades_store()
            # Without an end the last second is in, complete or not: trades are trades.
            batches = store.scan(found.venue, symbol, start_us, end_us if end else end_us + US_PER_S)
            done = export_trades(batches, store.kind, chosen, out, force=force, latency_us=round(latency_ms * 1_000))
        else:
            pieces = _pieces(found, cast(What, what), interval, start_us // US_PER_S, -(-end_us // US_PER_S))
            done = export_bars(pieces, chosen, out, force=force)
    return _report(symbol, what, chosen, done)


def take_in(path: Path, symbol: str, place: Place) -> dict[str, Any]:
    """Store the trades of files; each is checked, and known ones are no error."""
    settings = load_settings(place.config)
    symbol = symbol.strip().upper() or _only_symbol((), path)
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    files = trade_files(path, symbol)
    if not files:
        raise ConfigError(
            f"{path} holds no trades of {symbol} in Binance's archive layout; candles are not stored, read them with --source"
        )
    store = store_of(settings, place.data_dir, place.world)
    if store.kind != files[0].kind:
        store = TradeStore(store.shelf, files[0].kind)
    taken = [{"file": file.path.name, "rows": store.ingest(VENUE, symbol, file.batches())} for file in files]
    return {"kind": store.kind, "files": taken, "symbols": {symbol: store.coverage(VENUE, symbol).to_json()}}


def _pieces(found: Source, what: What, interval: str, start_s: int, end_s: int) -> Iterator[Bars | Candles]:
    """Bars a day at a time, candles a month at a time: any span in constant memory."""
    if what == "bars":
        if found.candles is not None:
            raise ConfigError("the source holds candles; second bars are made of trades: use --what candles")
        for begin in range(start_s, end_s, DAY_S):
            yield found.bars(begin, min(begin + DAY_S, end_s))
        return
    if found.candles is not None:
        yield _source_candles(found, interval, start_s, end_s)
        return
    from crypy.marketdata.stored_candles import StoredCandles

    stored, length = StoredCandles(found.trades_store()), parse_interval(interval or "1m")
    for begin in range(start_s, end_s, _PIECE_S):
        yield stored.candles(found.venue, found.symbol, length, begin, min(begin + _PIECE_S, end_s))


def _source_candles(found: Source, interval: str, start_s: int, end_s: int) -> Bars | Candles:
    from crypy.marketdata.candle_fold import candles_of

    assert found.candles is not None
    if not interval:
        return found.bars(start_s, end_s)
    gaps = [(gap.start_s, gap.end_s) for gap in found.candles.gaps]
    return candles_of(found.symbol, found.bars(start_s, end_s), parse_interval(interval), gaps)


def _format(form: str, out: Path) -> Format:
    if not form:
        if out.suffix not in _BY_SUFFIX:
            raise ConfigError(f"{out}: its ending tells no format; name one by --format ({', '.join(FORMATS)})")
        return _BY_SUFFIX[out.suffix]
    for known in FORMATS:
        if known == form:
            return known
    raise ConfigError(f"--format {form}: choose from {', '.join(FORMATS)}")


def _store_at(root: Path) -> TradeStore:
    kinds = {path.name for path in root.glob("trades/*/*/*") if path.is_dir()}
    return TradeStore(root, "trades" if kinds == {"trades"} else "aggTrades")


def _only_symbol(named: tuple[str, ...], path: Path) -> str:
    """The symbol that is meant: the one that is named, else the one that the names of the files tell."""
    if len(named) == 1:
        return named[0]
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    told = {found[0] for file in files if (found := archive_name(file)) is not None}
    if len(told) != 1 or named:
        raise ConfigError(f"{path}: say which symbol is meant, for example --symbols BTCUSDT")
    return told.pop()


@contextmanager
def _scratch() -> Generator[TradeStore]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="crypy-sql-") as folder:
        yield TradeStore(Path(folder))


def _report(symbol: str, what: str, form: str, done: Exported) -> dict[str, Any]:
    return {
        "path": str(done.path),
        "symbol": symbol,
        "what": what,
        "format": form,
        "rows": done.rows,
        "bytes": done.size,
    }
