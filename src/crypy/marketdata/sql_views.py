"""The views of `crypy.marketdata.sql`: what each stands on (`sql_files`), and what its columns mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from crypy.marketdata.sql_files import Bounds, chosen, lay_bars, lay_klines, lay_trades
from crypy.marketdata.store import TradeStore

_EXACT: Final = "{name}_e8::DECIMAL(19, 0) * 0.00000001::DECIMAL(9, 8)"


@dataclass(frozen=True, slots=True)
class View:
    """A view: what it says, its columns with type, meaning and SQL over its files, and how these are laid out in a folder.

    `lay` links or writes files below a folder and gives them; a view without files is empty.
    """

    name: str
    about: str
    partitions: dict[str, str]
    columns: dict[str, tuple[str, str, str]]
    lay: Callable[[TradeStore, Bounds, Path], list[Path]]
    numbered: bool = False

    def create(self, files: Sequence[Path]) -> Iterator[str]:
        """Statements that make the view and its comments."""
        if files:
            listed = ", ".join(quoted(str(path)) for path in files)
            typed = ", ".join(f"{quoted(name)}: {kind}" for name, kind in self.partitions.items())
            columns = ", ".join(f"{sql} AS {name}" for name, (_, _, sql) in self.columns.items())
            source = (
                f"read_parquet([{listed}], hive_partitioning = true, hive_types = {{{typed}}}"
                f"{', file_row_number = true' if self.numbered else ''})"
            )
            yield f"CREATE VIEW {self.name} AS SELECT {columns} FROM {source}"  # noqa: S608  all parts are ours, and quoted
        else:
            empty = ", ".join(f"NULL::{kind} AS {name}" for name, (kind, _, _) in self.columns.items())
            yield f"CREATE VIEW {self.name} AS SELECT {empty} WHERE false"
        yield f"COMMENT ON VIEW {self.name} IS {quoted(self.about)}"
        for name, (_, meaning, _) in self.columns.items():
            yield f"COMMENT ON COLUMN {self.name}.{name} IS {quoted(meaning)}"


def quoted(text: str) -> str:
    """The text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _known(name: str) -> str:
    return f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END"


_WHERE_PLACED: Final = {
    "venue": ("VARCHAR", "The venue, such as binance.", "venue"),
    "symbol": ("VARCHAR", "The venue's symbol, such as BTCUSDT.", "symbol"),
}
_DAY: Final = {"day": ("DATE", "UTC day. A condition on it opens that day's files alone.", "day")}
_DAY_PARTITIONS: Final = {"venue": "VARCHAR", "symbol": "VARCHAR", "day": "DATE"}
_BAR_US: Final = "epoch_us(day::TIMESTAMP) + file_row_number * 1000000"


def _exact(name: str, meaning: str) -> dict[str, tuple[str, str, str]]:
    """An amount as an exact decimal and as the stored integer."""
    return {
        name: ("DECIMAL(28, 8)", meaning, _EXACT.format(name=name)),
        f"{name}_e8": ("BIGINT", f"{meaning} As stored, in 1e-8.", f"{name}_e8"),
    }


VIEWS: Final = (
    View(
        "trades",
        "Stored trades, ascending by id within a day: aggregates, or single trades where the store is of that kind.",
        _DAY_PARTITIONS,
        _WHERE_PLACED | _DAY | {
            "id": ("BIGINT", "The venue's id; consecutive.", "id"),
            "time": ("TIMESTAMP WITH TIME ZONE", "The venue's time.", "make_timestamptz(time_us)"),
            "time_us": ("BIGINT", "The same in microseconds since 1970 UTC.", "time_us"),
            **_exact("price", "Price in quote."),
            **_exact("quantity", "Quantity in base."),
            "first_id": ("BIGINT", "First single trade inside; -1 for an aggregate the venue declared void.", "first_id"),
            "last_id": ("BIGINT", "Last single trade inside; -1 as before.", "last_id"),
            "buyer_is_maker": ("BOOLEAN", "True: the taker sold.", "buyer_is_maker"),
        },
        lay_trades,
    ),
    View(
        "bars",
        "Second bars folded from the trades. Seconds without trades carry the close; prices are NULL before a day's first trade.",
        _DAY_PARTITIONS,
        _WHERE_PLACED | _DAY | {
            "time": ("TIMESTAMP WITH TIME ZONE", "Where the second begins.", f"make_timestamptz({_BAR_US})"),
            "time_us": ("BIGINT", "The same in microseconds since 1970 UTC.", _BAR_US),
            **{name: ("DOUBLE", f"The second's {name} in quote.", _known(name)) for name in ("open", "high", "low", "close")},
            "volume": ("DOUBLE", "Base traded.", "volume"),
            "quote_volume": ("DOUBLE", "Quote traded.", "quote_volume"),
            "count": ("BIGINT", "Single trades.", "count"),
            "taker_buy_volume": ("DOUBLE", "Base bought by takers.", "taker_buy_volume"),
        },
        lay_bars,
        numbered=True,
    ),
    View(
        "klines",
        "Candles as the venue gives them, closed ones only.",
        {"venue": "VARCHAR", "symbol": "VARCHAR", "interval_s": "BIGINT", "period": "VARCHAR"},
        _WHERE_PLACED | {
            "interval_s": ("BIGINT", "Length in seconds.", "interval_s"),
            "period": ("VARCHAR", "UTC day (lengths under a minute) or month; a condition on it opens that file alone.", "period"),
            "open_time": ("TIMESTAMP WITH TIME ZONE", "Where the candle begins.", "make_timestamptz(open_time_us)"),
            "open_time_us": ("BIGINT", "The same in microseconds since 1970 UTC.", "open_time_us"),
            **_exact("open", "Open in quote."), **_exact("high", "High in quote."), **_exact("low", "Low in quote."),
            **_exact("close", "Close in quote."), **_exact("volume", "Base traded."), **_exact("quote_volume", "Quote traded."),
            "count": ("BIGINT", "Single trades; 0 where the venue does not tell.", "count"),
            **_exact("taker_buy_volume", "Base bought by takers; 0 where the venue does not tell."),
        },
        lay_klines,
    ),
)  # fmt: skip


def coverage_table(store: TradeStore, bounds: Bounds) -> Any:
    """One row for each symbol: ids, times and rows that are stored."""
    found = [store.coverage(venue, symbol) for venue, symbol in chosen(store, bounds)]
    return pa.table(
        {
            "venue": pa.array([one.venue for one in found], pa.string()),
            "symbol": pa.array([one.symbol for one in found], pa.string()),
            "kind": pa.array([one.kind for one in found], pa.string()),
            "first_id": pa.array([one.first_id for one in found], pa.int64()),
            "last_id": pa.array([one.last_id for one in found], pa.int64()),
            "rows": pa.array([one.rows for one in found], pa.int64()),
            "first_time": pa.array([one.first_time_us for one in found], pa.timestamp("us", "UTC")),
            "last_time": pa.array([one.last_time_us for one in found], pa.timestamp("us", "UTC")),
            "gaps": pa.array([len(one.gaps) for one in found], pa.int64()),
            "fingerprint": pa.array([one.fingerprint for one in found], pa.string()),
        }
    )


def gaps_table(store: TradeStore, bounds: Bounds) -> Any:
    """One row for each gap: the ids that are missing, and the times of the trades around them."""
    found = [
        (venue, symbol, gap) for venue, symbol in chosen(store, bounds) for gap in store.coverage(venue, symbol).gaps
    ]
    return pa.table(
        {
            "venue": pa.array([venue for venue, _, _ in found], pa.string()),
            "symbol": pa.array([symbol for _, symbol, _ in found], pa.string()),
            "after_id": pa.array([gap.after_id for *_, gap in found], pa.int64()),
            "before_id": pa.array([gap.before_id for *_, gap in found], pa.int64()),
            "missing": pa.array([gap.missing for *_, gap in found], pa.int64()),
            "after_time": pa.array([gap.after_time_us for *_, gap in found], pa.timestamp("us", "UTC")),
            "before_time": pa.array([gap.before_time_us for *_, gap in found], pa.timestamp("us", "UTC")),
        }
    )


TABLES: Final = {"coverage": coverage_table, "gaps": gaps_table}
