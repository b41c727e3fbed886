"""The file format of the live trades' journal: records that a crash can only tear at the end.

    magic "TRD1" | rows (uint32) | CRC-32 of the rows (uint32) | rows of eight int64, little-endian

A row is id, price_e8, quantity_e8, first_id, last_id, time_us, buyer_is_maker, received_us. A reader takes every record
whose checksum holds, looks for the next magic behind one whose does not, and says how many bytes it could not use.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import Trade
from crypy.marketdata.trades import TradeBatch

Rows = NDArray[np.int64]

_MAGIC = b"TRD1"
_HEAD = struct.Struct("<4sII")
_COLUMNS = 8
_ROW_BYTES = 8 * _COLUMNS


def encode(trades: Sequence[Trade]) -> bytes:
    """One record of these trades."""
    rows = np.array(
        [
            (t.id, t.price_e8, t.quantity_e8, t.first_id, t.last_id, t.time_us, t.buyer_is_maker, t.received_us)
            for t in trades
        ],
        "<i8",
    ).reshape(len(trades), _COLUMNS)
    body = rows.tobytes()
    return _HEAD.pack(_MAGIC, len(trades), zlib.crc32(body)) + body


def decode(data: bytes) -> tuple[Rows, int]:
    """Rows [trade, column] of every sound record in order, and how many bytes belonged to none."""
    found: list[Rows] = []
    at = sound = 0
    while (at := data.find(_MAGIC, at)) >= 0:
        body = _body(data, at)
        if body is None:
            at += 1
            continue
        found.append(np.frombuffer(body, "<i8").reshape(-1, _COLUMNS).astype(np.int64))
        sound += _HEAD.size + len(body)
        at += _HEAD.size + len(body)
    rows = np.concatenate(found) if found else np.empty((0, _COLUMNS), np.int64)
    return rows, len(data) - sound


def batch_of(rows: Rows) -> TradeBatch:
    """The rows as trades, each id once, ascending."""
    _, first = np.unique(rows[:, 0], return_index=True)
    id_, price, quantity, first_id, last_id, time_us, maker, _ = np.ascontiguousarray(rows[first].T)
    return TradeBatch(id_, price, quantity, first_id, last_id, time_us, maker.astype(np.bool_))


def _body(data: bytes, at: int) -> bytes | None:
    """The rows' bytes of the record at an offset, `None` if there is no sound record."""
    if at + _HEAD.size > len(data):
        return None
    _, rows, checksum = _HEAD.unpack_from(data, at)
    body = data[at + _HEAD.size : at + _HEAD.size + rows * _ROW_BYTES]
    whole = len(body) == rows * _ROW_BYTES and zlib.crc32(body) == checksum
    return body if whole else None
