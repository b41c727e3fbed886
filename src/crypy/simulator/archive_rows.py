"""Archive rows as they must not be: each way in which a file has been, or could be, wrong."""

from __future__ import annotations

from collections.abc import Callable

from crypy.domain.errors import ConfigError

HEADER = b"agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,is_best_match"


def spoiled(csv: bytes, fault: str) -> bytes:
    """The file's rows with one thing wrong in the middle of them, as `RowFault` names it.

    `header` puts a header first, `mixed_units` turns the later half's times from one unit into the other, `duplicate` repeats a row,
    `unordered` exchanges two rows, `missing` leaves one out; `negative_price` and `nan_price` do what they say.
    """
    rows = csv.splitlines()
    middle = len(rows) // 2
    match fault:
        case "header":
            rows.insert(0, HEADER)
        case "mixed_units":
            rows[middle:] = [_other_unit(row) for row in rows[middle:]]
        case "duplicate":
            rows.insert(middle, rows[middle])
        case "unordered":
            rows[middle - 1], rows[middle] = rows[middle], rows[middle - 1]
        case "missing":
            del rows[middle]
        case "negative_price":
            rows[middle] = _with_price(rows[middle], lambda price: b"-" + price)
        case "nan_price":
            rows[middle] = _with_price(rows[middle], lambda _: b"NaN")
        case _:
            raise ConfigError(f"{fault!r} is not a fault of rows")
    return b"\n".join(rows) + b"\n"


def _with_price(row: bytes, change: Callable[[bytes], bytes]) -> bytes:
    number, price, rest = row.split(b",", 2)
    return b",".join((number, change(price), rest))


def _other_unit(row: bytes) -> bytes:
    """The time is the third column from the end."""
    head, time, maker, best = row.rsplit(b",", 3)
    other = time[:-3] if len(time) == 16 else time + b"000"
    return b",".join((head, other, maker, best))
