"""Trades brought into one order: ascending by id, each id once.

The same trade may come twice: from an archive, from REST and from the live stream. Two rows of one id must
tell the same. One difference is allowed: one source gives its time in milliseconds and the other in microseconds; the finer
one is kept, whichever came first. Anything else raises `DataError` that shows both rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from crypy.domain.errors import DataError
from crypy.domain.events import format_e8
from crypy.domain.times import US_PER_MS, iso
from crypy.marketdata.trades import TradeBatch


def empty_batch() -> TradeBatch:
    """No trades."""
    none = np.empty(0, np.int64)
    return TradeBatch(none, none, none, none, none, none, np.empty(0, np.bool_))


def concatenated(batches: Iterable[TradeBatch]) -> TradeBatch:
    """All rows in the order given."""
    parts = [batch for batch in batches if len(batch)]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return empty_batch()
    return TradeBatch(
        np.concatenate([part.id for part in parts]),
        np.concatenate([part.price_e8 for part in parts]),
        np.concatenate([part.quantity_e8 for part in parts]),
        np.concatenate([part.first_id for part in parts]),
        np.concatenate([part.last_id for part in parts]),
        np.concatenate([part.time_us for part in parts]),
        np.concatenate([part.buyer_is_maker for part in parts]),
    )


def taken(batch: TradeBatch, rows: np.ndarray[tuple[int], np.dtype[np.int64 | np.bool_]]) -> TradeBatch:
    """The rows of an index or a mask."""
    return TradeBatch(
        batch.id[rows],
        batch.price_e8[rows],
        batch.quantity_e8[rows],
        batch.first_id[rows],
        batch.last_id[rows],
        batch.time_us[rows],
        batch.buyer_is_maker[rows],
    )


def is_ascending(batch: TradeBatch) -> bool:
    """Whether the ids ascend, none twice."""
    return bool(np.all(batch.id[1:] > batch.id[:-1]))


def in_order(what: str, batch: TradeBatch) -> TradeBatch:
    """The rows ascending by id, each id once; `what` names them in an error."""
    if is_ascending(batch):
        return batch
    # Sorting by time within an id puts a coarse time before the fine one that it was cut from.
    rows = taken(batch, np.lexsort((batch.time_us, batch.id)))
    repeated = np.flatnonzero(rows.id[1:] == rows.id[:-1])
    if not len(repeated):
        return rows
    _require_same(what, rows, repeated)
    keep = np.ones(len(rows), np.bool_)
    keep[repeated] = False
    return taken(rows, keep)


def merged(what: str, left: Iterable[TradeBatch], right: Iterable[TradeBatch]) -> Iterator[TradeBatch]:
    """Both streams, each ascending by id, as one; never more than a few batches are held."""
    sources = [_filled(left), _filled(right)]
    heads = [next(source, None) for source in sources]
    while heads[0] is not None and heads[1] is not None:
        end_id = min(int(heads[0].id[-1]), int(heads[1].id[-1]))
        ready: list[TradeBatch] = []
        for k in (0, 1):
            head = heads[k]
            assert head is not None
            cut = int(np.searchsorted(head.id, end_id, side="right"))
            ready.append(head[:cut])
            heads[k] = head[cut:] if cut < len(head) else next(sources[k], None)
        batch = in_order(what, concatenated(ready))
        if len(batch):
            yield batch
    for head, source in zip(heads, sources, strict=True):
        if head is not None:
            yield head
            yield from source


def _filled(batches: Iterable[TradeBatch]) -> Iterator[TradeBatch]:
    return (batch for batch in batches if len(batch))


def _require_same(what: str, rows: TradeBatch, at: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    """Rows `at` and the ones behind them tell the same trades, but for a time cut to milliseconds."""
    after = at + 1
    early, late = rows.time_us[at], rows.time_us[after]
    cut_to_ms = (early % US_PER_MS == 0) & (late - late % US_PER_MS == early)
    same = (
        (rows.price_e8[at] == rows.price_e8[after])
        & (rows.quantity_e8[at] == rows.quantity_e8[after])
        & (rows.first_id[at] == rows.first_id[after])
        & (rows.last_id[at] == rows.last_id[after])
        & (rows.buyer_is_maker[at] == rows.buyer_is_maker[after])
        & ((early == late) | cut_to_ms)
    )
    if not same.all():
        row = int(at[int(np.argmin(same))])
        raise DataError(
            f"{what}: id {rows.id[row]} is told in two ways, ({_told(rows, row)}) and ({_told(rows, row + 1)}); "
            "one of the sources is wrong, and neither was stored over the other"
        )


def _told(rows: TradeBatch, row: int) -> str:
    return (
        f"price {format_e8(int(rows.price_e8[row]))}, quantity {format_e8(int(rows.quantity_e8[row]))}, trades "
        f"{rows.first_id[row]} to {rows.last_id[row]}, {iso(int(rows.time_us[row]))}, "
        f"buyer {'is' if rows.buyer_is_maker[row] else 'is not'} maker"
    )
