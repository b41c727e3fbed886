"""Second bars of one symbol for training, memory-mapped: made from the store, extended as it grows, refused when it is another's.

`update_mapped_bars` brings the file up to the store and opens it; `open_mapped_bars` opens what is there. What a model
eats from it (`crypy.marketdata.training_windows`) has the bits that it is served live, for the columns are those of the live ring.
The layout is in `crypy.marketdata.mapped_file`.

Only days that passed the audit are in it (`crypy.marketdata.audited`): what was not audited trains no model. The newest stored day, which may
still grow, is left out until it is audited. Rows end before the second of the newest trade, which may not be full yet.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crypy.domain.errors import DataError, Incomplete, SchemaMismatch
from crypy.marketdata.mapped_file import Columns, Hole, MappedHead, check_rows, map_file, read_head
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_facts import fingerprint

_TRIES = 5


@dataclass(frozen=True, slots=True)
class MappedBars:
    """Seconds `[start_s, end_s)` of one symbol, `columns` mapped from a file (read only, shared between processes).

    Prices are known from `known_s` on, but for what lies in `holes`. Nothing is in memory until it is looked at.
    """

    venue: str
    symbol: str
    kind: str
    start_s: int
    end_s: int
    known_s: int
    base_steps_s: tuple[int, ...]
    holes: tuple[Hole, ...]
    fingerprint: str
    columns: Columns
    head: MappedHead
    # Held so that the pages stay mapped as long as the arrays are used.
    buffer: mmap.mmap

    def __len__(self) -> int:
        return self.end_s - self.start_s


def open_mapped_bars(folder: Path, store: TradeStore | None = None, *, verify: bool = True) -> MappedBars:
    """The mapped bars in `folder`. With `verify` every row is read once and checked (some GB/s).

    With a `store` they must be made from what it holds now; only their last day may have grown since. Raises `Incomplete` where nothing is there, `SchemaMismatch` for a file
    of another format or symbol, `DataError` for one that is damaged, cut short or older than the store.
    """
    head, buffer, columns = _mapped(folder)
    if verify:
        check_rows(folder, head, columns)
    if store is not None:
        _require_fresh(folder, head, store)
    return MappedBars(
        head.venue,
        head.symbol,
        head.kind,
        head.start_s,
        head.start_s + head.rows,
        head.known_s,
        head.base_steps_s,
        head.holes,
        head.check,
        columns,
        head,
        buffer,
    )


def update_mapped_bars(
    store: TradeStore,
    symbol: str,
    *,
    venue: str = "binance",
    folder: Path | None = None,
    base_steps_s: tuple[int, ...] = (1,),
    verify: bool = True,
) -> MappedBars:
    """Make or extend the mapped bars of a symbol from the store, then open them. Blocks; writers take turns by a lock.

    `folder` is `mapped_folder(store, venue, symbol)` where none is given; `base_steps_s` are the steps at which returns are squared (those of the
    schemas in use). Only days that changed or are new are folded. Raises `Incomplete` when nothing is stored, `DataError` naming days
    before the newest that were not audited.
    """
    from crypy.marketdata.mapped_writer import bring_up

    place = folder or mapped_folder(store, venue, symbol)
    bring_up(store, venue, symbol, place, base_steps_s)
    return open_mapped_bars(place, store, verify=verify)


def mapped_folder(store: TradeStore, venue: str, symbol: str) -> Path:
    """Where the mapped bars of a symbol lie beside its store's trades."""
    return store.root / "mapped" / venue / symbol / store.kind


def _mapped(folder: Path) -> tuple[MappedHead, mmap.mmap, Columns]:
    """A writer that replaces the file removes the old one after the head was replaced: read the head again then."""
    for _ in range(_TRIES):
        head = read_head(folder)
        if head is None:
            raise Incomplete(f"{folder}: no mapped bars are there; make them with update_mapped_bars", (str(folder),))
        with suppress(FileNotFoundError):
            return head, *map_file(folder, head)
    raise DataError(f"{folder}: its head names a file that is not there; remove {folder}, it can be made again")


def _require_fresh(folder: Path, head: MappedHead, store: TradeStore) -> None:
    if store.kind != head.kind:
        raise SchemaMismatch(f"{folder}: made from {head.kind}, the store holds {store.kind}")
    stored = {day: fingerprint(found) for day, found in store.days(head.venue, head.symbol).items() if found.rows}
    said = {day.day: day.fingerprint for day in head.days[:-1] if day.fingerprint}
    last = head.days[-1].day
    changed = sorted(day for day in said.keys() | stored.keys() if day < last and said.get(day) != stored.get(day))
    if changed:
        raise DataError(
            f"{folder}: the store has other trades of {head.symbol} on {changed[0]}"
            f"{f' and {len(changed) - 1} more days' if len(changed) > 1 else ''} than these bars were made from; "
            "bring them up with update_mapped_bars"
        )
